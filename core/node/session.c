#include "core/node/state.h"

/* Connections, and what a logged-in client sends: commands. What comes before the login: login.c. */

uint32_t session_number(const struct node *node, const struct session *session)
{
    CHECK(session >= node->sessions);
    return (uint32_t)(session - node->sessions);
}

struct session *session_if_same(struct node *node, uint32_t connection, uint32_t generation)
{
    if (connection >= node->sessions_used)
        return NULL;
    struct session *session = &node->sessions[connection];
    return session->state != SESSION_FREE && session->generation == generation ? session : NULL;
}

struct session *session_of_device(struct node *node, uint32_t number)
{
    const struct chat_device *device = chat_device(node->chat, number);
    uint32_t at = device && device->account ? node->account_sessions[device->account] : 0;
    for (; at; at = node->sessions[at - 1].next_of_account)
        if (node->sessions[at - 1].device == number)
            return &node->sessions[at - 1];
    return NULL;
}

void session_send(struct node *node, struct session *session, struct slice message,
                  const struct effects *out)
{
    CHECK(session->state != SESSION_FREE);
    CHECK(message.len > 0);
    session->unsent += message.len;
    struct effect effect = { .kind = EFFECT_CLIENT_SEND,
                             .send = { .connection = session_number(node, session),
                                       .parts = { message },
                                       .parts_count = 1 } };
    effect_emit(out, &effect);
}

static void unlink_account(struct node *node, struct session *session)
{
    uint32_t number = session_number(node, session) + 1;
    uint32_t *at = &node->account_sessions[session->account];
    while (*at && *at != number)
        at = &node->sessions[*at - 1].next_of_account;
    CHECK(*at == number);
    *at = session->next_of_account;
}

/* The connection is gone; its commands stay in the queue until apply answers them. */
static void forget(struct node *node, struct session *session)
{
    if (session->state == SESSION_NODE)
        peers_closed(node, session_number(node, session));
    if (session->state == SESSION_CLIENT) {
        unlink_account(node, session);
        stream_closed(node, session);
        node->clients--;
    }
    history_closed(node, session_number(node, session));
    *session = (struct session) { .state = SESSION_FREE };
}

void session_close(struct node *node, struct session *session, bool gracefully,
                   const struct effects *out)
{
    struct effect effect = { .kind = EFFECT_CLIENT_CLOSE,
                             .close = { .connection = session_number(node, session),
                                        .gracefully = gracefully } };
    forget(node, session);
    effect_emit(out, &effect);
}

void session_open(struct node *node, const struct node_event *event, const struct effects *out)
{
    uint32_t connection = event->client.connection;
    CHECK(connection < node->options.connections);
    struct session *session = &node->sessions[connection];
    CHECK(session->state == SESSION_FREE);
    *session = (struct session) { .generation = ++node->generation };
    memcpy(session->hash, event->client.hash, sizeof(session->hash));
    if (connection >= node->sessions_used)
        node->sessions_used = connection + 1;
    switch (event->client.role) {
    case CONNECTION_CLIENT:
        session->state = SESSION_NEW;
        return;
    case CONNECTION_NODE:
        session->state = SESSION_NODE;
        break;
    case CONNECTION_CTL:
        session->state = SESSION_CTL;
        break;
    }
    struct effect effect = { .kind = EFFECT_CLIENT_ADMIT, .close = { .connection = connection } };
    effect_emit(out, &effect);
}

void session_closed(struct node *node, uint32_t connection, const struct effects *out)
{
    (void)out;
    CHECK(connection < node->sessions_used);
    CHECK(node->sessions[connection].state != SESSION_FREE);
    forget(node, &node->sessions[connection]);
}

void session_send_code(struct node *node, struct session *session, enum wire_type type,
                       enum chat_code code, const struct effects *out)
{
    uint8_t message[2] = { (uint8_t)type, (uint8_t)code };
    session_send(node, session, (struct slice) { message, sizeof(message) }, out);
}

/* --- Commands -------------------------------------------------------------------------------- */

void session_answer(struct node *node, struct session *session, uint64_t seq, uint64_t digest,
                    const struct chat_answer *answer, const struct effects *out)
{
    uint8_t name[LIMIT_ROOM_NAME];
    struct wire_answer reply = { .seq = seq,
                                 .digest = digest,
                                 .code = answer->code,
                                 .room_seq = answer->room_seq,
                                 .index = answer->index,
                                 .time_us = answer->time_us };
    if (answer->room)
        reply.room = (struct slice) { name, chat_room_name(node->chat, answer->room,
                                                           session->account, name) };
    uint8_t message[256];
    size_t len = wire_encode_answer(&reply, message, sizeof(message));
    CHECK(len > 0);
    session_send(node, session, (struct slice) { message, len }, out);
}

/* Posts are paced per user: a bucket that fills at posts_per_s and holds ten seconds' worth. */
static bool may_post(struct node *node, uint32_t account)
{
    uint64_t *at = &node->account_credit_at[account];
    uint32_t *credit = &node->account_credit[account];
    uint64_t rate = node->options.posts_per_s;
    uint64_t most = rate * 10;
    uint64_t earned = *at ? (node->now.mono_us - *at) * rate / 1000000 : most;
    if (earned) {
        *credit = (uint32_t)(*credit + earned < most ? *credit + earned : most);
        *at = node->now.mono_us;
    }
    if (!*credit)
        return false;
    --*credit;
    return true;
}

/* CODE_OK: into the queue with it. Only codes that are never final are given without the log. */
static enum chat_code may_take(struct node *node, const struct session *session,
                               const struct command *command, bool counted)
{
    if (!chat_genesis(node->chat)->formed)
        return CODE_FORMING;
    if (raft_view(node->raft).leader_full || node->apply_stalled)
        return CODE_DISK_FULL;
    if (node->stopping)
        return CODE_UNAVAILABLE;
    bool gives_up = command->kind == COMMAND_CLOSE || command->kind == COMMAND_VOID;
    if (!gives_up && !counted && !may_post(node, session->account))
        return CODE_RATE_LIMITED;
    return CODE_OK;
}

/* Also what this node's settings say of it: the log's readers need not have the same ones. */
static void stamp(struct node *node, const struct session *session, const struct command *command,
                  uint8_t *body)
{
    const struct chat_device *device = chat_device(node->chat, session->device);
    CHECK(device && device->account == session->account);
    CHECK(session->account < COMMAND_OVER_LONG);
    bool over_long =
        command->kind == COMMAND_POST && command->text.len > node->options.message_bytes;
    bytes_put_u32(body + COMMAND_ACCOUNT_AT,
                  session->account | (over_long ? COMMAND_OVER_LONG : 0));
    memcpy(body + COMMAND_ACCOUNT_AT + 4, device->key, 8);
}

static void take_command(struct node *node, struct session *session, const struct command *command,
                         struct slice body, uint64_t digest, const struct effects *out)
{
    struct command_target target = { .state = TARGET_UNKNOWN };
    bool deletes = command->kind == COMMAND_DELETE;
    bool found = deletes && target_found(node, session, command, &target);
    struct chat_answer refusal = { .code = may_take(node, session, command, found) };
    if (refusal.code == CODE_OK && deletes && !found) {
        enum target_begun begun = target_begin(node, session, command, body, &target, out);
        if (begun == TARGET_LATER)
            return;
        if (begun == TARGET_BUSY)
            refusal.code = CODE_BUSY;
    }
    if (refusal.code == CODE_OK) {
        uint8_t *copy = node->scratch;
        memcpy(copy, body.data, body.len);
        stamp(node, session, command, copy);
        if (deletes)
            body.len = command_set_target(copy, body.len, &target);
        struct queue_item item = { .device = command->device,
                                   .account = session->account,
                                   .seq = command->seq,
                                   .digest = digest,
                                   .since_us = node->now.mono_us,
                                   .beyond = command->beyond,
                                   .len = (uint32_t)body.len };
        if (forward_push(node, &item, (struct slice) { copy, body.len }))
            return;
        refusal.code = CODE_BUSY;
    }
    session->refused_seq = command->seq;
    session_answer(node, session, command->seq, digest, &refusal, out);
}

/* Next in line here, a repeat of what is queued or answered, or a gap that only the client can close. */
static bool command_received(struct node *node, struct session *session, struct slice message,
                             const struct effects *out)
{
    struct slice body = { message.data + 1, message.len - 1 };
    struct command command;
    if (!command_decode(&command, body) || command.device != session->device)
        return false;
    if (command.kind == COMMAND_POST && command.flags & POST_ERASED)
        return false;
    /* Sent before the refusal of an earlier one arrived: it comes again. Unless that one is answered by now, which
     * its client may not have said yet: a leader that was deposed and did not know it asked for what others had
     * committed. */
    uint64_t done = command.seq - command.beyond;
    const struct chat_device *device = chat_device(node->chat, command.device);
    uint64_t known = device && device->last > done ? device->last : done;
    if (command.seq > session->refused_seq && session->refused_seq > known) {
        session->passed_over = true;
        return true;
    }
    session->refused_seq = 0;
    uint64_t digest = command_digest(&command, node->options.crypto);
    forward_drop_done(node, command.device, done);
    uint32_t last = queue_device_last(node->queue, command.device);
    if (last && queue_at(node->queue, last)->device == command.device) {
        uint64_t expected = queue_at(node->queue, last)->seq + 1;
        if (command.seq == expected) {
            take_command(node, session, &command, body, digest, out);
            return true;
        }
        if (command.seq > expected && done + 1 < expected) {
            forward_nack_client(node, command.device, expected, out);
            return true;
        }
        uint32_t same = forward_find(node, command.device, command.seq);
        if (same) {
            held_offered(node, session, same, done, out);
            return true; /* apply answers it */
        }
    }
    struct chat_answer answer;
    switch (chat_look_up_answer(node->chat, command.device, command.seq, digest, &answer)) {
    case CHAT_REPEATED:
        session_answer(node, session, command.seq, digest, &answer, out);
        return true;
    case CHAT_IGNORED:
        session_device_ended(node, session->account, command.device, out);
        return true;
    default:
        /* Beyond what is applied here: others may have taken what lies between; the leader knows. What is queued
         * here beyond this one lacks it, and comes again after it; what is held stays. */
        if (last)
            forward_drop_device(node, queue_at(node->queue, last)->device);
        take_command(node, session, &command, body, digest, out);
        return true;
    }
}

void session_device_ended(struct node *node, uint32_t account, uint32_t device,
                          const struct effects *out)
{
    forward_end_device(node, device, out);
    for (uint32_t at = account ? node->account_sessions[account] : 0; at;) {
        struct session *session = &node->sessions[at - 1];
        at = session->next_of_account;
        if (session->device != device)
            continue;
        session_send_code(node, session, WIRE_REFUSED, CODE_REVOKED, out);
        session_close(node, session, true, out);
    }
}

static bool after_login(struct node *node, struct session *session, struct slice message,
                        const struct effects *out)
{
    switch (message.data[0]) {
    case WIRE_COMMAND:
        return command_received(node, session, message, out);
    case WIRE_QUERY:
        query_received(node, session, message, out);
        return true;
    case WIRE_PING:
        if (message.len == 9) {
            uint8_t pong[9] = { WIRE_PONG };
            memcpy(pong + 1, message.data + 1, 8);
            session_send(node, session, (struct slice) { pong, sizeof(pong) }, out);
        }
        return message.len == 9;
    default:
        return false;
    }
}

void session_message(struct node *node, uint32_t connection, struct slice message,
                     const struct effects *out)
{
    CHECK(connection < node->sessions_used);
    CHECK(message.len > 0);
    struct session *session = &node->sessions[connection];
    bool good = false;
    switch (session->state) {
    case SESSION_NEW:
        good = login_received(node, session, message, out);
        break;
    case SESSION_CLIENT:
        good = after_login(node, session, message, out);
        break;
    case SESSION_NODE:
        good = peers_heard(node, connection, message, out);
        break;
    case SESSION_CTL:
        good = control_message(node, session, message, out);
        break;
    case SESSION_FREE:
        CHECK(session->state != SESSION_FREE);
    }
    if (!good) {
        struct line line = line_begin("malformed_message");
        line_pair(&line, "type", message.data[0]);
        line_emit(&line, LOG_WARN, out);
        session_close(node, session, false, out);
    }
}

bool node_has_quorum(const struct node *node)
{
    return raft_has_quorum(node->raft) && !node->apply_stalled;
}

struct wire_cluster node_cluster(const struct node *node)
{
    struct raft_view view = raft_view(node->raft);
    return (struct wire_cluster) { .node = node->options.slot,
                                   .leader = view.leader,
                                   .quorum = node_has_quorum(node),
                                   .healthy = peers_healthy(node),
                                   .term = view.term };
}

void session_tell_cluster(struct node *node, const struct effects *out)
{
    struct wire_cluster cluster = node_cluster(node);
    uint8_t message[32];
    size_t len = wire_encode_cluster(&cluster, message, sizeof(message));
    CHECK(len > 0);
    for (uint32_t i = 0; i < node->sessions_used; i++)
        if (node->sessions[i].state == SESSION_CLIENT)
            session_send(node, &node->sessions[i], (struct slice) { message, len }, out);
}
