/* Cheap, deterministic stand-ins for core's table of cryptography. They tell damaged and foreign
 * bytes from good ones as well as the real ones do against chance; nobody here forges. A secret key
 * embeds its public half, as libsodium's form does, and a signature is a hash keyed by that. */
#include <string.h>

#include "core/bytes.h"
#include "tests/sim/sim.h"

uint64_t sim_mix(uint64_t a, uint64_t b)
{
    unsigned __int128 product =
        (unsigned __int128)(a ^ UINT64_C(0x9e3779b97f4a7c15)) * (b ^ UINT64_C(0xe7037ed1a0b428db));
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

uint64_t sim_hash(const void *data, size_t len, uint64_t seed)
{
    const uint8_t *at = data;
    uint64_t hash = sim_mix(seed, len);
    if (len >= 128) { /* four at a time: they multiply while one waits for its product */
        uint64_t lanes[4] = { hash, ~hash, hash + 1, ~hash - 1 };
        for (; len >= 64; at += 64, len -= 64)
            for (int i = 0; i < 4; i++)
                lanes[i] =
                    sim_mix(bytes_get_u64(at + 16 * i) ^ lanes[i], bytes_get_u64(at + 16 * i + 8));
        hash = sim_mix(sim_mix(lanes[0], lanes[1]), sim_mix(lanes[2], lanes[3]));
    }
    for (; len >= 16; at += 16, len -= 16)
        hash = sim_mix(bytes_get_u64(at) ^ hash, bytes_get_u64(at + 8));
    uint8_t rest[16] = { 0 };
    if (len)
        memcpy(rest, at, len);
    return sim_mix(sim_mix(bytes_get_u64(rest) ^ hash, bytes_get_u64(rest + 8)), hash);
}

static void hash(uint8_t out[HASH_BYTES], const void *key, size_t key_len, const void *data,
                 size_t len)
{
    uint64_t seed = key_len ? sim_hash(key, key_len, 7) : 7;
    uint64_t value = sim_hash(data, len, seed);
    for (unsigned i = 0; i < HASH_BYTES; i += 8) {
        bytes_put_u64(out + i, value);
        value = sim_mix(value, seed + i);
    }
}

static uint64_t digest(const uint8_t key[DIGEST_KEY_BYTES], const void *data, size_t len)
{
    return sim_hash(data, len, bytes_get_u64(key) ^ bytes_get_u64(key + 8));
}

static void signature_of(uint8_t signature[SIGNATURE_BYTES], const void *data, size_t len,
                         const uint8_t public_key[PUBLIC_KEY_BYTES])
{
    hash(signature, public_key, PUBLIC_KEY_BYTES, data, len);
    memcpy(signature + HASH_BYTES, public_key, HASH_BYTES);
}

static void sign(uint8_t signature[SIGNATURE_BYTES], const void *data, size_t len,
                 const uint8_t secret_key[SECRET_KEY_BYTES])
{
    signature_of(signature, data, len, secret_key + 32);
}

static bool verify(const uint8_t signature[SIGNATURE_BYTES], const void *data, size_t len,
                   const uint8_t public_key[PUBLIC_KEY_BYTES])
{
    uint8_t expected[SIGNATURE_BYTES];
    signature_of(expected, data, len, public_key);
    return memcmp(expected, signature, SIGNATURE_BYTES) == 0;
}

void crypto_sim_key(uint8_t secret_key[SECRET_KEY_BYTES], uint64_t a, uint64_t b)
{
    uint8_t seed[16];
    bytes_put_u64(seed, a);
    bytes_put_u64(seed + 8, b);
    hash(secret_key, NULL, 0, seed, sizeof seed);
    hash(secret_key + 32, "the public half!", 16, secret_key, 32);
}

const struct crypto crypto_sim = {
    .hash = hash,
    .digest = digest,
    .verify = verify,
    .sign = sign,
};
