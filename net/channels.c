#include "core/check.h"
#include "core/limits.h"
#include "net/channel_private.h"
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* -- Counting and telling ------------------------------------------------------------------------
 */

static void tell(struct channels *set, enum net_counter what, uint64_t how_many)
{
    if (how_many > 0 && set->config.on_notice)
        set->config.on_notice(set->config.owner, what, how_many, &set->offenders[what]);
}

void channels_count(struct channels *set, enum net_counter what, const struct tcp_address *from)
{
    const uint64_t now_us = loop_now_us(set->loop);
    set->counters.count[what]++;
    set->offenders[what] = *from;
    tell(set, what, burst_note(&set->bursts[what], now_us, set->config.burst_us));
    if (set->bursts[what].untold > 0 && !timer_is_set(&set->notice_timer))
        loop_timer_set(set->loop, &set->notice_timer, now_us + set->config.burst_us);
}

static void on_notice_due(struct loop_timer *timer)
{
    struct channels *set = LOOP_HOLDER(struct channels, notice_timer, timer);
    const uint64_t now_us = loop_now_us(set->loop);
    bool more = false;
    for (enum net_counter what = 0; what < NET_COUNTERS; what++) {
        tell(set, what, burst_over(&set->bursts[what], now_us, set->config.burst_us));
        more |= set->bursts[what].untold > 0;
    }
    if (more)
        loop_timer_set(set->loop, timer, now_us + set->config.burst_us);
}

/* -- Caps before login ---------------------------------------------------------------------------
 */

void channels_leave_preauth(struct channels *set, struct channel *channel)
{
    if (channel->preauth_slot == 0)
        return;
    const uint32_t slot = channel->preauth_slot;
    CHECK(set->preauth[slot - 1] == channel);
    struct channel *last = set->preauth[--set->preauth_count];
    set->preauth[slot - 1] = last;
    last->preauth_slot = slot;
    channel->preauth_slot = 0;
}

static void enter_preauth(struct channels *set, struct channel *channel)
{
    CHECK(set->preauth_count < set->config.preauth);
    set->preauth[set->preauth_count++] = channel;
    channel->preauth_slot = set->preauth_count;
}

/* A random one of those before login (only those from `address`, unless NULL) has to go; one whose
 * handshake is confirmed only when `confirmed_too` and there is no other. Randomness is what keeps
 * an attacker from choosing whom: an honest newcomer needs its slot for milliseconds only. */
static bool evict(struct channels *set, const struct tcp_address *address, bool confirmed_too,
                  enum net_counter what)
{
    if (set->preauth_count == 0)
        return false;
    const uint32_t start = randombytes_uniform(set->preauth_count);
    struct channel *victim = NULL;
    for (uint32_t i = 0; i < set->preauth_count; i++) {
        struct channel *channel = set->preauth[(start + i) % set->preauth_count];
        if (address && !tcp_address_same_ip(address, &channel->address))
            continue;
        if (channel->state < CHANNEL_OPEN) {
            victim = channel;
            break;
        }
        if (confirmed_too && !victim && channel->state != CHANNEL_ENDING)
            victim = channel;
    }
    if (!victim)
        return false;
    channels_count(set, what, &victim->address);
    channel_end(victim, CHANNEL_END_CROWDED);
    return true;
}

static uint32_t count_address(const struct channels *set, const struct tcp_address *address)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < set->preauth_count; i++)
        count += tcp_address_same_ip(&set->preauth[i]->address, address);
    return count;
}

/* From three quarters of the cap on, the chance that a newcomer pushes somebody out rises from 0 to
 * 1, so that the cap is met gradually and not by all honest dialers at once. */
static bool make_room(struct channels *set, const struct tcp_address *from)
{
    const uint32_t cap = set->config.preauth;
    if (count_address(set, from) >= set->config.preauth_per_address)
        return evict(set, from, true, NET_REFUSED_ADDRESS);
    if (set->preauth_count >= cap)
        return evict(set, NULL, true, NET_REFUSED_CAP);
    const uint32_t early = cap - cap / 4;
    if (set->preauth_count > early && randombytes_uniform(cap - early) < set->preauth_count - early)
        evict(set, NULL, false, NET_REFUSED_CAP);
    return true;
}

/* -- Listening -----------------------------------------------------------------------------------
 */

static void accept_one(struct listener *listener, int fd, const struct tcp_address *from)
{
    struct channels *set = listener->set;
    set->counters.count[NET_ACCEPTED]++;
    if (!make_room(set, from)) {
        channels_count(set, NET_REFUSED_CAP, from);
        close(fd);
        return;
    }
    struct channel *channel = channel_new(set, listener->handler, listener->owner);
    if (!channel) {
        channels_count(set, NET_REFUSED_TOTAL, from);
        close(fd);
        return;
    }
    if (!channel_begin_accepted(channel, fd, from)) {
        channels_count(set, NET_REFUSED_TOTAL, from);
        return;
    }
    enter_preauth(set, channel);
}

static void on_listener_ready(struct loop_source *source, unsigned ready)
{
    (void)ready;
    struct listener *listener = LOOP_HOLDER(struct listener, source, source);
    struct channels *set = listener->set;
    for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
        int fd;
        struct tcp_address from;
        switch (tcp_accept(source->fd, &fd, &from)) {
        case TCP_ACCEPTED:
            accept_one(listener, fd, &from);
            break;
        case TCP_ACCEPT_NONE:
            return;
        case TCP_ACCEPT_EXHAUSTED:
            /* The poll would report the waiting connection again and again: look away a while. */
            tcp_local_address(source->fd, &from);
            channels_count(set, NET_ACCEPT_PAUSED, &from);
            loop_unwatch(set->loop, source);
            loop_timer_set(set->loop, &listener->resume, loop_now_us(set->loop) + ACCEPT_PAUSE_US);
            return;
        }
    }
}

static void on_resume(struct loop_timer *timer)
{
    struct listener *listener = LOOP_HOLDER(struct listener, resume, timer);
    struct loop *loop = listener->set->loop;
    if (loop_watch(loop, &listener->source, LOOP_READ) != FT_OK)
        loop_timer_set(loop, timer, loop_now_us(loop) + ACCEPT_PAUSE_US);
}

enum ft_error channels_listen(struct channels *set, const struct tcp_address *address,
                              channel_handler *handler, void *owner)
{
    CHECK(set->has_static);
    CHECK(handler != NULL);
    CHECK(set->listener_count < LISTENERS_MAX);
    struct listener *listener = &set->listeners[set->listener_count];
    int fd;
    enum ft_error error = tcp_listen(&fd, address);
    if (error)
        return error;
    *listener = (struct listener) {
        .source = { .fd = fd, .on_ready = on_listener_ready },
        .resume = { .on_fire = on_resume },
        .set = set,
        .handler = handler,
        .owner = owner,
    };
    error = loop_watch(set->loop, &listener->source, LOOP_READ);
    if (error)
        close(fd);
    else
        set->listener_count++;
    return error;
}

void channels_listen_address(const struct channels *set, struct tcp_address *out)
{
    CHECK(set->listener_count > 0);
    tcp_local_address(set->listeners[0].source.fd, out);
}

/* -- Hooks ---------------------------------------------------------------------------------------
 */

/* Those that become dirty meanwhile (a DRAINED handler sends more) wait for the next turn, so that
 * one fast reader cannot keep the loop here. */
static void on_flush(struct loop_hook *hook)
{
    struct channels *set = LOOP_HOLDER(struct channels, flush_hook, hook);
    struct link mark;
    link_insert(set->dirty.previous, &mark);
    while (set->dirty.next != &mark) {
        struct channel *channel = LOOP_HOLDER(struct channel, dirty, set->dirty.next);
        link_remove(&channel->dirty);
        channel_flush(channel);
    }
    link_remove(&mark);
}

/* 40 to 150 us each: never more than a millisecond of it between two looks at the sockets. */
static void on_idle(struct loop_hook *hook)
{
    struct channels *set = LOOP_HOLDER(struct channels, idle_hook, hook);
    if (!link_is_used(&set->queued))
        return;
    const uint64_t until_us = loop_clock_us() + HANDSHAKE_BUDGET_US;
    do {
        channel_answer_first(LOOP_HOLDER(struct channel, queued, set->queued.next));
    } while (link_is_used(&set->queued) && loop_clock_us() < until_us);
}

static void on_reap(struct loop_hook *hook)
{
    struct channels *set = LOOP_HOLDER(struct channels, reap_hook, hook);
    struct link *next = set->dead.next;
    while (next != &set->dead) {
        struct channel *channel = LOOP_HOLDER(struct channel, dirty, next);
        CHECK(channel->state == CHANNEL_DEAD);
        next = next->next;
        free(channel);
    }
    link_init(&set->dead);
    if (link_is_used(&set->dirty) || link_is_used(&set->queued))
        loop_again(set->loop);
}

/* -- Life ----------------------------------------------------------------------------------------
 */

static void fill_in(struct channels_config *config)
{
    if (config->max_channels == 0)
        config->max_channels = LIMIT_CONNECTIONS;
    if (config->preauth == 0)
        config->preauth = 256;
    if (config->preauth_per_address == 0)
        config->preauth_per_address = 64;
    if (config->handshake_timeout_us == 0)
        config->handshake_timeout_us = UINT64_C(5) * 1000 * 1000;
    if (config->login_timeout_us == 0)
        config->login_timeout_us = UINT64_C(10) * 1000 * 1000;
    if (config->linger_us == 0)
        config->linger_us = UINT64_C(2) * 1000 * 1000;
    if (config->burst_us == 0)
        config->burst_us = UINT64_C(10) * 1000 * 1000;
    if (config->buffer_cap_bytes == 0)
        config->buffer_cap_bytes = UINT64_C(256) << 20;
}

static void copy_keys(struct channels *set, const struct channels_config *config)
{
    set->has_static = config->static_secret != NULL;
    set->has_psk = config->psk != NULL;
    CHECK(set->has_static || config->static_public != NULL);
    if (set->has_static) {
        memcpy(set->static_secret, config->static_secret, NOISE_KEY_BYTES);
        noise_public_key(set->static_public, set->static_secret);
    }
    if (config->static_public) {
        /* A listener that is given both must be given a pair. */
        CHECK(!set->has_static ||
              memcmp(set->static_public, config->static_public, NOISE_KEY_BYTES) == 0);
        memcpy(set->static_public, config->static_public, NOISE_KEY_BYTES);
    }
    if (set->has_psk)
        memcpy(set->psk, config->psk, NOISE_KEY_BYTES);
    set->config.static_secret = NULL;
    set->config.static_public = NULL;
    set->config.psk = NULL;
}

struct channels *channels_create(struct loop *loop, const struct channels_config *config)
{
    struct channels *set = calloc(1, sizeof *set);
    if (!set)
        return NULL;
    set->loop = loop;
    set->config = *config;
    fill_in(&set->config);
    copy_keys(set, config);
    set->preauth = calloc(set->config.preauth, sizeof(struct channel *));
    if (!set->preauth) {
        free(set);
        return NULL;
    }
    buffer_pool_init(&set->pool, (size_t)set->config.buffer_cap_bytes);
    link_init(&set->all);
    link_init(&set->dirty);
    link_init(&set->queued);
    link_init(&set->dead);
    set->notice_timer.on_fire = on_notice_due;
    set->flush_hook.run = on_flush;
    set->idle_hook.run = on_idle;
    set->reap_hook.run = on_reap;
    loop_add_hook(loop, LOOP_FLUSH, &set->flush_hook);
    loop_add_hook(loop, LOOP_IDLE, &set->idle_hook);
    loop_add_hook(loop, LOOP_REAP, &set->reap_hook);
    return set;
}

void channels_destroy(struct channels *set)
{
    while (link_is_used(&set->all))
        channel_die(LOOP_HOLDER(struct channel, all, set->all.next));
    on_reap(&set->reap_hook);
    for (size_t i = 0; i < set->listener_count; i++) {
        loop_timer_clear(set->loop, &set->listeners[i].resume);
        loop_unwatch(set->loop, &set->listeners[i].source);
        close(set->listeners[i].source.fd);
    }
    loop_timer_clear(set->loop, &set->notice_timer);
    loop_remove_hook(set->loop, LOOP_FLUSH, &set->flush_hook);
    loop_remove_hook(set->loop, LOOP_IDLE, &set->idle_hook);
    loop_remove_hook(set->loop, LOOP_REAP, &set->reap_hook);
    buffer_pool_destroy(&set->pool);
    sodium_memzero(set->static_secret, sizeof set->static_secret);
    sodium_memzero(set->psk, sizeof set->psk);
    free(set->preauth);
    free(set);
}

/* -- For status ------------------------------------------------------------------------------- */

const struct net_counters *channels_counters(const struct channels *set)
{
    return &set->counters;
}

struct channels_state channels_state(const struct channels *set)
{
    return (struct channels_state) {
        .all = set->count,
        .preauth = set->preauth_count,
        .lingering = set->lingering,
        .buffer_bytes = set->pool.used_bytes,
    };
}
