/* One node's queue: every command of its clients, kept until apply answers it.
 *
 * "One queue per node" (architecture.md, Exactly once): in the order of arrival, so that after a
 * leader change all of it can be forwarded again, oldest first. Commands of one device stand in the
 * order of their seqs; a gap between two of them means that the client has the answers to what lies there. What no device sends (enrolling, invites, probes) is named by
 * a nonce instead, under device 0.
 *
 * Bodies lie in fixed blocks of one pool; a position is a block's number. Everything is bounded by
 * the pool: queue_push says false when it is full, and the caller answers BUSY. */
#ifndef FTCHAT_CORE_NODE_QUEUE_H
#define FTCHAT_CORE_NODE_QUEUE_H

#include "core/bytes.h"

struct queue;

/* `devices`: highest device number. */
size_t queue_memory(size_t bytes, uint32_t devices);
struct queue *queue_init(void *memory, size_t bytes, uint32_t devices);

struct queue_item {
    uint32_t device;     /* 0: named by `seq` as a nonce */
    uint32_t account;    /* whose share of the queue it takes; 0: nobody's */
    uint32_t forwarding; /* the round in which it was forwarded; 0: not yet */
    uint64_t seq;
    uint64_t digest;
    uint32_t connection; /* nonce items: who waits for it */
    uint32_t generation;
    uint64_t since_us;
    uint32_t len;
    uint8_t beyond; /* device items: seq - the newest `done` that the client told */
    uint8_t hold;   /* enum queue_hold */
    uint64_t held;  /* its number in the held log; 0: not there */
};

enum queue_hold {
    HOLD_NOT,
    HOLD_WRITING,
    HOLD_DURABLE, /* on the list of what is held */
};

/* What a body of `len` bytes takes, and how much of that there is in all. */
uint32_t queue_blocks_for(uint32_t len);
uint32_t queue_blocks(const struct queue *queue);
/* false: full. */
bool queue_push(struct queue *queue, const struct queue_item *item, struct slice body);
/* The same before `next`, an item of the same device; 0: at the end. */
bool queue_insert(struct queue *queue, const struct queue_item *item, struct slice body,
                  uint32_t next);
/* The oldest item, the one after `position`; 0: none. Positions stay good until their item is
 * removed. */
uint32_t queue_first(const struct queue *queue);
uint32_t queue_next(const struct queue *queue, uint32_t position);
const struct queue_item *queue_at(const struct queue *queue, uint32_t position);
/* Copies the body to `out`, which holds queue_at()->len bytes. */
void queue_copy(const struct queue *queue, uint32_t position, uint8_t *out);
/* The device's oldest and newest item; 0: none. Device 0: the nonce items. */
uint32_t queue_device_first(const struct queue *queue, uint32_t device);
uint32_t queue_device_last(const struct queue *queue, uint32_t device);
uint32_t queue_device_next(const struct queue *queue, uint32_t position);
uint32_t queue_device_before(const struct queue *queue, uint32_t position);
/* For the fields that change: forwarding, beyond, hold, held. */
struct queue_item *queue_edit(struct queue *queue, uint32_t position);
/* Is this position an item's that is held under this number? For a position that may be old. */
bool queue_is_held(const struct queue *queue, uint32_t position, uint64_t held);
/* What is durable in the held log, in the order of its numbers: shown in that order to whoever comes. */
void queue_held_add(struct queue *queue, uint32_t position);
uint32_t queue_held_first(const struct queue *queue);
uint32_t queue_held_next(const struct queue *queue, uint32_t position);
uint32_t queue_held_count(const struct queue *queue);
void queue_remove(struct queue *queue, uint32_t position);
uint32_t queue_count(const struct queue *queue);

#endif
