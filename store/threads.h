/* The program's two disk threads, so that its loop never waits for a disk.
 *
 *   log thread       flushes, one at a time, and nothing else. It has a file table of its own
 *                    (unshare(CLONE_FILES)) without the program's sockets: when the process is
 *                    killed in the middle of a long fdatasync, its connections close at once
 *                    instead of when the device answers. The folder's lock stays in it, so that a
 *                    successor waits for that write.
 *   reading thread   reads in the order of submission; between them chores (checkpoints, copying,
 *                    retention), likewise, a slice at a time, so that a read waits for a slice at
 *                    most and a chore for some reads; by itself: next segments, ahead of need, at
 *                    once when a flush has used up the spare; and after the chores, a slice at a
 *                    time, the erasing of what was deleted.
 *
 * All functions here are called by the loop's thread only. Completions are fetched with
 * store_threads_next after `wake_fd` (an eventfd of the caller's) became readable; the caller
 * empties the eventfd first. Until a flush's completion was fetched, its entries' memory must stay
 * valid and unchanged; everything else is copied at submission. What a completion points to belongs
 * to this module until store_threads_release. Times are microseconds, monotonic. */
#ifndef FTCHAT_STORE_THREADS_H
#define FTCHAT_STORE_THREADS_H

#include "store/store.h"

struct store_threads;

enum {
    STORE_READS_MAX =
        256, /* the node has 7 for peers, 7 for who copies, 193 for readers, 1 to apply */
    STORE_CHORES_MAX = 16,
};

enum store_completion_kind {
    STORE_DONE_FLUSH,        /* id: the flush's number */
    STORE_DONE_HOLD,         /* id: its number */
    STORE_DONE_READ_ENTRIES, /* data: whole entries; len 0: not there */
    STORE_DONE_READ_POSTS,   /* data: records; answer */
    STORE_DONE_READ_PIECE,   /* data; len 0: not there; size */
    STORE_DONE_CHECKPOINT,   /* id: its index */
    STORE_DONE_CHECK,        /* check */
    STORE_DONE_MEND,         /* mend, without its data */
    STORE_DONE_RETAIN,       /* id: where the log begins now */
    STORE_DONE_COPY,         /* id: the step; copy */
    STORE_DONE_NOTICED,      /* not asked for: check's file and id are damaged */
    STORE_DONE_SCRUB,        /* not asked for: an error, or all is done and there was something; scrubbed */
    STORE_DONE_PREPARE,      /* not asked for: error SPACE: the disk is full, writes will be refused
                                soon; FT_OK: it is no longer; told at each change */
};

struct store_completion {
    enum store_completion_kind kind;
    enum ft_error error;
    uint64_t id;
    uint64_t duration_us; /* of the work alone, without the time in the queue */
    const uint8_t *data;
    size_t len;
    uint64_t size;
    struct store_answer answer;
    struct store_check check;
    struct store_mend mend;
    struct store_copy_state copy;
    struct store_scrubbed scrubbed;
};

enum store_copy_step {
    STORE_COPY_BEGIN = 1,
    STORE_COPY_WRITE,
    STORE_COPY_INSTALL,
    STORE_COPY_DROP
};
struct store_copy_job {
    enum store_copy_step step;
    struct store_copy_plan plan;
    struct store_piece piece;
    uint64_t size;
    struct slice data;
};

/* `disk` is the posix disk that `store` was opened on. */
enum ft_error store_threads_start(struct store_threads **threads, struct store *store,
                                  const struct disk *disk, int wake_fd) FT_MUST_USE;
/* Finishes what was submitted and ends both threads. What is still to be fetched is dropped. */
void store_threads_stop(struct store_threads *threads);
/* True: unshare was refused, the log thread shares the file table (to be logged once). */
bool store_threads_shares_files(const struct store_threads *threads);

/* At most one flush is out at a time: submitting a second one is a programmer's error. */
void store_threads_submit_flush(struct store_threads *threads, const struct store_flush *flush);
/* Likewise: one at a time, its entry's memory stays as it is until its completion was fetched. A flush that
 * waits too goes first. */
void store_threads_submit_hold(struct store_threads *threads, const struct store_hold *hold);
/* False: the queue of STORE_READS_MAX is full, or there is no memory: try again later. */
bool store_threads_submit_read_entries(struct store_threads *threads, uint64_t id, uint64_t index,
                                       size_t capacity) FT_MUST_USE;
bool store_threads_submit_read_posts(struct store_threads *threads, uint64_t id,
                                     const struct store_query *query, size_t capacity) FT_MUST_USE;
bool store_threads_submit_read_piece(struct store_threads *threads, uint64_t id,
                                     const struct store_piece *piece, size_t want) FT_MUST_USE;
bool store_threads_submit_retain(struct store_threads *threads,
                                 const struct store_retention *retention) FT_MUST_USE;
/* DROP has no completion. */
bool store_threads_submit_copy(struct store_threads *threads,
                               const struct store_copy_job *copy) FT_MUST_USE;
bool store_threads_submit_check(struct store_threads *threads,
                                const struct store_check *check) FT_MUST_USE;
bool store_threads_submit_mend(struct store_threads *threads,
                               const struct store_mend *mend) FT_MUST_USE;
bool store_threads_submit_checkpoint(struct store_threads *threads, uint64_t index,
                                     struct slice state) FT_MUST_USE;

bool store_threads_next(struct store_threads *threads, struct store_completion *completion);
void store_threads_release(struct store_completion *completion);

#endif
