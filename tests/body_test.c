/* A body's digest: the same before and after erasing, and of nothing else. */
#include "core/body.h"
#include "core/entry.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "cmd/crypto_sodium.h"
#include "core/chat/command.h"
#include "core/random.h"

static const uint8_t key[DIGEST_KEY_BYTES] = "some cluster's i";

static uint64_t digest(const uint8_t *body, size_t len)
{
    return body_digest(&crypto_sodium, key, body, len);
}

static size_t post(uint8_t *body, size_t capacity, uint8_t flags, const char *room,
                   const char *text)
{
    struct command command = { .kind = COMMAND_POST,
                               .device = 5,
                               .seq = 7,
                               .beyond = 2,
                               .account = 3,
                               .tag = 99,
                               .flags = flags,
                               .sent_us = 1234,
                               .reply_to = 3,
                               .reply_tag = 4,
                               .room = { (const uint8_t *)room, strlen(room) },
                               .text = { (const uint8_t *)text, strlen(text) },
                               .salt = (const uint8_t *)"saltsalt" };
    size_t len = command_encode(&command, body, capacity);
    assert_true(len > 0);
    return len;
}

static void erasing_keeps_it(void **state)
{
    (void)state;
    for (uint8_t flags = 0; flags < POST_ERASED; flags++) {
        uint8_t body[256];
        if ((flags & POST_REPLY) && (flags & POST_REPLY_UID))
            continue;
        size_t len = post(body, sizeof body, flags, "#ops", "some words");
        uint64_t before = digest(body, len);
        assert_false(body_is_erased(body, len));
        assert_true(body_erase(&crypto_sodium, body, len));
        assert_true(body_is_erased(body, len));
        assert_true(digest(body, len) == before);
        assert_true(before != crypto_sodium.digest(key, body, len));
        uint8_t again[256];
        memcpy(again, body, len);
        assert_true(body_erase(&crypto_sodium, again, len));
        assert_memory_equal(again, body, len);
    }
}

/* Of a whole post and of an erased one: no byte is outside of what is proved. */
static void every_bit_counts(void **state)
{
    (void)state;
    uint8_t body[256];
    size_t len = post(body, sizeof body, POST_SENT | POST_REPLY_UID, "#ops", "some words");
    uint64_t right = digest(body, len);
    for (int erased = 0; erased < 2; erased++) {
        for (size_t bit = 0; bit < len * 8; bit++) {
            body[bit / 8] ^= (uint8_t)(1 << bit % 8);
            assert_true(digest(body, len) != right);
            body[bit / 8] ^= (uint8_t)(1 << bit % 8);
        }
        assert_true(body_erase(&crypto_sodium, body, len));
    }
}

/* What is left of two posts that differ in their salt only has nothing in common where the words and
 * the salt were. */
static void nothing_is_left_of_the_words(void **state)
{
    (void)state;
    static const char words[] = "words that one could guess";
    uint8_t one[256];
    uint8_t other[256];
    struct body_parts parts = { 0 };
    size_t len = post(one, sizeof one, 0, "#ops", words);
    assert_int_equal(post(other, sizeof other, 0, "#ops", words), len);
    assert_true(body_find(&parts, one, len));
    other[parts.salt_at] ^= 1;
    assert_true(body_erase(&crypto_sodium, one, len));
    assert_true(body_erase(&crypto_sodium, other, len));
    assert_memory_not_equal(one + parts.salt_at, other + parts.salt_at, BODY_SALT_BYTES);
    assert_memory_not_equal(one + parts.salt_at, "saltsalt", BODY_SALT_BYTES);
    assert_int_equal(len - parts.text_at, strlen(words));
    assert_true(body_wordless(one + parts.text_at, strlen(words)));
}

/* Anything at all: it stays in its bytes (sanitizers look on), and what is no post is itself. */
static void hostile_bodies(void **state)
{
    (void)state;
    struct random random;
    random_seed(&random, 1);
    for (int round = 0; round < 200000; round++) {
        size_t len = random_below(&random, 240);
        uint8_t *body = malloc(len + 1);
        for (size_t i = 0; i < len; i++)
            body[i] = (uint8_t)random_below(&random, 256);
        if (len && random_below(&random, 8))
            body[0] = BODY_POST;
        if (len > BODY_HEAD_BYTES)
            body[BODY_HEAD_BYTES] = (uint8_t)random_below(&random, LIMIT_ROOM_NAME + 8);
        uint64_t before = digest(body, len);
        struct body_parts parts;
        if (!body_find(&parts, body, len)) {
            assert_false(body_erase(&crypto_sodium, body, len));
            assert_true(before == crypto_sodium.digest(key, body, len));
        } else if (!(parts.flags & POST_ERASED)) {
            assert_true(parts.text_at <= BODY_KEPT_BYTES && parts.text_at <= len);
            assert_true(body_erase(&crypto_sodium, body, len));
            assert_true(digest(body, len) == before);
        }
        free(body);
    }
}

/* No two commands of a log have the same digest in their heads for the same words: not those of one term, nor
 * those that leaders of different terms put at one index. */
static void a_head_is_that_of_its_place(void **state)
{
    (void)state;
    static uint64_t seen[40 * 40];
    size_t count = 0;
    for (uint64_t index = 1; index <= 40; index++)
        for (uint64_t term = 1; term <= 40; term++)
            seen[count++] = entry_head_digest(77, index * (index % 3 ? 1 : 1000003), term);
    for (size_t i = 0; i < count; i++) {
        assert_int_not_equal(seen[i], 77);
        for (size_t j = 0; j < i; j++)
            assert_int_not_equal(seen[i], seen[j]);
    }
    assert_int_equal(entry_head_digest(entry_head_digest(77, 8, 9), 8, 9), 77);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(erasing_keeps_it),
        cmocka_unit_test(every_bit_counts),
        cmocka_unit_test(nothing_is_left_of_the_words),
        cmocka_unit_test(hostile_bodies),
        cmocka_unit_test(a_head_is_that_of_its_place),
    };
    return crypto_start() ? cmocka_run_group_tests_name("body", tests, NULL, NULL) : 1;
}
