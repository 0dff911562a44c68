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
#include "tests/test_threads.h"

static void flushes_and_reads_go_through_the_threads(void **state)
{
    (void)state;
    struct real real = { 0 };
    real_start(&real);
    real_fill(&real, REAL_ENTRIES);
    assert_true(store_threads_submit_read_entries(real.threads, 77, 5, LIMIT_ENTRY_BYTES));
    struct store_completion done = real_wait(&real, STORE_DONE_READ_ENTRIES);
    assert_int_equal(done.error, FT_OK);
    assert_int_equal(done.id, 77);
    assert_true(done.len > 0);
    assert_int_equal(bytes_get_u64(done.data + 8), 5);
    store_threads_release(&done);
    /* A checkpoint at the end of the first segment. */
    uint64_t index = real.store->segments[0].last;
    assert_true(index < REAL_ENTRIES);
    assert_true(store_threads_submit_checkpoint(real.threads, index,
                                                (struct slice) { (const uint8_t *)"st", 2 }));
    done = real_wait(&real, STORE_DONE_CHECKPOINT);
    assert_int_equal(done.error, FT_OK);
    struct store_room_range range = { .room = 2, .upto_index = REAL_ENTRIES };
    struct store_query query = { .rooms_count = 1, .rooms = &range, .max_records = 1000 };
    assert_true(store_threads_submit_read_posts(real.threads, 78, &query, 1 << 20));
    range.room = 99; /* it was copied */
    done = real_wait(&real, STORE_DONE_READ_POSTS);
    assert_int_equal(done.error, FT_OK);
    assert_int_equal(done.answer.records, (REAL_ENTRIES + 2) / 3);
    assert_false(done.answer.more);
    store_threads_release(&done);
    store_threads_stop(real.threads);
    real.threads = NULL;
    store_close(real.store);
    assert_int_equal(real_open(&real), FT_OK);
    assert_int_equal(real.recovery.last_index, REAL_ENTRIES);
    assert_int_equal(real.recovery.checkpoint_index, index);
    real_stop(&real);
}

/* After a checkpoint, unasked. (What is named here is no post: it is left, and told.) */
static void erasing_goes_by_itself(void **state)
{
    (void)state;
    struct real real = { 0 };
    real_start(&real);
    real_fill(&real, REAL_ENTRIES);
    uint64_t index = real.store->segments[0].last;
    store_delete(real.store, index, 1, 0);
    assert_true(store_threads_submit_checkpoint(real.threads, index,
                                                (struct slice) { (const uint8_t *)"st", 2 }));
    struct store_completion done = real_wait(&real, STORE_DONE_CHECKPOINT);
    assert_int_equal(done.error, FT_OK);
    done = real_wait(&real, STORE_DONE_SCRUB);
    assert_int_equal(done.error, FT_OK);
    assert_int_equal(done.scrubbed.erased + done.scrubbed.rotten, 0);
    assert_int_equal(done.scrubbed.refused, 1);
    /* It was in nobody's queue. */
    assert_true(store_threads_submit_read_entries(real.threads, 1, 5, LIMIT_ENTRY_BYTES));
    done = real_wait(&real, STORE_DONE_READ_ENTRIES);
    assert_int_equal(done.error, FT_OK);
    store_threads_release(&done);
    real_stop(&real);
}

static void the_queue_is_bounded_and_answers_everything(void **state)
{
    (void)state;
    struct real real = { 0 };
    real_start(&real);
    real_fill(&real, REAL_ENTRIES);
    uint64_t submitted = 0;
    while (store_threads_submit_read_entries(real.threads, submitted, 1, LIMIT_ENTRY_BYTES))
        submitted++;
    assert_int_equal(submitted, STORE_READS_MAX);
    for (uint64_t i = 0; i < submitted; i++) {
        struct store_completion done = real_wait(&real, STORE_DONE_READ_ENTRIES);
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
        enum ft_error error = real_open(&other);
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
