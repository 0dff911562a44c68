/* The postings of what no index file covers yet, in memory: for each room an array sorted by index
 * and, since seq grows with it, by seq. */
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "store/internal.h"

static uint32_t slot_of(const struct postings *postings, uint32_t room)
{
    uint32_t mask = postings->rooms_capacity - 1;
    uint32_t slot = (room * UINT32_C(2654435761)) & mask;
    while (postings->rooms[slot].capacity && postings->rooms[slot].room != room)
        slot = (slot + 1) & mask;
    return slot;
}

static bool grow_rooms(struct postings *postings)
{
    struct postings grown = *postings;
    grown.rooms_capacity = postings->rooms_capacity ? postings->rooms_capacity * 2 : 64;
    grown.rooms = calloc(grown.rooms_capacity, sizeof *grown.rooms);
    if (!grown.rooms)
        return false;
    for (uint32_t i = 0; i < postings->rooms_capacity; i++)
        if (postings->rooms[i].capacity)
            grown.rooms[slot_of(&grown, postings->rooms[i].room)] = postings->rooms[i];
    free(postings->rooms);
    *postings = grown;
    return true;
}

bool postings_add(struct postings *postings, uint32_t room, const struct posting *posting)
{
    CHECK(posting->index >= postings->newest);
    if (postings->rooms_count * 2 >= postings->rooms_capacity && !grow_rooms(postings))
        return false;
    struct room_postings *list = &postings->rooms[slot_of(postings, room)];
    if (list->count == list->capacity) {
        uint32_t capacity = list->capacity ? list->capacity * 2 : 4;
        struct packed_posting *items = realloc(list->items, capacity * sizeof *items);
        if (!items)
            return false;
        postings->rooms_count += list->capacity == 0;
        list->room = room;
        list->items = items;
        list->capacity = capacity;
    }
    list->items[list->count++] =
        (struct packed_posting) { posting->index, posting->seq << 1 | posting->event };
    postings->newest = posting->index;
    return true;
}

const struct room_postings *postings_room(const struct postings *postings, uint32_t room)
{
    if (!postings->rooms_capacity)
        return NULL;
    const struct room_postings *list = &postings->rooms[slot_of(postings, room)];
    return list->capacity ? list : NULL;
}

uint32_t postings_after(const struct room_postings *room, uint64_t index)
{
    uint32_t low = 0;
    uint32_t high = room->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (room->items[middle].index <= index)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct posting postings_get(const struct room_postings *room, uint32_t ordinal)
{
    CHECK(ordinal < room->count);
    const struct packed_posting *item = &room->items[ordinal];
    return (struct posting) { item->index, item->seq_event >> 1, item->seq_event & 1 };
}

/* The table is made anew for the rooms that have something left. */
void postings_drop(struct postings *postings, uint64_t index)
{
    struct postings kept = { .newest = postings->newest };
    kept.rooms = postings->rooms;
    for (uint32_t i = 0; i < postings->rooms_capacity; i++) {
        struct room_postings *list = &postings->rooms[i];
        if (!list->capacity)
            continue;
        uint32_t gone = postings_after(list, index);
        list->count -= gone;
        memmove(list->items, list->items + gone, list->count * sizeof *list->items);
    }
    uint32_t capacity = postings->rooms_capacity;
    struct room_postings *rooms = capacity ? calloc(capacity, sizeof *rooms) : NULL;
    if (!rooms)
        return; /* empty lists stay until the next time */
    struct room_postings *old = kept.rooms;
    kept.rooms = rooms;
    kept.rooms_capacity = capacity;
    for (uint32_t i = 0; i < capacity; i++) {
        if (!old[i].count) {
            free(old[i].items);
            continue;
        }
        uint32_t fit = old[i].count < 4 ? 4 : old[i].count;
        struct packed_posting *items = realloc(old[i].items, fit * sizeof *items);
        if (items) {
            old[i].items = items;
            old[i].capacity = fit;
        }
        kept.rooms[slot_of(&kept, old[i].room)] = old[i];
        kept.rooms_count++;
    }
    free(old);
    *postings = kept;
}

void postings_free(struct postings *postings)
{
    for (uint32_t i = 0; i < postings->rooms_capacity; i++)
        free(postings->rooms[i].items);
    free(postings->rooms);
    *postings = (struct postings) { 0 };
}

void store_index(struct store *store, uint32_t room, uint64_t seq, uint64_t index, bool event)
{
    store_lock(store);
    if (index > store->indexed_last &&
        !postings_add(&store->postings, room, &(struct posting) { index, seq, event }))
        store->postings_lost = true;
    store_unlock(store);
}
