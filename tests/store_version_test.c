/* Every kind of file says which version of its format it is, and one of a newer version is refused in words, with the
 * folder left as it was. */
#include "tests/test_store.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "cmd/crypto_sodium.h"

static void must(enum ft_error error)
{
    assert_int_equal(error, FT_OK);
}

/* One sealed segment with its index behind a checkpoint, and one that is open. */
static struct test_store *example(void)
{
    struct test_store *test = test_store_new(5, 800);
    must(test_store_open(test));
    must(test_flush(test, &(struct test_flush) {
                              .save_cluster = true, .save_vote = true, .term = 1, .vote = 1 }));
    while (!test->store->segments_count ||
           !segment_full(&test->store->segments[0], test->store->segment_bytes))
        must(test_flush(test, &(struct test_flush) { .entries = 1, .count = 2, .term = 1 }));
    must(store_checkpoint(test->store, test->log.last,
                          (struct slice) { (const uint8_t *)"state", 5 }));
    must(test_flush(test, &(struct test_flush) { .entries = 1, .count = 1, .term = 1 }));
    test_store_close(test);
    return test;
}

/* A hash over all names and bytes, but for the lock. */
static uint64_t folder_hash(struct sim_disk *disk)
{
    uint64_t sum = 0;
    for (size_t i = 0; sim_disk_name(disk, i); i++) {
        const char *name = sim_disk_name(disk, i);
        uint64_t size = sim_disk_size(disk, name);
        uint8_t key[DIGEST_KEY_BYTES] = { 0 };
        if (strcmp(name, "lock") == 0 || size == UINT64_MAX)
            continue;
        uint8_t *data = malloc(size + 1);
        assert_true(size == 0 || sim_disk_peek(disk, name, 0, data, size));
        bytes_put_u64(key, crypto_sodium.digest(key, name, strlen(name)));
        sum += crypto_sodium.digest(key, data, size);
        free(data);
    }
    return sum;
}

/* As a newer version would have written it. */
static void make_newer(struct sim_disk *disk, const char *path, uint64_t offset)
{
    static const uint8_t no_key[DIGEST_KEY_BYTES];
    uint8_t prologue[PROLOGUE_BYTES];
    assert_true(sim_disk_peek(disk, path, offset, prologue, sizeof prologue));
    assert_int_equal(bytes_get_u32(prologue + 8), STORE_VERSION);
    bytes_put_u32(prologue + 8, STORE_VERSION + 1);
    bytes_put_u64(prologue + 16, crypto_sodium.digest(no_key, prologue, 16));
    assert_true(sim_disk_poke(disk, path, offset, prologue, sizeof prologue));
}

static void a_newer_file_is_refused_and_nothing_is_touched(void **state)
{
    (void)state;
    struct test_store *test = example();
    unsigned kinds = 0;
    char names[64][DISK_PATH_BYTES];
    size_t count = 0;
    for (; sim_disk_name(test->disk, count); count++)
        snprintf(names[count], DISK_PATH_BYTES, "%s", sim_disk_name(test->disk, count));
    for (size_t i = 0; i < count; i++) {
        /* The sealed segment is not read by open: its index, written by the same version, is. */
        if (strcmp(names[i], "lock") == 0 || strstr(names[i], "spare") ||
            strstr(names[i], "01.seg") || sim_disk_size(test->disk, names[i]) < PROLOGUE_BYTES)
            continue;
        struct sim_disk *whole = sim_disk_copy(test->disk);
        if (strcmp(names[i], "vote") == 0)
            for (uint64_t copy = 0; copy < VOTE_COPIES; copy++)
                make_newer(test->disk, names[i], copy * VOTE_SECTOR_BYTES);
        else
            make_newer(test->disk, names[i], 0);
        uint64_t before = folder_hash(test->disk);
        enum ft_error error = test_store_open(test);
        if (error != FT_ERROR_VERSION)
            fail_msg("%s: %d", names[i], (int)error);
        if (!strstr(names[i], ".idx")) /* of which the checkpoint is named that needs it */
            assert_non_null(strstr(test->why, names[i]));
        assert_non_null(strstr(test->why, "newer version (run that version"));
        assert_true(folder_hash(test->disk) == before);
        kinds++;
        sim_disk_free(test->disk);
        test->disk = whole;
    }
    assert_int_equal(kinds, 5); /* identity, vote, segment, index, checkpoint */
    must(test_store_open(test));
    test_store_free(test);
}

int main(void)
{
    if (!crypto_start())
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_newer_file_is_refused_and_nothing_is_touched),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
