/* What the core asks of the world: the other half of the core contract (events: node/node.h).
 *
 * An effect is handed to `emit` at once and in order; whatever it points at is borrowed for that
 * call only, but for the entries of a FLUSH or a HOLD, which stay in place until its event. `emit`
 * carries the effect out or queues it, and never calls the core from inside. The program (cmd/node)
 * and the simulator (tests/sim) are the two interpreters. Nothing that promises something is sent
 * before what makes it true is durable: the core itself waits for FLUSHED before it emits such a
 * send. */
#ifndef FTCHAT_CORE_EFFECT_H
#define FTCHAT_CORE_EFFECT_H

#include "core/bytes.h"
#include "core/limits.h"

enum effect_kind {
    EFFECT_FLUSH = 1, /* to the log thread; one at a time; answered by EVENT_FLUSHED */
    EFFECT_HOLD,      /* to the log thread, behind a flush; one at a time; answered by EVENT_HELD */
    EFFECT_READ_ENTRIES, /* answered by EVENT_READ_DONE with the same id */
    EFFECT_READ_POSTS,   /* likewise */
    EFFECT_READ_PIECE,   /* likewise: what another node copies */
    EFFECT_COPY,         /* one step of copying from another node; answered by EVENT_COPIED */
    EFFECT_RETAIN,       /* drop history that is too old or too much; answered by EVENT_RETAINED */
    EFFECT_CHECK,        /* one file at rest is proved; answered by EVENT_CHECKED; one at a time */
    EFFECT_MEND,         /* a part of it from another node; answered by EVENT_MENDED */
    EFFECT_INDEX,        /* a post or room event was applied: remember its place */
    EFFECT_CHECKPOINT,   /* the state at a segment's end; answered by EVENT_CHECKPOINTED */
    EFFECT_PEER_DIAL,    /* connect to a peer; answered by EVENT_PEER_UP or EVENT_PEER_DOWN */
    EFFECT_PEER_SEND,
    EFFECT_PEER_CLOSE,
    EFFECT_CLIENT_SEND,
    EFFECT_CLIENT_CLOSE,
    EFFECT_CLIENT_ADMIT,    /* logged in: raise the channel's limits, stop its login deadline */
    EFFECT_CLIENT_DEADLINE, /* the login may take this long from now */
    EFFECT_WAKE_AT,         /* a TICK no later than this time */
    EFFECT_LOG,             /* one line for the operator */
    EFFECT_HALT,            /* end the process; nothing after this is carried out */
};

/* Done in this order, each durable before the next; what is absent is skipped. Mirrors store_flush.
 */
struct effect_flush {
    uint64_t ticket;
    bool save_cluster;
    uint8_t cluster[IDENTITY_BYTES];
    bool save_vote;
    uint64_t term;
    uint8_t vote[IDENTITY_BYTES];
    uint64_t lost_term; /* struct store_lost */
    uint64_t lost_last;
    uint64_t truncate_from; /* 0: nothing */
    struct slice entries[2];
};

/* Mirrors store_hold. The entry stays in place until its HELD event. */
struct effect_hold {
    uint64_t number;
    bool discard; /* nothing is open any more */
    struct slice entry;
};

/* Mirrors store_query. */
struct effect_range {
    uint32_t room;
    uint64_t after_index;
    uint64_t upto_index;
    uint64_t from_seq;
    uint64_t last_seq; /* the newest, kept or not: of what is not kept when nothing is */
    bool skip_told;
};
struct effect_posts {
    uint32_t room;
    uint64_t seq_from;
    uint64_t seq_to;
    uint64_t
        forward_to; /* not 0: if what is kept begins after seq_from, as many from there, to this
                            one at most */
    uint64_t upto_index; /* by seq */
    uint32_t ranges_count;
    const struct effect_range *ranges;
    uint32_t max_records;
};

/* Mirrors store_piece; kinds as in enum wire_fetch_kind. */
struct effect_piece {
    uint8_t kind;
    uint64_t index;
    uint64_t offset;
};

/* Mirrors store_copy_*. One is out at a time; DROP has no answer. */
enum effect_copy_step { COPY_BEGIN = 1, COPY_WRITE, COPY_INSTALL, COPY_DROP };
struct effect_copy {
    enum effect_copy_step step;
    uint8_t cluster[IDENTITY_BYTES]; /* BEGIN: from here to `whole` */
    uint64_t oldest;
    uint64_t newest;
    uint64_t segment_bytes;
    bool whole;
    struct effect_piece piece; /* WRITE: what `data` is, of a file of `size` */
    uint64_t size;
    struct slice data;
};

enum effect_log_level { LOG_INFO, LOG_WARN, LOG_ALARM };

struct effect {
    enum effect_kind kind;
    union {
        struct effect_flush flush;
        struct effect_hold hold;
        struct {
            uint64_t id;
            uint64_t index;    /* entries: from the one that holds this index */
            uint32_t capacity; /* bytes of answer wanted at most */
            struct effect_posts posts;
            struct effect_piece piece;
        } read;
        struct effect_copy copy;
        struct {
            uint64_t keep_bytes;
            uint64_t since_us;
            uint64_t floor;
            uint64_t damaged; /* an index that nobody else keeps, and that cannot be read; or 0 */
        } retain;
        struct {
            uint8_t how;  /* enum store_check_how */
            uint8_t file; /* enum store_file */
            uint64_t id;
            uint64_t upto;
        } check;
        struct {
            uint8_t file;
            uint64_t id;
            uint64_t offset;
            uint64_t size;
            uint64_t committed;
            struct slice data;
        } mend;
        struct {
            uint32_t room;
            uint64_t seq;
            uint64_t index;
            bool event;
            uint64_t
                deletes; /* the post at this index, of which `check` proves the rest; 0: none */
            uint32_t check;
        } index;
        struct {
            uint64_t index;
            struct slice state;
        } checkpoint;
        struct {
            uint8_t slot;        /* peers */
            uint64_t connection; /* clients */
            struct slice parts[3];
            unsigned parts_count;
        } send;
        struct {
            uint8_t slot;
            uint16_t port; /* 0: as the ini says */
            struct slice host;
        } dial;
        struct {
            uint8_t slot;
            uint64_t connection;
            bool gracefully; /* what is queued goes out first, then the closing frame */
        } close;
        struct {
            uint64_t connection;
            uint64_t in_us;
        } deadline;
        uint64_t wake_at_us;
        struct {
            enum effect_log_level level;
            const char *text; /* logfmt pairs, without time and level */
        } log;
        struct {
            int exit_status;
            bool again; /* and start the process anew: its folder is another one now */
            const char *reason;
        } halt;
    };
};

struct effects {
    void (*emit)(void *ctx, const struct effect *effect);
    void *ctx;
};

static inline void effect_emit(const struct effects *out, const struct effect *effect)
{
    out->emit(out->ctx, effect);
}

/* The time, read once per turn of the loop by whoever drives the core. */
struct now {
    uint64_t mono_us; /* monotonic: every time-out */
    uint64_t wall_us; /* Unix time: only for log time stamps */
};

#endif
