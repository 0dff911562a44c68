/* Reads everything and proves it: identity, vote, checkpoints, and each segment's header, chain,
 * digests, index file and the zeros behind its end. It only reads, past the page cache where the
 * file is not being written, and goes on after a damage with what stands by itself. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "store/held.h"
#include "store/index_format.h"
#include "store/scan.h"

struct verify {
    const struct disk *disk;
    const struct crypto *crypto;
    uint8_t key[IDENTITY_BYTES];
    uint64_t upto; /* entries after it are being written; UINT64_MAX: nobody writes */
    void (*found)(void *ctx, const struct store_damage *);
    void *ctx;
    uint64_t entries;
    uint64_t next;             /* index that the next segment must begin with; 0: unknown */
    uint8_t chain[HASH_BYTES]; /* before `next` */
    struct store_names names;
    uint64_t begin;
    uint8_t *window;
};

static void tell(struct verify *verify, const char *file, uint64_t offset, uint64_t index,
                 const char *what)
{
    const struct store_damage damage = {
        .file = file, .offset = offset, .index = index, .what = what
    };
    verify->found(verify->ctx, &damage);
}

/* What is damaged is told and gone past; what the device refuses ends it. */
static bool is_damage(enum ft_error error)
{
    return error == FT_ERROR_CORRUPT || error == FT_ERROR_FOREIGN || error == FT_ERROR_VERSION ||
           error == FT_ERROR_MISSING;
}

static bool all_zero(const uint8_t *data, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (data[i])
            return false;
    return true;
}

/* --- vote ---------------------------------------------------------------------------------------
 */

static enum ft_error verify_vote(struct verify *verify)
{
    uint8_t *data;
    size_t len;
    enum ft_error error = file_load(verify->disk, "vote", 2 * VOTE_FILE_BYTES, &data, &len);
    if (is_damage(error))
        tell(verify, "vote", 0, 0, "the file cannot be read");
    if (error)
        return is_damage(error) ? FT_OK : error;
    if (len != VOTE_FILE_BYTES)
        tell(verify, "vote", len, 0, "the file has the wrong size");
    for (size_t i = 0; i < VOTE_COPIES; i++) {
        struct vote_record record;
        const uint8_t *at = data + i * VOTE_SECTOR_BYTES;
        if (len < (i + 1) * VOTE_SECTOR_BYTES ||
            vote_file_parse(at, verify->crypto, &record) != VOTE_VALID ||
            record.generation % VOTE_PAIRS != i / 2)
            tell(verify, "vote", i * VOTE_SECTOR_BYTES, 0, "a copy of the vote is damaged");
        else if (!all_zero(at + VOTE_RECORD_BYTES, VOTE_SECTOR_BYTES - VOTE_RECORD_BYTES))
            tell(verify, "vote", i * VOTE_SECTOR_BYTES + VOTE_RECORD_BYTES, 0,
                 "bytes that must be zero are not");
    }
    free(data);
    return FT_OK;
}

/* --- segments ------------------------------------------------------------------------------------
 */

static enum ft_error verify_header(struct verify *verify, struct disk_file *file, const char *path,
                                   struct segment *segment)
{
    size_t got;
    enum ft_error error =
        verify->disk->read(verify->disk->ctx, file, 0, verify->window, SEGMENT_HEADER_BYTES, &got);
    if (error)
        return error;
    struct segment_header header;
    if (got < SEGMENT_HEADER_BYTES ||
        segment_header_parse(verify->window, verify->crypto, &header) != FT_OK ||
        header.first != segment->first ||
        memcmp(header.cluster, verify->key, IDENTITY_BYTES) != 0) {
        tell(verify, path, 0, 0, "the segment's header is damaged");
        if (verify->next != segment->first)
            return FT_ERROR_CORRUPT; /* nothing to begin the chain with */
        memcpy(segment->chain, verify->chain, HASH_BYTES);
        return FT_OK;
    }
    if (verify->next && verify->next != segment->first)
        tell(verify, path, 0, verify->next, "entries are missing before this segment");
    else if (verify->next && memcmp(header.chain, verify->chain, HASH_BYTES) != 0)
        tell(verify, path, 0, segment->first, "the chain is broken between segments");
    memcpy(segment->chain, header.chain, HASH_BYTES);
    return FT_OK;
}

/* The rest of a file that nobody writes any more. */
static enum ft_error verify_zeros(struct verify *verify, struct disk_file *file, const char *path,
                                  uint64_t offset, uint64_t size)
{
    while (offset < size) {
        size_t got;
        size_t part =
            size - offset < SCAN_WINDOW_BYTES ? (size_t)(size - offset) : SCAN_WINDOW_BYTES;
        enum ft_error error =
            verify->disk->read(verify->disk->ctx, file, offset, verify->window, part, &got);
        if (error)
            return error;
        if (!all_zero(verify->window, got)) {
            tell(verify, path, offset, 0, "bytes behind the segment's end are not zero");
            return FT_OK;
        }
        offset += part;
    }
    return FT_OK;
}

static enum ft_error verify_index(struct verify *verify, const struct segment *segment, bool whole)
{
    bool there = false;
    for (size_t i = 0; i < verify->names.indexes_count; i++)
        there |= verify->names.indexes[i] == segment->first;
    if (!there)
        return FT_OK; /* that one should be there is known by the checkpoint */
    char path[DISK_PATH_BYTES];
    struct index_header header;
    segment_path(path, segment->first, "idx");
    enum ft_error error = index_file_header_load(verify->disk, verify->crypto, verify->key,
                                                 segment->first, &header, true);
    if (is_damage(error)) {
        tell(verify, path, 0, segment->first, "the index file is damaged");
        return FT_OK;
    }
    if (!error && whole &&
        (header.last != segment->last || header.end != segment->end ||
         memcmp(header.chain, segment->chain, HASH_BYTES) != 0))
        tell(verify, path, 0, segment->first, "the index file is of another segment");
    return error;
}

static enum ft_error scan_entries(struct verify *verify, struct disk_file *file, const char *path,
                                  struct segment *segment, bool last, bool *whole)
{
    struct scan scan = { .disk = verify->disk,
                         .crypto = verify->crypto,
                         .key = verify->key,
                         .file = file,
                         .last_segment = last,
                         .segment = segment,
                         .stop_before = verify->upto == UINT64_MAX ? UINT64_MAX : verify->upto + 1,
                         .window = verify->window };
    verify->disk->forget(verify->disk->ctx, file);
    enum ft_error error = verify->disk->size(verify->disk->ctx, file, &scan.size);
    if (!error)
        error = verify_header(verify, file, path, segment);
    if (!error)
        error = scan_segment(&scan);
    if (error)
        return error;
    verify->entries += scan.entries;
    *whole = scan.damage.place == DAMAGE_NOWHERE;
    if (!*whole)
        tell(verify, path, scan.damage.offset, scan.damage.index,
             scan.damage.part == DAMAGE_HEADER ? "an entry's header is damaged"
                                               : "an entry's body is damaged");
    else if (!last)
        error = verify_zeros(verify, file, path, segment->end, scan.size);
    return error;
}

static enum ft_error verify_segment(struct verify *verify, uint64_t first, bool last)
{
    char path[DISK_PATH_BYTES];
    struct disk_file *file;
    struct segment segment = { .first = first };
    bool whole = false;
    segment_path(path, first, "seg");
    enum ft_error error = verify->disk->open(verify->disk->ctx, path, DISK_READ, &file);
    if (error)
        return error;
    error = scan_entries(verify, file, path, &segment, last, &whole);
    verify->disk->close(verify->disk->ctx, file);
    if (!error || error == FT_ERROR_CORRUPT)
        error = verify_index(verify, &segment, whole);
    verify->next = whole ? segment.last + 1 : 0;
    memcpy(verify->chain, segment.chain, HASH_BYTES);
    free(segment.marks);
    return error;
}

/* --- checkpoints
 * ---------------------------------------------------------------------------------- */

static enum ft_error verify_checkpoint(struct verify *verify, uint64_t index)
{
    char path[DISK_PATH_BYTES];
    uint8_t chain[HASH_BYTES];
    uint8_t *file;
    struct slice state;
    checkpoint_file_path(path, index);
    enum ft_error error = checkpoint_file_load(verify->disk, verify->crypto, verify->key, index,
                                               chain, &file, &state);
    if (is_damage(error))
        tell(verify, path, 0, 0, "the checkpoint is damaged");
    if (error)
        return is_damage(error) ? FT_OK : error;
    free(file);
    /* Every segment it covers has its index file. */
    for (size_t i = 0; i < verify->names.segments_count; i++) {
        uint64_t first = verify->names.segments[i];
        bool there = first > index || first < verify->begin;
        for (size_t k = 0; k < verify->names.indexes_count && !there; k++)
            there = verify->names.indexes[k] == first;
        if (!there) {
            segment_path(path, first, "idx");
            tell(verify, path, 0, first, "the index file is missing");
        }
    }
    return FT_OK;
}

/* --- the held log --------------------------------------------------------------------------------
 */

struct held_telling {
    struct verify *verify;
    char path[DISK_PATH_BYTES];
};

static void tell_held(void *ctx, uint64_t offset, uint64_t number, const char *what)
{
    struct held_telling *telling = ctx;
    (void)number;
    tell(telling->verify, telling->path, offset, 0, what);
}

static enum ft_error verify_held(struct verify *verify)
{
    struct held_names names;
    enum ft_error error = held_names_list(verify->disk, &names);
    for (size_t i = 0; i < names.count && !error; i++) {
        struct held_telling telling = { .verify = verify };
        struct held_scan scan = {
            .crypto = verify->crypto, .key = verify->key, .on_rot = tell_held, .ctx = &telling
        };
        uint8_t *data;
        snprintf(telling.path, sizeof telling.path, "held-%020llu",
                 (unsigned long long)names.list[i]);
        error = held_file_load(verify->disk, names.list[i], &data, &scan.len);
        if (error == FT_ERROR_MISSING) {
            error = FT_OK; /* resolved and gone since it was listed */
            continue;
        }
        if (is_damage(error)) {
            tell(verify, telling.path, 0, 0, "the file is longer than a held log can be");
            error = FT_OK;
            continue;
        }
        if (error)
            continue;
        scan.data = data;
        held_scan(&scan);
        free(data);
    }
    return error;
}

/* The checkpoint before the log's first entry, when that is not entry 1: the chain begins with it. */
static enum ft_error verify_base(struct verify *verify)
{
    uint8_t *file;
    struct slice state;
    char path[DISK_PATH_BYTES];
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
        tell(verify, path, 0, verify->begin,
             "the checkpoint before the log's beginning is missing");
    verify->next = 0;
    return is_damage(error) ? FT_OK : error;
}

static enum ft_error verify_all(struct verify *verify, uint64_t *entries)
{
    enum ft_error error = begin_file_load(verify->disk, verify->crypto, &verify->begin);
    if (is_damage(error)) {
        tell(verify, "begin", 0, 0, "where the log begins cannot be read");
        verify->begin = 0;
    } else if (error) {
        return error;
    }
    error = names_list(verify->disk, &verify->names);
    if (error)
        return error;
    verify->next = verify->begin;
    error = verify_base(verify);
    if (error) {
        names_free(&verify->names);
        return error;
    }
    verify->window = malloc(SCAN_WINDOW_BYTES);
    error = verify->window ? verify_vote(verify) : FT_ERROR_LIMIT;
    for (size_t i = 0; i < verify->names.segments_count && !error; i++)
        if (verify->names.segments[i] >= verify->begin &&
            (verify->upto == UINT64_MAX || verify->names.segments[i] <= verify->upto))
            error = verify_segment(verify, verify->names.segments[i],
                                   i + 1 == verify->names.segments_count);
    for (size_t i = 0; i < verify->names.checkpoints_count && !error; i++)
        error = verify_checkpoint(verify, verify->names.checkpoints[i]);
    if (!error)
        error = verify_held(verify);
    *entries = verify->entries;
    names_free(&verify->names);
    free(verify->window);
    return error;
}

static enum ft_error load_key(struct verify *verify)
{
    struct identity_file identity;
    enum ft_error error = identity_file_load(verify->disk, verify->crypto, &identity);
    if (is_damage(error))
        tell(verify, "identity", 0, 0, "the identity is damaged or missing");
    if (!error)
        memcpy(verify->key, identity.cluster, IDENTITY_BYTES);
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
    enum ft_error error = load_key(&verify);
    if (!error)
        error = verify_all(&verify, entries);
    return is_damage(error) ? FT_OK : error;
}

enum ft_error store_verify_folder(const struct disk *disk, const struct crypto *crypto,
                                  void (*found)(void *ctx, const struct store_damage *), void *ctx,
                                  uint64_t *entries)
{
    struct verify verify = {
        .disk = disk, .crypto = crypto, .found = found, .ctx = ctx, .upto = UINT64_MAX
    };
    struct disk_file *lock;
    *entries = 0;
    enum ft_error error = disk->lock(disk->ctx, "lock", &lock);
    if (error)
        return error;
    error = load_key(&verify);
    if (!error)
        error = verify_all(&verify, entries);
    disk->close(disk->ctx, lock);
    return is_damage(error) ? FT_OK : error;
}
