/* data/N/begin: where the log begins, once that is above 1.
 *
 *    0  prologue [24]
 *   24  first u64
 *   32  check u64             SipHash of bytes 0..31 under a key of zeros */
#include <stdlib.h>

#include "store/internal.h"

enum { AT_FIRST = 24, AT_CHECK = 32, BEGIN_FILE_BYTES = 40 };

static const uint8_t no_key[DIGEST_KEY_BYTES];

enum ft_error begin_file_save(const struct disk *disk, const struct crypto *crypto, uint64_t first)
{
    uint8_t data[BEGIN_FILE_BYTES];
    file_prologue_write(data, FILE_BEGIN, crypto);
    bytes_put_u64(data + AT_FIRST, first);
    bytes_put_u64(data + AT_CHECK, crypto->digest(no_key, data, AT_CHECK));
    return file_replace(disk, "", "begin.tmp", "begin", &(struct slice) { data, sizeof data }, 1);
}

enum ft_error begin_file_load(const struct disk *disk, const struct crypto *crypto, uint64_t *first)
{
    uint8_t *data;
    size_t len;
    *first = 1;
    enum ft_error error = file_load(disk, "begin", INDEX_BLOCK_BYTES, &data, &len);
    if (error)
        return error == FT_ERROR_MISSING ? FT_OK : error;
    error = file_prologue_check(data, len, FILE_BEGIN, crypto);
    if (!error && (len != BEGIN_FILE_BYTES || bytes_get_u64(data + AT_FIRST) == 0 ||
                   bytes_get_u64(data + AT_CHECK) != crypto->digest(no_key, data, AT_CHECK)))
        error = FT_ERROR_CORRUPT;
    if (!error)
        *first = bytes_get_u64(data + AT_FIRST);
    free(data);
    return error;
}
