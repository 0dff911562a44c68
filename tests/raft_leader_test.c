/* Leaders in trouble: one whose own write hangs, and one that has left and whose successor does not hear.
 * And the links that a raft believes to have, as the simulator asks for them. */
#include "tests/test_raft.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

/* Its own write hangs while the others' do not: it takes nothing more, until that is over. */
static void a_stuck_leader_takes_nothing(void **state)
{
    (void)state;
    uint8_t leader;
    struct rafts *world = rafts_elected(3, 7, &leader);
    struct raft *raft = rafts_raft(world, leader);
    assert_int_not_equal(rafts_propose(world, leader, 20), 0);
    assert_true(world->nodes[leader].flushing);
    rafts_deliver_all(world, leader, 0);
    for (uint8_t slot = 1; slot <= 3; slot++) {
        if (slot != leader)
            rafts_flush(world, slot, RAFT_FLUSHED);
    }
    rafts_deliver_all(world, 0, leader);
    assert_true(raft_can_propose(raft));
    const uint64_t last = raft_view(raft).last_index;
    assert_int_equal(raft_view(raft).commit, last); /* the others are a majority */
    rafts_advance(world, 2 * RAFT_STUCK_US);
    raft_restart_timers(raft, world->now); /* it was not asleep */
    assert_false(raft_can_propose(raft));
    assert_int_equal(rafts_propose(world, leader, 20), 0);
    assert_int_equal(raft_view(raft).last_index, last);
    rafts_flush(world, leader, RAFT_FLUSHED);
    assert_true(raft_can_propose(raft));
    rafts_free(world);
}

/* Everything goes on, but for messages of this kind, which are lost. */
static void settle_without(struct rafts *world, enum raft_message_kind kind, unsigned *lost)
{
    for (bool busy = true; busy;) {
        busy = false;
        for (unsigned at = 0; at < world->bag_count;) {
            if (world->bag[at].data[0] != kind) {
                at++;
                continue;
            }
            rafts_drop(world, at);
            ++*lost;
        }
        if (world->bag_count) {
            rafts_deliver(world, 0);
            busy = true;
        }
        for (uint8_t slot = 1; slot <= world->count; slot++) {
            if (world->nodes[slot].flushing) {
                rafts_flush(world, slot, RAFT_FLUSHED);
                busy = true;
            }
        }
    }
}

/* It is no voter any more and has told the best one to take over, who does not hear of it: after an
 * election time-out it goes all the same, and somebody else leads. */
static void a_leader_that_left_does_not_wait_for_ever(void **state)
{
    (void)state;
    uint8_t leader;
    struct rafts *world = rafts_elected(3, 7, &leader);
    struct raft *raft = rafts_raft(world, leader);
    struct raft_config config = *raft_latest_config(raft), without = { 0 };
    for (unsigned i = 0; i < config.count; i++) {
        if (config.members[i].slot != leader)
            without.members[without.count++] = config.members[i];
    }
    assert_true(raft_propose_config(raft, &without, world->now));
    rafts_end_turn(world, leader);
    unsigned lost = 0;
    settle_without(world, RAFT_TIMEOUT_NOW, &lost);
    assert_int_equal(lost, 1);
    assert_true(raft_transferring(raft));
    assert_int_equal(raft_view(raft).role, RAFT_LEADER);
    const uint64_t until_us = raft->transfer_until_us;
    while (world->now.mono_us < until_us) {
        assert_int_equal(raft_view(raft).role, RAFT_LEADER);
        rafts_advance(world, 5000);
        rafts_tick(world, leader);
        settle_without(world, RAFT_TIMEOUT_NOW, &lost);
    }
    assert_int_equal(lost, 1); /* nobody else was told */
    assert_int_equal(raft_view(raft).role, RAFT_FOLLOWER);
    assert_int_equal(raft_view(raft).leader, 0);
    const uint8_t next = rafts_elect(world);
    assert_int_not_equal(next, leader);
    rafts_free(world);
}

/* It is no voter any more, and nobody is fit to take over: it goes all the same. */
static void a_leader_that_left_may_have_no_successor(void **state)
{
    (void)state;
    uint8_t leader;
    struct rafts *world = rafts_elected(3, 7, &leader);
    struct raft *raft = rafts_raft(world, leader);
    struct raft_config config = *raft_latest_config(raft), without = { 0 };
    for (unsigned i = 0; i < config.count; i++) {
        if (config.members[i].slot == leader)
            continue;
        without.members[without.count++] = config.members[i];
        raft_disk_space(rafts_raft(world, config.members[i].slot), false, world->now);
    }
    assert_true(raft_propose_config(raft, &without, world->now));
    rafts_end_turn(world, leader);
    unsigned told = 0;
    settle_without(world, RAFT_TIMEOUT_NOW, &told);
    assert_int_equal(told, 0);
    assert_false(raft_config_pending(raft));
    assert_int_equal(raft_view(raft).role, RAFT_FOLLOWER);
    assert_int_not_equal(rafts_elect(world), leader);
    rafts_free(world);
}

/* The simulator asks after each step: it must see both that can be wrong. */
static void links_that_are_not_right_are_seen(void **state)
{
    (void)state;
    uint8_t leader;
    struct rafts *world = rafts_elected(3, 7, &leader);
    struct raft *raft = rafts_raft(world, leader);
    assert_true(raft_links_right(raft));
    raft->links.slowest_us++;
    assert_false(raft_links_right(raft));
    raft_links_changed(raft);
    assert_true(raft_links_right(raft));
    raft->links.members ^= 1u << (leader == 1 ? 2 : 1);
    assert_false(raft_links_right(raft));
    raft_links_changed(raft);
    rafts_free(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stuck_leader_takes_nothing),
        cmocka_unit_test(a_leader_that_left_does_not_wait_for_ever),
        cmocka_unit_test(a_leader_that_left_may_have_no_successor),
        cmocka_unit_test(links_that_are_not_right_are_seen),
    };
    return cmocka_run_group_tests_name("raft_leader", tests, NULL, NULL);
}
