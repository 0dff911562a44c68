/* A store on a real folder, with its two threads, for the tests of them. */
#ifndef FTCHAT_TESTS_TEST_THREADS_H
#define FTCHAT_TESTS_TEST_THREADS_H

#include "store/threads.h"
#include "tests/test_store.h"

enum { REAL_ENTRIES = 400, REAL_SEGMENT_BYTES = 65536 };

struct real {
    char path[64];
    struct disk disk; /* its functions may be replaced before real_open */
    struct store *store;
    struct store_recovery recovery;
    struct store_threads *threads;
    int wake_fd;
    char why[256];
};

/* A new folder; then a store in it, and its threads. */
void real_make(struct real *real);
enum ft_error real_open(struct real *real);
void real_run(struct real *real);
/* All three. */
void real_start(struct real *real);
void real_stop(struct real *real);
/* The next completion that is not about preparing. */
struct store_completion real_wait(struct real *real, enum store_completion_kind kind);
/* So many flushes of one entry of one command each, which is a post of room 1 + index % 3. */
void real_fill(struct real *real, uint64_t entries);
/* One of them, into 8192 bytes; the chain goes on. */
size_t real_entry(uint8_t *out, uint64_t index, uint8_t chain[HASH_BYTES], uint64_t flush);

#endif
