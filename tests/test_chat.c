#include "tests/test_chat.h"

#include "cmd/crypto_sodium.h"
#include "core/check.h"

#include <stdlib.h>

const struct chat_limits world_small = {
    .accounts = 8, .devices = 128, .rooms = 8, .memberships = 16, .invites = 4, .answers = 64
};

struct slice text_of(const char *text)
{
    return (struct slice) { (const uint8_t *)text, strlen(text) };
}

void world_open(struct world *world, const struct chat_limits *limits)
{
    CHECK(crypto_start());
    memset(world, 0, sizeof *world);
    world->limits = *limits;
    world->memory = calloc(1, chat_memory(limits));
    CHECK(world->memory != NULL);
    world->chat = chat_init(world->memory, limits, &crypto_sodium);
    world->time_us = 1000000;
}

void world_form(struct world *world, const struct chat_limits *limits)
{
    world_open(world, limits);
    static const uint8_t secret[32] = "a secret of thirty-two bytes....";
    struct command genesis = {
        .kind = COMMAND_GENESIS, .secret = secret, .slots = 7, .segment_bytes = 16 << 20
    };
    struct command formed = { .kind = COMMAND_FORMED };
    CHECK(world_apply(world, &genesis) == CODE_OK);
    CHECK(world_apply(world, &formed) == CODE_OK);
}

void world_close(struct world *world)
{
    free(world->memory);
    world->memory = NULL;
    world->chat = NULL;
}

bool world_copy(struct world *copy, const struct world *world)
{
    size_t capacity = chat_checkpoint_bytes(world->chat);
    uint8_t *state = malloc(capacity);
    CHECK(state != NULL);
    size_t len = chat_checkpoint(world->chat, state, capacity);
    CHECK(len > 0);
    world_open(copy, &world->limits);
    copy->index = world->index;
    copy->time_us = world->time_us;
    memcpy(copy->seq, world->seq, sizeof copy->seq);
    bool good = chat_restore(copy->chat, (struct slice) { state, len });
    free(state);
    return good;
}

/* From a block of its own size, so that a read beyond it is seen. */
enum chat_code world_again(struct world *world)
{
    uint8_t *body = malloc(world->body_len);
    CHECK(body != NULL);
    memcpy(body, world->body, world->body_len);
    world->index++;
    world->time_us += 10;
    chat_apply(world->chat, world->index, world->time_us, (struct slice) { body, world->body_len },
               &world->applied);
    if (world->applied.command.kind >= COMMAND_DEVICE_KINDS)
        world->digest = command_digest(&world->applied.command, &crypto_sodium);
    free(body);
    return world->applied.answer.code;
}

enum chat_code world_apply(struct world *world, const struct command *command)
{
    world->body_len = command_encode(command, world->body, sizeof world->body);
    CHECK(world->body_len > 0);
    return world_again(world);
}

enum chat_code world_do(struct world *world, uint32_t device, struct command command)
{
    uint64_t *seq = &world->seq[device % TEST_DEVICES];
    command.device = device;
    command.seq = *seq + 1;
    command.beyond = command.beyond ? command.beyond : 1;
    enum chat_code code = world_apply(world, &command);
    *seq += world->applied.result == CHAT_APPLIED;
    return code;
}

void world_key(uint8_t key[32], uint64_t value)
{
    memset(key, 0, 32);
    bytes_put_u64(key, value);
}

enum chat_code world_enrol(struct world *world, const char *name, uint64_t account_key,
                           uint64_t device_key, uint8_t flags, uint64_t token)
{
    uint8_t keys[3][32];
    world_key(keys[0], account_key);
    world_key(keys[1], device_key);
    world_key(keys[2], token);
    struct command command = { .kind = COMMAND_ENROL,
                               .nonce = world->index,
                               .flags = flags,
                               .name = text_of(name),
                               .account_key = keys[0],
                               .device_key = keys[1],
                               .token_hash = keys[2] };
    return world_apply(world, &command);
}

uint32_t world_user(struct world *world, const char *name, uint64_t key)
{
    CHECK(world_enrol(world, name, key, key, ENROL_REGISTER, 0) == CODE_OK);
    CHECK(world->applied.result == CHAT_APPLIED);
    return world->applied.device;
}

enum chat_code world_invite(struct world *world, uint64_t token, uint32_t uses, uint64_t expires)
{
    uint8_t hash[32];
    world_key(hash, token);
    struct command command = {
        .kind = COMMAND_INVITE, .token_hash = hash, .uses = uses, .expires_us = expires
    };
    return world_apply(world, &command);
}

enum chat_code world_post(struct world *world, uint32_t device, const char *room, const char *text)
{
    static const uint8_t salt[8] = "saltsalt";
    return world_do(
        world, device,
        (struct command) {
            .kind = COMMAND_POST, .room = text_of(room), .text = text_of(text), .salt = salt });
}

enum chat_code world_room(struct world *world, uint32_t device, uint8_t kind, const char *room)
{
    return world_do(world, device, (struct command) { .kind = kind, .room = text_of(room) });
}

enum chat_code world_create(struct world *world, uint32_t device, const char *room, bool private)
{
    return world_do(
        world, device,
        (struct command) { .kind = COMMAND_CREATE, .room = text_of(room), .flags = private });
}

enum chat_code world_topic(struct world *world, uint32_t device, const char *room, const char *text)
{
    return world_do(
        world, device,
        (struct command) { .kind = COMMAND_TOPIC, .room = text_of(room), .text = text_of(text) });
}

enum chat_code world_read(struct world *world, uint32_t device, const char *room, uint64_t seq)
{
    return world_do(
        world, device,
        (struct command) { .kind = COMMAND_READ, .room = text_of(room), .read_seq = seq });
}

uint32_t world_find(const struct world *world, uint32_t account, const char *room)
{
    return chat_find_room(world->chat, account, text_of(room));
}
