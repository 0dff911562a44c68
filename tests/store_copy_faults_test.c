/* Copying a log while everything that can fail does so once, and from sources that lie. What fails is
 * told, and gone on with by the same process or the next one; what is damaged or does not fit together
 * is fetched anew; and in the end the log is the other's, or the node's own as it was. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cmd/crypto_sodium.h"
#include "store/index_format.h"
#include "tests/test_copy.h"
#include "tests/test_heap.h"

enum { SEGMENTS = 5, PIECE_BYTES = 16000 };

static void watch(bool on)
{
    heap.watching = on;
}

/* On a copy of the disk of one that is closed. */
static struct test_store *like(const struct test_store *before)
{
    struct test_store *test = test_store_new(1, COPY_SEGMENT_BYTES);
    sim_disk_free(test->disk);
    test->disk = sim_disk_copy(before->disk);
    test->flush = before->flush;
    heap_spares(test->disk);
    return test;
}

/* --- what fails ---------------------------------------------------------------------------------
 */

struct each {
    enum copy_target_kind kind;
    enum ft_error error; /* of the disk's call; FT_ERROR_LIMIT: of an allocation */
};

/* The `at`th from now on fails. */
static void arm(enum ft_error error, struct test_store *target, uint64_t at)
{
    heap.count = 0;
    if (error == FT_ERROR_LIMIT)
        heap.fail_at = at;
    else
        sim_disk_fail_call(target->disk, at, error);
}

/* False: nothing has failed, there were not so many. */
static bool disarm(enum ft_error error, struct test_store *target, uint64_t at)
{
    bool reached = error == FT_ERROR_LIMIT ? heap.count >= at : sim_disk_calls(target->disk) >= at;
    heap.fail_at = 0;
    sim_disk_fail_call(target->disk, 0, FT_OK);
    return reached;
}

/* What a node does when copying failed: it begins again, or, when it cannot go on, starts again, after
 * a loss of power for good measure. */
static void go_on(struct copy_session *session, enum ft_error error, uint64_t seed)
{
    struct test_store *target = session->target;
    bool can = target->store && !session->installing && error != FT_ERROR_SYNC &&
               !target->store->log.failed;
    if (can && seed % 2) {
        test_must(copy_go(session));
        return;
    }
    if (!target->store)
        assert_true(strlen(target->why) > 10); /* what to do about it */
    test_store_close(target);
    sim_disk_crash(target->disk, seed);
    session->installing = false;
    test_must(copy_run(session));
}

static void fails_in_turn(const struct each *each)
{
    struct test_store *source = copy_source(each->kind, SEGMENTS);
    struct test_store *before = copy_target(each->kind);
    uint64_t begin = each->kind == TARGET_OVERTAKEN ? source->store->begin : 1;
    uint64_t at = 1, told = 0;
    for (bool reached = true; reached; at++) {
        struct copy_session session = { .source = source,
                                        .target = like(before),
                                        .piece_bytes = each->kind == TARGET_BLANK ? 0 : PIECE_BYTES,
                                        .watch = watch };
        arm(each->error, session.target, at);
        enum ft_error error = copy_run(&session);
        reached = disarm(each->error, session.target, at);
        told += error != FT_OK;
        if (error)
            go_on(&session, error, at);
        if (session.target->recovery.damages) { /* it has opened by less than there is */
            test_store_close(session.target);
            test_must(test_store_open(session.target));
            assert_int_equal(session.target->recovery.damages, 0);
        }
        /* A plan that could not be read is forgotten, and what was copied with it. */
        if (session.target->store->indexed_last < source->store->indexed_last)
            test_must(copy_go(&session));
        copy_same(&session, begin);
        test_store_free(session.target);
    }
    assert_true(told > at / 2);
    test_store_free(source);
    test_store_free(before);
}

static void each_call_of_the_disk_fails_once(void **state)
{
    (void)state;
    static const struct each each[] = {
        { TARGET_BLANK, FT_ERROR_IO },
        { TARGET_BEHIND, FT_ERROR_SPACE },
        { TARGET_OVERTAKEN, FT_ERROR_IO },
    };
    for (size_t i = 0; i < sizeof each / sizeof each[0]; i++)
        fails_in_turn(&each[i]);
}

static void each_allocation_fails_once(void **state)
{
    (void)state;
    static const struct each each[] = {
        { TARGET_BEHIND, FT_ERROR_LIMIT },
        { TARGET_OVERTAKEN, FT_ERROR_LIMIT },
    };
    for (size_t i = 0; i < sizeof each / sizeof each[0]; i++)
        fails_in_turn(&each[i]);
}

/* --- what fails while a copy that was begun is found again --------------------------------------
 */

/* A target that was stopped after so many pieces, and that lost a part of the last one. */
static struct test_store *stopped(struct test_store *source, const struct test_store *before,
                                  unsigned pieces, uint64_t older)
{
    struct copy_session session = { .source = source, .target = like(before) };
    struct test_store *target = session.target;
    struct store_copy_state state;
    test_must(test_store_open(target));
    if (memcmp(target->recovery.cluster, test_cluster, IDENTITY_BYTES) != 0)
        test_must(test_flush(target, &test_form));
    struct store_copy_plan plan = copy_offer(&session);
    plan.newest -= older;
    test_must(store_copy_begin(target->store, &plan, &state));
    while (session.pieces < pieces && !state.complete)
        test_must(copy_fetch(&session, &state));
    bool entries = state.next.kind == STORE_PIECE_ENTRIES && !state.complete;
    uint64_t first = target->store->copy.first, end = target->store->copy.offset;
    test_store_close(target);
    char path[DISK_PATH_BYTES];
    copy_segment_path(path, first, "seg");
    if (entries && end > SEGMENT_HEADER_BYTES)
        assert_true(sim_disk_flip(target->disk, path, end - 1, 1));
    return target;
}

static void found_again_while_one_fails(struct test_store *source, const struct test_store *half,
                                        enum ft_error kind, bool anew, uint64_t begin)
{
    uint64_t at = 1;
    for (bool reached = true; reached; at++) {
        struct copy_session session = { .source = source,
                                        .target = like(half),
                                        .whole = anew,
                                        .piece_bytes = PIECE_BYTES,
                                        .watch = watch };
        struct test_store *target = session.target;
        struct store_copy_state state;
        test_must(test_store_open(target));
        struct store_copy_plan plan = copy_offer(&session);
        uint64_t calls = sim_disk_calls(target->disk);
        arm(kind, target, at);
        enum ft_error error;
        WATCHED(error = store_copy_begin(target->store, &plan, &state));
        reached = disarm(kind, target, kind == FT_ERROR_LIMIT ? at : calls + at);
        if (!reached || kind == FT_ERROR_LIMIT) /* a read is done again page by page */
            assert_int_equal(error != FT_OK, reached);
        go_on(&session, error, at);
        copy_same(&session, begin);
        test_store_free(target);
    }
    assert_true(at > 2);
}

static void a_copy_is_found_again_while_one_fails(void **state)
{
    (void)state;
    static const struct {
        enum copy_target_kind kind;
        unsigned pieces;
        uint64_t older; /* the source went on by so many since */
        bool anew;      /* it is not gone on with */
    } rows[] = {
        { TARGET_BLANK, 0, 4, false },     { TARGET_BLANK, 1, 0, false },
        { TARGET_BLANK, 2, 0, false },     { TARGET_BLANK, 5, 0, false },
        { TARGET_OVERTAKEN, 3, 0, false }, { TARGET_OVERTAKEN, 4, 0, false },
        { TARGET_BEHIND, 9, 0, false },    { TARGET_BLANK, 1000, 0, false },
        { TARGET_BEHIND, 9, 0, true },
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct test_store *source = copy_source(rows[i].kind, SEGMENTS);
        struct test_store *before = copy_target(rows[i].kind);
        struct test_store *half = stopped(source, before, rows[i].pieces, rows[i].older);
        uint64_t begin = rows[i].kind == TARGET_OVERTAKEN ? source->store->begin : 1;
        found_again_while_one_fails(source, half, FT_ERROR_IO, rows[i].anew, begin);
        found_again_while_one_fails(source, half, FT_ERROR_LIMIT, rows[i].anew, begin);
        test_store_free(half);
        test_store_free(before);
        test_store_free(source);
    }
}

int main(void)
{
    struct CMUnitTest tests[] = {
        cmocka_unit_test(each_call_of_the_disk_fails_once),
        cmocka_unit_test(each_allocation_fails_once),
        cmocka_unit_test(a_copy_is_found_again_while_one_fails),
    };
    return cmocka_run_group_tests_name("store_copy_faults", tests, NULL, NULL);
}
