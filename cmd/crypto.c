#include "cmd/crypto_sodium.h"

#include "core/check.h"
#include "core/crypto.h"

#include <sodium.h>

_Static_assert(HASH_BYTES == crypto_generichash_BYTES, "BLAKE2b-256");
_Static_assert(DIGEST_KEY_BYTES == crypto_shorthash_KEYBYTES, "SipHash-2-4");
_Static_assert(SIGNATURE_BYTES == crypto_sign_BYTES, "Ed25519");
_Static_assert(PUBLIC_KEY_BYTES == crypto_sign_PUBLICKEYBYTES, "Ed25519");
_Static_assert(SECRET_KEY_BYTES == crypto_sign_SECRETKEYBYTES, "Ed25519");

static void hash(uint8_t out[HASH_BYTES], const void *key, size_t key_len, const void *data,
                 size_t len)
{
    int failed = crypto_generichash(out, HASH_BYTES, data, len, key_len ? key : NULL, key_len);
    CHECK(failed == 0);
}

static uint64_t digest(const uint8_t key[DIGEST_KEY_BYTES], const void *data, size_t len)
{
    uint8_t out[crypto_shorthash_BYTES];
    int failed = crypto_shorthash(out, data, len, key);
    CHECK(failed == 0);
    uint64_t value = 0;
    for (int i = 0; i < 8; i++)
        value |= (uint64_t)out[i] << (8 * i);
    return value;
}

static bool verify(const uint8_t signature[SIGNATURE_BYTES], const void *data, size_t len,
                   const uint8_t public_key[PUBLIC_KEY_BYTES])
{
    return crypto_sign_verify_detached(signature, data, len, public_key) == 0;
}

static void sign(uint8_t signature[SIGNATURE_BYTES], const void *data, size_t len,
                 const uint8_t secret_key[SECRET_KEY_BYTES])
{
    int failed = crypto_sign_detached(signature, NULL, data, len, secret_key);
    CHECK(failed == 0);
}

const struct crypto crypto_sodium = {
    .hash = hash,
    .digest = digest,
    .verify = verify,
    .sign = sign,
};

bool crypto_start(void)
{
    return sodium_init() >= 0;
}
