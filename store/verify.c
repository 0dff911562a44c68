/* Reads everything and proves it: identity, vote, checkpoints, held commands, and each segment's
 * header, chain, digests, index file and the zeros behind its end. It only reads, past the page cache
 * where the file is not being written. (What the next start throws away, spares and temporary files,
 * holds nothing and is not looked at.) */
#include "store/verify.h"

#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "store/scan.h"

void verify_tell(struct verify *verify, const char *file, uint64_t offset, uint64_t index,
                 const char *what)
{
    const struct store_damage damage = {
        .file = file, .offset = offset, .index = index, .what = what
    };
    verify->found(verify->ctx, &damage);
}

bool verify_is_damage(enum ft_error error)
{
    return error == FT_ERROR_CORRUPT || error == FT_ERROR_FOREIGN || error == FT_ERROR_VERSION ||
           error == FT_ERROR_MISSING;
}

/* --- segments ------------------------------------------------------------------------------------
 */

/* *chained: what its first entry follows is known. */
static enum ft_error verify_header(struct verify *verify, struct disk_file *file, const char *path,
                                   struct segment *segment, bool *chained)
{
    size_t got;
    enum ft_error error =
        disk_read_around(verify->disk, file, 0, verify->window, SEGMENT_HEADER_BYTES, &got);
    if (error)
        return error;
    struct segment_header header;
    *chained = true;
    if (got < SEGMENT_HEADER_BYTES ||
        segment_header_parse(verify->window, verify->crypto, &header) != FT_OK ||
        header.first != segment->first ||
        memcmp(header.cluster, verify->key, IDENTITY_BYTES) != 0) {
        verify_tell(verify, path, 0, 0, "the segment's header is damaged");
        *chained = verify->next == segment->first;
        memcpy(segment->chain, verify->chain, HASH_BYTES);
        return FT_OK;
    }
    if (verify->next && verify->next != segment->first)
        verify_tell(verify, path, 0, verify->next, "entries are missing before this segment");
    else if (verify->next && memcmp(header.chain, verify->chain, HASH_BYTES) != 0)
        verify_tell(verify, path, 0, segment->first, "the chain is broken between segments");
    memcpy(segment->chain, header.chain, HASH_BYTES);
    return FT_OK;
}

/* The rest of a file that nobody writes any more. Sectors in a row are one damage. */
static enum ft_error verify_zeros(struct verify *verify, struct disk_file *file, const char *path,
                                  uint64_t offset, uint64_t size)
{
    bool before = false;
    while (offset < size) {
        size_t got;
        size_t part = SCAN_WINDOW_BYTES - (size_t)(offset % DISK_SECTOR_BYTES);
        if (part > size - offset)
            part = (size_t)(size - offset);
        enum ft_error error =
            disk_read_around(verify->disk, file, offset, verify->window, part, &got);
        if (error)
            return error;
        for (size_t at = 0; at < got;) {
            size_t sector = DISK_SECTOR_BYTES - (size_t)((offset + at) % DISK_SECTOR_BYTES);
            if (sector > got - at)
                sector = got - at;
            bool zero = bytes_are_zero(verify->window + at, sector);
            if (!zero && !before)
                verify_tell(verify, path, offset + at, 0,
                            "bytes behind the segment's end are not zero");
            before = !zero;
            at += sector;
        }
        offset += part;
    }
    return FT_OK;
}

/* Behind the log's end, not in an entry: no header is left there, whole or rotten. */
static enum ft_error is_behind_end(struct verify *verify, const struct scan *scan, bool *behind)
{
    const struct scan_damage *damage = &scan->damage;
    size_t got;
    *behind = false;
    if (damage->part != DAMAGE_HEADER || damage->next_offset || scan->next == scan->segment->first)
        return FT_OK;
    enum ft_error error = disk_read_around(verify->disk, scan->file, damage->offset, verify->window,
                                           ENTRY_HEADER_BYTES, &got);
    *behind = !error && bytes_are_zero(verify->window, got);
    return error;
}

/* *whole: from the first entry to the end everything is good. */
static enum ft_error scan_entries(struct verify *verify, struct scan *scan, const char *path,
                                  bool *whole)
{
    bool more;
    bool behind = false;
    enum ft_error error = scan_some(scan, UINT64_MAX, &more);
    *whole = true;
    while (!error && scan->damage.place != DAMAGE_NOWHERE) {
        error = is_behind_end(verify, scan, &behind);
        if (error || behind)
            break;
        *whole = false;
        verify_tell(verify, path, scan->damage.offset, scan->damage.index,
                    scan->damage.part == DAMAGE_HEADER ? "an entry's header is damaged"
                                                       : "an entry's body is damaged");
        if (!scan_skip(scan))
            return FT_OK;
        error = scan_some(scan, UINT64_MAX, &more);
    }
    verify->entries += scan->entries;
    verify->erased += scan->erased;
    if (!error && (behind || (!scan->last_segment && scan->next < scan->stop_before)))
        error = verify_zeros(verify, scan->file, path, scan->offset, scan->size);
    return error;
}

static enum ft_error verify_file(struct verify *verify, struct disk_file *file, const char *path,
                                 struct segment *segment, bool last, bool *whole)
{
    bool chained;
    struct scan scan = { .disk = verify->disk,
                         .crypto = verify->crypto,
                         .key = verify->key,
                         .file = file,
                         .segment_bytes = UINT64_MAX,
                         .last_segment = last,
                         .segment = segment,
                         .stop_before = verify->upto == UINT64_MAX ? UINT64_MAX : verify->upto + 1,
                         .window = verify->window };
    verify->disk->forget(verify->disk->ctx, file);
    enum ft_error error = verify->disk->size(verify->disk->ctx, file, &scan.size);
    if (!error)
        error = verify_header(verify, file, path, segment, &chained);
    if (error)
        return error;
    scan_begin(&scan);
    scan.unproven = !chained;
    return scan_entries(verify, &scan, path, whole);
}

static enum ft_error verify_segment(struct verify *verify, uint64_t first, bool last)
{
    char path[DISK_PATH_BYTES];
    struct disk_file *file;
    struct segment segment = { .first = first };
    bool whole = false;
    segment_path(path, first, "seg");
    enum ft_error error = verify->disk->open(verify->disk->ctx, path, DISK_READ, &file);
    if (error == FT_ERROR_MISSING) { /* dropped since it was listed */
        verify->next = 0;
        return FT_OK;
    }
    if (error)
        return error;
    error = verify_file(verify, file, path, &segment, last, &whole);
    verify->disk->close(verify->disk->ctx, file);
    if (!error)
        error = verify_index(verify, &segment, whole);
    verify->next = whole ? segment.last + 1 : 0;
    memcpy(verify->chain, segment.chain, HASH_BYTES);
    free(segment.marks);
    return error;
}

/* --- the whole ----------------------------------------------------------------------------------
 */

/* The checkpoint before the log's first entry, when that is not entry 1: the chain begins with it. */
static enum ft_error verify_base(struct verify *verify)
{
    uint8_t *file;
    struct slice state;
    char path[DISK_PATH_BYTES];
    verify->next = verify->begin;
    if (verify->begin <= 1)
        return FT_OK;
    checkpoint_file_path(path, verify->begin - 1);
    enum ft_error error = checkpoint_file_load(verify->disk, verify->crypto, verify->key,
                                               verify->begin - 1, verify->chain, &file, &state);
    if (!error) {
        free(file);
        return FT_OK;
    }
    if (error == FT_ERROR_MISSING)
        verify_tell(verify, path, 0, verify->begin,
                    "the checkpoint before the log's beginning is missing");
    verify->next = 0;
    return verify_is_damage(error) ? FT_OK : error;
}

static enum ft_error verify_keyed(struct verify *verify)
{
    enum ft_error error = verify_base(verify);
    for (size_t i = 0; i < verify->names.segments_count && !error; i++)
        if (verify->names.segments[i] >= verify->begin && verify->names.segments[i] <= verify->upto)
            error = verify_segment(verify, verify->names.segments[i],
                                   i + 1 == verify->names.segments_count);
    for (size_t i = 0; i < verify->names.checkpoints_count && !error; i++)
        error = verify_checkpoint(verify, verify->names.checkpoints[i]);
    if (!error)
        error = verify_held(verify);
    if (!error)
        error = verify_scrub(verify);
    return error ? error : verify_copy(verify);
}

static enum ft_error verify_all(struct verify *verify, uint64_t *entries)
{
    enum ft_error error = names_list(verify->disk, &verify->names);
    if (error)
        return error;
    bool keyed = false;
    verify->window = malloc(SCAN_WINDOW_BYTES);
    error = verify->window ? verify_vote(verify) : FT_ERROR_LIMIT;
    if (!error)
        error = verify_begin(verify);
    if (!error)
        error = verify_identity(verify, &keyed);
    if (!error && keyed)
        error = verify_keyed(verify);
    *entries = verify->entries;
    names_free(&verify->names);
    free(verify->window);
    return error;
}

enum ft_error store_verify(struct store *store,
                           void (*found)(void *ctx, const struct store_damage *), void *ctx,
                           uint64_t *entries)
{
    struct verify verify = { .disk = store->disk,
                             .crypto = store->crypto,
                             .found = found,
                             .ctx = ctx,
                             .upto = store_durable_last(store) };
    *entries = 0;
    return verify_all(&verify, entries);
}

enum ft_error store_verify_folder(const struct disk *disk, const struct crypto *crypto,
                                  void (*found)(void *ctx, const struct store_damage *), void *ctx,
                                  uint64_t *entries, uint64_t *erased)
{
    struct verify verify = {
        .disk = disk, .crypto = crypto, .found = found, .ctx = ctx, .upto = UINT64_MAX
    };
    struct disk_file *lock;
    *entries = 0;
    *erased = 0;
    enum ft_error error = disk->lock(disk->ctx, "lock", &lock);
    if (error)
        return error;
    error = verify_all(&verify, entries);
    *erased = verify.erased;
    disk->close(disk->ctx, lock);
    return error;
}
