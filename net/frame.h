/* The byte formats of a connection, without any I/O.
 *
 *     preamble   dialer, once:  "FTC1", role u8, 3 zero bytes
 *     frame      both ways:     length u16 big-endian, then a Noise message of that length
 *     stream     the payloads of all transport frames of a direction, joined:
 *                               size u32 little-endian, then a message of that size; and so on
 *
 * Frames and messages do not know of each other: one frame carries many small messages, a large
 * message spans many frames. A message of size 0 says nothing and is skipped (the dialer's stream
 * begins with one: it confirms the keys). A frame with an empty payload ends the stream; an end
 * without it is a truncation. Every 2^20 frames a direction rekeys (Noise, section 11.3).
 *
 * Pure functions and small structs over the caller's memory. */
#ifndef FTCHAT_NET_FRAME_H
#define FTCHAT_NET_FRAME_H

#include "core/bytes.h"
#include "net/buffer.h"
#include "net/noise.h"

enum {
    PREAMBLE_BYTES = 8,
    KEY_ID_BYTES = 16,
    PROLOGUE_BYTES = PREAMBLE_BYTES + KEY_ID_BYTES,
    FRAME_HEAD_BYTES = 2,
    FRAME_OVERHEAD_BYTES = FRAME_HEAD_BYTES + NOISE_TAG_BYTES,
    FRAME_PAYLOAD_FIRST = 4096 - NOISE_TAG_BYTES, /* until the login is done */
    FRAME_PAYLOAD_MAX = 16384,                    /* that we send; we take what Noise allows */
    FRAME_REKEY_INTERVAL = 1 << 20,
    MESSAGE_HEAD_BYTES = 4,
};

/* Who a dialer says it is; all but the client must hold the cluster's secret. */
enum channel_role {
    ROLE_CLIENT = 1,
    ROLE_NODE = 2,
    ROLE_CTL = 3,
    ROLE_MONITOR = 4,
};

void preamble_write(uint8_t out[PREAMBLE_BYTES], enum channel_role role);
/* False: not one of ours. */
FT_MUST_USE bool preamble_read(const uint8_t in[PREAMBLE_BYTES], enum channel_role *role);
enum noise_pattern role_pattern(enum channel_role role);
/* What both sides bind the handshake to: the preamble and the responder's key. */
void prologue_write(uint8_t out[PROLOGUE_BYTES], enum channel_role role,
                    const uint8_t responder_public[NOISE_KEY_BYTES]);

/* The frame at the start of `data`: its whole length, head included; 0 while the head is not
 * complete. The frame itself may not be complete. */
size_t frame_length(const uint8_t *data, size_t len);

void frame_write_head(uint8_t out[FRAME_HEAD_BYTES], size_t message_len);

/* Seals `len` (<= FRAME_PAYLOAD_MAX) bytes into a frame of len + FRAME_OVERHEAD_BYTES at `out`,
 * rekeying when it is time. */
void frame_seal(struct noise_cipher *cipher, const uint8_t *payload, size_t len, uint8_t *out);
/* Opens a complete frame in place; the payload is a part of it. False: not by the other side, or
 * not in its turn. */
FT_MUST_USE bool frame_open(struct noise_cipher *cipher, uint8_t *frame, size_t len,
                            struct slice *payload);

/* Cuts the stream into messages. Whole messages are handed out where they lie; only one that spans
 * payloads is gathered, in a buffer that grows with what has come, never with what was announced.
 */
struct message_cutter {
    struct buffer partial; /* head and beginning of a message that is not complete */
    bool handed_out;       /* it was completed and is borrowed by the caller */
};

enum cut_result {
    CUT_MESSAGE,   /* *message is set: borrowed until the next call */
    CUT_NEED_MORE, /* the payload is used up */
    CUT_OVERSIZED, /* announced: more than `limit` */
    CUT_NO_MEMORY, /* the pool is at its cap */
};

/* Takes from the front of *payload; to be called again until it needs more. */
enum cut_result message_cut(struct message_cutter *cutter, struct buffer_pool *pool,
                            struct slice *payload, size_t limit, struct slice *message);
void message_cutter_clear(struct message_cutter *cutter, struct buffer_pool *pool);

#endif
