/* struct node: for the files of core/node only. One file per concern, each called by node.c:
 *
 *   peers.c      links to the other nodes: dialling, HELLO, silence
 *   twins.c      two processes under one identity
 *   formation.c  form, learners, their promotion
 *   membership.c what ctl changes; a node that is no member any more; the ini against the log
 *   queue.c      the queue itself;  held.c: made durable while there is no leader;  forward.c: from the queue to the leader, and the leader's
 * admission apply.c      committed entries into the chat, answers, checkpoints recent.c     the
 * ring of newest records;  stream.c: live and catch-up delivery session.c    clients: salt,
 * enrolling, login, commands;  target.c: the posts that they delete;  query.c: lists;  history.c
 * control.c    ctl: status, form, invite, health, transfer
 *   level.c      the feature level rises;  copy.c: the committed log, piece by piece, for a backup
 *   catchup.c    copying segments from others;  serve.c: what others fetch here, and retention */
#ifndef FTCHAT_CORE_NODE_STATE_H
#define FTCHAT_CORE_NODE_STATE_H

#include "core/check.h"
#include "core/line.h"
#include "core/node/node.h"
#include "core/node/queue.h"
#include "core/node/recent.h"

enum {
    NODE_PING_US = 250000,
    NODE_SILENT_US =
        1000000, /* a link without a PONG for this long, or two time-outs, is redialled */
    NODE_DIAL_FIRST_US = 20000, /* back-off of dialling a peer that is not there */
    NODE_DIAL_LAST_US = 500000,
    NODE_TWINS_US = 2000000,   /* refused for this long after both were last seen alive */
    NODE_ADDING_US = 10000000, /* how long a node that ctl adds is dialled before it is a member */
    NODE_RETRY_US = 50000,     /* forward again what was refused for now */
    NODE_LATE_RETRY_US = 1000000,  /* forward again what was not answered for this long */
    NODE_APPLY_BYTES = 1 << 20,    /* applied in one turn at most */
    NODE_STOP_US = 2000000,        /* handing over takes at most this long */
    NODE_QUEUE_SHARE = 8,          /* one account has at most this part of the queue */
    NODE_FORWARD_WINDOW = 1 << 20, /* bytes under way to the leader and not answered */
    NODE_QUERIES = 1024,
    NODE_COPIES = 7,        /* pieces of the log being read for ctl; store/threads.h counts on it */
    NODE_QUERY_READS = 128, /* pages being read at once */
    NODE_TARGETS = 64,      /* posts to be deleted that are being looked for at once */
    NODE_CLIENT_QUERIES = 64, /* pages that one client waits for */
    NODE_NONCES = 4096,       /* commands of no device waiting at once */
    NODE_RANGES = 16384,      /* rooms of one catch-up read */
    NODE_PAGE_BYTES = 128 << 10,
    NODE_LOGIN_US = 60000000,
    NODE_LOGIN_MESSAGES = 16, /* of one connection before its login: each costs a signature check */
    NODE_ANSWERS_BYTES = 1 << 20, /* unread by a client that goes on asking: it is told to wait */
    NODE_UNKNOWN_INVITES = 30,    /* a minute: registrations by an invite that is not known here */
    NODE_SKIPS_TOLD = 2,
    NODE_RECORD_OVERHEAD = 320, /* a record's bytes beyond its command's, at most */
    NODE_READS = 64,            /* catch-up reads under way at once */
    NODE_DARK_US = 1000000,     /* or two time-outs, whichever is longer: then what waits is held */
    NODE_HOLD_COMMANDS = 1024,  /* in one append to the held log */
    NODE_LATE_POST_US = 2000000, /* a post that took so long shows when it was written */
    NODE_RELAYED_US = 5000000, /* refusals of what was relayed for others are passed on this long */
    NODE_FETCH_US = 3000000,   /* a piece that does not come in this time is asked for elsewhere */
    NODE_OFFER_US = 300000, /* likewise an offer, which needs no disk; no entry comes meanwhile */
    NODE_COPY_RETRY_US = 1000000,
    NODE_COPY_FAILED_US = 5000000,
    NODE_COPY_REFUSALS = 20,         /* pieces in a row that were not what they should be */
    NODE_INSTALL_AFTER_US = 1000000, /* since the start */
    NODE_SERVED_US = 30000000,       /* what was fetched in this time is not dropped */
    NODE_SEALED = 4,                 /* newest sealed segments whose ends are known; as store.h */
};
_Static_assert(NODE_PAGE_BYTES > LIMIT_COMMAND_BYTES + 4096, "a page holds at least one record");

enum session_state {
    SESSION_FREE,
    SESSION_NEW, /* a client before its login */
    SESSION_CLIENT,
    SESSION_NODE,
    SESSION_CTL,
};

enum stream_state {
    STREAM_OFF,
    STREAM_LIVE,    /* gets every record as it is applied; cursor = applied */
    STREAM_BEHIND,  /* its cursor is behind; moves on when it is drained */
    STREAM_READING, /* a read is under way */
};

struct skip_told {
    uint32_t room;
    uint64_t upto_seq;
};

struct session {
    enum session_state state;
    enum stream_state stream;
    uint32_t generation;
    uint32_t account;
    uint32_t device;
    uint32_t next_of_account; /* session number + 1; 0: end */
    uint8_t slot;             /* nodes: whose, after HELLO */
    uint64_t incarnation;     /* of that process */
    bool copying;             /* ctl: a piece of the log is being read for it */
    bool copying_base;        /* and that is one of the log's base */
    bool deadline_moved;      /* a stranger's, once */
    uint8_t attempts;         /* messages before the login */
    uint16_t pages;           /* history that it waits for */
    uint64_t refused_seq;     /* not taken: the client goes on from there; 0: none */
    bool passed_over;         /* something beyond refused_seq came and was not taken */
    uint64_t unsent;          /* bytes since the last DRAINED */
    uint64_t cursor;
    uint64_t target;    /* where the read under way ends */
    uint64_t held_upto; /* held posts were shown up to this number; UINT64_MAX: all so far */
    uint32_t told_next;
    struct skip_told told[NODE_SKIPS_TOLD];
    uint8_t hash[32];
};

enum link_state { LINK_IDLE, LINK_DIALLING, LINK_UP };

struct peer {
    bool known;  /* by the ini or the log: it is dialled, and may dial */
    bool by_log; /* dialled at the address that the log names, not the ini's */
    bool identity_elsewhere_told;
    enum link_state link;
    uint64_t dial_at_us;
    uint64_t back_off_us;
    uint64_t heard_us;
    uint64_t ping_at_us;
    bool greeted; /* its HELLO came back: identity, cluster and incarnation are true */
    bool foreign_told;
    bool version_told;
    uint8_t identity[IDENTITY_BYTES];
    uint8_t cluster[IDENTITY_BYTES];
    uint64_t incarnation;
    uint16_t feature_max;
    uint32_t in_connection; /* newest accepted link from it, + 1; 0: none */
    uint32_t in_other;      /* the newest of another incarnation than that */
    uint64_t probe_us;      /* when both of two incarnations were asked whether they live; 0: not */
    bool probe_answers[2];  /* on the dialled, on the accepted link */
    uint64_t twins_until_us; /* both are refused; 0: no twins */
};

enum catchup_state {
    CATCHUP_IDLE,
    CATCHUP_OFFER,   /* somebody was asked what it has */
    CATCHUP_STORE,   /* the store has something to do */
    CATCHUP_FETCH,   /* `next` is wanted, or asked for; or the copy is complete */
    CATCHUP_INSTALL, /* raft is frozen; the process starts anew */
};

struct catchup {
    enum catchup_state state;
    uint8_t source; /* who is asked; 0: to be chosen */
    uint8_t tried;  /* bit per slot: without success since the last piece */
    uint8_t gone;   /* of them: it has no such piece */
    /* It could not read a piece, sent a wrong one, or offered what nobody has the end of. */
    uint8_t ill;
    uint8_t offerer; /* of what is being copied, as far as this process knows */
    bool asked;
    bool clean; /* no part of a copy is on the disk, as this process knows */
    bool whole; /* nothing of the own log is gone on from */
    bool complete;
    uint64_t id;
    uint64_t give_up_at_us;
    uint64_t next_at_us; /* neither asks nor begins before */
    uint32_t refused;
    uint64_t end;
    struct effect_piece next;
    uint8_t chain[HASH_BYTES];
};

/* A peer that fetches here. */
struct serving {
    bool reading;
    struct wire_fetch fetch; /* the newest */
    uint64_t until_us;
};

struct pending_query {
    bool used;
    bool reading;
    uint32_t connection;
    uint32_t generation;
    struct wire_query query; /* its room is empty: `room` says it */
    uint32_t room;
    uint64_t seq_from;
    uint64_t seq_to;
    uint64_t seq_last;   /* of the room */
    uint64_t ring_after; /* this index and all before it are durable; what follows is in the ring */
    uint64_t ring_seq;   /* from here on the page comes from the ring */
    bool more;
    bool stale; /* the node was behind the client when the page was chosen */
};

/* A DELETE that waits until its post is found (target.c). */
struct target_lookup {
    bool used;
    bool found;
    uint32_t connection;
    uint32_t generation;
    uint64_t seq; /* the device's */
    struct command_target target;
    uint32_t len;
    uint8_t message[1 + COMMAND_HEAD_BYTES + 1 + LIMIT_ROOM_NAME + 8 + COMMAND_TARGET_BYTES];
};

/* A record of a READ_POSTS answer. */
struct stored_record {
    uint8_t kind; /* NODE_STORE_POST ... */
    uint32_t room;
    uint64_t seq;
    uint64_t index;
    uint64_t time_us;
    struct slice body;
};

/* A token bucket (login.c). */
struct node_bucket {
    uint64_t credit_us;
    uint64_t counted_at_us;
};

/* What is known to be damaged here, and the one file that is looked at (mend.c). */
enum mend_phase { MEND_IDLE, MEND_CHECKING, MEND_FETCHING, MEND_WRITING };
enum { NODE_DAMAGED = 32 };
struct damaged_file {
    uint8_t file;
    uint64_t id;
    uint64_t retry_at_us; /* nobody had what is missing: asked again then */
};
/* Of the ids of fetches: it is for mending. */
#define MEND_FETCH (UINT64_C(1) << 63)

struct mending {
    enum mend_phase phase;
    uint8_t file;
    uint64_t id;
    bool listed;     /* it was found damaged */
    bool skipped;    /* and something of it could not be mended */
    uint64_t index;  /* of the entry wanted */
    uint64_t offset; /* of the part of a file wanted */
    uint64_t fetch_id;
    uint64_t fetches;
    uint8_t asked;   /* slot */
    uint8_t tried;   /* bit per slot */
    uint8_t lacking; /* of these: who answered that it does not have it */
    uint8_t dropped; /* of these: whose log begins later */
    uint8_t failing; /* and whose copy cannot be read, or is no better */
    uint64_t until_us;
    struct damaged_file damaged[NODE_DAMAGED];
    uint32_t damaged_count;
    bool held_told;
    bool held; /* the log's tail is (store.h: leftover) */
    bool tail_mended;
    uint64_t held_at_us;
    uint64_t commit; /* known to be committed, beyond what raft could be given */
    uint64_t mended; /* since the start */
    uint64_t scrub_at_us;
    uint64_t rounds; /* of everything, since the start */
    uint64_t round_bytes;
    uint64_t found; /* places damaged, since the start */
    bool asked_for; /* ctl wants a round now: */
    uint64_t asked_rounds;
    uint64_t asked_found;
};
struct waiter {
    bool used;
    uint32_t connection;
    uint32_t generation;
};

struct node {
    struct node_options options;
    struct raft *raft;
    struct chat *chat;
    struct queue *queue;
    struct recent *recent;
    struct random random;
    struct node_gauges gauges;
    struct now now;
    uint64_t started_us;

    /* peers and formation */
    struct peer peers[LIMIT_NODES + 1];
    uint8_t said_cluster[IDENTITY_BYTES];
    bool genesis_due; /* this node forms a cluster: GENESIS goes out once it leads */
    uint8_t genesis_secret[32];
    uint8_t genesis_slots;
    uint64_t genesis_segment_bytes;
    uint64_t manage_at_us;
    struct waiter form_waiter;
    /* membership */
    struct waiter member_waiter;
    uint64_t member_index; /* of the configuration that it waits for */
    uint64_t member_term;
    uint8_t adding_slot; /* dialled because ctl wants it in; 0: nobody */
    uint64_t adding_until_us;
    struct raft_address adding_address;
    uint64_t seen_config;
    uint64_t removed_at; /* no member by the configuration at this index, as a member said; 0 */
    bool removed;
    uint64_t told_twins_until_us; /* another process runs under this node's identity; 0: no */
    uint8_t ini_differs;
    struct waiter transfer_waiter;
    struct waiter verify_waiter;
    uint64_t elections;

    /* the feature level */
    uint16_t level_asked; /* this leader put it into the log in this term; 0: nothing */
    uint64_t level_term;  /* of level_asked */
    uint64_t level_at_us; /* looked at again then */
    bool level_told;      /* that somebody cannot follow */

    /* what the turn before saw, to notice changes */
    uint64_t seen_term;
    uint8_t seen_leader;
    bool seen_quorum;

    /* forwarding */
    uint32_t forward_next;  /* the next queue position to forward; 0 with forward_done: none */
    bool forward_done;      /* everything in the queue was forwarded */
    bool admitting;         /* leader whose no-op is applied */
    uint64_t applied_term;  /* of the newest entry applied since the start; 0: none */
    uint32_t forward_round; /* counts the rounds of forwarding everything */
    uint64_t forward_bytes; /* forwarded in this round and not answered */
    uint64_t retry_at_us;   /* 0: none; then forward everything again */
    uint64_t forwarded_at_us;
    uint64_t incarnation;
    uint64_t nonce;
    uint32_t nonces; /* in the queue */
    uint32_t batch_count;
    size_t batch_len;
    uint8_t batch_slots; /* bit n: some of it came from slot n */
    uint8_t relay;       /* this node hears no leader, and that one does; 0: none */
    uint8_t relayed_for; /* bit n: commands of slot n went through here */
    uint64_t relayed_at_us;

    /* holding */
    bool dark;              /* no leader for so long that what waits is held */
    uint64_t dark_since_us; /* without a leader; 0: there is one */
    uint32_t hold_next;     /* the next queue position to consider; 0: all were */
    bool hold_out;
    bool hold_discards;     /* the one that is out */
    uint64_t hold_number;   /* of the one that is out, or was last */
    uint64_t hold_retry_us; /* the disk was full: not before this */
    uint32_t hold_count;    /* items in it */
    uint64_t hold_first;    /* number of the first */
    uint32_t hold_entry_len;
    uint64_t held_last;   /* number given last */
    uint64_t held_bytes;  /* of the held log */
    uint32_t held_open;   /* items that are written, or being written, to it */
    uint32_t hold_blocks; /* of held_blocks: what is out */
    uint32_t held_blocks; /* of the queue, that all records of the held log would take */
    uint64_t
        held_target_term; /* of held_target: applied, it says that a device which is not known does not exist */
    uint64_t held_target;
    uint64_t held_looked_term; /* in this term what cannot be resolved by applying was looked for */

    /* applying */
    uint64_t applied;
    bool apply_reading;
    bool apply_stalled;      /* its disk is full, and it may not run ahead of that any more */
    uint64_t apply_retry_us; /* a read failed: again then; 0: none */
    struct mending mending;
    uint64_t applied_time_us; /* log time of the newest one */
    uint64_t segment_used;    /* bytes of entries applied since the last segment's end */

    /* sessions */
    uint32_t sessions_used; /* highest session number ever used + 1 */
    uint32_t generation;
    uint64_t clients;
    uint32_t reads_out;   /* catch-up reads under way */
    uint32_t copies_out;  /* reads for ctl under way */
    uint32_t behind;      /* sessions that are STREAM_BEHIND */
    uint32_t behind_turn; /* whose turn it is among them */
    uint32_t queries_used;
    uint32_t query_reads;
    struct target_lookup targets[NODE_TARGETS];
    struct node_bucket registrations;
    struct node_bucket unknown_invites;

    /* copying and history */
    struct catchup catchup;
    struct serving serving[LIMIT_NODES + 1];
    uint64_t first;               /* the oldest index on this disk */
    uint64_t sealed[NODE_SEALED]; /* ends of the newest sealed segments, rising; 0: none */

    bool stopping;
    bool stop_told;
    uint64_t stop_by_us;

    /* Arrays in the caller's memory. */
    struct session *sessions;
    uint32_t *account_sessions;  /* per account: first session + 1 */
    uint64_t *account_credit_at; /* per account: when its posting credit was last counted, us */
    uint32_t *account_queued;    /* per account: bytes of its commands in the queue */
    uint32_t *account_credit;    /* posts it may still send at once */
    struct pending_query *queries;
    struct effect_range *ranges;
    uint32_t *batch_sizes;
    uint8_t *batch;       /* LIMIT_ENTRY_BYTES: the commands of this turn */
    uint8_t *forward_out; /* one FORWARD message; or a held command's body while it is shown */
    uint8_t *hold_entry;  /* LIMIT_HOLD_BYTES: what is being held */
    uint32_t *hold_positions;
    uint8_t *scratch; /* NODE_PAGE_BYTES + LIMIT_COMMAND_BYTES: a message being built */
    uint8_t *checkpoint;
    size_t checkpoint_bytes;
};

/* peers.c */
void peers_start(struct node *node, const struct effects *out);
void peers_tick(struct node *node, const struct effects *out);
void peers_cluster_changed(struct node *node, const struct effects *out);
void peers_up(struct node *node, uint8_t slot, const struct effects *out);
void peers_down(struct node *node, uint8_t slot, enum raft_link_end end, const struct effects *out);
void peers_message(struct node *node, uint8_t slot, struct slice message,
                   const struct effects *out);
/* On a link that a peer dialled. false: malformed, or a stranger: close it. */
bool peers_heard(struct node *node, uint32_t connection, struct slice message,
                 const struct effects *out);
void peers_closed(struct node *node, uint32_t connection);
/* Who is known may have changed: the configuration, or who is being added. */
void peers_refresh(struct node *node, const struct effects *out);
void peers_ping(struct node *node, uint8_t slot, const struct effects *out);
/* Where `slot` is by the ini; NULL: it is not there. */
const struct raft_address *peers_ini_address(const struct node *node, uint8_t slot);
bool peers_send(struct node *node, uint8_t slot, struct slice head, struct slice body,
                const struct effects *out);
uint8_t peers_healthy(const struct node *node);

/* twins.c */
/* Both of two processes under one identity are asked at `at_us`, when there seem to be two. */
void twins_probe(struct node *node, uint8_t slot, const struct effects *out);
/* A PONG to what was asked at `at_us`: on the link that this node dialled, or on `connection`. */
void twins_answered(struct node *node, uint8_t slot, bool dialled, uint64_t at_us,
                    const struct effects *out);
/* Is what this session says to be ignored? */
bool twins_refused(const struct node *node, const struct session *session);
void twins_tick(struct node *node, uint8_t slot, const struct effects *out);
/* A peer says that this node is one of two. */
void twins_told(struct node *node, uint8_t by, const struct effects *out);

/* membership.c */
bool membership_change(struct node *node, struct session *session, struct slice message,
                       const struct effects *out);
void membership_members(struct node *node, struct session *session, const struct effects *out);
void membership_turn(struct node *node, const struct effects *out);
/* A PING came from this session: is it no member's, it is told. */
void membership_heard(struct node *node, struct session *session, const struct effects *out);
void membership_told(struct node *node, uint8_t by, uint64_t index, const struct effects *out);

/* formation.c */
/* Whether a majority of those that vote once `slot` does not (0: of all) is there. */
bool formation_quorum_without(const struct node *node, uint8_t slot);
void formation_begin(struct node *node, const uint8_t cluster[IDENTITY_BYTES],
                     const uint8_t secret[32], uint8_t slots, uint64_t segment_bytes,
                     const struct effects *out);
void formation_manage(struct node *node, const struct effects *out);

/* forward.c */
void forward_again(struct node *node);
bool forward_push(struct node *node, const struct queue_item *item, struct slice body);
/* The same, whatever share its account has of the queue. */
bool forward_push_any(struct node *node, const struct queue_item *item, struct slice body);
void forward_turn(struct node *node, const struct effects *out);
bool forward_received(struct node *node, uint8_t slot, struct slice message,
                      const struct effects *out);
bool forward_relayed(struct node *node, uint8_t slot, struct slice message,
                     const struct effects *out);
bool forward_nack(struct node *node, uint8_t slot, struct slice message, const struct effects *out);
/* Forwards everything again no later than this from now. */
void forward_retry_within(struct node *node, uint64_t in_us);
/* The newest of its commands, back to one that is held: that stays until it is resolved. */
void forward_drop_device(struct node *node, uint32_t device);
/* The device is no more. */
void forward_end_device(struct node *node, uint32_t device, const struct effects *out);
void forward_drop_done(struct node *node, uint32_t device, uint64_t done);
/* The device's item of this seq; 0: none. */
uint32_t forward_find(const struct node *node, uint32_t device, uint64_t seq);
void forward_nack_client(struct node *node, uint32_t device, uint64_t expected,
                         const struct effects *out);
void forward_remove(struct node *node, uint32_t position);
/* held.c */
void held_restore(struct node *node, const struct node_recovery *recovery);
void held_turn(struct node *node, const struct effects *out);
void held_done(struct node *node, const struct node_event *event, const struct effects *out);
/* The client offered again what is held here. */
void held_offered(struct node *node, struct session *session, uint32_t position, uint64_t done,
                  const struct effects *out);
/* What became of it, just before it leaves the queue: who is sent no message under its uid is sent a retract. `answer`:
 * what stands under its seq now, whatever its content; of an ended device: a code. */
void held_resolved(struct node *node, uint32_t position, const struct chat_answer *answer,
                   const struct effects *out);
/* A reader is shown what is held, as much as it takes: at its login, and when it has taken what it got. */
void held_show(struct node *node, struct session *session, const struct effects *out);
/* The queued enrolment of this device, if there is one: `session` waits for it now. */
bool held_enrol(struct node *node, const uint8_t *device_key, const struct session *session);
/* Items whose end this node was not shown by applying: after a start or a checkpoint from elsewhere. */
void held_settle(struct node *node, bool sure, const struct effects *out);

/* A command of no device, answered to `connection` once applied (or to nobody). false: busy. */
bool forward_command(struct node *node, struct command *command, const struct session *session);

/* apply.c */
void apply_turn(struct node *node, const struct effects *out);
void apply_read_done(struct node *node, bool failed, struct slice entries,
                     const struct effects *out);

/* catchup.c */
void catchup_turn(struct node *node, const struct effects *out);
void catchup_copied(struct node *node, const struct node_event *event, const struct effects *out);
/* A piece from another node. false: malformed. */
bool catchup_fetched(struct node *node, uint8_t slot, struct slice message,
                     const struct effects *out);

/* serve.c */
void serve_start(struct node *node, uint64_t first, const uint64_t sealed[NODE_SEALED]);
bool serve_fetch(struct node *node, uint8_t slot, struct slice message, const struct effects *out);
void serve_read_done(struct node *node, uint32_t slot, const struct node_event *event,
                     const struct effects *out);
void serve_checkpointed(struct node *node, uint64_t index, const struct effects *out);
/* All others have dropped what is damaged at `index`: here it goes, too. */
void serve_drop_damaged(struct node *node, uint64_t index, const struct effects *out);
void serve_retained(struct node *node, uint64_t first, const struct effects *out);

/* stream.c */
/* `seq`: the room's newest post's. `deletes`: the index of the post that this deletes; 0: none. */
void stream_record(struct node *node, uint32_t room, uint64_t seq, uint64_t deletes,
                   const struct wire_record *record, const struct effects *out);
void stream_begin(struct node *node, struct session *session, uint64_t resume,
                  const struct effects *out);
void stream_drained(struct node *node, struct session *session, const struct effects *out);
void stream_read_done(struct node *node, uint32_t connection, uint32_t generation,
                      const struct node_event *event, const struct effects *out);
/* Starts reads for those who are behind, in turn. */
void stream_turn(struct node *node, const struct effects *out);
void stream_closed(struct node *node, struct session *session);
/* Fills in, beside seq, index and time, what the command becomes; false: it is no record. */
bool stream_record_from(struct node *node, const struct command *command, bool deleted,
                        struct wire_record *record);
/* The same of what the store gave. */
bool stream_record_of(struct node *node, const struct stored_record *stored,
                      struct wire_record *record);
/* The time that the author's side claims, as far as it is shown: for what was held or queued, or came late. */
uint64_t stream_sent_us(const struct command *command, uint64_t time_us);
/* The kind of record that a command becomes; 0: none. */
uint8_t stream_kind_of(const struct command *command);
size_t stream_encode_for(struct node *node, uint32_t room, uint32_t account,
                         struct wire_record *record, uint8_t *out, size_t capacity);

/* login.c */
bool login_received(struct node *node, struct session *session, struct slice message,
                    const struct effects *out);

/* session.c */
void session_send_code(struct node *node, struct session *session, enum wire_type type,
                       enum chat_code code, const struct effects *out);
void session_open(struct node *node, const struct node_event *event, const struct effects *out);
void session_message(struct node *node, uint32_t connection, struct slice message,
                     const struct effects *out);
void session_closed(struct node *node, uint32_t connection, const struct effects *out);
void session_close(struct node *node, struct session *session, bool gracefully,
                   const struct effects *out);
void session_send(struct node *node, struct session *session, struct slice message,
                  const struct effects *out);
struct session *session_of_device(struct node *node, uint32_t device);
uint32_t session_number(const struct node *node, const struct session *session);
/* The session that a number and generation named, or NULL when it is gone. */
struct session *session_if_same(struct node *node, uint32_t connection, uint32_t generation);
void session_answer(struct node *node, struct session *session, uint64_t seq, uint64_t digest,
                    const struct chat_answer *answer, const struct effects *out);
void session_enrolled(struct node *node, struct session *session, enum chat_code code,
                      uint32_t device, uint64_t index, const struct effects *out);
void session_device_ended(struct node *node, uint32_t account, uint32_t device,
                          const struct effects *out);
void session_tell_cluster(struct node *node, const struct effects *out);
struct wire_cluster node_cluster(const struct node *node);
/* Whether its clients are well served here: not without a quorum, and not where a full disk keeps
 * the answers back. */
bool node_has_quorum(const struct node *node);
/* Up to here the own disk has what was committed, and keeps it. Beyond, what a leader of an earlier term sent may
 * still stand there. */
uint64_t node_settled(const struct node *node);

/* level.c */
/* Proposes the next level once all can. */
void level_manage(struct node *node, const struct effects *out);
/* `level` is the cluster's, now or soon. False: this node cannot, and ends: nothing of it may be applied. */
bool level_known(struct node *node, uint16_t level, const struct effects *out);
/* Can whoever answers in `slot` do what the cluster does, and may soon do? */
bool level_fits(const struct node *node, uint8_t slot);

/* copy.c */
bool copy_received(struct node *node, struct session *session, struct slice message,
                   const struct effects *out);
void copy_read_done(struct node *node, uint32_t connection, uint32_t generation,
                    const struct node_event *event, const struct effects *out);

/* query.c */
void query_received(struct node *node, struct session *session, struct slice message,
                    const struct effects *out);
struct writer query_begin_result(struct node *node, const struct wire_query *query,
                                 enum chat_code code, uint8_t flags);
void query_end_result(struct node *node, struct session *session, const struct writer *writer,
                      const struct effects *out);
void query_refuse(struct node *node, struct session *session, const struct wire_query *query,
                  enum chat_code code, const struct effects *out);

/* Where a result's flags stand, after its type and id and code. */
enum { RESULT_FLAGS_AT = 1 + 8 + 1 };

/* target.c */
/* What was found of the post that this command names, once; false: it is to be looked for. */
bool target_found(struct node *node, const struct session *session, const struct command *command,
                  struct command_target *target);
/* NOW: `target` says what there is to say. LATER: it is being looked for, and the command is taken
 * then, as if it came again. */
enum target_begun { TARGET_NOW, TARGET_LATER, TARGET_BUSY };
enum target_begun target_begin(struct node *node, struct session *session,
                               const struct command *command, struct slice body,
                               struct command_target *target, const struct effects *out);
void target_read_done(struct node *node, uint32_t number, const struct node_event *event,
                      const struct effects *out);

/* history.c */
void history_query(struct node *node, struct session *session, const struct wire_query *query,
                   uint32_t room, const struct effects *out);
void history_read_done(struct node *node, uint32_t number, const struct node_event *event,
                       const struct effects *out);
void history_closed(struct node *node, uint32_t connection);

/* mend.c */
void mend_start(struct node *node);
void mend_turn(struct node *node, const struct effects *out);
void mend_checked(struct node *node, const struct node_event *event, const struct effects *out);
void mend_mended(struct node *node, const struct node_event *event, const struct effects *out);
void mend_noticed(struct node *node, uint8_t file, uint64_t id);
bool mend_fetched(struct node *node, uint8_t slot, struct slice message, const struct effects *out);
uint32_t mend_open(const struct node *node);
/* Reads all without a pause; true once it is done: places found damaged, files that still are. */
void mend_prove_all(struct node *node);
bool mend_proved_all(const struct node *node, uint64_t *found, uint64_t *open);

/* control.c */
bool control_message(struct node *node, struct session *session, struct slice message,
                     const struct effects *out);
void control_done(struct node *node, struct session *session, enum chat_code code, uint64_t index,
                  const char *why, const struct effects *out);
void control_turn(struct node *node, const struct effects *out);

/* The kinds of a READ_POSTS answer's records (store.h). */
enum {
    NODE_STORE_POST = 1,
    NODE_STORE_EVENT = 2,
    NODE_STORE_SKIPPED = 3,
    NODE_STORE_TRUNCATED = 4,
    NODE_STORE_DELETED = 5
};
enum { NODE_STORE_HEAD_BYTES = 33 };

static inline struct stored_record stored_next(struct reader *reader)
{
    struct stored_record stored;
    stored.kind = read_u8(reader);
    stored.room = read_u32(reader);
    stored.seq = read_u64(reader);
    stored.index = read_u64(reader);
    stored.time_us = read_u64(reader);
    stored.body = read_slice32(reader);
    CHECK(!reader->bad);
    return stored;
}

/* Reads of the node's own are told apart by the byte above bit 56; the rest names who asked. */
enum read_kind {
    READ_FOR_APPLY = 1,
    READ_FOR_STREAM = 2,
    READ_FOR_QUERY = 3,
    READ_FOR_PEER = 4,
    READ_FOR_TARGET = 5,
    READ_FOR_COPY = 6
};

static inline uint64_t read_id(enum read_kind kind, uint32_t generation, uint32_t number)
{
    return (uint64_t)kind << 56 | (uint64_t)generation << 24 | number;
}

static inline void node_wake_at(uint64_t at_us, const struct effects *out)
{
    struct effect effect = { .kind = EFFECT_WAKE_AT, .wake_at_us = at_us };
    effect_emit(out, &effect);
}

static inline bool identity_is_zero(const uint8_t identity[IDENTITY_BYTES])
{
    static const uint8_t zeros[IDENTITY_BYTES];
    return !memcmp(identity, zeros, IDENTITY_BYTES);
}

#endif
