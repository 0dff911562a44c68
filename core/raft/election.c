/* Elections: pre-vote (thesis 9.6), votes (3.4), stickiness (6.2), adaptive randomized time-outs,
 * and the election on connection loss with its remembered denials (architecture.md).
 *
 * A vote is granted to anybody of the cluster whose log is good enough, and counted only from voters of
 * the candidate's own configuration: a configuration that one side has not seen yet must not keep the
 * other from winning (4.1). A candidate leads only once its own vote is durable. */
#include "core/raft/state.h"

/* --- time-outs -----------------------------------------------------------------------------------
 */

uint32_t raft_election_timeout(const struct raft *raft)
{
    uint64_t heartbeat = raft->options.heartbeat_us;
    if (raft->role != RAFT_LEADER && raft->leader_heartbeat_us)
        heartbeat = raft->leader_heartbeat_us;
    uint64_t timeout = 3 * heartbeat;
    uint64_t round = 4 * ((uint64_t)raft->links.slowest_us + raft->flush_us);
    if (round > timeout)
        timeout = round;
    timeout += RAFT_SLACK_US;
    if (raft->role != RAFT_LEADER && raft->leader_timeout_us > timeout)
        timeout = raft->leader_timeout_us;
    if (timeout < raft->options.election_min_us)
        timeout = raft->options.election_min_us;
    if (timeout > raft->options.election_max_us)
        timeout = raft->options.election_max_us;
    CHECK(timeout > 0);
    return (uint32_t)timeout;
}

void raft_reset_election(struct raft *raft, struct now now)
{
    uint64_t timeout = raft_election_timeout(raft);
    raft->election_at_us = now.mono_us + timeout + random_below(&raft->random, timeout);
    CHECK(raft->election_at_us > now.mono_us);
}

/* How long those that lost the same leader spread their campaigns. */
static uint64_t jitter(struct raft *raft)
{
    uint64_t spread = 4 * ((uint64_t)raft->links.slowest_us + raft->flush_us);
    if (spread < RAFT_JITTER_US)
        spread = RAFT_JITTER_US;
    if (spread > raft->options.election_min_us)
        spread = raft->options.election_min_us;
    return random_below(&raft->random, spread);
}

/* One that is leaving is needed until that is committed: its log may be the only one that can win
 * (thesis 4.2.2). Its own vote does not count then. */
static bool may_lead(const struct raft *raft)
{
    const struct raft_member *before = raft_config_find(&raft->previous, raft->options.slot);
    return raft_is_voter(raft) || (raft_config_pending(raft) &&
                                   raft_member_is(before, raft->options.identity) && before->voter);
}

static bool may_campaign(const struct raft *raft)
{
    return !raft->lost_last && !raft->aside && may_lead(raft) && raft_cluster_durable(raft);
}

/* --- campaigning -------------------------------------------------------------------------------*/

static bool own_vote_durable(const struct raft *raft)
{
    return !raft->save_vote && !(raft->flush_out && raft->flushing_vote);
}

void raft_ask_vote(struct raft *raft, uint8_t slot, const struct effects *out)
{
    CHECK(raft->role == RAFT_PRE_CANDIDATE || raft->role == RAFT_CANDIDATE);
    const struct raft_member *member = raft_linked_member(raft, slot);
    if (!member || !member->voter)
        return;
    bool pre = raft->role == RAFT_PRE_CANDIDATE;
    uint8_t flags = pre ? VOTE_PRE : raft->transfer_campaign ? VOTE_TRANSFER : 0;
    struct raft_message message = {
        .kind = RAFT_VOTE_REQUEST,
        .term = pre ? raft->term + 1 : raft->term,
        .vote_request = { flags, raft->log.last, raft->log.last_term, raft->now_us },
    };
    raft_send(raft, slot, &message, (struct slice) { NULL, 0 }, out);
}

static void count_votes(struct raft *raft, struct now now, const struct effects *out)
{
    CHECK(raft->role == RAFT_PRE_CANDIDATE || raft->role == RAFT_CANDIDATE);
    bool pre = raft->role == RAFT_PRE_CANDIDATE;
    unsigned granted = raft_is_voter(raft); /* its own */
    unsigned possible = granted;
    for (uint8_t slot = 1; slot <= LIMIT_NODES; slot++) {
        const struct raft_member *member = raft_linked_member(raft, slot);
        if (!member || !member->voter)
            continue;
        granted += raft->peers[slot].granted;
        possible += raft->peers[slot].granted || !raft->peers[slot].answered;
    }
    CHECK(granted <= possible);
    if (granted >= raft_majority(raft)) {
        if (pre)
            raft_campaign(raft, false, now, out);
        else if (own_vote_durable(raft))
            raft_become_leader(raft, now, out);
        return;
    }
    /* Lost, unless more links come up. Not waiting for the whole time-out again matters most when
     * the denier has just not seen yet that the leader is gone. */
    if (possible < raft_majority(raft) && raft->retries && !raft->campaign_at_us) {
        raft->retries--;
        raft->campaign_at_us = now.mono_us + RAFT_RETRY_US + (pre ? 0 : jitter(raft));
    }
}

void raft_campaign(struct raft *raft, bool pre, struct now now, const struct effects *out)
{
    CHECK(raft->role != RAFT_LEADER);
    CHECK(may_campaign(raft));
    if (raft_majority(raft) == 1 && raft_is_voter(raft))
        pre = false; /* nobody to ask */
    raft->role = pre ? RAFT_PRE_CANDIDATE : RAFT_CANDIDATE;
    raft->campaign_at_us = 0;
    raft->campaign_began_us = now.mono_us;
    raft_set_leader(raft, 0, now);
    if (!pre) {
        raft->term++;
        memcpy(raft->vote, raft->options.identity, IDENTITY_BYTES);
        raft->save_vote = true;
        raft->grant_slot = 0;
        raft->verified = raft->commit;
        raft->ack_pending = false;
    } else {
        raft->transfer_campaign = false;
    }
    raft_reset_election(raft, now);
    for (uint8_t slot = 1; slot <= LIMIT_NODES; slot++) {
        raft->peers[slot].answered = raft->peers[slot].granted = false;
        raft_ask_vote(raft, slot, out);
    }
}

/* The leader is gone for this node: what it denied for that leader's sake it now grants. */
void raft_lost_leader(struct raft *raft, struct now now, const struct effects *out)
{
    CHECK(raft->role != RAFT_LEADER);
    raft_set_leader(raft, 0, now);
    struct raft_denied denied = raft->denied;
    raft->denied.slot = 0;
    if (denied.slot && denied.at_us + 2 * (uint64_t)raft_election_timeout(raft) > now.mono_us) {
        denied.request.vote_request.sent_us = 0; /* this is no measure of the link */
        raft_on_vote_request(raft, denied.slot, &denied.request, now, out);
    }
}

void raft_election_tick(struct raft *raft, struct now now, const struct effects *out)
{
    CHECK(raft->role != RAFT_LEADER);
    bool timed_out = now.mono_us >= raft->election_at_us;
    bool soon = raft->campaign_at_us && now.mono_us >= raft->campaign_at_us;
    if (!timed_out && !soon)
        return;
    raft->campaign_at_us = 0;
    if (timed_out) {
        raft->retries = RAFT_RETRIES;
        raft_reset_election(raft, now);
        if (raft->leader) {
            raft->campaign_at_us = now.mono_us;
            raft_lost_leader(raft, now, out);
            if (raft->campaign_at_us != now.mono_us)
                return; /* another asked before: it has this round */
            raft->campaign_at_us = 0;
        }
    }
    CHECK(raft->leader == 0);
    if (may_campaign(raft))
        raft_campaign(raft, true, now, out);
}

/* --- voting ------------------------------------------------------------------------------------*/

static bool log_good_enough(const struct raft *raft, const struct raft_vote_request *request)
{
    if (!raft_lost_allows(raft, request))
        return false;
    if (request->last_term != raft->log.last_term)
        return request->last_term > raft->log.last_term;
    return request->last_index >= raft->log.last;
}

/* There is a leader, as far as this node knows: it helps nobody to disturb it. */
static bool sticky(const struct raft *raft, struct now now)
{
    if (raft->role == RAFT_LEADER)
        return !raft_leader_stuck(raft);
    return raft->leader != 0 && now.mono_us < raft->leader_heard_us + raft_election_timeout(raft);
}

static void answer_vote(struct raft *raft, uint8_t slot, uint8_t flags, uint64_t asked_term,
                        uint64_t sent_us, const struct effects *out)
{
    CHECK(slot != raft->options.slot);
    CHECK(raft->term <= asked_term || !(flags & VOTE_GRANTED));
    struct raft_message message = {
        .kind = RAFT_VOTE_REPLY,
        .term = raft->term,
        .vote_reply = { flags, asked_term, sent_us, raft->leader, raft_flush_report(raft) },
    };
    raft_send(raft, slot, &message, (struct slice) { NULL, 0 }, out);
}

static void on_pre_vote(struct raft *raft, uint8_t slot, const struct raft_message *message,
                        struct now now, const struct effects *out)
{
    const struct raft_vote_request *request = &message->vote_request;
    uint8_t flags = VOTE_PRE;
    if (sticky(raft, now)) {
        raft->denied = (struct raft_denied) { slot, now.mono_us, *message };
    } else if (message->term > raft->term && log_good_enough(raft, request)) {
        flags |= VOTE_GRANTED;
        /* Its campaign goes first. */
        if (raft->campaign_at_us)
            raft->campaign_at_us = now.mono_us + RAFT_JITTER_US + jitter(raft);
    }
    answer_vote(raft, slot, flags, message->term, request->sent_us, out);
}

void raft_on_vote_request(struct raft *raft, uint8_t slot, const struct raft_message *message,
                          struct now now, const struct effects *out)
{
    const struct raft_vote_request *request = &message->vote_request;
    CHECK(message->kind == RAFT_VOTE_REQUEST);
    /* Whoever asks knows by its own configuration who its voters are. That of this node may be
     * older, name neither of the two, and decides nothing. */
    if (!raft->peers[slot].up || raft->config.index == 0)
        return;
    if (raft->aside || !raft_cluster_durable(raft))
        return;
    if (request->flags & VOTE_PRE) {
        on_pre_vote(raft, slot, message, now, out);
        return;
    }
    bool transfer = request->flags & VOTE_TRANSFER;
    if (message->term >= raft->term && sticky(raft, now) && !transfer) {
        raft->denied = (struct raft_denied) { slot, now.mono_us, *message };
        answer_vote(raft, slot, 0, message->term, request->sent_us, out);
        return;
    }
    if (message->term > raft->term)
        raft_become_follower(raft, message->term, 0, now);
    static const uint8_t nobody[IDENTITY_BYTES];
    const uint8_t *identity = raft->peers[slot].identity;
    bool free = raft_identity_equal(raft->vote, nobody);
    bool same = raft_identity_equal(raft->vote, identity);
    if (message->term < raft->term || !(free || same) || !log_good_enough(raft, request)) {
        answer_vote(raft, slot, 0, message->term, request->sent_us, out);
        return;
    }
    CHECK(raft->term == message->term);
    CHECK(raft->role == RAFT_FOLLOWER || raft->role == RAFT_PRE_CANDIDATE);
    if (raft->role == RAFT_PRE_CANDIDATE)
        raft_become_follower(raft, raft->term, 0, now);
    if (free) {
        memcpy(raft->vote, identity, IDENTITY_BYTES);
        raft->save_vote = true;
    }
    raft->campaign_at_us = 0;
    raft_reset_election(raft, now);
    if (own_vote_durable(raft)) {
        answer_vote(raft, slot, VOTE_GRANTED, raft->term, request->sent_us, out);
    } else {
        raft->grant_slot = slot;
        raft->grant_sent_us = request->sent_us;
    }
}

/* Term and vote are on disk as they are now: what was promised may be said. */
void raft_vote_flushed(struct raft *raft, struct now now, const struct effects *out)
{
    CHECK(own_vote_durable(raft));
    uint8_t slot = raft->grant_slot;
    raft->grant_slot = 0;
    if (slot && raft->peers[slot].up) {
        CHECK(raft_identity_equal(raft->peers[slot].identity, raft->vote));
        answer_vote(raft, slot, VOTE_GRANTED, raft->term, raft->grant_sent_us, out);
    } else if (raft->role == RAFT_CANDIDATE) {
        count_votes(raft, now, out);
    }
}

void raft_on_vote_reply(struct raft *raft, uint8_t slot, const struct raft_message *message,
                        struct now now, const struct effects *out)
{
    const struct raft_vote_reply *reply = &message->vote_reply;
    CHECK(message->kind == RAFT_VOTE_REPLY);
    bool pre = reply->flags & VOTE_PRE;
    const struct raft_member *member = raft_linked_member(raft, slot);
    if (!member || !member->voter)
        return;
    if (!(reply->flags & VOTE_GRANTED) && reply->leader && reply->leader != raft->options.slot) {
        raft->relay_slot = slot;
        raft->relay_until_us = now.mono_us + 3 * (uint64_t)raft_election_timeout(raft);
    }
    if (raft->role != (pre ? RAFT_PRE_CANDIDATE : RAFT_CANDIDATE))
        return;
    if (reply->asked_term != (pre ? raft->term + 1 : raft->term))
        return;
    struct raft_peer *peer = &raft->peers[slot];
    if (pre && reply->sent_us >= raft->campaign_began_us && reply->sent_us <= now.mono_us)
        peer->rtt_us = raft_smooth(peer->rtt_us, now.mono_us - reply->sent_us);
    raft_links_changed(raft);
    peer->flush_us = reply->flush_us;
    peer->answered = true;
    peer->granted |= (reply->flags & VOTE_GRANTED) != 0;
    count_votes(raft, now, out);
}

void raft_on_timeout_now(struct raft *raft, uint8_t slot, const struct raft_message *message,
                         struct now now, const struct effects *out)
{
    CHECK(message->kind == RAFT_TIMEOUT_NOW);
    if (message->term != raft->term || raft->leader != slot)
        return;
    CHECK(raft->role == RAFT_FOLLOWER);
    if (!may_campaign(raft))
        return;
    raft->transfer_campaign = true;
    raft->retries = RAFT_RETRIES;
    raft_campaign(raft, false, now, out);
}
