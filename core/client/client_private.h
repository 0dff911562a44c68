/* What the client's own files share; nobody else includes this.
 *
 *     client.c          memory, the step, its timers, quitting, what is shown
 *     client_connect.c  the server list: dialling, back-off, keep-alive, preferring a quorum
 *     client_login.c    from a connection to READY: salt, enrolling, login, a new device
 *     client_outbox.c   ops with acks: their places, the window, answers, NACKs, settling
 *     client_query.c    ops with results
 *     client_held.c     what nodes hold: of ours, and what they show of others'; client_seen.c: what has ended
 *     client_ring.c     where ids and bodies lie
 *
 * `out` is handed down; nothing is kept of it. */
#ifndef FTCHAT_CORE_CLIENT_CLIENT_PRIVATE_H
#define FTCHAT_CORE_CLIENT_CLIENT_PRIVATE_H

#include "core/chat/command.h"
#include "core/check.h"
#include "core/client/client.h"
#include "core/client/client_ring.h"
#include "core/client/client_seen.h"
#include "core/random.h"

enum {
    CLIENT_MS = 1000, /* in microseconds */
    CLIENT_S = 1000 * CLIENT_MS,
    CLIENT_JITTER_US = 50 * CLIENT_MS,
    CLIENT_BACKOFF_FIRST_US = 50 * CLIENT_MS,
    CLIENT_RETRY_FIRST_US = 50 * CLIENT_MS, /* of a command that was not taken */
    CLIENT_RETRY_LAST_US = CLIENT_S,
    CLIENT_REPLY_US = 4 * CLIENT_S,       /* to a salt or login */
    CLIENT_ENROL_US = 10 * CLIENT_S,      /* it has to be committed */
    CLIENT_HELD_ENROL_US = 30 * CLIENT_S, /* then another node is asked */
    CLIENT_QUIET_US = 2 * CLIENT_S,       /* nothing heard: PING; as long again: lost */
    CLIENT_SEARCH_DIAL_US = CLIENT_S,
    CLIENT_NO_QUORUM_US = CLIENT_S, /* an election is shorter */
    CLIENT_RESEARCH_FIRST_US = 10 * CLIENT_S,
    CLIENT_RESEARCH_LAST_US = 60 * CLIENT_S,
    CLIENT_STABLE_US = CLIENT_S, /* a connection that ends sooner counts as a failed attempt */
    CLIENT_PASSES_MIN = 2,
    CLIENT_PASSES_MAX = 16,
    CLIENT_MEMORY_MIN = 64 << 20,
    CLIENT_MEMORY_MAX = 1 << 30,
};

enum client_phase {
    PHASE_NEW,       /* before START */
    PHASE_WAITING,   /* until dial_at */
    PHASE_DIALLING,  /* CONNECTED or CLOSED will come */
    PHASE_SALT,      /* connected, asked for the salt */
    PHASE_DERIVING,  /* connected, Argon2id is under way */
    PHASE_ENROLLING, /* ENROLLED will come */
    PHASE_LOGIN,     /* READY or REFUSED will come */
    PHASE_ONLINE,
    PHASE_RENEWING, /* not connected: DEVICE_MADE will come */
    PHASE_STOPPED,
};

struct outbox_entry {
    uint64_t number;
    uint64_t seq; /* refused: of the command before it */
    uint64_t digest;
    uint32_t offset; /* id, then body */
    uint32_t id_len;
    uint32_t body_len;
    uint8_t code;      /* refused: why */
    uint8_t last_code; /* shown with `queued` */
    bool refused;
    bool sent;      /* at any time, under this device */
    bool finished;  /* its final answer is here */
    bool acked;     /* and was emitted */
    bool moving;    /* goes under a new device */
    bool held;      /* by a node, it was told */
    bool held_here; /* by the one we are on: it need not be sent again */
};

/* A held post that was shown on this connection and has not ended. */
struct shown_held {
    uint64_t tag;
    uint64_t seq;
    uint32_t next; /* in its chain, or free: + 1; 0: none */
};

/* The answers of the window, by seq modulo its size: kept until those before them are here. */
struct outbox_answer {
    uint64_t seq;
    uint64_t room_seq;
    uint64_t index;
    uint64_t time_us;
    enum chat_code code;
    const char *message;
    uint8_t room_len;
    uint8_t room[LIMIT_ROOM_NAME];
};

struct client_query {
    uint32_t offset; /* id, then room */
    uint32_t id_len;
    uint32_t room_len;
    uint8_t kind; /* enum wire_query_kind */
    bool has_after;
    bool sent;
    bool done;
    bool unsure; /* asked while outbox_unsure: what it finds may be less than was acknowledged */
    uint16_t limit;
    uint64_t before;
    uint64_t after;
};

struct client {
    struct client_limits limits;
    const struct crypto *crypto;
    struct random random;
    struct now now;
    enum client_phase phase;

    /* Options. */
    uint8_t user[LIMIT_USER_NAME];
    uint8_t user_len;
    uint8_t token[WIRE_TOKEN_BYTES];
    uint8_t token_len;
    bool is_register;
    bool stream;
    uint64_t connect_timeout_us;
    uint64_t retry_us;

    /* Who we are. */
    uint8_t device_key[SECRET_KEY_BYTES];
    uint32_t device;
    uint64_t enrolled_index;
    bool has_account_key;
    bool deriving; /* DERIVED is to come */
    uint8_t account_key[SECRET_KEY_BYTES];
    uint8_t handshake_hash[HASH_BYTES];

    /* The server list (client_connect.c). */
    uint8_t order[LIMIT_SERVERS];
    uint8_t servers;
    uint8_t at;        /* in `order` */
    uint32_t attempts; /* failed in a row */
    uint64_t dial_at;
    uint64_t phase_deadline; /* of SALT, ENROLLING, LOGIN */
    uint64_t online_since;
    uint64_t offline_since;
    uint64_t heard_at;
    bool ping_sent;
    uint64_t ping_token;
    bool ready_told;
    bool offline_told;
    uint64_t ready_count;
    uint8_t node;
    uint64_t node_applied; /* at least; as it logged us in */
    bool quorum;
    /* Looking for a server with a quorum. */
    bool searching;
    bool settle; /* nobody has one: the next READY is taken as it is */
    uint8_t search_tries;
    int fallback; /* position in `order` that answered without a quorum; -1: none */
    uint64_t no_quorum_at;
    uint64_t research_at;
    uint64_t research_us;

    /* The stream. */
    uint64_t cursor;
    uint64_t floor;
    uint8_t cluster[IDENTITY_BYTES]; /* whose indexes these are; zeros: not known */
    uint32_t message_bytes;

    /* The outbox (client_outbox.c): a ring of places. */
    struct outbox_entry *entries;
    struct client_ring outbox;
    uint32_t first;
    uint32_t count;
    uint32_t next;    /* counted from `first`: the first place to send on this connection */
    uint32_t waiting; /* places not acked */
    uint32_t held;    /* of these: a node holds them */
    uint64_t last_number;
    uint64_t last_seq;
    uint64_t recovered_number; /* of the last place that an earlier run left */
    uint64_t known_seq;        /* highest that may be consumed by what we know */
    uint64_t done_seq;         /* SAVED: the node may forget */
    bool renew;                /* the device is not ours alone, or at its end */
    uint64_t retry_at;         /* 0: not waiting */
    uint64_t retry_us_now;
    uint64_t nacked;    /* the last NACK's seq, until an answer comes */
    uint64_t lost_next; /* answered once and lost with the old cluster: given up from here ... */
    uint64_t lost_last; /* ... to here; 0, and anything: nothing is */
    bool dirty;         /* put and not synced */
    uint64_t synced_at;
    struct outbox_answer window[LIMIT_OUTSTANDING];

    /* Queries. */
    struct client_query *queries;
    struct client_ring query_ring;
    uint32_t query_first;
    uint32_t query_count;
    uint64_t query_first_id;
    uint64_t query_retry_at;

    /* What others' nodes hold (client_held.c). */
    struct client_seen seen;
    bool left_out;         /* on this connection: what ended meanwhile is not all known */
    uint32_t *shown_heads; /* chains of `shown` */
    struct shown_held *shown;
    uint32_t shown_used; /* places ever taken on this connection */
    uint32_t shown_free; /* chain of those given back */

    bool held_ok;
    bool stopping;
    uint64_t stop_until_us;
    uint64_t wake_armed;

    uint8_t scratch[LIMIT_COMMAND_BYTES];
};

static inline void client_emit(const struct client_effects *out, const struct client_effect *effect)
{
    out->emit(out->ctx, effect);
}
void client_show(const struct client_effects *out, const struct client_output *output);
void client_transmit(const struct client_effects *out, const void *data, size_t len);
/* tag, seq: the device's command that was just shown to have ended; seq 0: none. */
void client_save_cursor(const struct client *client, uint64_t tag, uint64_t seq,
                        const struct client_effects *out);
/* Of the device as it is now. */
static inline uint64_t client_tag(const struct client *client)
{
    return bytes_get_u64(client->device_key + 32);
}
/* Remembers which cluster this is. True: another than before, with another end of its history. */
bool client_met(struct client *client, const struct wire_ready *ready,
                const struct client_effects *out);
void client_floor_raise(struct client *client, uint64_t index, const struct client_effects *out);

/* client_connect.c */
void connect_start(struct client *client, const struct client_options *options);
void connect_tick(struct client *client, const struct client_effects *out);
/* The connection is gone or not wanted any more: what next. `close`: it still exists. */
void connect_lost(struct client *client, const char *reason, bool close,
                  const struct client_effects *out);
/* Shown once for each loss. */
void connect_tell_offline(struct client *client, const char *reason,
                          const struct client_effects *out);
void connect_ready(struct client *client, const struct wire_ready *ready,
                   const struct client_effects *out);
void connect_cluster(struct client *client, const struct wire_cluster *cluster,
                     const struct client_effects *out);
uint64_t connect_wake_at(const struct client *client);

/* client_login.c */
void login_connected(struct client *client, const uint8_t *handshake_hash,
                     const struct client_effects *out);
/* False: not a message of this phase, or malformed. */
bool login_message(struct client *client, struct slice message, const struct client_effects *out);
void login_derived(struct client *client, const struct client_event *event,
                   const struct client_effects *out);
void login_renew(struct client *client, const struct client_effects *out);
void login_device_made(struct client *client, const uint8_t *secret_key,
                       const struct client_effects *out);
void login_exit(struct client *client, enum chat_code code, const struct client_effects *out);

/* client_held.c */
static inline uint32_t client_held_heads(const struct client_limits *limits)
{
    return limits->held / 4 + 1;
}
void held_start(struct client *client, const struct client_recovered *recovered);
/* A connection begins. */
void held_online(struct client *client);
/* It is known that this command of a device, and with it all before it, has ended. */
void held_ended(struct client *client, uint64_t tag, uint64_t seq);
/* The same, by this record, which is about to be shown. */
void held_committed(struct client *client, const struct wire_record *record);
/* False: malformed. */
bool held_message(struct client *client, struct slice message, const struct client_effects *out);

/* client_outbox.c */
void outbox_start(struct client *client, const struct client_recovered *recovered);
void outbox_input(struct client *client, const struct client_op *op,
                  const struct client_effects *out);
bool outbox_has_room(const struct client *client);
void outbox_online(struct client *client, uint64_t last);
/* An earlier run may have shown the ack of a place that it left, and died before it noted so: until that is answered
 * again, nobody knows how far a node must be to know all that was acknowledged. */
bool outbox_unsure(const struct client *client);
bool outbox_answer(struct client *client, struct slice message, const struct client_effects *out);
/* The node holds our command of this seq. */
void outbox_held(struct client *client, uint64_t seq, uint64_t digest,
                 const struct client_effects *out);
void outbox_nack(struct client *client, uint64_t expected, const struct client_effects *out);
void outbox_saved(struct client *client, uint64_t seq);
/* Sends what the window allows, shows what is final, begins a new device when it is time. */
void outbox_pump(struct client *client, const struct client_effects *out);
/* The device has ended: the fate of what was sent is not known; the rest goes on. */
void outbox_revoked(struct client *client, const struct client_effects *out);
void outbox_move(struct client *client, const struct client_effects *out);
void outbox_tick(struct client *client, const struct client_effects *out);
uint64_t outbox_wake_at(const struct client *client);

/* client_op.c: an op as a command's body in client->scratch. */
enum chat_code op_encode(struct client *client, const struct client_op *op, struct slice *body);
/* Checks and folds "#room" or "@user" into `name`; its length, or 0: bad_name. */
size_t op_room(struct slice room, bool direct_too, uint8_t name[LIMIT_ROOM_NAME]);

/* client_query.c */
void query_input(struct client *client, const struct client_op *op,
                 const struct client_effects *out);
bool query_has_room(const struct client *client);
void query_online(struct client *client);
void query_pump(struct client *client, const struct client_effects *out);
bool query_result(struct client *client, struct slice message, const struct client_effects *out);
uint64_t query_wake_at(const struct client *client);

static inline uint64_t client_sooner(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

#endif
