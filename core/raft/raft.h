/* Raft, all of it: elections, replication, membership of one change at a time, reads, transfer.
 *
 * Follows Ongaro, "Consensus: Bridging Theory and Practice" (2014): ch. 3 (the basics), 3.10
 * (leadership transfer), 4 (single- server membership changes, 4.2.1 learners), 6.2
 * (check-quorum), 6.4 (ReadIndex), 9.6 (pre-vote), 10.2.1 (leader's write in parallel). What
 * differs: one entry is a batch of commands and `index` counts commands (core/entry.h), so every
 * index that raft compares is the last index of an entry; a dead connection starts an election
 * (architecture.md); members are random identities in numbered slots, so that a wiped node never
 * votes as its former self.
 *
 * Pure: all calls take the time and an effects sink. One flush (vote, truncation, entries) is out
 * at a time; what gathers meanwhile goes into the next (group commit). A vote or an acknowledgement
 * is sent only after the flush that makes it true. Memory is the caller's, given at raft_init and
 * sized by limits.h. */
#ifndef FTCHAT_CORE_RAFT_RAFT_H
#define FTCHAT_CORE_RAFT_RAFT_H

#include "core/crypto.h"
#include "core/effect.h"
#include "core/entry.h"
#include "core/error.h"
#include "core/random.h"

/* Where a node is dialled. port 0: not known. */
struct raft_address {
    uint16_t port;
    uint8_t host_len;
    char host[LIMIT_HOST_BYTES];
};

/* A seat of the cluster. A voter or a learner sits in it, or it is vacant: whoever sat there, whose
 * identity it still names, is a member no more, and the next one has not come yet. Raft itself
 * looks at no address. */
struct raft_member {
    uint8_t slot; /* 1 .. LIMIT_NODES; at most one seat per slot */
    bool voter;   /* else a learner */
    bool vacant;
    uint8_t identity[IDENTITY_BYTES];
    struct raft_address address;
};

struct raft_config {
    uint64_t index; /* of the entry that made it; 0: blank, no members */
    unsigned count;
    struct raft_member members[LIMIT_NODES];
};

enum { RAFT_MEMBER_BYTES = 2 + IDENTITY_BYTES + 2 + 1 + LIMIT_HOST_BYTES };
enum { RAFT_CONFIG_BYTES = 1 + LIMIT_NODES * RAFT_MEMBER_BYTES }; /* encoded, at most */

/* ENTRY_CONFIG's body: count u8, then { slot u8, role u8 (0 learner, 1 voter, 2 vacant),
 * identity[16], port u16, host string8 } each. */
size_t raft_config_encode(const struct raft_config *config, uint8_t *out, size_t capacity);
bool raft_config_decode(struct raft_config *config, const uint8_t *data, size_t len);
const struct raft_member *raft_config_find(const struct raft_config *config, uint8_t slot);
/* Is it this identity that sits there? */
bool raft_member_is(const struct raft_member *member, const uint8_t identity[IDENTITY_BYTES]);
unsigned raft_config_voters(const struct raft_config *config);

enum raft_role { RAFT_FOLLOWER, RAFT_PRE_CANDIDATE, RAFT_CANDIDATE, RAFT_LEADER };

/* How a link to a peer ended: what decides whether an election may start at once. */
enum raft_link_end { LINK_RESET, LINK_CLOSED, LINK_REFUSED, LINK_TIMED_OUT };

struct raft; /* struct definition in raft/state.h, for raft's own files and tests */

struct raft_options {
    uint8_t slot;
    uint8_t identity[IDENTITY_BYTES];
    const struct crypto *crypto;
    uint64_t seed;
    uint32_t heartbeat_us;
    uint32_t election_min_us; /* floor and ceiling of the adaptive election time-out */
    uint32_t election_max_us;
    size_t cache_bytes;     /* <= LIMIT_LOG_CACHE_BYTES; the simulator uses less */
    uint32_t cache_entries; /* <= LIMIT_LOG_CACHE_ENTRIES */
};

/* Bytes of memory that raft_init needs for these options: zeroed, aligned to 16, owned by the
 * caller. */
size_t raft_memory(const struct raft_options *options);
struct raft *raft_init(void *memory, const struct raft_options *options);

/* --- Recovery: raft_restore once, then raft_restore_entries for everything after the checkpoint,
 * then raft_start. */
struct raft_recovery {
    uint8_t cluster[IDENTITY_BYTES]; /* zeros: blank */
    uint64_t term;
    uint8_t vote[IDENTITY_BYTES];
    /* Entries were acknowledged beyond what was recovered (store.h, struct store_lost): until a
     * leader has sent them again, a vote goes only to a log as good as (lost_term, lost_last), and
     * this node does not campaign. lost_last 0: nothing; UINT64_MAX: no vote at all. */
    uint64_t lost_term;
    uint64_t lost_last;
    bool leftover;             /* they are still on disk: the first entries after them truncate */
    uint64_t flush;            /* number of the last flush on disk */
    uint64_t commit;           /* known to be committed by what is on disk */
    uint64_t checkpoint_index; /* 0: none */
    struct slice checkpoint; /* what raft_checkpoint wrote: config, term starts, chain and log time
                                at that index */
};
bool raft_restore(struct raft *raft, const struct raft_recovery *recovery) FT_MUST_USE;
/* Whole recovered entries, consecutive. false: they do not follow each other. */
bool raft_restore_entries(struct raft *raft, struct slice entries) FT_MUST_USE;
/* Until then a leader is not let truncate what is lost: it is being mended. */
void raft_lost_wait(struct raft *raft, uint64_t until_us);
/* Term and vote are written once more. */
void raft_save_vote(struct raft *raft);
void raft_start(struct raft *raft, struct now now, const struct effects *out);
/* What such a checkpoint says of the configuration, the newest term and the log time at its index.
 * false: it cannot be read. */
bool raft_checkpoint_read(struct slice checkpoint, struct raft_config *config, uint64_t *term,
                          uint64_t *time_us) FT_MUST_USE;
/* What a checkpoint at the end of `last`, the entry that was applied last, needs of raft; bytes
 * written. 0: it does not fit. */
size_t raft_checkpoint(const struct raft *raft, const struct entry *last, uint8_t *out,
                       size_t capacity);
/* A configuration was applied: the next checkpoint holds it. */
void raft_config_applied(struct raft *raft, const struct entry *entry);

/* --- Formation. A blank raft becomes the only voter of a new cluster: its log begins with that
 * configuration. */
void raft_bootstrap(struct raft *raft, const uint8_t cluster[IDENTITY_BYTES],
                    const struct raft_address *address, struct now now, const struct effects *out);
/* A blank raft belongs to `cluster` from now on (saved before anything is acknowledged). */
void raft_join(struct raft *raft, const uint8_t cluster[IDENTITY_BYTES]);

/* --- Events. */
void raft_tick(struct raft *raft, struct now now, const struct effects *out);
/* The loop was late: what is queued on the sockets has not been read yet, so time-outs start anew.
 */
void raft_restart_timers(struct raft *raft, struct now now);
/* The link over which this node sends to `slot` is authenticated; the peer there is `identity`. */
void raft_link_up(struct raft *raft, uint8_t slot, const uint8_t identity[IDENTITY_BYTES],
                  struct now now, const struct effects *out);
/* LINK_REFUSED for the current leader means: its process is gone (architecture.md, "Election on
 * connection loss"). */
void raft_link_down(struct raft *raft, uint8_t slot, enum raft_link_end end, struct now now,
                    const struct effects *out);
/* A raft message (its bytes after the type byte) from the authenticated member `identity` in
 * `slot`. false: malformed. */
bool raft_receive(struct raft *raft, uint8_t slot, const uint8_t identity[IDENTITY_BYTES],
                  struct slice message, struct now now, const struct effects *out) FT_MUST_USE;
enum raft_flush_result { RAFT_FLUSHED, RAFT_FLUSH_NO_SPACE };
void raft_flushed(struct raft *raft, uint64_t ticket, enum raft_flush_result result, struct now now,
                  const struct effects *out);
/* Whether the store could make the next segment ahead of need; told at each change. */
void raft_disk_space(struct raft *raft, bool space, struct now now);
/* The answer to a READ_ENTRIES whose id raft_owns_read. */
bool raft_owns_read(const struct raft *raft, uint64_t id);
void raft_read_done(struct raft *raft, uint64_t id, bool ok, struct slice entries, struct now now,
                    const struct effects *out);
/* Once at the end of each turn: appends and commit news to peers, one FLUSH if none is out,
 * WAKE_AT. */
void raft_end_turn(struct raft *raft, struct now now, const struct effects *out);

/* --- Proposals, on the leader. Returns the first index, or 0: not the leader, transferring, or
 * full (back-pressure). */
uint64_t raft_propose(struct raft *raft, uint32_t count, const uint32_t *sizes,
                      const uint8_t *bodies, size_t len, struct now now);
bool raft_can_propose(const struct raft *raft);
/* The largest entry, with all that is not bodies (entry_size), that
 * these options' memory takes; 1 MiB in the program. A larger proposal is never accepted. */
size_t raft_propose_limit(const struct raft *raft);
/* A change by at most one voter, refused before this term's first commit and while another is
 * pending. No identity sits in two seats, and nobody else in the leader's. A leader that is no
 * voter any more hands over once that is committed, and leads no longer (thesis 4.2.2). */
bool raft_propose_config(struct raft *raft, const struct raft_config *config,
                         struct now now) FT_MUST_USE;
/* Hands leadership to `slot`, or to the best voter when 0. false: nobody suitable. */
bool raft_transfer(struct raft *raft, uint8_t slot, struct now now, const struct effects *out);
bool raft_transferring(const struct raft *raft);
/* While it stands aside a node neither leads nor campaigns nor votes: it was told that it is no
 * member any more, or that another process runs under its identity. */
void raft_stand_aside(struct raft *raft, bool aside, struct now now);
/* ReadIndex: returns a ticket (0: not a leader with a commit in its term). When
 * raft_read_confirmed() reaches it, everything committed before the call is at or below the index
 * stored in *index. A ticket dies with the leadership: drop it when role or term changes. */
uint64_t raft_read(struct raft *raft, uint64_t *index);
uint64_t raft_read_confirmed(const struct raft *raft);

/* --- Copying segments. The owner copies (node/catchup.c); raft tells and asks for it in its
 * appends, which would be the InstallSnapshot of thesis ch. 5. */
/* Entries before `kept_from` are not on the disk any more; a peer that needs entries below
 * `copy_below` is so far behind that it should copy. */
void raft_set_kept(struct raft *raft, uint64_t kept_from, uint64_t copy_below);
/* While it is set the leader is asked for no entries. */
void raft_set_copying(struct raft *raft, bool copying);
/* May the log be replaced by a copy up to `end`, where its chain is this? Not when it has that entry
 * itself: what follows it may have been acknowledged. */
bool raft_may_install(const struct raft *raft, uint64_t end, const uint8_t chain[HASH_BYTES]);
/* From now on it sends nothing, promises nothing and writes nothing more, until the process ends. */
void raft_freeze(struct raft *raft);

/* --- What the owner looks at between events. */
struct raft_view {
    enum raft_role role;
    uint64_t term;
    uint8_t leader; /* slot; 0: none known. Itself when it leads */
    uint8_t relay;  /* no leader is known here, but this peer, which denied its vote, knows
                                 one; 0: none */
    uint64_t leader_since_us; /* monotonic; when `leader` last changed, 0 included */
    uint64_t commit;
    uint64_t last_index;
    uint64_t durable;       /* own log, by finished flushes */
    uint64_t first_of_term; /* leader: the index of its no-op; 0 else */
    bool disk_full;         /* its own: refuses what is flushed, or will soon */
    bool refused;           /* its own refused a flush, and none with entries went through since */
    bool leader_full;       /* the leader takes no commands, for its disk is full */
    bool lost;              /* a part of its log, and no leader has made up for it yet */
    bool blank;
    bool copy_advised;    /* follower: its leader says that it should copy segments */
    bool cluster_durable; /* which cluster it belongs to is on disk */
    bool frozen;
    uint32_t heartbeat_us;
};
struct raft_view raft_view(const struct raft *raft);
/* Single ones of these, for those that ask at each turn. */
uint64_t raft_commit(const struct raft *raft);
/* The highest that is known to be committed, also beyond the own log. */
uint64_t raft_told_commit(const struct raft *raft);
uint64_t raft_durable(const struct raft *raft);
uint8_t raft_leader(const struct raft *raft);
bool raft_is_blank(const struct raft *raft);
/* Leader: a majority answered within the election time-out. Follower: it hears its leader. */
bool raft_has_quorum(const struct raft *raft);
/* In microseconds: the one now in force, before randomization. */
uint32_t raft_election_timeout(const struct raft *raft);
const struct raft_config *raft_latest_config(const struct raft *raft);
bool raft_config_pending(const struct raft *raft); /* the latest one is not committed yet */
const uint8_t *raft_cluster(const struct raft *raft);
/* How far a peer is (leader's view), for status and for promoting learners. */
struct raft_peer_view {
    uint64_t match;
    uint64_t last_heard_us;
    uint32_t rtt_us;
    bool linked; /* the link's identity is the member's */
    bool lost; /* of its log, by its last answer: a part that this leader has not made up for yet */
};
struct raft_peer_view raft_peer_view(const struct raft *raft, uint8_t slot);
/* The cached entry that holds `index`: its whole bytes, or an empty slice (then READ_ENTRIES it).
 */
struct slice raft_cached_entry(const struct raft *raft, uint64_t index);
/* Entries up to here are applied: the cache may forget what is durable and applied too. */
void raft_applied(struct raft *raft, uint64_t index);

#endif
