/* A scripted world around one client: what it asks for is written down as lines of text, and a test
 * plays the node. Included by the client's tests; everything is static. */
#ifndef FTCHAT_TESTS_CLIENT_SCRIPT_H
#define FTCHAT_TESTS_CLIENT_SCRIPT_H

#include "core/chat/command.h"
#include "core/client/client.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Each test uses some of these. */
#pragma GCC diagnostic ignored "-Wunused-function"

enum { SCRIPT_LOG_BYTES = 1 << 16, SCRIPT_SAVED = 512, SCRIPT_MS = 1000 };

struct script_saved {
    uint64_t number;
    uint64_t seq;
    char id[32];
    uint8_t body[512];
    size_t body_len;
};

struct script {
    bool held_ok; /* of its options */
    struct client *client;
    void *memory;
    uint64_t now_us;
    char log[SCRIPT_LOG_BYTES]; /* effects since script_clear */
    size_t log_len;
    uint64_t wake_at_us;
    bool connected;
    bool dialled;
    uint8_t server;
    uint64_t dial_timeout_us;
    bool exited;
    int exit_status;
    bool derive_asked;
    bool device_asked;
    bool hold_saved; /* SAVED is not given by itself */
    uint64_t done_seq;
    /* What a state directory would hold. */
    struct client_recovered kept;
    struct client_seen seen;
    struct script_saved saved[SCRIPT_SAVED];
    size_t saved_count;
    struct script_saved fresh[SCRIPT_SAVED]; /* of the new device, until the sync */
    size_t fresh_count;
    bool renewing;
    uint8_t new_key[SECRET_KEY_BYTES];
    uint64_t fresh_last_seq;
    void (*on_transmit)(struct script *script, struct slice message);
    void (*on_output)(struct script *script, const struct client_output *output);
    void *owner;
};

/* --- Stand-ins for cryptography: deterministic, and different for different input. ------------ */

static uint64_t script_mix(uint64_t hash, const void *data, size_t len)
{
    const uint8_t *at = data;
    for (size_t i = 0; i < len; i++)
        hash = (hash ^ at[i]) * 0x100000001b3u;
    return hash ^ hash >> 29;
}

static void script_hash(uint8_t out[HASH_BYTES], const void *key, size_t key_len, const void *data,
                        size_t len)
{
    uint64_t hash = script_mix(script_mix(0xcbf29ce484222325u, key, key_len), data, len);
    for (size_t i = 0; i < 4; i++)
        bytes_put_u64(out + 8 * i, hash + i);
}

static uint64_t script_digest(const uint8_t key[DIGEST_KEY_BYTES], const void *data, size_t len)
{
    return script_mix(script_mix(1, key, DIGEST_KEY_BYTES), data, len);
}

static bool script_verify(const uint8_t signature[SIGNATURE_BYTES], const void *data, size_t len,
                          const uint8_t public_key[PUBLIC_KEY_BYTES])
{
    uint8_t expected[HASH_BYTES];
    script_hash(expected, public_key, PUBLIC_KEY_BYTES, data, len);
    return memcmp(signature, expected, HASH_BYTES) == 0;
}

static void script_sign(uint8_t signature[SIGNATURE_BYTES], const void *data, size_t len,
                        const uint8_t secret_key[SECRET_KEY_BYTES])
{
    memset(signature, 0, SIGNATURE_BYTES);
    script_hash(signature, secret_key + 32, PUBLIC_KEY_BYTES, data, len);
}

static const struct crypto script_crypto = { script_hash, script_digest, script_verify,
                                             script_sign };

/* --- Writing down ----------------------------------------------------------------------------- */

__attribute__((format(printf, 2, 3))) static void script_note(struct script *script,
                                                              const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int len =
        vsnprintf(script->log + script->log_len, SCRIPT_LOG_BYTES - script->log_len, format, args);
    va_end(args);
    script->log_len += (size_t)len;
    if (script->log_len + 512 > SCRIPT_LOG_BYTES)
        script->log_len = 0; /* long random runs do not look at it */
}

static void script_transmitted(struct script *script, struct slice message)
{
    struct reader reader = reader_of(message.data + 1, message.len - 1);
    struct wire_login login;
    struct wire_enrol enrol;
    struct wire_query query;
    switch (message.data[0]) {
    case WIRE_SALT: {
        struct slice name = read_slice8(&reader);
        script_note(script, "> salt %.*s\n", (int)name.len, name.data);
        break;
    }
    case WIRE_ENROL:
        assert_true(wire_decode_enrol(&enrol, message));
        script_note(script, "> enrol %.*s%s token %zu\n", (int)enrol.name.len, enrol.name.data,
                    enrol.is_register ? " register" : "", enrol.token.len);
        break;
    case WIRE_LOGIN:
        assert_true(wire_decode_login(&login, message));
        script_note(script, "> login resume %d floor %d\n", (int)login.resume_index,
                    (int)login.floor_index);
        break;
    case WIRE_COMMAND: {
        uint8_t kind = read_u8(&reader);
        uint32_t device = read_u32(&reader);
        uint64_t seq = read_u64(&reader);
        script_note(script, "> command %u device %u seq %d beyond %u\n", kind, device, (int)seq,
                    read_u8(&reader));
        break;
    }
    case WIRE_QUERY:
        assert_true(wire_decode_query(&query, message));
        script_note(script, "> query %d kind %u %.*s\n", (int)query.id, query.kind,
                    (int)query.room.len, query.room.data);
        break;
    case WIRE_PING:
        script_note(script, "> ping\n");
        break;
    default:
        fail_msg("sent a message of type %u", message.data[0]);
    }
}

static void script_shown(struct script *script, const struct client_output *output)
{
    static const char *const statuses[] = { "queued", "held", "committed", "rejected" };
    switch (output->kind) {
    case CLIENT_OUT_READY:
        script_note(script, "ready node %u%s%s\n", output->ready.ready->node,
                    output->ready.ready->quorum ? "" : " no quorum",
                    output->ready.restored  ? " restored"
                    : output->ready.resumed ? " resumed"
                                            : "");
        break;
    case CLIENT_OUT_ACK:
        script_note(script, "ack %.*s %s", (int)output->ack.id.len, output->ack.id.data,
                    statuses[output->ack.status]);
        if (output->ack.code != CODE_OK)
            script_note(script, " %s", code_name(output->ack.code));
        if (output->ack.status == CLIENT_COMMITTED)
            script_note(script, " %.*s index %d", (int)output->ack.room.len, output->ack.room.data,
                        (int)output->ack.index);
        script_note(script, "\n");
        break;
    case CLIENT_OUT_RECORD:
        script_note(script, "record %d\n", (int)output->record->index);
        break;
    case CLIENT_OUT_RESULT:
        script_note(script, "result %.*s%s\n", (int)output->result.id.len, output->result.id.data,
                    output->result.result->flags & RESULT_MORE ? " more" : "");
        break;
    case CLIENT_OUT_ERROR:
        script_note(script, "error %.*s %s\n", (int)output->error.id.len, output->error.id.data,
                    code_name(output->error.code));
        break;
    case CLIENT_OUT_OFFLINE:
        script_note(script, "offline: %s, queued %d\n", output->offline.reason,
                    (int)output->offline.queued);
        break;
    case CLIENT_OUT_CLUSTER:
        script_note(script, "cluster quorum %d\n", output->cluster->quorum);
        break;
    case CLIENT_OUT_SKIPPED:
    case CLIENT_OUT_TRUNCATED:
        script_note(script, "skipped %d-%d\n", (int)output->skipped.from, (int)output->skipped.to);
        break;
    case CLIENT_OUT_HELD:
        script_note(script, "held %d\n", (int)output->record->device_seq);
        break;
    case CLIENT_OUT_RETRACT:
        script_note(script, "retract %d\n", (int)output->retract.device_seq);
        break;
    }
    if (script->on_output)
        script->on_output(script, output);
}

static void script_put(struct script *script, const struct client_entry *put)
{
    size_t *count = script->renewing ? &script->fresh_count : &script->saved_count;
    struct script_saved *list = script->renewing ? script->fresh : script->saved;
    assert_true(*count < SCRIPT_SAVED);
    struct script_saved *saved = &list[(*count)++];
    saved->number = put->number;
    saved->seq = put->seq;
    assert_true(put->id.len < sizeof saved->id && put->body.len <= sizeof saved->body);
    memcpy(saved->id, put->id.data, put->id.len);
    saved->id[put->id.len] = 0;
    memcpy(saved->body, put->body.data, put->body.len);
    saved->body_len = put->body.len;
    assert_true(put->number > script->kept.last_number);
    script->kept.last_number = put->number;
    if (put->seq == 0)
        return;
    uint64_t *last = script->renewing ? &script->fresh_last_seq : &script->kept.last_seq;
    assert_int_equal(put->seq, *last + 1);
    *last = put->seq;
}

static void script_done(struct script *script, uint64_t number, uint64_t seq)
{
    size_t gone = 0;
    while (gone < script->saved_count && script->saved[gone].number <= number)
        gone++;
    script->saved_count -= gone;
    memmove(script->saved, script->saved + gone, script->saved_count * sizeof script->saved[0]);
    script->kept.done_seq = seq;
    script->done_seq = seq;
}

static void script_sync(struct script *script)
{
    script_note(script, "sync\n");
    if (!script->renewing)
        return;
    script->renewing = false;
    memcpy(script->saved, script->fresh, script->fresh_count * sizeof script->fresh[0]);
    script->saved_count = script->fresh_count;
    memcpy(script->kept.secret_key, script->new_key, SECRET_KEY_BYTES);
    script->kept.device = 0;
    script->kept.enrolled_index = 0;
    script->kept.done_seq = 0;
    script->kept.last_seq = script->fresh_last_seq;
    script->done_seq = 0;
}

static void script_emit(void *ctx, const struct client_effect *effect)
{
    struct script *script = ctx;
    assert_false(script->exited);
    switch (effect->kind) {
    case CLIENT_DIAL:
        assert_false(script->connected || script->dialled);
        script->dialled = true;
        script->server = effect->dial.server;
        script->dial_timeout_us = effect->dial.timeout_us;
        script_note(script, "dial %u\n", effect->dial.server);
        break;
    case CLIENT_TRANSMIT: {
        assert_true(script->connected);
        static uint8_t message[LIMIT_COMMAND_BYTES + 16];
        size_t len = 0;
        for (int i = 0; i < 3; i++) {
            if (effect->parts[i].len)
                memcpy(message + len, effect->parts[i].data, effect->parts[i].len);
            len += effect->parts[i].len;
        }
        script_transmitted(script, (struct slice) { message, len });
        if (script->on_transmit)
            script->on_transmit(script, (struct slice) { message, len });
        break;
    }
    case CLIENT_CLOSE:
        script->connected = false;
        script->dialled = false;
        script_note(script, "close\n");
        break;
    case CLIENT_DERIVE:
        script->derive_asked = true;
        script_note(script, "derive %u\n", effect->derive.passes);
        break;
    case CLIENT_NEW_DEVICE:
        script->device_asked = true;
        script_note(script, "new device\n");
        break;
    case CLIENT_DEVICE_ENROLLED:
        script->kept.device = effect->enrolled.device;
        script->kept.enrolled_index = effect->enrolled.index;
        script_note(script, "enrolled %u\n", effect->enrolled.device);
        break;
    case CLIENT_OUTBOX_PUT:
        script_put(script, &effect->put);
        break;
    case CLIENT_OUTBOX_DONE:
        script_done(script, effect->done.number, effect->done.seq);
        break;
    case CLIENT_OUTBOX_SYNC:
        script_sync(script);
        break;
    case CLIENT_CURSOR:
        /* Only under another cluster it may go back. */
        if (memcmp(script->kept.cluster, effect->cursor.cluster, IDENTITY_BYTES) == 0)
            assert_true(effect->cursor.index >= script->kept.cursor);
        memcpy(script->kept.cluster, effect->cursor.cluster, IDENTITY_BYTES);
        script->kept.cursor = effect->cursor.index;
        script->kept.floor = effect->cursor.floor;
        script->seen.forgot = effect->cursor.forgot;
        if (effect->cursor.seq)
            (void)seen_note(&script->seen, effect->cursor.tag, effect->cursor.seq);
        break;
    case CLIENT_EMIT:
        script_shown(script, effect->output);
        break;
    case CLIENT_WAKE_AT:
        script->wake_at_us = effect->wake_at_us;
        break;
    case CLIENT_EXIT:
        script->exited = true;
        script->exit_status = effect->exit.status;
        script_note(script, "exit %d left %d\n", effect->exit.status, (int)effect->exit.left);
        break;
    }
}

/* --- Events ----------------------------------------------------------------------------------- */

static void script_step(struct script *script, struct client_event *event)
{
    const struct client_effects out = { script_emit, script };
    event->now = (struct now) { script->now_us, 1700000000000000u + script->now_us };
    client_step(script->client, event, &out);
    while (script->done_seq && !script->hold_saved && !script->exited) {
        struct client_event saved = { .kind = CLIENT_EVENT_SAVED, .now = event->now };
        saved.saved_seq = script->done_seq;
        script->done_seq = 0;
        client_step(script->client, &saved, &out);
    }
}

static void script_tick(struct script *script, uint64_t after_us)
{
    script->now_us += after_us;
    script_step(script, &(struct client_event) { .kind = CLIENT_EVENT_TICK });
}

/* To the moment that the client asked to be woken at. */
static void script_wake(struct script *script)
{
    assert_true(script->wake_at_us != UINT64_MAX);
    script_tick(script,
                script->wake_at_us > script->now_us ? script->wake_at_us - script->now_us : 1);
}

static void script_connected(struct script *script)
{
    assert_true(script->dialled);
    static const uint8_t handshake_hash[HASH_BYTES] = { 42 };
    script->connected = true;
    script->dialled = false;
    struct client_event event = { .kind = CLIENT_EVENT_CONNECTED };
    event.handshake_hash = handshake_hash;
    script_step(script, &event);
}

static void script_closed(struct script *script, enum client_end end)
{
    script->connected = false;
    script->dialled = false;
    script_step(script, &(struct client_event) { .kind = CLIENT_EVENT_CLOSED, .end = end });
}

static void script_message(struct script *script, const void *data, size_t len)
{
    assert_true(script->connected);
    struct client_event event = { .kind = CLIENT_EVENT_MESSAGE };
    event.message = (struct slice) { data, len };
    script_step(script, &event);
}

static void script_salt_is(struct script *script, uint32_t passes, uint64_t memory_bytes)
{
    uint8_t message[64] = { WIRE_SALT_IS };
    bytes_put_u32(message + 17, passes);
    bytes_put_u64(message + 21, memory_bytes);
    script_message(script, message, 29);
}

static void script_derived(struct script *script)
{
    struct client_event event = { .kind = CLIENT_EVENT_DERIVED };
    memset(event.derived.secret_key, 7, SECRET_KEY_BYTES);
    script->derive_asked = false;
    script_step(script, &event);
}

static void script_enrolled(struct script *script, enum chat_code code, uint32_t device)
{
    uint8_t message[14] = { WIRE_ENROLLED, (uint8_t)code };
    bytes_put_u32(message + 2, device);
    bytes_put_u64(message + 6, 5);
    script_message(script, message, sizeof message);
}

static void script_ready_of(struct script *script, bool quorum, uint64_t last, uint8_t cluster,
                            uint64_t shared_index)
{
    struct wire_ready ready = {
        .cluster = { cluster },
        .node = (uint8_t)(script->server + 1),
        .leader = 1,
        .quorum = quorum,
        .device = script->kept.device,
        .last = last,
        .message_bytes = 4096,
        .shared_index = shared_index,
        .user = { (const uint8_t *)"alice", 5 },
    };
    uint8_t message[128];
    size_t len = wire_encode_ready(&ready, message, sizeof message);
    script_message(script, message, len);
}

static void script_ready(struct script *script, bool quorum, uint64_t last)
{
    script_ready_of(script, quorum, last, 0, UINT64_MAX);
}

static void script_code(struct script *script, enum wire_type type, enum chat_code code)
{
    uint8_t message[2] = { (uint8_t)type, (uint8_t)code };
    script_message(script, message, sizeof message);
}

static uint64_t script_body_digest(const uint8_t *body, size_t len)
{
    struct command command = { .kind = body[0], .content = { body + 1, len - 1 } };
    return command_digest(&command, &script_crypto);
}

/* Answers seq as the outbox has it; `index` also in the answer. */
static void script_answer(struct script *script, uint64_t seq, enum chat_code code, uint64_t index)
{
    uint64_t digest = 0;
    for (size_t i = 0; i < script->saved_count; i++)
        if (script->saved[i].seq == seq)
            digest = script_body_digest(script->saved[i].body, script->saved[i].body_len);
    struct wire_answer answer = {
        .seq = seq,
        .digest = digest,
        .code = code,
        .room = { (const uint8_t *)"#ops", 4 },
        .room_seq = index,
        .index = index,
        .time_us = 1,
    };
    uint8_t message[256];
    size_t len = wire_encode_answer(&answer, message, sizeof message);
    script_message(script, message, len);
}

static void script_u64(struct script *script, enum wire_type type, uint64_t value)
{
    uint8_t message[9] = { (uint8_t)type };
    bytes_put_u64(message + 1, value);
    script_message(script, message, sizeof message);
}

static struct slice script_text(const char *text)
{
    return (struct slice) { (const uint8_t *)text, strlen(text) };
}

static void script_op(struct script *script, struct client_op op)
{
    assert_true(client_has_room(script->client));
    struct client_event event = { .kind = CLIENT_EVENT_INPUT, .op = &op };
    script_step(script, &event);
}

static void script_send(struct script *script, const char *id, const char *text)
{
    script_op(script, (struct client_op) { .kind = CLIENT_SEND,
                                           .id = script_text(id),
                                           .room = script_text("#ops"),
                                           .text = script_text(text) });
}

static void script_stop(struct script *script, uint64_t until_us)
{
    struct client_event event = { .kind = CLIENT_EVENT_STOP, .stop_until_us = until_us };
    script_step(script, &event);
}

/* --- Beginning and end ------------------------------------------------------------------------ */

/* A new process on what is kept. */
static void script_start(struct script *script, uint8_t servers, uint64_t seed)
{
    static const struct client_limits limits = { 256, CLIENT_OUTBOX_BYTES_MIN, 16,
                                                 CLIENT_OUTBOX_BYTES_MIN, 64 };
    script->connected = script->dialled = script->exited = script->renewing = false;
    script->derive_asked = script->device_asked = false;
    script->done_seq = 0;
    script->memory = realloc(script->memory, client_memory(&limits));
    memset(script->memory, 0xa5, client_memory(&limits));
    script->client = client_init(script->memory, &limits, &script_crypto, seed);
    struct client_options options = {
        .user = script_text("alice"),
        .stream = true,
        .held_ok = script->held_ok,
        .servers = servers,
        .connect_timeout_ms = 5000,
        .retry_ms = 3000,
    };
    struct client_entry entries[SCRIPT_SAVED];
    for (size_t i = 0; i < script->saved_count; i++)
        entries[i] = (struct client_entry) {
            .number = script->saved[i].number,
            .seq = script->saved[i].seq,
            .id = script_text(script->saved[i].id),
            .body = { script->saved[i].body, script->saved[i].body_len },
        };
    script->kept.seen = &script->seen;
    script->kept.entries = entries;
    script->kept.entry_count = (uint32_t)script->saved_count;
    struct client_event event = { .kind = CLIENT_EVENT_START };
    event.start.options = &options;
    event.start.recovered = &script->kept;
    script_step(script, &event);
    script->kept.entries = NULL;
}

static struct script *script_new(uint8_t servers)
{
    struct script *script = calloc(1, sizeof *script);
    memset(script->kept.secret_key, 1, SECRET_KEY_BYTES);
    script->now_us = 1000000;
    script_start(script, servers, 1);
    return script;
}

static void script_free(struct script *script)
{
    free(script->memory);
    free(script);
}

static void script_new_device(struct script *script, uint8_t fill)
{
    assert_true(script->device_asked);
    script->device_asked = false;
    script->renewing = true;
    script->fresh_count = 0;
    script->fresh_last_seq = 0;
    memset(script->new_key, fill, SECRET_KEY_BYTES);
    struct client_event event = { .kind = CLIENT_EVENT_DEVICE_MADE };
    memset(event.secret_key, fill, SECRET_KEY_BYTES);
    script_step(script, &event);
}

/* The log since the last look is exactly this. */
static void script_expect(struct script *script, const char *lines)
{
    char log[SCRIPT_LOG_BYTES];
    memcpy(log, script->log, script->log_len);
    log[script->log_len] = 0;
    script->log_len = 0;
    script->log[0] = 0;
    assert_string_equal(log, lines);
}

static void script_clear(struct script *script)
{
    script->log_len = 0;
    script->log[0] = 0;
}

/* Logged in on an enrolled device, nothing noted. */
static struct script *script_online(uint8_t servers)
{
    struct script *script = calloc(1, sizeof *script);
    memset(script->kept.secret_key, 1, SECRET_KEY_BYTES);
    script->kept.device = 9;
    script->now_us = 1000000;
    script_start(script, servers, 1);
    script_connected(script);
    script_ready(script, true, 0);
    script_clear(script);
    return script;
}

#endif
