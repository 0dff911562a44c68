/* The log and the vote: what comes back, and what comes back after a crash at any operation. */
#include "tests/test_store.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/random.h"

static const struct test_flush form = {
    .save_cluster = true, .save_vote = true, .term = 1, .vote = 1
};

static struct test_store *formed(uint64_t seed, uint64_t segment_bytes)
{
    struct test_store *test = test_store_new(seed, segment_bytes);
    assert_int_equal(test_store_open(test), FT_OK);
    assert_int_equal(test_flush(test, &form), FT_OK);
    return test;
}

static void blank_folder_is_set_up_and_comes_back(void **state)
{
    (void)state;
    struct test_store *test = test_store_new(1, TEST_SEGMENT_BYTES);
    assert_int_equal(test_store_open(test), FT_OK);
    assert_memory_equal(test->recovery.identity, test_identity, IDENTITY_BYTES);
    assert_false(test->recovery.vote_lost);
    assert_int_equal(test->recovery.last_index, 0);
    assert_int_equal(test->recovery.segment_bytes, TEST_SEGMENT_BYTES);
    test->segment_bytes = 999; /* an existing folder keeps its own */
    test_store_close(test);
    assert_int_equal(test_store_open(test), FT_OK);
    assert_int_equal(test->recovery.segment_bytes, TEST_SEGMENT_BYTES);
    for (size_t i = 0; i < IDENTITY_BYTES; i++)
        assert_int_equal(test->recovery.cluster[i], 0);
    test_store_free(test);
}

static void a_folder_is_held_by_one(void **state)
{
    (void)state;
    struct test_store *test = formed(1, TEST_SEGMENT_BYTES);
    struct store *first = test->store;
    assert_int_equal(test_store_open(test), FT_ERROR_LOCKED);
    assert_non_null(strstr(test->why, "another process"));
    assert_null(test->store);
    test->store = first;
    test_store_free(test);
}

static void entries_votes_and_truncations_come_back(void **state)
{
    (void)state;
    struct random random;
    random_seed(&random, 7);
    struct test_store *test = formed(2, TEST_SEGMENT_BYTES);
    uint64_t term = 1;
    uint8_t vote = 1;
    for (int round = 0; round < 120; round++) {
        struct test_flush flush = { .entries = (uint32_t)random_below(&random, 6),
                                    .count = 1 + (uint32_t)random_below(&random, 5) };
        if (random_below(&random, 4) == 0) {
            term++;
            vote = (uint8_t)random_below(&random, 5);
            flush.save_vote = true;
            flush.vote = vote;
            uint64_t from = test->log.last - random_below(&random, 20);
            while (from > 1 && from <= test->log.last && !test->log.counts[from])
                from--;
            if (from >= 1 && from <= test->log.last)
                flush.truncate_from = from;
        }
        flush.term = term;
        assert_int_equal(test_flush(test, &flush), FT_OK);
        if (round % 3 == 0)
            assert_int_equal(store_prepare(test->store), FT_OK);
        assert_int_equal(store_durable_last(test->store), test->log.last);
        assert_int_equal(test_read_all(test, 0, test->log.last, &test->log, NULL), test->log.last);
        if (round % 5 == 4) {
            test_store_close(test);
            assert_int_equal(test_store_open(test), FT_OK);
            assert_int_equal(test->recovery.last_index, test->log.last);
            assert_int_equal(test->recovery.term, term);
            assert_int_equal(test->recovery.vote[0], vote);
            assert_int_equal(test->recovery.cut_bytes, 0);
            assert_memory_equal(test->recovery.cluster, test_cluster, IDENTITY_BYTES);
        }
    }
    test_store_free(test);
}

/* --- a crash at every operation -----------------------------------------------------------------
 */

enum step_kind { STEP_FLUSH, STEP_PREPARE, STEP_CHECKPOINT };

struct step {
    enum step_kind kind;
    struct test_flush flush;
};

static const struct step script[] = {
    { STEP_FLUSH, { .save_cluster = true, .save_vote = true, .term = 1, .vote = 1 } },
    { STEP_FLUSH, { .entries = 2, .count = 3, .term = 1 } },
    { STEP_FLUSH, { .entries = 5, .count = 2, .term = 1 } },
    { STEP_PREPARE, { 0 } },
    { STEP_FLUSH, { .entries = 4, .count = 4, .term = 1 } },
    { STEP_FLUSH, { .save_vote = true, .term = 2, .vote = 2 } },
    { STEP_FLUSH, { .entries = 9, .count = 4, .term = 2, .truncate_from = 25 } },
    { STEP_CHECKPOINT, { 0 } },
    { STEP_FLUSH, { .entries = 9, .count = 4, .term = 2 } },
    { STEP_FLUSH, { .entries = 1, .count = 1, .term = 3, .save_vote = true, .vote = 3 } },
    { STEP_FLUSH, { .entries = 2, .count = 3, .term = 3 } },
    { STEP_FLUSH, { .entries = 0, .term = 4, .save_vote = true, .vote = 4, .truncate_from = 69 } },
    { STEP_FLUSH, { .entries = 12, .count = 4, .term = 4 } },
    { STEP_CHECKPOINT, { 0 } },
    { STEP_PREPARE, { 0 } },
    { STEP_FLUSH, { .entries = 12, .count = 4, .term = 4 } },
    { STEP_CHECKPOINT, { 0 } },
    { STEP_FLUSH, { .entries = 1, .count = 2, .term = 4 } },
};

enum { SCRIPT_STEPS = sizeof script / sizeof script[0] };

/* The end of the newest full segment: where a checkpoint may be taken. */
static uint64_t newest_full(struct store *store)
{
    uint64_t index = 0;
    for (size_t i = 0; i < store->segments_count; i++)
        if (segment_full(&store->segments[i], store->segment_bytes))
            index = store->segments[i].last;
    return index;
}

static enum ft_error run_step(struct test_store *test, const struct step *step)
{
    char text[64];
    uint64_t index;
    switch (step->kind) {
    case STEP_FLUSH:
        return test_flush(test, &step->flush);
    case STEP_PREPARE:
        return store_prepare(test->store);
    default:
        index = newest_full(test->store);
        snprintf(text, sizeof text, "state at %llu", (unsigned long long)index);
        return store_checkpoint(test->store, index,
                                (struct slice) { (const uint8_t *)text, strlen(text) });
    }
}

static uint64_t checkpoint_found(struct test_store *test)
{
    char text[64];
    uint64_t index = test->recovery.checkpoint_index;
    if (index == 0)
        return 0;
    snprintf(text, sizeof text, "state at %llu", (unsigned long long)index);
    assert_int_equal(test->recovery.checkpoint.len, strlen(text));
    assert_memory_equal(test->recovery.checkpoint.data, text, strlen(text));
    return index;
}

/* What must hold after the crash in step `at`: the model is what the steps before promised. */
static void check_survivor(struct test_store *test, size_t at, uint64_t checkpoint)
{
    static struct test_log begun;
    const struct test_flush *flush = &script[at].flush;
    uint64_t promised = test->log.last;
    begun = test->log;
    uint64_t term = 0;
    uint8_t vote = 0;
    for (size_t i = 0; i < at; i++)
        if (script[i].flush.save_vote) {
            term = script[i].flush.term;
            vote = script[i].flush.vote;
        }
    if (script[at].kind == STEP_FLUSH) {
        test_log_after(&begun, flush);
        if (flush->truncate_from && flush->truncate_from <= promised)
            promised = flush->truncate_from - 1;
    }
    const struct store_recovery *found = &test->recovery;
    bool old_vote = found->term == term && found->vote[0] == vote;
    bool new_vote = flush->save_vote && found->term == flush->term && found->vote[0] == flush->vote;
    assert_true(old_vote || new_vote);
    assert_false(found->vote_lost);
    assert_true(found->last_index >= promised);
    assert_true(found->last_index <= (begun.last > test->log.last ? begun.last : test->log.last));
    assert_true(checkpoint_found(test) >= checkpoint);
    assert_int_equal(test_read_all(test, 0, found->last_index, &test->log, &begun),
                     found->last_index);
    /* The log as it is now is the model from here on. */
    for (uint64_t i = 1; i <= found->last_index; i++) {
        static uint8_t out[LIMIT_ENTRY_BYTES];
        size_t len;
        assert_int_equal(store_read_entries(test->store, i, out, sizeof out, &len), FT_OK);
        uint64_t got = bytes_get_u64(out + 24);
        if (got != test->log.terms[i] || i > test->log.last) {
            assert_true(begun.terms[i] == got);
            test->log = begun;
            break;
        }
    }
    if (found->last_index < test->log.last) {
        test->log.last = found->last_index;
        assert_int_equal(test->log.last, found->last_index);
    }
}

/* Goes on after the crash: what is written then must be there too. */
static void check_goes_on(struct test_store *test)
{
    const struct test_flush more = {
        .entries = 3, .count = 3, .term = 9, .save_vote = true, .vote = 9, .save_cluster = true
    };
    assert_int_equal(test_flush(test, &more), FT_OK);
    test_store_close(test);
    enum ft_error error = test_store_open(test);
    if (error)
        print_error("after going on: %s\n", test->why);
    assert_int_equal(error, FT_OK);
    assert_int_equal(test->recovery.term, 9);
    assert_int_equal(test->recovery.last_index, test->log.last);
    assert_int_equal(test->recovery.cut_bytes, 0);
    assert_int_equal(test_read_all(test, 0, test->log.last, &test->log, NULL), test->log.last);
}

struct tally {
    uint64_t crashes, cuts, truncations_redone, checkpoints;
};

/* Runs the script into a crash at operation `die_at`, then recovers, crashing recovery itself at
 * its operation `again` when that is not 0. False: the script ended before. */
static bool crash_at(uint64_t die_at, uint64_t again, uint64_t seed, struct tally *tally)
{
    struct test_store *test = test_store_new(seed, TEST_SEGMENT_BYTES);
    sim_disk_die_at(test->disk, die_at);
    enum ft_error error = test_store_open(test);
    size_t at = 0;
    uint64_t checkpoint = 0;
    while (!error && at < SCRIPT_STEPS) {
        error = run_step(test, &script[at]);
        if (!error && script[at].kind == STEP_CHECKPOINT)
            checkpoint = test->store->indexed_last;
        at += !error;
    }
    bool died = sim_disk_dead(test->disk);
    if (died) {
        assert_int_not_equal(error, FT_OK);
        test_store_close(test);
        sim_disk_crash(test->disk, seed * 77 + die_at);
        if (again) {
            sim_disk_die_at(test->disk, sim_disk_operations(test->disk) + again);
            (void)test_store_open(test);
            test_store_close(test);
            sim_disk_crash(test->disk, seed * 99 + die_at + again);
        }
        error = test_store_open(test);
        if (error)
            print_error("crash at %llu again %llu seed %llu, step %zu: %s\n",
                        (unsigned long long)die_at, (unsigned long long)again,
                        (unsigned long long)seed, at, test->why);
        assert_int_equal(error, FT_OK);
        tally->crashes++;
        tally->cuts += test->recovery.cut_bytes > 0;
        tally->checkpoints += test->recovery.checkpoint_index > 0;
        check_survivor(test, at, checkpoint);
        check_goes_on(test);
    }
    test_store_free(test);
    return died;
}

static void a_crash_at_any_operation_loses_nothing_promised(void **state)
{
    (void)state;
    struct tally tally = { 0 };
    uint64_t at = 1;
    while (crash_at(at, 0, 1, &tally)) {
        crash_at(at, 0, 2, &tally);
        crash_at(at, 0, 3, &tally);
        at++;
    }
    print_message("%llu operations, %llu crashes, %llu torn tails cut\n", (unsigned long long)at,
                  (unsigned long long)tally.crashes, (unsigned long long)tally.cuts);
    assert_true(at > 100);
    assert_true(tally.cuts > 0);
    assert_true(tally.checkpoints > 0);
}

static void a_crash_during_recovery_is_recovered_from(void **state)
{
    (void)state;
    struct tally tally = { 0 };
    for (uint64_t at = 20; crash_at(at, 1, 4, &tally); at += 2)
        for (uint64_t again = 2; again < 8; again += 2)
            crash_at(at, again, 5, &tally);
    assert_true(tally.crashes > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blank_folder_is_set_up_and_comes_back),
        cmocka_unit_test(a_folder_is_held_by_one),
        cmocka_unit_test(entries_votes_and_truncations_come_back),
        cmocka_unit_test(a_crash_at_any_operation_loses_nothing_promised),
        cmocka_unit_test(a_crash_during_recovery_is_recovered_from),
    };
    return cmocka_run_group_tests_name("store_log", tests, NULL, NULL);
}
