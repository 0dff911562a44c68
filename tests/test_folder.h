/* A folder with everything in it, and all that can be asked of it: a log that begins above 1, segments
 * with their indexes and one without, checkpoints, held files, leftovers. */
#ifndef FTCHAT_TESTS_TEST_FOLDER_H
#define FTCHAT_TESTS_TEST_FOLDER_H

#include "tests/test_copy.h"

enum {
    FOLDER_OUT_BYTES = 1 << 20,
    /* The numbers of the questions: */
    FOLDER_PARTLY = 14, /* from here on, the answer may be the beginning of the right one */
    FOLDER_AS_IT_IS =
        14, /* up to FOLDER_PROVEN: files as they lie, which whoever gets them proves */
    FOLDER_PROVEN = 21,
    FOLDER_VERIFY = 24, /* is all of it sound? */
    FOLDER_QUESTIONS = 28,
};

/* Open, with three held records in two files. */
struct test_store *folder_new(void);
/* A test's store on a copy of the disk of one that is closed. */
struct test_store *folder_like(const struct test_store *before);
/* Closes it and opens it again. */
void folder_reopen(struct test_store *test);
/* The postings that are in memory only come again after a start. */
void folder_post_rest(struct test_store *test);
/* A record of 700 bytes, number `first`. */
enum ft_error folder_hold(struct test_store *test, uint64_t first);

struct folder_reply {
    size_t len;
    uint8_t bytes[FOLDER_OUT_BYTES + 256];
};
enum ft_error folder_ask(struct test_store *test, unsigned number, struct folder_reply *reply);

#endif
