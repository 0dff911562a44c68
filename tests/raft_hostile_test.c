/* Messages that cannot be right, or that come late, from the wrong link or from another life: each
 * changes nothing, and the right one beside it does. */
#include "tests/test_raft.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

/* What a message may change. */
struct picture {
    uint64_t term, commit, last, verified, round, match[RAFTS_NODES + 1], answered[RAFTS_NODES + 1],
        heard[RAFTS_NODES + 1];
    enum raft_role role;
    uint8_t leader, vote[IDENTITY_BYTES], members;
};

static struct picture picture_of(const struct raft *raft)
{
    struct picture picture;
    memset(&picture, 0, sizeof picture);
    picture.term = raft->term;
    picture.commit = raft->commit;
    picture.last = raft->log.last;
    picture.verified = raft->verified;
    picture.round = raft->round;
    picture.role = raft->role;
    picture.leader = raft->leader;
    picture.members = (uint8_t)raft->config.count;
    memcpy(picture.vote, raft->vote, IDENTITY_BYTES);
    for (unsigned slot = 1; slot <= RAFTS_NODES; slot++) {
        picture.match[slot] = raft->peers[slot].match;
        picture.answered[slot] = raft->peers[slot].answered_us;
        picture.heard[slot] = raft->peers[slot].heard_us;
    }
    return picture;
}

static uint8_t another(uint8_t slot)
{
    return slot == 1 ? 2 : 1;
}

/* Gives `to` a message as if it came on the link of `from`, whose identity is `identity`. */
static bool say(struct rafts *world, uint8_t from, uint8_t to, const uint8_t *identity,
                const struct raft_message *message, struct slice entries)
{
    static uint8_t data[1 << 16];
    size_t len = raft_message_encode(message, data, RAFT_HEAD_BYTES);
    if (entries.len)
        memcpy(data + len, entries.data, entries.len);
    return raft_receive(rafts_raft(world, to), from, identity,
                        (struct slice) { data + 1, len - 1 + entries.len }, world->now,
                        OUT(world, to));
}

static const struct slice nothing = { NULL, 0 };

static struct raft_message reply_of(const struct rafts *world, const struct raft *raft,
                                    const struct raft_peer *peer)
{
    return (struct raft_message) {
        .kind = RAFT_APPEND_REPLY,
        .term = raft->term,
        .append_reply = { .session = peer->session,
                          .round = raft->round,
                          .sent_us = world->now.mono_us,
                          .match = raft->log.last,
                          .accepted = raft->log.last,
                          .room = 1 << 20 },
    };
}

static void answers_that_cannot_be_count_for_nothing(void **state)
{
    (void)state;
    uint8_t leader;
    struct rafts *world = rafts_elected(3, 7, &leader);
    uint8_t follower = another(leader);
    struct raft *raft = rafts_raft(world, leader);
    struct raft_peer *peer = &raft->peers[follower];
    const uint8_t *identity = world->nodes[follower].identity;
    assert_int_not_equal(rafts_propose(world, leader, 20), 0);
    rafts_flush(world, leader, RAFT_FLUSHED);
    struct picture before = picture_of(raft);
    assert_true(before.commit < before.last);
    for (int i = 0; i < 6; i++) {
        struct raft_message reply = reply_of(world, raft, peer);
        switch (i) {
        case 0:
            reply.term--;
            break;
        case 1:
            reply.append_reply.session++;
            break;
        case 2: /* answers what is not sent yet */
            reply.append_reply.sent_us++;
            break;
        case 3:
            reply.append_reply.round++;
            break;
        case 4: /* has what nobody has */
            reply.append_reply.accepted++;
            break;
        default: /* a rejection of what it acknowledged before */
            reply.append_reply.flags = REPLY_REJECTED;
            reply.append_reply.match = 0;
            reply.append_reply.sent_us = peer->answered_us;
            reply.append_reply.round = peer->round_acked;
            reply.append_reply.rejected = peer->match - 1;
        }
        uint64_t next = peer->next;
        assert_true(say(world, follower, leader, identity, &reply, nothing));
        before.heard[follower] = peer->heard_us;
        struct picture after = picture_of(raft);
        assert_memory_equal(&after, &before, sizeof after);
        assert_int_equal(peer->next, next);
    }
    struct raft_message right = reply_of(world, raft, peer);
    assert_true(say(world, follower, leader, identity, &right, nothing));
    assert_int_equal(peer->match, raft->log.last);
    assert_int_equal(raft->commit, raft->log.last);
    rafts_free(world);
}

static void who_is_not_on_the_link_is_not_heard(void **state)
{
    (void)state;
    uint8_t leader;
    struct rafts *world = rafts_elected(3, 7, &leader);
    uint8_t follower = another(leader);
    struct raft *raft = rafts_raft(world, leader);
    static const uint8_t stranger[IDENTITY_BYTES] = { 0xee };
    struct raft_message message = { .kind = RAFT_VOTE_REPLY,
                                    .term = raft->term + 5,
                                    .vote_reply = { .asked_term = 1 } };
    struct picture before = picture_of(raft);
    /* Another identity in that slot, itself, and a slot that no link leads to. */
    assert_true(say(world, follower, leader, stranger, &message, nothing));
    assert_true(say(world, leader, leader, world->nodes[leader].identity, &message, nothing));
    assert_true(say(world, 6, leader, stranger, &message, nothing));
    struct picture after = picture_of(raft);
    assert_memory_equal(&after, &before, sizeof after);
    /* One that is linked, and of no configuration: its term is nothing to us. */
    raft_link_up(raft, 6, stranger, world->now, OUT(world, leader));
    assert_true(say(world, 6, leader, stranger, &message, nothing));
    assert_int_equal(raft->term, before.term);
    assert_int_equal(raft->role, RAFT_LEADER);
    /* A member: it is. */
    assert_true(say(world, follower, leader, world->nodes[follower].identity, &message, nothing));
    assert_int_equal(raft->term, before.term + 5);
    assert_int_equal(raft->role, RAFT_FOLLOWER);
    rafts_free(world);
}

static void bytes_that_are_no_message_end_the_link(void **state)
{
    (void)state;
    uint8_t leader;
    struct rafts *world = rafts_elected(3, 7, &leader);
    uint8_t follower = another(leader);
    struct raft *raft = rafts_raft(world, leader);
    struct picture before = picture_of(raft);
    uint8_t bytes[40];
    for (unsigned kind = 0; kind < 256; kind++) {
        if (kind >= RAFT_APPEND && kind <= RAFT_TIMEOUT_NOW)
            continue;
        memset(bytes, 1, sizeof bytes);
        bytes[0] = (uint8_t)kind;
        assert_false(raft_receive(raft, follower, world->nodes[follower].identity,
                                  (struct slice) { bytes, kind % sizeof bytes }, world->now,
                                  OUT(world, leader)));
    }
    struct picture after = picture_of(raft);
    assert_memory_equal(&after, &before, sizeof after);
    rafts_free(world);
}

static void two_leaders_of_one_term_cannot_be(void **state)
{
    (void)state;
    uint8_t leader;
    struct rafts *world = rafts_elected(3, 7, &leader);
    uint8_t follower = another(leader);
    uint8_t third = (uint8_t)(6 - leader - follower);
    struct raft *raft = rafts_raft(world, follower);
    struct raft_message append = {
        .kind = RAFT_APPEND,
        .term = raft->term,
        .append = { .session = 1,
                    .round = 1,
                    .prev_index = raft->log.last,
                    .prev_term = raft->log.last_term,
                    .commit = raft->commit,
                    .heartbeat_us = 20000,
                    .timeout_us = 100000 },
    };
    struct picture before = picture_of(raft);
    assert_false(say(world, third, follower, world->nodes[third].identity, &append, nothing));
    assert_false(say(world, follower, leader, world->nodes[follower].identity, &append, nothing));
    before.heard[third] = raft->peers[third].heard_us;
    struct picture after = picture_of(raft);
    assert_memory_equal(&after, &before, sizeof after);
    assert_int_equal(rafts_raft(world, leader)->role, RAFT_LEADER);
    /* Of a later term it is one. */
    append.term++;
    assert_true(say(world, third, follower, world->nodes[third].identity, &append, nothing));
    assert_int_equal(raft->leader, third);
    assert_int_equal(raft->term, before.term + 1);
    rafts_free(world);
}

/* One entry as a leader would make it, but for what `spoil` changes. */
static struct slice made(const struct raft *raft, const struct entry_draft *draft)
{
    static uint8_t entry[8192];
    size_t len =
        entry_build(entry, sizeof entry, draft, &rafts_crypto, raft->cluster, raft->log.last_chain);
    assert_true(len > 0);
    return (struct slice) { entry, len };
}

static void entries_that_cannot_be_are_not_taken(void **state)
{
    (void)state;
    uint8_t leader;
    struct rafts *world = rafts_elected(3, 7, &leader);
    uint8_t follower = another(leader);
    struct raft *raft = rafts_raft(world, follower);
    static const uint8_t body[] = "words and words";
    const uint32_t size = sizeof body;
    /* Terms of entries below the log's newest one need a term to be below. */
    assert_true(raft->log.last_term >= 1);
    struct raft_message append = {
        .kind = RAFT_APPEND,
        .term = raft->term,
        .append = { .session = 1,
                    .round = 1,
                    .prev_index = raft->log.last,
                    .prev_term = raft->log.last_term,
                    .commit = raft->commit,
                    .heartbeat_us = 20000,
                    .timeout_us = 100000 },
    };
    struct entry_draft right = { .kind = ENTRY_COMMANDS,
                                 .first = raft->log.last + 1,
                                 .term = raft->term,
                                 .time_us = 1,
                                 .count = 1,
                                 .sizes = &size,
                                 .bodies = body };
    uint64_t last = raft->log.last;
    for (int i = 0; i < 4; i++) {
        struct entry_draft draft = right;
        if (i == 0)
            draft.first++; /* a gap */
        if (i == 1)
            draft.term++; /* newer than its leader */
        if (i == 2)
            draft.kind = ENTRY_CONFIG; /* words are no configuration */
        if (i == 3)
            draft.term = raft->log.last_term - 1;
        if (draft.term == 0)
            continue;
        assert_false(say(world, leader, follower, world->nodes[leader].identity, &append,
                         made(raft, &draft)));
        assert_int_equal(raft->log.last, last);
        assert_false(raft->halted);
    }
    assert_true(
        say(world, leader, follower, world->nodes[leader].identity, &append, made(raft, &right)));
    assert_int_equal(raft->log.last, last + 1);
    rafts_free(world);
}

/* Each byte of a checkpoint changed: refused, or something that is as well formed. */
static void a_checkpoint_with_any_byte_changed_is_survived(void **state)
{
    (void)state;
    uint8_t leader;
    struct rafts *world = rafts_elected(3, 7, &leader);
    struct rafts_node *node = &world->nodes[leader];
    assert_int_not_equal(rafts_propose(world, leader, 30), 0);
    rafts_settle(world);
    assert_true(rafts_checkpoint(world, leader, rafts_raft(world, leader)->commit));
    void *memory = aligned_alloc(16, raft_memory(&node->options));
    struct raft_recovery recovery = {
        .term = 5,
        .checkpoint_index = node->disk->checkpoint_index,
        .checkpoint = { node->disk->checkpoint, node->disk->checkpoint_len },
    };
    unsigned refused = 0;
    for (size_t at = 0; at < node->disk->checkpoint_len; at++)
        for (unsigned change = 1; change < 256; change = change * 2 + 1) {
            node->disk->checkpoint[at] ^= (uint8_t)change;
            struct raft *raft = raft_init(memory, &node->options);
            bool restored = raft_restore(raft, &recovery);
            refused += !restored;
            if (restored) {
                assert_int_equal(raft->log.last, recovery.checkpoint_index);
                assert_true(raft->config.index <= recovery.checkpoint_index);
                assert_true(raft->config.count <= LIMIT_NODES);
                assert_true(raft->log.last_term > 0);
            }
            node->disk->checkpoint[at] ^= (uint8_t)change;
        }
    assert_true(refused > 200);
    assert_true(raft_restore(raft_init(memory, &node->options), &recovery));
    free(memory);
    rafts_free(world);
}

static void who_comes_back_as_another_is_owed_nothing(void **state)
{
    (void)state;
    uint8_t leader;
    struct rafts *world = rafts_elected(3, 7, &leader);
    uint8_t follower = another(leader);
    struct raft *raft = rafts_raft(world, leader);
    static const uint8_t fresh[IDENTITY_BYTES] = { 0xdd };
    assert_int_not_equal(raft->peers[follower].match, 0);
    raft->grant_slot = raft->denied.slot = follower;
    raft_link_up(raft, follower, fresh, world->now, OUT(world, leader));
    assert_int_equal(raft->peers[follower].match, 0);
    assert_int_equal(raft->grant_slot, 0);
    assert_int_equal(raft->denied.slot, 0);
    rafts_free(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_that_cannot_be_count_for_nothing),
        cmocka_unit_test(who_is_not_on_the_link_is_not_heard),
        cmocka_unit_test(bytes_that_are_no_message_end_the_link),
        cmocka_unit_test(two_leaders_of_one_term_cannot_be),
        cmocka_unit_test(entries_that_cannot_be_are_not_taken),
        cmocka_unit_test(a_checkpoint_with_any_byte_changed_is_survived),
        cmocka_unit_test(who_comes_back_as_another_is_owed_nothing),
    };
    return cmocka_run_group_tests_name("raft_hostile", tests, NULL, NULL);
}
