#include "core/client/client_private.h"

static void enter(struct client *client, enum client_phase phase, uint64_t reply_us)
{
    client->phase = phase;
    client->phase_deadline = reply_us ? client->now.mono_us + reply_us : 0;
}

/* label || handshake hash [|| device key]: good for one purpose on one connection only. */
static void sign(const struct client *client, const char *label, size_t label_len,
                 const uint8_t *device_public, const uint8_t *secret_key,
                 uint8_t signature[SIGNATURE_BYTES])
{
    uint8_t data[32 + HASH_BYTES + PUBLIC_KEY_BYTES];
    struct writer writer = writer_of(data, sizeof data);
    write_copy(&writer, label, label_len);
    write_copy(&writer, client->handshake_hash, HASH_BYTES);
    if (device_public)
        write_copy(&writer, device_public, PUBLIC_KEY_BYTES);
    CHECK(!writer.full);
    client->crypto->sign(signature, data, writer_used(&writer), secret_key);
}

static void send_login(struct client *client, const struct client_effects *out)
{
    uint8_t signature[SIGNATURE_BYTES];
    sign(client, WIRE_LOGIN_LABEL, sizeof WIRE_LOGIN_LABEL - 1, NULL, client->device_key,
         signature);
    struct wire_login login = {
        .device_key = client->device_key + 32,
        .signature = signature,
        .stream = client->stream,
        .resume_index = client->cursor,
        .floor_index = client->floor,
    };
    memcpy(login.cluster, client->cluster, IDENTITY_BYTES);
    uint8_t buf[256];
    size_t len = wire_encode_login(&login, buf, sizeof buf);
    CHECK(len > 0);
    client_transmit(out, buf, len);
    enter(client, PHASE_LOGIN, CLIENT_REPLY_US);
}

static void send_enrol(struct client *client, const struct client_effects *out)
{
    CHECK(client->has_account_key);
    uint8_t signature[SIGNATURE_BYTES];
    sign(client, WIRE_ENROL_LABEL, sizeof WIRE_ENROL_LABEL - 1, client->device_key + 32,
         client->account_key, signature);
    struct wire_enrol enrol = {
        .is_register = client->is_register,
        .name = { client->user, client->user_len },
        .account_key = client->account_key + 32,
        .device_key = client->device_key + 32,
        .token = { client->token, client->token_len },
        .signature = signature,
    };
    uint8_t buf[512];
    size_t len = wire_encode_enrol(&enrol, buf, sizeof buf);
    CHECK(len > 0);
    client_transmit(out, buf, len);
    enter(client, PHASE_ENROLLING, CLIENT_ENROL_US);
}

void login_connected(struct client *client, const uint8_t *handshake_hash,
                     const struct client_effects *out)
{
    CHECK(handshake_hash != NULL);
    memcpy(client->handshake_hash, handshake_hash, HASH_BYTES);
    if (client->device != 0) {
        send_login(client, out);
    } else if (client->has_account_key) {
        send_enrol(client, out);
    } else if (client->deriving) {
        enter(client, PHASE_DERIVING, 0);
    } else {
        uint8_t buf[2 + LIMIT_USER_NAME];
        struct writer writer = writer_of(buf, sizeof buf);
        write_u8(&writer, WIRE_SALT);
        write_slice8(&writer, client->user, client->user_len);
        CHECK(!writer.full);
        client_transmit(out, buf, writer_used(&writer));
        enter(client, PHASE_SALT, CLIENT_REPLY_US);
    }
}

static bool salt_is(struct client *client, struct slice message, const struct client_effects *out)
{
    struct client_effect effect = { .kind = CLIENT_DERIVE };
    struct reader reader = reader_of(message.data, message.len);
    (void)read_u8(&reader);
    read_copy(&reader, effect.derive.salt, WIRE_SALT_BYTES);
    effect.derive.passes = read_u32(&reader);
    effect.derive.memory_bytes = read_u64(&reader);
    if (!reader_finished(&reader))
        return false;
    /* A server that asks for less wants to guess the password; for more, to stop this host. */
    if (effect.derive.passes < CLIENT_PASSES_MIN || effect.derive.passes > CLIENT_PASSES_MAX ||
        effect.derive.memory_bytes < CLIENT_MEMORY_MIN ||
        effect.derive.memory_bytes > CLIENT_MEMORY_MAX)
        return false;
    enter(client, PHASE_DERIVING, 0);
    client->deriving = true;
    client_emit(out, &effect);
    return true;
}

void login_derived(struct client *client, const struct client_event *event,
                   const struct client_effects *out)
{
    CHECK(client->deriving);
    client->deriving = false;
    if (event->derived.failed) {
        client->phase = PHASE_STOPPED;
        struct client_effect effect = { .kind = CLIENT_EXIT };
        effect.exit.status = 4;
        effect.exit.left = client->waiting;
        client_emit(out, &effect);
        return;
    }
    memcpy(client->account_key, event->derived.secret_key, SECRET_KEY_BYTES);
    client->has_account_key = true;
    if (client->phase == PHASE_DERIVING)
        send_enrol(client, out);
}

/* The answer to the login will never be another one. */
void login_exit(struct client *client, enum chat_code code, const struct client_effects *out)
{
    struct client_output output = { .kind = CLIENT_OUT_ERROR };
    output.error.code = code;
    output.error.message = code_message(code);
    client_show(out, &output);
    client_emit(out, &(struct client_effect) { .kind = CLIENT_CLOSE });
    client->phase = PHASE_STOPPED;
    struct client_effect effect = { .kind = CLIENT_EXIT };
    effect.exit.status = 4;
    effect.exit.left = client->waiting;
    client_emit(out, &effect);
}

static bool enrolled(struct client *client, struct slice message, const struct client_effects *out)
{
    struct reader reader = reader_of(message.data, message.len);
    (void)read_u8(&reader);
    uint8_t code = read_u8(&reader);
    uint32_t device = read_u32(&reader);
    uint64_t index = read_u64(&reader);
    if (!reader_finished(&reader) || code >= CODES || (code == CODE_OK && device == 0))
        return false;
    if (code == CODE_CONFLICT || code == CODE_REVOKED) {
        login_renew(client, out);
        return true;
    }
    if (code != CODE_OK && code_is_final((enum chat_code)code)) {
        login_exit(client, (enum chat_code)code, out);
        return true;
    }
    if (code != CODE_OK) {
        connect_lost(client, code_message((enum chat_code)code), true, out);
        return true;
    }
    client->device = device;
    client->enrolled_index = index;
    if (index > client->floor)
        client->floor = index;
    struct client_effect effect = { .kind = CLIENT_DEVICE_ENROLLED };
    effect.enrolled.device = device;
    effect.enrolled.index = index;
    client_emit(out, &effect);
    send_login(client, out);
    return true;
}

static bool refused(struct client *client, struct slice message, const struct client_effects *out)
{
    struct reader reader = reader_of(message.data, message.len);
    (void)read_u8(&reader);
    uint8_t code = read_u8(&reader);
    if (!reader_finished(&reader) || code >= CODES || code == CODE_OK)
        return false;
    if (code == CODE_REVOKED && client->device != 0) {
        outbox_revoked(client, out);
        login_renew(client, out);
    } else if (code == CODE_BAD_PASSWORD || code == CODE_REGISTRATION_CLOSED ||
               code == CODE_BAD_NAME) {
        login_exit(client, (enum chat_code)code, out);
    } else {
        connect_lost(client, code_message((enum chat_code)code), true, out);
    }
    return true;
}

bool login_message(struct client *client, struct slice message, const struct client_effects *out)
{
    CHECK(message.len > 0);
    uint8_t type = message.data[0];
    if (type == WIRE_REFUSED)
        return refused(client, message, out);
    if (type == WIRE_GOAWAY) {
        connect_lost(client, "the node is stopping", true, out);
        return true;
    }
    if (type == WIRE_CLUSTER || type == WIRE_PONG)
        return true; /* nothing is told before READY */
    if (client->phase == PHASE_SALT && type == WIRE_SALT_IS)
        return salt_is(client, message, out);
    if (client->phase == PHASE_ENROLLING && type == WIRE_ENROLLED)
        return enrolled(client, message, out);
    if (client->phase == PHASE_ENROLLING && type == WIRE_HELD) {
        client->phase_deadline = client->now.mono_us + CLIENT_HELD_ENROL_US;
        if (!client->offline_told)
            connect_tell_offline(client,
                                 "no node has a quorum: this device is enrolled when one has", out);
        return true;
    }
    struct wire_ready ready;
    if (client->phase == PHASE_LOGIN && type == WIRE_READY && wire_decode_ready(&ready, message)) {
        connect_ready(client, &ready, out);
        return true;
    }
    return false;
}

/* The device is shared with another copy of our state, or has ended: another one, made outside. */
void login_renew(struct client *client, const struct client_effects *out)
{
    client_emit(out, &(struct client_effect) { .kind = CLIENT_CLOSE });
    client->phase = PHASE_RENEWING;
    client->phase_deadline = 0;
    client->device = 0;
    if (client->ready_told)
        connect_tell_offline(client, "this device has to be replaced by a new one", out);
    client->offline_since = client->now.mono_us;
    client_emit(out, &(struct client_effect) { .kind = CLIENT_NEW_DEVICE });
}

void login_device_made(struct client *client, const uint8_t *secret_key,
                       const struct client_effects *out)
{
    CHECK(client->phase == PHASE_RENEWING);
    memcpy(client->device_key, secret_key, SECRET_KEY_BYTES);
    client->enrolled_index = 0;
    outbox_move(client, out);
    client->phase = PHASE_WAITING;
    client->dial_at = client->now.mono_us;
}
