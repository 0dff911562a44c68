#include "tests/test_chat.h"

#include "cmd/crypto_sodium.h"
#include "core/check.h"

#include <stdlib.h>

const struct chat_limits town_small = {
    .accounts = 8, .devices = 128, .rooms = 8, .memberships = 16, .invites = 4, .answers = 64
};

struct slice text_of(const char *text)
{
    return (struct slice) { (const uint8_t *)text, strlen(text) };
}

void town_open(struct town *town, const struct chat_limits *limits)
{
    CHECK(crypto_start());
    memset(town, 0, sizeof *town);
    town->limits = *limits;
    town->memory = calloc(1, chat_memory(limits));
    CHECK(town->memory != NULL);
    town->chat = chat_init(town->memory, limits, &crypto_sodium);
    town->time_us = 1000000;
}

void town_form(struct town *town, const struct chat_limits *limits)
{
    town_open(town, limits);
    static const uint8_t secret[32] = "a secret of thirty-two bytes....";
    struct command genesis = {
        .kind = COMMAND_GENESIS, .secret = secret, .slots = 7, .segment_bytes = 16 << 20
    };
    struct command formed = { .kind = COMMAND_FORMED };
    CHECK(town_apply(town, &genesis) == CODE_OK);
    CHECK(town_apply(town, &formed) == CODE_OK);
}

void town_close(struct town *town)
{
    free(town->memory);
    town->memory = NULL;
    town->chat = NULL;
}

bool town_copy(struct town *copy, const struct town *town)
{
    size_t capacity = chat_checkpoint_bytes(town->chat);
    uint8_t *state = malloc(capacity);
    CHECK(state != NULL);
    size_t len = chat_checkpoint(town->chat, state, capacity);
    CHECK(len > 0);
    town_open(copy, &town->limits);
    copy->index = town->index;
    copy->time_us = town->time_us;
    memcpy(copy->seq, town->seq, sizeof copy->seq);
    bool good = chat_restore(copy->chat, (struct slice) { state, len });
    free(state);
    return good;
}

/* From a block of its own size, so that a read beyond it is seen. */
enum chat_code town_again(struct town *town)
{
    uint8_t *body = malloc(town->body_len);
    CHECK(body != NULL);
    memcpy(body, town->body, town->body_len);
    town->index++;
    town->time_us += 10;
    chat_apply(town->chat, town->index, town->time_us, (struct slice) { body, town->body_len },
               &town->applied);
    if (town->applied.command.kind >= COMMAND_DEVICE_KINDS)
        town->digest = command_digest(&town->applied.command, &crypto_sodium);
    free(body);
    return town->applied.answer.code;
}

enum chat_code town_apply(struct town *town, const struct command *command)
{
    town->body_len = command_encode(command, town->body, sizeof town->body);
    CHECK(town->body_len > 0);
    return town_again(town);
}

enum chat_code town_do(struct town *town, uint32_t device, struct command command)
{
    uint64_t *seq = &town->seq[device % TEST_DEVICES];
    command.device = device;
    command.seq = *seq + 1;
    command.beyond = command.beyond ? command.beyond : 1;
    enum chat_code code = town_apply(town, &command);
    *seq += town->applied.result == CHAT_APPLIED;
    return code;
}

void town_key(uint8_t key[32], uint64_t value)
{
    memset(key, 0, 32);
    bytes_put_u64(key, value);
}

enum chat_code town_enrol(struct town *town, const char *name, uint64_t account_key,
                          uint64_t device_key, uint8_t flags, uint64_t token)
{
    uint8_t keys[3][32];
    town_key(keys[0], account_key);
    town_key(keys[1], device_key);
    town_key(keys[2], token);
    struct command command = { .kind = COMMAND_ENROL,
                               .nonce = town->index,
                               .flags = flags,
                               .name = text_of(name),
                               .account_key = keys[0],
                               .device_key = keys[1],
                               .token_hash = keys[2] };
    return town_apply(town, &command);
}

uint32_t town_user(struct town *town, const char *name, uint64_t key)
{
    CHECK(town_enrol(town, name, key, key, ENROL_REGISTER, 0) == CODE_OK);
    CHECK(town->applied.result == CHAT_APPLIED);
    return town->applied.device;
}

enum chat_code town_invite(struct town *town, uint64_t token, uint32_t uses, uint64_t expires)
{
    uint8_t hash[32];
    town_key(hash, token);
    struct command command = {
        .kind = COMMAND_INVITE, .token_hash = hash, .uses = uses, .expires_us = expires
    };
    return town_apply(town, &command);
}

enum chat_code town_post(struct town *town, uint32_t device, const char *room, const char *text)
{
    static const uint8_t salt[8] = "saltsalt";
    return town_do(
        town, device,
        (struct command) {
            .kind = COMMAND_POST, .room = text_of(room), .text = text_of(text), .salt = salt });
}

enum chat_code town_room(struct town *town, uint32_t device, uint8_t kind, const char *room)
{
    return town_do(town, device, (struct command) { .kind = kind, .room = text_of(room) });
}

enum chat_code town_create(struct town *town, uint32_t device, const char *room, bool private)
{
    return town_do(
        town, device,
        (struct command) { .kind = COMMAND_CREATE, .room = text_of(room), .flags = private });
}

enum chat_code town_topic(struct town *town, uint32_t device, const char *room, const char *text)
{
    return town_do(
        town, device,
        (struct command) { .kind = COMMAND_TOPIC, .room = text_of(room), .text = text_of(text) });
}

enum chat_code town_read(struct town *town, uint32_t device, const char *room, uint64_t seq)
{
    return town_do(
        town, device,
        (struct command) { .kind = COMMAND_READ, .room = text_of(room), .read_seq = seq });
}

uint32_t town_find(const struct town *town, uint32_t account, const char *room)
{
    return chat_find_room(town->chat, account, text_of(room));
}
