#include "net/lookup.h"
#include "core/check.h"
#include <netdb.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* musl gives threads 128 KiB, and its resolver keeps packets and results on the stack. */
enum {
    WORKER_STACK_BYTES = 256 << 10,
    WORKERS_MAX = 32, /* cancelled ones included: they end when the resolver gives up */
};

/* The process's only state here: how many workers are alive. */
static atomic_int workers;

struct lookup {
    struct loop_wakeup wakeup; /* posted by the worker as its last act but letting go */
    struct loop *loop;
    lookup_done *done;
    void *owner;
    atomic_int holders; /* the loop's side and the worker */
    uint16_t port;
    char host[LOOKUP_NAME_BYTES];
    atomic_bool ready; /* count and found are written */
    size_t count;
    struct tcp_address found[LOOKUP_ADDRESSES];
};

static void let_go(struct lookup *lookup)
{
    if (atomic_fetch_sub(&lookup->holders, 1) != 1)
        return;
    close(lookup->wakeup.source.fd);
    free(lookup);
}

size_t lookup_now(const char *host, uint16_t port, struct tcp_address found[LOOKUP_ADDRESSES])
{
    if (tcp_address_parse(&found[0], host, port))
        return 1;
    const struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM };
    struct addrinfo *all = NULL;
    if (getaddrinfo(host, NULL, &hints, &all) != 0)
        return 0;
    size_t count = 0;
    for (const struct addrinfo *one = all; one && count < LOOKUP_ADDRESSES; one = one->ai_next) {
        if (one->ai_family != AF_INET && one->ai_family != AF_INET6)
            continue;
        tcp_address_from(&found[count], one->ai_addr);
        found[count++].port = port;
    }
    freeaddrinfo(all);
    return count;
}

static void *work(void *argument)
{
    struct lookup *lookup = argument;
    lookup->count = lookup_now(lookup->host, lookup->port, lookup->found);
    atomic_store(&lookup->ready, true);
    loop_wakeup_post(&lookup->wakeup);
    let_go(lookup);
    atomic_fetch_sub(&workers, 1);
    return NULL;
}

static void on_wake(struct loop_wakeup *wakeup)
{
    struct lookup *lookup = (struct lookup *)(void *)wakeup;
    CHECK(atomic_load(&lookup->ready));
    loop_unwatch(lookup->loop, &wakeup->source);
    lookup->done(lookup->owner, lookup->found, lookup->count);
    let_go(lookup);
}

static bool start_worker(struct lookup *lookup)
{
    pthread_attr_t attributes;
    pthread_t thread;
    if (atomic_fetch_add(&workers, 1) >= WORKERS_MAX) {
        atomic_fetch_sub(&workers, 1);
        return false;
    }
    CHECK(pthread_attr_init(&attributes) == 0);
    CHECK(pthread_attr_setstacksize(&attributes, WORKER_STACK_BYTES) == 0);
    CHECK(pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED) == 0);
    const bool started = pthread_create(&thread, &attributes, work, lookup) == 0;
    pthread_attr_destroy(&attributes);
    if (!started)
        atomic_fetch_sub(&workers, 1);
    return started;
}

struct lookup *lookup_start(struct loop *loop, const char *host, uint16_t port, lookup_done *done,
                            void *owner)
{
    _Static_assert(offsetof(struct lookup, wakeup) == 0, "the wake-up is the struct's start");
    if (strlen(host) >= LOOKUP_NAME_BYTES)
        return NULL;
    struct lookup *lookup = calloc(1, sizeof *lookup);
    if (!lookup)
        return NULL;
    lookup->wakeup.on_wake = on_wake;
    if (loop_wakeup_open(loop, &lookup->wakeup) != FT_OK) {
        free(lookup);
        return NULL;
    }
    lookup->loop = loop;
    lookup->done = done;
    lookup->owner = owner;
    lookup->port = port;
    memcpy(lookup->host, host, strlen(host) + 1);
    atomic_init(&lookup->holders, 2);
    if (!start_worker(lookup)) {
        atomic_store(&lookup->holders, 1);
        lookup_cancel(lookup);
        return NULL;
    }
    return lookup;
}

void lookup_cancel(struct lookup *lookup)
{
    loop_unwatch(lookup->loop, &lookup->wakeup.source);
    let_go(lookup);
}
