/* Two nodes with one log, one of which is harmed and mended with what the other has. For one source of a
 * program only. */
#ifndef FTCHAT_TESTS_TEST_MEND_H
#define FTCHAT_TESTS_TEST_MEND_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/test_copy.h"

enum { SEALED = 4, OPEN = 3, SEGMENTS = SEALED + OPEN, BUDGET = 1 << 20 };

static struct segment segments[SEGMENTS]; /* of the whole log */
static struct test_store *good;           /* another node, with the same log */
static struct test_store *test;
static uint8_t data[LIMIT_ENTRY_BYTES];

/* --- two nodes with one log ---------------------------------------------------------------------
 */

static inline struct test_store *like_good(void)
{
    struct test_store *made = test_store_new(1, COPY_SEGMENT_BYTES);
    sim_disk_free(made->disk);
    made->disk = sim_disk_copy(good->disk);
    made->flush = good->flush;
    made->log = good->log;
    return made;
}

/* Four sealed segments, and three that no checkpoint covers, the last of which has room. */
static inline void begin_closed(void)
{
    good = test_node(1, SEALED, true);
    while (good->store->segments_count < SEGMENTS)
        test_add(good, 1);
    test_add(good, 1);
    memcpy(segments, good->store->segments, sizeof segments);
    test = like_good();
}

static inline void begin(void)
{
    begin_closed();
    test_must(test_store_open(test));
}

static inline void end(void)
{
    test_store_free(test);
    test_store_free(good);
}

static inline void again(void)
{
    test_store_free(test);
    test = like_good();
    test_must(test_store_open(test));
}

static inline void flip(size_t number, uint64_t offset)
{
    char path[DISK_PATH_BYTES];
    segment_path(path, segments[number].first, "seg");
    assert_true(sim_disk_flip(test->disk, path, offset, 4));
}

static inline struct store_check checked(enum store_check_how how, enum store_file file,
                                         uint64_t id)
{
    struct store_check check = { .how = how, .file = file, .id = id, .upto = good->log.last };
    bool mended = false;
    do {
        test_must(store_check(test->store, &check, BUDGET));
        check.how = STORE_CHECK_AGAIN;
        mended |= check.mended;
    } while (check.result == STORE_MORE);
    check.mended = mended;
    return check;
}

static inline enum store_checked result(enum store_file file, uint64_t id)
{
    return checked(STORE_CHECK_FILE, file, id).result;
}

/* It is made good from what is here, once. */
static inline void expect_mended(enum store_file file, uint64_t id)
{
    struct store_check check = checked(STORE_CHECK_FILE, file, id);
    assert_true(check.mended);
    assert_int_equal(check.result, STORE_CLEAN);
    assert_false(checked(STORE_CHECK_FILE, file, id).mended);
}

/* The other node's entries from the one that holds `index` on, as many as come at once. */
static inline size_t fetch(uint64_t index)
{
    struct store_piece piece = { .kind = STORE_PIECE_ENTRIES, .index = index };
    size_t len;
    uint64_t size;
    test_must(store_read_piece(good->store, &piece, 600, data, &len, &size));
    assert_true(len > 0);
    return len;
}

static inline enum ft_error mend_entries(enum store_file file, uint64_t id, size_t len,
                                         uint64_t committed)
{
    struct store_mend mend = {
        .file = file, .id = id, .committed = committed, .data = { data, len }
    };
    enum ft_error error = store_mend(test->store, &mend);
    assert_int_equal(mend.done, error == FT_OK);
    return error;
}

/* All of it is as the other node's. */
static inline void whole(void)
{
    uint64_t entries;
    test_must(store_verify(test->store, test_no_damage, NULL, &entries));
    (void)test_read_all(test, test->store->begin - 1, good->log.last, &good->log, NULL);
}

#endif
