/* What recovery holds behind the log's end: it is looked at from file to file and mended, or it is left to
 * a leader. */
#include <stdio.h>

#include "tests/test_mend.h"

/* The tail, to its end; false: it is gone. */
static bool mend_tail(uint64_t committed)
{
    struct store_check check = checked(STORE_CHECK_FILE, STORE_FILE_TAIL, 0);
    for (int turn = 0; check.result == STORE_DAMAGED || check.result == STORE_MORE; turn++) {
        assert_true(turn < 100);
        if (check.result == STORE_DAMAGED) {
            size_t len = fetch(check.index);
            test_must(mend_entries(STORE_FILE_TAIL, 0, len, committed));
        }
        check = checked(STORE_CHECK_AGAIN, STORE_FILE_TAIL, 0);
    }
    return check.result == STORE_CLEAN;
}

static void a_torn_write_behind_what_is_held(void **state)
{
    (void)state;
    static const uint8_t zeros[DISK_SECTOR_BYTES];
    begin_closed();
    char path[DISK_PATH_BYTES];
    uint64_t last_end = segments[SEGMENTS - 1].end;
    uint64_t sector = (last_end - 1) / DISK_SECTOR_BYTES * DISK_SECTOR_BYTES;
    segment_path(path, segments[SEGMENTS - 1].first, "seg");
    assert_true(sim_disk_poke(test->disk, path, sector, zeros, (size_t)(last_end - sector)));
    flip(SEALED, segments[SEALED].end - 1);
    test_must(test_store_open(test));
    assert_true(test->recovery.leftover);
    assert_true(mend_tail(good->log.last));
    test_store_close(test);
    test_must(test_store_open(test));
    assert_false(test->recovery.leftover);
    assert_true(test->recovery.cut_bytes > 0);
    assert_in_range(test->recovery.last_index, segments[SEGMENTS - 1].first, good->log.last - 1);
    end();
}

/* A log that begins late, whose newest checkpoint is lost and with it what came first: what is held there
 * follows the base. */
static void what_is_held_behind_the_base(void **state)
{
    (void)state;
    begin();
    enum ft_error error;
    uint64_t first = test_retain(test, 3 * COPY_SEGMENT_BYTES, &error);
    test_must(error);
    assert_true(first > 1);
    test_store_close(test);
    size_t number = 0;
    while (segments[number].first != first)
        number++;
    for (size_t i = number; i < SEALED; i++) {
        char path[DISK_PATH_BYTES];
        checkpoint_file_path(path, segments[i].last);
        (void)sim_disk_remove(test->disk, path);
    }
    flip(number, SEGMENT_HEADER_BYTES + 30);
    test_must(test_store_open(test));
    assert_int_equal(test->recovery.last_index, first - 1);
    assert_true(test->recovery.leftover);
    assert_true(mend_tail(good->log.last));
    test_store_close(test);
    test_must(test_store_open(test));
    assert_int_equal(test->recovery.last_index, good->log.last);
    whole();
    end();
}

/* Nothing is there that could be mended: what was is the leader's to send. */
static void what_is_held_and_gone(void **state)
{
    (void)state;
    for (int left = 0; left < 2; left++) {
        begin_closed();
        char path[DISK_PATH_BYTES];
        for (size_t i = 0; i < SEALED; i++) {
            checkpoint_file_path(path, segments[i].last);
            (void)sim_disk_remove(test->disk, path);
            segment_path(path, segments[i].first, "idx");
            assert_true(sim_disk_remove(test->disk, path));
        }
        for (size_t i = 0; i < SEGMENTS - (size_t)left; i++) {
            segment_path(path, segments[i].first, "seg");
            assert_true(sim_disk_remove(test->disk, path));
        }
        test_must(test_store_open(test));
        assert_true(test->recovery.leftover);
        assert_int_equal(test->recovery.last_index, 0);
        assert_false(mend_tail(good->log.last));
        end();
    }
}

/* A whole segment of it is gone: what comes after cannot be reached, and looking at it ends. */
static void what_is_held_behind_a_segment_that_is_gone(void **state)
{
    (void)state;
    for (int rotten = 0; rotten < 2; rotten++) {
        begin_closed();
        char path[DISK_PATH_BYTES];
        segment_path(path, segments[SEALED + 1].first, "seg");
        assert_true(sim_disk_remove(test->disk, path));
        if (rotten)
            flip(SEALED, segments[SEALED].end - 1);
        test_must(test_store_open(test));
        assert_true(test->recovery.leftover);
        assert_false(mend_tail(good->log.last));
        end();
    }
}

/* Its last entry has nothing behind it that would prove it; and then a leader has it truncated. */
static void what_is_held_and_goes_meanwhile(void **state)
{
    (void)state;
    begin_closed();
    const struct segment *last = &segments[SEGMENTS - 1];
    flip(SEGMENTS - 1, last->end - 1);
    test_must(test_store_open(test));
    assert_true(test->recovery.leftover);
    struct store_check check = checked(STORE_CHECK_FILE, STORE_FILE_TAIL, 0);
    assert_int_equal(check.result, STORE_DAMAGED);
    size_t len = fetch(check.index);
    data[ENTRY_AT_TERM] ^= 1; /* nor is it the one that its header says */
    assert_int_equal(mend_entries(STORE_FILE_TAIL, 0, len, 0), FT_ERROR_CORRUPT);
    test->log.last = test->recovery.last_index;
    struct test_flush on = {
        .entries = 1, .count = 2, .term = 9, .truncate_from = test->recovery.last_index + 1
    };
    test_must(test_flush(test, &on));
    len = fetch(check.index);
    assert_int_equal(mend_entries(STORE_FILE_TAIL, 0, len, good->log.last), FT_ERROR_MISSING);
    assert_int_equal(result(STORE_FILE_TAIL, 0), STORE_GONE);
    (void)test_read_all(test, 0, test->log.last, &test->log, NULL);
    end();
}

/* The last header of all is rotten: what was there, nobody can say but a leader. */
static void the_last_entry_of_what_is_held(void **state)
{
    (void)state;
    begin_closed();
    const struct segment *last = &segments[SEGMENTS - 1];
    (void)fetch(last->last - 1);
    flip(SEGMENTS - 1, last->end - bytes_get_u32(data + ENTRY_AT_SIZE) + 30);
    test_must(test_store_open(test));
    struct store_check check = checked(STORE_CHECK_FILE, STORE_FILE_TAIL, 0);
    assert_int_equal(check.result, STORE_DAMAGED);
    size_t len = fetch(check.index);
    assert_int_equal(mend_entries(STORE_FILE_TAIL, 0, len, 0), FT_ERROR_CORRUPT);
    test_must(mend_entries(STORE_FILE_TAIL, 0, len, good->log.last));
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_torn_write_behind_what_is_held),
        cmocka_unit_test(what_is_held_behind_the_base),
        cmocka_unit_test(what_is_held_and_gone),
        cmocka_unit_test(what_is_held_behind_a_segment_that_is_gone),
        cmocka_unit_test(what_is_held_and_goes_meanwhile),
        cmocka_unit_test(the_last_entry_of_what_is_held),
    };
    return cmocka_run_group_tests_name("store_tail", tests, NULL, NULL);
}
