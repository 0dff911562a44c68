/* Segment files: their names and headers, the table of them, and spares.
 *
 * A segment's file is its header in the first 4 KiB, then entries, then zeros. A spare is a file
 * of zeros of the full length; it gets its header and its first entries, is synced, and only then
 * renamed: a segment that can be seen by its name was whole once.
 *
 *    0  prologue [24]
 *   24  first u64             index of its first command
 *   32  segment_bytes u64     the setting its end was decided by
 *   40  cluster [16]
 *   56  chain [32]            of the entry before it
 *   88  zeros
 * 4088  check u64             SipHash of bytes 0..4087 under the cluster's identity */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "store/internal.h"

enum {
    AT_FIRST = 24,
    AT_SEGMENT_BYTES = 32,
    AT_CLUSTER = 40,
    AT_CHAIN = 56,
    AT_CHECK = SEGMENT_HEADER_BYTES - 8,
};

void segment_path(char path[DISK_PATH_BYTES], uint64_t first, const char *suffix)
{
    snprintf(path, DISK_PATH_BYTES, "log/%020llu.%s", (unsigned long long)first, suffix);
}

void segment_header_write(uint8_t out[SEGMENT_HEADER_BYTES], const struct segment_header *header,
                          const struct crypto *crypto)
{
    memset(out, 0, SEGMENT_HEADER_BYTES);
    file_prologue_write(out, FILE_SEGMENT, crypto);
    bytes_put_u64(out + AT_FIRST, header->first);
    bytes_put_u64(out + AT_SEGMENT_BYTES, header->segment_bytes);
    memcpy(out + AT_CLUSTER, header->cluster, IDENTITY_BYTES);
    memcpy(out + AT_CHAIN, header->chain, HASH_BYTES);
    bytes_put_u64(out + AT_CHECK, crypto->digest(header->cluster, out, AT_CHECK));
}

enum ft_error segment_header_parse(const uint8_t data[SEGMENT_HEADER_BYTES],
                                   const struct crypto *crypto, struct segment_header *header)
{
    enum ft_error error = file_prologue_check(data, SEGMENT_HEADER_BYTES, FILE_SEGMENT, crypto);
    if (error)
        return error;
    header->first = bytes_get_u64(data + AT_FIRST);
    header->segment_bytes = bytes_get_u64(data + AT_SEGMENT_BYTES);
    memcpy(header->cluster, data + AT_CLUSTER, IDENTITY_BYTES);
    memcpy(header->chain, data + AT_CHAIN, HASH_BYTES);
    if (bytes_get_u64(data + AT_CHECK) != crypto->digest(header->cluster, data, AT_CHECK))
        return FT_ERROR_CORRUPT;
    return FT_OK;
}

static enum ft_error ask(const struct disk *disk, const struct crypto *crypto, const char *path,
                         struct identity_file *file)
{
    struct disk_file *opened;
    struct segment_header header;
    uint8_t data[SEGMENT_HEADER_BYTES];
    size_t got;
    enum ft_error error = disk->open(disk->ctx, path, DISK_READ, &opened);
    if (error)
        return error;
    error = disk_read_around(disk, opened, 0, data, sizeof data, &got);
    disk->close(disk->ctx, opened);
    if (!error)
        error = got < sizeof data ? FT_ERROR_CORRUPT : segment_header_parse(data, crypto, &header);
    if (error)
        return error;
    memcpy(file->cluster, header.cluster, IDENTITY_BYTES);
    file->segment_bytes = header.segment_bytes;
    return FT_OK;
}

enum ft_error segments_ask(const struct disk *disk, const struct crypto *crypto,
                           const struct store_names *names, struct identity_file *file)
{
    enum ft_error error = FT_ERROR_MISSING;
    for (size_t i = 0; i < names->segments_count && error; i++) {
        char path[DISK_PATH_BYTES];
        segment_path(path, names->segments[i], "seg");
        error = ask(disk, crypto, path, file);
    }
    for (size_t i = 0; i < names->copies_count && error; i++)
        if (strstr(names->copies[i], ".seg"))
            error = ask(disk, crypto, names->copies[i], file);
    return error;
}

/* --- marks --------------------------------------------------------------------------------------
 */

bool segment_mark(struct segment *segment, uint64_t index, uint64_t offset)
{
    CHECK(index >= segment->first);
    CHECK(offset <= UINT32_MAX);
    if (segment->marks_count &&
        offset < segment->marks[segment->marks_count - 1].offset + (uint64_t)MARK_STEP_BYTES)
        return true;
    if (segment->marks_count == segment->marks_capacity) {
        uint32_t capacity = segment->marks_capacity ? segment->marks_capacity * 2 : 16;
        struct mark *marks = realloc(segment->marks, capacity * sizeof *marks);
        if (!marks)
            return false;
        segment->marks = marks;
        segment->marks_capacity = capacity;
    }
    segment->marks[segment->marks_count++] =
        (struct mark) { (uint32_t)(index - segment->first), (uint32_t)offset };
    return true;
}

uint64_t segment_mark_before(const struct segment *segment, uint64_t index)
{
    uint32_t low = 0;
    uint32_t high = segment->marks_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (segment->first + segment->marks[middle].delta <= index)
            low = middle + 1;
        else
            high = middle;
    }
    return low ? segment->marks[low - 1].offset : SEGMENT_HEADER_BYTES;
}

void segment_cut_marks(struct segment *segment, uint64_t end)
{
    while (segment->marks[segment->marks_count - 1].offset >= end) {
        segment->marks_count--;
        CHECK(segment->marks_count > 0); /* the first entry has one */
    }
}

/* --- the table ----------------------------------------------------------------------------------
 */

struct segment *segments_find(struct store *store, uint64_t index)
{
    size_t low = 0;
    size_t high = store->segments_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (store->segments[middle].first <= index)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == 0 || store->segments[low - 1].last < index)
        return NULL;
    return &store->segments[low - 1];
}

struct segment *segments_push(struct store *store)
{
    if (store->segments_count == store->segments_capacity) {
        size_t capacity = store->segments_capacity ? store->segments_capacity * 2 : 16;
        struct segment *segments = realloc(store->segments, capacity * sizeof *segments);
        if (!segments)
            return NULL;
        store->segments = segments;
        store->segments_capacity = capacity;
    }
    struct segment *segment = &store->segments[store->segments_count++];
    *segment = (struct segment) { .id = ++store->next_id };
    return segment;
}

static enum ft_error header_put(struct store *store, uint64_t first,
                                const uint8_t chain[HASH_BYTES], enum disk_mode mode)
{
    const struct disk *disk = store->disk;
    char path[DISK_PATH_BYTES];
    struct disk_file *file;
    struct segment_header header = { .first = first, .segment_bytes = store->segment_bytes };
    memcpy(header.cluster, store->cluster, IDENTITY_BYTES);
    uint8_t *data = calloc(1, SEGMENT_HEADER_BYTES);
    if (!data)
        return FT_ERROR_LIMIT;
    if (chain) {
        memcpy(header.chain, chain, HASH_BYTES);
        segment_header_write(data, &header, store->crypto);
    }
    segment_path(path, first, "seg");
    enum ft_error error = disk->open(disk->ctx, path, mode, &file);
    if (!error) {
        error = disk->write(disk->ctx, file, 0, data, SEGMENT_HEADER_BYTES);
        if (!error)
            error = disk->sync(disk->ctx, file);
        disk->close(disk->ctx, file);
    }
    if (!error && mode == DISK_CREATE)
        error = disk->sync_dir(disk->ctx, "log");
    free(data);
    return error;
}

enum ft_error segment_header_repair(struct store *store, uint64_t first,
                                    const uint8_t chain[HASH_BYTES])
{
    return header_put(store, first, chain, DISK_WRITE);
}

enum ft_error segment_file_create(struct store *store, uint64_t first,
                                  const uint8_t chain[HASH_BYTES])
{
    return header_put(store, first, chain, DISK_CREATE);
}

void segment_learned(struct store *store, uint64_t first, uint64_t end,
                     const uint8_t chain[HASH_BYTES])
{
    store_lock(store);
    struct segment *segment = segments_find(store, first);
    if (segment) {
        segment->end = end;
        memcpy(segment->chain, chain, HASH_BYTES);
    }
    store_unlock(store);
}

/* --- spares -------------------------------------------------------------------------------------
 */

void spare_path(char path[DISK_PATH_BYTES], uint64_t number)
{
    snprintf(path, DISK_PATH_BYTES, "log/spare-%llu", (unsigned long long)number);
}

enum ft_error spare_make(struct store *store, uint64_t *number)
{
    const struct disk *disk = store->disk;
    char path[DISK_PATH_BYTES];
    struct disk_file *file;
    store_lock(store);
    *number = ++store->next_spare;
    store_unlock(store);
    spare_path(path, *number);
    uint64_t left = segment_file_bytes(store);
    uint64_t space;
    /* Not by filling what is left, each time that it is tried. */
    if (disk->space(disk->ctx, &space) == FT_OK && space < left)
        return FT_ERROR_SPACE;
    enum ft_error error = disk->open(disk->ctx, path, DISK_CREATE, &file);
    if (error)
        return error;
    for (uint64_t offset = 0; left && !error;) {
        size_t part = left < DISK_ZEROS ? (size_t)left : DISK_ZEROS;
        error = disk->write(disk->ctx, file, offset, disk_zeros, part);
        if (!error) /* slice by slice: a flush that comes now waits for one of them, not for all */
            error = disk->sync(disk->ctx, file);
        offset += part;
        left -= part;
    }
    disk->close(disk->ctx, file);
    if (error)
        (void)disk->unlink(disk->ctx, path);
    return error;
}

bool store_wants_prepare(const struct store *store)
{
    struct store *shared = (struct store *)(uintptr_t)store; /* only its mutex is touched */
    store_lock(shared);
    bool wants = store->spares_count == 0;
    store_unlock(shared);
    return wants;
}

enum ft_error store_prepare(struct store *store)
{
    if (!store_wants_prepare(store))
        return FT_OK;
    uint64_t number;
    enum ft_error error = spare_make(store, &number);
    if (error)
        return error;
    store_lock(store);
    CHECK(store->spares_count < STORE_SPARES);
    store->spares[store->spares_count++] = number;
    store_unlock(store);
    return FT_OK;
}
