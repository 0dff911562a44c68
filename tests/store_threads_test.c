/* The two disk threads over a real folder. */
#include "store/threads.h"

#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "cmd/crypto_sodium.h"
#include "tests/test_store.h"

struct real {
    char path[64];
    struct disk disk;
    struct store *store;
    struct store_recovery recovery;
    struct store_threads *threads;
    int wake_fd;
    char why[256];
};

static enum ft_error open_store(struct real *real)
{
    struct store_options options = { .disk = &real->disk,
                                     .crypto = &crypto_sodium,
                                     .segment_bytes = 65536 };
    memcpy(options.fresh_identity, test_identity, IDENTITY_BYTES);
    return store_open(&real->store, &options, &real->recovery, real->why, sizeof real->why);
}

static void real_start(struct real *real)
{
    assert_true(crypto_start());
    snprintf(real->path, sizeof real->path, "/tmp/ftchat-test-XXXXXX");
    assert_non_null(mkdtemp(real->path));
    assert_int_equal(disk_posix_open(&real->disk, real->path), FT_OK);
    assert_int_equal(open_store(real), FT_OK);
    real->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    assert_int_equal(store_threads_start(&real->threads, real->store, &real->disk, real->wake_fd),
                     FT_OK);
}

static void real_stop(struct real *real)
{
    char command[96];
    if (real->threads)
        store_threads_stop(real->threads);
    store_close(real->store);
    disk_posix_close(&real->disk);
    close(real->wake_fd);
    snprintf(command, sizeof command, "rm -r %s", real->path);
    assert_int_equal(system(command), 0);
}

/* The next completion that is not about preparing. */
static struct store_completion wait_for(struct real *real, enum store_completion_kind kind)
{
    for (;;) {
        struct store_completion done;
        while (store_threads_next(real->threads, &done)) {
            if (done.kind == STORE_DONE_PREPARE)
                continue;
            assert_int_equal(done.kind, kind);
            return done;
        }
        struct pollfd fd = { real->wake_fd, POLLIN, 0 };
        assert_int_equal(poll(&fd, 1, 60000), 1);
        uint64_t count;
        assert_int_equal(read(real->wake_fd, &count, sizeof count), sizeof count);
    }
}

static size_t one_entry(uint8_t *out, uint64_t index, uint8_t chain[HASH_BYTES], uint64_t flush)
{
    uint8_t body[4096];
    uint32_t size = test_body(index, 1, body);
    struct entry_draft draft = { .kind = ENTRY_COMMANDS,
                                 .first = index,
                                 .term = 1,
                                 .time_us = index,
                                 .count = 1,
                                 .sizes = &size,
                                 .bodies = body };
    size_t len = entry_build(out, 8192, &draft, &crypto_sodium, test_cluster, chain);
    entry_set_local(out, flush, 0, 0, &crypto_sodium, test_cluster);
    memcpy(chain, out + ENTRY_LOCAL_AT - HASH_BYTES, HASH_BYTES);
    return len;
}

enum { ENTRIES = 400 };

static void fill(struct real *real)
{
    static uint8_t out[8192];
    uint8_t chain[HASH_BYTES] = { 0 };
    for (uint64_t i = 1; i <= ENTRIES; i++) {
        struct store_flush flush = {
            .number = i, .save_cluster = i == 1, .save_vote = i == 1, .term = 1
        };
        memcpy(flush.cluster, test_cluster, IDENTITY_BYTES);
        flush.entries[0] = (struct slice) { out, one_entry(out, i, chain, i) };
        store_threads_submit_flush(real->threads, &flush);
        struct store_completion done = wait_for(real, STORE_DONE_FLUSH);
        assert_int_equal(done.error, FT_OK);
        assert_int_equal(done.id, i);
        store_index(real->store, (uint32_t)(1 + i % 3), (i - 1) / 3 + 1, i, false);
    }
}

static void flushes_and_reads_go_through_the_threads(void **state)
{
    (void)state;
    struct real real = { 0 };
    real_start(&real);
    fill(&real);
    assert_true(store_threads_submit_read_entries(real.threads, 77, 5, LIMIT_ENTRY_BYTES));
    struct store_completion done = wait_for(&real, STORE_DONE_READ_ENTRIES);
    assert_int_equal(done.error, FT_OK);
    assert_int_equal(done.id, 77);
    assert_true(done.len > 0);
    assert_int_equal(bytes_get_u64(done.data + 8), 5);
    store_threads_release(&done);
    /* A checkpoint at the end of the first segment. */
    uint64_t index = real.store->segments[0].last;
    assert_true(index < ENTRIES);
    assert_true(store_threads_submit_checkpoint(real.threads, index,
                                                (struct slice) { (const uint8_t *)"st", 2 }));
    done = wait_for(&real, STORE_DONE_CHECKPOINT);
    assert_int_equal(done.error, FT_OK);
    struct store_room_range range = { .room = 2, .upto_index = ENTRIES };
    struct store_query query = { .rooms_count = 1, .rooms = &range, .max_records = 1000 };
    assert_true(store_threads_submit_read_posts(real.threads, 78, &query, 1 << 20));
    range.room = 99; /* it was copied */
    done = wait_for(&real, STORE_DONE_READ_POSTS);
    assert_int_equal(done.error, FT_OK);
    assert_int_equal(done.answer.records, (ENTRIES + 2) / 3);
    assert_false(done.answer.more);
    store_threads_release(&done);
    store_threads_stop(real.threads);
    real.threads = NULL;
    store_close(real.store);
    assert_int_equal(open_store(&real), FT_OK);
    assert_int_equal(real.recovery.last_index, ENTRIES);
    assert_int_equal(real.recovery.checkpoint_index, index);
    real_stop(&real);
}

/* After a checkpoint, unasked. (What is named here is no post: it is left, and told.) */
static void erasing_goes_by_itself(void **state)
{
    (void)state;
    struct real real = { 0 };
    real_start(&real);
    fill(&real);
    uint64_t index = real.store->segments[0].last;
    store_delete(real.store, index, 1, 0);
    assert_true(store_threads_submit_checkpoint(real.threads, index,
                                                (struct slice) { (const uint8_t *)"st", 2 }));
    struct store_completion done = wait_for(&real, STORE_DONE_CHECKPOINT);
    assert_int_equal(done.error, FT_OK);
    done = wait_for(&real, STORE_DONE_SCRUB);
    assert_int_equal(done.error, FT_OK);
    assert_int_equal(done.scrubbed.erased + done.scrubbed.rotten, 0);
    assert_int_equal(done.scrubbed.refused, 1);
    /* It was in nobody's queue. */
    assert_true(store_threads_submit_read_entries(real.threads, 1, 5, LIMIT_ENTRY_BYTES));
    done = wait_for(&real, STORE_DONE_READ_ENTRIES);
    assert_int_equal(done.error, FT_OK);
    store_threads_release(&done);
    real_stop(&real);
}

static void the_queue_is_bounded_and_answers_everything(void **state)
{
    (void)state;
    struct real real = { 0 };
    real_start(&real);
    fill(&real);
    uint64_t submitted = 0;
    while (store_threads_submit_read_entries(real.threads, submitted, 1, LIMIT_ENTRY_BYTES))
        submitted++;
    assert_int_equal(submitted, STORE_READS_MAX);
    for (uint64_t i = 0; i < submitted; i++) {
        struct store_completion done = wait_for(&real, STORE_DONE_READ_ENTRIES);
        assert_int_equal(done.id, i);
        store_threads_release(&done);
    }
    assert_true(store_threads_submit_read_entries(real.threads, 1, 1, LIMIT_ENTRY_BYTES));
    real_stop(&real);
}

/* The log thread's own table holds none of what was open before. */
static void the_log_thread_has_files_of_its_own(void **state)
{
    (void)state;
    int pair[2];
    assert_int_equal(pipe(pair), 0);
    struct real real = { 0 };
    real_start(&real);
    if (store_threads_shares_files(real.threads)) {
        real_stop(&real);
        skip();
    }
    close(pair[1]);
    struct pollfd fd = { pair[0], 0, 0 };
    assert_int_equal(poll(&fd, 1, 60000), 1); /* the last writer is gone */
    assert_true(fd.revents & POLLHUP);
    close(pair[0]);
    real_stop(&real);
}

static void a_second_process_is_locked_out(void **state)
{
    (void)state;
    if (getenv("UNDER_VALGRIND"))
        skip(); /* in the child it would call leaks what only the parent can free */
    struct real real = { 0 };
    real_start(&real);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        struct real other = { .disk = real.disk };
        enum ft_error error = open_store(&other);
        _exit(error == FT_ERROR_LOCKED && strstr(other.why, "another process") ? 7 : 8);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(WEXITSTATUS(status), 7);
    real_stop(&real);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(flushes_and_reads_go_through_the_threads),
        cmocka_unit_test(erasing_goes_by_itself),
        cmocka_unit_test(the_queue_is_bounded_and_answers_everything),
        cmocka_unit_test(the_log_thread_has_files_of_its_own),
        cmocka_unit_test(a_second_process_is_locked_out),
    };
    return cmocka_run_group_tests_name("store_threads", tests, NULL, NULL);
}
