/* Leadership transfer (thesis 3.10): no more proposals, the target gets everything, then it is told
 * to campaign at once. Given up after one election time-out.
 *
 * And the hand-over by which a leader whose disk is in trouble steps aside (architecture.md): full,
 * to a voter that reports space; slow, only to one whose flushes take less than a quarter of its own
 * time. Two disks of a kind never change places by that, and an attempt a minute is the most: so
 * leadership does not go to and fro. Else it stays, and refuses what it cannot write. */
#include "core/line.h"
#include "core/raft/state.h"

static bool suitable(const struct raft *raft, uint8_t slot)
{
    const struct raft_member *member = raft_linked_member(raft, slot);
    const struct raft_peer *peer = &raft->peers[slot];
    if (!member || !member->voter || peer->disk_full || peer->match == 0)
        return false;
    return peer->answered_us + raft_election_timeout(raft) > raft->now_us;
}

static void begin(struct raft *raft, uint8_t slot, struct now now, const struct effects *out)
{
    CHECK(slot != 0 && slot != raft->options.slot);
    CHECK(raft->transfer_to == 0);
    raft->transfer_to = slot;
    raft->transfer_told = false;
    raft->transfer_until_us = now.mono_us + raft_election_timeout(raft);
    raft_transfer_step(raft, out);
}

bool raft_transfer(struct raft *raft, uint8_t slot, struct now now, const struct effects *out)
{
    raft->now_us = now.mono_us;
    if (raft->role != RAFT_LEADER || raft->transfer_to)
        return false;
    if (slot > LIMIT_NODES || slot == raft->options.slot)
        return false;
    uint8_t best = slot && suitable(raft, slot) ? slot : 0;
    for (uint8_t other = 1; slot == 0 && other <= LIMIT_NODES; other++) {
        if (suitable(raft, other) && (!best || raft->peers[other].match > raft->peers[best].match))
            best = other;
    }
    if (best)
        begin(raft, best, now, out);
    return best != 0;
}

/* --- for its disk's sake -----------------------------------------------------------------------*/

static bool better(const struct raft *raft, uint8_t slot)
{
    uint64_t theirs = raft->peers[slot].flush_us;
    if (!suitable(raft, slot) || theirs == 0) /* 0: not known yet */
        return false;
    if (raft_disk_short(raft) && theirs < RAFT_SLOW_US)
        return true;
    return theirs < raft_flush_time(raft) / 4;
}

void raft_hand_over(struct raft *raft, struct now now, const struct effects *out)
{
    CHECK(raft->role == RAFT_LEADER);
    bool slow = raft_flush_time(raft) >= RAFT_SLOW_US;
    if ((!raft_disk_short(raft) && !slow) || raft->transfer_to)
        return;
    if (raft->commit < raft->first_of_term ||
        (raft->handed_over_us && now.mono_us < raft->handed_over_us + RAFT_HAND_OVER_US))
        return;
    uint8_t best = 0;
    for (uint8_t slot = 1; slot <= LIMIT_NODES; slot++) {
        if (better(raft, slot) && (!best || raft->peers[slot].match > raft->peers[best].match))
            best = slot;
    }
    if (!best)
        return;
    raft->handed_over_us = now.mono_us;
    struct line line = line_begin("hand_over");
    line_pair(&line, "to", best);
    line_add(&line, raft_disk_short(raft) ? " why=\"disk full\"" : " why=\"disk slow\"");
    line_emit(&line, LOG_WARN, out);
    begin(raft, best, now, out);
}

bool raft_transferring(const struct raft *raft)
{
    return raft->transfer_to != 0;
}

void raft_transfer_tick(struct raft *raft, struct now now)
{
    CHECK(raft->role == RAFT_LEADER);
    if (raft->transfer_to && now.mono_us >= raft->transfer_until_us)
        raft->transfer_to = 0;
}

void raft_transfer_step(struct raft *raft, const struct effects *out)
{
    uint8_t slot = raft->transfer_to;
    CHECK(raft->role == RAFT_LEADER);
    if (!slot || raft->transfer_told || !raft_linked_member(raft, slot))
        return;
    if (raft->peers[slot].match != raft->log.last)
        return;
    struct raft_message message = { .kind = RAFT_TIMEOUT_NOW, .term = raft->term };
    raft_send(raft, slot, &message, (struct slice) { NULL, 0 }, out);
    raft->transfer_told = true;
}

/* A leader that is no voter any more leads on until that is committed, so that somebody does. Then
 * the best voter takes over; with nobody at hand the others find one by their time-outs. */
void raft_leave_step(struct raft *raft, struct now now, const struct effects *out)
{
    CHECK(raft->role == RAFT_LEADER);
    if (raft_is_voter(raft) || raft_config_pending(raft) || raft->transfer_to)
        return;
    if (!raft->leaving && raft_transfer(raft, 0, now, out)) {
        raft->leaving = true;
        return;
    }
    raft_become_follower(raft, raft->term, 0, now);
}
