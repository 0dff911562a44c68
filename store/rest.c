/* Behind a segment's end stand zeros. Behind the log's end the next start would take anything else for the
 * rot of entries that it cannot count, and this node would not vote before a leader made up for them.
 * Who runs knows its end: what is damaged behind it is written anew. On the reading side. */
#include <stdlib.h>
#include <string.h>

#include "store/scan.h"

enum { SLICE_BYTES = 256 << 10 };
_Static_assert((int)SLICE_BYTES <= (int)SCAN_WINDOW_BYTES, "a slice fits into the window");

/* Where the segment's entries end, if it is known that nothing is behind them; else UINT64_MAX. */
static uint64_t end_of(struct store *store, uint64_t first)
{
    uint64_t end = UINT64_MAX;
    store_lock(store);
    const struct segment *segment = segments_find(store, first);
    bool held = store->leftover && segment == &store->segments[store->segments_count - 1];
    if (segment && segment->first == first && !held && segment->end)
        end = segment->end;
    store_unlock(store);
    return end;
}

/* Never over what proves itself: were an end wrong, an entry would begin there, whole or longer than a page. */
static bool entry_at(const struct store *store, struct disk_file *file, uint64_t offset)
{
    uint8_t data[DISK_PAGE_BYTES];
    struct entry entry;
    size_t got;
    return disk_read_around(store->disk, file, offset, data, sizeof data, &got) == FT_OK &&
           entry_parse(&entry, store->crypto, store->cluster, data, got) <= ENTRY_SHORT;
}

/* While the log side is kept from writing. */
static enum ft_error write_zeros(struct store *store, uint64_t first, uint64_t from, uint64_t to,
                                 bool *mended)
{
    const struct disk *disk = store->disk;
    uint8_t data[DISK_PAGE_BYTES];
    char path[DISK_PATH_BYTES];
    struct disk_file *file;
    uint64_t end = end_of(store, first);
    segment_path(path, first, "seg");
    enum ft_error error = disk->open(disk->ctx, path, DISK_WRITE, &file);
    if (error)
        return error;
    bool rest = end < to && !entry_at(store, file, end);
    for (uint64_t at = from > end ? from : end; rest && at < to && !error;) {
        size_t part = DISK_PAGE_BYTES - (size_t)(at % DISK_PAGE_BYTES);
        size_t got;
        if (part > to - at)
            part = (size_t)(to - at);
        error = disk_read_around(disk, file, at, data, part, &got);
        if (!error && !bytes_are_zero(data, got)) {
            error = disk_write_around(disk, file, at, disk_zeros, got);
            *mended = true;
        }
        at += part;
    }
    if (!error)
        error = disk->sync(disk->ctx, file);
    disk->close(disk->ctx, file);
    return error;
}

enum ft_error rest_prove(struct store *store, struct disk_file *file, uint64_t first,
                         uint64_t *offset, uint8_t *window, bool *more, bool *mended)
{
    uint64_t end = end_of(store, first);
    uint64_t size;
    size_t len = 0;
    *more = false;
    if (end == UINT64_MAX)
        return FT_OK;
    if (*offset < end)
        *offset = end;
    enum ft_error error = store->disk->size(store->disk->ctx, file, &size);
    if (error || *offset >= size)
        return error;
    error = disk_read_around(store->disk, file, *offset, window,
                             size - *offset < SLICE_BYTES ? (size_t)(size - *offset) : SLICE_BYTES,
                             &len);
    if (!error && !bytes_are_zero(window, len)) {
        pthread_mutex_lock(&store->tail);
        error = write_zeros(store, first, *offset, *offset + len, mended);
        pthread_mutex_unlock(&store->tail);
    }
    *offset += len;
    *more = *offset < size;
    return error;
}
