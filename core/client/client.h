/* One whole client as a state machine: server list, login, outbox, exactly-once sending, stream.
 *
 * The contract is the core's (architecture.md): client_step takes one event with the time and hands
 * effects to `emit` at once and in order; what an effect points at is borrowed for that call, what
 * an event points at for the step. `emit` never calls the client from inside. The program
 * (cmd/client) and the simulator are the two interpreters.
 *
 * One connection at a time: DIAL is answered by CONNECTED or CLOSED; CONNECTED is followed by
 * MESSAGEs and at last CLOSED. After the effect CLOSE no event of that connection may come.
 *
 * Exactly once. Every op that is answered by an ack takes a place in the outbox (OUTBOX_PUT) before
 * anything of it is sent; `number` counts places, `seq` the commands among them, and a seq is bound
 * to its content for ever. OUTBOX_PUT must be carried out (written, not yet fsynced) before a SEND
 * that follows it reaches the network. When the final ack of a place was emitted, OUTBOX_DONE says
 * so; the interpreter brings the ack to the caller, then remembers the DONE, then answers SAVED:
 * only then does the node learn that it may forget the answer. So a crash at any point repeats an
 * ack at worst and never loses one.
 *
 * A new device (after `conflict` or `revoked`): NEW_DEVICE is answered by DEVICE_MADE. What goes on
 * under it is then put again under new numbers and seqs, and OUTBOX_SYNC ends that: at this sync,
 * and not before, the new device and outbox replace the old ones in one step; acks emitted before
 * it reach the caller first. A DONE from before DEVICE_MADE is not answered by SAVED after it.
 *
 * All memory is given at client_init. Times are struct now: microseconds. */
#ifndef FTCHAT_CORE_CLIENT_CLIENT_H
#define FTCHAT_CORE_CLIENT_CLIENT_H

#include "core/client/client_seen.h"
#include "core/effect.h"
#include "core/wire.h"

struct client;

struct client_limits {
    uint32_t outbox_entries;
    uint32_t outbox_bytes; /* ids and bodies; at least CLIENT_OUTBOX_BYTES_MIN */
    uint32_t queries;      /* asked and not answered */
    uint32_t query_bytes;  /* their ids and rooms; at least CLIENT_OUTBOX_BYTES_MIN */
    uint32_t held;         /* posts that a node holds; beyond, they are shown once committed */
};
enum { CLIENT_OUTBOX_BYTES_MIN = 4 * (LIMIT_COMMAND_BYTES + LIMIT_LINE_BYTES) };
extern const struct client_limits client_limits_default; /* from limits.h */

size_t client_memory(const struct client_limits *limits);
struct client *client_init(void *memory, const struct client_limits *limits,
                           const struct crypto *crypto, uint64_t seed);

/* --- Ops: what the caller asks. -------------------------------------------------------------- */
enum client_op_kind {
    /* Answered by acks, the last of them final. */
    CLIENT_SEND = 1, /* room ("#ops" or "@bob"), text, [reply_to] */
    CLIENT_ME,       /* the same, of kind "me" */
    CLIENT_CREATE,   /* room, text: topic, [is_private] */
    CLIENT_JOIN,     /* room */
    CLIENT_PART,     /* room */
    CLIENT_TOPIC,    /* room, text */
    CLIENT_READ,     /* room, seq */
    CLIENT_DELETE,   /* room, seq */
    CLIENT_REFUSED,  /* `code`: refused by whoever read it; answered in its turn */
    /* Answered by one result or one error. */
    CLIENT_HISTORY, /* room, [before] or has_after and after, limit */
    CLIENT_ROOMS,
    CLIENT_WHO, /* room */
    CLIENT_WHOAMI,
    CLIENT_DEVICES,
    CLIENT_STATUS,
};

struct client_op {
    enum client_op_kind kind;
    struct slice id; /* the caller's, any bytes up to LIMIT_LINE_BYTES */
    struct slice room;
    struct slice text;
    bool is_private;
    bool has_after;
    uint16_t limit;    /* 1 .. LIMIT_HISTORY_PAGE */
    uint64_t reply_to; /* a seq of the room; with reply_tag: of that device (a uid) */
    uint64_t reply_tag;
    uint64_t seq;
    uint64_t before;
    uint64_t after;
    enum chat_code code;
};

/* --- Events. ---------------------------------------------------------------------------------- */
enum client_event_kind {
    CLIENT_EVENT_START = 1, /* once, first */
    CLIENT_EVENT_TICK,
    CLIENT_EVENT_CONNECTED,
    CLIENT_EVENT_CLOSED,
    CLIENT_EVENT_MESSAGE,
    CLIENT_EVENT_DERIVED, /* answers DERIVE; at most one is under way */
    CLIENT_EVENT_DEVICE_MADE,
    CLIENT_EVENT_INPUT, /* only while client_has_room */
    CLIENT_EVENT_SAVED,
    CLIENT_EVENT_STOP,
};

/* How a connection ended; the order of net/channel.h's enum channel_end does not matter here. */
enum client_end {
    CLIENT_END_CLOSED,
    CLIENT_END_LOST, /* ended without the closing frame */
    CLIENT_END_RESET,
    CLIENT_END_TIMEOUT,
    CLIENT_END_REFUSED,
    CLIENT_END_UNREACHABLE,
    CLIENT_END_GARBAGE, /* often a wrong cluster key */
    CLIENT_END_OTHER,
};

/* A place of the outbox. body: kind u8, then the command's content (chat/command.h); for a refused
 * op (seq 0): its code u8. */
struct client_entry {
    uint64_t number;
    uint64_t seq;
    struct slice id;
    struct slice body;
};

struct client_options {
    struct slice user;  /* folded already */
    struct slice token; /* of an invite; or empty */
    bool is_register;
    bool stream;     /* wants messages; else only acks and results */
    bool held_ok;    /* with STOP: what a node holds need not be waited for */
    bool shuffle;    /* servers in random order; else as given */
    uint8_t servers; /* how many, at least 1: named 0 .. servers - 1 in DIAL */
    uint32_t connect_timeout_ms;
    uint32_t retry_ms;
};

/* What the last run left. A client without a past: `secret_key` fresh, the rest zero. */
struct client_recovered {
    uint8_t secret_key[SECRET_KEY_BYTES]; /* the device's */
    uint32_t device;                      /* 0: not enrolled */
    uint64_t enrolled_index;
    uint64_t cursor;                 /* index of the last message or room event shown */
    uint64_t floor;                  /* newest index it was acknowledged or shown */
    uint8_t cluster[IDENTITY_BYTES]; /* whose indexes these are; zeros: not known */
    uint64_t last_number;            /* highest ever put; 0: none */
    uint64_t last_seq;
    uint64_t done_seq;              /* of the last DONE */
    const struct client_seen *seen; /* NULL: nobody kept it */
    const struct client_entry *entries;
    uint32_t entry_count; /* oldest first; at most the limits' */
};

struct client_event {
    enum client_event_kind kind;
    struct now now;
    union {
        struct {
            const struct client_options *options;
            const struct client_recovered *recovered;
        } start;
        const uint8_t *handshake_hash; /* CONNECTED: 32 bytes */
        enum client_end end;           /* CLOSED */
        struct slice message;
        struct {
            bool failed; /* no memory for it, or no password at hand: ends in EXIT */
            uint8_t secret_key[SECRET_KEY_BYTES]; /* of the account: Ed25519 from Argon2id */
        } derived;
        uint8_t secret_key[SECRET_KEY_BYTES]; /* DEVICE_MADE */
        const struct client_op *op;           /* INPUT */
        uint64_t saved_seq;                   /* SAVED: OUTBOX_DONE's */
        uint64_t stop_until_us; /* STOP: wait for what is open until then (mono); 0: not at all */
    };
};

/* --- Output: what the caller sees. ------------------------------------------------------------ */
enum client_output_kind {
    CLIENT_OUT_READY = 1,
    CLIENT_OUT_ACK,
    CLIENT_OUT_RECORD, /* a message or a room event; indexes increase strictly */
    CLIENT_OUT_RESULT,
    CLIENT_OUT_ERROR,
    CLIENT_OUT_OFFLINE,
    CLIENT_OUT_CLUSTER,
    CLIENT_OUT_SKIPPED,   /* not streamed: to be paged */
    CLIENT_OUT_TRUNCATED, /* not kept any more; fields as of SKIPPED */
    CLIENT_OUT_HELD, /* a post that only this node has: `record` without seq, index and time. At most
                        once a connection, and never after its end was shown; the committed one
                        follows, or RETRACT, or the next OFFLINE, for it belongs to that node only
                        (or a SKIPPED of its room) */
    CLIENT_OUT_RETRACT, /* that one will be no message */
};
enum client_ack_status { CLIENT_QUEUED, CLIENT_HELD, CLIENT_COMMITTED, CLIENT_REJECTED };

struct client_output {
    enum client_output_kind kind;
    union {
        struct {
            const struct wire_ready *ready;
            bool resumed;
            bool restored; /* the cluster came out of a backup, or of a recovery: what was seen
                              beyond ready->shared_index is gone, and indexes may come again */
        } ready;
        struct {
            struct slice id;
            enum client_ack_status status;
            enum chat_code code; /* QUEUED: why, or OK; REJECTED: why */
            const char *message; /* REJECTED and QUEUED with a code: a sentence */
            uint64_t device_tag; /* with device_seq the uid; device_seq 0: none */
            uint64_t device_seq;
            struct slice room;  /* COMMITTED; may be empty */
            uint64_t room_seq;  /* COMMITTED posts */
            uint64_t index;     /* COMMITTED */
            uint64_t time_us;   /* COMMITTED */
            struct slice draft; /* REJECTED, and it was held: what was written */
        } ack;
        const struct wire_record *record;
        struct {
            struct slice id;
            const struct wire_result *result;
        } result;
        struct {
            bool has_id;
            struct slice id;
            enum chat_code code;
            const char *message;
        } error;
        struct {
            const char *reason;
            uint64_t queued;
        } offline;
        const struct wire_cluster *cluster;
        struct {
            struct slice room;
            uint64_t from;
            uint64_t to;
        } skipped;
        struct {
            uint64_t device_tag;
            uint64_t device_seq;
        } retract;
    };
};

/* --- Effects. --------------------------------------------------------------------------------- */
enum client_effect_kind {
    CLIENT_DIAL = 1,
    CLIENT_TRANSMIT, /* one message on the connection */
    CLIENT_CLOSE,    /* gracefully */
    CLIENT_DERIVE,   /* Argon2id of the password, off the loop; answered by DERIVED */
    CLIENT_NEW_DEVICE,
    CLIENT_DEVICE_ENROLLED, /* remember number and index, durably */
    CLIENT_OUTBOX_PUT,
    CLIENT_OUTBOX_DONE, /* all places up to `number` are answered; coalesce, then SAVED(seq) */
    CLIENT_OUTBOX_SYNC, /* fsync */
    CLIENT_CURSOR, /* shown up to here; remembered after it was shown, coalesced (but for the ended
                      commands that they name: each is noted) */
    CLIENT_EMIT,
    CLIENT_WAKE_AT, /* a TICK no later than this (mono); replaces the one before */
    CLIENT_EXIT,    /* the end: nothing is carried out after it */
};

struct client_effect {
    enum client_effect_kind kind;
    union {
        struct {
            uint8_t server;
            uint64_t timeout_us; /* look-up, connecting and handshake together */
        } dial;
        struct slice parts[3]; /* TRANSMIT: joined they are one message; unused ones are empty */
        struct {
            uint8_t salt[WIRE_SALT_BYTES];
            uint32_t passes;
            uint64_t memory_bytes;
        } derive;
        struct {
            uint32_t device;
            uint64_t index;
        } enrolled;
        struct client_entry put;
        struct {
            uint64_t number;
            uint64_t seq;
        } done;
        struct {
            uint64_t index; /* client_recovered.cursor */
            uint64_t floor;
            uint8_t cluster[IDENTITY_BYTES];
            uint64_t forgot; /* client_seen.forgot */
            uint64_t tag;    /* for seen_note; seq 0: nothing */
            uint64_t seq;
        } cursor;
        const struct client_output *output;
        uint64_t wake_at_us;
        struct {
            int status;    /* 0, 3 (what was open is not done in time), 4 (login not allowed) */
            uint64_t left; /* places that stay in the outbox */
        } exit;
    };
};

struct client_effects {
    void (*emit)(void *ctx, const struct client_effect *effect);
    void *ctx;
};

void client_step(struct client *client, const struct client_event *event,
                 const struct client_effects *out);

/* There is room for any one op. When not: stop reading input until it is so again. */
bool client_has_room(const struct client *client);

/* For the interpreter's own decisions and the simulator's oracle. */
struct client_view {
    bool online;     /* logged in */
    bool enrolled;   /* has a device number */
    uint8_t node;    /* while online */
    uint64_t queued; /* places not answered */
    uint64_t held;   /* of these, what a node holds */
    uint32_t queries;
    uint64_t cursor;
    uint64_t done_seq;
    uint64_t last_seq;
};
struct client_view client_view(const struct client *client);

#endif
