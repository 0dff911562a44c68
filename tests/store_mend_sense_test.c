/* What the rounds come upon that is whole and not what should be there, what is not there at all, and
 * pieces from nodes that lie: nothing is put in place that is not proved to be what was there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cmd/crypto_sodium.h"
#include "store/index_format.h"
#include "tests/test_mend.h"

static const uint8_t no_key[DIGEST_KEY_BYTES];

/* --- what is whole, and not what should be there ------------------------------------------------
 */

static void small_files_of_another_node(void **state)
{
    (void)state;
    begin();
    const struct disk *disk = sim_disk_table(test->disk);
    for (int lie = 0; lie < 2; lie++) {
        struct identity_file file = { .segment_bytes = COPY_SEGMENT_BYTES };
        memcpy(file.identity, test_identity, IDENTITY_BYTES);
        memcpy(file.cluster, test_cluster, IDENTITY_BYTES);
        (lie ? file.cluster : file.identity)[3] ^= 1;
        test_must(identity_file_save(disk, &crypto_sodium, &file));
        expect_mended(STORE_FILE_IDENTITY, 0);
    }
    enum ft_error error;
    assert_true(test_retain(test, 3 * COPY_SEGMENT_BYTES, &error) > 1);
    test_must(error);
    test_must(begin_file_save(disk, &crypto_sodium, 2));
    expect_mended(STORE_FILE_BEGIN, 0);
    end();
}

static void a_checkpoint_of_a_newer_version(void **state)
{
    (void)state;
    begin();
    char path[DISK_PATH_BYTES];
    uint8_t head[PROLOGUE_BYTES];
    checkpoint_file_path(path, segments[SEALED - 1].last);
    assert_true(sim_disk_peek(test->disk, path, 0, head, sizeof head));
    bytes_put_u32(head + 8, STORE_VERSION + 1);
    bytes_put_u64(head + 16, crypto_sodium.digest(no_key, head, 16));
    assert_true(sim_disk_poke(test->disk, path, 0, head, sizeof head));
    assert_int_equal(result(STORE_FILE_CHECKPOINT, segments[SEALED - 1].last), STORE_DAMAGED);
    end();
}

static void write_header(size_t number, const struct segment_header *header)
{
    char path[DISK_PATH_BYTES];
    uint8_t bytes[SEGMENT_HEADER_BYTES];
    segment_path(path, segments[number].first, "seg");
    segment_header_write(bytes, header, &crypto_sodium);
    assert_true(sim_disk_poke(test->disk, path, 0, bytes, sizeof bytes));
}

static void headers_of_other_segments(void **state)
{
    (void)state;
    for (int lie = 0; lie < 3; lie++) {
        begin();
        struct segment_header header = { .first = segments[2].first,
                                         .segment_bytes = COPY_SEGMENT_BYTES };
        memcpy(header.cluster, test_cluster, IDENTITY_BYTES);
        memcpy(header.chain, segments[1].chain, HASH_BYTES);
        if (lie == 0)
            header.first++;
        if (lie == 1)
            header.cluster[5] ^= 1;
        if (lie == 2)
            header.chain[5] ^= 1;
        write_header(2, &header);
        expect_mended(STORE_FILE_SEGMENT, segments[2].first);
        whole();
        end();
    }
}

/* What its entries follow is not known while the one before it is damaged itself: they are proved by
 * their digests, and the header waits. */
static void a_header_behind_what_is_lost(void **state)
{
    (void)state;
    begin_closed();
    char path[DISK_PATH_BYTES];
    flip(1, segments[1].end - 1);
    segment_path(path, segments[1].first, "idx");
    assert_true(sim_disk_remove(test->disk, path));
    flip(2, 40);
    test_must(test_store_open(test));
    struct store_check check = checked(STORE_CHECK_FILE, STORE_FILE_SEGMENT, segments[2].first);
    assert_int_equal(check.result, STORE_CLEAN);
    assert_false(check.mended);
    check = checked(STORE_CHECK_FILE, STORE_FILE_SEGMENT, segments[1].first);
    assert_int_equal(check.result, STORE_DAMAGED);
    size_t len = fetch(check.index);
    test_must(mend_entries(STORE_FILE_SEGMENT, segments[1].first, len, good->log.last));
    check = checked(STORE_CHECK_AGAIN, STORE_FILE_SEGMENT, segments[1].first);
    assert_int_equal(check.result, STORE_CLEAN);
    expect_mended(STORE_FILE_SEGMENT, segments[2].first);
    end();
}

/* The first entry behind a header that is not known: others say that it is committed, and it is whole. */
static void an_entry_behind_a_header_that_is_not_known(void **state)
{
    (void)state;
    begin_closed();
    char path[DISK_PATH_BYTES];
    flip(1, segments[1].end - 1);
    segment_path(path, segments[1].first, "idx");
    assert_true(sim_disk_remove(test->disk, path));
    flip(2, 40);
    flip(2, SEGMENT_HEADER_BYTES + 30);
    test_must(test_store_open(test));
    struct store_check check = checked(STORE_CHECK_FILE, STORE_FILE_SEGMENT, segments[2].first);
    assert_int_equal(check.result, STORE_DAMAGED);
    assert_int_equal(check.index, segments[2].first);
    size_t len = fetch(check.index);
    size_t body = ENTRY_HEADER_BYTES + 2 * ENTRY_HEAD_BYTES;
    data[body] ^= 1;
    assert_int_equal(mend_entries(STORE_FILE_SEGMENT, check.id, len, good->log.last),
                     FT_ERROR_CORRUPT);
    data[body] ^= 1;
    assert_int_equal(mend_entries(STORE_FILE_SEGMENT, check.id, len, check.index - 1),
                     FT_ERROR_CORRUPT);
    test_must(mend_entries(STORE_FILE_SEGMENT, check.id, len, good->log.last));
    check = checked(STORE_CHECK_AGAIN, STORE_FILE_SEGMENT, segments[2].first);
    assert_int_equal(check.result, STORE_CLEAN);
    end();
}

/* --- what is not there --------------------------------------------------------------------------
 */

static void files_that_are_not_there(void **state)
{
    (void)state;
    begin();
    char path[DISK_PATH_BYTES];
    uint64_t newest = segments[SEALED - 1].last;
    assert_int_equal(result(STORE_FILE_CHECKPOINT, newest), STORE_CLEAN);
    checkpoint_file_path(path, newest);
    assert_true(sim_disk_remove(test->disk, path));
    assert_int_equal(result(STORE_FILE_CHECKPOINT, newest), STORE_GONE);
    assert_int_equal(result(STORE_FILE_INDEX, 99999), STORE_GONE);
    assert_int_equal(result(STORE_FILE_INDEX, segments[SEALED].first), STORE_GONE);
    assert_int_equal(result(STORE_FILE_INDEX, segments[1].first + 1), STORE_GONE);
    assert_int_equal(result(STORE_FILE_SEGMENT, 99999), STORE_GONE);
    assert_int_equal(result(STORE_FILE_SEGMENT, segments[1].first + 1), STORE_GONE);
    assert_int_equal(result(STORE_FILE_TAIL, 0), STORE_GONE);
    assert_int_equal(result(STORE_FILE_NONE, 0), STORE_CLEAN);
    assert_int_equal(result(STORE_FILE_HELD, 0), STORE_GONE);
    struct store_check check = { .how = STORE_CHECK_FILE,
                                 .file = STORE_FILE_SEGMENT,
                                 .id = segments[SEALED].first,
                                 .upto = segments[SEALED].first - 1 };
    test_must(store_check(test->store, &check, BUDGET));
    assert_int_equal(check.result, STORE_GONE); /* it may be truncated yet */
    /* One that is being written is the log side's: it is not made anew under it. */
    segment_path(path, segments[SEGMENTS - 1].first, "seg");
    assert_true(sim_disk_remove(test->disk, path));
    check = (struct store_check) { .how = STORE_CHECK_FILE,
                                   .file = STORE_FILE_SEGMENT,
                                   .id = segments[SEGMENTS - 1].first,
                                   .upto = good->log.last };
    assert_int_equal(store_check(test->store, &check, BUDGET), FT_ERROR_MISSING);
    assert_int_equal(sim_disk_size(test->disk, path), UINT64_MAX);
    end();
}

/* A file that is damaged in one piece has nothing behind its damage; and to go on with another file than
 * the one at hand is to begin it. */
static void skipping_and_going_on(void **state)
{
    (void)state;
    begin();
    char path[DISK_PATH_BYTES];
    segment_path(path, segments[0].first, "idx");
    assert_true(sim_disk_flip(test->disk, path, 900, 1));
    assert_int_equal(result(STORE_FILE_INDEX, segments[0].first), STORE_DAMAGED);
    assert_int_equal(checked(STORE_CHECK_SKIP, STORE_FILE_INDEX, segments[0].first).result,
                     STORE_CLEAN);
    flip(1, segments[1].end - 1);
    assert_int_equal(result(STORE_FILE_SEGMENT, segments[1].first), STORE_DAMAGED);
    assert_int_equal(checked(STORE_CHECK_AGAIN, STORE_FILE_SEGMENT, segments[2].first).result,
                     STORE_CLEAN);
    assert_int_equal(checked(STORE_CHECK_AGAIN, STORE_FILE_SEGMENT, segments[1].first).result,
                     STORE_DAMAGED);
    end();
}

/* A segment goes while it is looked at, a slice at a time. */
static void retention_overtakes_a_look(void **state)
{
    (void)state;
    begin();
    struct store_check check = { .how = STORE_CHECK_FILE,
                                 .file = STORE_FILE_SEGMENT,
                                 .id = segments[0].first,
                                 .upto = good->log.last };
    test_must(store_check(test->store, &check, 1));
    assert_int_equal(check.result, STORE_MORE);
    enum ft_error error;
    assert_true(test_retain(test, 2 * COPY_SEGMENT_BYTES, &error) > 1);
    test_must(error);
    check.how = STORE_CHECK_AGAIN;
    test_must(store_check(test->store, &check, BUDGET));
    assert_int_equal(check.result, STORE_CLEAN);
    assert_int_equal(result(STORE_FILE_SEGMENT, segments[0].first), STORE_GONE);
    end();
}

/* --- a checkpoint that nobody has ---------------------------------------------------------------
 */

static void rot_checkpoint(uint64_t index)
{
    char path[DISK_PATH_BYTES];
    checkpoint_file_path(path, index);
    assert_true(sim_disk_flip(test->disk, path, 100, 1));
    assert_int_equal(result(STORE_FILE_CHECKPOINT, index), STORE_DAMAGED);
}

static bool is_there(uint64_t index)
{
    char path[DISK_PATH_BYTES];
    checkpoint_file_path(path, index);
    return sim_disk_size(test->disk, path) != UINT64_MAX;
}

static void a_checkpoint_that_nobody_has_is_dropped(void **state)
{
    (void)state;
    uint64_t calls = 0;
    begin();
    uint64_t newest = segments[SEALED - 1].last;
    for (uint64_t i = 0; i <= 2 * calls; i++) {
        uint64_t at = i > calls ? i - calls : i;
        bool missing = i > calls; /* as if it had gone meanwhile */
        rot_checkpoint(newest);
        struct store_check check = { .how = STORE_CHECK_SKIP,
                                     .file = STORE_FILE_CHECKPOINT,
                                     .id = newest };
        uint64_t before = sim_disk_calls(test->disk);
        if (at)
            sim_disk_fail_call(test->disk, at, missing ? FT_ERROR_MISSING : FT_ERROR_IO);
        enum ft_error error = store_check(test->store, &check, BUDGET);
        sim_disk_fail_call(test->disk, 0, FT_OK);
        if (at == 0) {
            test_must(error);
            assert_int_equal(check.result, STORE_GONE);
            assert_false(is_there(newest));
            calls = sim_disk_calls(test->disk) - before;
        }
        again();
    }
    /* The last good one goes too? Not if it is the rotten one: better than none. */
    for (size_t i = 0; i < SEALED; i++)
        if (is_there(segments[i].last))
            rot_checkpoint(segments[i].last);
    struct store_check check = checked(STORE_CHECK_SKIP, STORE_FILE_CHECKPOINT, newest);
    assert_int_equal(check.result, STORE_CLEAN);
    assert_true(is_there(newest));
    end();
}

/* Without it the log could not be understood. */
static void the_base_is_not_dropped(void **state)
{
    (void)state;
    begin();
    enum ft_error error;
    uint64_t first = test_retain(test, 2 * COPY_SEGMENT_BYTES, &error);
    test_must(error);
    assert_true(first > 1);
    rot_checkpoint(first - 1);
    (void)checked(STORE_CHECK_SKIP, STORE_FILE_CHECKPOINT, first - 1);
    assert_true(is_there(first - 1));
    end();
}

/* --- pieces from nodes that lie -----------------------------------------------------------------
 */

/* An entry that is none of the log's, into `data`, of exactly `size` bytes when it is not 0. */
static size_t forge(uint64_t first, uint32_t count, uint64_t term, const uint8_t *chain,
                    uint32_t size)
{
    static uint8_t bodies[LIMIT_ENTRY_BYTES];
    uint32_t sizes[8];
    uint32_t left = size ? size - (uint32_t)entry_size(count, 0) : count * 50;
    memset(bodies, 'f', left);
    for (uint32_t i = 0; i < count; i++) {
        sizes[i] = i + 1 < count ? 20 : left;
        left -= sizes[i];
    }
    struct entry_draft draft = { ENTRY_COMMANDS, first, term, 1, count, sizes, bodies };
    size_t len = entry_build(data, sizeof data, &draft, &crypto_sodium, test_cluster, chain);
    entry_set_local(data, 1, 0, 0, &crypto_sodium, test_cluster);
    assert_true(size == 0 || len == size);
    return len;
}

static uint32_t size_of_first(void)
{
    return bytes_get_u32(data + ENTRY_AT_SIZE);
}

static void refused(const struct store_check *check, size_t len, uint64_t committed)
{
    assert_int_equal(mend_entries(check->file, check->id, len, committed), FT_ERROR_CORRUPT);
}

/* In a segment that no checkpoint covers, and of which nobody says that it is committed. */
static void the_last_entry_of_a_segment(void **state)
{
    (void)state;
    begin();
    const struct segment *at = &segments[SEALED];
    uint64_t first = at->last - 1;
    size_t len = fetch(first);
    uint32_t size = size_of_first();
    const uint8_t *chain = good->log.chains[first - 1];
    flip(SEALED, at->end - size + 30);
    struct store_check check = checked(STORE_CHECK_FILE, STORE_FILE_SEGMENT, at->first);
    assert_int_equal(check.result, STORE_DAMAGED);
    assert_int_equal(check.index, first);
    refused(&check, 0, 0);
    refused(&check, ENTRY_HEADER_BYTES, 0);
    refused(&check, forge(first, 2, 1, chain, size), 0);
    refused(&check, forge(first, 3, 1, chain, size), 0);
    refused(&check, forge(first, 2, 1, chain, 0), 0);
    refused(&check, forge(first + 1, 1, 1, chain, size), 0);
    refused(&check, forge(first, 2, 1, good->log.chains[first - 3], size), 0);
    len = fetch(first);
    test_must(mend_entries(check.file, check.id, len, 0));
    assert_int_equal(checked(STORE_CHECK_AGAIN, STORE_FILE_SEGMENT, at->first).result, STORE_CLEAN);
    whole();
    end();
}

/* The header says which one was there, or the entry behind it does. */
static void an_entry_with_another_behind_it(void **state)
{
    (void)state;
    for (int body = 0; body < 2; body++) {
        begin();
        const struct segment *at = &segments[SEALED];
        (void)fetch(at->first);
        uint32_t size = size_of_first();
        const uint8_t *chain = segments[SEALED - 1].chain;
        flip(SEALED, SEGMENT_HEADER_BYTES + (body ? size - 1 : 30));
        struct store_check check = checked(STORE_CHECK_FILE, STORE_FILE_SEGMENT, at->first);
        assert_int_equal(check.result, STORE_DAMAGED);
        refused(&check, forge(at->first, 2, 1, chain, size), 0);
        refused(&check, forge(at->first, 3, 1, chain, size), 0);
        refused(&check, forge(at->first, 2, 1, chain, 0), 0);
        (void)fetch(at->first);
        test_must(mend_entries(check.file, check.id, size, 0));
        assert_int_equal(checked(STORE_CHECK_AGAIN, check.file, check.id).result, STORE_CLEAN);
        whole();
        end();
    }
}

/* The entry behind it begins as it should, and its heads are rotten: it proves nothing. */
static void an_entry_with_rot_behind_it(void **state)
{
    (void)state;
    begin();
    const struct segment *at = &segments[SEALED];
    size_t len = fetch(at->first);
    uint32_t size = size_of_first();
    flip(SEALED, SEGMENT_HEADER_BYTES + 30);
    flip(SEALED, SEGMENT_HEADER_BYTES + size + ENTRY_HEADER_BYTES + 6);
    struct store_check check = checked(STORE_CHECK_FILE, STORE_FILE_SEGMENT, at->first);
    assert_int_equal(check.result, STORE_DAMAGED);
    refused(&check, size, 0);
    test_must(mend_entries(check.file, check.id, len, at->first + 1));
    check = checked(STORE_CHECK_AGAIN, check.file, check.id);
    assert_int_equal(check.result, STORE_DAMAGED);
    assert_int_equal(check.index, at->first + 2);
    len = fetch(check.index);
    test_must(mend_entries(check.file, check.id, len, good->log.last));
    assert_int_equal(checked(STORE_CHECK_AGAIN, check.file, check.id).result, STORE_CLEAN);
    whole();
    end();
}

/* Of the entry behind it only the beginning is left. */
static void an_entry_with_half_of_one_behind_it(void **state)
{
    (void)state;
    begin();
    const struct segment *at = &segments[SEALED];
    const struct disk *disk = sim_disk_table(test->disk);
    struct disk_file *file;
    char path[DISK_PATH_BYTES];
    uint64_t first = at->last - 3;
    static uint8_t last[8192];
    (void)fetch(at->last - 1);
    uint32_t size_of_last = size_of_first();
    memcpy(last, data, size_of_last);
    (void)fetch(first);
    uint32_t size = size_of_first();
    flip(SEALED, at->end - size_of_last - size + 30);
    segment_path(path, at->first, "seg");
    test_must(disk->open(disk->ctx, path, DISK_WRITE, &file));
    test_must(disk->resize(disk->ctx, file, at->end - 10));
    disk->close(disk->ctx, file);
    struct store_check check = checked(STORE_CHECK_FILE, STORE_FILE_SEGMENT, at->first);
    assert_int_equal(check.result, STORE_DAMAGED);
    assert_int_equal(check.index, first);
    refused(&check, size, 0);
    test_must(mend_entries(check.file, check.id, size, first + 1));
    check = checked(STORE_CHECK_AGAIN, check.file, check.id);
    assert_int_equal(check.result, STORE_DAMAGED);
    memcpy(data, last, size_of_last);
    test_must(mend_entries(check.file, check.id, size_of_last, 0)); /* the segment ends with it */
    assert_int_equal(checked(STORE_CHECK_AGAIN, check.file, check.id).result, STORE_CLEAN);
    whole();
    end();
}

static void pieces_that_nobody_asked_for(void **state)
{
    (void)state;
    begin();
    uint64_t first = segments[1].first;
    size_t len = fetch(first);
    uint64_t all = good->log.last;
    assert_int_equal(mend_entries(STORE_FILE_SEGMENT, first, len, all), FT_ERROR_MISSING);
    assert_int_equal(mend_entries(STORE_FILE_VOTE, 0, len, all), FT_ERROR_MISSING);
    struct store_check check = {
        .how = STORE_CHECK_FILE, .file = STORE_FILE_SEGMENT, .id = first, .upto = all
    };
    test_must(store_check(test->store, &check, 1));
    assert_int_equal(check.result, STORE_MORE); /* no damage yet */
    assert_int_equal(mend_entries(STORE_FILE_SEGMENT, first, len, all), FT_ERROR_MISSING);
    flip(1, SEGMENT_HEADER_BYTES + 30);
    assert_int_equal(result(STORE_FILE_SEGMENT, first), STORE_DAMAGED);
    assert_int_equal(mend_entries(STORE_FILE_TAIL, first, len, all), FT_ERROR_MISSING);
    assert_int_equal(mend_entries(STORE_FILE_SEGMENT, first + 1, len, all), FT_ERROR_MISSING);
    test_must(mend_entries(STORE_FILE_SEGMENT, first, len, all));
    end();
}

/* What is mended is gone through again for what is deleted of it; if that cannot be said, nothing is. */
static void mending_what_was_erased_already(void **state)
{
    (void)state;
    begin();
    while (store_wants_scrub(test->store)) {
        struct store_scrubbed scrubbed;
        test_must(store_scrub(test->store, &scrubbed));
    }
    flip(1, SEGMENT_HEADER_BYTES + 30);
    struct store_check check = checked(STORE_CHECK_FILE, STORE_FILE_SEGMENT, segments[1].first);
    assert_int_equal(check.result, STORE_DAMAGED);
    size_t len = fetch(check.index);
    sim_disk_fail_call(test->disk, 2, FT_ERROR_SPACE);
    assert_int_equal(mend_entries(check.file, check.id, len, good->log.last), FT_ERROR_SPACE);
    sim_disk_fail_call(test->disk, 0, FT_OK);
    assert_int_equal(checked(STORE_CHECK_AGAIN, check.file, check.id).result, STORE_DAMAGED);
    test_must(mend_entries(check.file, check.id, len, good->log.last));
    assert_int_equal(checked(STORE_CHECK_AGAIN, check.file, check.id).result, STORE_CLEAN);
    assert_true(store_wants_scrub(test->store));
    end();
}

/* --- whole files that are sent ------------------------------------------------------------------
 */

static size_t load_index(uint64_t first)
{
    struct store_piece piece = { .kind = STORE_PIECE_INDEX, .index = first };
    size_t len;
    uint64_t size;
    test_must(store_read_piece(good->store, &piece, LIMIT_ENTRY_BYTES, data, &len, &size));
    assert_int_equal(len, size);
    return len;
}

static enum ft_error mend_index(uint64_t id, uint64_t offset, uint64_t size, size_t len)
{
    struct store_mend mend = {
        .file = STORE_FILE_INDEX, .id = id, .offset = offset, .size = size, .data = { data, len }
    };
    enum ft_error error = store_mend(test->store, &mend);
    assert_false(mend.done && error);
    return error;
}

static void prove_block(void)
{
    bytes_put_u64(data + INDEX_PAYLOAD_BYTES + 8,
                  crypto_sodium.digest(test_cluster, data, INDEX_PAYLOAD_BYTES + 8));
}

static void indexes_of_other_segments(void **state)
{
    (void)state;
    begin();
    uint64_t first = segments[1].first;
    size_t len = load_index(segments[2].first);
    assert_int_equal(mend_index(first, 0, len, len), FT_ERROR_CORRUPT);
    for (int lie = 0; lie < 3; lie++) {
        len = load_index(first);
        if (lie == 0)
            bytes_put_u64(data + INDEX_AT_LAST, segments[1].last + 1);
        if (lie == 1)
            bytes_put_u64(data + INDEX_AT_END, segments[1].end + 1);
        if (lie == 2)
            data[INDEX_AT_CHAIN] ^= 1;
        prove_block();
        assert_int_equal(mend_index(first, 0, len, len), FT_ERROR_CORRUPT);
        char path[DISK_PATH_BYTES];
        segment_path(path, first, "idx");
        assert_int_equal(result(STORE_FILE_INDEX, first), STORE_CLEAN);
        if (lie == 0) { /* nor does it stand there as if it were the right one */
            assert_true(sim_disk_poke(test->disk, path, 0, data, INDEX_BLOCK_BYTES));
            assert_int_equal(result(STORE_FILE_INDEX, first), STORE_DAMAGED);
            len = load_index(first);
            test_must(mend_index(first, 0, len, len));
        }
    }
    /* Of a segment that the log has no more. */
    enum ft_error error;
    assert_true(test_retain(test, 2 * COPY_SEGMENT_BYTES, &error) > segments[0].first);
    len = load_index(segments[0].first);
    assert_int_equal(mend_index(segments[0].first, 0, len, len), FT_ERROR_CORRUPT);
    end();
}

static void pieces_that_do_not_fit(void **state)
{
    (void)state;
    begin();
    uint64_t first = segments[1].first;
    size_t len = load_index(first);
    size_t half = len / 2;
    assert_int_equal(mend_index(first, 0, (uint64_t)UINT32_MAX + 1, len), FT_ERROR_CORRUPT);
    assert_int_equal(mend_index(first, 0, len, 0), FT_ERROR_CORRUPT);
    assert_int_equal(mend_index(first, 0, len - 1, len), FT_ERROR_CORRUPT);
    assert_int_equal(mend_index(first, half, len, half), FT_ERROR_CORRUPT); /* not begun */
    test_must(mend_index(first, 0, len, half));
    assert_int_equal(mend_index(first, half + 1, len, half - 1), FT_ERROR_CORRUPT);
    assert_int_equal(mend_index(first, half, half - 1, half), FT_ERROR_CORRUPT);
    assert_int_equal(result(STORE_FILE_INDEX, first), STORE_CLEAN);
    end();
}

static bool shows(uint64_t seq)
{
    struct store_query query = { .room = 1, .seq_from = seq, .seq_to = seq, .max_records = 1 };
    struct store_answer answer;
    enum ft_error error = store_read_posts(test->store, &query, data, sizeof data, &answer);
    assert_true(error || answer.records == 1);
    return !error;
}

/* What may be deleted by a segment whose index is lost is not shown before that is there again; nor, with
 * two lost, before both are. */
static void what_is_deleted_is_not_known_without_an_index(void **state)
{
    (void)state;
    begin_closed();
    for (size_t i = 0; i < 3; i += 2) {
        char path[DISK_PATH_BYTES];
        segment_path(path, segments[i].first, "idx");
        assert_true(sim_disk_remove(test->disk, path));
    }
    flip(2, segments[2].end - 1); /* where it ends is not known then */
    test_must(test_store_open(test));
    uint64_t seq = segments[1].last / 2;
    assert_false(shows(seq));
    size_t len = load_index(segments[0].first);
    test_must(mend_index(segments[0].first, 0, len, len));
    assert_false(shows(seq));
    assert_int_equal(test->store->unsure, segments[2].last);
    len = load_index(segments[2].first);
    test_must(mend_index(segments[2].first, 0, len, len));
    assert_true(shows(seq));
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_files_of_another_node),
        cmocka_unit_test(a_checkpoint_of_a_newer_version),
        cmocka_unit_test(headers_of_other_segments),
        cmocka_unit_test(a_header_behind_what_is_lost),
        cmocka_unit_test(an_entry_behind_a_header_that_is_not_known),
        cmocka_unit_test(files_that_are_not_there),
        cmocka_unit_test(skipping_and_going_on),
        cmocka_unit_test(retention_overtakes_a_look),
        cmocka_unit_test(a_checkpoint_that_nobody_has_is_dropped),
        cmocka_unit_test(the_base_is_not_dropped),
        cmocka_unit_test(the_last_entry_of_a_segment),
        cmocka_unit_test(an_entry_with_another_behind_it),
        cmocka_unit_test(an_entry_with_rot_behind_it),
        cmocka_unit_test(an_entry_with_half_of_one_behind_it),
        cmocka_unit_test(pieces_that_nobody_asked_for),
        cmocka_unit_test(mending_what_was_erased_already),
        cmocka_unit_test(indexes_of_other_segments),
        cmocka_unit_test(pieces_that_do_not_fit),
        cmocka_unit_test(what_is_deleted_is_not_known_without_an_index),
    };
    return cmocka_run_group_tests_name("store_mend_sense", tests, NULL, NULL);
}
