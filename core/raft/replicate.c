/* A leader's side of replication (thesis 3.5, 3.6, 10.2.1, 6.2): its own entries, what it sends to
 * whom, acknowledgements, commit, check-quorum.
 *
 * Appends go out at the end of a turn, before the leader's own flush. Heartbeats go by their own
 * clock, entries or not: their answers, which wait for no disk, are what check-quorum counts. */
#include "core/raft/state.h"

/* --- its own entries -----------------------------------------------------------------------------
 */

uint64_t raft_append_own(struct raft *raft, enum entry_kind kind, uint32_t count,
                         const uint32_t *sizes, const uint8_t *bodies, size_t len, struct now now)
{
    CHECK(raft->role == RAFT_LEADER || raft->log.last == 0);
    CHECK(count >= 1 && count <= LIMIT_ENTRY_COMMANDS);
    size_t size = (size_t)entry_size(count, len);
    if (size > raft_log_largest(&raft->log))
        return 0;
    uint8_t *room = raft_log_room(&raft->log, size, raft_forgettable(raft), kind == ENTRY_COMMANDS);
    if (!room)
        return 0;
    log_clock_report(&raft->clock, raft->options.slot, now.wall_us, now.mono_us);
    struct entry_draft draft = {
        .kind = kind,
        .first = raft->log.last + 1,
        .term = raft->term,
        .time_us = log_clock_stamp(&raft->clock, raft_voter_bits(raft), now.mono_us),
        .count = count,
        .sizes = sizes,
        .bodies = bodies,
    };
    size_t built =
        entry_build(room, size, &draft, raft->options.crypto, raft->cluster, raft->log.last_chain);
    CHECK(built == size);
    struct entry entry;
    enum entry_state state = entry_parse(&entry, raft->options.crypto, NULL, room, built);
    CHECK(state == ENTRY_WHOLE);
    raft_log_push(&raft->log, &entry);
    if (kind == ENTRY_CONFIG)
        raft_config_appended(raft, &entry);
    return entry.first;
}

bool raft_can_propose(const struct raft *raft)
{
    return raft->role == RAFT_LEADER && !raft->transfer_to && !raft->disk_full &&
           !raft_leader_stuck(raft);
}

uint64_t raft_propose(struct raft *raft, uint32_t count, const uint32_t *sizes,
                      const uint8_t *bodies, size_t len, struct now now)
{
    if (!raft_can_propose(raft))
        return 0;
    uint64_t total = 0;
    for (uint32_t i = 0; i < count; i++)
        total += sizes[i];
    CHECK(total == len);
    return raft_append_own(raft, ENTRY_COMMANDS, count, sizes, bodies, len, now);
}

size_t raft_propose_limit(const struct raft *raft)
{
    return raft_log_largest(&raft->log);
}

/* --- leading -----------------------------------------------------------------------------------*/

void raft_progress_reset(struct raft *raft, uint8_t slot, struct now now)
{
    struct raft_peer *peer = &raft->peers[slot];
    CHECK(slot >= 1);
    CHECK(slot <= LIMIT_NODES);
    peer->session = ++raft->session_counter;
    peer->progress = RAFT_PROBE;
    peer->probed = 0;
    peer->next = peer->match ? peer->match + 1 : raft->log.last + 1;
    peer->commit_sent = 0;
    peer->round_sent = 0;
    peer->copying = false;
    peer->heartbeat_at_us = now.mono_us;
    peer->room = LIMIT_INFLIGHT_BYTES;
    peer->inflight_at = peer->inflight_count = 0;
    peer->inflight_bytes = 0;
}

void raft_become_leader(struct raft *raft, struct now now, const struct effects *out)
{
    CHECK(raft->role == RAFT_CANDIDATE);
    CHECK(!raft->save_vote);
    raft->role = RAFT_LEADER;
    raft_set_leader(raft, raft->options.slot, now);
    raft->first_of_term = raft->log.last + 1;
    raft->leading_since_us = now.mono_us;
    raft->campaign_at_us = 0;
    raft->retries = 0;
    raft->denied.slot = 0;
    raft->leader_timeout_us = 0;
    raft->leader_heartbeat_us = 0;
    raft->transfer_to = 0;
    raft->leaving = false;
    raft->round++; /* answers to an earlier leadership's rounds confirm nothing of this one */
    raft->round_used = false;
    raft->read_wanted = 0;
    log_clock_start(&raft->clock, raft->log.last_time_us, now.mono_us);
    for (uint8_t slot = 1; slot <= LIMIT_NODES; slot++) {
        raft->peers[slot].match = 0;
        raft->peers[slot].answered_us = now.mono_us;
        raft_progress_reset(raft, slot, now);
    }
    uint32_t empty = 0;
    if (raft_append_own(raft, ENTRY_NOOP, 1, &empty, NULL, 0, now) == 0)
        raft_become_follower(raft, raft->term, 0, now); /* no room for a leader's first entry */
    (void)out;
}

bool raft_leader_stuck(const struct raft *raft)
{
    CHECK(raft->role == RAFT_LEADER);
    if (!raft->flush_out)
        return false;
    uint64_t limit = 2 * (uint64_t)raft_election_timeout(raft);
    if (limit < RAFT_STUCK_US)
        limit = RAFT_STUCK_US;
    if (raft->now_us < raft->flush_began_us + limit)
        return false;
    /* Without this node, and everything that it cannot write. */
    return raft_quorum_match(raft, 0) >= raft->flushing_end;
}

void raft_advance_commit(struct raft *raft)
{
    CHECK(raft->role == RAFT_LEADER);
    uint64_t reached = raft_quorum_match(raft, raft->durable);
    CHECK(reached <= raft->log.last);
    /* Counting commits only this term's entries (thesis 3.6.2, figure 3.7). */
    if (reached > raft->commit && reached >= raft->first_of_term)
        raft->commit = reached;
}

void raft_leader_tick(struct raft *raft, struct now now)
{
    CHECK(raft->role == RAFT_LEADER);
    uint64_t timeout = raft_election_timeout(raft);
    if (now.mono_us < raft->leading_since_us + timeout)
        return;
    if (!raft_quorum_answered(raft, timeout))
        raft_become_follower(raft, raft->term, 0, now);
}

/* --- sending -----------------------------------------------------------------------------------*/

/* Is it so far behind that it should copy, or must it? */
static bool should_copy(const struct raft *raft, const struct raft_peer *peer)
{
    return peer->next < raft->kept_from || peer->next <= raft->copy_below;
}

/* false: entries that follow one whose term is remembered no more. An append without entries then
 * follows nothing, which the peer has: it is heard, and told to copy. */
static bool send_append(struct raft *raft, uint8_t slot, uint64_t prev, struct slice entries,
                        uint64_t last, bool wants_reply, const struct effects *out)
{
    struct raft_peer *peer = &raft->peers[slot];
    uint64_t prev_term = raft_log_term(&raft->log, prev);
    CHECK(prev <= raft->log.last);
    if (prev && prev_term == 0 && entries.len)
        return false;
    if (prev_term == 0)
        prev = 0;
    const uint8_t *chain = raft_log_chain(&raft->log, prev);
    struct raft_message message = {
        .kind = RAFT_APPEND,
        .term = raft->term,
        .append = {
            .flags = (uint8_t)((wants_reply ? APPEND_WANTS_REPLY : 0) |
                               (chain ? APPEND_HAS_CHAIN : 0) |
                               (raft->disk_full ? APPEND_DISK_FULL : 0) |
                               (should_copy(raft, peer) ? APPEND_COPY : 0) |
                               (last == raft->log.last ? APPEND_IS_ALL : 0)),
            .session = peer->session,
            .round = raft->round,
            .sent_us = raft->now_us,
            .prev_index = prev,
            .prev_term = prev_term,
            .commit = raft->commit,
            .heartbeat_us = raft->options.heartbeat_us,
            .timeout_us = raft_election_timeout(raft),
            .chain = chain,
        },
    };
    raft_send(raft, slot, &message, entries, out);
    raft->round_used = true;
    peer->round_sent = raft->round;
    peer->commit_sent = raft->commit;
    return true;
}

static void note_inflight(struct raft_peer *peer, uint64_t last, size_t bytes)
{
    CHECK(peer->inflight_count < LIMIT_INFLIGHT_APPENDS);
    CHECK(last >= peer->next);
    uint32_t at = (peer->inflight_at + peer->inflight_count++) % LIMIT_INFLIGHT_APPENDS;
    peer->inflight[at] = (struct raft_inflight) { last, (uint32_t)bytes };
    peer->inflight_bytes += bytes;
    peer->next = last + 1;
}

static bool window_open(const struct raft_peer *peer, size_t bytes)
{
    uint64_t window = peer->room < LIMIT_INFLIGHT_BYTES ? peer->room : LIMIT_INFLIGHT_BYTES;
    return peer->inflight_count < LIMIT_INFLIGHT_APPENDS && peer->inflight_bytes + bytes <= window;
}

static void start_reading(struct raft *raft, uint8_t slot, const struct effects *out)
{
    struct raft_peer *peer = &raft->peers[slot];
    if (!window_open(peer, LIMIT_APPEND_BYTES))
        if (peer->inflight_count)
            return;
    CHECK(peer->next <= raft->durable); /* what left the memory is on disk */
    if (peer->reading || peer->next < raft->kept_from)
        return; /* one at a time, also when links come and go; or it is to copy what is gone */
    peer->reading = true;
    peer->progress = RAFT_READING;
    peer->read_id = (uint64_t)1 << 63 | (++raft->session_counter & 0xffffffffffff) << 8 | slot;
    struct effect effect = { .kind = EFFECT_READ_ENTRIES };
    effect.read.id = peer->read_id;
    effect.read.index = peer->next;
    effect.read.capacity = LIMIT_APPEND_BYTES;
    effect_emit(out, &effect);
}

/* What the windows let through. */
static void send_entries(struct raft *raft, uint8_t slot, const struct effects *out)
{
    struct raft_peer *peer = &raft->peers[slot];
    CHECK(peer->progress == RAFT_PIPELINE);
    while (peer->next <= raft->log.last) {
        uint64_t prev = peer->next - 1, last;
        const struct raft_meta *meta = raft_log_find(&raft->log, peer->next);
        if (!meta) {
            start_reading(raft, slot, out);
            return;
        }
        if (!window_open(peer, meta->size))
            return;
        uint64_t window = peer->room < LIMIT_INFLIGHT_BYTES ? peer->room : LIMIT_INFLIGHT_BYTES;
        uint64_t most = window - peer->inflight_bytes;
        if (most > LIMIT_APPEND_BYTES)
            most = LIMIT_APPEND_BYTES;
        struct slice run = raft_log_run(&raft->log, prev, (size_t)most, &last);
        CHECK(run.len > 0);
        if (!send_append(raft, slot, prev, run, last, false, out))
            return;
        note_inflight(peer, last, run.len);
    }
}

static void send_to(struct raft *raft, uint8_t slot, struct now now, const struct effects *out)
{
    struct raft_peer *peer = &raft->peers[slot];
    CHECK(peer->next <= raft->log.last + 1);
    if (peer->progress == RAFT_PIPELINE && !peer->copying)
        send_entries(raft, slot, out);
    bool beat = now.mono_us >= peer->heartbeat_at_us || raft->read_wanted > peer->round_sent;
    bool probe = peer->progress == RAFT_PROBE && peer->probed != peer->next;
    bool news = peer->progress == RAFT_PIPELINE && peer->commit_sent < raft->commit;
    if (!beat && !probe && !news)
        return;
    bool sent = send_append(raft, slot, peer->next - 1, (struct slice) { NULL, 0 }, peer->next - 1,
                            beat || probe, out);
    CHECK(sent);
    if (peer->progress == RAFT_PROBE)
        peer->probed = peer->next;
    if (beat || probe)
        peer->heartbeat_at_us = now.mono_us + raft->options.heartbeat_us;
}

void raft_replicate(struct raft *raft, struct now now, const struct effects *out)
{
    CHECK(raft->role == RAFT_LEADER);
    if (raft_leader_stuck(raft))
        return;
    for (uint8_t slot = 1; slot <= LIMIT_NODES; slot++) {
        if (raft_linked_member(raft, slot))
            send_to(raft, slot, now, out);
    }
}

/* --- answers -----------------------------------------------------------------------------------*/

static void probe_from(struct raft *raft, struct raft_peer *peer, uint64_t prev)
{
    CHECK(prev >= peer->match);
    CHECK(prev <= raft->log.last);
    peer->progress = RAFT_PROBE;
    peer->probed = 0;
    peer->next = prev + 1;
    peer->inflight_at = peer->inflight_count = 0;
    peer->inflight_bytes = 0;
}

/* Where to look next: the follower named the last index that it has of a term not above the probed
 * one's. The choice is an entry's last index here, below what was rejected. */
static void on_reject(struct raft *raft, struct raft_peer *peer,
                      const struct raft_append_reply *reply)
{
    if (reply->rejected < peer->match || reply->rejected >= peer->next)
        return; /* answered meanwhile */
    if (peer->progress == RAFT_PROBE && reply->rejected != peer->next - 1)
        return;
    uint64_t prev = reply->conflict_index;
    CHECK(prev <= raft->log.last); /* not above what is rejected, which was sent */
    /* A term's entries begin at one index everywhere. So either this index has that term here too,
     * or the leader's last one of a term not above it lies lower than what was rejected. */
    if (raft_log_term(&raft->log, prev) != reply->conflict_term)
        prev = raft_log_last_of_term(&raft->log, reply->conflict_term);
    if (prev >= reply->rejected || prev < peer->match)
        prev = peer->match;
    probe_from(raft, peer, prev);
}

static void on_accept(struct raft *raft, struct raft_peer *peer,
                      const struct raft_append_reply *reply)
{
    if (reply->match > peer->match)
        peer->match = reply->match;
    while (peer->inflight_count && peer->inflight[peer->inflight_at].last <= peer->match) {
        peer->inflight_bytes -= peer->inflight[peer->inflight_at].bytes;
        peer->inflight_at = (peer->inflight_at + 1) % LIMIT_INFLIGHT_APPENDS;
        peer->inflight_count--;
    }
    if (peer->progress == RAFT_PROBE) {
        peer->progress = RAFT_PIPELINE;
        peer->next = reply->accepted + 1;
    }
    if (peer->next <= peer->match)
        peer->next = peer->match + 1;
    CHECK(peer->match <= raft->log.last);
    CHECK(peer->next > peer->match);
}

void raft_on_append_reply(struct raft *raft, uint8_t slot, const struct raft_message *message,
                          struct now now)
{
    const struct raft_append_reply *reply = &message->append_reply;
    struct raft_peer *peer = &raft->peers[slot];
    CHECK(message->kind == RAFT_APPEND_REPLY);
    if (raft->role != RAFT_LEADER || message->term != raft->term)
        return;
    if (!raft_linked_member(raft, slot) || reply->session != peer->session)
        return;
    if (reply->sent_us > now.mono_us || reply->round > raft->round)
        return;
    if (reply->accepted > raft->log.last)
        return;
    if (reply->sent_us > peer->answered_us)
        peer->answered_us = reply->sent_us;
    if (reply->round > peer->round_acked)
        peer->round_acked = reply->round;
    if (reply->flags & REPLY_AT_ONCE)
        peer->rtt_us = raft_smooth(peer->rtt_us, now.mono_us - reply->sent_us);
    raft_links_changed(raft);
    peer->room = reply->room;
    peer->flush_us = reply->flush_us;
    peer->disk_full = reply->flags & REPLY_DISK_FULL;
    peer->copying = reply->flags & REPLY_COPYING;
    log_clock_report(&raft->clock, slot, reply->wall_us, now.mono_us);
    if (reply->flags & REPLY_LOST && reply->match < peer->match)
        peer->match =
            reply->match; /* what was committed with it stays so; nothing more counts it */
    if (reply->flags & REPLY_REJECTED)
        on_reject(raft, peer, reply);
    else
        on_accept(raft, peer, reply);
    raft_advance_commit(raft);
}

/* --- what was read from disk for a peer far behind ---------------------------------------------*/

bool raft_owns_read(const struct raft *raft, uint64_t id)
{
    (void)raft;
    return id >> 63; /* start_reading */
}

/* How many of the bytes read are whole consecutive entries from `next` on; 0: not what was asked
 * for. */
static size_t usable(const struct raft *raft, struct slice entries, uint64_t next, uint64_t *last)
{
    size_t at = 0;
    struct entry entry;
    *last = next - 1;
    while (at < entries.len && *last < raft->durable) {
        if (entry_parse(&entry, raft->options.crypto, NULL, entries.data + at, entries.len - at) !=
            ENTRY_WHOLE)
            break;
        uint64_t end = entry.first + entry.count - 1;
        if (entry.first != *last + 1 || raft_log_term(&raft->log, end) != entry.term)
            break;
        at += entry.size;
        *last = end;
    }
    CHECK(at <= entries.len);
    return at;
}

void raft_read_done(struct raft *raft, uint64_t id, bool ok, struct slice entries, struct now now,
                    const struct effects *out)
{
    CHECK(raft_owns_read(raft, id));
    uint8_t slot = (uint8_t)(id & 0xff);
    CHECK(slot >= 1);
    CHECK(slot <= LIMIT_NODES);
    CHECK(entries.len <= LIMIT_APPEND_BYTES);
    struct raft_peer *peer = &raft->peers[slot];
    raft->now_us = now.mono_us;
    peer->reading = false;
    if (raft->role != RAFT_LEADER || peer->progress != RAFT_READING)
        return; /* asked for by an earlier leadership or link */
    CHECK(peer->read_id == id);
    uint64_t last;
    size_t len = ok ? usable(raft, entries, peer->next, &last) : 0;
    if (len == 0 || !raft_linked_member(raft, slot)) {
        /* Tried again with the next heartbeat's answer. */
        probe_from(raft, peer, peer->next - 1);
        peer->probed = peer->next;
        return;
    }
    peer->progress = RAFT_PIPELINE;
    struct slice run = { entries.data, len };
    if (send_append(raft, slot, peer->next - 1, run, last, false, out))
        note_inflight(peer, last, len);
}
