/* The newest applied records, encoded once, in a ring: what every live reader gets, and where a
 * reader that is only a little behind goes on. What is older is read from disk.
 *
 * A record applied here may not be durable here yet, and then it cannot be read from disk: the ring
 * keeps such records for as long as that is so, and recent_room tells apply to wait when they fill
 * it. */
#ifndef FTCHAT_CORE_NODE_RECENT_H
#define FTCHAT_CORE_NODE_RECENT_H

#include "core/bytes.h"

struct recent;

size_t recent_memory(size_t bytes);
struct recent *recent_init(void *memory, size_t bytes);

/* May a record of `len` bytes be pushed when everything up to `durable` is durable? */
bool recent_room(const struct recent *recent, size_t len, uint64_t durable);
/* Appends; forgets the oldest. `room`: the chat's number. `message`: the whole wire message.
 * Returns its place. */
struct slice recent_push(struct recent *recent, uint32_t room, uint64_t index, uint64_t seq,
                         struct slice message);

/* A record of the ring; `position` 0 starts behind `after_index`. Returns the next position, 0 at
 * the end. */
struct recent_record {
    uint32_t room;
    uint64_t index;
    uint64_t seq;
    struct slice message;
};
uint64_t recent_next(const struct recent *recent, uint64_t position, uint64_t after_index,
                     struct recent_record *record);
/* Puts a message that is no longer in the place of that of the record at `index`; false: it is not
 * here. */
bool recent_replace(struct recent *recent, uint64_t index, struct slice message);
/* The record at `index`; false: it is not here. */
bool recent_find(const struct recent *recent, uint64_t index, struct recent_record *record);
/* Every record with an index above this one is in the ring. */
uint64_t recent_floor(const struct recent *recent);
/* Everything up to `index` was applied before the ring began. */
void recent_begin(struct recent *recent, uint64_t index);

#endif
