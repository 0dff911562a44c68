#include "net/frame.h"
#include "core/check.h"
#include <sodium.h>
#include <string.h>

static const uint8_t magic[4] = { 'F', 'T', 'C', '1' };

void preamble_write(uint8_t out[PREAMBLE_BYTES], enum channel_role role)
{
    memset(out, 0, PREAMBLE_BYTES);
    memcpy(out, magic, sizeof magic);
    out[sizeof magic] = (uint8_t)role;
}

bool preamble_read(const uint8_t in[PREAMBLE_BYTES], enum channel_role *role)
{
    static const uint8_t zeros[PREAMBLE_BYTES - sizeof magic - 1];
    const uint8_t claimed = in[sizeof magic];
    if (memcmp(in, magic, sizeof magic) != 0)
        return false;
    if (claimed < ROLE_CLIENT || claimed > ROLE_MONITOR)
        return false;
    if (memcmp(in + sizeof magic + 1, zeros, sizeof zeros) != 0)
        return false;
    *role = (enum channel_role)claimed;
    return true;
}

enum noise_pattern role_pattern(enum channel_role role)
{
    return role == ROLE_CLIENT ? NOISE_NK : NOISE_NKPSK0;
}

void prologue_write(uint8_t out[PROLOGUE_BYTES], enum channel_role role,
                    const uint8_t responder_public[NOISE_KEY_BYTES])
{
    preamble_write(out, role);
    crypto_generichash(out + PREAMBLE_BYTES, KEY_ID_BYTES, responder_public, NOISE_KEY_BYTES, NULL,
                       0);
}

/* -- Frames ----------------------------------------------------------------------------------- */

size_t frame_length(const uint8_t *data, size_t len)
{
    if (len < FRAME_HEAD_BYTES)
        return 0;
    return FRAME_HEAD_BYTES + ((size_t)data[0] << 8 | data[1]);
}

void frame_write_head(uint8_t out[FRAME_HEAD_BYTES], size_t message_len)
{
    CHECK(message_len <= NOISE_MESSAGE_MAX);
    out[0] = (uint8_t)(message_len >> 8);
    out[1] = (uint8_t)message_len;
}

/* Both sides count frames by the nonce, so both change keys between the same two frames. */
static void rekey_when_due(struct noise_cipher *cipher)
{
    if (cipher->nonce != 0 && cipher->nonce % FRAME_REKEY_INTERVAL == 0)
        noise_rekey(cipher);
}

void frame_seal(struct noise_cipher *cipher, const uint8_t *payload, size_t len, uint8_t *out)
{
    CHECK(len <= FRAME_PAYLOAD_MAX);
    rekey_when_due(cipher);
    frame_write_head(out, len + NOISE_TAG_BYTES);
    noise_seal(cipher, payload, len, out + FRAME_HEAD_BYTES);
}

bool frame_open(struct noise_cipher *cipher, uint8_t *frame, size_t len, struct slice *payload)
{
    CHECK(len >= FRAME_HEAD_BYTES);
    CHECK(len == frame_length(frame, len));
    uint8_t *message = frame + FRAME_HEAD_BYTES;
    if (len < FRAME_OVERHEAD_BYTES)
        return false;
    rekey_when_due(cipher);
    if (!noise_open(cipher, message, len - FRAME_HEAD_BYTES, message))
        return false;
    *payload = (struct slice) { message, len - FRAME_OVERHEAD_BYTES };
    return true;
}

/* -- The stream ------------------------------------------------------------------------------- */

static void advance(struct slice *payload, size_t len)
{
    payload->data += len;
    payload->len -= len;
}

/* Moves bytes of the payload to the partial message until it holds `want`. */
static bool gather(struct message_cutter *cutter, struct buffer_pool *pool, struct slice *payload,
                   size_t want)
{
    const size_t held = buffer_len(&cutter->partial);
    CHECK(held <= want);
    const size_t take = payload->len < want - held ? payload->len : want - held;
    if (take == 0)
        return true;
    if (!buffer_append(&cutter->partial, pool, payload->data, take))
        return false;
    advance(payload, take);
    return true;
}

/* A message that began in an earlier payload. */
static enum cut_result cut_partial(struct message_cutter *cutter, struct buffer_pool *pool,
                                   struct slice *payload, size_t limit, struct slice *message)
{
    const struct buffer *partial = &cutter->partial;
    if (buffer_len(partial) < MESSAGE_HEAD_BYTES) {
        /* The smallest block has room for a head. */
        CHECK(gather(cutter, pool, payload, MESSAGE_HEAD_BYTES));
        if (buffer_len(partial) < MESSAGE_HEAD_BYTES)
            return CUT_NEED_MORE;
    }
    const size_t size = bytes_get_u32(partial->data + partial->start);
    if (size > limit)
        return CUT_OVERSIZED;
    if (!gather(cutter, pool, payload, MESSAGE_HEAD_BYTES + size))
        return CUT_NO_MEMORY;
    if (buffer_len(partial) < MESSAGE_HEAD_BYTES + size)
        return CUT_NEED_MORE;
    *message = (struct slice) { partial->data + partial->start + MESSAGE_HEAD_BYTES, size };
    cutter->handed_out = true;
    return CUT_MESSAGE;
}

static enum cut_result cut_one(struct message_cutter *cutter, struct buffer_pool *pool,
                               struct slice *payload, size_t limit, struct slice *message)
{
    if (cutter->handed_out) {
        buffer_clear(&cutter->partial, pool);
        cutter->handed_out = false;
    }
    if (buffer_len(&cutter->partial) > 0)
        return cut_partial(cutter, pool, payload, limit, message);
    if (payload->len < MESSAGE_HEAD_BYTES)
        return gather(cutter, pool, payload, MESSAGE_HEAD_BYTES) ? CUT_NEED_MORE : CUT_NO_MEMORY;
    const size_t size = bytes_get_u32(payload->data);
    if (size > limit)
        return CUT_OVERSIZED;
    if (payload->len - MESSAGE_HEAD_BYTES < size)
        return gather(cutter, pool, payload, MESSAGE_HEAD_BYTES + size) ? CUT_NEED_MORE
                                                                        : CUT_NO_MEMORY;
    *message = (struct slice) { payload->data + MESSAGE_HEAD_BYTES, size };
    advance(payload, MESSAGE_HEAD_BYTES + size);
    return CUT_MESSAGE;
}

enum cut_result message_cut(struct message_cutter *cutter, struct buffer_pool *pool,
                            struct slice *payload, size_t limit, struct slice *message)
{
    CHECK(limit <= UINT32_MAX - MESSAGE_HEAD_BYTES);
    enum cut_result result;
    do {
        result = cut_one(cutter, pool, payload, limit, message);
    } while (result == CUT_MESSAGE && message->len == 0);
    return result;
}

void message_cutter_clear(struct message_cutter *cutter, struct buffer_pool *pool)
{
    buffer_clear(&cutter->partial, pool);
    cutter->handed_out = false;
}
