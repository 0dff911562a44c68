/* What is rotten is looked for and mended while each call of the disk and each allocation fails in turn.
 * What fails is told, and nothing that is wrong is taken for good; looked at again, as core/node/mend.c
 * does, all of it comes right. After a sync that failed the process ends, and power is lost with it. */
#include "tests/test_rot.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/test_heap.h"

enum { BUDGET = 700, TURNS = 3000, BIT = 900 };

static const struct test_flush same_vote = { .save_vote = true, .term = 2, .vote = 2 };

static void must(enum ft_error error)
{
    assert_int_equal(error, FT_OK);
}

enum fault {
    FAULT_IO,     /* a call of the disk */
    FAULT_LIMIT,  /* the kernel has no memory for it */
    FAULT_MEMORY, /* an allocation of the store's */
    FAULT_SHORT,  /* a read gives less than there is */
    FAULTS,
};

struct pair {
    struct test_store *rotten;
    struct test_store *good; /* another node, with the same log */
    uint64_t seed;
    unsigned told;
    unsigned found;
    bool held_lost;     /* told as such, and kept beside */
    uint64_t committed; /* as the other one says */
};

static void arm(struct pair *pair, enum fault fault, uint64_t at)
{
    heap.count = 0;
    heap.fail_at = fault == FAULT_MEMORY ? at : 0;
    shorts.count = 0;
    shorts.at = fault == FAULT_SHORT ? at : 0;
    if (fault == FAULT_IO || fault == FAULT_LIMIT)
        sim_disk_fail_call(pair->rotten->disk, at,
                           fault == FAULT_IO ? FT_ERROR_IO : FT_ERROR_LIMIT);
}

static void disarm(struct pair *pair)
{
    heap.fail_at = shorts.at = 0;
    sim_disk_fail_call(pair->rotten->disk, 0, FT_OK);
}

/* --- one file, as core/node/mend.c looks at it --------------------------------------------------
 */

static void next_process(struct pair *pair)
{
    test_store_close(pair->rotten);
    sim_disk_crash(pair->rotten->disk, pair->seed);
    must(test_store_open(pair->rotten));
    pair->held_lost |= pair->rotten->recovery.held.rotten > 0;
}

/* False: it failed. */
static bool went_well(struct pair *pair, enum ft_error error)
{
    pair->told += error != FT_OK;
    if (error == FT_ERROR_SYNC)
        next_process(pair);
    return error == FT_OK;
}

static bool save_vote_twice(struct pair *pair)
{
    for (int i = 0; i < 2; i++) {
        enum ft_error error;
        WATCHED(error = test_flush(pair->rotten, &same_vote));
        if (error) { /* nothing is promised any more */
            pair->told++;
            next_process(pair);
            return false;
        }
    }
    return true;
}

static bool mend(struct pair *pair, const struct store_check *check)
{
    static uint8_t data[LIMIT_ENTRY_BYTES];
    struct store_mend mend = { .file = check->file, .id = check->id, .committed = pair->committed };
    bool entries = check->file == STORE_FILE_SEGMENT || check->file == STORE_FILE_TAIL;
    if (check->file == STORE_FILE_VOTE)
        return save_vote_twice(pair);
    while (!mend.done) {
        struct store_piece piece = { .kind = entries ? STORE_PIECE_ENTRIES
                                             : check->file == STORE_FILE_INDEX
                                                 ? STORE_PIECE_INDEX
                                                 : STORE_PIECE_CHECKPOINT,
                                     .index = entries ? check->index : check->id,
                                     .offset = mend.want_offset };
        size_t len;
        enum ft_error error;
        must(store_read_piece(pair->good->store, &piece, 1000, data, &len, &mend.size));
        assert_true(len > 0);
        mend.offset = piece.offset;
        mend.data = (struct slice) { data, len };
        WATCHED(error = store_mend(pair->rotten->store, &mend));
        if (!went_well(pair, error))
            return false;
    }
    return true;
}

static void look(struct pair *pair, struct store_check *check)
{
    for (int turn = 0; turn < TURNS; turn++) {
        enum ft_error error;
        enum store_file before = check->file;
        bool next = check->how == STORE_CHECK_NEXT;
        WATCHED(error = store_check(pair->rotten->store, check, BUDGET));
        pair->found += !error && (check->mended || check->result == STORE_DAMAGED);
        if (!went_well(pair, error)) {
            check->how = next && check->file == before ? STORE_CHECK_NEXT : STORE_CHECK_FILE;
            continue;
        }
        if (check->result == STORE_CLEAN || check->result == STORE_GONE)
            return;
        check->how = STORE_CHECK_AGAIN;
        bool entries = check->file == STORE_FILE_SEGMENT || check->file == STORE_FILE_TAIL;
        if (check->result == STORE_DAMAGED)
            check->how = mend(pair, check) && entries ? STORE_CHECK_AGAIN : STORE_CHECK_FILE;
    }
    fail_msg("file %d does not come to its end", (int)check->file);
}

static void look_round(struct pair *pair)
{
    struct store_check check = { .upto = pair->good->log.last };
    pair->found = 0;
    do {
        check.how = STORE_CHECK_NEXT;
        look(pair, &check);
    } while (check.file != STORE_FILE_NONE);
}

/* --- what is harmed -----------------------------------------------------------------------------
 */

/* Not everything at once: a process that ends meanwhile must find enough to start by. */
static bool is_harmed(const struct test_store *test, const struct rot_part *part, unsigned set)
{
    bool segment = strstr(part->path, ".seg") != NULL;
    bool sealed = segment && strtoull(part->path + 4, NULL, 10) <= test->recovery.checkpoint_index;
    if (part->zeros || strcmp(part->path, "copy") == 0 || strncmp(part->path, "held", 4) == 0)
        return false;
    if (set == 0)
        return strcmp(part->path, "identity") == 0 || strcmp(part->path, "begin") == 0 ||
               strstr(part->path, ".idx") || (sealed && part->from);
    return (segment && !part->from) || strncmp(part->path, "checkpoint/", 11) == 0 ||
           (strcmp(part->path, "vote") == 0 && part->from % (2 * VOTE_SECTOR_BYTES) == 0);
}

static unsigned harmed_set;

static void harm_bits(struct test_store *test, struct rot_parts *parts)
{
    bool checkpoint = false; /* one is left */
    for (size_t i = 0; i < parts->count; i++) {
        struct rot_part *part = &parts->list[i];
        bool other = checkpoint && strncmp(part->path, "checkpoint/", 11) == 0;
        if (other || !is_harmed(test, part, harmed_set))
            continue;
        checkpoint |= strncmp(part->path, "checkpoint/", 11) == 0;
        rot_flip(test, part, BIT % rot_bits(part));
    }
}

static void harm_pages(struct test_store *test, struct rot_parts *parts)
{
    for (size_t i = 0; i < parts->count; i++) {
        const struct rot_part *part = &parts->list[i];
        bool tail =
            i + 1 < parts->count && parts->list[i + 1].zeros; /* the log side writes there */
        if (is_harmed(test, part, harmed_set) && part->from % DISK_PAGE_BYTES == 0 && !tail)
            assert_true(sim_disk_unreadable(test->disk, part->path, part->from));
    }
}

/* The one that a checkpoint covers, with its index. */
static void harm_by_removing(struct test_store *test, struct rot_parts *parts)
{
    char path[DISK_PATH_BYTES];
    (void)parts;
    segment_path(path, test->store->segments[0].first, "seg");
    assert_true(sim_disk_remove(test->disk, path));
    segment_path(path, test->store->segments[0].first, "idx");
    assert_true(sim_disk_remove(test->disk, path));
}

/* What it holds stands in this process's memory alone. */
static void harm_held(struct test_store *test, struct rot_parts *parts)
{
    for (size_t i = 0; i < parts->count; i++)
        if (strncmp(parts->list[i].path, "held", 4) == 0)
            rot_flip(test, &parts->list[i], BIT);
}

typedef void harm_fn(struct test_store *test, struct rot_parts *parts);

static struct pair opened(const struct test_store *original)
{
    struct pair pair = { .rotten = rot_copy(original), .good = rot_copy(original) };
    pair.committed = original->log.last;
    heap_spares(pair.rotten->disk);
    must(test_store_open(pair.rotten));
    must(test_store_open(pair.good));
    return pair;
}

/* The node's folder is as good as it ever was. */
static void expect_mended(struct pair *pair, struct rot_parts *parts)
{
    test_store_close(pair->rotten);
    for (size_t i = 0; i < parts->count; i++)
        parts->list[i].flips = 0;
    rot_expect_named(pair->rotten, parts, BIT);
    must(test_store_open(pair->rotten));
    assert_int_equal(pair->rotten->recovery.last_index, pair->good->log.last);
    assert_int_equal(pair->rotten->recovery.damages, 0);
    rot_expect_unchanged(pair->rotten);
}

static void mended_while_each_fails(harm_fn *harm, enum fault fault)
{
    struct rot_parts parts;
    struct test_store *original = rot_store();
    rot_parts_find(&parts, original);
    unsigned told = 0, lost = 0;
    uint64_t at = 1;
    for (bool reached = true; reached; at++) {
        struct pair pair = opened(original);
        pair.seed = at;
        harm(pair.rotten, &parts);
        uint64_t calls = sim_disk_calls(pair.rotten->disk);
        arm(&pair, fault, at);
        look_round(&pair);
        reached = fault == FAULT_MEMORY  ? heap.count >= at
                  : fault == FAULT_SHORT ? shorts.count >= at
                                         : sim_disk_calls(pair.rotten->disk) - calls >= at;
        disarm(&pair);
        told += pair.told;
        assert_true(pair.told <= reached);
        do
            look_round(&pair);
        while (pair.found);
        if (!pair.held_lost)
            expect_mended(&pair, &parts);
        lost += pair.held_lost;
        test_store_free(pair.rotten);
        test_store_free(pair.good);
    }
    assert_true(at > 10);
    if (fault != FAULT_SHORT) /* which is damage */
        assert_true(told > at / (fault == FAULT_IO ? 8 : 4));
    assert_true(harm == harm_held ? lost < at / 4 : lost == 0);
    test_store_free(original);
}

static void bits_are_mended_while_each_fails(void **state)
{
    (void)state;
    for (enum fault fault = 0; fault < FAULTS; fault++)
        for (harmed_set = 0; harmed_set < 2; harmed_set++)
            mended_while_each_fails(harm_bits, fault);
}

static void pages_are_mended_while_each_fails(void **state)
{
    (void)state;
    for (enum fault fault = 0; fault < FAULTS; fault++)
        for (harmed_set = 0; harmed_set < 2; harmed_set++)
            mended_while_each_fails(harm_pages, fault);
}

static void lost_files_are_mended_while_each_fails(void **state)
{
    (void)state;
    for (enum fault fault = 0; fault < FAULTS; fault++)
        mended_while_each_fails(harm_by_removing, fault);
}

static void the_held_log_is_mended_while_each_fails(void **state)
{
    (void)state;
    for (enum fault fault = 0; fault < FAULTS; fault++)
        mended_while_each_fails(harm_held, fault);
}

static const char held_path_1[] = "held-00000000000000000001";

static struct store_check look_at_held(struct test_store *test, enum store_check_how how,
                                       uint64_t budget)
{
    struct store_check check = { .how = how, .file = STORE_FILE_HELD, .id = 1 };
    must(store_check(test->store, &check, budget));
    return check;
}

/* It is resolved while it is looked at; or there is no memory to keep what it holds. */
static void the_held_log_goes_meanwhile(void **state)
{
    (void)state;
    struct test_store *original = rot_store();
    for (int way = 0; way < 4; way++) {
        struct pair pair = opened(original);
        struct test_store *test = pair.rotten;
        if (way == 0) {
            struct store_check none = { .how = STORE_CHECK_FILE, .file = STORE_FILE_HELD };
            must(store_check(test->store, &none, BUDGET));
            assert_int_equal(none.result, STORE_GONE); /* they begin at 1 */
            assert_true(sim_disk_remove(test->disk, held_path_1));
            assert_int_equal(look_at_held(test, STORE_CHECK_FILE, BUDGET).result, STORE_GONE);
        }
        if (way == 1) {
            const struct disk *disk = sim_disk_table(test->disk);
            struct disk_file *file;
            uint64_t size = sim_disk_size(test->disk, held_path_1);
            must(disk->open(disk->ctx, held_path_1, DISK_WRITE, &file));
            must(disk->resize(disk->ctx, file, size - 300));
            disk->close(disk->ctx, file);
            assert_true(look_at_held(test, STORE_CHECK_FILE, BUDGET).mended);
            assert_int_equal(sim_disk_size(test->disk, held_path_1), size);
        }
        if (way == 2) {
            assert_int_equal(look_at_held(test, STORE_CHECK_FILE, 1).result, STORE_MORE);
            must(store_hold(test->store, &(struct store_hold) { .number = 9, .discard = true }));
            assert_int_equal(look_at_held(test, STORE_CHECK_AGAIN, 1).result, STORE_CLEAN);
        }
        if (way == 3) {
            rot_hold(test, 4); /* into a file of this process */
            struct store_check check = { .how = STORE_CHECK_FILE,
                                         .file = STORE_FILE_HELD,
                                         .id = 2 };
            must(store_check(test->store, &check, 1));
            assert_int_equal(check.result, STORE_MORE);
            uint64_t first = 7;
            while (!test->store->held.copies[1].broken) { /* until its copy must grow */
                heap.count = 0;
                heap.fail_at = 2; /* behind that of the append itself */
                WATCHED(rot_hold(test, first));
                heap.fail_at = 0;
                first += 3;
            }
            check.how = STORE_CHECK_AGAIN;
            must(store_check(test->store, &check, 1));
            assert_int_equal(check.result, STORE_CLEAN);
            check.how = STORE_CHECK_FILE;
            must(store_check(test->store, &check, 1));
            assert_int_equal(check.result, STORE_GONE); /* there is nothing to prove it by */
            rot_hold(test, first);
        }
        test_store_free(pair.rotten);
        test_store_free(pair.good);
    }
    test_store_free(original);
}

/* A part of a page that cannot be read: the whole of it is written, or it is said why not. */
static void a_part_of_a_bad_page_is_written_while_each_fails(void **state)
{
    (void)state;
    static uint8_t page[DISK_PAGE_BYTES], part[50];
    memset(part, 'p', sizeof part);
    for (enum fault fault = 0; fault < FAULTS; fault++) {
        uint64_t at = 1;
        unsigned told = 0;
        for (bool reached = true; reached; at++) {
            struct pair pair = { .rotten = test_store_new(at, 500) };
            const struct disk *disk;
            struct disk_file *file;
            enum ft_error error;
            heap_spares(pair.rotten->disk);
            disk = sim_disk_table(pair.rotten->disk);
            must(disk->open(disk->ctx, "file", DISK_CREATE, &file));
            must(disk->write(disk->ctx, file, 0, page, sizeof page));
            must(disk->sync(disk->ctx, file));
            assert_true(sim_disk_unreadable(pair.rotten->disk, "file", 0));
            uint64_t calls = sim_disk_calls(pair.rotten->disk);
            arm(&pair, fault, at);
            WATCHED(error = disk_write_around(disk, file, 100, part, sizeof part));
            reached = fault == FAULT_MEMORY  ? heap.count >= at
                      : fault == FAULT_SHORT ? shorts.count >= at
                                             : sim_disk_calls(pair.rotten->disk) - calls >= at;
            disarm(&pair);
            told += error != FT_OK;
            if (!error) {
                uint8_t read[sizeof part];
                assert_true(sim_disk_peek(pair.rotten->disk, "file", 100, read, sizeof read));
                assert_memory_equal(read, part, sizeof part);
            }
            disk->close(disk->ctx, file);
            test_store_free(pair.rotten);
        }
        assert_true(told > 0 || fault == FAULT_SHORT);
    }
}

/* What recovery held: nobody says that it is committed, and the entries behind it prove it. Once it is whole
 * the node starts anew. */
static void look_at_tail(struct pair *pair)
{
    struct store_check check = { .how = STORE_CHECK_FILE,
                                 .file = STORE_FILE_TAIL,
                                 .upto = pair->good->log.last };
    look(pair, &check);
    assert_true(check.result == STORE_CLEAN || !pair->rotten->recovery.leftover);
    test_store_close(pair->rotten);
    sim_disk_kill(pair->rotten->disk);
}

static void the_tail_is_mended_while_each_fails(void **state)
{
    (void)state;
    struct test_store *original = rot_store();
    for (enum fault fault = 0; fault < FAULTS; fault++) {
        uint64_t at = 1;
        for (bool reached = true; reached; at++) {
            struct pair pair = opened(original);
            char path[DISK_PATH_BYTES];
            pair.seed = at;
            pair.committed = 0;
            segment_path(path, pair.good->store->segments[1].first, "seg");
            test_store_close(pair.rotten);
            assert_true(sim_disk_flip(pair.rotten->disk, path, SEGMENT_HEADER_BYTES + 30, 4));
            must(test_store_open(pair.rotten));
            assert_true(pair.rotten->recovery.leftover);
            uint64_t calls = sim_disk_calls(pair.rotten->disk);
            arm(&pair, fault, at);
            look_at_tail(&pair);
            reached = fault == FAULT_MEMORY  ? heap.count >= at
                      : fault == FAULT_SHORT ? shorts.count >= at
                                             : sim_disk_calls(pair.rotten->disk) - calls >= at;
            disarm(&pair);
            must(test_store_open(pair.rotten));
            if (pair.rotten->recovery.leftover) {
                look_at_tail(&pair);
                must(test_store_open(pair.rotten));
            }
            assert_int_equal(pair.rotten->recovery.last_index, pair.good->log.last);
            assert_false(pair.rotten->recovery.leftover);
            rot_expect_unchanged(pair.rotten);
            test_store_free(pair.rotten);
            test_store_free(pair.good);
        }
        assert_true(at > 3);
    }
    test_store_free(original);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bits_are_mended_while_each_fails),
        cmocka_unit_test(pages_are_mended_while_each_fails),
        cmocka_unit_test(lost_files_are_mended_while_each_fails),
        cmocka_unit_test(the_held_log_is_mended_while_each_fails),
        cmocka_unit_test(the_held_log_goes_meanwhile),
        cmocka_unit_test(a_part_of_a_bad_page_is_written_while_each_fails),
        cmocka_unit_test(the_tail_is_mended_while_each_fails),
    };
    return cmocka_run_group_tests_name("store_check_faults", tests, NULL, NULL);
}
