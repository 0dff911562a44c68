/* Leadership transfer (thesis 3.10): no more proposals, the target gets everything, then it is told
 * to campaign at once. Given up after one election time-out. */
#include "core/raft/state.h"

static bool suitable(const struct raft *raft, uint8_t slot)
{
    const struct raft_member *member = raft_linked_member(raft, slot);
    const struct raft_peer *peer = &raft->peers[slot];
    if (!member || !member->voter || peer->disk_full || peer->match == 0)
        return false;
    return peer->answered_us + raft_election_timeout(raft) > raft->now_us;
}

bool raft_transfer(struct raft *raft, uint8_t slot, struct now now, const struct effects *out)
{
    raft->now_us = now.mono_us;
    if (raft->role != RAFT_LEADER || raft->transfer_to || raft->halted)
        return false;
    if (slot > LIMIT_NODES || slot == raft->options.slot)
        return false;
    for (uint8_t other = 1; slot == 0 && other <= LIMIT_NODES; other++) {
        if (!suitable(raft, other))
            continue;
        if (!raft->transfer_to || raft->peers[other].match > raft->peers[raft->transfer_to].match)
            raft->transfer_to = other;
    }
    if (slot && suitable(raft, slot))
        raft->transfer_to = slot;
    if (!raft->transfer_to)
        return false;
    CHECK(raft->transfer_to != raft->options.slot);
    raft->transfer_told = false;
    raft->transfer_until_us = now.mono_us + raft_election_timeout(raft);
    raft_transfer_step(raft, out);
    return true;
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
