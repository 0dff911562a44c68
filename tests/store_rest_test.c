/* What stands behind a segment's entries (store/rest.c), while calls fail and the log goes on. */
#include "tests/test_copy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "store/scan.h"

static uint8_t window[SCAN_WINDOW_BYTES];
static const struct test_flush one = { .entries = 1, .count = 1, .term = 2 };

/* A log of one segment with a few entries, and what stands behind them damaged: right behind, in pages of their own, and
 * at the file's end. */
static struct test_store *harmed(char path[DISK_PATH_BYTES])
{
    struct test_store *test = test_store_new(1, 64 << 10);
    test_must(test_store_open(test));
    test_must(test_flush(
        test,
        &(struct test_flush) { .save_cluster = true, .save_vote = true, .term = 2, .vote = 1 }));
    test_must(test_flush(test, &one));
    test_must(test_flush(test, &one));
    uint64_t end = test->store->segments[0].end;
    segment_path(path, 1, "seg");
    assert_true(sim_disk_flip(test->disk, path, end, 1));
    assert_true(sim_disk_flip(test->disk, path, 40 * 4096 - 1, 1));
    assert_true(sim_disk_unreadable(test->disk, path, 300 * 1024));
    assert_true(sim_disk_flip(test->disk, path, segment_file_bytes(test->store) - 1, 1));
    return test;
}

static enum ft_error prove(struct test_store *test, uint64_t first, bool *mended)
{
    const struct disk *disk = sim_disk_table(test->disk);
    struct disk_file *file;
    char path[DISK_PATH_BYTES];
    uint64_t offset = 0;
    bool more;
    segment_path(path, 1, "seg");
    test_must(disk->open(disk->ctx, path, DISK_READ, &file));
    enum ft_error error;
    do
        error = rest_prove(test->store, file, first, &offset, window, &more, mended);
    while (!error && more);
    assert_true(offset <= segment_file_bytes(test->store)); /* it paces who asks */
    disk->close(disk->ctx, file);
    return error;
}

static void expect_left(struct test_store *test, uint64_t first)
{
    bool mended = false;
    test_must(prove(test, first, &mended));
    assert_false(mended);
}

static void expect_good(struct test_store *test)
{
    expect_left(test, 1);
    uint64_t last = test->log.last;
    test_store_close(test);
    test_must(test_store_open(test));
    assert_int_equal(test->recovery.damages, 0);
    assert_int_equal(test->recovery.last_index, last);
    (void)test_read_all(test, 0, last, &test->log, NULL);
}

static void expect_mended(struct test_store *test)
{
    bool mended = false;
    test_must(prove(test, 1, &mended));
    assert_true(mended);
    expect_good(test);
}

static void while_each_call_fails(void **state)
{
    (void)state;
    char path[DISK_PATH_BYTES];
    unsigned told = 0;
    bool reached = true;
    for (uint64_t at = 2; reached; at++) {
        struct test_store *test = harmed(path);
        uint64_t calls = sim_disk_calls(test->disk);
        bool mended = false;
        sim_disk_fail_call(test->disk, at, FT_ERROR_SPACE);
        enum ft_error error = prove(test, 1, &mended);
        reached = sim_disk_calls(test->disk) - calls >= at;
        sim_disk_fail_call(test->disk, 0, FT_OK);
        assert_true(error == FT_OK || error == FT_ERROR_SPACE || error == FT_ERROR_SYNC);
        told += error != FT_OK;
        if (error)
            test_must(prove(test, 1, &mended));
        assert_true(mended);
        expect_good(test);
        test_store_free(test);
    }
    assert_true(told > 10);
}

/* Nobody knows what is behind a segment that is not there, or behind a damage. */
static void where_nothing_is_known(void **state)
{
    (void)state;
    char path[DISK_PATH_BYTES];
    struct test_store *test = harmed(path);
    uint64_t end = test->store->segments[0].end;
    expect_left(test, 2); /* the second entry is in the first segment */
    expect_left(test, 9);
    test->store->segments[0].end = 0; /* of one that could not be measured */
    expect_left(test, 1);
    test->store->segments[0].end = end;
    expect_mended(test);
    assert_true(sim_disk_flip(test->disk, path, SEGMENT_HEADER_BYTES + 30, 1));
    test_store_close(test);
    test_must(test_store_open(test));
    assert_true(test->recovery.leftover);
    expect_left(test, 1);
    test_store_free(test);
}

/* --- what is written meanwhile ------------------------------------------------------------------
 */

/* A disk whose next read of a large part finds that the log has gone on meanwhile. */
static struct test_store *grows;
static struct test_store *hides; /* and then that something is held behind it */
static enum ft_error (*real_read)(void *ctx, struct disk_file *file, uint64_t offset, void *data,
                                  size_t len, size_t *got);

static enum ft_error read_and_grow(void *ctx, struct disk_file *file, uint64_t offset, void *data,
                                   size_t len, size_t *got)
{
    struct test_store *test = grows;
    grows = NULL;
    if (test)
        test_must(test_flush(test, &one));
    if (hides)
        hides->store->leftover = true;
    return real_read(ctx, file, offset, data, len, got);
}

static void in_a_read(struct test_store *test, struct disk *table)
{
    *table = *test->store->disk;
    real_read = table->read;
    table->read = read_and_grow;
    test->store->disk = table;
}

static void what_is_held_meanwhile_stays(void **state)
{
    (void)state;
    char path[DISK_PATH_BYTES];
    struct test_store *test = harmed(path);
    const struct disk *own = test->store->disk;
    struct disk table;
    in_a_read(test, &table);
    hides = test;
    expect_left(test, 1);
    hides = NULL;
    test->store->disk = own;
    test->store->leftover = false;
    expect_mended(test);
    test_store_free(test);
}

/* Entries that prove themselves are not written over, whatever is thought to be the end. */
static void what_proves_itself_stays(void **state)
{
    (void)state;
    char path[DISK_PATH_BYTES];
    struct test_store *test = harmed(path);
    uint64_t end = test->store->segments[0].end;
    test->store->segments[0].end = SEGMENT_HEADER_BYTES;
    expect_left(test, 1);
    test->store->segments[0].end = end;
    expect_mended(test);
    test_store_free(test);
}

static void what_the_log_writes_meanwhile_stays(void **state)
{
    (void)state;
    char path[DISK_PATH_BYTES];
    struct test_store *test = harmed(path);
    expect_mended(test);
    struct disk table;
    const struct disk *own = test->store->disk;
    in_a_read(test, &table);
    grows = test;
    expect_left(test, 1);
    assert_null(grows);
    test->store->disk = own;
    assert_int_equal(test->log.last, 3);
    expect_good(test);
    test_store_free(test);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(while_each_call_fails),
        cmocka_unit_test(where_nothing_is_known),
        cmocka_unit_test(what_is_held_meanwhile_stays),
        cmocka_unit_test(what_proves_itself_stays),
        cmocka_unit_test(what_the_log_writes_meanwhile_stays),
    };
    return cmocka_run_group_tests_name("store_rest", tests, NULL, NULL);
}
