/* The log entry: one batch of commands, the same bytes in memory, on the wire and on disk.
 *
 * An entry covers the indexes [first, first + count): `index` counts commands, so a reader can
 * resume at any one of them. A no-op and a membership entry count one. Layout, little-endian:
 *
 *    0  magic u32            "fte1"
 *    4  size u32             the whole entry: header, heads and bodies
 *    8  first u64            index of the first command; the log begins at 1
 *   16  count u32            1 .. LIMIT_ENTRY_COMMANDS
 *   20  kind u8              enum entry_kind; then 3 zero bytes
 *   24  term u64             the leader's term
 *   32  time u64             log time, Unix microseconds, never going back
 *   40  chain [32]          BLAKE2b-256(chain of the entry before || bytes 0..39 ||
 *                           BLAKE2b-256(heads)); before the first: zeros
 *   72  flush u64           local: the number of the flush that wrote it here
 *   80  commit u64          local: the commit index known here when it was written
 *   88  flush_at u32        local: bytes of this flush before this entry, so that recovery knows
 *                           where the last flush began even when its first header is lost
 *   92  check u32           local: SipHash of bytes 0..91, its low half, so that a header can be
 *                           trusted on its own
 *   96  heads               count times { size u32, digest u64: body_digest (body.h), bound to the
 *                           command's index and term, so that a body which a disk puts elsewhere,
 *                           or brings back from before a truncation, is nobody's there }
 *       bodies              one after the other, no padding
 *       end u8              0xee: not zero, so that no sector that an entry lies in reads as zeros once it is
 *                           written (no body has 512 zeros in a row): a crash, which leaves whole sectors
 *                           as the zeros that they were, is told from rot by that (store/recover.h)
 *
 * What is local to a node is outside the chain: sealed segments have the same chain and bodies on
 * every node. The key of every SipHash is the cluster's identity: it detects, it does not
 * authenticate; the channel does that. A post that was deleted and is erased keeps its digest: so what
 * is chained stays as it is.
 *
 * Nothing here allocates; an entry is borrowed from whoever holds its bytes. */
#ifndef FTCHAT_CORE_ENTRY_H
#define FTCHAT_CORE_ENTRY_H

#include "core/body.h"
#include "core/bytes.h"
#include "core/check.h"
#include "core/crypto.h"
#include "core/limits.h"

enum {
    ENTRY_MAGIC = 0x31657466, /* "fte1" */
    ENTRY_HEADER_BYTES = 96,
    ENTRY_HEAD_BYTES = 12,
    ENTRY_END_BYTES = 1,
    ENTRY_END = 0xee,
    ENTRY_LOCAL_AT = 72, /* from here to the heads is local to a node */
};

enum entry_kind {
    ENTRY_COMMANDS = 1, /* a batch of commands for the state machine */
    ENTRY_NOOP = 2,     /* a leader's first entry; one empty body */
    ENTRY_CONFIG = 3,   /* membership; one body: raft/config.h */
};

struct entry {
    uint32_t size;
    uint32_t count;
    uint64_t first;
    uint64_t term;
    uint64_t time_us;
    uint64_t flush;
    uint64_t commit;
    uint32_t flush_at;
    enum entry_kind kind;
    const uint8_t *chain; /* HASH_BYTES, in the entry's bytes */
    const uint8_t *heads;
    const uint8_t *bodies;
};

enum entry_state {
    ENTRY_WHOLE,     /* header, heads, lengths and end agree; digests are entry_verify's */
    ENTRY_SHORT,     /* the header is good, but `len` ends before the entry does */
    ENTRY_BAD_CHECK, /* header check wrong, or its fields contradict each other */
    ENTRY_NONE,      /* fewer bytes than a header, or all zeros where the magic should be */
};

/* Body number `ordinal` (0 .. count - 1); walks the heads, so use entry_next for all in turn. */
struct slice entry_body(const struct entry *entry, uint32_t ordinal);

/* Builds an entry in `out` (`capacity` bytes) from bodies that lie one after the other in `bodies`,
 * their sizes in `sizes`. Local fields are zero until entry_set_local. Returns its size, or 0 when
 * it does not fit. */
struct entry_draft {
    enum entry_kind kind;
    uint64_t first;
    uint64_t term;
    uint64_t time_us;
    uint32_t count;
    const uint32_t *sizes;
    const uint8_t *bodies;
};
size_t entry_build(uint8_t *out, size_t capacity, const struct entry_draft *draft,
                   const struct crypto *crypto, const uint8_t key[DIGEST_KEY_BYTES],
                   const uint8_t previous[HASH_BYTES]);

/* Fills the local part of an entry and its check, before it is written here. `flush_at` is the sum
 * of the sizes of the entries before it in the same flush. */
void entry_set_local(uint8_t *data, uint64_t flush, uint32_t flush_at, uint64_t commit,
                     const struct crypto *crypto, const uint8_t key[DIGEST_KEY_BYTES]);

/* Of `count` bodies that are `bodies` bytes together. */
static inline uint64_t entry_size(uint32_t count, uint64_t bodies)
{
    return ENTRY_HEADER_BYTES + (uint64_t)count * ENTRY_HEAD_BYTES + bodies + ENTRY_END_BYTES;
}

/* --- Reading: inline, because the store reads entries too and links nothing of core. ---------- */

enum {
    ENTRY_AT_SIZE = 4,
    ENTRY_AT_FIRST = 8,
    ENTRY_AT_COUNT = 16,
    ENTRY_AT_KIND = 20,
    ENTRY_AT_TERM = 24,
    ENTRY_AT_TIME = 32,
    ENTRY_AT_CHAIN = 40,
    ENTRY_AT_FLUSH = ENTRY_LOCAL_AT,
    ENTRY_AT_COMMIT = 80,
    ENTRY_AT_FLUSH_AT = 88,
    ENTRY_AT_CHECK = 92,
    ENTRY_CHAINED_BYTES = ENTRY_AT_CHAIN, /* of the header, what the chain covers */
};

_Static_assert(ENTRY_AT_CHAIN + HASH_BYTES == ENTRY_LOCAL_AT, "the local part follows the chain");
_Static_assert(ENTRY_AT_CHECK + 4 == ENTRY_HEADER_BYTES, "the check ends the header");
_Static_assert(ENTRY_HEADER_BYTES + LIMIT_ENTRY_COMMANDS * ENTRY_HEAD_BYTES < LIMIT_ENTRY_BYTES,
               "the heads of the largest batch leave room for bodies");
_Static_assert(ENTRY_HEADER_BYTES + ENTRY_HEAD_BYTES + LIMIT_COMMAND_BYTES + ENTRY_END_BYTES <=
                   LIMIT_ENTRY_BYTES,
               "one command of any length makes an entry");

static inline uint32_t entry_header_check(const struct crypto *crypto, const uint8_t *key,
                                          const uint8_t *data)
{
    return (uint32_t)crypto->digest(key, data, ENTRY_AT_CHECK);
}

static inline bool entry_header_agrees(const struct entry *entry, const uint8_t *data)
{
    if (entry->size > LIMIT_ENTRY_BYTES)
        return false;
    if (entry->count == 0 || entry->count > LIMIT_ENTRY_COMMANDS)
        return false;
    if (entry->size < entry_size(entry->count, 0))
        return false;
    if (entry->first == 0 || entry->first > UINT64_MAX - entry->count)
        return false;
    if (entry->kind != ENTRY_COMMANDS && entry->kind != ENTRY_NOOP && entry->kind != ENTRY_CONFIG)
        return false;
    if (entry->kind != ENTRY_COMMANDS && entry->count != 1)
        return false;
    return data[ENTRY_AT_KIND + 1] == 0 && data[ENTRY_AT_KIND + 2] == 0 &&
           data[ENTRY_AT_KIND + 3] == 0;
}

/* The bodies' sizes add up to what the entry says. */
static inline bool entry_heads_agree(const struct entry *entry)
{
    uint64_t left = entry->size - entry_size(entry->count, 0);
    for (uint32_t i = 0; i < entry->count; i++) {
        uint32_t size = bytes_get_u32(entry->heads + i * ENTRY_HEAD_BYTES);
        if (size > left)
            return false;
        left -= size;
    }
    return left == 0;
}

/* Reads the entry at `data`. Trusts nothing: after ENTRY_WHOLE every head and body lies inside
 * `len`. When `key` is NULL the local check is not looked at (an entry from the wire). After
 * ENTRY_SHORT the header's fields are filled in; heads and bodies are NULL. */
static inline enum entry_state entry_parse(struct entry *entry, const struct crypto *crypto,
                                           const uint8_t *key, const uint8_t *data, size_t len)
{
    *entry = (struct entry) { 0 };
    if (len < ENTRY_HEADER_BYTES || bytes_get_u32(data) == 0)
        return ENTRY_NONE;
    if (bytes_get_u32(data) != ENTRY_MAGIC)
        return ENTRY_BAD_CHECK;
    if (key && bytes_get_u32(data + ENTRY_AT_CHECK) != entry_header_check(crypto, key, data))
        return ENTRY_BAD_CHECK;
    entry->size = bytes_get_u32(data + ENTRY_AT_SIZE);
    entry->first = bytes_get_u64(data + ENTRY_AT_FIRST);
    entry->count = bytes_get_u32(data + ENTRY_AT_COUNT);
    entry->kind = (enum entry_kind)data[ENTRY_AT_KIND];
    entry->term = bytes_get_u64(data + ENTRY_AT_TERM);
    entry->time_us = bytes_get_u64(data + ENTRY_AT_TIME);
    entry->flush = bytes_get_u64(data + ENTRY_AT_FLUSH);
    entry->commit = bytes_get_u64(data + ENTRY_AT_COMMIT);
    entry->flush_at = bytes_get_u32(data + ENTRY_AT_FLUSH_AT);
    entry->chain = data + ENTRY_AT_CHAIN;
    if (!entry_header_agrees(entry, data))
        return ENTRY_BAD_CHECK;
    if (len < entry->size)
        return ENTRY_SHORT;
    entry->heads = data + ENTRY_HEADER_BYTES;
    entry->bodies = entry->heads + entry->count * ENTRY_HEAD_BYTES;
    bool ends = data[entry->size - 1] == ENTRY_END;
    return ends && entry_heads_agree(entry) ? ENTRY_WHOLE : ENTRY_BAD_CHECK;
}

/* The heads are hashed where they lie, so that no copy of them is needed. */
/* The chain hash that this entry must have after `previous`. */
static inline void entry_chain_hash(uint8_t chain[HASH_BYTES], const struct crypto *crypto,
                                    const uint8_t previous[HASH_BYTES], const uint8_t *data,
                                    const uint8_t *heads, uint32_t count)
{
    uint8_t input[HASH_BYTES + ENTRY_CHAINED_BYTES + HASH_BYTES];
    memcpy(input, previous, HASH_BYTES);
    memcpy(input + HASH_BYTES, data, ENTRY_CHAINED_BYTES);
    crypto->hash(input + HASH_BYTES + ENTRY_CHAINED_BYTES, NULL, 0, heads,
                 (size_t)count * ENTRY_HEAD_BYTES);
    crypto->hash(chain, NULL, 0, input, sizeof input);
}

static inline void entry_chain(uint8_t chain[HASH_BYTES], const struct crypto *crypto,
                               const uint8_t previous[HASH_BYTES], const uint8_t *data,
                               const struct entry *entry)
{
    CHECK(entry->heads != NULL);
    CHECK(entry->count > 0);
    entry_chain_hash(chain, crypto, previous, data, entry->heads, entry->count);
}

/* The digest that stands in the head of the command at `index`. A bijection of either for a given other:
 * two commands of one term, or of one index, never have the same place. */
static inline uint64_t entry_head_digest(uint64_t digest, uint64_t index, uint64_t term)
{
    return digest ^ index * UINT64_C(0x9e3779b97f4a7c15) ^ term * UINT64_C(0xc2b2ae3d27d4eb4f);
}

/* Is `body` what the head at `ordinal` says? */
static inline bool entry_body_good(const struct entry *entry, const struct crypto *crypto,
                                   const uint8_t key[DIGEST_KEY_BYTES], uint32_t ordinal,
                                   const uint8_t *body, size_t len)
{
    const uint8_t *head = entry->heads + ordinal * ENTRY_HEAD_BYTES;
    return entry_head_digest(body_digest(crypto, key, body, len), entry->first + ordinal,
                             entry->term) == bytes_get_u64(head + 4);
}

/* Chain and every body's digest are right. `bad_body`, when not NULL, gets the ordinal of the first
 * wrong body, or `count` when the chain itself is wrong. */
static inline bool entry_verify(const struct entry *entry, const struct crypto *crypto,
                                const uint8_t key[DIGEST_KEY_BYTES],
                                const uint8_t previous[HASH_BYTES], const uint8_t *data,
                                uint32_t *bad_body)
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
            uint32_t size = bytes_get_u32(entry->heads + bad * ENTRY_HEAD_BYTES);
            if (!entry_body_good(entry, crypto, key, bad, body, size))
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

/* Walks an entry's bodies in order: start with a zeroed cursor. */
struct entry_cursor {
    uint32_t ordinal;
    size_t offset;
};
static inline bool entry_next(const struct entry *entry, struct entry_cursor *cursor,
                              struct slice *body)
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

/* Every body has the digest that its head says; whether the heads are right, the chain says. */
static inline bool entry_bodies_good(const struct entry *entry, const struct crypto *crypto,
                                     const uint8_t key[DIGEST_KEY_BYTES])
{
    struct entry_cursor cursor = { 0 };
    struct slice body;
    while (entry_next(entry, &cursor, &body))
        if (!entry_body_good(entry, crypto, key, cursor.ordinal - 1, body.data, body.len))
            return false;
    return true;
}

#endif
