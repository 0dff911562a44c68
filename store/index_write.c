/* Writes the index file of a segment from the postings in memory. */
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "store/index_format.h"

/* The whole file in memory: some 5 % of a segment. */
struct image {
    struct store *store;
    uint8_t *data;
    struct index_header header;
};

static void put(struct image *image, uint64_t block, uint64_t ordinal, uint64_t per_block,
                const uint8_t *item, size_t size)
{
    uint8_t *at = image->data + (block + ordinal / per_block) * INDEX_BLOCK_BYTES;
    memcpy(at + ordinal % per_block * size, item, size);
}

/* One room's part of the segment. */
struct part {
    uint32_t room;
    uint32_t start;
    uint32_t count;
};

static int by_room(const void *a, const void *b)
{
    const struct part *x = a;
    const struct part *y = b;
    return x->room < y->room ? -1 : x->room > y->room;
}

/* The rooms that have something in the segment. The array is made outside the mutex. */
static enum ft_error collect(struct store *store, const struct segment *segment,
                             struct part **parts, uint32_t *parts_count)
{
    store_lock(store);
    uint32_t room_for = store->postings.rooms_count;
    store_unlock(store);
    room_for = room_for * 2 + 64;
    *parts_count = 0;
    *parts = malloc(room_for * sizeof **parts);
    if (!*parts)
        return FT_ERROR_LIMIT;
    bool fits = true;
    store_lock(store);
    for (uint32_t i = 0; i < store->postings.rooms_capacity; i++) {
        const struct room_postings *list = &store->postings.rooms[i];
        if (!list->count)
            continue;
        uint32_t start = postings_after(list, segment->first - 1);
        uint32_t end = postings_after(list, segment->last);
        if (start == end)
            continue;
        fits = fits && *parts_count < room_for;
        if (fits)
            (*parts)[(*parts_count)++] = (struct part) { list->room, start, end - start };
    }
    store_unlock(store);
    if (*parts_count)
        qsort(*parts, *parts_count, sizeof **parts, by_room);
    return fits ? FT_OK : FT_ERROR_LIMIT;
}

static void put_room(struct image *image, const struct segment *segment, const struct part *part,
                     uint32_t ordinal, uint32_t start)
{
    struct store *store = image->store;
    uint64_t base = 0;
    for (uint32_t i = 0; i < part->count; i++) {
        /* One at a time: the loop thread is never kept waiting for a whole room. */
        store_lock(store);
        const struct room_postings *list = postings_room(&store->postings, part->room);
        CHECK(list != NULL);
        struct posting posting = postings_get(list, part->start + i);
        store_unlock(store);
        if (i == 0)
            base = posting.seq;
        CHECK(posting.seq >= base);
        CHECK(posting.seq - base < UINT32_MAX / 2);
        uint8_t item[INDEX_POSTING_BYTES];
        bytes_put_u32(item, (uint32_t)(posting.index - segment->first));
        bytes_put_u32(item + 4, (uint32_t)(posting.seq - base) << 1 | posting.event);
        put(image, index_postings_block(&image->header), start + i, INDEX_POSTINGS_PER_BLOCK, item,
            sizeof item);
    }
    uint8_t line[INDEX_ROOM_BYTES] = { 0 };
    bytes_put_u32(line, part->room);
    bytes_put_u32(line + 4, part->count);
    bytes_put_u32(line + 8, start);
    bytes_put_u64(line + 16, base);
    put(image, index_rooms_block(&image->header), ordinal, INDEX_ROOMS_PER_BLOCK, line,
        sizeof line);
}

static void put_header(struct image *image)
{
    const struct index_header *header = &image->header;
    uint8_t *at = image->data;
    file_prologue_write(at, FILE_INDEX, image->store->crypto);
    bytes_put_u64(at + INDEX_AT_FIRST, header->first);
    bytes_put_u64(at + INDEX_AT_LAST, header->last);
    bytes_put_u64(at + INDEX_AT_END, header->end);
    memcpy(at + INDEX_AT_CHAIN, header->chain, HASH_BYTES);
    bytes_put_u32(at + INDEX_AT_MARKS, header->marks);
    bytes_put_u32(at + INDEX_AT_ROOMS, header->rooms);
    bytes_put_u32(at + INDEX_AT_POSTINGS, header->postings);
    bytes_put_u32(at + INDEX_AT_DELETIONS, header->deletions);
}

static void put_deletions(struct image *image, const struct deletion *deletions)
{
    for (uint32_t i = 0; i < image->header.deletions; i++) {
        uint8_t item[INDEX_DELETION_BYTES];
        bytes_put_u32(item, (uint32_t)(deletions[i].index - image->header.first));
        bytes_put_u32(item + 4, deletions[i].check);
        bytes_put_u64(item + 8, deletions[i].target);
        put(image, index_deletions_block(&image->header), i, INDEX_DELETIONS_PER_BLOCK, item,
            sizeof item);
    }
}

static void seal_blocks(struct image *image)
{
    for (uint64_t i = 0; i < index_blocks_all(&image->header); i++) {
        uint8_t *block = image->data + i * INDEX_BLOCK_BYTES;
        bytes_put_u64(block + INDEX_PAYLOAD_BYTES, i);
        bytes_put_u64(
            block + INDEX_PAYLOAD_BYTES + 8,
            image->store->crypto->digest(image->store->cluster, block, INDEX_PAYLOAD_BYTES + 8));
    }
}

static enum ft_error fill(struct image *image, const struct segment *segment,
                          const struct part *parts, const struct deletion *deletions)
{
    size_t size = (size_t)index_blocks_all(&image->header) * INDEX_BLOCK_BYTES;
    image->data = calloc(1, size);
    if (!image->data)
        return FT_ERROR_LIMIT;
    put_header(image);
    for (uint32_t i = 0; i < segment->marks_count; i++) {
        uint8_t item[INDEX_MARK_BYTES];
        bytes_put_u32(item, segment->marks[i].delta);
        bytes_put_u32(item + 4, segment->marks[i].offset);
        put(image, 1, i, INDEX_MARKS_PER_BLOCK, item, sizeof item);
    }
    uint32_t start = 0;
    for (uint32_t i = 0; i < image->header.rooms; i++) {
        put_room(image, segment, &parts[i], i, start);
        start += parts[i].count;
    }
    put_deletions(image, deletions);
    seal_blocks(image);
    return FT_OK;
}

/* NULL without an error: nothing was deleted in the segment. */
static enum ft_error copy_deletions(struct store *store, const struct segment *segment,
                                    struct deletion **copy, uint32_t *copy_count)
{
    store_lock(store);
    size_t count;
    const struct deletion *all =
        deletions_of(&store->deletions, segment->first, segment->last, &count);
    *copy = count ? malloc(count * sizeof **copy) : NULL;
    if (*copy)
        memcpy(*copy, all, count * sizeof **copy);
    store_unlock(store);
    *copy_count = (uint32_t)count;
    return count && !*copy ? FT_ERROR_LIMIT : FT_OK;
}

enum ft_error index_file_write(struct store *store, const struct segment *segment)
{
    struct part *parts;
    struct deletion *deletions = NULL;
    uint32_t rooms;
    uint32_t deletions_count = 0;
    enum ft_error error = collect(store, segment, &parts, &rooms);
    if (!error)
        error = copy_deletions(store, segment, &deletions, &deletions_count);
    struct image image = { .store = store };
    image.header = (struct index_header) { .first = segment->first,
                                           .last = segment->last,
                                           .end = segment->end,
                                           .marks = segment->marks_count,
                                           .rooms = rooms,
                                           .deletions = deletions_count };
    memcpy(image.header.chain, segment->chain, HASH_BYTES);
    for (uint32_t i = 0; i < rooms; i++)
        image.header.postings += parts[i].count;
    if (!error)
        error = fill(&image, segment, parts, deletions);
    if (!error) {
        char path[DISK_PATH_BYTES];
        segment_path(path, segment->first, "idx");
        struct slice all = { image.data,
                             (size_t)index_blocks_all(&image.header) * INDEX_BLOCK_BYTES };
        error = file_replace(store->disk, "log", "log/new.tmp", path, &all, 1);
    }
    free(image.data);
    free(deletions);
    free(parts);
    return error;
}
