/* Frames and the message stream, from hostile bytes.
 *
 * The first byte chooses how the rest is cut into payloads, the second the limit. Whatever comes,
 * the messages must be those that a reader of the whole stream at once would see. The same bytes as
 * a frame must never authenticate. */
#include "core/check.h"
#include "net/frame.h"

#include <stdlib.h>
#include <string.h>

enum { POOL_BYTES = 1 << 20 };

/* The reference: what is to be seen next in the whole stream, or how it ends. */
static enum cut_result next_in_whole(const uint8_t *data, size_t len, size_t *at, size_t limit,
                                     struct slice *message)
{
    for (;;) {
        if (len - *at < MESSAGE_HEAD_BYTES)
            return CUT_NEED_MORE;
        const size_t size = bytes_get_u32(data + *at);
        if (size > limit)
            return CUT_OVERSIZED;
        if (len - *at - MESSAGE_HEAD_BYTES < size)
            return CUT_NEED_MORE;
        *message = (struct slice) { data + *at + MESSAGE_HEAD_BYTES, size };
        *at += MESSAGE_HEAD_BYTES + size;
        if (size > 0)
            return CUT_MESSAGE;
    }
}

static void cut_in_pieces(const uint8_t *data, size_t len, size_t step, size_t limit)
{
    struct buffer_pool pool;
    struct message_cutter cutter = { 0 };
    size_t whole_at = 0;
    enum cut_result result = CUT_NEED_MORE;
    buffer_pool_init(&pool, POOL_BYTES);
    for (size_t at = 0; at < len && result == CUT_NEED_MORE; at += step) {
        const size_t piece_len = len - at < step ? len - at : step;
        /* A copy of its own, so that reading beyond it is seen. */
        uint8_t *piece = malloc(piece_len);
        CHECK(piece != NULL);
        memcpy(piece, data + at, piece_len);
        struct slice payload = { piece, piece_len }, message, expected;
        while ((result = message_cut(&cutter, &pool, &payload, limit, &message)) == CUT_MESSAGE) {
            CHECK(next_in_whole(data, len, &whole_at, limit, &expected) == CUT_MESSAGE);
            CHECK(message.len == expected.len);
            CHECK(memcmp(message.data, expected.data, message.len) == 0);
        }
        CHECK(result != CUT_NEED_MORE || payload.len == 0);
        free(piece);
    }
    if (result != CUT_NO_MEMORY) {
        struct slice unseen;
        CHECK(next_in_whole(data, len, &whole_at, limit, &unseen) == result);
    }
    message_cutter_clear(&cutter, &pool);
    buffer_pool_destroy(&pool);
}

static void open_as_frame(const uint8_t *data, size_t len)
{
    struct noise_cipher cipher = { .key = { 7 }, .nonce = FRAME_REKEY_INTERVAL };
    const size_t whole = frame_length(data, len);
    if (whole == 0 || whole > len)
        return;
    uint8_t *frame = malloc(whole);
    CHECK(frame != NULL);
    memcpy(frame, data, whole);
    struct slice payload;
    CHECK(!frame_open(&cipher, frame, whole, &payload));
    free(frame);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    if (len < 2)
        return 0;
    const size_t step = (size_t)data[0] + 1;
    const size_t limit = (size_t)data[1] * 16;
    cut_in_pieces(data + 2, len - 2, step, limit);
    open_as_frame(data + 2, len - 2);
    return 0;
}
