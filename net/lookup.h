/* Looking a host name up without stopping the loop.
 *
 * getaddrinfo blocks for seconds, so it runs on a worker thread of its own that ends with the
 * answer. The job is shared by the two and freed by whoever lets go last; the callback runs on the
 * loop, once, and not at all after a cancel. */
#ifndef FTCHAT_NET_LOOKUP_H
#define FTCHAT_NET_LOOKUP_H

#include "net/loop.h"
#include "net/tcp.h"

enum {
    LOOKUP_ADDRESSES = 8, /* of one name; the rest is not tried */
    LOOKUP_NAME_BYTES = 256,
};

struct lookup;

/* `count` is 0 when the name is unknown. The lookup is over: do not cancel it any more. */
typedef void lookup_done(void *owner, const struct tcp_address *found, size_t count);

/* NULL when no thread can be had or the name is too long. */
struct lookup *lookup_start(struct loop *loop, const char *host, uint16_t port, lookup_done *done,
                            void *owner);
void lookup_cancel(struct lookup *lookup);

/* The same, blocking: for start-up, before the loop runs. Returns how many were found. */
size_t lookup_now(const char *host, uint16_t port, struct tcp_address found[LOOKUP_ADDRESSES]);

#endif
