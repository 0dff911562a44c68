#include "net/buffer.h"
#include "core/check.h"
#include <stdlib.h>
#include <string.h>

/* A freed block that is kept: its first bytes link to the next one of its rank. */
struct buffer_block {
    struct buffer_block *next;
};

static size_t class_bytes(unsigned rank)
{
    return (size_t)BUFFER_SMALLEST << rank;
}

/* The smallest rank that holds `len` bytes; BUFFER_CLASSES when none does. */
static unsigned class_of(size_t len)
{
    unsigned rank = 0;
    while (rank < BUFFER_CLASSES && class_bytes(rank) < len)
        rank++;
    return rank;
}

void buffer_pool_init(struct buffer_pool *pool, size_t cap_bytes)
{
    memset(pool, 0, sizeof *pool);
    pool->cap_bytes = cap_bytes;
}

void buffer_pool_destroy(struct buffer_pool *pool)
{
    CHECK(pool->used_bytes == 0);
    for (unsigned rank = 0; rank < BUFFER_CLASSES; rank++) {
        while (pool->kept[rank]) {
            struct buffer_block *block = pool->kept[rank];
            pool->kept[rank] = block->next;
            free(block);
        }
        pool->kept_bytes[rank] = 0;
    }
}

static uint8_t *block_take(struct buffer_pool *pool, unsigned rank)
{
    const size_t size_bytes = class_bytes(rank);
    if (pool->cap_bytes - pool->used_bytes < size_bytes)
        return NULL;
    struct buffer_block *block = pool->kept[rank];
    if (block) {
        pool->kept[rank] = block->next;
        pool->kept_bytes[rank] -= size_bytes;
    } else {
        block = malloc(size_bytes);
        if (!block)
            return NULL;
    }
    pool->used_bytes += size_bytes;
    return (uint8_t *)block;
}

static void block_give(struct buffer_pool *pool, uint8_t *data, size_t size_bytes)
{
    const unsigned rank = class_of(size_bytes);
    CHECK(rank < BUFFER_CLASSES);
    CHECK(class_bytes(rank) == size_bytes);
    CHECK(pool->used_bytes >= size_bytes);
    pool->used_bytes -= size_bytes;
    if (pool->kept_bytes[rank] + size_bytes > BUFFER_KEPT_BYTES) {
        free(data);
        return;
    }
    struct buffer_block *block = (struct buffer_block *)(void *)data;
    block->next = pool->kept[rank];
    pool->kept[rank] = block;
    pool->kept_bytes[rank] += size_bytes;
}

uint8_t *buffer_reserve(struct buffer *buffer, struct buffer_pool *pool, size_t len)
{
    const size_t held = buffer_len(buffer);
    if (len <= (size_t)(buffer->size_bytes - buffer->end))
        return buffer->data + buffer->end;
    /* Moving to the front is worth it when most of the block is free: each byte moves once. */
    if (held + len <= buffer->size_bytes && held <= buffer->size_bytes / 2) {
        memmove(buffer->data, buffer->data + buffer->start, held);
    } else {
        if (len > class_bytes(BUFFER_CLASSES - 1))
            return NULL;
        const unsigned rank = class_of(held + len);
        uint8_t *data = rank < BUFFER_CLASSES ? block_take(pool, rank) : NULL;
        if (!data)
            return NULL;
        if (buffer->data) {
            memcpy(data, buffer->data + buffer->start, held);
            block_give(pool, buffer->data, buffer->size_bytes);
        }
        buffer->data = data;
        buffer->size_bytes = (uint32_t)class_bytes(rank);
    }
    buffer->start = 0;
    buffer->end = (uint32_t)held;
    return buffer->data + held;
}

void buffer_added(struct buffer *buffer, size_t len)
{
    CHECK(len <= (size_t)(buffer->size_bytes - buffer->end));
    buffer->end += (uint32_t)len;
}

bool buffer_append(struct buffer *buffer, struct buffer_pool *pool, const void *data, size_t len)
{
    uint8_t *at = buffer_reserve(buffer, pool, len);
    if (!at)
        return false;
    if (len)
        memcpy(at, data, len);
    buffer_added(buffer, len);
    return true;
}

void buffer_drop(struct buffer *buffer, struct buffer_pool *pool, size_t len)
{
    CHECK(len <= buffer_len(buffer));
    buffer->start += (uint32_t)len;
    if (buffer->start == buffer->end)
        buffer_clear(buffer, pool);
}

void buffer_clear(struct buffer *buffer, struct buffer_pool *pool)
{
    if (buffer->data)
        block_give(pool, buffer->data, buffer->size_bytes);
    *buffer = (struct buffer) { 0 };
}
