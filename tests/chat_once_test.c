/* core/chat/apply, answer: exactly once, rule by rule. */
#include "tests/test_chat.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static struct town town;
static uint32_t alice;

static int open_town(void **state)
{
    (void)state;
    town_form(&town, &town_small);
    alice = town_user(&town, "alice", 1);
    return town_create(&town, alice, "#ops", false) != CODE_OK;
}

static int close_town(void **state)
{
    (void)state;
    town_close(&town);
    return 0;
}

static const struct chat_room *ops(void)
{
    return chat_room(town.chat, town_find(&town, 1, "#ops"));
}

static enum chat_code post(uint64_t seq, uint8_t beyond, const char *text)
{
    struct command command = { .kind = COMMAND_POST,
                               .device = alice,
                               .seq = seq,
                               .beyond = beyond,
                               .room = text_of("#ops"),
                               .text = text_of(text),
                               .salt = (const uint8_t *)"12345678" };
    return town_apply(&town, &command);
}

static void seen_seq_gets_the_same_answer(void **state)
{
    (void)state;
    assert_int_equal(post(2, 1, "one"), CODE_OK);
    assert_int_equal(town.applied.result, CHAT_APPLIED);
    assert_true(town.applied.indexed);
    assert_false(town.applied.event);
    struct chat_answer first = town.applied.answer;
    assert_int_equal(first.room_seq, 1);
    assert_int_equal(first.index, town.index);
    for (int i = 0; i < 3; i++) {
        town_again(&town);
        assert_int_equal(town.applied.result, CHAT_REPEATED);
        assert_false(town.applied.indexed);
        assert_memory_equal(&town.applied.answer, &first, sizeof first);
    }
    struct chat_answer found;
    assert_int_equal(chat_look_up_answer(town.chat, alice, 2, town.digest, &found), CHAT_REPEATED);
    assert_memory_equal(&found, &first, sizeof first);
    assert_int_equal(ops()->last_seq, 1);
}

static void refusal_is_for_ever(void **state)
{
    (void)state;
    town.seq[alice] = 1;
    assert_int_equal(town_room(&town, alice, COMMAND_JOIN, "#late"), CODE_UNKNOWN_ROOM);
    uint64_t index = town.index;
    uint8_t join[64];
    size_t join_len = town.body_len;
    memcpy(join, town.body, join_len);
    struct command create = {
        .kind = COMMAND_CREATE, .device = alice, .seq = 3, .beyond = 2, .room = text_of("#late")
    };
    assert_int_equal(town_apply(&town, &create), CODE_OK);
    memcpy(town.body, join, join_len);
    town.body_len = join_len;
    assert_int_equal(town_again(&town), CODE_UNKNOWN_ROOM);
    assert_int_equal(town.applied.result, CHAT_REPEATED);
    assert_int_equal(town.applied.answer.index, index);
}

static void other_content_is_a_conflict(void **state)
{
    (void)state;
    assert_int_equal(post(2, 1, "one"), CODE_OK);
    uint64_t before = chat_hash(town.chat);
    assert_int_equal(post(2, 1, "two"), CODE_CONFLICT);
    assert_int_equal(town.applied.result, CHAT_REPEATED);
    assert_int_equal(town.applied.answer.index, 0);
    assert_false(town.applied.indexed);
    assert_true(chat_hash(town.chat) == before);
    struct chat_answer found;
    assert_int_equal(chat_look_up_answer(town.chat, alice, 2, town.digest, &found), CHAT_REPEATED);
    assert_int_equal(found.code, CODE_CONFLICT);
}

static void gap_is_never_an_answer(void **state)
{
    (void)state;
    uint64_t before = chat_hash(town.chat);
    post(3, 1, "too soon");
    assert_int_equal(town.applied.result, CHAT_GAP);
    post(UINT64_MAX, 64, "far too soon");
    assert_int_equal(town.applied.result, CHAT_GAP);
    assert_true(chat_hash(town.chat) == before);
    struct chat_answer found;
    assert_int_equal(chat_look_up_answer(town.chat, alice, 3, town.digest, &found), CHAT_GAP);
    assert_int_equal(chat_look_up_answer(town.chat, alice, 2, town.digest, &found), CHAT_APPLIED);
    assert_int_equal(post(2, 1, "in turn"), CODE_OK);
    assert_int_equal(post(3, 1, "too soon"), CODE_OK);
    assert_int_equal(town.applied.result, CHAT_APPLIED);
}

static void done_forgets_and_never_goes_back(void **state)
{
    (void)state;
    for (uint8_t i = 2; i <= 10; i++)
        assert_int_equal(post(i, i, "kept"), CODE_OK);
    const struct chat_device *device = chat_device(town.chat, alice);
    assert_int_equal(device->done, 0);
    post(5, 5, "kept");
    assert_int_equal(town.applied.answer.room_seq, 4);
    /* Resent under a higher `done`, it is the same command. */
    post(5, 2, "kept");
    assert_int_equal(town.applied.result, CHAT_REPEATED);
    assert_int_equal(town.applied.answer.room_seq, 4);
    assert_int_equal(device->done, 3);
    post(5, 5, "kept");
    assert_int_equal(device->done, 3);
    post(3, 1, "anything: it is forgotten");
    assert_int_equal(town.applied.result, CHAT_REPEATED);
    assert_int_equal(town.applied.answer.code, CODE_OK);
    assert_int_equal(town.applied.answer.index, 0);
    assert_int_equal(post(11, 1, "new"), CODE_OK);
    assert_int_equal(device->done, 10);
    assert_int_equal(device->last, 11);
    assert_int_equal(ops()->last_seq, 10);
}

static void at_most_64_are_outstanding(void **state)
{
    (void)state;
    for (uint64_t i = 2; i <= LIMIT_OUTSTANDING; i++)
        assert_int_equal(post(i, (uint8_t)i, "kept"), CODE_OK);
    uint8_t body[64];
    struct command command = { .kind = COMMAND_VOID, .device = alice, .seq = 65, .beyond = 65 };
    assert_int_equal(command_encode(&command, body, sizeof body), 0);
    command.beyond = 64;
    town.body_len = command_encode(&command, town.body, sizeof town.body);
    for (unsigned beyond = 0; beyond < 256; beyond += beyond == 0 ? 65 : 1) {
        town.body[13] = (uint8_t)beyond;
        town_again(&town);
        assert_int_equal(town.applied.result, CHAT_IGNORED);
    }
    assert_int_equal(post(65, 64, "kept"), CODE_OK);
}

static void full_answers_consume_nothing(void **state)
{
    (void)state;
    uint32_t bob = town_user(&town, "bob", 2);
    assert_int_equal(town_room(&town, bob, COMMAND_JOIN, "#ops"), CODE_OK);
    for (uint64_t i = 2; i < LIMIT_OUTSTANDING; i++)
        assert_int_equal(post(i, (uint8_t)i, "kept"), CODE_OK);
    uint64_t before = chat_hash(town.chat);
    assert_int_equal(post(64, 64, "one too many for the pool"), CODE_BUSY);
    assert_int_equal(town.applied.result, CHAT_FULL);
    assert_false(town.applied.indexed);
    assert_true(chat_hash(town.chat) == before);
    /* What ends an old answer has room for its own. */
    assert_int_equal(town_post(&town, bob, "#ops", "hi"), CODE_OK);
    assert_int_equal(post(64, 63, "kept"), CODE_OK);
    assert_int_equal(town.applied.result, CHAT_APPLIED);
}

static void void_and_command_share_an_answer(void **state)
{
    (void)state;
    struct command give_up = { .kind = COMMAND_VOID, .device = alice, .seq = 2, .beyond = 1 };
    assert_int_equal(town_apply(&town, &give_up), CODE_VOIDED);
    assert_int_equal(town.applied.result, CHAT_APPLIED);
    assert_int_equal(post(2, 1, "late"), CODE_VOIDED);
    assert_int_equal(town.applied.result, CHAT_REPEATED);
    assert_int_equal(ops()->last_seq, 0);
    assert_int_equal(post(3, 1, "first"), CODE_OK);
    give_up.seq = 3;
    assert_int_equal(town_apply(&town, &give_up), CODE_OK);
    assert_int_equal(town.applied.result, CHAT_REPEATED);
    assert_int_equal(town.applied.answer.room_seq, 1);
}

static void close_ends_and_is_remembered(void **state)
{
    (void)state;
    assert_int_equal(post(2, 2, "kept"), CODE_OK);
    struct command close = { .kind = COMMAND_CLOSE, .device = alice, .seq = 3, .beyond = 2 };
    assert_int_equal(town_apply(&town, &close), CODE_BAD_REQUEST);
    assert_int_equal(town.applied.ended_device, 0);
    close.seq = 4;
    close.beyond = 1;
    assert_int_equal(town_apply(&town, &close), CODE_OK);
    assert_int_equal(town.applied.ended_device, alice);
    assert_int_equal(chat_device(town.chat, alice)->account, 0);
    uint8_t key[32];
    town_key(key, 1);
    assert_int_equal(chat_find_device(town.chat, key), 0);
    assert_int_equal(chat_account(town.chat, 1)->devices, 0);
    assert_int_equal(town_again(&town), CODE_OK);
    assert_int_equal(town.applied.result, CHAT_REPEATED);
    assert_int_equal(post(5, 1, "after"), CODE_REVOKED);
    assert_int_equal(town.applied.result, CHAT_IGNORED);
    assert_int_equal(post(2, 1, "before"), CODE_REVOKED);
    assert_int_equal(town.applied.result, CHAT_IGNORED);
}

/* A command that was under way when its device ended is never another device's. */
static void numbers_are_not_given_twice(void **state)
{
    (void)state;
    struct chat_limits limits = town_small;
    struct town one;
    limits.devices = 1;
    town_form(&one, &limits);
    uint32_t number = town_user(&one, "zoe", 9);
    for (uint32_t i = 1; i < 200; i++) {
        assert_int_equal(number, 1 + (i - 1) * LIMIT_DEVICES);
        assert_int_equal(town_enrol(&one, "zoe", 9, 100 + i, 0, 0), CODE_BUSY);
        assert_int_equal(one.applied.result, CHAT_FULL);
        struct command close = { .kind = COMMAND_CLOSE, .device = number, .seq = 1, .beyond = 1 };
        assert_int_equal(town_apply(&one, &close), CODE_OK);
        assert_int_equal(town_enrol(&one, "zoe", 9, 100 + i, 0, 0), CODE_OK);
        uint32_t next = one.applied.device;
        assert_int_not_equal(next, number);
        assert_null(chat_device(one.chat, number));
        assert_int_equal(town_apply(&one, &close), CODE_REVOKED);
        assert_int_equal(one.applied.result, CHAT_IGNORED);
        assert_int_equal(chat_device(one.chat, next)->last, 0);
        number = next;
    }
    town_close(&one);
}

static void strangers_are_ignored(void **state)
{
    (void)state;
    uint64_t before = chat_hash(town.chat);
    static const uint32_t strangers[] = { 0,         2, 128, 129, LIMIT_DEVICES, LIMIT_DEVICES + 1,
                                          UINT32_MAX };
    for (size_t i = 0; i < sizeof strangers / sizeof strangers[0]; i++) {
        struct command command = {
            .kind = COMMAND_VOID, .device = strangers[i], .seq = 1, .beyond = 1
        };
        assert_int_equal(town_apply(&town, &command), CODE_REVOKED);
        assert_int_equal(town.applied.result, CHAT_IGNORED);
        assert_null(chat_device(town.chat, strangers[i]));
        struct chat_answer answer;
        assert_int_equal(chat_look_up_answer(town.chat, strangers[i], 1, 0, &answer), CHAT_IGNORED);
    }
    assert_true(chat_hash(town.chat) == before);
}

static void volatile_fields_are_not_state(void **state)
{
    (void)state;
    uint64_t before = chat_hash(town.chat);
    chat_device(town.chat, alice)->admitted = 77;
    chat_device(town.chat, alice)->admitted_term = 7;
    assert_true(chat_hash(town.chat) == before);
    struct town copy;
    assert_true(town_copy(&copy, &town));
    assert_int_equal(chat_device(copy.chat, alice)->admitted, 0);
    town_close(&copy);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, open_town, close_town)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(seen_seq_gets_the_same_answer),
        CASE(refusal_is_for_ever),
        CASE(other_content_is_a_conflict),
        CASE(gap_is_never_an_answer),
        CASE(done_forgets_and_never_goes_back),
        CASE(at_most_64_are_outstanding),
        CASE(full_answers_consume_nothing),
        CASE(void_and_command_share_an_answer),
        CASE(close_ends_and_is_remembered),
        CASE(numbers_are_not_given_twice),
        CASE(strangers_are_ignored),
        CASE(volatile_fields_are_not_state),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
