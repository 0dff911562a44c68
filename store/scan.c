#include "store/scan.h"

#include <string.h>

#include "core/check.h"

/* At least min(len, what the file has) bytes at `offset`; none behind its end. A slice is read at a
 * time: most entries are short, and what is behind the last one is not looked at in vain. */
static enum ft_error window_at(struct scan *scan, uint64_t offset, size_t len, const uint8_t **data,
                               size_t *got)
{
    CHECK(len <= SCAN_WINDOW_BYTES);
    *data = scan->window;
    *got = 0;
    if (offset >= scan->size) /* it was cut before */
        return FT_OK;
    if (len > scan->size - offset)
        len = (size_t)(scan->size - offset);
    bool inside =
        offset >= scan->window_offset && offset + len <= scan->window_offset + scan->window_len;
    if (!inside) {
        size_t want = len > SCAN_SLICE_BYTES ? len : SCAN_SLICE_BYTES;
        if (want > scan->size - offset)
            want = (size_t)(scan->size - offset);
        enum ft_error error =
            disk_read_around(scan->disk, scan->file, offset, scan->window, want, &scan->window_len);
        if (error)
            return error;
        if (scan->window_len < want)
            return FT_ERROR_IO; /* it shrank under us */
        scan->window_offset = offset;
    }
    *data = scan->window + (offset - scan->window_offset);
    *got = (size_t)(scan->window_offset + scan->window_len - offset);
    return FT_OK;
}

/* --- the facts of a damage ----------------------------------------------------------------------
 */

/* What lies at and behind the damage. */
struct rest {
    bool any_header;
    uint64_t flush; /* the highest number, and where that flush began */
    int64_t flush_start;
    uint64_t used;
    uint64_t end; /* behind the last entry whose header can be read */
    uint64_t end_term;
    uint64_t end_last;
    uint64_t commit;      /* the highest that a header names */
    uint64_t next_offset; /* the first header behind the place where the search began */
    uint64_t next_index;
};

static void rest_header(struct rest *rest, const struct entry *entry, uint64_t offset)
{
    rest->end = offset + entry->size;
    if (entry->commit > rest->commit)
        rest->commit = entry->commit;
    rest->end_term = entry->term;
    rest->end_last = entry->first + entry->count - 1;
    if (rest->any_header && entry->flush < rest->flush)
        return;
    if (rest->any_header && entry->flush == rest->flush)
        return; /* the first of them told already */
    rest->any_header = true;
    rest->flush = entry->flush;
    rest->flush_start = (int64_t)offset - (int64_t)entry->flush_at;
}

/* Looks for headers at every byte, but skips over what a good header says is its entry: bodies are
 * other people's words and might look like headers. */
static enum ft_error scan_rest(struct scan *scan, uint64_t offset, struct rest *rest)
{
    *rest = (struct rest) { .used = offset };
    uint64_t begin = offset;
    uint64_t skip_to = offset;
    while (offset < scan->size) {
        const uint8_t *data;
        size_t got;
        enum ft_error error = window_at(scan, offset, ENTRY_HEADER_BYTES, &data, &got);
        if (error)
            return error;
        size_t step = got > ENTRY_HEADER_BYTES ? got - ENTRY_HEADER_BYTES : got;
        bool at_end = offset + got == scan->size;
        if (at_end)
            step = got;
        for (size_t i = 0; i < step; i++) {
            if (data[i] == 0) {
                while (i + 8 < step && bytes_get_u64(data + i + 1) == 0)
                    i += 8;
                continue;
            }
            rest->used = offset + i + 1;
            struct entry entry;
            if (offset + i < skip_to || got - i < ENTRY_HEADER_BYTES ||
                bytes_get_u32(data + i) != ENTRY_MAGIC ||
                entry_parse(&entry, scan->crypto, scan->key, data + i, ENTRY_HEADER_BYTES) !=
                    ENTRY_SHORT)
                continue;
            rest_header(rest, &entry, offset + i);
            if (!rest->next_offset && offset + i > begin) {
                rest->next_offset = offset + i;
                rest->next_index = entry.first;
            }
            skip_to = offset + i + entry.size;
        }
        offset += step;
    }
    return FT_OK;
}

/* Does a sector of [from, to), from `from` on, read as zeros? Then it was never written: what an entry
 * puts into a sector is never all zeros (entry.h). All of it is in the window (find_damage). */
static bool zero_sector(struct scan *scan, uint64_t from, uint64_t to)
{
    for (uint64_t at = from - from % DISK_SECTOR_BYTES; at < to; at += DISK_SECTOR_BYTES) {
        uint64_t start = at < from ? from : at;
        uint64_t end = at + DISK_SECTOR_BYTES;
        if (start >= scan->size)
            return true; /* the file does not reach so far: it was never written */
        if (end > scan->size)
            end = scan->size;
        const uint8_t *data;
        size_t got;
        enum ft_error error = window_at(scan, start, (size_t)(end - start), &data, &got);
        CHECK(!error);
        if (bytes_are_zero(data, (size_t)(end - start)))
            return true;
    }
    return false;
}

static enum ft_error find_damage(struct scan *scan, uint64_t offset, uint64_t index,
                                 const struct rest *rest)
{
    struct scan_damage *damage = &scan->damage;
    *damage = (struct scan_damage) {
        .place = DAMAGE_LAST, .offset = offset, .index = index, .used = rest->used
    };
    damage->end_readable = rest->any_header && rest->used <= rest->end;
    damage->end_term = rest->end_term;
    damage->end_last = rest->end_last;
    const uint8_t *data;
    size_t got;
    enum ft_error error =
        window_at(scan, offset, LIMIT_ENTRY_BYTES + DISK_SECTOR_BYTES, &data, &got);
    if (error)
        return error;
    struct entry entry;
    size_t header = got < ENTRY_HEADER_BYTES ? got : ENTRY_HEADER_BYTES;
    damage->next_offset = rest->next_offset;
    damage->next_index = rest->next_index;
    if (entry_parse(&entry, scan->crypto, scan->key, data, header) == ENTRY_SHORT) {
        damage->part = DAMAGE_BODY;
        damage->next_chained = entry.first == index;
        if (damage->next_chained) {
            damage->next_offset = offset + entry.size;
            damage->next_index = entry.first + entry.count;
            memcpy(damage->next_chain, entry.chain, HASH_BYTES);
        }
        damage->zeros = zero_sector(scan, offset, offset + entry.size);
    } else {
        damage->part = DAMAGE_HEADER;
        damage->zeros = zero_sector(scan, offset, offset + ENTRY_HEADER_BYTES);
    }
    if (rest->any_header && rest->flush > scan->flush)
        scan->flush = rest->flush;
    if (rest->commit > scan->commit)
        scan->commit = rest->commit;
    if (!scan->last_segment || scan->stop_before != UINT64_MAX ||
        (rest->any_header && rest->flush_start > (int64_t)offset))
        damage->place = DAMAGE_EARLIER;
    else if (offset == SEGMENT_HEADER_BYTES ||
             (rest->any_header && rest->flush_start <= SEGMENT_HEADER_BYTES))
        damage->place = DAMAGE_BEGINS;
    return FT_OK;
}

/* --- the walk -----------------------------------------------------------------------------------
 */

static enum ft_error note_entry(struct scan *scan, const struct entry *entry, uint64_t offset)
{
    struct segment *segment = scan->segment;
    if (!segment_mark(segment, entry->first, offset))
        return FT_ERROR_LIMIT;
    segment->last = entry->first + entry->count - 1;
    segment->end = offset + entry->size;
    memcpy(segment->chain, entry->chain, HASH_BYTES);
    scan->entries++;
    struct entry_cursor cursor = { 0 };
    for (struct slice body; entry_next(entry, &cursor, &body);)
        scan->erased += body_is_erased(body.data, body.len);
    scan->term = entry->term;
    if (entry->flush > scan->flush)
        scan->flush = entry->flush;
    if (entry->commit > scan->commit)
        scan->commit = entry->commit;
    return FT_OK;
}

void scan_begin(struct scan *scan)
{
    scan->offset = SEGMENT_HEADER_BYTES;
    scan->next = scan->segment->first;
    scan->unproven = false;
    scan->segment->end = scan->offset;
    scan->segment->last = scan->next - 1;
    scan->window_len = 0;
    scan->damage = (struct scan_damage) { 0 };
}

/* The entry at `offset`, with all of it in the window, or whatever is there. */
static enum ft_error entry_at(struct scan *scan, uint64_t offset, struct entry *entry,
                              enum entry_state *state, const uint8_t **data)
{
    size_t got;
    enum ft_error error = window_at(scan, offset, ENTRY_HEADER_BYTES, data, &got);
    if (error)
        return error;
    *state = entry_parse(entry, scan->crypto, scan->key, *data, got);
    if (*state != ENTRY_SHORT)
        return FT_OK;
    error = window_at(scan, offset, entry->size, data, &got);
    if (!error)
        *state = entry_parse(entry, scan->crypto, scan->key, *data, got);
    return error;
}

static bool proven(const struct scan *scan, const struct entry *entry, const uint8_t *data)
{
    if (entry_verify(entry, scan->crypto, scan->key, scan->segment->chain, data, NULL))
        return true;
    /* Its bodies cannot be proved by a chain that nobody knows, but by their digests. */
    return scan->unproven && entry_bodies_good(entry, scan->crypto, scan->key);
}

/* The next entry lies in the next segment, whatever is behind this one's last. */
static bool is_full(const struct scan *scan)
{
    return segment_full_at(scan->offset, scan->segment_bytes);
}

enum ft_error scan_some(struct scan *scan, uint64_t budget, bool *more)
{
    uint64_t until = budget < UINT64_MAX - scan->offset ? scan->offset + budget : UINT64_MAX;
    *more = false;
    while (scan->next < scan->stop_before && scan->offset < scan->size && !is_full(scan)) {
        const uint8_t *data;
        struct entry entry;
        enum entry_state state;
        if (scan->offset >= until) {
            *more = true;
            return FT_OK;
        }
        enum ft_error error = entry_at(scan, scan->offset, &entry, &state, &data);
        if (error)
            return error;
        bool good = state == ENTRY_WHOLE && entry.first == scan->next && proven(scan, &entry, data);
        if (!good)
            break;
        error = note_entry(scan, &entry, scan->offset);
        if (error)
            return error;
        scan->unproven = false;
        scan->offset += entry.size;
        scan->next += entry.count;
    }
    if (scan->next >= scan->stop_before || is_full(scan))
        return FT_OK;
    struct rest rest;
    enum ft_error error = scan_rest(scan, scan->offset, &rest);
    if (error ||
        (rest.used == scan->offset && scan->last_segment && scan->next > scan->segment->first))
        return error;
    if (rest.used == scan->offset && !scan->last_segment)
        return FT_OK; /* whether it ends where it should, the next segment tells */
    return find_damage(scan, scan->offset, scan->next, &rest);
}

enum ft_error scan_segment(struct scan *scan)
{
    bool more;
    scan_begin(scan);
    return scan_some(scan, UINT64_MAX, &more);
}

bool scan_skip(struct scan *scan)
{
    const struct scan_damage damage = scan->damage;
    if (!damage.next_offset || damage.next_index < scan->next)
        return false;
    scan->offset = scan->segment->end = damage.next_offset;
    scan->next = damage.next_index;
    scan->segment->last = damage.next_index - 1;
    scan->unproven = !damage.next_chained;
    if (damage.next_chained)
        memcpy(scan->segment->chain, damage.next_chain, HASH_BYTES);
    scan_retry(scan);
    return true;
}

void scan_retry(struct scan *scan)
{
    scan->window_len = 0;
    scan->damage = (struct scan_damage) { 0 };
}

enum ft_error scan_end(struct scan *scan)
{
    struct rest rest;
    scan->window_len = 0;
    enum ft_error error = scan_rest(scan, SEGMENT_HEADER_BYTES, &rest);
    scan->damage.end_readable = rest.any_header && rest.used <= rest.end;
    scan->damage.end_term = rest.end_term;
    scan->damage.end_last = rest.end_last;
    if (rest.any_header && rest.flush > scan->flush)
        scan->flush = rest.flush;
    if (rest.commit > scan->commit)
        scan->commit = rest.commit;
    return error;
}
