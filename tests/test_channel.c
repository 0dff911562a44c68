/* See tests/test_channel.h. */
#include "tests/test_channel.h"

#include <netinet/in.h>

struct loop *loop;
struct channels *server, *dialers;
struct tcp_address at;
struct side accepted[SIDES]; /* in the order they opened */
int accepted_count;
uint64_t told[NET_COUNTERS];

uint8_t secret_key[NOISE_KEY_BYTES], public_key[NOISE_KEY_BYTES], psk[NOISE_KEY_BYTES];

void say(struct channel *channel, const void *data, size_t len)
{
    assert_true(channel_send(channel, &(struct slice) { data, len }, 1));
}

void on_side(void *owner, struct channel *channel, const struct channel_event *event)
{
    struct side *side = owner;
    assert_ptr_equal(side->channel, channel);
    switch (event->kind) {
    case CHANNEL_OPENED:
        side->opened++;
        if (side->admits)
            channel_admit(channel, ECHO_MAX);
        if (side->greets) {
            static uint8_t greeting[ECHO_MAX];
            say(channel, greeting, side->greets);
        }
        if (side->shuts_at_opening) {
            say(channel, "bye", 3);
            channel_close(channel, true);
        }
        break;
    case CHANNEL_MESSAGE:
        side->messages++;
        side->bytes += event->message.len;
        side->last_len = event->message.len;
        memcpy(side->last, event->message.data,
               side->last_len < sizeof side->last ? side->last_len : sizeof side->last);
        if (side->echoes)
            say(channel, event->message.data, event->message.len);
        if (side->shuts_at_message)
            channel_close(channel, false);
        break;
    case CHANNEL_DRAINED:
        side->drained++;
        if (side->pages-- > 0)
            say(channel, "page", 4);
        break;
    case CHANNEL_CLOSED:
        side->closed++;
        side->end = event->end;
        side->channel = NULL;
        break;
    }
}

struct side accepts_as; /* what accepted sides begin as */

static void on_accepted(void *owner, struct channel *channel, const struct channel_event *event)
{
    assert_int_equal(event->kind, CHANNEL_OPENED);
    assert_ptr_equal(owner, &server);
    assert_true(accepted_count < SIDES);
    struct side *side = &accepted[accepted_count++];
    *side = accepts_as;
    side->channel = channel;
    channel_set_handler(channel, on_side, side);
    on_side(side, channel, event);
}

static void on_notice(void *owner, enum net_counter what, uint64_t how_many,
                      const struct tcp_address *from)
{
    (void)owner;
    assert_true(how_many > 0);
    assert_true(from->port != 0);
    told[what] += how_many;
}

/* -- Setting up ------------------------------------------------------------------------------- */

static void open_both(const struct channels_config *wanted)
{
    struct channels_config config = *wanted;
    config.static_secret = secret_key;
    config.psk = psk;
    config.on_notice = on_notice;
    if (!config.handshake_timeout_us)
        config.handshake_timeout_us = DIAL_US;
    if (!config.login_timeout_us)
        config.login_timeout_us = DIAL_US;
    loop = loop_create();
    assert_non_null(loop);
    server = channels_create(loop, &config);
    assert_non_null(server);
    dialers =
        channels_create(loop, &(struct channels_config) {
                                  .static_public = public_key, .psk = psk, .linger_us = DIAL_US });
    assert_non_null(dialers);
    assert_true(tcp_address_parse(&at, "127.0.0.1", 0));
    assert_int_equal(channels_listen(server, &at, on_accepted, &server), FT_OK);
    channels_listen_address(server, &at);
    memset(accepted, 0, sizeof accepted);
    memset(told, 0, sizeof told);
    accepted_count = 0;
    accepts_as = (struct side) { .admits = true };
}

int channel_set_up(void **state)
{
    (void)state;
    assert_true(sodium_init() >= 0);
    noise_keypair(public_key, secret_key);
    randombytes_buf(psk, sizeof psk);
    open_both(&(struct channels_config) { 0 });
    return 0;
}

int channel_tear_down(void **state)
{
    (void)state;
    channels_destroy(dialers);
    channels_destroy(server);
    loop_destroy(loop);
    return 0;
}

void reopen(const struct channels_config *config)
{
    channel_tear_down(NULL);
    open_both(config);
}

uint64_t count(enum net_counter counter)
{
    return channels_counters(server)->count[counter];
}

void turns(int number)
{
    while (number-- > 0)
        loop_run_once(loop, 0);
}

void dial_as(struct side *side, enum channel_role role)
{
    side->channel =
        channel_dial(dialers, "127.0.0.1", at.port, role, DIAL_US, ECHO_MAX, on_side, side);
    assert_non_null(side->channel);
}

/* Dials, and waits for both ends; returns the accepted one. */
struct side *meet(struct side *side, enum channel_role role)
{
    const int before = accepted_count;
    dial_as(side, role);
    UNTIL(side->opened && accepted_count > before);
    return &accepted[before];
}

enum channel_end end_of_dial(struct channels *set, const char *host, uint16_t port,
                             enum channel_role role, uint64_t timeout_us)
{
    struct side side = { 0 };
    side.channel = channel_dial(set, host, port, role, timeout_us, 4096, on_side, &side);
    assert_non_null(side.channel);
    assert_int_equal(side.closed, 0);
    UNTIL(side.closed);
    assert_int_equal(side.opened, 0);
    return side.end;
}

void stranger_connect(struct stranger *stranger)
{
    struct sockaddr_in to = { .sin_family = AF_INET,
                              .sin_port = htons(at.port),
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    stranger->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(stranger->fd >= 0);
    assert_int_equal(connect(stranger->fd, (struct sockaddr *)&to, sizeof to), 0);
}

void stranger_write(const struct stranger *stranger, const void *data, size_t len)
{
    assert_int_equal(send(stranger->fd, data, len, MSG_NOSIGNAL), len);
}

/* The server hung up, and said nothing before. */
bool stranger_sees_end(const struct stranger *stranger)
{
    uint8_t byte;
    const ssize_t got = recv(stranger->fd, &byte, 1, MSG_DONTWAIT);
    assert_true(got <= 0);
    return got == 0 || errno == ECONNRESET;
}

void stranger_begin(struct stranger *stranger, struct noise_handshake *handshake)
{
    uint8_t prologue[PROLOGUE_BYTES];
    prologue_write(prologue, ROLE_CLIENT, public_key);
    noise_start_initiator(handshake, NOISE_NK, prologue, sizeof prologue, public_key, NULL);
    preamble_write(stranger->first, ROLE_CLIENT);
    frame_write_head(stranger->first + PREAMBLE_BYTES, NOISE_HANDSHAKE_BYTES);
    assert_true(noise_write_message(handshake, NULL, 0,
                                    stranger->first + PREAMBLE_BYTES + FRAME_HEAD_BYTES));
}

void stranger_handshake(struct stranger *stranger)
{
    struct noise_handshake handshake;
    uint8_t reply[FRAME_HEAD_BYTES + NOISE_HANDSHAKE_BYTES], payload[1];
    stranger_connect(stranger);
    stranger_begin(stranger, &handshake);
    stranger_write(stranger, stranger->first, sizeof stranger->first);
    ssize_t got = -1;
    while (got < 0) {
        loop_run_once(loop, 0);
        got = recv(stranger->fd, reply, sizeof reply, MSG_DONTWAIT);
    }
    assert_int_equal(got, sizeof reply);
    assert_true(
        noise_read_message(&handshake, reply + FRAME_HEAD_BYTES, NOISE_HANDSHAKE_BYTES, payload));
    noise_split(&handshake, &stranger->send, &stranger->receive);
}

/* Seals a message into a frame at `out`; returns its length. */
size_t stranger_frame(struct stranger *stranger, uint8_t *out, const char *text)
{
    uint8_t payload[64];
    const size_t len = strlen(text);
    bytes_put_u32(payload, (uint32_t)len);
    memcpy(payload + MESSAGE_HEAD_BYTES, text, len);
    frame_seal(&stranger->send, payload, MESSAGE_HEAD_BYTES + len, out);
    return MESSAGE_HEAD_BYTES + len + FRAME_OVERHEAD_BYTES;
}

void stranger_reset(const struct stranger *stranger)
{
    const struct linger reset = { .l_onoff = 1 };
    assert_int_equal(setsockopt(stranger->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset), 0);
    close(stranger->fd);
}
