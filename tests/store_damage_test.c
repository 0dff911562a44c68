/* Damage at rest: every row of recovery's tables, every failing call. (Every bit: store_rot_test.c) */
#include "tests/test_store.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "cmd/crypto_sodium.h"
#include "store/recover.h"

static const struct test_flush form = {
    .save_cluster = true, .save_vote = true, .term = 1, .vote = 1
};

static void must(enum ft_error error)
{
    assert_int_equal(error, FT_OK);
}

static void add(struct test_store *test, uint32_t entries, uint32_t count)
{
    must(test_flush(test, &(struct test_flush) { .entries = entries, .count = count, .term = 1 }));
}

/* Two sealed segments behind checkpoints, one unsealed, votes in both pairs. */
static struct test_store *small_store(void)
{
    struct test_store *test = test_store_new(3, 800);
    must(test_store_open(test));
    must(test_flush(test, &form));
    must(test_flush(test, &(struct test_flush) { .save_vote = true, .term = 2, .vote = 2 }));
    for (int i = 0; i < 2; i++) {
        uint64_t from = test->log.last;
        while (test->store->segments_count == (size_t)i ||
               !segment_full(&test->store->segments[i], test->store->segment_bytes))
            add(test, 1, 2);
        for (uint64_t index = from + 1; index <= test->log.last; index++)
            store_index(test->store, 1 + (uint32_t)(index & 1), index / 2 + 1, index, false);
        must(store_checkpoint(test->store, test->log.last,
                              (struct slice) { (const uint8_t *)"state", 5 }));
    }
    add(test, 1, 1);
    add(test, 1, 1);
    test_store_close(test);
    return test;
}

static struct test_store *on_copy(const struct test_store *from)
{
    struct test_store *test = test_store_new(1, from->segment_bytes);
    sim_disk_free(test->disk);
    test->disk = sim_disk_copy(from->disk);
    test->log = from->log;
    return test;
}

static void count_damage(void *ctx, const struct store_damage *damage)
{
    assert_non_null(damage->file);
    assert_non_null(damage->what);
    ++*(uint64_t *)ctx;
}

static uint64_t verify_folder(struct test_store *test)
{
    uint64_t damages = 0;
    uint64_t entries;
    uint64_t erased;
    must(store_verify_folder(sim_disk_table(test->disk), &crypto_sodium, count_damage, &damages,
                             &entries, &erased));
    return damages;
}

/* --- the table
 * ------------------------------------------------------------------------------------ */

/* Where the entries of a prepared segment lie: flush A begins it, B follows, C is the last. */
enum { IN_A, IN_B, IN_C };

struct place {
    uint64_t offset;
    uint32_t size;
    uint32_t heads;
};

static struct test_store *three_flushes(struct place places[3])
{
    struct test_store *test = test_store_new(9, 60000);
    must(test_store_open(test));
    must(test_flush(test, &form));
    uint64_t offset = SEGMENT_HEADER_BYTES;
    for (int i = 0; i < 3; i++) {
        uint64_t first = test->log.last + 1;
        add(test, 3, 20);
        places[i].offset = offset;
        uint8_t header[ENTRY_HEADER_BYTES];
        char path[DISK_PATH_BYTES];
        segment_path(path, 1, "seg");
        assert_true(sim_disk_peek(test->disk, path, offset, header, sizeof header));
        assert_int_equal(bytes_get_u64(header + 8), first);
        places[i].size = bytes_get_u32(header + 4);
        places[i].heads = bytes_get_u32(header + 16) * ENTRY_HEAD_BYTES;
        offset = test->store->segments[0].end;
    }
    test_store_close(test);
    return test;
}

/* The log ends before the damage; what is behind it stays on the disk until the first flush of
 * entries, and what is owed for it is remembered until a flush says that nothing is. */
static void check_held(struct test_store *test, const struct recover_row *row, uint64_t last)
{
    bool readable = row != NULL; /* the flush has more entries behind the one that is damaged */
    uint64_t end = row && row->place == DAMAGE_BEGINS ? 60 : 180;
    const struct hold_row *hold = hold_decide(readable);
    for (int again = 0; again < 2; again++) {
        assert_int_equal(test->recovery.last_index, last);
        assert_true(test->recovery.leftover);
        assert_int_equal(test->recovery.lost.last, readable ? end : UINT64_MAX);
        assert_int_equal(test->recovery.lost.term, readable ? 1 : 0);
        assert_int_equal(test->recovery.may_vote, hold->may_vote);
        assert_int_equal(test->recovery.may_campaign, hold->may_campaign);
        must(test_flush(test, &(struct test_flush) { .save_vote = true, .term = 2, .vote = 2 }));
        test_store_close(test);
        must(test_store_open(test));
    }
    struct store_lost lost = test->recovery.lost;
    test->log.last = last;
    must(test_flush(
        test, &(struct test_flush) {
                  .entries = 2, .count = 7, .term = 3, .truncate_from = last + 1, .lost = lost }));
    test_store_close(test);
    must(test_store_open(test));
    assert_int_equal(test->recovery.last_index, last + 14);
    assert_false(test->recovery.leftover);
    assert_memory_equal(&test->recovery.lost, &lost, sizeof lost);
    must(test_flush(test, &(struct test_flush) { .save_vote = true, .term = 4, .vote = 2 }));
    test_store_close(test);
    must(test_store_open(test));
    assert_int_equal(test->recovery.lost.last, 0);
    assert_true(test->recovery.may_campaign);
    test_store_close(test);
    assert_int_equal(verify_folder(test), 0);
    must(test_store_open(test));
    assert_int_equal(test_read_all(test, 0, last + 14, &test->log, NULL), last + 14);
}

/* The actions once more, so that a row that changes is seen here, whatever else it does. */
static const enum recover_action actions[RECOVER_ROWS] = {
    RECOVER_OPEN,                                           /* no damage */
    RECOVER_HOLD, RECOVER_HOLD, RECOVER_HOLD, RECOVER_HOLD, /* earlier */
    RECOVER_HOLD, RECOVER_HOLD, RECOVER_HOLD, RECOVER_HOLD, /* begins */
    RECOVER_HOLD, RECOVER_CUT,  RECOVER_HOLD, RECOVER_CUT,  /* last: header, body; zeros: torn */
};

static void each_row_decides_as_printed(void **state)
{
    (void)state;
    struct place places[3];
    struct test_store *original = three_flushes(places);
    char path[DISK_PATH_BYTES];
    segment_path(path, 1, "seg");
    size_t tried = 0;
    for (size_t r = 0; r < RECOVER_ROWS; r++) {
        const struct recover_row *row = &recover_rows[r];
        assert_ptr_equal(recover_decide(row->place, row->part, row->zeros), row);
        assert_int_equal(row->action, actions[r]);
        struct test_store *test = on_copy(original);
        int which = row->place == DAMAGE_EARLIER ? IN_B : row->place == DAMAGE_BEGINS ? IN_A : IN_C;
        const struct place *at = &places[which];
        if (row->place == DAMAGE_BEGINS) {
            /* Only flush A is there: the rest of the file is zeros. */
            static uint8_t zeros[65536];
            assert_true(sim_disk_poke(test->disk, path, places[IN_B].offset, zeros, sizeof zeros));
            test->log.last = 60;
        }
        uint64_t offset = at->offset;
        if (row->part == DAMAGE_BODY) /* a sector well inside the bodies */
            offset += ENTRY_HEADER_BYTES + at->heads + 600;
        uint64_t sector = offset - offset % DISK_SECTOR_BYTES;
        static const uint8_t zero[DISK_SECTOR_BYTES];
        if (row->place == DAMAGE_NOWHERE) {
            /* as it is */
        } else if (row->zeros) {
            uint64_t from = sector < at->offset ? at->offset : sector;
            assert_true(sim_disk_poke(test->disk, path, from, zero,
                                      (size_t)(sector + DISK_SECTOR_BYTES - from)));
        } else {
            assert_true(sim_disk_flip(test->disk, path, offset + 20, 4));
        }
        enum ft_error error = test_store_open(test);
        if (row->action == RECOVER_HOLD) {
            must(error);
            if (!strstr(test->recovery.damage, row->why))
                print_error("row %zu: %s\n", r, test->recovery.damage);
            assert_non_null(strstr(test->recovery.damage, row->why));
            check_held(test, row, 60 * (uint64_t)which);
        } else {
            if (error)
                print_error("row %zu: %s\n", r, test->why);
            assert_int_equal(error, FT_OK);
            bool cut = row->action == RECOVER_CUT;
            assert_int_equal(test->recovery.cut_bytes > 0, cut);
            assert_int_equal(test->recovery.last_index, cut ? 120 : 180);
            assert_int_equal(test_read_all(test, 0, test->recovery.last_index, &test->log, NULL),
                             test->recovery.last_index);
            assert_true(test->recovery.flush >= 4);
        }
        tried++;
        test_store_free(test);
    }
    assert_int_equal(tried, RECOVER_ROWS);
    test_store_free(original);
}

/* One command of this body, in a flush of its own. */
static void add_body(struct test_store *test, const uint8_t *body, uint32_t size)
{
    static uint8_t data[8192];
    struct entry_draft draft = { .kind = ENTRY_COMMANDS,
                                 .first = test->log.last + 1,
                                 .term = 1,
                                 .count = 1,
                                 .sizes = &size,
                                 .bodies = body };
    struct store_flush job = { .number = test->flush++ };
    job.entries[0].data = data;
    job.entries[0].len = entry_build(data, sizeof data, &draft, &crypto_sodium, test_cluster,
                                     test->log.chains[test->log.last]);
    assert_true(job.entries[0].len > 0);
    entry_set_local(data, job.number, 0, 0, &crypto_sodium, test_cluster);
    must(store_flush(test->store, &job));
}

/* Rot in the last entry, whose body ends with what might be zeros in a sector of its own, or is that of a long post that
 * is erased: an entry that was durable is not torn. */
static void rot_beside_empty_words_is_no_torn_write(void **state)
{
    (void)state;
    static uint8_t body[4096];
    struct place places[3];
    struct test_store *original = three_flushes(places);
    char path[DISK_PATH_BYTES];
    segment_path(path, 1, "seg");
    uint64_t offset = places[IN_C].offset + places[IN_C].size;
    for (uint8_t header[ENTRY_HEADER_BYTES];; offset += bytes_get_u32(header + ENTRY_AT_SIZE)) {
        assert_true(sim_disk_peek(original->disk, path, offset, header, sizeof header));
        if (bytes_get_u32(header) != ENTRY_MAGIC)
            break;
    }
    for (uint32_t size = 400; size < 400 + DISK_SECTOR_BYTES + 2; size++) {
        struct test_store *test = on_copy(original);
        bool post = size == 400 + DISK_SECTOR_BYTES + 1;
        memset(body, 'x', sizeof body);
        if (post) {
            body[0] = BODY_POST;
            body[BODY_HEAD_BYTES] = 4;
            body[BODY_HEAD_BYTES + 5 + BODY_SALT_BYTES] = 0;
            size = sizeof body;
            assert_true(body_erase(&crypto_sodium, body, size));
        } else {
            memset(body + size - 9, 0, 9);
        }
        must(test_store_open(test));
        add_body(test, body, size);
        test_store_close(test);
        assert_true(
            sim_disk_flip(test->disk, path, offset + ENTRY_HEADER_BYTES + ENTRY_HEAD_BYTES + 8, 4));
        must(test_store_open(test));
        assert_int_equal(test->recovery.last_index, 180);
        assert_int_equal(test->recovery.cut_bytes, 0);
        assert_int_equal(test->recovery.lost.last, 181);
        test_store_free(test);
    }
    test_store_free(original);
}

/* The last header of all: how far the log went cannot be known. */
static void an_end_that_cannot_be_read_gives_no_vote(void **state)
{
    (void)state;
    struct place places[3];
    struct test_store *test = three_flushes(places);
    char path[DISK_PATH_BYTES];
    segment_path(path, 1, "seg");
    uint64_t offset = places[IN_C].offset;
    uint8_t header[ENTRY_HEADER_BYTES];
    for (int i = 0; i < 2; i++) {
        assert_true(sim_disk_peek(test->disk, path, offset, header, sizeof header));
        offset += bytes_get_u32(header + ENTRY_AT_SIZE);
    }
    assert_true(sim_disk_flip(test->disk, path, offset + 20, 4));
    must(test_store_open(test));
    check_held(test, NULL, 160);
    test_store_free(test);
}

/* --- the vote
 * ------------------------------------------------------------------------------------- */

static void the_votes_rows_decide_as_printed(void **state)
{
    (void)state;
    for (size_t r = 0; r < VOTE_ROWS; r++) {
        const struct vote_row *row = &vote_rows[r];
        assert_ptr_equal(vote_decide(row->found, row->other), row);
        struct test_store *test = test_store_new(r + 1, TEST_SEGMENT_BYTES);
        must(test_store_open(test));
        uint64_t newest = VOTE_PAIRS; /* what the file begins with */
        uint64_t term = 0;
        for (; term < 3; newest++) {
            term++;
            must(test_flush(test, &(struct test_flush) {
                                      .save_vote = true, .term = term, .vote = (uint8_t)term }));
        }
        test_store_close(test);
        uint64_t pair = newest % 2;
        if (!row->found)
            for (uint64_t copy = 0; copy < VOTE_COPIES; copy++)
                sim_disk_flip(test->disk, "vote", copy * VOTE_SECTOR_BYTES + 30, 1);
        else if (row->other == VOTE_OTHER_BROKEN)
            for (uint64_t copy = 2 * (1 - pair); copy < 2 * (1 - pair) + 2; copy++)
                sim_disk_flip(test->disk, "vote", copy * VOTE_SECTOR_BYTES + 30, 1);
        must(test_store_open(test));
        /* It may vote, but as somebody who was never asked. */
        uint8_t identity[IDENTITY_BYTES];
        memcpy(identity, test->recovery.identity, IDENTITY_BYTES);
        assert_int_equal(test->recovery.vote_lost, !row->may_vote);
        assert_int_equal(memcmp(identity, test_identity, IDENTITY_BYTES) == 0, row->may_vote);
        if (row->found)
            assert_int_equal(test->recovery.term, term);
        /* It stays so when terms go on. */
        must(test_flush(test, &(struct test_flush) { .save_vote = true, .term = 9, .vote = 9 }));
        must(test_flush(test, &(struct test_flush) { .save_vote = true, .term = 10, .vote = 9 }));
        test_store_close(test);
        must(test_store_open(test));
        assert_int_equal(test->recovery.term, 10);
        assert_memory_equal(test->recovery.identity, identity, IDENTITY_BYTES);
        assert_false(test->recovery.vote_lost);
        test_store_close(test);
        assert_int_equal(verify_folder(test), 0);
        test_store_free(test);
    }
}

static void one_lost_copy_of_the_vote_does_no_harm(void **state)
{
    (void)state;
    struct test_store *test = test_store_new(1, TEST_SEGMENT_BYTES);
    must(test_store_open(test));
    for (uint64_t term = 1; term < 5; term++)
        must(test_flush(
            test, &(struct test_flush) { .save_vote = true, .term = term, .vote = (uint8_t)term }));
    test_store_close(test);
    for (uint64_t copy = 0; copy < VOTE_COPIES; copy++) {
        assert_true(sim_disk_flip(test->disk, "vote", copy * VOTE_SECTOR_BYTES + 33, 2));
        must(test_store_open(test));
        assert_int_equal(test->recovery.term, 4);
        assert_int_equal(test->recovery.vote[3], 4);
        assert_false(test->recovery.vote_lost);
        assert_int_equal(test->recovery.damages, 1);
        test_store_close(test);
        assert_int_equal(verify_folder(test), 0); /* written anew */
    }
    test_store_free(test);
}

/* Power is lost in save after save, so that by chance one copy misses many of them: that is no
 * damage. */
static void torn_saves_of_the_vote_are_no_damage(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct test_store *test = test_store_new(seed, TEST_SEGMENT_BYTES);
        must(test_store_open(test));
        for (uint64_t term = 1; term <= 6; term++) {
            const struct test_flush save = { .save_vote = true, .term = term, .vote = 1 };
            sim_disk_die_at(test->disk, sim_disk_operations(test->disk) + 3); /* its sync */
            assert_int_not_equal(test_flush(test, &save), FT_OK);
            test_store_close(test);
            sim_disk_crash(test->disk, seed * 100 + term);
            must(test_store_open(test));
            assert_true(test->recovery.may_vote);
            assert_true(test->recovery.term <= term);
        }
        test_store_close(test);
        assert_int_equal(verify_folder(test), 0);
        test_store_free(test);
    }
}

/* A save that died half-way stands in one copy. Once a process went on with it, it is a promise, and
 * no single copy may be all that keeps it. */
static void what_was_recovered_survives_the_loss_of_any_copy(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct test_store *test = test_store_new(seed, TEST_SEGMENT_BYTES);
        must(test_store_open(test));
        const struct test_flush first = { .save_vote = true, .term = 1, .vote = 1 };
        must(test_flush(test, &first));
        const struct test_flush save = { .save_vote = true, .term = 2, .vote = 2 };
        sim_disk_die_at(test->disk, sim_disk_operations(test->disk) + 3); /* its sync */
        assert_int_not_equal(test_flush(test, &save), FT_OK);
        test_store_close(test);
        sim_disk_crash(test->disk, seed);
        must(test_store_open(test));
        uint64_t term = test->recovery.term;
        test_store_close(test);
        for (uint64_t copy = 0; copy < VOTE_COPIES; copy++) {
            struct test_store *damaged = on_copy(test);
            assert_true(sim_disk_flip(damaged->disk, "vote", copy * VOTE_SECTOR_BYTES + 33, 2));
            must(test_store_open(damaged));
            assert_int_equal(damaged->recovery.term, term);
            assert_false(damaged->recovery.vote_lost);
            test_store_free(damaged);
        }
        test_store_free(test);
    }
}

/* --- files that are gone, newer or somebody else's
 * ------------------------------------------------ */

static void a_checkpoint_that_is_damaged_gives_way_to_the_older(void **state)
{
    (void)state;
    struct test_store *test = small_store();
    must(test_store_open(test));
    uint64_t newest = test->recovery.checkpoint_index;
    uint64_t last = test->recovery.last_index;
    assert_true(newest > 0);
    test_store_close(test);
    char path[DISK_PATH_BYTES];
    checkpoint_file_path(path, newest);
    assert_true(sim_disk_flip(test->disk, path, 114, 1));
    must(test_store_open(test));
    uint64_t older = test->recovery.checkpoint_index;
    assert_true(older > 0 && older < newest);
    assert_int_equal(test->recovery.last_index, last);
    test_store_close(test);
    segment_path(path, 1, "idx");
    assert_true(sim_disk_remove(test->disk, path));
    must(test_store_open(test));
    assert_int_equal(test->recovery.checkpoint_index, older); /* an index is not needed to start */
    assert_int_equal(test->recovery.last_index, last);
    assert_int_equal(test_read_all(test, 0, last, &test->log, NULL), last);
    test_store_free(test);
}

static void what_is_missing_is_said_and_held(void **state)
{
    (void)state;
    static const char *const gone[] = { "identity", "vote", "first", "last" };
    struct test_store *original = small_store();
    uint64_t last_segment = 0;
    must(test_store_open(original));
    last_segment = original->store->segments[original->store->segments_count - 2].first;
    test_store_close(original);
    for (size_t i = 0; i < 4; i++) {
        struct test_store *test = on_copy(original);
        char path[DISK_PATH_BYTES];
        snprintf(path, sizeof path, "%s", gone[i]);
        if (i >= 2)
            segment_path(path, i == 2 ? 1 : last_segment, "seg");
        assert_true(sim_disk_remove(test->disk, path));
        enum ft_error error = test_store_open(test);
        if (i == 0) {
            assert_int_equal(error, FT_ERROR_CORRUPT);
            assert_true(strlen(test->why) > 20);
        } else {
            must(error);
            assert_true(test->recovery.damages > 0);
            assert_int_equal(test->recovery.vote_lost, i == 1);
            assert_int_equal(test->recovery.leftover, false); /* both segments are sealed */
            assert_int_equal(test->recovery.last_index, test->log.last);
        }
        test_store_free(test);
    }
    test_store_free(original);
}

static void newer_and_foreign_files_are_left_alone(void **state)
{
    (void)state;
    static const char *const files[] = { "identity", "vote", "seg" };
    struct test_store *original = small_store();
    for (size_t i = 0; i < 6; i++) {
        struct test_store *test = on_copy(original);
        char path[DISK_PATH_BYTES];
        snprintf(path, sizeof path, "%s", files[i / 2]);
        if (i / 2 == 2) {
            must(test_store_open(test));
            segment_path(path, test->store->segments[2].first, "seg");
            test_store_close(test);
        }
        uint8_t head[PROLOGUE_BYTES];
        assert_true(sim_disk_peek(test->disk, path, i / 2 == 1 ? 8192 : 0, head, sizeof head));
        if (i % 2)
            memcpy(head, "somebody", 8);
        bytes_put_u32(head + 8, i % 2 ? 1 : STORE_VERSION + 1);
        bytes_put_u64(head + 16, crypto_sodium.digest((uint8_t[16]) { 0 }, head, 16));
        for (uint64_t at = 0; at < (i / 2 == 1 ? VOTE_FILE_BYTES : 1); at += VOTE_SECTOR_BYTES)
            assert_true(sim_disk_poke(test->disk, path, at, head, sizeof head));
        uint64_t operations = sim_disk_operations(test->disk);
        enum ft_error error = test_store_open(test);
        if (i == 3) { /* a vote that is no vote is a lost vote */
            must(error);
            assert_true(test->recovery.vote_lost);
        } else {
            assert_int_equal(error, i % 2 ? FT_ERROR_FOREIGN : FT_ERROR_VERSION);
            /* Syncs before reading, nothing else. */
            assert_true(sim_disk_operations(test->disk) <= operations + 6);
        }
        test_store_free(test);
    }
    test_store_free(original);
}

/* --- every call fails in turn
 * --------------------------------------------------------------------- */

static void every_call_that_fails_is_told_and_loses_nothing(void **state)
{
    (void)state;
    uint64_t failed = 0;
    for (uint64_t at = 1;; at++) {
        struct test_store *test = test_store_new(at, TEST_SEGMENT_BYTES);
        must(test_store_open(test));
        must(test_flush(test, &form));
        sim_disk_fail_call(test->disk, at, FT_ERROR_IO);
        uint64_t calls = sim_disk_calls(test->disk);
        uint64_t term = 1;
        bool latched = false;
        for (int i = 0; i < 6; i++) {
            struct test_flush flush = {
                .entries = 3, .count = 4, .term = 1 + (uint64_t)i, .save_vote = true, .vote = 3
            };
            if (i == 3)
                flush.truncate_from = 17;
            enum ft_error error = test_flush(test, &flush);
            assert_true(error == FT_OK || error == FT_ERROR_IO);
            if (latched)
                assert_int_equal(error, FT_ERROR_IO);
            latched |= error != FT_OK;
            if (!error)
                term = flush.term;
            (void)(store_prepare(test->store) == FT_OK);
        }
        bool reached = sim_disk_calls(test->disk) - calls >= at;
        test_store_close(test);
        sim_disk_crash(test->disk, at);
        enum ft_error opened = test_store_open(test);
        if (opened)
            print_error("call %llu: %s\n", (unsigned long long)at, test->why);
        must(opened);
        assert_true(test->recovery.term >= term);
        uint64_t promised = test->log.last < 16 ? test->log.last : 16;
        assert_true(test->recovery.last_index >= (latched ? promised : test->log.last));
        failed += latched;
        test_store_free(test);
        if (!reached)
            break;
    }
    assert_true(failed > 20);
}

static void a_full_disk_refuses_writes_and_resumes(void **state)
{
    (void)state;
    struct test_store *test = test_store_new(5, TEST_SEGMENT_BYTES);
    must(test_store_open(test));
    must(test_flush(test, &form));
    add(test, 2, 2);
    sim_disk_capacity(test->disk, sim_disk_used(test->disk) + 1000);
    enum ft_error error = FT_OK;
    while (!error)
        error = test_flush(test, &(struct test_flush) { .entries = 1, .count = 3, .term = 1 });
    assert_int_equal(error, FT_ERROR_SPACE);
    assert_int_equal(store_prepare(test->store), FT_ERROR_SPACE);
    uint64_t last = test->log.last;
    assert_int_equal(test_read_all(test, 0, last, &test->log, NULL), last);
    must(test_flush(test, &(struct test_flush) { .save_vote = true, .term = 2, .vote = 2 }));
    sim_disk_capacity(test->disk, 0);
    add(test, 1, 3);
    assert_int_equal(test->log.last, last + 3);
    test_store_close(test);
    must(test_store_open(test));
    assert_int_equal(test->recovery.last_index, last + 3);
    test_store_free(test);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_row_decides_as_printed),
        cmocka_unit_test(rot_beside_empty_words_is_no_torn_write),
        cmocka_unit_test(an_end_that_cannot_be_read_gives_no_vote),
        cmocka_unit_test(the_votes_rows_decide_as_printed),
        cmocka_unit_test(one_lost_copy_of_the_vote_does_no_harm),
        cmocka_unit_test(torn_saves_of_the_vote_are_no_damage),
        cmocka_unit_test(what_was_recovered_survives_the_loss_of_any_copy),
        cmocka_unit_test(a_checkpoint_that_is_damaged_gives_way_to_the_older),
        cmocka_unit_test(what_is_missing_is_said_and_held),
        cmocka_unit_test(newer_and_foreign_files_are_left_alone),
        cmocka_unit_test(every_call_that_fails_is_told_and_loses_nothing),
        cmocka_unit_test(a_full_disk_refuses_writes_and_resumes),
    };
    return cmocka_run_group_tests_name("store_damage", tests, NULL, NULL);
}
