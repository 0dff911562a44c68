/* How the cluster's feature level rises (core/feature.h): by the leader, once every member of the newest configuration is
 * linked and has said in its HELLO that it can. What the members can is only known while they are there, so one that is
 * away holds the level back.
 *
 * Why that is enough: a LEVEL entry is judged by the members at its own place in the log. A leader that loses its
 * leadership leaves it in the log or not; whoever commits it has the same configuration before it. After it, nobody is
 * made a member who cannot (level_fits), by itself or by ctl: the leader that asked remembers it, and every later one has
 * applied it before it admits anybody. Who was removed before is not waited for: it may be too old, and ends when it
 * hears of the level. */
#include "core/node/state.h"

#include "core/feature.h"

enum { LEVEL_US = 100000 };

bool level_known(struct node *node, uint16_t level, const struct effects *out)
{
    if (level <= node->options.feature_max)
        return true;
    if (!node->level_told) {
        node->level_told = true;
        struct line line = line_begin("version_too_old");
        line_pair(&line, "feature_level", level);
        line_pair(&line, "feature_max", node->options.feature_max);
        line_emit(&line, LOG_ALARM, out);
    }
    struct effect effect = { .kind = EFFECT_HALT,
                             .halt = { .exit_status = 1,
                                       .reason =
                                           "the cluster's feature level is beyond this version: "
                                           "start the newer version on this folder again" } };
    effect_emit(out, &effect);
    return false;
}

bool level_fits(const struct node *node, uint8_t slot)
{
    CHECK(slot >= 1 && slot <= LIMIT_NODES);
    return slot == node->options.slot || node->peers[slot].feature_max >= node_level(node);
}

/* What every member can, as far as all are here to say so; 0: not all are. */
static uint16_t common_level(const struct node *node)
{
    const struct raft_config *config = raft_latest_config(node->raft);
    uint16_t level = node->options.feature_max;
    uint8_t healthy = peers_healthy(node);
    for (unsigned i = 0; i < config->count; i++) {
        const struct raft_member *member = &config->members[i];
        const struct peer *peer = &node->peers[member->slot];
        if (member->slot == node->options.slot || member->vacant)
            continue;
        if (!(healthy >> (member->slot - 1) & 1) ||
            memcmp(peer->identity, member->identity, IDENTITY_BYTES) != 0)
            return 0;
        if (peer->feature_max < level)
            level = peer->feature_max;
    }
    return level;
}

static bool propose(struct node *node, uint16_t level)
{
    uint8_t body[32];
    struct command command = { .kind = COMMAND_LEVEL, .level = level, .nonce = ++node->nonce };
    uint32_t len = (uint32_t)command_encode(&command, body, sizeof body);
    CHECK(len > 0);
    return raft_propose(node->raft, 1, &len, body, len, node->now) != 0;
}

void level_manage(struct node *node, const struct effects *out)
{
    struct raft_view view = raft_view(node->raft);
    if (view.term != node->level_term) {
        node->level_term = view.term;
        node->level_asked = 0;
    }
    if (view.role != RAFT_LEADER || !node->admitting || node->now.mono_us < node->level_at_us)
        return;
    node->level_at_us = node->now.mono_us + LEVEL_US;
    if (!chat_genesis(node->chat)->formed || raft_config_pending(node->raft))
        return;
    uint16_t level = common_level(node);
    if (node->options.feature_allowed && level > node->options.feature_allowed)
        level = node->options.feature_allowed;
    if (level <= node_level(node) || !propose(node, level))
        return;
    node->level_asked = level;
    struct line line = line_begin("feature_level");
    line_pair(&line, "proposed", level);
    line_emit(&line, LOG_INFO, out);
}
