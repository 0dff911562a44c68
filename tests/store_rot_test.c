/* Every bit of a small store that has a file of each kind: verify names the place, and recovery never
 * takes what is not as it was written.
 *
 * Each bit is flipped, one in every part of the folder at a time, and verify must name each of these
 * parts and no other. Bit by bit alone, opened after each: every STEP-th here, every one with FULL=1. */
#include "tests/test_rot.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { STEP = 211 };

static void must(enum ft_error error)
{
    assert_int_equal(error, FT_OK);
}

static void every_flipped_bit_is_named(void **state)
{
    (void)state;
    struct rot_parts parts;
    struct test_store *test = rot_store();
    rot_parts_find(&parts, test);
    rot_expect_named(test, &parts, 0);
    uint64_t bits = 0;
    for (uint64_t k = 0; k < parts.most; k++) {
        uint64_t chosen[ROT_PARTS_MAX];
        for (size_t i = 0; i < parts.count; i++) {
            struct rot_part *part = &parts.list[i];
            uint64_t all = rot_bits(part);
            /* Behind damaged entries nobody knows where the end is: those bits come last. */
            chosen[i] = part->zeros ? parts.most - 1 - k : k;
            if (part->alone || chosen[i] >= all)
                continue;
            assert_true(all * 2 < parts.most || !part->zeros);
            rot_flip(test, part, chosen[i]);
            bits++;
        }
        rot_expect_named(test, &parts, k);
        for (size_t i = 0; i < parts.count; i++)
            if (parts.list[i].flips)
                rot_flip(test, &parts.list[i], chosen[i]);
    }
    for (size_t i = 0; i < parts.count; i++)
        for (uint64_t k = 0; parts.list[i].alone && k < rot_bits(&parts.list[i]); k++, bits++) {
            rot_flip(test, &parts.list[i], k);
            rot_expect_named(test, &parts, k);
            rot_flip(test, &parts.list[i], k);
        }
    print_message("%llu bits in %zu parts\n", (unsigned long long)bits, parts.count);
    rot_expect_named(test, &parts, 0);
    test_store_free(test);
}

/* A page that the device does not give is named as what it holds, and all else is still looked at. */
static void every_page_that_cannot_be_read_is_named(void **state)
{
    (void)state;
    struct rot_parts parts;
    struct test_store *original = rot_store();
    rot_parts_find(&parts, original);
    for (size_t i = 0; i < parts.count; i++) {
        const struct rot_part page = parts.list[i];
        if (page.from % 4096 != 0)
            continue;
        struct test_store *test = rot_copy(original);
        assert_true(sim_disk_unreadable(test->disk, page.path, page.from));
        for (size_t k = 0; k < parts.count; k++) {
            struct rot_part *part = &parts.list[k];
            bool same = !strcmp(part->path, page.path) && part->from / 4096 == page.from / 4096;
            part->flips = same && !part->zeros; /* where the zeros begin is not known then */
        }
        rot_expect_named(test, &parts, 0);
        test_store_free(test);
    }
    test_store_free(original);
}

/* The key to the rest is in the identity; but each segment's header has it, too. */
static void a_lost_identity_hides_no_other_damage(void **state)
{
    (void)state;
    struct rot_parts parts;
    struct test_store *test = rot_store();
    rot_parts_find(&parts, test);
    struct rot_part *identity = parts.list;
    while (strcmp(identity->path, "identity") != 0)
        identity++;
    rot_flip(test, identity, 300);
    for (size_t i = 0; i < parts.count; i++) {
        if (&parts.list[i] == identity)
            continue;
        rot_flip(test, &parts.list[i], 100);
        rot_expect_named(test, &parts, 100);
        rot_flip(test, &parts.list[i], 100);
    }
    test_store_free(test);
}

/* What recovery wrote made it good, or left it alone. It writes anew what it read to the end: the small
 * files, and what a header of a segment that no checkpoint covers said. */
static void expect_no_worse(struct test_store *test, struct rot_parts *parts,
                            const struct rot_part *flipped, uint64_t bit)
{
    static const char *const anew[] = { "begin", "copy", "identity", "vote" };
    bool good = flipped->to == SEGMENT_HEADER_BYTES && strstr(flipped->path, ".seg") &&
                strtoull(flipped->path + 4, NULL, 10) > test->recovery.checkpoint_index;
    for (size_t i = 0; i < 4; i++)
        good |= !strcmp(flipped->path, anew[i]);
    rot_verify(test, parts);
    for (size_t i = 0; i < parts->count; i++) {
        const struct rot_part *part = &parts->list[i];
        if (part->named && (part != flipped || good))
            fail_msg("%s from %llu is named after bit %llu of %s was recovered from", part->path,
                     (unsigned long long)part->from, (unsigned long long)bit, flipped->path);
    }
}

static void no_flipped_bit_is_taken_for_good(void **state)
{
    (void)state;
    struct rot_parts parts;
    struct test_store *original = rot_store();
    rot_parts_find(&parts, original);
    uint64_t step = rot_full() ? 1 : STEP;
    uint64_t bits = 0;
    uint64_t at = 0; /* of all parts, one after the other */
    for (size_t i = 0; i < parts.count; i++) {
        struct rot_part *part = &parts.list[i];
        uint64_t all = rot_bits(part);
        for (; at < all; at += step, bits++) {
            struct test_store *test = rot_copy(original);
            rot_flip(test, part, at);
            rot_expect_named(test, &parts, at);
            must(test_store_open(test)); /* one bit is never the end of a node */
            rot_expect_unchanged(test);
            test_store_close(test);
            expect_no_worse(test, &parts, part, at);
            test_store_free(test);
            part->flips = 0;
        }
        at -= all;
    }
    print_message("%llu bits\n", (unsigned long long)bits);
    test_store_free(original);
}

/* What a rotten header said is known by what is before it: of the first one, by the base. */
static void the_header_behind_the_base_is_written_anew(void **state)
{
    (void)state;
    struct rot_parts parts;
    struct test_store *test = rot_store();
    rot_parts_find(&parts, test);
    struct rot_part *newest = NULL;
    struct rot_part *header = NULL;
    for (size_t i = 0; i < parts.count; i++) {
        struct rot_part *part = &parts.list[i];
        bool checkpoint = !strncmp(part->path, "checkpoint/0", 12);
        if (checkpoint && (!newest || strcmp(part->path, newest->path) > 0))
            newest = part;
        bool segment = part->from == 0 && strstr(part->path, ".seg");
        if (segment && (!header || strcmp(part->path, header->path) < 0))
            header = part;
    }
    assert_non_null(newest);
    assert_non_null(header);
    rot_flip(test, newest, 900);
    rot_flip(test, header, 1000);
    must(test_store_open(test));
    assert_int_equal(test->recovery.checkpoint_index + 1, test->store->begin);
    rot_expect_unchanged(test);
    test_store_close(test);
    header->flips = 0;
    rot_expect_named(test, &parts, 1000);
    must(test_store_open(test));
    assert_false(test->recovery.leftover);
    test_store_free(test);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_flipped_bit_is_named),
        cmocka_unit_test(every_page_that_cannot_be_read_is_named),
        cmocka_unit_test(a_lost_identity_hides_no_other_damage),
        cmocka_unit_test(no_flipped_bit_is_taken_for_good),
        cmocka_unit_test(the_header_behind_the_base_is_written_anew),
    };
    return cmocka_run_group_tests_name("store_rot", tests, NULL, NULL);
}
