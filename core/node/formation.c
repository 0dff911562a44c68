#include "core/node/state.h"

/* How a cluster begins and how its seats fill: one node becomes the first voter, every other
 * blank node of the list that it was formed with joins as a learner and is promoted when it has
 * caught up; a wiped node comes back to its seat the same way, under its fresh identity. Once
 * formed, only ctl makes and takes away seats (membership.c). One change at a time, each an entry
 * of its own; raft refuses the rest. */

enum {
    MANAGE_US = 20000,
    CAUGHT_UP_COMMANDS = 4096, /* a learner this near to the end is promoted */
};

void formation_begin(struct node *node, const uint8_t cluster[IDENTITY_BYTES],
                     const uint8_t secret[32], uint8_t slots, uint64_t segment_bytes,
                     const struct effects *out)
{
    CHECK(raft_is_blank(node->raft));
    CHECK(slots >> (node->options.slot - 1) & 1);
    static const struct raft_address nowhere;
    const struct raft_address *address = peers_ini_address(node, node->options.slot);
    raft_bootstrap(node->raft, cluster, address ? address : &nowhere, node->now, out);
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

bool formation_quorum_without(const struct node *node, uint8_t slot)
{
    const struct raft_config *config = raft_latest_config(node->raft);
    uint8_t healthy = peers_healthy(node);
    unsigned here = 0;
    unsigned voters = 0;
    for (unsigned i = 0; i < config->count; i++) {
        const struct raft_member *member = &config->members[i];
        if (!member->voter || member->slot == slot)
            continue;
        struct raft_peer_view peer = raft_peer_view(node->raft, member->slot);
        voters++;
        here += member->slot == node->options.slot ||
                ((healthy >> (member->slot - 1) & 1) && peer.linked && !peer.lost);
    }
    return here * 2 > voters;
}

/* A data directory under another number: it would vote twice. */
static bool sits_elsewhere(struct node *node, const struct raft_config *config, uint8_t slot,
                           const struct effects *out)
{
    struct peer *peer = &node->peers[slot];
    for (unsigned i = 0; i < config->count; i++) {
        const struct raft_member *member = &config->members[i];
        if (member->slot == slot || !raft_member_is(member, peer->identity))
            continue;
        if (!peer->identity_elsewhere_told) {
            struct line line = line_begin("twins");
            line_pair(&line, "peer", slot);
            line_pair(&line, "member", member->slot);
            line_add(&line, " why=\"it runs on a copy of the member's data directory\"");
            line_emit(&line, LOG_ALARM, out);
        }
        peer->identity_elsewhere_told = true;
        return true;
    }
    return false;
}

/* Whether the seat's member may still be spoken with, over the link that it dialled. */
static bool is_heard(const struct node *node, const struct raft_member *member)
{
    const struct peer *peer = &node->peers[member->slot];
    return peer->in_connection &&
           raft_member_is(member, node->sessions[peer->in_connection - 1].hash);
}

/* Who is there in `slot` and is not its member becomes a learner, in place of whoever was: a blank
 * node, or one that was being admitted when the leader's entry was lost. Whoever left a vacant seat
 * does not come back to it by itself. */
static bool admit(struct node *node, uint8_t slot, const struct effects *out)
{
    const struct peer *peer = &node->peers[slot];
    struct raft_config config = *raft_latest_config(node->raft);
    const struct raft_member *present = raft_config_find(&config, slot);
    unsigned at = present ? (unsigned)(present - config.members) : config.count;
    if (present && !memcmp(present->identity, peer->identity, IDENTITY_BYTES))
        return false;
    if (present &&
        (is_heard(node, present) || (present->voter && !formation_quorum_without(node, slot))))
        return false;
    if (sits_elsewhere(node, &config, slot, out))
        return false;
    const struct raft_address *ini = peers_ini_address(node, slot);
    struct raft_member member = { .slot = slot };
    if (present)
        member.address = present->address;
    if (!member.address.port && ini)
        member.address = *ini;
    memcpy(member.identity, peer->identity, IDENTITY_BYTES);
    if (!present)
        config.count++;
    CHECK(config.count <= LIMIT_NODES);
    config.members[at] = member;
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
    if (!member || member->voter || member->vacant)
        return false;
    struct raft_peer_view peer = raft_peer_view(node->raft, slot);
    if (!peer.linked || peer.lost ||
        peer.match + CAUGHT_UP_COMMANDS < raft_view(node->raft).last_index ||
        peer.match < config.index || !formation_quorum_without(node, 0))
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
        bool has_seat = raft_config_find(raft_latest_config(node->raft), slot) != NULL ||
                        (!genesis->formed && (genesis->slots >> (slot - 1) & 1));
        if (!peer->known || !peer->greeted || peer->twins_until_us || !has_seat)
            continue;
        if (!level_fits(node, slot))
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
