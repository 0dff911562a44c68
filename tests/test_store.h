/* A store over the simulated disk with a model beside it, for the store's tests.
 *
 * Every command's body is a function of its index and its term, so that the model only keeps the
 * terms: whatever is read back can be proved or shown to be invented. */
#ifndef FTCHAT_TESTS_TEST_STORE_H
#define FTCHAT_TESTS_TEST_STORE_H

#include "store/internal.h"
#include "tests/sim/sim_disk.h"

enum {
    TEST_LOG_MAX = 4096, /* commands in a test's log */
    TEST_BUFFER_BYTES = 2 << 20,
    TEST_SEGMENT_BYTES = 3000,
};

extern const uint8_t test_cluster[IDENTITY_BYTES];
extern const uint8_t test_identity[IDENTITY_BYTES];

/* What the model knows of the log: terms[i] of index i, 0 when it is not there. */
struct test_log {
    uint64_t last;
    uint64_t terms[TEST_LOG_MAX];
    uint32_t counts[TEST_LOG_MAX];            /* of the entry that begins at this index */
    uint8_t chains[TEST_LOG_MAX][HASH_BYTES]; /* of the entry that ends at this index */
};

struct test_store {
    struct sim_disk *disk;
    struct store *store;
    struct store_recovery recovery;
    char why[256];
    uint64_t segment_bytes;
    uint64_t flush; /* the next number */
    unsigned opens; /* each would make another identity */
    struct test_log log;
};

struct test_store *test_store_new(uint64_t seed, uint64_t segment_bytes);
void test_store_free(struct test_store *test);
enum ft_error test_store_open(struct test_store *test);
void test_store_close(struct test_store *test);

uint32_t test_body(uint64_t index, uint64_t term, uint8_t *out);

/* `entries` entries of `count` commands each, one flush; what is before `from` is kept, the rest
 * truncated (from 0: append). The model follows only when the flush returned FT_OK. */
struct test_flush {
    uint32_t entries;
    uint32_t count;
    uint64_t term;
    uint64_t truncate_from;
    bool save_vote;
    uint8_t vote;
    bool save_cluster;
    struct store_lost lost;
};
enum ft_error test_flush(struct test_store *test, const struct test_flush *flush);
/* The model as it will be when the flush succeeds. */
void test_log_after(struct test_log *log, const struct test_flush *flush);

/* Reads everything in (after, last] back and proves it against `log`, or at each index from
 * `other_from` on, against `other` when it is not NULL. Returns the number of commands read. */
uint64_t test_read_all(struct test_store *test, uint64_t after, uint64_t last,
                       const struct test_log *log, const struct test_log *other);

#endif
