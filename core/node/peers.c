#include "core/node/state.h"

static bool same(const uint8_t *a, const uint8_t *b)
{
    return !memcmp(a, b, IDENTITY_BYTES);
}

const struct raft_address *peers_ini_address(const struct node *node, uint8_t slot)
{
    if (!node->options.addresses || !(node->options.peers >> (slot - 1) & 1))
        return NULL;
    return &node->options.addresses[slot];
}

/* What the log says where `slot` is, or ctl that wants it in; NULL: nothing. */
static const struct raft_address *log_address(const struct node *node, uint8_t slot)
{
    const struct raft_member *seat = raft_config_find(raft_latest_config(node->raft), slot);
    if (seat && seat->address.port)
        return &seat->address;
    return node->adding_slot == slot && node->adding_address.port ? &node->adding_address : NULL;
}

static void dial(struct node *node, uint8_t slot, const struct effects *out)
{
    struct peer *peer = &node->peers[slot];
    CHECK(peer->link == LINK_IDLE);
    CHECK(peer->known && slot != node->options.slot);
    const struct raft_address *ini = peers_ini_address(node, slot);
    const struct raft_address *log = log_address(node, slot);
    const struct raft_address *at = (peer->by_log && log) || !ini ? log : ini;
    peer->link = LINK_DIALLING;
    struct effect effect = { .kind = EFFECT_PEER_DIAL, .dial = { .slot = slot } };
    if (at) {
        effect.dial.port = at->port;
        effect.dial.host = (struct slice) { (const uint8_t *)at->host, at->host_len };
    }
    effect_emit(out, &effect);
}

static bool is_known(const struct node *node, uint8_t slot)
{
    return slot != node->options.slot &&
           ((node->options.peers >> (slot - 1) & 1) || node->adding_slot == slot ||
            raft_config_find(raft_latest_config(node->raft), slot));
}

static void forget(struct node *node, uint8_t slot, const struct effects *out)
{
    struct peer *peer = &node->peers[slot];
    if (peer->link != LINK_IDLE) {
        struct effect effect = { .kind = EFFECT_PEER_CLOSE, .close = { .slot = slot } };
        effect_emit(out, &effect);
        raft_link_down(node->raft, slot, LINK_TIMED_OUT, node->now, out);
    }
    *peer = (struct peer) { .in_connection = peer->in_connection, .in_other = peer->in_other };
}

/* Whoever left this seat is no use there, unless ctl wants it back: the next one may be at the other
 * address. A node that hears no leader knows less than others: whoever left may be back, and lead. */
static bool departed(const struct node *node, uint8_t slot)
{
    const struct peer *peer = &node->peers[slot];
    if (node->adding_slot == slot || peer->link != LINK_UP || !peer->greeted)
        return false;
    const struct raft_member *seat = raft_config_find(raft_latest_config(node->raft), slot);
    if (!seat || !seat->vacant || !same(seat->identity, peer->identity))
        return false;
    return raft_has_quorum(node->raft) && raft_leader(node->raft) != slot;
}

static void close_departed(struct node *node, uint8_t slot, const struct effects *out)
{
    struct effect effect = { .kind = EFFECT_PEER_CLOSE, .close = { .slot = slot } };
    effect_emit(out, &effect);
    node->peers[slot].greeted = false;
    peers_down(node, slot, LINK_TIMED_OUT, out);
}

void peers_refresh(struct node *node, const struct effects *out)
{
    for (uint8_t slot = 1; slot <= LIMIT_NODES; slot++) {
        struct peer *peer = &node->peers[slot];
        bool known = is_known(node, slot);
        if (peer->known && !known) {
            forget(node, slot, out);
        } else if (known && !peer->known) {
            peer->known = peer->by_log = true;
            peer->back_off_us = NODE_DIAL_FIRST_US;
            peer->dial_at_us = node->now.mono_us;
            node_wake_at(peer->dial_at_us, out);
        }
        if (departed(node, slot))
            close_departed(node, slot, out);
    }
}

void peers_start(struct node *node, const struct effects *out)
{
    peers_refresh(node, out);
}

static uint64_t silent_after_us(const struct node *node)
{
    uint64_t two_time_outs = 2 * (uint64_t)raft_election_timeout(node->raft);
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

void peers_ping(struct node *node, uint8_t slot, const struct effects *out)
{
    uint8_t message[9] = { WIRE_PEER_PING };
    bytes_put_u64(message + 1, node->now.mono_us);
    (void)peers_send(node, slot, (struct slice) { message, sizeof(message) },
                     (struct slice) { NULL, 0 }, out);
    node->peers[slot].ping_at_us = node->now.mono_us + NODE_PING_US;
    twins_probe(node, slot, out);
}

void peers_tick(struct node *node, const struct effects *out)
{
    uint64_t next = UINT64_MAX;
    for (uint8_t slot = 1; slot <= LIMIT_NODES; slot++) {
        struct peer *peer = &node->peers[slot];
        if (!peer->known)
            continue;
        twins_tick(node, slot, out);
        if (peer->link == LINK_IDLE && node->now.mono_us >= peer->dial_at_us)
            dial(node, slot, out);
        if (peer->link == LINK_UP && node->now.mono_us >= peer->heard_us + silent_after_us(node))
            close_silent(node, slot, out);
        if (peer->link == LINK_UP && node->now.mono_us >= peer->ping_at_us)
            peers_ping(node, slot, out);
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
    struct wire_hello hello = { .version = WIRE_VERSION,
                                .slot = node->options.slot,
                                .incarnation = node->incarnation };
    memcpy(hello.identity, node->options.identity, IDENTITY_BYTES);
    memcpy(hello.cluster, raft_cluster(node->raft), IDENTITY_BYTES);
    hello.feature_max = node->options.feature_max;
    hello.level = chat_genesis(node->chat)->level;
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
    peers_ping(node, slot, out);
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
    if (slot == raft_leader(node->raft) || slot == node->seen_leader)
        forward_again(node);
    if (was_up) {
        peer->dial_at_us = node->now.mono_us;
        dial(node, slot, out);
        return;
    }
    peer->by_log = !peer->by_log; /* when they differ, the one that answers is right */
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

/* The layout of the messages between nodes; what a feature level is for is not this. */
static bool speaks_ours(struct node *node, const struct wire_hello *hello,
                        const struct effects *out)
{
    struct peer *peer = &node->peers[hello->slot];
    bool ours = hello->version == WIRE_VERSION;
    if (!ours && !peer->version_told) {
        struct line line = line_begin("peer_version");
        line_pair(&line, "peer", hello->slot);
        line_pair(&line, "speaks", hello->version);
        line_pair(&line, "own", WIRE_VERSION);
        line_add(&line, " why=\"these two releases cannot talk to each other: upgrade the older\"");
        line_emit(&line, LOG_ALARM, out);
    }
    peer->version_told = !ours;
    return ours;
}

/* On the link that this node dialled: answers, and what only a peer can know. */
static void heard_back(struct node *node, uint8_t slot, struct slice message,
                       const struct effects *out)
{
    struct reader reader = reader_of(message.data + 1, message.len - 1);
    uint64_t number = read_u64(&reader);
    if (!reader_finished(&reader))
        return;
    switch (message.data[0]) {
    case WIRE_PEER_PONG:
        node->peers[slot].heard_us = node->now.mono_us;
        twins_answered(node, slot, true, number, out);
        break;
    case WIRE_PEER_PING: {
        uint8_t pong[9] = { WIRE_PEER_PONG };
        bytes_put_u64(pong + 1, number);
        (void)peers_send(node, slot, (struct slice) { pong, sizeof(pong) },
                         (struct slice) { NULL, 0 }, out);
        break;
    }
    case WIRE_PEER_NOT_MEMBER:
        membership_told(node, slot, number, out);
        break;
    case WIRE_PEER_TWINS:
        twins_told(node, slot, out);
        break;
    default:
        break;
    }
}

/* The answer on the link that this node dialled: now it is known who is there. */
void peers_message(struct node *node, uint8_t slot, struct slice message, const struct effects *out)
{
    CHECK(slot >= 1 && slot <= LIMIT_NODES);
    struct peer *peer = &node->peers[slot];
    struct wire_hello hello;
    if (peer->link != LINK_UP || !message.len)
        return;
    if (message.data[0] != WIRE_PEER_HELLO) {
        heard_back(node, slot, message, out);
        return;
    }
    if (!wire_decode_hello(&hello, message) || hello.slot != slot ||
        !speaks_ours(node, &hello, out) || is_foreign(node, slot, hello.cluster, out))
        return;
    if (!level_known(node, hello.level, out))
        return;
    peer->heard_us = node->now.mono_us;
    bool news = !peer->greeted || !same(peer->identity, hello.identity);
    if (identity_is_zero(hello.identity) || same(hello.identity, node->options.identity))
        return; /* itself, under another number */
    memcpy(peer->identity, hello.identity, IDENTITY_BYTES);
    memcpy(peer->cluster, hello.cluster, IDENTITY_BYTES);
    peer->incarnation = hello.incarnation;
    peer->feature_max = hello.feature_max;
    peer->greeted = true;
    peer->back_off_us = NODE_DIAL_FIRST_US;
    if (departed(node, slot)) {
        close_departed(node, slot, out);
        return;
    }
    if (news && !peer->twins_until_us) {
        raft_link_up(node->raft, slot, peer->identity, node->now, out);
        if (slot == raft_leader(node->raft))
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
        !node->peers[hello.slot].known)
        return false;
    if (same(hello.identity, node->options.identity)) {
        twins_told(node, hello.slot, out);
        return false;
    }
    struct peer *peer = &node->peers[hello.slot];
    uint8_t reply[64];
    answer(node, connection, reply, encode_hello(node, reply, sizeof(reply)), out);
    if (!speaks_ours(node, &hello, out) || is_foreign(node, hello.slot, hello.cluster, out) ||
        !level_known(node, hello.level, out))
        return true;
    session->slot = hello.slot;
    memcpy(session->hash, hello.identity, IDENTITY_BYTES); /* the handshake's hash has served */
    memcpy(session->hash + IDENTITY_BYTES, hello.cluster, IDENTITY_BYTES);
    session->incarnation = hello.incarnation;
    if (peer->in_connection && peer->in_connection != connection + 1 &&
        node->sessions[peer->in_connection - 1].incarnation != hello.incarnation)
        peer->in_other = peer->in_connection;
    peer->in_connection = connection + 1;
    if (peer->link == LINK_IDLE)
        dial(node, hello.slot, out); /* it is there: no need to wait for the back-off */
    else if (peer->link == LINK_UP && peer->incarnation != hello.incarnation)
        peers_ping(node, hello.slot, out); /* is the one before gone? */
    return true;
}

static bool heard_raft(struct node *node, struct session *session, struct slice message,
                       const struct effects *out)
{
    const uint8_t *cluster = session->hash + IDENTITY_BYTES;
    if (twins_refused(node, session))
        return true;
    if (raft_is_blank(node->raft)) {
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
            membership_heard(node, session, out);
        }
        return message.len == 9; /* a foreign node's too: closed, it would only dial again */
    }
    if (!session->slot)
        return false;
    switch (message.data[0]) {
    case WIRE_PEER_PONG:
        if (message.len == 9)
            twins_answered(node, session->slot, false, bytes_get_u64(message.data + 1), out);
        return message.len == 9;
    case WIRE_PEER_TWINS:
        twins_told(node, session->slot, out);
        return true;
    case 1: /* RAFT */
        return heard_raft(node, session, message, out);
    case WIRE_PEER_FORWARD:
        return forward_received(node, session->slot, message, out);
    case WIRE_PEER_RELAY:
        return forward_relayed(node, session->slot, message, out);
    case WIRE_PEER_FETCH:
        return serve_fetch(node, session->slot, message, out);
    case WIRE_PEER_FETCHED:
        if (mend_fetched(node, session->slot, message, out))
            return true;
        return catchup_fetched(node, session->slot, message, out);
    case WIRE_PEER_NACK:
    case WIRE_PEER_REFUSE:
        return forward_nack(node, session->slot, message, out);
    default:
        return false;
    }
}

/* A link from `slot` that is neither `gone` nor, `known` being given, of its process or of another identity than its (both:
 * number + 1). A process that was started anew while a link of its former self was still open took the place of its
 * twin's. */
static uint32_t another_link(const struct node *node, uint8_t slot, uint32_t gone, uint32_t known)
{
    for (uint32_t i = 0; i < node->sessions_used; i++) {
        const struct session *session = &node->sessions[i];
        const struct session *other = known ? &node->sessions[known - 1] : NULL;
        if (session->state == SESSION_NODE && session->slot == slot && i + 1 != gone &&
            (!other ||
             (session->incarnation != other->incarnation && same(session->hash, other->hash))))
            return i + 1;
    }
    return 0;
}

void peers_closed(struct node *node, uint32_t connection)
{
    uint8_t slot = node->sessions[connection].slot;
    struct peer *peer = &node->peers[slot];
    uint32_t gone = connection + 1;
    if (!slot || (peer->in_connection != gone && peer->in_other != gone))
        return;
    if (peer->in_connection == gone)
        peer->in_connection = peer->in_other ? peer->in_other : another_link(node, slot, gone, 0);
    peer->in_other = peer->in_connection ? another_link(node, slot, gone, peer->in_connection) : 0;
}

uint8_t peers_healthy(const struct node *node)
{
    unsigned healthy = 1u << (node->options.slot - 1);
    for (unsigned slot = 1; slot <= LIMIT_NODES; slot++) {
        const struct peer *peer = &node->peers[slot];
        if (peer->known && peer->link == LINK_UP && peer->greeted && !peer->twins_until_us &&
            node->now.mono_us < peer->heard_us + NODE_SILENT_US)
            healthy |= 1u << (slot - 1);
    }
    return (uint8_t)healthy;
}
