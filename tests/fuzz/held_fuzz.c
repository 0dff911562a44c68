/* The held log's reader: never out of bounds, nothing given that is not proven, numbers only grow. First byte: flags; the
 * rest is the file. With flag 1 every checksum is 0, so that a fuzzer gets past them. */
#include <stdlib.h>

#include "cmd/crypto_sodium.h"
#include "store/held.h"

static const uint8_t key[IDENTITY_BYTES] = { 1, 2, 3 };

static uint64_t zero_digest(const uint8_t *digest_key, const void *data, size_t len)
{
    (void)digest_key;
    (void)data;
    (void)len;
    return 0;
}

struct seen {
    const struct held_scan *scan;
    uint64_t last;
};

static void on_record(void *ctx, uint64_t number, struct slice body)
{
    struct seen *seen = ctx;
    const struct held_scan *scan = seen->scan;
    CHECK(number > seen->last);
    seen->last = number;
    CHECK(body.len == 0 || (body.data >= scan->data && body.len <= scan->len &&
                            body.data + body.len <= scan->data + scan->len));
    (void)scan->crypto->digest(key, body.data, body.len); /* reads all of it */
}

static void on_rot(void *ctx, uint64_t offset, uint64_t number, const char *what)
{
    const struct seen *seen = ctx;
    (void)number;
    CHECK(offset <= seen->scan->len);
    CHECK(what[0] != '\0');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1 || !crypto_start())
        return 0;
    struct crypto weak = crypto_sodium;
    weak.digest = zero_digest;
    /* Memory of its own, so that a byte too far is seen. */
    uint8_t *file = malloc(size);
    CHECK(file != NULL);
    memcpy(file, data + 1, size - 1);
    struct held_scan scan = { .crypto = data[0] & 1 ? &weak : &crypto_sodium,
                              .key = key,
                              .data = file,
                              .len = size - 1,
                              .on_record = on_record,
                              .on_rot = on_rot };
    struct seen seen = { .scan = &scan };
    scan.ctx = &seen;
    held_scan(&scan);
    CHECK(scan.torn_bytes <= scan.len);
    CHECK(seen.last <= scan.last);
    free(file);
    return 0;
}
