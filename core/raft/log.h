/* Raft's log in memory: the newest entries whole, and for every index whose term matters its term.
 *
 * Entries lie in a byte ring, none across its end, so that each can be sent and written as it is.
 * A ring of metas finds them by index. The term table remembers where each leadership began, also
 * for entries that only the disk still has: with it a leader finds where a follower's log parts
 * from its own. The oldest entries are forgotten when room is needed, once they are durable and
 * applied here. Bytes that the log thread is reading (a flush is out) are never overwritten,
 * truncated or not: a truncation under a flush leaves a hole and stops forgetting until the flush
 * is back.
 *
 * The caller owns all memory; nothing here can fail but for want of room. Indexes count commands;
 * every index given here but for raft_log_find's is the last index of an entry. */
#ifndef FTCHAT_CORE_RAFT_LOG_H
#define FTCHAT_CORE_RAFT_LOG_H

#include "core/entry.h"

enum {
    /* An eighth of the memory is kept free of proposals. So a leader's no-op always finds room; a
     * follower has room for whatever its leader took, and a restart for what was uncommitted before
     * it, wherever the ring then wraps. Without it a full cluster could not commit, and so never be
     * less full. */
    RAFT_LOG_RESERVE_PART = 8,
    RAFT_LOG_SMALL_BYTES = 4096, /* a no-op or a configuration is smaller */
};

struct raft_meta {
    uint64_t first;
    uint64_t last;
    uint64_t term;
    uint64_t position; /* of its bytes; ever growing, the ring's offset is its remainder */
    uint32_t size;
    enum entry_kind kind;
};

struct raft_term_start {
    uint64_t first;
    uint64_t term;
};

struct raft_log {
    /* The memory, and its sizes. */
    uint8_t *bytes;
    struct raft_meta *metas;
    struct raft_term_start *starts;
    uint64_t bytes_capacity;
    uint32_t metas_capacity;

    uint64_t head; /* where the next entry goes */
    uint64_t tail; /* everything before is free */
    uint32_t metas_at;
    uint32_t metas_count;
    uint32_t starts_count;
    bool pinned; /* truncated under a flush: nothing is forgotten until it is back */

    uint64_t base; /* the index before the oldest cached entry: what ends here is on disk only */
    uint8_t base_chain[HASH_BYTES];
    uint64_t base_time_us;
    uint64_t last;
    uint64_t last_term;
    uint64_t last_time_us;
    uint8_t last_chain[HASH_BYTES];
};

/* Takes the log to the state after a checkpoint: everything up to `base` is elsewhere. */
void raft_log_reset(struct raft_log *log, uint64_t base, uint64_t base_time_us,
                    const uint8_t base_chain[HASH_BYTES]);

/* The term of `index`; 0 for index 0, beyond the end, and where it is no longer known. */
uint64_t raft_log_term(const struct raft_log *log, uint64_t index);
/* The last index whose term is not above `term`. */
uint64_t raft_log_last_of_term(const struct raft_log *log, uint64_t term);
/* Remembers that `term` begins at `first` (from a checkpoint; raft_log_push does it itself). */
void raft_log_add_start(struct raft_log *log, uint64_t first, uint64_t term);

/* The cached entry that holds `index`, or NULL. */
const struct raft_meta *raft_log_find(const struct raft_log *log, uint64_t index);
uint8_t *raft_log_bytes(const struct raft_log *log, const struct raft_meta *meta);
/* The cached entry after `meta`, or NULL. */
const struct raft_meta *raft_log_next(const struct raft_log *log, const struct raft_meta *meta);
/* The chain at `index`, or NULL when it is not in memory. */
const uint8_t *raft_log_chain(const struct raft_log *log, uint64_t index);
/* Whole entries from the one after `after` on that lie in one run, at most `max_bytes` (one always).
 * *last: the last index of them. Empty when the next one is not cached. */
struct slice raft_log_run(const struct raft_log *log, uint64_t after, size_t max_bytes,
                          uint64_t *last);

/* The largest entry that always finds room once older ones may be forgotten. */
size_t raft_log_largest(const struct raft_log *log);
/* Room for an entry of `size` bytes, contiguous, forgetting what ends at or below `forgettable` as
 * needed; NULL: full. Not part of the log before raft_log_push. */
uint8_t *raft_log_room(struct raft_log *log, size_t size, uint64_t forgettable, bool keep_reserve);
/* The entry that lies at the last raft_log_room joins the log. */
void raft_log_push(struct raft_log *log, const struct entry *entry);
/* Bytes that could be taken, by a conservative count. */
uint64_t raft_log_free(const struct raft_log *log, uint64_t forgettable);

/* Everything after `last` goes. `flushing`: entries of a flush that is out are among them.
 * `last` is not below `base`. */
void raft_log_truncate(struct raft_log *log, uint64_t last, bool flushing);
void raft_log_unpin(struct raft_log *log);

#endif
