/* Replication, commit, flushes, reads, membership, restart. */
#include "tests/test_raft.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static uint8_t another(uint8_t than, uint8_t nor)
{
    for (uint8_t slot = 1;; slot++) {
        if (slot != than && slot != nor)
            return slot;
    }
}

/* Puts entries of these terms on a node's disk, after the first one; it is not running. */
static void write_disk(struct rafts *world, uint8_t slot, const uint64_t *terms, unsigned count)
{
    struct rafts_disk *disk = world->nodes[slot].disk;
    uint8_t chain[HASH_BYTES], body[8] = { 0 };
    uint32_t size = sizeof body;
    memcpy(chain, disk->bytes + ENTRY_LOCAL_AT - HASH_BYTES, HASH_BYTES);
    for (unsigned i = 0; i < count; i++) {
        body[0] = (uint8_t)terms[i];
        struct entry_draft draft = { ENTRY_COMMANDS, disk->last + 1, terms[i], 1, 1, &size, body };
        uint8_t *at = disk->bytes + disk->len;
        size_t len = entry_build(at, RAFTS_DISK_BYTES - disk->len, &draft, &rafts_crypto,
                                 disk->cluster, chain);
        entry_set_local(at, ++disk->flush, 0, 1, &rafts_crypto, disk->cluster);
        memcpy(chain, at + ENTRY_LOCAL_AT - HASH_BYTES, HASH_BYTES);
        disk->len += len;
        disk->last++;
        if (disk->term < terms[i]) {
            disk->term = terms[i];
            memset(disk->vote, 0, IDENTITY_BYTES);
        }
    }
}

static struct rafts *with_logs(unsigned nodes, const uint64_t (*terms)[16], const unsigned *counts)
{
    struct rafts *world = rafts_new(nodes, 1);
    rafts_form(world);
    for (uint8_t slot = 1; slot <= nodes; slot++) {
        rafts_crash(world, slot);
        write_disk(world, slot, terms[slot - 1], counts[slot - 1]);
    }
    return world;
}

/* --- acknowledging and committing --------------------------------------------------------------*/

static void nothing_is_acknowledged_before_its_flush(void **state)
{
    (void)state;
    uint8_t leader;
    struct rafts *world = rafts_elected(3, 1, &leader);
    uint8_t follower = another(leader, 0), other = another(leader, follower);
    struct raft *raft = rafts_raft(world, leader);
    uint64_t index = rafts_propose(world, leader, 20);
    assert_true(world->nodes[leader].flushing); /* beside the followers', not before them */
    rafts_deliver_all(world, leader, follower);
    assert_int_equal(rafts_deliver_all(world, follower, leader), 0);
    rafts_flush(world, leader, RAFT_FLUSHED);
    assert_true(raft->commit < index);
    rafts_flush(world, follower, RAFT_FLUSHED);
    rafts_deliver_all(world, follower, leader);
    assert_int_equal(raft->commit, index);
    /* Two followers commit without the leader's own disk, one does not. */
    index = rafts_propose(world, leader, 20);
    rafts_deliver_all(world, leader, 0);
    rafts_flush(world, follower, RAFT_FLUSHED);
    rafts_deliver_all(world, follower, leader);
    assert_true(raft->commit < index);
    rafts_flush(world, other, RAFT_FLUSHED); /* the earlier entry, with it the flush in the way */
    while (world->nodes[other].flushing)
        rafts_flush(world, other, RAFT_FLUSHED);
    rafts_deliver_all(world, other, leader);
    assert_int_equal(raft->commit, index);
    assert_true(raft->durable < index);
    rafts_free(world);
}

/* Thesis figure 3.7 (the paper's figure 8): an earlier term's entry on a majority is not committed
 * by counting. */
static void earlier_terms_are_not_committed_by_counting(void **state)
{
    (void)state;
    const uint64_t terms[5][16] = { { 2, 4 }, { 2 }, { 0 }, { 0 }, { 3 } };
    const unsigned counts[5] = { 1, 1, 0, 0, 1 };
    struct rafts *world = with_logs(5, terms, counts);
    world->nodes[1].disk->term = 3;
    for (uint8_t slot = 1; slot <= 4; slot++)
        rafts_start(world, slot);
    for (uint8_t a = 1; a <= 4; a++) {
        for (uint8_t b = 1; b <= 4; b++)
            rafts_link(world, a, b);
    }
    /* S1 leads term 4; its no-op reaches nobody, the entry of term 2 a majority. */
    struct raft *raft = rafts_raft(world, 1);
    for (int i = 0; i < 200 && raft->role != RAFT_LEADER; i++) {
        rafts_advance(world, 10000);
        rafts_tick(world, 1);
        rafts_deliver_all(world, 0, 0);
        for (uint8_t slot = 1; slot <= 4; slot++) {
            if (world->nodes[slot].flushing && raft->role != RAFT_LEADER)
                rafts_flush(world, slot, RAFT_FLUSHED);
        }
    }
    assert_int_equal(raft->role, RAFT_LEADER);
    assert_int_equal(raft->term, 4);
    assert_int_equal(raft->log.last, 3);
    rafts_drop_all(world, 0, 0);
    for (uint8_t slot = 2; slot <= 4; slot++) {
        raft->peers[slot].match = 2;
        assert_int_equal(raft_log_term(&raft->log, 2), 2);
    }
    raft_advance_commit(raft);
    assert_int_equal(raft->commit, 1);
    uint64_t index;
    assert_int_equal(raft_read(raft, &index), 0); /* it does not know yet what is committed */
    /* With its own entry on a majority both are. */
    raft->peers[2].match = raft->peers[3].match = 3;
    raft->durable = 3;
    raft_advance_commit(raft);
    assert_int_equal(raft->commit, 3);
    rafts_free(world);
}

/* --- conflicts ---------------------------------------------------------------------------------*/

static void logs_that_part_meet_a_term_at_a_time(void **state)
{
    (void)state;
    /* Figure 7 of the paper, and worse. The leader is S1. */
    const uint64_t terms[5][16] = {
        { 2, 2, 5, 5, 6, 6, 7, 7, 7 },
        { 2, 2, 5 },                            /* behind */
        { 2, 2, 3, 3, 3, 4, 4, 4, 4, 4, 4, 4 }, /* other terms, longer */
        { 2, 2, 5, 5, 6, 6, 6, 6 },             /* a term's end that nobody else has */
        { 2, 2, 5, 5, 6, 6, 7, 7, 7 },
    };
    const unsigned counts[5] = { 9, 3, 12, 8, 9 };
    struct rafts *world = with_logs(5, terms, counts);
    for (uint8_t slot = 2; slot <= 5; slot++)
        world->nodes[slot].disk->term = 7;
    for (uint8_t slot = 1; slot <= 5; slot++)
        rafts_start(world, slot);
    for (uint8_t slot = 2; slot <= 5; slot++)
        rafts_raft(world, slot)->lost_last = 1; /* does not campaign */
    rafts_link_all(world);
    for (int i = 0; i < 100 && rafts_leader(world) == 0; i++) {
        rafts_advance(world, 10000);
        rafts_tick(world, 1);
        rafts_settle(world);
    }
    assert_int_equal(rafts_leader(world), 1);
    unsigned sent = world->emitted[EFFECT_PEER_SEND];
    rafts_run(world, 100000);
    assert_true(world->emitted[EFFECT_PEER_SEND] - sent < 200);
    for (uint8_t slot = 1; slot <= 5; slot++) {
        const struct rafts_disk *disk = world->nodes[slot].disk;
        assert_int_equal(disk->last, 11);
        assert_int_equal(disk->len, world->nodes[1].disk->len);
        assert_memory_equal(rafts_raft(world, slot)->log.last_chain,
                            rafts_raft(world, 1)->log.last_chain, HASH_BYTES);
    }
    assert_int_equal(world->truncations, 2);
    rafts_free(world);
}

static void a_truncation_waits_for_the_flush_that_is_out(void **state)
{
    (void)state;
    uint8_t leader;
    struct rafts *world = rafts_elected(3, 1, &leader);
    uint8_t follower = another(leader, 0), third = another(leader, follower);
    uint64_t base = rafts_raft(world, leader)->log.last;
    /* The follower alone gets two entries, and is writing them when their leader dies. */
    rafts_cut(world, leader, third, LINK_TIMED_OUT);
    uint8_t bodies[300] = { 0 };
    uint32_t sizes[2] = { 100, 200 };
    raft_propose(rafts_raft(world, leader), 1, sizes, bodies, 100, world->now);
    raft_propose(rafts_raft(world, leader), 1, sizes + 1, bodies, 200, world->now);
    rafts_end_turn(world, leader); /* both in one append, so in one flush */
    rafts_deliver_all(world, leader, follower);
    assert_true(world->nodes[follower].flushing);
    rafts_crash(world, leader);
    struct raft *raft = rafts_raft(world, follower);
    assert_int_equal(raft->log.last, base + 2);
    /* A leader of a later term overwrites them (made by hand: it would not win in earnest). */
    uint8_t head[RAFT_HEAD_BYTES], data[1024], body[8] = { 1 };
    uint32_t size = 8;
    struct entry_draft draft = { ENTRY_COMMANDS, base + 1, raft->term + 5, 9, 1, &size, body };
    struct raft_message message = {
        .kind = RAFT_APPEND,
        .term = raft->term + 5,
        .append = { .session = 1,
                    .round = 1,
                    .prev_index = base,
                    .prev_term = raft_log_term(&raft->log, base) },
    };
    size_t len = raft_message_encode(&message, head, sizeof head);
    memcpy(data, head + 1, len - 1);
    size_t entry = entry_build(data + len - 1, 512, &draft, &rafts_crypto, raft->cluster,
                               raft_log_chain(&raft->log, base));
    struct slice whole = { data, len - 1 + entry };
    assert_true(raft_receive(raft, third, world->nodes[third].identity, whole, world->now,
                             OUT(world, follower)));
    rafts_end_turn(world, follower);
    assert_int_equal(raft->log.last, base + 1);
    unsigned flushes = world->emitted[EFFECT_FLUSH];
    rafts_drop_all(world, 0, 0);
    rafts_flush(world, follower, RAFT_FLUSHED); /* checks that its bytes are as they were */
    assert_int_equal(raft->durable, base);      /* what was written is nothing any more */
    assert_int_equal(world->nodes[follower].disk->last, base + 2);
    assert_int_equal(world->emitted[EFFECT_FLUSH], flushes + 1);
    assert_int_equal(world->nodes[follower].flush.truncate_from, base + 1);
    assert_int_equal(rafts_deliver_all(world, follower, third), 0);
    rafts_flush(world, follower, RAFT_FLUSHED);
    assert_int_equal(raft->durable, base + 1);
    assert_int_equal(world->nodes[follower].disk->last, base + 1);
    rafts_free(world);
}

static void another_history_under_the_same_term_halts(void **state)
{
    (void)state;
    uint8_t leader;
    struct rafts *world = rafts_elected(3, 1, &leader);
    uint8_t follower = another(leader, 0);
    struct raft *raft = rafts_raft(world, follower);
    uint8_t wrong[HASH_BYTES] = { 5 }, head[RAFT_HEAD_BYTES];
    struct raft_message message = {
        .kind = RAFT_APPEND,
        .term = raft->term,
        .append = { .flags = APPEND_HAS_CHAIN,
                    .chain = wrong,
                    .prev_index = raft->log.last,
                    .prev_term = raft->log.last_term },
    };
    size_t len = raft_message_encode(&message, head, sizeof head);
    assert_true(raft_receive(raft, leader, world->nodes[leader].identity,
                             (struct slice) { head + 1, len - 1 }, world->now,
                             OUT(world, follower)));
    assert_int_equal(world->halts, 1);
    unsigned sent = world->emitted[EFFECT_PEER_SEND];
    raft_tick(raft, world->now, OUT(world, follower));
    raft_end_turn(raft, world->now, OUT(world, follower));
    assert_int_equal(world->emitted[EFFECT_PEER_SEND], sent);
    rafts_free(world);
}

static void spoilt_entries_are_refused(void **state)
{
    (void)state;
    uint8_t leader;
    struct rafts *world = rafts_elected(3, 1, &leader);
    uint8_t follower = another(leader, 0);
    struct raft *raft = rafts_raft(world, follower);
    rafts_propose(world, leader, 40);
    struct rafts_message *message = NULL;
    for (unsigned i = 0; i < world->bag_count; i++) {
        if (world->bag[i].to == follower && world->bag[i].len > 200)
            message = &world->bag[i];
    }
    assert_non_null(message);
    uint64_t last = raft->log.last;
    size_t entry = (size_t)entry_size(1, 40), begins = message->len - entry;
    for (size_t at = begins; at < message->len; at++) {
        if (at >= begins + ENTRY_LOCAL_AT && at < begins + ENTRY_HEADER_BYTES)
            continue; /* local: not its business */
        message->data[at] ^= 1;
        assert_false(raft_receive(raft, leader, world->nodes[leader].identity,
                                  (struct slice) { message->data, message->len }, world->now,
                                  OUT(world, follower)));
        assert_int_equal(raft->log.last, last);
        message->data[at] ^= 1;
    }
    rafts_run(world, 20000);
    assert_int_equal(raft->log.last, last + 1);
    rafts_free(world);
}

static void answers_of_another_session_do_not_count(void **state)
{
    (void)state;
    uint8_t leader;
    struct rafts *world = rafts_elected(3, 1, &leader);
    uint8_t follower = another(leader, 0);
    struct raft *raft = rafts_raft(world, leader);
    struct raft_peer *peer = &raft->peers[follower];
    uint64_t index = rafts_propose(world, leader, 20);
    struct raft_message message = {
        .kind = RAFT_APPEND_REPLY,
        .term = raft->term,
        .append_reply = { .session = peer->session - 1,
                          .round = raft->round,
                          .match = index,
                          .accepted = index,
                          .sent_us = world->now.mono_us },
    };
    uint8_t head[RAFT_HEAD_BYTES];
    for (int i = 0; i < 2; i++) {
        uint64_t before = peer->match;
        size_t len = raft_message_encode(&message, head, sizeof head);
        assert_true(raft_receive(raft, follower, world->nodes[follower].identity,
                                 (struct slice) { head + 1, len - 1 }, world->now,
                                 OUT(world, leader)));
        assert_int_equal(peer->match, i == 0 ? before : index);
        message.append_reply.session++;
    }
    /* A new link is a new session. */
    uint64_t session = peer->session;
    raft_link_up(raft, follower, world->nodes[follower].identity, world->now, OUT(world, leader));
    assert_int_not_equal(peer->session, session);
    rafts_free(world);
}

/* --- reads -------------------------------------------------------------------------------------*/

static void a_read_needs_a_majority_after_it(void **state)
{
    (void)state;
    uint8_t leader;
    struct rafts *world = rafts_elected(3, 1, &leader);
    uint8_t follower = another(leader, 0);
    struct raft *raft = rafts_raft(world, leader);
    uint64_t index, none;
    rafts_advance(world, 20000);
    rafts_tick(world, leader); /* heartbeats from before the read are on their way */
    uint64_t ticket = raft_read(raft, &index);
    assert_int_not_equal(ticket, 0);
    assert_int_equal(index, raft->commit);
    assert_int_equal(raft_read(rafts_raft(world, follower), &none), 0);
    assert_true(raft_read_confirmed(raft) < ticket);
    rafts_deliver_all(world, leader, follower);
    rafts_deliver_all(world, follower, leader);
    assert_true(raft_read_confirmed(raft) < ticket);
    rafts_end_turn(world, leader); /* sends at once, without waiting for the next heartbeat */
    rafts_deliver_all(world, leader, follower);
    assert_true(raft_read_confirmed(raft) < ticket);
    rafts_deliver_all(world, follower, leader);
    assert_true(raft_read_confirmed(raft) >= ticket);
    uint64_t second = raft_read(raft, &index);
    assert_true(second > ticket);
    assert_true(raft_read_confirmed(raft) < second);
    rafts_free(world);
}

static void a_deposed_leader_confirms_nothing(void **state)
{
    (void)state;
    uint8_t leader;
    struct rafts *world = rafts_elected(3, 1, &leader);
    struct raft *raft = rafts_raft(world, leader);
    uint64_t index, ticket = 0;
    for (uint8_t slot = 1; slot <= 3; slot++) {
        if (slot != leader)
            rafts_cut(world, leader, slot, LINK_TIMED_OUT);
    }
    ticket = raft_read(raft, &index);
    rafts_run(world, 80000);
    assert_int_not_equal(ticket, 0);
    assert_true(raft_read_confirmed(raft) < ticket);
    rafts_run(world, 500000);
    assert_true(raft_read_confirmed(raft) < ticket);
    rafts_free(world);
}

/* --- formation and membership ------------------------------------------------------------------*/

static const uint8_t cluster[IDENTITY_BYTES] = { 0xc1, 0xc2 };
static const struct raft_address nowhere;

static struct rafts *formed_alone(unsigned nodes)
{
    struct rafts *world = rafts_new(nodes, 1);
    for (uint8_t slot = 1; slot <= nodes; slot++)
        rafts_start(world, slot);
    assert_true(raft_view(rafts_raft(world, 1)).blank);
    rafts_run(world, 1000000);
    assert_int_equal(rafts_leader(world), 0);
    raft_bootstrap(rafts_raft(world, 1), cluster, &nowhere, world->now, OUT(world, 1));
    rafts_end_turn(world, 1);
    return world;
}

static struct raft_config with_member(struct rafts *world, uint8_t slot, bool voter)
{
    struct raft_config config = *raft_latest_config(rafts_raft(world, 1));
    unsigned at = 0;
    while (at < config.count && config.members[at].slot != slot)
        at++;
    if (at == config.count)
        config.count++;
    config.members[at].slot = slot;
    config.members[at].voter = voter;
    memcpy(config.members[at].identity, world->nodes[slot].identity, IDENTITY_BYTES);
    return config;
}

/* The cluster's identity reached the disk, its first entry did not: nothing was promised, forming begins anew. */
static void forming_that_died_begins_anew(void **state)
{
    (void)state;
    struct rafts *world = formed_alone(1);
    rafts_crash(world, 1);
    memcpy(world->nodes[1].disk->cluster, cluster, IDENTITY_BYTES);
    world->nodes[1].disk->term = 1;
    rafts_start(world, 1);
    assert_true(raft_view(rafts_raft(world, 1)).blank);
    raft_bootstrap(rafts_raft(world, 1), cluster, &nowhere, world->now, OUT(world, 1));
    rafts_end_turn(world, 1);
    assert_int_equal(rafts_raft(world, 1)->term, 2);
    rafts_run(world, 1000000);
    assert_int_equal(rafts_leader(world), 1);
    rafts_free(world);
}

static void one_node_becomes_a_cluster(void **state)
{
    (void)state;
    struct rafts *world = formed_alone(1);
    struct raft *raft = rafts_raft(world, 1);
    assert_int_equal(raft->commit, 0);
    rafts_run(world, 20000);
    struct raft_view view = raft_view(raft);
    assert_int_equal(view.role, RAFT_LEADER);
    assert_false(view.blank);
    assert_int_equal(view.first_of_term, 2);
    assert_int_equal(view.commit, 2);
    assert_memory_equal(world->nodes[1].disk->cluster, cluster, IDENTITY_BYTES);
    uint64_t index = rafts_propose(world, 1, 20);
    assert_true(raft->commit < index); /* its own disk is the majority */
    rafts_flush(world, 1, RAFT_FLUSHED);
    assert_int_equal(raft->commit, index);
    rafts_crash(world, 1);
    rafts_start(world, 1);
    rafts_run(world, 50000);
    assert_int_equal(rafts_leader(world), 1);
    assert_true(rafts_raft(world, 1)->commit > index);
    rafts_free(world);
}

static void learners_catch_up_from_disk_and_are_promoted(void **state)
{
    (void)state;
    struct rafts *world = formed_alone(3);
    rafts_run(world, 20000);
    struct raft *raft = rafts_raft(world, 1);
    for (int i = 0; i < 300; i++) { /* more than the memory holds */
        assert_int_not_equal(rafts_propose(world, 1, 1500), 0);
        rafts_settle(world);
    }
    assert_true(raft->log.base > 0);
    for (uint8_t slot = 2; slot <= 3; slot++) {
        raft_join(rafts_raft(world, slot), cluster);
        rafts_end_turn(world, slot);
    }
    rafts_link_all(world);
    for (uint8_t slot = 2; slot <= 3; slot++) {
        struct raft_config config = with_member(world, slot, false);
        assert_true(raft_propose_config(raft, &config, world->now));
        assert_true(raft_config_pending(raft));
        assert_false(raft_propose_config(raft, &config, world->now)); /* one at a time */
        rafts_end_turn(world, 1);
        rafts_run(world, 200000);
        assert_false(raft_config_pending(raft));
        struct raft_peer_view view = raft_peer_view(raft, slot);
        assert_true(view.linked);
        assert_int_equal(view.match, raft->log.last);
        assert_int_equal(rafts_raft(world, slot)->commit, raft->commit);
    }
    assert_true(world->emitted[EFFECT_READ_ENTRIES] > 10);
    /* A learner neither counts nor campaigns. */
    rafts_cut(world, 1, 2, LINK_REFUSED);
    rafts_run(world, 1000000);
    assert_int_equal(rafts_raft(world, 2)->role, RAFT_FOLLOWER);
    rafts_link_all(world);
    for (uint8_t slot = 2; slot <= 3; slot++) {
        struct raft_config config = with_member(world, slot, true);
        assert_true(raft_propose_config(raft, &config, world->now));
        rafts_end_turn(world, 1);
        rafts_run(world, 100000);
    }
    assert_int_equal(raft_config_voters(raft_latest_config(rafts_raft(world, 3))), 3);
    uint64_t index = rafts_propose(world, 1, 20);
    rafts_run(world, 50000);
    rafts_crash(world, 1);
    uint8_t leader = 0;
    for (int i = 0; i < 50 && !leader; i++) {
        rafts_run(world, 50000);
        leader = rafts_leader(world);
    }
    assert_int_not_equal(leader, 0);
    assert_true(rafts_raft(world, leader)->commit >= index);
    rafts_free(world);
}

static void changes_keep_to_the_rules(void **state)
{
    (void)state;
    uint8_t leader;
    struct rafts *world = rafts_elected(3, 1, &leader);
    struct raft *raft = rafts_raft(world, leader);
    struct raft_config config = *raft_latest_config(raft);
    config.members[0].voter = config.members[1].voter = false;
    assert_false(raft_propose_config(raft, &config, world->now)); /* two at once */
    config.members[1].voter = true;
    struct raft_config none = { 0 };
    assert_false(raft_propose_config(raft, &none, world->now));
    assert_false(raft_propose_config(rafts_raft(world, another(leader, 0)), &config, world->now));
    uint64_t commit = raft->commit;
    raft->commit = raft->first_of_term - 1; /* nothing of its term is committed yet */
    assert_false(raft_propose_config(raft, &config, world->now));
    raft->commit = commit;
    struct raft_config twice = config; /* two members in one slot */
    twice.members[2].slot = twice.members[1].slot;
    assert_false(raft_propose_config(raft, &twice, world->now));
    rafts_free(world);
}

static void a_truncated_change_is_undone(void **state)
{
    (void)state;
    uint8_t leader;
    struct rafts *world = rafts_elected(3, 1, &leader);
    struct raft *raft = rafts_raft(world, leader);
    struct raft_config config = *raft_latest_config(raft), before = config;
    for (uint8_t slot = 1; slot <= 3; slot++) {
        if (slot != leader)
            rafts_cut(world, leader, slot, LINK_TIMED_OUT);
    }
    config.members[another(leader, 0) - 1].voter = false;
    assert_true(raft_propose_config(raft, &config, world->now));
    rafts_end_turn(world, leader);
    assert_int_equal(raft_config_voters(raft_latest_config(raft)), 2);
    rafts_run(world, 1000000);
    assert_int_not_equal(rafts_leader(world), leader);
    rafts_link_all(world);
    rafts_run(world, 500000);
    assert_int_equal(raft_config_voters(raft_latest_config(raft)), 3);
    assert_int_equal(raft_latest_config(raft)->index, before.index);
    assert_int_equal(rafts_raft(world, leader)->commit,
                     rafts_raft(world, rafts_leader(world))->commit);
    rafts_free(world);
}

/* --- restart -----------------------------------------------------------------------------------*/

static void a_restart_goes_on_from_a_checkpoint(void **state)
{
    (void)state;
    uint8_t leader;
    struct rafts *world = rafts_elected(3, 1, &leader);
    uint64_t at = 0;
    for (int i = 0; i < 50; i++) {
        at = i == 30 ? rafts_raft(world, leader)->commit : at;
        if (i == 30)
            assert_true(rafts_checkpoint(world, leader, at));
        rafts_propose(world, leader, 100);
        rafts_settle(world);
    }
    struct raft *raft = rafts_raft(world, leader);
    uint8_t small[40], chain[HASH_BYTES];
    struct slice bytes = raft_cached_entry(raft, raft->commit);
    struct entry entry;
    assert_int_equal(entry_parse(&entry, &rafts_crypto, NULL, bytes.data, bytes.len), ENTRY_WHOLE);
    assert_int_equal(raft_checkpoint(raft, &entry, small, sizeof small), 0);
    memcpy(chain, raft->log.last_chain, HASH_BYTES);
    uint64_t last = raft->log.last, term = raft->log.last_term, time_us = raft->log.last_time_us;
    rafts_crash(world, leader);
    rafts_start(world, leader);
    raft = rafts_raft(world, leader);
    assert_int_equal(raft->log.base, at);
    assert_int_equal(raft->log.last, last);
    assert_int_equal(raft->log.last_term, term);
    assert_int_equal(raft->log.last_time_us, time_us);
    assert_memory_equal(raft->log.last_chain, chain, HASH_BYTES);
    assert_int_equal(raft_log_term(&raft->log, 1), 1);
    assert_int_equal(raft_config_voters(raft_latest_config(raft)), 3);
    assert_int_equal(raft_cached_entry(raft, at).len, 0);
    assert_int_not_equal(raft_cached_entry(raft, at + 1).len, 0);
    rafts_link_all(world);
    rafts_elect(world);
    rafts_propose(world, rafts_leader(world), 20);
    rafts_run(world, 100000);
    assert_true(rafts_raft(world, leader)->commit > last);
    rafts_free(world);
}

static void what_does_not_fit_together_is_not_restored(void **state)
{
    (void)state;
    uint8_t leader;
    struct rafts *world = rafts_elected(3, 1, &leader);
    struct rafts_node *node = &world->nodes[leader];
    for (int i = 0; i < 5; i++)
        rafts_propose(world, leader, 30);
    rafts_settle(world);
    assert_true(rafts_checkpoint(world, leader, rafts_raft(world, leader)->commit));
    void *memory = aligned_alloc(16, raft_memory(&node->options));
    struct raft_recovery recovery = {
        .term = 5,
        .checkpoint_index = node->disk->checkpoint_index,
        .checkpoint = { node->disk->checkpoint, node->disk->checkpoint_len },
    };
    memcpy(recovery.cluster, node->disk->cluster, IDENTITY_BYTES);
    for (size_t cut = 0; cut < node->disk->checkpoint_len; cut++) {
        recovery.checkpoint.len = cut;
        assert_false(raft_restore(raft_init(memory, &node->options), &recovery));
    }
    recovery.checkpoint.len = node->disk->checkpoint_len;
    assert_true(raft_restore(raft_init(memory, &node->options), &recovery));
    recovery.checkpoint_index++;
    assert_false(raft_restore(raft_init(memory, &node->options), &recovery));
    recovery.checkpoint_index = 0;
    struct raft *raft = raft_init(memory, &node->options);
    assert_true(raft_restore(raft, &recovery));
    struct slice log = { node->disk->bytes, node->disk->len };
    size_t first = bytes_get_u32(node->disk->bytes + 4);
    assert_false(raft_restore_entries(raft, (struct slice) { log.data + first, log.len - first }));
    assert_false(raft_restore_entries(raft, (struct slice) { log.data, log.len - 1 }));
    node->disk->bytes[node->disk->len - 1] ^= 1;
    raft = raft_init(memory, &node->options);
    assert_true(raft_restore(raft, &recovery));
    assert_false(raft_restore_entries(raft, log));
    node->disk->bytes[node->disk->len - 1] ^= 1;
    free(memory);
    rafts_free(world);
}

/* --- back-pressure -----------------------------------------------------------------------------*/

static void a_full_memory_refuses_and_recovers(void **state)
{
    (void)state;
    uint8_t leader;
    struct rafts *world = rafts_elected(3, 1, &leader);
    struct raft *raft = rafts_raft(world, leader);
    uint8_t *big = calloc(1, raft_propose_limit(raft));
    uint32_t size = (uint32_t)(raft_propose_limit(raft) - entry_size(1, 0));
    uint32_t beyond = size + 1;
    assert_int_equal(raft_propose(raft, 1, &beyond, big, beyond, world->now), 0);
    unsigned taken = 0;
    while (raft_propose(raft, 1, &size, big, size, world->now))
        taken++;
    assert_true(taken >= 5);
    uint64_t last = raft->log.last;
    rafts_end_turn(world, leader);
    rafts_run(world, 500000);
    for (uint8_t slot = 1; slot <= 3; slot++)
        assert_int_equal(rafts_raft(world, slot)->commit, last);
    assert_int_not_equal(raft_propose(raft, 1, &size, big, size, world->now), 0);
    free(big);
    rafts_free(world);
}

/* Nothing is committed, so nothing may be forgotten, and there is no room for more: the next leader's
 * first entry must still find room, with its followers too. */
static void a_new_leader_gets_out_of_a_full_memory(void **state)
{
    (void)state;
    uint8_t leader;
    struct rafts *world = rafts_elected(3, 1, &leader);
    while (rafts_propose(world, leader, 8))
        rafts_drop_all(world, 0, leader);
    uint64_t last = rafts_raft(world, leader)->log.last;
    uint8_t follower = another(leader, 0);
    for (int i = 0; i < 2000 && rafts_raft(world, follower)->durable < last; i++) {
        rafts_deliver_all(world, leader, 0);
        for (uint8_t slot = 1; slot <= 3; slot++) {
            if (slot != leader && world->nodes[slot].flushing)
                rafts_flush(world, slot, RAFT_FLUSHED);
        }
        rafts_drop_all(world, 0, leader); /* it hears of nothing, but for what lets it send on */
        for (uint8_t slot = 1; slot <= 3; slot++)
            rafts_raft(world, leader)->peers[slot].inflight_count = 0;
        rafts_end_turn(world, leader);
    }
    assert_int_equal(rafts_raft(world, follower)->durable, last);
    assert_true(rafts_raft(world, follower)->commit < last / 2);
    rafts_crash(world, leader);
    rafts_run(world, 3000000);
    assert_int_not_equal(rafts_leader(world), 0);
    assert_true(rafts_raft(world, rafts_leader(world))->commit > last);
    rafts_free(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_acknowledged_before_its_flush),
        cmocka_unit_test(earlier_terms_are_not_committed_by_counting),
        cmocka_unit_test(logs_that_part_meet_a_term_at_a_time),
        cmocka_unit_test(a_truncation_waits_for_the_flush_that_is_out),
        cmocka_unit_test(another_history_under_the_same_term_halts),
        cmocka_unit_test(spoilt_entries_are_refused),
        cmocka_unit_test(answers_of_another_session_do_not_count),
        cmocka_unit_test(a_read_needs_a_majority_after_it),
        cmocka_unit_test(a_deposed_leader_confirms_nothing),
        cmocka_unit_test(forming_that_died_begins_anew),
        cmocka_unit_test(one_node_becomes_a_cluster),
        cmocka_unit_test(learners_catch_up_from_disk_and_are_promoted),
        cmocka_unit_test(changes_keep_to_the_rules),
        cmocka_unit_test(a_truncated_change_is_undone),
        cmocka_unit_test(a_restart_goes_on_from_a_checkpoint),
        cmocka_unit_test(what_does_not_fit_together_is_not_restored),
        cmocka_unit_test(a_full_memory_refuses_and_recovers),
        cmocka_unit_test(a_new_leader_gets_out_of_a_full_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
