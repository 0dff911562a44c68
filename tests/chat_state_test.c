/* core/chat: accounts, devices, invites, rooms, posts: every command and every code. */
#include "tests/test_chat.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static struct town town;
static uint32_t alice, bob;

static int open_town(void **state)
{
    (void)state;
    town_form(&town, &town_small);
    alice = town_user(&town, "alice", 1);
    bob = town_user(&town, "bob", 2);
    return 0;
}

static int close_town(void **state)
{
    (void)state;
    town_close(&town);
    return 0;
}

static void assert_event(uint32_t room)
{
    assert_true(town.applied.indexed);
    assert_true(town.applied.event);
    assert_int_equal(town.applied.answer.room, room);
    assert_int_equal(chat_room(town.chat, room)->last_index, town.index);
}

static void assert_quiet(void)
{
    assert_int_equal(town.applied.result, CHAT_APPLIED);
    assert_false(town.applied.indexed);
    assert_false(town.applied.event);
}

static void before_genesis_and_forming(void **state)
{
    (void)state;
    struct town blank;
    town_open(&blank, &town_small);
    assert_false(chat_genesis(blank.chat)->done);
    assert_int_equal(town_enrol(&blank, "alice", 1, 1, ENROL_REGISTER, 0), CODE_FORMING);
    assert_int_equal(blank.applied.result, CHAT_IGNORED);
    static const uint8_t secret[32] = "x";
    struct command genesis = {
        .kind = COMMAND_GENESIS, .secret = secret, .slots = 5, .segment_bytes = 99
    };
    assert_int_equal(town_apply(&blank, &genesis), CODE_OK);
    assert_int_equal(town_again(&blank), CODE_OK);
    genesis.slots = 7;
    assert_int_equal(town_apply(&blank, &genesis), CODE_EXISTS);
    assert_int_equal(chat_genesis(blank.chat)->slots, 5);
    assert_int_equal(chat_genesis(blank.chat)->segment_bytes, 99);
    uint32_t device = town_user(&blank, "alice", 1);
    assert_int_equal(town_create(&blank, device, "#ops", false), CODE_OK);
    assert_int_equal(town_post(&blank, device, "#ops", "hi"), CODE_FORMING);
    assert_int_equal(blank.applied.result, CHAT_FULL);
    struct command formed = { .kind = COMMAND_FORMED };
    assert_int_equal(town_apply(&blank, &formed), CODE_OK);
    assert_true(chat_genesis(blank.chat)->formed);
    assert_int_equal(town_again(&blank), CODE_OK);
    assert_int_equal(town_post(&blank, device, "#ops", "hi"), CODE_OK);
    struct command health = { .kind = COMMAND_HEALTH, .nonce = 9 };
    assert_int_equal(town_apply(&blank, &health), CODE_OK);
    assert_int_equal(blank.applied.answer.index, blank.index);
    town_close(&blank);
}

static void enrolling(void **state)
{
    (void)state;
    assert_int_equal(chat_accounts(town.chat), 2);
    assert_int_equal(town_enrol(&town, "nobody", 9, 9, 0, 0), CODE_BAD_PASSWORD);
    assert_int_equal(town_enrol(&town, "alice", 9, 9, 0, 0), CODE_BAD_PASSWORD);
    assert_int_equal(town_enrol(&town, "alice", 9, 9, ENROL_REGISTER, 0), CODE_EXISTS);
    assert_int_equal(town_enrol(&town, "9lives", 9, 9, ENROL_REGISTER, 0), CODE_BAD_NAME);
    assert_int_equal(town_enrol(&town, "bob", 2, 1, 0, 0), CODE_CONFLICT);
    assert_int_equal(town_enrol(&town, "carl", 3, 1, ENROL_REGISTER, 0), CODE_CONFLICT);
    assert_int_equal(chat_accounts(town.chat), 2);
    assert_int_equal(chat_account(town.chat, 1)->devices, 1);
    assert_int_equal(town_enrol(&town, "ALICE", 1, 11, ENROL_REGISTER, 0), CODE_OK);
    uint32_t second = town.applied.device;
    assert_int_not_equal(second, alice);
    assert_int_equal(town.applied.account, 1);
    assert_int_equal(town_again(&town), CODE_OK);
    assert_int_equal(town.applied.device, second);
    assert_int_equal(chat_account(town.chat, 1)->devices, 2);
    assert_int_equal(chat_find_account(town.chat, text_of("Alice")), 1);
    assert_int_equal(chat_find_account(town.chat, text_of("al")), 0);
    for (uint64_t i = 3; i <= town_small.accounts; i++) {
        char name[] = { (char)('a' + i), 0 };
        town_user(&town, name, i);
    }
    uint64_t before = chat_hash(town.chat);
    assert_int_equal(town_enrol(&town, "zed", 99, 99, ENROL_REGISTER, 0), CODE_BUSY);
    assert_int_equal(town.applied.result, CHAT_FULL);
    assert_true(chat_hash(town.chat) == before);
}

static void invites(void **state)
{
    (void)state;
    uint8_t flags = ENROL_REGISTER | ENROL_NEEDS_TOKEN;
    uint64_t later = town.time_us + 1000;
    assert_int_equal(town_invite(&town, 5, 0, later), CODE_BAD_REQUEST);
    assert_int_equal(town_invite(&town, 5, 1, town.time_us), CODE_BAD_REQUEST);
    assert_int_equal(town_enrol(&town, "carl", 3, 3, flags, 5), CODE_REGISTRATION_CLOSED);
    assert_int_equal(town_invite(&town, 5, 2, later), CODE_OK);
    assert_int_equal(town_invite(&town, 5, 3, later), CODE_CONFLICT);
    assert_int_equal(town_enrol(&town, "carl", 3, 3, flags, 6), CODE_REGISTRATION_CLOSED);
    /* The account is there: nothing is spent. */
    assert_int_equal(town_enrol(&town, "alice", 1, 12, flags, 5), CODE_OK);
    assert_int_equal(town_enrol(&town, "carl", 3, 3, flags, 5), CODE_OK);
    assert_int_equal(town_again(&town), CODE_OK);
    assert_int_equal(town_enrol(&town, "dora", 4, 4, flags, 5), CODE_OK);
    assert_int_equal(town_enrol(&town, "emil", 5, 5, flags, 5), CODE_REGISTRATION_CLOSED);
    /* Coming again does not make a spent one good. */
    assert_int_equal(town_invite(&town, 5, 2, later), CODE_OK);
    assert_int_equal(town_enrol(&town, "emil", 5, 5, flags, 5), CODE_REGISTRATION_CLOSED);
    for (uint64_t token = 6; token <= 8; token++)
        assert_int_equal(town_invite(&town, token, 1, later + token), CODE_OK);
    assert_int_equal(town_invite(&town, 9, 1, later + 5000), CODE_BUSY);
    assert_int_equal(town.applied.result, CHAT_FULL);
    town.time_us = later;
    assert_int_equal(town_invite(&town, 9, 1, later + 5000), CODE_OK);
    assert_int_equal(town_enrol(&town, "emil", 5, 5, flags, 6), CODE_REGISTRATION_CLOSED);
    assert_int_equal(town_enrol(&town, "emil", 5, 5, flags, 9), CODE_OK);
}

static void least_recently_used_device_ends(void **state)
{
    (void)state;
    uint32_t devices[LIMIT_DEVICES_PER_ACCOUNT + 3];
    devices[1] = alice;
    for (uint32_t i = 2; i <= LIMIT_DEVICES_PER_ACCOUNT; i++) {
        assert_int_equal(town_enrol(&town, "alice", 1, 1000 + i, 0, 0), CODE_OK);
        devices[i] = town.applied.device;
        assert_int_equal(town.applied.ended_device, 0);
    }
    /* The oldest posts (is refused, which is use enough); the second enrols again. */
    assert_int_equal(town_post(&town, devices[1], "#none", "x"), CODE_UNKNOWN_ROOM);
    assert_int_equal(town_enrol(&town, "alice", 1, 1002, 0, 0), CODE_OK);
    assert_int_equal(town_enrol(&town, "alice", 1, 2000, 0, 0), CODE_OK);
    assert_int_equal(town.applied.ended_device, devices[3]);
    assert_int_equal(chat_device(town.chat, devices[3])->account, 0);
    assert_int_equal(town_post(&town, devices[3], "#none", "x"), CODE_REVOKED);
    assert_int_equal(town_enrol(&town, "alice", 1, 2001, 0, 0), CODE_OK);
    assert_int_equal(town.applied.ended_device, devices[4]);
    assert_int_equal(chat_account(town.chat, 1)->devices, LIMIT_DEVICES_PER_ACCOUNT);
    assert_int_equal(chat_device(town.chat, bob)->account, 2);
}

static void rooms(void **state)
{
    (void)state;
    assert_int_equal(town_create(&town, alice, "#Ops", false), CODE_BAD_NAME);
    assert_int_equal(town_create(&town, alice, "@bob", false), CODE_BAD_NAME);
    assert_int_equal(town_create(&town, alice, "#ops", false), CODE_OK);
    assert_event(1);
    assert_int_equal(town_create(&town, bob, "#ops", true), CODE_EXISTS);
    assert_quiet();
    const struct chat_membership *member = chat_membership(town.chat, 1, 1);
    assert_true(member->is_operator);
    assert_int_equal(member->join_index, town.index - 1);
    assert_null(chat_membership(town.chat, 2, 1));
    assert_int_equal(town_post(&town, bob, "#ops", "hi"), CODE_NOT_A_MEMBER);
    assert_quiet();
    assert_int_equal(town_room(&town, bob, COMMAND_PART, "#ops"), CODE_OK);
    assert_quiet();
    assert_int_equal(town_room(&town, bob, COMMAND_JOIN, "#nope"), CODE_UNKNOWN_ROOM);
    assert_int_equal(town_room(&town, bob, COMMAND_JOIN, "nope"), CODE_BAD_NAME);
    assert_int_equal(town_room(&town, bob, COMMAND_JOIN, "@alice"), CODE_BAD_REQUEST);
    assert_int_equal(town_room(&town, bob, COMMAND_PART, "@zoe"), CODE_UNKNOWN_USER);
    assert_int_equal(town_room(&town, bob, COMMAND_JOIN, "#ops"), CODE_OK);
    assert_event(1);
    uint64_t joined = town.index;
    assert_int_equal(town_room(&town, bob, COMMAND_JOIN, "#ops"), CODE_OK);
    assert_quiet();
    assert_int_equal(chat_membership(town.chat, 2, 1)->join_index, joined);
    assert_int_equal(chat_room(town.chat, 1)->members, 2);
    assert_int_equal(town_room(&town, bob, COMMAND_PART, "#ops"), CODE_OK);
    assert_event(1);
    assert_int_equal(chat_membership(town.chat, 2, 1)->leave_index, town.index);
    assert_int_equal(chat_room(town.chat, 1)->members, 1);
    assert_int_equal(town_post(&town, bob, "#ops", "hi"), CODE_NOT_A_MEMBER);
    assert_int_equal(town_room(&town, bob, COMMAND_JOIN, "#ops"), CODE_OK);
    assert_event(1);
    assert_int_equal(chat_membership(town.chat, 2, 1)->leave_index, 0);
    assert_int_equal(chat_membership(town.chat, 2, 1)->join_index, town.index);
    const struct chat_membership *at = chat_next_of_room(town.chat, 1, NULL);
    assert_int_equal(at->account, 2);
    at = chat_next_of_room(town.chat, 1, at);
    assert_int_equal(at->account, 1);
    assert_null(chat_next_of_room(town.chat, 1, at));
    assert_null(chat_next_of_account(town.chat, 1, at));
}

static void private_rooms(void **state)
{
    (void)state;
    assert_int_equal(town_create(&town, alice, "#den", true), CODE_OK);
    assert_true(chat_room(town.chat, 1)->is_private);
    assert_int_equal(town_room(&town, bob, COMMAND_JOIN, "#den"), CODE_FORBIDDEN);
    assert_quiet();
    assert_null(chat_membership(town.chat, 2, 1));
    assert_int_equal(town_room(&town, alice, COMMAND_JOIN, "#den"), CODE_OK);
    assert_int_equal(town_topic(&town, alice, "#den", "t"), CODE_OK);
    assert_int_equal(town_room(&town, alice, COMMAND_PART, "#den"), CODE_OK);
    assert_false(chat_membership(town.chat, 1, 1)->is_operator);
    assert_int_equal(town_room(&town, alice, COMMAND_JOIN, "#den"), CODE_FORBIDDEN);
}

static void topics(void **state)
{
    (void)state;
    assert_int_equal(town_create(&town, alice, "#ops", false), CODE_OK);
    assert_int_equal(town_topic(&town, bob, "#ops", "mine"), CODE_NOT_A_MEMBER);
    assert_int_equal(town_topic(&town, bob, "#nope", "mine"), CODE_UNKNOWN_ROOM);
    assert_int_equal(town_topic(&town, alice, "#ops", "\xff"), CODE_NOT_UTF8);
    town_room(&town, bob, COMMAND_JOIN, "#ops");
    assert_int_equal(town_topic(&town, bob, "#ops", "outage"), CODE_OK);
    assert_event(1);
    assert_int_equal(town_topic(&town, bob, "#ops", "outage"), CODE_OK);
    assert_quiet();
    struct slice topic = chat_room_topic(town.chat, 1);
    assert_int_equal(topic.len, 6);
    assert_memory_equal(topic.data, "outage", 6);
    assert_int_equal(town_topic(&town, alice, "#ops", ""), CODE_OK);
    assert_event(1);
    assert_int_equal(chat_room_topic(town.chat, 1).len, 0);
}

static enum chat_code reply(uint32_t device, const char *room, uint64_t to)
{
    return town_do(&town, device,
                   (struct command) { .kind = COMMAND_POST,
                                      .room = text_of(room),
                                      .text = text_of("re"),
                                      .salt = (const uint8_t *)"12345678",
                                      .flags = POST_REPLY,
                                      .reply_to = to });
}

/* As the node that takes it stamps it: whatever the others' settings, all refuse it. */
static enum chat_code over_long(uint32_t device, const char *room)
{
    return town_do(&town, device,
                   (struct command) { .kind = COMMAND_POST,
                                      .over_long = true,
                                      .room = text_of(room),
                                      .text = text_of("long"),
                                      .salt = (const uint8_t *)"12345678" });
}

static void posts_and_reads(void **state)
{
    (void)state;
    assert_int_equal(town_create(&town, alice, "#ops", false), CODE_OK);
    assert_int_equal(town_create(&town, alice, "#dev", false), CODE_OK);
    assert_int_equal(town_post(&town, alice, "#ops", ""), CODE_BAD_REQUEST);
    assert_int_equal(town_post(&town, alice, "#ops", "\xed\xa0\x80"), CODE_NOT_UTF8);
    assert_int_equal(town_post(&town, alice, "#nope", "x"), CODE_UNKNOWN_ROOM);
    assert_int_equal(town_post(&town, alice, "", "x"), CODE_BAD_NAME);
    assert_int_equal(over_long(alice, "#ops"), CODE_TOO_LONG);
    for (uint64_t i = 1; i <= 5; i++) {
        assert_int_equal(town_post(&town, alice, "#ops", "x"), CODE_OK);
        assert_int_equal(town.applied.answer.room_seq, i);
        assert_int_equal(town.applied.answer.room, 1);
        assert_int_equal(town.applied.answer.time_us, town.time_us);
    }
    assert_int_equal(town_post(&town, alice, "#dev", "x"), CODE_OK);
    assert_int_equal(town.applied.answer.room_seq, 1);
    assert_int_equal(reply(alice, "#ops", 0), CODE_BAD_REQUEST);
    assert_int_equal(reply(alice, "#ops", 6), CODE_BAD_REQUEST);
    assert_int_equal(reply(alice, "#ops", 5), CODE_OK);
    assert_int_equal(town_read(&town, alice, "#ops", 4), CODE_OK);
    assert_quiet();
    assert_int_equal(town_read(&town, alice, "#ops", 2), CODE_OK);
    assert_int_equal(chat_membership(town.chat, 1, 1)->read_seq, 4);
    assert_int_equal(town_read(&town, alice, "#ops", UINT64_MAX), CODE_OK);
    assert_int_equal(chat_membership(town.chat, 1, 1)->read_seq, 6);
    assert_int_equal(town_read(&town, bob, "#ops", 1), CODE_NOT_A_MEMBER);
    assert_int_equal(town_read(&town, bob, "@alice", 1), CODE_UNKNOWN_ROOM);
}

static void direct_conversations(void **state)
{
    (void)state;
    assert_int_equal(town_post(&town, alice, "@zoe", "hi"), CODE_UNKNOWN_USER);
    assert_int_equal(town_post(&town, alice, "@", "hi"), CODE_BAD_NAME);
    assert_int_equal(reply(alice, "@bob", 1), CODE_BAD_REQUEST);
    assert_int_equal(chat_rooms(town.chat), 0);
    assert_int_equal(town_post(&town, bob, "@Alice", "hi"), CODE_OK);
    assert_true(town.applied.indexed);
    assert_false(town.applied.event);
    assert_int_equal(town_post(&town, alice, "@bob", "hello"), CODE_OK);
    assert_int_equal(town.applied.answer.room_seq, 2);
    assert_int_equal(chat_rooms(town.chat), 1);
    assert_int_equal(town_find(&town, 1, "@bob"), 1);
    assert_int_equal(town_find(&town, 2, "@alice"), 1);
    assert_int_equal(town_find(&town, 1, "@alice"), 0);
    assert_int_equal(chat_room(town.chat, 1)->members, 2);
    assert_false(chat_membership(town.chat, 1, 1)->is_operator);
    uint8_t name[LIMIT_ROOM_NAME];
    assert_int_equal(chat_room_name(town.chat, 1, 1, name), 4);
    assert_memory_equal(name, "@bob", 4);
    assert_int_equal(chat_room_name(town.chat, 1, 2, name), 6);
    assert_memory_equal(name, "@alice", 6);
    assert_int_equal(town_post(&town, alice, "@alice", "note"), CODE_OK);
    assert_int_equal(chat_room(town.chat, 2)->members, 1);
    assert_int_equal(chat_room_name(town.chat, 2, 1, name), 6);
    assert_int_equal(town_post(&town, alice, "@alice", "note"), CODE_OK);
    assert_int_equal(town.applied.answer.room_seq, 2);
}

static void full_tables_change_nothing(void **state)
{
    (void)state;
    char name[] = "#a";
    for (uint32_t i = 0; i < town_small.rooms; i++, name[1]++)
        assert_int_equal(town_create(&town, alice, name, false), CODE_OK);
    uint64_t before = chat_hash(town.chat);
    assert_int_equal(town_create(&town, alice, "#z", false), CODE_BUSY);
    assert_int_equal(town.applied.result, CHAT_FULL);
    assert_int_equal(town_post(&town, alice, "@bob", "x"), CODE_BUSY);
    assert_int_equal(town_post(&town, alice, "@alice", "x"), CODE_BUSY);
    assert_true(chat_hash(town.chat) == before);
    for (name[1] = 'a'; name[1] < 'a' + (char)town_small.rooms; name[1]++)
        assert_int_equal(town_room(&town, bob, COMMAND_JOIN, name), CODE_OK);
    uint32_t carl = town_user(&town, "carl", 3);
    before = chat_hash(town.chat);
    assert_int_equal(town_room(&town, carl, COMMAND_JOIN, "#a"), CODE_BUSY);
    assert_int_equal(town.applied.result, CHAT_FULL);
    assert_true(chat_hash(town.chat) == before);
    assert_int_equal(town_post(&town, bob, "#a", "still going"), CODE_OK);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, open_town, close_town)

/* Who left at an index is told of it, and is shown nothing that comes after it. */
static void a_member_of_an_index_and_after_it(void **state)
{
    (void)state;
    struct chat_membership left = {
        .join_index = 10, .leave_index = 20, .earlier_count = 1, .earlier = { { 2, 5 } }
    };
    static const struct {
        uint64_t index;
        bool was;
        bool after;
    } rows[] = { { 1, false, false }, { 2, true, true },   { 4, true, true },
                 { 5, true, false },  { 6, false, false }, { 9, false, false },
                 { 10, true, true },  { 20, true, false }, { 21, false, false } };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_int_equal(chat_was_member(&left, rows[i].index), rows[i].was);
        assert_int_equal(chat_was_member_after(&left, rows[i].index), rows[i].after);
    }
    left.leave_index = 0;
    assert_true(chat_was_member_after(&left, 1000));
    assert_false(chat_was_member_after(NULL, 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(before_genesis_and_forming),
        CASE(enrolling),
        CASE(invites),
        CASE(least_recently_used_device_ends),
        CASE(rooms),
        CASE(private_rooms),
        CASE(topics),
        CASE(posts_and_reads),
        CASE(direct_conversations),
        CASE(full_tables_change_nothing),
        cmocka_unit_test(a_member_of_an_index_and_after_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
