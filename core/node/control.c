#include "core/node/state.h"

/* What ctl asks over its authenticated channel: it holds the cluster's secret, so it is believed. */

void control_done(struct node *node, struct session *session, enum chat_code code, uint64_t index,
                  const char *why, const struct effects *out)
{
    uint8_t message[300];
    struct writer writer = writer_of(message, sizeof(message));
    write_u8(&writer, WIRE_DONE);
    write_u8(&writer, (uint8_t)code);
    write_u64(&writer, index);
    write_slice8(&writer, why, strlen(why));
    CHECK(!writer.full);
    session_send(node, session, (struct slice) { message, writer_used(&writer) }, out);
}

static struct waiter wait_for(const struct node *node, const struct session *session)
{
    return (struct waiter) { true, session_number(node, session), session->generation };
}

static void finish(struct node *node, struct waiter *waiter, enum chat_code code, const char *why,
                   const struct effects *out)
{
    struct session *session = session_if_same(node, waiter->connection, waiter->generation);
    waiter->used = false;
    if (session)
        control_done(node, session, code, node->applied, why, out);
}

static uint8_t role_of(const struct node *node, const struct raft_view *view)
{
    const struct raft_member *self =
        raft_config_find(raft_latest_config(node->raft), node->options.slot);
    if (view->blank)
        return ROLE_BLANK;
    if (view->role == RAFT_LEADER)
        return ROLE_LEADER;
    if (node->removed)
        return ROLE_REMOVED;
    if (!raft_member_is(self, node->options.identity) || !self->voter)
        return ROLE_LEARNER;
    return view->role == RAFT_FOLLOWER ? ROLE_FOLLOWER : ROLE_CANDIDATE;
}

static void fill_members(const struct node *node, struct wire_status *status)
{
    const struct raft_config *config = raft_latest_config(node->raft);
    for (unsigned i = 0; i < config->count; i++) {
        unsigned bit = 1u << (config->members[i].slot - 1);
        if (config->members[i].vacant)
            continue;
        status->members |= (uint8_t)bit;
        if (config->members[i].voter)
            status->voters |= (uint8_t)bit;
    }
}

/* The leader's to its nearest majority is what a write costs; a follower's is to its leader. */
static uint64_t round_trip_us(const struct node *node, const struct raft_view *view)
{
    uint64_t best = 0;
    for (uint8_t slot = 1; slot <= LIMIT_NODES; slot++) {
        if (!node->peers[slot].greeted || (view->role != RAFT_LEADER && slot != view->leader))
            continue;
        uint64_t rtt = raft_peer_view(node->raft, slot).rtt_us;
        if (rtt && (!best || rtt < best))
            best = rtt;
    }
    return best;
}

static void status(struct node *node, struct session *session, const struct effects *out)
{
    struct raft_view view = raft_view(node->raft);
    const struct node_gauges *gauges = &node->gauges;
    struct wire_status status = {
        .node = node->options.slot,
        .role = role_of(node, &view),
        .quorum = raft_has_quorum(node->raft),
        .formed = chat_genesis(node->chat)->formed,
        .disk_full = view.disk_full,
        .leader = view.leader,
        .healthy = peers_healthy(node),
        .term = view.term,
        .commit = view.commit,
        .applied = node->applied,
        .last_index = view.last_index,
        .lag = view.commit - node->applied,
        .held = queue_held_count(node->queue),
        .clients = node->clients,
        .rtt_us = round_trip_us(node, &view),
        .fsync_p50_us = gauges->fsync_p50_us,
        .fsync_p99_us = gauges->fsync_p99_us,
        .disk_free_bytes = gauges->disk_free_bytes,
        .rss_bytes = gauges->rss_bytes,
        .uptime_s = (node->now.mono_us - node->started_us) / 1000000,
        .pid = gauges->pid,
        .feature_level = chat_genesis(node->chat)->level,
        .feature_max = node->options.feature_max,
        .damaged = mend_open(node),
        .mended = node->mending.mended,
        .proved = node->mending.rounds ? node->mending.rounds - 1 : 0,
        .elections = node->elections,
        .accepted = gauges->accepted,
        .refused_cap = gauges->refused_cap,
        .refused_deadline = gauges->refused_deadline,
        .refused_garbage = gauges->refused_garbage,
        .refused_truncated = gauges->refused_truncated,
        .refused_oversized = gauges->refused_oversized,
        .version = node->options.version,
        .twins = node->told_twins_until_us != 0,
        .ini_differs = node->ini_differs,
    };
    memcpy(status.identity, node->options.identity, IDENTITY_BYTES);
    memcpy(status.cluster, raft_cluster(node->raft), IDENTITY_BYTES);
    fill_members(node, &status);
    uint8_t message[512];
    size_t len = wire_encode_status(&status, message, sizeof(message));
    CHECK(len > 0);
    session_send(node, session, (struct slice) { message, len }, out);
}

/* Makes a blank node the first of a cluster; on the node that already is, it waits for the rest like the first time. */
static bool form(struct node *node, struct session *session, struct slice message,
                 const struct effects *out)
{
    struct reader reader = reader_of(message.data + 1, message.len - 1);
    const uint8_t *cluster = read_bytes(&reader, IDENTITY_BYTES);
    const uint8_t *secret = read_bytes(&reader, 32);
    uint8_t slots = read_u8(&reader);
    uint64_t segment_bytes = read_u64(&reader);
    if (!reader_finished(&reader))
        return false;
    if (chat_genesis(node->chat)->formed) {
        control_done(node, session, CODE_OK, node->applied, "already formed", out);
        return true;
    }
    if (!(slots >> (node->options.slot - 1) & 1) || (slots & ~node->options.peers)) {
        control_done(node, session, CODE_BAD_REQUEST, 0,
                     "the list must hold this node and only nodes of its ini", out);
        return true;
    }
    if (raft_is_blank(node->raft)) {
        if (identity_is_zero(cluster))
            return false;
        formation_begin(node, cluster, secret, slots, segment_bytes, out);
    } else if (!chat_genesis(node->chat)->done) {
        node->genesis_due = true; /* it died between its first entry and this one */
        node->genesis_slots = slots;
        node->genesis_segment_bytes = segment_bytes;
        memcpy(node->genesis_secret, secret, sizeof(node->genesis_secret));
    }
    if (node->form_waiter.used)
        finish(node, &node->form_waiter, CODE_BUSY, "another form took over", out);
    node->form_waiter = wait_for(node, session);
    return true;
}

static bool invite(struct node *node, struct session *session, struct slice message,
                   const struct effects *out)
{
    struct reader reader = reader_of(message.data + 1, message.len - 1);
    struct command command = { .kind = COMMAND_INVITE };
    command.token_hash = read_bytes(&reader, HASH_BYTES);
    command.uses = read_u32(&reader);
    uint64_t lifetime_us = read_u64(&reader);
    if (!reader_finished(&reader))
        return false;
    command.expires_us =
        lifetime_us > UINT64_MAX - node->now.wall_us ? UINT64_MAX : node->now.wall_us + lifetime_us;
    if (!chat_genesis(node->chat)->done)
        control_done(node, session, CODE_FORMING, 0, "the cluster is not formed yet", out);
    else if (!forward_command(node, &command, session))
        control_done(node, session, CODE_BUSY, 0, "the queue is full", out);
    return true;
}

static bool health(struct node *node, struct session *session, const struct effects *out)
{
    struct command command = { .kind = COMMAND_HEALTH };
    if (raft_is_blank(node->raft))
        control_done(node, session, CODE_FORMING, 0, "the node is blank", out);
    else if (!forward_command(node, &command, session))
        control_done(node, session, CODE_BUSY, 0, "the queue is full", out);
    return true;
}

static bool verify(struct node *node, struct session *session, const struct effects *out)
{
    if (raft_is_blank(node->raft)) {
        control_done(node, session, CODE_OK, 0, "blank: nothing to prove", out);
        return true;
    }
    if (node->verify_waiter.used)
        finish(node, &node->verify_waiter, CODE_BUSY, "another verify took over", out);
    node->verify_waiter = wait_for(node, session);
    mend_prove_all(node);
    return true;
}

static void verify_turn(struct node *node, const struct effects *out)
{
    uint64_t found, open;
    if (!node->verify_waiter.used || !mend_proved_all(node, &found, &open))
        return;
    struct line line = { .len = 0 };
    line_add_number(&line, found);
    line_add(&line, found == 1 ? " damage found, " : " damages found, ");
    line_add_number(&line, open);
    line_add(&line, open == 1 ? " file not mended yet" : " files not mended yet");
    struct session *session =
        session_if_same(node, node->verify_waiter.connection, node->verify_waiter.generation);
    node->verify_waiter.used = false;
    if (session)
        control_done(node, session, CODE_OK, found + open, line.text, out);
}

static bool transfer(struct node *node, struct session *session, struct slice message,
                     const struct effects *out)
{
    if (message.len != 2)
        return false;
    uint8_t slot = message.data[1];
    if (raft_view(node->raft).role != RAFT_LEADER)
        control_done(node, session, CODE_UNAVAILABLE, 0, "this node does not lead", out);
    else if (slot == node->options.slot)
        control_done(node, session, CODE_OK, node->applied, "it leads already", out);
    else if (slot > LIMIT_NODES || !raft_transfer(node->raft, slot, node->now, out))
        control_done(node, session, CODE_UNAVAILABLE, 0, "no such voter, or it is not caught up",
                     out);
    else {
        if (node->transfer_waiter.used)
            finish(node, &node->transfer_waiter, CODE_BUSY, "another transfer took over", out);
        node->transfer_waiter = wait_for(node, session);
    }
    return true;
}

bool control_message(struct node *node, struct session *session, struct slice message,
                     const struct effects *out)
{
    switch (message.data[0]) {
    case WIRE_STATUS:
        status(node, session, out);
        return message.len == 1;
    case WIRE_FORM:
        return form(node, session, message, out);
    case WIRE_INVITE:
        return invite(node, session, message, out);
    case WIRE_HEALTH:
        return message.len == 1 && health(node, session, out);
    case WIRE_VERIFY:
        return message.len == 1 && verify(node, session, out);
    case WIRE_TRANSFER:
        return transfer(node, session, message, out);
    case WIRE_MEMBER:
        return membership_change(node, session, message, out);
    case WIRE_MEMBERS:
        membership_members(node, session, out);
        return message.len == 1;
    case WIRE_LOG:
        return copy_received(node, session, message, out);
    default:
        return false;
    }
}

void control_turn(struct node *node, const struct effects *out)
{
    if (node->form_waiter.used && chat_genesis(node->chat)->formed)
        finish(node, &node->form_waiter, CODE_OK, "", out);
    verify_turn(node, out);
    if (!node->transfer_waiter.used || raft_transferring(node->raft))
        return;
    struct raft_view view = raft_view(node->raft);
    if (view.role == RAFT_LEADER)
        finish(node, &node->transfer_waiter, CODE_UNAVAILABLE, "the other did not take over", out);
    else if (view.leader)
        finish(node, &node->transfer_waiter, CODE_OK, "", out);
}
