/* Logs that begin late, and of which no checkpoint can be read: they are lost from their first entry on, until
 * a checkpoint is mended, a leader sends another log from 1 on, or one is copied; whatever a crash
 * leaves of that. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cmd/crypto_sodium.h"
#include "tests/test_copy.h"

/* Each checkpoint, damaged or good again. */
static void flip_checkpoints(struct test_store *test)
{
    struct store_names names;
    test_must(names_list(sim_disk_table(test->disk), &names));
    for (size_t i = 0; i < names.checkpoints_count; i++) {
        char path[DISK_PATH_BYTES];
        checkpoint_file_path(path, names.checkpoints[i]);
        assert_true(sim_disk_flip(test->disk, path, 70, 1));
    }
    names_free(&names);
}

/* A late log, closed; *first: where it begins. */
static struct test_store *late(uint64_t *first)
{
    struct test_store *test = test_node(5, 12, true);
    enum ft_error error;
    *first = test_retain(test, 5 * COPY_SEGMENT_BYTES, &error);
    assert_true(*first > 1);
    test_must(error);
    test_must(test_flush(test, &(struct test_flush) { .entries = 1, .count = 2, .term = 1 }));
    test_store_close(test);
    return test;
}

static void open_unexplained(struct test_store *test, uint64_t last)
{
    test_must(test_store_open(test));
    assert_int_equal(test->recovery.last_index, 0);
    assert_int_equal(test->recovery.first_index, 1);
    assert_int_equal(test->recovery.checkpoint_index, 0);
    assert_int_equal(test->recovery.lost.last, last);
    assert_true(test->recovery.leftover);
    assert_true(test->recovery.may_vote);
    assert_false(test->recovery.may_campaign);
}

/* Without any checkpoint a late log is lost from its first entry on, however often that is looked at, and votes by its end;
 * what a leader sends from 1 on takes its place. */
static void a_late_log_that_nothing_explains(void **state)
{
    (void)state;
    uint64_t first;
    struct test_store *test = late(&first);
    uint64_t last = test->log.last;
    flip_checkpoints(test);
    for (int again = 0; again < 3; again++) {
        open_unexplained(test, last);
        if (again) /* its vote is saved as anybody's */
            test_must(test_flush(test, &(struct test_flush) { .save_vote = true, .term = 2 }));
        if (again < 2)
            test_store_close(test);
    }
    test->log.last = 0;
    memset(test->log.chains[0], 0, HASH_BYTES);
    test_must(test_flush(
        test, &(struct test_flush) { .entries = 3, .count = 4, .term = 3, .truncate_from = 1 }));
    test_store_close(test);
    test_must(test_store_open(test));
    assert_int_equal(test->recovery.last_index, 12);
    assert_int_equal(test->recovery.first_index, 1);
    assert_int_equal(test->recovery.damages, 0);
    assert_int_equal(test_read_all(test, 0, 12, &test->log, NULL), 12);
    test_store_free(test);
}

/* Once a checkpoint of it is mended it is a late log again. */
static void a_late_log_that_is_explained_later(void **state)
{
    (void)state;
    uint64_t first;
    struct test_store *test = late(&first);
    uint64_t last = test->log.last;
    flip_checkpoints(test);
    open_unexplained(test, last);
    flip_checkpoints(test);
    /* Its base stays, also when nobody has it any more. */
    struct store_check check = { .how = STORE_CHECK_SKIP,
                                 .file = STORE_FILE_CHECKPOINT,
                                 .id = first - 1 };
    test_must(store_check(test->store, &check, UINT64_MAX));
    assert_int_not_equal(check.result, STORE_GONE);
    test_store_close(test);
    test_must(test_store_open(test));
    uint64_t entries;
    test_must(store_verify(test->store, test_no_damage, NULL, &entries));
    assert_int_equal(test->recovery.damages, 0);
    assert_int_equal(test->recovery.first_index, first);
    assert_int_equal(test->recovery.last_index, last);
    (void)test_read_all(test, first - 1, last, &test->log, NULL);
    test_store_free(test);
}

/* It is copied anew, from somebody who has all of it. */
static void a_late_log_that_nothing_explains_is_copied(void **state)
{
    (void)state;
    struct test_store *source = test_store_new(6, COPY_SEGMENT_BYTES);
    struct test_store *whole = test_node(5, 12, true);
    sim_disk_free(source->disk);
    source->disk = sim_disk_copy(whole->disk);
    source->log = whole->log;
    test_must(test_store_open(source));
    test_store_free(whole);
    uint64_t first;
    struct test_store *target = late(&first);
    flip_checkpoints(target);
    struct copy_session session = { .source = source, .target = target };
    test_must(copy_run(&session));
    uint64_t end = source->store->indexed_last;
    assert_int_equal(target->recovery.installed, end);
    assert_int_equal(target->recovery.first_index, 1);
    assert_int_equal(target->recovery.last_index, end);
    assert_true(target->recovery.may_vote);
    (void)test_read_all(target, 0, end, &source->log, NULL);
    test_store_free(source);
    test_store_free(target);
}

/* --- crashes while it is removed ----------------------------------------------------------------
 */

static struct store_lost unexplained(struct test_store *test)
{
    uint64_t last = test->log.last;
    flip_checkpoints(test);
    open_unexplained(test, last);
    return test->recovery.lost;
}

static void crash(struct test_store *test, bool power, uint64_t seed)
{
    test_store_close(test);
    sim_disk_die_at(test->disk, 0);
    if (power)
        sim_disk_crash(test->disk, seed);
    else
        sim_disk_kill(test->disk);
}

/* A leader has it removed from 1 on, and the node dies in that, at each of its operations; with its
 * checkpoints mended before, or as rotten as they were. What is there afterwards can be read, and how far
 * it went is still known. (With the power gone while mended ones were being removed the base may be gone
 * and a later one not.) */
static void dies_removing(bool mended, bool power)
{
    bool died = true;
    for (uint64_t at = 1; died; at++) {
        uint64_t first;
        struct test_store *test = late(&first);
        struct test_log log = test->log;
        struct store_lost lost = unexplained(test);
        if (mended)
            flip_checkpoints(test);
        sim_disk_die_at(test->disk, sim_disk_operations(test->disk) + at);
        enum ft_error error =
            test_flush(test, &(struct test_flush) {
                                 .save_vote = true, .term = 3, .truncate_from = 1, .lost = lost });
        died = sim_disk_dead(test->disk);
        assert_true(died || !error);
        crash(test, power, at);
        test_must(test_store_open(test));
        assert_int_not_equal(test->recovery.lost.last, UINT64_MAX);
        if (test->recovery.last_index) {
            uint64_t entries;
            if (!power)
                test_must(store_verify(test->store, test_no_damage, NULL, &entries));
            (void)test_read_all(test, test->recovery.first_index - 1, test->recovery.last_index,
                                &log, NULL);
        }
        test_store_free(test);
    }
}

static void killed_while_it_is_removed(void **state)
{
    (void)state;
    dies_removing(false, false);
    dies_removing(true, false);
}

static void without_power_while_it_is_removed(void **state)
{
    (void)state;
    dies_removing(false, true);
    dies_removing(true, true);
}

/* The truncation had just begun; it is unexplained once more, and only then a checkpoint is mended. */
static void a_begun_truncation_of_what_is_understood_again(void **state)
{
    (void)state;
    uint64_t first;
    struct test_store *test = late(&first);
    uint64_t last = test->log.last;
    struct store_lost lost = unexplained(test);
    sim_disk_die_at(test->disk, sim_disk_operations(test->disk) + 3); /* the vote is saved */
    (void)test_flush(test, &(struct test_flush) { .truncate_from = 1, .lost = lost });
    crash(test, false, 1);
    test_must(test_store_open(test));
    assert_int_equal(test->recovery.last_index, 0);
    flip_checkpoints(test);
    test_store_close(test);
    test_must(test_store_open(test));
    uint64_t entries;
    test_must(store_verify(test->store, test_no_damage, NULL, &entries));
    assert_int_equal(test->recovery.first_index, first);
    assert_int_equal(test->recovery.last_index, last);
    (void)test_read_all(test, first - 1, last, &test->log, NULL);
    test_store_free(test);
}

/* The last piece of a checkpoint comes when the log that it belonged to is gone. */
static void a_checkpoint_that_comes_too_late(void **state)
{
    (void)state;
    struct test_store *source = test_node(5, 12, true);
    const uint64_t id = source->store->indexed_last;
    uint64_t first;
    struct test_store *test = late(&first);
    struct store_lost lost = unexplained(test);
    bool refused = false;
    for (uint64_t offset = 0, size = 1; offset < size && !refused;) {
        static uint8_t data[LIMIT_ENTRY_BYTES];
        struct store_piece piece = { STORE_PIECE_CHECKPOINT, id, offset };
        size_t len;
        test_must(store_read_piece(source->store, &piece, 60, data, &len, &size));
        struct store_mend mend = { .file = STORE_FILE_CHECKPOINT,
                                   .id = id,
                                   .offset = offset,
                                   .size = size,
                                   .data = { data, len } };
        refused = store_mend(test->store, &mend) != FT_OK;
        if (offset == 0) /* the leader is heard: what is left over goes */
            test_must(test_flush(test, &(struct test_flush) { .truncate_from = 1, .lost = lost }));
        offset += len;
    }
    assert_true(refused);
    test_store_close(test);
    test_must(test_store_open(test));
    assert_int_equal(test->recovery.last_index, 0);
    assert_int_equal(test->recovery.damages, 0);
    test_store_free(test);
    test_store_free(source);
}

/* A checkpoint from before the base, which retention had not dropped yet when the node died, explains nothing. */
static void a_checkpoint_before_the_base(void **state)
{
    (void)state;
    bool found = false;
    for (uint64_t at = 1; !found; at++) {
        assert_in_range(at, 1, 500);
        struct test_store *test = test_node(5, 12, true);
        uint64_t last = test->log.last;
        enum ft_error error;
        uint64_t first;
        bool whole;
        struct store_names names;
        sim_disk_die_at(test->disk, sim_disk_operations(test->disk) + at);
        (void)test_retain(test, 5 * COPY_SEGMENT_BYTES, &error);
        crash(test, false, at);
        test_must(begin_file_load(sim_disk_table(test->disk), &crypto_sodium, &first, &whole));
        test_must(names_list(sim_disk_table(test->disk), &names));
        uint64_t oldest = names.checkpoints[0];
        names_free(&names);
        found = first > 1 && oldest + 1 < first;
        if (found) {
            char path[DISK_PATH_BYTES];
            flip_checkpoints(test);
            checkpoint_file_path(path, oldest);
            assert_true(sim_disk_flip(test->disk, path, 70, 1)); /* that one is good */
            test_must(test_store_open(test));
            assert_int_equal(test->recovery.last_index, 0);
            assert_int_equal(test->store->unexplained, first);
            test->log.last = 0;
            memset(test->log.chains[0], 0, HASH_BYTES);
            test_must(test_flush(
                test,
                &(struct test_flush) { .entries = 3, .count = 2, .term = 3, .truncate_from = 1 }));
            test_store_close(test);
            test_must(test_store_open(test));
            assert_int_equal(test->recovery.last_index, 6);
            assert_true(last > 6);
        }
        test_store_free(test);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_late_log_that_nothing_explains),
        cmocka_unit_test(a_late_log_that_is_explained_later),
        cmocka_unit_test(a_late_log_that_nothing_explains_is_copied),
        cmocka_unit_test(killed_while_it_is_removed),
        cmocka_unit_test(without_power_while_it_is_removed),
        cmocka_unit_test(a_begun_truncation_of_what_is_understood_again),
        cmocka_unit_test(a_checkpoint_that_comes_too_late),
        cmocka_unit_test(a_checkpoint_before_the_base),
    };
    return cmocka_run_group_tests_name("store_late", tests, NULL, NULL);
}
