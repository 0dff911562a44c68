/* data/N/begin: where the log begins, once that is above 1. And what it is understood by then, the base.
 * The record stands in it twice (record.c).
 *
 *    0  prologue [24]
 *   24  first u64
 *   32  check u64             SipHash of bytes 0..31 under a key of zeros */
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "store/internal.h"

enum { AT_FIRST = 24, AT_CHECK = 32, BEGIN_FILE_BYTES = 40 };

static const uint8_t no_key[DIGEST_KEY_BYTES];

enum ft_error begin_file_save(const struct disk *disk, const struct crypto *crypto, uint64_t first)
{
    uint8_t data[BEGIN_FILE_BYTES];
    file_prologue_write(data, FILE_BEGIN, crypto);
    bytes_put_u64(data + AT_FIRST, first);
    bytes_put_u64(data + AT_CHECK, crypto->digest(no_key, data, AT_CHECK));
    return file_replace_twice(disk, "begin.tmp", "begin", (struct slice) { data, sizeof data });
}

enum ft_error begin_file_remove(const struct disk *disk)
{
    enum ft_error error = disk->unlink(disk->ctx, "begin");
    if (error == FT_ERROR_MISSING)
        return FT_OK;
    return error ? error : disk->sync_dir(disk->ctx, "");
}

struct begin_proof {
    const struct crypto *crypto;
    uint64_t first;
};

static enum ft_error begin_prove(void *ctx, struct slice record)
{
    struct begin_proof *proof = ctx;
    enum ft_error error = file_prologue_check(record.data, record.len, FILE_BEGIN, proof->crypto);
    if (error)
        return error;
    if (record.len != BEGIN_FILE_BYTES || bytes_get_u64(record.data + AT_FIRST) == 0 ||
        bytes_get_u64(record.data + AT_CHECK) !=
            proof->crypto->digest(no_key, record.data, AT_CHECK))
        return FT_ERROR_CORRUPT;
    proof->first = bytes_get_u64(record.data + AT_FIRST);
    return FT_OK;
}

enum ft_error begin_file_load(const struct disk *disk, const struct crypto *crypto, uint64_t *first,
                              bool *whole)
{
    struct begin_proof proof = { .crypto = crypto };
    enum ft_error error =
        file_load_twice(disk, "begin", BEGIN_FILE_BYTES, begin_prove, &proof, whole);
    *first = error ? 1 : proof.first;
    return error == FT_ERROR_MISSING ? FT_OK : error;
}

enum ft_error store_base_read(struct store *store, struct store_base *base, uint8_t **file)
{
    *file = NULL;
    if (store->begin == 1)
        return FT_ERROR_MISSING;
    base->index = store->begin - 1;
    return checkpoint_file_load(store->disk, store->crypto, store->cluster, base->index,
                                base->chain, file, &base->state);
}

enum ft_error store_base_parse(const struct crypto *crypto, const uint8_t cluster[IDENTITY_BYTES],
                               uint64_t index, struct slice file, struct store_base *base)
{
    base->index = index;
    return checkpoint_file_parse(file.data, file.len, crypto, cluster, index, base->chain,
                                 &base->state);
}

enum ft_error store_base_write(struct store *store, const uint8_t cluster[IDENTITY_BYTES],
                               const struct store_base *base)
{
    CHECK(store->segments_count == 0);
    struct identity_file identity = { .segment_bytes = store->segment_bytes };
    memcpy(identity.identity, store->identity, IDENTITY_BYTES);
    memcpy(identity.cluster, cluster, IDENTITY_BYTES);
    enum ft_error error = identity_file_save(store->disk, store->crypto, &identity);
    memcpy(store->cluster, cluster, IDENTITY_BYTES);
    if (!error)
        error = checkpoint_file_save(store, base);
    return error ? error : begin_file_save(store->disk, store->crypto, base->index + 1);
}
