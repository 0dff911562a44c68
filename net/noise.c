#include "net/noise.h"
#include "core/check.h"
#include <sodium.h>
#include <string.h>

_Static_assert(crypto_scalarmult_curve25519_BYTES == NOISE_KEY_BYTES, "DHLEN, section 12.1");
_Static_assert(crypto_hash_sha256_BYTES == NOISE_KEY_BYTES, "HASHLEN, section 12.5");
_Static_assert(crypto_aead_chacha20poly1305_ietf_ABYTES == NOISE_TAG_BYTES, "section 12.3");

/* -- Hash functions, section 4.3 -------------------------------------------------------------- */

/* HKDF with two or three outputs. HMAC-SHA256 is libsodium's; the chain is RFC 5869's, with the
 * chaining key as salt and an empty info. */
static void hkdf(const uint8_t chaining_key[NOISE_KEY_BYTES], const uint8_t *input, size_t len,
                 size_t outputs, uint8_t out[3][NOISE_KEY_BYTES])
{
    CHECK(outputs == 2 || outputs == 3);
    uint8_t temporary[NOISE_KEY_BYTES];
    crypto_auth_hmacsha256_state state;
    crypto_auth_hmacsha256_init(&state, chaining_key, NOISE_KEY_BYTES);
    crypto_auth_hmacsha256_update(&state, input, len);
    crypto_auth_hmacsha256_final(&state, temporary);
    for (size_t i = 0; i < outputs; i++) {
        const uint8_t number = (uint8_t)(i + 1);
        crypto_auth_hmacsha256_init(&state, temporary, sizeof temporary);
        if (i > 0)
            crypto_auth_hmacsha256_update(&state, out[i - 1], NOISE_KEY_BYTES);
        crypto_auth_hmacsha256_update(&state, &number, 1);
        crypto_auth_hmacsha256_final(&state, out[i]);
    }
    sodium_memzero(temporary, sizeof temporary);
    sodium_memzero(&state, sizeof state);
}

/* -- CipherState, section 5.1, with ChaChaPoly, section 12.3 ------------------------------------
 */

/* 32 zero bits, then the nonce in 64 bits little-endian. */
static void nonce_write(uint8_t out[crypto_aead_chacha20poly1305_ietf_NPUBBYTES], uint64_t nonce)
{
    memset(out, 0, 4);
    for (size_t i = 0; i < 8; i++)
        out[4 + i] = (uint8_t)(nonce >> (8 * i));
}

static void encrypt_with_ad(struct noise_cipher *cipher, const uint8_t *ad, size_t ad_len,
                            const uint8_t *in, size_t len, uint8_t *out)
{
    /* 2^64-1 is reserved for REKEY. At a million messages a second it is 584,000 years away. */
    CHECK(cipher->nonce != UINT64_MAX);
    uint8_t nonce[crypto_aead_chacha20poly1305_ietf_NPUBBYTES];
    nonce_write(nonce, cipher->nonce++);
    crypto_aead_chacha20poly1305_ietf_encrypt(out, NULL, in, len, ad, ad_len, NULL, nonce,
                                              cipher->key);
}

/* The nonce advances on success only; but nobody goes on after a failure. */
static bool decrypt_with_ad(struct noise_cipher *cipher, const uint8_t *ad, size_t ad_len,
                            const uint8_t *in, size_t len, uint8_t *out)
{
    CHECK(cipher->nonce != UINT64_MAX);
    uint8_t nonce[crypto_aead_chacha20poly1305_ietf_NPUBBYTES];
    nonce_write(nonce, cipher->nonce);
    if (crypto_aead_chacha20poly1305_ietf_decrypt(out, NULL, NULL, in, len, ad, ad_len, nonce,
                                                  cipher->key) != 0)
        return false;
    cipher->nonce++;
    return true;
}

/* -- SymmetricState, section 5.2 ----------------------------------------------------------------
 */

static void mix_hash(struct noise_handshake *handshake, const void *data, size_t len)
{
    crypto_hash_sha256_state state;
    crypto_hash_sha256_init(&state);
    crypto_hash_sha256_update(&state, handshake->hash, NOISE_KEY_BYTES);
    crypto_hash_sha256_update(&state, data, len);
    crypto_hash_sha256_final(&state, handshake->hash);
}

static void initialize_key(struct noise_handshake *handshake, const uint8_t key[NOISE_KEY_BYTES])
{
    memcpy(handshake->cipher.key, key, NOISE_KEY_BYTES);
    handshake->cipher.nonce = 0;
    handshake->has_key = true;
}

static void mix_key(struct noise_handshake *handshake, const uint8_t input[NOISE_KEY_BYTES])
{
    uint8_t out[3][NOISE_KEY_BYTES];
    hkdf(handshake->chaining_key, input, NOISE_KEY_BYTES, 2, out);
    memcpy(handshake->chaining_key, out[0], NOISE_KEY_BYTES);
    initialize_key(handshake, out[1]);
    sodium_memzero(out, sizeof out);
}

/* For the psk token, section 9.1. */
static void mix_key_and_hash(struct noise_handshake *handshake,
                             const uint8_t input[NOISE_KEY_BYTES])
{
    uint8_t out[3][NOISE_KEY_BYTES];
    hkdf(handshake->chaining_key, input, NOISE_KEY_BYTES, 3, out);
    memcpy(handshake->chaining_key, out[0], NOISE_KEY_BYTES);
    mix_hash(handshake, out[1], NOISE_KEY_BYTES);
    initialize_key(handshake, out[2]);
    sodium_memzero(out, sizeof out);
}

/* In NK and NKpsk0 every payload comes after a DH, so there is always a key. */
static void encrypt_and_hash(struct noise_handshake *handshake, const void *payload, size_t len,
                             uint8_t *out)
{
    CHECK(handshake->has_key);
    encrypt_with_ad(&handshake->cipher, handshake->hash, NOISE_KEY_BYTES, payload, len, out);
    mix_hash(handshake, out, len + NOISE_TAG_BYTES);
}

static bool decrypt_and_hash(struct noise_handshake *handshake, const uint8_t *in, size_t len,
                             uint8_t *payload)
{
    CHECK(handshake->has_key);
    /* The hash covers the ciphertext, which decrypting may overwrite: take it first. */
    uint8_t hash_before[NOISE_KEY_BYTES];
    memcpy(hash_before, handshake->hash, NOISE_KEY_BYTES);
    mix_hash(handshake, in, len);
    return decrypt_with_ad(&handshake->cipher, hash_before, NOISE_KEY_BYTES, in, len, payload);
}

/* -- Tokens of the patterns, sections 7.5 and 9.4 ------------------------------------------------
 */

static void token_psk(struct noise_handshake *handshake)
{
    mix_key_and_hash(handshake, handshake->psk);
}

/* "e": the key goes over the wire in clear and into the hash; in a psk handshake it is mixed into
 * the key as well, so that the key is fresh for each session (section 9.2). */
static void mix_ephemeral(struct noise_handshake *handshake, const uint8_t key[NOISE_KEY_BYTES])
{
    mix_hash(handshake, key, NOISE_KEY_BYTES);
    if (handshake->pattern == NOISE_NKPSK0)
        mix_key(handshake, key);
}

static void token_e_write(struct noise_handshake *handshake, uint8_t out[NOISE_KEY_BYTES])
{
    if (!handshake->has_ephemeral)
        randombytes_buf(handshake->own_ephemeral, NOISE_KEY_BYTES);
    noise_public_key(out, handshake->own_ephemeral);
    mix_ephemeral(handshake, out);
}

static void token_e_read(struct noise_handshake *handshake, const uint8_t in[NOISE_KEY_BYTES])
{
    memcpy(handshake->their_ephemeral, in, NOISE_KEY_BYTES);
    mix_ephemeral(handshake, in);
}

/* "es" and "ee": one DH, section 4.1. libsodium refuses the all-zero result of a low-order point,
 * which section 12.1 leaves to us: nobody honest sends one. */
static bool token_dh(struct noise_handshake *handshake, const uint8_t secret[NOISE_KEY_BYTES],
                     const uint8_t public_key[NOISE_KEY_BYTES])
{
    uint8_t shared[NOISE_KEY_BYTES];
    if (crypto_scalarmult_curve25519(shared, secret, public_key) != 0)
        return false;
    mix_key(handshake, shared);
    sodium_memzero(shared, sizeof shared);
    return true;
}

/* The initiator's half of "es" is its ephemeral with the responder's static key; the responder's
 * half is the same the other way round. */
static bool token_es(struct noise_handshake *handshake)
{
    if (handshake->initiator)
        return token_dh(handshake, handshake->own_ephemeral, handshake->their_static);
    return token_dh(handshake, handshake->own_static, handshake->their_ephemeral);
}

static bool token_ee(struct noise_handshake *handshake)
{
    return token_dh(handshake, handshake->own_ephemeral, handshake->their_ephemeral);
}

/* -- HandshakeState, section 5.3 ------------------------------------------------------------------
 */

void noise_public_key(uint8_t public_key[NOISE_KEY_BYTES],
                      const uint8_t secret_key[NOISE_KEY_BYTES])
{
    crypto_scalarmult_curve25519_base(public_key, secret_key);
}

void noise_keypair(uint8_t public_key[NOISE_KEY_BYTES], uint8_t secret_key[NOISE_KEY_BYTES])
{
    randombytes_buf(secret_key, NOISE_KEY_BYTES);
    noise_public_key(public_key, secret_key);
}

/* Initialize: the name, the prologue, then the pre-message "<- s". */
static void start(struct noise_handshake *handshake, enum noise_pattern pattern,
                  const void *prologue, size_t prologue_len,
                  const uint8_t responder_public[NOISE_KEY_BYTES], const uint8_t *psk)
{
    static const char *const names[] = {
        [NOISE_NK] = "Noise_NK_25519_ChaChaPoly_SHA256",
        [NOISE_NKPSK0] = "Noise_NKpsk0_25519_ChaChaPoly_SHA256",
    };
    CHECK((pattern == NOISE_NKPSK0) == (psk != NULL));
    handshake->pattern = (uint8_t)pattern;
    if (psk)
        memcpy(handshake->psk, psk, NOISE_KEY_BYTES);
    /* A name of up to HASHLEN bytes is padded with zeros, a longer one is hashed. */
    const char *name = names[pattern];
    const size_t name_len = strlen(name);
    if (name_len <= NOISE_KEY_BYTES)
        memcpy(handshake->hash, name, name_len);
    else
        crypto_hash_sha256(handshake->hash, (const uint8_t *)name, name_len);
    memcpy(handshake->chaining_key, handshake->hash, NOISE_KEY_BYTES);
    mix_hash(handshake, prologue, prologue_len);
    mix_hash(handshake, responder_public, NOISE_KEY_BYTES);
}

void noise_start_initiator(struct noise_handshake *handshake, enum noise_pattern pattern,
                           const void *prologue, size_t prologue_len,
                           const uint8_t their_public[NOISE_KEY_BYTES], const uint8_t *psk)
{
    memset(handshake, 0, sizeof *handshake);
    handshake->initiator = true;
    memcpy(handshake->their_static, their_public, NOISE_KEY_BYTES);
    start(handshake, pattern, prologue, prologue_len, their_public, psk);
}

void noise_start_responder(struct noise_handshake *handshake, enum noise_pattern pattern,
                           const void *prologue, size_t prologue_len,
                           const uint8_t own_secret[NOISE_KEY_BYTES],
                           const uint8_t own_public[NOISE_KEY_BYTES], const uint8_t *psk)
{
    memset(handshake, 0, sizeof *handshake);
    memcpy(handshake->own_static, own_secret, NOISE_KEY_BYTES);
    start(handshake, pattern, prologue, prologue_len, own_public, psk);
}

void noise_inject_ephemeral(struct noise_handshake *handshake,
                            const uint8_t secret[NOISE_KEY_BYTES])
{
    CHECK(handshake->messages < 2);
    memcpy(handshake->own_ephemeral, secret, NOISE_KEY_BYTES);
    handshake->has_ephemeral = true;
}

bool noise_write_message(struct noise_handshake *handshake, const void *payload, size_t len,
                         uint8_t *out)
{
    CHECK(handshake->messages == (handshake->initiator ? 0 : 1));
    CHECK(len <= NOISE_MESSAGE_MAX - NOISE_HANDSHAKE_BYTES);
    if (handshake->initiator) { /* -> [psk,] e, es */
        if (handshake->pattern == NOISE_NKPSK0)
            token_psk(handshake);
        token_e_write(handshake, out);
        if (!token_es(handshake))
            return false;
    } else { /* <- e, ee */
        token_e_write(handshake, out);
        if (!token_ee(handshake))
            return false;
    }
    encrypt_and_hash(handshake, payload, len, out + NOISE_KEY_BYTES);
    handshake->messages++;
    return true;
}

bool noise_read_message(struct noise_handshake *handshake, const uint8_t *message, size_t len,
                        uint8_t *payload)
{
    CHECK(handshake->messages == (handshake->initiator ? 1 : 0));
    if (len < NOISE_HANDSHAKE_BYTES || len > NOISE_MESSAGE_MAX)
        return false;
    if (handshake->initiator) { /* <- e, ee */
        token_e_read(handshake, message);
        if (!token_ee(handshake))
            return false;
    } else { /* -> [psk,] e, es */
        if (handshake->pattern == NOISE_NKPSK0)
            token_psk(handshake);
        token_e_read(handshake, message);
        if (!token_es(handshake))
            return false;
    }
    if (!decrypt_and_hash(handshake, message + NOISE_KEY_BYTES, len - NOISE_KEY_BYTES, payload))
        return false;
    handshake->messages++;
    return true;
}

/* Split(), section 5.2: the first key is the initiator's for sending. */
void noise_split(struct noise_handshake *handshake, struct noise_cipher *send,
                 struct noise_cipher *receive)
{
    CHECK(handshake->messages == 2);
    uint8_t out[3][NOISE_KEY_BYTES];
    hkdf(handshake->chaining_key, NULL, 0, 2, out);
    memcpy(send->key, out[handshake->initiator ? 0 : 1], NOISE_KEY_BYTES);
    memcpy(receive->key, out[handshake->initiator ? 1 : 0], NOISE_KEY_BYTES);
    send->nonce = 0;
    receive->nonce = 0;
    sodium_memzero(out, sizeof out);
    sodium_memzero(handshake, sizeof *handshake);
}

/* -- Transport messages ---------------------------------------------------------------------------
 */

void noise_seal(struct noise_cipher *cipher, const uint8_t *in, size_t len, uint8_t *out)
{
    CHECK(len <= NOISE_MESSAGE_MAX - NOISE_TAG_BYTES);
    encrypt_with_ad(cipher, NULL, 0, in, len, out);
}

bool noise_open(struct noise_cipher *cipher, const uint8_t *in, size_t len, uint8_t *out)
{
    if (len < NOISE_TAG_BYTES || len > NOISE_MESSAGE_MAX)
        return false;
    return decrypt_with_ad(cipher, NULL, 0, in, len, out);
}

/* REKEY(k), section 4.2: the first 32 bytes of 32 zeros encrypted under the last nonce. */
void noise_rekey(struct noise_cipher *cipher)
{
    static const uint8_t zeros[NOISE_KEY_BYTES];
    uint8_t nonce[crypto_aead_chacha20poly1305_ietf_NPUBBYTES];
    uint8_t out[NOISE_KEY_BYTES + NOISE_TAG_BYTES];
    nonce_write(nonce, UINT64_MAX);
    crypto_aead_chacha20poly1305_ietf_encrypt(out, NULL, zeros, sizeof zeros, NULL, 0, NULL, nonce,
                                              cipher->key);
    memcpy(cipher->key, out, NOISE_KEY_BYTES);
    sodium_memzero(out, sizeof out);
}
