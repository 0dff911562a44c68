/* What other nodes copy from here: entries by their index, the files that go with them by bytes.
 * On the reading side. */
#include <string.h>

#include "core/check.h"
#include "store/internal.h"

static enum ft_error read_file(struct store *store, const char *path,
                               const struct store_piece *piece, size_t want, uint8_t *out,
                               size_t *len, uint64_t *size)
{
    const struct disk *disk = store->disk;
    struct disk_file *file;
    enum ft_error error = disk->open(disk->ctx, path, DISK_READ, &file);
    if (error)
        return error == FT_ERROR_MISSING ? FT_OK : error;
    error = disk->size(disk->ctx, file, size);
    if (!error && piece->offset < *size)
        error = disk->read(disk->ctx, file, piece->offset, out, want, len);
    disk->close(disk->ctx, file);
    return error;
}

enum ft_error store_read_piece(struct store *store, const struct store_piece *piece, size_t want,
                               uint8_t *out, size_t *len, uint64_t *size)
{
    char path[DISK_PATH_BYTES];
    struct segment segment;
    enum ft_error error;
    CHECK(want > 0);
    CHECK(want <= LIMIT_ENTRY_BYTES);
    *len = 0;
    *size = 0;
    switch (piece->kind) {
    case STORE_PIECE_ENTRIES:
        error = store_read_entries(store, piece->index, out, want, len);
        if (!error && *len == 0) /* the first one may be longer than that */
            error = store_read_entries(store, piece->index, out, LIMIT_ENTRY_BYTES, len);
        return error;
    case STORE_PIECE_INDEX:
        if (!reading_segment(store, piece->index, &segment, NULL) || !segment.indexed ||
            segment.first != piece->index)
            return FT_OK;
        segment_path(path, piece->index, "idx");
        return read_file(store, path, piece, want, out, len, size);
    case STORE_PIECE_CHECKPOINT:
        checkpoint_file_path(path, piece->index);
        return read_file(store, path, piece, want, out, len, size);
    }
    return FT_OK;
}
