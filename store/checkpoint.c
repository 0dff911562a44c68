/* Checkpoints: the state machine's bytes at a segment's end.
 *
 *    0  prologue [24]
 *   24  index u64
 *   32  chain [32]            of the entry that ends at index
 *   64  size u64              of the state
 *   72  hash [32]             BLAKE2b-256 of the state, keyed with the cluster's identity
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
    CHECKPOINTS_KEPT = 2,
    CHECKPOINT_LIMIT_BYTES = 1 << 30,
};

void checkpoint_file_path(char path[DISK_PATH_BYTES], uint64_t index)
{
    snprintf(path, DISK_PATH_BYTES, "checkpoint/%020llu", (unsigned long long)index);
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
    crypto->hash(hash, key, DIGEST_KEY_BYTES, state->data, state->len);
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
    enum ft_error error = file_load(disk, path, CHECKPOINT_LIMIT_BYTES, file, &len);
    if (error)
        return error;
    error = checkpoint_file_parse(*file, len, crypto, key, index, chain, state);
    if (error) {
        free(*file);
        *file = NULL;
    }
    return error;
}

static enum ft_error checkpoint_save(struct store *store, uint64_t index,
                                     const uint8_t chain[HASH_BYTES], struct slice state)
{
    uint8_t header[CHECKPOINT_HEADER_BYTES];
    file_prologue_write(header, FILE_CHECKPOINT, store->crypto);
    bytes_put_u64(header + AT_INDEX, index);
    memcpy(header + AT_CHAIN, chain, HASH_BYTES);
    bytes_put_u64(header + AT_SIZE, state.len);
    store->crypto->hash(header + AT_HASH, store->cluster, DIGEST_KEY_BYTES, state.data, state.len);
    bytes_put_u64(header + AT_CHECK, store->crypto->digest(store->cluster, header, AT_CHECK));
    char path[DISK_PATH_BYTES];
    checkpoint_file_path(path, index);
    const struct slice parts[] = { { header, sizeof header }, state };
    return file_replace(store->disk, "checkpoint", "checkpoint/new.tmp", path, parts, 2);
}

/* All but the newest two. That it does not always work is no harm: the next one tries again. */
static void drop_old(struct store *store)
{
    struct store_names names;
    if (names_list(store->disk, &names) != FT_OK)
        return;
    for (size_t i = 0; i + CHECKPOINTS_KEPT < names.checkpoints_count; i++) {
        char path[DISK_PATH_BYTES];
        checkpoint_file_path(path, names.checkpoints[i]);
        (void)store->disk->unlink(store->disk->ctx, path);
    }
    names_free(&names);
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
    store_unlock(store);
}

enum ft_error store_checkpoint(struct store *store, uint64_t index, struct slice state)
{
    store_lock(store);
    struct segment *ends = segments_find(store, index);
    bool fits = ends && ends->last == index && segment_full(ends, store->segment_bytes);
    uint8_t chain[HASH_BYTES] = { 0 };
    if (fits)
        memcpy(chain, ends->chain, HASH_BYTES);
    uint64_t after = store->indexed_last;
    bool lost = store->postings_lost;
    store_unlock(store);
    if (!fits)
        return FT_ERROR_MISSING;
    if (lost)
        return FT_ERROR_LIMIT;
    if (after >= index)
        return FT_ERROR_EXISTS;
    enum ft_error error = FT_OK;
    struct segment segment;
    uint64_t done = after;
    while (!error && next_unindexed(store, done, index, &segment)) {
        error = segment.marks ? index_file_write(store, &segment) : FT_ERROR_LIMIT;
        free(segment.marks);
        done = segment.last;
    }
    if (!error)
        error = checkpoint_save(store, index, chain, state);
    if (error)
        return error;
    mark_indexed(store, index);
    drop_old(store);
    for (done = after; !error && done < index; done = segment.last) {
        bool there = reading_segment(store, done + 1, &segment, NULL);
        CHECK(there);
        error = seal(store, &segment);
    }
    return error;
}
