/* Reading, proving and building log entries: see entry.h for the layout. */
#include "core/entry.h"
#include "core/check.h"

enum {
    AT_SIZE = 4,
    AT_FIRST = 8,
    AT_COUNT = 16,
    AT_KIND = 20,
    AT_TERM = 24,
    AT_TIME = 32,
    AT_CHAIN = 40,
    AT_FLUSH = ENTRY_LOCAL_AT,
    AT_COMMIT = 80,
    AT_FLUSH_AT = 88,
    AT_CHECK = 92,
    CHAINED_BYTES = AT_CHAIN, /* of the header, what the chain covers */
};

_Static_assert(AT_CHAIN + HASH_BYTES == ENTRY_LOCAL_AT, "the local part follows the chain");
_Static_assert(AT_CHECK + 4 == ENTRY_HEADER_BYTES, "the check ends the header");
_Static_assert(ENTRY_HEADER_BYTES + LIMIT_ENTRY_COMMANDS * ENTRY_HEAD_BYTES < LIMIT_ENTRY_BYTES,
               "the heads of the largest batch leave room for bodies");
_Static_assert(ENTRY_HEADER_BYTES + ENTRY_HEAD_BYTES + LIMIT_COMMAND_BYTES <= LIMIT_ENTRY_BYTES,
               "one command of any length makes an entry");

static uint32_t header_check(const struct crypto *crypto, const uint8_t *key, const uint8_t *data)
{
    return (uint32_t)crypto->digest(key, data, AT_CHECK);
}

static bool header_agrees(const struct entry *entry, const uint8_t *data)
{
    if (entry->size > LIMIT_ENTRY_BYTES)
        return false;
    if (entry->count == 0 || entry->count > LIMIT_ENTRY_COMMANDS)
        return false;
    if (entry->size < ENTRY_HEADER_BYTES + entry->count * ENTRY_HEAD_BYTES)
        return false;
    if (entry->first == 0 || entry->first > UINT64_MAX - entry->count)
        return false;
    if (entry->kind != ENTRY_COMMANDS && entry->kind != ENTRY_NOOP && entry->kind != ENTRY_CONFIG)
        return false;
    if (entry->kind != ENTRY_COMMANDS && entry->count != 1)
        return false;
    return data[AT_KIND + 1] == 0 && data[AT_KIND + 2] == 0 && data[AT_KIND + 3] == 0;
}

/* The bodies' sizes add up to what the entry says. */
static bool heads_agree(const struct entry *entry)
{
    uint64_t left = entry->size - ENTRY_HEADER_BYTES - entry->count * ENTRY_HEAD_BYTES;
    for (uint32_t i = 0; i < entry->count; i++) {
        uint32_t size = bytes_get_u32(entry->heads + i * ENTRY_HEAD_BYTES);
        if (size > left)
            return false;
        left -= size;
    }
    return left == 0;
}

enum entry_state entry_parse(struct entry *entry, const struct crypto *crypto, const uint8_t *key,
                             const uint8_t *data, size_t len)
{
    *entry = (struct entry) { 0 };
    if (len < ENTRY_HEADER_BYTES || bytes_get_u32(data) == 0)
        return ENTRY_NONE;
    if (bytes_get_u32(data) != ENTRY_MAGIC)
        return ENTRY_BAD_CHECK;
    if (key && bytes_get_u32(data + AT_CHECK) != header_check(crypto, key, data))
        return ENTRY_BAD_CHECK;
    entry->size = bytes_get_u32(data + AT_SIZE);
    entry->first = bytes_get_u64(data + AT_FIRST);
    entry->count = bytes_get_u32(data + AT_COUNT);
    entry->kind = (enum entry_kind)data[AT_KIND];
    entry->term = bytes_get_u64(data + AT_TERM);
    entry->time_us = bytes_get_u64(data + AT_TIME);
    entry->flush = bytes_get_u64(data + AT_FLUSH);
    entry->commit = bytes_get_u64(data + AT_COMMIT);
    entry->flush_at = bytes_get_u32(data + AT_FLUSH_AT);
    entry->chain = data + AT_CHAIN;
    if (!header_agrees(entry, data))
        return ENTRY_BAD_CHECK;
    if (len < entry->size)
        return ENTRY_SHORT;
    entry->heads = data + ENTRY_HEADER_BYTES;
    entry->bodies = entry->heads + entry->count * ENTRY_HEAD_BYTES;
    return heads_agree(entry) ? ENTRY_WHOLE : ENTRY_BAD_CHECK;
}

/* The heads are hashed where they lie, so that no copy of them is needed. */
static void chain_hash(uint8_t chain[HASH_BYTES], const struct crypto *crypto,
                       const uint8_t previous[HASH_BYTES], const uint8_t *data,
                       const uint8_t *heads, uint32_t count)
{
    uint8_t input[HASH_BYTES + CHAINED_BYTES + HASH_BYTES];
    memcpy(input, previous, HASH_BYTES);
    memcpy(input + HASH_BYTES, data, CHAINED_BYTES);
    crypto->hash(input + HASH_BYTES + CHAINED_BYTES, NULL, 0, heads,
                 (size_t)count * ENTRY_HEAD_BYTES);
    crypto->hash(chain, NULL, 0, input, sizeof input);
}

void entry_chain(uint8_t chain[HASH_BYTES], const struct crypto *crypto,
                 const uint8_t previous[HASH_BYTES], const uint8_t *data, const struct entry *entry)
{
    CHECK(entry->heads != NULL);
    CHECK(entry->count > 0);
    chain_hash(chain, crypto, previous, data, entry->heads, entry->count);
}

bool entry_verify(const struct entry *entry, const struct crypto *crypto,
                  const uint8_t key[DIGEST_KEY_BYTES], const uint8_t previous[HASH_BYTES],
                  const uint8_t *data, uint32_t *bad_body)
{
    CHECK(entry->heads != NULL);
    CHECK(entry->count <= LIMIT_ENTRY_COMMANDS);
    uint8_t chain[HASH_BYTES];
    entry_chain(chain, crypto, previous, data, entry);
    uint32_t bad = 0;
    if (memcmp(chain, entry->chain, HASH_BYTES) != 0) {
        bad = entry->count;
    } else {
        const uint8_t *body = entry->bodies;
        for (; bad < entry->count; bad++) {
            const uint8_t *head = entry->heads + bad * ENTRY_HEAD_BYTES;
            uint32_t size = bytes_get_u32(head);
            if (crypto->digest(key, body, size) != bytes_get_u64(head + 4))
                break;
            body += size;
        }
        if (bad == entry->count)
            return true;
    }
    if (bad_body)
        *bad_body = bad;
    return false;
}

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

bool entry_next(const struct entry *entry, struct entry_cursor *cursor, struct slice *body)
{
    CHECK(entry->heads != NULL);
    CHECK(cursor->ordinal <= entry->count);
    if (cursor->ordinal == entry->count)
        return false;
    uint32_t size = bytes_get_u32(entry->heads + cursor->ordinal * ENTRY_HEAD_BYTES);
    *body = (struct slice) { entry->bodies + cursor->offset, size };
    cursor->offset += size;
    cursor->ordinal++;
    return true;
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
    uint64_t heads = (uint64_t)draft->count * ENTRY_HEAD_BYTES;
    uint64_t size = ENTRY_HEADER_BYTES + heads + bodies;
    if (size > capacity || size > LIMIT_ENTRY_BYTES)
        return 0;
    memset(out, 0, ENTRY_HEADER_BYTES);
    bytes_put_u32(out, ENTRY_MAGIC);
    bytes_put_u32(out + AT_SIZE, (uint32_t)size);
    bytes_put_u64(out + AT_FIRST, draft->first);
    bytes_put_u32(out + AT_COUNT, draft->count);
    out[AT_KIND] = (uint8_t)draft->kind;
    bytes_put_u64(out + AT_TERM, draft->term);
    bytes_put_u64(out + AT_TIME, draft->time_us);
    uint8_t *head = out + ENTRY_HEADER_BYTES;
    const uint8_t *body = draft->bodies;
    for (uint32_t i = 0; i < draft->count; i++) {
        bytes_put_u32(head, draft->sizes[i]);
        bytes_put_u64(head + 4, crypto->digest(key, body, draft->sizes[i]));
        head += ENTRY_HEAD_BYTES;
        body += draft->sizes[i];
    }
    if (bodies)
        memcpy(head, draft->bodies, (size_t)bodies);
    chain_hash(out + AT_CHAIN, crypto, previous, out, out + ENTRY_HEADER_BYTES, draft->count);
    return (size_t)size;
}

void entry_set_local(uint8_t *data, uint64_t flush, uint32_t flush_at, uint64_t commit,
                     const struct crypto *crypto, const uint8_t key[DIGEST_KEY_BYTES])
{
    CHECK(bytes_get_u32(data) == ENTRY_MAGIC);
    CHECK(flush > 0);
    bytes_put_u64(data + AT_FLUSH, flush);
    bytes_put_u64(data + AT_COMMIT, commit);
    bytes_put_u32(data + AT_FLUSH_AT, flush_at);
    bytes_put_u32(data + AT_CHECK, header_check(crypto, key, data));
}
