/* What is deleted: shown as such from memory, from index files, after a restart; and nothing is given
 * while an index file is lost that may tell of more. */
#include "tests/test_store.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/random.h"

static uint8_t answer_bytes[1 << 20];
static bool deleted[TEST_LOG_MAX]; /* by index */
static uint64_t by[TEST_LOG_MAX];  /* the index of the command that does it: the first counts */

static uint32_t check_of(uint64_t index)
{
    return (uint32_t)index * 2654435761u;
}

/* Every index is the post of that seq in room 1. */
static void expect_all(struct test_store *test)
{
    struct store_answer answer = { .records = 1 };
    uint64_t seq = test->store->begin;
    while (seq <= test->log.last) {
        struct store_query query = {
            .room = 1, .seq_from = seq, .seq_to = test->log.last, .max_records = 100
        };
        assert_int_equal(
            store_read_posts(test->store, &query, answer_bytes, sizeof answer_bytes, &answer),
            FT_OK);
        assert_true(answer.records > 0);
        struct reader reader = reader_of(answer_bytes, answer.len);
        while (reader_left(&reader)) {
            uint8_t kind = read_u8(&reader);
            (void)read_u32(&reader);
            assert_int_equal(read_u64(&reader), seq);
            assert_int_equal(read_u64(&reader), seq);
            (void)read_u64(&reader);
            (void)read_slice32(&reader);
            assert_int_equal(kind, deleted[seq] ? STORE_DELETED : STORE_POST);
            uint32_t check = 0;
            assert_int_equal(store_deleted(test->store, seq, &check), deleted[seq]);
            if (deleted[seq])
                assert_int_equal(check, check_of(seq));
            seq++;
        }
    }
}

static void apply(struct test_store *test, uint64_t index)
{
    store_index(test->store, 1, index, index, false);
    for (uint64_t target = 1; target < index; target++)
        if (by[target] == index)
            store_delete(test->store, index, target, check_of(target));
}

static uint64_t newest_full(struct store *store)
{
    uint64_t index = 0;
    for (size_t i = 0; i < store->segments_count; i++)
        if (segment_full(&store->segments[i], store->segment_bytes))
            index = store->segments[i].last;
    return index;
}

static struct test_store *begun(uint64_t seed)
{
    memset(deleted, 0, sizeof deleted);
    memset(by, 0, sizeof by);
    struct test_store *test = test_store_new(seed, 6000);
    assert_int_equal(test_store_open(test), FT_OK);
    const struct test_flush form = { .save_cluster = true, .save_vote = true, .term = 1 };
    assert_int_equal(test_flush(test, &form), FT_OK);
    return test;
}

static void grow(struct test_store *test, struct random *random, uint32_t entries)
{
    uint64_t last = test->log.last;
    struct test_flush flush = { .entries = entries, .count = 4, .term = 1 };
    assert_int_equal(test_flush(test, &flush), FT_OK);
    while (last++ < test->log.last) {
        uint64_t target = 1 + random_below(random, last);
        if (random_below(random, 3) == 0 && target < last && target >= test->store->begin) {
            deleted[target] = true;
            by[target] = by[target] ? by[target] : last;
        }
        apply(test, last);
    }
}

static void checkpoint(struct test_store *test)
{
    uint64_t full = newest_full(test->store);
    struct slice state = { (const uint8_t *)"s", 1 };
    if (full > test->store->indexed_last)
        assert_int_equal(store_checkpoint(test->store, full, state), FT_OK);
}

static void reopen(struct test_store *test)
{
    test_store_close(test);
    assert_int_equal(test_store_open(test), FT_OK);
    for (uint64_t index = test->recovery.checkpoint_index + 1; index <= test->log.last; index++)
        apply(test, index);
}

static void shown_from_memory_and_from_index_files(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 4; seed++) {
        struct random random;
        random_seed(&random, seed);
        struct test_store *test = begun(seed);
        for (int round = 0; round < 40; round++) {
            grow(test, &random, 1 + (uint32_t)random_below(&random, 6));
            expect_all(test);
            if (round % 5 == 4)
                checkpoint(test);
            if (round % 7 == 6)
                reopen(test);
            expect_all(test);
        }
        assert_true(test->store->segments_count > 5);
        assert_int_equal(test->store->segments[0].deletions_lost, false);
        test_store_free(test);
    }
}

/* A deletion that is in an index file only, and the file is rotten: what it may have named is not
 * given, what is newer is. Once the file is there again, all is. */
static void nothing_is_given_that_may_be_deleted(void **state)
{
    (void)state;
    struct random random;
    random_seed(&random, 9);
    struct test_store *test = begun(9);
    for (int round = 0; round < 30; round++)
        grow(test, &random, 5);
    checkpoint(test);
    test_store_close(test);
    assert_int_equal(test_store_open(test), FT_OK);
    uint64_t second = test->store->segments[1].first;
    uint64_t last = test->store->segments[1].last;
    test_store_close(test);
    char path[DISK_PATH_BYTES];
    uint8_t kept[64];
    uint8_t bad[64] = { 7 };
    segment_path(path, second, "idx");
    assert_true(sim_disk_peek(test->disk, path, 4096, kept, sizeof kept));
    assert_true(sim_disk_poke(test->disk, path, 4096, bad, sizeof bad));
    reopen(test);
    assert_int_equal(test->store->unsure, last);
    struct store_answer answer;
    struct store_query query = { .room = 1, .seq_from = 1, .seq_to = 1, .max_records = 1 };
    assert_int_equal(
        store_read_posts(test->store, &query, answer_bytes, sizeof answer_bytes, &answer),
        FT_ERROR_CORRUPT);
    query.seq_from = query.seq_to = last + 1;
    assert_int_equal(
        store_read_posts(test->store, &query, answer_bytes, sizeof answer_bytes, &answer), FT_OK);
    assert_int_equal(answer.records, 1);
    assert_true(sim_disk_poke(test->disk, path, 4096, kept, sizeof kept));
    reading_renew(test->store, second);
    assert_int_equal(deletions_reload(test->store, second), FT_OK);
    assert_int_equal(test->store->unsure, 0);
    expect_all(test);
    test_store_free(test);
}

/* The table grows, and leaves behind what retention has dropped. */
static void the_table(void **state)
{
    (void)state;
    struct deletions table = { 0 };
    uint32_t check;
    assert_false(deletions_find(&table, 1, &check));
    for (uint64_t target = 1; target <= 20000; target++) {
        assert_true(deletions_add(&table, 1, target * 3, (uint32_t)target));
        assert_true(deletions_add(&table, 1, target * 3, (uint32_t)target));
    }
    assert_int_equal(table.count, 20000);
    for (uint64_t target = 1; target <= 60000; target++) {
        assert_int_equal(deletions_find(&table, target, &check), target % 3 == 0);
        if (target % 3 == 0)
            assert_int_equal(check, target / 3);
    }
    for (uint64_t target = 60001; target < 80000; target++)
        assert_true(deletions_add(&table, 50000, target, 1));
    assert_false(deletions_find(&table, 3, &check));
    assert_true(deletions_find(&table, 50001, &check));
    deletions_free(&table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shown_from_memory_and_from_index_files),
        cmocka_unit_test(nothing_is_given_that_may_be_deleted),
        cmocka_unit_test(the_table),
    };
    return cmocka_run_group_tests_name("store_delete", tests, NULL, NULL);
}
