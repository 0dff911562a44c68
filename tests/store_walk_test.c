/* The walk over a stopped folder's log: all of what is asked for, each entry proven, in order; and
 * whatever is damaged, never a log with something missing in it that looks whole. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "cmd/crypto_sodium.h"
#include "tests/test_store.h"

enum { ENTRIES = 9, COUNT = 3, LAST = ENTRIES * COUNT };

struct seen {
    const struct test_log *log;
    uint64_t next;    /* must come next; 0: anything */
    uint64_t stop_at; /* enough, at this index */
    unsigned entries;
};

static bool see(void *ctx, const struct entry *entry)
{
    struct seen *seen = ctx;
    if (seen->next)
        assert_int_equal(entry->first, seen->next);
    assert_int_equal(entry->term, seen->log->terms[entry->first]);
    assert_int_equal(entry->count, COUNT);
    uint8_t expected[4096];
    struct entry_cursor cursor = { 0 };
    struct slice body;
    for (uint64_t index = entry->first; entry_next(entry, &cursor, &body); index++) {
        assert_int_equal(test_body(index, entry->term, expected), body.len);
        assert_memory_equal(expected, body.data, body.len);
    }
    seen->next = entry->first + entry->count;
    seen->entries++;
    return seen->next <= seen->stop_at;
}

static struct test_store *folder(void)
{
    struct test_store *test = test_store_new(3, 900);
    assert_int_equal(test_store_open(test), FT_OK);
    const struct test_flush form = { .save_cluster = true, .save_vote = true, .term = 1 };
    assert_int_equal(test_flush(test, &form), FT_OK);
    for (uint64_t i = 1; i <= ENTRIES; i++) {
        struct test_flush one = { .entries = 1, .count = COUNT, .term = i };
        assert_int_equal(test_flush(test, &one), FT_OK);
    }
    assert_true(test->store->segments_count > 2);
    assert_int_equal(test->log.last, LAST);
    test_store_close(test);
    return test;
}

static enum ft_error walk(struct test_store *test, uint64_t from, uint64_t to, struct seen *seen)
{
    struct store_walk want = { .from = from, .to = to, .each = see, .ctx = seen };
    return store_walk_folder(sim_disk_table(test->disk), &crypto_sodium, &want);
}

static void every_range_is_walked(void **state)
{
    (void)state;
    struct test_store *test = folder();
    for (uint64_t from = 1; from <= LAST; from++)
        for (uint64_t to = from; to <= LAST + 1; to++) {
            uint64_t first = (from - 1) / COUNT;
            uint64_t last = ((to <= LAST ? to : LAST) - 1) / COUNT;
            struct seen seen = { &test->log, first * COUNT + 1, UINT64_MAX, 0 };
            assert_int_equal(walk(test, from, to, &seen), FT_OK);
            assert_int_equal(seen.entries, last - first + 1);
        }
    struct seen some = { &test->log, 1, COUNT, 0 };
    assert_int_equal(walk(test, 1, LAST, &some), FT_OK);
    assert_int_equal(some.entries, 1); /* as long as it says yes */
    test_store_free(test);
}

static void a_running_folder_is_left_alone(void **state)
{
    (void)state;
    struct test_store *test = folder();
    assert_int_equal(test_store_open(test), FT_OK);
    struct seen seen = { &test->log, 1, UINT64_MAX, 0 };
    assert_int_equal(walk(test, 1, LAST, &seen), FT_ERROR_LOCKED);
    assert_int_equal(seen.entries, 0);
    test_store_free(test);
}

/* Walks a damaged folder; true: it was told. */
static bool is_told(struct test_store *test, const char *name, uint64_t at)
{
    struct seen seen = { &test->log, 1, UINT64_MAX, 0 };
    enum ft_error error = walk(test, 1, LAST, &seen);
    if (error == FT_OK && seen.entries != ENTRIES)
        print_error("%s at %llu: %u of %u entries, and no error\n", name, (unsigned long long)at,
                    seen.entries, ENTRIES);
    assert_true(error != FT_OK || seen.entries == ENTRIES);
    return error != FT_OK;
}

/* Each byte of the segments in turn. */
static void no_flipped_bit_leaves_a_gap(void **state)
{
    (void)state;
    struct test_store *test = folder();
    unsigned told = 0;
    unsigned harmless = 0;
    const char *name;
    for (size_t number = 0; (name = sim_disk_name(test->disk, number)); number++) {
        if (!strstr(name, ".seg"))
            continue;
        for (uint64_t at = 0; at < SEGMENT_HEADER_BYTES + 3000; at++) {
            if (at == 128) /* the rest of the header is zeros that nobody reads */
                at = SEGMENT_HEADER_BYTES;
            uint8_t mask = (uint8_t)(1u << at % 8);
            assert_true(sim_disk_flip(test->disk, name, at, mask));
            bool is = is_told(test, name, at);
            assert_true(sim_disk_flip(test->disk, name, at, mask));
            told += is;
            harmless += !is;
        }
    }
    assert_true(told > 2000);
    assert_true(harmless > 0); /* what is behind the log's end */
    test_store_free(test);
}

/* Sectors that read as zeros look like the end: but of no segment that another one follows. */
static void no_lost_sector_leaves_a_gap(void **state)
{
    (void)state;
    static const uint8_t zeros[DISK_SECTOR_BYTES];
    struct test_store *test = folder();
    unsigned told = 0;
    char last[DISK_PATH_BYTES];
    assert_int_equal(test_store_open(test), FT_OK);
    segment_path(last, test->store->segments[test->store->segments_count - 1].first, "seg");
    test_store_close(test);
    const char *name;
    for (size_t number = 0; (name = sim_disk_name(test->disk, number)); number++) {
        if (!strstr(name, ".seg") || strcmp(name, last) == 0)
            continue;
        for (uint64_t at = 0; at < SEGMENT_HEADER_BYTES + 3000; at += sizeof zeros) {
            uint8_t kept[sizeof zeros];
            assert_true(sim_disk_peek(test->disk, name, at, kept, sizeof kept));
            assert_true(sim_disk_poke(test->disk, name, at, zeros, sizeof zeros));
            told += is_told(test, name, at);
            assert_true(sim_disk_poke(test->disk, name, at, kept, sizeof kept));
        }
    }
    assert_true(told >= 4);
    test_store_free(test);
}

/* A call that fails once is told, or it was made again and everything is there: what is read is proven. */
static void each_call_that_fails_is_told(void **state)
{
    (void)state;
    struct test_store *test = folder();
    unsigned told = 0;
    for (uint64_t at = 1;; at++) {
        struct seen seen = { &test->log, 1, UINT64_MAX, 0 };
        uint64_t before = sim_disk_calls(test->disk);
        sim_disk_fail_call(test->disk, at, FT_ERROR_IO);
        enum ft_error error = walk(test, 1, LAST, &seen);
        if (sim_disk_calls(test->disk) - before < at)
            break;
        assert_true(error == FT_ERROR_IO || (error == FT_OK && seen.entries == ENTRIES));
        told += error != FT_OK;
    }
    assert_true(told > 20); /* all but the one read that is made again */
    sim_disk_fail_call(test->disk, 0, FT_OK);
    struct seen seen = { &test->log, 1, UINT64_MAX, 0 };
    assert_int_equal(walk(test, 1, LAST, &seen), FT_OK);
    assert_int_equal(seen.entries, ENTRIES);
    test_store_free(test);
}

/* Of each file in turn: what the device does not give is never taken for the log's end. */
static void each_page_that_cannot_be_read_is_told(void **state)
{
    (void)state;
    struct test_store *test = folder();
    const char *name;
    for (size_t number = 0; (name = sim_disk_name(test->disk, number)); number++) {
        if (!strstr(name, ".seg") && strcmp(name, "identity") != 0)
            continue;
        for (uint64_t at = 0; at < sim_disk_size(test->disk, name) && at < 8192; at += 4096) {
            struct sim_disk *good = sim_disk_copy(test->disk);
            assert_true(sim_disk_unreadable(test->disk, name, at));
            assert_true(is_told(test, name, at));
            sim_disk_free(test->disk);
            test->disk = good;
            name = sim_disk_name(test->disk, number);
        }
    }
    test_store_free(test);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_range_is_walked),
        cmocka_unit_test(a_running_folder_is_left_alone),
        cmocka_unit_test(no_flipped_bit_leaves_a_gap),
        cmocka_unit_test(no_lost_sector_leaves_a_gap),
        cmocka_unit_test(each_call_that_fails_is_told),
        cmocka_unit_test(each_page_that_cannot_be_read_is_told),
    };
    return cmocka_run_group_tests_name("store_walk", tests, NULL, NULL);
}
