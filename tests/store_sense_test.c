/* Files that are whole, have the right checks, and are not what should be there: other nodes', other
 * versions', other segments', leftovers of what was dropped. And the words for each error. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cmd/crypto_sodium.h"
#include "store/index_format.h"
#include "tests/test_folder.h"
#include "tests/test_rot.h"

static const uint8_t no_key[DIGEST_KEY_BYTES];

static struct test_store *closed(int segments)
{
    struct test_store *test = test_node(1, segments, false);
    test_store_close(test);
    return test;
}

static void make_file(struct test_store *test, const char *path, const void *data, size_t len)
{
    const struct disk *disk = sim_disk_table(test->disk);
    struct disk_file *file;
    test_must(disk->open(disk->ctx, path, DISK_CREATE, &file));
    test_must(disk->write(disk->ctx, file, 0, data, len));
    test_must(disk->sync(disk->ctx, file));
    disk->close(disk->ctx, file);
}

/* --- what verify says ---------------------------------------------------------------------------
 */

struct seen {
    unsigned damages;
    char what[16][80];
};

static void see(void *ctx, const struct store_damage *damage)
{
    struct seen *seen = ctx;
    assert_true(seen->damages < 16);
    snprintf(seen->what[seen->damages++], 80, "%s", damage->what);
}

static struct seen verified(struct test_store *test)
{
    struct seen seen = { 0 };
    uint64_t entries;
    uint64_t erased;
    if (test->store)
        test_must(store_verify(test->store, see, &seen, &entries));
    else
        test_must(store_verify_folder(sim_disk_table(test->disk), &crypto_sodium, see, &seen,
                                      &entries, &erased));
    return seen;
}

static bool says(const struct seen *seen, const char *what)
{
    for (unsigned i = 0; i < seen->damages; i++)
        if (strstr(seen->what[i], what))
            return true;
    return false;
}

static void first_of(const struct test_store *test, size_t number, uint64_t *first)
{
    struct store_names names;
    test_must(names_list(sim_disk_table(test->disk), &names));
    assert_true(number < names.segments_count);
    *first = names.segments[number];
    names_free(&names);
}

static void headers_of_other_segments(void **state)
{
    (void)state;
    static const char *const words[] = { "header is damaged", "chain is broken", "are missing" };
    for (int lie = 0; lie < 3; lie++) {
        struct test_store *test = closed(4);
        char path[DISK_PATH_BYTES];
        uint8_t data[SEGMENT_HEADER_BYTES];
        struct segment_header header;
        uint64_t first;
        first_of(test, 1, &first);
        segment_path(path, first, "seg");
        assert_true(sim_disk_peek(test->disk, path, 0, data, sizeof data));
        test_must(segment_header_parse(data, &crypto_sodium, &header));
        if (lie == 0)
            header.cluster[0] ^= 1;
        if (lie == 1)
            header.chain[0] ^= 1;
        segment_header_write(data, &header, &crypto_sodium);
        assert_true(sim_disk_poke(test->disk, path, 0, data, sizeof data));
        if (lie == 2)
            assert_true(sim_disk_remove(test->disk, path));
        struct seen seen = verified(test);
        assert_true(says(&seen, words[lie]));
        test_store_free(test);
    }
}

/* An entry is damaged, so that the next segment stands by itself; and that one's header is, too. What
 * comes after is looked at all the same. */
static void what_stands_by_nothing(void **state)
{
    (void)state;
    struct test_store *test = closed(5);
    char path[DISK_PATH_BYTES];
    uint64_t first;
    first_of(test, 1, &first);
    segment_path(path, first, "seg");
    assert_true(sim_disk_flip(test->disk, path, SEGMENT_HEADER_BYTES + 150, 1));
    struct seen seen = verified(test);
    assert_int_equal(seen.damages, 1);
    first_of(test, 2, &first);
    segment_path(path, first, "seg");
    assert_true(sim_disk_flip(test->disk, path, 40, 1));
    first_of(test, 3, &first);
    segment_path(path, first, "idx");
    assert_true(sim_disk_flip(test->disk, path, 40, 1));
    seen = verified(test);
    assert_int_equal(seen.damages, 3);
    assert_true(says(&seen, "header is damaged"));
    assert_true(says(&seen, "index file is damaged"));
    test_store_free(test);
}

static void indexes_of_other_segments(void **state)
{
    (void)state;
    for (int lie = 0; lie < 4; lie++) {
        struct test_store *test = closed(3);
        char path[DISK_PATH_BYTES];
        uint8_t block[INDEX_BLOCK_BYTES];
        uint64_t first;
        first_of(test, 1, &first);
        segment_path(path, first, "idx");
        assert_true(sim_disk_peek(test->disk, path, 0, block, sizeof block));
        if (lie == 0)
            bytes_put_u64(block + INDEX_AT_LAST, bytes_get_u64(block + INDEX_AT_LAST) + 1);
        if (lie == 1)
            bytes_put_u64(block + INDEX_AT_END, bytes_get_u64(block + INDEX_AT_END) + 1);
        if (lie == 2)
            block[INDEX_AT_CHAIN] ^= 1;
        if (lie == 3) /* ends before it begins */
            bytes_put_u64(block + INDEX_AT_LAST, first - 1);
        bytes_put_u64(block + INDEX_PAYLOAD_BYTES + 8,
                      crypto_sodium.digest(test_cluster, block, INDEX_PAYLOAD_BYTES + 8));
        assert_true(sim_disk_poke(test->disk, path, 0, block, sizeof block));
        struct seen seen = verified(test);
        assert_int_equal(seen.damages, 1);
        assert_true(says(&seen, lie == 3 ? "has the wrong size" : "of another segment"));
        test_store_free(test);
    }
}

/* In a vote's place, the copy that belongs into another's; and bytes that must be zero. */
static void votes_in_the_wrong_place(void **state)
{
    (void)state;
    struct test_store *test = closed(1);
    uint8_t sector[VOTE_SECTOR_BYTES];
    assert_true(sim_disk_peek(test->disk, "vote", 0, sector, sizeof sector));
    for (size_t copy = 2; copy < 4; copy++)
        assert_true(
            sim_disk_poke(test->disk, "vote", copy * VOTE_SECTOR_BYTES, sector, sizeof sector));
    struct seen seen = verified(test);
    assert_int_equal(seen.damages, 2);
    assert_true(says(&seen, "copy of the vote"));
    test_must(test_store_open(test)); /* it still knows its vote */
    assert_int_equal(test->recovery.term, 2);
    test_store_free(test);
    test = closed(1);
    assert_true(sim_disk_flip(test->disk, "vote", VOTE_RECORD_BYTES, 1));
    assert_true(sim_disk_flip(test->disk, "vote", 2 * VOTE_SECTOR_BYTES - 1, 1));
    seen = verified(test);
    assert_int_equal(seen.damages, 2);
    assert_true(says(&seen, "must be zero"));
    test_store_free(test);
}

/* What is being dropped is below the log's beginning: no damage, whatever it is. */
static void leftovers_below_the_beginning(void **state)
{
    (void)state;
    struct test_store *test = folder_new();
    char path[DISK_PATH_BYTES];
    assert_true(test->store->begin > 1);
    assert_int_equal(verified(test).damages, 0);
    segment_path(path, 1, "seg");
    make_file(test, path, "junk", 4);
    assert_int_equal(verified(test).damages, 0);
    test_store_free(test);
}

/* What lies behind a segment's end is told once entries stand behind it: before that it is being
 * written. */
static void bytes_behind_a_segment_that_is_full(void **state)
{
    (void)state;
    struct test_store *test = test_node(1, 2, false);
    struct store *store = test->store;
    char path[DISK_PATH_BYTES];
    do
        test_add(test, 1);
    while (!segment_full(&store->segments[store->segments_count - 1], store->segment_bytes));
    struct segment full = store->segments[store->segments_count - 1];
    segment_path(path, full.first, "seg");
    for (int where = 0; where < 2; where++) {
        uint64_t at = full.end + 5 + (where ? ENTRY_HEADER_BYTES : 0);
        assert_true(sim_disk_flip(test->disk, path, at, 1));
        assert_int_equal(verified(test).damages, where);
        test_add(test, 1);
        struct seen seen = verified(test);
        assert_int_equal(seen.damages, 1);
        assert_true(says(&seen, where ? "are not zero" : "header is damaged"));
        assert_true(sim_disk_flip(test->disk, path, at, 1));
    }
    test_store_free(test);
}

static void identities_that_are_none(void **state)
{
    (void)state;
    static const enum ft_error errors[] = { FT_ERROR_FOREIGN, FT_ERROR_VERSION, FT_OK };
    for (int lie = 0; lie < 3; lie++) {
        struct test_store *test = closed(1);
        uint8_t head[24];
        test_must(test_store_open(test));
        assert_true(sim_disk_peek(test->disk, "identity", 0, head, sizeof head));
        if (lie == 0)
            memset(head, 'x', 8);
        if (lie > 0)
            bytes_put_u32(head + 8, lie == 1 ? STORE_VERSION + 1 : 0);
        bytes_put_u64(head + 16, crypto_sodium.digest(no_key, head, 16));
        assert_true(sim_disk_poke(test->disk, "identity", 0, head, sizeof head));
        struct seen seen = verified(test); /* while it runs */
        assert_true(says(&seen, "identity"));
        test_store_close(test);
        seen = verified(test);
        assert_true(says(&seen, "identity"));
        assert_int_equal(test_store_open(test), errors[lie]);
        if (lie < 2) {
            assert_non_null(strstr(test->why, "identity"));
        } else { /* as good as rotten: the vote and the segments know it */
            assert_non_null(strstr(test->recovery.damage, "identity"));
            assert_memory_equal(test->recovery.identity, test_identity, IDENTITY_BYTES);
            assert_memory_equal(test->recovery.cluster, test_cluster, IDENTITY_BYTES);
            assert_int_equal(verified(test).damages, 0);
        }
        test_store_free(test);
    }
}

static struct {
    enum ft_error (*open)(void *ctx, const char *path, enum disk_mode mode,
                          struct disk_file **file);
    uint64_t count;
    uint64_t at;
} going;

static enum ft_error gone_now(void *ctx, const char *path, enum disk_mode mode,
                              struct disk_file **file)
{
    if (++going.count == going.at)
        return FT_ERROR_MISSING;
    return going.open(ctx, path, mode, file);
}

/* Files go while it looks: that is told, but for those that may: held ones, and what retention drops. */
static void what_vanishes_meanwhile(void **state)
{
    (void)state;
    struct test_store *test = folder_new();
    struct disk disk = *test->store->disk;
    unsigned silent = 0, told = 0;
    going.open = disk.open;
    disk.open = gone_now;
    test->store->disk = &disk;
    for (going.at = 1;; going.at++) {
        going.count = 0;
        struct seen seen = verified(test);
        if (going.count < going.at)
            break;
        silent += seen.damages == 0;
        told += seen.damages > 0;
    }
    assert_true(silent > 6);
    assert_true(told > 6);
    test_store_free(test);
}

/* --- what opening says --------------------------------------------------------------------------
 */

static enum ft_error open_as(struct test_store *test, bool backup, char *why, size_t why_len)
{
    struct store_options options = { .disk = sim_disk_table(test->disk),
                                     .crypto = &crypto_sodium,
                                     .segment_bytes = COPY_SEGMENT_BYTES,
                                     .backup = backup };
    return store_open(&test->store, &options, &test->recovery, why, why_len);
}

static void backups_are_no_nodes(void **state)
{
    (void)state;
    char why[200];
    struct test_store *test = test_store_new(1, COPY_SEGMENT_BYTES);
    test_must(open_as(test, true, why, sizeof why));
    test_store_close(test);
    assert_int_equal(test_store_open(test), FT_ERROR_FOREIGN);
    assert_non_null(strstr(test->why, "it is a backup"));
    test_must(open_as(test, true, why, sizeof why));
    test_store_free(test);
    test = closed(1);
    assert_int_equal(open_as(test, true, why, sizeof why), FT_ERROR_FOREIGN);
    assert_non_null(strstr(why, "not a backup"));
    assert_int_equal(open_as(test, true, NULL, 0), FT_ERROR_FOREIGN); /* nobody wants to know */
    test_store_free(test);
}

/* Something is there that only a node with an identity writes: it is not blank. */
static void without_its_identity(void **state)
{
    (void)state;
    for (int kind = 0; kind < 5; kind++) {
        struct test_store *test = closed(kind >= 3 ? 0 : 1);
        char path[DISK_PATH_BYTES];
        if (kind >= 3) { /* all of it as a first start that died left it */
            test_store_free(test);
            test = test_store_new(2, COPY_SEGMENT_BYTES);
            test_must(test_store_open(test));
            test_store_close(test);
        }
        uint64_t last = test->log.last;
        assert_true(sim_disk_remove(test->disk, "identity"));
        if (kind == 4) { /* but its vote, which cannot be read */
            static const uint8_t rot[VOTE_FILE_BYTES] = { 'r' };
            assert_true(sim_disk_poke(test->disk, "vote", 0, rot, sizeof rot));
        }
        if (kind == 1 || kind == 2)
            assert_true(sim_disk_remove(test->disk, "vote"));
        for (uint64_t index = 1; kind == 2 && index <= last; index++) { /* a checkpoint alone */
            segment_path(path, index, "seg");
            (void)sim_disk_remove(test->disk, path);
        }
        assert_int_equal(test_store_open(test), kind == 3 ? FT_OK : FT_ERROR_CORRUPT);
        if (kind != 3)
            assert_non_null(strstr(test->why, "identity is missing"));
        test_store_free(test);
    }
}

static void without_the_folder_of_its_log(void **state)
{
    (void)state;
    struct test_store *test = closed(0);
    assert_true(sim_disk_remove(test->disk, "log"));
    assert_int_equal(test_store_open(test), FT_ERROR_MISSING);
    assert_non_null(strstr(test->why, "log is missing"));
    test_store_free(test);
}

/* As a crash leaves it that came while a node became another: it does so again, and what it voted under
 * the identity that it finds is not its vote. */
static void anothers_vote(void **state)
{
    (void)state;
    struct test_store *test = closed(1);
    const struct disk *disk = sim_disk_table(test->disk);
    struct vote_record record;
    struct disk_file *file;
    bool any;
    test_must(vote_file_load(disk, &crypto_sodium, &record, &any));
    for (int copy = 0; copy < 2; copy++) {
        record.generation++;
        record.identity[0] ^= copy == 0 ? 0x80 : 0;
        test_must(disk->open(disk->ctx, "vote", DISK_WRITE, &file));
        test_must(vote_file_save(disk, file, &crypto_sodium, &record));
        disk->close(disk->ctx, file);
    }
    static const uint8_t nobody[IDENTITY_BYTES];
    test_must(test_store_open(test));
    assert_true(test->recovery.vote_lost);
    assert_memory_not_equal(test->recovery.identity, test_identity, IDENTITY_BYTES);
    assert_memory_not_equal(test->recovery.identity, record.identity, IDENTITY_BYTES);
    assert_memory_equal(test->recovery.vote, nobody, IDENTITY_BYTES);
    assert_int_equal(test->recovery.term, 2);
    uint8_t identity[IDENTITY_BYTES];
    memcpy(identity, test->recovery.identity, IDENTITY_BYTES);
    test_store_close(test);
    test_must(test_store_open(test)); /* once */
    assert_false(test->recovery.vote_lost);
    assert_memory_equal(test->recovery.identity, identity, IDENTITY_BYTES);
    test_store_free(test);
}

static void free_space_that_cannot_be_told(void **state)
{
    (void)state;
    struct test_store *test = test_node(1, 1, false);
    sim_disk_capacity(test->disk, sim_disk_used(test->disk) + 12345);
    assert_int_equal(store_space(test->store), 12345);
    sim_disk_fail_call(test->disk, 1, FT_ERROR_IO);
    assert_int_equal(store_space(test->store), 0);
    test_store_free(test);
}

static bool any_entry(void *ctx, const struct entry *entry)
{
    (void)entry;
    ++*(unsigned *)ctx;
    return true;
}

/* Not even a header is left of it. */
static void a_segment_without_its_header(void **state)
{
    (void)state;
    struct test_store *test = closed(3);
    const struct disk *disk = sim_disk_table(test->disk);
    struct disk_file *file;
    char path[DISK_PATH_BYTES];
    uint64_t first;
    unsigned entries = 0;
    struct store_walk walk = { 1, UINT64_MAX, any_entry, &entries };
    first_of(test, 1, &first);
    segment_path(path, first, "seg");
    test_must(disk->open(disk->ctx, path, DISK_WRITE, &file));
    test_must(disk->resize(disk->ctx, file, SEGMENT_HEADER_BYTES - 1));
    disk->close(disk->ctx, file);
    assert_int_equal(store_walk_folder(disk, &crypto_sodium, &walk), FT_ERROR_CORRUPT);
    assert_true(entries > 0); /* those before it */
    struct seen seen = verified(test);
    assert_true(says(&seen, "header is damaged"));
    /* It is sealed, so opening does not read it; whoever asks for it is refused. */
    static uint8_t out[LIMIT_ENTRY_BYTES];
    size_t len;
    test_must(test_store_open(test));
    assert_int_equal(store_read_entries(test->store, first, out, sizeof out, &len),
                     FT_ERROR_CORRUPT);
    test_store_free(test);
}

/* The newest checkpoint is rotten, and all that the one before does not cover is lost: nothing goes of
 * what is left, for what comes next follows it. */
static void retention_leaves_what_the_log_goes_on_from(void **state)
{
    (void)state;
    struct test_store *test = closed(4);
    struct store_names names;
    char path[DISK_PATH_BYTES];
    test_must(names_list(sim_disk_table(test->disk), &names));
    assert_int_equal(names.checkpoints_count, 2);
    uint64_t base = names.checkpoints[0];
    checkpoint_file_path(path, names.checkpoints[1]);
    assert_true(sim_disk_flip(test->disk, path, 100, 1));
    for (size_t i = 0; i < names.segments_count; i++)
        if (names.segments[i] > base) {
            segment_path(path, names.segments[i], "seg");
            assert_true(sim_disk_remove(test->disk, path));
        }
    names_free(&names);
    test_must(test_store_open(test));
    assert_int_equal(test->recovery.last_index, base);
    uint64_t first;
    struct store_retention want = { .since_us = UINT64_MAX, .floor = UINT64_MAX };
    test_must(store_retain(test->store, &want, &first));
    assert_true(first <= base);
    test->log.last = base;
    struct test_flush on = { .entries = 2, .count = 2, .term = 3, .truncate_from = base + 1 };
    test_must(test_flush(test, &on));
    test_store_close(test);
    test_must(test_store_open(test));
    assert_int_equal(test->recovery.last_index, base + 4);
    (void)test_read_all(test, first - 1, base + 4, &test->log, NULL);
    test_store_free(test);
}

/* The newest segment was written by a node of another cluster: that is no rot. */
static void a_segment_of_another_cluster(void **state)
{
    (void)state;
    struct test_store *test = closed(2);
    char path[DISK_PATH_BYTES];
    uint8_t data[SEGMENT_HEADER_BYTES];
    struct segment_header header;
    uint64_t first;
    first_of(test, 2, &first);
    segment_path(path, first, "seg");
    assert_true(sim_disk_peek(test->disk, path, 0, data, sizeof data));
    test_must(segment_header_parse(data, &crypto_sodium, &header));
    header.cluster[0] ^= 1;
    segment_header_write(data, &header, &crypto_sodium);
    assert_true(sim_disk_poke(test->disk, path, 0, data, sizeof data));
    assert_int_equal(test_store_open(test), FT_ERROR_FOREIGN);
    assert_non_null(strstr(test->why, path));
    test_store_free(test);
}

/* All of the flush that began the segment was there once, not only its first entry. */
static void rot_in_the_write_that_began_a_segment(void **state)
{
    (void)state;
    struct test_store *test = test_store_new(1, 60000);
    static const uint8_t zeros[DISK_SECTOR_BYTES];
    uint8_t header[ENTRY_HEADER_BYTES];
    test_must(test_store_open(test));
    test_must(test_flush(test, &test_form));
    test_must(test_flush(test, &(struct test_flush) { .entries = 3, .count = 20, .term = 1 }));
    uint64_t end = test->store->segments[0].end;
    test_store_close(test);
    char path[DISK_PATH_BYTES];
    segment_path(path, 1, "seg");
    assert_true(sim_disk_peek(test->disk, path, SEGMENT_HEADER_BYTES, header, sizeof header));
    uint64_t second = SEGMENT_HEADER_BYTES + bytes_get_u32(header + ENTRY_AT_SIZE);
    uint64_t sector = (second / DISK_SECTOR_BYTES + 2) * DISK_SECTOR_BYTES;
    assert_true(sector + sizeof zeros < end);
    assert_true(sim_disk_poke(test->disk, path, sector, zeros, sizeof zeros));
    test_must(test_store_open(test));
    assert_int_equal(test->recovery.last_index, 20);
    assert_true(test->recovery.leftover); /* not torn: nothing of it may be missing */
    assert_non_null(strstr(test->recovery.damage, "a write that was complete"));
    test_store_free(test);
}

/* A sealed segment is gone with its index before the start: made anew, to be filled by others. */
static void a_segment_that_was_gone_before(void **state)
{
    (void)state;
    struct test_store *test = closed(3);
    char path[DISK_PATH_BYTES];
    uint64_t first;
    first_of(test, 1, &first);
    segment_path(path, first, "idx");
    assert_true(sim_disk_remove(test->disk, path));
    segment_path(path, first, "seg");
    assert_true(sim_disk_remove(test->disk, path));
    test_must(test_store_open(test));
    struct store_check check = {
        .how = STORE_CHECK_FILE, .file = STORE_FILE_SEGMENT, .id = first, .upto = test->log.last
    };
    test_must(store_check(test->store, &check, 1 << 20));
    assert_int_equal(check.result, STORE_DAMAGED);
    assert_int_equal(check.index, first);
    assert_true(check.mended);
    assert_int_equal(sim_disk_size(test->disk, path), SEGMENT_HEADER_BYTES);
    test_store_free(test);
}

/* A rotten identity, and too little of the rest to say whose folder it is: or just enough. */
static void a_rotten_identity_and_little_else(void **state)
{
    (void)state;
    static const uint8_t rot[VOTE_FILE_BYTES] = { 'r' };
    for (int kind = 0; kind < 7; kind++) {
        struct test_store *test = closed(kind == 0 || kind == 4 ? 2 : 0);
        test_must(test_store_open(test));
        if (kind == 3 || kind >= 5) /* an entry, whose segment goes */
            test_add(test, 1);
        if (kind >= 5) { /* what is held knows the cluster, if it is not rotten there */
            rot_hold(test, 1);
            if (kind == 6)
                assert_true(sim_disk_flip(test->disk, "held-00000000000000000001", 30, 1));
        }
        uint64_t first = 1;
        test_store_close(test);
        assert_true(sim_disk_flip(test->disk, "identity", 50, 1));
        if (kind ==
            0) { /* the segments know the cluster, if not the first: it goes on as another */
            const struct disk *disk = sim_disk_table(test->disk);
            struct disk_file *file;
            assert_true(sim_disk_remove(test->disk, "vote"));
            test_must(disk->open(disk->ctx, "log/00000000000000000001.seg", DISK_WRITE, &file));
            test_must(disk->resize(disk->ctx, file, 100));
            disk->close(disk->ctx, file);
        }
        if (kind == 2) /* it may have had a log */
            assert_true(sim_disk_poke(test->disk, "vote", 0, rot, sizeof rot));
        char path[DISK_PATH_BYTES];
        segment_path(path, first, "seg");
        if (kind == 3 || kind >= 5)
            assert_true(sim_disk_remove(test->disk, path));
        for (uint64_t index = 1; kind == 4 && index <= test->log.last; index++) {
            segment_path(path, index, "seg"); /* checkpoints are left */
            (void)sim_disk_remove(test->disk, path);
        }
        enum ft_error error = test_store_open(test);
        assert_int_equal(error, kind < 2 || kind == 5 ? FT_OK : FT_ERROR_CORRUPT);
        if (kind == 5) {
            assert_memory_equal(test->recovery.cluster, test_cluster, IDENTITY_BYTES);
            assert_int_equal(test->recovery.held.rotten, 0);
            assert_int_equal(test->recovery.lost.last, UINT64_MAX);
            assert_false(test->recovery.may_vote);
        }
        if (kind == 0)
            assert_true(test->recovery.vote_lost);
        if (kind == 1) { /* it never had an entry: blank, and itself */
            assert_false(test->recovery.vote_lost);
            assert_memory_equal(test->recovery.identity, test_identity, IDENTITY_BYTES);
        }
        if (error)
            assert_non_null(strstr(test->why, "identity"));
        test_store_free(test);
    }
}

/* --- names and words ----------------------------------------------------------------------------
 */

static enum ft_error list_of_anything(void *ctx, const char *path,
                                      void (*name)(void *list_ctx, const char *), void *list_ctx)
{
    static const char long_name[] =
        "a name that is longer than any that this program would ever make, by a long way, and then "
        "some more of it.tmp";
    static const char *const names[] = {
        "",
        "a",
        ".tmp",
        "x.tmp",
        "spare-1",
        "copy-1",
        "other",
        "00000000000000000007.seg",
        "00000000000000000003.seg",
        "0000000000000000000/.seg",
        "0000000000000000000:.seg",
        "00000000000000000005.idx",
        "00000000000000000009",
        "00000000000000000009.old",
        long_name,
    };
    (void)ctx;
    (void)path;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        name(list_ctx, names[i]);
    return FT_OK;
}

static void names_of_all_kinds(void **state)
{
    (void)state;
    struct test_store *test = closed(0);
    struct disk disk = *sim_disk_table(test->disk);
    struct store_names names;
    disk.list = list_of_anything;
    test_must(names_list(&disk, &names)); /* the same in both folders */
    assert_int_equal(names.segments_count, 2);
    assert_int_equal(names.segments[0], 3);
    assert_int_equal(names.segments[1], 7);
    assert_int_equal(names.indexes_count, 1);
    assert_int_equal(names.checkpoints_count, 1);
    assert_int_equal(names.checkpoints[0], 9);
    assert_int_equal(names.leftovers_count, 2 * 3);
    assert_int_equal(names.copies_count, 2);
    assert_string_equal(names.copies[0], "log/copy-1");
    names_free(&names);
    test_store_free(test);
}

static void each_error_has_its_words(void **state)
{
    (void)state;
    static const enum ft_error errors[] = {
        FT_ERROR_VERSION, FT_ERROR_FOREIGN, FT_ERROR_CORRUPT, FT_ERROR_MISSING, FT_ERROR_SPACE,
        FT_ERROR_DENIED,  FT_ERROR_LOCKED,  FT_ERROR_LIMIT,   FT_ERROR_IO,
    };
    enum { ERRORS = sizeof errors / sizeof errors[0] };
    for (size_t i = 0; i < ERRORS; i++)
        for (size_t k = 0; k < i; k++)
            assert_string_not_equal(file_advice(errors[i]), file_advice(errors[k]));
}

/* A file made of parts is there as a whole or not at all. */
static void a_file_of_parts(void **state)
{
    (void)state;
    struct slice parts[] = { { (const uint8_t *)"one", 3 },
                             { NULL, 0 },
                             { (const uint8_t *)"three", 5 } };
    struct test_store *test = test_store_new(1, COPY_SEGMENT_BYTES);
    const struct disk *disk = sim_disk_table(test->disk);
    uint8_t *data;
    size_t len;
    uint64_t at = 1;
    for (bool reached = true; reached; at++) {
        uint64_t before = sim_disk_calls(test->disk);
        (void)sim_disk_remove(test->disk, "file");
        sim_disk_fail_call(test->disk, at, FT_ERROR_IO);
        enum ft_error error = file_replace(disk, "", "file.tmp", "file", parts, 3);
        reached = sim_disk_calls(test->disk) - before >= at;
        sim_disk_fail_call(test->disk, 0, FT_OK);
        assert_int_equal(error != FT_OK, reached);
        bool there = sim_disk_size(test->disk, "file") != UINT64_MAX;
        if (!there)
            continue;
        test_must(file_load(disk, "file", 8, &data, &len));
        assert_int_equal(len, 8);
        assert_memory_equal(data, "onethree", 8);
        free(data);
    }
    assert_int_equal(file_load(disk, "file", 7, &data, &len), FT_ERROR_CORRUPT);
    assert_null(data);
    test_store_free(test);
}

int main(void)
{
    struct CMUnitTest tests[] = {
        cmocka_unit_test(headers_of_other_segments),
        cmocka_unit_test(what_stands_by_nothing),
        cmocka_unit_test(indexes_of_other_segments),
        cmocka_unit_test(votes_in_the_wrong_place),
        cmocka_unit_test(leftovers_below_the_beginning),
        cmocka_unit_test(bytes_behind_a_segment_that_is_full),
        cmocka_unit_test(identities_that_are_none),
        cmocka_unit_test(what_vanishes_meanwhile),
        cmocka_unit_test(backups_are_no_nodes),
        cmocka_unit_test(without_its_identity),
        cmocka_unit_test(without_the_folder_of_its_log),
        cmocka_unit_test(anothers_vote),
        cmocka_unit_test(free_space_that_cannot_be_told),
        cmocka_unit_test(a_segment_without_its_header),
        cmocka_unit_test(retention_leaves_what_the_log_goes_on_from),
        cmocka_unit_test(a_segment_of_another_cluster),
        cmocka_unit_test(rot_in_the_write_that_began_a_segment),
        cmocka_unit_test(a_segment_that_was_gone_before),
        cmocka_unit_test(a_rotten_identity_and_little_else),
        cmocka_unit_test(names_of_all_kinds),
        cmocka_unit_test(each_error_has_its_words),
        cmocka_unit_test(a_file_of_parts),
    };
    return cmocka_run_group_tests_name("store_sense", tests, NULL, NULL);
}
