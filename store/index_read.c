/* Reads index files, block by block, each proved; a few blocks and handles are kept. */
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "store/index_format.h"

static enum ft_error header_parse(const uint8_t *block, const struct crypto *crypto,
                                  const uint8_t key[DIGEST_KEY_BYTES], uint64_t first,
                                  struct index_header *header)
{
    enum ft_error error = file_prologue_check(block, INDEX_BLOCK_BYTES, FILE_INDEX, crypto);
    if (error)
        return error;
    if (!index_block_good(block, 0, crypto, key))
        return FT_ERROR_CORRUPT;
    header->first = bytes_get_u64(block + INDEX_AT_FIRST);
    header->last = bytes_get_u64(block + INDEX_AT_LAST);
    header->end = bytes_get_u64(block + INDEX_AT_END);
    memcpy(header->chain, block + INDEX_AT_CHAIN, HASH_BYTES);
    header->marks = bytes_get_u32(block + INDEX_AT_MARKS);
    header->rooms = bytes_get_u32(block + INDEX_AT_ROOMS);
    header->postings = bytes_get_u32(block + INDEX_AT_POSTINGS);
    header->deletions = bytes_get_u32(block + INDEX_AT_DELETIONS);
    return header->first == first && header->last >= first ? FT_OK : FT_ERROR_CORRUPT;
}

static enum ft_error load_header(const struct disk *disk, const struct crypto *crypto,
                                 const uint8_t *key, uint64_t first, struct disk_file *file,
                                 uint8_t block[INDEX_BLOCK_BYTES], struct index_header *header)
{
    size_t got;
    uint64_t size;
    enum ft_error error = disk->read(disk->ctx, file, 0, block, INDEX_BLOCK_BYTES, &got);
    if (!error && got < INDEX_BLOCK_BYTES)
        error = FT_ERROR_CORRUPT;
    if (!error)
        error = header_parse(block, crypto, key, first, header);
    if (!error)
        error = disk->size(disk->ctx, file, &size);
    if (!error && size != index_blocks_all(header) * INDEX_BLOCK_BYTES)
        error = FT_ERROR_CORRUPT;
    return error;
}

static enum ft_error load_block(const struct disk *disk, const struct crypto *crypto,
                                const uint8_t *key, struct disk_file *file, uint64_t number,
                                uint8_t block[INDEX_BLOCK_BYTES])
{
    size_t got;
    enum ft_error error =
        disk->read(disk->ctx, file, number * INDEX_BLOCK_BYTES, block, INDEX_BLOCK_BYTES, &got);
    if (!error && (got < INDEX_BLOCK_BYTES || !index_block_good(block, number, crypto, key)))
        error = FT_ERROR_CORRUPT;
    return error;
}

enum ft_error index_file_header_load(const struct disk *disk, const struct crypto *crypto,
                                     const uint8_t key[DIGEST_KEY_BYTES], uint64_t first,
                                     struct index_header *header, bool whole)
{
    char path[DISK_PATH_BYTES];
    segment_path(path, first, "idx");
    return index_file_prove(disk, crypto, key, path, first, header, whole);
}

enum ft_error index_file_prove(const struct disk *disk, const struct crypto *crypto,
                               const uint8_t key[DIGEST_KEY_BYTES], const char *path,
                               uint64_t first, struct index_header *header, bool whole)
{
    struct disk_file *file;
    enum ft_error error = disk->open(disk->ctx, path, DISK_READ, &file);
    if (error)
        return error;
    uint8_t *block = malloc(INDEX_BLOCK_BYTES);
    if (!block)
        error = FT_ERROR_LIMIT;
    disk->forget(disk->ctx, file);
    if (!error)
        error = load_header(disk, crypto, key, first, file, block, header);
    for (uint64_t i = 1; whole && !error && i < index_blocks_all(header); i++)
        error = load_block(disk, crypto, key, file, i, block);
    free(block);
    disk->close(disk->ctx, file);
    return error;
}

static bool deletion_parse(struct deletion *deletion, const struct index_header *header,
                           const uint8_t *item)
{
    *deletion = (struct deletion) { .index = header->first + bytes_get_u32(item),
                                    .check = bytes_get_u32(item + 4),
                                    .target = bytes_get_u64(item + 8) };
    return deletion->target > 0 && deletion->target < deletion->index;
}

enum ft_error index_file_deletions(const struct disk *disk, const struct crypto *crypto,
                                   const uint8_t key[DIGEST_KEY_BYTES], const char *path,
                                   const struct index_header *header, index_deletion_fn *each,
                                   void *ctx)
{
    struct disk_file *file;
    uint32_t left = header->deletions;
    if (left == 0)
        return FT_OK;
    enum ft_error error = disk->open(disk->ctx, path, DISK_READ, &file);
    if (error)
        return error;
    uint8_t *block = malloc(INDEX_BLOCK_BYTES);
    if (!block)
        error = FT_ERROR_LIMIT;
    for (uint64_t i = index_deletions_block(header); left && !error; i++) {
        error = load_block(disk, crypto, key, file, i, block);
        for (uint32_t at = 0; at < INDEX_DELETIONS_PER_BLOCK && left && !error; at++, left--) {
            struct deletion deletion;
            if (!deletion_parse(&deletion, header, block + at * INDEX_DELETION_BYTES))
                error = FT_ERROR_CORRUPT;
            else if (!each(ctx, &deletion))
                error = FT_ERROR_LIMIT;
        }
    }
    free(block);
    disk->close(disk->ctx, file);
    return error;
}

/* --- what is kept -------------------------------------------------------------------------------
 */

enum ft_error index_file_open(struct store *store, const struct segment *segment,
                              struct index_file **index)
{
    CHECK(segment->indexed);
    struct index_file *oldest = &store->reading.indexes[0];
    for (size_t i = 0; i < STORE_HANDLES; i++) {
        struct index_file *kept = &store->reading.indexes[i];
        if (kept->id == segment->id) {
            kept->used = ++store->reading.clock;
            *index = kept;
            return FT_OK;
        }
        if (kept->used < oldest->used)
            oldest = kept;
    }
    if (oldest->id)
        store->disk->close(store->disk->ctx, oldest->file);
    *oldest = (struct index_file) { 0 };
    char path[DISK_PATH_BYTES];
    segment_path(path, segment->first, "idx");
    enum ft_error error = store->disk->open(store->disk->ctx, path, DISK_READ, &oldest->file);
    reading_notice(store, STORE_FILE_INDEX, segment->first, error);
    if (error)
        return error;
    uint8_t *block = malloc(INDEX_BLOCK_BYTES);
    error = block ? load_header(store->disk, store->crypto, store->cluster, segment->first,
                                oldest->file, block, &oldest->header)
                  : FT_ERROR_LIMIT;
    free(block);
    reading_notice(store, STORE_FILE_INDEX, segment->first, error);
    if (error) {
        store->disk->close(store->disk->ctx, oldest->file);
        return error;
    }
    oldest->id = segment->id;
    oldest->used = ++store->reading.clock;
    *index = oldest;
    return FT_OK;
}

static enum ft_error block_at(struct store *store, struct index_file *index, uint64_t number,
                              const uint8_t **data)
{
    struct read_side *reading = &store->reading;
    if (!reading->blocks)
        reading->blocks = calloc(INDEX_CACHED_BLOCKS, sizeof *reading->blocks);
    if (!reading->blocks)
        return FT_ERROR_LIMIT;
    struct index_block *oldest = &reading->blocks[0];
    for (size_t i = 0; i < INDEX_CACHED_BLOCKS; i++) {
        struct index_block *kept = &reading->blocks[i];
        if (kept->id == index->id && kept->number == number) {
            kept->used = ++reading->clock;
            *data = kept->data;
            return FT_OK;
        }
        if (kept->used < oldest->used)
            oldest = kept;
    }
    size_t got;
    oldest->id = 0;
    enum ft_error error =
        store->disk->read(store->disk->ctx, index->file, number * INDEX_BLOCK_BYTES, oldest->data,
                          INDEX_BLOCK_BYTES, &got);
    reading_notice(store, STORE_FILE_INDEX, index->header.first, error);
    if (error)
        return error;
    if (got < INDEX_BLOCK_BYTES ||
        !index_block_good(oldest->data, number, store->crypto, store->cluster)) {
        reading_notice(store, STORE_FILE_INDEX, index->header.first, FT_ERROR_CORRUPT);
        return FT_ERROR_CORRUPT;
    }
    oldest->id = index->id;
    oldest->number = number;
    oldest->used = ++reading->clock;
    *data = oldest->data;
    return FT_OK;
}

static enum ft_error item_at(struct store *store, struct index_file *index, uint64_t first_block,
                             uint64_t ordinal, uint64_t per_block, size_t size,
                             const uint8_t **item)
{
    const uint8_t *block;
    enum ft_error error = block_at(store, index, first_block + ordinal / per_block, &block);
    if (!error)
        *item = block + ordinal % per_block * size;
    return error;
}

/* --- looking things up --------------------------------------------------------------------------
 */

enum ft_error index_file_mark_before(struct store *store, struct index_file *index, uint64_t at,
                                     uint64_t *offset)
{
    uint32_t low = 0;
    uint32_t high = index->header.marks;
    *offset = SEGMENT_HEADER_BYTES;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        const uint8_t *item;
        enum ft_error error =
            item_at(store, index, 1, middle, INDEX_MARKS_PER_BLOCK, INDEX_MARK_BYTES, &item);
        if (error)
            return error;
        if (index->header.first + bytes_get_u32(item) <= at) {
            *offset = bytes_get_u32(item + 4);
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return FT_OK;
}

enum ft_error index_file_room(struct store *store, struct index_file *index, uint32_t room,
                              struct index_room *found)
{
    uint32_t low = 0;
    uint32_t high = index->header.rooms;
    *found = (struct index_room) { .room = room };
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        const uint8_t *item;
        enum ft_error error = item_at(store, index, index_rooms_block(&index->header), middle,
                                      INDEX_ROOMS_PER_BLOCK, INDEX_ROOM_BYTES, &item);
        if (error)
            return error;
        uint32_t there = bytes_get_u32(item);
        if (there == room) {
            found->count = bytes_get_u32(item + 4);
            found->start = bytes_get_u32(item + 8);
            found->seq_base = bytes_get_u64(item + 16);
            if ((uint64_t)found->start + found->count > index->header.postings)
                return FT_ERROR_CORRUPT;
            return FT_OK;
        }
        if (there < room)
            low = middle + 1;
        else
            high = middle;
    }
    return FT_OK;
}

enum ft_error index_file_posting(struct store *store, struct index_file *index,
                                 const struct index_room *room, uint32_t ordinal,
                                 struct posting *posting)
{
    CHECK(ordinal < room->count);
    const uint8_t *item;
    enum ft_error error =
        item_at(store, index, index_postings_block(&index->header), room->start + ordinal,
                INDEX_POSTINGS_PER_BLOCK, INDEX_POSTING_BYTES, &item);
    if (error)
        return error;
    uint32_t seq_event = bytes_get_u32(item + 4);
    *posting = (struct posting) { index->header.first + bytes_get_u32(item),
                                  room->seq_base + (seq_event >> 1), seq_event & 1 };
    return FT_OK;
}

enum ft_error index_file_deletion(struct store *store, struct index_file *index, uint32_t ordinal,
                                  struct deletion *deletion)
{
    CHECK(ordinal < index->header.deletions);
    const uint8_t *item;
    enum ft_error error = item_at(store, index, index_deletions_block(&index->header), ordinal,
                                  INDEX_DELETIONS_PER_BLOCK, INDEX_DELETION_BYTES, &item);
    if (!error && !deletion_parse(deletion, &index->header, item))
        error = FT_ERROR_CORRUPT;
    return error;
}
