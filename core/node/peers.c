#include "core/node/state.h"

static bool same(const uint8_t *a, const uint8_t *b)
{
    return !memcmp(a, b, IDENTITY_BYTES);
}

static void dial(struct node *node, uint8_t slot, const struct effects *out)
{
    struct peer *peer = &node->peers[slot];
    CHECK(peer->link == LINK_IDLE);
    CHECK(peer->configured && slot != node->options.slot);
    peer->link = LINK_DIALLING;
    struct effect effect = { .kind = EFFECT_PEER_DIAL, .send = { .slot = slot } };
    effect_emit(out, &effect);
}

void peers_start(struct node *node)
{
    for (uint8_t slot = 1; slot <= LIMIT_NODES; slot++) {
        struct peer *peer = &node->peers[slot];
        peer->configured = (node->options.peers >> (slot - 1) & 1) && slot != node->options.slot;
        peer->back_off_us = NODE_DIAL_FIRST_US;
        peer->dial_at_us = node->now.mono_us;
    }
}

static uint64_t silent_after_us(const struct node *node)
{
    uint64_t two_time_outs = 2 * (uint64_t)raft_view(node->raft).election_timeout_us;
    return two_time_outs > NODE_SILENT_US ? two_time_outs : NODE_SILENT_US;
}

/* A link that says nothing is closed and dialled anew; that is no reason for an election. */
static void close_silent(struct node *node, uint8_t slot, const struct effects *out)
{
    struct effect effect = { .kind = EFFECT_PEER_CLOSE, .close = { .slot = slot } };
    effect_emit(out, &effect);
    struct line line = line_begin("peer_silent");
    line_pair(&line, "peer", slot);
    line_emit(&line, LOG_WARN, out);
    peers_down(node, slot, LINK_TIMED_OUT, out);
}

static void ping(struct node *node, uint8_t slot, const struct effects *out)
{
    uint8_t message[9] = { WIRE_PEER_PING };
    bytes_put_u64(message + 1, node->now.mono_us);
    (void)peers_send(node, slot, (struct slice) { message, sizeof(message) },
                     (struct slice) { NULL, 0 }, out);
    node->peers[slot].ping_at_us = node->now.mono_us + NODE_PING_US;
}

void peers_tick(struct node *node, const struct effects *out)
{
    uint64_t next = UINT64_MAX;
    for (uint8_t slot = 1; slot <= LIMIT_NODES; slot++) {
        struct peer *peer = &node->peers[slot];
        if (!peer->configured)
            continue;
        if (peer->link == LINK_IDLE && node->now.mono_us >= peer->dial_at_us)
            dial(node, slot, out);
        if (peer->link == LINK_UP && node->now.mono_us >= peer->heard_us + silent_after_us(node))
            close_silent(node, slot, out);
        if (peer->link == LINK_UP && node->now.mono_us >= peer->ping_at_us)
            ping(node, slot, out);
        uint64_t at = peer->link == LINK_UP     ? peer->ping_at_us
                      : peer->link == LINK_IDLE ? peer->dial_at_us
                                                : UINT64_MAX;
        if (at < next)
            next = at;
    }
    if (next != UINT64_MAX)
        node_wake_at(next, out);
}

static size_t encode_hello(const struct node *node, uint8_t *out, size_t capacity)
{
    struct wire_hello hello = { .version = WIRE_VERSION, .slot = node->options.slot };
    memcpy(hello.identity, node->options.identity, IDENTITY_BYTES);
    memcpy(hello.cluster, raft_cluster(node->raft), IDENTITY_BYTES);
    return wire_encode_hello(&hello, out, capacity);
}

static void greet(struct node *node, uint8_t slot, const struct effects *out)
{
    uint8_t message[64];
    size_t len = encode_hello(node, message, sizeof(message));
    (void)peers_send(node, slot, (struct slice) { message, len }, (struct slice) { NULL, 0 }, out);
}

/* A node that was blank belongs to a cluster now: everybody it talks to must know. */
void peers_cluster_changed(struct node *node, const struct effects *out)
{
    if (same(node->said_cluster, raft_cluster(node->raft)))
        return;
    memcpy(node->said_cluster, raft_cluster(node->raft), IDENTITY_BYTES);
    for (uint8_t slot = 1; slot <= LIMIT_NODES; slot++)
        greet(node, slot, out);
}

void peers_up(struct node *node, uint8_t slot, const struct effects *out)
{
    CHECK(slot >= 1 && slot <= LIMIT_NODES);
    struct peer *peer = &node->peers[slot];
    CHECK(peer->link == LINK_DIALLING);
    peer->link = LINK_UP;
    peer->greeted = false;
    peer->heard_us = node->now.mono_us;
    greet(node, slot, out);
    ping(node, slot, out);
}

/* A link that was up and broke is dialled again at once: whether that is refused decides about an
 * election. One that never greeted is a stranger's (another version, cluster or ini): no hurry. */
void peers_down(struct node *node, uint8_t slot, enum raft_link_end end, const struct effects *out)
{
    CHECK(slot >= 1 && slot <= LIMIT_NODES);
    struct peer *peer = &node->peers[slot];
    CHECK(peer->link != LINK_IDLE);
    bool was_up = peer->link == LINK_UP && peer->greeted;
    peer->link = LINK_IDLE;
    peer->greeted = false;
    raft_link_down(node->raft, slot, end, node->now, out);
    if (slot == raft_view(node->raft).leader || slot == node->seen_leader)
        forward_again(node);
    if (was_up) {
        peer->dial_at_us = node->now.mono_us;
        dial(node, slot, out);
        return;
    }
    uint64_t jitter = random_below(&node->random, peer->back_off_us / 2 + 1);
    peer->dial_at_us = node->now.mono_us + peer->back_off_us / 2 + jitter;
    peer->back_off_us =
        peer->back_off_us * 2 < NODE_DIAL_LAST_US ? peer->back_off_us * 2 : NODE_DIAL_LAST_US;
    node_wake_at(peer->dial_at_us, out);
}

bool peers_send(struct node *node, uint8_t slot, struct slice head, struct slice body,
                const struct effects *out)
{
    if (slot < 1 || slot > LIMIT_NODES || node->peers[slot].link != LINK_UP)
        return false;
    struct effect effect = { .kind = EFFECT_PEER_SEND,
                             .send = { .slot = slot, .parts = { head, body }, .parts_count = 2 } };
    effect_emit(out, &effect);
    return true;
}

/* Two clusters under one key: never talk, and say so once. */
static bool is_foreign(struct node *node, uint8_t slot, const uint8_t cluster[IDENTITY_BYTES],
                       const struct effects *out)
{
    const uint8_t *own = raft_cluster(node->raft);
    if (identity_is_zero(own) || identity_is_zero(cluster) || same(own, cluster))
        return false;
    if (!node->peers[slot].foreign_told) {
        struct line line = line_begin("foreign_peer");
        line_pair(&line, "peer", slot);
        line_add(&line, " why=\"it belongs to another cluster\"");
        line_emit(&line, LOG_ALARM, out);
        node->peers[slot].foreign_told = true;
    }
    return true;
}

/* The answer on the link that this node dialled: now it is known who is there. */
void peers_message(struct node *node, uint8_t slot, struct slice message, const struct effects *out)
{
    CHECK(slot >= 1 && slot <= LIMIT_NODES);
    struct peer *peer = &node->peers[slot];
    struct wire_hello hello;
    if (peer->link != LINK_UP || !message.len)
        return;
    if (message.data[0] == WIRE_PEER_PONG) {
        peer->heard_us = node->now.mono_us;
        return;
    }
    if (message.data[0] != WIRE_PEER_HELLO || !wire_decode_hello(&hello, message) ||
        hello.slot != slot || is_foreign(node, slot, hello.cluster, out))
        return;
    peer->heard_us = node->now.mono_us;
    bool news = !peer->greeted || !same(peer->identity, hello.identity);
    memcpy(peer->identity, hello.identity, IDENTITY_BYTES);
    memcpy(peer->cluster, hello.cluster, IDENTITY_BYTES);
    peer->greeted = true;
    peer->back_off_us = NODE_DIAL_FIRST_US;
    if (news) {
        raft_link_up(node->raft, slot, peer->identity, node->now, out);
        if (slot == raft_view(node->raft).leader)
            forward_again(node);
    }
}

static void answer(struct node *node, uint32_t connection, const uint8_t *data, size_t len,
                   const struct effects *out)
{
    session_send(node, &node->sessions[connection], (struct slice) { data, len }, out);
}

/* The first message on an accepted link says who dialled; the answer says who was reached. */
static bool heard_hello(struct node *node, uint32_t connection, struct slice message,
                        const struct effects *out)
{
    struct session *session = &node->sessions[connection];
    struct wire_hello hello;
    if (!wire_decode_hello(&hello, message) || hello.slot == node->options.slot ||
        !node->peers[hello.slot].configured || hello.version != WIRE_VERSION)
        return false;
    struct peer *peer = &node->peers[hello.slot];
    uint8_t reply[64];
    answer(node, connection, reply, encode_hello(node, reply, sizeof(reply)), out);
    if (is_foreign(node, hello.slot, hello.cluster, out))
        return true;
    session->slot = hello.slot;
    memcpy(session->hash, hello.identity, IDENTITY_BYTES); /* the handshake's hash has served */
    memcpy(session->hash + IDENTITY_BYTES, hello.cluster, IDENTITY_BYTES);
    peer->in_connection = connection + 1;
    if (peer->link == LINK_IDLE)
        dial(node, hello.slot, out); /* it is there: no need to wait for the back-off */
    return true;
}

static bool heard_raft(struct node *node, struct session *session, struct slice message,
                       const struct effects *out)
{
    const uint8_t *cluster = session->hash + IDENTITY_BYTES;
    if (raft_view(node->raft).blank) {
        if (identity_is_zero(cluster))
            return true;
        raft_join(node->raft, cluster);
    }
    if (!same(cluster, raft_cluster(node->raft)) && !identity_is_zero(cluster))
        return false;
    struct slice rest = { message.data + 1, message.len - 1 };
    return raft_receive(node->raft, session->slot, session->hash, rest, node->now, out);
}

bool peers_heard(struct node *node, uint32_t connection, struct slice message,
                 const struct effects *out)
{
    struct session *session = &node->sessions[connection];
    CHECK(session->state == SESSION_NODE);
    CHECK(message.len > 0);
    if (message.data[0] == WIRE_PEER_HELLO)
        return heard_hello(node, connection, message, out);
    if (message.data[0] == WIRE_PEER_PING) {
        if (message.len == 9) {
            uint8_t pong[9] = { WIRE_PEER_PONG };
            memcpy(pong + 1, message.data + 1, 8);
            answer(node, connection, pong, sizeof(pong), out);
        }
        return message.len == 9; /* a foreign node's too: closed, it would only dial again */
    }
    if (!session->slot)
        return false;
    switch (message.data[0]) {
    case 1: /* RAFT */
        return heard_raft(node, session, message, out);
    case WIRE_PEER_FORWARD:
        return forward_received(node, session->slot, message, out);
    case WIRE_PEER_RELAY:
        return forward_relayed(node, session->slot, message, out);
    case WIRE_PEER_FETCH:
        return serve_fetch(node, session->slot, message, out);
    case WIRE_PEER_FETCHED:
        return catchup_fetched(node, session->slot, message, out);
    case WIRE_PEER_NACK:
    case WIRE_PEER_REFUSE:
        return forward_nack(node, session->slot, message, out);
    default:
        return false;
    }
}

void peers_closed(struct node *node, uint32_t connection)
{
    uint8_t slot = node->sessions[connection].slot;
    if (slot && node->peers[slot].in_connection == connection + 1)
        node->peers[slot].in_connection = 0;
}

uint8_t peers_healthy(const struct node *node)
{
    unsigned healthy = 1u << (node->options.slot - 1);
    for (unsigned slot = 1; slot <= LIMIT_NODES; slot++) {
        const struct peer *peer = &node->peers[slot];
        if (peer->configured && peer->link == LINK_UP && peer->greeted &&
            node->now.mono_us < peer->heard_us + NODE_SILENT_US)
            healthy |= 1u << (slot - 1);
    }
    return (uint8_t)healthy;
}
