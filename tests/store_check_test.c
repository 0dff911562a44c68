/* Proving what is at rest while the node runs: whatever rots in a small store that has a file of each
 * kind is found, by its file, and mended with what another node has. */
#include "tests/test_rot.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { STEP = 131, BUDGET = 700, TURNS = 3000 };

static const struct test_flush same_vote = { .save_vote = true, .term = 2, .vote = 2 };

static void must(enum ft_error error)
{
    assert_int_equal(error, FT_OK);
}

struct pair {
    struct test_store *rotten;
    struct test_store *good; /* another node, with the same log */
    bool found[STORE_FILE_HELD + 1];
};

static struct pair opened(const struct test_store *original)
{
    struct pair pair = { .rotten = rot_copy(original), .good = rot_copy(original) };
    must(test_store_open(pair.rotten));
    must(test_store_open(pair.good));
    return pair;
}

static void closed(struct pair *pair)
{
    test_store_free(pair->rotten);
    test_store_free(pair->good);
}

/* One file at its damage, with pieces of the good one, until the store says that it is done. */
static void mend(struct pair *pair, const struct store_check *check)
{
    static uint8_t data[LIMIT_ENTRY_BYTES];
    struct store_mend mend = { .file = check->file,
                               .id = check->id,
                               .committed = pair->good->log.last };
    bool entries = check->file == STORE_FILE_SEGMENT;
    while (!mend.done) {
        struct store_piece piece = { .kind = entries ? STORE_PIECE_ENTRIES
                                             : check->file == STORE_FILE_INDEX
                                                 ? STORE_PIECE_INDEX
                                                 : STORE_PIECE_CHECKPOINT,
                                     .index = entries ? check->index : check->id,
                                     .offset = mend.want_offset };
        size_t len;
        must(store_read_piece(pair->good->store, &piece, 1000, data, &len, &mend.size));
        assert_true(len > 0);
        mend.offset = piece.offset;
        mend.data = (struct slice) { data, len };
        must(store_mend(pair->rotten->store, &mend));
    }
}

/* Looks at one file to its end, as core/node/mend.c does. */
static void look(struct pair *pair, struct store_check *check)
{
    for (int turn = 0; turn < TURNS; turn++) {
        must(store_check(pair->rotten->store, check, BUDGET));
        pair->found[check->file] |= check->mended || check->result == STORE_DAMAGED;
        bool whole = check->file == STORE_FILE_INDEX || check->file == STORE_FILE_CHECKPOINT;
        if (check->result == STORE_CLEAN || check->result == STORE_GONE)
            return;
        check->how = STORE_CHECK_AGAIN;
        if (check->result != STORE_DAMAGED)
            continue;
        if (check->file == STORE_FILE_VOTE) {
            must(test_flush(pair->rotten, &same_vote)); /* the pairs are written in turn */
            must(test_flush(pair->rotten, &same_vote));
        } else {
            mend(pair, check);
        }
        if (whole || check->file == STORE_FILE_VOTE)
            check->how = STORE_CHECK_FILE;
    }
    fail_msg("file %d does not come to its end", (int)check->file);
}

static void look_at(struct pair *pair, enum store_file file, uint64_t id)
{
    struct store_check check = {
        .how = STORE_CHECK_FILE, .file = file, .id = id, .upto = pair->good->log.last
    };
    look(pair, &check);
}

/* All of it once. */
static void look_round(struct pair *pair)
{
    struct store_check check = { .upto = pair->good->log.last };
    memset(pair->found, 0, sizeof pair->found);
    do {
        check.how = STORE_CHECK_NEXT;
        look(pair, &check);
    } while (check.file != STORE_FILE_NONE);
}

static enum store_file kind_of(const struct rot_part *part)
{
    const char *end = part->path + strlen(part->path) - 4;
    return !strcmp(part->path, "identity")          ? STORE_FILE_IDENTITY
           : !strcmp(part->path, "vote")            ? STORE_FILE_VOTE
           : !strcmp(part->path, "begin")           ? STORE_FILE_BEGIN
           : !strncmp(part->path, "held-", 5)       ? STORE_FILE_HELD
           : !strncmp(part->path, "checkpoint/", 9) ? STORE_FILE_CHECKPOINT
           : !strcmp(end, ".idx")                   ? STORE_FILE_INDEX
           : !strcmp(end, ".seg")                   ? STORE_FILE_SEGMENT
                                                    : STORE_FILE_NONE;
}

/* The node's folder is as good as it ever was. */
static void expect_mended(struct pair *pair, struct rot_parts *parts, uint64_t bit)
{
    test_store_close(pair->rotten);
    for (size_t i = 0; i < parts->count; i++)
        parts->list[i].flips = 0;
    rot_expect_named(pair->rotten, parts, bit);
    must(test_store_open(pair->rotten));
    assert_int_equal(pair->rotten->recovery.last_index, pair->good->log.last);
    assert_int_equal(pair->rotten->recovery.damages, 0);
    rot_expect_unchanged(pair->rotten);
}

/* In each file at once, so that what proves one file may be what is rotten in another. */
static void what_rots_is_found_and_mended(void **state)
{
    (void)state;
    struct rot_parts parts;
    struct test_store *original = rot_store();
    rot_parts_find(&parts, original);
    uint64_t bits = 0;
    for (uint64_t k = 0; k < parts.most; k += rot_full() ? 1 : STEP) {
        struct pair pair = opened(original);
        bool expected[STORE_FILE_HELD + 1] = { false };
        for (size_t i = 0; i < parts.count; i++) {
            struct rot_part *part = &parts.list[i];
            if (kind_of(part) == STORE_FILE_NONE)
                continue;
            rot_flip(pair.rotten, part, k % rot_bits(part));
            expected[kind_of(part)] = true;
            bits++;
        }
        look_round(&pair);
        for (size_t file = 0; file <= STORE_FILE_HELD; file++)
            if (pair.found[file] != expected[file])
                fail_msg("bit %u: file %u", (unsigned)k, (unsigned)file);
        look_round(&pair);
        for (size_t file = 0; file <= STORE_FILE_HELD; file++)
            assert_false(pair.found[file]);
        expect_mended(&pair, &parts, k);
        closed(&pair);
    }
    print_message("%llu bits\n", (unsigned long long)bits);
    test_store_free(original);
}

/* One part alone: only its file is found, and by itself. */
static void each_part_is_found_alone(void **state)
{
    (void)state;
    struct rot_parts parts;
    struct test_store *original = rot_store();
    rot_parts_find(&parts, original);
    for (size_t i = 0; i < parts.count; i++) {
        struct rot_part *part = &parts.list[i];
        for (uint64_t k = 5; k < rot_bits(part); k += rot_bits(part) / 4) {
            struct pair pair = opened(original);
            if (kind_of(part) == STORE_FILE_NONE) {
                closed(&pair);
                break;
            }
            rot_flip(pair.rotten, part, k);
            look_round(&pair);
            for (size_t file = 0; file <= STORE_FILE_HELD; file++)
                assert_int_equal(pair.found[file], file == kind_of(part));
            expect_mended(&pair, &parts, k);
            closed(&pair);
        }
    }
    test_store_free(original);
}

/* Pages that the device does not give any more are written anew and then given. */
static void pages_that_cannot_be_read_are_mended(void **state)
{
    (void)state;
    struct rot_parts parts;
    struct test_store *original = rot_store();
    rot_parts_find(&parts, original);
    for (size_t i = 0; i < parts.count; i++) {
        const struct rot_part *part = &parts.list[i];
        bool tail = i + 1 < parts.count && parts.list[i + 1].zeros; /* the log side writes there */
        if (kind_of(part) == STORE_FILE_NONE || part->from % 4096 != 0 || tail)
            continue;
        struct pair pair = opened(original);
        assert_true(sim_disk_unreadable(pair.rotten->disk, part->path, part->from));
        look_round(&pair);
        assert_true(pair.found[kind_of(part)]);
        look_round(&pair);
        assert_false(pair.found[kind_of(part)]);
        expect_mended(&pair, &parts, 0);
        closed(&pair);
    }
    test_store_free(original);
}

/* Behind the log's end, where the next start would take it for entries that are lost; and the log goes on there. */
static void pages_behind_the_end_are_zeros_again(void **state)
{
    (void)state;
    struct test_store *original = rot_store();
    struct pair pair = opened(original);
    const struct segment *newest = &pair.rotten->store->segments[2];
    char path[DISK_PATH_BYTES];
    segment_path(path, newest->first, "seg");
    const struct disk *disk = sim_disk_table(pair.rotten->disk);
    struct disk_file *file;
    uint64_t page = (newest->end / DISK_PAGE_BYTES + 1) * DISK_PAGE_BYTES;
    uint64_t size = page + 2 * (uint64_t)DISK_PAGE_BYTES;
    must(disk->open(disk->ctx, path, DISK_WRITE, &file));
    must(disk->resize(disk->ctx, file, size)); /* rot_store() has made it shorter than that */
    disk->close(disk->ctx, file);
    assert_true(sim_disk_unreadable(pair.rotten->disk, path, page));
    assert_true(sim_disk_flip(pair.rotten->disk, path, size - 1, 1));
    assert_true(sim_disk_flip(pair.rotten->disk, path, newest->end, 128));
    look_round(&pair);
    assert_true(pair.found[STORE_FILE_SEGMENT]);
    look_round(&pair);
    assert_false(pair.found[STORE_FILE_SEGMENT]);
    uint64_t last = pair.rotten->log.last;
    must(test_flush(pair.rotten, &(struct test_flush) { .entries = 1, .count = 1, .term = 2 }));
    test_store_close(pair.rotten);
    must(test_store_open(pair.rotten));
    assert_int_equal(pair.rotten->recovery.last_index, last + 1);
    assert_int_equal(pair.rotten->recovery.damages, 0);
    closed(&pair);
    test_store_free(original);
}

static void what_is_good_is_only_read(void **state)
{
    (void)state;
    struct test_store *original = rot_store();
    struct pair pair = opened(original);
    uint64_t operations = sim_disk_operations(pair.rotten->disk);
    look_round(&pair);
    for (size_t file = 0; file <= STORE_FILE_HELD; file++)
        assert_false(pair.found[file]);
    assert_int_equal(sim_disk_operations(pair.rotten->disk), operations);
    closed(&pair);
    test_store_free(original);
}

/* The scrub is paced by it: what a round reads is what it says that there is to read. */
static void a_round_reads_what_there_is(void **state)
{
    (void)state;
    struct test_store *original = rot_store();
    struct pair pair = opened(original);
    uint64_t cut = 2 * segment_file_bytes(pair.good->store);
    for (size_t i = 1; i < 3; i++) {
        char path[DISK_PATH_BYTES];
        segment_path(path, pair.good->store->segments[i].first, "seg");
        cut -= sim_disk_size(pair.good->disk, path);
    }
    for (int round = 0; round < 3; round++) {
        struct store_check check = { .upto = pair.good->log.last };
        uint64_t bytes = 0;
        do {
            check.how = STORE_CHECK_NEXT;
            do {
                must(store_check(pair.rotten->store, &check, BUDGET));
                check.how = STORE_CHECK_AGAIN;
                bytes += check.file == STORE_FILE_HELD ? 0 : check.bytes;
            } while (check.result == STORE_MORE);
        } while (check.file != STORE_FILE_NONE);
        /* Segments count with their headers, checkpoints of the state alone, and of those without an index all of
         * their files, which rot_store() has made shorter. */
        assert_int_equal(bytes + 3 * SEGMENT_HEADER_BYTES + cut, check.total);
    }
    closed(&pair);
    test_store_free(original);
}

/* What this process held itself, several appends of it; and nothing is looked at that is resolved. */
static void the_held_log_is_mended_from_memory(void **state)
{
    (void)state;
    const char *path = "held-00000000000000000002";
    struct test_store *original = rot_store();
    struct pair pair = opened(original);
    rot_hold(pair.rotten, 4);
    rot_hold(pair.rotten, 7);
    uint64_t size = sim_disk_size(pair.rotten->disk, path);
    static uint8_t before[8192];
    static uint8_t after[8192];
    assert_true(sim_disk_peek(pair.rotten->disk, path, 0, before, (size_t)size));
    for (uint64_t at = 0; at < size; at += 97) {
        assert_true(sim_disk_flip(pair.rotten->disk, path, at, 16));
        look_at(&pair, STORE_FILE_HELD, 2);
        assert_true(pair.found[STORE_FILE_HELD]);
        pair.found[STORE_FILE_HELD] = false;
        look_at(&pair, STORE_FILE_HELD, 2);
        assert_false(pair.found[STORE_FILE_HELD]);
        assert_true(sim_disk_peek(pair.rotten->disk, path, 0, after, (size_t)size));
        assert_memory_equal(before, after, (size_t)size);
    }
    must(store_hold(pair.rotten->store, &(struct store_hold) { .number = 90, .discard = true }));
    for (uint64_t file = 1; file <= 2; file++) {
        struct store_check check = { .how = STORE_CHECK_FILE, .file = STORE_FILE_HELD, .id = file };
        must(store_check(pair.rotten->store, &check, BUDGET));
        assert_int_equal(check.result, STORE_GONE);
    }
    closed(&pair);
    test_store_free(original);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_rots_is_found_and_mended),
        cmocka_unit_test(each_part_is_found_alone),
        cmocka_unit_test(pages_that_cannot_be_read_are_mended),
        cmocka_unit_test(pages_behind_the_end_are_zeros_again),
        cmocka_unit_test(what_is_good_is_only_read),
        cmocka_unit_test(a_round_reads_what_there_is),
        cmocka_unit_test(the_held_log_is_mended_from_memory),
    };
    return cmocka_run_group_tests_name("store_check", tests, NULL, NULL);
}
