/* Elections: who leads, who does not, and when. */
#include "tests/test_raft.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static uint8_t another(uint8_t than, uint8_t nor)
{
    for (uint8_t slot = 1;; slot++) {
        if (slot != than && slot != nor)
            return slot;
    }
}

static void one_leader_is_elected_and_commits(void **state)
{
    (void)state;
    uint8_t leader;
    struct rafts *world = rafts_elected(3, 1, &leader);
    uint64_t index = rafts_propose(world, leader, 100);
    assert_int_not_equal(index, 0);
    rafts_run(world, 50000);
    for (uint8_t slot = 1; slot <= 3; slot++) {
        struct raft_view view = raft_view(rafts_raft(world, slot));
        assert_int_equal(view.commit, index);
        assert_int_equal(view.durable, index);
        assert_int_equal(view.leader, leader);
        assert_true(raft_has_quorum(rafts_raft(world, slot)));
        assert_int_equal(view.role, slot == leader ? RAFT_LEADER : RAFT_FOLLOWER);
    }
    rafts_free(world);
}

static void a_vote_is_told_only_once_it_is_on_disk(void **state)
{
    (void)state;
    struct rafts *world = rafts_new(3, 1);
    rafts_form(world);
    while (rafts_raft(world, 1)->role != RAFT_CANDIDATE) {
        rafts_advance(world, 10000);
        rafts_tick(world, 1);
        rafts_deliver_all(world, 0, 0);
    }
    rafts_deliver_all(world, 1, 2);
    assert_true(world->nodes[2].flushing);
    assert_int_equal(rafts_deliver_all(world, 2, 1), 0);
    rafts_flush(world, 2, RAFT_FLUSHED);
    assert_int_equal(rafts_deliver_all(world, 2, 1), 1);
    /* A majority, but its own vote is not on disk yet. */
    assert_int_equal(rafts_raft(world, 1)->role, RAFT_CANDIDATE);
    rafts_flush(world, 1, RAFT_FLUSHED);
    assert_int_equal(rafts_raft(world, 1)->role, RAFT_LEADER);
    rafts_free(world);
}

static void one_vote_a_term_even_over_a_restart(void **state)
{
    (void)state;
    struct rafts *world = rafts_new(3, 1);
    rafts_form(world);
    struct raft_message request = { .kind = RAFT_VOTE_REQUEST,
                                    .term = 9,
                                    .vote_request = { 0, 50, 1, 1 } };
    uint8_t head[RAFT_HEAD_BYTES];
    size_t len = raft_message_encode(&request, head, sizeof head);
    struct slice body = { head + 1, len - 1 };
    const struct effects out = { rafts_emit, &(struct rafts_emitter) { world, 3 } };
    assert_true(
        raft_receive(rafts_raft(world, 3), 1, world->nodes[1].identity, body, world->now, &out));
    rafts_end_turn(world, 3);
    rafts_flush(world, 3, RAFT_FLUSHED);
    rafts_crash(world, 3);
    rafts_start(world, 3);
    rafts_link_all(world);
    assert_true(
        raft_receive(rafts_raft(world, 3), 2, world->nodes[2].identity, body, world->now, &out));
    rafts_end_turn(world, 3);
    assert_memory_equal(rafts_raft(world, 3)->vote, world->nodes[1].identity, IDENTITY_BYTES);
    assert_false(world->nodes[3].flushing);
    rafts_free(world);
}

static void a_node_without_a_majority_never_raises_its_term(void **state)
{
    (void)state;
    uint8_t leader;
    struct rafts *world = rafts_elected(3, 1, &leader);
    uint8_t lonely = another(leader, 0);
    uint64_t term = rafts_raft(world, leader)->term;
    for (uint8_t slot = 1; slot <= 3; slot++) {
        if (slot != lonely)
            rafts_cut(world, lonely, slot, LINK_TIMED_OUT);
    }
    rafts_run(world, 3000000);
    assert_int_equal(rafts_raft(world, lonely)->role, RAFT_PRE_CANDIDATE);
    assert_int_equal(rafts_raft(world, lonely)->term, term);
    rafts_link_all(world);
    rafts_run(world, 300000);
    assert_int_equal(rafts_leader(world), leader);
    assert_int_equal(rafts_raft(world, leader)->term, term);
    assert_int_equal(rafts_raft(world, lonely)->leader, leader);
    rafts_free(world);
}

static void one_dead_link_does_not_disturb_the_leader(void **state)
{
    (void)state;
    uint8_t leader;
    struct rafts *world = rafts_elected(3, 1, &leader);
    uint8_t cut = another(leader, 0);
    uint64_t term = rafts_raft(world, leader)->term;
    rafts_cut(world, leader, cut, LINK_REFUSED);
    rafts_run(world, 2000000);
    assert_int_equal(rafts_leader(world), leader);
    assert_int_equal(rafts_raft(world, leader)->term, term);
    assert_int_not_equal(rafts_propose(world, leader, 20), 0);
    rafts_free(world);
}

static void a_refused_link_elects_at_once(void **state)
{
    (void)state;
    for (uint8_t nodes = 3; nodes <= 5; nodes += 2) {
        uint8_t leader;
        struct rafts *world = rafts_elected(nodes, 1, &leader);
        uint64_t term = rafts_raft(world, leader)->term;
        rafts_crash(world, leader);
        for (uint8_t slot = 1; slot <= nodes; slot++) {
            if (slot != leader)
                rafts_cut(world, slot, leader, LINK_REFUSED);
        }
        rafts_run(world, 60000); /* the least election time-out is 100 ms */
        assert_int_not_equal(rafts_leader(world), 0);
        assert_true(rafts_raft(world, rafts_leader(world))->term > term);
        rafts_free(world);
    }
}

static void a_reset_alone_elects_nobody(void **state)
{
    (void)state;
    uint8_t leader;
    struct rafts *world = rafts_elected(3, 1, &leader);
    uint64_t term = rafts_raft(world, leader)->term;
    rafts_cut(world, leader, another(leader, 0), LINK_RESET);
    rafts_link_all(world);
    rafts_run(world, 500000);
    assert_int_equal(rafts_leader(world), leader);
    assert_int_equal(rafts_raft(world, leader)->term, term);
    rafts_free(world);
}

static void a_denial_is_remembered(void **state)
{
    (void)state;
    uint8_t leader;
    struct rafts *world = rafts_elected(3, 1, &leader);
    uint8_t first = another(leader, 0), second = another(leader, first);
    rafts_crash(world, leader);
    rafts_cut(world, first, leader, LINK_REFUSED);
    rafts_advance(world, 20000);
    rafts_tick(world, first); /* its jitter is over: it asks */
    assert_int_equal(rafts_raft(world, first)->role, RAFT_PRE_CANDIDATE);
    rafts_deliver_all(world, first, second);
    assert_int_equal(rafts_raft(world, second)->denied.slot, first);
    rafts_deliver_all(world, second, first); /* no */
    assert_int_equal(rafts_raft(world, first)->role, RAFT_PRE_CANDIDATE);
    assert_int_equal(rafts_raft(world, second)->leader, leader);
    rafts_cut(world, second, leader, LINK_REFUSED); /* now it sees it too, and says yes unasked */
    assert_int_equal(rafts_raft(world, second)->denied.slot, 0);
    assert_int_equal(rafts_deliver_all(world, second, first), 1);
    assert_int_equal(rafts_raft(world, first)->role, RAFT_CANDIDATE);
    rafts_settle(world);
    assert_int_equal(rafts_leader(world), first);
    rafts_free(world);
}

static void the_denied_asks_again_a_few_times(void **state)
{
    (void)state;
    uint8_t leader;
    struct rafts *world = rafts_elected(3, 1, &leader);
    uint8_t first = another(leader, 0), second = another(leader, first);
    rafts_cut(world, first, leader, LINK_REFUSED); /* the leader lives: only this link is dead */
    unsigned asked = 0;
    for (int ms = 0; ms < 80; ms++) {
        rafts_advance(world, 1000);
        rafts_tick(world, first);
        asked += rafts_deliver_all(world, first, second);
        rafts_deliver_all(world, second, first);
        rafts_drop_all(world, first, second);
        rafts_tick(world, leader);
        rafts_deliver_all(world, leader, 0);
        rafts_deliver_all(world, 0, leader);
    }
    assert_int_equal(asked, 1 + RAFT_RETRIES);
    assert_int_equal(rafts_leader(world), leader);
    rafts_free(world);
}

static void a_leader_without_a_majority_steps_down(void **state)
{
    (void)state;
    uint8_t leader;
    struct rafts *world = rafts_elected(3, 1, &leader);
    for (uint8_t slot = 1; slot <= 3; slot++) {
        if (slot != leader)
            rafts_cut(world, leader, slot, LINK_TIMED_OUT);
    }
    assert_true(raft_can_propose(rafts_raft(world, leader)));
    rafts_run(world, 90000);
    assert_int_equal(rafts_raft(world, leader)->role, RAFT_LEADER);
    rafts_run(world, 60000);
    assert_int_not_equal(rafts_raft(world, leader)->role, RAFT_LEADER);
    assert_int_equal(rafts_propose(world, leader, 20), 0);
    rafts_run(world, 600000);
    assert_int_not_equal(rafts_leader(world), leader);
    assert_int_not_equal(rafts_leader(world), 0);
    rafts_free(world);
}

static void a_late_loop_starts_its_time_outs_anew(void **state)
{
    (void)state;
    uint8_t leader;
    struct rafts *world = rafts_elected(3, 1, &leader);
    uint64_t term = rafts_raft(world, leader)->term;
    rafts_advance(world, 5000000);
    for (uint8_t slot = 1; slot <= 3; slot++)
        raft_restart_timers(rafts_raft(world, slot), world->now);
    for (uint8_t slot = 1; slot <= 3; slot++)
        rafts_tick(world, slot);
    rafts_run(world, 300000);
    assert_int_equal(rafts_leader(world), leader);
    assert_int_equal(rafts_raft(world, leader)->term, term);
    rafts_free(world);
}

static void time_outs_follow_the_disk_and_the_leader(void **state)
{
    (void)state;
    uint8_t leader;
    struct rafts *world = rafts_elected(3, 1, &leader);
    struct raft *raft = rafts_raft(world, leader);
    assert_int_equal(raft_election_timeout(raft), 100000); /* 3 x 20 ms + 40 ms */
    raft->flush_us = 50000;
    assert_in_range(raft_election_timeout(raft), 240000, 250000);
    raft->flush_us = 10000000;
    assert_int_equal(raft_election_timeout(raft), 1000000);
    raft->flush_us = 50000;
    rafts_run(world, 50000);
    uint8_t follower = another(leader, 0);
    assert_true(raft_election_timeout(rafts_raft(world, follower)) >= 200000);
    rafts_free(world);
}

static void leadership_is_handed_over(void **state)
{
    (void)state;
    uint8_t leader;
    struct rafts *world = rafts_elected(3, 1, &leader);
    uint8_t target = another(leader, 0);
    struct raft *raft = rafts_raft(world, leader);
    const struct effects out = { rafts_emit, &(struct rafts_emitter) { world, leader } };
    rafts_propose(world, leader, 20); /* the target does not have it yet */
    assert_false(raft_transfer(raft, leader, world->now, &out));
    assert_true(raft_transfer(raft, target, world->now, &out));
    assert_false(raft_transfer(raft, target, world->now, &out));
    assert_true(raft_transferring(raft));
    assert_false(raft->transfer_told); /* not before it has everything */
    assert_false(raft_can_propose(raft));
    assert_int_equal(rafts_propose(world, leader, 20), 0);
    rafts_settle(world); /* without the clock moving: no stickiness, no pre-vote */
    assert_int_equal(rafts_leader(world), target);
    assert_int_equal(raft->role, RAFT_FOLLOWER);
    assert_false(raft_transferring(raft));
    rafts_free(world);
}

static void a_hand_over_that_fails_is_given_up(void **state)
{
    (void)state;
    uint8_t leader;
    struct rafts *world = rafts_elected(3, 1, &leader);
    uint8_t target = another(leader, 0);
    struct raft *raft = rafts_raft(world, leader);
    const struct effects out = { rafts_emit, &(struct rafts_emitter) { world, leader } };
    assert_true(raft_transfer(raft, target, world->now, &out));
    rafts_cut(world, leader, target, LINK_TIMED_OUT);
    assert_false(raft_transfer(raft, target, world->now, &out));
    rafts_run(world, 90000);
    assert_true(raft_transferring(raft));
    rafts_run(world, 30000);
    assert_false(raft_transferring(raft));
    assert_true(raft_can_propose(raft));
    assert_false(raft_transfer(raft, target, world->now, &out)); /* not linked */
    assert_false(raft_transfer(raft, 99, world->now, &out));
    rafts_free(world);
}

static void who_may_not_vote_does_not(void **state)
{
    (void)state;
    struct rafts *world = rafts_new(3, 1);
    rafts_form(world);
    rafts_raft(world, 2)->lost_last = UINT64_MAX;
    rafts_raft(world, 3)->lost_last = UINT64_MAX;
    rafts_run(world, 2000000);
    assert_int_equal(rafts_leader(world), 0);
    rafts_raft(world, 3)->lost_last = 1; /* a log as good as that has its vote */
    rafts_run(world, 2000000);
    assert_int_equal(rafts_leader(world), 1);
    rafts_free(world);
}

static void a_wiped_node_is_not_its_former_self(void **state)
{
    (void)state;
    uint8_t leader;
    struct rafts *world = rafts_elected(3, 1, &leader);
    uint8_t wiped = another(leader, 0), third = another(leader, wiped);
    rafts_crash(world, wiped);
    memset(world->nodes[wiped].identity, 0x77, IDENTITY_BYTES);
    memset(world->nodes[wiped].disk, 0, sizeof *world->nodes[wiped].disk);
    memset(world->nodes[wiped].options.identity, 0x77, IDENTITY_BYTES);
    rafts_start(world, wiped);
    raft_join(rafts_raft(world, wiped), rafts_raft(world, leader)->cluster);
    rafts_end_turn(world, wiped);
    rafts_link_all(world);
    rafts_crash(world, third);
    uint64_t commit = rafts_raft(world, leader)->commit;
    rafts_propose(world, leader, 20);
    rafts_run(world, 2000000);
    assert_int_equal(rafts_raft(world, leader)->commit, commit);
    assert_int_equal(rafts_leader(world), 0);
    assert_false(raft_peer_view(rafts_raft(world, leader), wiped).linked);
    rafts_start(world, third);
    rafts_link_all(world);
    rafts_run(world, 2000000);
    assert_int_not_equal(rafts_leader(world), 0);
    assert_int_not_equal(rafts_leader(world), wiped);
    rafts_free(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_leader_is_elected_and_commits),
        cmocka_unit_test(a_vote_is_told_only_once_it_is_on_disk),
        cmocka_unit_test(one_vote_a_term_even_over_a_restart),
        cmocka_unit_test(a_node_without_a_majority_never_raises_its_term),
        cmocka_unit_test(one_dead_link_does_not_disturb_the_leader),
        cmocka_unit_test(a_refused_link_elects_at_once),
        cmocka_unit_test(a_reset_alone_elects_nobody),
        cmocka_unit_test(a_denial_is_remembered),
        cmocka_unit_test(the_denied_asks_again_a_few_times),
        cmocka_unit_test(a_leader_without_a_majority_steps_down),
        cmocka_unit_test(a_late_loop_starts_its_time_outs_anew),
        cmocka_unit_test(time_outs_follow_the_disk_and_the_leader),
        cmocka_unit_test(leadership_is_handed_over),
        cmocka_unit_test(a_hand_over_that_fails_is_given_up),
        cmocka_unit_test(who_may_not_vote_does_not),
        cmocka_unit_test(a_wiped_node_is_not_its_former_self),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
