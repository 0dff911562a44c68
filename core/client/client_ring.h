/* A ring of bytes that hands out whole blocks and takes them back oldest first.
 *
 * A block never wraps around the end: what does not fit there begins at the start. The memory is
 * the caller's. */
#ifndef FTCHAT_CORE_CLIENT_CLIENT_RING_H
#define FTCHAT_CORE_CLIENT_CLIENT_RING_H

#include <stdbool.h>
#include <stdint.h>

struct client_ring {
    uint8_t *base;
    uint32_t size;
    uint32_t head; /* the oldest block's first byte */
    uint32_t tail; /* behind the newest block */
    uint32_t blocks;
    bool wrapped;
};

void client_ring_init(struct client_ring *ring, void *base, uint32_t size);
bool client_ring_fits(const struct client_ring *ring, uint32_t len);
/* The new block's offset; it must fit. Blocks of length 0 are blocks, too. */
uint32_t client_ring_take(struct client_ring *ring, uint32_t len);
/* Gives back the oldest block. */
void client_ring_give(struct client_ring *ring, uint32_t offset, uint32_t len);

#endif
