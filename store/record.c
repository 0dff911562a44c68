/* What all files have in common: the prologue, and being replaced or loaded whole. */
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "store/internal.h"

static const char magics[][8] = {
    [FILE_IDENTITY] = { 'f', 't', 'c', 'h', 'a', 't', 'i', '\n' },
    [FILE_VOTE] = { 'f', 't', 'c', 'h', 'a', 't', 'v', '\n' },
    [FILE_SEGMENT] = { 'f', 't', 'c', 'h', 'a', 't', 's', '\n' },
    [FILE_INDEX] = { 'f', 't', 'c', 'h', 'a', 't', 'x', '\n' },
    [FILE_CHECKPOINT] = { 'f', 't', 'c', 'h', 'a', 't', 'c', '\n' },
    [FILE_HELD] = { 'f', 't', 'c', 'h', 'a', 't', 'h', '\n' },
    [FILE_BEGIN] = { 'f', 't', 'c', 'h', 'a', 't', 'b', '\n' },
    [FILE_COPY] = { 'f', 't', 'c', 'h', 'a', 't', 'y', '\n' },
    [FILE_SCRUB] = { 'f', 't', 'c', 'h', 'a', 't', 'e', '\n' },
};

static const uint8_t no_key[DIGEST_KEY_BYTES];

void file_prologue_write(uint8_t *out, enum file_kind kind, const struct crypto *crypto)
{
    memcpy(out, magics[kind], sizeof magics[kind]);
    bytes_put_u32(out + 8, STORE_VERSION);
    bytes_put_u32(out + 12, 0);
    bytes_put_u64(out + 16, crypto->digest(no_key, out, 16));
}

enum ft_error file_prologue_check(const uint8_t *data, size_t len, enum file_kind kind,
                                  const struct crypto *crypto)
{
    if (len < PROLOGUE_BYTES)
        return FT_ERROR_CORRUPT;
    if (crypto->digest(no_key, data, 16) != bytes_get_u64(data + 16)) {
        /* A file of ours with a flipped bit looks foreign too: what is far from our magic is. */
        size_t same = 0;
        for (size_t i = 0; i < sizeof magics[kind]; i++)
            same += data[i] == (uint8_t)magics[kind][i];
        return same + 1 >= sizeof magics[kind] ? FT_ERROR_CORRUPT : FT_ERROR_FOREIGN;
    }
    if (memcmp(data, magics[kind], sizeof magics[kind]) != 0)
        return FT_ERROR_FOREIGN;
    if (bytes_get_u32(data + 8) > STORE_VERSION)
        return FT_ERROR_VERSION;
    return bytes_get_u32(data + 8) == STORE_VERSION ? FT_OK : FT_ERROR_CORRUPT;
}

const char *file_advice(enum ft_error error)
{
    switch (error) {
    case FT_ERROR_VERSION:
        return "was written by a newer version (run that version, or a newer one)";
    case FT_ERROR_FOREIGN:
        return "is not a file of this node's (look at data_dir; nothing was changed)";
    case FT_ERROR_CORRUPT:
        return "is damaged (put this node's folder aside and start it blank: it joins again)";
    case FT_ERROR_MISSING:
        return "is missing (restore it, or put this node's folder aside and start it blank)";
    case FT_ERROR_SPACE:
        return "cannot be written: the disk is full (make room and start again)";
    case FT_ERROR_DENIED:
        return "cannot be opened: permission denied (start as the owner of data_dir)";
    case FT_ERROR_LOCKED:
        return "is held by another process (is this node running already?)";
    case FT_ERROR_LIMIT:
        return "cannot be read: out of memory or of file descriptors";
    default:
        return "cannot be read or written (look at the kernel's log for the disk)";
    }
}

enum ft_error file_replace(const struct disk *disk, const char *folder, const char *temporary,
                           const char *path, const struct slice *parts, size_t parts_count)
{
    struct disk_file *file;
    enum ft_error error = disk->unlink(disk->ctx, temporary);
    if (error && error != FT_ERROR_MISSING)
        return error;
    error = disk->open(disk->ctx, temporary, DISK_CREATE, &file);
    if (error)
        return error;
    uint64_t offset = 0;
    for (size_t i = 0; i < parts_count && !error; i++) {
        if (parts[i].len)
            error = disk->write(disk->ctx, file, offset, parts[i].data, parts[i].len);
        offset += parts[i].len;
    }
    if (!error)
        error = disk->sync(disk->ctx, file);
    disk->close(disk->ctx, file);
    if (!error)
        error = disk->rename(disk->ctx, temporary, path);
    if (!error)
        return disk->sync_dir(disk->ctx, folder);
    (void)disk->unlink(disk->ctx, temporary);
    return error;
}

enum ft_error file_load(const struct disk *disk, const char *path, size_t limit, uint8_t **data,
                        size_t *len)
{
    struct disk_file *file;
    *data = NULL;
    *len = 0;
    enum ft_error error = disk->open(disk->ctx, path, DISK_READ, &file);
    if (error)
        return error;
    uint64_t size = 0;
    disk->forget(disk->ctx, file);
    error = disk->size(disk->ctx, file, &size);
    if (!error && size > limit)
        error = FT_ERROR_CORRUPT;
    if (!error) {
        *data = malloc((size_t)size + 1);
        if (!*data)
            error = FT_ERROR_LIMIT;
    }
    if (!error)
        error = disk_read_around(disk, file, 0, *data, (size_t)size, len);
    disk->close(disk->ctx, file);
    if (error) {
        free(*data);
        *data = NULL;
    }
    return error;
}

/* --- small files that nothing else could make good ----------------------------------------------
 */

enum ft_error file_replace_twice(const struct disk *disk, const char *temporary, const char *path,
                                 struct slice record)
{
    const struct slice gap = { disk_zeros,
                               (DISK_PAGE_BYTES - record.len % DISK_PAGE_BYTES) % DISK_PAGE_BYTES };
    return file_replace(disk, "", temporary, path, (struct slice[]) { record, gap, record }, 3);
}

/* Where the second copy begins is a function of the file's size, whatever became of the first. */
static enum ft_error prove_twice(const uint8_t *data, size_t len, file_prove *prove, void *ctx,
                                 bool *whole)
{
    size_t pages = (len + DISK_PAGE_BYTES - 1) / DISK_PAGE_BYTES;
    size_t at = (pages + 1) / 2 * DISK_PAGE_BYTES;
    *whole = true;
    if (at >= len)
        return prove(ctx, (struct slice) { data, len }); /* as older versions wrote it */
    size_t size = len - at;
    enum ft_error error = prove(ctx, (struct slice) { data, size });
    *whole = !error && memcmp(data, data + at, size) == 0;
    for (size_t i = size; i < at; i++)
        *whole &= data[i] == 0;
    if (error && prove(ctx, (struct slice) { data + at, size }) == FT_OK)
        error = FT_OK;
    return error;
}

enum ft_error file_load_twice(const struct disk *disk, const char *path, size_t limit,
                              file_prove *prove, void *ctx, bool *whole)
{
    uint8_t *data;
    size_t len;
    *whole = true;
    enum ft_error error = file_load(disk, path, 2 * limit + DISK_PAGE_BYTES, &data, &len);
    if (error)
        return error;
    error = prove_twice(data, len, prove, ctx, whole);
    free(data);
    return error;
}

bool file_prologue_rotten(const uint8_t *data, const struct crypto *crypto)
{
    return crypto->digest(no_key, data, 16) != bytes_get_u64(data + 16);
}

uint8_t disk_zeros[DISK_ZEROS];

enum ft_error disk_read_around(const struct disk *disk, struct disk_file *file, uint64_t offset,
                               uint8_t *data, size_t len, size_t *got)
{
    enum ft_error error = disk->read(disk->ctx, file, offset, data, len, got);
    if (error != FT_ERROR_IO)
        return error;
    uint64_t size;
    error = disk->size(disk->ctx, file, &size);
    if (error)
        return error;
    *got = offset >= size ? 0 : len < size - offset ? len : (size_t)(size - offset);
    for (size_t at = 0; at < *got;) {
        size_t part = DISK_PAGE_BYTES - (size_t)((offset + at) % DISK_PAGE_BYTES);
        size_t read;
        if (part > *got - at)
            part = *got - at;
        error = disk->read(disk->ctx, file, offset + at, data + at, part, &read);
        if (error == FT_ERROR_IO || (!error && read < part))
            memset(data + at, 0xa5, part);
        else if (error)
            return error;
        at += part;
    }
    return FT_OK;
}

enum ft_error disk_write_around(const struct disk *disk, struct disk_file *file, uint64_t offset,
                                const uint8_t *data, size_t len)
{
    uint64_t size;
    size_t got;
    enum ft_error error = disk->write(disk->ctx, file, offset, data, len);
    if (error != FT_ERROR_IO)
        return error;
    error = disk->size(disk->ctx, file, &size);
    uint64_t from = offset - offset % DISK_PAGE_BYTES;
    uint64_t to = (offset + len + DISK_PAGE_BYTES - 1) / DISK_PAGE_BYTES * DISK_PAGE_BYTES;
    if (to > size)
        to = size > offset + len ? size : offset + len;
    uint8_t *pages = error ? NULL : calloc(1, (size_t)(to - from));
    if (!pages)
        return error ? error : FT_ERROR_LIMIT;
    error = disk_read_around(disk, file, from, pages, (size_t)(to - from), &got);
    memcpy(pages + (offset - from), data, len);
    if (!error)
        error = disk->write(disk->ctx, file, from, pages, (size_t)(to - from));
    free(pages);
    return error;
}
