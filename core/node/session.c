#include "core/node/state.h"

/* A client's connection from its first message to its end: salt, enrolling, login, commands. What a stranger can make
 * this node do before its login is bounded: one reply per message, one signature check per attempt, registrations by a
 * token bucket. */

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
    query_closed(node, session_number(node, session));
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

static void send_code(struct node *node, struct session *session, enum wire_type type,
                      enum chat_code code, const struct effects *out)
{
    uint8_t message[2] = { (uint8_t)type, (uint8_t)code };
    session_send(node, session, (struct slice) { message, sizeof(message) }, out);
}

/* --- Before the login ------------------------------------------------------------------------ */

/* The same answer in form and time for every name, existing or not. */
static bool salt(struct node *node, struct session *session, struct slice message,
                 const struct effects *out)
{
    struct reader reader = reader_of(message.data + 1, message.len - 1);
    struct slice name = read_slice8(&reader);
    uint8_t folded[LIMIT_USER_NAME];
    size_t len = reader_finished(&reader) ? name_fold_user(name, folded) : 0;
    if (!reader_finished(&reader))
        return false;
    if (!chat_genesis(node->chat)->done || !len) {
        send_code(node, session, WIRE_REFUSED, len ? CODE_FORMING : CODE_BAD_NAME, out);
        return true;
    }
    uint8_t hash[HASH_BYTES];
    node->options.crypto->hash(hash, chat_genesis(node->chat)->secret, 32, folded, len);
    uint8_t reply[1 + WIRE_SALT_BYTES + 12];
    struct writer writer = writer_of(reply, sizeof(reply));
    write_u8(&writer, WIRE_SALT_IS);
    write_copy(&writer, hash, WIRE_SALT_BYTES);
    write_u32(&writer, WIRE_ARGON_PASSES);
    write_u64(&writer, WIRE_ARGON_BYTES);
    CHECK(!writer.full);
    session_send(node, session, (struct slice) { reply, sizeof(reply) }, out);
    struct effect effect = { .kind = EFFECT_CLIENT_DEADLINE,
                             .deadline = { session_number(node, session), NODE_LOGIN_US } };
    effect_emit(out, &effect);
    return true;
}

void session_enrolled(struct node *node, struct session *session, enum chat_code code,
                      uint32_t device, uint64_t index, const struct effects *out)
{
    uint8_t message[14] = { WIRE_ENROLLED, (uint8_t)code };
    bytes_put_u32(message + 2, code == CODE_OK ? device : 0);
    bytes_put_u64(message + 6, index);
    session_send(node, session, (struct slice) { message, sizeof(message) }, out);
}

/* A bucket that fills at registrations_per_min and holds a minute's worth. */
static bool may_register(struct node *node)
{
    uint64_t minute = 60000000;
    uint64_t cost = minute / node->options.registrations_per_min;
    uint64_t passed = node->now.mono_us - node->register_at_us;
    node->register_tokens_us += passed;
    if (node->register_tokens_us > minute || !node->register_at_us)
        node->register_tokens_us = minute;
    node->register_at_us = node->now.mono_us;
    if (node->register_tokens_us < cost)
        return false;
    node->register_tokens_us -= cost;
    return true;
}

/* A node that hears no leader may be behind: only what it is sure of is a final answer. */
static enum chat_code registration_code(struct node *node, const struct wire_enrol *enrol,
                                        uint32_t account)
{
    if (account)
        return memcmp(chat_account(node->chat, account)->key, enrol->account_key, PUBLIC_KEY_BYTES)
                   ? CODE_BAD_PASSWORD
                   : CODE_OK;
    if (!raft_view(node->raft).quorum)
        return CODE_UNAVAILABLE;
    if (!enrol->is_register)
        return CODE_BAD_PASSWORD;
    if (node->options.registration_closed)
        return CODE_REGISTRATION_CLOSED;
    if (!node->options.registration_open && !enrol->token.len)
        return CODE_REGISTRATION_CLOSED;
    return may_register(node) ? CODE_OK : CODE_RATE_LIMITED;
}

static bool signed_right(struct node *node, const struct session *session, const char *label,
                         const uint8_t *device_key, const uint8_t *signature, const uint8_t *key)
{
    uint8_t text[32 + 32 + PUBLIC_KEY_BYTES];
    struct writer writer = writer_of(text, sizeof(text));
    write_copy(&writer, label, strlen(label));
    write_copy(&writer, session->hash, sizeof(session->hash));
    if (device_key)
        write_copy(&writer, device_key, PUBLIC_KEY_BYTES);
    CHECK(!writer.full);
    return node->options.crypto->verify(signature, text, writer_used(&writer), key);
}

static void propose_enrol(struct node *node, struct session *session, const struct wire_enrol *in,
                          struct slice name, const struct effects *out)
{
    uint8_t token_hash[HASH_BYTES] = { 0 };
    struct command command = { .kind = COMMAND_ENROL,
                               .name = name,
                               .account_key = in->account_key,
                               .device_key = in->device_key,
                               .token_hash = token_hash };
    if (in->is_register)
        command.flags |= ENROL_REGISTER;
    if (in->is_register && !node->options.registration_open)
        command.flags |= ENROL_NEEDS_TOKEN;
    if (in->token.len)
        node->options.crypto->hash(token_hash, NULL, 0, in->token.data, in->token.len);
    if (!forward_command(node, &command, session))
        session_enrolled(node, session, CODE_BUSY, 0, 0, out);
}

static bool enrol(struct node *node, struct session *session, struct slice message,
                  const struct effects *out)
{
    struct wire_enrol in;
    uint8_t folded[LIMIT_USER_NAME];
    if (!wire_decode_enrol(&in, message))
        return false;
    struct slice name = { folded, name_fold_user(in.name, folded) };
    enum chat_code code = CODE_OK;
    if (!chat_genesis(node->chat)->done)
        code = CODE_FORMING;
    else if (!name.len)
        code = CODE_BAD_NAME;
    else if (!signed_right(node, session, WIRE_ENROL_LABEL, in.device_key, in.signature,
                           in.account_key))
        code = CODE_BAD_PASSWORD;
    else
        code = registration_code(node, &in, chat_find_account(node->chat, name));
    if (code != CODE_OK)
        session_enrolled(node, session, code, 0, 0, out);
    else
        propose_enrol(node, session, &in, name, out);
    return true;
}

static void become_client(struct node *node, struct session *session, uint32_t number,
                          const struct wire_login *login, const struct effects *out)
{
    struct session *before = session_of_device(node, number);
    if (before && before != session)
        session_close(node, before, true, out); /* the client is here now */
    const struct chat_device *device = chat_device(node->chat, number);
    session->state = SESSION_CLIENT;
    session->device = number;
    session->account = device->account;
    session->next_of_account = node->account_sessions[device->account];
    node->account_sessions[device->account] = session_number(node, session) + 1;
    node->clients++;
    struct effect effect = { .kind = EFFECT_CLIENT_ADMIT,
                             .close = { .connection = session_number(node, session) } };
    effect_emit(out, &effect);
    struct raft_view view = raft_view(node->raft);
    const struct chat_account *account = chat_account(node->chat, device->account);
    struct wire_ready ready = { .node = node->options.slot,
                                .leader = view.leader,
                                .quorum = view.quorum,
                                .stale = node->applied < login->floor_index,
                                .device = number,
                                .last = device->last,
                                .applied = node->applied,
                                .message_bytes = node->options.message_bytes,
                                .user = { account->name, account->name_len } };
    uint8_t reply[128];
    size_t len = wire_encode_ready(&ready, reply, sizeof(reply));
    CHECK(len > 0);
    session_send(node, session, (struct slice) { reply, len }, out);
    uint64_t resume = login->resume_index ? login->resume_index : device->enrolled_index;
    if (login->stream)
        stream_begin(node, session, resume, out);
}

static bool login(struct node *node, struct session *session, struct slice message,
                  const struct effects *out)
{
    struct wire_login in;
    if (!wire_decode_login(&in, message))
        return false;
    uint32_t number = chat_find_device(node->chat, in.device_key);
    const struct chat_device *device = number ? chat_device(node->chat, number) : NULL;
    if (!signed_right(node, session, WIRE_LOGIN_LABEL, NULL, in.signature, in.device_key)) {
        send_code(node, session, WIRE_REFUSED, CODE_BAD_PASSWORD, out);
        return true;
    }
    if (!device || !device->account) {
        /* Ended, or not known here yet: a node that is behind what the client saw cannot tell. */
        bool behind = node->applied < in.floor_index || !raft_view(node->raft).quorum;
        send_code(node, session, WIRE_REFUSED, behind ? CODE_UNAVAILABLE : CODE_REVOKED, out);
        return true;
    }
    become_client(node, session, number, &in, out);
    return true;
}

static bool before_login(struct node *node, struct session *session, struct slice message,
                         const struct effects *out)
{
    switch (message.data[0]) {
    case WIRE_SALT:
        return salt(node, session, message, out);
    case WIRE_ENROL:
        return enrol(node, session, message, out);
    case WIRE_LOGIN:
        return login(node, session, message, out);
    default:
        return false;
    }
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
                               const struct command *command)
{
    if (!chat_genesis(node->chat)->formed)
        return CODE_FORMING;
    if (raft_view(node->raft).disk_full)
        return CODE_DISK_FULL;
    if (node->stopping)
        return CODE_UNAVAILABLE;
    if (command->kind == COMMAND_POST && !may_post(node, session->account))
        return CODE_RATE_LIMITED;
    return CODE_OK;
}

static void stamp(struct node *node, const struct session *session, uint8_t *body)
{
    const struct chat_device *device = chat_device(node->chat, session->device);
    CHECK(device && device->account == session->account);
    bytes_put_u32(body + COMMAND_ACCOUNT_AT, session->account);
    memcpy(body + COMMAND_ACCOUNT_AT + 4, device->key, 8);
}

static void take_command(struct node *node, struct session *session, const struct command *command,
                         struct slice body, uint64_t digest, const struct effects *out)
{
    struct chat_answer refusal = { .code = may_take(node, session, command) };
    if (refusal.code == CODE_OK) {
        uint8_t *copy = node->scratch;
        memcpy(copy, body.data, body.len);
        stamp(node, session, copy);
        struct queue_item item = { .device = command->device,
                                   .seq = command->seq,
                                   .digest = digest,
                                   .since_us = node->now.mono_us,
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
    if (session->refused_seq && command.seq > session->refused_seq)
        return true; /* sent before the refusal of an earlier one arrived: it comes again */
    session->refused_seq = 0;
    uint64_t digest = command_digest(&command, node->options.crypto);
    uint32_t first = queue_device_first(node->queue, command.device);
    uint32_t last = queue_device_last(node->queue, command.device);
    if (first && queue_at(node->queue, first)->device == command.device) {
        uint64_t expected = queue_at(node->queue, last)->seq + 1;
        if (command.seq == expected) {
            take_command(node, session, &command, body, digest, out);
            return true;
        }
        if (command.seq > expected)
            return true; /* the one before was refused for now: the client sends from there */
        if (command.seq >= queue_at(node->queue, first)->seq)
            return true; /* it is queued here: apply answers it */
    }
    struct chat_answer answer;
    switch (chat_look_up_answer(node->chat, command.device, command.seq, digest, &answer)) {
    case CHAT_REPEATED:
        session_answer(node, session, command.seq, digest, &answer, out);
        return true;
    case CHAT_IGNORED:
        session_device_ended(node, command.device, out);
        return true;
    default:
        /* Beyond what is applied here: others may have taken what lies between; the leader knows. */
        if (!first || queue_at(node->queue, first)->device != command.device)
            take_command(node, session, &command, body, digest, out);
        return true;
    }
}

void session_device_ended(struct node *node, uint32_t device, const struct effects *out)
{
    forward_drop_device(node, device);
    for (uint32_t i = 0; i < node->sessions_used; i++) {
        struct session *session = &node->sessions[i];
        if (session->state != SESSION_CLIENT || session->device != device)
            continue;
        send_code(node, session, WIRE_REFUSED, CODE_REVOKED, out);
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
        good = before_login(node, session, message, out);
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

struct wire_cluster node_cluster(const struct node *node)
{
    struct raft_view view = raft_view(node->raft);
    return (struct wire_cluster) { .node = node->options.slot,
                                   .leader = view.leader,
                                   .quorum = view.quorum,
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
