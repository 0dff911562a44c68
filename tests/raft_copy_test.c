/* Raft's part in copying segments: who is told to copy, what is sent meanwhile, and when a copy may
 * take the log's place. The copying itself: store_copy_test.c, and the simulator. */
#include "tests/test_raft.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

/* Three nodes, one of them cut off and behind by more than the leader's memory holds. */
struct scene {
    struct rafts *world;
    struct raft *leader;
    uint8_t leads;
    uint8_t behind;
};

static struct scene scene_new(void)
{
    struct scene scene = { .world = rafts_new(3, 1) };
    rafts_form(scene.world);
    scene.leads = rafts_elect(scene.world);
    rafts_run(scene.world, 100000);
    scene.behind = scene.leads == 1 ? 2 : 1;
    scene.leader = rafts_raft(scene.world, scene.leads);
    for (uint8_t slot = 1; slot <= 3; slot++)
        if (slot != scene.behind)
            rafts_cut(scene.world, scene.behind, slot, LINK_TIMED_OUT);
    for (int i = 0; i < 300; i++) {
        assert_int_not_equal(rafts_propose(scene.world, scene.leads, 1500), 0);
        rafts_settle(scene.world);
    }
    assert_true(scene.leader->log.base > 1);
    return scene;
}

static void link_behind(struct scene *scene)
{
    rafts_link(scene->world, scene->leads, scene->behind);
}

static void what_is_gone_is_not_read(void **state)
{
    (void)state;
    struct scene scene = scene_new();
    struct raft *behind = rafts_raft(scene.world, scene.behind);
    raft_set_kept(scene.leader, scene.leader->log.base / 2, 0);
    unsigned reads = scene.world->emitted[EFFECT_READ_ENTRIES];
    uint64_t last = behind->log.last;
    link_behind(&scene);
    rafts_run(scene.world, 1000000);
    assert_int_equal(scene.world->emitted[EFFECT_READ_ENTRIES], reads);
    assert_int_equal(behind->log.last, last);
    /* It hears its leader all the same, and is told. */
    assert_int_equal(raft_view(behind).leader, scene.leads);
    assert_true(raft_has_quorum(behind));
    assert_true(raft_view(behind).copy_advised);
    assert_int_equal(rafts_leader(scene.world), scene.leads);
    rafts_free(scene.world);
}

static void who_is_far_behind_is_told_and_served(void **state)
{
    (void)state;
    struct scene scene = scene_new();
    struct raft *behind = rafts_raft(scene.world, scene.behind);
    raft_set_kept(scene.leader, 1, scene.leader->log.base);
    link_behind(&scene);
    for (int i = 0; i < 20 && !raft_view(behind).copy_advised; i++) {
        rafts_end_turn(scene.world, scene.leads);
        rafts_deliver_all(scene.world, scene.leads, scene.behind);
        rafts_deliver_all(scene.world, scene.behind, scene.leads);
    }
    assert_true(raft_view(behind).copy_advised);
    rafts_run(scene.world, 2000000);
    assert_int_equal(behind->commit, scene.leader->commit);
    assert_false(raft_view(behind).copy_advised);
    rafts_free(scene.world);
}

static void who_copies_gets_no_entries(void **state)
{
    (void)state;
    struct scene scene = scene_new();
    struct raft *behind = rafts_raft(scene.world, scene.behind);
    uint64_t last = behind->log.last;
    raft_set_copying(behind, true);
    link_behind(&scene);
    rafts_run(scene.world, 200000);
    uint64_t stands = behind->log.last;
    unsigned reads = scene.world->emitted[EFFECT_READ_ENTRIES];
    rafts_propose(scene.world, scene.leads, 100);
    rafts_run(scene.world, 500000);
    assert_int_equal(behind->log.last, stands);
    assert_true(stands < scene.leader->log.base);
    assert_in_range(stands, last, scene.leader->log.base);
    assert_int_equal(scene.world->emitted[EFFECT_READ_ENTRIES], reads);
    assert_int_equal(raft_view(behind).leader, scene.leads);
    assert_true(raft_peer_view(scene.leader, scene.behind).linked);
    raft_set_copying(behind, false);
    rafts_run(scene.world, 1000000);
    assert_int_equal(behind->commit, scene.leader->commit);
    rafts_free(scene.world);
}

/* The reading side's queue is bounded: links that come and go must not fill it. */
static void one_read_for_a_peer_whatever_its_links_do(void **state)
{
    (void)state;
    struct scene scene = scene_new();
    struct rafts_node *node = &scene.world->nodes[scene.leads];
    for (int i = 0; i < 40; i++) {
        link_behind(&scene);
        for (int k = 0; k < 6; k++) { /* nothing is read meanwhile */
            rafts_end_turn(scene.world, scene.leads);
            rafts_deliver_all(scene.world, scene.leads, scene.behind);
            rafts_end_turn(scene.world, scene.behind);
            rafts_deliver_all(scene.world, scene.behind, scene.leads);
        }
        assert_in_range(node->reads, i ? 1 : 0, 1);
        rafts_cut(scene.world, scene.leads, scene.behind, LINK_RESET);
    }
    assert_int_equal(node->reads, 1);
    link_behind(&scene);
    rafts_run(scene.world, 2000000);
    assert_int_equal(rafts_raft(scene.world, scene.behind)->commit, scene.leader->commit);
    rafts_free(scene.world);
}

static void a_frozen_one_promises_nothing(void **state)
{
    (void)state;
    struct scene scene = scene_new();
    struct raft *behind = rafts_raft(scene.world, scene.behind);
    link_behind(&scene);
    rafts_run(scene.world, 5000);
    raft_freeze(behind);
    uint64_t term = behind->term, last = behind->log.last;
    rafts_drop_all(scene.world, scene.behind, scene.leads);
    for (int i = 0; i < 100; i++) {
        rafts_advance(scene.world, 50000);
        rafts_tick(scene.world, scene.behind);
        rafts_end_turn(scene.world, scene.behind);
        rafts_end_turn(scene.world, scene.leads);
        rafts_deliver_all(scene.world, scene.leads, scene.behind);
        if (scene.world->nodes[scene.behind].flushing)
            rafts_flush(scene.world, scene.behind, RAFT_FLUSHED);
        assert_int_equal(rafts_deliver_all(scene.world, scene.behind, scene.leads), 0);
    }
    assert_int_equal(behind->term, term);
    assert_int_equal(behind->log.last, last);
    assert_int_equal(behind->role, RAFT_FOLLOWER);
    rafts_free(scene.world);
}

static void a_copy_takes_nothing_that_was_acknowledged(void **state)
{
    (void)state;
    struct scene scene = scene_new();
    struct raft *behind = rafts_raft(scene.world, scene.behind);
    uint8_t other[HASH_BYTES] = { 1 };
    uint64_t commit = behind->commit;
    assert_true(raft_may_install(behind, behind->log.last + 10, other));
    assert_false(raft_may_install(behind, commit, other));
    assert_false(raft_may_install(scene.leader, scene.leader->log.last + 1, other));
    /* With entries beyond its commit: only over what is of another history. */
    link_behind(&scene);
    while (behind->log.last < commit + 5) {
        rafts_end_turn(scene.world, scene.leads);
        if (scene.world->nodes[scene.leads].reads)
            rafts_read(scene.world, scene.leads, true);
        rafts_deliver_all(scene.world, scene.leads, scene.behind);
        rafts_deliver_all(scene.world, scene.behind, scene.leads);
    }
    behind->commit = commit; /* as if it had not heard of it */
    uint64_t end = behind->log.last - 2;
    uint8_t chain[HASH_BYTES];
    memcpy(chain, raft_log_chain(&behind->log, end), HASH_BYTES);
    assert_false(raft_may_install(behind, end, chain));
    assert_true(raft_may_install(behind, end, other));
    rafts_free(scene.world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_gone_is_not_read),
        cmocka_unit_test(who_is_far_behind_is_told_and_served),
        cmocka_unit_test(who_copies_gets_no_entries),
        cmocka_unit_test(one_read_for_a_peer_whatever_its_links_do),
        cmocka_unit_test(a_frozen_one_promises_nothing),
        cmocka_unit_test(a_copy_takes_nothing_that_was_acknowledged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
