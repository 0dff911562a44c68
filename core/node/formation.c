#include "core/node/state.h"

/* How a cluster begins and how its slots fill: one node becomes the first voter, every other
 * configured blank node joins as a learner and is promoted when it has caught up; a wiped node
 * comes back the same way, under its fresh identity. One change at a time, each an entry of its
 * own; raft refuses the rest. */

enum {
    MANAGE_US = 20000,
    CAUGHT_UP_COMMANDS = 4096, /* a learner this near to the end is promoted */
};

void formation_begin(struct node *node, const uint8_t cluster[IDENTITY_BYTES],
                     const uint8_t secret[32], uint8_t slots, uint64_t segment_bytes,
                     const struct effects *out)
{
    CHECK(raft_view(node->raft).blank);
    CHECK(slots >> (node->options.slot - 1) & 1);
    raft_bootstrap(node->raft, cluster, node->now, out);
    node->genesis_due = true;
    node->genesis_slots = slots;
    node->genesis_segment_bytes = segment_bytes;
    memcpy(node->genesis_secret, secret, sizeof(node->genesis_secret));
}

static void propose_genesis(struct node *node)
{
    struct command command = {
        .kind = COMMAND_GENESIS,
        .secret = node->genesis_secret,
        .slots = node->genesis_slots,
        .segment_bytes = node->genesis_segment_bytes,
    };
    if (forward_command(node, &command, NULL))
        node->genesis_due = false;
}

/* Everyone that still votes after the change, but `slot`, must be there: else the change would cost
 * the quorum. */
static bool others_are_here(const struct node *node, uint8_t slot)
{
    const struct raft_config *config = raft_latest_config(node->raft);
    uint8_t healthy = peers_healthy(node);
    unsigned here = 0;
    unsigned voters = 0;
    for (unsigned i = 0; i < config->count; i++) {
        const struct raft_member *member = &config->members[i];
        if (!member->voter || member->slot == slot)
            continue;
        voters++;
        here +=
            member->slot == node->options.slot || ((healthy >> (member->slot - 1) & 1) &&
                                                   raft_peer_view(node->raft, member->slot).linked);
    }
    return here * 2 > voters;
}

/* Who is there in `slot` and is not its member becomes a learner, in place of whoever was: a blank
 * node, or one that was being admitted when the leader's entry was lost. */
static bool admit(struct node *node, uint8_t slot, const struct effects *out)
{
    const struct peer *peer = &node->peers[slot];
    struct raft_config config = *raft_latest_config(node->raft);
    const struct raft_member *present = raft_config_find(&config, slot);
    unsigned at = present ? (unsigned)(present - config.members) : config.count;
    if (present && !memcmp(present->identity, peer->identity, IDENTITY_BYTES))
        return false;
    if (present && present->voter && !others_are_here(node, slot))
        return false;
    if (!present)
        config.count++;
    CHECK(config.count <= LIMIT_NODES);
    config.members[at] = (struct raft_member) { .slot = slot, .voter = false };
    memcpy(config.members[at].identity, peer->identity, IDENTITY_BYTES);
    if (!raft_propose_config(node->raft, &config, node->now))
        return false;
    struct line line = line_begin("learner_added");
    line_pair(&line, "peer", slot);
    line_emit(&line, LOG_INFO, out);
    return true;
}

static bool promote(struct node *node, uint8_t slot, const struct effects *out)
{
    struct raft_config config = *raft_latest_config(node->raft);
    const struct raft_member *member = raft_config_find(&config, slot);
    if (!member || member->voter)
        return false;
    struct raft_peer_view peer = raft_peer_view(node->raft, slot);
    if (!peer.linked || peer.match + CAUGHT_UP_COMMANDS < raft_view(node->raft).last_index ||
        peer.match < config.index)
        return false;
    config.members[member - config.members].voter = true;
    if (!raft_propose_config(node->raft, &config, node->now))
        return false;
    struct line line = line_begin("learner_promoted");
    line_pair(&line, "peer", slot);
    line_emit(&line, LOG_INFO, out);
    return true;
}

static bool all_vote(const struct node *node, uint8_t slots)
{
    const struct raft_config *config = raft_latest_config(node->raft);
    for (uint8_t slot = 1; slot <= LIMIT_NODES; slot++) {
        const struct raft_member *member = raft_config_find(config, slot);
        if ((slots >> (slot - 1) & 1) && !(member && member->voter))
            return false;
    }
    return true;
}

void formation_manage(struct node *node, const struct effects *out)
{
    struct raft_view view = raft_view(node->raft);
    if (view.role != RAFT_LEADER || !node->admitting || node->now.mono_us < node->manage_at_us)
        return;
    node->manage_at_us = node->now.mono_us + MANAGE_US;
    const struct chat_genesis *genesis = chat_genesis(node->chat);
    if (!genesis->done) {
        if (node->genesis_due)
            propose_genesis(node);
        node_wake_at(node->manage_at_us, out);
        return;
    }
    if (raft_config_pending(node->raft)) {
        node_wake_at(node->manage_at_us, out);
        return;
    }
    for (uint8_t slot = 1; slot <= LIMIT_NODES; slot++) {
        const struct peer *peer = &node->peers[slot];
        if (!peer->configured || !peer->greeted || !(genesis->slots >> (slot - 1) & 1))
            continue;
        if (!identity_is_zero(peer->cluster) &&
            memcmp(peer->cluster, raft_cluster(node->raft), IDENTITY_BYTES) != 0)
            continue;
        if (admit(node, slot, out) || promote(node, slot, out))
            return;
    }
    if (!genesis->formed && all_vote(node, genesis->slots) && !queue_device_first(node->queue, 0)) {
        struct command command = { .kind = COMMAND_FORMED };
        (void)forward_command(node, &command, NULL);
    }
}
