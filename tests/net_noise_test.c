/* net/noise: byte for byte the published vectors, and nothing else is believed. */
#include "core/check.h"
#include "net/noise.h"

#include <setjmp.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { MESSAGES_MAX = 8, TEXT_MAX = 256 };

struct bytes {
    uint8_t data[TEXT_MAX];
    size_t len;
};

struct vector {
    enum noise_pattern pattern;
    bool has_psk;
    struct bytes prologue, psk, initiator_ephemeral, their_static, own_static, responder_ephemeral;
    struct bytes hash;
    struct bytes payloads[MESSAGES_MAX], ciphertexts[MESSAGES_MAX];
    size_t count;
};

static struct vector vectors[2];

/* -- Reading the vectors: a fixed file of our own tree, so its form may be relied on -------------
 */

/* The first string behind `"name":` between `from` and `end`; NULL when there is none. */
static const char *find(const char *from, const char *end, const char *name, struct bytes *out)
{
    char key[64];
    snprintf(key, sizeof key, "\"%s\":", name);
    const char *at = strstr(from, key);
    if (!at || at >= end)
        return NULL;
    at = strchr(at + strlen(key), '"');
    const char *stop = strchr(at + 1, '"');
    if (out)
        assert_int_equal(sodium_hex2bin(out->data, sizeof out->data, at + 1,
                                        (size_t)(stop - at - 1), NULL, &out->len, NULL),
                         0);
    return stop;
}

static void must_find(const char *from, const char *end, const char *name, struct bytes *out)
{
    assert_non_null(find(from, end, name, out));
}

static int read_vectors(void **state)
{
    (void)state;
    static char text[16384];
    assert_true(sodium_init() >= 0);
    FILE *file = fopen("tests/vectors/noise.json", "r");
    assert_non_null(file);
    const size_t len = fread(text, 1, sizeof text - 1, file);
    assert_true(len > 0 && len < sizeof text - 1);
    fclose(file);
    const char *from = text;
    for (size_t i = 0; i < 2; i++) {
        struct vector *vector = &vectors[i];
        from = strstr(from, "\"protocol_name\"");
        assert_non_null(from);
        const char *end = strstr(from + 1, "\"protocol_name\"");
        end = end ? end : text + len;
        vector->pattern = i == 0 ? NOISE_NK : NOISE_NKPSK0;
        const char *name = i == 0 ? "\"Noise_NK_25519_ChaChaPoly_SHA256\""
                                  : "\"Noise_NKpsk0_25519_ChaChaPoly_SHA256\"";
        const char *named = strstr(from, name);
        assert_true(named && named < end);
        vector->has_psk = find(from, end, "init_psks", &vector->psk) != NULL;
        assert_int_equal(vector->has_psk, vector->pattern == NOISE_NKPSK0);
        must_find(from, end, "init_prologue", &vector->prologue);
        must_find(from, end, "init_ephemeral", &vector->initiator_ephemeral);
        must_find(from, end, "init_remote_static", &vector->their_static);
        must_find(from, end, "resp_static", &vector->own_static);
        must_find(from, end, "resp_ephemeral", &vector->responder_ephemeral);
        must_find(from, end, "handshake_hash", &vector->hash);
        const char *at = from;
        while ((at = find(at, end, "payload", &vector->payloads[vector->count]))) {
            at = find(at, end, "ciphertext", &vector->ciphertexts[vector->count++]);
            assert_non_null(at);
        }
        assert_int_equal(vector->count, 6);
        from = end;
    }
    return 0;
}

static const uint8_t *psk_of(const struct vector *vector)
{
    return vector->has_psk ? vector->psk.data : NULL;
}

static void start_initiator(struct noise_handshake *handshake, const struct vector *vector)
{
    noise_start_initiator(handshake, vector->pattern, vector->prologue.data, vector->prologue.len,
                          vector->their_static.data, psk_of(vector));
    noise_inject_ephemeral(handshake, vector->initiator_ephemeral.data);
}

static void start_responder(struct noise_handshake *handshake, const struct vector *vector)
{
    noise_start_responder(handshake, vector->pattern, vector->prologue.data, vector->prologue.len,
                          vector->own_static.data, vector->their_static.data, psk_of(vector));
    noise_inject_ephemeral(handshake, vector->responder_ephemeral.data);
}

/* -- The vectors ---------------------------------------------------------------------------------
 */

static void write_expected(struct noise_handshake *handshake, const struct vector *vector, size_t i)
{
    uint8_t out[TEXT_MAX + NOISE_HANDSHAKE_BYTES];
    assert_true(
        noise_write_message(handshake, vector->payloads[i].data, vector->payloads[i].len, out));
    assert_int_equal(vector->payloads[i].len + NOISE_HANDSHAKE_BYTES, vector->ciphertexts[i].len);
    assert_memory_equal(out, vector->ciphertexts[i].data, vector->ciphertexts[i].len);
}

static void read_expected(struct noise_handshake *handshake, const struct vector *vector, size_t i)
{
    uint8_t out[TEXT_MAX];
    assert_true(noise_read_message(handshake, vector->ciphertexts[i].data,
                                   vector->ciphertexts[i].len, out));
    assert_memory_equal(out, vector->payloads[i].data, vector->payloads[i].len);
}

/* Each role alone against the file, so that a mistake made by both cannot hide. */
static void vectors_byte_for_byte(void **state)
{
    (void)state;
    for (size_t v = 0; v < 2; v++) {
        const struct vector *vector = &vectors[v];
        for (int initiator = 0; initiator < 2; initiator++) {
            struct noise_handshake handshake;
            struct noise_cipher send, receive;
            if (initiator) {
                start_initiator(&handshake, vector);
                write_expected(&handshake, vector, 0);
                read_expected(&handshake, vector, 1);
            } else {
                start_responder(&handshake, vector);
                read_expected(&handshake, vector, 0);
                write_expected(&handshake, vector, 1);
            }
            assert_memory_equal(handshake.hash, vector->hash.data, NOISE_KEY_BYTES);
            noise_split(&handshake, &send, &receive);
            for (size_t i = 2; i < vector->count; i++) {
                const struct bytes *plain = &vector->payloads[i];
                const struct bytes *sealed = &vector->ciphertexts[i];
                uint8_t out[TEXT_MAX];
                if ((i % 2 == 0) == (initiator != 0)) {
                    noise_seal(&send, plain->data, plain->len, out);
                    assert_memory_equal(out, sealed->data, sealed->len);
                } else {
                    assert_true(noise_open(&receive, sealed->data, sealed->len, out));
                    assert_memory_equal(out, plain->data, plain->len);
                }
            }
        }
    }
}

static void split_wipes_the_handshake(void **state)
{
    (void)state;
    struct noise_handshake handshake;
    struct noise_cipher send, receive;
    start_initiator(&handshake, &vectors[0]);
    write_expected(&handshake, &vectors[0], 0);
    read_expected(&handshake, &vectors[0], 1);
    noise_split(&handshake, &send, &receive);
    assert_true(sodium_is_zero((const uint8_t *)&handshake, sizeof handshake));
}

/* -- What is not believed --------------------------------------------------------------------- */

static void flipped_bits(void **state)
{
    (void)state;
    for (size_t v = 0; v < 2; v++) {
        const struct vector *vector = &vectors[v];
        for (size_t i = 0; i < 2; i++) {
            for (size_t bit = 0; bit < vector->ciphertexts[i].len * 8; bit++) {
                struct noise_handshake handshake;
                uint8_t out[TEXT_MAX];
                struct bytes message = vector->ciphertexts[i];
                message.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
                if (i == 0) {
                    start_responder(&handshake, vector);
                } else {
                    start_initiator(&handshake, vector);
                    write_expected(&handshake, vector, 0);
                }
                assert_false(noise_read_message(&handshake, message.data, message.len, out));
            }
        }
    }
}

static void truncated_and_long_messages(void **state)
{
    (void)state;
    static uint8_t out[NOISE_MESSAGE_MAX + 1];
    static uint8_t longer[NOISE_MESSAGE_MAX + 1];
    const struct bytes *message = &vectors[1].ciphertexts[0];
    struct noise_handshake handshake;
    for (size_t len = 0; len < message->len; len++) {
        start_responder(&handshake, &vectors[1]);
        assert_false(noise_read_message(&handshake, message->data, len, out));
    }
    memcpy(longer, message->data, message->len);
    start_responder(&handshake, &vectors[1]);
    assert_false(noise_read_message(&handshake, longer, message->len + 1, out));
    start_responder(&handshake, &vectors[1]);
    assert_false(noise_read_message(&handshake, longer, sizeof longer, out));
}

/* `reader` is a responder that differs from the vector's in one thing. */
static void assert_refuses_first(struct noise_handshake *reader)
{
    uint8_t out[TEXT_MAX];
    const struct bytes *message = &vectors[1].ciphertexts[0];
    assert_false(noise_read_message(reader, message->data, message->len, out));
}

static void wrong_keys(void **state)
{
    (void)state;
    const struct vector *vector = &vectors[1];
    struct noise_handshake reader;
    uint8_t other_psk[NOISE_KEY_BYTES], other_secret[NOISE_KEY_BYTES],
        other_public[NOISE_KEY_BYTES];
    memcpy(other_psk, vector->psk.data, sizeof other_psk);
    other_psk[31] ^= 1;
    noise_keypair(other_public, other_secret);

    noise_start_responder(&reader, NOISE_NKPSK0, vector->prologue.data, vector->prologue.len,
                          vector->own_static.data, vector->their_static.data, other_psk);
    assert_refuses_first(&reader);
    noise_start_responder(&reader, NOISE_NKPSK0, vector->prologue.data, vector->prologue.len,
                          other_secret, other_public, vector->psk.data);
    assert_refuses_first(&reader);
    noise_start_responder(&reader, NOISE_NKPSK0, vector->prologue.data, vector->prologue.len - 1,
                          vector->own_static.data, vector->their_static.data, vector->psk.data);
    assert_refuses_first(&reader);
    noise_start_responder(&reader, NOISE_NK, vector->prologue.data, vector->prologue.len,
                          vector->own_static.data, vector->their_static.data, NULL);
    assert_refuses_first(&reader);
}

/* A point of low order makes a secret that everybody knows. */
static void low_order_points(void **state)
{
    (void)state;
    uint8_t out[NOISE_HANDSHAKE_BYTES], payload[1];
    uint8_t zeros[NOISE_HANDSHAKE_BYTES] = { 0 };
    struct noise_handshake handshake;
    noise_start_initiator(&handshake, NOISE_NK, NULL, 0, zeros, NULL);
    assert_false(noise_write_message(&handshake, NULL, 0, out));
    start_responder(&handshake, &vectors[0]);
    assert_false(noise_read_message(&handshake, zeros, sizeof zeros, payload));
    start_initiator(&handshake, &vectors[0]);
    write_expected(&handshake, &vectors[0], 0);
    assert_false(noise_read_message(&handshake, zeros, sizeof zeros, payload));
    /* The responder reads an honest message, but has lost its memory before it answers. */
    start_responder(&handshake, &vectors[0]);
    read_expected(&handshake, &vectors[0], 0);
    memset(handshake.their_ephemeral, 0, NOISE_KEY_BYTES);
    assert_false(noise_write_message(&handshake, NULL, 0, out));
}

static void fresh_ephemerals_differ(void **state)
{
    (void)state;
    uint8_t a[NOISE_HANDSHAKE_BYTES], b[NOISE_HANDSHAKE_BYTES];
    struct noise_handshake handshake;
    noise_start_initiator(&handshake, NOISE_NK, NULL, 0, vectors[0].their_static.data, NULL);
    assert_true(noise_write_message(&handshake, NULL, 0, a));
    noise_start_initiator(&handshake, NOISE_NK, NULL, 0, vectors[0].their_static.data, NULL);
    assert_true(noise_write_message(&handshake, NULL, 0, b));
    assert_memory_not_equal(a, b, NOISE_KEY_BYTES);
}

static void rekey_follows_the_specification(void **state)
{
    (void)state;
    struct noise_cipher cipher = { .nonce = 77 };
    randombytes_buf(cipher.key, sizeof cipher.key);
    uint8_t nonce[12] = { 0, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255 };
    uint8_t zeros[32] = { 0 }, expected[48];
    crypto_aead_chacha20poly1305_ietf_encrypt(expected, NULL, zeros, 32, NULL, 0, NULL, nonce,
                                              cipher.key);
    noise_rekey(&cipher);
    assert_memory_equal(cipher.key, expected, NOISE_KEY_BYTES);
    assert_int_equal(cipher.nonce, 77);
}

static void transport_refuses_what_is_not_next(void **state)
{
    (void)state;
    struct noise_cipher send = { .nonce = 0 }, receive;
    randombytes_buf(send.key, sizeof send.key);
    receive = send;
    uint8_t first[1 + NOISE_TAG_BYTES], second[1 + NOISE_TAG_BYTES], out[1];
    noise_seal(&send, (const uint8_t *)"1", 1, first);
    noise_seal(&send, (const uint8_t *)"2", 1, second);
    struct noise_cipher reordered = receive;
    assert_false(noise_open(&reordered, second, sizeof second, out));
    assert_true(noise_open(&receive, first, sizeof first, out));
    struct noise_cipher replayed = receive;
    assert_false(noise_open(&replayed, first, sizeof first, out));
    assert_false(noise_open(&receive, second, NOISE_TAG_BYTES - 1, out));
    static uint8_t long_message[NOISE_MESSAGE_MAX + 1], long_out[sizeof long_message];
    assert_false(noise_open(&receive, long_message, sizeof long_message, long_out));
    assert_true(noise_open(&receive, second, sizeof second, out));
    assert_int_equal(out[0], '2');
}

static void misuse_is_caught(void **state)
{
    (void)state;
    uint8_t buffer[NOISE_HANDSHAKE_BYTES];
    struct noise_handshake handshake;
    struct noise_cipher send = { .nonce = UINT64_MAX }, receive;
    start_initiator(&handshake, &vectors[0]);
    expect_assert_failure(noise_split(&handshake, &send, &receive));
    start_responder(&handshake, &vectors[0]);
    expect_assert_failure((void)!noise_write_message(&handshake, NULL, 0, buffer));
    expect_assert_failure(noise_start_initiator(&handshake, NOISE_NKPSK0, NULL, 0,
                                                vectors[0].their_static.data, NULL));
    expect_assert_failure(noise_seal(&send, NULL, 0, buffer));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vectors_byte_for_byte),
        cmocka_unit_test(split_wipes_the_handshake),
        cmocka_unit_test(flipped_bits),
        cmocka_unit_test(truncated_and_long_messages),
        cmocka_unit_test(wrong_keys),
        cmocka_unit_test(low_order_points),
        cmocka_unit_test(fresh_ephemerals_differ),
        cmocka_unit_test(rekey_follows_the_specification),
        cmocka_unit_test(transport_refuses_what_is_not_next),
        cmocka_unit_test(misuse_is_caught),
    };
    return cmocka_run_group_tests(tests, read_vectors, NULL);
}
