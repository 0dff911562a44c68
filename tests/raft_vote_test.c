/* Votes and campaigns that must not be: from whom, in which term, by whom. */
#include "tests/test_raft.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static const struct slice nothing = { NULL, 0 };

static uint8_t another(uint8_t than, uint8_t nor)
{
    uint8_t slot = 1;
    while (slot == than || slot == nor)
        slot++;
    return slot;
}

/* Node 1 of three, in the middle of asking for pre-votes. */
static struct rafts *asking(struct raft **raft)
{
    struct rafts *world = rafts_new(3, 1);
    rafts_form(world);
    *raft = rafts_raft(world, 1);
    while ((*raft)->role == RAFT_FOLLOWER) {
        rafts_advance(world, 10000);
        rafts_tick(world, 1);
    }
    assert_int_equal((*raft)->role, RAFT_PRE_CANDIDATE);
    return world;
}

static struct raft_message pre_vote(const struct rafts *world, const struct raft *raft)
{
    return (struct raft_message) {
        .kind = RAFT_VOTE_REPLY,
        .term = raft->term,
        .vote_reply = { .flags = VOTE_PRE | VOTE_GRANTED,
                        .asked_term = raft->term + 1,
                        .sent_us = world->now.mono_us },
    };
}

static void votes_of_strangers_and_learners_do_not_count(void **state)
{
    (void)state;
    struct rafts *world = rafts_new(4, 1);
    rafts_form_with(world, 1u << 1 | 1u << 2 | 1u << 3, 1u << 4);
    struct raft *raft = rafts_raft(world, 1);
    static const uint8_t stranger[IDENTITY_BYTES] = { 0xee };
    raft_link_up(raft, 5, stranger, world->now, OUT(world, 1));
    memcpy(world->nodes[5].identity, stranger, IDENTITY_BYTES);
    while (raft->role == RAFT_FOLLOWER) {
        rafts_advance(world, 10000);
        rafts_tick(world, 1);
    }
    struct raft_message reply = pre_vote(world, raft);
    assert_true(rafts_say(world, 4, 1, &reply, nothing));
    assert_true(rafts_say(world, 5, 1, &reply, nothing));
    assert_int_equal(raft->role, RAFT_PRE_CANDIDATE);
    assert_true(rafts_say(world, 2, 1, &reply, nothing));
    assert_int_equal(raft->role, RAFT_CANDIDATE);
    rafts_free(world);
}

/* The round trip is only measured by a time that was this node's own. */
static void a_vote_from_the_future_measures_nothing(void **state)
{
    (void)state;
    struct raft *raft;
    struct rafts *world = asking(&raft);
    rafts_advance(world, 3000);
    struct raft_message reply = pre_vote(world, raft);
    reply.vote_reply.flags = VOTE_PRE;
    reply.vote_reply.sent_us += 1;
    assert_true(rafts_say(world, 2, 1, &reply, nothing));
    assert_int_equal(raft->peers[2].rtt_us, 0);
    reply.vote_reply.sent_us = raft->campaign_began_us - 1;
    assert_true(rafts_say(world, 2, 1, &reply, nothing));
    assert_int_equal(raft->peers[2].rtt_us, 0);
    reply.vote_reply.sent_us = raft->campaign_began_us;
    assert_true(rafts_say(world, 2, 1, &reply, nothing));
    assert_int_equal(raft->peers[2].rtt_us, 3000);
    rafts_free(world);
}

static void only_the_leader_of_this_term_tells_to_campaign(void **state)
{
    (void)state;
    uint8_t leader;
    struct rafts *world = rafts_elected(3, 7, &leader);
    uint8_t follower = another(leader, 0), third = another(leader, follower);
    struct raft *raft = rafts_raft(world, follower);
    uint64_t term = raft->term;
    struct raft_message now = { .kind = RAFT_TIMEOUT_NOW, .term = term - 1 };
    assert_true(rafts_say(world, leader, follower, &now, nothing));
    now.term = term + 1;
    assert_true(rafts_say(world, leader, follower, &now, nothing));
    now.term = term;
    assert_true(rafts_say(world, third, follower, &now, nothing));
    assert_int_equal(raft->role, RAFT_FOLLOWER);
    raft_stand_aside(raft, true, world->now);
    assert_true(rafts_say(world, leader, follower, &now, nothing));
    assert_int_equal(raft->role, RAFT_FOLLOWER);
    raft_stand_aside(raft, false, world->now);
    assert_int_equal(raft->term, term);
    assert_true(rafts_say(world, leader, follower, &now, nothing));
    assert_int_equal(raft->role, RAFT_CANDIDATE);
    assert_int_equal(raft->term, term + 1);
    rafts_free(world);
}

/* A voter that is leaving may lead until that is committed; who never was one may not. */
static void a_learner_does_not_campaign_over_a_pending_change(void **state)
{
    (void)state;
    struct rafts *world = rafts_new(4, 1);
    rafts_form_with(world, 1u << 1 | 1u << 2 | 1u << 3, 1u << 4);
    uint8_t leader = rafts_elect(world);
    struct raft *learner = rafts_raft(world, 4);
    struct raft_config config = *raft_latest_config(rafts_raft(world, leader));
    config.members[3].address.port = 7; /* a change that nobody is the less for */
    assert_true(raft_propose_config(rafts_raft(world, leader), &config, world->now));
    rafts_end_turn(world, leader);
    rafts_deliver_all(world, leader, 4);
    assert_true(raft_config_pending(learner));
    rafts_crash(world, leader);
    for (int i = 0; i < 200; i++) {
        rafts_advance(world, 10000);
        rafts_tick(world, 4);
        assert_int_equal(learner->role, RAFT_FOLLOWER);
    }
    assert_int_equal(learner->leader, 0);
    rafts_free(world);
}

/* In the change that gives it a seat, the one before names nobody there. */
static void a_newcomer_does_not_campaign_over_a_pending_change(void **state)
{
    (void)state;
    struct rafts *world = rafts_new(4, 1);
    rafts_form_with(world, 1u << 1 | 1u << 2 | 1u << 3, 0);
    uint8_t leader = rafts_elect(world);
    struct raft *newcomer = rafts_raft(world, 4);
    struct raft_config config = *raft_latest_config(rafts_raft(world, leader));
    config.members[config.count].slot = 4;
    memcpy(config.members[config.count++].identity, world->nodes[4].identity, IDENTITY_BYTES);
    assert_true(raft_propose_config(rafts_raft(world, leader), &config, world->now));
    rafts_end_turn(world, leader);
    for (int i = 0; i < 100 && newcomer->log.last < rafts_raft(world, leader)->log.last; i++) {
        rafts_deliver_all(world, leader, 4);
        rafts_deliver_all(world, 4, leader);
        if (world->nodes[4].flushing)
            rafts_flush(world, 4, RAFT_FLUSHED);
    }
    assert_non_null(raft_self(newcomer));
    assert_true(raft_config_pending(newcomer));
    rafts_crash(world, leader);
    for (int i = 0; i < 200; i++) {
        rafts_advance(world, 10000);
        rafts_tick(world, 4);
        assert_int_equal(newcomer->role, RAFT_FOLLOWER);
    }
    rafts_free(world);
}

static void time_outs_are_not_below_their_floor(void **state)
{
    (void)state;
    struct rafts *world = rafts_new(3, 1);
    for (uint8_t slot = 1; slot <= 3; slot++)
        world->nodes[slot].options.election_min_us = 400000;
    rafts_form(world);
    assert_int_equal(raft_election_timeout(rafts_raft(world, 1)), 400000);
    world->nodes[1].options.election_min_us = 1000;
    rafts_crash(world, 1);
    rafts_start(world, 1);
    assert_int_equal(raft_election_timeout(rafts_raft(world, 1)), 100000);
    rafts_free(world);
}

static void who_stands_aside_gives_up_what_it_is(void **state)
{
    (void)state;
    uint8_t leader;
    struct rafts *world = rafts_elected(3, 7, &leader);
    uint8_t follower = another(leader, 0);
    raft_stand_aside(rafts_raft(world, follower), true, world->now);
    assert_int_equal(rafts_raft(world, follower)->leader, leader); /* it follows on */
    raft_stand_aside(rafts_raft(world, leader), true, world->now);
    assert_int_equal(rafts_raft(world, leader)->role, RAFT_FOLLOWER);
    assert_int_equal(rafts_raft(world, leader)->leader, 0);
    rafts_free(world);
}

/* A node that has halted or given way to a copy says no more, whoever dies. */
static void who_is_done_does_not_campaign(void **state)
{
    (void)state;
    for (int halted = 0; halted < 2; halted++) {
        uint8_t leader;
        struct rafts *world = rafts_elected(3, 7, &leader);
        uint8_t done = another(leader, 0);
        struct raft *raft = rafts_raft(world, done);
        if (halted)
            raft_halt(raft, "a test", OUT(world, done));
        else
            raft_freeze(raft);
        rafts_crash(world, leader);
        raft_link_down(raft, leader, LINK_REFUSED, world->now, OUT(world, done));
        assert_int_equal(raft->campaign_at_us, 0);
        rafts_run(world, 3000000);
        assert_int_equal(raft->role, RAFT_FOLLOWER);
        assert_int_equal(rafts_leader(world), 0); /* the third is alone */
        struct raft_message request = { .kind = RAFT_VOTE_REQUEST,
                                        .term = raft->term + 1,
                                        .vote_request = { 0, 99, 99, 1 } };
        uint64_t term = raft->term;
        assert_true(rafts_say(world, another(leader, done), done, &request, nothing));
        assert_int_equal(raft->term, term);
        rafts_free(world);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(votes_of_strangers_and_learners_do_not_count),
        cmocka_unit_test(a_vote_from_the_future_measures_nothing),
        cmocka_unit_test(only_the_leader_of_this_term_tells_to_campaign),
        cmocka_unit_test(a_learner_does_not_campaign_over_a_pending_change),
        cmocka_unit_test(a_newcomer_does_not_campaign_over_a_pending_change),
        cmocka_unit_test(time_outs_are_not_below_their_floor),
        cmocka_unit_test(who_stands_aside_gives_up_what_it_is),
        cmocka_unit_test(who_is_done_does_not_campaign),
    };
    return cmocka_run_group_tests_name("raft_vote", tests, NULL, NULL);
}
