#include "core/node/state.h"

/* What clients ask: lists, answered at once from what is applied here. History: history.c. */

struct writer query_begin_result(struct node *node, const struct wire_query *query,
                                 enum chat_code code, uint8_t flags)
{
    struct writer writer = writer_of(node->scratch, NODE_PAGE_BYTES + LIMIT_COMMAND_BYTES);
    struct wire_result head = {
        .id = query->id, .code = code, .flags = flags, .kind = query->kind
    };
    if (node->applied < query->floor_index || node->relay)
        head.flags |= RESULT_STALE;
    writer.at += wire_encode_result(&head, writer.at, (size_t)(writer.end - writer.at));
    CHECK(writer_used(&writer) > 0);
    return writer;
}

void query_end_result(struct node *node, struct session *session, const struct writer *writer,
                      const struct effects *out)
{
    CHECK(!writer->full);
    session_send(node, session, (struct slice) { writer->start, writer_used(writer) }, out);
}

void query_refuse(struct node *node, struct session *session, const struct wire_query *query,
                  enum chat_code code, const struct effects *out)
{
    struct writer writer = query_begin_result(node, query, code, 0);
    query_end_result(node, session, &writer, out);
}

/* --- Lists ----------------------------------------------------------------------------------- */

/* A list that fills its page ends there and says that there is more. */
static bool page_full(const struct writer *writer)
{
    if (writer_used(writer) < NODE_PAGE_BYTES)
        return false;
    writer->start[RESULT_FLAGS_AT] |= RESULT_MORE;
    return true;
}

static void write_room_row(struct node *node, const struct session *session, uint32_t number,
                           struct writer *writer)
{
    const struct chat_room *room = chat_room(node->chat, number);
    const struct chat_membership *member = chat_membership(node->chat, session->account, number);
    bool joined = member && !member->leave_index;
    if (!joined && (room->direct || room->is_private))
        return;
    uint8_t name[LIMIT_ROOM_NAME];
    size_t len = chat_room_name(node->chat, number, session->account, name);
    struct slice topic = chat_room_topic(node->chat, number);
    write_slice8(writer, name, len);
    write_slice16(writer, topic.data, topic.len);
    write_u32(writer, room->members);
    write_u64(writer, joined ? room->last_seq - member->read_seq : 0);
    write_u8(writer, joined);
}

static void query_rooms(struct node *node, struct session *session, const struct wire_query *query,
                        const struct effects *out)
{
    struct writer writer = query_begin_result(node, query, CODE_OK, 0);
    for (uint32_t room = 1; room <= chat_rooms(node->chat); room++) {
        if (page_full(&writer))
            break;
        write_room_row(node, session, room, &writer);
    }
    query_end_result(node, session, &writer, out);
}

static void query_who(struct node *node, struct session *session, const struct wire_query *query,
                      uint32_t room, const struct effects *out)
{
    struct writer writer = query_begin_result(node, query, CODE_OK, 0);
    const struct chat_membership *member = NULL;
    while ((member = chat_next_of_room(node->chat, room, member)) != NULL && !page_full(&writer)) {
        if (member->leave_index)
            continue;
        const struct chat_account *account = chat_account(node->chat, member->account);
        write_slice8(&writer, account->name, account->name_len);
        write_u8(&writer, member->is_operator);
        write_u8(&writer, node->account_sessions[member->account] != 0);
    }
    query_end_result(node, session, &writer, out);
}

static void query_whoami(struct node *node, struct session *session, const struct wire_query *query,
                         const struct effects *out)
{
    struct writer writer = query_begin_result(node, query, CODE_OK, 0);
    const struct chat_account *account = chat_account(node->chat, session->account);
    const struct chat_device *device = chat_device(node->chat, session->device);
    CHECK(account && device);
    write_slice8(&writer, account->name, account->name_len);
    write_u32(&writer, session->device);
    write_u64(&writer, bytes_get_u64(device->key));
    query_end_result(node, session, &writer, out);
}

static void query_devices(struct node *node, struct session *session,
                          const struct wire_query *query, const struct effects *out)
{
    struct writer writer = query_begin_result(node, query, CODE_OK, 0);
    uint32_t number = 0;
    while ((number = chat_next_device(node->chat, session->account, number)) != 0) {
        const struct chat_device *device = chat_device(node->chat, number);
        write_u32(&writer, number);
        write_u64(&writer, bytes_get_u64(device->key));
        write_u64(&writer, device->enrolled_index);
        write_u8(&writer, number == session->device);
    }
    query_end_result(node, session, &writer, out);
}

static void query_status(struct node *node, struct session *session, const struct wire_query *query,
                         const struct effects *out)
{
    struct writer writer = query_begin_result(node, query, CODE_OK, 0);
    struct wire_cluster cluster = node_cluster(node);
    writer.at += wire_encode_cluster(&cluster, writer.at, (size_t)(writer.end - writer.at));
    query_end_result(node, session, &writer, out);
}

/* --- Dispatch -------------------------------------------------------------------------------- */

/* A room that this user may look into: a member's, or a public one. */
static enum chat_code find_room(struct node *node, const struct session *session,
                                const struct wire_query *query, uint32_t *room)
{
    *room = chat_find_room(node->chat, session->account, query->room);
    if (!*room)
        return query->room.len && query->room.data[0] == '@' ? CODE_UNKNOWN_USER
                                                             : CODE_UNKNOWN_ROOM;
    const struct chat_room *shown = chat_room(node->chat, *room);
    const struct chat_membership *member = chat_membership(node->chat, session->account, *room);
    if ((shown->is_private || shown->direct) && (!member || member->leave_index))
        return shown->direct ? CODE_UNKNOWN_USER : CODE_UNKNOWN_ROOM;
    return CODE_OK;
}

void query_received(struct node *node, struct session *session, struct slice message,
                    const struct effects *out)
{
    struct wire_query query;
    if (!wire_decode_query(&query, message)) {
        session_close(node, session, false, out);
        return;
    }
    if (session->unsent >= 2 * NODE_ANSWERS_BYTES) {
        session_close(node, session, false, out); /* it was told to wait, and reads nothing */
        return;
    }
    if (session->unsent >= NODE_ANSWERS_BYTES) {
        query_refuse(node, session, &query, CODE_BUSY, out);
        return;
    }
    uint32_t room = 0;
    enum chat_code code = CODE_OK;
    if (query.kind == QUERY_HISTORY || query.kind == QUERY_WHO)
        code = find_room(node, session, &query, &room);
    if (code != CODE_OK) {
        query_refuse(node, session, &query, code, out);
        return;
    }
    switch ((enum wire_query_kind)query.kind) {
    case QUERY_HISTORY:
        history_query(node, session, &query, room, out);
        break;
    case QUERY_ROOMS:
        query_rooms(node, session, &query, out);
        break;
    case QUERY_WHO:
        query_who(node, session, &query, room, out);
        break;
    case QUERY_WHOAMI:
        query_whoami(node, session, &query, out);
        break;
    case QUERY_DEVICES:
        query_devices(node, session, &query, out);
        break;
    case QUERY_STATUS:
        query_status(node, session, &query, out);
        break;
    }
}
