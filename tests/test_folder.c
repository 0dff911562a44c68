/* See tests/test_folder.h. */
#include "tests/test_folder.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cmd/crypto_sodium.h"

enum { ROOMS = 3, SEALED = 9 };

/* --- the folder ---------------------------------------------------------------------------------
 */

static uint64_t seqs[ROOMS + 1];

static void post(struct test_store *test, uint64_t index)
{
    const uint32_t room = 1 + (uint32_t)(index % ROOMS);
    const bool event = index % 5 == 0;
    seqs[room] += !event;
    store_index(test->store, room, seqs[room], index, event);
}

static void seal(struct test_store *test)
{
    struct store *store = test->store;
    static const uint8_t state[600] = { 's' };
    do
        test_add(test, 1);
    while (!segment_full(&store->segments[store->segments_count - 1], store->segment_bytes));
    for (uint64_t index = store->indexed_last + 1; index <= test->log.last; index++)
        post(test, index);
    test_must(store_checkpoint(store, test->log.last, (struct slice) { state, sizeof state }));
}

enum ft_error folder_hold(struct test_store *test, uint64_t first)
{
    static uint8_t entry[4096];
    static const uint8_t no_chain[HASH_BYTES];
    const uint8_t body[700] = { 'h', (uint8_t)first };
    const uint32_t size = sizeof body;
    struct entry_draft draft = { ENTRY_COMMANDS, first, 0, 1, 1, &size, body };
    size_t len = entry_build(entry, sizeof entry, &draft, &crypto_sodium, test_cluster, no_chain);
    entry_set_local(entry, first, 0, 0, &crypto_sodium, test_cluster);
    return store_hold(test->store,
                      &(struct store_hold) { .number = first, .entry = { entry, len } });
}

void folder_reopen(struct test_store *test)
{
    test_store_close(test);
    test_must(test_store_open(test));
    test->store->retains = true;
}

struct test_store *folder_new(void)
{
    struct test_store *test = test_store_new(1, COPY_SEGMENT_BYTES);
    enum ft_error error;
    memset(seqs, 0, sizeof seqs);
    test_must(test_store_open(test));
    test->store->retains = true;
    test_must(test_flush(test, &test_form));
    test_must(test_flush(test, &(struct test_flush) { .save_vote = true, .term = 2, .vote = 2 }));
    for (int i = 0; i < SEALED; i++)
        seal(test);
    assert_true(test_retain(test, 5 * COPY_SEGMENT_BYTES, &error) > 1);
    test_must(error);
    test_must(folder_hold(test, 1));
    test_must(folder_hold(test, 2));
    folder_reopen(test); /* another start, another file */
    test_must(folder_hold(test, 3));
    test_must(store_prepare(test->store));
    for (int i = 0; i < 3; i++)
        test_add(test, 3);
    return test;
}

/* The postings that are in memory only come again after a start. */
void folder_post_rest(struct test_store *test)
{
    memset(seqs, 0, sizeof seqs);
    for (uint64_t index = 1; index <= test->log.last; index++)
        post(test, index);
}

struct test_store *folder_like(const struct test_store *before)
{
    struct test_store *test = test_store_new(1, COPY_SEGMENT_BYTES);
    sim_disk_free(test->disk);
    test->disk = sim_disk_copy(before->disk);
    test->flush = before->flush;
    test->log = before->log;
    return test;
}

/* --- questions ----------------------------------------------------------------------------------
 */

static void put(struct folder_reply *reply, const void *data, size_t len)
{
    assert_true(reply->len + len <= sizeof reply->bytes);
    memcpy(reply->bytes + reply->len, data, len);
    reply->len += len;
}

static enum ft_error ask_posts(struct test_store *test, const struct store_query *query,
                               size_t capacity, struct folder_reply *reply)
{
    static uint8_t out[FOLDER_OUT_BYTES];
    struct store_answer answer;
    const enum ft_error error = store_read_posts(test->store, query, out, capacity, &answer);
    if (error)
        return error;
    put(reply, out, answer.len);
    put(reply, &answer.records, sizeof answer.records);
    put(reply, &answer.last_index, sizeof answer.last_index);
    const bool flags[] = { answer.more, answer.older };
    put(reply, flags, sizeof flags);
    return FT_OK;
}

struct by_seq {
    uint32_t room, max_records;
    uint64_t from, to, forward_to;
    size_t capacity;
};

static const struct by_seq by_seqs[] = {
    { 1, 1000, 1, 9999, 0, FOLDER_OUT_BYTES },
    { 2, 1000, 1, 4, 9999, FOLDER_OUT_BYTES },
    { 3, 1000, 14, 17, 0, FOLDER_OUT_BYTES },
    { 1, 2, 12, 9999, 0, FOLDER_OUT_BYTES },
    { 2, 1000, 13, 9999, 0, 700 },
    { 3, 1000, 900, 999, 0, FOLDER_OUT_BYTES },
    { 9, 1000, 1, 9, 0, FOLDER_OUT_BYTES },
    { 1, 1000, 2, 1, 0, FOLDER_OUT_BYTES },
};
enum { BY_SEQS = sizeof by_seqs / sizeof by_seqs[0], MERGES = 6 };

static enum ft_error ask_merged(struct test_store *test, unsigned number,
                                struct folder_reply *reply)
{
    const uint64_t begin = test->store->begin;
    struct store_room_range rooms[ROOMS + 1];
    for (uint32_t i = 0; i <= ROOMS; i++)
        rooms[i] = (struct store_room_range) {
            .room = i + 1, .after_index = begin - 1, .upto_index = 10000, .last_seq = i == 3 ? 7 : 0
        };
    struct store_query query = { .rooms_count = ROOMS + 1, .rooms = rooms, .max_records = 1000 };
    size_t capacity = FOLDER_OUT_BYTES;
    if (number == 0) /* overtaken, but one */
        rooms[0].after_index = rooms[2].after_index = rooms[3].after_index = 2;
    if (number == 1) /* in the middle, each elsewhere */
        rooms[0].after_index = begin + 7, rooms[1].after_index = begin + 20;
    if (number == 2) /* posts that are left out, told once, or not any more */
        rooms[0].from_seq = 15, rooms[1].from_seq = 9999, rooms[2].from_seq = 14,
        rooms[2].skip_told = true;
    if (number == 3) /* a page */
        query.max_records = 5;
    if (number == 4)
        capacity = 900, rooms[0].from_seq = 9999;
    if (number == 5) /* a page full of what is gone */
        query.max_records = 1, rooms[0].after_index = rooms[1].after_index = 0;
    return ask_posts(test, &query, capacity, reply);
}

static enum ft_error ask_piece(struct test_store *test, enum store_piece_kind kind, uint64_t index,
                               uint64_t offset, struct folder_reply *reply)
{
    static uint8_t out[LIMIT_ENTRY_BYTES];
    const struct store_piece piece = { kind, index, offset };
    size_t len;
    uint64_t size;
    const enum ft_error error = store_read_piece(test->store, &piece, 100, out, &len, &size);
    if (!error) {
        put(reply, &size, sizeof size);
        put(reply, out, len);
    }
    return error;
}

static enum ft_error ask_base(struct test_store *test, struct folder_reply *reply)
{
    struct store_base base;
    uint8_t *file;
    const enum ft_error error = store_base_read(test->store, &base, &file);
    if (!error)
        put(reply, base.state.data, base.state.len);
    free(file);
    return error;
}

static void count_damage(void *ctx, const struct store_damage *damage)
{
    (void)damage;
    ++*(unsigned *)ctx;
}

static enum ft_error ask_verify(struct test_store *test, struct folder_reply *reply)
{
    unsigned damages = 0;
    uint64_t entries;
    const enum ft_error error = store_verify(test->store, count_damage, &damages, &entries);
    assert_int_equal(damages, 0); /* what cannot be read is no damage */
    if (!error)
        put(reply, &entries, sizeof entries);
    return error;
}

static enum ft_error ask_entries(struct test_store *test, uint64_t index, size_t capacity,
                                 struct folder_reply *reply)
{
    static uint8_t out[FOLDER_OUT_BYTES];
    size_t len;
    const enum ft_error error = store_read_entries(test->store, index, out, capacity, &len);
    if (!error)
        put(reply, out, len);
    return error;
}

enum { PIECES = BY_SEQS + MERGES };
_Static_assert(PIECES == (int)FOLDER_PARTLY, "as the header says");
_Static_assert(PIECES + 10 == (int)FOLDER_VERIFY, "as the header says");
_Static_assert(PIECES + 14 == (int)FOLDER_QUESTIONS, "as the header says");

enum ft_error folder_ask(struct test_store *test, unsigned number, struct folder_reply *reply)
{
    const struct store *store = test->store;
    reply->len = 0;
    if (number < BY_SEQS) {
        const struct by_seq *by = &by_seqs[number];
        const struct store_query query = { .room = by->room,
                                           .seq_from = by->from,
                                           .seq_to = by->to,
                                           .forward_to = by->forward_to,
                                           .max_records = by->max_records };
        return ask_posts(test, &query, by->capacity, reply);
    }
    if (number < PIECES)
        return ask_merged(test, number - BY_SEQS, reply);
    switch (number - PIECES) {
    case 0:
        return ask_piece(test, STORE_PIECE_INDEX, store->segments[1].first, 0, reply);
    case 1:
        return ask_piece(test, STORE_PIECE_INDEX, store->segments[1].first, 1 << 20, reply);
    case 2: /* begins no segment */
        return ask_piece(test, STORE_PIECE_INDEX, store->segments[1].first + 1, 0, reply);
    case 3: /* is not sealed */
        return ask_piece(test, STORE_PIECE_INDEX, store->indexed_last + 1, 0, reply);
    case 4:
        return ask_piece(test, STORE_PIECE_INDEX, 99999, 0, reply);
    case 5:
        return ask_piece(test, STORE_PIECE_CHECKPOINT, store->indexed_last, 50, reply);
    case 6:
        return ask_piece(test, STORE_PIECE_CHECKPOINT, 99999, 0, reply);
    case 7: /* longer than what was wanted */
        return ask_piece(test, STORE_PIECE_ENTRIES, store->begin, 0, reply);
    case 8:
        return ask_piece(test, STORE_PIECE_ENTRIES, 1, 0, reply);
    case 9:
        return ask_base(test, reply);
    case 10:
        return ask_verify(test, reply);
    case 11:
        return ask_entries(test, store->begin + 3, FOLDER_OUT_BYTES, reply);
    case 12: /* of no kind */
        return ask_piece(test, (enum store_piece_kind)9, store->begin, 0, reply);
    default:
        return ask_entries(test, store->indexed_last, 900, reply);
    }
}
