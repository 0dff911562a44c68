/* A disk of one file that is the fuzzer's input, read only; and cryptography whose every answer is
 * zeros, so that what lies behind the checksums is reached too. */
#ifndef FTCHAT_TESTS_FUZZ_DISK_H
#define FTCHAT_TESTS_FUZZ_DISK_H

#include <string.h>

#include "core/crypto.h"
#include "store/disk.h"

struct disk_file {
    const uint8_t *data;
    size_t len;
};

static inline enum ft_error fuzz_open(void *ctx, const char *path, enum disk_mode mode,
                                      struct disk_file **file)
{
    (void)path;
    *file = ctx;
    return mode == DISK_READ ? FT_OK : FT_ERROR_DENIED;
}

static inline void fuzz_nothing(void *ctx, struct disk_file *file)
{
    (void)ctx;
    (void)file;
}

static inline enum ft_error fuzz_read(void *ctx, struct disk_file *file, uint64_t offset,
                                      void *data, size_t len, size_t *got)
{
    (void)ctx;
    *got = 0;
    if (offset >= file->len)
        return FT_OK;
    *got = len < file->len - offset ? len : (size_t)(file->len - offset);
    memcpy(data, file->data + offset, *got);
    return FT_OK;
}

static inline enum ft_error fuzz_size(void *ctx, struct disk_file *file, uint64_t *size)
{
    (void)ctx;
    *size = file->len;
    return FT_OK;
}

static inline struct disk fuzz_disk(struct disk_file *file)
{
    return (struct disk) { .ctx = file,
                           .open = fuzz_open,
                           .close = fuzz_nothing,
                           .read = fuzz_read,
                           .size = fuzz_size,
                           .forget = fuzz_nothing };
}

static inline void weak_hash(uint8_t out[HASH_BYTES], const void *key, size_t key_len,
                             const void *data, size_t len)
{
    (void)key;
    (void)key_len;
    (void)data;
    (void)len;
    memset(out, 0, HASH_BYTES);
}

static inline uint64_t weak_digest(const uint8_t key[DIGEST_KEY_BYTES], const void *data,
                                   size_t len)
{
    (void)key;
    (void)data;
    (void)len;
    return 0;
}

static const struct crypto weak_crypto = { .hash = weak_hash, .digest = weak_digest };

#endif
