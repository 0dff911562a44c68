/* core/chat/command, code: every kind there and back, every truncation, every wrong field. */
#include "cmd/crypto_sodium.h"
#include "core/chat/chat.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static const uint8_t bytes32[32] = "0123456789abcdefghijklmnopqrstuv";
static const uint8_t other32[32] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345";
static const uint8_t third32[32] = "!bcdefghijklmnopqrstuvwxyz!!!!!!";

#define TEXT(literal) ((struct slice) { (const uint8_t *)(literal), sizeof(literal) - 1 })
#define DEVICE .device = 0x01020304, .seq = 99, .beyond = 7

static const struct command samples[] = {
    { .kind = COMMAND_GENESIS, .secret = bytes32, .slots = 7, .segment_bytes = 1 << 24 },
    { .kind = COMMAND_FORMED },
    { .kind = COMMAND_INVITE, .token_hash = bytes32, .uses = 3, .expires_us = 1234567890123 },
    { .kind = COMMAND_ENROL,
      .nonce = 42,
      .flags = ENROL_REGISTER | ENROL_NEEDS_TOKEN,
      .name = TEXT("alice"),
      .account_key = bytes32,
      .device_key = other32,
      .token_hash = third32 },
    { .kind = COMMAND_HEALTH, .nonce = 43 },
    { .kind = COMMAND_POST, DEVICE, .room = TEXT("#ops"), .salt = bytes32, .text = TEXT("hi") },
    { .kind = COMMAND_POST,
      DEVICE,
      .room = TEXT("@bob"),
      .salt = bytes32,
      .flags = POST_ME | POST_SENT | POST_REPLY,
      .sent_us = 5,
      .reply_to = 6,
      .text = TEXT("hi") },
    { .kind = COMMAND_POST,
      DEVICE,
      .room = TEXT("@bob"),
      .salt = bytes32,
      .flags = POST_CLOCK | POST_REPLY_UID,
      .sent_us = 5,
      .reply_to = 6,
      .reply_tag = 7,
      .text = TEXT("hi") },
    { .kind = COMMAND_CREATE, DEVICE, .room = TEXT("#ops"), .flags = 1, .text = TEXT("topic") },
    { .kind = COMMAND_JOIN, DEVICE, .room = TEXT("#ops") },
    { .kind = COMMAND_PART, DEVICE, .room = TEXT("#ops") },
    { .kind = COMMAND_TOPIC, DEVICE, .room = TEXT("#ops"), .text = TEXT("") },
    { .kind = COMMAND_READ, DEVICE, .room = TEXT("#ops"), .read_seq = 17 },
    { .kind = COMMAND_DELETE, DEVICE, .room = TEXT("#ops"), .read_seq = 17 },
    { .kind = COMMAND_DELETE,
      DEVICE,
      .room = TEXT("#ops"),
      .read_seq = 18,
      .target = { .state = TARGET_THERE, .index = 4, .author = 3, .check = 2 } },
    { .kind = COMMAND_CLOSE, DEVICE },
    { .kind = COMMAND_VOID, DEVICE },
    { .kind = COMMAND_RESTORED, .cluster = bytes32, .shared_index = 99 },
    { .kind = COMMAND_LEVEL, .nonce = 44, .level = 2 },
};
enum { SAMPLES = sizeof samples / sizeof samples[0] };

static uint8_t body[LIMIT_COMMAND_BYTES + 16];

static void assert_slice(struct slice got, struct slice expected)
{
    assert_int_equal(got.len, expected.len);
    if (got.len)
        assert_memory_equal(got.data, expected.data, got.len);
}

static void assert_bytes(const uint8_t *got, const uint8_t *expected, size_t len)
{
    assert_true((got == NULL) == (expected == NULL));
    if (got)
        assert_memory_equal(got, expected, len);
}

static void there_and_back(void **state)
{
    (void)state;
    for (size_t i = 0; i < SAMPLES; i++) {
        const struct command *sample = &samples[i];
        size_t len = command_encode(sample, body, sizeof body);
        assert_true(len > 0);
        struct command got;
        assert_true(command_decode(&got, (struct slice) { body, len }));
        assert_int_equal(got.kind, sample->kind);
        assert_int_equal(got.device, sample->device);
        assert_int_equal(got.seq, sample->seq);
        assert_int_equal(got.beyond, sample->beyond);
        assert_int_equal(got.flags, sample->flags);
        assert_int_equal(got.sent_us, sample->sent_us);
        assert_int_equal(got.reply_to, sample->reply_to);
        assert_int_equal(got.reply_tag, sample->reply_tag);
        assert_int_equal(got.read_seq, sample->read_seq);
        assert_int_equal(got.target.state, sample->target.state);
        assert_int_equal(got.target.index, sample->target.index);
        assert_int_equal(got.target.author, sample->target.author);
        assert_int_equal(got.target.check, sample->target.check);
        assert_int_equal(got.nonce, sample->nonce);
        assert_int_equal(got.uses, sample->uses);
        assert_int_equal(got.expires_us, sample->expires_us);
        assert_int_equal(got.segment_bytes, sample->segment_bytes);
        assert_int_equal(got.slots, sample->slots);
        assert_int_equal(got.level, sample->level);
        assert_int_equal(got.shared_index, sample->shared_index);
        assert_bytes(got.cluster, sample->cluster, IDENTITY_BYTES);
        assert_slice(got.room, sample->room);
        assert_slice(got.text, sample->text);
        assert_slice(got.name, sample->name);
        assert_bytes(got.salt, sample->salt, 8);
        assert_bytes(got.secret, sample->secret, 32);
        assert_bytes(got.token_hash, sample->token_hash, 32);
        assert_bytes(got.account_key, sample->account_key, 32);
        assert_bytes(got.device_key, sample->device_key, 32);
        for (size_t capacity = 0; capacity < len; capacity++)
            assert_int_equal(command_encode(sample, body, capacity), 0);
    }
}

/* Each in a block of its own size: a read beyond it would be seen. Only a post's text may end
 * anywhere, and what a device sends of a DELETE has no target. */
static void every_truncation(void **state)
{
    (void)state;
    for (size_t i = 0; i < SAMPLES; i++) {
        size_t len = command_encode(&samples[i], body, sizeof body);
        for (size_t cut = 0; cut <= len + 1; cut++) {
            uint8_t *part = malloc(cut ? cut : 1);
            body[len] = 'x';
            memcpy(part, body, cut);
            bool text = samples[i].kind == COMMAND_POST && cut >= len - samples[i].text.len;
            text |= samples[i].target.state && cut == len - COMMAND_TARGET_BYTES;
            struct command got;
            assert_int_equal(command_decode(&got, (struct slice) { part, cut }),
                             cut == len || text);
            free(part);
        }
    }
}

static void every_kind_and_flag(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < 256; kind++) {
        bool known = false;
        for (size_t i = 0; i < SAMPLES; i++)
            known |= samples[i].kind == kind;
        bool decoded = false;
        struct command got;
        for (size_t i = 0; i < SAMPLES; i++) {
            size_t len = command_encode(&samples[i], body, sizeof body);
            body[0] = (uint8_t)kind;
            decoded |= command_decode(&got, (struct slice) { body, len });
        }
        assert_int_equal(decoded, known);
        struct command unknown = { .kind = (uint8_t)kind, DEVICE };
        if (!known)
            assert_int_equal(command_encode(&unknown, body, sizeof body), 0);
    }
    struct command post = samples[5];
    post.flags = 64;
    assert_int_equal(command_encode(&post, body, sizeof body), 0);
    post.flags = POST_REPLY | POST_REPLY_UID;
    assert_int_equal(command_encode(&post, body, sizeof body), 0);
    post.flags = 0;
    size_t len = command_encode(&post, body, sizeof body);
    struct command got;
    for (unsigned flags = 0; flags < 256; flags++) {
        body[COMMAND_HEAD_BYTES + 5 + 8] = (uint8_t)flags;
        assert_int_equal(command_decode(&got, (struct slice) { body, len }),
                         (flags & ~(unsigned)POST_ERASED) <= POST_ME);
    }
}

static void seq_beyond_and_lengths(void **state)
{
    (void)state;
    struct command command = { .kind = COMMAND_VOID, .device = 1, .seq = 0, .beyond = 1 };
    assert_int_equal(command_encode(&command, body, sizeof body), 0);
    command.seq = 3;
    command.beyond = 4;
    assert_int_equal(command_encode(&command, body, sizeof body), 0);
    command.beyond = 3;
    size_t len = command_encode(&command, body, sizeof body);
    assert_int_equal(len, COMMAND_HEAD_BYTES);
    struct command got;
    assert_true(command_decode(&got, (struct slice) { body, len }));
    body[13] = 4;
    assert_false(command_decode(&got, (struct slice) { body, len }));
    body[13] = 0;
    assert_false(command_decode(&got, (struct slice) { body, len }));

    static uint8_t long_text[LIMIT_TEXT_BYTES + 1];
    memset(long_text, 'a', sizeof long_text);
    struct command post = samples[5];
    post.text = (struct slice) { long_text, LIMIT_TEXT_BYTES };
    len = command_encode(&post, body, sizeof body);
    assert_true(len > LIMIT_TEXT_BYTES);
    assert_true(len <= LIMIT_COMMAND_BYTES);
    assert_true(command_decode(&got, (struct slice) { body, len }));
    body[len] = 'a';
    assert_false(command_decode(&got, (struct slice) { body, len + 1 }));
    post.text.len++;
    assert_int_equal(command_encode(&post, body, sizeof body), 0);
    struct command topic = { .kind = COMMAND_TOPIC, DEVICE, .room = TEXT("#a") };
    topic.text = (struct slice) { long_text, LIMIT_TOPIC_BYTES };
    assert_true(command_encode(&topic, body, sizeof body) > 0);
    topic.text.len++;
    assert_int_equal(command_encode(&topic, body, sizeof body), 0);
    topic.text.len = 0;
    topic.room = (struct slice) { long_text, LIMIT_ROOM_NAME + 1 };
    assert_int_equal(command_encode(&topic, body, sizeof body), 0);
}

static void digest_covers_kind_and_content_only(void **state)
{
    (void)state;
    assert_true(crypto_start());
    uint64_t digests[SAMPLES];
    size_t count = 0;
    for (size_t i = 0; i < SAMPLES; i++) {
        if (samples[i].kind < COMMAND_DEVICE_KINDS)
            continue;
        size_t len = command_encode(&samples[i], body, sizeof body);
        struct command got;
        assert_true(command_decode(&got, (struct slice) { body, len }));
        uint64_t digest = command_digest(&got, &crypto_sodium);
        for (size_t j = 0; j < count; j++)
            assert_true(digests[j] != digest);
        digests[count++] = digest;
        for (size_t at = 1; at < len; at++) {
            body[at] ^= 1;
            if (at != 13 && command_decode(&got, (struct slice) { body, len }))
                assert_int_equal(command_digest(&got, &crypto_sodium) == digest,
                                 at < COMMAND_HEAD_BYTES ||
                                     at >= COMMAND_HEAD_BYTES + got.content.len);
            body[at] ^= 1;
        }
    }
    assert_true(count >= 9);
}

static void codes_have_names(void **state)
{
    (void)state;
    for (unsigned i = 0; i < CODES; i++) {
        enum chat_code code = (enum chat_code)i;
        assert_non_null(code_name(code));
        assert_true(strlen(code_message(code)) > 3);
        assert_int_equal(code_is_final(code), code < CODE_RATE_LIMITED);
        for (unsigned j = 0; j < i; j++)
            assert_string_not_equal(code_name(code), code_name((enum chat_code)j));
    }
    assert_string_equal(code_name(CODE_NOT_A_MEMBER), "not_a_member");
    assert_string_equal(code_name(CODE_UNAVAILABLE), "unavailable");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(there_and_back),
        cmocka_unit_test(every_truncation),
        cmocka_unit_test(every_kind_and_flag),
        cmocka_unit_test(seq_beyond_and_lengths),
        cmocka_unit_test(digest_covers_kind_and_content_only),
        cmocka_unit_test(codes_have_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
