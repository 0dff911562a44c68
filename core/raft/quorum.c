/* What a majority of the voters of the latest configuration has reached. Whoever does not vote does
 * not count, this node included; a peer counts as itself only (its identity is the member's). */
#include "core/raft/state.h"

unsigned raft_majority(const struct raft *raft)
{
    return raft_config_voters(&raft->config) / 2 + 1;
}

/* values[0 .. count) of `voters` voters, the rest have reached nothing. */
static uint64_t majority_of(uint64_t *values, unsigned voters)
{
    CHECK(voters > 0); /* only a leader asks, and somebody voted for it */
    CHECK(voters <= LIMIT_NODES);
    for (unsigned i = 1; i < voters; i++) { /* descending */
        uint64_t value = values[i];
        unsigned at = i;
        for (; at > 0 && values[at - 1] < value; at--)
            values[at] = values[at - 1];
        values[at] = value;
    }
    return values[voters / 2];
}

uint64_t raft_quorum_match(const struct raft *raft, uint64_t own)
{
    uint64_t values[LIMIT_NODES] = { 0 };
    unsigned voters = 0;
    CHECK(raft->config.count <= LIMIT_NODES);
    for (unsigned i = 0; i < raft->config.count; i++) {
        const struct raft_member *member = &raft->config.members[i];
        if (!member->voter)
            continue;
        /* A match outlives its link: what is durable there stays so. */
        values[voters++] =
            member->slot == raft->options.slot ? own : raft->peers[member->slot].match;
    }
    return majority_of(values, voters);
}

uint64_t raft_quorum_round(const struct raft *raft)
{
    uint64_t values[LIMIT_NODES] = { 0 };
    unsigned voters = 0;
    CHECK(raft->role == RAFT_LEADER);
    for (unsigned i = 0; i < raft->config.count; i++) {
        const struct raft_member *member = &raft->config.members[i];
        if (!member->voter)
            continue;
        values[voters++] = member->slot == raft->options.slot
                               ? raft->round
                               : raft->peers[member->slot].round_acked;
    }
    return majority_of(values, voters);
}

bool raft_quorum_answered(const struct raft *raft, uint64_t within_us)
{
    unsigned answered = 0;
    CHECK(raft->role == RAFT_LEADER);
    for (unsigned i = 0; i < raft->config.count; i++) {
        const struct raft_member *member = &raft->config.members[i];
        if (member->voter)
            answered += member->slot == raft->options.slot ||
                        raft->peers[member->slot].answered_us + within_us > raft->now_us;
    }
    CHECK(answered <= LIMIT_NODES);
    return answered >= raft_majority(raft);
}
