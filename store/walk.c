/* Hands out a stopped folder's log, entry by entry, each proven; for people who look (ctl dump). It only reads. */
#include <stdlib.h>
#include <string.h>

#include "store/internal.h"

struct walk {
    const struct disk *disk;
    const struct crypto *crypto;
    const struct store_walk *want;
    uint8_t key[IDENTITY_BYTES];
    uint8_t chain[HASH_BYTES];
    uint8_t *entry; /* LIMIT_ENTRY_BYTES */
    uint64_t next;  /* the index after the entry that was read last */
    bool stopped;
};

/* The entry at `offset`, whole and proven, in walk->entry. MISSING: the log ends here. */
static enum ft_error read_entry(struct walk *walk, struct disk_file *file, uint64_t offset,
                                struct entry *entry)
{
    const struct disk *disk = walk->disk;
    size_t got;
    enum ft_error error =
        disk->read(disk->ctx, file, offset, walk->entry, ENTRY_HEADER_BYTES, &got);
    if (error)
        return error;
    enum entry_state state = entry_parse(entry, walk->crypto, walk->key, walk->entry, got);
    if (state == ENTRY_NONE)
        return FT_ERROR_MISSING;
    if (state != ENTRY_SHORT)
        return FT_ERROR_CORRUPT;
    error = disk->read(disk->ctx, file, offset, walk->entry, entry->size, &got);
    if (error)
        return error;
    state = entry_parse(entry, walk->crypto, walk->key, walk->entry, got);
    if (state != ENTRY_WHOLE ||
        !entry_verify(entry, walk->crypto, walk->key, walk->chain, walk->entry, NULL))
        return FT_ERROR_CORRUPT;
    memcpy(walk->chain, entry->chain, HASH_BYTES);
    return FT_OK;
}

static enum ft_error walk_entries(struct walk *walk, struct disk_file *file)
{
    uint8_t data[SEGMENT_HEADER_BYTES];
    struct segment_header header;
    size_t got;
    enum ft_error error = walk->disk->read(walk->disk->ctx, file, 0, data, sizeof data, &got);
    if (!error)
        error = got < sizeof data ? FT_ERROR_CORRUPT
                                  : segment_header_parse(data, walk->crypto, &header);
    if (error)
        return error;
    memcpy(walk->chain, header.chain, HASH_BYTES);
    walk->next = header.first;
    for (uint64_t offset = SEGMENT_HEADER_BYTES; !walk->stopped;) {
        struct entry entry;
        error = read_entry(walk, file, offset, &entry);
        if (error)
            return error == FT_ERROR_MISSING ? FT_OK : error;
        if (entry.first > walk->want->to)
            walk->stopped = true;
        else if (entry.first + entry.count > walk->want->from)
            walk->stopped = !walk->want->each(walk->want->ctx, &entry);
        walk->next = entry.first + entry.count;
        offset += entry.size;
    }
    return FT_OK;
}

static enum ft_error walk_segments(struct walk *walk, const struct store_names *names)
{
    for (size_t i = 0; i < names->segments_count && !walk->stopped; i++) {
        if (i + 1 < names->segments_count && names->segments[i + 1] <= walk->want->from)
            continue;
        char path[DISK_PATH_BYTES];
        struct disk_file *file;
        segment_path(path, names->segments[i], "seg");
        enum ft_error error = walk->disk->open(walk->disk->ctx, path, DISK_READ, &file);
        if (error)
            return error;
        error = walk_entries(walk, file);
        walk->disk->close(walk->disk->ctx, file);
        if (error)
            return error;
        /* Lost sectors read as zeros, as the log's end does: but another segment goes on. */
        bool goes_on = i + 1 < names->segments_count;
        if (goes_on && !walk->stopped && walk->next != names->segments[i + 1])
            return FT_ERROR_CORRUPT;
    }
    return FT_OK;
}

static enum ft_error walk_locked(struct walk *walk)
{
    struct identity_file identity;
    struct store_names names;
    enum ft_error error = identity_file_load(walk->disk, walk->crypto, &identity);
    if (error)
        return error;
    memcpy(walk->key, identity.cluster, IDENTITY_BYTES);
    error = names_list(walk->disk, &names);
    if (error)
        return error;
    walk->entry = malloc(LIMIT_ENTRY_BYTES);
    error = walk->entry ? walk_segments(walk, &names) : FT_ERROR_LIMIT;
    free(walk->entry);
    names_free(&names);
    return error;
}

enum ft_error store_walk_folder(const struct disk *disk, const struct crypto *crypto,
                                const struct store_walk *want)
{
    struct walk walk = { .disk = disk, .crypto = crypto, .want = want };
    struct disk_file *lock;
    enum ft_error error = disk->lock(disk->ctx, "lock", &lock);
    if (error)
        return error;
    error = walk_locked(&walk);
    disk->close(disk->ctx, lock);
    return error;
}
