/* A node that lost a part of its log to rot: whom it may still vote for, and when that is over. */
#include "tests/test_raft.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

enum { POSTS = 6, SECOND = 1000000 };

static struct rafts *world;
static uint8_t leader, rotten, third;

/* Three nodes, one of which follows. */
static void three(void)
{
    world = rafts_elected(3, 7, &leader);
    rotten = leader == 1 ? 2 : 1;
    third = (uint8_t)(6 - leader - rotten);
    for (int i = 0; i < POSTS; i++)
        rafts_propose(world, leader, 20);
    rafts_settle(world);
}

/* That one has rot from the third-last entry on, and starts again, alone. */
static void lose(bool end_known)
{
    three();
    uint64_t last = rafts_raft(world, rotten)->log.last;
    rafts_crash(world, rotten);
    rafts_rot(world, rotten, last - 2, end_known);
    rafts_cut(world, rotten, leader, LINK_CLOSED);
    rafts_cut(world, rotten, third, LINK_CLOSED);
    rafts_start(world, rotten);
    assert_true(rafts_raft(world, rotten)->log.last < last);
    assert_true(rafts_raft(world, rotten)->leftover_from);
}

static struct raft_message append_after(uint64_t prev, uint8_t flags)
{
    const struct raft *raft = rafts_raft(world, leader);
    return (struct raft_message) {
        .kind = RAFT_APPEND,
        .term = raft->term,
        .append = { .flags = flags,
                    .session = 1,
                    .round = 1,
                    .prev_index = prev,
                    .prev_term = raft_log_term(&raft->log, prev),
                    .commit = raft->commit,
                    .heartbeat_us = 20000,
                    .timeout_us = 100000 },
    };
}

/* Entries of the leader's after `prev`; *last: the last of them. */
static struct slice entries_after(uint64_t prev, size_t bytes, uint64_t *last)
{
    return raft_log_run(&rafts_raft(world, leader)->log, prev, bytes, last);
}

/* One entry of what its leader has, and it is durable; its last index. */
static uint64_t hear_a_part(void)
{
    struct raft *raft = rafts_raft(world, rotten);
    uint64_t last;
    rafts_link(world, rotten, leader);
    struct raft_message append = append_after(raft->log.last, 0);
    assert_true(rafts_say(world, leader, rotten, &append, entries_after(raft->log.last, 1, &last)));
    rafts_end_turn(world, rotten);
    rafts_flush(world, rotten, RAFT_FLUSHED);
    assert_true(last < rafts_raft(world, leader)->log.last);
    return last;
}

static bool votes_for(uint64_t last_term, uint64_t last_index)
{
    struct raft_vote_request request = { .last_term = last_term, .last_index = last_index };
    return raft_lost_allows(rafts_raft(world, rotten), &request);
}

static void it_votes_by_its_last_header_and_does_not_campaign(void **state)
{
    (void)state;
    lose(true);
    const struct raft *raft = rafts_raft(world, rotten);
    uint64_t last = rafts_raft(world, leader)->log.last;
    uint64_t term = rafts_raft(world, leader)->log.last_term;
    assert_int_equal(raft->lost_last, last);
    assert_true(votes_for(term, last));
    assert_true(votes_for(term, last + 5));
    assert_true(votes_for(term + 1, 1));
    assert_false(votes_for(term, last - 1)); /* as good as what is left, not as what was there */
    assert_false(votes_for(term - 1, last + 5));
    uint64_t before = raft->term;
    rafts_run(world, 5 * SECOND);
    assert_int_equal(raft->role, RAFT_FOLLOWER);
    assert_int_equal(raft->term, before);
    rafts_free(world);
}

static void without_its_last_header_it_gives_no_vote(void **state)
{
    (void)state;
    lose(false);
    assert_int_equal(rafts_raft(world, rotten)->lost_last, UINT64_MAX);
    assert_false(votes_for(4000, UINT64_MAX));
    rafts_free(world);
}

/* What a leader sends first may end long before what was lost: only its all makes up for that. */
static void a_part_of_what_a_leader_has_ends_nothing(void **state)
{
    (void)state;
    lose(false);
    struct raft *raft = rafts_raft(world, rotten);
    uint64_t last = hear_a_part();
    assert_int_equal(raft->durable, last);
    assert_int_equal(raft->leftover_from, 0); /* what lay there is truncated */
    assert_int_equal(raft->lost_last, UINT64_MAX);

    struct raft_message append = append_after(last, APPEND_IS_ALL);
    assert_true(rafts_say(world, leader, rotten, &append, entries_after(last, 1 << 20, &last)));
    assert_int_equal(last, rafts_raft(world, leader)->log.last);
    rafts_end_turn(world, rotten);
    assert_int_equal(raft->lost_last, UINT64_MAX); /* not before it is durable */
    rafts_flush(world, rotten, RAFT_FLUSHED);
    assert_int_equal(raft->lost_last, 0);
    rafts_end_turn(world, rotten);
    rafts_flush(world, rotten, RAFT_FLUSHED);
    assert_int_equal(world->nodes[rotten].disk->lost_last, 0);
    rafts_free(world);
}

static void a_restart_forgets_nothing_of_it(void **state)
{
    (void)state;
    lose(false);
    (void)hear_a_part();
    rafts_crash(world, rotten);
    rafts_start(world, rotten);
    assert_int_equal(rafts_raft(world, rotten)->lost_last, UINT64_MAX);
    rafts_link_all(world);
    rafts_run(world, 3 * SECOND);
    assert_int_equal(rafts_raft(world, rotten)->lost_last, 0);
    assert_int_equal(rafts_raft(world, rotten)->log.last, rafts_raft(world, leader)->log.last);
    rafts_check(world);
    rafts_free(world);
}

/* All of it was found again, with nobody leading: it may do what it always could. */
static void what_is_found_again_is_not_lost(void **state)
{
    (void)state;
    three();
    rafts_crash(world, rotten);
    rafts_crash(world, leader);
    struct rafts_disk *disk = world->nodes[rotten].disk;
    uint64_t last = disk->last;
    size_t len = disk->len;
    rafts_rot(world, rotten, last - 2, true);
    disk->leftover = false;
    rafts_start(world, rotten);
    assert_int_equal(rafts_raft(world, rotten)->lost_last, last); /* less than all of it is here */
    rafts_crash(world, rotten);
    disk->last = last;
    disk->len = len;
    rafts_start(world, rotten);
    assert_int_equal(rafts_raft(world, rotten)->lost_last, 0);
    rafts_link_all(world);
    rafts_run(world, 3 * SECOND);
    assert_int_equal(disk->lost_last, 0);
    assert_true(rafts_leader(world) == rotten || rafts_leader(world) == third);
    rafts_check(world);
    rafts_free(world);
}

/* Five nodes: what the rotten one lost was its old leader's and nobody else's; the others lead on. */
static void lose_what_nobody_else_has(void)
{
    uint8_t old;
    world = rafts_elected(5, 7, &old);
    rotten = old == 1 ? 2 : 1;
    rafts_propose(world, old, 20);
    rafts_settle(world);
    rafts_propose(world, old, 20);
    rafts_deliver_all(world, old, rotten);
    rafts_flush(world, rotten, RAFT_FLUSHED);
    rafts_drop_all(world, 0, 0);
    uint64_t last = rafts_raft(world, rotten)->log.last;
    rafts_crash(world, rotten);
    rafts_rot(world, rotten, last, true);
    rafts_crash(world, old);
    leader = rafts_elect(world);
    for (int i = 0; i < POSTS; i++)
        rafts_propose(world, leader, 20);
    rafts_settle(world);
    rafts_start(world, rotten);
    assert_int_equal(rafts_raft(world, rotten)->lost_last, last);
}

/* A later leader's entries stand where the lost ones did: they are not those. Whether they are all that
 * it has, only it can say. */
static void what_stands_in_its_place_is_not_what_was_lost(void **state)
{
    (void)state;
    lose_what_nobody_else_has();
    uint64_t lost = rafts_raft(world, rotten)->lost_last;
    while (rafts_raft(world, rotten)->durable < lost)
        (void)hear_a_part();
    rafts_crash(world, rotten);
    rafts_start(world, rotten);
    struct raft *raft = rafts_raft(world, rotten);
    assert_int_equal(raft->leftover_from, 0);
    assert_true(raft->log.last >= lost);
    assert_int_equal(raft->lost_last, lost);
    rafts_link_all(world);
    rafts_run(world, 3 * SECOND);
    assert_int_equal(raft->lost_last, 0);
    assert_int_equal(raft->log.last, rafts_raft(world, leader)->log.last);
    rafts_check(world);
    rafts_free(world);
}

/* All of its log is lost, and it still belongs to its cluster: it is no blank node. */
static void it_may_have_lost_all_of_it(void **state)
{
    (void)state;
    three();
    rafts_crash(world, rotten);
    rafts_rot(world, rotten, 1, true);
    rafts_start(world, rotten);
    struct raft *raft = rafts_raft(world, rotten);
    assert_int_equal(raft->log.last, 0);
    assert_int_not_equal(raft->lost_last, 0);
    assert_memory_equal(raft->cluster, rafts_raft(world, leader)->cluster, IDENTITY_BYTES);
    rafts_link_all(world);
    rafts_run(world, 3 * SECOND);
    assert_int_equal(raft->lost_last, 0);
    assert_int_equal(raft->log.last, rafts_raft(world, leader)->log.last);
    rafts_check(world);
    rafts_free(world);
}

/* It is being mended from the others: the leader's entries are not taken for so long, and it is told. */
static void a_leader_waits_while_it_is_mended(void **state)
{
    (void)state;
    lose(true);
    struct raft *raft = rafts_raft(world, rotten);
    uint64_t before = raft->log.last;
    raft_lost_wait(raft, world->now.mono_us + SECOND);
    rafts_link_all(world);
    rafts_run(world, SECOND / 2);
    assert_int_equal(raft->leader, leader);
    assert_int_equal(raft->log.last, before);
    assert_true(raft_peer_view(rafts_raft(world, leader), rotten).lost);
    rafts_run(world, 2 * SECOND);
    assert_int_equal(raft->log.last, rafts_raft(world, leader)->log.last);
    assert_int_equal(raft->lost_last, 0);
    assert_false(raft_peer_view(rafts_raft(world, leader), rotten).lost);
    rafts_free(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_votes_by_its_last_header_and_does_not_campaign),
        cmocka_unit_test(without_its_last_header_it_gives_no_vote),
        cmocka_unit_test(a_part_of_what_a_leader_has_ends_nothing),
        cmocka_unit_test(a_restart_forgets_nothing_of_it),
        cmocka_unit_test(what_is_found_again_is_not_lost),
        cmocka_unit_test(what_stands_in_its_place_is_not_what_was_lost),
        cmocka_unit_test(it_may_have_lost_all_of_it),
        cmocka_unit_test(a_leader_waits_while_it_is_mended),
    };
    return cmocka_run_group_tests_name("raft_lost", tests, NULL, NULL);
}
