/* The store's small files, from hostile bytes: checkpoint, vote, segment header, index file. The
 * first byte chooses which, and real or weak cryptography. */
#include <stdlib.h>

#include "cmd/crypto_sodium.h"
#include "core/check.h"
#include "store/index_format.h"
#include "tests/fuzz/fuzz_disk.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const uint8_t key[DIGEST_KEY_BYTES];

static void try_checkpoint(const uint8_t *data, size_t len, const struct crypto *crypto)
{
    uint8_t chain[HASH_BYTES];
    struct slice state;
    if (checkpoint_file_parse(data, len, crypto, key, 1, chain, &state) != FT_OK)
        return;
    CHECK(state.data > data);
    CHECK(state.data + state.len == data + len);
}

static void try_vote(const uint8_t *data, size_t len, const struct crypto *crypto)
{
    struct vote_record record;
    if (len >= VOTE_RECORD_BYTES && vote_file_parse(data, crypto, &record) == VOTE_VALID)
        CHECK(record.generation > 0);
}

static void try_header(const uint8_t *data, size_t len, const struct crypto *crypto)
{
    struct segment_header header;
    if (len >= SEGMENT_HEADER_BYTES)
        (void)(segment_header_parse(data, crypto, &header) == FT_OK);
}

/* Every lookup that a good first block allows. */
static void try_index(const uint8_t *data, size_t len, const struct crypto *crypto)
{
    struct disk_file input = { data, len };
    struct disk disk = fuzz_disk(&input);
    struct index_header header;
    if (index_file_header_load(&disk, crypto, key, 1, &header, true) != FT_OK)
        return;
    struct store *store = calloc(1, sizeof *store);
    CHECK(store != NULL);
    store->disk = &disk;
    store->crypto = crypto;
    struct segment segment = { .id = 1, .first = 1, .indexed = true };
    struct index_file *index;
    struct index_room room;
    struct posting posting;
    uint64_t offset;
    CHECK(index_file_open(store, &segment, &index) == FT_OK);
    (void)(index_file_mark_before(store, index, header.last, &offset) == FT_OK);
    for (uint32_t number = 0; number < 8; number++)
        if (index_file_room(store, index, number, &room) == FT_OK && room.count)
            (void)(index_file_posting(store, index, &room, room.count - 1, &posting) == FT_OK);
    reading_forget(store);
    free(store);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const tries[])(const uint8_t *, size_t,
                                 const struct crypto *) = { try_checkpoint, try_vote, try_header,
                                                            try_index };
    if (size < 1 || !crypto_start())
        return 0;
    tries[data[0] >> 1 & 3](data + 1, size - 1, data[0] & 1 ? &weak_crypto : &crypto_sodium);
    return 0;
}
