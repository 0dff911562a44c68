#include "tests/test_node.h"

#include "cmd/crypto_sodium.h"

#include <stdlib.h>

static bool always_right(const uint8_t *signature, const void *data, size_t len, const uint8_t *key)
{
    return signature && data && len && key;
}

static void note_page(struct nodes *nodes, uint32_t connection, const struct wire_result *result)
{
    uint64_t *seqs = nodes->result_seqs[connection];
    struct reader reader = reader_of(result->rows.data, result->rows.len);
    nodes->result_rows[connection] = nodes->result_deleted[connection] = 0;
    seqs[0] = seqs[1] = 0;
    while (result->kind == QUERY_HISTORY && reader_left(&reader)) {
        struct wire_record record;
        CHECK(wire_decode_record(&record, read_slice32(&reader)));
        CHECK(seqs[1] == 0 || record.seq == seqs[1] + 1); /* oldest first, without a hole */
        if (!seqs[0])
            seqs[0] = record.seq;
        seqs[1] = record.seq;
        nodes->result_rows[connection]++;
        nodes->result_deleted[connection] += record.flags & RECORD_DELETED;
        CHECK(!(record.flags & RECORD_DELETED) == (record.text.len > 0));
    }
    CHECK(!reader.bad);
}

static void client_send(struct nodes *nodes, const struct effect *effect)
{
    uint32_t connection = (uint32_t)effect->send.connection;
    struct slice message = effect->send.parts[0];
    CHECK(connection < NODES_CONNECTIONS);
    CHECK(message.len > 0);
    nodes->client_sent[connection][message.data[0]]++;
    struct wire_answer answer;
    struct wire_result result;
    if (message.data[0] == WIRE_RESULT) {
        CHECK(wire_decode_result(&result, message));
        nodes->result_flags[connection] = result.flags;
        note_page(nodes, connection, &result);
    }
    if (message.data[0] == WIRE_NACK)
        nodes->nacked[connection] = bytes_get_u64(message.data + 1);
    if (message.data[0] != WIRE_ANSWER)
        return;
    CHECK(wire_decode_answer(&answer, message));
    CHECK(answer.seq < NODES_SEQS);
    answer.room = (struct slice) { NULL, 0 };
    nodes->answered[connection][answer.seq] = true;
    nodes->answers[connection][answer.seq] = answer;
}

static void emit(void *ctx, const struct effect *effect)
{
    struct nodes *nodes = ctx;
    nodes->emitted[effect->kind]++;
    nodes->last[effect->kind] = *effect;
    switch (effect->kind) {
    case EFFECT_HOLD:
        CHECK(!nodes->holding);
        nodes->holding = true;
        nodes->hold = effect->hold;
        break;
    case EFFECT_FLUSH:
        CHECK(!nodes->flushing);
        nodes->flushing = true;
        nodes->ticket = effect->flush.ticket;
        break;
    case EFFECT_CLIENT_SEND:
        client_send(nodes, effect);
        break;
    case EFFECT_READ_POSTS:
        nodes->read_id = effect->read.id;
        nodes->read_from = effect->read.posts.seq_from;
        nodes->read_to = effect->read.posts.seq_to;
        break;
    case EFFECT_INDEX:
        nodes->deletes = effect->index.deletes;
        nodes->check = effect->index.check;
        break;
    case EFFECT_CLIENT_CLOSE:
        nodes->closed[effect->close.connection] = true;
        break;
    case EFFECT_PEER_SEND:
        nodes->peer_sent[effect->send.slot][effect->send.parts[0].data[0]]++;
        break;
    case EFFECT_HALT:
        nodes->halted = true;
        break;
    default:
        break;
    }
}

struct nodes *nodes_new_with_rooms(uint8_t peers, size_t cache_bytes, uint32_t rooms)
{
    CHECK(crypto_start());
    struct nodes *nodes = calloc(1, sizeof *nodes);
    CHECK(nodes != NULL);
    nodes->crypto = crypto_sodium;
    nodes->crypto.verify = always_right;
    nodes->effects = (struct effects) { emit, nodes };
    nodes->now = (struct now) { .mono_us = 1000000, .wall_us = 1700000000000000 };
    struct node_options options = {
        .slot = 1,
        .peers = peers,
        .identity = { 1 },
        .crypto = &nodes->crypto,
        .seed = 7,
        .heartbeat_us = 20000,
        .election_min_us = 100000,
        .election_max_us = 1000000,
        .cache_bytes = cache_bytes,
        .cache_entries = 256,
        .chat = { .accounts = 8,
                  .devices = 128,
                  .rooms = rooms,
                  .memberships = 2048,
                  .invites = 4,
                  .answers = 2048 },
        .connections = NODES_CONNECTIONS,
        .queue_bytes = 1 << 20,
        .recent_bytes = 1 << 20,
        .segment_bytes = 1 << 30,
        .message_bytes = 4096,
        .posts_per_s = 1000,
        .catch_up = 100,
        .registrations_per_min = 60,
        .feature_max = 1,
        .registration_open = true,
    };
    nodes->memory = calloc(1, node_memory(&options));
    CHECK(nodes->memory != NULL);
    struct node_recovery recovery = { 0 };
    nodes->node = node_init(nodes->memory, &options, &recovery);
    CHECK(nodes->node != NULL);
    nodes_event(nodes, EVENT_START);
    nodes_turn_end(nodes);
    return nodes;
}

struct nodes *nodes_new(uint8_t peers, size_t cache_bytes)
{
    return nodes_new_with_rooms(peers, cache_bytes, 2);
}

void nodes_free(struct nodes *nodes)
{
    free(nodes->memory);
    free(nodes);
}

static void step(struct nodes *nodes, struct node_event *event)
{
    event->now = nodes->now;
    node_step(nodes->node, event, &nodes->effects);
}

void nodes_event(struct nodes *nodes, enum node_event_kind kind)
{
    struct node_event event = { .kind = kind };
    step(nodes, &event);
}

void nodes_turn_end(struct nodes *nodes)
{
    nodes_event(nodes, EVENT_TURN_END);
}

void nodes_held(struct nodes *nodes, bool no_space)
{
    CHECK(nodes->holding);
    nodes->holding = false;
    struct node_event event = { .kind = EVENT_HELD,
                                .now = nodes->now,
                                .held = { nodes->hold.number, no_space } };
    node_step(nodes->node, &event, &nodes->effects);
}

void nodes_flushed(struct nodes *nodes)
{
    CHECK(nodes->flushing);
    nodes->flushing = false;
    struct node_event event = { .kind = EVENT_FLUSHED,
                                .flushed = { .ticket = nodes->ticket, .duration_us = 100 } };
    step(nodes, &event);
}

void nodes_run(struct nodes *nodes, uint64_t us)
{
    for (uint64_t until = nodes->now.mono_us + us; nodes->now.mono_us < until;) {
        nodes->now.mono_us += 5000;
        nodes->now.wall_us += 5000;
        if (nodes->flushing)
            nodes_flushed(nodes);
        nodes_event(nodes, EVENT_TICK);
        nodes_turn_end(nodes);
    }
}

void nodes_open(struct nodes *nodes, uint32_t connection, enum node_connection_role role)
{
    static const uint8_t hash[32] = { 9 };
    struct node_event event = {
        .kind = EVENT_OPEN, .client = { .connection = connection, .role = role, .hash = hash }
    };
    nodes->closed[connection] = false;
    step(nodes, &event);
}

void nodes_message(struct nodes *nodes, uint32_t connection, const void *data, size_t len)
{
    struct node_event event = { .kind = EVENT_MESSAGE,
                                .client = { .connection = connection, .message = { data, len } } };
    CHECK(!nodes->closed[connection]);
    step(nodes, &event);
}

void nodes_closed(struct nodes *nodes, uint32_t connection)
{
    struct node_event event = { .kind = EVENT_CLOSED, .client = { .connection = connection } };
    step(nodes, &event);
}

void nodes_form(struct nodes *nodes)
{
    uint8_t form[1 + IDENTITY_BYTES + 32 + 1 + 8] = { WIRE_FORM, 5 };
    form[1 + IDENTITY_BYTES] = 6;
    form[1 + IDENTITY_BYTES + 32] = 1;
    bytes_put_u64(form + sizeof form - 8, 1 << 30);
    nodes_open(nodes, 0, CONNECTION_CTL);
    nodes_message(nodes, 0, form, sizeof form);
    nodes_run(nodes, 1000000);
    CHECK(chat_genesis(nodes->node->chat)->formed);
    nodes_closed(nodes, 0);
}

static void login(struct nodes *nodes, uint32_t connection, const uint8_t key[PUBLIC_KEY_BYTES])
{
    static const uint8_t signature[SIGNATURE_BYTES];
    struct wire_login in = { .device_key = key, .signature = signature, .stream = true };
    uint8_t message[256];
    size_t len = wire_encode_login(&in, message, sizeof message);
    CHECK(len > 0);
    nodes_message(nodes, connection, message, len);
}

uint32_t nodes_user(struct nodes *nodes, uint32_t connection, const char *name)
{
    static const uint8_t signature[SIGNATURE_BYTES];
    uint8_t key[PUBLIC_KEY_BYTES] = { 0 };
    memcpy(key, name, strlen(name));
    struct wire_enrol in = { .is_register = true,
                             .name = { (const uint8_t *)name, strlen(name) },
                             .account_key = key,
                             .device_key = key,
                             .signature = signature };
    uint8_t message[512];
    size_t len = wire_encode_enrol(&in, message, sizeof message);
    CHECK(len > 0);
    nodes_open(nodes, connection, CONNECTION_CLIENT);
    nodes_message(nodes, connection, message, len);
    nodes_run(nodes, 50000);
    login(nodes, connection, key);
    CHECK(nodes->client_sent[connection][WIRE_READY] > 0);
    return chat_find_device(nodes->node->chat, key);
}

void nodes_command(struct nodes *nodes, uint32_t connection, uint32_t device, uint64_t seq,
                   uint8_t beyond, struct command command)
{
    static uint8_t message[1 + LIMIT_COMMAND_BYTES] = { WIRE_COMMAND };
    command.device = device;
    command.seq = seq;
    command.beyond = beyond;
    size_t len = command_encode(&command, message + 1, sizeof message - 1);
    CHECK(len > 0);
    nodes_message(nodes, connection, message, len + 1);
}

void nodes_create(struct nodes *nodes, uint32_t connection, uint32_t device, uint64_t seq,
                  const char *room)
{
    struct command command = { .kind = COMMAND_CREATE,
                               .room = { (const uint8_t *)room, strlen(room) } };
    nodes_command(nodes, connection, device, seq, (uint8_t)seq, command);
}

void nodes_post(struct nodes *nodes, uint32_t connection, uint32_t device, uint64_t seq,
                uint8_t beyond, const char *room, size_t len)
{
    static uint8_t text[LIMIT_TEXT_BYTES];
    memset(text, 'x', len);
    struct command command = { .kind = COMMAND_POST,
                               .room = { (const uint8_t *)room, strlen(room) },
                               .salt = (const uint8_t *)"saltsalt",
                               .text = { text, len } };
    nodes_command(nodes, connection, device, seq, beyond, command);
}

void nodes_hello(struct nodes *nodes, uint32_t connection, uint8_t slot, uint8_t identity,
                 uint8_t cluster)
{
    struct wire_hello hello = {
        .version = WIRE_VERSION, .slot = slot, .identity = { identity }, .cluster = { cluster }, .feature_max = 1
    };
    uint8_t message[64];
    size_t len = wire_encode_hello(&hello, message, sizeof message);
    CHECK(len > 0);
    nodes_message(nodes, connection, message, len);
}
