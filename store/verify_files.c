/* The proofs of store_verify for everything that is not the log itself. */
#include "store/verify.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/held.h"
#include "store/index_format.h"

/* --- identity, begin, copy ----------------------------------------------------------------------
 */

/* The cluster's identity is the key to all that follows, and a segment's header says it, too. */
enum ft_error verify_identity(struct verify *verify, bool *keyed)
{
    struct identity_file identity;
    enum ft_error error = identity_file_load(verify->disk, verify->crypto, &identity);
    if (verify_is_damage(error)) {
        verify_tell(verify, "identity", 0, 0, "the identity is damaged or missing");
        error = segments_ask(verify->disk, verify->crypto, &verify->names, &identity);
    }
    *keyed = !error;
    if (!error)
        memcpy(verify->key, identity.cluster, IDENTITY_BYTES);
    return verify_is_damage(error) ? FT_OK : error;
}

enum ft_error verify_begin(struct verify *verify)
{
    bool whole;
    enum ft_error error = begin_file_load(verify->disk, verify->crypto, &verify->begin, &whole);
    if (!error && !whole)
        verify_tell(verify, "begin", 0, 0, "a copy of where the log begins is damaged");
    if (!verify_is_damage(error))
        return error;
    verify_tell(verify, "begin", 0, 0, "where the log begins cannot be read");
    verify->begin = 0;
    return FT_OK;
}

/* Its parts are proven by whoever goes on with it; until then they are not the node's. */
enum ft_error verify_copy(struct verify *verify)
{
    struct copy_file copy;
    bool whole;
    enum ft_error error = copy_file_load(verify->disk, verify->crypto, verify->key, &copy, &whole);
    free(copy.firsts);
    if (!error && !whole)
        verify_tell(verify, "copy", 0, 0, "a copy of what is being copied is damaged");
    if (error == FT_ERROR_MISSING)
        return FT_OK;
    if (verify_is_damage(error))
        verify_tell(verify, "copy", 0, 0, "what is being copied cannot be read");
    return verify_is_damage(error) ? FT_OK : error;
}

enum ft_error verify_scrub(struct verify *verify)
{
    enum ft_error error = scrub_prove(verify->disk, verify->crypto, verify->key);
    if (error == FT_ERROR_MISSING)
        return FT_OK;
    if (verify_is_damage(error))
        verify_tell(verify, "scrub", 0, 0, "how far what was deleted is erased cannot be read");
    return verify_is_damage(error) ? FT_OK : error;
}

/* --- vote ---------------------------------------------------------------------------------------
 */

enum ft_error verify_vote(struct verify *verify)
{
    uint8_t *data;
    size_t len;
    enum ft_error error = file_load(verify->disk, "vote", 2 * VOTE_FILE_BYTES, &data, &len);
    if (verify_is_damage(error))
        verify_tell(verify, "vote", 0, 0, "the file cannot be read");
    if (error)
        return verify_is_damage(error) ? FT_OK : error;
    if (len != VOTE_FILE_BYTES)
        verify_tell(verify, "vote", len, 0, "the file has the wrong size");
    for (size_t i = 0; i < VOTE_COPIES; i++) {
        struct vote_record record;
        const uint8_t *at = data + i * VOTE_SECTOR_BYTES;
        if (len < (i + 1) * VOTE_SECTOR_BYTES ||
            vote_file_parse(at, verify->crypto, &record) != VOTE_VALID ||
            record.generation % VOTE_PAIRS != i / 2)
            verify_tell(verify, "vote", i * VOTE_SECTOR_BYTES, 0, "a copy of the vote is damaged");
        else if (!bytes_are_zero(at + VOTE_RECORD_BYTES, VOTE_SECTOR_BYTES - VOTE_RECORD_BYTES))
            verify_tell(verify, "vote", i * VOTE_SECTOR_BYTES + VOTE_RECORD_BYTES, 0,
                        "bytes that must be zero are not");
    }
    free(data);
    return FT_OK;
}

/* --- index files --------------------------------------------------------------------------------
 */

static enum ft_error verify_blocks(struct verify *verify, struct disk_file *file, const char *path,
                                   uint64_t first, bool *good)
{
    const struct disk *disk = verify->disk;
    uint64_t size;
    enum ft_error error = disk->size(disk->ctx, file, &size);
    *good = true;
    for (uint64_t at = 0; at < size && !error; at += INDEX_BLOCK_BYTES) {
        size_t got;
        error = disk_read_around(disk, file, at, verify->window, INDEX_BLOCK_BYTES, &got);
        if (error ||
            (got == INDEX_BLOCK_BYTES &&
             index_block_good(verify->window, at / INDEX_BLOCK_BYTES, verify->crypto, verify->key)))
            continue;
        verify_tell(verify, path, at, first, "a block of the index file is damaged");
        *good = false;
    }
    return error;
}

enum ft_error verify_index(struct verify *verify, const struct segment *segment, bool whole)
{
    bool there = false;
    for (size_t i = 0; i < verify->names.indexes_count; i++)
        there |= verify->names.indexes[i] == segment->first;
    if (!there)
        return FT_OK; /* that one should be there is known by the checkpoint */
    char path[DISK_PATH_BYTES];
    struct disk_file *file;
    segment_path(path, segment->first, "idx");
    enum ft_error error = verify->disk->open(verify->disk->ctx, path, DISK_READ, &file);
    if (error) /* MISSING: dropped since it was listed */
        return error == FT_ERROR_MISSING ? FT_OK : error;
    bool good;
    verify->disk->forget(verify->disk->ctx, file);
    error = verify_blocks(verify, file, path, segment->first, &good);
    verify->disk->close(verify->disk->ctx, file);
    if (error || !good)
        return error;
    struct index_header header;
    error = index_file_header_load(verify->disk, verify->crypto, verify->key, segment->first,
                                   &header, false);
    if (verify_is_damage(error)) {
        verify_tell(verify, path, 0, segment->first, "the index file has the wrong size");
        return FT_OK;
    }
    if (!error && whole &&
        (header.last != segment->last || header.end != segment->end ||
         memcmp(header.chain, segment->chain, HASH_BYTES) != 0))
        verify_tell(verify, path, 0, segment->first, "the index file is of another segment");
    return error;
}

/* --- checkpoints
 * ---------------------------------------------------------------------------------- */

enum ft_error verify_checkpoint(struct verify *verify, uint64_t index)
{
    char path[DISK_PATH_BYTES];
    uint8_t chain[HASH_BYTES];
    uint8_t *file;
    struct slice state;
    checkpoint_file_path(path, index);
    enum ft_error error = checkpoint_file_load(verify->disk, verify->crypto, verify->key, index,
                                               chain, &file, &state);
    if (verify_is_damage(error))
        verify_tell(verify, path, 0, 0, "the checkpoint is damaged");
    if (error)
        return verify_is_damage(error) ? FT_OK : error;
    free(file);
    /* Every segment it covers has its index file. */
    for (size_t i = 0; i < verify->names.segments_count; i++) {
        uint64_t first = verify->names.segments[i];
        bool there = first > index || first < verify->begin;
        for (size_t k = 0; k < verify->names.indexes_count && !there; k++)
            there = verify->names.indexes[k] == first;
        if (!there) {
            segment_path(path, first, "idx");
            verify_tell(verify, path, 0, first, "the index file is missing");
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
    verify_tell(telling->verify, telling->path, offset, 0, what);
}

enum ft_error verify_held(struct verify *verify)
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
        if (verify_is_damage(error)) {
            verify_tell(verify, telling.path, 0, 0, "the file is longer than a held log can be");
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
