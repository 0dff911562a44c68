#include "core/node/queue.h"

#include "core/check.h"
#include "core/limits.h"

enum { BLOCK_BYTES = 256 };

/* A block is an item's head or holds more of its body. Links are block numbers, 0 none. */
struct block {
    uint32_t more;   /* the body goes on there; in a free block: the next free one */
    uint32_t before; /* heads: in order of arrival */
    uint32_t after;
    uint32_t device_before; /* heads: among the device's */
    uint32_t device_after;
    uint32_t held_before; /* heads: among what is held */
    uint32_t held_after;
    struct queue_item item;
    uint8_t body[BLOCK_BYTES - 7 * sizeof(uint32_t) - sizeof(struct queue_item)];
};
_Static_assert(sizeof(struct block) <= BLOCK_BYTES + 8, "a block is about its size");

struct ends {
    uint32_t first;
    uint32_t last;
};

struct queue {
    uint32_t blocks;
    uint32_t used; /* blocks ever handed out: those beyond were never touched */
    uint32_t free;
    uint32_t free_count;
    uint32_t count;
    uint32_t devices;
    uint32_t held_count;
    struct ends all;
    struct ends held;
    struct ends *device;
    struct block *block;
};

static size_t align16(size_t bytes)
{
    return (bytes + 15) & ~(size_t)15;
}

size_t queue_memory(size_t bytes, uint32_t devices)
{
    size_t blocks = bytes / sizeof(struct block) + 2;
    return align16(sizeof(struct queue)) + align16((devices + 1) * sizeof(struct ends)) +
           blocks * sizeof(struct block);
}

struct queue *queue_init(void *memory, size_t bytes, uint32_t devices)
{
    struct queue *queue = memory;
    uint8_t *at = memory;
    queue->blocks = (uint32_t)(bytes / sizeof(struct block) + 2);
    queue->used = 1; /* number 0 is none */
    queue->devices = devices;
    at += align16(sizeof(struct queue));
    queue->device = (void *)at;
    at += align16((devices + 1) * sizeof(struct ends));
    queue->block = (void *)at;
    return queue;
}

/* Where a device's items are listed: numbers are position + generation * LIMIT_DEVICES (chat.h). */
static uint32_t lane(const struct queue *queue, uint32_t device)
{
    uint32_t at = device ? (device - 1) % LIMIT_DEVICES + 1 : 0;
    CHECK(at <= queue->devices);
    return at;
}

uint32_t queue_blocks_for(uint32_t len)
{
    uint32_t per = sizeof(((struct block *)0)->body);
    return len <= per ? 1 : (len + per - 1) / per;
}

uint32_t queue_blocks(const struct queue *queue)
{
    return queue->blocks;
}

static uint32_t take_block(struct queue *queue)
{
    uint32_t position = queue->free;
    if (position) {
        queue->free = queue->block[position].more;
        queue->free_count--;
    } else {
        CHECK(queue->used < queue->blocks);
        position = queue->used++;
    }
    queue->block[position].more = 0;
    return position;
}

static void copy_in(struct queue *queue, uint32_t position, struct slice body)
{
    uint32_t at = position;
    for (;;) {
        struct block *block = &queue->block[at];
        size_t part = body.len < sizeof(block->body) ? body.len : sizeof(block->body);
        memcpy(block->body, body.data, part);
        body.data += part;
        body.len -= part;
        if (!body.len)
            return;
        uint32_t more = take_block(queue);
        block->more = more;
        at = more;
    }
}

/* Between a device's neighbours seqs rise. */
static void link_device(struct queue *queue, uint32_t position, uint32_t next)
{
    struct block *block = &queue->block[position];
    struct ends *device = &queue->device[lane(queue, block->item.device)];
    block->device_before = next ? queue->block[next].device_before : device->last;
    block->device_after = next;
    if (block->device_before) {
        struct block *before = &queue->block[block->device_before];
        CHECK(!block->item.device || before->item.device == block->item.device);
        CHECK(!block->item.device || before->item.seq < block->item.seq);
        before->device_after = position;
    } else {
        device->first = position;
    }
    if (next) {
        CHECK(queue->block[next].item.device == block->item.device);
        CHECK(queue->block[next].item.seq > block->item.seq);
        queue->block[next].device_before = position;
    } else {
        device->last = position;
    }
}

bool queue_insert(struct queue *queue, const struct queue_item *item, struct slice body,
                  uint32_t next)
{
    CHECK(item->len == body.len && body.len > 0);
    if (queue_blocks_for(item->len) > queue->blocks - queue->used + queue->free_count)
        return false;
    uint32_t position = take_block(queue);
    struct block *block = &queue->block[position];
    block->item = *item;
    block->before = next ? queue->block[next].before : queue->all.last;
    block->after = next;
    copy_in(queue, position, body);
    if (block->before)
        queue->block[block->before].after = position;
    else
        queue->all.first = position;
    if (next)
        queue->block[next].before = position;
    else
        queue->all.last = position;
    link_device(queue, position, next);
    queue->count++;
    return true;
}

bool queue_push(struct queue *queue, const struct queue_item *item, struct slice body)
{
    return queue_insert(queue, item, body, 0);
}

uint32_t queue_first(const struct queue *queue)
{
    return queue->all.first;
}

uint32_t queue_next(const struct queue *queue, uint32_t position)
{
    CHECK(position);
    return queue->block[position].after;
}

const struct queue_item *queue_at(const struct queue *queue, uint32_t position)
{
    CHECK(position && position < queue->used);
    return &queue->block[position].item;
}

struct queue_item *queue_edit(struct queue *queue, uint32_t position)
{
    CHECK(position && position < queue->used);
    return &queue->block[position].item;
}

bool queue_is_held(const struct queue *queue, uint32_t position, uint64_t held)
{
    return position && position < queue->used && held && queue->block[position].item.held == held;
}

void queue_copy(const struct queue *queue, uint32_t position, uint8_t *out)
{
    size_t left = queue_at(queue, position)->len;
    while (left) {
        CHECK(position);
        const struct block *block = &queue->block[position];
        size_t part = left < sizeof(block->body) ? left : sizeof(block->body);
        memcpy(out, block->body, part);
        out += part;
        left -= part;
        position = block->more;
    }
}

uint32_t queue_device_first(const struct queue *queue, uint32_t device)
{
    return queue->device[lane(queue, device)].first;
}

uint32_t queue_device_last(const struct queue *queue, uint32_t device)
{
    return queue->device[lane(queue, device)].last;
}

uint32_t queue_device_next(const struct queue *queue, uint32_t position)
{
    CHECK(position);
    return queue->block[position].device_after;
}

uint32_t queue_device_before(const struct queue *queue, uint32_t position)
{
    CHECK(position);
    return queue->block[position].device_before;
}

void queue_held_add(struct queue *queue, uint32_t position)
{
    CHECK(position && position < queue->used);
    struct block *block = &queue->block[position];
    CHECK(block->item.hold != HOLD_DURABLE && block->item.held);
    block->item.hold = HOLD_DURABLE;
    block->held_before = queue->held.last;
    block->held_after = 0;
    if (queue->held.last) {
        CHECK(queue->block[queue->held.last].item.held < block->item.held);
        queue->block[queue->held.last].held_after = position;
    } else {
        queue->held.first = position;
    }
    queue->held.last = position;
    queue->held_count++;
}

uint32_t queue_held_first(const struct queue *queue)
{
    return queue->held.first;
}

uint32_t queue_held_next(const struct queue *queue, uint32_t position)
{
    CHECK(position);
    return queue->block[position].held_after;
}

uint32_t queue_held_count(const struct queue *queue)
{
    return queue->held_count;
}

static void held_unlink(struct queue *queue, struct block *block)
{
    if (block->held_before)
        queue->block[block->held_before].held_after = block->held_after;
    else
        queue->held.first = block->held_after;
    if (block->held_after)
        queue->block[block->held_after].held_before = block->held_before;
    else
        queue->held.last = block->held_before;
    queue->held_count--;
}

void queue_remove(struct queue *queue, uint32_t position)
{
    CHECK(position && position < queue->used && queue->count);
    struct block *block = &queue->block[position];
    struct ends *device = &queue->device[lane(queue, block->item.device)];
    if (block->before)
        queue->block[block->before].after = block->after;
    else
        queue->all.first = block->after;
    if (block->after)
        queue->block[block->after].before = block->before;
    else
        queue->all.last = block->before;
    if (block->device_before)
        queue->block[block->device_before].device_after = block->device_after;
    else
        device->first = block->device_after;
    if (block->device_after)
        queue->block[block->device_after].device_before = block->device_before;
    else
        device->last = block->device_before;
    if (block->item.hold == HOLD_DURABLE)
        held_unlink(queue, block);
    block->item.held = 0;
    block->item.hold = HOLD_NOT;
    while (position) {
        uint32_t more = queue->block[position].more;
        queue->block[position].more = queue->free;
        queue->free = position;
        queue->free_count++;
        position = more;
    }
    queue->count--;
}

uint32_t queue_count(const struct queue *queue)
{
    return queue->count;
}
