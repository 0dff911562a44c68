/* Everything that can fail, fails once: each call of the disk, and each allocation, of a script that
 * does all that a store is asked for: start on a blank folder, vote, append, truncate, index, delete, seal,
 * checkpoint, erase, read, verify, stop, start again. Whatever fails, the store says so or goes on; it never
 * gives a wrong answer; and after a power loss everything that it had promised is there.
 *
 * Allocations are made to fail by the linker's --wrap (Makefile); those of the simulated disk are not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/test_heap.h"

static struct test_store *quiet_store(uint64_t seed)
{
    struct test_store *test = test_store_new(seed, TEST_SEGMENT_BYTES);
    heap_spares(test->disk);
    return test;
}

/* --- the script ---------------------------------------------------------------------------------*/

enum { ROUNDS = 12, ENTRIES = 3, COUNT = 4, ROOM = 5, DELETES_EACH = 5 };

struct run {
    struct test_store *test;
    struct test_log begun; /* the model if the flush that failed had been done */
    uint64_t promised;     /* the log is durable up to here whatever happens */
    uint64_t term;         /* the same of the vote */
    bool latched;          /* a flush has failed for good */
    bool over;             /* a sync failed elsewhere: the process would have ended */
    unsigned told;         /* calls that said an error */
};

static bool is_told(struct run *run, enum ft_error error)
{
    run->told += error != FT_OK;
    return error != FT_OK;
}

static void flush_one(struct run *run, const struct test_flush *flush)
{
    struct test_store *test = run->test;
    uint64_t kept = test->log.last;
    if (flush->truncate_from && flush->truncate_from <= kept)
        kept = flush->truncate_from - 1;
    if (!run->latched) {
        run->begun = test->log;
        test_log_after(&run->begun, flush);
    }
    heap.watching = true;
    enum ft_error error = test_flush(test, flush);
    heap.watching = false;
    if (run->latched)
        assert_int_not_equal(error, FT_OK);
    if (is_told(run, error)) {
        run->latched |= error != FT_ERROR_SPACE;
        if (kept < run->promised)
            run->promised = kept; /* the truncation may have been done */
        return;
    }
    run->promised = test->log.last;
    run->term = flush->save_vote ? flush->term : run->term;
}

static uint64_t newest_full(struct store *store)
{
    uint64_t index = 0;
    for (size_t i = 0; i < store->segments_count; i++)
        if (segment_full(&store->segments[i], store->segment_bytes))
            index = store->segments[i].last;
    return index;
}

static void checkpoint(struct run *run)
{
    struct store *store = run->test->store;
    uint64_t full = newest_full(store);
    if (full <= store->indexed_last || full > run->promised || run->latched)
        return;
    heap.watching = true;
    enum ft_error error =
        store_checkpoint(store, full, (struct slice) { (const uint8_t *)"state", 5 });
    heap.watching = false;
    run->over |= error == FT_ERROR_SYNC;
    (void)is_told(run, error);
}

/* What is named here is no post: it is looked at, and left. */
static void erase(struct run *run)
{
    while (!run->over && store_wants_scrub(run->test->store)) {
        struct store_scrubbed scrubbed;
        heap.watching = true;
        enum ft_error error = store_scrub(run->test->store, &scrubbed);
        heap.watching = false;
        run->over |= error == FT_ERROR_SYNC;
        (void)is_told(run, error);
        run->told += scrubbed.rotten;
        assert_int_equal(scrubbed.erased, 0);
    }
}

/* Each DELETES_EACHth command deletes the one before it. */
static bool is_deleted(uint64_t index, uint64_t indexed)
{
    return (index + 1) % DELETES_EACH == 0 && index + 1 <= indexed;
}

/* Whatever is given is true, and no error leaves it out silently. */
static void read_back(struct run *run)
{
    static uint8_t out[TEST_BUFFER_BYTES];
    struct test_store *test = run->test;
    uint64_t next = test->recovery.checkpoint_index + 1;
    while (next <= run->promised && !run->latched) {
        size_t len = 0;
        heap.watching = true;
        enum ft_error error = store_read_entries(test->store, next, out, sizeof out, &len);
        heap.watching = false;
        if (is_told(run, error))
            break;
        assert_true(len > 0);
        for (size_t at = 0; at < len; at += bytes_get_u32(out + at + 4)) {
            uint64_t first = bytes_get_u64(out + at + 8);
            assert_int_equal(first, next);
            assert_int_equal(bytes_get_u64(out + at + 24), test->log.terms[first]);
            next = first + bytes_get_u32(out + at + 16);
        }
    }
}

static void read_posts(struct run *run, uint64_t indexed)
{
    static uint8_t out[1 << 18];
    uint8_t expected[4096];
    struct test_store *test = run->test;
    struct store_query query = { .room = ROOM, .seq_from = 1, .seq_to = 9999, .max_records = 500 };
    struct store_answer answer = { 0 };
    if (run->latched || test->store->postings_lost)
        return;
    heap.watching = true;
    enum ft_error error = store_read_posts(test->store, &query, out, sizeof out, &answer);
    heap.watching = false;
    if (is_told(run, error))
        return;
    struct reader reader = reader_of(out, answer.len);
    uint64_t last = 0;
    for (uint32_t i = 0; i < answer.records; i++) {
        uint8_t kind = read_u8(&reader);
        (void)read_u32(&reader);
        assert_int_equal(read_u64(&reader), ++last);
        assert_int_equal(kind, is_deleted(last, indexed) ? STORE_DELETED : STORE_POST);
        uint64_t index = read_u64(&reader);
        (void)read_u64(&reader);
        struct slice body = read_slice32(&reader);
        assert_int_equal(index, last);
        assert_int_equal(test_body(index, test->log.terms[index], expected), body.len);
        assert_memory_equal(expected, body.data, body.len);
    }
    assert_true(reader_finished(&reader));
    assert_true(last == indexed || answer.more);
}

/* In the test's log, what is at index i of term t is a post of seq i. */
static void index_up_to(struct run *run, uint64_t *indexed, uint64_t upto)
{
    heap.watching = true;
    while (*indexed < upto) {
        ++*indexed;
        store_index(run->test->store, ROOM, *indexed, *indexed, false);
        if (*indexed % DELETES_EACH == 0)
            store_delete(run->test->store, *indexed, *indexed - 1, 1);
    }
    heap.watching = false;
}

static bool open_watched(struct run *run)
{
    heap.watching = true;
    enum ft_error error = test_store_open(run->test);
    heap.watching = false;
    if (!is_told(run, error))
        return true;
    run->test->store = NULL;
    assert_true(strlen(run->test->why) > 10); /* what to do about it */
    return false;
}

static void note_damage(void *ctx, const struct store_damage *damage)
{
    (void)damage;
    ++*(unsigned *)ctx;
}

static void rounds(struct run *run)
{
    struct test_store *test = run->test;
    uint64_t indexed = test->recovery.checkpoint_index;
    for (unsigned i = 0; i < ROUNDS && !run->over; i++) {
        struct test_flush flush = {
            .entries = ENTRIES, .count = COUNT, .term = 1 + i, .save_vote = true, .vote = (uint8_t)i
        };
        if (i % 5 == 3 && test->log.last > COUNT) /* the newest entry gives way */
            flush.truncate_from = test->log.last - COUNT + 1;
        flush_one(run, &flush);
        if (run->promised > COUNT) /* what may yet be truncated is not applied */
            index_up_to(run, &indexed, run->promised - COUNT);
        heap.watching = true;
        enum ft_error error = store_prepare(test->store);
        heap.watching = false;
        run->over |= error == FT_ERROR_SYNC;
        (void)is_told(run, error);
        if (i % 4 == 2) {
            uint64_t full = newest_full(test->store);
            index_up_to(run, &indexed, full < run->promised ? full : run->promised);
            checkpoint(run);
            erase(run);
        }
        if (i % 3 == 2)
            read_posts(run, indexed);
    }
    if (run->over)
        return;
    read_back(run);
    unsigned damages = 0;
    uint64_t entries;
    heap.watching = true;
    enum ft_error error = store_verify(test->store, note_damage, &damages, &entries);
    heap.watching = false;
    if (!is_told(run, error) && !run->latched)
        assert_int_equal(damages, 0);
}

static void whole_script(struct run *run)
{
    const struct test_flush form = { .save_cluster = true, .save_vote = true, .term = 1 };
    if (!open_watched(run))
        return;
    flush_one(run, &form);
    if (run->term == 0 && !run->latched) /* no space: to be tried again */
        flush_one(run, &form);
    rounds(run);
    test_store_close(run->test);
    if (!open_watched(run)) /* after a stop in good order */
        return;
    if (!run->latched && !run->over)
        assert_int_equal(run->test->recovery.last_index, run->promised);
}

/* Power is lost, and nothing fails any more: what was promised is there. */
static void check_promises(struct run *run, uint64_t seed)
{
    struct test_store *test = run->test;
    heap.fail_at = 0;
    test_store_close(test);
    sim_disk_crash(test->disk, seed);
    enum ft_error error = test_store_open(test);
    if (error || test->recovery.last_index < run->promised)
        print_error("number %llu: %s\n", (unsigned long long)seed, test->why);
    assert_int_equal(error, FT_OK);
    assert_true(test->recovery.term >= run->term);
    assert_true(test->recovery.may_vote);
    assert_true(test->recovery.last_index >= run->promised);
    assert_true(test->recovery.last_index <= test->log.last ||
                test->recovery.last_index <= run->begun.last);
    uint64_t from = test->recovery.checkpoint_index;
    (void)test_read_all(test, from, test->recovery.last_index, &test->log, &run->begun);
}

/* --- the loops ----------------------------------------------------------------------------------*/

static void each_call_of_the_disk_fails_once(void **state)
{
    (void)state;
    static const enum ft_error errors[] = { FT_ERROR_IO, FT_ERROR_SPACE };
    static struct run run;
    for (size_t kind = 0; kind < 2; kind++) {
        uint64_t told = 0;
        uint64_t at = 1;
        for (bool reached = true; reached; at++) {
            run = (struct run) { .test = quiet_store(at) };
            sim_disk_fail_call(run.test->disk, at, errors[kind]);
            whole_script(&run);
            reached = sim_disk_calls(run.test->disk) >= at;
            check_promises(&run, at);
            told += run.told > 0;
            test_store_free(run.test);
        }
        assert_true(at > 500);
        assert_true(told > at / 2);
    }
}

static void each_allocation_fails_once(void **state)
{
    (void)state;
    static struct run run;
    uint64_t told = 0;
    uint64_t at = 1;
    for (bool reached = true; reached; at++) {
        run = (struct run) { .test = quiet_store(at) };
        heap.count = 0;
        heap.fail_at = at;
        whole_script(&run);
        reached = heap.count >= at;
        check_promises(&run, at);
        told += run.told > 0;
        test_store_free(run.test);
    }
    heap.fail_at = 0;
    assert_true(at > 50);
    assert_true(told > 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_call_of_the_disk_fails_once),
        cmocka_unit_test(each_allocation_fails_once),
    };
    return cmocka_run_group_tests_name("store_faults", tests, NULL, NULL);
}
