/* Checkpoints: the state machine's bytes at a segment's end.
 *
 *    0  prologue [24]
 *   24  index u64
 *   32  chain [32]            of the entry that ends at index
 *   64  size u64              of the state
 *   72  hash [32]             BLAKE2b-256 of the state's first MiB, keyed with the cluster's
 *                           identity; of each further MiB, keyed with the hash before it
 *  104  check u64             SipHash of bytes 0..103 under the cluster's identity
 *  112  the state */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "store/internal.h"

enum {
    AT_INDEX = 24,
    AT_CHAIN = 32,
    AT_SIZE = 64,
    AT_HASH = 72,
    AT_CHECK = 104,
    CHECKPOINT_HEADER_BYTES = 112,
    PART_BYTES = 1 << 20,
};

static const char temporary[] = "checkpoint/new.tmp";

void checkpoint_file_path(char path[DISK_PATH_BYTES], uint64_t index)
{
    snprintf(path, DISK_PATH_BYTES, "checkpoint/%020llu", (unsigned long long)index);
}

/* The hash of the state, part by part: each is hashed under the hash of what came before, so that
 * no slice is long. */
static void hash_part(uint8_t hash[HASH_BYTES], const struct crypto *crypto, const uint8_t *key,
                      uint64_t offset, const uint8_t *data, size_t len)
{
    uint8_t before[HASH_BYTES];
    memcpy(before, hash, HASH_BYTES);
    if (offset == 0)
        crypto->hash(hash, key, DIGEST_KEY_BYTES, data, len);
    else
        crypto->hash(hash, before, HASH_BYTES, data, len);
}

static void hash_state(uint8_t hash[HASH_BYTES], const struct crypto *crypto, const uint8_t *key,
                       struct slice state)
{
    uint64_t offset = 0;
    do {
        size_t len = state.len - offset < PART_BYTES ? (size_t)(state.len - offset) : PART_BYTES;
        hash_part(hash, crypto, key, offset, state.data + offset, len);
        offset += len;
    } while (offset < state.len);
}

enum ft_error checkpoint_file_parse(const uint8_t *data, size_t len, const struct crypto *crypto,
                                    const uint8_t key[DIGEST_KEY_BYTES], uint64_t index,
                                    uint8_t chain[HASH_BYTES], struct slice *state)
{
    enum ft_error error = file_prologue_check(data, len, FILE_CHECKPOINT, crypto);
    if (error)
        return error;
    if (len < CHECKPOINT_HEADER_BYTES ||
        bytes_get_u64(data + AT_CHECK) != crypto->digest(key, data, AT_CHECK) ||
        bytes_get_u64(data + AT_INDEX) != index ||
        bytes_get_u64(data + AT_SIZE) != len - CHECKPOINT_HEADER_BYTES)
        return FT_ERROR_CORRUPT;
    uint8_t hash[HASH_BYTES];
    *state = (struct slice) { data + CHECKPOINT_HEADER_BYTES, len - CHECKPOINT_HEADER_BYTES };
    hash_state(hash, crypto, key, *state);
    if (memcmp(hash, data + AT_HASH, HASH_BYTES) != 0)
        return FT_ERROR_CORRUPT;
    memcpy(chain, data + AT_CHAIN, HASH_BYTES);
    return FT_OK;
}

enum ft_error checkpoint_file_load(const struct disk *disk, const struct crypto *crypto,
                                   const uint8_t key[DIGEST_KEY_BYTES], uint64_t index,
                                   uint8_t chain[HASH_BYTES], uint8_t **file, struct slice *state)
{
    char path[DISK_PATH_BYTES];
    size_t len;
    checkpoint_file_path(path, index);
    enum ft_error error = file_load(disk, path, STORE_CHECKPOINT_BYTES_MAX, file, &len);
    if (error)
        return error;
    error = checkpoint_file_parse(*file, len, crypto, key, index, chain, state);
    if (error) {
        free(*file);
        *file = NULL;
    }
    return error;
}

void checkpoint_file_release(uint8_t *file)
{
    free(file);
}

bool checkpoint_readable(struct store *store, uint64_t index)
{
    uint8_t chain[HASH_BYTES];
    uint8_t *file;
    struct slice state;
    if (checkpoint_file_load(store->disk, store->crypto, store->cluster, index, chain, &file,
                             &state))
        return false;
    checkpoint_file_release(file);
    return true;
}

/* A sealed segment keeps no zeros behind its content. */
static enum ft_error seal(struct store *store, const struct segment *segment)
{
    char path[DISK_PATH_BYTES];
    struct disk_file *file;
    segment_path(path, segment->first, "seg");
    enum ft_error error = store->disk->open(store->disk->ctx, path, DISK_WRITE, &file);
    if (error)
        return error;
    error = store->disk->resize(store->disk->ctx, file, segment->end);
    if (!error)
        error = store->disk->sync(store->disk->ctx, file);
    store->disk->close(store->disk->ctx, file);
    return error;
}

/* A copy of the first segment that has no index file yet, with its marks; false: none up to
 * `index`. */
static bool next_unindexed(struct store *store, uint64_t after, uint64_t index,
                           struct segment *copy)
{
    bool any = false;
    store_lock(store);
    struct segment *segment = segments_find(store, after + 1);
    if (segment && segment->last <= index) {
        *copy = *segment;
        copy->marks = malloc((segment->marks_count + 1) * sizeof *copy->marks);
        if (copy->marks)
            memcpy(copy->marks, segment->marks, segment->marks_count * sizeof *copy->marks);
        any = true;
    }
    store_unlock(store);
    return any;
}

static void mark_indexed(struct store *store, uint64_t index)
{
    store_lock(store);
    for (size_t i = store->segments_count; i > 0; i--) {
        struct segment *segment = &store->segments[i - 1];
        if (segment->indexed)
            break;
        if (segment->last > index)
            continue;
        free(segment->marks);
        segment->marks = NULL;
        segment->marks_count = 0;
        segment->marks_capacity = 0;
        segment->indexed = true;
    }
    store->indexed_last = index;
    postings_drop(&store->postings, index);
    deletions_drop(&store->deletions, index);
    store_unlock(store);
    scrub_go_on(store);
}

/* --- a checkpoint, slice by slice ---------------------------------------------------------------
 */

static void stop_saving(struct store *store, bool remove)
{
    struct checkpoint_side *side = &store->checkpoint;
    if (side->file)
        store->disk->close(store->disk->ctx, side->file);
    side->file = NULL;
    if (remove)
        (void)store->disk->unlink(store->disk->ctx, temporary);
}

enum ft_error store_checkpoint_begin(struct store *store, uint64_t index, struct slice state)
{
    struct checkpoint_side *side = &store->checkpoint;
    stop_saving(store, false);
    *side = (struct checkpoint_side) { .index = index, .state = state };
    store_lock(store);
    struct segment *ends = segments_find(store, index);
    bool fits = ends && ends->last == index && segment_full(ends, store->segment_bytes);
    if (fits)
        memcpy(side->chain, ends->chain, HASH_BYTES);
    side->after = side->done = store->indexed_last;
    bool lost = store->postings_lost;
    store_unlock(store);
    if (!fits)
        return FT_ERROR_MISSING;
    if (lost)
        return FT_ERROR_LIMIT;
    return side->after >= index ? FT_ERROR_EXISTS : FT_OK;
}

/* The next segment's index file; false: all of them are written. */
static bool step_index(struct store *store, enum ft_error *error)
{
    struct checkpoint_side *side = &store->checkpoint;
    struct segment segment;
    if (!next_unindexed(store, side->done, side->index, &segment))
        return false;
    *error = segment.marks ? index_file_write(store, &segment) : FT_ERROR_LIMIT;
    free(segment.marks);
    side->done = segment.last;
    return true;
}

/* Without its checkpoint an index is of no use, and it takes space that there is none of. A later checkpoint that could
 * not be read may be mended. */
static void remove_indexes(struct store *store)
{
    const struct checkpoint_side *side = &store->checkpoint;
    struct segment segment;
    struct store_names names;
    bool unknown = names_list(store->disk, &names) != FT_OK;
    bool later =
        names.checkpoints_count && names.checkpoints[names.checkpoints_count - 1] > side->after;
    names_free(&names);
    if (unknown || later)
        return;
    for (uint64_t last = side->after; last < side->done; last = segment.last) {
        char path[DISK_PATH_BYTES];
        bool there = reading_segment(store, last + 1, &segment, NULL);
        CHECK(there);
        segment_path(path, segment.first, "idx");
        (void)store->disk->unlink(store->disk->ctx, path);
    }
}

static enum ft_error begin_file(struct store *store)
{
    struct checkpoint_side *side = &store->checkpoint;
    enum ft_error error = store->disk->unlink(store->disk->ctx, temporary);
    if (error && error != FT_ERROR_MISSING)
        return error;
    side->at = 0;
    return store->disk->open(store->disk->ctx, temporary, DISK_CREATE, &side->file);
}

static enum ft_error end_file(struct store *store)
{
    struct checkpoint_side *side = &store->checkpoint;
    const struct disk *disk = store->disk;
    uint8_t header[CHECKPOINT_HEADER_BYTES];
    char path[DISK_PATH_BYTES];
    file_prologue_write(header, FILE_CHECKPOINT, store->crypto);
    bytes_put_u64(header + AT_INDEX, side->index);
    memcpy(header + AT_CHAIN, side->chain, HASH_BYTES);
    bytes_put_u64(header + AT_SIZE, side->state.len);
    memcpy(header + AT_HASH, side->hash, HASH_BYTES);
    bytes_put_u64(header + AT_CHECK, store->crypto->digest(store->cluster, header, AT_CHECK));
    enum ft_error error = disk->write(disk->ctx, side->file, 0, header, sizeof header);
    if (!error)
        error = disk->sync(disk->ctx, side->file);
    stop_saving(store, false);
    checkpoint_file_path(path, side->index);
    if (!error)
        error = disk->rename(disk->ctx, temporary, path);
    return error ? error : disk->sync_dir(disk->ctx, "checkpoint");
}

/* A part of the file; the last one gives it its name. */
static enum ft_error step_save(struct store *store)
{
    struct checkpoint_side *side = &store->checkpoint;
    const struct disk *disk = store->disk;
    enum ft_error error = side->file ? FT_OK : begin_file(store);
    size_t left = side->state.len - side->at;
    size_t len = left < PART_BYTES ? left : PART_BYTES;
    if (!error) {
        const uint8_t *part = side->state.data + side->at;
        hash_part(side->hash, store->crypto, store->cluster, side->at, part, len);
        if (len)
            error =
                disk->write(disk->ctx, side->file, CHECKPOINT_HEADER_BYTES + side->at, part, len);
        /* Synced part by part: a flush that comes now waits for one of them, not for all. */
        if (!error && left > len)
            error = disk->sync(disk->ctx, side->file);
    }
    side->at += len;
    if (!error && left == len) {
        error = end_file(store);
        side->saved = !error;
    }
    if (error)
        stop_saving(store, true);
    return error;
}

enum ft_error checkpoint_file_save(struct store *store, const struct store_base *base)
{
    struct checkpoint_side *side = &store->checkpoint;
    CHECK(base->index > 0);
    CHECK(!side->file);
    *side = (struct checkpoint_side) { .index = base->index, .state = base->state };
    memcpy(side->chain, base->chain, HASH_BYTES);
    enum ft_error error = FT_OK;
    while (!error && !side->saved)
        error = step_save(store);
    return error;
}

enum ft_error store_checkpoint_step(struct store *store, bool *finished)
{
    struct checkpoint_side *side = &store->checkpoint;
    enum ft_error error = FT_OK;
    *finished = false;
    CHECK(side->index > 0);
    if (!side->saved) {
        if (!step_index(store, &error))
            error = step_save(store);
        if (error == FT_ERROR_SPACE)
            remove_indexes(store);
        if (!side->saved)
            return error;
        mark_indexed(store, side->index);
        retain_drop_checkpoints(store);
        side->done = side->after;
        return FT_OK;
    }
    struct segment segment;
    bool there = reading_segment(store, side->done + 1, &segment, NULL);
    CHECK(there);
    error = seal(store, &segment);
    side->done = segment.last;
    *finished = side->done >= side->index;
    return error;
}

enum ft_error store_checkpoint(struct store *store, uint64_t index, struct slice state)
{
    bool finished = false;
    enum ft_error error = store_checkpoint_begin(store, index, state);
    while (!error && !finished)
        error = store_checkpoint_step(store, &finished);
    return error;
}
