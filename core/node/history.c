#include "core/node/state.h"

/* A page of history, from what is applied here. What is durable is read from disk. What was applied
 * and is not durable here yet lies in the ring of recent records, which keeps it for just as long:
 * so nobody waits for a flush, and a node whose disk is full or slow shows all that it applied. */

enum { STORE_HEAD_BYTES = 29 }; /* a record of the store's before its body's length */

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

/* --- the ring's part -------------------------------------------------------------------------- */

/* The page's next post in the ring; false: there is none. */
static bool next_in_ring(const struct node *node, const struct pending_query *page,
                         uint64_t *position, struct wire_record *record)
{
    struct recent_record recent;
    while ((*position = recent_next(node->recent, *position, page->ring_after, &recent)) != 0) {
        if (recent.room != page->room || recent.seq > page->seq_to || recent.seq < page->seq_from)
            continue;
        bool decoded = wire_decode_record(record, recent.message);
        CHECK(decoded);
        if (record->kind == RECORD_POST || record->kind == RECORD_ME)
            return true;
    }
    return false;
}

static size_t row_bytes(const struct wire_record *record)
{
    return NODE_RECORD_OVERHEAD + record->text.len;
}

/* Decides what of the page comes from where. Of a page that goes backward the newest posts are what
 * was asked for: when they fill it alone, it begins with the first of them that fits. */
static void split(struct node *node, struct pending_query *page)
{
    struct wire_record record;
    uint64_t position = 0;
    size_t bytes = 0;
    page->ring_after = raft_durable(node->raft);
    page->ring_seq = UINT64_MAX;
    if (chat_room(node->chat, page->room)->last_index <= page->ring_after)
        return;
    CHECK(recent_floor(node->recent) <= page->ring_after);
    while (next_in_ring(node, page, &position, &record)) {
        if (page->ring_seq == UINT64_MAX)
            page->ring_seq = record.seq;
        bytes += row_bytes(&record);
    }
    if (page->query.has_after || bytes <= NODE_PAGE_BYTES / 2)
        return;
    position = 0;
    while (next_in_ring(node, page, &position, &record)) {
        page->seq_from = page->ring_seq = record.seq;
        if (bytes <= NODE_PAGE_BYTES)
            break;
        bytes -= row_bytes(&record);
    }
    page->more = page->seq_from > 1;
}

static void write_row(struct node *node, const struct session *session, uint32_t room,
                      struct wire_record *record, struct writer *writer)
{
    uint8_t *size = write_room(writer, 4);
    CHECK(size != NULL);
    size_t len = stream_encode_for(node, room, session->account, record, writer->at,
                                   (size_t)(writer->end - writer->at));
    bytes_put_u32(size, (uint32_t)len);
    writer->at += len;
}

/* false: the page is full before its end. */
static bool write_ring(struct node *node, const struct session *session,
                       const struct pending_query *page, struct writer *writer)
{
    struct wire_record record;
    uint64_t position = 0;
    if (page->ring_seq > page->seq_to)
        return true;
    while (next_in_ring(node, page, &position, &record)) {
        if (writer_used(writer) + row_bytes(&record) > NODE_PAGE_BYTES + LIMIT_COMMAND_BYTES)
            return false;
        write_row(node, session, page->room, &record, writer);
    }
    return true;
}

/* --- the disk's part -------------------------------------------------------------------------- */

static uint64_t disk_to(const struct pending_query *page)
{
    return page->ring_seq <= page->seq_to ? page->ring_seq - 1 : page->seq_to;
}

/* Records as the store gives them become records as the client reads them, each with its size
 * before. */
static void write_rows(struct node *node, const struct session *session, struct slice data,
                       struct writer *writer)
{
    struct reader reader = reader_of(data.data, data.len);
    while (reader_left(&reader)) {
        struct stored_record stored = stored_next(&reader);
        struct wire_record record;
        if ((stored.kind == NODE_STORE_POST || stored.kind == NODE_STORE_DELETED) &&
            stream_record_of(node, &stored, &record))
            write_row(node, session, stored.room, &record, writer);
    }
}

/* The answer did not hold the page. Forward it is just shorter; backward its newest posts are what was asked for, so fewer
 * are read again: half of what fitted, or none but the ring's. */
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
    if (fitted == 0 && page->ring_seq <= page->seq_to)
        fewer = 0;
    else if (disk_to(page) - page->seq_from + 1 <= fewer)
        return false;
    page->seq_from = disk_to(page) - fewer + 1;
    page->more = true;
    return true;
}

/* --- one page --------------------------------------------------------------------------------- */

static void answer(struct node *node, struct pending_query *page, struct slice data, bool cut,
                   const struct effects *out)
{
    struct session *session = session_if_same(node, page->connection, page->generation);
    page->used = false;
    if (!session)
        return;
    CHECK(session->pages > 0);
    session->pages--;
    struct writer writer = query_begin_result(node, &page->query, CODE_OK, 0);
    write_rows(node, session, data, &writer);
    bool more = page->more || cut;
    if (!cut && !write_ring(node, session, page, &writer))
        more = true;
    if (more)
        writer.start[RESULT_FLAGS_AT] |= RESULT_MORE;
    if (page->stale)
        writer.start[RESULT_FLAGS_AT] |= RESULT_STALE;
    query_end_result(node, session, &writer, out);
}

static bool may_start(const struct node *node, const struct pending_query *page)
{
    return page->used && !page->reading && node->query_reads < NODE_QUERY_READS;
}

static void start_page(struct node *node, struct pending_query *page, const struct effects *out)
{
    CHECK(may_start(node, page));
    split(node, page);
    if (page->seq_from > disk_to(page)) {
        answer(node, page, (struct slice) { NULL, 0 }, false, out);
        return;
    }
    page->reading = true;
    node->query_reads++;
    uint64_t id = read_id(READ_FOR_QUERY, 0, (uint32_t)(page - node->queries));
    bool alone = page->ring_seq > page->seq_to || page->query.has_after;
    struct effect effect = {
        .kind = EFFECT_READ_POSTS,
        .read = { .id = id,
                  .capacity = alone ? NODE_PAGE_BYTES : NODE_PAGE_BYTES / 2,
                  .posts = { .room = page->room,
                             .seq_from = page->seq_from,
                             .seq_to = disk_to(page),
                             .forward_to = page->query.has_after ? page->seq_last : 0,
                             .upto_index = node_settled(node),
                             .max_records = LIMIT_HISTORY_PAGE } },
    };
    effect_emit(out, &effect);
}

void history_query(struct node *node, struct session *session, const struct wire_query *query,
                   uint32_t room, const struct effects *out)
{
    const struct chat_room *shown = chat_room(node->chat, room);
    struct pending_query page = {
        .used = true, .query = *query, .room = room, .seq_last = shown->last_seq
    };
    if (query->limit < 1 || query->limit > LIMIT_HISTORY_PAGE) {
        query_refuse(node, session, query, CODE_BAD_REQUEST, out);
        return;
    }
    if (!shown->last_seq || !page_of(query, 1, shown->last_seq, &page)) {
        query_refuse(node, session, query, CODE_OK, out); /* an empty page */
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
        page.query.room = (struct slice) { NULL, 0 };
        *slot = page;
        if (i >= node->queries_used)
            node->queries_used = i + 1;
        if (may_start(node, slot))
            start_page(node, slot, out);
        return;
    }
    query_refuse(node, session, query, CODE_BUSY, out);
}

static void page_read(struct node *node, struct pending_query *page, const struct node_event *event,
                      const struct effects *out)
{
    CHECK(page->used && page->reading);
    CHECK(node->query_reads > 0);
    node->query_reads--;
    page->reading = false;
    struct session *session = session_if_same(node, page->connection, page->generation);
    if (session && event->read.failed) {
        page->used = false;
        session->pages--;
        query_refuse(node, session, &page->query, CODE_UNAVAILABLE, out);
        return;
    }
    /* The ring may have moved on over what became durable meanwhile. */
    bool moved = page->ring_seq <= page->seq_to && recent_floor(node->recent) > page->ring_after;
    /* What it keeps of what was asked for is not durable: the ring has it. */
    bool gone = page->query.has_after && !event->read.data.len;
    if (!page->query.has_after && !event->read.older)
        page->more = false; /* what was before is not kept any more */
    if (session && (moved || (event->read.more && shrink_page(page, event->read.data))))
        start_page(node, page, out);
    else
        answer(node, page, event->read.data, event->read.more && !gone, out);
}

void history_read_done(struct node *node, uint32_t number, const struct node_event *event,
                       const struct effects *out)
{
    CHECK(number < NODE_QUERIES);
    bool others_wait = node->query_reads == NODE_QUERY_READS;
    page_read(node, &node->queries[number], event, out);
    for (uint32_t i = 0; others_wait && i < node->queries_used; i++)
        if (may_start(node, &node->queries[i]))
            start_page(node, &node->queries[i], out);
}

/* A page that is being read keeps its place until the read is done; one that waits is forgotten at once. */
void history_closed(struct node *node, uint32_t connection)
{
    for (uint32_t i = 0; i < node->queries_used; i++) {
        struct pending_query *page = &node->queries[i];
        if (page->used && !page->reading && page->connection == connection)
            page->used = false;
    }
}
