/* What is deleted (internal.h): the table by which a post that is read, or a body that is proved, is told
 * from one that is not, and what goes into the index file of the segment that deletes. */
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "store/internal.h"

enum { TABLE_FIRST = 64 };

static uint64_t slot_of(const struct deletions *deletions, uint64_t target)
{
    uint64_t mask = deletions->capacity - 1;
    uint64_t slot = (target * UINT64_C(0x9e3779b97f4a7c15)) >> 20 & mask;
    while (deletions->targets[slot] && deletions->targets[slot] != target)
        slot = (slot + 1) & mask;
    return slot;
}

static void put(struct deletions *deletions, uint64_t target, uint32_t check)
{
    uint64_t slot = slot_of(deletions, target);
    deletions->count += deletions->targets[slot] == 0;
    deletions->targets[slot] = target;
    deletions->checks[slot] = check;
}

/* What lies before the log's beginning is left behind: retention has dropped it. */
static bool grow(struct deletions *deletions, uint64_t begin)
{
    struct deletions grown = *deletions;
    uint64_t kept = 0;
    for (uint64_t i = 0; i < deletions->capacity; i++)
        kept += deletions->targets[i] >= begin;
    grown.count = 0;
    grown.capacity = TABLE_FIRST;
    while (grown.capacity < kept * 2)
        grown.capacity *= 2;
    grown.targets = calloc(grown.capacity, sizeof *grown.targets);
    grown.checks = calloc(grown.capacity, sizeof *grown.checks);
    if (!grown.targets || !grown.checks) {
        free(grown.targets);
        free(grown.checks);
        return false;
    }
    for (uint64_t i = 0; i < deletions->capacity; i++)
        if (deletions->targets[i] && deletions->targets[i] >= begin)
            put(&grown, deletions->targets[i], deletions->checks[i]);
    free(deletions->targets);
    free(deletions->checks);
    *deletions = grown;
    return true;
}

bool deletions_add(struct deletions *deletions, uint64_t begin, uint64_t target, uint32_t check)
{
    CHECK(target > 0);
    if (deletions->count * 4 >= deletions->capacity * 3 && !grow(deletions, begin))
        return false;
    put(deletions, target, check);
    return true;
}

bool deletions_find(const struct deletions *deletions, uint64_t target, uint32_t *check)
{
    if (!deletions->count)
        return false;
    uint64_t slot = slot_of(deletions, target);
    *check = deletions->checks[slot];
    return deletions->targets[slot] == target;
}

static bool add_fresh(struct deletions *deletions, const struct deletion *deletion)
{
    if (deletions->fresh_count == deletions->fresh_capacity) {
        size_t capacity = deletions->fresh_capacity ? deletions->fresh_capacity * 2 : 16;
        struct deletion *more = realloc(deletions->fresh, capacity * sizeof *more);
        if (!more)
            return false;
        deletions->fresh = more;
        deletions->fresh_capacity = capacity;
    }
    deletions->fresh[deletions->fresh_count++] = *deletion;
    return true;
}

struct deletion *deletions_of(const struct deletions *deletions, uint64_t first, uint64_t last,
                              size_t *count)
{
    size_t from = 0;
    while (from < deletions->fresh_count && deletions->fresh[from].index < first)
        from++;
    *count = 0;
    while (from + *count < deletions->fresh_count && deletions->fresh[from + *count].index <= last)
        ++*count;
    return deletions->fresh + from;
}

void deletions_drop(struct deletions *deletions, uint64_t index)
{
    size_t gone = 0;
    while (gone < deletions->fresh_count && deletions->fresh[gone].index <= index)
        gone++;
    deletions->fresh_count -= gone;
    if (deletions->fresh_count)
        memmove(deletions->fresh, deletions->fresh + gone,
                deletions->fresh_count * sizeof *deletions->fresh);
}

void deletions_free(struct deletions *deletions)
{
    free(deletions->targets);
    free(deletions->checks);
    free(deletions->fresh);
    *deletions = (struct deletions) { 0 };
}

void store_delete(struct store *store, uint64_t index, uint64_t target, uint32_t check)
{
    struct deletion deletion = { .index = index, .target = target, .check = check };
    CHECK(target < index);
    store_lock(store);
    bool good = deletions_add(&store->deletions, store->begin, target, check);
    if (good && index > store->indexed_last)
        good = add_fresh(&store->deletions, &deletion);
    if (!good) {
        store->postings_lost = true;
        store->deletions_lost = true; /* rather nothing is shown than what was deleted */
    }
    store_unlock(store);
}

bool store_deleted(struct store *store, uint64_t target, uint32_t *check)
{
    store_lock(store);
    bool deleted = deletions_find(&store->deletions, target, check);
    store_unlock(store);
    return deleted;
}

static bool load_one(void *ctx, const struct deletion *deletion)
{
    struct store *store = ctx;
    store_lock(store);
    bool good = deletion->target < store->begin ||
                deletions_add(&store->deletions, store->begin, deletion->target, deletion->check);
    store_unlock(store);
    return good;
}

enum ft_error deletions_load(struct store *store, const char *path,
                             const struct index_header *header)
{
    return index_file_deletions(store->disk, store->crypto, store->cluster, path, header, load_one,
                                store);
}

enum ft_error deletions_reload(struct store *store, uint64_t first)
{
    struct index_header header;
    char path[DISK_PATH_BYTES];
    segment_path(path, first, "idx");
    enum ft_error error =
        index_file_header_load(store->disk, store->crypto, store->cluster, first, &header, true);
    if (!error)
        error = deletions_load(store, path, &header);
    if (error)
        return error;
    store_lock(store);
    store->unsure = 0;
    for (size_t i = 0; i < store->segments_count; i++) {
        struct segment *segment = &store->segments[i];
        if (segment->first == first)
            segment->deletions_lost = false;
        if (segment->deletions_lost)
            store->unsure = segment->last;
    }
    store_unlock(store);
    return FT_OK;
}
