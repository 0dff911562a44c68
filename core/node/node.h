/* One whole server as a state machine: Raft, the chat, its peers' links and its clients' sessions.
 *
 * The core contract (architecture.md): node_step takes one event with the time and hands effects to
 * `emit` at once and in order (core/effect.h). Events of one turn of the loop come in this order:
 * peers and FLUSHED, then clients; EVENT_TURN_END closes every turn: there commands become one
 * entry, appends go out, one flush begins.
 *
 * Connections that others dialled are numbered by the interpreter: 0 .. connections - 1, a number
 * is free again after CLOSED was given or CLIENT_CLOSE was emitted. Links that this node dialled
 * are named by the peer's slot. The node speaks to a peer on the link it dialled and hears it on
 * the one it accepted; on a dialled link only HELLO and PONG come back.
 *
 * Memory is given at node_init, sized by the options; nothing else is allocated. */
#ifndef FTCHAT_CORE_NODE_NODE_H
#define FTCHAT_CORE_NODE_NODE_H

#include "core/chat/chat.h"
#include "core/effect.h"
#include "core/raft/raft.h"
#include "core/wire.h"

struct node;

struct node_options {
    uint8_t slot;
    uint8_t peers; /* bit n - 1: slot n is in the ini; its own bit included */
    const struct raft_address *addresses; /* by slot, as the ini says; borrowed for the node's life;
                                             NULL: whoever dials knows */
    uint8_t identity[IDENTITY_BYTES];
    const struct crypto *crypto;
    uint64_t seed; /* for jitter; and it must differ at each start */
    uint32_t heartbeat_us;
    uint32_t election_min_us;
    uint32_t election_max_us;
    size_t cache_bytes; /* as raft_options */
    uint32_t cache_entries;
    struct chat_limits chat;
    uint32_t connections;   /* <= LIMIT_CONNECTIONS */
    size_t queue_bytes;     /* commands of its clients, waiting for their answer */
    size_t recent_bytes;    /* newest applied records, for readers that are a little behind */
    uint64_t segment_bytes; /* of this node's store */
    uint64_t retain_bytes;  /* of history; 0: all of it */
    uint64_t retain_us;     /* 0: for ever */
    uint32_t copy_bytes;    /* one piece of a copy; <= LIMIT_COPY_BYTES */
    uint32_t copy_bytes_per_s;
    uint64_t scrub_us;      /* everything at rest is proved once in so long; 0: only when asked */
    uint32_t message_bytes; /* [limits] */
    uint32_t posts_per_s;
    uint32_t catch_up;
    uint32_t registrations_per_min;
    uint16_t feature_max;     /* FEATURE_LEVEL_MAX; the simulator's old nodes can do less */
    uint16_t feature_allowed; /* [cluster] feature_level: a leader raises no higher; 0: no bound */
    bool registration_open;
    bool registration_closed; /* neither: by invite */
    struct slice version;     /* for status; borrowed for the node's life */
};

enum node_connection_role { CONNECTION_CLIENT, CONNECTION_NODE, CONNECTION_CTL };

enum node_event_kind {
    EVENT_RESTORE = 1, /* recovered entries after the checkpoint, in order, before START */
    EVENT_START,       /* once */
    EVENT_TICK,
    EVENT_TURN_END,
    EVENT_OPEN,    /* somebody dialled in and is authenticated as far as its role goes */
    EVENT_MESSAGE, /* on such a connection */
    EVENT_CLOSED,
    EVENT_DRAINED,   /* all that was sent on such a connection is with the kernel */
    EVENT_PEER_UP,   /* answers PEER_DIAL */
    EVENT_PEER_DOWN, /* answers PEER_DIAL, or ends an up link; not after PEER_CLOSE */
    EVENT_PEER_MESSAGE,
    EVENT_FLUSHED,
    EVENT_HELD,
    EVENT_READ_DONE,
    EVENT_CHECKED,
    EVENT_MENDED,
    EVENT_NOTICED,      /* a read came upon damage */
    EVENT_DISK,         /* whether the store can make its next segment: told at each change */
    EVENT_CHECKPOINTED, /* answers CHECKPOINT, when it is durable */
    EVENT_RETAINED,     /* answers RETAIN */
    EVENT_COPIED,       /* answers COPY, but for DROP */
    EVENT_LATE,         /* the loop was late: time-outs start anew. Comes first in its turn */
    EVENT_STOP,         /* hand leadership over, then HALT with 0 */
};

enum node_copy_result {
    COPIED_OK,
    COPIED_EXISTS,  /* BEGIN: the own log reaches as far */
    COPIED_CORRUPT, /* WRITE: it is not what it should be; the rest says what is wanted now */
    COPIED_NO_SPACE,
    COPIED_FAILED,
};

struct node_event {
    enum node_event_kind kind;
    struct now now;
    union {
        struct slice entries; /* RESTORE */
        struct {
            uint32_t connection;
            enum node_connection_role role;
            const uint8_t *hash; /* OPEN: the handshake's, 32 bytes */
            struct slice message;
        } client;
        struct {
            uint8_t slot;
            enum raft_link_end end; /* DOWN */
            struct slice message;
        } peer;
        struct {
            uint64_t ticket;
            bool no_space; /* nothing was written; every other failure ends the process instead */
            uint32_t duration_us;
        } flushed;
        struct {
            uint64_t number;
            bool no_space; /* as with FLUSHED */
        } held;
        struct {
            uint64_t id;
            bool failed;
            struct slice data; /* READ_ENTRIES: whole entries; READ_POSTS: records as in store.h */
            bool more;
            uint64_t last_index;
            bool older;    /* READ_POSTS by seq: older ones are kept */
            uint64_t size; /* READ_PIECE: of the whole file */
        } read;
        bool space;            /* DISK */
        uint64_t checkpointed; /* index */
        uint64_t retained;     /* the first index that is left */
        struct {
            uint8_t step; /* enum effect_copy_step */
            enum node_copy_result result;
            bool complete;
            bool resumed;              /* BEGIN */
            struct effect_piece piece; /* wanted next */
            uint64_t end;
            const uint8_t *chain; /* at the end; HASH_BYTES, when complete */
        } copied;
        struct {
            uint8_t file; /* enum store_file */
            uint64_t id;
            uint8_t result; /* enum store_checked, never STORE_MORE */
            bool failed;    /* it could not be looked at */
            bool mended;
            bool round;
            uint64_t index;
            uint64_t bytes;
            uint64_t total;
        } checked;
        struct {
            bool failed; /* not what should be there */
            bool done;
            uint64_t want_offset;
        } mended;
        struct {
            uint8_t file;
            uint64_t id;
        } noticed;
    };
};

/* What the store recovered; the entries follow as EVENT_RESTORE. */
struct node_recovery {
    struct raft_recovery raft; /* its `checkpoint` is filled in here */
    struct slice checkpoint;   /* what an EFFECT_CHECKPOINT held; or empty */
    /* What earlier processes held and nobody has resolved: { size u32, body } each, oldest first. */
    struct slice held;
    uint64_t held_last;   /* highest number of a held record ever given */
    uint64_t held_bytes;  /* of the held log's files; 0: there is none */
    uint64_t first_index; /* where the log begins */
    uint64_t sealed[4];   /* ends of the newest sealed segments, rising; 0: none */
};

/* HALT with this status: the log on disk is whole again, start anew and read it. */
enum { NODE_STARTS_ANEW = 75 };

size_t node_memory(const struct node_options *options);
/* NULL: the checkpoint cannot be read (another version, or a feature level beyond feature_max). */
struct node *node_init(void *memory, const struct node_options *options,
                       const struct node_recovery *recovery);
void node_step(struct node *node, const struct node_event *event, const struct effects *out);

/* What the interpreter adds for `status`; given whenever it knows better. */
struct node_gauges {
    uint64_t fsync_p50_us;
    uint64_t fsync_p99_us;
    uint64_t disk_free_bytes;
    uint64_t rss_bytes;
    uint64_t pid;
    uint64_t accepted;
    uint64_t refused_cap;
    uint64_t refused_deadline;
    uint64_t refused_garbage;
    uint64_t refused_truncated;
    uint64_t refused_oversized;
};
void node_set_gauges(struct node *node, const struct node_gauges *gauges);

/* For the simulator's invariants. */
const struct raft *node_raft(const struct node *node);
const struct chat *node_chat(const struct node *node);
uint64_t node_applied(const struct node *node);
uint64_t node_held(const struct node *node); /* durable here and not resolved */
uint8_t node_relay(const struct node *node); /* the slot that it relays through; 0: none */
/* The highest feature level that this node applied or, as a leader, asked for. */
uint16_t node_level(const struct node *node);
uint32_t node_damaged(const struct node *node); /* files that are known to be damaged */
/* How often proving everything at rest was begun. */
uint64_t node_rounds(const struct node *node);

#endif
