/* N.idx, the index of one sealed segment: blocks of 4096 bytes, each 4080 of content, its number
 * u64 and the SipHash u64 of the 4088 bytes before it under the cluster's identity. Every read
 * proves the block it came from. What is larger than a block goes on in the next; no item lies
 * across two.
 *
 *   block 0   prologue [24], first u64, last u64, end u64 (offset behind the last entry), chain
 *             [32] (of the last entry), marks u32, rooms u32, postings u32, deletions u32
 *   marks     { index - first u32, offset u32 }: where an entry begins, one for each 16 KiB
 *   rooms     { room u32, count u32, start u32, zero u32, seq_base u64 }, sorted by room
 *   postings  { index - first u32, (seq - seq_base) << 1 | event u32 }, by room and index
 *   deletions { index - first u32, check u32, target u64 }, by index: the command at index deletes the
 *             post at target, in this segment or an older one
 *
 * The bytes are a function of the segment and of its posts: the same on every node. */
#ifndef FTCHAT_STORE_INDEX_FORMAT_H
#define FTCHAT_STORE_INDEX_FORMAT_H

#include "store/internal.h"

enum {
    INDEX_AT_FIRST = 24,
    INDEX_AT_LAST = 32,
    INDEX_AT_END = 40,
    INDEX_AT_CHAIN = 48,
    INDEX_AT_MARKS = 80,
    INDEX_AT_ROOMS = 84,
    INDEX_AT_POSTINGS = 88,
    INDEX_AT_DELETIONS = 92,
    INDEX_MARKS_PER_BLOCK = INDEX_PAYLOAD_BYTES / INDEX_MARK_BYTES,
    INDEX_ROOMS_PER_BLOCK = INDEX_PAYLOAD_BYTES / INDEX_ROOM_BYTES,
    INDEX_POSTINGS_PER_BLOCK = INDEX_PAYLOAD_BYTES / INDEX_POSTING_BYTES,
    INDEX_DELETIONS_PER_BLOCK = INDEX_PAYLOAD_BYTES / INDEX_DELETION_BYTES,
};

_Static_assert(INDEX_PAYLOAD_BYTES % INDEX_ROOM_BYTES == 0, "no item lies across two blocks");
_Static_assert(INDEX_PAYLOAD_BYTES % INDEX_MARK_BYTES == 0, "no item lies across two blocks");
_Static_assert(INDEX_PAYLOAD_BYTES % INDEX_DELETION_BYTES == 0, "no item lies across two blocks");

static inline uint64_t index_blocks(uint64_t items, uint64_t per_block)
{
    return (items + per_block - 1) / per_block;
}

/* Number of the first block of each part, and of all. */
static inline uint64_t index_rooms_block(const struct index_header *header)
{
    return 1 + index_blocks(header->marks, INDEX_MARKS_PER_BLOCK);
}

static inline uint64_t index_postings_block(const struct index_header *header)
{
    return index_rooms_block(header) + index_blocks(header->rooms, INDEX_ROOMS_PER_BLOCK);
}

static inline uint64_t index_deletions_block(const struct index_header *header)
{
    return index_postings_block(header) + index_blocks(header->postings, INDEX_POSTINGS_PER_BLOCK);
}

static inline uint64_t index_blocks_all(const struct index_header *header)
{
    return index_deletions_block(header) +
           index_blocks(header->deletions, INDEX_DELETIONS_PER_BLOCK);
}

static inline bool index_block_good(const uint8_t block[INDEX_BLOCK_BYTES], uint64_t number,
                                    const struct crypto *crypto,
                                    const uint8_t key[DIGEST_KEY_BYTES])
{
    return bytes_get_u64(block + INDEX_PAYLOAD_BYTES) == number &&
           bytes_get_u64(block + INDEX_PAYLOAD_BYTES + 8) ==
               crypto->digest(key, block, INDEX_PAYLOAD_BYTES + 8);
}

#endif
