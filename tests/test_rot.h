/* A small store that has a file of each kind, and the parts of it that verify tells apart. */
#ifndef FTCHAT_TESTS_TEST_ROT_H
#define FTCHAT_TESTS_TEST_ROT_H

#include "tests/test_store.h"

enum { ROT_PARTS_MAX = 40 };

/* A log that begins above 1 with a sealed segment, a full one and one that is being filled; two
 * checkpoints, an index with a deletion, votes in both pairs, a held log, a copy that was begun. */
struct test_store *rot_store(void);
struct test_store *rot_copy(const struct test_store *from);
/* Three records from number `first` on, as one append to the held log. */
void rot_hold(struct test_store *test, uint64_t first);

struct rot_part {
    char path[DISK_PATH_BYTES];
    uint64_t from;
    uint64_t to;
    bool alone; /* what it says is needed to prove the others */
    bool zeros; /* behind a segment's end */
    unsigned flips;
    unsigned named;
};

struct rot_parts {
    struct rot_part list[ROT_PARTS_MAX];
    size_t count;
    uint64_t most; /* bits of the longest */
};

void rot_parts_find(struct rot_parts *parts, struct test_store *test);
static inline uint64_t rot_bits(const struct rot_part *part)
{
    return (part->to - part->from) * 8;
}
void rot_flip(struct test_store *test, struct rot_part *part, uint64_t bit);
/* Notes in each part how often verify names it. */
void rot_verify(struct test_store *test, struct rot_parts *parts);
/* verify names each part that has a flipped bit, and no other. `bit` is for whoever reads of it. */
void rot_expect_named(struct test_store *test, struct rot_parts *parts, uint64_t bit);
/* After test_store_open: entries that are not there are said to be lost, and each part that is there is
 * as it was. */
void rot_expect_unchanged(struct test_store *test);
/* FULL=1 in the environment: every bit, for minutes. */
bool rot_full(void);

#endif
