/* A disk that is full, and syncs that fail: what the store refuses, what it still does, what is
 * final. */
#include "tests/test_store.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static const struct test_flush form = { .save_cluster = true };

static void must(enum ft_error error)
{
    assert_int_equal(error, FT_OK);
}

static struct test_store *filled(uint64_t seed)
{
    struct test_store *test = test_store_new(seed, TEST_SEGMENT_BYTES);
    must(test_store_open(test));
    must(test_flush(test, &form));
    must(test_flush(test, &(struct test_flush) { .entries = 3, .count = 4, .term = 1 }));
    must(store_prepare(test->store));
    sim_disk_capacity(test->disk, sim_disk_used(test->disk));
    return test;
}

static enum ft_error append(struct test_store *test)
{
    return test_flush(test, &(struct test_flush) { .entries = 2, .count = 4, .term = 1 });
}

/* The segment that is begun and the spare are what is left; then entries are refused, whole, as
 * often as they are tried; a vote and a truncation need no space. */
static void a_full_disk_takes_votes_and_truncations(void **state)
{
    (void)state;
    struct test_store *test = filled(1);
    enum ft_error error = FT_OK;
    while (!error)
        error = append(test);
    assert_int_equal(error, FT_ERROR_SPACE);
    assert_true(test->log.last > 12); /* the spare was used */
    uint64_t last = test->log.last;
    uint64_t used = sim_disk_used(test->disk);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(append(test), FT_ERROR_SPACE);
        assert_int_equal(store_prepare(test->store), FT_ERROR_SPACE);
        assert_int_equal(sim_disk_used(test->disk), used); /* nothing is left behind */
    }
    struct test_flush both = { .entries = 2, .count = 4, .term = 5, .save_vote = true, .vote = 7 };
    assert_int_equal(test_flush(test, &both), FT_ERROR_SPACE);
    both.entries = 0;
    must(test_flush(test, &both));
    test_store_close(test);
    sim_disk_crash(test->disk, 9);
    must(test_store_open(test)); /* starting needs no space either */
    assert_int_equal(test->recovery.term, 5);
    assert_int_equal(test->recovery.vote[0], 7);
    assert_int_equal(test->recovery.last_index, last);
    assert_int_equal(test_read_all(test, 0, last, &test->log, NULL), last);
    must(test_flush(test, &(struct test_flush) { .truncate_from = 9 }));
    assert_int_equal(store_durable_last(test->store), 8);
    sim_disk_capacity(test->disk, 0);
    must(append(test));
    must(append(test));
    assert_int_equal(test_read_all(test, 0, test->log.last, &test->log, NULL), test->log.last);
    test_store_free(test);
}

/* Nothing is tried when it cannot succeed: what is left belongs to others on that disk. */
static void what_is_left_is_not_filled(void **state)
{
    (void)state;
    struct test_store *test = filled(2);
    enum ft_error error = FT_OK;
    while (!error)
        error = append(test);
    sim_disk_capacity(test->disk, sim_disk_used(test->disk) + TEST_SEGMENT_BYTES);
    uint64_t operations = sim_disk_operations(test->disk);
    assert_int_equal(append(test), FT_ERROR_SPACE);
    assert_int_equal(store_prepare(test->store), FT_ERROR_SPACE);
    assert_int_equal(sim_disk_operations(test->disk), operations);
    test_store_free(test);
}

/* Whichever thread's it was, and whatever the reason that the system gives. */
static void a_failed_sync_is_final(void **state)
{
    (void)state;
    struct test_store *test = filled(3);
    sim_disk_capacity(test->disk, 0);
    sim_disk_fail_sync(test->disk);
    assert_int_equal(append(test), FT_ERROR_IO);
    assert_int_equal(append(test), FT_ERROR_IO); /* and not because it fails again */
    assert_int_equal(
        test_flush(test, &(struct test_flush) { .save_vote = true, .term = 9, .vote = 1 }),
        FT_ERROR_IO);
    test_store_free(test);

    test = test_store_new(4, TEST_SEGMENT_BYTES);
    must(test_store_open(test));
    must(test_flush(test, &form));
    sim_disk_fail_sync(test->disk);
    assert_int_equal(store_prepare(test->store), FT_ERROR_SYNC);
    test_store_free(test);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_full_disk_takes_votes_and_truncations),
        cmocka_unit_test(what_is_left_is_not_filled),
        cmocka_unit_test(a_failed_sync_is_final),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
