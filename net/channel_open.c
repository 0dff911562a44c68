#include "core/check.h"
#include "core/limits.h"
#include "net/channel_private.h"
#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void channel_drop_opening(struct channel *channel)
{
    struct channel_opening *opening = channel->opening;
    if (!opening)
        return;
    if (opening->lookup)
        lookup_cancel(opening->lookup);
    sodium_memzero(opening, sizeof *opening);
    free(opening);
    channel->opening = NULL;
}

/* Both directions have keys: copies what outlives the handshake. */
static void keep_keys(struct channel *channel)
{
    struct noise_handshake *handshake = &channel->opening->handshake;
    memcpy(channel->hash, handshake->hash, NOISE_KEY_BYTES);
    noise_split(handshake, &channel->sender, &channel->receiver);
    channel_drop_opening(channel);
}

/* -- Dialling --------------------------------------------------------------------------------- */

static void fail_at_once(struct channel *channel, enum channel_end end)
{
    channel->state = CHANNEL_FAILED_AT_ONCE;
    channel->opening->worst = end;
    loop_timer_set(channel->set->loop, &channel->timer, loop_now_us(channel->set->loop));
}

/* Each address gets an equal part of the time that is left, so that a silent first one does not
 * take it all. */
static void connect_next(struct channel *channel)
{
    struct loop *loop = channel->set->loop;
    struct channel_opening *opening = channel->opening;
    while (opening->next_address < opening->address_count) {
        const uint32_t left = opening->address_count - opening->next_address;
        channel->address = opening->addresses[opening->next_address++];
        const enum ft_error error = tcp_dial(&channel->source.fd, &channel->address);
        if (error == FT_OK) {
            channel->state = CHANNEL_CONNECTING;
            if (loop_watch(loop, &channel->source, LOOP_WRITE) != FT_OK)
                break;
            const uint64_t now_us = loop_now_us(loop);
            const uint64_t rest_us =
                opening->deadline_us > now_us ? opening->deadline_us - now_us : 0;
            loop_timer_set(loop, &channel->timer, now_us + rest_us / left);
            return;
        }
        if (error == FT_ERROR_DENIED)
            opening->worst = CHANNEL_END_REFUSED;
    }
    fail_at_once(channel, opening->worst);
}

static void drop_attempt(struct channel *channel, enum channel_end why)
{
    loop_unwatch(channel->set->loop, &channel->source);
    close(channel->source.fd);
    channel->source.fd = -1;
    channel->opening->worst = why;
    connect_next(channel);
}

static void on_found(void *owner, const struct tcp_address *found, size_t count)
{
    struct channel *channel = owner;
    struct channel_opening *opening = channel->opening;
    CHECK(channel->state == CHANNEL_LOOKING_UP);
    CHECK(count <= LOOKUP_ADDRESSES);
    opening->lookup = NULL;
    memcpy(opening->addresses, found, count * sizeof *found);
    opening->address_count = (uint32_t)count;
    connect_next(channel);
}

struct channel *channel_dial(struct channels *set, const char *host, uint16_t port,
                             enum channel_role role, uint64_t timeout_us, size_t limit_bytes,
                             channel_handler *handler, void *owner)
{
    CHECK(handler != NULL);
    CHECK(limit_bytes <= CHANNEL_MESSAGE_MAX);
    CHECK(role == ROLE_CLIENT || set->has_psk);
    struct channel *channel = channel_new(set, handler, owner);
    if (!channel)
        return NULL;
    struct channel_opening *opening = channel->opening;
    channel->dialled = true;
    channel->visible = true;
    channel->role = (uint8_t)role;
    channel->limit_bytes = (uint32_t)limit_bytes;
    channel->source.urgent = role == ROLE_NODE;
    opening->deadline_us = loop_now_us(set->loop) + timeout_us;
    opening->worst = CHANNEL_END_UNREACHABLE;
    if (tcp_address_parse(&opening->addresses[0], host, port)) {
        opening->address_count = 1;
        connect_next(channel);
        return channel;
    }
    channel->state = CHANNEL_LOOKING_UP;
    channel->address.port = port;
    opening->lookup = lookup_start(set->loop, host, port, on_found, channel);
    if (opening->lookup)
        loop_timer_set(set->loop, &channel->timer, opening->deadline_us);
    else
        fail_at_once(channel, CHANNEL_END_UNREACHABLE);
    return channel;
}

/* Sends the preamble and message 1 in one piece. */
static void send_first(struct channel *channel)
{
    struct channels *set = channel->set;
    struct noise_handshake *handshake = &channel->opening->handshake;
    const enum channel_role role = channel_role(channel);
    uint8_t prologue[PROLOGUE_BYTES];
    uint8_t out[FIRST_BYTES];
    prologue_write(prologue, role, set->static_public);
    noise_start_initiator(handshake, role_pattern(role), prologue, sizeof prologue,
                          set->static_public, role == ROLE_CLIENT ? NULL : set->psk);
    preamble_write(out, role);
    frame_write_head(out + PREAMBLE_BYTES, NOISE_HANDSHAKE_BYTES);
    if (!noise_write_message(handshake, NULL, 0, out + PREAMBLE_BYTES + FRAME_HEAD_BYTES)) {
        channel_end(channel, CHANNEL_END_GARBAGE); /* the configured public key is a bad point */
        return;
    }
    channel_write(channel, out, sizeof out);
}

void channel_finish_connecting(struct channel *channel)
{
    switch (tcp_dial_result(channel->source.fd)) {
    case 0:
        break;
    case ECONNREFUSED:
        drop_attempt(channel, CHANNEL_END_REFUSED);
        return;
    case ETIMEDOUT:
        drop_attempt(channel, CHANNEL_END_TIMEOUT);
        return;
    default:
        drop_attempt(channel, CHANNEL_END_UNREACHABLE);
        return;
    }
    channel->state = CHANNEL_AWAIT_REPLY;
    loop_timer_set(channel->set->loop, &channel->timer, channel->opening->deadline_us);
    channel_update_interest(channel);
    send_first(channel);
}

void channel_take_reply(struct channel *channel, const uint8_t message[NOISE_HANDSHAKE_BYTES])
{
    static const uint8_t says_nothing[MESSAGE_HEAD_BYTES];
    uint8_t payload[1];
    CHECK(channel->state == CHANNEL_AWAIT_REPLY);
    if (!noise_read_message(&channel->opening->handshake, message, NOISE_HANDSHAKE_BYTES,
                            payload)) {
        channel_end(channel, CHANNEL_END_GARBAGE);
        return;
    }
    keep_keys(channel);
    channel->state = CHANNEL_OPEN;
    loop_timer_clear(channel->set->loop, &channel->timer);
    /* The empty message: our first frame confirms the keys even if the owner has nothing to say. */
    if (!buffer_append(&channel->plain, &channel->set->pool, says_nothing, sizeof says_nothing)) {
        channel_end(channel, CHANNEL_END_NO_MEMORY);
        return;
    }
    channel_mark_dirty(channel);
    channel_deliver(channel, &(struct channel_event) { .kind = CHANNEL_OPENED });
}

/* -- Accepting -------------------------------------------------------------------------------- */

bool channel_begin_accepted(struct channel *channel, int fd, const struct tcp_address *from)
{
    struct channels *set = channel->set;
    channel->state = CHANNEL_AWAIT_FIRST;
    channel->source.fd = fd;
    channel->address = *from;
    if (loop_watch(set->loop, &channel->source, LOOP_READ) != FT_OK) {
        channel_die(channel);
        return false;
    }
    loop_timer_set(set->loop, &channel->timer,
                   loop_now_us(set->loop) + set->config.handshake_timeout_us);
    return true;
}

void channel_answer_first(struct channel *channel)
{
    struct channels *set = channel->set;
    struct noise_handshake *handshake = &channel->opening->handshake;
    const enum channel_role role = channel_role(channel);
    uint8_t prologue[PROLOGUE_BYTES];
    uint8_t payload[1];
    uint8_t out[REPLY_BYTES];
    CHECK(channel->state == CHANNEL_QUEUED);
    link_remove(&channel->queued);
    prologue_write(prologue, role, set->static_public);
    noise_start_responder(handshake, role_pattern(role), prologue, sizeof prologue,
                          set->static_secret, set->static_public,
                          role == ROLE_CLIENT ? NULL : set->psk);
    if (!noise_read_message(handshake, channel->opening->first, NOISE_HANDSHAKE_BYTES, payload)) {
        channel_end(channel, CHANNEL_END_GARBAGE);
        return;
    }
    frame_write_head(out, NOISE_HANDSHAKE_BYTES);
    /* Reading it has refused a key of low order, and with any other no secret of ours fails: each
     * is a multiple of 8 below 8 times the order of the curve and of its twist. */
    CHECK(noise_write_message(handshake, NULL, 0, out + FRAME_HEAD_BYTES));
    keep_keys(channel);
    channel->state = CHANNEL_AWAIT_CONFIRM;
    channel_write(channel, out, sizeof out);
}

/* -- Deadlines -------------------------------------------------------------------------------- */

void channel_on_deadline(struct loop_timer *timer)
{
    struct channel *channel = LOOP_HOLDER(struct channel, timer, timer);
    switch ((enum channel_state)channel->state) {
    case CHANNEL_FAILED_AT_ONCE:
        channel_end(channel, channel->opening->worst);
        return;
    case CHANNEL_CONNECTING:
        drop_attempt(channel, CHANNEL_END_TIMEOUT);
        return;
    case CHANNEL_LINGERING:
        channel_die(channel);
        return;
    default:
        channel_end(channel, CHANNEL_END_TIMEOUT);
        return;
    }
}
