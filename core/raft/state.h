/* The whole of a raft, for raft's own files and tests. Others use raft.h.
 *
 * Reading order: raft.c (dispatch), election.c, replicate.c (a leader's side), follow.c (a
 * follower's), flush.c, config.c, read.c, transfer.c, checkpoint.c. Each file's functions are
 * declared below under its name. All arrays are fixed; peers are indexed by slot, 0 unused. */
#ifndef FTCHAT_CORE_RAFT_STATE_H
#define FTCHAT_CORE_RAFT_STATE_H

#include "core/check.h"
#include "core/clock.h"
#include "core/raft/log.h"
#include "core/raft/message.h"
#include "core/raft/raft.h"

enum {
    RAFT_SLOTS = LIMIT_NODES + 1,
    RAFT_SLACK_US = 40 * 1000,  /* late wake-ups of a busy machine */
    RAFT_JITTER_US = 10 * 1000, /* least jitter of an election on connection loss */
    RAFT_RETRY_US = 4 * 1000,   /* between tries after a denial */
    RAFT_RETRIES = 5,
    RAFT_DISK_RETRY_US = 1000 * 1000,     /* a full disk is tried again */
    RAFT_SLOW_US = 500 * 1000,            /* a disk whose flushes take so long is slow */
    RAFT_STUCK_US = 1000 * 1000,          /* a leader's write out for longer is stuck */
    RAFT_HAND_OVER_US = 60 * 1000 * 1000, /* between two hand-overs for the disk's sake */
};

/* How a leader sends to a peer (etcd's names). */
enum raft_progress {
    RAFT_PROBE,    /* looks for where the logs part: one empty append at a time */
    RAFT_PIPELINE, /* sends ahead of acknowledgements, within the windows */
    RAFT_READING,  /* what comes next is being read from disk */
};

struct raft_inflight {
    uint64_t last;
    uint32_t bytes;
};

struct raft_peer {
    /* The link, whoever leads. */
    bool up;
    uint8_t identity[IDENTITY_BYTES]; /* of whom is there */
    uint32_t rtt_us;                  /* smoothed; 0: not measured */
    uint32_t flush_us;                /* as it reports */
    uint64_t heard_us;                /* any message */

    /* A leader's view. */
    enum raft_progress progress;
    uint64_t session;
    uint64_t match; /* durable there */
    uint64_t next;  /* first index to send */
    uint64_t commit_sent;
    uint64_t round_sent;
    uint64_t round_acked;
    uint64_t probed;      /* PROBE: the next whose probe is on its way; 0: none */
    uint64_t answered_us; /* when the newest append that it answered was sent */
    uint64_t heartbeat_at_us;
    uint64_t read_id; /* READING: what was asked for */
    bool reading;     /* a read for it is out, also of an earlier session: at most one is */
    bool copying;     /* it says that it copies segments: it wants no entries */
    uint64_t room;    /* free there, by its last reply */
    bool disk_full;
    bool lost; /* it owes a part of its log, and has no vote to give perhaps (lost.c) */
    uint32_t inflight_at;
    uint32_t inflight_count;
    uint64_t inflight_bytes;
    struct raft_inflight inflight[LIMIT_INFLIGHT_APPENDS];

    /* A candidate's view. */
    bool answered;
    bool granted;
};

/* Asked for many times a turn, and changes seldom. */
struct raft_links {
    unsigned members;    /* bit per slot: the linked peer there is the member */
    uint32_t slowest_us; /* the longest round trip of a linked voter */
};

/* A request that was denied because a leader was known: granted when that leader is lost. */
struct raft_denied {
    uint8_t slot; /* 0: none */
    uint64_t at_us;
    struct raft_message request;
};

struct raft {
    struct raft_options options;
    struct random random;
    struct raft_log log;
    bool started;
    bool halted;
    bool aside; /* see raft_stand_aside */
    /* What cannot be read is neither present nor absent (lost.c). */
    uint64_t lost_term;
    uint64_t lost_last;     /* 0: nothing is lost */
    uint64_t lost_until;    /* all that its leader had is durable here when this is; 0: not known */
    uint64_t leftover_from; /* the disk holds unreadable entries from here; 0: none */
    uint64_t lost_wait_us;  /* not before this */
    bool leftover_goes;     /* a leader is there: the next flush truncates them */
    uint64_t now_us;        /* of the last call */

    uint8_t cluster[IDENTITY_BYTES];
    uint64_t term;
    uint8_t vote[IDENTITY_BYTES];
    enum raft_role role;
    uint8_t leader;
    uint64_t leader_since_us;
    uint64_t commit;
    uint64_t applied;
    uint64_t checkpoint_index;

    struct raft_config config;     /* the latest in the log */
    struct raft_config previous;   /* the one before it: what a truncation goes back to */
    struct raft_config at_applied; /* the newest that is applied: what a checkpoint holds */

    /* Copying segments (node/catchup.c); kept and set by the owner. */
    uint64_t kept_from;  /* entries before are not on this node's disk any more */
    uint64_t copy_below; /* a peer that needs entries below should rather copy; 0: none should */
    bool copying;        /* this node copies: its leader is asked for no entries */
    bool copy_advised;   /* the leader's newest append said so */
    bool frozen;

    struct raft_peer peers[RAFT_SLOTS];
    struct raft_links links; /* follows from config and peers: raft_links_changed */

    /* Elections. */
    uint64_t leader_heard_us;
    uint64_t election_at_us;
    uint64_t campaign_at_us; /* sooner than the time-out: a lost leader, a lost vote; 0: none */
    uint64_t campaign_began_us;
    unsigned retries; /* left, before only the time-out counts */
    bool transfer_campaign;
    uint32_t leader_heartbeat_us;
    uint32_t leader_timeout_us;
    struct raft_denied denied;
    uint8_t relay_slot; /* it denied a vote lately because it hears a leader */
    uint64_t relay_until_us;
    uint8_t grant_slot; /* whose vote waits for its flush; 0: nobody's */
    uint64_t grant_sent_us;

    /* A follower's. */
    uint64_t verified;    /* its log equals the leader's up to here */
    uint64_t told_commit; /* the highest commit index that a leader named since the start */
    bool ack_pending;
    uint64_t append_session;
    uint64_t append_round;
    uint64_t append_sent_us;
    bool leader_full; /* its disk, as its newest append said */

    /* A leader's. */
    uint64_t first_of_term;
    uint64_t leading_since_us;
    uint64_t session_counter;
    uint64_t round;
    bool round_used; /* something was sent with it */
    uint64_t read_wanted;
    uint64_t read_confirmed;
    uint8_t transfer_to;
    bool transfer_told;
    bool leaving; /* its own removal is committed, and it hands over */
    uint64_t transfer_until_us;
    uint64_t handed_over_us; /* when it last tried to, for its disk's sake; 0: never */
    struct log_clock clock;

    /* The flush. */
    uint64_t ticket;
    bool flush_out;
    uint64_t flush_began_us;
    uint64_t flushing_last; /* the last index that the flush makes durable and that still counts */
    uint64_t flushing_end;  /* the last index it writes, truncated meanwhile or not */
    bool flushing_vote;
    bool flushing_cluster;
    uint64_t flushing_truncate;
    bool flushing_leftover;
    uint64_t durable;   /* what is in the log and on disk */
    uint64_t disk_last; /* what is on disk, truncated in memory or not */
    bool save_vote;
    bool save_cluster;
    uint64_t truncate_from; /* 0: nothing */
    uint32_t flush_us;      /* smoothed */
    uint32_t flush_last_us; /* the last one alone */
    bool disk_full;         /* a flush was refused: entries are not written before disk_retry_us */
    bool flushing_short;    /* the flush that is out leaves the entries out for that reason */
    bool no_spare;          /* the store cannot make the next segment: soon it will be refused */
    uint64_t disk_retry_us;
};

/* raft.c */
void raft_halt(struct raft *raft, const char *reason, const struct effects *out);
void raft_set_leader(struct raft *raft, uint8_t slot, struct now now);
/* A follower in `term` (not below the present one). */
void raft_become_follower(struct raft *raft, uint64_t term, uint8_t leader, struct now now);
void raft_send(struct raft *raft, uint8_t slot, const struct raft_message *message,
               struct slice entries, const struct effects *out);
bool raft_cluster_durable(const struct raft *raft);
bool raft_identity_equal(const uint8_t *a, const uint8_t *b);
uint32_t raft_smooth(uint32_t average, uint64_t sample_us);
/* What the log may forget: durable and applied. */
uint64_t raft_forgettable(const struct raft *raft);

/* config.c */
void raft_config_appended(struct raft *raft, const struct entry *entry);
void raft_config_truncated(struct raft *raft, uint64_t last);
const struct raft_member *raft_self(const struct raft *raft);
bool raft_is_voter(const struct raft *raft);
/* The member that the linked peer in `slot` is, or NULL. */
const struct raft_member *raft_linked_member(const struct raft *raft, uint8_t slot);
unsigned raft_voter_bits(const struct raft *raft);
/* After each change of config, of a link or of what a round trip takes. */
void raft_links_changed(struct raft *raft);
/* Whether that was never forgotten: for the simulator. */
bool raft_links_right(const struct raft *raft);

/* quorum.c */
unsigned raft_majority(const struct raft *raft);
/* The highest value that a majority of the voters has reached; `own` is this node's. */
uint64_t raft_quorum_match(const struct raft *raft, uint64_t own);
uint64_t raft_quorum_round(const struct raft *raft);
/* A majority answered appends that were sent after now - within. */
bool raft_quorum_answered(const struct raft *raft, uint64_t within_us);

/* election.c */
void raft_reset_election(struct raft *raft, struct now now);
void raft_election_tick(struct raft *raft, struct now now, const struct effects *out);
void raft_campaign(struct raft *raft, bool pre, struct now now, const struct effects *out);
void raft_lost_leader(struct raft *raft, struct now now, const struct effects *out);
void raft_ask_vote(struct raft *raft, uint8_t slot, const struct effects *out);
void raft_vote_flushed(struct raft *raft, struct now now, const struct effects *out);
void raft_on_vote_request(struct raft *raft, uint8_t slot, const struct raft_message *message,
                          struct now now, const struct effects *out);
void raft_on_vote_reply(struct raft *raft, uint8_t slot, const struct raft_message *message,
                        struct now now, const struct effects *out);
void raft_on_timeout_now(struct raft *raft, uint8_t slot, const struct raft_message *message,
                         struct now now, const struct effects *out);

/* replicate.c */
void raft_become_leader(struct raft *raft, struct now now, const struct effects *out);
void raft_progress_reset(struct raft *raft, uint8_t slot, struct now now);
void raft_advance_commit(struct raft *raft);
uint64_t raft_append_own(struct raft *raft, enum entry_kind kind, uint32_t count,
                         const uint32_t *sizes, const uint8_t *bodies, size_t len, struct now now);
void raft_leader_tick(struct raft *raft, struct now now);
void raft_replicate(struct raft *raft, struct now now, const struct effects *out);
void raft_on_append_reply(struct raft *raft, uint8_t slot, const struct raft_message *message,
                          struct now now);
/* Its own write is stuck while a majority's are not: it keeps silent, so that another is elected.
 */
bool raft_leader_stuck(const struct raft *raft);

/* follow.c */
bool raft_on_append(struct raft *raft, uint8_t slot, const struct raft_message *message,
                    struct now now, const struct effects *out) FT_MUST_USE;
void raft_acknowledge(struct raft *raft, bool at_once, struct now now, const struct effects *out);

/* flush.c */
void raft_flush_start(struct raft *raft, struct now now, const struct effects *out);
/* Everything after `last` leaves the log, in memory now and on disk with the next flush. */
void raft_truncate(struct raft *raft, uint64_t last);
/* How long a flush takes here: the average, or the one that is out when it has taken longer. */
uint32_t raft_flush_time(const struct raft *raft);
/* What the others are told: not less than the last one took, for an average learns slowly that a
 * disk has become slow. */
uint32_t raft_flush_report(const struct raft *raft);
/* The disk is full or about to be. */
bool raft_disk_short(const struct raft *raft);

/* lost.c */
/* Is a candidate's log as good as this node's was before a part of it was lost? */
bool raft_lost_allows(const struct raft *raft, const struct raft_vote_request *request);
/* What is lost may still be mended: nothing is taken from a leader yet. */
bool raft_lost_waits(const struct raft *raft);
/* At the start, when nothing is left over: is all of it here again? */
void raft_lost_found(struct raft *raft);
/* A leader's append fits; `end` is where its entries end here, `all` that it has no more. */
void raft_lost_heard(struct raft *raft, uint64_t end, bool all);
/* Something became durable. */
void raft_lost_flushed(struct raft *raft);

/* transfer.c */
void raft_transfer_tick(struct raft *raft, struct now now);
void raft_transfer_step(struct raft *raft, const struct effects *out);
/* A leader whose disk is full or slow hands over, if there is a better one (transfer.c). */
void raft_hand_over(struct raft *raft, struct now now, const struct effects *out);
void raft_leave_step(struct raft *raft, struct now now, const struct effects *out);

#endif
