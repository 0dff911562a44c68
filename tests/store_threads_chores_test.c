/* What the reading thread does beside reading: it looks at files and mends them when it is asked to, erases
 * what was deleted unasked, and tells of damage that reads came upon. It goes by slices, and leaves the
 * answers their place. */
#include "tests/test_threads.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "cmd/crypto_sodium.h"
#include "core/body.h"
#include "core/chat/command.h"

enum { WORDS_MAX = 8, IN_A_ROW = 8, SLICE_DELETIONS = 16, SMALL = 2000, LARGE = 3 << 19 };

/* --- a disk that waits --------------------------------------------------------------------------
 */

static struct disk posix;
static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t gate_moved = PTHREAD_COND_INITIALIZER;
static bool gate_shut;
static bool gate_reached;
static atomic_bool opens_at_close;
static atomic_bool refuses_writes;

static enum ft_error slow_read(void *ctx, struct disk_file *file, uint64_t offset, void *out,
                               size_t len, size_t *got)
{
    pthread_mutex_lock(&gate);
    gate_reached |= gate_shut;
    pthread_cond_broadcast(&gate_moved);
    while (gate_shut)
        pthread_cond_wait(&gate_moved, &gate);
    pthread_mutex_unlock(&gate);
    return posix.read(ctx, file, offset, out, len, got);
}

static void set_gate(bool shut)
{
    pthread_mutex_lock(&gate);
    gate_shut = shut;
    gate_reached = false;
    pthread_cond_broadcast(&gate_moved);
    pthread_mutex_unlock(&gate);
}

static void until_reached(void)
{
    pthread_mutex_lock(&gate);
    while (!gate_reached)
        pthread_cond_wait(&gate_moved, &gate);
    pthread_mutex_unlock(&gate);
}

/* The log thread lets go of its files once the end was asked for. */
static void closing(void *ctx, struct disk_file *file)
{
    if (atomic_load(&opens_at_close))
        set_gate(false);
    posix.close(ctx, file);
}

static enum ft_error refused_write(void *ctx, struct disk_file *file, uint64_t offset,
                                   const void *data, size_t len)
{
    return atomic_load(&refuses_writes) ? FT_ERROR_IO : posix.write(ctx, file, offset, data, len);
}

/* --- a folder -----------------------------------------------------------------------------------
 */

static void must(enum ft_error error)
{
    assert_int_equal(error, FT_OK);
}

static void make(struct real *real, uint64_t segment_bytes)
{
    real_make(real);
    posix = real->disk;
    real->disk.read = slow_read;
    real->disk.write = refused_write;
    real->disk.close = closing;
    struct store_options options = { .disk = &real->disk,
                                     .crypto = &crypto_sodium,
                                     .segment_bytes = segment_bytes };
    memcpy(options.fresh_identity, test_identity, IDENTITY_BYTES);
    must(store_open(&real->store, &options, &real->recovery, real->why, sizeof real->why));
}

/* Posts of room 1, so many in each entry; the checks of what erasing leaves of them. */
static uint32_t checks[TEST_LOG_MAX];

static void fill(struct real *real, uint64_t entries, uint32_t count, size_t text_bytes)
{
    static uint8_t entry[LIMIT_ENTRY_BYTES], bodies[LIMIT_ENTRY_BYTES];
    static uint8_t text[LIMIT_COMMAND_BYTES];
    uint8_t chain[HASH_BYTES] = { 0 };
    memset(text, 's', sizeof text);
    for (uint64_t i = 0; i < entries; i++) {
        uint32_t sizes[64];
        size_t len = 0;
        for (uint32_t c = 0; c < count; c++) {
            uint64_t index = i * count + c + 1;
            const uint8_t salt[BODY_SALT_BYTES] = { (uint8_t)index };
            struct command post = { .kind = COMMAND_POST,
                                    .device = 1,
                                    .seq = index,
                                    .beyond = 1,
                                    .account = 1,
                                    .tag = 1,
                                    .room = { (const uint8_t *)"#ops", 4 },
                                    .text = { text, text_bytes },
                                    .salt = salt };
            uint8_t left[LIMIT_COMMAND_BYTES];
            sizes[c] = (uint32_t)command_encode(&post, bodies + len, LIMIT_COMMAND_BYTES);
            assert_true(sizes[c] > 0 && index < TEST_LOG_MAX);
            memcpy(left, bodies + len, sizes[c]);
            assert_true(body_erase(&crypto_sodium, left, sizes[c]));
            checks[index] = body_erased_check(&crypto_sodium, left, sizes[c]);
            len += sizes[c];
        }
        struct entry_draft draft = {
            ENTRY_COMMANDS, i * count + 1, 1, i + 1, count, sizes, bodies
        };
        size_t size = entry_build(entry, sizeof entry, &draft, &crypto_sodium, test_cluster, chain);
        assert_true(size > 0);
        entry_set_local(entry, i + 1, 0, 0, &crypto_sodium, test_cluster);
        memcpy(chain, entry + ENTRY_LOCAL_AT - HASH_BYTES, HASH_BYTES);
        struct store_flush flush = {
            .number = i + 1, .save_cluster = i == 0, .save_vote = i == 0, .term = 1
        };
        memcpy(flush.cluster, test_cluster, IDENTITY_BYTES);
        flush.entries[0] = (struct slice) { entry, size };
        must(store_flush(real->store, &flush));
        for (uint32_t c = 0; c < count; c++)
            store_index(real->store, 1, i * count + c + 1, i * count + c + 1, false);
    }
    log_forget(real->store); /* as whoever opens a store for its threads leaves it */
}

static uint64_t flip(struct real *real, uint64_t first, uint64_t offset)
{
    char path[160], name[DISK_PATH_BYTES];
    uint8_t byte;
    segment_path(name, first, "seg");
    snprintf(path, sizeof path, "%s/%s", real->path, name);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &byte, 1, (off_t)offset), 1);
    byte ^= 4;
    assert_int_equal(pwrite(fd, &byte, 1, (off_t)offset), 1);
    close(fd);
    return offset;
}

static void checkpoint(struct real *real, size_t segment)
{
    must(store_checkpoint(real->store, real->store->segments[segment].last,
                          (struct slice) { (const uint8_t *)"state", 5 }));
}

static struct store_completion next_of(struct real *real)
{
    struct store_completion done;
    while (!store_threads_next(real->threads, &done)) {
        struct pollfd fd = { real->wake_fd, POLLIN, 0 };
        uint64_t count;
        assert_int_equal(poll(&fd, 1, 60000), 1);
        assert_int_equal(read(real->wake_fd, &count, sizeof count), sizeof count);
    }
    return done;
}

static bool ask_entries(struct real *real, uint64_t id, uint64_t index)
{
    return store_threads_submit_read_entries(real->threads, id, index, LIMIT_ENTRY_BYTES);
}

/* --- looking and mending ------------------------------------------------------------------------
 */

static struct store_completion look(struct real *real, const struct store_check *check)
{
    assert_true(store_threads_submit_check(real->threads, check));
    struct store_completion done = next_of(real);
    assert_int_equal(done.kind, STORE_DONE_CHECK);
    must(done.error);
    return done;
}

/* More than a slice of it: one answer, of the whole, and of the zeros behind it. */
static void a_large_segment_is_looked_at_in_slices(void **state)
{
    (void)state;
    struct real real = { 0 };
    make(&real, LARGE);
    fill(&real, 14, 60, 2000);
    uint64_t end = real.store->segments[0].end;
    assert_true(end > 3 << 19);
    real_run(&real);
    struct store_check check = {
        .how = STORE_CHECK_FILE, .file = STORE_FILE_SEGMENT, .id = 1, .upto = TEST_LOG_MAX
    };
    check.upto = real.store->segments[0].last;
    struct store_completion done = look(&real, &check);
    assert_int_equal(done.check.result, STORE_CLEAN);
    assert_int_equal(done.check.bytes, segment_file_bytes(real.store) - SEGMENT_HEADER_BYTES);
    real_stop(&real);
}

static void what_is_damaged_is_mended(void **state)
{
    (void)state;
    struct real real = { 0 };
    static uint8_t entries[LIMIT_ENTRY_BYTES];
    size_t len;
    make(&real, SMALL);
    fill(&real, 60, 2, 60);
    checkpoint(&real, 0);
    must(store_read_entries(real.store, 1, entries, 1500, &len));
    reading_forget(real.store);
    (void)flip(&real, 1, SEGMENT_HEADER_BYTES + 30);
    real_run(&real);
    struct store_check check = {
        .how = STORE_CHECK_FILE, .file = STORE_FILE_SEGMENT, .id = 1, .upto = 100
    };
    struct store_completion done = look(&real, &check);
    assert_int_equal(done.check.result, STORE_DAMAGED);
    assert_int_equal(done.check.index, 1);
    for (int lie = 1; lie >= 0; lie--) {
        struct store_mend mend = { .file = STORE_FILE_SEGMENT,
                                   .id = 1,
                                   .committed = 100,
                                   .data = { entries, lie ? 0 : len } };
        assert_true(store_threads_submit_mend(real.threads, &mend));
        done = next_of(&real);
        assert_int_equal(done.kind, STORE_DONE_MEND);
        assert_int_equal(done.error, lie ? FT_ERROR_CORRUPT : FT_OK);
        assert_int_equal(done.mend.done, !lie);
    }
    check.how = STORE_CHECK_AGAIN;
    done = look(&real, &check);
    assert_int_equal(done.check.result, STORE_CLEAN);
    /* A file that is none. */
    check = (struct store_check) { .how = STORE_CHECK_FILE,
                                   .file = STORE_FILE_SEGMENT,
                                   .id = real.store->segments[2].first,
                                   .upto = 100 };
    char path[160], name[DISK_PATH_BYTES];
    segment_path(name, check.id, "seg");
    snprintf(path, sizeof path, "%s/%s", real.path, name);
    assert_int_equal(unlink(path), 0);
    assert_true(store_threads_submit_check(real.threads, &check));
    done = next_of(&real);
    assert_int_equal(done.kind, STORE_DONE_CHECK);
    assert_int_equal(done.error, FT_ERROR_MISSING);
    real_stop(&real);
}

/* --- words that nobody asked for ----------------------------------------------------------------
 */

/* So many completions, none of them fetched. */
static void until_completed(struct real *real, uint64_t count)
{
    while (count) {
        struct pollfd fd = { real->wake_fd, POLLIN, 0 };
        uint64_t more;
        assert_int_equal(poll(&fd, 1, 60000), 1);
        assert_int_equal(read(real->wake_fd, &more, sizeof more), sizeof more);
        count -= more < count ? more : count;
    }
}

/* Damage that reads come upon is told, as far as there is room; what is to be erased waits for room, too. */
static void damage_that_reads_come_upon(void **state)
{
    (void)state;
    enum { DAMAGES = 12 };
    struct real real = { 0 };
    make(&real, SMALL);
    fill(&real, 150, 2, 60);
    assert_true(real.store->segments_count > DAMAGES + 3);
    store_delete(real.store, 2, 1, checks[1] + 1);
    uint64_t last = real.store->segments[0].last;
    uint64_t firsts[DAMAGES];
    for (size_t i = 0; i < DAMAGES; i++) {
        firsts[i] = real.store->segments[i + 2].first;
        (void)flip(&real, firsts[i], SEGMENT_HEADER_BYTES + 30);
    }
    real_run(&real);
    for (size_t i = 0; i < DAMAGES; i++)
        assert_true(ask_entries(&real, i, firsts[i]));
    until_completed(&real, DAMAGES + WORDS_MAX);
    assert_true(store_threads_submit_checkpoint(real.threads, last,
                                                (struct slice) { (const uint8_t *)"state", 5 }));
    until_completed(&real, 1);
    unsigned reads = 0, words = 0, checkpoints = 0;
    struct store_completion done;
    while (store_threads_next(real.threads, &done)) {
        reads += done.kind == STORE_DONE_READ_ENTRIES && done.error == FT_ERROR_CORRUPT;
        words += done.kind == STORE_DONE_NOTICED && done.check.file == STORE_FILE_SEGMENT;
        checkpoints += done.kind == STORE_DONE_CHECKPOINT && !done.error;
    }
    assert_int_equal(reads, DAMAGES);
    assert_int_equal(words, WORDS_MAX);
    assert_int_equal(checkpoints, 1);
    assert_true(ask_entries(&real, 99, 1)); /* it looks again when it has something to do */
    bool read = false, erased = false;
    while (!read || !erased) {
        done = next_of(&real);
        read |= done.kind == STORE_DONE_READ_ENTRIES;
        erased |= done.kind == STORE_DONE_SCRUB && done.scrubbed.refused == 1;
        store_threads_release(&done);
    }
    real_stop(&real);
}

/* --- erasing ------------------------------------------------------------------------------------
 */

static struct store_completion erased(struct real *real)
{
    struct store_completion done = next_of(real);
    assert_int_equal(done.kind, STORE_DONE_SCRUB);
    return done;
}

static void delete_each(struct real *real, uint64_t from, uint64_t count, uint64_t by)
{
    for (uint64_t i = 0; i < count; i++)
        store_delete(real->store, by + i, from + i, checks[from + i]);
}

static void what_came_of_erasing_is_told(void **state)
{
    (void)state;
    for (int rotten = 0; rotten < 2; rotten++) {
        struct real real = { 0 };
        make(&real, SMALL);
        fill(&real, 60, 2, 60);
        uint64_t second = real.store->segments[1].first;
        delete_each(&real, 1, 1, second);
        checkpoint(&real, 0);
        checkpoint(&real, 1);
        if (rotten)
            (void)flip(&real, 1, SEGMENT_HEADER_BYTES + ENTRY_HEADER_BYTES + 2 * ENTRY_HEAD_BYTES);
        reading_forget(real.store);
        atomic_store(&refuses_writes, !rotten);
        set_gate(!rotten);
        real_run(&real);
        struct store_completion done;
        if (!rotten) { /* what fails is told, and waits for the next checkpoint */
            until_reached();
            set_gate(false);
            do
                done = next_of(&real);
            while (done.kind == STORE_DONE_PREPARE);
            assert_int_equal(done.kind, STORE_DONE_SCRUB);
            assert_int_equal(done.error, FT_ERROR_IO);
            assert_int_equal(done.scrubbed.erased, 0);
            atomic_store(&refuses_writes, false);
            assert_true(
                store_threads_submit_checkpoint(real.threads, real.store->segments[2].last,
                                                (struct slice) { (const uint8_t *)"state", 5 }));
            do
                done = next_of(&real);
            while (done.kind != STORE_DONE_CHECKPOINT);
        }
        done = erased(&real);
        must(done.error);
        assert_int_equal(done.scrubbed.erased, !rotten);
        assert_int_equal(done.scrubbed.rotten, rotten);
        real_stop(&real);
    }
}

/* There is more than a slice to erase; a read waits for a slice of it, and it waits for some reads. */
static void begin_erasing(struct real *real, uint64_t deletions)
{
    make(real, SMALL);
    fill(real, 200, 2, 60);
    assert_true(real->store->segments_count > 20);
    delete_each(real, 1, deletions, real->store->segments[12].first);
    checkpoint(real, 12);
    checkpoint(real, 18);
    reading_forget(real->store);
    set_gate(true);
    real_run(real);
    until_reached();
}

static void erasing_comes_between_reads(void **state)
{
    (void)state;
    enum { DELETIONS = 3 * SLICE_DELETIONS, READS = 5 * IN_A_ROW };
    struct real real = { 0 };
    begin_erasing(&real, DELETIONS);
    for (uint64_t id = 0; id < READS; id++)
        assert_true(ask_entries(&real, id, 100));
    set_gate(false);
    unsigned reads = 0, before = 0;
    uint32_t all = 0;
    while (reads < READS || !all) {
        struct store_completion done = next_of(&real);
        must(done.error);
        if (done.kind == STORE_DONE_READ_ENTRIES)
            assert_int_equal(done.id, reads++);
        if (done.kind == STORE_DONE_SCRUB) {
            all = done.scrubbed.erased;
            before = reads;
        }
        store_threads_release(&done);
    }
    assert_int_equal(all, DELETIONS);
    assert_true(before > 0 && before < READS);
    real_stop(&real);
}

/* What was asked for is done before the end; erasing goes on after the next start. */
static void stopped_while_it_erases(void **state)
{
    (void)state;
    struct real real = { 0 };
    begin_erasing(&real, 3 * SLICE_DELETIONS);
    for (uint64_t id = 0; id < 3; id++)
        assert_true(ask_entries(&real, id, 100));
    struct store_flush vote = { .number = 9999, .save_vote = true, .term = 2 };
    store_threads_submit_flush(real.threads, &vote); /* so that the log thread has a file */
    struct store_completion done = next_of(&real);
    assert_int_equal(done.kind, STORE_DONE_FLUSH);
    must(done.error);
    atomic_store(&opens_at_close, true);
    store_threads_stop(real.threads);
    atomic_store(&opens_at_close, false);
    real.threads = NULL;
    assert_true(store_wants_scrub(real.store));
    real_run(&real);
    done = erased(&real);
    must(done.error);
    assert_in_range(done.scrubbed.erased, SLICE_DELETIONS, 3 * SLICE_DELETIONS - 1);
    real_stop(&real);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_large_segment_is_looked_at_in_slices),
        cmocka_unit_test(what_is_damaged_is_mended),
        cmocka_unit_test(damage_that_reads_come_upon),
        cmocka_unit_test(what_came_of_erasing_is_told),
        cmocka_unit_test(erasing_comes_between_reads),
        cmocka_unit_test(stopped_while_it_erases),
    };
    return cmocka_run_group_tests_name("store_threads_chores", tests, NULL, NULL);
}
