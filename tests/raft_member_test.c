/* Every membership step of up to five nodes: which changes are taken, that their majorities meet, and
 * what elections come to when the leader dies in the middle of one. */
#include "tests/test_raft.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

/* --- which changes are taken -------------------------------------------------------------------*/

enum { SLOTS = 5, OTHER = 0x40 }; /* OTHER: the slot's second identity */
enum seat { NOBODY, LEARNER, VOTER, OTHER_VOTER, VACANT, SEATS };

static struct raft_config config_of(const struct rafts *world, const enum seat seats[SLOTS + 1])
{
    struct raft_config config = { .count = 0 };
    for (uint8_t slot = 1; slot <= SLOTS; slot++) {
        if (seats[slot] == NOBODY)
            continue;
        struct raft_member *member = &config.members[config.count++];
        member->slot = slot;
        member->voter = seats[slot] == VOTER || seats[slot] == OTHER_VOTER;
        member->vacant = seats[slot] == VACANT;
        memcpy(member->identity, world->nodes[slot].identity, IDENTITY_BYTES);
        if (seats[slot] == OTHER_VOTER)
            member->identity[0] ^= OTHER;
    }
    return config;
}

/* Bit slot: its voter; bit 8 + slot: its other one. */
static unsigned voters_of(const enum seat seats[SLOTS + 1])
{
    unsigned voters = 0;
    for (unsigned slot = 1; slot <= SLOTS; slot++) {
        voters |= (seats[slot] == VOTER ? 1u : 0u) << slot;
        voters |= (seats[slot] == OTHER_VOTER ? 1u : 0u) << (8 + slot);
    }
    return voters;
}

static unsigned bits(unsigned set)
{
    return (unsigned)__builtin_popcount(set);
}

/* By trying every majority of the one against every majority of the other. */
static bool majorities_meet(unsigned one, unsigned other)
{
    for (unsigned a = one; a; a = (a - 1) & one) {
        if (bits(a) * 2 <= bits(one))
            continue;
        for (unsigned b = other; b; b = (b - 1) & other)
            if (bits(b) * 2 > bits(other) && !(a & b))
                return false;
    }
    return true;
}

/* The leader, in whose log everything is committed, durable and applied, has this configuration. */
static void put(struct raft *raft, const struct raft_config *config)
{
    uint64_t index = raft->config.index;
    raft->durable = raft->disk_last = raft->commit = raft->applied = raft->log.last;
    raft->config = raft->previous = *config;
    raft->config.index = raft->previous.index = index;
}

struct counts {
    unsigned taken;
    unsigned refused;
};

static void try_change(struct rafts *world, const enum seat from[SLOTS + 1],
                       const enum seat to[SLOTS + 1], struct counts *counts)
{
    struct raft *raft = rafts_raft(world, 1);
    struct raft_config before = config_of(world, from);
    struct raft_config after = config_of(world, to);
    put(raft, &before);
    unsigned one = voters_of(from), other = voters_of(to);
    bool good = other && bits(one ^ other) <= 1 && to[1] != OTHER_VOTER;
    bool taken = raft_propose_config(raft, &after, world->now);
    assert_int_equal(taken, good);
    if (taken) {
        assert_true(majorities_meet(one, other));
        assert_true(raft_config_pending(raft));
        assert_false(raft_propose_config(raft, &before, world->now)); /* one at a time */
        raft->commit = raft->log.last;
        raft->first_of_term = raft->log.last + 1; /* nothing of its term is committed yet */
        assert_false(raft_propose_config(raft, &before, world->now));
        raft->first_of_term = 2;
    }
    counts->taken += taken;
    counts->refused += !taken;
}

/* From every configuration in which node 1 leads, to every one that differs in up to two seats. */
static void every_change_of_five_seats(void **state)
{
    (void)state;
    struct rafts *world = rafts_new(SLOTS, 1);
    rafts_form(world);
    while (rafts_elect(world) != 1)
        rafts_cut(world, rafts_leader(world), 1, LINK_RESET), rafts_link_all(world),
            assert_true(raft_transfer(rafts_raft(world, rafts_leader(world)), 1, world->now,
                                      OUT(world, rafts_leader(world)))),
            rafts_run(world, 200000);
    struct counts counts = { 0, 0 };
    for (unsigned number = 0; number < SEATS * SEATS * SEATS * SEATS; number++) {
        enum seat from[SLOTS + 1] = { NOBODY, VOTER };
        unsigned rest = number;
        for (unsigned slot = 2; slot <= SLOTS; slot++, rest /= SEATS)
            from[slot] = (enum seat)(rest % SEATS);
        for (unsigned a = 1; a <= SLOTS; a++) {
            for (unsigned b = a; b <= SLOTS; b++) {
                for (unsigned seats = 0; seats < SEATS * SEATS; seats++) {
                    enum seat to[SLOTS + 1];
                    memcpy(to, from, sizeof to);
                    to[a] = (enum seat)(seats % SEATS);
                    to[b] = (enum seat)(seats / SEATS);
                    try_change(world, from, to, &counts);
                }
            }
        }
    }
    assert_true(counts.taken > 10000);
    assert_true(counts.refused > 10000);
    rafts_free(world);
}

static void one_identity_never_has_two_seats(void **state)
{
    (void)state;
    struct rafts *world = rafts_new(3, 1);
    rafts_form(world);
    uint8_t leader = rafts_elect(world);
    struct raft_config config = *raft_latest_config(rafts_raft(world, leader));
    config.members[config.count] = config.members[0];
    config.members[config.count].slot = 5;
    config.members[config.count].voter = false;
    config.count++;
    assert_false(raft_propose_config(rafts_raft(world, leader), &config, world->now));
    config.members[config.count - 1].vacant = true; /* who left does not count */
    assert_true(raft_propose_config(rafts_raft(world, leader), &config, world->now));
    rafts_free(world);
}

/* --- the leader dies in the middle of a change -------------------------------------------------*/

enum change { PROMOTE, REMOVE_LEADER, REMOVE_LAST, VACATE_LAST, CHANGES };

static void drop_seat(struct raft_config *config, uint8_t slot)
{
    for (unsigned i = 0; i < config->count; i++)
        if (config->members[i].slot == slot)
            config->members[i] = config->members[--config->count];
}

/* `voters` nodes vote, the next one learns. false: there is no such change. */
static bool change_of(struct raft_config *config, enum change change, uint8_t leader,
                      uint8_t voters)
{
    uint8_t last = leader == voters ? (uint8_t)(voters - 1) : voters;
    struct raft_member *member;
    if (change != PROMOTE && voters == 1)
        return false;
    switch (change) {
    case PROMOTE:
        member = &config->members[voters];
        if (config->count <= voters)
            return false;
        member->voter = true;
        return true;
    case REMOVE_LEADER:
        drop_seat(config, leader);
        return true;
    case REMOVE_LAST:
        drop_seat(config, last);
        return true;
    default:
        member = &config->members[last - 1];
        CHECK(member->slot == last);
        member->voter = false;
        member->vacant = true;
        return true;
    }
}

static void reach_only(struct rafts *world, uint8_t from, unsigned whom)
{
    for (uint8_t slot = 1; slot <= world->count; slot++)
        if (slot != from && !(whom >> slot & 1))
            rafts_cut(world, from, slot, LINK_TIMED_OUT);
}

static void split(struct rafts *world, unsigned side)
{
    for (uint8_t a = 1; a <= world->count; a++)
        for (uint8_t b = (uint8_t)(a + 1); b <= world->count; b++)
            if ((side >> a & 1) != (side >> b & 1))
                rafts_cut(world, a, b, LINK_TIMED_OUT);
            else
                rafts_link(world, a, b);
}

/* Nodes of `whom` get the change, the leader goes, the others are cut in two: rafts_check sees two
 * leaders of a term, and one that lacks what is committed. */
static void go_through(uint8_t voters, enum change change, unsigned whom, unsigned side)
{
    uint8_t count = voters < SLOTS ? (uint8_t)(voters + 1) : voters;
    struct rafts *world = rafts_new(count, 1 + whom * 31 + side);
    rafts_form_with(world, (2u << voters) - 2, count > voters ? 1u << count : 0);
    uint8_t leader = rafts_elect(world);
    struct raft *raft = rafts_raft(world, leader);
    struct raft_config config = *raft_latest_config(raft);
    if (!change_of(&config, change, leader, voters)) {
        rafts_free(world);
        return;
    }
    reach_only(world, leader, whom);
    assert_true(raft_propose_config(raft, &config, world->now));
    uint64_t index = raft_latest_config(raft)->index;
    rafts_end_turn(world, leader);
    rafts_run(world, 30000);
    bool committed = raft->commit >= index;
    if (world->nodes[leader].up)
        rafts_crash(world, leader);
    split(world, side);
    rafts_run(world, 800000);
    uint8_t gone = change == REMOVE_LAST || change == VACATE_LAST
                       ? (leader == voters ? (uint8_t)(voters - 1) : voters)
                       : 0;
    if (committed && gone)
        assert_int_not_equal(rafts_raft(world, gone)->role, RAFT_LEADER);
    /* All are back, and one of them leads. */
    rafts_start(world, leader);
    rafts_link_all(world);
    rafts_run(world, 2500000);
    assert_int_not_equal(rafts_leader(world), 0);
    if (committed && change == REMOVE_LEADER)
        assert_int_not_equal(rafts_leader(world), leader);
    rafts_free(world);
}

static void elections_in_the_middle_of_every_change(void **state)
{
    (void)state;
    for (uint8_t voters = 1; voters <= SLOTS; voters++)
        for (int change = 0; change < CHANGES; change++)
            for (unsigned whom = 0; whom < 1u << (voters + 1); whom += 2)
                for (unsigned side = 0; side < 1u << voters; side += voters < 4 ? 2 : 6)
                    go_through(voters, (enum change)change, whom, side);
}

/* --- one step after the other ------------------------------------------------------------------*/

static bool propose(struct rafts *world, const struct raft_config *config)
{
    uint8_t leader = rafts_leader(world);
    bool taken = raft_propose_config(rafts_raft(world, leader), config, world->now);
    rafts_end_turn(world, leader);
    return taken;
}

static void a_removed_leader_hands_over(void **state)
{
    (void)state;
    struct rafts *world = rafts_new(3, 1);
    rafts_form(world);
    uint8_t leader = rafts_elect(world);
    uint64_t term = rafts_raft(world, leader)->term;
    struct raft_config config = *raft_latest_config(rafts_raft(world, leader));
    drop_seat(&config, leader);
    assert_true(propose(world, &config));
    /* It leads until that is committed, without counting itself. */
    assert_int_equal(rafts_raft(world, leader)->role, RAFT_LEADER);
    assert_int_not_equal(rafts_propose(world, leader, 20), 0);
    rafts_settle(world);
    assert_int_not_equal(rafts_raft(world, leader)->role, RAFT_LEADER);
    rafts_run(world, 40000); /* far less than a time-out */
    uint8_t next = rafts_leader(world);
    assert_int_not_equal(next, 0);
    assert_int_not_equal(next, leader);
    assert_int_equal(rafts_raft(world, next)->term, term + 1);
    /* Alone with its wish to lead it gets nowhere, and nobody's term moves. */
    rafts_run(world, 3000000);
    assert_int_equal(rafts_leader(world), next);
    assert_int_equal(rafts_raft(world, next)->term, term + 1);
    rafts_free(world);
}

static void who_stands_aside_neither_leads_nor_votes(void **state)
{
    (void)state;
    struct rafts *world = rafts_new(3, 1);
    rafts_form(world);
    uint8_t leader = rafts_elect(world);
    raft_stand_aside(rafts_raft(world, leader), true, world->now);
    rafts_end_turn(world, leader);
    rafts_run(world, 1000000);
    uint8_t next = rafts_leader(world);
    assert_int_not_equal(next, leader);
    assert_int_not_equal(next, 0);
    rafts_crash(world, next);
    rafts_run(world, 2000000); /* its vote would be the majority */
    assert_int_equal(rafts_leader(world), 0);
    raft_stand_aside(rafts_raft(world, leader), false, world->now);
    rafts_run(world, 2000000);
    assert_int_not_equal(rafts_leader(world), 0);
    rafts_free(world);
}

static void cut_off(struct rafts *world, uint8_t slot)
{
    for (uint8_t other = 1; other <= world->count; other++)
        if (other != slot)
            rafts_cut(world, slot, other, LINK_TIMED_OUT);
}

/* The only one that can win is of a configuration that its voter has not seen. */
static void a_voter_that_has_not_heard_of_a_member_votes_for_it(void **state)
{
    (void)state;
    struct rafts *world = rafts_new(4, 1);
    rafts_form_with(world, 2 + 4 + 8, 0);
    uint8_t leader = rafts_elect(world);
    uint8_t behind = leader == 1 ? 2 : 1;
    uint8_t third = (uint8_t)(6 - leader - behind);
    cut_off(world, behind);
    struct raft_config config = *raft_latest_config(rafts_raft(world, leader));
    struct raft_member *member = &config.members[config.count++];
    *member = (struct raft_member) { .slot = 4 };
    memcpy(member->identity, world->nodes[4].identity, IDENTITY_BYTES);
    assert_true(propose(world, &config));
    rafts_run(world, 50000);
    member->voter = true;
    assert_true(propose(world, &config));
    rafts_run(world, 50000);
    assert_int_equal(rafts_leader(world), leader);
    rafts_cut(world, leader, third, LINK_TIMED_OUT);
    assert_int_not_equal(rafts_propose(world, leader, 20), 0);
    rafts_end_turn(world, leader);
    rafts_run(world, 10000); /* one more reaches 4 alone */
    rafts_crash(world, leader);
    rafts_link_all(world);
    rafts_run(world, 3000000);
    assert_int_equal(rafts_leader(world), 4);
    rafts_free(world);
}

/* What a member said before it was removed does not count once it is back: its session was another. */
static void a_late_answer_from_before_a_return_does_not_count(void **state)
{
    (void)state;
    struct rafts *world = rafts_new(3, 1);
    rafts_form(world);
    uint8_t leader = rafts_elect(world);
    uint8_t gone = leader == 3 ? 2 : 3;
    struct raft *raft = rafts_raft(world, leader);
    struct raft_config with = *raft_latest_config(raft), without = with;
    drop_seat(&without, gone);
    uint64_t index = rafts_propose(world, leader, 20);
    rafts_deliver_all(world, leader, gone);
    rafts_flush(world, gone, RAFT_FLUSHED);
    unsigned late = world->bag_count; /* its answer is the last in the bag */
    assert_true(late > 0);
    struct rafts_message answer = world->bag[late - 1];
    assert_int_equal(answer.from, gone);
    answer.data = malloc(answer.len);
    memcpy(answer.data, world->bag[late - 1].data, answer.len);
    rafts_run(world, 50000);
    assert_true(raft->peers[gone].match >= index);
    assert_true(propose(world, &without));
    rafts_settle(world);
    raft_config_find(&with, gone);
    for (unsigned i = 0; i < with.count; i++)
        if (with.members[i].slot == gone)
            with.members[i].voter = false;
    assert_true(propose(world, &with));
    assert_int_equal(raft->peers[gone].match, 0);
    rafts_drop_all(world, leader, gone);
    assert_true(raft_receive(raft, gone, world->nodes[gone].identity,
                             (struct slice) { answer.data, answer.len }, world->now,
                             OUT(world, leader)));
    assert_int_equal(raft->peers[gone].match, 0);
    rafts_run(world, 100000);
    assert_int_equal(raft->peers[gone].match, raft->log.last);
    free(answer.data);
    rafts_free(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_change_of_five_seats),
        cmocka_unit_test(one_identity_never_has_two_seats),
        cmocka_unit_test(elections_in_the_middle_of_every_change),
        cmocka_unit_test(a_removed_leader_hands_over),
        cmocka_unit_test(who_stands_aside_neither_leads_nor_votes),
        cmocka_unit_test(a_voter_that_has_not_heard_of_a_member_votes_for_it),
        cmocka_unit_test(a_late_answer_from_before_a_return_does_not_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
