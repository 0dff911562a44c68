/* core/chat: DELETE: who may, what it answers, and what erasing a post leaves. */
#include "tests/test_chat.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "cmd/crypto_sodium.h"
#include "core/body.h"

static struct town town;
static uint32_t alice, bob, carl;

static int open_town(void **state)
{
    (void)state;
    town_form(&town, &town_small);
    alice = town_user(&town, "alice", 1);
    bob = town_user(&town, "bob", 2);
    carl = town_user(&town, "carl", 3);
    assert_int_equal(town_create(&town, alice, "#ops", false), CODE_OK);
    assert_int_equal(town_room(&town, bob, COMMAND_JOIN, "#ops"), CODE_OK);
    return 0;
}

static int close_town(void **state)
{
    (void)state;
    town_close(&town);
    return 0;
}

/* As a node that found the post by `author` (its account) at `index`. */
static enum chat_code delete (uint32_t device, const char *room, uint64_t seq, uint8_t target_state,
                              uint64_t index, uint32_t author) {
    return town_do(&town, device,
                   (struct command) { .kind = COMMAND_DELETE,
                                      .room = text_of(room),
                                      .read_seq = seq,
                                      .target = { .state = target_state,
                                                  .index = index,
                                                  .author = author,
                                                  .check = 77 } });
}

static void who_may(void **state)
{
    (void)state;
    uint64_t at[4];
    for (unsigned i = 1; i < 4; i++) {
        assert_int_equal(town_post(&town, i == 2 ? alice : bob, "#ops", "hi"), CODE_OK);
        at[i] = town.index;
    }
    assert_int_equal(delete (bob, "#ops", 1, TARGET_THERE, at[1], 2), CODE_OK);
    assert_true(town.applied.indexed && town.applied.event);
    assert_int_equal(town.applied.command.target.index, at[1]);
    assert_int_equal(town.applied.command.target.check, 77);
    uint32_t room = town_find(&town, 1, "#ops");
    assert_int_equal(town.applied.answer.room, room);
    assert_int_equal(town.applied.answer.room_seq, 0);
    assert_int_equal(chat_room(town.chat, room)->last_index, town.index);
    assert_int_equal(chat_room(town.chat, room)->last_seq, 3);
    /* Bob is no operator, Alice is; Carl is not there. */
    assert_int_equal(delete (bob, "#ops", 2, TARGET_THERE, at[2], 1), CODE_FORBIDDEN);
    assert_false(town.applied.indexed);
    assert_int_equal(delete (alice, "#ops", 3, TARGET_THERE, at[3], 2), CODE_OK);
    assert_true(town.applied.indexed);
    assert_int_equal(delete (carl, "#ops", 2, TARGET_THERE, at[2], 1), CODE_NOT_A_MEMBER);
    assert_int_equal(delete (carl, "#nope", 2, TARGET_THERE, at[2], 1), CODE_UNKNOWN_ROOM);
    assert_int_equal(delete (carl, "@nobody", 2, TARGET_THERE, at[2], 1), CODE_UNKNOWN_USER);
    /* Who left deletes nothing any more, what is his neither. */
    assert_int_equal(town_room(&town, bob, COMMAND_PART, "#ops"), CODE_OK);
    assert_int_equal(delete (bob, "#ops", 1, TARGET_THERE, at[1], 2), CODE_NOT_A_MEMBER);
}

static void a_conversation_has_no_operator(void **state)
{
    (void)state;
    assert_int_equal(town_post(&town, alice, "@bob", "hi"), CODE_OK);
    uint64_t at = town.index;
    assert_int_equal(delete (bob, "@alice", 1, TARGET_THERE, at, 1), CODE_FORBIDDEN);
    assert_int_equal(delete (alice, "@bob", 1, TARGET_THERE, at, 1), CODE_OK);
    assert_true(town.applied.indexed);
    assert_int_equal(delete (alice, "@carl", 1, TARGET_THERE, at, 1), CODE_UNKNOWN_ROOM);
}

static void what_is_not_there(void **state)
{
    (void)state;
    assert_int_equal(delete (bob, "#ops", 1, TARGET_UNKNOWN, 0, 0), CODE_BAD_REQUEST);
    assert_int_equal(town.applied.result, CHAT_APPLIED);
    assert_int_equal(delete (bob, "#ops", 0, TARGET_UNKNOWN, 0, 0), CODE_BAD_REQUEST);
    assert_int_equal(town_post(&town, bob, "#ops", "hi"), CODE_OK);
    uint64_t at = town.index;
    /* A node that was behind did not find it: no answer, nothing is consumed. */
    uint64_t before = chat_hash(town.chat);
    assert_int_equal(delete (bob, "#ops", 1, TARGET_UNKNOWN, 0, 0), CODE_BUSY);
    assert_int_equal(town.applied.result, CHAT_FULL);
    assert_true(chat_hash(town.chat) == before);
    assert_int_equal(delete (bob, "#ops", 1, TARGET_GONE, 0, 0), CODE_BAD_REQUEST);
    assert_int_equal(delete (bob, "#ops", 2, TARGET_THERE, at, 2), CODE_BAD_REQUEST);
    /* What no node says. */
    assert_int_equal(delete (bob, "#ops", 1, TARGET_THERE, 0, 2), CODE_BAD_REQUEST);
    assert_int_equal(delete (bob, "#ops", 1, TARGET_THERE, town.index + 1, 2), CODE_BAD_REQUEST);
    assert_int_equal(delete (bob, "#ops", 1, TARGET_THERE, at, 0), CODE_BAD_REQUEST);
    assert_int_equal(delete (bob, "#ops", 1, TARGET_THERE, at, 99), CODE_BAD_REQUEST);
    /* Again: committed, and nobody is told. */
    assert_int_equal(delete (bob, "#ops", 1, TARGET_DELETED, at, 2), CODE_OK);
    assert_int_equal(town.applied.result, CHAT_APPLIED);
    assert_false(town.applied.indexed);
    assert_int_equal(delete (alice, "#ops", 1, TARGET_DELETED, at, 2), CODE_OK);
}

/* Under its seq it is answered once, whatever the node that took it found. */
static void exactly_once(void **state)
{
    (void)state;
    assert_int_equal(town_post(&town, bob, "#ops", "hi"), CODE_OK);
    uint64_t at = town.index;
    assert_int_equal(delete (bob, "#ops", 1, TARGET_THERE, at, 2), CODE_OK);
    uint64_t index = town.index;
    uint64_t digest = town.digest;
    town.seq[bob % TEST_DEVICES]--;
    assert_int_equal(delete (bob, "#ops", 1, TARGET_DELETED, at, 2), CODE_OK);
    assert_int_equal(town.applied.result, CHAT_REPEATED);
    assert_int_equal(town.applied.answer.index, index);
    assert_false(town.applied.indexed);
    assert_true(town.digest == digest);
    assert_int_equal(delete (bob, "#ops", 2, TARGET_THERE, at, 2), CODE_CONFLICT);
}

static void the_target_is_put_behind_the_content(void **state)
{
    (void)state;
    uint8_t body[256];
    struct command command = {
        .kind = COMMAND_DELETE, .seq = 1, .beyond = 1, .room = text_of("#ops"), .read_seq = 9
    };
    size_t len = command_encode(&command, body, sizeof body);
    struct command decoded;
    assert_true(command_decode(&decoded, (struct slice) { body, len }));
    uint64_t digest = command_digest(&decoded, &crypto_sodium);
    for (unsigned i = 0; i < 2; i++) {
        struct command_target target = {
            .state = TARGET_THERE, .index = 5 + i, .author = 6, .check = 7
        };
        size_t more = command_set_target(body, len, &target);
        assert_int_equal(more, COMMAND_HEAD_BYTES + decoded.content.len + COMMAND_TARGET_BYTES);
        len = more;
        struct command with;
        assert_true(command_decode(&with, (struct slice) { body, len }));
        assert_int_equal(with.target.index, 5 + i);
        assert_int_equal(with.target.author, 6);
        assert_int_equal(with.read_seq, 9);
        assert_true(command_digest(&with, &crypto_sodium) == digest);
    }
    assert_false(command_decode(&decoded, (struct slice) { body, len - 1 }));
    body[len - COMMAND_TARGET_BYTES] = TARGET_GONE + 1;
    assert_false(command_decode(&decoded, (struct slice) { body, len }));
}

static void erasing(void **state)
{
    (void)state;
    static const char words[] = "a secret that is long enough";
    struct command post = { .kind = COMMAND_POST,
                            .device = 5,
                            .seq = 7,
                            .beyond = 2,
                            .account = 3,
                            .tag = 99,
                            .flags = POST_ME | POST_SENT | POST_REPLY,
                            .sent_us = 1234,
                            .reply_to = 3,
                            .room = text_of("#ops"),
                            .text = text_of(words),
                            .salt = (const uint8_t *)"saltsalt" };
    uint8_t body[256];
    size_t len = command_encode(&post, body, sizeof body);
    struct command whole;
    assert_true(command_decode(&whole, (struct slice) { body, len }));
    uint64_t digest = command_digest(&whole, &crypto_sodium);
    assert_true(body_erase(&crypto_sodium, body, len));
    uint32_t check = body_erased_check(&crypto_sodium, body, len);
    for (size_t i = 0; i + 4 < len; i++)
        assert_memory_not_equal(body + i, words + 2, 4);
    struct command left;
    assert_true(command_decode(&left, (struct slice) { body, len }));
    assert_int_equal(left.text.len, 0);
    assert_int_equal(left.flags, whole.flags | POST_ERASED);
    assert_int_equal(left.account, 3);
    assert_int_equal(left.tag, 99);
    assert_int_equal(left.sent_us, 1234);
    assert_int_equal(left.reply_to, 3);
    assert_true(command_digest(&left, &crypto_sodium) == digest);
    /* Again: nothing. And of what is no post: nothing. */
    assert_true(body_erase(&crypto_sodium, body, len));
    assert_int_equal(body_erased_check(&crypto_sodium, body, len), check);
    body[0] = COMMAND_JOIN;
    assert_false(body_erase(&crypto_sodium, body, len));
}

/* A log with erased posts comes to the same state as the one that was applied first. */
static void applying_what_was_erased(void **state)
{
    (void)state;
    struct town other;
    assert_true(town_copy(&other, &town));
    assert_int_equal(town_post(&town, bob, "#ops", "a secret"), CODE_OK);
    memcpy(other.body, town.body, town.body_len);
    other.body_len = town.body_len;
    other.index = town.index - 1;
    other.time_us = town.time_us - 10;
    assert_true(body_erase(&crypto_sodium, other.body, other.body_len));
    assert_int_equal(town_again(&other), CODE_OK);
    assert_int_equal(other.applied.answer.room_seq, 1);
    assert_true(chat_hash(other.chat) == chat_hash(town.chat));
    /* And its device, which resends what it was, gets the same answer. */
    memcpy(other.body, town.body, town.body_len);
    assert_int_equal(town_again(&other), CODE_OK);
    assert_int_equal(other.applied.result, CHAT_REPEATED);
    town_close(&other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(who_may, open_town, close_town),
        cmocka_unit_test_setup_teardown(a_conversation_has_no_operator, open_town, close_town),
        cmocka_unit_test_setup_teardown(what_is_not_there, open_town, close_town),
        cmocka_unit_test_setup_teardown(exactly_once, open_town, close_town),
        cmocka_unit_test(the_target_is_put_behind_the_content),
        cmocka_unit_test(erasing),
        cmocka_unit_test_setup_teardown(applying_what_was_erased, open_town, close_town),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
