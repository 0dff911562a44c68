/* The reading side: finding an entry by its index, and copying entries or one body out.
 *
 * What it reads was durable when it looked. The log side may truncate meanwhile; then checks fail,
 * which is an error only for what was asked for first. */
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "store/internal.h"

enum { READ_AHEAD_BYTES = 16384 };

bool reading_segment(struct store *store, uint64_t index, struct segment *copy,
                     uint64_t *mark_offset)
{
    store_lock(store);
    const struct segment *segment = segments_find(store, index);
    if (segment) {
        *copy = *segment;
        if (mark_offset)
            *mark_offset = segment_mark_before(segment, index);
    }
    store_unlock(store);
    copy->marks = NULL;
    return segment != NULL;
}

enum ft_error reading_handle(struct store *store, const struct segment *segment,
                             struct disk_file **file)
{
    struct read_handle *oldest = &store->reading.handles[0];
    for (size_t i = 0; i < STORE_HANDLES; i++) {
        struct read_handle *kept = &store->reading.handles[i];
        if (kept->id == segment->id) {
            kept->used = ++store->reading.clock;
            *file = kept->file;
            return FT_OK;
        }
        if (kept->used < oldest->used)
            oldest = kept;
    }
    if (oldest->id)
        store->disk->close(store->disk->ctx, oldest->file);
    *oldest = (struct read_handle) { 0 };
    char path[DISK_PATH_BYTES];
    segment_path(path, segment->first, "seg");
    enum ft_error error = store->disk->open(store->disk->ctx, path, DISK_READ, &oldest->file);
    if (error)
        return error == FT_ERROR_MISSING ? FT_ERROR_CORRUPT : error; /* it should be there */
    oldest->id = segment->id;
    oldest->used = ++store->reading.clock;
    *file = oldest->file;
    return FT_OK;
}

enum ft_error reading_window(struct store *store, const struct segment *segment, uint64_t offset,
                             size_t len, const uint8_t **data)
{
    struct read_side *reading = &store->reading;
    CHECK(len <= STORE_WINDOW_BYTES);
    if (offset + len > segment->end)
        return FT_ERROR_CORRUPT;
    if (!reading->window)
        reading->window = malloc(STORE_WINDOW_BYTES);
    if (!reading->window)
        return FT_ERROR_LIMIT;
    bool inside = reading->window_id == segment->id && offset >= reading->window_offset &&
                  offset + len <= reading->window_offset + reading->window_len;
    if (!inside) {
        size_t want = len < READ_AHEAD_BYTES ? READ_AHEAD_BYTES : len;
        if (want > segment->end - offset)
            want = (size_t)(segment->end - offset);
        struct disk_file *file;
        reading->window_id = 0;
        enum ft_error error = reading_handle(store, segment, &file);
        if (!error)
            error = store->disk->read(store->disk->ctx, file, offset, reading->window, want,
                                      &reading->window_len);
        if (error)
            return error;
        if (reading->window_len < len)
            return FT_ERROR_CORRUPT;
        reading->window_id = segment->id;
        reading->window_offset = offset;
    }
    *data = reading->window + (offset - reading->window_offset);
    return FT_OK;
}

void reading_notice(struct store *store, enum store_file file, uint64_t id, enum ft_error error)
{
    if (error != FT_ERROR_CORRUPT && error != FT_ERROR_IO && error != FT_ERROR_MISSING)
        return;
    for (size_t i = 0; i < store->noticed_count; i++)
        if (store->noticed[i].file == file && store->noticed[i].id == id)
            return;
    if (store->noticed_count < STORE_NOTICED)
        store->noticed[store->noticed_count++] = (struct noticed) { file, id };
}

enum store_file store_noticed(struct store *store, uint64_t *id)
{
    if (store->noticed_count == 0)
        return STORE_FILE_NONE;
    struct noticed noticed = store->noticed[--store->noticed_count];
    *id = noticed.id;
    return noticed.file;
}

void reading_renew(struct store *store, uint64_t first)
{
    store_lock(store);
    struct segment *segment = segments_find(store, first);
    /* The newest one's is the log side's, too; of it nothing but its window is kept by id. */
    if (segment && segment->indexed)
        segment->id = ++store->next_id;
    store_unlock(store);
    store->reading.window_id = 0;
    store->reading.entry.id = 0;
}

void reading_forget(struct store *store)
{
    struct read_side *reading = &store->reading;
    for (size_t i = 0; i < STORE_HANDLES; i++) {
        if (reading->handles[i].id)
            store->disk->close(store->disk->ctx, reading->handles[i].file);
        if (reading->indexes[i].id)
            store->disk->close(store->disk->ctx, reading->indexes[i].file);
    }
    free(reading->blocks);
    free(reading->window);
    free(reading->heads);
    *reading = (struct read_side) { 0 };
}

/* --- finding an entry ---------------------------------------------------------------------------
 */

/* Where to begin walking: the mark before, or the entry after the last one when that is nearer. */
static enum ft_error walk_start(struct store *store, const struct segment *segment, uint64_t index,
                                uint64_t mark, uint64_t *offset)
{
    const struct read_entry *entry = &store->reading.entry;
    *offset = mark;
    if (entry->id == segment->id && entry->first + entry->count <= index) {
        *offset = entry->offset + entry->size;
        /* Far ahead, a mark is nearer; for an indexed segment that costs up to three reads. */
        if (mark > *offset)
            *offset = mark;
        if (index - entry->first < 1024 || !segment->indexed)
            return FT_OK;
    }
    if (!segment->indexed)
        return FT_OK;
    struct index_file *file;
    enum ft_error error = index_file_open(store, segment, &file);
    if (!error)
        error = index_file_mark_before(store, file, index, offset);
    if (!error || error == FT_ERROR_LIMIT)
        return error;
    reading_notice(store, STORE_FILE_INDEX, segment->first, error);
    *offset = SEGMENT_HEADER_BYTES; /* the entries are there without it, only farther */
    return FT_OK;
}

enum ft_error reading_locate(struct store *store, uint64_t index, struct segment *segment)
{
    struct read_entry *entry = &store->reading.entry;
    uint64_t mark;
    uint64_t offset;
    if (!reading_segment(store, index, segment, &mark))
        return FT_ERROR_MISSING;
    if (entry->id == segment->id && index >= entry->first && index < entry->first + entry->count)
        return FT_OK;
    enum ft_error error = walk_start(store, segment, index, mark, &offset);
    entry->id = 0;
    while (!error) {
        const uint8_t *data;
        struct entry header;
        error = reading_window(store, segment, offset, ENTRY_HEADER_BYTES, &data);
        if (error)
            break;
        if (entry_parse(&header, store->crypto, store->cluster, data, ENTRY_HEADER_BYTES) !=
                ENTRY_SHORT ||
            header.first > index || offset + header.size > segment->end) {
            error = FT_ERROR_CORRUPT;
        } else if (index < header.first + header.count) {
            *entry = (struct read_entry) { .id = segment->id,
                                           .offset = offset,
                                           .size = header.size,
                                           .first = header.first,
                                           .count = header.count,
                                           .term = header.term,
                                           .time_us = header.time_us };
            return FT_OK;
        } else {
            offset += header.size;
        }
    }
    reading_notice(store, STORE_FILE_SEGMENT, segment->first, error);
    return error;
}

/* --- one body -----------------------------------------------------------------------------------
 */

static enum ft_error load_heads(struct store *store, const struct segment *segment)
{
    struct read_side *reading = &store->reading;
    if (reading->entry.heads_loaded)
        return FT_OK;
    if (!reading->heads)
        reading->heads = malloc(LIMIT_ENTRY_COMMANDS * ENTRY_HEAD_BYTES);
    if (!reading->heads)
        return FT_ERROR_LIMIT;
    size_t len = (size_t)reading->entry.count * ENTRY_HEAD_BYTES;
    const uint8_t *data;
    enum ft_error error =
        reading_window(store, segment, reading->entry.offset + ENTRY_HEADER_BYTES, len, &data);
    if (error)
        return error;
    memcpy(reading->heads, data, len);
    reading->entry.heads_loaded = true;
    reading->entry.ordinal = 0;
    reading->entry.body_offset = 0;
    return FT_OK;
}

enum ft_error reading_find_body(struct store *store, uint64_t index, struct body_place *place)
{
    struct read_entry *entry = &store->reading.entry;
    enum ft_error error = reading_locate(store, index, &place->segment);
    if (!error) {
        error = load_heads(store, &place->segment);
        reading_notice(store, STORE_FILE_SEGMENT, place->segment.first, error);
    }
    if (error)
        return error;
    uint32_t ordinal = (uint32_t)(index - entry->first);
    if (ordinal < entry->ordinal) {
        entry->ordinal = 0;
        entry->body_offset = 0;
    }
    for (; entry->ordinal < ordinal; entry->ordinal++)
        entry->body_offset +=
            bytes_get_u32(store->reading.heads + entry->ordinal * ENTRY_HEAD_BYTES);
    const uint8_t *head = store->reading.heads + ordinal * ENTRY_HEAD_BYTES;
    uint64_t bodies = ENTRY_HEADER_BYTES + (uint64_t)entry->count * ENTRY_HEAD_BYTES;
    place->size = bytes_get_u32(head);
    place->digest = entry_head_digest(bytes_get_u64(head + 4), index, entry->term); /* back again */
    place->offset = entry->offset + bodies + entry->body_offset;
    if (place->size > LIMIT_COMMAND_BYTES ||
        bodies + entry->body_offset + place->size > entry->size)
        return FT_ERROR_CORRUPT;
    return FT_OK;
}

enum ft_error reading_body_at(struct store *store, const struct body_place *place, uint8_t *out)
{
    const uint8_t *body;
    enum ft_error error = reading_window(store, &place->segment, place->offset, place->size, &body);
    if (!error && body_digest(store->crypto, store->cluster, body, place->size) != place->digest)
        error = FT_ERROR_CORRUPT;
    reading_notice(store, STORE_FILE_SEGMENT, place->segment.first, error);
    if (error)
        return error;
    memcpy(out, body, place->size);
    return FT_OK;
}

enum ft_error reading_body(struct store *store, uint64_t index, uint8_t *out, size_t capacity,
                           uint32_t *size, uint64_t *time_us)
{
    struct body_place place;
    enum ft_error error = reading_find_body(store, index, &place);
    if (error)
        return error;
    *size = place.size;
    *time_us = store->reading.entry.time_us;
    return place.size > capacity ? FT_OK : reading_body_at(store, &place, out);
}

/* --- whole entries ------------------------------------------------------------------------------
 */

/* From the current entry to what fits or the segment's end. */
static enum ft_error copy_entries(struct store *store, const struct segment *segment, uint8_t *out,
                                  size_t capacity, size_t *len, uint64_t *next)
{
    uint64_t offset = store->reading.entry.offset;
    *len = 0;
    if (capacity > segment->end - offset)
        capacity = (size_t)(segment->end - offset);
    struct disk_file *file;
    enum ft_error error = reading_handle(store, segment, &file);
    size_t got = 0;
    CHECK(!error); /* it was read from just now */
    error = store->disk->read(store->disk->ctx, file, offset, out, capacity, &got);
    if (error)
        return error;
    while (*len < got) {
        struct entry entry;
        enum entry_state state =
            entry_parse(&entry, store->crypto, store->cluster, out + *len, got - *len);
        bool good =
            state == ENTRY_WHOLE && entry_bodies_good(&entry, store->crypto, store->cluster);
        bool cut = got == capacity && (state == ENTRY_SHORT || got - *len < ENTRY_HEADER_BYTES);
        if (!good && !cut)
            reading_notice(store, STORE_FILE_SEGMENT, segment->first, FT_ERROR_CORRUPT);
        if (!good)
            return *len || cut ? FT_OK : FT_ERROR_CORRUPT;
        *len += entry.size;
        *next = entry.first + entry.count;
    }
    return FT_OK;
}

enum ft_error store_read_entries(struct store *store, uint64_t index, uint8_t *out, size_t capacity,
                                 size_t *len)
{
    *len = 0;
    for (;;) {
        struct segment segment;
        size_t part;
        uint64_t next = index;
        enum ft_error error = reading_locate(store, index, &segment);
        if (!error)
            error = copy_entries(store, &segment, out + *len, capacity - *len, &part, &next);
        if (error && error != FT_ERROR_MISSING)
            reading_notice(store, STORE_FILE_SEGMENT, segment.first, error);
        if (error)
            return *len || error == FT_ERROR_MISSING ? FT_OK : error;
        *len += part;
        if (next == index || next <= segment.last || *len == capacity)
            return FT_OK;
        index = next;
    }
}
