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
    bool whole;
    enum ft_error error; /* of the disk's call; FT_ERROR_LIMIT: of an allocation */
};

static bool arm(const struct each *each, struct test_store *target, uint64_t at)
{
    if (each->error != FT_ERROR_LIMIT) {
        sim_disk_fail_call(target->disk, at, each->error);
        return true;
    }
    heap.count = 0;
    heap.fail_at = at;
    return true;
}

/* What a node does when copying failed: it begins again, or, when it cannot go on, starts again, after
 * a loss of power for good measure. */
static void go_on(struct copy_session *session, enum ft_error error, uint64_t seed)
{
    struct test_store *target = session->target;
    const bool can = target->store && !session->installing && error != FT_ERROR_SYNC &&
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
    struct test_store *source = copy_source(each->kind);
    struct test_store *before = copy_target(each->kind);
    const uint64_t begin = each->kind == TARGET_OVERTAKEN ? source->store->begin : 1;
    uint64_t at = 1, told = 0;
    for (bool reached = true; reached; at++) {
        struct copy_session session = {
            .source = source, .target = like(before), .whole = each->whole, .watch = watch
        };
        (void)arm(each, session.target, at);
        const enum ft_error error = copy_run(&session);
        reached = each->error == FT_ERROR_LIMIT ? heap.count >= at
                                                : sim_disk_calls(session.target->disk) >= at;
        sim_disk_fail_call(session.target->disk, 0, FT_OK);
        heap.fail_at = 0;
        told += error != FT_OK;
        if (error)
            go_on(&session, error, at);
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
        { TARGET_BLANK, false, FT_ERROR_IO },
        { TARGET_BEHIND, false, FT_ERROR_SPACE },
        { TARGET_OVERTAKEN, false, FT_ERROR_IO },
        { TARGET_DIVERGED, true, FT_ERROR_IO },
    };
    for (size_t i = 0; i < sizeof each / sizeof each[0]; i++)
        fails_in_turn(&each[i]);
}

static void each_allocation_fails_once(void **state)
{
    (void)state;
    static const struct each each[] = {
        { TARGET_BEHIND, false, FT_ERROR_LIMIT },
        { TARGET_OVERTAKEN, false, FT_ERROR_LIMIT },
    };
    for (size_t i = 0; i < sizeof each / sizeof each[0]; i++)
        fails_in_turn(&each[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_call_of_the_disk_fails_once),
        cmocka_unit_test(each_allocation_fails_once),
    };
    return cmocka_run_group_tests_name("store_copy_faults", tests, NULL, NULL);
}
