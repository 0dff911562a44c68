/* data/N/copy: what is being copied, and whether it is to be put in place. Its parts lie beside the
 * files that they will become, under names of their own. The record stands in it twice (record.c).
 *
 *    0  prologue [24]
 *   24  installing u64        0 or 1
 *   32  begin, start, end, segment_bytes, count u64
 *   72  first u64             count times, rising: installing only
 *       check u64             SipHash of all before under the cluster's identity */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "store/internal.h"

enum { AT_FIELDS = 24, AT_FIRSTS = 72, FIRSTS_MAX = 1 << 20 };

void copy_segment_path(char path[DISK_PATH_BYTES], uint64_t first, const char *suffix)
{
    snprintf(path, DISK_PATH_BYTES, "log/copy-%020llu.%s", (unsigned long long)first, suffix);
}

void copy_checkpoint_path(char path[DISK_PATH_BYTES], uint64_t index)
{
    snprintf(path, DISK_PATH_BYTES, "checkpoint/copy-%020llu", (unsigned long long)index);
}

static bool makes_sense(const struct copy_file *file)
{
    if (file->start == 0 || file->end < file->start || file->segment_bytes == 0 ||
        file->segment_bytes > UINT32_MAX / 2 || (file->begin && file->begin != file->start))
        return false;
    for (size_t i = 0; i < file->count; i++)
        if (file->firsts[i] > file->end ||
            (i == 0 ? file->firsts[i] != file->start : file->firsts[i] <= file->firsts[i - 1]))
            return false;
    return file->installing == (file->count > 0);
}

enum ft_error copy_file_save(const struct disk *disk, const struct crypto *crypto,
                             const uint8_t key[DIGEST_KEY_BYTES], const struct copy_file *file)
{
    size_t len = AT_FIRSTS + file->count * 8;
    CHECK(file->count <= FIRSTS_MAX);
    CHECK(makes_sense(file));
    uint8_t *data = malloc(len + 8);
    if (!data)
        return FT_ERROR_LIMIT;
    const uint64_t fields[] = { file->installing, file->begin,         file->start,
                                file->end,        file->segment_bytes, file->count };
    file_prologue_write(data, FILE_COPY, crypto);
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++)
        bytes_put_u64(data + AT_FIELDS + i * 8, fields[i]);
    for (size_t i = 0; i < file->count; i++)
        bytes_put_u64(data + AT_FIRSTS + i * 8, file->firsts[i]);
    bytes_put_u64(data + len, crypto->digest(key, data, len));
    enum ft_error error =
        file_replace_twice(disk, "copy.tmp", "copy", (struct slice) { data, len + 8 });
    free(data);
    return error;
}

struct copy_proof {
    const struct crypto *crypto;
    const uint8_t *key;
    struct copy_file *file;
};

static enum ft_error copy_prove(void *ctx, struct slice record)
{
    struct copy_proof *proof = ctx;
    struct copy_file *file = proof->file;
    const uint8_t *data = record.data;
    size_t len = record.len;
    enum ft_error error = file_prologue_check(data, len, FILE_COPY, proof->crypto);
    if (error)
        return error;
    if (len < AT_FIRSTS + 8 || len % 8 != 0 ||
        bytes_get_u64(data + len - 8) != proof->crypto->digest(proof->key, data, len - 8) ||
        bytes_get_u64(data + AT_FIRSTS - 8) != (len - 8 - AT_FIRSTS) / 8)
        return FT_ERROR_CORRUPT;
    file->installing = bytes_get_u64(data + AT_FIELDS) == 1;
    file->begin = bytes_get_u64(data + AT_FIELDS + 8);
    file->start = bytes_get_u64(data + AT_FIELDS + 16);
    file->end = bytes_get_u64(data + AT_FIELDS + 24);
    file->segment_bytes = bytes_get_u64(data + AT_FIELDS + 32);
    file->count = (len - 8 - AT_FIRSTS) / 8;
    file->firsts = file->count ? malloc(file->count * sizeof *file->firsts) : NULL;
    if (file->count && !file->firsts)
        error = FT_ERROR_LIMIT;
    for (size_t i = 0; i < file->count && !error; i++)
        file->firsts[i] = bytes_get_u64(data + AT_FIRSTS + i * 8);
    if (!error && !makes_sense(file))
        error = FT_ERROR_CORRUPT;
    if (error) {
        free(file->firsts);
        *file = (struct copy_file) { 0 };
    }
    return error;
}

enum ft_error copy_file_load(const struct disk *disk, const struct crypto *crypto,
                             const uint8_t key[DIGEST_KEY_BYTES], struct copy_file *file,
                             bool *whole)
{
    struct copy_proof proof = { crypto, key, file };
    *file = (struct copy_file) { 0 };
    return file_load_twice(disk, "copy", AT_FIRSTS + 8 * (size_t)FIRSTS_MAX, copy_prove, &proof,
                           whole);
}

enum ft_error copy_remove_all(const struct disk *disk)
{
    struct store_names names;
    enum ft_error error = disk->unlink(disk->ctx, "copy");
    if (!error)
        error = disk->sync_dir(disk->ctx, "");
    if (error && error != FT_ERROR_MISSING)
        return error;
    error = names_list(disk, &names);
    if (error)
        return error;
    for (size_t i = 0; i < names.copies_count && !error; i++)
        error = disk->unlink(disk->ctx, names.copies[i]);
    names_free(&names);
    return error;
}
