#include "store/threads.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "core/check.h"
#include "store/internal.h"

#ifndef SYS_close_range
#define SYS_close_range 436
#endif

enum {
    STACK_BYTES = 256 << 10,
    WORDS_MAX = 8, /* of what nobody asked for, until they are fetched */
    COMPLETIONS_MAX = STORE_READS_MAX + STORE_CHORES_MAX + 2 + WORDS_MAX, /* a flush, a hold */
    SLICE_BYTES = 1 << 20,                                                /* of a check */
    READS_IN_A_ROW = 8, /* then a slice of a chore, if one waits */
    RETRY_S = 1,        /* a full disk is asked again so often */
    OPEN_MAX_GUESS = 65536,
};

struct job {
    enum store_completion_kind kind;
    uint64_t id;
    uint64_t index;
    size_t capacity;
    struct store_query query;
    struct store_piece piece;
    struct store_retention retention;
    struct store_copy_job copy;
    struct store_check check;
    struct store_mend mend;
    uint8_t *copied; /* a query's rooms, a checkpoint's state, a piece's data */
    size_t copied_len;
    bool begun; /* a chore's first slice was done */
};

/* A ring of them. */
struct jobs {
    struct job *list;
    size_t capacity;
    size_t first;
    size_t count;
    size_t outstanding; /* submitted and not yet fetched */
};

struct store_threads {
    struct store *store;
    const struct disk *disk;
    int wake_fd;
    pthread_t log_thread;
    pthread_t reading_thread;

    pthread_mutex_t mutex; /* of all that follows */
    pthread_cond_t log_work;
    pthread_cond_t reading_work;
    bool stopping;
    bool shares_files;
    bool log_started;
    bool flush_out; /* from submission until its completion was fetched */
    bool flush_waits;
    struct store_flush flush;
    bool hold_out; /* as flush_out */
    bool hold_waits;
    struct store_hold hold;
    struct job read_list[STORE_READS_MAX];
    struct job chore_list[STORE_CHORES_MAX];
    struct jobs reads;
    struct jobs chores;
    unsigned reads_in_a_row;
    struct store_completion completions[COMPLETIONS_MAX];
    size_t completions_first;
    size_t completions_count;
    enum ft_error prepare_error;    /* told last */
    struct store_scrubbed scrubbed; /* and not told yet */
};

static uint64_t now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static bool asked_for(enum store_completion_kind kind)
{
    return kind <= STORE_DONE_COPY;
}

static void complete(struct store_threads *threads, const struct store_completion *completion)
{
    pthread_mutex_lock(&threads->mutex);
    CHECK(threads->completions_count < COMPLETIONS_MAX);
    size_t at = (threads->completions_first + threads->completions_count++) % COMPLETIONS_MAX;
    threads->completions[at] = *completion;
    pthread_mutex_unlock(&threads->mutex);
    ssize_t written;
    do {
        written = write(threads->wake_fd, &(uint64_t) { 1 }, sizeof(uint64_t));
    } while (written < 0 && errno == EINTR);
}

/* --- the log thread ------------------------------------------------------------------------------
 */

static void close_between(int first, int last)
{
    if (first > last)
        return;
    if (syscall(SYS_close_range, (unsigned)first, (unsigned)last, 0u) == 0)
        return;
    long most = sysconf(_SC_OPEN_MAX);
    if (most < 0 || most > OPEN_MAX_GUESS)
        most = OPEN_MAX_GUESS;
    for (int fd = first; fd <= last && fd < most; fd++)
        close(fd);
}

static int by_value(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

/* A file table of its own, without what the loop's thread had open. Not under ThreadSanitizer: it
 * knows descriptors by number only and takes those of two tables for one. */
static bool own_files(struct store_threads *threads)
{
#ifdef __SANITIZE_THREAD__
    if (threads)
        return false;
#endif
    if (unshare(CLONE_FILES) != 0)
        return false;
    int keep[] = { STDERR_FILENO, threads->wake_fd, disk_posix_folder(threads->disk),
                   disk_posix_descriptor(threads->store->lock) };
    enum { KEPT = sizeof keep / sizeof keep[0] };
    qsort(keep, KEPT, sizeof keep[0], by_value);
    int next = STDERR_FILENO + 1;
    for (size_t i = 0; i < KEPT; i++) {
        close_between(next, keep[i] - 1);
        if (keep[i] >= next)
            next = keep[i] + 1;
    }
    close_between(next, INT32_MAX);
    return true;
}

/* Called and returns with the mutex. */
static void do_hold(struct store_threads *threads)
{
    threads->hold_waits = false;
    struct store_hold hold = threads->hold;
    pthread_mutex_unlock(&threads->mutex);
    uint64_t start = now_us();
    enum ft_error error = store_hold(threads->store, &hold);
    struct store_completion done = {
        .kind = STORE_DONE_HOLD, .id = hold.number, .error = error, .duration_us = now_us() - start
    };
    complete(threads, &done);
    pthread_mutex_lock(&threads->mutex);
}

static void *log_main(void *ctx)
{
    struct store_threads *threads = ctx;
    bool own = own_files(threads);
    pthread_mutex_lock(&threads->mutex);
    threads->shares_files = !own;
    threads->log_started = true;
    pthread_cond_broadcast(&threads->reading_work);
    while (!threads->stopping || threads->flush_waits || threads->hold_waits) {
        if (!threads->flush_waits && threads->hold_waits) {
            do_hold(threads);
            continue;
        }
        if (!threads->flush_waits) {
            pthread_cond_wait(&threads->log_work, &threads->mutex);
            continue;
        }
        threads->flush_waits = false;
        struct store_flush flush = threads->flush;
        pthread_mutex_unlock(&threads->mutex);
        uint64_t start = now_us();
        enum ft_error error = store_flush(threads->store, &flush);
        struct store_completion done = { .kind = STORE_DONE_FLUSH,
                                         .id = flush.number,
                                         .error = error,
                                         .duration_us = now_us() - start };
        complete(threads, &done);
        pthread_mutex_lock(&threads->mutex);
        pthread_cond_signal(&threads->reading_work); /* a segment may have to be prepared */
    }
    pthread_mutex_unlock(&threads->mutex);
    /* In this thread's table, not in that of whoever closes the store. */
    log_forget(threads->store);
    return NULL;
}

/* --- the reading thread
 * --------------------------------------------------------------------------- */

/* Is there room for one more word that nobody asked for? The answers' own is not touched. */
static bool room_for_word(struct store_threads *threads)
{
    size_t words = 0;
    pthread_mutex_lock(&threads->mutex);
    for (size_t i = 0; i < threads->completions_count; i++)
        words += !asked_for(
            threads->completions[(threads->completions_first + i) % COMPLETIONS_MAX].kind);
    pthread_mutex_unlock(&threads->mutex);
    return words < WORDS_MAX;
}

/* Damage that reads came upon. What there is no room for is found again. */
static void tell_noticed(struct store_threads *threads)
{
    struct store_completion done = { .kind = STORE_DONE_NOTICED };
    while ((done.check.file = store_noticed(threads->store, &done.check.id)) != STORE_FILE_NONE)
        if (room_for_word(threads))
            complete(threads, &done);
}

static void do_read(struct store_threads *threads, struct job *job)
{
    struct store_completion done = { .kind = job->kind, .id = job->id };
    uint64_t start = now_us();
    bool piece = job->kind == STORE_DONE_READ_PIECE;
    uint8_t *out = malloc(piece ? LIMIT_ENTRY_BYTES : job->capacity);
    done.error = out ? FT_OK : FT_ERROR_LIMIT;
    if (!done.error && job->kind == STORE_DONE_READ_ENTRIES)
        done.error = store_read_entries(threads->store, job->index, out, job->capacity, &done.len);
    if (!done.error && piece)
        done.error = store_read_piece(threads->store, &job->piece, job->capacity, out, &done.len,
                                      &done.size);
    if (!done.error && job->kind == STORE_DONE_READ_POSTS) {
        done.error =
            store_read_posts(threads->store, &job->query, out, job->capacity, &done.answer);
        done.len = done.answer.len;
    }
    if (done.error)
        done.len = 0;
    if (out && done.len == 0) {
        free(out);
        out = NULL;
    } else if (out) {
        uint8_t *fitted = realloc(out, done.len);
        if (fitted)
            out = fitted;
    }
    free(job->copied);
    done.data = out;
    done.duration_us = now_us() - start;
    complete(threads, &done);
    tell_noticed(threads);
}

static enum ft_error do_copy(struct store *store, const struct job *job,
                             struct store_copy_state *state)
{
    const struct store_copy_job *copy = &job->copy;
    switch (copy->step) {
    case STORE_COPY_BEGIN:
        return store_copy_begin(store, &copy->plan, state);
    case STORE_COPY_WRITE:
        return store_copy_write(store, &copy->piece, copy->size,
                                (struct slice) { job->copied, job->copied_len }, state);
    case STORE_COPY_INSTALL:
        return store_copy_install(store);
    default:
        CHECK(copy->step == STORE_COPY_DROP);
        return store_copy_drop(store);
    }
}

/* *finished: not only a slice of it. */
static enum ft_error do_check(struct store *store, struct job *job, bool *finished)
{
    uint64_t bytes = job->check.bytes;
    bool round = job->check.round;
    bool mended = job->check.mended;
    enum ft_error error = store_check(store, &job->check, SLICE_BYTES);
    job->check.bytes += bytes;
    job->check.round |= round;
    job->check.mended |= mended;
    job->check.how = STORE_CHECK_AGAIN;
    *finished = error || job->check.result != STORE_MORE;
    return error;
}

/* One slice of a chore; false: there is more of it to do. */
static bool do_chore(struct store_threads *threads, struct job *job)
{
    struct store_completion done = { .kind = job->kind, .id = job->id };
    bool finished = true;
    uint64_t start = now_us();
    if (job->kind == STORE_DONE_CHECKPOINT) {
        struct slice state = { job->copied, job->copied_len };
        done.error = job->begun ? FT_OK : store_checkpoint_begin(threads->store, job->index, state);
        job->begun = true;
        if (!done.error)
            done.error = store_checkpoint_step(threads->store, &finished);
    } else if (job->kind == STORE_DONE_CHECK) {
        done.error = do_check(threads->store, job, &finished);
        done.check = job->check;
    } else if (job->kind == STORE_DONE_MEND) {
        job->mend.data = (struct slice) { job->copied, job->copied_len };
        done.error = store_mend(threads->store, &job->mend);
        done.mend = job->mend;
        done.mend.data = (struct slice) { NULL, 0 };
    } else if (job->kind == STORE_DONE_RETAIN) {
        done.error = store_retain(threads->store, &job->retention, &done.id);
    } else {
        done.error = do_copy(threads->store, job, &done.copy);
    }
    done.duration_us = now_us() - start;
    if (!done.error && !finished)
        return false;
    free(job->copied);
    if (job->kind == STORE_DONE_COPY && job->copy.step == STORE_COPY_DROP &&
        done.error != FT_ERROR_SYNC) {
        pthread_mutex_lock(&threads->mutex);
        threads->chores.outstanding--;
        pthread_mutex_unlock(&threads->mutex);
    } else {
        complete(threads, &done);
    }
    return true;
}

/* Makes the next segment when it is due; tells when that begins or ceases to fail. */
static void prepare(struct store_threads *threads)
{
    if (!store_wants_prepare(threads->store))
        return;
    uint64_t start = now_us();
    enum ft_error error = store_prepare(threads->store);
    if (error == threads->prepare_error)
        return;
    threads->prepare_error = error;
    struct store_completion done = { .kind = STORE_DONE_PREPARE,
                                     .error = error,
                                     .duration_us = now_us() - start };
    if (room_for_word(threads))
        complete(threads, &done);
    else
        threads->prepare_error = FT_ERROR_EXISTS; /* told the next time */
}

/* Under the mutex: is there something before erasing? */
static bool has_work(const struct store_threads *threads)
{
    return threads->chores.count ||
           (threads->reads.count && threads->reads_in_a_row < READS_IN_A_ROW);
}

/* A slice of erasing; tells when that is done, or fails. */
static void scrub(struct store_threads *threads)
{
    struct store_scrubbed slice;
    struct store_completion done = { .kind = STORE_DONE_SCRUB };
    uint64_t start = now_us();
    done.error = store_scrub(threads->store, &slice);
    done.duration_us = now_us() - start;
    threads->scrubbed.erased += slice.erased;
    threads->scrubbed.rotten += slice.rotten;
    threads->scrubbed.refused += slice.refused;
    threads->reads_in_a_row = 0;
    if (!done.error && store_wants_scrub(threads->store))
        return;
    done.scrubbed = threads->scrubbed;
    threads->scrubbed = (struct store_scrubbed) { 0 };
    bool any = done.scrubbed.erased || done.scrubbed.rotten || done.scrubbed.refused;
    if (done.error || any)
        complete(threads, &done);
}

static struct job jobs_take(struct jobs *jobs)
{
    struct job job = jobs->list[jobs->first];
    jobs->first = (jobs->first + 1) % jobs->capacity;
    jobs->count--;
    return job;
}

/* Under the mutex, which is let go meanwhile: a read, or a slice of a chore. */
static void work(struct store_threads *threads)
{
    bool chore = threads->chores.count &&
                 (!threads->reads.count || threads->reads_in_a_row >= READS_IN_A_ROW);
    if (chore) {
        threads->reads_in_a_row = 0;
        /* It stays the first until it is finished; only this thread takes from the ring. */
        struct job *first = &threads->chores.list[threads->chores.first];
        struct job job = *first;
        pthread_mutex_unlock(&threads->mutex);
        bool finished = do_chore(threads, &job);
        pthread_mutex_lock(&threads->mutex);
        if (finished)
            (void)jobs_take(&threads->chores);
        else
            *first = job;
    } else {
        threads->reads_in_a_row++;
        struct job job = jobs_take(&threads->reads);
        pthread_mutex_unlock(&threads->mutex);
        do_read(threads, &job);
        pthread_mutex_lock(&threads->mutex);
    }
}

static void *reading_main(void *ctx)
{
    struct store_threads *threads = ctx;
    pthread_mutex_lock(&threads->mutex);
    while (!threads->stopping || threads->reads.count || threads->chores.count) {
        pthread_mutex_unlock(&threads->mutex);
        prepare(threads);
        bool wants_scrub = store_wants_scrub(threads->store) && room_for_word(threads);
        pthread_mutex_lock(&threads->mutex);
        if (wants_scrub && !threads->stopping && !has_work(threads)) {
            pthread_mutex_unlock(&threads->mutex);
            scrub(threads);
            pthread_mutex_lock(&threads->mutex);
        } else if (threads->reads.count || threads->chores.count) {
            work(threads);
        } else if (!threads->stopping && threads->prepare_error) {
            struct timespec until;
            clock_gettime(CLOCK_MONOTONIC, &until);
            until.tv_sec += RETRY_S;
            pthread_cond_timedwait(&threads->reading_work, &threads->mutex, &until);
        } else if (!threads->stopping) {
            pthread_cond_wait(&threads->reading_work, &threads->mutex);
        }
    }
    pthread_mutex_unlock(&threads->mutex);
    return NULL;
}

/* --- for the loop's thread
 * ------------------------------------------------------------------------ */

static bool start_thread(pthread_t *thread, void *(*run)(void *), void *ctx)
{
    pthread_attr_t attributes;
    sigset_t all;
    sigset_t before;
    if (pthread_attr_init(&attributes) != 0)
        return false;
    (void)pthread_attr_setstacksize(&attributes, STACK_BYTES);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are the loop's */
    bool started = pthread_create(thread, &attributes, run, ctx) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return started;
}

enum ft_error store_threads_start(struct store_threads **threads, struct store *store,
                                  const struct disk *disk, int wake_fd)
{
    CHECK(store->disk == disk);
    CHECK(wake_fd > STDERR_FILENO);
    struct store_threads *made = calloc(1, sizeof *made);
    if (!made)
        return FT_ERROR_LIMIT;
    made->store = store;
    made->disk = disk;
    made->wake_fd = wake_fd;
    made->reads = (struct jobs) { .list = made->read_list, .capacity = STORE_READS_MAX };
    made->chores = (struct jobs) { .list = made->chore_list, .capacity = STORE_CHORES_MAX };
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&made->mutex, NULL);
    pthread_cond_init(&made->log_work, &monotonic);
    pthread_cond_init(&made->reading_work, &monotonic);
    pthread_condattr_destroy(&monotonic);
    log_forget(store); /* the log thread opens its own */
    if (!start_thread(&made->log_thread, log_main, made)) {
        free(made);
        return FT_ERROR_LIMIT;
    }
    /* The log thread has its table before the caller opens anything more. */
    pthread_mutex_lock(&made->mutex);
    while (!made->log_started)
        pthread_cond_wait(&made->reading_work, &made->mutex);
    pthread_mutex_unlock(&made->mutex);
    if (!start_thread(&made->reading_thread, reading_main, made)) {
        pthread_mutex_lock(&made->mutex);
        made->stopping = true;
        pthread_cond_signal(&made->log_work);
        pthread_mutex_unlock(&made->mutex);
        pthread_join(made->log_thread, NULL);
        free(made);
        return FT_ERROR_LIMIT;
    }
    *threads = made;
    return FT_OK;
}

void store_threads_stop(struct store_threads *threads)
{
    pthread_mutex_lock(&threads->mutex);
    threads->stopping = true;
    pthread_cond_signal(&threads->log_work);
    pthread_cond_signal(&threads->reading_work);
    pthread_mutex_unlock(&threads->mutex);
    pthread_join(threads->log_thread, NULL);
    pthread_join(threads->reading_thread, NULL);
    struct store_completion left;
    while (store_threads_next(threads, &left))
        store_threads_release(&left);
    pthread_cond_destroy(&threads->log_work);
    pthread_cond_destroy(&threads->reading_work);
    pthread_mutex_destroy(&threads->mutex);
    free(threads);
}

bool store_threads_shares_files(const struct store_threads *threads)
{
    return threads->shares_files; /* decided before store_threads_start returned */
}

void store_threads_submit_flush(struct store_threads *threads, const struct store_flush *flush)
{
    pthread_mutex_lock(&threads->mutex);
    CHECK(!threads->flush_out);
    CHECK(!threads->stopping);
    threads->flush_out = true;
    threads->flush_waits = true;
    threads->flush = *flush;
    pthread_cond_signal(&threads->log_work);
    pthread_mutex_unlock(&threads->mutex);
}

void store_threads_submit_hold(struct store_threads *threads, const struct store_hold *hold)
{
    pthread_mutex_lock(&threads->mutex);
    CHECK(!threads->hold_out);
    CHECK(!threads->stopping);
    threads->hold_out = true;
    threads->hold_waits = true;
    threads->hold = *hold;
    pthread_cond_signal(&threads->log_work);
    pthread_mutex_unlock(&threads->mutex);
}

/* Takes over job->copied, also when it is refused. */
static bool submit(struct store_threads *threads, struct jobs *jobs, const struct job *job)
{
    pthread_mutex_lock(&threads->mutex);
    CHECK(!threads->stopping);
    bool room = jobs->outstanding < jobs->capacity;
    if (room) {
        jobs->outstanding++;
        jobs->list[(jobs->first + jobs->count++) % jobs->capacity] = *job;
        pthread_cond_signal(&threads->reading_work);
    }
    pthread_mutex_unlock(&threads->mutex);
    if (!room)
        free(job->copied);
    return room;
}

static bool copy_into(struct job *job, struct slice data)
{
    job->copied_len = data.len;
    job->copied = malloc(data.len + 1);
    if (!job->copied)
        return false;
    if (data.len)
        memcpy(job->copied, data.data, data.len);
    return true;
}

bool store_threads_submit_read_entries(struct store_threads *threads, uint64_t id, uint64_t index,
                                       size_t capacity)
{
    CHECK(capacity > 0);
    return submit(
        threads, &threads->reads,
        &(struct job) {
            .kind = STORE_DONE_READ_ENTRIES, .id = id, .index = index, .capacity = capacity });
}

bool store_threads_submit_read_posts(struct store_threads *threads, uint64_t id,
                                     const struct store_query *query, size_t capacity)
{
    CHECK(capacity > 0);
    struct job job = {
        .kind = STORE_DONE_READ_POSTS, .id = id, .query = *query, .capacity = capacity
    };
    if (query->rooms_count) {
        struct store_room_range *rooms = calloc(query->rooms_count, sizeof *rooms);
        if (!rooms)
            return false;
        memcpy(rooms, query->rooms, query->rooms_count * sizeof *rooms);
        job.query.rooms = rooms;
        job.copied = (uint8_t *)rooms;
    }
    return submit(threads, &threads->reads, &job);
}

bool store_threads_submit_read_piece(struct store_threads *threads, uint64_t id,
                                     const struct store_piece *piece, size_t want)
{
    CHECK(want > 0 && want <= LIMIT_ENTRY_BYTES);
    return submit(threads, &threads->reads,
                  &(struct job) {
                      .kind = STORE_DONE_READ_PIECE, .id = id, .piece = *piece, .capacity = want });
}

bool store_threads_submit_retain(struct store_threads *threads,
                                 const struct store_retention *retention)
{
    return submit(threads, &threads->chores,
                  &(struct job) { .kind = STORE_DONE_RETAIN, .retention = *retention });
}

bool store_threads_submit_copy(struct store_threads *threads, const struct store_copy_job *copy)
{
    struct job job = { .kind = STORE_DONE_COPY, .id = copy->step, .copy = *copy };
    job.copy.data = (struct slice) { NULL, 0 };
    if (!copy_into(&job, copy->data))
        return false;
    return submit(threads, &threads->chores, &job);
}

bool store_threads_submit_check(struct store_threads *threads, const struct store_check *check)
{
    return submit(threads, &threads->chores,
                  &(struct job) { .kind = STORE_DONE_CHECK, .check = *check });
}

bool store_threads_submit_mend(struct store_threads *threads, const struct store_mend *mend)
{
    struct job job = { .kind = STORE_DONE_MEND, .mend = *mend, .copied_len = mend->data.len };
    job.copied = malloc(mend->data.len + 1);
    if (!job.copied)
        return false;
    if (mend->data.len)
        memcpy(job.copied, mend->data.data, mend->data.len);
    return submit(threads, &threads->chores, &job);
}

bool store_threads_submit_checkpoint(struct store_threads *threads, uint64_t index,
                                     struct slice state)
{
    struct job job = { .kind = STORE_DONE_CHECKPOINT, .id = index, .index = index };
    if (!copy_into(&job, state))
        return false;
    return submit(threads, &threads->chores, &job);
}

bool store_threads_next(struct store_threads *threads, struct store_completion *completion)
{
    pthread_mutex_lock(&threads->mutex);
    bool any = threads->completions_count > 0;
    if (any) {
        *completion = threads->completions[threads->completions_first];
        threads->completions_first = (threads->completions_first + 1) % COMPLETIONS_MAX;
        threads->completions_count--;
        if (completion->kind == STORE_DONE_FLUSH)
            threads->flush_out = false;
        else if (completion->kind == STORE_DONE_HOLD)
            threads->hold_out = false;
        else if (completion->kind < STORE_DONE_CHECKPOINT)
            threads->reads.outstanding--;
        else if (completion->kind <= STORE_DONE_COPY)
            threads->chores.outstanding--;
    }
    pthread_mutex_unlock(&threads->mutex);
    return any;
}

void store_threads_release(struct store_completion *completion)
{
    free((uint8_t *)(uintptr_t)completion->data);
    completion->data = NULL;
    completion->len = 0;
}
