/* What a leader sends of what its disk gave back, and whose answers it takes. */
#include "tests/test_raft.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static const struct slice nothing = { NULL, 0 };

/* Three nodes; one is behind by more than the leader's memory, and a read for it is out. */
struct scene {
    struct rafts *world;
    struct raft *raft;
    uint8_t leader, behind;
    struct raft_peer *peer;
};

static struct scene scene_new(void)
{
    struct scene scene = { .world = rafts_new(3, 1) };
    rafts_form(scene.world);
    scene.leader = rafts_elect(scene.world);
    rafts_run(scene.world, 100000);
    scene.behind = scene.leader == 1 ? 2 : 1;
    scene.raft = rafts_raft(scene.world, scene.leader);
    scene.peer = &scene.raft->peers[scene.behind];
    for (uint8_t slot = 1; slot <= 3; slot++)
        if (slot != scene.behind)
            rafts_cut(scene.world, scene.behind, slot, LINK_TIMED_OUT);
    for (int i = 0; i < 300; i++) {
        assert_int_not_equal(rafts_propose(scene.world, scene.leader, 1500), 0);
        rafts_settle(scene.world);
    }
    rafts_link(scene.world, scene.leader, scene.behind);
    for (int i = 0; i < 50 && scene.peer->progress != RAFT_READING; i++) {
        rafts_end_turn(scene.world, scene.leader);
        rafts_deliver_all(scene.world, scene.leader, scene.behind);
        rafts_deliver_all(scene.world, scene.behind, scene.leader);
    }
    assert_int_equal(scene.peer->progress, RAFT_READING);
    rafts_drop_all(scene.world, scene.leader, 0);
    return scene;
}

/* The bytes on the leader's disk from `index` on. */
static struct slice on_disk(const struct scene *scene, uint64_t index)
{
    const struct rafts_disk *disk = scene->world->nodes[scene->leader].disk;
    size_t at = 0;
    for (uint64_t here = 1; here < index; here++)
        at += bytes_get_u32(disk->bytes + at + ENTRY_AT_SIZE);
    assert_int_equal(bytes_get_u64(disk->bytes + at + ENTRY_AT_FIRST), index);
    return (struct slice) { disk->bytes + at, disk->len - at };
}

static void read_done(struct scene *scene, struct slice entries)
{
    raft_read_done(scene->raft, scene->peer->read_id, true, entries, scene->world->now,
                   OUT(scene->world, scene->leader));
}

/* Of an entry that is cut off nothing goes out, of those before it everything. */
static void whole_entries_of_a_read_are_sent(void **state)
{
    (void)state;
    struct scene scene = scene_new();
    uint64_t next = scene.peer->next;
    struct slice bytes = on_disk(&scene, next);
    size_t first = bytes_get_u32(bytes.data + ENTRY_AT_SIZE);
    read_done(&scene, (struct slice) { bytes.data, first + 50 });
    assert_int_equal(scene.peer->next, next + 1);
    assert_int_equal(scene.peer->inflight_bytes, first);
    assert_int_equal(rafts_deliver_all(scene.world, scene.leader, scene.behind), 1);
    assert_int_equal(rafts_raft(scene.world, scene.behind)->log.last, next);
    rafts_free(scene.world);
}

static void what_was_not_asked_for_is_not_sent(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        struct scene scene = scene_new();
        uint64_t next = scene.peer->next;
        uint8_t entry[4096];
        struct slice bytes = on_disk(&scene, next + (i == 0));
        size_t size = bytes_get_u32(bytes.data + ENTRY_AT_SIZE);
        assert_true(size <= sizeof entry);
        memcpy(entry, bytes.data, size);
        if (i == 1)
            entry[ENTRY_AT_TERM]++; /* of another leadership than the log says */
        read_done(&scene, (struct slice) { entry, i == 2 ? size - 1 : size });
        assert_int_equal(scene.peer->next, next);
        assert_int_equal(scene.peer->progress, RAFT_PROBE);
        assert_int_equal(rafts_deliver_all(scene.world, scene.leader, scene.behind), 0);
        rafts_run(scene.world, 2000000); /* and it is read again */
        assert_int_equal(scene.peer->match, scene.raft->log.last);
        rafts_free(scene.world);
    }
}

static void who_is_no_member_acknowledges_nothing(void **state)
{
    (void)state;
    struct scene scene = scene_new();
    static const uint8_t stranger[IDENTITY_BYTES] = { 0xee };
    memcpy(scene.world->nodes[6].identity, stranger, IDENTITY_BYTES);
    raft_link_up(scene.raft, 6, stranger, scene.world->now, OUT(scene.world, scene.leader));
    struct raft_message reply = {
        .kind = RAFT_APPEND_REPLY,
        .term = scene.raft->term,
        .append_reply = { .session = scene.raft->peers[6].session,
                          .round = scene.raft->round,
                          .sent_us = scene.world->now.mono_us,
                          .match = 1,
                          .accepted = 1,
                          .room = 1 << 20 },
    };
    assert_true(rafts_say(scene.world, 6, scene.leader, &reply, nothing));
    assert_int_equal(scene.raft->peers[6].match, 0);
    rafts_free(scene.world);
}

static void who_copies_says_so_when_it_rejects(void **state)
{
    (void)state;
    struct scene scene = scene_new();
    struct raft *behind = rafts_raft(scene.world, scene.behind);
    raft_set_copying(behind, true);
    struct raft_message append = {
        .kind = RAFT_APPEND,
        .term = scene.raft->term,
        .append = { .session = scene.peer->session,
                    .round = scene.raft->round,
                    .sent_us = scene.world->now.mono_us,
                    .prev_index = behind->log.last + 5,
                    .prev_term = scene.raft->term,
                    .timeout_us = 100000 },
    };
    assert_true(rafts_say(scene.world, scene.leader, scene.behind, &append, nothing));
    assert_false(scene.peer->copying);
    assert_int_equal(rafts_deliver_all(scene.world, scene.behind, scene.leader), 1);
    assert_true(scene.peer->copying);
    rafts_free(scene.world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_entries_of_a_read_are_sent),
        cmocka_unit_test(what_was_not_asked_for_is_not_sent),
        cmocka_unit_test(who_is_no_member_acknowledges_nothing),
        cmocka_unit_test(who_copies_says_so_when_it_rejects),
    };
    return cmocka_run_group_tests_name("raft_send", tests, NULL, NULL);
}
