/* The two disk threads when the system refuses them something: memory, threads, a file table of their
 * own, room on the disk; and when much waits at once. What was asked for is answered once, rightly or
 * with an error; what was submitted before the end is done.
 *
 * The system's calls are made to fail by the linker's --wrap (Makefile); the disk's functions are
 * replaced in its table. */
#include "tests/test_threads.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "cmd/crypto_sodium.h"
#include "tests/test_copy.h"

/* --- the system ---------------------------------------------------------------------------------
 */

static atomic_int allocation; /* this one fails, counted down; 0: none */
static atomic_int interrupts; /* so many writes of 8 bytes are interrupted */
static atomic_int refuses_unshare, refuses_close_range;
static atomic_long open_max;   /* 0: the real one */
static int refuses_attributes; /* these belong to the main thread */
static int refuses_thread;     /* the n-th from now on; 0: none */
static void (*before_join)(void);

static bool allocation_fails(void)
{
    int left = atomic_load(&allocation);
    while (left > 0)
        if (atomic_compare_exchange_weak(&allocation, &left, left - 1))
            return left == 1;
    return false;
}

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
ssize_t __real_write(int fd, const void *data, size_t len);
long __real_syscall(long number, ...);
long __real_sysconf(int name);
int __real_unshare(int flags);
int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *),
                          void *ctx);
int __real_pthread_attr_init(pthread_attr_t *attributes);
int __real_pthread_join(pthread_t thread, void **result);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);
ssize_t __wrap_write(int fd, const void *data, size_t len);
long __wrap_syscall(long number, unsigned a, unsigned b, unsigned c);
long __wrap_sysconf(int name);
int __wrap_unshare(int flags);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *),
                          void *ctx);
int __wrap_pthread_attr_init(pthread_attr_t *attributes);
int __wrap_pthread_join(pthread_t thread, void **result);

void *__wrap_malloc(size_t size)
{
    return allocation_fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    return allocation_fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *old, size_t size)
{
    return allocation_fails() ? NULL : __real_realloc(old, size);
}

ssize_t __wrap_write(int fd, const void *data, size_t len)
{
    if (len == 8 && atomic_load(&interrupts) > 0) {
        if (atomic_fetch_sub(&interrupts, 1) == 1) { /* the last: the counter is full as it is */
            (void)!__real_write(fd, data, len);
            errno = EAGAIN;
            return -1;
        }
        errno = EINTR;
        return -1;
    }
    return __real_write(fd, data, len);
}

/* Only close_range comes by here. */
long __wrap_syscall(long number, unsigned a, unsigned b, unsigned c)
{
    if (atomic_load(&refuses_close_range)) {
        errno = ENOSYS;
        return -1;
    }
    return __real_syscall(number, a, b, c);
}

long __wrap_sysconf(int name)
{
    const long most = atomic_load(&open_max);
    return name == _SC_OPEN_MAX && most ? most : __real_sysconf(name);
}

int __wrap_unshare(int flags)
{
    return atomic_load(&refuses_unshare) ? -1 : __real_unshare(flags);
}

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *),
                          void *ctx)
{
    if (refuses_thread && --refuses_thread == 0)
        return EAGAIN;
    return __real_pthread_create(thread, attributes, run, ctx);
}

int __wrap_pthread_attr_init(pthread_attr_t *attributes)
{
    return refuses_attributes ? ENOMEM : __real_pthread_attr_init(attributes);
}

int __wrap_pthread_join(pthread_t thread, void **result)
{
    if (before_join)
        before_join();
    before_join = NULL;
    return __real_pthread_join(thread, result);
}

/* --- a disk that waits, and one that is full ----------------------------------------------------
 */

static struct disk posix;
static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t gate_moved = PTHREAD_COND_INITIALIZER;
static bool gate_shut;
static bool gate_reached;
static unsigned looks; /* at how much is free; under the gate's mutex, too */
static atomic_bool full, refuses_writes, refuses_sync_dir, by_turns;

static void pass_gate(void)
{
    pthread_mutex_lock(&gate);
    if (gate_shut) {
        gate_reached = true;
        pthread_cond_broadcast(&gate_moved);
    }
    while (gate_shut)
        pthread_cond_wait(&gate_moved, &gate);
    pthread_mutex_unlock(&gate);
}

static void shut_gate(void)
{
    pthread_mutex_lock(&gate);
    gate_shut = true;
    gate_reached = false;
    pthread_mutex_unlock(&gate);
}

static void until_reached(void)
{
    pthread_mutex_lock(&gate);
    while (!gate_reached)
        pthread_cond_wait(&gate_moved, &gate);
    pthread_mutex_unlock(&gate);
}

static void open_gate(void)
{
    pthread_mutex_lock(&gate);
    gate_shut = false;
    pthread_cond_broadcast(&gate_moved);
    pthread_mutex_unlock(&gate);
}

/* Who reads, and who syncs, waits at the gate. */
static enum ft_error slow_read(void *ctx, struct disk_file *file, uint64_t offset, void *out,
                               size_t len, size_t *got)
{
    pass_gate();
    return posix.read(ctx, file, offset, out, len, got);
}

static enum ft_error refused_write(void *ctx, struct disk_file *file, uint64_t offset,
                                   const void *data, size_t len)
{
    return atomic_load(&refuses_writes) ? FT_ERROR_IO : posix.write(ctx, file, offset, data, len);
}

static enum ft_error slow_sync(void *ctx, struct disk_file *file)
{
    pass_gate();
    return posix.sync(ctx, file);
}

static enum ft_error refused_sync_dir(void *ctx, const char *path)
{
    return atomic_load(&refuses_sync_dir) ? FT_ERROR_SYNC : posix.sync_dir(ctx, path);
}

static enum ft_error space_told(void *ctx, uint64_t *bytes)
{
    if (atomic_load(&by_turns))
        atomic_store(&full, !atomic_load(&full));
    const bool is_full = atomic_load(&full);
    pthread_mutex_lock(&gate);
    looks++;
    pthread_cond_broadcast(&gate_moved);
    pthread_mutex_unlock(&gate);
    if (!is_full)
        return posix.space(ctx, bytes);
    *bytes = 0;
    return FT_OK;
}

static void make(struct real *real)
{
    real_make(real);
    posix = real->disk;
    real->disk.read = slow_read;
    real->disk.write = refused_write;
    real->disk.sync = slow_sync;
    real->disk.space = space_told;
    real->disk.sync_dir = refused_sync_dir;
    atomic_store(&full, false);
    atomic_store(&refuses_writes, false);
    atomic_store(&by_turns, false);
    assert_int_equal(real_open(real), FT_OK);
}

static void begin(struct real *real)
{
    make(real);
    real_run(real);
}

static bool ask_entries(struct real *real, uint64_t id)
{
    return store_threads_submit_read_entries(real->threads, id, 1, LIMIT_ENTRY_BYTES);
}

/* --- starting -----------------------------------------------------------------------------------
 */

static void threads_that_do_not_start(void **state)
{
    (void)state;
    struct real real = { 0 };
    make(&real);
    for (int kind = 0; kind < 5; kind++) {
        struct store_threads *threads = NULL;
        refuses_attributes = kind == 0;
        refuses_thread = kind < 3 ? kind : 0; /* the log's, or the one that reads */
        if (kind == 3)
            atomic_store(&allocation, 1);
        const enum ft_error error =
            store_threads_start(&threads, real.store, &real.disk, real.wake_fd);
        refuses_attributes = refuses_thread = 0;
        atomic_store(&allocation, 0);
        assert_int_equal(error, kind == 4 ? FT_OK : FT_ERROR_LIMIT);
        real.threads = threads;
    }
    real_fill(&real, 20); /* nothing is left of what failed */
    real_stop(&real);
}

/* Old kernels have no close_range; a limit may be anything. */
static void files_are_let_go_one_by_one(void **state)
{
    (void)state;
    static const long limits[] = { -1, 1L << 40, 64 };
    for (size_t i = 0; i < 3; i++) {
        int pair[2];
        struct real real = { 0 };
        assert_int_equal(pipe(pair), 0);
        make(&real);
        atomic_store(&refuses_close_range, 1);
        atomic_store(&open_max, limits[i]);
        real_run(&real);
        atomic_store(&refuses_close_range, 0);
        atomic_store(&open_max, 0);
        if (!store_threads_shares_files(real.threads)) {
            close(pair[1]);
            struct pollfd fd = { pair[0], 0, 0 };
            assert_int_equal(poll(&fd, 1, 60000), 1); /* the last writer is gone */
            assert_true(fd.revents & POLLHUP);
        } else {
            close(pair[1]);
        }
        close(pair[0]);
        real_fill(&real, 20);
        real_stop(&real);
    }
}

static void a_shared_file_table_is_said_and_works(void **state)
{
    (void)state;
    struct real real = { 0 };
    make(&real);
    atomic_store(&refuses_unshare, 1);
    real_run(&real);
    atomic_store(&refuses_unshare, 0);
    assert_true(store_threads_shares_files(real.threads));
    atomic_store(&interrupts, 9); /* and no wake-up is lost */
    real_fill(&real, 20);
    assert_int_equal(atomic_load(&interrupts), 0);
    real_stop(&real);
}

/* --- memory -------------------------------------------------------------------------------------
 */

enum { JOBS = 6 };

static bool submit(struct real *real, unsigned number)
{
    static const uint8_t state[100] = { 's' };
    const struct store_room_range range = { .room = 2, .upto_index = REAL_ENTRIES };
    const struct store_query merged = { .rooms_count = 1, .rooms = &range, .max_records = 9 };
    const struct store_query by_seq = { .room = 1, .seq_from = 3, .seq_to = 7, .max_records = 9 };
    const struct store_piece piece = { STORE_PIECE_ENTRIES, 7, 0 };
    switch (number) {
    case 0:
        return ask_entries(real, 1);
    case 1:
        return store_threads_submit_read_posts(real->threads, 1, &merged, 1 << 16);
    case 2:
        return store_threads_submit_read_posts(real->threads, 1, &by_seq, 1 << 16);
    case 3:
        return store_threads_submit_read_piece(real->threads, 1, &piece, 5000);
    case 4: /* nothing is there */
        return store_threads_submit_read_entries(real->threads, 1, 99999, 100);
    default:
        return store_threads_submit_checkpoint(real->threads, real->store->segments[0].last,
                                               (struct slice) { state, sizeof state });
    }
}

static const enum store_completion_kind kinds[JOBS] = {
    STORE_DONE_READ_ENTRIES, STORE_DONE_READ_POSTS,   STORE_DONE_READ_POSTS,
    STORE_DONE_READ_PIECE,   STORE_DONE_READ_ENTRIES, STORE_DONE_CHECKPOINT,
};

/* Done, in the end, and what came of it. */
static bool answered(struct real *real, unsigned number, size_t *len)
{
    if (!submit(real, number))
        return false;
    struct store_completion done = real_wait(real, kinds[number]);
    *len = done.len;
    assert_true((done.data != NULL) == (done.len > 0));
    const bool good = !done.error || done.error == FT_ERROR_EXISTS;
    assert_true(good || done.len == 0);
    assert_true(good || done.error == FT_ERROR_LIMIT);
    store_threads_release(&done);
    return good;
}

static void each_allocation_of_a_job_fails(void **state)
{
    (void)state;
    struct real real = { 0 };
    begin(&real);
    real_fill(&real, REAL_ENTRIES);
    unsigned failed = 0;
    for (unsigned number = 0; number < JOBS; number++) {
        size_t right = 0, len = 0;
        if (number < 5)
            assert_true(answered(&real, number, &right));
        assert_int_equal(right > 0, number < 4);
        for (int at = 1; at < 40; at++) {
            atomic_store(&allocation, at);
            const bool good = answered(&real, number, &len);
            const bool reached = atomic_exchange(&allocation, 0) == 0;
            failed += !good;
            if (good)
                assert_int_equal(len, right);
            if (!reached) {
                assert_true(good);
                break;
            }
        }
    }
    assert_true(failed > 6);
    real_stop(&real);
}

/* --- much at once -------------------------------------------------------------------------------
 */

/* A chore waits for some reads, not for all. */
static void chores_come_between_reads(void **state)
{
    (void)state;
    enum { READS = 40, CHORES = 2, IN_A_ROW = 8 };
    struct real real = { 0 };
    begin(&real);
    real_fill(&real, 20);
    shut_gate();
    assert_true(ask_entries(&real, 0));
    until_reached();
    for (uint64_t id = 1; id < READS; id++)
        assert_true(ask_entries(&real, id));
    for (int i = 0; i < CHORES; i++)
        assert_true(store_threads_submit_retain(real.threads,
                                                &(struct store_retention) { .floor = UINT64_MAX }));
    open_gate();
    unsigned reads = 0, chores = 0;
    while (reads + chores < READS + CHORES) {
        struct store_completion done;
        while (!store_threads_next(real.threads, &done)) {
            struct pollfd fd = { real.wake_fd, POLLIN, 0 };
            uint64_t count;
            assert_int_equal(poll(&fd, 1, 60000), 1);
            assert_int_equal(read(real.wake_fd, &count, sizeof count), sizeof count);
        }
        assert_int_equal(done.error, FT_OK);
        if (done.kind == STORE_DONE_RETAIN) {
            chores++;
            assert_in_range(reads, IN_A_ROW * chores, IN_A_ROW * chores + 1);
        } else if (done.kind == STORE_DONE_READ_ENTRIES) {
            assert_int_equal(done.id, reads++);
        }
        store_threads_release(&done);
    }
    real_stop(&real);
}

/* More words about the disk than anybody fetches: they wait, and leave the answers their room. */
static void words_about_the_disk_leave_room(void **state)
{
    (void)state;
    struct real real = { 0 };
    make(&real);
    atomic_store(&refuses_writes, true);
    atomic_store(&by_turns, true); /* full, then refused, at each look */
    real_run(&real);
    for (uint64_t id = 0; id < STORE_READS_MAX; id++)
        assert_true(ask_entries(&real, id));
    for (int i = 0; i < STORE_CHORES_MAX; i++)
        assert_true(store_threads_submit_retain(real.threads,
                                                &(struct store_retention) { .floor = UINT64_MAX }));
    assert_false(ask_entries(&real, 0));
    assert_false(store_threads_submit_retain(real.threads,
                                             &(struct store_retention) { .floor = UINT64_MAX }));
    store_threads_stop(real.threads); /* all of it is done, and nothing fetched */
    real.threads = NULL;
    real_stop(&real);
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

/* It is told when the disk becomes full, and when it is not any more, each once. */
static void a_full_disk_is_told_at_each_change(void **state)
{
    (void)state;
    struct real real = { 0 };
    make(&real);
    atomic_store(&full, true);
    real_run(&real);
    struct store_completion done = next_of(&real);
    assert_int_equal(done.kind, STORE_DONE_PREPARE);
    assert_int_equal(done.error, FT_ERROR_SPACE);
    for (uint64_t id = 0; id < 3; id++) { /* each makes it look again */
        assert_true(ask_entries(&real, id));
        done = next_of(&real);
        assert_int_equal(done.kind, STORE_DONE_READ_ENTRIES);
        store_threads_release(&done);
    }
    pthread_mutex_lock(&gate);
    const unsigned before = looks;
    while (looks < before + 2) /* with nothing to do it waits, and looks again */
        pthread_cond_wait(&gate_moved, &gate);
    pthread_mutex_unlock(&gate);
    atomic_store(&full, false);
    done = next_of(&real); /* by itself, after a while */
    assert_int_equal(done.kind, STORE_DONE_PREPARE);
    assert_int_equal(done.error, FT_OK);
    real_stop(&real);
}

/* Flush and hold, whichever waits for the other, reads and chores: submitted, and stopped while the disk
 * hangs. */
static void what_was_submitted_before_the_end_is_done(void **state)
{
    (void)state;
    for (int flush_waits = 0; flush_waits < 2; flush_waits++) {
        static uint8_t first[8192], entry[8192];
        static const uint8_t no_chain[HASH_BYTES];
        struct real real = { 0 };
        uint8_t chain[HASH_BYTES] = { 0 }, body[100] = { 'h' };
        const uint32_t size = sizeof body;
        begin(&real);
        struct store_flush form = {
            .number = 1, .save_cluster = true, .save_vote = true, .term = 1
        };
        memcpy(form.cluster, test_cluster, IDENTITY_BYTES);
        store_threads_submit_flush(real.threads, &form);
        assert_int_equal(real_wait(&real, STORE_DONE_FLUSH).error, FT_OK);
        struct store_flush flush = { .number = 2 };
        flush.entries[0] = (struct slice) { first, real_entry(first, 1, chain, 2) };
        struct entry_draft draft = { ENTRY_COMMANDS, 1, 0, 1, 1, &size, body };
        const size_t len =
            entry_build(entry, sizeof entry, &draft, &crypto_sodium, test_cluster, no_chain);
        entry_set_local(entry, 1, 0, 0, &crypto_sodium, test_cluster);
        const struct store_hold hold = { .number = 7, .entry = { entry, len } };
        shut_gate();
        if (flush_waits)
            store_threads_submit_hold(real.threads, &hold);
        else
            store_threads_submit_flush(real.threads, &flush);
        until_reached();
        if (flush_waits)
            store_threads_submit_flush(real.threads, &flush);
        else
            store_threads_submit_hold(real.threads, &hold);
        assert_true(ask_entries(&real, 1));
        assert_true(store_threads_submit_retain(real.threads,
                                                &(struct store_retention) { .floor = UINT64_MAX }));
        before_join = open_gate;
        store_threads_stop(real.threads);
        real.threads = NULL;
        store_close(real.store);
        assert_int_equal(real_open(&real), FT_OK);
        assert_int_equal(real.recovery.last_index, 1);
        assert_int_equal(real.recovery.held.last, 1);
        real_stop(&real);
    }
}

/* The next segment is in the making: it is finished, and then the thread ends. */
static void stopped_while_a_segment_is_made(void **state)
{
    (void)state;
    struct real real = { 0 };
    make(&real);
    shut_gate();
    real_run(&real);
    until_reached();
    before_join = open_gate;
    store_threads_stop(real.threads);
    real.threads = NULL;
    assert_false(store_wants_prepare(real.store));
    real_stop(&real);
}

/* The flush goes before the held, whichever came first. */
static void a_flush_goes_first(void **state)
{
    (void)state;
    struct real real = { 0 };
    static uint8_t first[8192], entry[8192];
    static const uint8_t no_chain[HASH_BYTES];
    uint8_t chain[HASH_BYTES] = { 0 }, body[100] = { 'h' };
    const uint32_t size = sizeof body;
    begin(&real);
    struct store_flush form = { .number = 1, .save_cluster = true, .save_vote = true, .term = 1 };
    memcpy(form.cluster, test_cluster, IDENTITY_BYTES);
    struct store_flush flush = { .number = 2 };
    flush.entries[0] = (struct slice) { first, real_entry(first, 1, chain, 2) };
    struct entry_draft draft = { ENTRY_COMMANDS, 1, 0, 1, 1, &size, body };
    const size_t len =
        entry_build(entry, sizeof entry, &draft, &crypto_sodium, test_cluster, no_chain);
    entry_set_local(entry, 1, 0, 0, &crypto_sodium, test_cluster);
    store_threads_submit_flush(real.threads, &form);
    assert_int_equal(real_wait(&real, STORE_DONE_FLUSH).error, FT_OK);
    store_threads_submit_hold(real.threads,
                              &(struct store_hold) { .number = 7, .entry = { entry, len } });
    store_threads_submit_flush(real.threads, &flush);
    unsigned seen = 0;
    while (seen < 2) {
        const struct store_completion done = next_of(&real);
        assert_int_equal(done.error, FT_OK);
        seen += done.kind == STORE_DONE_HOLD || done.kind == STORE_DONE_FLUSH;
    }
    /* Each may be asked for again. */
    store_threads_submit_hold(real.threads, &(struct store_hold) { .number = 8, .discard = true });
    assert_int_equal(real_wait(&real, STORE_DONE_HOLD).id, 8);
    real_stop(&real);
}

/* --- copying ------------------------------------------------------------------------------------
 */

static struct store_completion copy_step(struct real *real, const struct store_copy_job *job)
{
    while (!store_threads_submit_copy(real->threads, job))
        continue; /* those that have no completion are still there */
    return real_wait(real, STORE_DONE_COPY);
}

/* A whole copy as jobs, after one that was given up; each time the memory for a piece is short, it is
 * not taken, and can be given again. */
static void a_copy_goes_through_the_threads(void **state)
{
    (void)state;
    static uint8_t data[LIMIT_ENTRY_BYTES];
    struct real real = { 0 };
    struct copy_session session = { .source = test_node(1, 3, true) };
    begin(&real);
    struct store_flush form = { .number = 1, .save_cluster = true };
    memcpy(form.cluster, test_cluster, IDENTITY_BYTES);
    store_threads_submit_flush(real.threads, &form);
    assert_int_equal(real_wait(&real, STORE_DONE_FLUSH).error, FT_OK);
    const struct store_copy_job drop = { .step = STORE_COPY_DROP };
    struct store_copy_job job = { .step = STORE_COPY_BEGIN, .plan = copy_offer(&session) };
    struct store_completion done = copy_step(&real, &job);
    assert_int_equal(done.error, FT_OK);
    for (int i = 0; i < 2 * STORE_CHORES_MAX; i++) /* they have no completion, and hold no place */
        while (!store_threads_submit_copy(real.threads, &drop))
            continue;
    done = copy_step(&real, &job);
    assert_int_equal(done.error, FT_OK);
    assert_false(done.copy.resumed);
    while (!done.copy.complete) {
        size_t len;
        uint64_t size;
        job = (struct store_copy_job) { .step = STORE_COPY_WRITE, .piece = done.copy.next };
        test_must(store_read_piece(session.source->store, &job.piece, 5000, data, &len, &size));
        job.size = size;
        job.data = (struct slice) { data, len };
        atomic_store(&allocation, 1);
        assert_false(store_threads_submit_copy(real.threads, &job));
        done = copy_step(&real, &job);
        assert_int_equal(done.error, FT_OK);
        assert_int_equal(done.id, STORE_COPY_WRITE);
    }
    job = (struct store_copy_job) { .step = STORE_COPY_INSTALL };
    assert_int_equal(copy_step(&real, &job).error, FT_OK);
    store_threads_stop(real.threads);
    real.threads = NULL;
    store_close(real.store);
    assert_int_equal(real_open(&real), FT_OK);
    assert_int_equal(real.recovery.installed, session.source->store->indexed_last);
    assert_int_equal(real.recovery.last_index, session.source->store->indexed_last);
    real_stop(&real);
    test_store_free(session.source);
}

static void a_mend_without_memory_is_not_taken(void **state)
{
    (void)state;
    struct real real = { 0 };
    static const uint8_t piece[100];
    struct store_mend mend = { .file = STORE_FILE_INDEX, .data = { piece, sizeof piece } };
    begin(&real);
    atomic_store(&allocation, 1);
    assert_false(store_threads_submit_mend(real.threads, &mend));
    assert_true(store_threads_submit_mend(real.threads, &mend));
    assert_int_equal(real_wait(&real, STORE_DONE_MEND).error, FT_ERROR_CORRUPT);
    real_stop(&real);
}

/* Dropping a copy is not waited for, unless a sync failed: then the process has to end. */
static void a_drop_that_cannot_sync_is_told(void **state)
{
    (void)state;
    struct real real = { 0 };
    struct copy_session session = { .source = test_node(1, 1, false) };
    begin(&real);
    struct store_flush form = { .number = 1, .save_cluster = true };
    memcpy(form.cluster, test_cluster, IDENTITY_BYTES);
    store_threads_submit_flush(real.threads, &form);
    assert_int_equal(real_wait(&real, STORE_DONE_FLUSH).error, FT_OK);
    struct store_copy_job job = { .step = STORE_COPY_BEGIN, .plan = copy_offer(&session) };
    assert_int_equal(copy_step(&real, &job).error, FT_OK);
    atomic_store(&refuses_sync_dir, true);
    job = (struct store_copy_job) { .step = STORE_COPY_DROP };
    const struct store_completion done = copy_step(&real, &job);
    assert_int_equal(done.error, FT_ERROR_SYNC);
    assert_int_equal(done.id, STORE_COPY_DROP);
    atomic_store(&refuses_sync_dir, false);
    real_stop(&real);
    test_store_free(session.source);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_that_do_not_start),
        cmocka_unit_test(files_are_let_go_one_by_one),
        cmocka_unit_test(a_shared_file_table_is_said_and_works),
        cmocka_unit_test(each_allocation_of_a_job_fails),
        cmocka_unit_test(chores_come_between_reads),
        cmocka_unit_test(words_about_the_disk_leave_room),
        cmocka_unit_test(a_full_disk_is_told_at_each_change),
        cmocka_unit_test(what_was_submitted_before_the_end_is_done),
        cmocka_unit_test(stopped_while_a_segment_is_made),
        cmocka_unit_test(a_flush_goes_first),
        cmocka_unit_test(a_copy_goes_through_the_threads),
        cmocka_unit_test(a_mend_without_memory_is_not_taken),
        cmocka_unit_test(a_drop_that_cannot_sync_is_told),
    };
    return cmocka_run_group_tests_name("store_threads_faults", tests, NULL, NULL);
}
