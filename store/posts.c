/* Answers queries for posts: one room by seq, or several rooms merged by index.
 *
 * The log's history of postings is a row of spans: the indexed segments in order, then memory. A
 * query goes through the spans it needs; within one, each room has a cursor on its postings, and a
 * heap of the cursors gives them in the order of the log. */
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "store/internal.h"

enum { CURSOR_POSTINGS = 16 };

struct cursor {
    const struct store_room_range *range;
    bool told;     /* the skipped record was written, or an earlier page's was */
    uint32_t next; /* ordinal in the span of the next to be fetched */
    uint32_t count;
    uint32_t at;
    struct posting postings[CURSOR_POSTINGS];
};

struct span {
    bool memory;
    struct segment segment; /* when not memory */
    uint64_t last;
};

struct query {
    struct store *store;
    const struct store_query *ask;
    uint64_t durable_last;
    uint64_t seq_to;
    uint8_t *out;
    size_t capacity;
    struct store_answer *answer;
    struct span span;
    bool stop;
};

/* --- records ------------------------------------------------------------------------------------
 */

static bool has_room(struct query *query, size_t bytes)
{
    bool fits = query->answer->records < query->ask->max_records &&
                query->capacity - query->answer->len >= bytes;
    if (!fits) {
        query->answer->more = true;
        query->stop = true;
    }
    return fits;
}

static void put_head(uint8_t *at, enum store_record_kind kind, uint32_t room, uint64_t seq,
                     uint64_t index, uint64_t time_us, uint32_t size)
{
    at[0] = (uint8_t)kind;
    bytes_put_u32(at + 1, room);
    bytes_put_u64(at + 5, seq);
    bytes_put_u64(at + 13, index);
    bytes_put_u64(at + 21, time_us);
    bytes_put_u32(at + 29, size);
}

/* An index file is lost that may tell that this post is deleted. */
static bool unsure(struct store *store, uint64_t index)
{
    store_lock(store);
    bool is = index <= store->unsure || store->deletions_lost;
    store_unlock(store);
    return is;
}

static enum store_record_kind kind_of(struct store *store, const struct posting *posting)
{
    uint32_t check;
    if (posting->event)
        return STORE_EVENT;
    return store_deleted(store, posting->index, &check) ? STORE_DELETED : STORE_POST;
}

static enum ft_error put_posting(struct query *query, uint32_t room, const struct posting *posting)
{
    if (!has_room(query, STORE_RECORD_BYTES))
        return FT_OK;
    uint8_t *at = query->out + query->answer->len;
    size_t left = query->capacity - query->answer->len - STORE_RECORD_BYTES;
    uint32_t size;
    uint64_t time_us;
    if (!posting->event && unsure(query->store, posting->index))
        return FT_ERROR_CORRUPT;
    enum ft_error error =
        reading_body(query->store, posting->index, at + STORE_RECORD_BYTES, left, &size, &time_us);
    if (error)
        return error;
    if (!has_room(query, STORE_RECORD_BYTES + size))
        return FT_OK;
    put_head(at, kind_of(query->store, posting), room, posting->seq, posting->index, time_us, size);
    query->answer->len += STORE_RECORD_BYTES + size;
    query->answer->records++;
    query->answer->last_index = posting->index;
    return FT_OK;
}

/* --- spans --------------------------------------------------------------------------------------
 */

/* The span that holds the first index above `after`. */
static void span_after(struct query *query, uint64_t after)
{
    struct store *store = query->store;
    struct segment *segment = NULL;
    store_lock(store);
    if (after < store->indexed_last)
        segment = segments_find(store, after + 1);
    query->span.memory = !segment;
    query->span.last = UINT64_MAX;
    if (segment) {
        query->span.segment = *segment;
        query->span.last = segment->last;
    }
    store_unlock(store);
    query->span.segment.marks = NULL;
}

/* Ordinal of the first posting of `room` in the span for which `index` > after, and their count. */
static enum ft_error span_seek(struct query *query, uint32_t room, uint64_t after,
                               uint32_t *ordinal, uint32_t *count)
{
    struct store *store = query->store;
    *ordinal = 0;
    *count = 0;
    if (query->span.memory) {
        store_lock(store);
        const struct room_postings *list = postings_room(&store->postings, room);
        if (list) {
            *ordinal = postings_after(list, after);
            *count = list->count;
        }
        store_unlock(store);
        return FT_OK;
    }
    struct index_file *file;
    struct index_room line;
    enum ft_error error = index_file_open(store, &query->span.segment, &file);
    if (!error)
        error = index_file_room(store, file, room, &line);
    if (error)
        return error;
    uint32_t high = line.count;
    while (*ordinal < high && !error) {
        uint32_t middle = *ordinal + (high - *ordinal) / 2;
        struct posting posting;
        error = index_file_posting(store, file, &line, middle, &posting);
        if (!error && posting.index <= after)
            *ordinal = middle + 1;
        else
            high = middle;
    }
    *count = line.count;
    return error;
}

/* Up to `want` postings from `ordinal` on. */
static enum ft_error span_fetch(struct query *query, uint32_t room, uint32_t ordinal,
                                struct posting *postings, uint32_t want, uint32_t *got)
{
    struct store *store = query->store;
    *got = 0;
    if (query->span.memory) {
        store_lock(store);
        const struct room_postings *list = postings_room(&store->postings, room);
        for (; list && *got < want && ordinal + *got < list->count; (*got)++)
            postings[*got] = postings_get(list, ordinal + *got);
        store_unlock(store);
        return FT_OK;
    }
    struct index_file *file;
    struct index_room line;
    enum ft_error error = index_file_open(store, &query->span.segment, &file);
    if (!error)
        error = index_file_room(store, file, room, &line);
    for (; !error && *got < want && ordinal + *got < line.count; (*got)++)
        error = index_file_posting(store, file, &line, ordinal + *got, &postings[*got]);
    return error;
}

/* --- one room by seq ----------------------------------------------------------------------------
 */

/* Ordinal of the first posting in the span with seq >= `seq`, events before that post included. */
static enum ft_error seek_seq(struct query *query, uint32_t room, uint64_t seq, uint32_t count,
                              uint32_t *ordinal)
{
    uint32_t high = count;
    *ordinal = 0;
    while (*ordinal < high) {
        uint32_t middle = *ordinal + (high - *ordinal) / 2;
        struct posting posting;
        uint32_t got;
        enum ft_error error = span_fetch(query, room, middle, &posting, 1, &got);
        if (error)
            return error;
        CHECK(got == 1);
        if (posting.seq < seq)
            *ordinal = middle + 1;
        else
            high = middle;
    }
    return FT_OK;
}

/* The first post that is found lies after the one that was asked for: what is between is gone. */
static void shift_forward(struct query *query, uint64_t found)
{
    const struct store_query *ask = query->ask;
    if (!ask->forward_to || query->answer->records || found == ask->seq_from)
        return;
    uint64_t to = found + (ask->seq_to - ask->seq_from);
    query->seq_to = to < ask->forward_to ? to : ask->forward_to;
}

static enum ft_error by_seq_in_span(struct query *query, uint64_t *seq)
{
    const struct store_query *ask = query->ask;
    uint32_t ordinal;
    uint32_t count;
    enum ft_error error = span_seek(query, ask->room, 0, &ordinal, &count);
    if (!error)
        error = seek_seq(query, ask->room, *seq, count, &ordinal);
    while (!error && !query->stop) {
        struct posting postings[CURSOR_POSTINGS];
        uint32_t got;
        error = span_fetch(query, ask->room, ordinal, postings, CURSOR_POSTINGS, &got);
        if (error || got == 0)
            break;
        ordinal += got;
        for (uint32_t i = 0; i < got && !error && !query->stop; i++) {
            if (postings[i].event || postings[i].seq < *seq)
                continue;
            shift_forward(query, postings[i].seq);
            if (postings[i].seq > query->seq_to) {
                query->stop = true;
            } else if (postings[i].index > query->durable_last) {
                query->answer->more = true;
                query->stop = true;
            } else {
                error = put_posting(query, ask->room, &postings[i]);
                *seq = postings[i].seq + 1;
            }
        }
    }
    return error;
}

/* Does the span hold a post (an event is none) of the room below `seq`? */
static enum ft_error span_has_older(struct query *query, uint32_t room, uint64_t seq, bool *older)
{
    uint32_t got;
    struct posting posting;
    *older = false;
    for (uint32_t ordinal = 0; !*older; ordinal++) {
        enum ft_error error = span_fetch(query, room, ordinal, &posting, 1, &got);
        if (error || !got || posting.seq >= seq)
            return error;
        *older = !posting.event;
    }
    return FT_OK;
}

/* The newest span with a post below `seq`, found from the end, since most ask for what is new; or
 * the oldest of all, when no such post is kept. */
static enum ft_error by_seq_start(struct query *query, uint64_t seq, uint64_t *after)
{
    struct store *store = query->store;
    bool *older = &query->answer->older;
    store_lock(store);
    *after = store->indexed_last;
    store_unlock(store);
    span_after(query, *after);
    enum ft_error error = span_has_older(query, query->ask->room, seq, older);
    while (!*older && !error) {
        struct segment segment;
        if (!reading_segment(store, *after, &segment, NULL))
            break;
        *after = segment.first - 1;
        span_after(query, *after);
        error = span_has_older(query, query->ask->room, seq, older);
    }
    return error;
}

static enum ft_error by_seq(struct query *query)
{
    uint64_t seq = query->ask->seq_from;
    uint64_t after;
    if (seq > query->ask->seq_to)
        return FT_OK;
    enum ft_error error = by_seq_start(query, seq, &after);
    while (!error && !query->stop) {
        span_after(query, after);
        error = by_seq_in_span(query, &seq);
        if (query->span.memory)
            break;
        after = query->span.last;
    }
    return error;
}

/* --- what is not kept any more ------------------------------------------------------------------
 */

/* The seq before the room's first kept post; its newest one when none is kept. */
static enum ft_error last_gone(struct query *query, const struct store_room_range *range,
                               uint64_t begin, uint64_t *seq)
{
    uint32_t room = range->room;
    uint64_t after = begin - 1;
    *seq = range->last_seq;
    for (;;) {
        uint32_t got = 1;
        struct posting posting = { 0 };
        span_after(query, after);
        for (uint32_t ordinal = 0; got; ordinal++) {
            enum ft_error error = span_fetch(query, room, ordinal, &posting, 1, &got);
            if (!error && got)
                *seq = posting.event ? posting.seq : posting.seq - 1;
            if (error || (got && !posting.event))
                return error;
        }
        if (query->span.memory)
            return FT_OK;
        after = query->span.last;
    }
}

/* A reader whose cursor lies before the log's beginning is told so, room by room, before anything
 * else. It cannot be known any more whether a room had something between the two: it is told that
 * what lies before is not kept. */
static enum ft_error tell_truncated(struct query *query, uint64_t begin)
{
    enum ft_error error = FT_OK;
    for (uint32_t i = 0; i < query->ask->rooms_count && !error && !query->stop; i++) {
        const struct store_room_range *range = &query->ask->rooms[i];
        uint64_t last;
        if (range->after_index + 1 >= begin)
            continue;
        error = last_gone(query, range, begin, &last);
        if (error || !last || !has_room(query, STORE_RECORD_BYTES))
            continue;
        put_head(query->out + query->answer->len, STORE_TRUNCATED, range->room, 1, last, 0, 0);
        query->answer->len += STORE_RECORD_BYTES;
        query->answer->records++;
    }
    if (!query->stop && query->answer->records)
        query->answer->last_index = begin - 1;
    return error;
}

/* --- several rooms, merged ----------------------------------------------------------------------
 */

static enum ft_error cursor_fill(struct query *query, struct cursor *cursor)
{
    cursor->at = 0;
    enum ft_error error = span_fetch(query, cursor->range->room, cursor->next, cursor->postings,
                                     CURSOR_POSTINGS, &cursor->count);
    cursor->next += cursor->count;
    return error;
}

static uint64_t cursor_index(const struct cursor *cursor)
{
    uint64_t index = cursor->at < cursor->count ? cursor->postings[cursor->at].index : UINT64_MAX;
    return index > cursor->range->upto_index ? UINT64_MAX : index;
}

static void sift_down(struct cursor **heap, uint32_t count, uint32_t at)
{
    for (;;) {
        uint32_t child = 2 * at + 1;
        if (child >= count)
            return;
        if (child + 1 < count && cursor_index(heap[child + 1]) < cursor_index(heap[child]))
            child++;
        if (cursor_index(heap[at]) <= cursor_index(heap[child]))
            return;
        struct cursor *swap = heap[at];
        heap[at] = heap[child];
        heap[child] = swap;
        at = child;
    }
}

/* The newest seq of the room at `upto`, looked for from `posting` on: what the skipped record
 * names as the last one left out when the room ends before from_seq. */
static enum ft_error last_skipped(struct query *query, const struct store_room_range *range,
                                  const struct posting *posting, uint64_t *seq)
{
    struct span here = query->span;
    uint64_t upto =
        range->upto_index < query->durable_last ? range->upto_index : query->durable_last;
    enum ft_error error = FT_OK;
    *seq = posting->seq;
    for (uint64_t after = posting->index; !error && after < upto && *seq + 1 < range->from_seq;) {
        uint32_t ordinal;
        uint32_t count;
        span_after(query, after);
        /* The last one at or before `upto` is the one before the first above it. */
        error = span_seek(query, range->room, upto, &ordinal, &count);
        struct posting last = { 0 };
        uint32_t got = 0;
        if (!error && ordinal)
            error = span_fetch(query, range->room, ordinal - 1, &last, 1, &got);
        if (got && last.seq > *seq)
            *seq = last.seq;
        after = query->span.last;
    }
    if (*seq >= range->from_seq)
        *seq = range->from_seq - 1;
    query->span = here;
    return error;
}

static enum ft_error put_next(struct query *query, struct cursor *cursor)
{
    const struct posting *posting = &cursor->postings[cursor->at];
    if (posting->event || posting->seq >= cursor->range->from_seq)
        return put_posting(query, cursor->range->room, posting);
    if (cursor->told)
        return FT_OK;
    if (!has_room(query, STORE_RECORD_BYTES))
        return FT_OK;
    uint64_t last;
    enum ft_error error = last_skipped(query, cursor->range, posting, &last);
    if (error)
        return error;
    put_head(query->out + query->answer->len, STORE_SKIPPED, cursor->range->room, posting->seq,
             last, 0, 0);
    query->answer->len += STORE_RECORD_BYTES;
    query->answer->records++;
    query->answer->last_index = posting->index;
    cursor->told = true;
    return FT_OK;
}

static enum ft_error merge_span(struct query *query, struct cursor *cursors, struct cursor **heap,
                                uint64_t *reached)
{
    uint32_t count = 0;
    enum ft_error error = FT_OK;
    for (uint32_t i = 0; i < query->ask->rooms_count && !error; i++) {
        uint32_t all;
        struct cursor *cursor = &cursors[i];
        error =
            span_seek(query, cursor->range->room, cursor->range->after_index, &cursor->next, &all);
        if (!error)
            error = cursor_fill(query, cursor);
        if (!error && cursor_index(cursor) != UINT64_MAX)
            heap[count++] = cursor;
    }
    for (uint32_t i = count / 2; i > 0; i--)
        sift_down(heap, count, i - 1);
    while (count && !error) {
        struct cursor *cursor = heap[0];
        uint64_t index = cursor_index(cursor);
        if (index == UINT64_MAX) {
            heap[0] = heap[--count];
        } else if (index > query->durable_last) {
            query->answer->more = true;
            query->stop = true;
        } else {
            error = put_next(query, cursor);
            if (!query->stop) {
                *reached = index;
                if (++cursor->at == cursor->count && !error)
                    error = cursor_fill(query, cursor);
            }
        }
        if (query->stop)
            break;
        sift_down(heap, count, 0);
    }
    return error;
}

static enum ft_error merged(struct query *query)
{
    uint32_t rooms = query->ask->rooms_count;
    struct cursor *cursors = calloc(rooms, sizeof *cursors);
    struct cursor **heap = calloc(rooms, sizeof *heap);
    enum ft_error error = cursors && heap ? FT_OK : FT_ERROR_LIMIT;
    uint64_t after = UINT64_MAX;
    uint64_t upto = 0;
    for (uint32_t i = 0; i < rooms && !error; i++) {
        const struct store_room_range *range = &query->ask->rooms[i];
        cursors[i].range = range;
        cursors[i].told = range->skip_told;
        if (range->after_index < after)
            after = range->after_index;
        if (range->upto_index > upto)
            upto = range->upto_index;
    }
    uint64_t reached = 0;
    store_lock(query->store);
    uint64_t begin = query->store->begin;
    store_unlock(query->store);
    if (!error && after + 1 < begin) {
        error = tell_truncated(query, begin);
        after = begin - 1;
    }
    while (!error && !query->stop && after < upto) {
        span_after(query, after);
        error = merge_span(query, cursors, heap, &reached);
        if (query->span.memory)
            break;
        after = query->span.last;
    }
    /* What was silently left out before the cut need not be walked over again. */
    if (reached > query->answer->last_index)
        query->answer->last_index = reached;
    free(cursors);
    free(heap);
    return error;
}

enum ft_error store_read_posts(struct store *store, const struct store_query *query, uint8_t *out,
                               size_t capacity, struct store_answer *answer)
{
    *answer = (struct store_answer) { 0 };
    struct query run = { .store = store,
                         .ask = query,
                         .out = out,
                         .capacity = capacity,
                         .answer = answer,
                         .seq_to = query->seq_to };
    store_lock(store);
    run.durable_last = store->durable_last;
    store_unlock(store);
    if (query->upto_index && query->upto_index < run.durable_last)
        run.durable_last = query->upto_index;
    return query->rooms_count ? merged(&run) : by_seq(&run);
}
