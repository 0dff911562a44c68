/* A follower, and a leader that is not what it should be; a leader, and a follower that is not. */
#include "tests/test_raft.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static const struct slice nothing = { NULL, 0 };

static uint8_t another(uint8_t slot)
{
    return slot == 1 ? 2 : 1;
}

static struct raft_message append_to(const struct raft *raft, uint64_t prev)
{
    return (struct raft_message) {
        .kind = RAFT_APPEND,
        .term = raft->term,
        .append = { .session = 1,
                    .round = 1,
                    .prev_index = prev,
                    .prev_term = raft_log_term(&raft->log, prev),
                    .commit = raft->commit,
                    .heartbeat_us = 20000,
                    .timeout_us = 100000 },
    };
}

/* `count` commands after `previous`, whose chain is given. */
static struct slice entry_after(const struct raft *raft, uint64_t previous, const uint8_t *chain,
                                uint64_t term, uint32_t count)
{
    static uint8_t entry[4096];
    static const uint8_t bodies[64] = { 'x' };
    const uint32_t sizes[4] = { 8, 8, 8, 8 };
    struct entry_draft draft = { ENTRY_COMMANDS, previous + 1, term, 1, count, sizes, bodies };
    size_t len = entry_build(entry, sizeof entry, &draft, &rafts_crypto, raft->cluster, chain);
    assert_true(len > 0);
    return (struct slice) { entry, len };
}

static void a_leader_that_contradicts_what_is_committed_halts_the_node(void **state)
{
    (void)state;
    uint8_t leader;
    struct rafts *world = rafts_elected(3, 7, &leader);
    rafts_propose(world, leader, 20);
    rafts_settle(world);
    uint8_t follower = another(leader);
    struct raft *raft = rafts_raft(world, follower);
    uint64_t commit = raft->commit;
    assert_int_equal(commit, raft->log.last);
    /* Its entry lies across what is committed: it begins before, and ends behind. */
    struct raft_message append = append_to(raft, commit - 1);
    struct slice entries =
        entry_after(raft, commit - 1, raft_log_chain(&raft->log, commit - 1), raft->term, 3);
    assert_true(rafts_say(world, leader, follower, &append, entries));
    assert_int_equal(world->halts, 1);
    assert_true(raft->halted);
    assert_int_equal(raft->log.last, commit);
    /* Nothing moves it any more. */
    append.term++;
    assert_true(rafts_say(world, leader, follower, &append, nothing));
    assert_int_equal(raft->term, append.term - 1);
    rafts_free(world);
}

/* Not committed, so it may go, as often as the leader likes; nothing that is gone is acknowledged. */
static void a_leader_that_changes_its_mind_is_followed(void **state)
{
    (void)state;
    uint8_t leader;
    struct rafts *world = rafts_elected(3, 7, &leader);
    uint8_t follower = another(leader);
    struct raft *raft = rafts_raft(world, follower);
    uint8_t chain[HASH_BYTES];
    uint64_t last = raft->log.last;
    memcpy(chain, raft->log.last_chain, HASH_BYTES);
    struct raft_message append = append_to(raft, last);
    append.term += 2;
    assert_true(rafts_say(world, leader, follower, &append,
                          entry_after(raft, last, chain, append.term - 1, 1)));
    assert_int_equal(raft->verified, last + 1);
    assert_true(rafts_say(world, leader, follower, &append,
                          entry_after(raft, last, chain, append.term, 1)));
    assert_int_equal(raft->log.last, last + 1);
    assert_int_equal(raft->log.last_term, append.term);
    assert_false(raft->halted);
    rafts_free(world);
}

static void no_entry_has_the_term_zero(void **state)
{
    (void)state;
    uint8_t leader;
    struct rafts *world = rafts_elected(3, 7, &leader);
    struct raft *raft = rafts_raft(world, another(leader));
    uint64_t last = raft->log.last;
    struct raft_message append = append_to(raft, last);
    assert_false(rafts_say(world, leader, another(leader), &append,
                           entry_after(raft, last, raft->log.last_chain, 0, 1)));
    assert_int_equal(raft->log.last, last);
    rafts_free(world);
}

static void who_belongs_nowhere_follows_nobody(void **state)
{
    (void)state;
    struct rafts *world = rafts_new(2, 1);
    rafts_start(world, 1);
    rafts_start(world, 2);
    rafts_link_all(world);
    struct raft *raft = rafts_raft(world, 2);
    struct raft_message append = { .kind = RAFT_APPEND, .term = 5, .append = { .session = 1 } };
    assert_true(rafts_say(world, 1, 2, &append, nothing));
    assert_int_equal(raft->leader, 0);
    assert_int_equal(raft->term, 0);
    assert_int_equal(world->bag_count, 0);
    rafts_free(world);
}

/* What it belongs to is not on disk yet: it promises nothing, neither an entry nor a vote. */
static void who_has_just_joined_waits_for_its_disk(void **state)
{
    (void)state;
    struct rafts *world = rafts_new(3, 1);
    static const uint8_t zeros[HASH_BYTES];
    for (uint8_t slot = 1; slot <= 3; slot++)
        rafts_start(world, slot);
    rafts_link_all(world);
    struct raft *raft = rafts_raft(world, 3);
    raft_join(raft, (const uint8_t[IDENTITY_BYTES]) { 0xc1 });
    rafts_end_turn(world, 3);
    assert_true(world->nodes[3].flushing);
    struct raft_config config = { .count = 3 };
    for (uint8_t i = 0; i < 3; i++) {
        config.members[i].slot = (uint8_t)(i + 1);
        config.members[i].voter = true;
        memcpy(config.members[i].identity, world->nodes[i + 1].identity, IDENTITY_BYTES);
    }
    uint8_t body[RAFT_CONFIG_BYTES], entry[2048];
    uint32_t size = (uint32_t)raft_config_encode(&config, body, sizeof body);
    struct entry_draft draft = { ENTRY_CONFIG, 1, 1, 1, 1, &size, body };
    size_t len = entry_build(entry, sizeof entry, &draft, &rafts_crypto, raft->cluster, zeros);
    struct raft_message append = {
        .kind = RAFT_APPEND,
        .term = 1,
        .append = { .flags = APPEND_WANTS_REPLY, .session = 1, .round = 1, .timeout_us = 100000 },
    };
    assert_true(rafts_say(world, 1, 3, &append, (struct slice) { entry, len }));
    assert_int_equal(raft->log.last, 1);
    struct raft_message request = { .kind = RAFT_VOTE_REQUEST,
                                    .term = 2,
                                    .vote_request = { VOTE_TRANSFER, 1, 1, 1 } };
    assert_true(rafts_say(world, 2, 3, &request, nothing));
    assert_int_equal(raft->term, 1);
    assert_int_equal(world->bag_count, 0);
    rafts_flush(world, 3, RAFT_FLUSHED);
    assert_true(rafts_say(world, 1, 3, &append, (struct slice) { entry, len }));
    assert_int_equal(world->bag_count, 1);
    assert_true(rafts_say(world, 2, 3, &request, nothing));
    assert_int_equal(raft->term, 2);
    rafts_free(world);
}

/* A rejection that names what is rejected itself leads no further than what is known to be there. */
static void a_rejection_that_names_itself_probes_what_is_there(void **state)
{
    (void)state;
    uint8_t leader;
    struct rafts *world = rafts_elected(3, 7, &leader);
    uint8_t follower = another(leader);
    struct raft *raft = rafts_raft(world, leader);
    struct raft_peer *peer = &raft->peers[follower];
    uint64_t match = peer->match;
    rafts_propose(world, leader, 20);
    rafts_propose(world, leader, 20);
    uint64_t sent = peer->next - 1;
    assert_true(sent > match);
    struct raft_message reply = {
        .kind = RAFT_APPEND_REPLY,
        .term = raft->term,
        .append_reply = { .flags = REPLY_REJECTED,
                          .session = peer->session,
                          .round = raft->round,
                          .sent_us = world->now.mono_us,
                          .rejected = sent,
                          .conflict_index = sent,
                          .conflict_term = raft_log_term(&raft->log, sent),
                          .room = 1 << 20 },
    };
    assert_true(rafts_say(world, follower, leader, &reply, nothing));
    assert_int_equal(peer->progress, RAFT_PROBE);
    assert_int_equal(peer->next, match + 1);
    rafts_settle(world);
    assert_int_equal(peer->match, raft->log.last);
    rafts_free(world);
}

/* Two reads before anything is sent are one round. */
static void reads_share_a_round_until_it_is_used(void **state)
{
    (void)state;
    uint8_t leader;
    struct rafts *world = rafts_elected(3, 7, &leader);
    struct raft *raft = rafts_raft(world, leader);
    uint64_t index;
    uint64_t first = raft_read(raft, &index);
    assert_int_equal(raft_read(raft, &index), first);
    rafts_end_turn(world, leader);
    assert_true(raft_read(raft, &index) > first);
    rafts_free(world);
}

static void the_advice_to_copy_ends_with_its_leader(void **state)
{
    (void)state;
    uint8_t leader;
    struct rafts *world = rafts_elected(3, 7, &leader);
    uint8_t follower = another(leader);
    struct raft *raft = rafts_raft(world, follower);
    struct raft_message append = append_to(raft, raft->log.last);
    append.append.flags = APPEND_COPY;
    assert_true(rafts_say(world, leader, follower, &append, nothing));
    assert_true(raft_view(raft).copy_advised);
    raft_set_leader(raft, 0, world->now);
    assert_false(raft_view(raft).copy_advised);
    rafts_free(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_leader_that_contradicts_what_is_committed_halts_the_node),
        cmocka_unit_test(a_leader_that_changes_its_mind_is_followed),
        cmocka_unit_test(no_entry_has_the_term_zero),
        cmocka_unit_test(who_belongs_nowhere_follows_nobody),
        cmocka_unit_test(who_has_just_joined_waits_for_its_disk),
        cmocka_unit_test(a_rejection_that_names_itself_probes_what_is_there),
        cmocka_unit_test(reads_share_a_round_until_it_is_used),
        cmocka_unit_test(the_advice_to_copy_ends_with_its_leader),
    };
    return cmocka_run_group_tests_name("raft_follow", tests, NULL, NULL);
}
