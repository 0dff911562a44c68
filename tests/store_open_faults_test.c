/* Folders that a crash, rot or a loss of files has left in a state of their own, opened while each call of
 * the disk and each allocation fails in turn: it opens, or says why not and has made nothing worse. In the
 * end the node knows what it would have known at once. Then what such a folder holds goes, as a leader has
 * it truncated, while each of these fails. */
#include "tests/test_copy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "cmd/crypto_sodium.h"
#include "store/index_format.h"
#include "tests/test_heap.h"
#include "tests/test_rot.h"

enum { SEALED = 4, OPEN = 3, SEGMENTS = SEALED + OPEN };

enum fault {
    FAULT_IO,     /* a call of the disk */
    FAULT_LIMIT,  /* the kernel has no memory for it */
    FAULT_MEMORY, /* an allocation of the store's */
    FAULT_SHORT,  /* a read gives less than there is */
    FAULTS,
};

static void arm(struct test_store *test, enum fault fault, uint64_t at)
{
    heap.count = 0;
    heap.fail_at = fault == FAULT_MEMORY ? at : 0;
    shorts.count = 0;
    shorts.at = fault == FAULT_SHORT ? at : 0;
    if (fault == FAULT_IO || fault == FAULT_LIMIT)
        sim_disk_fail_call(test->disk, at, fault == FAULT_IO ? FT_ERROR_IO : FT_ERROR_LIMIT);
}

static void disarm(struct test_store *test)
{
    heap.fail_at = shorts.at = 0;
    sim_disk_fail_call(test->disk, 0, FT_OK);
}

/* --- the folder ---------------------------------------------------------------------------------
 */

static struct segment segments[SEGMENTS]; /* of the whole log */

/* Four sealed segments, and three that no checkpoint covers, the last of which has room. */
static struct test_store *grown(void)
{
    struct test_store *test = test_node(1, SEALED, true);
    while (test->store->segments_count < SEGMENTS)
        test_add(test, 1);
    test_add(test, 1);
    assert_int_equal(test->store->segments_count, SEGMENTS);
    memcpy(segments, test->store->segments, sizeof segments);
    test_store_close(test);
    return test;
}

static struct test_store *like(const struct test_store *before)
{
    struct test_store *test = test_store_new(1, COPY_SEGMENT_BYTES);
    sim_disk_free(test->disk);
    test->disk = sim_disk_copy(before->disk);
    test->flush = before->flush;
    test->log = before->log;
    test->opens = 1; /* a new identity is another one */
    heap_spares(test->disk);
    return test;
}

/* --- what became of it --------------------------------------------------------------------------
 */

static void flip_segment(struct test_store *test, size_t number, uint64_t offset)
{
    char path[DISK_PATH_BYTES];
    segment_path(path, segments[number].first, "seg");
    assert_true(sim_disk_flip(test->disk, path, offset, 4));
}

static void remove_of(struct test_store *test, size_t number, const char *suffix)
{
    char path[DISK_PATH_BYTES];
    segment_path(path, segments[number].first, suffix);
    assert_true(sim_disk_remove(test->disk, path));
}

static void flip_checkpoint(struct test_store *test, size_t number)
{
    char path[DISK_PATH_BYTES];
    checkpoint_file_path(path, segments[number].last);
    assert_true(sim_disk_flip(test->disk, path, 100, 1));
}

static void checkpoints_rotten(struct test_store *test)
{
    for (size_t i = 0; i < SEALED; i++)
        flip_checkpoint(test, i);
}

static void owe_truncation(struct test_store *test, uint64_t from, uint64_t newest)
{
    const struct disk *disk = sim_disk_table(test->disk);
    struct vote_record vote;
    struct disk_file *file;
    bool any;
    test_must(vote_file_load(disk, &crypto_sodium, &vote, &any));
    vote.truncate_from = from;
    vote.newest = newest;
    for (int pair = 0; pair < 2; pair++) {
        vote.generation++;
        test_must(disk->open(disk->ctx, "vote", DISK_WRITE, &file));
        test_must(vote_file_save(disk, file, &crypto_sodium, &vote));
        disk->close(disk->ctx, file);
    }
}

static void rot_in_the_last_flush(struct test_store *test)
{
    flip_segment(test, SEGMENTS - 1, segments[SEGMENTS - 1].end - 1);
}

static void rot_with_segments_behind_it(struct test_store *test)
{
    flip_segment(test, SEALED, segments[SEALED].end - 1);
}

static void rot_at_a_segments_first(struct test_store *test)
{
    flip_segment(test, SEALED + 1, SEGMENT_HEADER_BYTES + 30);
}

static void a_torn_write(struct test_store *test)
{
    static const uint8_t zeros[DISK_SECTOR_BYTES];
    char path[DISK_PATH_BYTES];
    uint64_t end = segments[SEGMENTS - 1].end;
    uint64_t sector = (end - 1) / DISK_SECTOR_BYTES * DISK_SECTOR_BYTES;
    segment_path(path, segments[SEGMENTS - 1].first, "seg");
    assert_true(sim_disk_poke(test->disk, path, sector, zeros, (size_t)(end - sector)));
}

static void an_unsealed_segment_lost(struct test_store *test)
{
    remove_of(test, SEALED + 1, "seg");
}

static void the_newest_segment_lost(struct test_store *test)
{
    remove_of(test, SEGMENTS - 1, "seg");
}

/* All checkpoints are gone, and so the log is read from its first entry, which is rotten: files of more
 * than is left of it stand behind. */
static void files_beyond_the_log(struct test_store *test)
{
    checkpoints_rotten(test);
    flip_segment(test, 1, SEGMENT_HEADER_BYTES + 30);
}

static void a_truncation_in_a_segment(struct test_store *test)
{
    owe_truncation(test, segments[SEALED].first + 2, segments[SEALED].first);
}

static void a_truncation_of_segments(struct test_store *test)
{
    owe_truncation(test, segments[SEALED + 1].first, segments[SEALED].first);
}

static void dropping_half_done(struct test_store *test)
{
    test_must(begin_file_save(sim_disk_table(test->disk), &crypto_sodium, segments[3].first));
}

static void indexes_lost(struct test_store *test)
{
    char path[DISK_PATH_BYTES];
    remove_of(test, 0, "idx");
    segment_path(path, segments[2].first, "idx");
    assert_true(sim_disk_flip(test->disk, path, 900, 1));
    flip_segment(test, 2, SEGMENT_HEADER_BYTES + 30);
}

static void sealed_segments_lost(struct test_store *test)
{
    remove_of(test, 1, "seg");
    remove_of(test, 1, "idx");
    remove_of(test, 2, "idx");
}

static void headers_rotten(struct test_store *test)
{
    for (size_t i = 0; i < SEGMENTS; i++)
        if (i != 1)
            flip_segment(test, i, 40);
}

static void identity_rotten(struct test_store *test)
{
    assert_true(sim_disk_flip(test->disk, "identity", 40, 1));
}

static void identity_and_vote_rotten(struct test_store *test)
{
    identity_rotten(test);
    for (uint64_t at = 0; at < VOTE_FILE_BYTES; at += VOTE_SECTOR_BYTES)
        assert_true(sim_disk_flip(test->disk, "vote", at + 40, 1));
}

static void a_pair_of_votes_rotten(struct test_store *test)
{
    for (uint64_t at = 0; at < VOTE_FILE_BYTES / 2; at += VOTE_SECTOR_BYTES)
        assert_true(sim_disk_flip(test->disk, "vote", at + 40, 1));
}

static void a_vote_rotten(struct test_store *test)
{
    assert_true(sim_disk_flip(test->disk, "vote", 40, 1));
}

static void small_files_rotten(struct test_store *test)
{
    const struct disk *disk = sim_disk_table(test->disk);
    struct copy_file copy = { .start = 1, .end = 9, .segment_bytes = COPY_SEGMENT_BYTES };
    test_must(begin_file_save(disk, &crypto_sodium, segments[3].first));
    test_must(copy_file_save(disk, &crypto_sodium, test_cluster, &copy));
    assert_true(sim_disk_flip(test->disk, "begin", 30, 1));
    assert_true(sim_disk_flip(test->disk, "copy", DISK_PAGE_BYTES + 30, 1));
}

static void the_segment_behind_the_checkpoint_lost(struct test_store *test)
{
    remove_of(test, SEALED, "seg");
}

static void no_segment_left(struct test_store *test)
{
    for (size_t i = 0; i < SEGMENTS; i++)
        remove_of(test, i, "seg");
}

static void only_the_first_segment_left(struct test_store *test)
{
    checkpoints_rotten(test);
    for (size_t i = 1; i < SEGMENTS; i++)
        remove_of(test, i, "seg");
}

static void nothing_left(struct test_store *test)
{
    checkpoints_rotten(test);
    no_segment_left(test);
}

/* The bytes of one segment stand under another's name. */
static void copy_segment(struct test_store *test, size_t number, uint64_t to)
{
    static uint8_t data[2 << 20];
    const struct disk *disk = sim_disk_table(test->disk);
    struct disk_file *file;
    char path[DISK_PATH_BYTES];
    segment_path(path, segments[number].first, "seg");
    size_t size = (size_t)sim_disk_size(test->disk, path);
    assert_true(size <= sizeof data);
    assert_true(sim_disk_peek(test->disk, path, 0, data, size));
    segment_path(path, to, "seg");
    (void)sim_disk_remove(test->disk, path);
    test_must(disk->open(disk->ctx, path, DISK_CREATE, &file));
    test_must(disk->write(disk->ctx, file, 0, data, size));
    test_must(disk->sync(disk->ctx, file));
    disk->close(disk->ctx, file);
    test_must(disk->sync_dir(disk->ctx, "log"));
}

static void a_misdirected_segment(struct test_store *test)
{
    copy_segment(test, SEALED, segments[SEALED + 1].first);
    remove_of(test, SEALED + 2, "seg");
}

static void a_segment_inside_another(struct test_store *test)
{
    copy_segment(test, SEALED + 1, segments[SEALED].first + 2);
}

static void a_chain_of_another_log(struct test_store *test)
{
    uint8_t data[SEGMENT_HEADER_BYTES];
    struct segment_header header;
    char path[DISK_PATH_BYTES];
    segment_path(path, segments[SEALED + 1].first, "seg");
    assert_true(sim_disk_peek(test->disk, path, 0, data, sizeof data));
    test_must(segment_header_parse(data, &crypto_sodium, &header));
    header.chain[3] ^= 1;
    segment_header_write(data, &header, &crypto_sodium);
    assert_true(sim_disk_poke(test->disk, path, 0, data, sizeof data));
}

static void nothing_readable_at_the_end(struct test_store *test)
{
    static uint8_t rot[LIMIT_ENTRY_BYTES];
    char path[DISK_PATH_BYTES];
    const struct segment *last = &segments[SEGMENTS - 1];
    rot_with_segments_behind_it(test);
    memset(rot, 'r', sizeof rot);
    segment_path(path, last->first, "seg");
    assert_true(sim_disk_poke(test->disk, path, SEGMENT_HEADER_BYTES, rot,
                              (size_t)last->end - SEGMENT_HEADER_BYTES));
}

static void a_truncation_behind_the_checkpoint(struct test_store *test)
{
    owe_truncation(test, segments[SEALED].first, segments[SEALED - 1].first);
}

static void a_truncation_of_everything(struct test_store *test)
{
    checkpoints_rotten(test);
    owe_truncation(test, 1, 0);
}

static void a_truncation_with_files_beyond(struct test_store *test)
{
    checkpoints_rotten(test);
    owe_truncation(test, segments[1].first + 2, segments[1].first);
}

/* What stood right before it reads as if it had never been. */
static void a_truncation_behind_zeros(struct test_store *test)
{
    static const uint8_t zeros[LIMIT_ENTRY_BYTES];
    const struct segment *last = &segments[SEGMENTS - 1];
    uint8_t header[ENTRY_HEADER_BYTES];
    char path[DISK_PATH_BYTES];
    segment_path(path, last->first, "seg");
    assert_true(sim_disk_peek(test->disk, path, SEGMENT_HEADER_BYTES, header, sizeof header));
    uint64_t at = SEGMENT_HEADER_BYTES + bytes_get_u32(header + ENTRY_AT_SIZE);
    assert_true(at < last->end);
    assert_true(sim_disk_poke(test->disk, path, at, zeros, (size_t)(last->end - at)));
    owe_truncation(test, last->last + 1, last->first);
}

static void an_index_of_more_than_its_segment(struct test_store *test)
{
    uint8_t block[INDEX_BLOCK_BYTES];
    char path[DISK_PATH_BYTES];
    segment_path(path, segments[1].first, "idx");
    assert_true(sim_disk_peek(test->disk, path, 0, block, sizeof block));
    bytes_put_u64(block + INDEX_AT_LAST, segments[2].last);
    bytes_put_u64(block + INDEX_PAYLOAD_BYTES + 8,
                  crypto_sodium.digest(test_cluster, block, INDEX_PAYLOAD_BYTES + 8));
    assert_true(sim_disk_poke(test->disk, path, 0, block, sizeof block));
}

static void a_segment_cut_in_its_header(struct test_store *test)
{
    const struct disk *disk = sim_disk_table(test->disk);
    struct disk_file *file;
    char path[DISK_PATH_BYTES];
    segment_path(path, segments[2].first, "seg");
    test_must(disk->open(disk->ctx, path, DISK_WRITE, &file));
    test_must(disk->resize(disk->ctx, file, 1000));
    test_must(disk->sync(disk->ctx, file));
    disk->close(disk->ctx, file);
    remove_of(test, 2, "idx");
}

/* As it stands after it was mended: which flush wrote it is not known any more. */
static void rot_before_what_was_mended(struct test_store *test)
{
    static uint8_t entry[LIMIT_ENTRY_BYTES];
    char path[DISK_PATH_BYTES];
    const struct segment *at = &segments[SEALED + 1];
    uint64_t offset = SEGMENT_HEADER_BYTES;
    uint32_t size = 0;
    segment_path(path, at->first, "seg");
    flip_segment(test, SEALED + 1, offset + 30);
    assert_true(sim_disk_peek(test->disk, path, offset, entry, ENTRY_HEADER_BYTES));
    for (offset += bytes_get_u32(entry + ENTRY_AT_SIZE); offset < at->end; offset += size) {
        assert_true(sim_disk_peek(test->disk, path, offset, entry, ENTRY_HEADER_BYTES));
        size = bytes_get_u32(entry + ENTRY_AT_SIZE);
    }
    offset -= size;
    memset(entry + ENTRY_LOCAL_AT, 0, ENTRY_HEADER_BYTES - ENTRY_LOCAL_AT);
    bytes_put_u32(entry + ENTRY_AT_CHECK, entry_header_check(&crypto_sodium, test_cluster, entry));
    assert_true(sim_disk_poke(test->disk, path, offset, entry, ENTRY_HEADER_BYTES));
}

static void an_old_segment_at_the_end(struct test_store *test)
{
    flip_segment(test, SEALED + 1, SEGMENT_HEADER_BYTES + 30);
    copy_segment(test, SEALED, segments[SEALED + 2].first);
}

static void rot_behind_the_last_entry_of_all(struct test_store *test)
{
    rot_with_segments_behind_it(test);
    flip_segment(test, SEGMENTS - 1, segments[SEGMENTS - 1].end + 9);
}

static void the_newest_checkpoints_and_what_they_cover_lost(struct test_store *test)
{
    for (size_t i = 2; i < SEALED; i++)
        flip_checkpoint(test, i);
    remove_of(test, 2, "seg");
    remove_of(test, 2, "idx");
}

/* Windows of a file are read one after the other, and at a damage once more. */
static void lengthen(struct test_store *test, size_t number)
{
    const struct disk *disk = sim_disk_table(test->disk);
    struct disk_file *file;
    char path[DISK_PATH_BYTES];
    segment_path(path, segments[number].first, "seg");
    test_must(disk->open(disk->ctx, path, DISK_WRITE, &file));
    test_must(disk->resize(disk->ctx, file, 5 << 19));
    test_must(disk->sync(disk->ctx, file));
    disk->close(disk->ctx, file);
}

static void rot_before_megabytes(struct test_store *test)
{
    lengthen(test, SEGMENTS - 1);
    rot_in_the_last_flush(test);
}

static void a_torn_write_before_megabytes(struct test_store *test)
{
    lengthen(test, SEGMENTS - 1);
    a_torn_write(test);
}

/* It begins late, and no checkpoint says with what. */
static void nothing_explains_it(struct test_store *test)
{
    test_must(begin_file_save(sim_disk_table(test->disk), &crypto_sodium, segments[3].first));
    for (size_t i = 0; i < 3; i++) {
        remove_of(test, i, "seg");
        remove_of(test, i, "idx");
    }
    checkpoints_rotten(test);
}

/* What came to be erased was more than is left: it is gone through again. */
static void erased_beyond_what_is_left(struct test_store *test)
{
    const struct disk *disk = sim_disk_table(test->disk);
    uint8_t bytes[48] = { 0 };
    only_the_first_segment_left(test);
    file_prologue_write(bytes, FILE_SCRUB, &crypto_sodium);
    bytes_put_u64(bytes + PROLOGUE_BYTES, segments[SEALED - 1].last);
    bytes_put_u64(bytes + 40, crypto_sodium.digest(test_cluster, bytes, 40));
    test_must(
        file_replace(disk, "", "scrub.tmp", "scrub", &(struct slice) { bytes, sizeof bytes }, 1));
}

/* What was held says which cluster's the rest was: the second of its files, for of the first little was written. */
static void only_what_was_held_left(struct test_store *test)
{
    const struct disk *disk = sim_disk_table(test->disk);
    struct disk_file *file;
    for (uint64_t first = 1; first < 10; first += 3) {
        test_must(test_store_open(test));
        rot_hold(test, first);
        test_store_close(test);
    }
    test_must(disk->open(disk->ctx, "held-00000000000000000001", DISK_WRITE, &file));
    test_must(disk->resize(disk->ctx, file, 100));
    test_must(disk->sync(disk->ctx, file));
    disk->close(disk->ctx, file);
    nothing_left(test);
    identity_rotten(test);
}

/* What a log begins with that is all lost. */
static void a_late_log_lost_and_its_begin(struct test_store *test)
{
    small_files_rotten(test);
    assert_true(sim_disk_flip(test->disk, "begin", DISK_PAGE_BYTES + 30, 1));
    nothing_left(test);
}

struct left {
    void (*harm)(struct test_store *test);
    uint64_t ends_at; /* a number of a segment's last entry; or: */
    bool held;
    bool another; /* it goes on under another identity */
};

enum { ALL = SEGMENTS - 1 };
static const struct left lefts[] = {
    { rot_in_the_last_flush, ALL, true, false },
    { rot_with_segments_behind_it, SEALED, true, false },
    { rot_at_a_segments_first, SEALED, true, false },
    { a_torn_write, ALL, false, false },
    { an_unsealed_segment_lost, SEALED, true, false },
    { the_newest_segment_lost, ALL - 1, true, false },
    { files_beyond_the_log, 0, true, false },
    { a_truncation_in_a_segment, SEALED, false, false },
    { a_truncation_of_segments, SEALED, false, false },
    { dropping_half_done, ALL, false, false },
    { indexes_lost, ALL, false, false },
    { sealed_segments_lost, ALL, false, false },
    { headers_rotten, ALL, false, false },
    { identity_rotten, ALL, false, false },
    { identity_and_vote_rotten, ALL, false, true },
    { a_pair_of_votes_rotten, ALL, false, true },
    { a_vote_rotten, ALL, false, false },
    { small_files_rotten, ALL, false, false },
    { the_segment_behind_the_checkpoint_lost, SEALED - 1, true, false },
    { no_segment_left, SEALED - 1, true, false },
    { only_the_first_segment_left, 0, true, false },
    { nothing_left, 0, true, false },
    { a_misdirected_segment, SEALED, true, false },
    { a_segment_inside_another, SEALED, true, false },
    { a_chain_of_another_log, SEALED, true, false },
    { nothing_readable_at_the_end, SEALED, true, false },
    { a_truncation_behind_the_checkpoint, SEALED - 1, false, false },
    { a_truncation_of_everything, 0, false, false },
    { a_truncation_with_files_beyond, 1, false, false },
    { a_truncation_behind_zeros, ALL, false, false },
    { an_index_of_more_than_its_segment, ALL, false, false },
    { a_segment_cut_in_its_header, ALL, false, false },
    { rot_before_what_was_mended, SEALED, true, false },
    { an_old_segment_at_the_end, SEALED, true, false },
    { rot_behind_the_last_entry_of_all, SEALED, true, false },
    { the_newest_checkpoints_and_what_they_cover_lost, 1, true, false },
    { nothing_explains_it, 0, true, false },
    { erased_beyond_what_is_left, 0, true, false },
    { only_what_was_held_left, 0, true, false },
    { a_late_log_lost_and_its_begin, 0, true, false },
    { rot_before_megabytes, ALL, true, false },
    { a_torn_write_before_megabytes, ALL, false, false },
};
enum { LEFTS = sizeof lefts / sizeof lefts[0] };

/* --- opening ------------------------------------------------------------------------------------
 */

static void same(const struct left *left, const struct store_recovery *now,
                 const struct store_recovery *then)
{
    /* Where it begins may be read off its files: what was being dropped is there again then. */
    assert_true(now->first_index == then->first_index || now->first_index == segments[0].first);
    bool older =
        now->checkpoint_index < then->checkpoint_index; /* one may do; with nothing behind: */
    assert_true(now->last_index == then->last_index ||
                (older && now->last_index == now->checkpoint_index && now->leftover));
    assert_int_equal(now->leftover, then->leftover);
    assert_int_equal(now->lost.term, then->lost.term);
    assert_int_equal(now->lost.last, then->lost.last);
    assert_int_equal(now->term, then->term);
    assert_int_equal(now->may_vote, then->may_vote);
    assert_int_equal(now->may_campaign, then->may_campaign);
    assert_memory_equal(now->cluster, then->cluster, IDENTITY_BYTES);
    if (left->another)
        assert_memory_not_equal(now->identity, test_identity, IDENTITY_BYTES);
    else
        assert_memory_equal(now->identity, test_identity, IDENTITY_BYTES);
    assert_true(older || now->checkpoint_index == then->checkpoint_index);
}

/* As it is left; and what a node that opens it at once knows. */
static struct test_store *harmed(const struct test_store *whole, const struct left *left,
                                 struct store_recovery *known)
{
    struct test_store *before = like(whole);
    left->harm(before);
    struct test_store *test = like(before);
    test_must(test_store_open(test));
    *known = test->recovery;
    if (known->leftover != left->held)
        print_message("%d: leftover %d last %llu cp %llu cut %llu: %s (ends %llu)\n",
                      (int)(left - lefts), known->leftover, (unsigned long long)known->last_index,
                      (unsigned long long)known->checkpoint_index,
                      (unsigned long long)known->cut_bytes, known->damage,
                      (unsigned long long)segments[left->ends_at].last);
    assert_int_equal(known->leftover, left->held);
    uint64_t end = segments[left->ends_at].last;
    assert_true(known->last_index <= end && known->last_index + 2 >= segments[left->ends_at].first);
    if (known->last_index > known->checkpoint_index)
        (void)test_read_all(test, known->checkpoint_index, known->last_index, &whole->log, NULL);
    test_store_free(test);
    return before;
}

static void opened_while_each_fails(const struct test_store *whole, const struct left *left,
                                    enum fault fault)
{
    struct store_recovery known;
    struct test_store *before = harmed(whole, left, &known);
    uint64_t at = 1, told = 0;
    for (bool reached = true; reached; at++) {
        struct test_store *test = like(before);
        uint64_t calls = sim_disk_calls(test->disk);
        enum ft_error error;
        arm(test, fault, at);
        WATCHED(error = test_store_open(test));
        reached = fault == FAULT_MEMORY  ? heap.count >= at
                  : fault == FAULT_SHORT ? shorts.count >= at
                                         : sim_disk_calls(test->disk) - calls >= at;
        disarm(test);
        told += error != FT_OK;
        if (error) {
            assert_true(reached);
            assert_true(strlen(test->why) > 10); /* what to do about it */
            assert_null(test->store);
            sim_disk_crash(test->disk, at);
            test_must(test_store_open(test));
        }
        if (fault ==
            FAULT_SHORT) { /* as damage: a vote may be lost by it, but nothing is made up */
            const struct store_recovery *now = &test->recovery;
            assert_true(now->last_index <= whole->log.last);
            if (now->last_index > now->checkpoint_index)
                (void)test_read_all(test, now->checkpoint_index, now->last_index, &whole->log,
                                    NULL);
        } else {
            same(left, &test->recovery, &known);
            if (test->recovery.checkpoint_index < known.checkpoint_index) {
                test_store_close(test);
                test_must(test_store_open(test));
                same(left, &test->recovery, &known);
            }
        }
        test_store_free(test);
    }
    assert_true(told > 3 || fault == FAULT_SHORT);
    test_store_free(before);
}

/* Short reads are much alike, and large files slow. */
static bool is_tried(size_t left, enum fault fault)
{
    bool large = left + 2 >= LEFTS;
    return large ? fault == FAULT_LIMIT : fault != FAULT_SHORT || left % 4 == 0;
}

static void opening_while_each_fails(void **state)
{
    (void)state;
    struct test_store *whole = grown();
    for (size_t i = 0; i < LEFTS; i++)
        for (enum fault fault = 0; fault < FAULTS; fault++)
            if (is_tried(i, fault))
                opened_while_each_fails(whole, &lefts[i], fault);
    test_store_free(whole);
}

/* --- what is held goes --------------------------------------------------------------------------
 */

static void no_damage_to_the_log(void *ctx, const struct store_damage *damage)
{
    if (strncmp(damage->file, "checkpoint/", 11) != 0)
        test_no_damage(ctx, damage);
}

static void goes_while_each_fails(const struct test_store *whole, const struct left *left,
                                  enum fault fault)
{
    struct store_recovery known;
    struct test_store *before = harmed(whole, left, &known);
    struct test_flush flush = { .entries = 2,
                                .count = 3,
                                .term = 5,
                                .save_vote = true,
                                .vote = 5,
                                .truncate_from = known.last_index + 1 };
    uint64_t at = 1, told = 0;
    for (bool reached = true; reached; at++) {
        struct test_store *test = like(before);
        test_must(test_store_open(test));
        test->log.last = known.last_index;
        struct test_log after = test->log;
        test_log_after(&after, &flush);
        uint64_t calls = sim_disk_calls(test->disk);
        enum ft_error error;
        arm(test, fault, at);
        WATCHED(error = test_flush(test, &flush));
        reached = fault == FAULT_MEMORY  ? heap.count >= at
                  : fault == FAULT_SHORT ? shorts.count >= at
                                         : sim_disk_calls(test->disk) - calls >= at;
        disarm(test);
        told += error != FT_OK;
        test_store_close(test);
        sim_disk_crash(test->disk, at);
        test_must(test_store_open(test));
        const struct store_recovery *now = &test->recovery;
        if (!error)
            assert_int_equal(now->last_index, after.last);
        assert_in_range(now->last_index, known.last_index, after.last);
        assert_true(!now->leftover || now->last_index == known.last_index);
        assert_true(now->term == 5 || error);
        if (now->last_index > now->checkpoint_index)
            (void)test_read_all(test, now->checkpoint_index, now->last_index, &after, NULL);
        if (!now->leftover) { /* nothing of it comes again */
            uint64_t entries;
            test_must(store_verify(test->store, no_damage_to_the_log, NULL, &entries));
        }
        test_store_free(test);
    }
    assert_true(told > 3 || fault == FAULT_SHORT);
    test_store_free(before);
}

static void truncating_while_each_fails(void **state)
{
    (void)state;
    struct test_store *whole = grown();
    for (size_t i = 0; i < LEFTS; i++)
        for (enum fault fault = 0; fault < FAULTS && lefts[i].held; fault++)
            if (is_tried(i, fault) && i % 2 == 0)
                goes_while_each_fails(whole, &lefts[i], fault);
    test_store_free(whole);
}

/* --- what was lost before -----------------------------------------------------------------------
 */

/* Of what was lost before and what is lost now, a vote goes to whoever has more. */
static void what_was_lost_before_is_not_forgotten(void **state)
{
    (void)state;
    struct test_store *whole = grown();
    uint64_t last = whole->log.last;
    const struct {
        struct store_lost before;
        bool end_known;
        struct store_lost owed;
    } rows[] = {
        { { 0, 0 }, true, { 1, last } },
        { { 0, 5 }, true, { 1, last } },
        { { 1, last - 4 }, true, { 1, last } },
        { { 1, last + 4 }, true, { 1, last + 4 } },
        { { 2, 7 }, true, { 2, 7 } },
        { { 0, UINT64_MAX }, true, { 0, UINT64_MAX } },
        { { 1, last - 4 }, false, { 0, UINT64_MAX } },
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct test_store *test = like(whole);
        test_must(test_store_open(test));
        test_must(test_flush(
            test, &(struct test_flush) {
                      .save_vote = true, .term = 3, .vote = 3, .lost = rows[i].before }));
        test_store_close(test);
        if (rows[i].end_known)
            rot_in_the_last_flush(test);
        else
            nothing_readable_at_the_end(test);
        test_must(test_store_open(test));
        assert_true(test->recovery.leftover);
        assert_int_equal(test->recovery.lost.last, rows[i].owed.last);
        assert_int_equal(test->recovery.lost.term, rows[i].owed.term);
        assert_false(test->recovery.may_campaign);
        assert_int_equal(test->recovery.may_vote, rows[i].owed.last != UINT64_MAX);
        test_store_free(test);
    }
    test_store_free(whole);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opening_while_each_fails),
        cmocka_unit_test(truncating_while_each_fails),
        cmocka_unit_test(what_was_lost_before_is_not_forgotten),
    };
    return cmocka_run_group_tests_name("store_open_faults", tests, NULL, NULL);
}
