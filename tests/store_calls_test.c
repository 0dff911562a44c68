/* A folder with everything in it: a log that begins above 1, segments with their indexes and one
 * without, checkpoints, held files, leftovers. It is asked all that can be asked, it is opened, and its
 * history is dropped and its held log written, while each call of the disk and each allocation fails in
 * turn. An answer is told to have failed or is the right one, and asked again it is right; what fails
 * at opening changes nothing; and what was promised stays. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cmd/crypto_sodium.h"
#include "store/held.h"
#include "tests/test_copy.h"
#include "tests/test_heap.h"

enum { ROOMS = 3, SEALED = 9, OUT_BYTES = 1 << 20 };

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

static enum ft_error hold(struct test_store *test, uint64_t first)
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

static void reopen(struct test_store *test)
{
    test_store_close(test);
    test_must(test_store_open(test));
    test->store->retains = true;
}

static struct test_store *rich(void)
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
    test_must(hold(test, 1));
    test_must(hold(test, 2));
    reopen(test); /* another start, another file */
    test_must(hold(test, 3));
    test_must(store_prepare(test->store));
    for (int i = 0; i < 3; i++)
        test_add(test, 3);
    heap_spares(test->disk);
    return test;
}

/* The postings that are in memory only come again after a start. */
static void post_rest(struct test_store *test)
{
    memset(seqs, 0, sizeof seqs);
    for (uint64_t index = 1; index <= test->log.last; index++)
        post(test, index);
}

static struct test_store *like(const struct test_store *before)
{
    struct test_store *test = test_store_new(1, COPY_SEGMENT_BYTES);
    sim_disk_free(test->disk);
    test->disk = sim_disk_copy(before->disk);
    test->flush = before->flush;
    test->log = before->log;
    heap_spares(test->disk);
    return test;
}

static void arm(enum ft_error kind, struct test_store *test, uint64_t at)
{
    heap.count = 0;
    if (kind == FT_ERROR_LIMIT)
        heap.fail_at = at;
    else
        sim_disk_fail_call(test->disk, at, kind);
}

static uint64_t calls_before;

/* Has the `at`th call been reached since? */
static bool disarm(enum ft_error kind, struct test_store *test, uint64_t at)
{
    heap.fail_at = 0;
    sim_disk_fail_call(test->disk, 0, FT_OK);
    return kind == FT_ERROR_LIMIT ? heap.count >= at
                                  : sim_disk_calls(test->disk) - calls_before >= at;
}

/* --- questions ----------------------------------------------------------------------------------
 */

struct reply {
    size_t len;
    uint8_t bytes[OUT_BYTES + 256];
};

static void put(struct reply *reply, const void *data, size_t len)
{
    assert_true(reply->len + len <= sizeof reply->bytes);
    memcpy(reply->bytes + reply->len, data, len);
    reply->len += len;
}

static enum ft_error ask_posts(struct test_store *test, const struct store_query *query,
                               size_t capacity, struct reply *reply)
{
    static uint8_t out[OUT_BYTES];
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
    { 1, 1000, 1, 9999, 0, OUT_BYTES }, { 2, 1000, 1, 4, 9999, OUT_BYTES },
    { 3, 1000, 14, 17, 0, OUT_BYTES },  { 1, 2, 12, 9999, 0, OUT_BYTES },
    { 2, 1000, 13, 9999, 0, 700 },      { 3, 1000, 900, 999, 0, OUT_BYTES },
    { 9, 1000, 1, 9, 0, OUT_BYTES },    { 1, 1000, 2, 1, 0, OUT_BYTES },
};
enum { BY_SEQS = sizeof by_seqs / sizeof by_seqs[0], MERGES = 6 };

static enum ft_error ask_merged(struct test_store *test, unsigned number, struct reply *reply)
{
    const uint64_t begin = test->store->begin;
    struct store_room_range rooms[ROOMS + 1];
    for (uint32_t i = 0; i <= ROOMS; i++)
        rooms[i] = (struct store_room_range) {
            .room = i + 1, .after_index = begin - 1, .upto_index = 10000, .last_seq = i == 3 ? 7 : 0
        };
    struct store_query query = { .rooms_count = ROOMS + 1, .rooms = rooms, .max_records = 1000 };
    size_t capacity = OUT_BYTES;
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
                               uint64_t offset, struct reply *reply)
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

static enum ft_error ask_base(struct test_store *test, struct reply *reply)
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

static enum ft_error ask_verify(struct test_store *test, struct reply *reply)
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
                                 struct reply *reply)
{
    static uint8_t out[OUT_BYTES];
    size_t len;
    const enum ft_error error = store_read_entries(test->store, index, out, capacity, &len);
    if (!error)
        put(reply, out, len);
    return error;
}

enum { PIECES = BY_SEQS + MERGES, QUESTIONS = PIECES + 13 };

static enum ft_error ask(struct test_store *test, unsigned number, struct reply *reply)
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
        return ask_entries(test, store->begin + 3, OUT_BYTES, reply);
    default:
        return ask_entries(test, store->indexed_last, 900, reply);
    }
}

static unsigned ask_while_each_fails(struct test_store *test, unsigned number, enum ft_error kind)
{
    static struct reply right, reply;
    unsigned failed = 0;
    reading_forget(test->store);
    test_must(ask(test, number, &right));
    uint64_t at = 1;
    for (bool reached = true; reached; at++) {
        enum ft_error error;
        reading_forget(test->store); /* nothing is known beforehand */
        calls_before = sim_disk_calls(test->disk);
        arm(kind, test, at);
        WATCHED(error = ask(test, number, &reply));
        reached = disarm(kind, test, at);
        failed += error != FT_OK;
        if (!reached)
            assert_int_equal(error, FT_OK);
        else if (!error) /* entries may be fewer than there are, if there is one */
            assert_true(number >= PIECES && reply.len > 0 && reply.len <= right.len);
        if (!error)
            assert_memory_equal(reply.bytes, right.bytes, reply.len);
        test_must(ask(test, number, &reply));
        assert_int_equal(reply.len, right.len);
        assert_memory_equal(reply.bytes, right.bytes, right.len);
    }
    return failed;
}

static void each_question_while_each_call_fails(void **state)
{
    (void)state;
    static const enum ft_error kinds[] = { FT_ERROR_IO, FT_ERROR_LIMIT };
    struct test_store *test = rich();
    unsigned failed = 0;
    post_rest(test);
    for (unsigned number = 0; number < QUESTIONS; number++)
        for (size_t kind = 0; kind < 2; kind++)
            failed += ask_while_each_fails(test, number, kinds[kind]);
    assert_true(failed > 300);
    test_store_free(test);
}

/* --- a folder that nobody runs on ---------------------------------------------------------------
 */

static bool count_entries(void *ctx, const struct entry *entry)
{
    (void)entry;
    ++*(unsigned *)ctx;
    return true;
}

static void looking_at_a_folder_while_each_call_fails(void **state)
{
    (void)state;
    static const enum ft_error kinds[] = { FT_ERROR_IO, FT_ERROR_LIMIT };
    struct test_store *test = rich();
    const struct disk *disk = sim_disk_table(test->disk);
    unsigned whole[2] = { 0, 0 };
    test_store_close(test);
    for (unsigned round = 0; round < 4; round++) {
        const enum ft_error kind = kinds[round / 2];
        uint64_t at = 1;
        for (bool reached = true; reached; at++) {
            unsigned seen = 0, damages = 0;
            uint64_t entries = 0;
            struct store_walk walk = { 1, UINT64_MAX, count_entries, &seen };
            enum ft_error error;
            calls_before = sim_disk_calls(test->disk);
            arm(kind, test, at);
            if (round % 2)
                WATCHED(error = store_walk_folder(disk, &crypto_sodium, &walk));
            else
                WATCHED(error = store_verify_folder(disk, &crypto_sodium, count_damage, &damages,
                                                    &entries));
            reached = disarm(kind, test, at);
            assert_int_equal(error != FT_OK, reached);
            assert_int_equal(damages, 0);
            if (!reached)
                whole[round % 2] = round % 2 ? seen : (unsigned)entries;
        }
        assert_true(at > 3);
    }
    assert_true(whole[0] > 10);
    assert_int_equal(whole[0], whole[1]);
    test_store_free(test);
}

/* --- opening ------------------------------------------------------------------------------------
 */

static void same_as_before(struct test_store *test, const struct test_store *before)
{
    const struct store_recovery *now = &test->recovery, *then = &before->recovery;
    assert_int_equal(now->first_index, then->first_index);
    assert_int_equal(now->last_index, then->last_index);
    assert_int_equal(now->checkpoint_index, then->checkpoint_index);
    assert_int_equal(now->term, then->term);
    assert_int_equal(now->held.last, 3);
    assert_int_equal(now->held.records.len, 3 * (4 + 700));
    assert_true(now->may_vote);
    (void)test_read_all(test, now->first_index - 1, now->last_index, &test->log, NULL);
}

static void opening_while_each_call_fails(void **state)
{
    (void)state;
    static const enum ft_error kinds[] = { FT_ERROR_IO, FT_ERROR_LIMIT };
    struct test_store *before = rich();
    reopen(before);
    test_store_close(before);
    for (size_t k = 0; k < 2; k++) {
        uint64_t at = 1;
        for (bool reached = true; reached; at++) {
            struct test_store *test = like(before);
            enum ft_error error;
            calls_before = sim_disk_calls(test->disk);
            arm(kinds[k], test, at);
            WATCHED(error = test_store_open(test));
            reached = disarm(kinds[k], test, at);
            if (error) {
                assert_true(strlen(test->why) > 10); /* what to do about it */
                assert_null(test->store);
                sim_disk_crash(test->disk, at);
                test_must(test_store_open(test));
            }
            same_as_before(test, before);
            test_store_free(test);
        }
        assert_true(at > 10);
    }
    test_store_free(before);
}

/* --- writing ------------------------------------------------------------------------------------
 */

struct done {
    uint64_t held;  /* records promised */
    bool discarded; /* promised to be gone */
    bool discards;  /* may be gone */
    uint64_t begin; /* at least this much is kept */
};

/* Until something fails that ends the process. */
static enum ft_error write_all(struct test_store *test, struct done *done)
{
    for (uint64_t first = 4; first < 7; first++) {
        const enum ft_error error = hold(test, first);
        if (error && error != FT_ERROR_SPACE)
            return error;
        if (error)
            test_must(hold(test, first)); /* there is room again */
        done->held = first;
    }
    struct store_retention age = { .keep_bytes = 0, .since_us = 1, .floor = UINT64_MAX };
    uint64_t first;
    age.since_us = (test->store->segments[3].first) * 1000;
    enum ft_error error = store_retain(test->store, &age, &first);
    if (error == FT_ERROR_SYNC)
        return error;
    if (!error)
        done->begin = first;
    done->discards = true;
    error = store_hold(test->store, &(struct store_hold) { .number = 99, .discard = true });
    done->discarded = !error;
    return error;
}

static void writing_while_each_call_fails(void **state)
{
    (void)state;
    static const enum ft_error kinds[] = { FT_ERROR_IO, FT_ERROR_SPACE, FT_ERROR_LIMIT };
    struct test_store *before = rich();
    test_store_close(before);
    for (size_t k = 0; k < 3; k++) {
        uint64_t at = 1;
        unsigned told = 0;
        for (bool reached = true; reached; at++) {
            struct test_store *test = like(before);
            struct done done = { .held = 3 };
            test_must(test_store_open(test));
            test->store->retains = true;
            calls_before = sim_disk_calls(test->disk);
            arm(kinds[k], test, at);
            enum ft_error error;
            WATCHED(error = write_all(test, &done));
            reached = disarm(kinds[k], test, at);
            told += error != FT_OK;
            if (error && test->store->log.failed) /* nothing is promised after it */
                assert_int_equal(hold(test, 50), FT_ERROR_IO);
            test_store_close(test);
            sim_disk_crash(test->disk, at);
            test_must(test_store_open(test));
            const struct store_recovery *now = &test->recovery;
            if (done.discarded)
                assert_int_equal(now->held.files, 0);
            if (!done.discards)
                assert_true(now->held.last >= done.held);
            assert_int_equal(now->held.rotten, 0);
            assert_true(now->first_index >= done.begin);
            assert_int_equal(now->last_index, test->log.last);
            uint64_t entries;
            test_must(store_verify(test->store, test_no_damage, NULL, &entries));
            test_store_free(test);
        }
        if (kinds[k] == FT_ERROR_IO)
            assert_true(told > 10);
    }
    test_store_free(before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_question_while_each_call_fails),
        cmocka_unit_test(looking_at_a_folder_while_each_call_fails),
        cmocka_unit_test(opening_while_each_call_fails),
        cmocka_unit_test(writing_while_each_call_fails),
    };
    return cmocka_run_group_tests_name("store_calls", tests, NULL, NULL);
}
