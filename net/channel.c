#include "core/check.h"
#include "core/limits.h"
#include "net/channel_private.h"
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *channel_end_name(enum channel_end end)
{
    static const char *const names[CHANNEL_ENDS] = {
        [CHANNEL_END_CLOSED] = "closed",       [CHANNEL_END_TRUNCATED] = "truncated",
        [CHANNEL_END_RESET] = "reset",         [CHANNEL_END_TIMEOUT] = "timeout",
        [CHANNEL_END_REFUSED] = "refused",     [CHANNEL_END_UNREACHABLE] = "unreachable",
        [CHANNEL_END_GARBAGE] = "garbage",     [CHANNEL_END_OVERSIZED] = "oversized",
        [CHANNEL_END_NO_MEMORY] = "no_memory", [CHANNEL_END_CROWDED] = "crowded",
    };
    CHECK(end < CHANNEL_ENDS);
    return names[end];
}

/* -- Birth and death -----------------------------------------------------------------------------
 */

static void on_ready(struct loop_source *source, unsigned ready)
{
    struct channel *channel = LOOP_HOLDER(struct channel, source, source);
    if (channel->state == CHANNEL_CONNECTING) {
        channel_finish_connecting(channel);
        return;
    }
    /* Reading comes first: an answer to what is read leaves in the same write. A broken socket is
     * read even when the owner paused reading, since only reading tells how it ended. */
    if (ready & (LOOP_READ | LOOP_BROKEN))
        channel_receive(channel);
    if ((ready & LOOP_WRITE) && channel->state != CHANNEL_DEAD)
        channel_mark_dirty(channel);
}

struct channel *channel_new(struct channels *set, channel_handler *handler, void *owner)
{
    if (set->count >= set->config.max_channels)
        return NULL;
    struct channel *channel = calloc(1, sizeof *channel);
    struct channel_opening *opening = calloc(1, sizeof *opening);
    if (!channel || !opening) {
        free(channel);
        free(opening);
        return NULL;
    }
    channel->set = set;
    channel->handler = handler;
    channel->owner = owner;
    channel->opening = opening;
    channel->source.fd = -1;
    channel->source.on_ready = on_ready;
    channel->timer.on_fire = channel_on_deadline;
    channel->limit_bytes = LIMIT_PREAUTH_BYTES;
    channel->reading = true;
    channel->heard_us = loop_now_us(set->loop);
    link_init(&channel->dirty);
    link_init(&channel->queued);
    link_insert(&set->all, &channel->all);
    set->count++;
    return channel;
}

void channel_die(struct channel *channel)
{
    struct channels *set = channel->set;
    CHECK(channel->state != CHANNEL_DEAD);
    if (channel->state == CHANNEL_LINGERING)
        set->lingering--;
    channel->state = CHANNEL_DEAD;
    channels_leave_preauth(set, channel);
    channel_drop_opening(channel);
    loop_timer_clear(set->loop, &channel->timer);
    loop_unwatch(set->loop, &channel->source);
    if (channel->source.fd >= 0)
        close(channel->source.fd);
    channel->source.fd = -1;
    buffer_clear(&channel->in, &set->pool);
    buffer_clear(&channel->plain, &set->pool);
    buffer_clear(&channel->sealed, &set->pool);
    message_cutter_clear(&channel->cutter, &set->pool);
    sodium_memzero(&channel->sender, sizeof channel->sender);
    sodium_memzero(&channel->receiver, sizeof channel->receiver);
    link_remove(&channel->queued);
    link_remove(&channel->all);
    link_remove(&channel->dirty);
    link_insert(&set->dead, &channel->dirty);
    set->count--;
}

void channel_deliver(struct channel *channel, const struct channel_event *event)
{
    CHECK(channel->visible);
    CHECK(channel->state == CHANNEL_OPEN || event->kind == CHANNEL_CLOSED);
    channel->handler(channel->owner, channel, event);
}

/* What an accepted channel's end counts as; NET_COUNTERS for nothing. */
static enum net_counter counter_of(const struct channel *channel, enum channel_end end)
{
    switch (end) {
    case CHANNEL_END_TRUNCATED:
        return NET_TRUNCATED;
    case CHANNEL_END_RESET:
        return NET_RESET;
    case CHANNEL_END_TIMEOUT:
        if (channel->admitted) /* the network's, not the login's */
            return NET_COUNTERS;
        return channel->state < CHANNEL_OPEN ? NET_HANDSHAKE_TIMEOUT : NET_LOGIN_TIMEOUT;
    case CHANNEL_END_GARBAGE:
        return NET_GARBAGE;
    case CHANNEL_END_OVERSIZED:
        return NET_OVERSIZED;
    case CHANNEL_END_NO_MEMORY:
        return NET_NO_MEMORY;
    default:
        return NET_COUNTERS;
    }
}

void channel_end(struct channel *channel, enum channel_end end)
{
    const enum net_counter counter = counter_of(channel, end);
    if (!channel->dialled && channel->state != CHANNEL_LINGERING && counter != NET_COUNTERS)
        channels_count(channel->set, counter, &channel->address);
    if (channel->visible) {
        /* The channel is still whole, so that the owner may ask it things; it cannot send. */
        const struct channel_event event = { .kind = CHANNEL_CLOSED, .end = end };
        channel->state = CHANNEL_ENDING;
        channel_deliver(channel, &event);
    }
    channel_die(channel);
}

/* -- Interest ------------------------------------------------------------------------------------
 */

void channel_update_interest(struct channel *channel)
{
    unsigned interest = 0;
    CHECK(channel->state > CHANNEL_CONNECTING);
    if (channel->reading || channel->state == CHANNEL_LINGERING)
        interest = LOOP_READ;
    if (buffer_len(&channel->sealed) > 0)
        interest |= LOOP_WRITE;
    /* Changing what a watched descriptor waits for takes no memory. */
    CHECK(loop_watch(channel->set->loop, &channel->source, interest) == FT_OK);
}

void channel_mark_dirty(struct channel *channel)
{
    struct channels *set = channel->set;
    if (!link_is_used(&channel->dirty))
        link_insert(set->dirty.previous, &channel->dirty);
    if (!loop_in_turn(set->loop))
        loop_again(set->loop);
}

/* -- What the owner does -------------------------------------------------------------------------
 */

bool channel_send(struct channel *channel, const struct slice *parts, size_t count)
{
    CHECK(count >= 1 && count <= 4);
    size_t size = 0;
    for (size_t i = 0; i < count; i++)
        size += parts[i].len;
    CHECK(size >= 1);
    if (channel->state != CHANNEL_OPEN || size > CHANNEL_MESSAGE_MAX)
        return false;
    uint8_t *at = buffer_reserve(&channel->plain, &channel->set->pool, MESSAGE_HEAD_BYTES + size);
    if (!at)
        return false;
    bytes_put_u32(at, (uint32_t)size);
    at += MESSAGE_HEAD_BYTES;
    for (size_t i = 0; i < count; i++) {
        if (parts[i].len)
            memcpy(at, parts[i].data, parts[i].len);
        at += parts[i].len;
    }
    buffer_added(&channel->plain, MESSAGE_HEAD_BYTES + size);
    channel->undrained = true;
    /* While the kernel is full there is nothing to flush: its word comes through the poll. */
    if (buffer_len(&channel->sealed) == 0)
        channel_mark_dirty(channel);
    return true;
}

size_t channel_unsent(const struct channel *channel)
{
    return buffer_len(&channel->plain) + buffer_len(&channel->sealed);
}

void channel_close(struct channel *channel, bool graceful)
{
    /* From inside the CLOSED event the end is under way already. */
    if (channel->state == CHANNEL_DEAD || channel->state == CHANNEL_ENDING ||
        channel->state == CHANNEL_LINGERING)
        return;
    channel->visible = false;
    if (!graceful || channel->state != CHANNEL_OPEN || channel->write_broken) {
        channel_die(channel);
        return;
    }
    struct channels *set = channel->set;
    channel->state = CHANNEL_LINGERING;
    set->lingering++;
    buffer_clear(&channel->in, &set->pool);
    loop_timer_set(set->loop, &channel->timer, loop_now_us(set->loop) + set->config.linger_us);
    channel_update_interest(channel);
    if (buffer_len(&channel->sealed) == 0)
        channel_mark_dirty(channel);
}

void channel_admit(struct channel *channel, size_t limit_bytes)
{
    CHECK(limit_bytes <= CHANNEL_MESSAGE_MAX);
    if (channel->state != CHANNEL_OPEN)
        return;
    channel->admitted = true;
    channel->limit_bytes = (uint32_t)limit_bytes;
    loop_timer_clear(channel->set->loop, &channel->timer);
    channels_leave_preauth(channel->set, channel);
}

void channel_set_deadline(struct channel *channel, uint64_t at_us)
{
    if (channel->state == CHANNEL_OPEN && !channel->admitted)
        loop_timer_set(channel->set->loop, &channel->timer, at_us);
}

void channel_set_reading(struct channel *channel, bool on)
{
    channel->reading = on;
    if (channel->state == CHANNEL_OPEN)
        channel_update_interest(channel);
}

void channel_set_urgent(struct channel *channel, bool on)
{
    channel->source.urgent = on;
}

void channel_set_handler(struct channel *channel, channel_handler *handler, void *owner)
{
    CHECK(handler != NULL);
    channel->handler = handler;
    channel->owner = owner;
}

void channel_set_tag(struct channel *channel, uint64_t tag)
{
    channel->tag = tag;
}

/* -- What the owner asks -------------------------------------------------------------------------
 */

uint64_t channel_tag(const struct channel *channel)
{
    return channel->tag;
}

enum channel_role channel_role(const struct channel *channel)
{
    return (enum channel_role)channel->role;
}

bool channel_was_dialled(const struct channel *channel)
{
    return channel->dialled;
}

const uint8_t *channel_hash(const struct channel *channel)
{
    return channel->hash;
}

const struct tcp_address *channel_address(const struct channel *channel)
{
    return &channel->address;
}

uint64_t channel_last_heard_us(const struct channel *channel)
{
    return channel->heard_us;
}
