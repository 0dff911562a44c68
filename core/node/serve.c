#include "core/node/state.h"

/* What other nodes fetch from this one's disk: to catch up by copying (catchup.c), or to find again
 * what is rotten at theirs. One piece at a time for each; who asks paces itself. And retention: what
 * of the own history may go. */

static void send_fetched(struct node *node, uint8_t slot, const struct wire_fetched *fetched,
                         struct slice data, const struct effects *out)
{
    uint8_t head[64];
    struct wire_fetched told = *fetched;
    told.commit = raft_commit(node->raft);
    size_t len = wire_encode_fetched(&told, head, sizeof(head));
    CHECK(len > 0);
    (void)peers_send(node, slot, (struct slice) { head, len }, data, out);
}

static void send_offer(struct node *node, uint8_t slot, const struct wire_fetch *fetch,
                       const struct effects *out)
{
    struct wire_fetched fetched = { .id = fetch->id, .kind = FETCH_OFFER, .code = FETCH_GONE };
    struct wire_offer offer = { .oldest = node->first,
                                .newest = node->sealed[NODE_SEALED - 1],
                                .segment_bytes = node->options.segment_bytes };
    uint8_t data[32];
    size_t len = 0;
    if (offer.newest >= offer.oldest) {
        fetched.code = FETCH_OK;
        len = wire_encode_offer(&offer, data, sizeof(data));
        CHECK(len > 0);
    }
    send_fetched(node, slot, &fetched, (struct slice) { data, len }, out);
}

bool serve_fetch(struct node *node, uint8_t slot, struct slice message, const struct effects *out)
{
    struct serving *serving = &node->serving[slot];
    struct wire_fetch fetch;
    if (!wire_decode_fetch(&fetch, message))
        return false;
    if (fetch.kind == FETCH_OFFER) {
        send_offer(node, slot, &fetch, out);
        return true;
    }
    if (serving->reading) {
        struct wire_fetched busy = {
            .id = fetch.id, .kind = fetch.kind, .code = FETCH_BUSY, .index = fetch.index
        };
        send_fetched(node, slot, &busy, (struct slice) { NULL, 0 }, out);
        return true;
    }
    serving->reading = true;
    serving->fetch = fetch;
    serving->until_us = node->now.mono_us + NODE_SERVED_US;
    struct effect effect = {
        .kind = EFFECT_READ_PIECE,
        .read = { .id = read_id(READ_FOR_PEER, 0, slot),
                  .capacity = fetch.bytes < LIMIT_COPY_BYTES ? fetch.bytes : LIMIT_COPY_BYTES,
                  .piece = { fetch.kind, fetch.index, fetch.offset } },
    };
    effect_emit(out, &effect);
    return true;
}

void serve_read_done(struct node *node, uint32_t slot, const struct node_event *event,
                     const struct effects *out)
{
    CHECK(slot >= 1 && slot <= LIMIT_NODES);
    struct serving *serving = &node->serving[slot];
    CHECK(serving->reading);
    serving->reading = false;
    struct wire_fetched fetched = { .id = serving->fetch.id,
                                    .kind = serving->fetch.kind,
                                    .code = event->read.failed     ? FETCH_FAILED
                                            : event->read.data.len ? FETCH_OK
                                                                   : FETCH_GONE,
                                    .index = serving->fetch.index,
                                    .offset = serving->fetch.offset,
                                    .size = event->read.size };
    if (fetched.code == FETCH_GONE)
        fetched.index = node->first;
    send_fetched(node, (uint8_t)slot, &fetched,
                 event->read.failed ? (struct slice) { NULL, 0 } : event->read.data, out);
}

/* --- sealed segments and retention --------------------------------------------------------------*/

/* Who needs what is older than the fourth newest sealed segment is told to copy. */
static void tell_raft(struct node *node)
{
    raft_set_kept(node->raft, node->first, node->sealed[0]);
}

void serve_start(struct node *node, uint64_t first, const uint64_t sealed[NODE_SEALED])
{
    node->first = first ? first : 1;
    memcpy(node->sealed, sealed, sizeof(node->sealed));
    tell_raft(node);
}

/* Not what somebody is copying just now. (Who mends asks for a piece, and for nothing after it.) */
static uint64_t below_copies(const struct node *node, uint64_t floor)
{
    for (uint8_t slot = 1; slot <= LIMIT_NODES; slot++) {
        const struct serving *serving = &node->serving[slot];
        bool copies = serving->fetch.kind != FETCH_CHECKPOINT && !(serving->fetch.id & MEND_FETCH);
        if (serving->until_us > node->now.mono_us && copies && serving->fetch.index < floor)
            floor = serving->fetch.index;
    }
    return floor;
}

static void retain(struct node *node, const struct effects *out)
{
    const struct node_options *options = &node->options;
    if ((!options->retain_bytes && !options->retain_us) || !node->sealed[0])
        return;
    struct effect effect = { .kind = EFFECT_RETAIN,
                             .retain = { .keep_bytes = options->retain_bytes,
                                         .floor = below_copies(node, node->sealed[0] + 1) } };
    if (options->retain_us && node->applied_time_us > options->retain_us)
        effect.retain.since_us = node->applied_time_us - options->retain_us;
    effect_emit(out, &effect);
}

void serve_checkpointed(struct node *node, uint64_t index, const struct effects *out)
{
    if (index <= node->sealed[NODE_SEALED - 1])
        return;
    memmove(node->sealed, node->sealed + 1, (NODE_SEALED - 1) * sizeof(node->sealed[0]));
    node->sealed[NODE_SEALED - 1] = index;
    tell_raft(node);
    retain(node, out);
}

void serve_drop_damaged(struct node *node, uint64_t index, const struct effects *out)
{
    struct effect effect = { .kind = EFFECT_RETAIN,
                             .retain = { .floor = below_copies(node, UINT64_MAX),
                                         .damaged = index } };
    effect_emit(out, &effect);
}

void serve_retained(struct node *node, uint64_t first, const struct effects *out)
{
    if (first <= node->first)
        return;
    node->first = first;
    tell_raft(node);
    struct line line = line_begin("history_dropped");
    line_pair(&line, "first", first);
    line_emit(&line, LOG_INFO, out);
}
