/* Start, dispatch, the end of a turn, and what the owner looks at. The rest is in the file of its
 * name: see state.h. */
#include "core/raft/raft.h"

#include "core/raft/state.h"

/* --- memory ------------------------------------------------------------------------------------*/

static size_t aligned(size_t size)
{
    return (size + 15) & ~(size_t)15;
}

size_t raft_memory(const struct raft_options *options)
{
    CHECK(options->cache_bytes <= LIMIT_LOG_CACHE_BYTES);
    CHECK(options->cache_entries <= LIMIT_LOG_CACHE_ENTRIES);
    return aligned(sizeof(struct raft)) +
           aligned(options->cache_entries * sizeof(struct raft_meta)) +
           aligned(LIMIT_LOG_TERMS * sizeof(struct raft_term_start)) +
           aligned(options->cache_bytes);
}

struct raft *raft_init(void *memory, const struct raft_options *options)
{
    CHECK((uintptr_t)memory % 16 == 0);
    CHECK(options->slot >= 1 && options->slot <= LIMIT_NODES);
    CHECK(options->election_min_us > 0);
    CHECK(options->election_min_us <= options->election_max_us);
    struct raft *raft = memory;
    uint8_t *at = memory;
    memset(raft, 0, sizeof *raft);
    raft->options = *options;
    at += aligned(sizeof(struct raft));
    raft->log.metas = (struct raft_meta *)(void *)at;
    raft->log.metas_capacity = options->cache_entries;
    at += aligned(options->cache_entries * sizeof(struct raft_meta));
    raft->log.starts = (struct raft_term_start *)(void *)at;
    at += aligned(LIMIT_LOG_TERMS * sizeof(struct raft_term_start));
    raft->log.bytes = at;
    raft->log.bytes_capacity = options->cache_bytes;
    static const uint8_t zeros[HASH_BYTES];
    raft_log_reset(&raft->log, 0, 0, zeros);
    random_seed(&raft->random, options->seed);
    /* Sessions of an earlier life of this process are not met again. */
    raft->session_counter = random_u64(&raft->random) >> 16;
    raft->role = RAFT_FOLLOWER;
    raft->kept_from = 1;
    return raft;
}

bool raft_identity_equal(const uint8_t *a, const uint8_t *b)
{
    return memcmp(a, b, IDENTITY_BYTES) == 0;
}

uint32_t raft_smooth(uint32_t average, uint64_t sample_us)
{
    uint64_t most = 60 * 1000 * 1000;
    uint64_t sample = sample_us < most ? sample_us : most;
    if (average == 0)
        return (uint32_t)(sample ? sample : 1);
    uint64_t smoothed = ((uint64_t)average * 7 + sample + 7) / 8;
    CHECK(smoothed <= UINT32_MAX);
    return (uint32_t)smoothed;
}

uint64_t raft_forgettable(const struct raft *raft)
{
    return raft->durable < raft->applied ? raft->durable : raft->applied;
}

/* --- shared steps ------------------------------------------------------------------------------*/

void raft_halt(struct raft *raft, const char *reason, const struct effects *out)
{
    CHECK(reason != NULL);
    CHECK(raft->role == RAFT_FOLLOWER); /* and stays one: nobody else needs to look at `halted` */
    raft->halted = true;
    struct effect effect = { .kind = EFFECT_HALT };
    effect.halt.exit_status = 1;
    effect.halt.reason = reason;
    effect_emit(out, &effect);
}

void raft_save_vote(struct raft *raft)
{
    raft->save_vote = true;
}

void raft_set_leader(struct raft *raft, uint8_t slot, struct now now)
{
    CHECK(slot <= LIMIT_NODES);
    if (raft->leader == slot)
        return;
    raft->leader = slot;
    raft->leader_since_us = now.mono_us;
    raft->leader_full = false;
}

void raft_become_follower(struct raft *raft, uint64_t term, uint8_t leader, struct now now)
{
    CHECK(term >= raft->term);
    if (term > raft->term) {
        raft->term = term;
        memset(raft->vote, 0, IDENTITY_BYTES);
        raft->save_vote = true;
        raft->grant_slot = 0;
        raft->verified = raft->commit;
    }
    if (raft->role == RAFT_LEADER)
        raft->verified = raft->commit;
    raft->role = RAFT_FOLLOWER;
    raft->ack_pending = false;
    raft->transfer_to = 0;
    raft->transfer_campaign = false;
    raft->first_of_term = 0;
    raft->campaign_at_us = 0;
    raft_set_leader(raft, leader, now);
    raft_reset_election(raft, now);
    CHECK(raft->verified <= raft->log.last);
}

void raft_send(struct raft *raft, uint8_t slot, const struct raft_message *message,
               struct slice entries, const struct effects *out)
{
    uint8_t head[RAFT_HEAD_BYTES];
    CHECK(slot >= 1 && slot <= LIMIT_NODES);
    CHECK(slot != raft->options.slot);
    if (!raft->peers[slot].up || raft->frozen)
        return;
    size_t len = raft_message_encode(message, head, sizeof head);
    struct effect effect = { .kind = EFFECT_PEER_SEND };
    effect.send.slot = slot;
    effect.send.parts[0] = (struct slice) { head, len };
    effect.send.parts[1] = entries;
    effect.send.parts_count = entries.len ? 2 : 1;
    effect_emit(out, &effect);
}

/* --- formation ---------------------------------------------------------------------------------*/

void raft_join(struct raft *raft, const uint8_t cluster[IDENTITY_BYTES])
{
    CHECK(raft_is_blank(raft));
    CHECK(raft->log.last == 0);
    memcpy(raft->cluster, cluster, IDENTITY_BYTES);
    raft->save_cluster = true;
}

void raft_bootstrap(struct raft *raft, const uint8_t cluster[IDENTITY_BYTES],
                    const struct raft_address *address, struct now now, const struct effects *out)
{
    CHECK(raft->started);
    raft->now_us = now.mono_us;
    raft_join(raft, cluster);
    raft->term++; /* beyond any in which this identity may have voted */
    memset(raft->vote, 0, IDENTITY_BYTES);
    raft->save_vote = true;
    struct raft_config config = { .count = 1 };
    config.members[0].slot = raft->options.slot;
    config.members[0].voter = true;
    memcpy(config.members[0].identity, raft->options.identity, IDENTITY_BYTES);
    config.members[0].address = *address;
    uint8_t body[RAFT_MEMBER_BYTES + 1];
    uint32_t size = (uint32_t)raft_config_encode(&config, body, sizeof body);
    log_clock_start(&raft->clock, now.wall_us, now.mono_us);
    uint64_t index = raft_append_own(raft, ENTRY_CONFIG, 1, &size, body, size, now);
    CHECK(index == 1);
    raft->election_at_us = now.mono_us; /* campaigns once the cluster's identity is durable */
    (void)out;
}

void raft_stand_aside(struct raft *raft, bool aside, struct now now)
{
    raft->aside = aside;
    if (aside && raft->role != RAFT_FOLLOWER)
        raft_become_follower(raft, raft->term, 0, now);
}

/* --- events ------------------------------------------------------------------------------------*/

void raft_tick(struct raft *raft, struct now now, const struct effects *out)
{
    CHECK(raft->started);
    raft->now_us = now.mono_us;
    if (raft->halted || raft->frozen)
        return;
    if (raft->role == RAFT_LEADER) {
        raft_transfer_tick(raft, now);
        raft_leader_tick(raft, now);
    } else {
        raft_election_tick(raft, now, out);
    }
}

void raft_restart_timers(struct raft *raft, struct now now)
{
    raft->now_us = now.mono_us;
    raft_reset_election(raft, now);
    raft->leading_since_us = now.mono_us;
    if (raft->leader && raft->role != RAFT_LEADER)
        raft->leader_heard_us = now.mono_us;
    if (raft->transfer_to)
        raft->transfer_until_us = now.mono_us + raft_election_timeout(raft);
    CHECK(raft->election_at_us > now.mono_us);
}

void raft_link_up(struct raft *raft, uint8_t slot, const uint8_t identity[IDENTITY_BYTES],
                  struct now now, const struct effects *out)
{
    CHECK(slot >= 1 && slot <= LIMIT_NODES);
    CHECK(slot != raft->options.slot);
    raft->now_us = now.mono_us;
    struct raft_peer *peer = &raft->peers[slot];
    if (!raft_identity_equal(peer->identity, identity)) {
        peer->match = 0;
        peer->rtt_us = 0;
        peer->answered = peer->granted = false;
        log_clock_forget(&raft->clock, slot);
        if (raft->grant_slot == slot)
            raft->grant_slot = 0;
        if (raft->denied.slot == slot)
            raft->denied.slot = 0;
    }
    memcpy(peer->identity, identity, IDENTITY_BYTES);
    peer->up = true;
    raft_links_changed(raft);
    raft_progress_reset(raft, slot, now);
    if (raft->role == RAFT_PRE_CANDIDATE || raft->role == RAFT_CANDIDATE)
        raft_ask_vote(raft, slot, out);
}

void raft_link_down(struct raft *raft, uint8_t slot, enum raft_link_end end, struct now now,
                    const struct effects *out)
{
    CHECK(slot >= 1 && slot <= LIMIT_NODES);
    CHECK(slot != raft->options.slot);
    raft->now_us = now.mono_us;
    raft->peers[slot].up = false;
    raft_links_changed(raft);
    if (raft->halted || raft->frozen || end != LINK_REFUSED || raft->role == RAFT_LEADER ||
        raft->leader != slot)
        return;
    /* Its process is gone: no time-out is needed to know that. Whoever asked before goes first. */
    uint64_t spread = 4 * (uint64_t)raft->flush_us;
    if (spread < RAFT_JITTER_US)
        spread = RAFT_JITTER_US;
    raft->retries = RAFT_RETRIES;
    raft->campaign_at_us = now.mono_us + 1 + random_below(&raft->random, spread);
    raft_lost_leader(raft, now, out);
}

bool raft_receive(struct raft *raft, uint8_t slot, const uint8_t identity[IDENTITY_BYTES],
                  struct slice data, struct now now, const struct effects *out)
{
    struct raft_message message;
    CHECK(slot >= 1 && slot <= LIMIT_NODES);
    raft->now_us = now.mono_us;
    if (!raft_message_decode(&message, data))
        return false;
    struct raft_peer *peer = &raft->peers[slot];
    if (raft->halted || raft->frozen || slot == raft->options.slot || !peer->up ||
        !raft_identity_equal(peer->identity, identity))
        return true; /* its answer would go to somebody else */
    peer->heard_us = now.mono_us;
    /* A higher term is believed from answers; requests say themselves what they are worth. */
    if ((message.kind == RAFT_APPEND_REPLY || message.kind == RAFT_VOTE_REPLY) &&
        message.term > raft->term && raft_linked_member(raft, slot)) {
        bool campaigning = raft->role == RAFT_PRE_CANDIDATE || raft->role == RAFT_CANDIDATE;
        raft_become_follower(raft, message.term, 0, now);
        if (campaigning && raft->retries) {
            raft->retries--;
            raft->campaign_at_us = now.mono_us + RAFT_RETRY_US;
        }
    }
    switch (message.kind) {
    case RAFT_APPEND:
        return raft_on_append(raft, slot, &message, now, out);
    case RAFT_APPEND_REPLY:
        raft_on_append_reply(raft, slot, &message, now);
        return true;
    case RAFT_VOTE_REQUEST:
        raft_on_vote_request(raft, slot, &message, now, out);
        return true;
    case RAFT_VOTE_REPLY:
        raft_on_vote_reply(raft, slot, &message, now, out);
        return true;
    default:
        CHECK(message.kind == RAFT_TIMEOUT_NOW);
        raft_on_timeout_now(raft, slot, &message, now, out);
        return true;
    }
}

/* --- the end of a turn -------------------------------------------------------------------------*/

static uint64_t sooner(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t next_wake(const struct raft *raft)
{
    uint64_t wake = raft->now_us + raft->options.election_max_us;
    if (raft->disk_full && !raft->flush_out)
        wake = sooner(wake, raft->disk_retry_us);
    if (raft->role != RAFT_LEADER) {
        wake = sooner(wake, raft->election_at_us);
        return raft->campaign_at_us ? sooner(wake, raft->campaign_at_us) : wake;
    }
    wake = sooner(wake, raft->now_us + raft->options.heartbeat_us);
    if (raft->transfer_to)
        wake = sooner(wake, raft->transfer_until_us);
    for (uint8_t slot = 1; slot <= LIMIT_NODES; slot++) {
        if (raft_linked_member(raft, slot) && !raft_leader_stuck(raft))
            wake = sooner(wake, raft->peers[slot].heartbeat_at_us);
    }
    return wake;
}

void raft_end_turn(struct raft *raft, struct now now, const struct effects *out)
{
    CHECK(raft->started);
    raft->now_us = now.mono_us;
    if (raft->halted || raft->frozen)
        return;
    if (raft->role == RAFT_LEADER) {
        raft_hand_over(raft, now, out);
        raft_replicate(raft, now, out);
        raft_leave_step(raft, now, out);
    }
    if (raft->role == RAFT_LEADER) {
        raft_transfer_step(raft, out);
    }
    raft_flush_start(raft, now, out);
    struct effect effect = { .kind = EFFECT_WAKE_AT };
    effect.wake_at_us = next_wake(raft);
    effect_emit(out, &effect);
    CHECK(raft->durable <= raft->log.last);
    CHECK(raft->commit <= raft->log.last);
}

void raft_applied(struct raft *raft, uint64_t index)
{
    CHECK(index <= raft->commit);
    CHECK(index >= raft->applied);
    raft->applied = index;
}

/* --- copying segments --------------------------------------------------------------------------*/

void raft_set_kept(struct raft *raft, uint64_t kept_from, uint64_t copy_below)
{
    CHECK(kept_from >= raft->kept_from);
    CHECK(copy_below <= raft->commit);
    raft->kept_from = kept_from;
    raft->copy_below = copy_below;
}

void raft_set_copying(struct raft *raft, bool copying)
{
    raft->copying = copying;
}

bool raft_may_install(const struct raft *raft, uint64_t end, const uint8_t chain[HASH_BYTES])
{
    if (raft->role != RAFT_FOLLOWER || raft->frozen || end <= raft->commit)
        return false;
    /* What was acknowledged beyond `end` must not go. If the entry there is the copy's, the log may
     * go on rightly; if it is another, or none ends there, nothing from there on is committed. */
    const uint8_t *own = end <= raft->log.last ? raft_log_chain(&raft->log, end) : NULL;
    return !own || memcmp(own, chain, HASH_BYTES) != 0;
}

void raft_freeze(struct raft *raft)
{
    CHECK(raft->role == RAFT_FOLLOWER);
    raft->frozen = true;
}

/* --- what the owner looks at -------------------------------------------------------------------*/

uint64_t raft_commit(const struct raft *raft)
{
    return raft->commit;
}

uint64_t raft_told_commit(const struct raft *raft)
{
    return raft->told_commit > raft->commit ? raft->told_commit : raft->commit;
}

uint64_t raft_durable(const struct raft *raft)
{
    return raft->durable;
}

uint8_t raft_leader(const struct raft *raft)
{
    return raft->leader;
}

bool raft_is_blank(const struct raft *raft)
{
    return bytes_are_zero(raft->cluster, IDENTITY_BYTES);
}

struct raft_view raft_view(const struct raft *raft)
{
    struct raft_view view = {
        .role = raft->role,
        .term = raft->term,
        .leader = raft->leader,
        .relay = !raft->leader && raft->now_us < raft->relay_until_us ? raft->relay_slot : 0,
        .leader_since_us = raft->leader_since_us,
        .commit = raft->commit,
        .last_index = raft->log.last,
        .durable = raft->durable,
        .first_of_term = raft->role == RAFT_LEADER ? raft->first_of_term : 0,
        .disk_full = raft_disk_short(raft),
        .refused = raft->disk_full,
        .leader_full = raft->role == RAFT_LEADER ? raft->disk_full : raft->leader_full,
        .lost = raft->lost_last != 0,
        .blank = raft_is_blank(raft),
        .heartbeat_us = raft->options.heartbeat_us,
        .copy_advised = raft->copy_advised && raft->role == RAFT_FOLLOWER && raft->leader,
        .cluster_durable = raft_cluster_durable(raft),
        .frozen = raft->frozen,
    };
    if (raft->role != RAFT_LEADER && raft->leader_heartbeat_us)
        view.heartbeat_us = raft->leader_heartbeat_us;
    return view;
}

bool raft_has_quorum(const struct raft *raft)
{
    uint32_t timeout = raft_election_timeout(raft);
    if (raft->role == RAFT_LEADER)
        return raft_quorum_answered(raft, timeout);
    return raft->leader && raft->now_us < raft->leader_heard_us + timeout;
}

const uint8_t *raft_cluster(const struct raft *raft)
{
    return raft->cluster;
}

struct raft_peer_view raft_peer_view(const struct raft *raft, uint8_t slot)
{
    CHECK(slot >= 1);
    CHECK(slot <= LIMIT_NODES);
    const struct raft_peer *peer = &raft->peers[slot];
    return (struct raft_peer_view) {
        .match = raft->role == RAFT_LEADER ? peer->match : 0,
        .last_heard_us = peer->heard_us,
        .rtt_us = peer->rtt_us,
        .linked = raft_linked_member(raft, slot) != NULL,
        .lost = raft->role == RAFT_LEADER && peer->lost,
    };
}

struct slice raft_cached_entry(const struct raft *raft, uint64_t index)
{
    const struct raft_meta *meta = raft_log_find(&raft->log, index);
    if (!meta)
        return (struct slice) { NULL, 0 };
    return (struct slice) { raft_log_bytes(&raft->log, meta), meta->size };
}
