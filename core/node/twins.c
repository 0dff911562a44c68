#include "core/node/state.h"

/* Two processes under one identity: a data directory was copied, and both copies run. One of them
 * would promise what the other does not know of, so both are refused while both live. Proof is an
 * answer of each to a ping sent at the same moment; a process that died before, or a link that is
 * silent, answers none and is just replaced. Incarnations, which every start of a process draws
 * anew, say which links are whose; whom this node hears is whom it dials, or it is not heard. */

/* The accepted link of another incarnation than the dialled one's; 0: none. Its number + 1. */
static uint32_t rival_of(const struct node *node, uint8_t slot)
{
    const struct peer *peer = &node->peers[slot];
    const uint32_t links[2] = { peer->in_connection, peer->in_other };
    if (peer->link != LINK_UP || !peer->greeted || !peer->incarnation)
        return 0;
    for (unsigned i = 0; i < 2; i++) {
        const struct session *session = links[i] ? &node->sessions[links[i] - 1] : NULL;
        if (session && session->incarnation && session->incarnation != peer->incarnation &&
            !memcmp(session->hash, peer->identity, IDENTITY_BYTES))
            return links[i];
    }
    return 0;
}

static void send_accepted(struct node *node, uint32_t rival, enum wire_type type, uint64_t number,
                          const struct effects *out)
{
    uint8_t message[9] = { (uint8_t)type };
    bytes_put_u64(message + 1, number);
    session_send(node, &node->sessions[rival - 1], (struct slice) { message, sizeof(message) },
                 out);
}

/* The dialled one has just been pinged. */
void twins_probe(struct node *node, uint8_t slot, const struct effects *out)
{
    struct peer *peer = &node->peers[slot];
    uint32_t rival = rival_of(node, slot);
    if (peer->probe_us && node->now.mono_us < peer->probe_us + NODE_SILENT_US)
        return; /* the answers are on their way */
    peer->probe_us = 0;
    if (!rival)
        return;
    peer->probe_us = node->now.mono_us;
    peer->probe_answers[0] = peer->probe_answers[1] = false;
    send_accepted(node, rival, WIRE_PEER_PING, peer->probe_us, out);
}

static void refuse(struct node *node, uint8_t slot, const struct effects *out)
{
    struct peer *peer = &node->peers[slot];
    uint32_t rival = rival_of(node, slot);
    uint8_t message[9] = { WIRE_PEER_TWINS };
    if (!rival)
        return;
    (void)peers_send(node, slot, (struct slice) { message, sizeof(message) },
                     (struct slice) { NULL, 0 }, out);
    send_accepted(node, rival, WIRE_PEER_TWINS, 0, out);
    if (!peer->twins_until_us) {
        struct line line = line_begin("twins");
        line_pair(&line, "peer", slot);
        line_add(&line, " why=\"two processes run under its identity (a copied data directory): "
                        "both are refused until one is ended\"");
        line_emit(&line, LOG_ALARM, out);
        raft_link_down(node->raft, slot, LINK_TIMED_OUT, node->now, out);
    }
    peer->twins_until_us = node->now.mono_us + NODE_TWINS_US;
}

void twins_answered(struct node *node, uint8_t slot, bool dialled, uint64_t at_us,
                    const struct effects *out)
{
    struct peer *peer = &node->peers[slot];
    if (!peer->probe_us || at_us != peer->probe_us)
        return;
    peer->probe_answers[dialled ? 0 : 1] = true;
    if (!peer->probe_answers[0] || !peer->probe_answers[1])
        return;
    peer->probe_us = 0;
    refuse(node, slot, out);
}

bool twins_refused(const struct node *node, const struct session *session)
{
    const struct peer *peer = &node->peers[session->slot];
    if (peer->twins_until_us)
        return true;
    return session->incarnation && peer->greeted && peer->incarnation &&
           session->incarnation != peer->incarnation;
}

void twins_tick(struct node *node, uint8_t slot, const struct effects *out)
{
    struct peer *peer = &node->peers[slot];
    if (!peer->twins_until_us || node->now.mono_us < peer->twins_until_us)
        return;
    peer->twins_until_us = 0;
    struct line line = line_begin("twins_over");
    line_pair(&line, "peer", slot);
    line_emit(&line, LOG_INFO, out);
    if (peer->link == LINK_UP && peer->greeted)
        raft_link_up(node->raft, slot, peer->identity, node->now, out);
}

void twins_told(struct node *node, uint8_t by, const struct effects *out)
{
    if (!node->told_twins_until_us) {
        struct line line = line_begin("twin");
        line_pair(&line, "by", by);
        line_add(&line, " why=\"another process runs under this node's identity (a copied data "
                        "directory): end one of them; a copy must be wiped\"");
        line_emit(&line, LOG_ALARM, out);
    }
    node->told_twins_until_us = node->now.mono_us + NODE_TWINS_US;
}
