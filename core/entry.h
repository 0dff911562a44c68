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
 *   96  heads               count times { size u32, digest u64: SipHash of the body }
 *       bodies              one after the other, no padding
 *
 * What is local to a node is outside the chain: sealed segments have the same chain and bodies on
 * every node. The key of every SipHash is the cluster's identity: it detects, it does not
 * authenticate; the channel does that. A body opens with its 8 random-looking bytes of salt only
 * where its command says so (chat/command.h).
 *
 * Nothing here allocates; an entry is borrowed from whoever holds its bytes. */
#ifndef FTCHAT_CORE_ENTRY_H
#define FTCHAT_CORE_ENTRY_H

#include "core/bytes.h"
#include "core/crypto.h"
#include "core/limits.h"

enum {
    ENTRY_MAGIC = 0x31657466, /* "fte1" */
    ENTRY_HEADER_BYTES = 96,
    ENTRY_HEAD_BYTES = 12,
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
    ENTRY_WHOLE,     /* header, heads and the lengths agree; digests are entry_verify's */
    ENTRY_SHORT,     /* the header is good, but `len` ends before the entry does */
    ENTRY_BAD_CHECK, /* header check wrong, or its fields contradict each other */
    ENTRY_NONE,      /* fewer bytes than a header, or all zeros where the magic should be */
};

/* Reads the entry at `data`. Trusts nothing: after ENTRY_WHOLE every head and body lies inside
 * `len`. When `key` is NULL the local check is not looked at (an entry from the wire). After
 * ENTRY_SHORT the header's fields are filled in; heads and bodies are NULL. */
enum entry_state entry_parse(struct entry *entry, const struct crypto *crypto, const uint8_t *key,
                             const uint8_t *data, size_t len);

/* The chain hash that this entry must have after `previous`. */
void entry_chain(uint8_t chain[HASH_BYTES], const struct crypto *crypto,
                 const uint8_t previous[HASH_BYTES], const uint8_t *data,
                 const struct entry *entry);

/* Chain and every body's digest are right. `bad_body`, when not NULL, gets the ordinal of the first
 * wrong body, or `count` when the chain itself is wrong. */
bool entry_verify(const struct entry *entry, const struct crypto *crypto,
                  const uint8_t key[DIGEST_KEY_BYTES], const uint8_t previous[HASH_BYTES],
                  const uint8_t *data, uint32_t *bad_body);

/* Body number `ordinal` (0 .. count - 1); walks the heads, so use entry_next for all in turn. */
struct slice entry_body(const struct entry *entry, uint32_t ordinal);

/* Walks an entry's bodies in order: start with a zeroed cursor. */
struct entry_cursor {
    uint32_t ordinal;
    size_t offset;
};
bool entry_next(const struct entry *entry, struct entry_cursor *cursor, struct slice *body);

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

#endif
