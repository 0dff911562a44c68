/* A segment's entries, from hostile bytes. The first byte chooses real or weak cryptography and
 * whether a later segment exists; the rest is the file behind its header. Whatever comes: what is
 * taken for entries is consecutive and lies inside the file, and any damage has its row. */
#include <stdlib.h>

#include "cmd/crypto_sodium.h"
#include "core/check.h"
#include "store/scan.h"
#include "tests/fuzz/fuzz_disk.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t window[SCAN_WINDOW_BYTES];
static const uint8_t key[DIGEST_KEY_BYTES];

static void check_entries(const uint8_t *file, const struct scan *scan)
{
    uint64_t offset = SEGMENT_HEADER_BYTES;
    uint64_t next = scan->segment->first;
    uint64_t entries = 0;
    for (; offset < scan->segment->end; entries++) {
        struct entry entry;
        CHECK(entry_parse(&entry, scan->crypto, key, file + offset,
                          (size_t)(scan->size - offset)) == ENTRY_WHOLE);
        CHECK(entry.first == next);
        next += entry.count;
        offset += entry.size;
    }
    CHECK(offset == scan->segment->end);
    CHECK(next == scan->segment->last + 1);
    CHECK(entries == scan->entries);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1 || !crypto_start())
        return 0;
    size_t len = SEGMENT_HEADER_BYTES + size - 1;
    uint8_t *file = calloc(1, len);
    CHECK(file != NULL);
    memcpy(file + SEGMENT_HEADER_BYTES, data + 1, size - 1);
    struct disk_file input = { file, len };
    struct disk disk = fuzz_disk(&input);
    struct segment segment = { .first = 1 };
    struct scan scan = { .disk = &disk,
                         .crypto = data[0] & 1 ? &weak_crypto : &crypto_sodium,
                         .key = key,
                         .file = &input,
                         .size = len,
                         .last_segment = (data[0] & 2) == 0,
                         .stop_before = UINT64_MAX,
                         .segment = &segment,
                         .window = window };
    CHECK(scan_segment(&scan) == FT_OK);
    const struct scan_damage *damage = &scan.damage;
    CHECK(recover_decide(damage->place, damage->part, damage->zeros) != NULL);
    if (damage->place != DAMAGE_NOWHERE) {
        CHECK(damage->offset == segment.end);
        CHECK(damage->used >= damage->offset && damage->used <= len);
    }
    check_entries(file, &scan);
    free(segment.marks);
    free(file);
    return 0;
}
