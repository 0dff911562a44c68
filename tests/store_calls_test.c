/* A folder with everything in it: a log that begins above 1, segments with their indexes and one
 * without, checkpoints, held files, leftovers. It is asked all that can be asked, it is opened, and its
 * history is dropped and its held log written, while each call of the disk and each allocation fails in
 * turn. An answer is told to have failed or is the right one, and asked again it is right; what fails
 * at opening changes nothing; and what was promised stays. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cmd/crypto_sodium.h"
#include "store/held.h"
#include "tests/test_folder.h"
#include "tests/test_heap.h"

static struct test_store *quiet_like(const struct test_store *before)
{
    struct test_store *test = folder_like(before);
    heap_spares(test->disk);
    return test;
}

static void arm(enum ft_error kind, struct test_store *test, uint64_t at)
{
    heap.count = 0;
    if (kind == FT_ERROR_LIMIT)
        heap.fail_at = at;
    else
        sim_disk_fail_call(test->disk, at, kind);
}

static uint64_t calls_before;

/* Has the `at`th call been reached since? */
static bool disarm(enum ft_error kind, struct test_store *test, uint64_t at)
{
    heap.fail_at = 0;
    sim_disk_fail_call(test->disk, 0, FT_OK);
    return kind == FT_ERROR_LIMIT ? heap.count >= at
                                  : sim_disk_calls(test->disk) - calls_before >= at;
}

static unsigned ask_while_each_fails(struct test_store *test, unsigned number, enum ft_error kind)
{
    static struct folder_reply right, reply;
    unsigned failed = 0;
    reading_forget(test->store);
    test_must(folder_ask(test, number, &right));
    uint64_t at = 1;
    for (bool reached = true; reached; at++) {
        enum ft_error error;
        reading_forget(test->store); /* nothing is known beforehand */
        calls_before = sim_disk_calls(test->disk);
        arm(kind, test, at);
        WATCHED(error = folder_ask(test, number, &reply));
        reached = disarm(kind, test, at);
        failed += error != FT_OK;
        if (!reached || (kind == FT_ERROR_LIMIT && number < FOLDER_PARTLY))
            assert_int_equal(error != FT_OK, reached);
        if (!error) {
            /* A read that fails is done again page by page. Entries may be fewer than there are, if
             * there is one. */
            bool partly = number >= FOLDER_PARTLY && reply.len > 0 && reply.len <= right.len;
            assert_true(partly || reply.len == right.len);
            assert_memory_equal(reply.bytes, right.bytes, reply.len);
        }
        test_must(folder_ask(test, number, &reply));
        assert_int_equal(reply.len, right.len);
        assert_memory_equal(reply.bytes, right.bytes, right.len);
    }
    return failed;
}

static void each_question_while_each_call_fails(void **state)
{
    (void)state;
    static const enum ft_error kinds[] = { FT_ERROR_IO, FT_ERROR_LIMIT };
    struct test_store *test = folder_new();
    heap_spares(test->disk);
    unsigned failed = 0;
    folder_post_rest(test);
    for (unsigned number = 0; number < FOLDER_QUESTIONS; number++)
        for (size_t kind = 0; kind < 2; kind++)
            failed += ask_while_each_fails(test, number, kinds[kind]);
    assert_true(failed > 300);
    test_store_free(test);
}

/* --- a folder that nobody runs on ---------------------------------------------------------------
 */

static void count_damage(void *ctx, const struct store_damage *damage)
{
    (void)damage;
    ++*(unsigned *)ctx;
}

static bool count_entries(void *ctx, const struct entry *entry)
{
    (void)entry;
    ++*(unsigned *)ctx;
    return true;
}

static void looking_at_a_folder_while_each_call_fails(void **state)
{
    (void)state;
    static const enum ft_error kinds[] = { FT_ERROR_IO, FT_ERROR_LIMIT };
    struct test_store *test = folder_new();
    heap_spares(test->disk);
    const struct disk *disk = sim_disk_table(test->disk);
    unsigned whole[2] = { 0, 0 };
    unsigned told = 0;
    test_store_close(test);
    for (unsigned round = 0; round < 4; round++) {
        enum ft_error kind = kinds[round / 2];
        uint64_t at = 0; /* none, then each */
        for (bool reached = true; reached; at++) {
            unsigned seen = 0, damages = 0;
            uint64_t entries = 0;
            uint64_t erased;
            struct store_walk walk = { 1, UINT64_MAX, count_entries, &seen };
            enum ft_error error;
            calls_before = sim_disk_calls(test->disk);
            arm(kind, test, at);
            if (round % 2)
                WATCHED(error = store_walk_folder(disk, &crypto_sodium, &walk));
            else
                WATCHED(error = store_verify_folder(disk, &crypto_sodium, count_damage, &damages,
                                                    &entries, &erased));
            reached = disarm(kind, test, at);
            if (at == 0)
                whole[round % 2] = round % 2 ? seen : (unsigned)entries;
            /* A read that fails is done again page by page. */
            if (!reached || kind == FT_ERROR_LIMIT)
                assert_int_equal(error != FT_OK, reached && at);
            if (!error)
                assert_int_equal(round % 2 ? seen : entries, whole[round % 2]);
            assert_int_equal(damages, 0);
            told += error != FT_OK;
        }
        assert_true(at > 3);
    }
    assert_true(told > 30);
    assert_true(whole[0] > 10);
    assert_int_equal(whole[0], whole[1]);
    test_store_free(test);
}

/* Where nothing lies but zeros, two sectors in a row; and the small files, so that nothing stands by itself. */
static struct test_store *spoilt(void)
{
    struct test_store *test = folder_new();
    const struct disk *disk = sim_disk_table(test->disk);
    struct copy_file copy = { .start = 1, .end = 9, .segment_bytes = COPY_SEGMENT_BYTES };
    struct disk_file *file;
    char path[DISK_PATH_BYTES];
    segment_path(path, test->store->segments[1].first, "seg");
    test_must(scrub_all_again(test->store));
    test_must(copy_file_save(disk, &crypto_sodium, test_cluster, &copy));
    test_store_close(test);
    test_must(disk->open(disk->ctx, path, DISK_WRITE, &file));
    test_must(disk->resize(disk->ctx, file, 5 << 19));
    test_must(disk->sync(disk->ctx, file));
    disk->close(disk->ctx, file);
    assert_true(sim_disk_flip(test->disk, path, (5 << 19) - 700, 1));
    assert_true(sim_disk_flip(test->disk, path, (5 << 19) - 1, 1));
    static const char *const small[] = { "identity", "vote", "begin", "copy", "scrub" };
    for (size_t i = 0; i < 5; i++)
        assert_true(sim_disk_flip(test->disk, small[i], 30, 1));
    assert_true(sim_disk_flip(test->disk, "copy", DISK_PAGE_BYTES + 30, 1));
    heap_spares(test->disk);
    return test;
}

/* What is damaged is told all the same, or the run ends. */
static void looking_at_a_spoilt_folder_while_each_call_fails(void **state)
{
    (void)state;
    struct test_store *test = spoilt();
    unsigned whole = 0, told = 0;
    uint64_t at = 0; /* none, then each */
    for (bool reached = true; reached; at++) {
        unsigned damages = 0;
        uint64_t entries, erased;
        uint64_t before = sim_disk_calls(test->disk);
        sim_disk_fail_call(test->disk, at, FT_ERROR_LIMIT);
        enum ft_error error = store_verify_folder(sim_disk_table(test->disk), &crypto_sodium,
                                                  count_damage, &damages, &entries, &erased);
        reached = sim_disk_calls(test->disk) - before >= at;
        sim_disk_fail_call(test->disk, 0, FT_OK);
        if (at == 0)
            whole = damages;
        assert_true(error || damages == whole);
        told += error != FT_OK;
    }
    assert_int_equal(whole, 6);
    assert_true(told > 30);
    test_store_free(test);
}

/* No cluster is known that anything could be proved by. */
static void looking_at_a_folder_of_nobody(void **state)
{
    (void)state;
    struct test_store *test = test_node(1, 0, false);
    unsigned damages = 0;
    uint64_t entries, erased;
    test_store_close(test);
    assert_true(sim_disk_flip(test->disk, "identity", 50, 1));
    test_must(store_verify_folder(sim_disk_table(test->disk), &crypto_sodium, count_damage,
                                  &damages, &entries, &erased));
    assert_int_equal(damages, 1);
    test_store_free(test);
}

/* --- opening ------------------------------------------------------------------------------------
 */

static void same_as_before(struct test_store *test, const struct test_store *before)
{
    const struct store_recovery *now = &test->recovery, *then = &before->recovery;
    assert_int_equal(now->first_index, then->first_index);
    assert_int_equal(now->last_index, then->last_index);
    if (now->damages) /* an older one may do */
        assert_in_range(now->checkpoint_index, now->first_index - 1, then->checkpoint_index);
    else
        assert_int_equal(now->checkpoint_index, then->checkpoint_index);
    assert_int_equal(now->term, then->term);
    assert_int_equal(now->held.last, 3);
    assert_int_equal(now->held.records.len, 3 * (4 + 700));
    assert_true(now->may_vote);
    (void)test_read_all(test, now->first_index - 1, now->last_index, &test->log, NULL);
}

static void opening_while_each_call_fails(void **state)
{
    (void)state;
    static const enum ft_error kinds[] = { FT_ERROR_IO, FT_ERROR_LIMIT };
    struct test_store *before = folder_new();
    unsigned mended = 0;
    folder_reopen(before);
    test_store_close(before);
    for (size_t k = 0; k < 2; k++) {
        uint64_t at = 1;
        for (bool reached = true; reached; at++) {
            struct test_store *test = quiet_like(before);
            enum ft_error error;
            calls_before = sim_disk_calls(test->disk);
            arm(kinds[k], test, at);
            WATCHED(error = test_store_open(test));
            reached = disarm(kinds[k], test, at);
            if (error) {
                assert_true(strlen(test->why) > 10); /* what to do about it */
                assert_null(test->store);
                sim_disk_crash(test->disk, at);
                test_must(test_store_open(test));
            }
            same_as_before(test, before);
            mended += test->recovery.damages > 0;
            folder_reopen(test); /* nothing is the worse for it */
            assert_int_equal(test->recovery.damages, 0);
            same_as_before(test, before);
            test_store_free(test);
        }
        assert_true(at > 10);
    }
    assert_true(mended > 3);
    test_store_free(before);
}

/* --- writing ------------------------------------------------------------------------------------
 */

struct done {
    uint64_t held;  /* records promised */
    bool discarded; /* promised to be gone */
    bool discards;  /* may be gone */
    uint64_t begin; /* at least this much is kept */
};

/* Until something fails that ends the process. */
static enum ft_error write_all(struct test_store *test, struct done *done)
{
    for (uint64_t first = 4; first < 7; first++) {
        enum ft_error error = folder_hold(test, first);
        if (error && error != FT_ERROR_SPACE)
            return error;
        if (error)
            test_must(folder_hold(test, first)); /* there is room again */
        done->held = first;
    }
    struct store_retention age = { .keep_bytes = 0, .since_us = 1, .floor = UINT64_MAX };
    uint64_t first;
    CHECK(test->store->segments_count > 1);
    age.since_us = test->store->segments[test->store->segments_count - 1].first * 1000;
    enum ft_error error = store_retain(test->store, &age, &first);
    if (error == FT_ERROR_SYNC)
        return error;
    if (!error)
        done->begin = first;
    done->discards = true;
    error = store_hold(test->store, &(struct store_hold) { .number = 99, .discard = true });
    done->discarded = !error;
    return error;
}

static void writing_while_each_call_fails(void **state)
{
    (void)state;
    static const enum ft_error kinds[] = { FT_ERROR_IO, FT_ERROR_SPACE, FT_ERROR_LIMIT };
    struct test_store *before = folder_new();
    test_store_close(before);
    for (size_t k = 0; k < 3; k++) {
        uint64_t at = 1;
        unsigned told = 0;
        for (bool reached = true; reached; at++) {
            struct test_store *test = quiet_like(before);
            struct done done = { .held = 3 };
            test_must(test_store_open(test));
            test->store->retains = true;
            calls_before = sim_disk_calls(test->disk);
            arm(kinds[k], test, at);
            enum ft_error error;
            WATCHED(error = write_all(test, &done));
            reached = disarm(kinds[k], test, at);
            told += error != FT_OK;
            if (error && test->store->log.failed) /* nothing is promised after it */
                assert_int_equal(folder_hold(test, 50), FT_ERROR_IO);
            test_store_close(test);
            sim_disk_crash(test->disk, at);
            test_must(test_store_open(test));
            const struct store_recovery *now = &test->recovery;
            if (done.discarded)
                assert_int_equal(now->held.files, 0);
            if (!done.discards)
                assert_true(now->held.last >= done.held);
            assert_int_equal(now->held.rotten, 0);
            assert_true(now->first_index >= done.begin);
            assert_int_equal(now->last_index, test->log.last);
            uint64_t entries;
            test_must(store_verify(test->store, test_no_damage, NULL, &entries));
            test_store_free(test);
        }
        if (kinds[k] == FT_ERROR_IO)
            assert_true(told > 10);
    }
    test_store_free(before);
}

int main(void)
{
    struct CMUnitTest tests[] = {
        cmocka_unit_test(each_question_while_each_call_fails),
        cmocka_unit_test(looking_at_a_folder_while_each_call_fails),
        cmocka_unit_test(looking_at_a_spoilt_folder_while_each_call_fails),
        cmocka_unit_test(looking_at_a_folder_of_nobody),
        cmocka_unit_test(opening_while_each_call_fails),
        cmocka_unit_test(writing_while_each_call_fails),
    };
    return cmocka_run_group_tests_name("store_calls", tests, NULL, NULL);
}
