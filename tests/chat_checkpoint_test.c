/* core/chat/checkpoint, restore, table: random streams against a naive model, through checkpoints,
 * and checkpoints that were damaged, with and without a right check. */
#include "cmd/crypto_sodium.h"
#include "core/chat/table.h"
#include "core/random.h"
#include "tests/test_chat.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { USERS = 6, ROOMS = 4 };
static const char *const users[USERS] = { "u0", "u1", "u2", "u3", "u4", "u5" };
static const char *const rooms[ROOMS] = { "#r0", "#r1", "#r2", "#none" };
static const char *const directs[USERS] = { "@u0", "@u1", "@u2", "@u3", "@u4", "@u5" };

/* What the state should be, said as simply as possible. */
struct model {
    bool exists[ROOMS];
    bool member[ROOMS][USERS];
    uint64_t posts[ROOMS];
    uint64_t read[ROOMS][USERS];
    uint64_t direct[USERS][USERS];
};

static struct random random_state;

static uint32_t below(uint32_t bound)
{
    return (uint32_t)random_below(&random_state, bound);
}

static enum chat_code model_room(struct model *model, uint32_t kind, uint32_t user, uint32_t room,
                                 uint64_t *seq)
{
    bool *member = &model->member[room][user];
    if (kind == COMMAND_CREATE) {
        if (model->exists[room])
            return CODE_EXISTS;
        model->exists[room] = *member = true;
        return CODE_OK;
    }
    if (!model->exists[room])
        return CODE_UNKNOWN_ROOM;
    if (kind == COMMAND_JOIN || kind == COMMAND_PART) {
        *member = kind == COMMAND_JOIN;
        return CODE_OK;
    }
    if (!*member)
        return CODE_NOT_A_MEMBER;
    if (kind == COMMAND_POST)
        *seq = ++model->posts[room];
    return CODE_OK;
}

static void random_room_command(struct town *town, struct model *model)
{
    static const uint8_t kinds[] = { COMMAND_POST, COMMAND_POST,   COMMAND_POST, COMMAND_JOIN,
                                     COMMAND_PART, COMMAND_CREATE, COMMAND_READ };
    uint32_t user = below(USERS), room = below(ROOMS);
    uint8_t kind = kinds[below(sizeof kinds)];
    if (kind == COMMAND_CREATE && room == ROOMS - 1)
        kind = COMMAND_JOIN;
    struct command command = { .kind = kind,
                               .room = text_of(rooms[room]),
                               .text = text_of("text"),
                               .salt = (const uint8_t *)"12345678",
                               .read_seq = below(20) };
    uint64_t open = town->seq[user + 1] - chat_device(town->chat, user + 1)->done + 1;
    command.beyond = (uint8_t)(1 + below(open > 20 ? 20 : (uint32_t)open));
    uint64_t seq = 0;
    enum chat_code expected = model_room(model, kind, user, room, &seq);
    assert_int_equal(town_do(town, user + 1, command), expected);
    assert_int_equal(town->applied.result, CHAT_APPLIED);
    assert_int_equal(town->applied.answer.room_seq, seq);
    if (kind == COMMAND_READ && expected == CODE_OK) {
        uint64_t *read = &model->read[room][user];
        uint64_t to = command.read_seq < model->posts[room] ? command.read_seq : model->posts[room];
        *read = to > *read ? to : *read;
    }
}

static void random_direct(struct town *town, struct model *model)
{
    uint32_t from = below(USERS), to = below(USERS);
    uint64_t *posts = &model->direct[from < to ? from : to][from < to ? to : from];
    assert_int_equal(town_post(town, from + 1, directs[to], "psst"), CODE_OK);
    assert_int_equal(town->applied.answer.room_seq, ++*posts);
}

static void assert_model(const struct town *town, const struct model *model)
{
    for (uint32_t i = 0; i < ROOMS; i++) {
        uint32_t room = town_find(town, 1, rooms[i]);
        assert_int_equal(room != 0, model->exists[i]);
        if (!room)
            continue;
        uint32_t members = 0, listed = 0;
        for (uint32_t user = 0; user < USERS; user++) {
            const struct chat_membership *got = chat_membership(town->chat, user + 1, room);
            assert_int_equal(got && !got->leave_index, model->member[i][user]);
            assert_int_equal(got ? got->read_seq : 0, model->read[i][user]);
            members += model->member[i][user];
        }
        const struct chat_membership *at = NULL;
        while ((at = chat_next_of_room(town->chat, room, at)) != NULL)
            listed += !at->leave_index;
        assert_int_equal(listed, members);
        assert_int_equal(chat_room(town->chat, room)->members, members);
        assert_int_equal(chat_room(town->chat, room)->last_seq, model->posts[i]);
    }
}

static const struct chat_limits limits = {
    .accounts = 8, .devices = 16, .rooms = 40, .memberships = 100, .invites = 4, .answers = 400
};

static void populate(struct town *town)
{
    town_form(town, &limits);
    for (uint32_t i = 0; i < USERS; i++)
        assert_int_equal(town_user(town, users[i], i + 1), i + 1);
}

/* The same stream on two instances, one of which is restored again and again. */
static void random_streams(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        random_seed(&random_state, seed);
        struct town town, twin;
        struct model model = { 0 };
        populate(&town);
        assert_true(town_copy(&twin, &town));
        for (int i = 0; i < 400; i++) {
            if (below(8) == 0)
                random_direct(&town, &model);
            else
                random_room_command(&town, &model);
            struct chat_answer answer = town.applied.answer;
            memcpy(twin.body, town.body, town.body_len);
            twin.body_len = town.body_len;
            town_again(&twin);
            assert_int_equal(twin.applied.result, town.applied.result);
            assert_memory_equal(&twin.applied.answer, &answer, sizeof answer);
            memcpy(twin.seq, town.seq, sizeof twin.seq);
            if (below(16) == 0) {
                town_again(&town);
                town_again(&twin);
                assert_int_equal(town.applied.result, CHAT_REPEATED);
                assert_int_equal(twin.applied.result, CHAT_REPEATED);
            }
            if (below(40) == 0) {
                struct town next;
                assert_true(town_copy(&next, &twin));
                town_close(&twin);
                twin = next;
                assert_true(chat_hash(twin.chat) == chat_hash(town.chat));
            }
        }
        assert_model(&town, &model);
        assert_model(&twin, &model);
        assert_true(chat_hash(twin.chat) == chat_hash(town.chat));
        town_close(&town);
        town_close(&twin);
    }
}

/* A state with something of everything: invites, ended devices, topics, directs, leavers. */
static size_t rich_checkpoint(uint8_t **out)
{
    struct town town;
    struct model model = { 0 };
    random_seed(&random_state, 7);
    populate(&town);
    for (int i = 0; i < 60; i++)
        random_room_command(&town, &model);
    random_direct(&town, &model);
    town_invite(&town, 5, 3, UINT64_MAX);
    for (uint64_t key = 50; key < 53; key++) {
        assert_int_equal(town_enrol(&town, "u0", 1, key, 0, 0), CODE_OK);
        uint32_t device = town.applied.device;
        town_topic(&town, device, "#r0", "topic");
        assert_int_equal(town_do(&town, device, (struct command) { .kind = COMMAND_CLOSE }),
                         CODE_OK);
    }
    size_t capacity = chat_checkpoint_bytes(town.chat);
    *out = malloc(capacity);
    assert_int_equal(chat_checkpoint(town.chat, *out, 10), 0);
    size_t len = chat_checkpoint(town.chat, *out, capacity);
    assert_true(len > 500);
    for (size_t cut = len - 20; cut < len; cut++) {
        uint8_t *small = malloc(cut);
        assert_int_equal(chat_checkpoint(town.chat, small, cut), 0);
        free(small);
    }
    town_close(&town);
    return len;
}

static void damage_is_refused(void **state)
{
    (void)state;
    uint8_t *good;
    size_t len = rich_checkpoint(&good);
    size_t memory_bytes = chat_memory(&limits);
    void *memory = malloc(memory_bytes);
    for (size_t cut = 0; cut <= len; cut++) {
        uint8_t *part = malloc(cut ? cut : 1);
        memcpy(part, good, cut);
        memset(memory, 0, memory_bytes);
        struct chat *chat = chat_init(memory, &limits, &crypto_sodium);
        assert_int_equal(chat_restore(chat, (struct slice) { part, cut }), cut == len);
        free(part);
    }
    for (size_t at = 0; at < len; at++) {
        good[at] ^= (uint8_t)(1u << at % 8);
        memset(memory, 0, memory_bytes);
        struct chat *chat = chat_init(memory, &limits, &crypto_sodium);
        assert_false(chat_restore(chat, (struct slice) { good, len }));
        good[at] ^= (uint8_t)(1u << at % 8);
    }
    free(memory);
    free(good);
}

/* Under a right check nothing crashes, and what is taken is a state that goes on: it makes the very
 * bytes it was read from, and applies. */
static void forged_ones_are_refused_or_whole(void **state)
{
    (void)state;
    static const uint8_t key[DIGEST_KEY_BYTES] = "ftchat state 1";
    uint8_t *good;
    size_t len = rich_checkpoint(&good);
    uint8_t *again = malloc(len + 1000);
    uint32_t refused = 0, taken = 0;
    for (size_t at = 0; at < (len - 8) * 3; at++) {
        static const uint8_t damage[3] = { 0x01, 0x80, 0xff };
        uint8_t *byte = &good[at / 3];
        *byte ^= damage[at % 3];
        bytes_put_u64(good + len - 8, crypto_sodium.digest(key, good, len - 8));
        struct town town;
        town_open(&town, &limits);
        if (chat_restore(town.chat, (struct slice) { good, len })) {
            taken++;
            assert_int_equal(chat_checkpoint(town.chat, again, len + 1000), len);
            assert_memory_equal(again, good, len);
            town.index = 1 << 20;
            for (uint32_t device = 1; device <= USERS; device++) {
                const struct chat_device *shown = chat_device(town.chat, device);
                town.seq[device] = shown ? shown->last : 0;
                town_post(&town, device, "#r0", "x");
                town_post(&town, device, "@u1", "x");
                town_room(&town, device, COMMAND_JOIN, "#r1");
                town_read(&town, device, "#r1", 99);
                town_enrol(&town, users[device - 1], device, device + 900, 0, 0);
                town_do(&town, device, (struct command) { .kind = COMMAND_CLOSE });
            }
        } else {
            refused++;
        }
        town_close(&town);
        *byte ^= damage[at % 3];
    }
    assert_true(refused > 100);
    assert_true(taken > 100);
    free(again);
    free(good);
}

/* Many entries with few hashes, put in and taken out, against a plain array. */
static void tables(void **state)
{
    (void)state;
    enum { ENTRIES = 60 };
    random_seed(&random_state, 3);
    struct table table;
    void *memory = calloc(1, table_memory(ENTRIES));
    table_init(&table, memory, ENTRIES);
    uint32_t hashes[ENTRIES + 1] = { 0 };
    bool in[ENTRIES + 1] = { false };
    for (int i = 0; i < 50000; i++) {
        uint32_t position = 1 + below(ENTRIES);
        if (in[position]) {
            table_remove(&table, hashes[position], position);
        } else {
            hashes[position] = below(3) ? below(8) * 17 : UINT32_MAX - below(4);
            table_insert(&table, hashes[position], position);
        }
        in[position] = !in[position];
        uint32_t look = 1 + below(ENTRIES);
        uint32_t found = 0, expected = 0;
        struct table_probe probe = table_probe(hashes[look]);
        for (uint32_t at; (at = table_next(&table, &probe)) != 0; found++)
            assert_true(in[at] && hashes[at] == hashes[look]);
        for (uint32_t at = 1; at <= ENTRIES; at++)
            expected += in[at] && hashes[at] == hashes[look];
        assert_int_equal(found, expected);
    }
    free(memory);
}

static void default_limits_fit(void **state)
{
    (void)state;
    assert_true(chat_memory(&chat_limits_default) < (size_t)1 << 30);
    assert_int_equal(chat_limits_default.devices, LIMIT_DEVICES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_streams),
        cmocka_unit_test(damage_is_refused),
        cmocka_unit_test(forged_ones_are_refused_or_whole),
        cmocka_unit_test(tables),
        cmocka_unit_test(default_limits_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
