/* The committed log, handed out piece by piece to ctl (a backup): one piece is read at a time for a connection, and no
 * entry beyond the commit index leaves. It is history: it never changes, so pieces read at different times, or from
 * different nodes, fit together. Where its beginning was dropped, so is the checkpoint that stands in its place. */
#include "core/node/state.h"

static void answer(struct node *node, struct session *session, enum chat_code code, uint64_t size,
                   struct slice data, const struct effects *out)
{
    struct wire_log_is head = { .code = code,
                                .commit = raft_commit(node->raft),
                                .first = node->first,
                                .segment_bytes = node->options.segment_bytes,
                                .size = size };
    memcpy(head.cluster, raft_cluster(node->raft), IDENTITY_BYTES);
    uint8_t message[80];
    size_t len = wire_encode_log_is(&head, message, sizeof message);
    CHECK(len > 0);
    session->unsent += len + data.len;
    struct effect effect = { .kind = EFFECT_CLIENT_SEND,
                             .send = { .connection = session_number(node, session),
                                       .parts = { { message, len }, data },
                                       .parts_count = 2 } };
    effect_emit(out, &effect);
}

static void read_base(struct node *node, const struct session *session,
                      const struct wire_log *wanted, const struct effects *out)
{
    struct effect effect = {
        .kind = EFFECT_READ_PIECE,
        .read = { .id = read_id(READ_FOR_COPY, session->generation, session_number(node, session)),
                  .piece = { FETCH_CHECKPOINT, wanted->index, wanted->offset },
                  .capacity = wanted->bytes < LIMIT_COPY_BYTES ? wanted->bytes : LIMIT_COPY_BYTES }
    };
    effect_emit(out, &effect);
}

bool copy_received(struct node *node, struct session *session, struct slice message,
                   const struct effects *out)
{
    struct wire_log wanted;
    const struct slice nothing = { NULL, 0 };
    if (!wire_decode_log(&wanted, message))
        return false;
    if (session->copying || node->copies_out == NODE_COPIES) {
        answer(node, session, CODE_BUSY, 0, nothing, out);
        return true;
    }
    struct raft_view view = raft_view(node->raft);
    if (!wanted.base && (wanted.index > view.commit || wanted.index > view.durable)) {
        answer(node, session, CODE_OK, 0, nothing, out);
        return true;
    }
    node->copies_out++;
    session->copying = true;
    session->copying_base = wanted.base;
    if (wanted.base) {
        read_base(node, session, &wanted, out);
        return true;
    }
    uint32_t bytes = wanted.bytes < LIMIT_ENTRY_BYTES ? wanted.bytes : LIMIT_ENTRY_BYTES;
    struct effect effect = { .kind = EFFECT_READ_ENTRIES,
                             .read = { .id = read_id(READ_FOR_COPY, session->generation,
                                                     session_number(node, session)),
                                       .index = wanted.index,
                                       .capacity = bytes } };
    effect_emit(out, &effect);
    return true;
}

void copy_read_done(struct node *node, uint32_t connection, uint32_t generation,
                    const struct node_event *event, const struct effects *out)
{
    struct session *session = session_if_same(node, connection, generation);
    CHECK(node->copies_out > 0);
    node->copies_out--;
    if (!session || session->state != SESSION_CTL)
        return;
    session->copying = false;
    if (session->copying_base) {
        bool there = !event->read.failed && event->read.data.len;
        struct slice bytes = there ? event->read.data : (struct slice) { NULL, 0 };
        answer(node, session, there ? CODE_OK : CODE_UNAVAILABLE, event->read.size, bytes, out);
        return;
    }
    uint64_t commit = raft_commit(node->raft);
    struct slice entries = { event->read.data.data, 0 };
    while (!event->read.failed && entries.len < event->read.data.len) {
        struct entry entry;
        if (entry_parse(&entry, node->options.crypto, NULL, entries.data + entries.len,
                        event->read.data.len - entries.len) != ENTRY_WHOLE ||
            entry.first + entry.count - 1 > commit)
            break;
        entries.len += entry.size;
    }
    answer(node, session, entries.len ? CODE_OK : CODE_UNAVAILABLE, 0, entries, out);
}
