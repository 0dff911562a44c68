/* Reading, proving and building log entries: see entry.h for the layout. */
#include "core/entry.h"

struct slice entry_body(const struct entry *entry, uint32_t ordinal)
{
    CHECK(entry->heads != NULL);
    CHECK(ordinal < entry->count);
    size_t offset = 0;
    for (uint32_t i = 0; i < ordinal; i++)
        offset += bytes_get_u32(entry->heads + i * ENTRY_HEAD_BYTES);
    uint32_t size = bytes_get_u32(entry->heads + ordinal * ENTRY_HEAD_BYTES);
    return (struct slice) { entry->bodies + offset, size };
}

size_t entry_build(uint8_t *out, size_t capacity, const struct entry_draft *draft,
                   const struct crypto *crypto, const uint8_t key[DIGEST_KEY_BYTES],
                   const uint8_t previous[HASH_BYTES])
{
    CHECK(draft->count > 0 && draft->count <= LIMIT_ENTRY_COMMANDS);
    CHECK(draft->kind == ENTRY_COMMANDS || draft->count == 1);
    CHECK(draft->first > 0);
    uint64_t bodies = 0;
    for (uint32_t i = 0; i < draft->count; i++)
        bodies += draft->sizes[i];
    uint64_t size = entry_size(draft->count, bodies);
    if (size > capacity || size > LIMIT_ENTRY_BYTES)
        return 0;
    memset(out, 0, ENTRY_HEADER_BYTES);
    bytes_put_u32(out, ENTRY_MAGIC);
    bytes_put_u32(out + ENTRY_AT_SIZE, (uint32_t)size);
    bytes_put_u64(out + ENTRY_AT_FIRST, draft->first);
    bytes_put_u32(out + ENTRY_AT_COUNT, draft->count);
    out[ENTRY_AT_KIND] = (uint8_t)draft->kind;
    bytes_put_u64(out + ENTRY_AT_TERM, draft->term);
    bytes_put_u64(out + ENTRY_AT_TIME, draft->time_us);
    uint8_t *head = out + ENTRY_HEADER_BYTES;
    const uint8_t *body = draft->bodies;
    for (uint32_t i = 0; i < draft->count; i++) {
        bytes_put_u32(head, draft->sizes[i]);
        bytes_put_u64(head + 4, entry_head_digest(body_digest(crypto, key, body, draft->sizes[i]),
                                                  draft->first + i, draft->term));
        head += ENTRY_HEAD_BYTES;
        if (draft->sizes[i])
            body += draft->sizes[i];
    }
    if (bodies)
        memcpy(head, draft->bodies, (size_t)bodies);
    out[size - ENTRY_END_BYTES] = ENTRY_END;
    entry_chain_hash(out + ENTRY_AT_CHAIN, crypto, previous, out, out + ENTRY_HEADER_BYTES,
                     draft->count);
    return (size_t)size;
}

void entry_set_local(uint8_t *data, uint64_t flush, uint32_t flush_at, uint64_t commit,
                     const struct crypto *crypto, const uint8_t key[DIGEST_KEY_BYTES])
{
    CHECK(bytes_get_u32(data) == ENTRY_MAGIC);
    CHECK(flush > 0);
    bytes_put_u64(data + ENTRY_AT_FLUSH, flush);
    bytes_put_u64(data + ENTRY_AT_COMMIT, commit);
    bytes_put_u32(data + ENTRY_AT_FLUSH_AT, flush_at);
    bytes_put_u32(data + ENTRY_AT_CHECK, entry_header_check(crypto, key, data));
}
