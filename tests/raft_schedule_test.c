/* Short random schedules: messages in any order or lost, flushes that take their time or find no
 * space, crashes, cut links, transfers, logs that rot on a minority. The world checks safety after every step; at the end the
 * faults stop and everything must converge. A failing seed is printed: RAFT_SEED=n runs it alone.
 */
#include "tests/test_raft.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { SEEDS = 1500, STEPS = 600 };

/* How often something rare happened in all seeds: a schedule that never gets there proves nothing.
 */
static struct {
    uint64_t truncations;
    uint64_t terms;
    uint64_t commits;
    uint64_t restarts;
    uint64_t reads;
    uint64_t no_space;
    uint64_t transfers;
    uint64_t rotten;
    uint64_t made_up;
} reached;

static uint64_t pick(struct rafts *world, uint64_t bound)
{
    return random_below(&world->random, bound);
}

static void deliver_some(struct rafts *world, bool orderly)
{
    if (world->bag_count == 0)
        return;
    unsigned at = (unsigned)pick(world, world->bag_count);
    if (orderly) { /* the oldest of its link */
        for (unsigned i = 0; i < at; i++) {
            if (world->bag[i].from == world->bag[at].from && world->bag[i].to == world->bag[at].to)
                at = i;
        }
    }
    rafts_deliver(world, at);
}

static void disturb(struct rafts *world, uint8_t slot)
{
    uint8_t other = (uint8_t)(1 + pick(world, world->count));
    static const enum raft_link_end ends[] = { LINK_RESET, LINK_CLOSED, LINK_REFUSED,
                                               LINK_TIMED_OUT };
    switch (pick(world, 8)) {
    case 0:
        rafts_crash(world, slot);
        break;
    case 1:
    case 2:
        if (other != slot && world->linked[slot][other])
            rafts_cut(world, slot, other, ends[pick(world, 4)]);
        break;
    case 3:
        if (world->bag_count)
            rafts_drop(world, (unsigned)pick(world, world->bag_count));
        break;
    case 4:
        if (raft_transfer(
                rafts_raft(world, slot), 0, world->now,
                &(const struct effects) { rafts_emit, &(struct rafts_emitter) { world, slot } }))
            reached.transfers++;
        rafts_end_turn(world, slot);
        break;
    case 5:
        raft_restart_timers(rafts_raft(world, slot), world->now);
        break;
    default:
        for (unsigned i = (unsigned)pick(world, 20); i; i--)
            rafts_link(world, slot, other);
        rafts_link_all(world);
    }
}

/* Of five nodes two may lose a part of their logs, of three one. */
static void rot(struct rafts *world, uint8_t slot)
{
    const struct rafts_disk *disk = world->nodes[slot].disk;
    if (slot > (world->count - 1) / 2 || disk->last == disk->checkpoint_index || disk->last < 2)
        return;
    uint64_t least = disk->checkpoint_index ? disk->checkpoint_index + 1 : 2;
    if (pick(world, 2) && least + 3 < disk->last)
        least = disk->last - 3;
    if (least > disk->last)
        return;
    rafts_rot(world, slot, random_between(&world->random, least, disk->last), pick(world, 4) != 0);
    reached.rotten++;
}

static void step(struct rafts *world, bool orderly)
{
    uint8_t slot = (uint8_t)(1 + pick(world, world->count));
    struct rafts_node *node = &world->nodes[slot];
    uint64_t what = pick(world, 100);
    if (!node->up) {
        if (what < 30) {
            if (what < 25)
                rot(world, slot);
            rafts_start(world, slot);
            reached.restarts++;
            for (uint8_t other = 1; other <= world->count; other++)
                rafts_link(world, slot, other);
        }
        return;
    }
    bool lost = node->raft->lost_last != 0;
    if (what < 45) {
        for (uint64_t i = pick(world, 4) + 1; i; i--)
            deliver_some(world, orderly);
    } else if (what < 60 && node->flushing) {
        bool full = pick(world, 20) == 0;
        reached.no_space += full;
        rafts_flush(world, slot, full ? RAFT_FLUSH_NO_SPACE : RAFT_FLUSHED);
    } else if (what < 70) {
        rafts_advance(world, pick(world, 40000));
        rafts_tick(world, slot);
    } else if (what < 82) {
        uint8_t leader = rafts_leader(world);
        if (leader)
            rafts_propose(world, leader, (uint32_t)(8 + pick(world, pick(world, 5) ? 60 : 9000)));
        if (rafts_raft(world, slot)->role == RAFT_LEADER)
            rafts_propose(world, slot, 16);
    } else if (what < 88) {
        rafts_apply(world, slot);
    } else if (what < 92 && node->reads) {
        rafts_read(world, slot, pick(world, 4) != 0);
        reached.reads++;
    } else if (what < 96) {
        if (node->raft->checkpoint_index < node->applied && node->applied <= node->raft->durable)
            rafts_checkpoint(world, slot, node->applied);
    } else {
        disturb(world, slot);
    }
    reached.made_up += lost && node->up && !node->raft->lost_last;
}

static void converge(struct rafts *world)
{
    for (uint8_t slot = 1; slot <= world->count; slot++) {
        if (!world->nodes[slot].up)
            rafts_start(world, slot);
    }
    rafts_link_all(world);
    uint8_t leader = 0;
    uint64_t index = 0;
    for (int i = 0; i < 60; i++) {
        rafts_run(world, 250000);
        leader = rafts_leader(world);
        if (leader && raft_can_propose(rafts_raft(world, leader)))
            index = rafts_propose(world, leader, 24);
        if (!index)
            continue;
        rafts_run(world, 100000);
        unsigned there = 0;
        for (uint8_t slot = 1; slot <= world->count; slot++)
            there += rafts_raft(world, slot)->commit >= index &&
                     rafts_raft(world, slot)->durable >= index;
        if (there == world->count)
            return;
    }
    for (uint8_t slot = 1; slot <= world->count; slot++) {
        const struct raft *raft = world->nodes[slot].raft;
        print_message("%u: role %d term %lu leader %u last %lu durable %lu commit %lu verified %lu "
                      "applied %lu full %d\n",
                      slot, raft->role, raft->term, raft->leader, raft->log.last, raft->durable,
                      raft->commit, raft->verified, raft->applied, raft->disk_full);
    }
    fail_msg("seed %lu: no agreement after the faults stopped", rafts_seed);
}

static void run_seed(uint64_t seed)
{
    static const unsigned sizes[] = { 3, 3, 3, 5, 1, 2 };
    struct rafts *world = rafts_new(sizes[seed % 6], seed);
    for (uint8_t slot = 1; slot <= world->count; slot++) {
        world->nodes[slot].options.cache_bytes = seed % 3 ? 256 << 10 : 128 << 10;
        world->nodes[slot].options.cache_entries = seed % 4 ? 1024 : 64;
    }
    rafts_form(world);
    bool orderly = seed % 2;
    for (unsigned i = 0; i < STEPS; i++) {
        world->seed_step = i;
        step(world, orderly);
    }
    converge(world);
    assert_int_equal(world->halts, 0);
    reached.truncations += world->truncations;
    reached.terms += rafts_raft(world, 1)->term;
    reached.commits += world->committed_last;
    rafts_free(world);
}

static void random_schedules_are_safe_and_converge(void **state)
{
    (void)state;
    const char *one = getenv("RAFT_SEED");
    if (one) {
        run_seed(strtoull(one, NULL, 10));
        return;
    }
    const char *more = getenv("RAFT_SEEDS");
    uint64_t seeds = more ? strtoull(more, NULL, 10) : SEEDS;
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        rafts_seed = seed;
        run_seed(seed);
    }
    printf("truncations %lu, terms %lu, commits %lu, restarts %lu, reads %lu, no space %lu, "
           "transfers %lu, rotten %lu, made up %lu\n",
           reached.truncations, reached.terms, reached.commits, reached.restarts, reached.reads,
           reached.no_space, reached.transfers, reached.rotten, reached.made_up);
    assert_true(reached.truncations > 0);
    assert_true(reached.commits > SEEDS);
    assert_true(reached.restarts > 0);
    assert_true(reached.reads > 0);
    assert_true(reached.no_space > 0);
    assert_true(reached.transfers > 0);
    assert_true(reached.rotten > 300);
    assert_true(reached.made_up > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_schedules_are_safe_and_converge),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
