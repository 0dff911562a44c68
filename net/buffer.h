/* Byte buffers that are held only while they hold something.
 *
 * Buffers come from a pool in power-of-two sizes; the pool counts every byte against a cap, keeps a
 * few freed blocks for the next taker, and says no at the cap. An empty buffer owns no memory. */
#ifndef FTCHAT_NET_BUFFER_H
#define FTCHAT_NET_BUFFER_H

#include "core/error.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    BUFFER_SMALLEST = 128,
    BUFFER_CLASSES = 18,           /* 128 bytes .. 16 MiB */
    BUFFER_KEPT_BYTES = 512 << 10, /* freed blocks kept, per class */
};

struct buffer_pool {
    size_t used_bytes; /* in buffers now */
    size_t cap_bytes;
    struct buffer_block *kept[BUFFER_CLASSES];
    size_t kept_bytes[BUFFER_CLASSES];
};

struct buffer {
    uint8_t *data;
    uint32_t start; /* bytes [start, end) are held */
    uint32_t end;
    uint32_t size_bytes; /* of the block; 0: none */
};

void buffer_pool_init(struct buffer_pool *pool, size_t cap_bytes);
/* Frees the kept blocks; every buffer must have been cleared. */
void buffer_pool_destroy(struct buffer_pool *pool);

static inline size_t buffer_len(const struct buffer *buffer)
{
    return buffer->end - buffer->start;
}

/* Room for `len` (at least 1) more bytes at the end, or NULL at the pool's cap. Count them with
 * buffer_added. */
uint8_t *buffer_reserve(struct buffer *buffer, struct buffer_pool *pool, size_t len);
void buffer_added(struct buffer *buffer, size_t len);
FT_MUST_USE bool buffer_append(struct buffer *buffer, struct buffer_pool *pool, const void *data,
                               size_t len);
/* Drops `len` bytes from the front; the block goes back when nothing is left. */
void buffer_drop(struct buffer *buffer, struct buffer_pool *pool, size_t len);
void buffer_clear(struct buffer *buffer, struct buffer_pool *pool);

#endif
