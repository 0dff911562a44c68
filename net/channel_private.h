/* What the channel's own files share; nobody else includes this.
 *
 *     channels.c          the set: keys, listeners, caps before login, counters, hooks
 *     channel.c           one channel: birth, death, sending, what the owner may ask and set
 *     channel_open.c      from dialling or accepting to OPEN: look-up, connecting, handshake
 *     channel_receive.c   from the socket to messages
 *     channel_flush.c     from queued messages to the socket
 *
 * A channel that has ended is DEAD, in no list but set->dead, and freed in the REAP phase. Code
 * that called the owner's handler looks at the state before it goes on. */
#ifndef FTCHAT_NET_CHANNEL_PRIVATE_H
#define FTCHAT_NET_CHANNEL_PRIVATE_H

#include "net/buffer.h"
#include "net/channel.h"
#include "net/link.h"
#include "net/lookup.h"

enum {
    RECEIVE_READ_BYTES = 256 << 10,
    /* One read on top of the longest incomplete frame. */
    RECEIVE_BUFFER_BYTES = RECEIVE_READ_BYTES + FRAME_HEAD_BYTES + NOISE_MESSAGE_MAX,
    SEND_BUFFER_BYTES = 256 << 10,
    URGENT_READS = 16, /* in a turn, before the others have theirs */
    LISTENERS_MAX = 4,
    ACCEPTS_PER_TURN = 128,
    ACCEPT_PAUSE_US = 100 * 1000,
    HANDSHAKE_BUDGET_US = 1000, /* per turn */
    FIRST_BYTES = PREAMBLE_BYTES + FRAME_HEAD_BYTES + NOISE_HANDSHAKE_BYTES,
    REPLY_BYTES = FRAME_HEAD_BYTES + NOISE_HANDSHAKE_BYTES,
};

enum channel_state {
    CHANNEL_FAILED_AT_ONCE, /* dialled in vain; told in the next turn */
    CHANNEL_LOOKING_UP,
    CHANNEL_CONNECTING,
    CHANNEL_AWAIT_FIRST,   /* accepted: the preamble and message 1 */
    CHANNEL_QUEUED,        /* accepted: message 1 is here, its turn for the arithmetic is not */
    CHANNEL_AWAIT_REPLY,   /* dialled: message 2 */
    CHANNEL_AWAIT_CONFIRM, /* accepted: message 2 is sent, the first frame is to come */
    CHANNEL_OPEN,
    CHANNEL_ENDING,    /* its CLOSED event is being handled */
    CHANNEL_LINGERING, /* closed gracefully by the owner */
    CHANNEL_DEAD,
};

/* Held only until the channel is open. */
struct channel_opening {
    struct noise_handshake handshake;
    uint8_t first[NOISE_HANDSHAKE_BYTES]; /* accepted: message 1, until its turn */
    struct lookup *lookup;
    uint64_t deadline_us; /* of dialling as a whole */
    enum channel_end worst;
    uint32_t next_address;
    uint32_t address_count;
    struct tcp_address addresses[LOOKUP_ADDRESSES];
};

struct channel {
    struct loop_source source;
    struct loop_timer timer; /* the one deadline of its state */
    struct channels *set;
    channel_handler *handler;
    void *owner;
    uint64_t tag;
    struct link all;
    struct link dirty;  /* something to flush; when DEAD: in set->dead */
    struct link queued; /* for the arithmetic of the handshake */
    struct channel_opening *opening;
    struct noise_cipher sender;
    struct noise_cipher receiver;
    struct buffer in;             /* an incomplete frame */
    struct message_cutter cutter; /* an incomplete message */
    struct buffer plain;          /* queued and not sealed */
    struct buffer sealed;         /* what the kernel did not take */
    uint64_t heard_us;
    uint32_t limit_bytes;
    uint32_t preauth_slot; /* in set->preauth, + 1 */
    struct tcp_address address;
    uint8_t hash[NOISE_KEY_BYTES];
    uint8_t state; /* enum channel_state */
    uint8_t role;  /* enum channel_role */
    bool dialled;
    bool visible; /* the owner knows it */
    bool admitted;
    bool reading;
    bool write_broken; /* the kernel takes no more; reading will tell why */
    bool undrained;    /* queued since the last DRAINED */
    bool end_sealed;   /* the closing frame */
};

_Static_assert(sizeof(struct channel) < 600, "an idle connection is small");

struct listener {
    struct loop_source source;
    struct loop_timer resume;
    struct channels *set;
    channel_handler *handler;
    void *owner;
};

struct channels {
    struct loop *loop;
    struct channels_config config;
    bool has_static;
    bool has_psk;
    uint8_t static_secret[NOISE_KEY_BYTES];
    uint8_t static_public[NOISE_KEY_BYTES];
    uint8_t psk[NOISE_KEY_BYTES];
    struct buffer_pool pool;
    struct link all;
    struct link dirty;
    struct link queued;
    struct link dead;
    uint32_t count;
    uint32_t lingering;
    struct channel **preauth; /* accepted and not admitted, in no order */
    uint32_t preauth_count;
    struct listener listeners[LISTENERS_MAX];
    size_t listener_count;
    struct net_counters counters;
    struct burst bursts[NET_COUNTERS];
    struct tcp_address offenders[NET_COUNTERS]; /* the latest of each kind */
    struct loop_timer notice_timer;
    struct loop_hook flush_hook;
    struct loop_hook idle_hook;
    struct loop_hook reap_hook;
    uint8_t receive_buffer[RECEIVE_BUFFER_BYTES];
    uint8_t send_buffer[SEND_BUFFER_BYTES];
};

/* channels.c */
void channels_count(struct channels *set, enum net_counter what, const struct tcp_address *from);
void channels_leave_preauth(struct channels *set, struct channel *channel);

/* channel.c */
/* NULL when max_channels are open or memory is out. */
struct channel *channel_new(struct channels *set, channel_handler *handler, void *owner);
void channel_deliver(struct channel *channel, const struct channel_event *event);
/* The other side or the network ended it: counted, told to the owner, dead. */
void channel_end(struct channel *channel, enum channel_end end);
/* Dead without a word. */
void channel_die(struct channel *channel);
void channel_update_interest(struct channel *channel);
void channel_mark_dirty(struct channel *channel);

/* channel_open.c */
/* False when the channel could not be watched (and is dead). */
bool channel_begin_accepted(struct channel *channel, int fd, const struct tcp_address *from);
void channel_finish_connecting(struct channel *channel);
/* Message 1, whose turn has come. */
void channel_answer_first(struct channel *channel);
void channel_take_reply(struct channel *channel, const uint8_t message[NOISE_HANDSHAKE_BYTES]);
void channel_drop_opening(struct channel *channel);
void channel_on_deadline(struct loop_timer *timer);

/* channel_receive.c */
void channel_receive(struct channel *channel);

/* channel_flush.c */
void channel_flush(struct channel *channel);
/* Writes bytes of the handshake, keeping what the kernel does not take. */
void channel_write(struct channel *channel, const uint8_t *data, size_t len);

#endif
