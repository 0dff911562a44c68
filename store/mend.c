/* Mending what store_check stopped at, with what another node sent. On the reading side.
 *
 * Entries lie at the same place in the same segment on every node, so each goes to where it was.
 * Nothing is written that is not proved: by the chain from the entry before it, by its digests, and
 * by what says that it is the one that belongs here: the header that can still be read, the entry
 * behind it, the segment's end, or that it is committed here and there. Written and synced, it is
 * read again from the device by the store_check that goes on. While it is written the log side is kept from writing:
 * an entry may share its page with the log's end. */
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "store/scan.h"

static const char *const gathering[] = {
    [STORE_FILE_CHECKPOINT] = "checkpoint/mend.tmp", [STORE_FILE_INDEX] = "log/mend.tmp"
};

/* --- entries ------------------------------------------------------------------------------------
 */

/* The entry at the damage's far end follows `chain`: then what is between must be what was there. */
static bool successor_follows(struct store *store, uint64_t offset, uint64_t index,
                              const uint8_t chain[HASH_BYTES])
{
    struct check_side *side = &store->check;
    struct entry entry;
    size_t got;
    uint8_t *data = malloc(LIMIT_ENTRY_BYTES);
    if (!data)
        return false;
    bool follows = false;
    if (!disk_read_around(store->disk, side->handle, offset, data, LIMIT_ENTRY_BYTES, &got) &&
        entry_parse(&entry, store->crypto, store->cluster, data, got) == ENTRY_WHOLE &&
        entry.first == index) {
        uint8_t expected[HASH_BYTES];
        entry_chain(expected, store->crypto, chain, data, &entry);
        follows = memcmp(expected, entry.chain, HASH_BYTES) == 0;
    }
    free(data);
    return follows;
}

/* Is the run that ends with `entry` at `offset` the one that belongs here? */
static bool belongs(struct store *store, const struct store_mend *mend, const struct entry *entry,
                    uint64_t offset)
{
    const struct check_side *side = &store->check;
    const struct scan_damage *damage = &side->scan->damage;
    const struct segment *known = &side->known;
    uint64_t last = entry->first + entry->count - 1;
    if (last <= mend->committed)
        return true;
    if (damage->next_chained && damage->next_offset == offset)
        return memcmp(damage->next_chain, entry->chain, HASH_BYTES) == 0;
    if (damage->next_offset == offset)
        return successor_follows(store, offset, last + 1, entry->chain);
    return side->file == STORE_FILE_SEGMENT && last == known->last && offset == known->end &&
           memcmp(known->chain, entry->chain, HASH_BYTES) == 0;
}

/* The part that is this node's own: what it was, or that it was mended. */
static void set_local(struct store *store, uint8_t *data, uint64_t offset)
{
    const struct check_side *side = &store->check;
    uint8_t header[ENTRY_HEADER_BYTES];
    struct entry entry;
    size_t got;
    memset(data + ENTRY_LOCAL_AT, 0, ENTRY_HEADER_BYTES - ENTRY_LOCAL_AT);
    if (!disk_read_around(store->disk, side->handle, offset, header, sizeof header, &got) &&
        entry_parse(&entry, store->crypto, store->cluster, header, got) == ENTRY_SHORT)
        memcpy(data + ENTRY_LOCAL_AT, header + ENTRY_LOCAL_AT, ENTRY_AT_CHECK - ENTRY_LOCAL_AT);
    bytes_put_u32(data + ENTRY_AT_CHECK, entry_header_check(store->crypto, store->cluster, data));
}

/* How many bytes of `data` are entries that belong here, from the damage on. */
static size_t provable(struct store *store, const struct store_mend *mend, uint64_t *next)
{
    const struct check_side *side = &store->check;
    const struct scan_damage *damage = &side->scan->damage;
    uint8_t chain[HASH_BYTES];
    memcpy(chain, side->segment.chain, HASH_BYTES);
    bool unproven = side->scan->unproven;
    uint64_t index = damage->index;
    size_t good = 0;
    for (size_t at = 0;
         at < mend->data.len && !segment_full_at(damage->offset + at, store->segment_bytes);) {
        const uint8_t *data = mend->data.data + at;
        struct entry entry;
        if (entry_parse(&entry, store->crypto, NULL, data, mend->data.len - at) != ENTRY_WHOLE ||
            entry.first != index)
            break;
        bool follows = entry_verify(&entry, store->crypto, store->cluster, chain, data, NULL);
        if (!follows && !(unproven && entry.first + entry.count - 1 <= mend->committed &&
                          entry_bodies_good(&entry, store->crypto, store->cluster)))
            break;
        unproven = false;
        memcpy(chain, entry.chain, HASH_BYTES);
        at += entry.size;
        index += entry.count;
        if (belongs(store, mend, &entry, damage->offset + at)) {
            good = at;
            *next = index;
        }
        if (damage->next_offset && damage->offset + at >= damage->next_offset)
            break;
        if (index >= side->scan->stop_before)
            break;
    }
    return good;
}

/* Nothing can stand behind what ends at `end`: the segment is full, or the log ends there, and nothing is held behind its
 * end. */
static bool ends_segment(struct store *store, uint64_t end)
{
    const struct check_side *side = &store->check;
    bool ends = segment_full_at(end, store->segment_bytes);
    store_lock(store);
    const struct segment *segment = segments_find(store, side->segment.first);
    if (segment && side->file == STORE_FILE_SEGMENT)
        ends |= segment->end == end && !store->leftover;
    store_unlock(store);
    return ends;
}

/* Behind a segment's last entry nothing can have been: what could not be read there was zeros. */
static enum ft_error write_zeros(struct store *store, struct disk_file *file, uint64_t end)
{
    uint64_t size;
    bool last = ends_segment(store, end);
    enum ft_error error = store->disk->size(store->disk->ctx, file, &size);
    uint64_t to = (end + DISK_PAGE_BYTES - 1) / DISK_PAGE_BYTES * DISK_PAGE_BYTES;
    if (to > size)
        to = size;
    if (error || !last || to <= end)
        return error;
    return store->disk->write(store->disk->ctx, file, end, disk_zeros, (size_t)(to - end));
}

static enum ft_error write_entries(struct store *store, const struct store_mend *mend, size_t len)
{
    const struct check_side *side = &store->check;
    const struct disk *disk = store->disk;
    uint64_t offset = side->scan->damage.offset;
    char path[DISK_PATH_BYTES];
    struct disk_file *file;
    uint8_t *copy = malloc(len);
    if (!copy)
        return FT_ERROR_LIMIT;
    memcpy(copy, mend->data.data, len);
    for (size_t at = 0; at < len; at += bytes_get_u32(copy + at + ENTRY_AT_SIZE))
        set_local(store, copy + at, offset + at);
    segment_path(path, side->segment.first, "seg");
    enum ft_error error = disk->open(disk->ctx, path, DISK_WRITE, &file);
    if (!error) {
        error = disk_write_around(disk, file, offset, copy, len);
        if (!error)
            error = write_zeros(store, file, offset + len);
        if (!error)
            error = disk->sync(disk->ctx, file);
        disk->close(disk->ctx, file);
    }
    free(copy);
    return error;
}

static enum ft_error mend_entries(struct store *store, struct store_mend *mend)
{
    struct check_side *side = &store->check;
    if (!side->handle || side->file != mend->file || side->id != mend->id ||
        side->scan->damage.place == DAMAGE_NOWHERE)
        return FT_ERROR_MISSING;
    uint64_t next = 0;
    size_t len = provable(store, mend, &next);
    if (len == 0)
        return FT_ERROR_CORRUPT;
    enum ft_error error = scrub_again(store, side->segment.first);
    if (error)
        return error;
    pthread_mutex_lock(&store->tail);
    store_lock(store);
    bool gone = mend->file == STORE_FILE_TAIL && !store->leftover;
    store_unlock(store);
    error = gone ? FT_ERROR_MISSING : write_entries(store, mend, len);
    pthread_mutex_unlock(&store->tail);
    if (error)
        return error;
    side->scan->size = side->scan->size > side->scan->damage.offset + len
                           ? side->scan->size
                           : side->scan->damage.offset + len;
    reading_renew(store, side->segment.first);
    mend->done = true;
    mend->want_index = next;
    return FT_OK;
}

/* --- files --------------------------------------------------------------------------------------
 */

static enum ft_error gather(struct store *store, const struct store_mend *mend)
{
    const struct disk *disk = store->disk;
    const char *path = gathering[mend->file];
    struct disk_file *file;
    enum ft_error error = FT_OK;
    if (mend->offset == 0)
        error = disk->unlink(disk->ctx, path);
    if (error && error != FT_ERROR_MISSING)
        return error;
    error = disk->open(disk->ctx, path, mend->offset ? DISK_WRITE : DISK_CREATE, &file);
    if (error)
        return error;
    error = disk->write(disk->ctx, file, mend->offset, mend->data.data, mend->data.len);
    if (!error)
        error = disk->sync(disk->ctx, file);
    disk->close(disk->ctx, file);
    return error;
}

static enum ft_error prove_index(struct store *store, const struct store_mend *mend)
{
    struct index_header header;
    struct segment segment;
    enum ft_error error = index_file_prove(store->disk, store->crypto, store->cluster,
                                           gathering[STORE_FILE_INDEX], mend->id, &header, true);
    if (error)
        return error;
    if (!reading_segment(store, mend->id, &segment, NULL) || segment.last != header.last)
        return FT_ERROR_CORRUPT;
    static const uint8_t unknown[HASH_BYTES];
    if (memcmp(segment.chain, unknown, HASH_BYTES) != 0 &&
        (segment.end != header.end || memcmp(segment.chain, header.chain, HASH_BYTES) != 0))
        return FT_ERROR_CORRUPT;
    return FT_OK;
}

static enum ft_error prove_checkpoint(struct store *store, const struct store_mend *mend)
{
    uint8_t *data;
    size_t len;
    uint8_t chain[HASH_BYTES];
    struct slice state;
    enum ft_error error =
        file_load(store->disk, gathering[STORE_FILE_CHECKPOINT], (size_t)mend->size, &data, &len);
    if (error)
        return error;
    error =
        checkpoint_file_parse(data, len, store->crypto, store->cluster, mend->id, chain, &state);
    free(data);
    return error;
}

/* MISSING: it went with a log that it stood beyond the end of. */
static enum ft_error still_there(const struct disk *disk, const char *path)
{
    struct disk_file *file;
    enum ft_error error = disk->open(disk->ctx, path, DISK_READ, &file);
    if (!error)
        disk->close(disk->ctx, file);
    return error;
}

static enum ft_error mend_file(struct store *store, struct store_mend *mend)
{
    struct check_side *side = &store->check;
    const struct disk *disk = store->disk;
    if (mend->offset && mend->offset != side->gathered)
        return FT_ERROR_CORRUPT;
    if (mend->size > UINT32_MAX || mend->data.len == 0 || mend->offset > mend->size ||
        mend->data.len > mend->size - mend->offset)
        return FT_ERROR_CORRUPT;
    enum ft_error error = gather(store, mend);
    if (error)
        return error;
    side->gathered = mend->offset + mend->data.len;
    mend->want_offset = side->gathered;
    if (side->gathered < mend->size)
        return FT_OK;
    const char *from = gathering[mend->file];
    char to[DISK_PATH_BYTES];
    bool index = mend->file == STORE_FILE_INDEX;
    error = index ? prove_index(store, mend) : prove_checkpoint(store, mend);
    if (error) {
        (void)disk->unlink(disk->ctx, from);
        return error;
    }
    if (index)
        segment_path(to, mend->id, "idx");
    else
        checkpoint_file_path(to, mend->id);
    pthread_mutex_lock(&store->tail); /* else the log side may just be removing it */
    error = index ? FT_OK : still_there(disk, to);
    if (!error)
        error = disk->rename(disk->ctx, from, to);
    pthread_mutex_unlock(&store->tail);
    if (!error)
        error = disk->sync_dir(disk->ctx, index ? "log" : "checkpoint");
    else
        (void)disk->unlink(disk->ctx, from);
    if (index)
        reading_renew(store, mend->id);
    if (index && !error)
        error = deletions_reload(store, mend->id);
    mend->done = !error;
    return error;
}

enum ft_error store_mend(struct store *store, struct store_mend *mend)
{
    mend->done = false;
    mend->want_index = mend->want_offset = 0;
    switch (mend->file) {
    case STORE_FILE_SEGMENT:
    case STORE_FILE_TAIL:
        return mend_entries(store, mend);
    case STORE_FILE_INDEX:
    case STORE_FILE_CHECKPOINT:
        return mend_file(store, mend);
    default:
        return FT_ERROR_MISSING;
    }
}
