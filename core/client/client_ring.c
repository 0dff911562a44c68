#include "core/client/client_ring.h"

#include "core/check.h"

#include <stddef.h>

void client_ring_init(struct client_ring *ring, void *base, uint32_t size)
{
    CHECK(base != NULL);
    CHECK(size > 0);
    *ring = (struct client_ring) { .base = base, .size = size };
}

/* The gap before `head` is never filled to the last byte: head == tail always means empty. */
bool client_ring_fits(const struct client_ring *ring, uint32_t len)
{
    if (ring->wrapped)
        return ring->head - ring->tail > len;
    return ring->size - ring->tail >= len || ring->head > len;
}

uint32_t client_ring_take(struct client_ring *ring, uint32_t len)
{
    CHECK(client_ring_fits(ring, len));
    if (!ring->wrapped && ring->size - ring->tail < len) {
        ring->tail = 0;
        ring->wrapped = true;
    }
    uint32_t offset = ring->tail;
    ring->tail += len;
    ring->blocks++;
    CHECK(ring->tail <= ring->size);
    return offset;
}

void client_ring_give(struct client_ring *ring, uint32_t offset, uint32_t len)
{
    CHECK(ring->blocks > 0);
    ring->blocks--;
    if (ring->wrapped && offset < ring->head) {
        CHECK(offset == 0);
        ring->wrapped = false;
    }
    CHECK(offset + len <= ring->size);
    ring->head = offset + len;
    if (ring->blocks == 0) {
        ring->head = 0;
        ring->tail = 0;
        ring->wrapped = false;
    }
}
