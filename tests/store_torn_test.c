/* Opening a log whose end is torn, rotten or cut, while each call of the disk and each allocation fails
 * in turn. Whatever fails is told; and the next start decides as it would have without: the same end,
 * the same refusal. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/test_copy.h"
#include "tests/test_heap.h"

enum { DAMAGES = 8 };

/* One sealed segment, and two that are not; the last flush is two entries. */
static struct test_store *log_of(bool single_commands)
{
    struct test_store *test = test_node(1, 1, false);
    const uint32_t count = single_commands ? 1 : 4;
    for (int i = 0; i < 4; i++)
        test_must(test_flush(test, &(struct test_flush) { .entries = 1, .count = 4, .term = 2 }));
    test_must(test_flush(test, &(struct test_flush) { .entries = 2, .count = count, .term = 3 }));
    assert_true(test->store->segments_count >= 2);
    return test;
}

static void cut(struct sim_disk *sim, const char *path, uint64_t size)
{
    const struct disk *disk = sim_disk_table(sim);
    struct disk_file *file;
    test_must(disk->open(disk->ctx, path, DISK_WRITE, &file));
    test_must(disk->resize(disk->ctx, file, size));
    test_must(disk->sync(disk->ctx, file));
    disk->close(disk->ctx, file);
}

/* A closed store with damage number `number` at its end. */
static struct test_store *damaged_by(int number)
{
    static const uint8_t zeros[4096];
    struct test_store *test = log_of(number == 1);
    const struct segment last = test->store->segments[test->store->segments_count - 1];
    const struct segment middle = test->store->segments[test->store->segments_count - 2];
    const uint64_t sector = (last.end - 1) / DISK_SECTOR_BYTES * DISK_SECTOR_BYTES;
    char path[DISK_PATH_BYTES];
    segment_path(path, last.first, "seg");
    test_store_close(test);
    if (number == 0) /* the last sector was not written */
        assert_true(sim_disk_poke(test->disk, path, sector, zeros, DISK_SECTOR_BYTES));
    if (number == 1) /* the last two */
        assert_true(sim_disk_poke(test->disk, path, sector - DISK_SECTOR_BYTES, zeros,
                                  2 * DISK_SECTOR_BYTES));
    if (number == 2) /* rot in what was promised last */
        assert_true(sim_disk_flip(test->disk, path, last.end - 9, 1));
    if (number == 3)
        cut(test->disk, path, last.end - 3);
    if (number == 4)
        assert_true(sim_disk_flip(test->disk, path, SEGMENT_HEADER_BYTES + 20, 1));
    if (number == 5)
        cut(test->disk, path, SEGMENT_HEADER_BYTES - 7);
    if (number == 6) { /* in the middle: another segment goes on */
        segment_path(path, middle.first, "seg");
        assert_true(sim_disk_flip(test->disk, path, middle.end - 9, 1));
    }
    if (number == 7) /* its header */
        assert_true(sim_disk_flip(test->disk, path, 30, 1));
    return test;
}

static struct test_store *like(const struct test_store *before)
{
    struct test_store *test = test_store_new(1, COPY_SEGMENT_BYTES);
    sim_disk_free(test->disk);
    test->disk = sim_disk_copy(before->disk);
    test->log = before->log;
    test->flush = before->flush;
    heap_spares(test->disk);
    return test;
}

static void opened_while_each_call_fails(const struct test_store *before, enum ft_error kind)
{
    struct test_store *undisturbed = like(before);
    const enum ft_error decided = test_store_open(undisturbed);
    uint64_t at = 1, told = 0;
    for (bool reached = true; reached; at++) {
        struct test_store *test = like(before);
        const uint64_t calls = sim_disk_calls(test->disk);
        enum ft_error error;
        heap.count = 0;
        if (kind == FT_ERROR_LIMIT)
            heap.fail_at = at;
        else
            sim_disk_fail_call(test->disk, at, kind);
        WATCHED(error = test_store_open(test));
        reached =
            kind == FT_ERROR_LIMIT ? heap.count >= at : sim_disk_calls(test->disk) - calls >= at;
        heap.fail_at = 0;
        sim_disk_fail_call(test->disk, 0, FT_OK);
        if (error)
            assert_true(strlen(test->why) > 10);
        told += error != decided;
        test_store_close(test);
        sim_disk_crash(test->disk, at);
        assert_int_equal(test_store_open(test), decided);
        if (!decided) {
            assert_int_equal(test->recovery.last_index, undisturbed->recovery.last_index);
            assert_int_equal(test->recovery.may_vote, undisturbed->recovery.may_vote);
            (void)test_read_all(test, test->recovery.checkpoint_index, test->recovery.last_index,
                                &test->log, NULL);
        }
        test_store_free(test);
    }
    assert_true(at > 3);
    assert_true(told > 0 || decided);
    test_store_free(undisturbed);
}

static void a_damaged_end_while_each_call_fails(void **state)
{
    (void)state;
    for (int number = 0; number < DAMAGES; number++) {
        struct test_store *before = damaged_by(number);
        opened_while_each_call_fails(before, FT_ERROR_IO);
        opened_while_each_call_fails(before, FT_ERROR_LIMIT);
        test_store_free(before);
    }
}

/* The truncation was promised and not done: it is done now, whatever fails meanwhile. */
static void a_truncation_that_died_while_each_call_fails(void **state)
{
    (void)state;
    bool died = true;
    for (uint64_t at = 1; died; at += 2) {
        struct test_store *test = log_of(false);
        const uint64_t from = test->log.last - 11;
        sim_disk_die_at(test->disk, sim_disk_operations(test->disk) + at);
        (void)test_flush(test, &(struct test_flush) { .truncate_from = from });
        died = sim_disk_dead(test->disk);
        test_store_close(test);
        sim_disk_die_at(test->disk, 0);
        sim_disk_crash(test->disk, at);
        opened_while_each_call_fails(test, FT_ERROR_IO);
        test_store_free(test);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_damaged_end_while_each_call_fails),
        cmocka_unit_test(a_truncation_that_died_while_each_call_fails),
    };
    return cmocka_run_group_tests_name("store_torn", tests, NULL, NULL);
}
