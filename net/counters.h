/* What the port has seen and refused, for status, metrics and the log.
 *
 * Everything refused is counted; it is told once per burst: the first one at once, the rest as one
 * number when the burst is over, or every `burst_us` of it. */
#ifndef FTCHAT_NET_COUNTERS_H
#define FTCHAT_NET_COUNTERS_H

#include <stdbool.h>
#include <stdint.h>

enum net_counter {
    NET_ACCEPTED,
    NET_OPENED,            /* handshake done and confirmed */
    NET_REFUSED_TOTAL,     /* at accept: too many connections */
    NET_REFUSED_CAP,       /* dropped before login: the cap on all of them was (nearly) reached */
    NET_REFUSED_ADDRESS,   /* dropped before login: the cap of one address was reached */
    NET_HANDSHAKE_TIMEOUT, /* no complete handshake in time */
    NET_LOGIN_TIMEOUT,     /* no login in time */
    NET_GARBAGE,           /* not our protocol, or bytes that fail authentication */
    NET_TRUNCATED,         /* an end without the closing frame, before or after login */
    NET_RESET,
    NET_OVERSIZED,     /* a frame or message beyond the limit */
    NET_NO_MEMORY,     /* the buffers of all connections are at their cap */
    NET_ACCEPT_PAUSED, /* out of descriptors */
    NET_COUNTERS,
};

struct net_counters {
    uint64_t count[NET_COUNTERS];
};

/* "handshake_timeouts" and so on, as in status. */
const char *net_counter_name(enum net_counter counter);

struct burst {
    uint64_t until_us; /* of the quiet time after the last report */
    uint64_t untold;
};

/* Notes one. Returns how many to tell of now: 1 at the start of a burst, later the number since the
 * last report, 0 while it should stay quiet. */
uint64_t burst_note(struct burst *burst, uint64_t now_us, uint64_t burst_us);
/* What is left to tell once a burst is over; 0 when nothing is. */
uint64_t burst_over(struct burst *burst, uint64_t now_us, uint64_t burst_us);

#endif
