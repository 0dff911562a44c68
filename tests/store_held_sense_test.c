/* The held log's files at their edges: headers with the right check that make no sense, another
 * cluster's file, a newer version's, one that is too long, more files than may be; and a full disk that
 * does not even take back what it took. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cmd/crypto_sodium.h"
#include "store/held.h"
#include "tests/test_folder.h"

static const char first_path[] = "held-00000000000000000001";

static struct test_store *opened(void)
{
    struct test_store *test = test_store_new(3, TEST_SEGMENT_BYTES);
    test_must(test_store_open(test));
    test_must(test_flush(test, &test_form));
    return test;
}

static enum ft_error hold_sized(struct store *store, uint64_t first, uint32_t size, uint64_t commit)
{
    static uint8_t entry[4096];
    static const uint8_t body[2000] = { 'h' }, no_chain[HASH_BYTES];
    struct entry_draft draft = { ENTRY_COMMANDS, first, 0, 1, 1, &size, body };
    size_t len = entry_build(entry, sizeof entry, &draft, &crypto_sodium, test_cluster, no_chain);
    assert_true(len > 0);
    entry_set_local(entry, first, 0, commit, &crypto_sodium, test_cluster);
    return store_hold(store, &(struct store_hold) { .number = first, .entry = { entry, len } });
}

struct told {
    unsigned records;
    unsigned rotten;
    char what[80];
};

static void on_record(void *ctx, uint64_t number, struct slice body)
{
    (void)number;
    (void)body;
    ((struct told *)ctx)->records++;
}

static void on_rot(void *ctx, uint64_t offset, uint64_t number, const char *what)
{
    struct told *told = ctx;
    (void)offset;
    (void)number;
    told->rotten++;
    snprintf(told->what, sizeof told->what, "%s", what);
}

static void headers_that_make_no_sense(void **state)
{
    (void)state;
    static const struct {
        size_t at;
        size_t bytes;
        uint64_t value;
    } lies[] = {
        { ENTRY_AT_COUNT, 4, 0 },
        { ENTRY_AT_COUNT, 4, LIMIT_ENTRY_COMMANDS + 1 },
        { ENTRY_AT_COUNT, 4, 2000 }, /* more heads than bytes */
        { ENTRY_AT_SIZE, 4, LIMIT_ENTRY_BYTES + 1 },
        { ENTRY_AT_SIZE, 4, 50 },
        { ENTRY_AT_FIRST, 8, 0 }, /* not above the one before */
        { ENTRY_AT_FIRST, 8, UINT64_MAX },
    };
    struct test_store *test = opened();
    uint8_t data[4096];
    test_must(hold_sized(test->store, 1, 700, 5));
    const size_t len = (size_t)sim_disk_size(test->disk, first_path);
    for (size_t i = 0; i <= sizeof lies / sizeof lies[0]; i++) {
        const bool lie = i < sizeof lies / sizeof lies[0];
        uint8_t *header = data + HELD_HEADER_BYTES;
        struct told told = { 0 };
        assert_true(sim_disk_peek(test->disk, first_path, 0, data, len));
        if (lie && lies[i].bytes == 4)
            bytes_put_u32(header + lies[i].at, (uint32_t)lies[i].value);
        else if (lie)
            bytes_put_u64(header + lies[i].at, lies[i].value);
        bytes_put_u32(header + ENTRY_AT_CHECK,
                      entry_header_check(&crypto_sodium, test_cluster, header));
        struct held_scan scan = { .crypto = &crypto_sodium,
                                  .key = test_cluster,
                                  .data = data,
                                  .len = len,
                                  .on_record = on_record,
                                  .on_rot = on_rot,
                                  .ctx = &told };
        held_scan(&scan);
        assert_int_equal(told.records, !lie);
        assert_int_equal(told.rotten > 0, lie);
        assert_int_equal(scan.commit, lie ? 0 : 5);
        /* Who does not want to be told gets the number. */
        struct held_scan silent = {
            .crypto = &crypto_sodium, .key = test_cluster, .data = data, .len = len
        };
        held_scan(&silent);
        assert_int_equal(silent.rotten, told.rotten);
    }
    test_store_free(test);
}

static void a_file_of_another_cluster(void **state)
{
    (void)state;
    struct test_store *test = opened();
    uint8_t data[4096], other[IDENTITY_BYTES] = "another cluster";
    struct told told = { 0 };
    test_must(hold_sized(test->store, 1, 700, 0));
    const size_t len = (size_t)sim_disk_size(test->disk, first_path);
    assert_true(sim_disk_peek(test->disk, first_path, 0, data, len));
    struct held_scan scan = { .crypto = &crypto_sodium,
                              .key = other,
                              .data = data,
                              .len = HELD_HEADER_BYTES,
                              .on_record = on_record,
                              .on_rot = on_rot,
                              .ctx = &told };
    held_scan(&scan);
    assert_int_equal(told.rotten, 1);
    assert_non_null(strstr(told.what, "another cluster"));
    scan.len = len;
    held_scan(&scan);
    assert_int_equal(told.records, 0);
    test_store_free(test);
}

/* Its records may mean something else: not opened, nothing changed. */
static void a_file_of_a_newer_version(void **state)
{
    (void)state;
    static const uint8_t no_key[DIGEST_KEY_BYTES];
    struct test_store *test = opened();
    uint8_t head[24];
    test_must(hold_sized(test->store, 1, 700, 0));
    test_store_close(test);
    assert_true(sim_disk_peek(test->disk, first_path, 0, head, sizeof head));
    bytes_put_u32(head + 8, STORE_VERSION + 1);
    bytes_put_u64(head + 16, crypto_sodium.digest(no_key, head, 16));
    assert_true(sim_disk_poke(test->disk, first_path, 0, head, sizeof head));
    assert_int_equal(test_store_open(test), FT_ERROR_VERSION);
    assert_non_null(strstr(test->why, "held"));
    assert_non_null(strstr(test->why, "newer"));
    test_store_free(test);
}

/* What the held records knew to be committed is known again, as far as the log reaches. */
static void the_commit_that_was_known(void **state)
{
    (void)state;
    for (uint64_t commit = 1; commit < 6; commit++) {
        struct test_store *test = opened();
        test_add(test, 1);
        test_add(test, 1);
        const uint64_t last = test->log.last;
        assert_int_equal(last, 4);
        test_must(hold_sized(test->store, 1, 10, commit));
        test_must(hold_sized(test->store, 2, 10, 1));
        test_store_close(test);
        test_must(test_store_open(test));
        assert_int_equal(test->recovery.held.commit, commit);
        /* The log's own headers name 2. */
        assert_int_equal(test->recovery.commit, commit > 2 && commit <= last ? commit : 2);
        test_store_free(test);
    }
}

static void a_record_of_nothing(void **state)
{
    (void)state;
    struct test_store *test = opened();
    test_must(hold_sized(test->store, 1, 0, 0));
    test_must(hold_sized(test->store, 2, 9, 0));
    test_store_close(test);
    test_must(test_store_open(test));
    struct reader reader =
        reader_of(test->recovery.held.records.data, test->recovery.held.records.len);
    assert_int_equal(read_slice32(&reader).len, 0);
    assert_int_equal(read_slice32(&reader).len, 9);
    assert_true(reader_finished(&reader));
    test_store_free(test);
}

static void make_file(struct test_store *test, const char *path, uint64_t size)
{
    const struct disk *disk = sim_disk_table(test->disk);
    struct disk_file *file;
    test_must(disk->open(disk->ctx, path, DISK_CREATE, &file));
    test_must(disk->resize(disk->ctx, file, size));
    test_must(disk->sync(disk->ctx, file));
    disk->close(disk->ctx, file);
    test_must(disk->sync_dir(disk->ctx, ""));
}

static unsigned damages;
static bool named;

static void see(void *ctx, const struct store_damage *damage)
{
    damages++;
    named |= strcmp(damage->file, ctx) == 0;
}

/* It is told, and kept beside when the others go. */
static void a_file_longer_than_any(void **state)
{
    (void)state;
    struct test_store *test = opened();
    char long_path[] = "held-00000000000000000007";
    test_must(hold_sized(test->store, 1, 700, 0));
    test_store_close(test);
    make_file(test, long_path, HELD_FILE_BYTES + 1);
    test_must(test_store_open(test));
    assert_int_equal(test->recovery.held.rotten, 1);
    assert_non_null(strstr(test->recovery.held.what, long_path));
    assert_int_equal(test->recovery.held.records.len, 704);
    uint64_t entries;
    damages = 0;
    named = false;
    test_must(store_verify(test->store, see, long_path, &entries));
    assert_true(named);
    assert_int_equal(damages, 1);
    test_must(hold_sized(test->store, 8, 10, 0));
    test_must(store_hold(test->store, &(struct store_hold) { .number = 9, .discard = true }));
    assert_int_equal(sim_disk_size(test->disk, first_path), UINT64_MAX);
    assert_int_equal(sim_disk_size(test->disk, long_path), UINT64_MAX);
    assert_int_equal(sim_disk_size(test->disk, "held-00000000000000000007.rotten"),
                     HELD_FILE_BYTES + 1);
    test_store_close(test);
    test_must(test_store_open(test));
    assert_int_equal(test->recovery.held.files, 0);
    assert_int_equal(test->recovery.held.rotten, 0);
    test_store_free(test);
}

/* Each start of a node that holds something makes one. */
static void as_many_files_as_may_be(void **state)
{
    (void)state;
    struct test_store *test = opened();
    for (uint64_t first = 1; first <= HELD_FILES; first++) {
        test_must(hold_sized(test->store, first, 10, 0));
        test_store_close(test);
        test_must(test_store_open(test));
    }
    assert_int_equal(test->recovery.held.files, HELD_FILES);
    assert_int_equal(hold_sized(test->store, HELD_FILES + 1, 10, 0), FT_ERROR_SPACE);
    test_must(store_hold(test->store, &(struct store_hold) { .number = 99, .discard = true }));
    test_must(hold_sized(test->store, HELD_FILES + 1, 10, 0));
    test_store_close(test);
    /* More than this program makes. */
    for (unsigned i = 0; i < HELD_FILES; i++) {
        char path[DISK_PATH_BYTES];
        snprintf(path, sizeof path, "held-%020u", 1000 + i);
        make_file(test, path, 0);
    }
    assert_int_equal(test_store_open(test), FT_ERROR_LIMIT);
    assert_non_null(strstr(test->why, "held"));
    test_store_free(test);
}

/* The disk is full, and what it took of the record cannot be taken back: nothing is promised any more. */
static void what_cannot_be_taken_back_is_the_end(void **state)
{
    (void)state;
    for (int begun = 0; begun < 2; begun++) {
        struct test_store *test = opened();
        if (begun)
            test_must(hold_sized(test->store, 1, 10, 0));
        sim_disk_capacity(test->disk, sim_disk_used(test->disk) + 100);
        /* Of the calls that come: the write is refused for its size, then what takes it back. */
        sim_disk_fail_call(test->disk, begun ? 2 : 3, FT_ERROR_IO);
        assert_int_equal(hold_sized(test->store, 2, 700, 0), FT_ERROR_IO);
        sim_disk_capacity(test->disk, 0);
        assert_int_equal(hold_sized(test->store, 2, 10, 0), FT_ERROR_IO);
        test_store_close(test);
        sim_disk_crash(test->disk, 5);
        test_must(test_store_open(test));
        assert_int_equal(test->recovery.held.last, begun);
        assert_int_equal(test->recovery.held.rotten, 0);
        test_store_free(test);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(headers_that_make_no_sense),
        cmocka_unit_test(a_file_of_another_cluster),
        cmocka_unit_test(a_file_of_a_newer_version),
        cmocka_unit_test(the_commit_that_was_known),
        cmocka_unit_test(a_record_of_nothing),
        cmocka_unit_test(a_file_longer_than_any),
        cmocka_unit_test(as_many_files_as_may_be),
        cmocka_unit_test(what_cannot_be_taken_back_is_the_end),
    };
    return cmocka_run_group_tests_name("store_held_sense", tests, NULL, NULL);
}
