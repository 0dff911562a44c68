#include "core/node/state.h"

/* History and lists, from what is applied here. A page of history is read from disk; what was applied and is not durable
 * here yet makes it wait for the flush that is under way. */

enum { STORE_HEAD_BYTES = 29 }; /* a record of the store's before its body's length */

static struct writer begin_result(struct node *node, const struct wire_query *query,
                                  enum chat_code code, uint8_t flags)
{
    struct writer writer = writer_of(node->scratch, NODE_PAGE_BYTES + LIMIT_COMMAND_BYTES);
    struct wire_result head = {
        .id = query->id, .code = code, .flags = flags, .kind = query->kind
    };
    if (node->applied < query->floor_index)
        head.flags |= RESULT_STALE;
    writer.at += wire_encode_result(&head, writer.at, (size_t)(writer.end - writer.at));
    CHECK(writer_used(&writer) > 0);
    return writer;
}

static void end_result(struct node *node, struct session *session, const struct writer *writer,
                       const struct effects *out)
{
    CHECK(!writer->full);
    session_send(node, session, (struct slice) { writer->start, writer_used(writer) }, out);
}

static void refuse(struct node *node, struct session *session, const struct wire_query *query,
                   enum chat_code code, const struct effects *out)
{
    struct writer writer = begin_result(node, query, code, 0);
    end_result(node, session, &writer, out);
}

/* --- Lists ----------------------------------------------------------------------------------- */

/* Where a result's flags stand, after its type and id and code. */
enum { RESULT_FLAGS_AT = 1 + 8 + 1 };

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
    struct writer writer = begin_result(node, query, CODE_OK, 0);
    for (uint32_t room = 1; room <= chat_rooms(node->chat); room++) {
        if (page_full(&writer))
            break;
        write_room_row(node, session, room, &writer);
    }
    end_result(node, session, &writer, out);
}

static void query_who(struct node *node, struct session *session, const struct wire_query *query,
                      uint32_t room, const struct effects *out)
{
    struct writer writer = begin_result(node, query, CODE_OK, 0);
    const struct chat_membership *member = NULL;
    while ((member = chat_next_of_room(node->chat, room, member)) != NULL && !page_full(&writer)) {
        if (member->leave_index)
            continue;
        const struct chat_account *account = chat_account(node->chat, member->account);
        write_slice8(&writer, account->name, account->name_len);
        write_u8(&writer, member->is_operator);
        write_u8(&writer, node->account_sessions[member->account] != 0);
    }
    end_result(node, session, &writer, out);
}

static void query_whoami(struct node *node, struct session *session, const struct wire_query *query,
                         const struct effects *out)
{
    struct writer writer = begin_result(node, query, CODE_OK, 0);
    const struct chat_account *account = chat_account(node->chat, session->account);
    const struct chat_device *device = chat_device(node->chat, session->device);
    CHECK(account && device);
    write_slice8(&writer, account->name, account->name_len);
    write_u32(&writer, session->device);
    write_u64(&writer, bytes_get_u64(device->key));
    end_result(node, session, &writer, out);
}

static void query_devices(struct node *node, struct session *session,
                          const struct wire_query *query, const struct effects *out)
{
    struct writer writer = begin_result(node, query, CODE_OK, 0);
    uint32_t number = 0;
    while ((number = chat_next_device(node->chat, session->account, number)) != 0) {
        const struct chat_device *device = chat_device(node->chat, number);
        write_u32(&writer, number);
        write_u64(&writer, bytes_get_u64(device->key));
        write_u64(&writer, device->enrolled_index);
        write_u8(&writer, number == session->device);
    }
    end_result(node, session, &writer, out);
}

static void query_status(struct node *node, struct session *session, const struct wire_query *query,
                         const struct effects *out)
{
    struct writer writer = begin_result(node, query, CODE_OK, 0);
    struct wire_cluster cluster = node_cluster(node);
    writer.at += wire_encode_cluster(&cluster, writer.at, (size_t)(writer.end - writer.at));
    end_result(node, session, &writer, out);
}

/* --- History --------------------------------------------------------------------------------- */

/* The page's seqs, both ends included; false: it is empty. */
static bool page_of(const struct wire_query *query, uint64_t first, uint64_t last,
                    struct pending_query *page)
{
    uint64_t limit = query->limit;
    if (query->has_after) {
        uint64_t from = query->after + 1 > first ? query->after + 1 : first;
        page->seq_from = from;
        page->seq_to = last - from >= limit && last >= from ? from + limit - 1 : last;
        page->more = page->seq_to < last;
        return query->after < UINT64_MAX && from <= last;
    }
    uint64_t to = query->before && query->before <= last ? query->before - 1 : last;
    page->seq_to = to;
    page->seq_from = to >= first + limit ? to - limit + 1 : first;
    page->more = page->seq_from > first;
    return to >= first;
}

static void start_page(struct node *node, struct pending_query *page, const struct effects *out)
{
    CHECK(node->query_reads < NODE_QUERY_READS);
    page->reading = true;
    node->query_reads++;
    uint64_t id = read_id(READ_FOR_QUERY, 0, (uint32_t)(page - node->queries));
    struct effect effect = {
        .kind = EFFECT_READ_POSTS,
        .read = { .id = id,
                  .capacity = NODE_PAGE_BYTES,
                  .posts = { .room = page->room,
                             .seq_from = page->seq_from,
                             .seq_to = page->seq_to,
                             .max_records = LIMIT_HISTORY_PAGE } },
    };
    effect_emit(out, &effect);
}

static bool may_start(const struct node *node, const struct pending_query *page)
{
    return page->used && !page->reading && node->query_reads < NODE_QUERY_READS &&
           raft_view(node->raft).durable >= page->needs_durable;
}

static void query_history(struct node *node, struct session *session,
                          const struct wire_query *query, uint32_t room, const struct effects *out)
{
    const struct chat_room *shown = chat_room(node->chat, room);
    struct pending_query page = { .used = true, .query = *query, .room = room };
    if (query->limit < 1 || query->limit > LIMIT_HISTORY_PAGE) {
        refuse(node, session, query, CODE_BAD_REQUEST, out);
        return;
    }
    if (!shown->last_seq || !page_of(query, 1, shown->last_seq, &page)) {
        refuse(node, session, query, CODE_OK, out); /* an empty page */
        return;
    }
    for (uint32_t i = 0; i < NODE_QUERIES && session->pages < NODE_CLIENT_QUERIES; i++) {
        struct pending_query *slot = &node->queries[i];
        if (slot->used)
            continue;
        session->pages++;
        page.connection = session_number(node, session);
        page.generation = session->generation;
        page.stale = node->applied < query->floor_index;
        page.needs_durable = shown->last_index;
        page.query.room = (struct slice) { NULL, 0 };
        *slot = page;
        if (i >= node->queries_used)
            node->queries_used = i + 1;
        if (may_start(node, slot))
            start_page(node, slot, out);
        return;
    }
    refuse(node, session, query, CODE_BUSY, out);
}

/* Starts what waited: for a flush, or for its turn. */
void query_flushed(struct node *node, const struct effects *out)
{
    for (uint32_t i = 0; i < node->queries_used; i++) {
        struct pending_query *page = &node->queries[i];
        if (may_start(node, page))
            start_page(node, page, out);
    }
}

/* Records as the store gives them become records as the client reads them, each with its size before. */
static void write_rows(struct node *node, const struct session *session, struct slice data,
                       struct writer *writer)
{
    struct reader reader = reader_of(data.data, data.len);
    while (reader_left(&reader)) {
        uint8_t kind = read_u8(&reader);
        uint32_t room = read_u32(&reader);
        uint64_t seq = read_u64(&reader);
        uint64_t index = read_u64(&reader);
        uint64_t time_us = read_u64(&reader);
        struct slice body = read_slice32(&reader);
        struct wire_record record;
        CHECK(!reader.bad);
        if (kind != NODE_STORE_POST ||
            !stream_record_of(node, room, index, seq, time_us, body, &record))
            continue;
        uint8_t *size = write_room(writer, 4);
        CHECK(size != NULL);
        size_t len = stream_encode_for(node, room, session->account, &record, writer->at,
                                       (size_t)(writer->end - writer->at));
        bytes_put_u32(size, (uint32_t)len);
        writer->at += len;
    }
}

/* The answer did not hold the page. Forward it is just shorter; backward its newest posts are what was asked for, so fewer
 * are read again: half of what fitted. */
static bool shrink_page(struct pending_query *page, struct slice data)
{
    if (page->query.has_after)
        return false;
    uint64_t fitted = 0;
    struct reader reader = reader_of(data.data, data.len);
    while (reader_left(&reader) && !reader.bad) {
        (void)read_bytes(&reader, STORE_HEAD_BYTES);
        (void)read_slice32(&reader);
        fitted++;
    }
    uint64_t fewer = fitted > 1 ? fitted / 2 : 1;
    CHECK(!reader.bad);
    if (page->seq_to - page->seq_from + 1 <= fewer)
        return false;
    page->seq_from = page->seq_to - fewer + 1;
    page->more = true;
    return true;
}

static void page_read(struct node *node, uint32_t number, const struct node_event *event,
                      const struct effects *out)
{
    CHECK(number < NODE_QUERIES);
    struct pending_query *page = &node->queries[number];
    CHECK(page->used && page->reading);
    CHECK(node->query_reads > 0);
    node->query_reads--;
    page->used = false;
    page->reading = false;
    struct session *session = session_if_same(node, page->connection, page->generation);
    if (!session)
        return;
    CHECK(session->pages > 0);
    session->pages--;
    if (event->read.failed) {
        refuse(node, session, &page->query, CODE_UNAVAILABLE, out);
        return;
    }
    if (event->read.more && shrink_page(page, event->read.data)) {
        page->used = true;
        session->pages++;
        start_page(node, page, out);
        return;
    }
    bool more = page->more || event->read.more;
    unsigned flags = (more ? RESULT_MORE : 0u) | (page->stale ? RESULT_STALE : 0u);
    struct writer writer = begin_result(node, &page->query, CODE_OK, (uint8_t)flags);
    write_rows(node, session, event->read.data, &writer);
    end_result(node, session, &writer, out);
}

void query_read_done(struct node *node, uint32_t number, const struct node_event *event,
                     const struct effects *out)
{
    bool others_wait = node->query_reads == NODE_QUERY_READS;
    page_read(node, number, event, out);
    if (others_wait)
        query_flushed(node, out);
}

/* A page that is being read keeps its place until the read is done; one that waits is forgotten at once. */
void query_closed(struct node *node, uint32_t connection)
{
    for (uint32_t i = 0; i < node->queries_used; i++) {
        struct pending_query *page = &node->queries[i];
        if (page->used && !page->reading && page->connection == connection)
            page->used = false;
    }
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
        refuse(node, session, &query, CODE_BUSY, out);
        return;
    }
    uint32_t room = 0;
    enum chat_code code = CODE_OK;
    if (query.kind == QUERY_HISTORY || query.kind == QUERY_WHO)
        code = find_room(node, session, &query, &room);
    if (code != CODE_OK) {
        refuse(node, session, &query, code, out);
        return;
    }
    switch ((enum wire_query_kind)query.kind) {
    case QUERY_HISTORY:
        query_history(node, session, &query, room, out);
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
