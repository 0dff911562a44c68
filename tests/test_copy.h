/* Copying a log from one store to another, for the tests of it: sources and targets, one session of
 * copying, and the proof that the target then is what the source is. */
#ifndef FTCHAT_TESTS_TEST_COPY_H
#define FTCHAT_TESTS_TEST_COPY_H

#include "core/random.h"
#include "tests/test_store.h"

enum { COPY_SEGMENT_BYTES = 1500, COPY_SEGMENTS = 7, COPY_PIECE_BYTES = 600 };

void test_must(enum ft_error error);

extern const struct test_flush test_form;

/* An entry of two commands. */
void test_add(struct test_store *test, uint64_t term);
/* Fills the segment that is open, and seals it with a checkpoint. */
void test_seal_one(struct test_store *test, uint64_t term);
/* A node whose log is `segments` sealed ones and two entries more. */
struct test_store *test_node(uint64_t seed, int segments, bool retains);
/* Drops what is older than so many bytes, if a checkpoint lets it; where the log begins then. */
uint64_t test_retain(struct test_store *test, uint64_t keep_bytes, enum ft_error *error);

struct copy_session {
    struct test_store *source;
    struct test_store *target;
    bool whole;
    bool resumed;
    unsigned pieces;
    unsigned refused;
    size_t piece_bytes;  /* at most in one piece; 0: COPY_PIECE_BYTES */
    unsigned spoil_each; /* one piece in so many comes with a wrong byte; 0: none */
    struct random random;
    bool installing;        /* from here on only a new start helps */
    void (*watch)(bool on); /* told before and after the target does something; or NULL */
};

struct store_copy_plan copy_offer(const struct copy_session *session);
/* One piece of the source's, to the target. */
enum ft_error copy_fetch(struct copy_session *session, struct store_copy_state *state);
/* From opening the target to having opened it with the copy in place. */
enum ft_error copy_run(struct copy_session *session);
/* The same of one that is open. */
enum ft_error copy_go(struct copy_session *session);
/* For store_verify: there is no damage. */
void test_no_damage(void *ctx, const struct store_damage *damage);
/* The target has what the source has sealed, proves it, serves its history, and goes on. */
void copy_same(struct copy_session *session, uint64_t begin);
void copy_finish(struct copy_session *session, uint64_t begin);

enum copy_target_kind { TARGET_BLANK, TARGET_BEHIND, TARGET_DIVERGED, TARGET_OVERTAKEN, TARGETS };

struct test_store *copy_source(enum copy_target_kind kind, int segments);
/* Closed, as it lies on its disk before the copying. */
struct test_store *copy_target(enum copy_target_kind kind);

#endif
