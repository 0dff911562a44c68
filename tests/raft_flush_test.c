/* The one flush that is out, and what happens to the log under it. */
#include "tests/test_raft.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define OUT(world, slot)                                                                           \
    (&(struct effects) { rafts_emit, &(struct rafts_emitter) { (world), (slot) } })

static struct rafts *elected(unsigned count, uint8_t *leader)
{
    struct rafts *world = rafts_new(count, 7);
    rafts_form(world);
    *leader = rafts_elect(world);
    rafts_run(world, 100000);
    return world;
}

/* Its disk hangs for longer than a number of the protocol can say. */
static void a_flush_of_hours_is_told_as_the_longest(void **state)
{
    (void)state;
    uint8_t leader;
    struct rafts *world = elected(1, &leader);
    struct raft *raft = rafts_raft(world, leader);
    assert_int_not_equal(rafts_propose(world, leader, 20), 0);
    assert_true(world->nodes[leader].flushing);
    rafts_advance(world, 2 * (uint64_t)UINT32_MAX);
    raft_restart_timers(raft, world->now);
    assert_int_equal(raft_flush_report(raft), UINT32_MAX);
    rafts_flush(world, leader, RAFT_FLUSHED);
    assert_int_equal(raft_flush_report(raft), UINT32_MAX); /* the last one took as long */
    assert_int_equal(raft->commit, raft->log.last);
    assert_true(raft->flush_us < UINT32_MAX);
    rafts_free(world);
}

static void a_flush_under_a_halted_node_promises_nothing(void **state)
{
    (void)state;
    uint8_t leader;
    struct rafts *world = elected(3, &leader);
    uint8_t follower = leader == 1 ? 2 : 1;
    struct raft *raft = rafts_raft(world, follower);
    rafts_propose(world, leader, 20);
    rafts_deliver_all(world, leader, follower);
    rafts_drop_all(world, follower, 0);
    assert_true(world->nodes[follower].flushing);
    uint64_t durable = raft->durable;
    raft_halt(raft, "a test", OUT(world, follower));
    rafts_flush(world, follower, RAFT_FLUSHED);
    assert_int_equal(raft->durable, durable);
    assert_int_equal(rafts_deliver_all(world, follower, 0), 0);
    rafts_free(world);
}

/* A copy is about to take the log's place: what the flush made durable is acknowledged no more. */
static void a_flush_under_a_frozen_node_is_told_to_nobody(void **state)
{
    (void)state;
    uint8_t leader;
    struct rafts *world = elected(3, &leader);
    uint8_t follower = leader == 1 ? 2 : 1;
    struct raft *raft = rafts_raft(world, follower);
    rafts_propose(world, leader, 20);
    rafts_deliver_all(world, leader, follower);
    rafts_drop_all(world, follower, 0);
    assert_true(world->nodes[follower].flushing);
    raft_freeze(raft);
    rafts_flush(world, follower, RAFT_FLUSHED);
    assert_int_equal(rafts_deliver_all(world, follower, 0), 0);
    assert_false(raft_may_install(raft, raft->log.last + 1, raft->log.last_chain));
    rafts_free(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_flush_of_hours_is_told_as_the_longest),
        cmocka_unit_test(a_flush_under_a_halted_node_promises_nothing),
        cmocka_unit_test(a_flush_under_a_frozen_node_is_told_to_nobody),
    };
    return cmocka_run_group_tests_name("raft_flush", tests, NULL, NULL);
}
