/* The one flush that is out, and what happens to the log under it. */
#include "tests/test_raft.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

/* Its disk hangs for longer than a number of the protocol can say. */
static void a_flush_of_hours_is_told_as_the_longest(void **state)
{
    (void)state;
    uint8_t leader;
    struct rafts *world = rafts_elected(1, 7, &leader);
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
    struct rafts *world = rafts_elected(3, 7, &leader);
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
    struct rafts *world = rafts_elected(3, 7, &leader);
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

/* A node as a test's own leader feeds it: entries of any term at any place. */
struct fed {
    struct rafts *world;
    struct raft *raft;
    uint8_t leader, slot;
    uint64_t base; /* committed; everything after may go */
};

static struct fed fed_new(void)
{
    struct fed fed;
    fed.world = rafts_elected(3, 7, &fed.leader);
    fed.slot = fed.leader == 1 ? 2 : 1;
    fed.raft = rafts_raft(fed.world, fed.slot);
    fed.base = fed.raft->log.last;
    assert_int_equal(fed.raft->commit, fed.base);
    assert_false(fed.world->nodes[fed.slot].flushing);
    return fed;
}

/* An entry of a newer term than any before, after the one at base + `after`. */
static void feed(struct fed *fed, uint64_t after)
{
    uint64_t prev = fed->base + after;
    uint8_t entry[512], body[8] = { 'x' };
    const uint32_t size = sizeof body;
    struct entry_draft draft = { ENTRY_COMMANDS, prev + 1, fed->raft->term + 1, 1, 1, &size, body };
    size_t len = entry_build(entry, sizeof entry, &draft, &rafts_crypto, fed->raft->cluster,
                             raft_log_chain(&fed->raft->log, prev));
    struct raft_message append = {
        .kind = RAFT_APPEND,
        .term = fed->raft->term + 1,
        .append = { .session = 1,
                    .round = 1,
                    .prev_index = prev,
                    .prev_term = raft_log_term(&fed->raft->log, prev),
                    .timeout_us = 100000 },
    };
    assert_true(
        rafts_say(fed->world, fed->leader, fed->slot, &append, (struct slice) { entry, len }));
    assert_int_equal(fed->raft->log.last, prev + 1);
}

static void flush_until_done(struct fed *fed)
{
    while (fed->world->nodes[fed->slot].flushing)
        rafts_flush(fed->world, fed->slot, RAFT_FLUSHED);
    const struct rafts_disk *disk = fed->world->nodes[fed->slot].disk;
    assert_int_equal(disk->last, fed->raft->log.last);
    assert_int_equal(fed->raft->durable, fed->raft->log.last);
}

/* Of truncations that wait for the flush that is out, the deepest counts. */
static void the_deepest_truncation_waits(void **state)
{
    (void)state;
    struct fed fed = fed_new();
    for (uint64_t after = 0; after < 3; after++)
        feed(&fed, after);
    flush_until_done(&fed);
    feed(&fed, 3);
    assert_true(fed.world->nodes[fed.slot].flushing);
    feed(&fed, 2);
    assert_int_equal(fed.raft->truncate_from, fed.base + 3);
    feed(&fed, 1);
    assert_int_equal(fed.raft->truncate_from, fed.base + 2);
    feed(&fed, 2);
    feed(&fed, 2); /* one that is not on disk yet: nothing is truncated less for it */
    assert_int_equal(fed.raft->truncate_from, fed.base + 2);
    flush_until_done(&fed);
    rafts_free(fed.world);
}

/* A truncation that was refused with its flush is owed on, with what came meanwhile. */
static void a_refused_truncation_is_owed_on(void **state)
{
    (void)state;
    for (uint64_t deeper = 0; deeper < 2; deeper++) {
        struct fed fed = fed_new();
        for (uint64_t after = 0; after < 4; after++)
            feed(&fed, after);
        flush_until_done(&fed);
        feed(&fed, 2);
        assert_int_equal(fed.world->nodes[fed.slot].flush.truncate_from, fed.base + 3);
        feed(&fed, deeper ? 1 : 3);
        if (!deeper)
            feed(&fed, 3); /* beyond what is being truncated already */
        rafts_flush(fed.world, fed.slot, RAFT_FLUSH_NO_SPACE);
        /* It needs no room, and goes at once without the entries. */
        assert_true(fed.world->nodes[fed.slot].flushing);
        assert_int_equal(fed.world->nodes[fed.slot].flush.truncate_from,
                         fed.base + (deeper ? 2 : 3));
        assert_int_equal(fed.world->nodes[fed.slot].flush.entries[0].len, 0);
        rafts_flush(fed.world, fed.slot, RAFT_FLUSHED);
        rafts_advance(fed.world, RAFT_DISK_RETRY_US);
        raft_restart_timers(fed.raft, fed.world->now);
        rafts_end_turn(fed.world, fed.slot);
        assert_true(fed.world->nodes[fed.slot].flushing);
        flush_until_done(&fed);
        rafts_free(fed.world);
    }
}

/* Entries that gave way while they were being written, and were refused then, are nowhere. */
static void what_was_never_written_is_not_truncated(void **state)
{
    (void)state;
    struct fed fed = fed_new();
    feed(&fed, 0);
    assert_true(fed.world->nodes[fed.slot].flushing);
    feed(&fed, 0);
    assert_int_equal(fed.raft->truncate_from, fed.base + 1);
    rafts_flush(fed.world, fed.slot, RAFT_FLUSH_NO_SPACE);
    assert_int_equal(fed.raft->truncate_from, 0);
    rafts_advance(fed.world, RAFT_DISK_RETRY_US);
    raft_restart_timers(fed.raft, fed.world->now);
    rafts_end_turn(fed.world, fed.slot);
    assert_true(fed.world->nodes[fed.slot].flushing);
    assert_int_equal(fed.world->nodes[fed.slot].flush.truncate_from, 0);
    flush_until_done(&fed);
    rafts_free(fed.world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_flush_of_hours_is_told_as_the_longest),
        cmocka_unit_test(a_flush_under_a_halted_node_promises_nothing),
        cmocka_unit_test(a_flush_under_a_frozen_node_is_told_to_nobody),
        cmocka_unit_test(the_deepest_truncation_waits),
        cmocka_unit_test(a_refused_truncation_is_owed_on),
        cmocka_unit_test(what_was_never_written_is_not_truncated),
    };
    return cmocka_run_group_tests_name("raft_flush", tests, NULL, NULL);
}
