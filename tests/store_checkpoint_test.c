/* Checkpoints: only at the end of a segment that is full and durable, of any size, a part at a time; and
 * while one is written everything that can fail does so, which leaves the ones before. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/test_copy.h"

enum { PART = 1 << 20 };

static const struct slice small = { (const uint8_t *)"state", 5 };

static void fill_segment(struct test_store *test)
{
    struct store *store = test->store;
    do
        test_add(test, 1);
    while (!segment_full(&store->segments[store->segments_count - 1], store->segment_bytes));
    for (uint64_t index = store->indexed_last + 1; index <= test->log.last; index++)
        store_index(store, 1, index, index, false);
}

static void not_everywhere(void **state)
{
    (void)state;
    struct test_store *test = test_node(1, 2, false);
    struct store *store = test->store;
    const uint64_t sealed = store->indexed_last;
    /* The last segment is not full. */
    assert_true(test->log.last > sealed);
    assert_int_equal(store_checkpoint(store, test->log.last, small), FT_ERROR_MISSING);
    fill_segment(test);
    const uint64_t full = test->log.last;
    assert_int_equal(store_checkpoint(store, full - 1, small), FT_ERROR_MISSING);
    assert_int_equal(store_checkpoint(store, full + 1, small), FT_ERROR_MISSING);
    assert_int_equal(store_checkpoint(store, full + 100, small), FT_ERROR_MISSING);
    assert_int_equal(store_checkpoint(store, sealed, small), FT_ERROR_EXISTS);
    assert_int_equal(store->indexed_last, sealed);
    test_must(store_checkpoint(store, full, small));
    assert_int_equal(store->indexed_last, full);
    test_store_free(test);
}

static void of_any_size(void **state)
{
    (void)state;
    static const size_t sizes[] = { 0, 1, PART - 1, PART, PART + 1, 2 * PART, 2 * PART + 77 };
    uint8_t *data = malloc(3 * PART);
    assert_non_null(data);
    for (size_t i = 0; i < 3 * PART; i++)
        data[i] = (uint8_t)(i * 7 + i / 255);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct test_store *test = test_node(1, 1, false);
        fill_segment(test);
        test_must(store_checkpoint(test->store, test->log.last, (struct slice) { data, sizes[i] }));
        test_store_close(test);
        test_must(test_store_open(test));
        assert_int_equal(test->recovery.checkpoint_index, test->log.last);
        assert_int_equal(test->recovery.checkpoint.len, sizes[i]);
        if (sizes[i])
            assert_memory_equal(test->recovery.checkpoint.data, data, sizes[i]);
        test_store_free(test);
    }
    free(data);
}

/* Each part is proven, not only the last one. */
static void every_part_is_proven(void **state)
{
    (void)state;
    enum { BYTES = 2 * PART + 77, HEADER = 112 };
    static const uint64_t places[] = { 0, PART - 1, PART, 2 * PART - 1, 2 * PART, BYTES - 1 };
    struct test_store *test = test_node(1, 1, false);
    uint8_t *data = calloc(1, BYTES);
    char path[DISK_PATH_BYTES];
    uint8_t chain[HASH_BYTES];
    uint8_t *file;
    struct slice found;
    assert_non_null(data);
    fill_segment(test);
    const uint64_t index = test->log.last;
    test_must(store_checkpoint(test->store, index, (struct slice) { data, BYTES }));
    checkpoint_file_path(path, index);
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        assert_true(sim_disk_flip(test->disk, path, HEADER + places[i], 1));
        assert_int_equal(checkpoint_file_load(test->store->disk, test->store->crypto, test_cluster,
                                              index, chain, &file, &found),
                         FT_ERROR_CORRUPT);
        assert_true(sim_disk_flip(test->disk, path, HEADER + places[i], 1));
    }
    test_must(checkpoint_file_load(test->store->disk, test->store->crypto, test_cluster, index,
                                   chain, &file, &found));
    assert_int_equal(found.len, BYTES);
    free(file);
    free(data);
    test_store_free(test);
}

/* A flush may come between its parts, and so may the end of the process. */
static void a_part_at_a_time(void **state)
{
    (void)state;
    uint8_t *data = calloc(1, 3 * PART);
    struct test_store *test = test_node(1, 1, false);
    const uint64_t before = test->store->indexed_last;
    assert_non_null(data);
    fill_segment(test);
    bool finished = false;
    test_must(
        store_checkpoint_begin(test->store, test->log.last, (struct slice) { data, 3 * PART }));
    for (int step = 0; step < 3; step++) { /* the index, then two parts */
        test_must(store_checkpoint_step(test->store, &finished));
        assert_false(finished);
        assert_int_equal(test->store->indexed_last, before);
    }
    const uint64_t full = test->log.last;
    test_add(test, 1);
    test_store_close(test);
    test_must(test_store_open(test));
    assert_int_equal(test->recovery.checkpoint_index, before);
    assert_int_equal(test->recovery.last_index, test->log.last);
    for (uint64_t index = before + 1; index <= test->log.last; index++)
        store_index(test->store, 1, index, index, false);
    /* One that was begun gives way to another. */
    test_must(store_checkpoint_begin(test->store, full, (struct slice) { data, 3 * PART }));
    test_must(store_checkpoint_step(test->store, &finished));
    test_must(store_checkpoint_step(test->store, &finished));
    test_must(store_checkpoint(test->store, full, small));
    assert_int_equal(test->store->indexed_last, full);
    test_store_free(test);
    free(data);
}

static void while_each_call_fails(void **state)
{
    (void)state;
    static const enum ft_error kinds[] = { FT_ERROR_IO, FT_ERROR_SPACE };
    uint8_t *data = calloc(1, 2 * PART);
    struct test_store *before = test_node(1, 2, false);
    assert_non_null(data);
    fill_segment(before);
    const uint64_t sealed = before->store->indexed_last, full = before->log.last;
    test_store_close(before);
    for (size_t kind = 0; kind < 2; kind++) {
        uint64_t at = 1, told = 0;
        for (bool reached = true; reached; at++) {
            struct test_store *test = test_store_new(at, COPY_SEGMENT_BYTES);
            sim_disk_free(test->disk);
            test->disk = sim_disk_copy(before->disk);
            test->log = before->log;
            test_must(test_store_open(test));
            for (uint64_t index = sealed + 1; index <= full; index++)
                store_index(test->store, 1, index, index, false);
            const uint64_t calls = sim_disk_calls(test->disk);
            sim_disk_fail_call(test->disk, at, kinds[kind]);
            const enum ft_error error =
                store_checkpoint(test->store, full, (struct slice) { data, 2 * PART });
            reached = sim_disk_calls(test->disk) - calls >= at;
            sim_disk_fail_call(test->disk, 0, FT_OK);
            told += error != FT_OK;
            char index[DISK_PATH_BYTES];
            segment_path(index, sealed + 1, "idx");
            if (error == FT_ERROR_SPACE &&
                test->store->indexed_last == sealed) /* none of it is taken */
                assert_int_equal(sim_disk_size(test->disk, index), UINT64_MAX);
            if (error && error != FT_ERROR_SYNC && test->store->indexed_last == sealed)
                test_must(store_checkpoint(test->store, full, small)); /* tried again */
            test_store_close(test);
            sim_disk_crash(test->disk, at);
            test_must(test_store_open(test));
            assert_true(test->recovery.checkpoint_index == full ||
                        (error == FT_ERROR_SYNC && test->recovery.checkpoint_index == sealed));
            assert_int_equal(test->recovery.last_index, full);
            (void)test_read_all(test, test->recovery.checkpoint_index, full, &test->log, NULL);
            test_store_free(test);
        }
        assert_true(told > 10);
    }
    test_store_free(before);
    free(data);
}

static enum ft_error (*real_list)(void *ctx, const char *path,
                                  void (*entry)(void *ctx, const char *name), void *entry_ctx);
static bool list_fails;

static enum ft_error list_or_fail(void *ctx, const char *path,
                                  void (*entry)(void *ctx, const char *name), void *entry_ctx)
{
    return list_fails ? FT_ERROR_IO : real_list(ctx, path, entry, entry_ctx);
}

static enum ft_error create_nothing(void *ctx, const char *path, enum disk_mode mode,
                                    struct disk_file **file)
{
    (void)ctx;
    (void)path;
    (void)mode;
    *file = NULL;
    return FT_ERROR_SPACE;
}

/* A later checkpoint that cannot be read may be mended, and then its indexes are needed. */
static void what_a_later_checkpoint_needs_stays(void **state)
{
    (void)state;
    for (int kind = 0; kind < 3; kind++) { /* it is there; it is not; nobody knows */
        struct test_store *test = test_node(1, 2, false);
        uint64_t newest = test->store->indexed_last;
        char index[DISK_PATH_BYTES];
        char path[DISK_PATH_BYTES];
        segment_path(index, test->store->segments[1].first, "idx");
        checkpoint_file_path(path, newest);
        test_store_close(test);
        assert_true(sim_disk_flip(test->disk, path, 100, 1));
        test_must(test_store_open(test));
        uint64_t before = test->store->indexed_last;
        assert_true(before < newest);
        if (kind > 0)
            assert_true(sim_disk_remove(test->disk, path));
        for (uint64_t i = before + 1; i <= newest; i++)
            store_index(test->store, 1, i, i, false);
        bool finished;
        test_must(store_checkpoint_begin(test->store, newest, small));
        test_must(store_checkpoint_step(test->store, &finished)); /* its index */
        const struct disk *own = test->store->disk;
        struct disk table = *own;
        real_list = table.list;
        table.list = list_or_fail;
        table.open = create_nothing;
        list_fails = kind == 2;
        test->store->disk = &table;
        assert_int_equal(store_checkpoint_step(test->store, &finished), FT_ERROR_SPACE);
        test->store->disk = own;
        assert_int_equal(sim_disk_size(test->disk, index) == UINT64_MAX, kind == 1);
        test_store_free(test);
    }
}

/* A base in a folder in the making: whatever fails is told, and another folder is made. */
static void a_base_while_each_call_fails(void **state)
{
    (void)state;
    uint8_t *data = calloc(1, 2 * PART);
    assert_non_null(data);
    const struct store_base base = { .index = 9, .chain = { 'c' }, .state = { data, 2 * PART } };
    uint64_t at = 1;
    for (bool reached = true; reached; at++) {
        struct test_store *test = test_store_new(at, COPY_SEGMENT_BYTES);
        test_must(test_store_open(test));
        const uint64_t calls = sim_disk_calls(test->disk);
        sim_disk_fail_call(test->disk, at, FT_ERROR_IO);
        const enum ft_error error = store_base_write(test->store, test_cluster, &base);
        reached = sim_disk_calls(test->disk) - calls >= at;
        assert_int_equal(error != FT_OK, reached);
        test_store_close(test);
        sim_disk_fail_call(test->disk, 0, FT_OK);
        if (!error) {
            test_must(test_store_open(test));
            assert_int_equal(test->recovery.first_index, 10);
            assert_int_equal(test->recovery.checkpoint.len, 2 * PART);
        }
        test_store_free(test);
    }
    assert_true(at > 10);
    free(data);
}

/* Where a log begins is never before 1, whatever a file with the right check says. */
static void a_beginning_before_the_first(void **state)
{
    (void)state;
    struct test_store *test = test_node(1, 1, false);
    const struct disk *disk = sim_disk_table(test->disk);
    const struct crypto *crypto = test->store->crypto;
    uint64_t first;
    bool whole;
    test_must(begin_file_save(disk, crypto, 0));
    assert_int_equal(begin_file_load(disk, crypto, &first, &whole), FT_ERROR_CORRUPT);
    test_must(begin_file_save(disk, crypto, 5));
    test_must(begin_file_load(disk, crypto, &first, &whole));
    assert_int_equal(first, 5);
    test_store_free(test);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(not_everywhere),
        cmocka_unit_test(of_any_size),
        cmocka_unit_test(every_part_is_proven),
        cmocka_unit_test(a_part_at_a_time),
        cmocka_unit_test(while_each_call_fails),
        cmocka_unit_test(what_a_later_checkpoint_needs_stays),
        cmocka_unit_test(a_base_while_each_call_fails),
        cmocka_unit_test(a_beginning_before_the_first),
    };
    return cmocka_run_group_tests_name("store_checkpoint", tests, NULL, NULL);
}
