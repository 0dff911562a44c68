/* The held log: what was promised is there after a crash at every operation; every flipped bit is found
 * and named, and nothing that is not what was written is ever given back. */
#include "store/held.h"
#include "tests/test_store.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/crypto_sodium.h"

enum { BODIES = 40, APPENDS = 6 };

/* Body number n (from 1) is a text that no other is, of a length of its own. */
static uint32_t text_of(uint64_t number, uint8_t *out)
{
    uint32_t len = 20 + (uint32_t)(number * 97 % 900);
    for (uint32_t i = 0; i < len; i++)
        out[i] = (uint8_t)('a' + (number + i) % 26);
    out[0] = (uint8_t)('A' + number % 26);
    out[1] = (uint8_t)('A' + number / 26);
    return len;
}

/* `count` bodies from number `first` on, as one append. */
static enum ft_error hold(struct store *store, uint64_t number, uint64_t first, uint32_t count)
{
    static uint8_t bodies[LIMIT_HOLD_BYTES];
    static uint8_t entry[LIMIT_HOLD_BYTES];
    static const uint8_t no_chain[HASH_BYTES];
    uint32_t sizes[BODIES];
    size_t len = 0;
    for (uint32_t i = 0; i < count; i++) {
        sizes[i] = text_of(first + i, bodies + len);
        len += sizes[i];
    }
    struct entry_draft draft = {
        .kind = ENTRY_COMMANDS, .first = first, .count = count, .sizes = sizes, .bodies = bodies
    };
    size_t size =
        entry_build(entry, sizeof entry, &draft, &crypto_sodium, store->cluster, no_chain);
    assert_true(size > 0);
    entry_set_local(entry, number, 0, 0, &crypto_sodium, store->cluster);
    return store_hold(store, &(struct store_hold) { .number = number, .entry = { entry, size } });
}

/* Every record given back is one that was written, in order and once; returns how many, and the
 * highest number without a hole before it. */
static uint64_t proven(const struct store_recovery *recovery, uint64_t *complete)
{
    struct reader reader = reader_of(recovery->held.records.data, recovery->held.records.len);
    uint64_t count = 0;
    uint64_t last = 0;
    *complete = 0;
    while (reader_left(&reader)) {
        uint8_t expected[1024];
        struct slice body = read_slice32(&reader);
        assert_false(reader.bad);
        assert_true(body.len >= 2);
        uint64_t number = (uint64_t)(body.data[1] - 'A') * 26;
        number += (uint64_t)(body.data[0] - 'A' + 26 - (int)(number % 26)) % 26;
        assert_true(number > last);
        assert_int_equal(body.len, text_of(number, expected));
        assert_memory_equal(body.data, expected, body.len);
        *complete += number == *complete + 1;
        last = number;
        count++;
    }
    return count;
}

static struct test_store *opened(uint64_t seed)
{
    struct test_store *test = test_store_new(seed, TEST_SEGMENT_BYTES);
    assert_int_equal(test_store_open(test), FT_OK);
    return test;
}

static void held_is_found_after_a_restart_and_gone_after_a_discard(void **state)
{
    (void)state;
    struct test_store *test = opened(1);
    uint64_t complete;
    assert_int_equal(test->recovery.held.files, 0);
    assert_int_equal(hold(test->store, 1, 1, 3), FT_OK);
    assert_int_equal(hold(test->store, 2, 4, 5), FT_OK);
    for (int i = 0; i < 3; i++) { /* each run writes a file of its own */
        test_store_close(test);
        assert_int_equal(test_store_open(test), FT_OK);
        assert_int_equal(test->recovery.held.files, 1 + i);
        assert_int_equal(test->recovery.held.rotten, 0);
        assert_int_equal(proven(&test->recovery, &complete), 8 + i);
        assert_int_equal(test->recovery.held.last, 8 + i);
        assert_int_equal(hold(test->store, 10 + (uint64_t)i, 9 + (uint64_t)i, 1), FT_OK);
    }
    assert_int_equal(
        store_hold(test->store, &(struct store_hold) { .number = 20, .discard = true }), FT_OK);
    assert_int_equal(hold(test->store, 21, 30, 1), FT_OK); /* and begins anew */
    test_store_close(test);
    assert_int_equal(test_store_open(test), FT_OK);
    assert_int_equal(test->recovery.held.files, 1);
    assert_int_equal(proven(&test->recovery, &complete), 1);
    test_store_free(test);
}

/* At each operation in turn, then again under another seed of what the crash keeps. */
static void a_crash_at_every_operation_keeps_what_was_promised(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 4; seed++)
        for (uint64_t at = 1;; at++) {
            struct test_store *test = opened(seed);
            uint64_t promised = 0;
            uint64_t begun = sim_disk_operations(test->disk);
            uint64_t discarded = 0;
            sim_disk_die_at(test->disk, begun + at);
            for (uint64_t i = 0; i < APPENDS && !sim_disk_dead(test->disk); i++) {
                uint32_t count = 1 + (uint32_t)(i % 3) * 4;
                if (hold(test->store, i + 1, promised + 1, count) == FT_OK)
                    promised += count;
            }
            if (!sim_disk_dead(test->disk)) {
                discarded = promised;
                (void)!store_hold(test->store,
                                  &(struct store_hold) { .number = 90, .discard = true });
            }
            bool died = sim_disk_dead(test->disk);
            sim_disk_crash(test->disk, seed * 1000 + at);
            test_store_close(test);
            assert_int_equal(test_store_open(test), FT_OK);
            uint64_t complete;
            (void)proven(&test->recovery, &complete);
            assert_int_equal(test->recovery.held.rotten, 0);
            assert_true(complete >= promised || discarded);
            test_store_free(test);
            if (!died)
                break;
        }
}

struct named {
    bool any;
    bool held;
};

static void found(void *ctx, const struct store_damage *damage)
{
    struct named *named = ctx;
    named->any = true;
    named->held |= strncmp(damage->file, "held-", 5) == 0;
}

/* The text of a damaged record must not come back, the others must, and the damage has a name. */
static void every_flipped_bit_is_found_and_named(void **state)
{
    (void)state;
    const char *path = "held-00000000000000000001";
    struct test_store *made = opened(7);
    assert_int_equal(hold(made->store, 1, 1, 2), FT_OK);
    assert_int_equal(hold(made->store, 2, 3, 1), FT_OK);
    test_store_close(made);
    struct sim_disk *clean = sim_disk_copy(made->disk);
    uint64_t size = sim_disk_size(clean, path);
    for (uint64_t bit = 0; bit < size * 8; bit++) {
        sim_disk_free(made->disk);
        made->disk = sim_disk_copy(clean);
        assert_true(sim_disk_flip(made->disk, path, bit / 8, (uint8_t)(1u << bit % 8)));
        enum ft_error error = test_store_open(made);
        if (error == FT_ERROR_VERSION || error == FT_ERROR_FOREIGN)
            fail_msg("a flipped bit looks like another version, bit %u", (unsigned)bit);
        assert_int_equal(error, FT_OK);
        uint64_t complete;
        uint64_t count = proven(&made->recovery, &complete);
        assert_true(made->recovery.held.rotten > 0);
        assert_true(strstr(made->recovery.held.what, path) != NULL);
        assert_true(count >= 1);
        struct named named = { 0 };
        uint64_t entries;
        assert_int_equal(store_verify(made->store, found, &named, &entries), FT_OK);
        assert_true(named.held);
        test_store_close(made);
    }
    sim_disk_free(clean);
    test_store_free(made);
}

/* Each row of held_rows, made on a file. */
static void every_row_of_the_table(void **state)
{
    (void)state;
    static uint8_t zero[DISK_SECTOR_BYTES];
    const char *path = "held-00000000000000000001";
    unsigned seen = 0;
    for (int row = 0; row < HELD_ROWS; row++) {
        const struct held_row *expected = &held_rows[row];
        struct test_store *test = opened(9);
        assert_int_equal(hold(test->store, 1, 1, 4), FT_OK); /* more than two sectors */
        if (!expected->last)
            assert_int_equal(hold(test->store, 2, 5, 1), FT_OK);
        test_store_close(test);
        uint64_t at = HELD_HEADER_BYTES;
        if (expected->head == HELD_HEAD_ZEROS)
            assert_true(sim_disk_poke(test->disk, path, at, zero, sizeof zero));
        if (expected->head == HELD_HEAD_BAD)
            assert_true(sim_disk_flip(test->disk, path, at + 9, 1));
        if (expected->head == HELD_HEAD_GOOD && !expected->missing)
            assert_true(sim_disk_flip(test->disk, path, at + 700, 1));
        if (expected->missing && expected->head != HELD_HEAD_BAD)
            assert_true(sim_disk_poke(test->disk, path, at + DISK_SECTOR_BYTES, zero, sizeof zero));
        assert_int_equal(test_store_open(test), FT_OK);
        bool torn = test->recovery.held.rotten == 0;
        assert_int_equal(torn, expected->decision == HELD_TORN);
        uint64_t complete;
        uint64_t count = proven(&test->recovery, &complete);
        assert_true(expected->last || count >= 1); /* what follows the damage is there */
        seen++;
        test_store_free(test);
    }
    assert_int_equal(seen, HELD_ROWS);
    for (int head = 0; head < 3; head++)
        for (int k = 0; k < 4; k++)
            assert_non_null(held_decide((enum held_head)head, k & 1, k & 2));
}

/* The last sector of an append has nothing but zeros of the entry: torn from the file it is no rot, for nobody was
 * promised it; with an entry behind it, it is. */
static void a_torn_sector_whose_content_is_zeros(void **state)
{
    (void)state;
    static const uint8_t zero[DISK_SECTOR_BYTES];
    static const uint8_t no_chain[HASH_BYTES];
    const char *path = "held-00000000000000000001";
    for (int follows = 0; follows < 2; follows++) {
        struct test_store *test = opened(6);
        uint8_t body[DISK_SECTOR_BYTES * 2] = { 'A', 'B' };
        uint8_t entry[sizeof body + 512];
        uint32_t len = 2 * DISK_SECTOR_BYTES + 3 - (uint32_t)entry_size(1, 0);
        memset(body + 2, 'x', len - 5);
        struct entry_draft draft = {
            .kind = ENTRY_COMMANDS, .first = 1, .count = 1, .sizes = &len, .bodies = body
        };
        size_t size = entry_build(entry, sizeof entry, &draft, &crypto_sodium, test->store->cluster,
                                  no_chain);
        assert_int_equal(size % DISK_SECTOR_BYTES, 3);
        entry_set_local(entry, 1, 0, 0, &crypto_sodium, test->store->cluster);
        assert_int_equal(
            store_hold(test->store, &(struct store_hold) { .number = 1, .entry = { entry, size } }),
            FT_OK);
        if (follows)
            assert_int_equal(hold(test->store, 2, 2, 1), FT_OK);
        test_store_close(test);
        assert_true(sim_disk_poke(test->disk, path, HELD_HEADER_BYTES + 2 * DISK_SECTOR_BYTES, zero,
                                  sizeof zero));
        assert_int_equal(test_store_open(test), FT_OK);
        assert_int_equal(test->recovery.held.rotten, follows);
        test_store_free(test);
    }
}

static void a_full_disk_keeps_nothing_and_is_tried_again(void **state)
{
    (void)state;
    struct test_store *test = opened(3);
    uint64_t complete;
    sim_disk_capacity(test->disk, sim_disk_used(test->disk) + 600);
    assert_int_equal(hold(test->store, 1, 1, 3), FT_ERROR_SPACE);
    sim_disk_capacity(test->disk, 0);
    assert_int_equal(hold(test->store, 2, 1, 3), FT_OK);
    sim_disk_capacity(test->disk, sim_disk_used(test->disk) + 600);
    assert_int_equal(hold(test->store, 3, 4, 30), FT_ERROR_SPACE);
    sim_disk_capacity(test->disk, 0);
    assert_int_equal(hold(test->store, 4, 4, 2), FT_OK);
    test_store_close(test);
    assert_int_equal(test_store_open(test), FT_OK);
    assert_int_equal(test->recovery.held.rotten, 0);
    assert_int_equal(proven(&test->recovery, &complete), 5);
    test_store_free(test);
}

static void a_failed_sync_is_the_last_thing_it_does(void **state)
{
    (void)state;
    struct test_store *test = opened(4);
    assert_int_equal(hold(test->store, 1, 1, 1), FT_OK);
    sim_disk_fail_sync(test->disk);
    assert_true(hold(test->store, 2, 2, 1) != FT_OK);
    assert_true(hold(test->store, 3, 2, 1) != FT_OK);
    assert_true(test_flush(test, &(struct test_flush) {
                                     .save_vote = true, .term = 9, .vote = 1 }) != FT_OK);
    test_store_free(test);
}

static void what_was_rotten_is_kept_beside(void **state)
{
    (void)state;
    const char *path = "held-00000000000000000001";
    struct test_store *test = opened(5);
    assert_int_equal(hold(test->store, 1, 1, 2), FT_OK);
    test_store_close(test);
    assert_true(sim_disk_flip(test->disk, path, HELD_HEADER_BYTES + 150, 4));
    assert_int_equal(test_store_open(test), FT_OK);
    assert_int_equal(test->recovery.held.rotten, 1);
    assert_int_equal(store_hold(test->store, &(struct store_hold) { .number = 2, .discard = true }),
                     FT_OK);
    assert_true(sim_disk_size(test->disk, path) == UINT64_MAX);
    assert_true(sim_disk_size(test->disk, "held-00000000000000000001.rotten") != UINT64_MAX);
    test_store_close(test);
    assert_int_equal(test_store_open(test), FT_OK);
    assert_int_equal(test->recovery.held.files, 0);
    test_store_free(test);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(held_is_found_after_a_restart_and_gone_after_a_discard),
        cmocka_unit_test(a_crash_at_every_operation_keeps_what_was_promised),
        cmocka_unit_test(every_flipped_bit_is_found_and_named),
        cmocka_unit_test(every_row_of_the_table),
        cmocka_unit_test(a_torn_sector_whose_content_is_zeros),
        cmocka_unit_test(a_full_disk_keeps_nothing_and_is_tried_again),
        cmocka_unit_test(a_failed_sync_is_the_last_thing_it_does),
        cmocka_unit_test(what_was_rotten_is_kept_beside),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
