#include "core/node/state.h"

/* What ctl changes: seats come (a learner first; formation.c promotes it when it has caught up), go,
 * and become vacant for another node. Each change is one entry, and the waiter hears when it is
 * committed. What is refused now and may go later is BUSY or UNAVAILABLE: ctl asks again. And what a
 * node does that is no member any more, and where the ini and the log differ. */

enum { NO_SEAT = LIMIT_NODES };

static struct raft_address address_of(const struct wire_member *wanted)
{
    struct raft_address address = { .port = wanted->port, .host_len = (uint8_t)wanted->host.len };
    CHECK(wanted->host.len <= LIMIT_HOST_BYTES);
    if (wanted->host.len)
        memcpy(address.host, wanted->host.data, wanted->host.len);
    return address;
}

static bool same_address(const struct raft_address *a, const struct raft_address *b)
{
    return a->port == b->port && a->host_len == b->host_len &&
           !memcmp(a->host, b->host, a->host_len);
}

static void log_change(const char *event, uint8_t slot, const struct effects *out)
{
    struct line line = line_begin(event);
    line_pair(&line, "peer", slot);
    line_emit(&line, LOG_INFO, out);
}

/* What a request comes to: an answer at once, or a configuration to be committed. */
struct verdict {
    enum chat_code code;
    const char *why; /* NULL: `config` is to be proposed */
    const char *event;
};

static struct verdict refuse(enum chat_code code, const char *why)
{
    return (struct verdict) { .code = code, .why = why };
}

/* The blank node must be there, for its identity takes the seat. Until ctl gives up asking it is
 * dialled. */
static struct verdict add(struct node *node, const struct wire_member *wanted,
                          struct raft_config *config, unsigned at)
{
    struct raft_member *seat = at < config->count ? &config->members[at] : NULL;
    struct raft_address address = address_of(wanted);
    if (seat && !seat->vacant) {
        if (!address.port || same_address(&address, &seat->address))
            return refuse(CODE_OK, "it is a member already");
        seat->address = address;
        return (struct verdict) { .event = "address_changed" };
    }
    const struct raft_address *ini = peers_ini_address(node, wanted->slot);
    if (!address.port && seat)
        address = seat->address;
    if (!address.port && ini)
        address = *ini;
    if (wanted->slot == node->options.slot)
        return refuse(CODE_UNAVAILABLE, "the leader itself was removed: another one will lead");
    if (!address.port && node->options.addresses)
        return refuse(CODE_BAD_REQUEST, "its address is not known here (give HOST:PORT)");
    node->adding_slot = wanted->slot;
    node->adding_address = address;
    node->adding_until_us = node->now.mono_us + NODE_ADDING_US;
    const struct peer *peer = &node->peers[wanted->slot];
    if (peer->foreign_told)
        return refuse(CODE_FORBIDDEN,
                      "it belongs to another cluster (its data folder is not empty)");
    if (!peer->known || !peer->greeted || peer->link != LINK_UP)
        return refuse(CODE_UNAVAILABLE, "it does not answer (is it started?)");
    if (peer->twins_until_us)
        return refuse(CODE_FORBIDDEN, "two processes run under its identity");
    if (!level_fits(node, wanted->slot))
        return refuse(
            CODE_FORBIDDEN,
            "its version is too old for the cluster's feature level (start the newer one)");
    for (unsigned i = 0; i < config->count; i++)
        if (raft_member_is(&config->members[i], peer->identity))
            return refuse(CODE_FORBIDDEN, "it runs on a copy of another member's data folder");
    if (!seat) {
        CHECK(config->count < LIMIT_NODES);
        seat = &config->members[config->count++];
    }
    *seat = (struct raft_member) { .slot = wanted->slot, .address = address };
    memcpy(seat->identity, peer->identity, IDENTITY_BYTES);
    return (struct verdict) { .event = "learner_added" };
}

/* May the voter in this seat go? */
static struct verdict may_leave(const struct node *node, const struct wire_member *wanted,
                                const struct raft_config *config, const struct raft_member *seat)
{
    if (seat->voter && raft_config_voters(config) == 1)
        return refuse(CODE_FORBIDDEN, "it is the only voter");
    if (seat->voter && !wanted->force && !formation_quorum_without(node, seat->slot))
        return refuse(CODE_FORBIDDEN,
                      "without it too few of the other voters are there for a quorum (start them)");
    return (struct verdict) { .event = "" };
}

static struct verdict remove_seat(struct node *node, const struct wire_member *wanted,
                                  struct raft_config *config, unsigned at)
{
    if (at == NO_SEAT)
        return refuse(CODE_OK, "it is no member");
    struct verdict verdict = may_leave(node, wanted, config, &config->members[at]);
    if (verdict.why)
        return verdict;
    config->members[at] = config->members[--config->count];
    return (struct verdict) { .event = "member_removed" };
}

static struct verdict replace(struct node *node, const struct wire_member *wanted,
                              struct raft_config *config, unsigned at)
{
    if (at == NO_SEAT)
        return refuse(CODE_FORBIDDEN, "it is no member (ftchat ctl add)");
    struct raft_member *seat = &config->members[at];
    struct raft_address address = address_of(wanted);
    bool moves = address.port && !same_address(&address, &seat->address);
    if (seat->vacant && !moves)
        return refuse(CODE_OK, "its seat is vacant already");
    bool lives = seat->slot == node->options.slot || raft_peer_view(node->raft, seat->slot).linked;
    if (lives && !wanted->force)
        return refuse(CODE_FORBIDDEN, "it lives (stop it first)");
    struct verdict verdict = may_leave(node, wanted, config, seat);
    if (verdict.why)
        return verdict;
    if (moves)
        seat->address = address;
    seat->vacant = true;
    seat->voter = false;
    return (struct verdict) { .event = "seat_vacated" };
}

static struct verdict decide(struct node *node, const struct wire_member *wanted,
                             struct raft_config *config)
{
    struct raft_view view = raft_view(node->raft);
    if (view.role != RAFT_LEADER)
        return refuse(CODE_UNAVAILABLE, "this node does not lead");
    if (!chat_genesis(node->chat)->formed)
        return refuse(CODE_FORMING, "the cluster is not formed yet");
    if (!node->admitting || raft_config_pending(node->raft) || node->member_waiter.used)
        return refuse(CODE_BUSY, "another change is being made");
    const struct raft_member *seat = raft_config_find(config, wanted->slot);
    unsigned at = seat ? (unsigned)(seat - config->members) : NO_SEAT;
    switch ((enum wire_member_op)wanted->op) {
    case WIRE_MEMBER_ADD:
        return add(node, wanted, config, at);
    case WIRE_MEMBER_REMOVE:
        return remove_seat(node, wanted, config, at);
    case WIRE_MEMBER_REPLACE:
        return replace(node, wanted, config, at);
    }
    return refuse(CODE_BAD_REQUEST, "no such change");
}

bool membership_change(struct node *node, struct session *session, struct slice message,
                       const struct effects *out)
{
    struct wire_member wanted;
    if (!wire_decode_member(&wanted, message))
        return false;
    struct raft_config config = *raft_latest_config(node->raft);
    struct verdict verdict = decide(node, &wanted, &config);
    peers_refresh(node, out);
    if (!verdict.why && !raft_propose_config(node->raft, &config, node->now))
        verdict = refuse(CODE_BUSY, "the log takes no change now");
    if (verdict.why) {
        control_done(node, session, verdict.code, node->applied, verdict.why, out);
        return true;
    }
    log_change(verdict.event, wanted.slot, out);
    node->adding_slot = 0;
    node->member_waiter =
        (struct waiter) { true, session_number(node, session), session->generation };
    node->member_index = raft_latest_config(node->raft)->index;
    node->member_term = raft_view(node->raft).term;
    return true;
}

static void answer_waiter(struct node *node, const struct effects *out)
{
    struct waiter *waiter = &node->member_waiter;
    if (!waiter->used)
        return;
    struct raft_view view = raft_view(node->raft);
    /* Committed in its own term it is the same entry; a removed leader hears of it no more later. */
    bool done = view.term == node->member_term && view.commit >= node->member_index;
    if (!done && view.role == RAFT_LEADER)
        return;
    struct session *session = session_if_same(node, waiter->connection, waiter->generation);
    waiter->used = false;
    if (session)
        control_done(node, session, done ? CODE_OK : CODE_UNAVAILABLE, node->member_index,
                     done ? "" : "another node leads now (see ftchat ctl members)", out);
}

/* --- the ini against the log -------------------------------------------------------------------*/

static const char *difference(const struct node *node, uint8_t slot)
{
    const struct raft_member *seat = raft_config_find(raft_latest_config(node->raft), slot);
    bool in_ini = node->options.peers >> (slot - 1) & 1;
    const struct raft_address *ini = peers_ini_address(node, slot);
    if (seat && !in_ini)
        return "a member that the ini does not name";
    if (!seat && in_ini)
        return "in the ini, and no member";
    if (seat && ini && seat->address.port && !same_address(&seat->address, ini))
        return "the ini says another address than the log";
    return NULL;
}

static void compare_ini(struct node *node, const struct effects *out)
{
    node->ini_differs = 0;
    for (uint8_t slot = 1; slot <= LIMIT_NODES; slot++) {
        const char *why = difference(node, slot);
        if (!why)
            continue;
        node->ini_differs |= (uint8_t)(1u << (slot - 1));
        struct line line = line_begin("ini_differs");
        line_pair(&line, "peer", slot);
        line_add(&line, " why=\"");
        line_add(&line, why);
        line_add(&line, "\"");
        line_emit(&line, LOG_WARN, out);
    }
}

/* --- no member any more ------------------------------------------------------------------------*/

void membership_heard(struct node *node, struct session *session, const struct effects *out)
{
    const struct raft_config *config = raft_latest_config(node->raft);
    const struct raft_member *seat = raft_config_find(config, session->slot);
    const uint8_t *cluster = session->hash + IDENTITY_BYTES;
    if (!session->slot || !config->index || raft_config_pending(node->raft) || node->removed)
        return;
    if (raft_member_is(seat, session->hash) ||
        memcmp(cluster, raft_cluster(node->raft), IDENTITY_BYTES) != 0)
        return;
    if (!raft_member_is(raft_config_find(config, node->options.slot), node->options.identity))
        return; /* who is none itself does not judge */
    /* As of all that is committed here: it may hold a change that was to take it back and never came true. */
    uint8_t message[9] = { WIRE_PEER_NOT_MEMBER };
    bytes_put_u64(message + 1, raft_commit(node->raft));
    session_send(node, session, (struct slice) { message, sizeof(message) }, out);
}

/* A leader that sends entries knows better than a peer that is behind. */
void membership_told(struct node *node, uint8_t by, uint64_t index, const struct effects *out)
{
    struct raft_view view = raft_view(node->raft);
    (void)out;
    if (view.blank || raft_has_quorum(node->raft) || !node->peers[by].greeted)
        return;
    if (index >= raft_latest_config(node->raft)->index && index > node->removed_at)
        node->removed_at = index;
}

static void step_out(struct node *node, const struct effects *out)
{
    struct line line = line_begin("removed");
    line_pair(&line, "index", node->removed_at);
    if (node_held(node)) /* nothing is lost: each is in its author's outbox, too, until it ends */
        line_pair(&line, "held", node_held(node));
    line_add(&line,
             " why=\"this node is no member of its cluster any more: stop it; to use the host "
             "again, empty its data folder, start it and: ftchat ctl add\"");
    line_emit(&line, LOG_ALARM, out);
    uint8_t goaway[1] = { WIRE_GOAWAY };
    for (uint32_t i = 0; i < node->sessions_used; i++) {
        if (node->sessions[i].state != SESSION_CLIENT)
            continue;
        session_send(node, &node->sessions[i], (struct slice) { goaway, 1 }, out);
        session_close(node, &node->sessions[i], true, out);
    }
}

void membership_turn(struct node *node, const struct effects *out)
{
    struct raft_view view = raft_view(node->raft);
    const struct raft_config *config = raft_latest_config(node->raft);
    answer_waiter(node, out);
    if (node->adding_slot && node->now.mono_us >= node->adding_until_us)
        node->adding_slot = 0;
    peers_refresh(node, out);
    if (config->index != node->seen_config && !raft_config_pending(node->raft) &&
        chat_genesis(node->chat)->formed) {
        node->seen_config = config->index;
        compare_ini(node, out);
    }
    bool removed = node->removed_at && config->index <= node->removed_at && !view.blank &&
                   !raft_has_quorum(node->raft);
    if (removed && !node->removed)
        step_out(node, out);
    if (node->removed && !removed) {
        node->removed_at = 0;
        struct line line = line_begin("member_again");
        line_emit(&line, LOG_INFO, out);
    }
    node->removed = removed;
    if (node->told_twins_until_us && node->now.mono_us >= node->told_twins_until_us)
        node->told_twins_until_us = 0;
    raft_stand_aside(node->raft, removed || node->told_twins_until_us, node->now);
}

/* --- looking -----------------------------------------------------------------------------------*/

void membership_members(struct node *node, struct session *session, const struct effects *out)
{
    struct raft_view view = raft_view(node->raft);
    const struct raft_config *config = raft_latest_config(node->raft);
    struct wire_members members = { .node = node->options.slot,
                                    .leader = view.leader,
                                    .leads =
                                        view.role == RAFT_LEADER && raft_has_quorum(node->raft),
                                    .pending = raft_config_pending(node->raft),
                                    .formed = chat_genesis(node->chat)->formed,
                                    .ini_differs = node->ini_differs,
                                    .index = config->index,
                                    .last_index = view.last_index,
                                    .count = config->count };
    memcpy(members.cluster, raft_cluster(node->raft), IDENTITY_BYTES);
    for (unsigned i = 0; i < config->count; i++) {
        const struct raft_member *member = &config->members[i];
        bool own = raft_member_is(member, node->options.identity);
        struct raft_peer_view peer = raft_peer_view(node->raft, member->slot);
        struct wire_seat *seat = &members.seats[i];
        *seat = (struct wire_seat) { .slot = member->slot,
                                     .role = member->vacant  ? SEAT_VACANT
                                             : member->voter ? SEAT_VOTER
                                                             : SEAT_LEARNER,
                                     .linked = own || peer.linked,
                                     .match = own ? view.durable : peer.match,
                                     .port = member->address.port,
                                     .host = { (const uint8_t *)member->address.host,
                                               member->address.host_len } };
        memcpy(seat->identity, member->identity, IDENTITY_BYTES);
    }
    size_t len = wire_encode_members(&members, node->scratch, NODE_PAGE_BYTES);
    CHECK(len > 0);
    session_send(node, session, (struct slice) { node->scratch, len }, out);
}
