/* The handshake in both roles, from hostile bytes.
 *
 * The input is laid over an honest exchange: over the preamble and message 1 as the responder sees
 * them, or over message 2 as the initiator does. What is not exactly the honest bytes must be
 * refused, and the honest bytes accepted. Input that goes on beyond them is tried as a message of
 * its own length, too. */
#include "core/check.h"
#include "net/frame.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

enum { PSK_FLAG = 1, INITIATOR_FLAG = 2, RAW_FLAG = 4 };

static uint8_t secret_key[NOISE_KEY_BYTES] = { 1, 2, 3 };
static uint8_t public_key[NOISE_KEY_BYTES];
static const uint8_t psk[NOISE_KEY_BYTES] = { 9 };
static const uint8_t ephemeral[2][NOISE_KEY_BYTES] = { { 4 }, { 5 } };

static void start(struct noise_handshake *handshake, bool initiator, enum channel_role role)
{
    uint8_t prologue[PROLOGUE_BYTES];
    prologue_write(prologue, role, public_key);
    const uint8_t *key = role == ROLE_CLIENT ? NULL : psk;
    if (initiator)
        noise_start_initiator(handshake, role_pattern(role), prologue, sizeof prologue, public_key,
                              key);
    else
        noise_start_responder(handshake, role_pattern(role), prologue, sizeof prologue, secret_key,
                              public_key, key);
    noise_inject_ephemeral(handshake, ephemeral[initiator]);
}

/* Reads `len` bytes in memory of exactly that length. */
static bool reads(struct noise_handshake *handshake, const uint8_t *data, size_t len)
{
    uint8_t *message = malloc(len + 1);
    uint8_t *payload = malloc(len + 1);
    CHECK(message && payload);
    memcpy(message, data, len);
    const bool read = noise_read_message(handshake, message, len, payload);
    free(message);
    free(payload);
    return read;
}

/* XORs as much input as there is over the honest bytes; true when that changed something. */
static bool overlay(uint8_t *honest, size_t honest_len, const uint8_t *data, size_t len)
{
    bool changed = false;
    for (size_t i = 0; i < honest_len && i < len; i++) {
        honest[i] ^= data[i];
        changed |= data[i] != 0;
    }
    return changed;
}

static void respond(enum channel_role role, const uint8_t *data, size_t len)
{
    uint8_t first[PREAMBLE_BYTES + NOISE_HANDSHAKE_BYTES];
    struct noise_handshake initiator, responder;
    enum channel_role claimed;
    start(&initiator, true, role);
    preamble_write(first, role);
    CHECK(noise_write_message(&initiator, NULL, 0, first + PREAMBLE_BYTES));
    const bool changed = overlay(first, sizeof first, data, len);
    if (!preamble_read(first, &claimed)) {
        CHECK(changed);
        return;
    }
    start(&responder, false, claimed);
    CHECK(reads(&responder, first + PREAMBLE_BYTES, NOISE_HANDSHAKE_BYTES) == !changed);
}

static void initiate(enum channel_role role, const uint8_t *data, size_t len)
{
    uint8_t first[NOISE_HANDSHAKE_BYTES], second[NOISE_HANDSHAKE_BYTES], payload[1];
    struct noise_handshake initiator, responder;
    start(&initiator, true, role);
    start(&responder, false, role);
    CHECK(noise_write_message(&initiator, NULL, 0, first));
    CHECK(noise_read_message(&responder, first, sizeof first, payload));
    CHECK(noise_write_message(&responder, NULL, 0, second));
    const bool changed = overlay(second, sizeof second, data, len);
    CHECK(reads(&initiator, second, sizeof second) == !changed);
}

/* Bytes that know nothing of the honest exchange. */
static void raw(enum channel_role role, bool as_initiator, const uint8_t *data, size_t len)
{
    struct noise_handshake handshake;
    uint8_t first[NOISE_HANDSHAKE_BYTES];
    start(&handshake, as_initiator, role);
    if (as_initiator)
        CHECK(noise_write_message(&handshake, NULL, 0, first));
    CHECK(!reads(&handshake, data, len));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static bool ready;
    if (!ready) {
        CHECK(sodium_init() >= 0);
        noise_public_key(public_key, secret_key);
        ready = true;
    }
    if (len < 1)
        return 0;
    const enum channel_role role = data[0] & PSK_FLAG ? ROLE_NODE : ROLE_CLIENT;
    const bool initiator = data[0] & INITIATOR_FLAG;
    if (data[0] & RAW_FLAG)
        raw(role, initiator, data + 1, len - 1);
    else if (initiator)
        initiate(role, data + 1, len - 1);
    else
        respond(role, data + 1, len - 1);
    return 0;
}
