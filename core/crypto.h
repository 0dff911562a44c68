/* The cryptography that core needs, as a table of functions.
 *
 * core links nothing: the program fills the table from libsodium (cmd/crypto.c), the simulator may
 * put in cheap deterministic stand-ins. Every function is pure: same input, same output. */
#ifndef FTCHAT_CORE_CRYPTO_H
#define FTCHAT_CORE_CRYPTO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    HASH_BYTES = 32,       /* BLAKE2b-256 */
    DIGEST_KEY_BYTES = 16, /* SipHash-2-4 key */
    SIGNATURE_BYTES = 64,  /* Ed25519 */
    PUBLIC_KEY_BYTES = 32, /* Ed25519 */
    SECRET_KEY_BYTES = 64, /* Ed25519, libsodium's form: seed and public key */
};

struct crypto {
    /* BLAKE2b-256 of `data`, keyed when key_len is 16..64. */
    void (*hash)(uint8_t out[HASH_BYTES], const void *key, size_t key_len, const void *data,
                 size_t len);
    /* SipHash-2-4 of `data`. */
    uint64_t (*digest)(const uint8_t key[DIGEST_KEY_BYTES], const void *data, size_t len);
    /* Ed25519: is `signature` by `public_key` over `data`? */
    bool (*verify)(const uint8_t signature[SIGNATURE_BYTES], const void *data, size_t len,
                   const uint8_t public_key[PUBLIC_KEY_BYTES]);
    void (*sign)(uint8_t signature[SIGNATURE_BYTES], const void *data, size_t len,
                 const uint8_t secret_key[SECRET_KEY_BYTES]);
};

#endif
