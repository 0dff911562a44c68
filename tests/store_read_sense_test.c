/* Reading when something is not as it should be: indexes that lead nowhere or back, deletions that make no
 * sense, more damage than is remembered, files that are gone; and what is dropped with damage that nobody
 * can mend. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cmd/crypto_sodium.h"
#include "store/index_format.h"
#include "tests/test_copy.h"

enum { COUNT = 130, LARGE_SEGMENT_BYTES = 200000 };

static uint8_t out[1 << 20];

static struct test_store *reopened(struct test_store *test)
{
    test_store_close(test);
    test_must(test_store_open(test));
    return test;
}

/* --- what a disk puts elsewhere -----------------------------------------------------------------
 */

/* A command with its head, over another one's: each proves the other, but for the place that they are at. */
static void a_body_at_another_ones_place(void **state)
{
    (void)state;
    enum { ENTRIES = 40 };
    struct test_store *test = test_store_new(1, LARGE_SEGMENT_BYTES);
    test_must(test_store_open(test));
    test_must(test_flush(test, &test_form));
    test_must(test_flush(test, &(struct test_flush) { .entries = ENTRIES, .count = 1, .term = 1 }));
    const struct disk *disk = sim_disk_table(test->disk);
    char path[DISK_PATH_BYTES];
    segment_path(path, test->store->segments[0].first, "seg");
    unsigned tried = 0;
    for (uint64_t index = 3; index < ENTRIES; index++) {
        struct body_place from, to;
        struct disk_file *file;
        uint32_t size;
        uint64_t time_us;
        size_t got;
        test_must(reading_find_body(test->store, index, &from));
        test_must(reading_find_body(test->store, index + 1, &to));
        if (from.size > to.size)
            continue;
        test_must(reading_body(test->store, index + 1, out, sizeof out, &size, &time_us));
        static uint8_t before[1 << 17], over[1 << 17];
        const size_t len = ENTRY_HEAD_BYTES + from.size;
        test_must(disk->open(disk->ctx, path, DISK_WRITE, &file));
        test_must(disk->read(disk->ctx, file, to.offset - ENTRY_HEAD_BYTES, before, len, &got));
        test_must(disk->read(disk->ctx, file, from.offset - ENTRY_HEAD_BYTES, over, len, &got));
        test_must(disk->write(disk->ctx, file, to.offset - ENTRY_HEAD_BYTES, over, len));
        reading_forget(test->store);
        assert_int_equal(reading_body(test->store, index + 1, out, sizeof out, &size, &time_us),
                         FT_ERROR_CORRUPT);
        test_must(disk->write(disk->ctx, file, to.offset - ENTRY_HEAD_BYTES, before, len));
        disk->close(disk->ctx, file);
        reading_forget(test->store);
        test_must(reading_body(test->store, index + 1, out, sizeof out, &size, &time_us));
        tried++;
    }
    assert_true(tried > 3);
    test_store_free(test);
}

/* --- deletions ----------------------------------------------------------------------------------
 */

/* A sealed segment that deletes more than fits into a block of its index, all in itself. */
static struct test_store *deleting(uint64_t *last)
{
    struct test_store *test = test_store_new(1, LARGE_SEGMENT_BYTES);
    test_must(test_store_open(test));
    test_must(test_flush(test, &test_form));
    do
        test_must(
            test_flush(test, &(struct test_flush) { .entries = 1, .count = COUNT, .term = 1 }));
    while (!segment_full(&test->store->segments[0], LARGE_SEGMENT_BYTES));
    *last = test->log.last;
    for (uint64_t index = 1; index <= *last; index++)
        store_index(test->store, 1, index, index, false);
    for (uint64_t index = 2; index <= *last; index += 2)
        store_delete(test->store, index, index - 1, (uint32_t)index);
    test_must(store_checkpoint(test->store, *last, (struct slice) { (const uint8_t *)"state", 5 }));
    assert_true(*last / 2 > INDEX_PAYLOAD_BYTES / INDEX_DELETION_BYTES);
    return test;
}

static void expect_deleted(struct test_store *test, uint64_t last)
{
    for (uint64_t target = 1; target < last; target++) {
        uint32_t check = 0;
        assert_int_equal(store_deleted(test->store, target, &check), target % 2 == 1);
        assert_int_equal(check, target % 2 == 1 ? target + 1 : 0);
    }
}

static void more_deletions_than_fit_into_a_block(void **state)
{
    (void)state;
    uint64_t last;
    struct test_store *test = deleting(&last);
    expect_deleted(test, last);
    expect_deleted(reopened(test), last);
    /* What comes again is known already. */
    store_delete(test->store, 2, 1, 2);
    expect_deleted(test, last);
    test_store_free(test);
}

/* The first deletion of the index, and the block's check. */
static void write_deletion(struct test_store *test, uint64_t target)
{
    char path[DISK_PATH_BYTES];
    struct index_header header;
    uint8_t block[INDEX_BLOCK_BYTES];
    segment_path(path, 1, "idx");
    test_must(index_file_header_load(sim_disk_table(test->disk), &crypto_sodium, test_cluster, 1,
                                     &header, true));
    uint64_t at = index_deletions_block(&header) * INDEX_BLOCK_BYTES;
    assert_true(sim_disk_peek(test->disk, path, at, block, sizeof block));
    bytes_put_u64(block + 8, target);
    bytes_put_u64(block + INDEX_PAYLOAD_BYTES + 8,
                  crypto_sodium.digest(test_cluster, block, INDEX_PAYLOAD_BYTES + 8));
    assert_true(sim_disk_poke(test->disk, path, at, block, sizeof block));
}

/* A command deletes what is older than itself. */
static void deletions_that_make_no_sense(void **state)
{
    (void)state;
    uint64_t last;
    for (int lie = 0; lie < 2; lie++) {
        struct test_store *test = deleting(&last);
        reading_forget(test->store);
        write_deletion(test, lie ? 2 : 0);
        struct store_scrubbed scrubbed;
        assert_int_equal(store_scrub(test->store, &scrubbed), FT_ERROR_CORRUPT);
        assert_int_equal(scrubbed.erased, 0);
        (void)reopened(test);
        assert_true(test->recovery.damages > 0);
        assert_non_null(strstr(test->recovery.damage, ".idx"));
        assert_int_equal(test->store->unsure, last);
        test_store_free(test);
    }
}

/* There was no memory to remember one: nothing is shown, rather than what was deleted. */
static void a_deletion_that_is_not_remembered(void **state)
{
    (void)state;
    struct test_store *test = test_node(1, 1, false);
    struct store_query query = { .room = 1, .seq_from = 1, .seq_to = 4, .max_records = 9 };
    struct store_answer answer;
    test_must(store_read_posts(test->store, &query, out, sizeof out, &answer));
    assert_true(answer.records > 0);
    test->store->deletions_lost = true;
    assert_int_equal(store_read_posts(test->store, &query, out, sizeof out, &answer),
                     FT_ERROR_CORRUPT);
    test_store_free(test);
}

/* --- posts --------------------------------------------------------------------------------------
 */

static struct test_store *filled(void)
{
    struct test_store *test = test_node(1, 1, false);
    while (test->log.last < test->store->indexed_last + 8)
        test_add(test, 1);
    return test;
}

/* Whoever made such an index, no post comes twice, nor one before another. */
static void an_index_whose_seqs_go_back(void **state)
{
    (void)state;
    static const uint64_t seqs[] = { 1, 2, 5, 3, 6 };
    struct test_store *test = filled();
    uint64_t first = test->store->indexed_last + 1;
    for (size_t i = 0; i < 5; i++)
        store_index(test->store, 7, seqs[i], first + i, false);
    struct store_query query = { .room = 7, .seq_from = 4, .seq_to = 99, .max_records = 9 };
    struct store_answer answer;
    test_must(store_read_posts(test->store, &query, out, sizeof out, &answer));
    assert_int_equal(answer.records, 2);
    assert_int_equal(bytes_get_u64(out + 5), 5);
    uint32_t size = bytes_get_u32(out + 29);
    assert_int_equal(bytes_get_u64(out + STORE_RECORD_BYTES + size + 5), 6);
    test_store_free(test);
}

/* A room that never had a post has lost none. */
static void nothing_is_gone_of_a_room_without_posts(void **state)
{
    (void)state;
    struct test_store *test = test_node(1, 6, true);
    enum ft_error error;
    assert_true(test_retain(test, 2 * COPY_SEGMENT_BYTES, &error) > 1);
    test_must(error);
    struct store_room_range rooms[] = { { .room = 77, .upto_index = 9999 },
                                        { .room = 1, .upto_index = 9999 } };
    struct store_query query = { .rooms_count = 2, .rooms = rooms, .max_records = 1 };
    struct store_answer answer;
    test_must(store_read_posts(test->store, &query, out, sizeof out, &answer));
    assert_int_equal(answer.records, 1);
    assert_int_equal(out[0], STORE_TRUNCATED);
    assert_int_equal(bytes_get_u32(out + 1), 1);
    test_store_free(test);
}

/* Postings in many blocks, one of which cannot be read: the page says so. */
static void a_page_over_blocks_one_of_which_cannot_be_read(void **state)
{
    (void)state;
    uint64_t last;
    struct test_store *test = deleting(&last);
    struct store_query query = { .room = 1, .seq_from = 1, .seq_to = last, .max_records = 99999 };
    struct store_answer right, answer;
    unsigned failed = 0;
    test_must(store_read_posts(test->store, &query, out, sizeof out, &right));
    assert_true(right.records > INDEX_PAYLOAD_BYTES / INDEX_POSTING_BYTES);
    for (uint64_t at = 1;; at++) {
        uint64_t calls = sim_disk_calls(test->disk);
        reading_forget(test->store);
        sim_disk_fail_call(test->disk, at, FT_ERROR_IO);
        enum ft_error error = store_read_posts(test->store, &query, out, sizeof out, &answer);
        bool reached = sim_disk_calls(test->disk) - calls >= at;
        sim_disk_fail_call(test->disk, 0, FT_OK);
        failed += error != FT_OK;
        if (!error)
            assert_int_equal(answer.records, right.records);
        if (!reached)
            break;
    }
    assert_true(failed > 5);
    test_store_free(test);
}

/* --- entries ------------------------------------------------------------------------------------
 */

static void damage_in_more_files_than_are_remembered(void **state)
{
    (void)state;
    struct test_store *test = test_node(1, STORE_NOTICED + 5, false);
    size_t len;
    for (size_t i = 0; i < STORE_NOTICED + 3; i++) {
        char path[DISK_PATH_BYTES];
        uint64_t first = test->store->segments[i].first;
        segment_path(path, first, "seg");
        assert_true(sim_disk_flip(test->disk, path, SEGMENT_HEADER_BYTES + 30, 1));
        for (int again = 0; again < 2; again++)
            assert_int_equal(store_read_entries(test->store, first, out, sizeof out, &len),
                             FT_ERROR_CORRUPT);
    }
    uint64_t id, last = UINT64_MAX;
    unsigned noticed = 0;
    for (; store_noticed(test->store, &id) == STORE_FILE_SEGMENT; noticed++) {
        assert_true(id < last);
        last = id;
    }
    assert_int_equal(noticed, STORE_NOTICED);
    test_store_free(test);
}

/* As much room as the segment's rest needs, and not a byte for the next. */
static void entries_that_just_fit(void **state)
{
    (void)state;
    struct test_store *test = test_node(1, 3, false);
    const struct segment *segment = &test->store->segments[1];
    size_t room = (size_t)segment->end - SEGMENT_HEADER_BYTES;
    size_t len;
    test_must(store_read_entries(test->store, segment->first, out, room, &len));
    assert_int_equal(len, room);
    test_must(store_read_entries(test->store, segment->first, out, room + 1, &len));
    assert_int_equal(len, room);
    test_store_free(test);
}

/* --- what is dropped ----------------------------------------------------------------------------
 */

static uint64_t drop_damaged(struct test_store *test, uint64_t damaged, uint64_t floor)
{
    uint64_t first;
    struct store_retention want = { .floor = floor, .damaged = damaged };
    test_must(store_retain(test->store, &want, &first));
    return first;
}

static void what_cannot_be_mended_is_dropped(void **state)
{
    (void)state;
    struct test_store *test = test_node(1, 8, true);
    const struct segment *segments = test->store->segments;
    char path[DISK_PATH_BYTES];
    assert_int_equal(drop_damaged(test, 99999, UINT64_MAX), 1);
    assert_int_equal(drop_damaged(test, test->log.last, UINT64_MAX), 1); /* that is being written */
    uint64_t ends[8];
    for (size_t i = 0; i < 8; i++)
        ends[i] = segments[i].last;
    assert_int_equal(drop_damaged(test, segments[1].first, ends[1]), 1);
    checkpoint_file_path(path, ends[1]);
    assert_true(sim_disk_flip(test->disk, path, 100, 1)); /* nor behind one that is damaged, too */
    segment_path(path, segments[1].first, "seg");
    assert_true(sim_disk_remove(test->disk, path)); /* what is gone need not go */
    uint64_t first = drop_damaged(test, segments[1].first, UINT64_MAX);
    assert_true(first > ends[1] + 1);
    (void)reopened(test);
    assert_int_equal(test->recovery.first_index, first);
    (void)test_read_all(test, first - 1, test->log.last, &test->log, NULL);
    test_store_free(test);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_body_at_another_ones_place),
        cmocka_unit_test(more_deletions_than_fit_into_a_block),
        cmocka_unit_test(deletions_that_make_no_sense),
        cmocka_unit_test(a_deletion_that_is_not_remembered),
        cmocka_unit_test(an_index_whose_seqs_go_back),
        cmocka_unit_test(nothing_is_gone_of_a_room_without_posts),
        cmocka_unit_test(a_page_over_blocks_one_of_which_cannot_be_read),
        cmocka_unit_test(damage_in_more_files_than_are_remembered),
        cmocka_unit_test(entries_that_just_fit),
        cmocka_unit_test(what_cannot_be_mended_is_dropped),
    };
    return cmocka_run_group_tests_name("store_read_sense", tests, NULL, NULL);
}
