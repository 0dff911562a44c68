/* A secure message connection: TCP, Noise, frames, and messages in both directions.
 *
 * `struct channels` is all connections of one process on one loop: keys, caps, buffers, counters,
 * listeners. A `struct channel` is one connection, accepted or dialled, and belongs to it: the
 * owner keeps a pointer from the first event until CHANNEL_CLOSED or its own channel_close,
 * whichever is first, and gets no event after it. Closing inside a handler is safe; memory is freed
 * at the end of the turn.
 *
 * Messages are byte strings of 1 byte up to the receiver's limit. They arrive whole, in order,
 * once, and from an authenticated sender, or the channel ends and says how. An accepted channel
 * shows itself only when the handshake is done *and* confirmed by a first valid frame, so that a
 * replayed message 1 costs a slot before login and nothing more.
 *
 * Sending queues: bytes are sealed and written in the FLUSH phase of the turn, all messages of the
 * turn in as few frames and system calls as possible. What the socket does not take stays queued,
 * as plaintext as long as possible; the owner watches channel_unsent and bounds it. */
#ifndef FTCHAT_NET_CHANNEL_H
#define FTCHAT_NET_CHANNEL_H

#include "core/bytes.h"
#include "core/error.h"
#include "net/counters.h"
#include "net/frame.h"
#include "net/loop.h"
#include "net/tcp.h"

struct channel;
struct channels;

enum { CHANNEL_MESSAGE_MAX = 8 << 20 }; /* of any limit, and of what can be sent */

enum channel_event_kind {
    CHANNEL_OPENED,  /* messages may be sent */
    CHANNEL_MESSAGE, /* event->message, borrowed during the call */
    CHANNEL_DRAINED, /* all that was queued since the last one is in the kernel's hands */
    CHANNEL_CLOSED,  /* event->end; the channel is gone after the call */
};

enum channel_end {
    CHANNEL_END_CLOSED,      /* with the closing frame: the other side meant it */
    CHANNEL_END_TRUNCATED,   /* the stream ended without it: the process died, or an attacker */
    CHANNEL_END_RESET,       /* by the other kernel */
    CHANNEL_END_TIMEOUT,     /* dialling, handshake or login took too long */
    CHANNEL_END_REFUSED,     /* nobody listens there */
    CHANNEL_END_UNREACHABLE, /* no way there, or no such name */
    CHANNEL_END_GARBAGE,     /* what came was not ours or not authentic: often a wrong key */
    CHANNEL_END_OVERSIZED,   /* a message beyond the limit */
    CHANNEL_END_NO_MEMORY,   /* buffers at their cap, ours */
    CHANNEL_END_CROWDED,     /* not admitted yet, and gave way when the caps were reached */
    CHANNEL_ENDS,
};

/* "closed", "truncated", ...: one word for logs. */
const char *channel_end_name(enum channel_end end);

struct channel_event {
    enum channel_event_kind kind;
    enum channel_end end;
    struct slice message;
};

typedef void channel_handler(void *owner, struct channel *channel,
                             const struct channel_event *event);

/* -- All channels of a process ---------------------------------------------------------------- */

struct channels_config {
    const uint8_t *static_secret;  /* 32 bytes, the cluster's: who listens; else NULL */
    const uint8_t *static_public;  /* 32 bytes, the cluster's: who dials */
    const uint8_t *psk;            /* 32 bytes, the cluster's secret: all but clients; else NULL */
    uint32_t max_channels;         /* accepted and dialled; 0: LIMIT_CONNECTIONS */
    uint32_t preauth;              /* accepted and not yet admitted; 0: 256 */
    uint32_t preauth_per_address;  /* 0: 64 */
    uint64_t handshake_timeout_us; /* from accept to a confirmed handshake; 0: 5 s */
    uint64_t login_timeout_us;     /* from there to channel_admit; 0: 10 s */
    uint64_t linger_us;            /* what a graceful close takes at most; 0: 2 s */
    uint64_t burst_us;             /* see counters.h; 0: 10 s */
    uint64_t buffer_cap_bytes;     /* of all channels together; 0: 256 MiB */
    /* Tells of refusals, once per burst; may be NULL. `from` is the latest offender. */
    void (*on_notice)(void *owner, enum net_counter what, uint64_t how_many,
                      const struct tcp_address *from);
    void *owner;
};

/* Keys are copied. NULL when memory is out. */
struct channels *channels_create(struct loop *loop, const struct channels_config *config);
/* Cuts all channels off without an event. */
void channels_destroy(struct channels *channels);

/* Accepted channels report to `handler`, beginning with CHANNEL_OPENED. A node may listen on more
 * than one address. Errors as tcp_listen's. */
FT_MUST_USE enum ft_error channels_listen(struct channels *channels,
                                          const struct tcp_address *address,
                                          channel_handler *handler, void *owner);
/* The address of the first listener, with its real port. */
void channels_listen_address(const struct channels *channels, struct tcp_address *out);

const struct net_counters *channels_counters(const struct channels *channels);
/* For status: all channels now, those before login, bytes in buffers, and those that were closed
 * gracefully and are not gone yet (a process that ends waits for 0, with a time limit of its own).
 */
struct channels_state {
    uint32_t all;
    uint32_t preauth;
    uint32_t lingering;
    uint64_t buffer_bytes;
};
struct channels_state channels_state(const struct channels *channels);

/* -- One channel ------------------------------------------------------------------------------ */

/* Dials a name or numeric address as `role`. Always ends in an event, never inside this call:
 * OPENED, or CLOSED with REFUSED, UNREACHABLE, TIMEOUT, GARBAGE, RESET or TRUNCATED. `timeout_us`
 * spans look-up, connecting (each address in turn) and the handshake. `limit_bytes` is the largest
 * message taken. NULL when max_channels are open or memory is out. */
struct channel *channel_dial(struct channels *channels, const char *host, uint16_t port,
                             enum channel_role role, uint64_t timeout_us, size_t limit_bytes,
                             channel_handler *handler, void *owner);

/* Queues one message made of up to 4 parts; they are copied. False when nothing was queued: the
 * channel is not open, it holds nearly 16 MiB already, or the buffers of all are at their cap. */
FT_MUST_USE bool channel_send(struct channel *channel, const struct slice *parts, size_t count);
/* Bytes queued here that the kernel has not taken. */
size_t channel_unsent(const struct channel *channel);

/* Ends the channel: no event comes any more, the pointer is void. Gracefully: what is queued is
 * written, then the closing frame, then the other side's end is awaited, for linger_us at most. */
void channel_close(struct channel *channel, bool graceful);

/* The login is done: ends its deadline, leaves the caps before login, takes messages up to
 * `limit_bytes`, and sends larger frames. Both sides call it: who accepted when it believes the
 * other (nodes, ctl and monitors: at OPENED), who dialled when it was told so. */
void channel_admit(struct channel *channel, size_t limit_bytes);
/* Moves the deadline of a channel that is not admitted (login needs a slow step). */
void channel_set_deadline(struct channel *channel, uint64_t at_us);
/* False stops reading, so that TCP holds the sender back; what was read already (up to 256 KiB)
 * still arrives. */
void channel_set_reading(struct channel *channel, bool on);
/* Read before other channels in each turn: links between nodes. Set by itself for ROLE_NODE. */
void channel_set_urgent(struct channel *channel, bool on);

/* The events of this channel go to another owner from now on. */
void channel_set_handler(struct channel *channel, channel_handler *handler, void *owner);
/* A word of the owner's own, 0 at first. */
void channel_set_tag(struct channel *channel, uint64_t tag);
uint64_t channel_tag(const struct channel *channel);

/* The role that the dialer claimed; for all but ROLE_CLIENT it was proven. */
enum channel_role channel_role(const struct channel *channel);
bool channel_was_dialled(const struct channel *channel);
/* Names this session for ever (Noise, section 11.2): what a login signs. 32 bytes. */
const uint8_t *channel_hash(const struct channel *channel);
const struct tcp_address *channel_address(const struct channel *channel);
/* When the last authentic frame came. */
uint64_t channel_last_heard_us(const struct channel *channel);

#endif
