#include "core/check.h"
#include "net/channel_private.h"
#include <errno.h>
#include <sys/socket.h>

/* Hands bytes to the kernel; returns how many it took. When it will never take any again, what is
 * queued is dropped, and reading tells the owner how the connection ended: there may still be
 * messages to be read before that. */
static size_t push(struct channel *channel, const uint8_t *data, size_t len)
{
    ssize_t sent;
    do {
        sent = send(channel->source.fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    if (sent >= 0)
        return (size_t)sent;
    if (errno != EAGAIN) {
        channel->write_broken = true;
        buffer_clear(&channel->plain, &channel->set->pool);
        buffer_clear(&channel->sealed, &channel->set->pool);
        channel_update_interest(channel);
    }
    return 0;
}

/* Sends, keeping what the kernel does not take. False: nothing more can be sent now. */
static bool push_or_keep(struct channel *channel, const uint8_t *data, size_t len)
{
    CHECK(buffer_len(&channel->sealed) == 0);
    const size_t sent = push(channel, data, len);
    if (channel->write_broken)
        return false;
    if (sent == len)
        return true;
    if (!buffer_append(&channel->sealed, &channel->set->pool, data + sent, len - sent)) {
        channel_end(channel, CHANNEL_END_NO_MEMORY);
        return false;
    }
    channel_update_interest(channel);
    return false;
}

void channel_write(struct channel *channel, const uint8_t *data, size_t len)
{
    /* Nothing was written before that could have failed. */
    CHECK(!channel->write_broken);
    push_or_keep(channel, data, len);
}

/* What was sealed before goes first. True when nothing of it is left. */
static bool push_kept(struct channel *channel)
{
    struct buffer *sealed = &channel->sealed;
    if (buffer_len(sealed) == 0)
        return true;
    const size_t sent = push(channel, sealed->data + sealed->start, buffer_len(sealed));
    if (channel->write_broken)
        return false;
    buffer_drop(sealed, &channel->set->pool, sent);
    if (buffer_len(sealed) > 0)
        return false;
    channel_update_interest(channel);
    return true;
}

/* Seals queued messages into the set's send buffer; returns the bytes there. */
static size_t seal_some(struct channel *channel)
{
    struct channels *set = channel->set;
    struct buffer *plain = &channel->plain;
    size_t used = 0;
    while (buffer_len(plain) > 0) {
        /* The other side cannot have admitted us before our first frame is there. */
        const bool large = channel->admitted && channel->sender.nonce > 0;
        const size_t most = large ? FRAME_PAYLOAD_MAX : FRAME_PAYLOAD_FIRST;
        const size_t len = buffer_len(plain) < most ? buffer_len(plain) : most;
        if (used + len + FRAME_OVERHEAD_BYTES > SEND_BUFFER_BYTES)
            break;
        frame_seal(&channel->sender, plain->data + plain->start, len, set->send_buffer + used);
        used += len + FRAME_OVERHEAD_BYTES;
        buffer_drop(plain, &set->pool, len);
    }
    return used;
}

/* The stream's end: the closing frame, then our half of the connection. */
static void finish_lingering(struct channel *channel)
{
    if (!channel->end_sealed) {
        uint8_t frame[FRAME_OVERHEAD_BYTES];
        channel->end_sealed = true;
        frame_seal(&channel->sender, NULL, 0, frame);
        if (!push_or_keep(channel, frame, sizeof frame))
            return;
    }
    shutdown(channel->source.fd, SHUT_WR);
}

void channel_flush(struct channel *channel)
{
    CHECK(channel->state >= CHANNEL_AWAIT_REPLY);
    if (channel->write_broken)
        return;
    if (!push_kept(channel))
        return;
    while (buffer_len(&channel->plain) > 0) {
        const size_t len = seal_some(channel);
        if (!push_or_keep(channel, channel->set->send_buffer, len))
            return;
    }
    if (channel->state == CHANNEL_LINGERING) {
        finish_lingering(channel);
    } else if (channel->undrained) {
        channel->undrained = false;
        channel_deliver(channel, &(struct channel_event) { .kind = CHANNEL_DRAINED });
    }
}
