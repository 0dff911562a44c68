/* data/N/identity: who this node is, and which cluster it belongs to. It is made last when a blank
 * folder is set up, so that whoever finds it finds the rest too; afterwards it is replaced once,
 * when the node joins its cluster.
 *
 *    0  prologue [24]
 *   24  identity [16]
 *   40  cluster [16]          zeros: blank
 *   56  segment_bytes u64
 *   64  check u64             SipHash of bytes 0..63 under a key of zeros */
#include <stdlib.h>
#include <string.h>

#include "store/internal.h"

enum {
    AT_IDENTITY = 24,
    AT_CLUSTER = 40,
    AT_SEGMENT = 56,
    AT_CHECK = 64,
    IDENTITY_FILE_BYTES = 72
};

static const uint8_t no_key[DIGEST_KEY_BYTES];

enum ft_error identity_file_save(const struct disk *disk, const struct crypto *crypto,
                                 const struct identity_file *file)
{
    uint8_t data[IDENTITY_FILE_BYTES];
    file_prologue_write(data, FILE_IDENTITY, crypto);
    memcpy(data + AT_IDENTITY, file->identity, IDENTITY_BYTES);
    memcpy(data + AT_CLUSTER, file->cluster, IDENTITY_BYTES);
    bytes_put_u64(data + AT_SEGMENT, file->segment_bytes);
    bytes_put_u64(data + AT_CHECK, crypto->digest(no_key, data, AT_CHECK));
    return file_replace(disk, "", "identity.tmp", "identity", &(struct slice) { data, sizeof data },
                        1);
}

enum ft_error identity_file_load(const struct disk *disk, const struct crypto *crypto,
                                 struct identity_file *file)
{
    uint8_t *data;
    size_t len;
    enum ft_error error = file_load(disk, "identity", INDEX_BLOCK_BYTES, &data, &len);
    if (error)
        return error;
    error = file_prologue_check(data, len, FILE_IDENTITY, crypto);
    if (error == FT_ERROR_FOREIGN && file_prologue_rotten(data, crypto))
        error = FT_ERROR_CORRUPT;
    if (!error && (len != IDENTITY_FILE_BYTES ||
                   bytes_get_u64(data + AT_CHECK) != crypto->digest(no_key, data, AT_CHECK)))
        error = FT_ERROR_CORRUPT;
    if (!error) {
        memcpy(file->identity, data + AT_IDENTITY, IDENTITY_BYTES);
        memcpy(file->cluster, data + AT_CLUSTER, IDENTITY_BYTES);
        file->segment_bytes = bytes_get_u64(data + AT_SEGMENT);
    }
    free(data);
    return error;
}
