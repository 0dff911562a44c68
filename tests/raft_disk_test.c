/* Disks in trouble: full, slow, stuck; and the hand-over that follows (core/raft/transfer.c). */
#include "tests/test_raft.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

/* A turn of a millisecond in which all disks but those in `stuck` (bit per slot) finish. */
static void step(struct rafts *world, unsigned stuck)
{
    rafts_advance(world, 1000);
    for (uint8_t slot = 1; slot <= world->count; slot++) {
        if (world->nodes[slot].flushing && !(stuck >> slot & 1))
            rafts_flush(world, slot, RAFT_FLUSHED);
    }
    rafts_deliver_all(world, 0, 0);
    for (uint8_t slot = 1; slot <= world->count; slot++)
        rafts_tick(world, slot);
}

/* Every disk's flush time is known, to all. */
static struct rafts *measured(unsigned count, uint8_t *leader)
{
    struct rafts *world = rafts_elected(count, 1, leader);
    for (int i = 0; i < 5; i++) {
        rafts_propose(world, *leader, 20);
        for (int ms = 0; ms < 60; ms++)
            step(world, 0);
    }
    for (uint8_t slot = 1; slot <= count; slot++)
        assert_true(slot == *leader || rafts_raft(world, *leader)->peers[slot].flush_us > 0);
    return world;
}

static unsigned hand_overs(const struct rafts *world)
{
    return world->emitted[EFFECT_LOG];
}

static uint8_t other(const struct rafts *world, uint8_t than, uint8_t nor)
{
    uint8_t slot = 1;
    while (slot == than || slot == nor)
        slot++;
    assert_true(slot <= world->count);
    return slot;
}

static void set_flush_time(struct rafts *world, uint8_t slot, uint32_t us)
{
    rafts_raft(world, slot)->flush_us = rafts_raft(world, slot)->flush_last_us = us;
}

/* Replies go with every heartbeat. */
static void run(struct rafts *world, unsigned ms)
{
    for (unsigned i = 0; i < ms; i++)
        step(world, 0);
}

static void a_full_disk_is_tried_again(void **state)
{
    (void)state;
    uint8_t leader;
    struct rafts *world = rafts_elected(3, 1, &leader);
    struct raft *raft = rafts_raft(world, leader);
    uint64_t index = rafts_propose(world, leader, 20);
    uint64_t ticket = world->nodes[leader].flush.ticket;
    rafts_flush(world, leader, RAFT_FLUSH_NO_SPACE);
    assert_true(raft_view(raft).disk_full);
    assert_false(raft_can_propose(raft));
    assert_false(world->nodes[leader].flushing);
    rafts_advance(world, 500000);
    raft_restart_timers(raft, world->now);
    rafts_tick(world, leader);
    assert_false(world->nodes[leader].flushing);
    rafts_advance(world, 500000);
    raft_restart_timers(raft, world->now);
    rafts_tick(world, leader);
    assert_true(world->nodes[leader].flushing);
    assert_true(world->nodes[leader].flush.ticket > ticket);
    rafts_flush(world, leader, RAFT_FLUSHED);
    assert_false(raft_view(raft).disk_full);
    assert_int_equal(raft->durable, index);
    rafts_free(world);
}

static void a_leader_whose_write_is_stuck_falls_silent(void **state)
{
    (void)state;
    uint8_t leader;
    struct rafts *world = rafts_elected(3, 1, &leader);
    struct raft *raft = rafts_raft(world, leader);
    rafts_propose(world, leader, 20);
    for (int ms = 0; ms < 3000 && rafts_leader(world) == leader; ms++) {
        rafts_advance(world, 1000);
        rafts_deliver_all(world, 0, 0);
        for (uint8_t slot = 1; slot <= 3; slot++) {
            if (world->nodes[slot].flushing && slot != leader)
                rafts_flush(world, slot, RAFT_FLUSHED);
            rafts_tick(world, slot);
        }
        if (ms < 900)
            assert_int_equal(rafts_leader(world), leader);
    }
    assert_int_not_equal(rafts_leader(world), leader);
    assert_true(world->nodes[leader].flushing);
    assert_false(raft_can_propose(raft));
    rafts_free(world);
}

/* --- full ---------------------------------------------------------------------------------------*/

static void a_full_disk_still_saves_votes(void **state)
{
    (void)state;
    uint8_t leader;
    struct rafts *world = rafts_elected(3, 1, &leader);
    uint8_t follower = other(world, leader, 0);
    struct raft *raft = rafts_raft(world, follower);
    rafts_propose(world, leader, 20);
    rafts_deliver_all(world, leader, follower);
    rafts_end_turn(world, follower);
    raft_become_follower(raft, raft->term + 1, 0, world->now); /* while that flush is out */
    rafts_flush(world, follower, RAFT_FLUSH_NO_SPACE);
    assert_true(raft_view(raft).disk_full);
    uint64_t durable = raft->durable;
    rafts_tick(world, follower);
    assert_true(world->nodes[follower].flushing); /* at once, and without the entries */
    assert_true(world->nodes[follower].flush.save_vote);
    assert_int_equal(world->nodes[follower].flush.entries[0].len, 0);
    rafts_flush(world, follower, RAFT_FLUSHED);
    assert_true(raft_view(raft).disk_full); /* that tells nothing of space */
    assert_int_equal(raft->durable, durable);
    assert_int_equal(world->nodes[follower].disk->term, raft->term);
    rafts_tick(world, follower);
    assert_false(world->nodes[follower].flushing);
    raft_disk_space(raft, true, world->now); /* somebody made room */
    rafts_tick(world, follower);
    assert_true(world->nodes[follower].flushing);
    rafts_flush(world, follower, RAFT_FLUSHED);
    assert_false(raft_view(raft).disk_full);
    assert_true(raft->durable > durable);
    rafts_free(world);
}

static void a_leader_without_a_spare_segment_hands_over(void **state)
{
    (void)state;
    uint8_t leader;
    struct rafts *world = measured(3, &leader);
    struct raft *raft = rafts_raft(world, leader);
    raft_disk_space(raft, false, world->now);
    assert_true(raft_view(raft).disk_full && !raft_view(raft).refused);
    assert_true(raft_can_propose(raft)); /* what is begun still has room */
    run(world, 300);
    assert_int_equal(hand_overs(world), 1);
    assert_int_not_equal(rafts_leader(world), leader);
    /* And not back, for it reports that it is full. */
    uint8_t next = rafts_leader(world);
    assert_true(rafts_raft(world, next)->peers[leader].disk_full);
    rafts_free(world);
}

static void a_full_leader_stays_when_all_are_full(void **state)
{
    (void)state;
    uint8_t leader;
    struct rafts *world = measured(3, &leader);
    for (uint8_t slot = 1; slot <= 3; slot++)
        if (slot != leader)
            raft_disk_space(rafts_raft(world, slot), false, world->now);
    run(world, 100);
    raft_disk_space(rafts_raft(world, leader), false, world->now);
    run(world, 1000);
    assert_int_equal(hand_overs(world), 0);
    assert_int_equal(rafts_leader(world), leader);
    /* One has space again: it leads. */
    uint8_t roomy = other(world, leader, 0);
    raft_disk_space(rafts_raft(world, roomy), true, world->now);
    run(world, 300);
    assert_int_equal(hand_overs(world), 1);
    assert_int_equal(rafts_leader(world), roomy);
    rafts_free(world);
}

static void a_full_leader_refuses_and_says_so(void **state)
{
    (void)state;
    uint8_t leader;
    struct rafts *world = measured(3, &leader);
    struct raft *raft = rafts_raft(world, leader);
    uint8_t follower = other(world, leader, 0);
    raft->handed_over_us = world->now.mono_us; /* not again within a minute */
    uint64_t commit = raft->commit;
    uint64_t index = rafts_propose(world, leader, 20);
    rafts_flush(world, leader, RAFT_FLUSH_NO_SPACE);
    assert_true(raft_view(raft).refused);
    assert_int_equal(rafts_propose(world, leader, 20), 0);
    assert_int_equal(raft->durable, index - 1);
    assert_int_equal(raft->commit, commit); /* its own copy does not count */
    for (int ms = 0; ms < 100; ms++)
        step(world, 1u << leader);
    assert_int_equal(raft->commit, index); /* the others' do */
    assert_true(raft_view(raft).leader_full);
    assert_true(raft_view(rafts_raft(world, follower)).leader_full);
    assert_false(raft_view(rafts_raft(world, follower)).disk_full);
    raft_disk_space(raft, true, world->now);
    run(world, 100);
    assert_false(raft_view(rafts_raft(world, follower)).leader_full);
    assert_int_equal(raft->durable, index);
    rafts_free(world);
}

static void hand_overs_are_a_minute_apart(void **state)
{
    (void)state;
    uint8_t leader;
    struct rafts *world = measured(3, &leader);
    struct raft *raft = rafts_raft(world, leader);
    uint64_t first = world->now.mono_us;
    raft->handed_over_us = first;
    raft_disk_space(raft, false, world->now);
    while (rafts_leader(world) == leader && world->now.mono_us < first + 120000000)
        step(world, 0);
    assert_true(world->now.mono_us >= first + RAFT_HAND_OVER_US);
    assert_true(world->now.mono_us < first + RAFT_HAND_OVER_US + 1000000);
    rafts_free(world);
}

/* --- slow ---------------------------------------------------------------------------------------*/

static void a_slow_leader_hands_over_to_a_fast_one(void **state)
{
    (void)state;
    uint8_t leader;
    struct rafts *world = measured(3, &leader);
    uint64_t index = rafts_propose(world, leader, 20);
    uint8_t now = leader;
    for (int ms = 0; ms < 900 && (now == leader || now == 0); ms++, now = rafts_leader(world)) {
        step(world, 1u << leader);
        if (ms < 400)
            assert_int_equal(rafts_leader(world), leader);
    }
    assert_true(now && now != leader); /* before it is stuck and silent */
    assert_int_equal(hand_overs(world), 1);
    assert_true(rafts_raft(world, now)->commit >= index);
    assert_true(world->nodes[leader].flushing);
    rafts_free(world);
}

/* The rule's edges: a quarter of its own time, and known. */
static void only_flushes_under_a_quarter_are_better(void **state)
{
    (void)state;
    static const struct {
        uint32_t own;
        uint32_t theirs;
        bool goes;
    } rows[] = {
        { RAFT_SLOW_US - 1, 1000, false },
        { RAFT_SLOW_US, RAFT_SLOW_US / 4, false },
        { RAFT_SLOW_US, RAFT_SLOW_US / 4 - 1, true },
        { 8 * RAFT_SLOW_US, 2 * RAFT_SLOW_US, false },
        { 8 * RAFT_SLOW_US, 2 * RAFT_SLOW_US - 1, true },
        { RAFT_SLOW_US, 0, false }, /* not known */
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint8_t leader;
        struct rafts *world = measured(3, &leader);
        for (uint8_t slot = 1; slot <= 3; slot++)
            set_flush_time(world, slot, slot == leader ? 1000 : rows[i].theirs);
        run(world, 100);
        set_flush_time(world, leader, rows[i].own);
        run(world, 20);
        assert_int_equal(hand_overs(world), rows[i].goes);
        rafts_free(world);
    }
}

static void nobody_flaps_when_all_are_slow(void **state)
{
    (void)state;
    uint8_t leader;
    struct rafts *world = measured(3, &leader);
    uint64_t term = rafts_raft(world, leader)->term;
    for (int round = 0; round < 20; round++) {
        rafts_propose(world, leader, 20);
        for (int ms = 0; ms < 3000; ms++)
            step(world, ms < 2990 ? 14 : 0); /* every flush takes three seconds, everywhere */
    }
    assert_int_equal(hand_overs(world), 0);
    assert_int_equal(rafts_leader(world), leader);
    assert_int_equal(rafts_raft(world, leader)->term, term);
    rafts_free(world);
}

/* All disks become slow at once, and the leader's flush happens to be the last to end: the others'
 * averages are still those of fast disks, but not what their last flush took. */
static void an_average_of_better_days_is_not_believed(void **state)
{
    (void)state;
    uint8_t leader;
    struct rafts *world = measured(3, &leader);
    for (int round = 0; round < 3; round++) {
        rafts_propose(world, leader, 20);
        for (int ms = 0; ms < 300; ms++)
            step(world, 14);
        for (int ms = 0; ms < 400; ms++) /* theirs are done, its own takes longer */
            step(world, 1u << leader);
        step(world, 0);
    }
    assert_int_equal(hand_overs(world), 0);
    assert_int_equal(rafts_leader(world), leader);
    rafts_free(world);
}

static void one_slow_follower_changes_nothing(void **state)
{
    (void)state;
    uint8_t leader;
    struct rafts *world = measured(3, &leader);
    struct raft *raft = rafts_raft(world, leader);
    uint8_t slow = other(world, leader, 0);
    uint64_t term = raft->term;
    for (int round = 0; round < 50; round++) {
        uint64_t index = rafts_propose(world, leader, 20);
        for (int ms = 0; ms < 100; ms++)
            step(world, 1u << slow);
        assert_true(raft->commit >= index);
    }
    assert_int_equal(rafts_leader(world), leader);
    assert_int_equal(raft->term, term);
    assert_true(raft->peers[slow].flush_us >= 4000000); /* as it says while the flush is out */
    rafts_free(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_full_disk_is_tried_again),
        cmocka_unit_test(a_full_disk_still_saves_votes),
        cmocka_unit_test(a_leader_without_a_spare_segment_hands_over),
        cmocka_unit_test(a_full_leader_stays_when_all_are_full),
        cmocka_unit_test(a_full_leader_refuses_and_says_so),
        cmocka_unit_test(hand_overs_are_a_minute_apart),
        cmocka_unit_test(a_leader_whose_write_is_stuck_falls_silent),
        cmocka_unit_test(a_slow_leader_hands_over_to_a_fast_one),
        cmocka_unit_test(only_flushes_under_a_quarter_are_better),
        cmocka_unit_test(nobody_flaps_when_all_are_slow),
        cmocka_unit_test(an_average_of_better_days_is_not_believed),
        cmocka_unit_test(one_slow_follower_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
