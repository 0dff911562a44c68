#include "core/node/state.h"

/* A stranger until its login: salt, enrolling, login. What it can make this node do is bounded: one reply per message, one
 * signature check per attempt, registrations by a token bucket. */

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
        session_send_code(node, session, WIRE_REFUSED, len ? CODE_FORMING : CODE_BAD_NAME, out);
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
    if (session->deadline_moved)
        return true; /* once: else a stranger could stay for ever */
    session->deadline_moved = true;
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

/* A bucket that fills at `per_minute` and holds a minute's worth, in microseconds of credit. */
static bool take_token(struct node *node, struct node_bucket *bucket, uint32_t per_minute)
{
    const uint64_t minute = 60000000;
    uint64_t cost = minute / per_minute;
    bucket->credit_us += node->now.mono_us - bucket->counted_at_us;
    if (bucket->credit_us > minute || !bucket->counted_at_us)
        bucket->credit_us = minute;
    bucket->counted_at_us = node->now.mono_us;
    if (bucket->credit_us < cost)
        return false;
    bucket->credit_us -= cost;
    return true;
}

/* An invite that is not known here is either made up or newer than what is applied here. Few of
 * those go to the log, and they take nothing from the newcomers whose invite is good. */
static bool may_register(struct node *node, const struct wire_enrol *enrol)
{
    uint8_t hash[HASH_BYTES];
    if (!node->options.registration_open) {
        node->options.crypto->hash(hash, NULL, 0, enrol->token.data, enrol->token.len);
        if (!chat_knows_invite(node->chat, hash))
            return take_token(node, &node->unknown_invites, NODE_UNKNOWN_INVITES);
    }
    return take_token(node, &node->registrations, node->options.registrations_per_min);
}

/* A node that hears no leader may be behind: only what it is sure of is a final answer. */
static enum chat_code registration_code(struct node *node, const struct wire_enrol *enrol,
                                        uint32_t account)
{
    if (account &&
        !memcmp(chat_account(node->chat, account)->key, enrol->account_key, PUBLIC_KEY_BYTES))
        return CODE_OK;
    if (!raft_has_quorum(node->raft))
        return CODE_UNAVAILABLE;
    if (account)
        return CODE_BAD_PASSWORD;
    if (!enrol->is_register)
        return CODE_BAD_PASSWORD;
    if (node->options.registration_closed)
        return CODE_REGISTRATION_CLOSED;
    if (!node->options.registration_open && !enrol->token.len)
        return CODE_REGISTRATION_CLOSED;
    return may_register(node, enrol) ? CODE_OK : CODE_RATE_LIMITED;
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
    if (held_enrol(node, in->device_key, session))
        return;
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
    if (node->removed)
        code = CODE_UNAVAILABLE;
    else if (!chat_genesis(node->chat)->done)
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

/* What the client saw of another cluster counts here as far as the two share their history. */
static uint64_t shared_with(const struct node *node, const uint8_t cluster[IDENTITY_BYTES])
{
    if (identity_is_zero(cluster) || !memcmp(cluster, raft_cluster(node->raft), IDENTITY_BYTES))
        return UINT64_MAX;
    return chat_shared_index(node->chat, cluster);
}

static uint64_t lower(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
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
    uint64_t shared = shared_with(node, login->cluster);
    struct wire_ready ready = { .node = node->options.slot,
                                .leader = view.leader,
                                .quorum = node_has_quorum(node),
                                .stale = node->applied < lower(login->floor_index, shared) ||
                                         node->relay,
                                .device = number,
                                .last = device->last,
                                .applied = node->applied,
                                .message_bytes = node->options.message_bytes,
                                .shared_index = shared,
                                .user = { account->name, account->name_len } };
    memcpy(ready.cluster, raft_cluster(node->raft), IDENTITY_BYTES);
    uint8_t reply[160];
    size_t len = wire_encode_ready(&ready, reply, sizeof(reply));
    CHECK(len > 0);
    session_send(node, session, (struct slice) { reply, len }, out);
    uint64_t resume = lower(login->resume_index, shared);
    if (!resume)
        resume = device->enrolled_index;
    if (login->stream)
        stream_begin(node, session, resume, out);
    held_show(node, session, out);
}

static bool login(struct node *node, struct session *session, struct slice message,
                  const struct effects *out)
{
    struct wire_login in;
    if (!wire_decode_login(&in, message))
        return false;
    if (node->removed) {
        session_send_code(node, session, WIRE_REFUSED, CODE_UNAVAILABLE, out);
        return true;
    }
    uint32_t number = chat_find_device(node->chat, in.device_key);
    const struct chat_device *device = number ? chat_device(node->chat, number) : NULL;
    if (!signed_right(node, session, WIRE_LOGIN_LABEL, NULL, in.signature, in.device_key)) {
        session_send_code(node, session, WIRE_REFUSED, CODE_BAD_PASSWORD, out);
        return true;
    }
    if (!device || !device->account) {
        /* Ended, or not known here yet: a node that is behind what the client saw cannot tell. */
        uint64_t floor = lower(in.floor_index, shared_with(node, in.cluster));
        bool behind = node->applied < floor || !raft_has_quorum(node->raft);
        session_send_code(node, session, WIRE_REFUSED, behind ? CODE_UNAVAILABLE : CODE_REVOKED,
                          out);
        return true;
    }
    become_client(node, session, number, &in, out);
    return true;
}

bool login_received(struct node *node, struct session *session, struct slice message,
                    const struct effects *out)
{
    if (session->attempts++ >= NODE_LOGIN_MESSAGES)
        return false;
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
