#include "core/check.h"
#include "core/limits.h"
#include "net/channel_private.h"
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Each taker below looks at the `len` bytes at `data`, and returns how many it used: 0 when it
 * needs more. It may end the channel, or the owner may close it: its state says whether to go on.
 */

/* -- Handshake -------------------------------------------------------------------------------- */

/* The preamble is judged as soon as it is here, so that garbage does not hold a slot until the
 * deadline. */
static size_t take_first(struct channel *channel, const uint8_t *data, size_t len)
{
    struct channels *set = channel->set;
    enum channel_role role;
    if (len < PREAMBLE_BYTES)
        return 0;
    if (!preamble_read(data, &role) || (role != ROLE_CLIENT && !set->has_psk)) {
        channel_end(channel, CHANNEL_END_GARBAGE);
        return 0;
    }
    const size_t frame = frame_length(data + PREAMBLE_BYTES, len - PREAMBLE_BYTES);
    if (frame != 0 && frame != REPLY_BYTES) {
        channel_end(channel, CHANNEL_END_GARBAGE);
        return 0;
    }
    if (len < FIRST_BYTES)
        return 0;
    channel->role = (uint8_t)role;
    channel->source.urgent = role == ROLE_NODE;
    memcpy(channel->opening->first, data + FIRST_BYTES - NOISE_HANDSHAKE_BYTES,
           NOISE_HANDSHAKE_BYTES);
    channel->state = CHANNEL_QUEUED;
    /* The cluster's own go before clients, who may be thousands after a failover. */
    link_insert(role == ROLE_CLIENT ? set->queued.previous : &set->queued, &channel->queued);
    return FIRST_BYTES;
}

static size_t take_reply(struct channel *channel, const uint8_t *data, size_t len)
{
    const size_t frame = frame_length(data, len);
    if (frame != 0 && frame != REPLY_BYTES) {
        channel_end(channel, CHANNEL_END_GARBAGE);
        return 0;
    }
    if (len < REPLY_BYTES)
        return 0;
    channel_take_reply(channel, data + FRAME_HEAD_BYTES);
    return REPLY_BYTES;
}

/* -- Frames ----------------------------------------------------------------------------------- */

/* The first authentic frame of an accepted channel: no replay can have made it. */
static void become_open(struct channel *channel)
{
    struct channels *set = channel->set;
    channel->state = CHANNEL_OPEN;
    channel->visible = true;
    set->counters.count[NET_OPENED]++;
    loop_timer_set(set->loop, &channel->timer,
                   loop_now_us(set->loop) + set->config.login_timeout_us);
    channel_deliver(channel, &(struct channel_event) { .kind = CHANNEL_OPENED });
}

static void deliver_messages(struct channel *channel, struct slice payload)
{
    struct buffer_pool *pool = &channel->set->pool;
    struct channel_event event = { .kind = CHANNEL_MESSAGE };
    while (channel->state == CHANNEL_OPEN) {
        const enum cut_result cut =
            message_cut(&channel->cutter, pool, &payload, channel->limit_bytes, &event.message);
        if (cut == CUT_NEED_MORE)
            return;
        if (cut == CUT_MESSAGE)
            channel_deliver(channel, &event);
        else
            channel_end(channel,
                        cut == CUT_OVERSIZED ? CHANNEL_END_OVERSIZED : CHANNEL_END_NO_MEMORY);
    }
}

static size_t frame_limit(const struct channel *channel)
{
    if (channel->dialled || channel->admitted)
        return FRAME_HEAD_BYTES + NOISE_MESSAGE_MAX;
    return FRAME_HEAD_BYTES + LIMIT_PREAUTH_BYTES;
}

static size_t take_frame(struct channel *channel, uint8_t *data, size_t len)
{
    const size_t frame = frame_length(data, len);
    if (frame == 0)
        return 0;
    if (frame > frame_limit(channel)) {
        channel_end(channel, CHANNEL_END_OVERSIZED);
        return 0;
    }
    if (len < frame)
        return 0;
    struct slice payload;
    if (!frame_open(&channel->receiver, data, frame, &payload)) {
        channel_end(channel, CHANNEL_END_GARBAGE);
        return 0;
    }
    channel->heard_us = loop_now_us(channel->set->loop);
    if (channel->state == CHANNEL_AWAIT_CONFIRM)
        become_open(channel);
    if (channel->state == CHANNEL_OPEN && payload.len == 0)
        channel_end(channel, CHANNEL_END_CLOSED);
    else
        deliver_messages(channel, payload);
    return frame;
}

/* -- The socket ------------------------------------------------------------------------------- */

/* Uses as many of the bytes as make something whole. */
static size_t take_all(struct channel *channel, uint8_t *data, size_t len)
{
    size_t used = 0;
    for (;;) {
        size_t now = 0;
        switch ((enum channel_state)channel->state) {
        case CHANNEL_AWAIT_FIRST:
            now = take_first(channel, data + used, len - used);
            break;
        case CHANNEL_QUEUED:
            /* Nobody can have more to say before our answer. */
            if (used < len)
                channel_end(channel, CHANNEL_END_GARBAGE);
            break;
        case CHANNEL_AWAIT_REPLY:
            now = take_reply(channel, data + used, len - used);
            break;
        case CHANNEL_AWAIT_CONFIRM:
        case CHANNEL_OPEN:
            now = take_frame(channel, data + used, len - used);
            break;
        default:
            return len; /* dead, or lingering: what still comes is for nobody */
        }
        if (now == 0)
            break;
        used += now;
    }
    return used;
}

static void end_of_stream(struct channel *channel)
{
    if (channel->state == CHANNEL_LINGERING)
        channel_die(channel);
    else
        channel_end(channel, channel->write_broken ? CHANNEL_END_RESET : CHANNEL_END_TRUNCATED);
}

static void read_failed(struct channel *channel, int why)
{
    if (channel->state == CHANNEL_LINGERING)
        channel_die(channel);
    else if (why == ETIMEDOUT)
        channel_end(channel, CHANNEL_END_TIMEOUT);
    else if (why == EHOSTUNREACH || why == ENETUNREACH)
        channel_end(channel, CHANNEL_END_UNREACHABLE);
    else
        channel_end(channel, CHANNEL_END_RESET);
}

/* One read behind what is left of the last one. True when the socket may hold more. */
static bool receive_once(struct channel *channel)
{
    struct channels *set = channel->set;
    uint8_t *data = set->receive_buffer;
    const size_t held = buffer_len(&channel->in);
    CHECK(held + RECEIVE_READ_BYTES <= RECEIVE_BUFFER_BYTES);
    const ssize_t got = recv(channel->source.fd, data + held, RECEIVE_READ_BYTES, MSG_DONTWAIT);
    if (got < 0) {
        if (errno != EAGAIN && errno != EINTR)
            read_failed(channel, errno);
        return false;
    }
    if (got == 0) {
        end_of_stream(channel);
        return false;
    }
    if (held > 0) {
        memcpy(data, channel->in.data + channel->in.start, held);
        buffer_clear(&channel->in, &set->pool);
    }
    const size_t len = held + (size_t)got;
    const size_t used = take_all(channel, data, len);
    if (channel->state == CHANNEL_DEAD)
        return false;
    if (used < len && !buffer_append(&channel->in, &set->pool, data + used, len - used)) {
        channel_end(channel, CHANNEL_END_NO_MEMORY);
        return false;
    }
    return got == RECEIVE_READ_BYTES;
}

void channel_receive(struct channel *channel)
{
    int reads = channel->source.urgent ? URGENT_READS : 1;
    while (receive_once(channel) && --reads > 0)
        continue;
}
