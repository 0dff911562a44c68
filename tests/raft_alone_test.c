/* One raft, whose disk and whose peer (a learner in seat 2, or a leader) are played by hand: what is
 * too large, too rare or too late for a small world of several. */
#include "tests/test_raft.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

enum { PEER = 2, SENT_MAX = 256 };

struct sent {
    struct raft_message message;
    size_t len;           /* of its entries */
    uint64_t first, last; /* of them; 0: none */
};

struct alone {
    struct raft_options options;
    struct raft_recovery recovery;
    struct now now;
    void *memory;
    struct raft *raft;
    /* What was restored, as it lies on disk. */
    uint8_t *log;
    size_t log_len, log_size;
    uint64_t last;
    uint8_t chain[HASH_BYTES];
    /* What it emitted. */
    bool flushing;
    struct effect_flush flush;
    struct sent sent[SENT_MAX];
    unsigned sent_count;
    uint64_t read_id, read_index;
    unsigned reads, halts;
};

static const uint8_t peer_identity[IDENTITY_BYTES] = { 0xa2 };
static const struct slice nothing = { NULL, 0 };

static void note_sent(struct alone *alone, const struct effect *effect)
{
    assert_true(alone->sent_count < SENT_MAX);
    struct sent *sent = &alone->sent[alone->sent_count++];
    *sent = (struct sent) { 0 };
    assert_true(
        raft_message_decode(&sent->message, (struct slice) { effect->send.parts[0].data + 1,
                                                             effect->send.parts[0].len - 1 }));
    if (effect->send.parts_count < 2)
        return;
    struct slice rest = effect->send.parts[1];
    sent->len = rest.len;
    while (rest.len) {
        struct entry entry;
        assert_int_equal(entry_parse(&entry, &rafts_crypto, NULL, rest.data, rest.len),
                         ENTRY_WHOLE);
        if (sent->first == 0)
            sent->first = entry.first;
        else
            assert_int_equal(entry.first, sent->last + 1);
        sent->last = entry.first + entry.count - 1;
        rest.data += entry.size;
        rest.len -= entry.size;
    }
}

static void emit(void *ctx, const struct effect *effect)
{
    struct alone *alone = ctx;
    switch (effect->kind) {
    case EFFECT_FLUSH:
        assert_false(alone->flushing);
        alone->flushing = true;
        alone->flush = effect->flush;
        break;
    case EFFECT_PEER_SEND:
        note_sent(alone, effect);
        break;
    case EFFECT_READ_ENTRIES:
        alone->reads++;
        alone->read_id = effect->read.id;
        alone->read_index = effect->read.index;
        break;
    case EFFECT_HALT:
        alone->halts++;
        break;
    default:
        break;
    }
}

#define TO(alone) (&(struct effects) { emit, (alone) })

static struct alone *alone_new(uint32_t cache_bytes, uint32_t cache_entries)
{
    struct alone *alone = calloc(1, sizeof *alone);
    assert_non_null(alone);
    alone->options = (struct raft_options) {
        .slot = 1,
        .identity = { 0xa1 },
        .crypto = &rafts_crypto,
        .seed = 1,
        .heartbeat_us = 20000,
        .election_min_us = 100000,
        .election_max_us = 1000000,
        .cache_bytes = cache_bytes,
        .cache_entries = cache_entries,
    };
    alone->recovery = (struct raft_recovery) {
        .cluster = { 0xc1 }, .term = 1
    };
    alone->now = (struct now) { 1000000, 1700000000000000 };
    alone->memory = aligned_alloc(16, (raft_memory(&alone->options) + 15) / 16 * 16);
    alone->log_size = 16 << 20;
    alone->log = malloc(alone->log_size);
    assert_true(alone->memory && alone->log);
    return alone;
}

static void alone_free(struct alone *alone)
{
    free(alone->log);
    free(alone->memory);
    free(alone);
}

/* -- Its disk --------------------------------------------------------------------------------- */

static void add(struct alone *alone, enum entry_kind kind, uint64_t term, const uint8_t *body,
                uint32_t size)
{
    struct entry_draft draft = { kind, alone->last + 1, term, 1, 1, &size, body };
    uint8_t *at = alone->log + alone->log_len;
    size_t len = entry_build(at, alone->log_size - alone->log_len, &draft, &rafts_crypto,
                             alone->recovery.cluster, alone->chain);
    assert_true(len > 0);
    entry_set_local(at, 1, 0, 0, &rafts_crypto, alone->recovery.cluster);
    memcpy(alone->chain, at + ENTRY_LOCAL_AT - HASH_BYTES, HASH_BYTES);
    alone->log_len += len;
    alone->last++;
}

/* The first entry: this node is a voter, and the peer a voter too or a learner. */
static void add_config(struct alone *alone, bool peer_votes)
{
    struct raft_config config = { .count = 2 };
    uint8_t body[RAFT_CONFIG_BYTES];
    for (unsigned i = 0; i < config.count; i++) {
        config.members[i].slot = (uint8_t)(i + 1);
        config.members[i].voter = i == 0 || peer_votes;
        config.members[i].identity[0] = (uint8_t)(0xa1 + i);
    }
    uint32_t size = (uint32_t)raft_config_encode(&config, body, sizeof body);
    add(alone, ENTRY_CONFIG, 1, body, size);
}

static void add_words(struct alone *alone, uint64_t term, uint32_t size)
{
    static const uint8_t words[LIMIT_ENTRY_BYTES] = { 'w' };
    add(alone, ENTRY_COMMANDS, term, words, size);
}

/* Where the entry begins that begins with this index. */
static size_t log_at(const struct alone *alone, uint64_t index)
{
    size_t at = 0;
    while (at < alone->log_len) {
        struct entry entry;
        assert_int_equal(entry_parse(&entry, NULL, NULL, alone->log + at, alone->log_len - at),
                         ENTRY_WHOLE);
        if (entry.first == index)
            break;
        at += entry.size;
    }
    return at;
}

/* From the checkpoint, if there is one, and all entries after it. */
static void start(struct alone *alone)
{
    const size_t at = log_at(alone, alone->recovery.checkpoint_index + 1);
    memset(alone->memory, 0, sizeof(struct raft));
    alone->raft = raft_init(alone->memory, &alone->options);
    assert_true(raft_restore(alone->raft, &alone->recovery));
    assert_true(
        raft_restore_entries(alone->raft, (struct slice) { alone->log + at, alone->log_len - at }));
    raft_start(alone->raft, alone->now, TO(alone));
}

/* -- Steps ------------------------------------------------------------------------------------ */

static void advance(struct alone *alone, uint64_t us)
{
    alone->now.mono_us += us;
    alone->now.wall_us += us;
}

static void end_turn(struct alone *alone)
{
    raft_end_turn(alone->raft, alone->now, TO(alone));
}

static void flushed(struct alone *alone, enum raft_flush_result result)
{
    assert_true(alone->flushing);
    alone->flushing = false;
    raft_flushed(alone->raft, alone->flush.ticket, result, alone->now, TO(alone));
    end_turn(alone);
}

static void campaign(struct alone *alone)
{
    raft_tick(alone->raft, alone->now, TO(alone));
    end_turn(alone);
    assert_true(alone->flush.save_vote);
    flushed(alone, RAFT_FLUSHED);
}

static void link_peer(struct alone *alone)
{
    raft_link_up(alone->raft, PEER, peer_identity, alone->now, TO(alone));
    end_turn(alone);
}

/* Everything is applied, the one voter leads, and its first entry is on disk. */
static void lead(struct alone *alone)
{
    raft_applied(alone->raft, raft_view(alone->raft).commit);
    campaign(alone);
    assert_int_equal(raft_view(alone->raft).role, RAFT_LEADER);
    flushed(alone, RAFT_FLUSHED);
    assert_false(alone->flushing);
    assert_int_equal(raft_view(alone->raft).commit, alone->last + 1);
}

static bool hear(struct alone *alone, const struct raft_message *message, struct slice entries)
{
    static uint8_t data[1 << 16];
    size_t len = raft_message_encode(message, data, RAFT_HEAD_BYTES);
    assert_true(entries.len <= sizeof data - len);
    if (entries.len)
        memcpy(data + len, entries.data, entries.len);
    bool good =
        raft_receive(alone->raft, PEER, peer_identity,
                     (struct slice) { data + 1, len - 1 + entries.len }, alone->now, TO(alone));
    end_turn(alone);
    return good;
}

/* The newest append. */
static const struct sent *newest(const struct alone *alone)
{
    assert_true(alone->sent_count > 0);
    const struct sent *sent = &alone->sent[alone->sent_count - 1];
    assert_int_equal(sent->message.kind, RAFT_APPEND);
    return sent;
}

/* An answer to the newest append; its flags and indexes are the caller's. */
static void answer(struct alone *alone, struct raft_append_reply reply)
{
    const struct sent *sent = newest(alone);
    reply.session = sent->message.append.session;
    reply.round = sent->message.append.round;
    reply.sent_us = sent->message.append.sent_us;
    reply.room = LIMIT_INFLIGHT_BYTES;
    struct raft_message message = { .kind = RAFT_APPEND_REPLY, .term = alone->raft->term };
    message.append_reply = reply;
    alone->sent_count = 0;
    assert_true(hear(alone, &message, nothing));
}

static void answer_has(struct alone *alone, uint64_t index)
{
    answer(alone, (struct raft_append_reply) { .match = index, .accepted = index });
}

/* It has nothing after `index`, which is of `term`. */
static void answer_lacks(struct alone *alone, uint64_t index, uint64_t term)
{
    answer(alone, (struct raft_append_reply) { .flags = REPLY_REJECTED,
                                               .rejected = newest(alone)->message.append.prev_index,
                                               .conflict_index = index,
                                               .conflict_term = term });
}

static void heartbeat(struct alone *alone)
{
    alone->sent_count = 0;
    advance(alone, alone->options.heartbeat_us);
    raft_tick(alone->raft, alone->now, TO(alone));
    end_turn(alone);
}

/* -- Belonging nowhere ------------------------------------------------------------------------ */

/* Who is asked for a vote and knows no configuration gives none: neither before it has a cluster, nor
 * when it has joined one and waits for its log. */
static void who_has_no_configuration_does_not_vote(void **state)
{
    (void)state;
    static const uint8_t cluster[IDENTITY_BYTES] = { 0xc1 }, nobody[IDENTITY_BYTES];
    struct alone *alone = alone_new(1 << 18, 1024);
    const struct raft_message request = {
        .kind = RAFT_VOTE_REQUEST,
        .term = 9,
        .vote_request = { .flags = VOTE_TRANSFER, .last_index = 100, .last_term = 8 },
    };
    memset(alone->recovery.cluster, 0, IDENTITY_BYTES);
    start(alone);
    link_peer(alone);
    for (int joined = 0; joined < 2; joined++) {
        if (joined) {
            raft_join(alone->raft, cluster);
            end_turn(alone);
            flushed(alone, RAFT_FLUSHED);
            assert_true(raft_view(alone->raft).cluster_durable);
        }
        assert_true(hear(alone, &request, nothing));
        assert_int_equal(alone->sent_count, 0);
        assert_false(alone->flushing);
        assert_int_equal(alone->raft->term, 1);
        assert_memory_equal(alone->raft->vote, nobody, IDENTITY_BYTES);
    }
    alone_free(alone);
}

/* A full disk does not take the cluster's identity: it is tried again, and not sooner than that. */
static void joining_on_a_full_disk_waits(void **state)
{
    (void)state;
    static const uint8_t cluster[IDENTITY_BYTES] = { 0xc1 };
    struct alone *alone = alone_new(1 << 18, 1024);
    memset(alone->recovery.cluster, 0, IDENTITY_BYTES);
    start(alone);
    raft_join(alone->raft, cluster);
    end_turn(alone);
    flushed(alone, RAFT_FLUSH_NO_SPACE);
    assert_false(alone->flushing);
    advance(alone, RAFT_DISK_RETRY_US - 1);
    end_turn(alone);
    assert_false(alone->flushing);
    assert_false(raft_view(alone->raft).cluster_durable);
    advance(alone, 1);
    end_turn(alone);
    assert_true(alone->flushing && alone->flush.save_cluster);
    assert_memory_equal(alone->flush.cluster, cluster, IDENTITY_BYTES);
    flushed(alone, RAFT_FLUSHED);
    assert_true(raft_view(alone->raft).cluster_durable);
    alone_free(alone);
}

/* -- Memory ----------------------------------------------------------------------------------- */

/* No room for the entry with which a leadership begins: it does not begin. */
static void who_has_no_room_for_an_entry_does_not_lead(void **state)
{
    (void)state;
    struct alone *alone = alone_new(1 << 18, 64);
    add_config(alone, false);
    while (alone->last < 80)
        add_words(alone, 1, 20);
    alone->recovery.commit = alone->last;
    start(alone);
    campaign(alone);
    assert_int_equal(raft_view(alone->raft).role, RAFT_FOLLOWER);
    assert_int_equal(raft_view(alone->raft).last_index, alone->last);
    assert_int_equal(raft_view(alone->raft).leader, 0);
    assert_false(alone->flushing);
    /* Once the machine has applied them, the log may forget. */
    raft_applied(alone->raft, alone->last);
    advance(alone, 2 * (uint64_t)alone->options.election_max_us);
    campaign(alone);
    assert_int_equal(raft_view(alone->raft).role, RAFT_LEADER);
    assert_int_equal(raft_view(alone->raft).last_index, alone->last + 1);
    alone_free(alone);
}

/* A leader would cut where the memory begins no more: nothing is cut, and the node says so. */
static void a_cut_below_the_memory_halts(void **state)
{
    (void)state;
    struct alone *alone = alone_new(1 << 16, 1024);
    add_config(alone, true);
    for (int i = 0; i < 20; i++)
        add_words(alone, 1, 8000);
    start(alone);
    link_peer(alone);
    assert_int_equal(raft_view(alone->raft).commit, 0);
    assert_true(alone->raft->log.base > 2);
    uint8_t entry[256];
    const uint8_t body[8] = { 'x' };
    const uint32_t size = sizeof body;
    struct entry_draft draft = { ENTRY_COMMANDS, 3, 5, 1, 1, &size, body };
    size_t len = entry_build(entry, sizeof entry, &draft, &rafts_crypto, alone->recovery.cluster,
                             alone->chain);
    const struct raft_message append = {
        .kind = RAFT_APPEND,
        .term = 5,
        .append = { .session = 1, .round = 1, .prev_index = 2, .prev_term = 1 },
    };
    assert_true(hear(alone, &append, (struct slice) { entry, len }));
    assert_int_equal(alone->halts, 1);
    assert_int_equal(raft_view(alone->raft).last_index, alone->last);
    assert_int_equal(alone->raft->truncate_from, 0);
    alone_free(alone);
}

/* -- Flushes and appends have a largest size -------------------------------------------------- */

static void a_flush_takes_what_it_may(void **state)
{
    (void)state;
    enum { SIZE = 900000, NUMBER = 6 };
    static const uint8_t body[SIZE] = { 'w' };
    const uint32_t size = SIZE;
    struct alone *alone = alone_new(LIMIT_LOG_CACHE_BYTES, 1024);
    add_config(alone, false);
    start(alone);
    lead(alone);
    const uint64_t before = raft_view(alone->raft).last_index;
    for (uint64_t i = 1; i <= NUMBER; i++) {
        assert_int_equal(raft_propose(alone->raft, 1, &size, body, SIZE, alone->now), before + i);
        end_turn(alone);
    }
    /* The first went out alone, the rest waited for it. */
    assert_int_equal(alone->flush.entries[0].len / SIZE, 1);
    for (uint64_t durable = before + 1; alone->flushing;) {
        flushed(alone, RAFT_FLUSHED);
        assert_int_equal(raft_view(alone->raft).durable, durable);
        assert_int_equal(raft_view(alone->raft).commit, durable);
        if (!alone->flushing)
            break;
        const size_t len = alone->flush.entries[0].len + alone->flush.entries[1].len;
        assert_true(len <= LIMIT_FLUSH_BYTES);
        assert_true(len / SIZE == 4 || durable + len / SIZE == before + NUMBER);
        durable += len / SIZE;
    }
    assert_int_equal(raft_view(alone->raft).durable, before + NUMBER);
    alone_free(alone);
}

static void an_append_takes_what_it_may(void **state)
{
    (void)state;
    struct alone *alone = alone_new(LIMIT_LOG_CACHE_BYTES, 1024);
    add_config(alone, false);
    while (alone->last < 60)
        add_words(alone, 1, 150000);
    start(alone);
    lead(alone);
    link_peer(alone);
    answer_lacks(alone, 1, 1);
    answer_has(alone, 1);
    uint64_t last = 1;
    size_t bytes = 0;
    unsigned appends = 0;
    for (unsigned i = 0; i < alone->sent_count; i++) {
        const struct sent *sent = &alone->sent[i];
        if (sent->len == 0)
            continue;
        assert_int_equal(sent->first, last + 1);
        assert_int_equal(sent->message.append.prev_index, last);
        assert_true(sent->len <= LIMIT_APPEND_BYTES);
        last = sent->last;
        bytes += sent->len;
        appends++;
    }
    /* As many as may be on their way, and no more. */
    assert_true(bytes <= LIMIT_INFLIGHT_BYTES);
    assert_true(bytes > LIMIT_INFLIGHT_BYTES - 200000);
    assert_true(appends <= 7);
    alone_free(alone);
}

/* -- Reading for a peer far behind ------------------------------------------------------------ */

/* A disk may already give back what this node does not know to be there yet. */
static void entries_read_beyond_what_is_durable_are_not_sent(void **state)
{
    (void)state;
    struct alone *alone = alone_new(1 << 16, 1024);
    static uint8_t data[1 << 18];
    add_config(alone, false);
    while (alone->last < 20)
        add_words(alone, 1, 8000);
    alone->recovery.commit = alone->last;
    start(alone);
    lead(alone);
    link_peer(alone);
    answer_lacks(alone, 1, 1);
    answer_has(alone, 1);
    assert_int_equal(alone->reads, 1);
    assert_int_equal(alone->read_index, 2);
    /* What is durable, the leader's first entry too; and one more, whose flush is out. */
    const uint64_t durable = raft_view(alone->raft).durable;
    const uint8_t body[8] = { 'x' };
    const uint32_t size = sizeof body;
    assert_int_equal(raft_propose(alone->raft, 1, &size, body, size, alone->now), durable + 1);
    end_turn(alone);
    assert_true(alone->flushing);
    size_t len = alone->log_len - log_at(alone, 2);
    memcpy(data, alone->log + log_at(alone, 2), len);
    for (uint64_t index = durable; index <= durable + 1; index++) {
        const struct slice entry = raft_cached_entry(alone->raft, index);
        memcpy(data + len, entry.data, entry.len);
        len += entry.len;
    }
    alone->sent_count = 0;
    raft_read_done(alone->raft, alone->read_id, true, (struct slice) { data, len }, alone->now,
                   TO(alone));
    assert_int_equal(alone->sent_count, 1);
    assert_int_equal(newest(alone)->first, 2);
    assert_int_equal(newest(alone)->last, durable);
    /* From memory it goes on. */
    alone->sent_count = 0;
    end_turn(alone);
    assert_int_equal(newest(alone)->first, durable + 1);
    alone_free(alone);
}

/* -- Leaderships that are remembered no more -------------------------------------------------- */

/* The peer needs what follows `prev`, whose term is forgotten: it gets no entries, since it could not
 * judge them; it is heard, and told to copy. */
static void expect_copying(struct alone *alone, uint64_t prev, uint64_t term)
{
    raft_set_kept(alone->raft, 1, prev + 1);
    link_peer(alone);
    answer_lacks(alone, prev, term);
    const struct raft_append *append = &newest(alone)->message.append;
    assert_int_equal(append->prev_index, 0);
    assert_int_equal(append->prev_term, 0);
    answer_has(alone, prev);
    heartbeat(alone);
    for (unsigned i = 0; i < alone->sent_count; i++)
        assert_int_equal(alone->sent[i].len, 0);
    append = &newest(alone)->message.append;
    assert_int_equal(append->prev_index, 0);
    assert_true(append->flags & APPEND_COPY);
}

/* As after a checkpoint that had room for the newest one only. */
static void forgotten_by_a_checkpoint(void **state)
{
    (void)state;
    struct alone *alone = alone_new(1 << 18, 1024), *again = alone_new(1 << 18, 1024);
    add_config(alone, false);
    for (uint64_t i = 2; i <= 7; i++)
        add_words(alone, i < 5 ? 2 : 3, 20);
    alone->recovery.commit = alone->last;
    start(alone);
    struct entry config, last;
    struct slice bytes = raft_cached_entry(alone->raft, 1);
    assert_int_equal(entry_parse(&config, NULL, NULL, bytes.data, bytes.len), ENTRY_WHOLE);
    raft_config_applied(alone->raft, &config);
    bytes = raft_cached_entry(alone->raft, 7);
    assert_int_equal(entry_parse(&last, NULL, NULL, bytes.data, bytes.len), ENTRY_WHOLE);
    uint8_t out[512];
    const size_t whole = raft_checkpoint(alone->raft, &last, out, sizeof out);
    const size_t len = raft_checkpoint(alone->raft, &last, out, whole - 2 * 16);
    assert_int_equal(len, whole - 2 * 16);
    again->recovery.checkpoint_index = 7;
    again->recovery.checkpoint = (struct slice) { out, len };
    again->recovery.commit = again->last = 7;
    memcpy(again->chain, alone->chain, HASH_BYTES);
    start(again);
    lead(again);
    expect_copying(again, 4, 2);
    /* What was read for it cannot be sent either. */
    assert_true(again->reads > 0);
    assert_int_equal(again->read_index, 5);
    again->sent_count = 0;
    const size_t at = log_at(alone, 5);
    raft_read_done(again->raft, again->read_id, true,
                   (struct slice) { alone->log + at, alone->log_len - at }, again->now, TO(again));
    assert_int_equal(again->sent_count, 0);
    /* It has copied, while the same is being read once more. */
    heartbeat(again);
    assert_int_equal(again->reads, 2);
    raft_read_done(again->raft, again->read_id, false, nothing, again->now, TO(again));
    answer_has(again, 7);
    assert_int_equal(newest(again)->first, 8);
    assert_int_equal(newest(again)->message.append.prev_index, 7);
    assert_int_equal(newest(again)->message.append.prev_term, 3);
    alone_free(alone);
    alone_free(again);
}

/* More leaderships than are remembered, each with an entry in memory. */
static void forgotten_for_their_number(void **state)
{
    (void)state;
    struct alone *alone = alone_new(LIMIT_LOG_CACHE_BYTES, LIMIT_LOG_CACHE_ENTRIES);
    add_config(alone, false);
    for (uint64_t term = 2; term <= LIMIT_LOG_TERMS + 10; term++)
        add_words(alone, term, 1);
    alone->recovery.commit = alone->last;
    start(alone);
    lead(alone);
    const uint64_t known = alone->raft->log.starts[0].first;
    assert_true(known > 2);
    assert_int_equal(raft_log_term(&alone->raft->log, known), known);
    assert_int_equal(raft_log_term(&alone->raft->log, known - 1), 0);
    assert_int_not_equal(raft_cached_entry(alone->raft, known - 1).len, 0);
    expect_copying(alone, known - 1, known - 1);
    assert_int_equal(alone->reads, 0);
    answer_has(alone, known);
    assert_int_equal(alone->sent[0].first, known + 1);
    assert_int_equal(alone->sent[0].message.append.prev_term, known);
    alone_free(alone);
}

/* -- What others look at ---------------------------------------------------------------------- */

/* For who rebuilds a cluster from it: cut or lengthened it is no checkpoint. */
static void a_checkpoint_says_who_was_there(void **state)
{
    (void)state;
    struct alone *alone = alone_new(1 << 18, 1024);
    add_config(alone, false);
    add_words(alone, 2, 20);
    add_words(alone, 6, 20);
    alone->recovery.commit = alone->last;
    start(alone);
    struct entry config, last;
    struct slice bytes = raft_cached_entry(alone->raft, 1);
    assert_int_equal(entry_parse(&config, NULL, NULL, bytes.data, bytes.len), ENTRY_WHOLE);
    raft_config_applied(alone->raft, &config);
    bytes = raft_cached_entry(alone->raft, 3);
    assert_int_equal(entry_parse(&last, NULL, NULL, bytes.data, bytes.len), ENTRY_WHOLE);
    uint8_t out[512] = { 0 };
    const size_t whole = raft_checkpoint(alone->raft, &last, out, sizeof out);
    assert_true(whole > 0);
    for (size_t len = 0; len <= whole + 1; len++) {
        struct raft_config found = { 0 };
        uint64_t term = 0, time_us = 0;
        const bool good =
            raft_checkpoint_read((struct slice) { out, len }, &found, &term, &time_us);
        assert_int_equal(good, len == whole);
        if (!good)
            continue;
        assert_int_equal(term, 6);
        assert_int_equal(time_us, last.time_us);
        assert_int_equal(found.index, 1);
        assert_int_equal(found.count, 2);
        assert_memory_equal(found.members[1].identity, peer_identity, IDENTITY_BYTES);
    }
    alone_free(alone);
}

/* The advice was a leader's, and is of no use to one who has lost it. */
static void advice_to_copy_ends_with_a_campaign(void **state)
{
    (void)state;
    struct alone *alone = alone_new(1 << 18, 1024);
    add_config(alone, true);
    start(alone);
    link_peer(alone);
    struct raft_message append = {
        .kind = RAFT_APPEND,
        .term = 2,
        .append = { .flags = APPEND_COPY,
                    .session = 1,
                    .round = 1,
                    .prev_index = 1,
                    .prev_term = 1,
                    .timeout_us = 100000 },
    };
    assert_true(hear(alone, &append, nothing));
    assert_true(raft_view(alone->raft).copy_advised);
    flushed(alone, RAFT_FLUSHED);
    advance(alone, 3 * (uint64_t)alone->options.election_max_us);
    raft_tick(alone->raft, alone->now, TO(alone));
    assert_int_equal(raft_view(alone->raft).role, RAFT_PRE_CANDIDATE);
    assert_false(raft_view(alone->raft).copy_advised);
    alone_free(alone);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_has_no_configuration_does_not_vote),
        cmocka_unit_test(joining_on_a_full_disk_waits),
        cmocka_unit_test(who_has_no_room_for_an_entry_does_not_lead),
        cmocka_unit_test(a_cut_below_the_memory_halts),
        cmocka_unit_test(a_flush_takes_what_it_may),
        cmocka_unit_test(an_append_takes_what_it_may),
        cmocka_unit_test(entries_read_beyond_what_is_durable_are_not_sent),
        cmocka_unit_test(forgotten_by_a_checkpoint),
        cmocka_unit_test(forgotten_for_their_number),
        cmocka_unit_test(a_checkpoint_says_who_was_there),
        cmocka_unit_test(advice_to_copy_ends_with_a_campaign),
    };
    return cmocka_run_group_tests_name("raft_alone", tests, NULL, NULL);
}
