/* An index from keys to positions: open addressing with linear probing (Knuth, TAOCP 3, 6.4,
 * algorithms L and R).
 *
 * It holds hashes and positions only; the keys stay in the records that the positions name, so the
 * caller compares them. Positions are 1-based, 0 is none. The memory is the caller's, zeroed, and
 * is twice the entries that may go in, so that probes stay short. Taking out moves entries back
 * instead of leaving tombstones. The order of entries depends on the hashes: nothing that must be
 * equal on all nodes may be read off it. */
#ifndef FTCHAT_CORE_CHAT_TABLE_H
#define FTCHAT_CORE_CHAT_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct table_slot {
    uint32_t hash;
    uint32_t position; /* 0: empty */
};

struct table {
    struct table_slot *slots;
    uint32_t mask;
    uint32_t entries;
    uint32_t capacity;
};

/* Walks the positions that were put in under a hash. */
struct table_probe {
    uint32_t hash;
    uint32_t at;
};

size_t table_memory(uint32_t capacity);
void table_init(struct table *table, void *memory, uint32_t capacity);
struct table_probe table_probe(uint64_t hash);
/* The next position under that hash, 0 at the end. */
uint32_t table_next(const struct table *table, struct table_probe *probe);
void table_insert(struct table *table, uint64_t hash, uint32_t position);
/* The pair must be in it. */
void table_remove(struct table *table, uint64_t hash, uint32_t position);

#endif
