/* What the rounds come upon that is whole and not what should be there, what is not there at all, and
 * pieces from nodes that lie: nothing is put in place that is not proved to be what was there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cmd/crypto_sodium.h"
#include "store/index_format.h"
#include "tests/test_copy.h"

enum { SEALED = 4, OPEN = 3, SEGMENTS = SEALED + OPEN, BUDGET = 1 << 20 };

static const uint8_t no_key[DIGEST_KEY_BYTES];
static struct segment segments[SEGMENTS]; /* of the whole log */
static struct test_store *good;           /* another node, with the same log */
static struct test_store *test;
static uint8_t data[LIMIT_ENTRY_BYTES];

/* --- two nodes with one log ---------------------------------------------------------------------
 */

static struct test_store *like_good(void)
{
    struct test_store *made = test_store_new(1, COPY_SEGMENT_BYTES);
    sim_disk_free(made->disk);
    made->disk = sim_disk_copy(good->disk);
    made->flush = good->flush;
    made->log = good->log;
    return made;
}

/* Four sealed segments, and three that no checkpoint covers, the last of which has room. */
static void begin_closed(void)
{
    good = test_node(1, SEALED, true);
    while (good->store->segments_count < SEGMENTS)
        test_add(good, 1);
    test_add(good, 1);
    memcpy(segments, good->store->segments, sizeof segments);
    test = like_good();
}

static void begin(void)
{
    begin_closed();
    test_must(test_store_open(test));
}

static void end(void)
{
    test_store_free(test);
    test_store_free(good);
}

static void again(void)
{
    test_store_free(test);
    test = like_good();
    test_must(test_store_open(test));
}

static void flip(size_t number, uint64_t offset)
{
    char path[DISK_PATH_BYTES];
    segment_path(path, segments[number].first, "seg");
    assert_true(sim_disk_flip(test->disk, path, offset, 4));
}

static struct store_check checked(enum store_check_how how, enum store_file file, uint64_t id)
{
    struct store_check check = { .how = how, .file = file, .id = id, .upto = good->log.last };
    test_must(store_check(test->store, &check, BUDGET));
    return check;
}

static enum store_checked result(enum store_file file, uint64_t id)
{
    return checked(STORE_CHECK_FILE, file, id).result;
}

/* It is made good from what is here, once. */
static void expect_mended(enum store_file file, uint64_t id)
{
    struct store_check check = checked(STORE_CHECK_FILE, file, id);
    assert_true(check.mended);
    assert_int_equal(check.result, STORE_CLEAN);
    assert_false(checked(STORE_CHECK_FILE, file, id).mended);
}

/* The other node's entries from the one that holds `index` on, as many as come at once. */
static size_t fetch(uint64_t index)
{
    struct store_piece piece = { .kind = STORE_PIECE_ENTRIES, .index = index };
    size_t len;
    uint64_t size;
    test_must(store_read_piece(good->store, &piece, 600, data, &len, &size));
    assert_true(len > 0);
    return len;
}

static enum ft_error mend_entries(enum store_file file, uint64_t id, size_t len, uint64_t committed)
{
    struct store_mend mend = {
        .file = file, .id = id, .committed = committed, .data = { data, len }
    };
    enum ft_error error = store_mend(test->store, &mend);
    assert_int_equal(mend.done, error == FT_OK);
    return error;
}

/* All of it is as the other node's. */
static void whole(void)
{
    uint64_t entries;
    test_must(store_verify(test->store, test_no_damage, NULL, &entries));
    (void)test_read_all(test, test->store->begin - 1, good->log.last, &good->log, NULL);
}

/* --- what is whole, and not what should be there ------------------------------------------------
 */

static void small_files_of_another_node(void **state)
{
    (void)state;
    begin();
    const struct disk *disk = sim_disk_table(test->disk);
    for (int lie = 0; lie < 2; lie++) {
        struct identity_file file = { .segment_bytes = COPY_SEGMENT_BYTES };
        memcpy(file.identity, test_identity, IDENTITY_BYTES);
        memcpy(file.cluster, test_cluster, IDENTITY_BYTES);
        (lie ? file.cluster : file.identity)[3] ^= 1;
        test_must(identity_file_save(disk, &crypto_sodium, &file));
        expect_mended(STORE_FILE_IDENTITY, 0);
    }
    enum ft_error error;
    assert_true(test_retain(test, 3 * COPY_SEGMENT_BYTES, &error) > 1);
    test_must(error);
    test_must(begin_file_save(disk, &crypto_sodium, 2));
    expect_mended(STORE_FILE_BEGIN, 0);
    end();
}

static void a_checkpoint_of_a_newer_version(void **state)
{
    (void)state;
    begin();
    char path[DISK_PATH_BYTES];
    uint8_t head[PROLOGUE_BYTES];
    checkpoint_file_path(path, segments[SEALED - 1].last);
    assert_true(sim_disk_peek(test->disk, path, 0, head, sizeof head));
    bytes_put_u32(head + 8, STORE_VERSION + 1);
    bytes_put_u64(head + 16, crypto_sodium.digest(no_key, head, 16));
    assert_true(sim_disk_poke(test->disk, path, 0, head, sizeof head));
    assert_int_equal(result(STORE_FILE_CHECKPOINT, segments[SEALED - 1].last), STORE_DAMAGED);
    end();
}

static void write_header(size_t number, const struct segment_header *header)
{
    char path[DISK_PATH_BYTES];
    uint8_t bytes[SEGMENT_HEADER_BYTES];
    segment_path(path, segments[number].first, "seg");
    segment_header_write(bytes, header, &crypto_sodium);
    assert_true(sim_disk_poke(test->disk, path, 0, bytes, sizeof bytes));
}

static void headers_of_other_segments(void **state)
{
    (void)state;
    for (int lie = 0; lie < 3; lie++) {
        begin();
        struct segment_header header = { .first = segments[2].first,
                                         .segment_bytes = COPY_SEGMENT_BYTES };
        memcpy(header.cluster, test_cluster, IDENTITY_BYTES);
        memcpy(header.chain, segments[1].chain, HASH_BYTES);
        if (lie == 0)
            header.first++;
        if (lie == 1)
            header.cluster[5] ^= 1;
        if (lie == 2)
            header.chain[5] ^= 1;
        write_header(2, &header);
        expect_mended(STORE_FILE_SEGMENT, segments[2].first);
        whole();
        end();
    }
}

/* What its entries follow is not known while the one before it is damaged itself: they are proved by
 * their digests, and the header waits. */
static void a_header_behind_what_is_lost(void **state)
{
    (void)state;
    begin_closed();
    char path[DISK_PATH_BYTES];
    flip(1, segments[1].end - 1);
    segment_path(path, segments[1].first, "idx");
    assert_true(sim_disk_remove(test->disk, path));
    flip(2, 40);
    test_must(test_store_open(test));
    struct store_check check = checked(STORE_CHECK_FILE, STORE_FILE_SEGMENT, segments[2].first);
    assert_int_equal(check.result, STORE_CLEAN);
    assert_false(check.mended);
    check = checked(STORE_CHECK_FILE, STORE_FILE_SEGMENT, segments[1].first);
    assert_int_equal(check.result, STORE_DAMAGED);
    size_t len = fetch(check.index);
    test_must(mend_entries(STORE_FILE_SEGMENT, segments[1].first, len, good->log.last));
    check = checked(STORE_CHECK_AGAIN, STORE_FILE_SEGMENT, segments[1].first);
    assert_int_equal(check.result, STORE_CLEAN);
    expect_mended(STORE_FILE_SEGMENT, segments[2].first);
    end();
}

/* The first entry behind a header that is not known: others say that it is committed, and it is whole. */
static void an_entry_behind_a_header_that_is_not_known(void **state)
{
    (void)state;
    begin_closed();
    char path[DISK_PATH_BYTES];
    flip(1, segments[1].end - 1);
    segment_path(path, segments[1].first, "idx");
    assert_true(sim_disk_remove(test->disk, path));
    flip(2, 40);
    flip(2, SEGMENT_HEADER_BYTES + 30);
    test_must(test_store_open(test));
    struct store_check check = checked(STORE_CHECK_FILE, STORE_FILE_SEGMENT, segments[2].first);
    assert_int_equal(check.result, STORE_DAMAGED);
    assert_int_equal(check.index, segments[2].first);
    size_t len = fetch(check.index);
    size_t body = ENTRY_HEADER_BYTES + 2 * ENTRY_HEAD_BYTES;
    data[body] ^= 1;
    assert_int_equal(mend_entries(STORE_FILE_SEGMENT, check.id, len, good->log.last),
                     FT_ERROR_CORRUPT);
    data[body] ^= 1;
    assert_int_equal(mend_entries(STORE_FILE_SEGMENT, check.id, len, check.index - 1),
                     FT_ERROR_CORRUPT);
    test_must(mend_entries(STORE_FILE_SEGMENT, check.id, len, good->log.last));
    check = checked(STORE_CHECK_AGAIN, STORE_FILE_SEGMENT, segments[2].first);
    assert_int_equal(check.result, STORE_CLEAN);
    end();
}

/* --- what is not there --------------------------------------------------------------------------
 */

static void files_that_are_not_there(void **state)
{
    (void)state;
    begin();
    char path[DISK_PATH_BYTES];
    uint64_t newest = segments[SEALED - 1].last;
    assert_int_equal(result(STORE_FILE_CHECKPOINT, newest), STORE_CLEAN);
    checkpoint_file_path(path, newest);
    assert_true(sim_disk_remove(test->disk, path));
    assert_int_equal(result(STORE_FILE_CHECKPOINT, newest), STORE_GONE);
    assert_int_equal(result(STORE_FILE_INDEX, 99999), STORE_GONE);
    assert_int_equal(result(STORE_FILE_INDEX, segments[SEALED].first), STORE_GONE);
    assert_int_equal(result(STORE_FILE_INDEX, segments[1].first + 1), STORE_GONE);
    assert_int_equal(result(STORE_FILE_SEGMENT, 99999), STORE_GONE);
    assert_int_equal(result(STORE_FILE_SEGMENT, segments[1].first + 1), STORE_GONE);
    assert_int_equal(result(STORE_FILE_TAIL, 0), STORE_GONE);
    assert_int_equal(result(STORE_FILE_NONE, 0), STORE_CLEAN);
    assert_int_equal(result(STORE_FILE_HELD, 0), STORE_GONE);
    struct store_check check = { .how = STORE_CHECK_FILE,
                                 .file = STORE_FILE_SEGMENT,
                                 .id = segments[SEALED].first,
                                 .upto = segments[SEALED].first - 1 };
    test_must(store_check(test->store, &check, BUDGET));
    assert_int_equal(check.result, STORE_GONE); /* it may be truncated yet */
    /* One that is being written is the log side's: it is not made anew under it. */
    segment_path(path, segments[SEGMENTS - 1].first, "seg");
    assert_true(sim_disk_remove(test->disk, path));
    check = (struct store_check) { .how = STORE_CHECK_FILE,
                                   .file = STORE_FILE_SEGMENT,
                                   .id = segments[SEGMENTS - 1].first,
                                   .upto = good->log.last };
    assert_int_equal(store_check(test->store, &check, BUDGET), FT_ERROR_MISSING);
    assert_int_equal(sim_disk_size(test->disk, path), UINT64_MAX);
    end();
}

/* A file that is damaged in one piece has nothing behind its damage; and to go on with another file than
 * the one at hand is to begin it. */
static void skipping_and_going_on(void **state)
{
    (void)state;
    begin();
    char path[DISK_PATH_BYTES];
    segment_path(path, segments[0].first, "idx");
    assert_true(sim_disk_flip(test->disk, path, 900, 1));
    assert_int_equal(result(STORE_FILE_INDEX, segments[0].first), STORE_DAMAGED);
    assert_int_equal(checked(STORE_CHECK_SKIP, STORE_FILE_INDEX, segments[0].first).result,
                     STORE_CLEAN);
    flip(1, segments[1].end - 1);
    assert_int_equal(result(STORE_FILE_SEGMENT, segments[1].first), STORE_DAMAGED);
    assert_int_equal(checked(STORE_CHECK_AGAIN, STORE_FILE_SEGMENT, segments[2].first).result,
                     STORE_CLEAN);
    assert_int_equal(checked(STORE_CHECK_AGAIN, STORE_FILE_SEGMENT, segments[1].first).result,
                     STORE_DAMAGED);
    end();
}

/* A segment goes while it is looked at, a slice at a time. */
static void retention_overtakes_a_look(void **state)
{
    (void)state;
    begin();
    struct store_check check = { .how = STORE_CHECK_FILE,
                                 .file = STORE_FILE_SEGMENT,
                                 .id = segments[0].first,
                                 .upto = good->log.last };
    test_must(store_check(test->store, &check, 1));
    assert_int_equal(check.result, STORE_MORE);
    enum ft_error error;
    assert_true(test_retain(test, 2 * COPY_SEGMENT_BYTES, &error) > 1);
    test_must(error);
    check.how = STORE_CHECK_AGAIN;
    test_must(store_check(test->store, &check, BUDGET));
    assert_int_equal(check.result, STORE_CLEAN);
    assert_int_equal(result(STORE_FILE_SEGMENT, segments[0].first), STORE_GONE);
    end();
}

/* --- a checkpoint that nobody has ---------------------------------------------------------------
 */

static void rot_checkpoint(uint64_t index)
{
    char path[DISK_PATH_BYTES];
    checkpoint_file_path(path, index);
    assert_true(sim_disk_flip(test->disk, path, 100, 1));
    assert_int_equal(result(STORE_FILE_CHECKPOINT, index), STORE_DAMAGED);
}

static bool is_there(uint64_t index)
{
    char path[DISK_PATH_BYTES];
    checkpoint_file_path(path, index);
    return sim_disk_size(test->disk, path) != UINT64_MAX;
}

static void a_checkpoint_that_nobody_has_is_dropped(void **state)
{
    (void)state;
    uint64_t calls = 0;
    begin();
    uint64_t newest = segments[SEALED - 1].last;
    for (uint64_t at = 0; at <= calls; at++) {
        rot_checkpoint(newest);
        struct store_check check = { .how = STORE_CHECK_SKIP,
                                     .file = STORE_FILE_CHECKPOINT,
                                     .id = newest };
        uint64_t before = sim_disk_calls(test->disk);
        if (at)
            sim_disk_fail_call(test->disk, at, at == 3 ? FT_ERROR_MISSING : FT_ERROR_IO);
        enum ft_error error = store_check(test->store, &check, BUDGET);
        sim_disk_fail_call(test->disk, 0, FT_OK);
        if (at == 0) {
            test_must(error);
            assert_int_equal(check.result, STORE_GONE);
            assert_false(is_there(newest));
            calls = sim_disk_calls(test->disk) - before;
        }
        again();
    }
    /* The last good one goes too? Not if it is the rotten one: better than none. */
    for (size_t i = 0; i < SEALED; i++)
        if (is_there(segments[i].last))
            rot_checkpoint(segments[i].last);
    struct store_check check = checked(STORE_CHECK_SKIP, STORE_FILE_CHECKPOINT, newest);
    assert_int_equal(check.result, STORE_CLEAN);
    assert_true(is_there(newest));
    end();
}

/* Without it the log could not be understood. */
static void the_base_is_not_dropped(void **state)
{
    (void)state;
    begin();
    enum ft_error error;
    uint64_t first = test_retain(test, 2 * COPY_SEGMENT_BYTES, &error);
    test_must(error);
    assert_true(first > 1);
    rot_checkpoint(first - 1);
    (void)checked(STORE_CHECK_SKIP, STORE_FILE_CHECKPOINT, first - 1);
    assert_true(is_there(first - 1));
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_files_of_another_node),
        cmocka_unit_test(a_checkpoint_of_a_newer_version),
        cmocka_unit_test(headers_of_other_segments),
        cmocka_unit_test(a_header_behind_what_is_lost),
        cmocka_unit_test(an_entry_behind_a_header_that_is_not_known),
        cmocka_unit_test(files_that_are_not_there),
        cmocka_unit_test(skipping_and_going_on),
        cmocka_unit_test(retention_overtakes_a_look),
        cmocka_unit_test(a_checkpoint_that_nobody_has_is_dropped),
        cmocka_unit_test(the_base_is_not_dropped),
    };
    return cmocka_run_group_tests_name("store_mend_sense", tests, NULL, NULL);
}
