/* net/channel: two sides that talk, and others that should not have come. */
#include "core/limits.h"
#include "net/channel.h"
#include "net/lookup.h"

#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum { ECHO_MAX = 1 << 20, SIDES = 512, DIAL_US = 60 * 1000 * 1000 };

/* One end of a channel, as its owner sees it. */
struct side {
    struct channel *channel;
    int opened, messages, drained, closed;
    enum channel_end end;
    size_t bytes;
    size_t last_len;
    uint8_t last[64]; /* the beginning of the last message */
    bool admits;      /* at OPENED */
    bool echoes;
    bool shuts_at_message; /* closes, not gracefully, inside the handler */
    bool shuts_at_opening; /* gracefully */
};

static struct loop *loop;
static struct channels *server, *dialers;
static struct tcp_address at;
static struct side accepted[SIDES]; /* in the order they opened */
static int accepted_count;
static uint64_t told[NET_COUNTERS];

static uint8_t secret_key[NOISE_KEY_BYTES], public_key[NOISE_KEY_BYTES], psk[NOISE_KEY_BYTES];

static void say(struct channel *channel, const void *data, size_t len)
{
    assert_true(channel_send(channel, &(struct slice) { data, len }, 1));
}

static void on_side(void *owner, struct channel *channel, const struct channel_event *event)
{
    struct side *side = owner;
    assert_ptr_equal(side->channel, channel);
    switch (event->kind) {
    case CHANNEL_OPENED:
        side->opened++;
        if (side->admits)
            channel_admit(channel, ECHO_MAX);
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
        break;
    case CHANNEL_CLOSED:
        side->closed++;
        side->end = event->end;
        side->channel = NULL;
        break;
    }
}

static struct side accepts_as; /* what accepted sides begin as */

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

/* -- Setting up
 * ------------------------------------------------------------------------------------ */

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
    dialers = channels_create(
        loop, &(struct channels_config) { .static_public = public_key, .psk = psk });
    assert_non_null(dialers);
    assert_true(tcp_address_parse(&at, "127.0.0.1", 0));
    assert_int_equal(channels_listen(server, &at, on_accepted, &server), FT_OK);
    channels_listen_address(server, &at);
    memset(accepted, 0, sizeof accepted);
    memset(told, 0, sizeof told);
    accepted_count = 0;
    accepts_as = (struct side) { .admits = true };
}

static int set_up(void **state)
{
    (void)state;
    assert_true(sodium_init() >= 0);
    noise_keypair(public_key, secret_key);
    randombytes_buf(psk, sizeof psk);
    open_both(&(struct channels_config) { 0 });
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    channels_destroy(dialers);
    channels_destroy(server);
    loop_destroy(loop);
    return 0;
}

static void reopen(const struct channels_config *config)
{
    tear_down(NULL);
    open_both(config);
}

static uint64_t count(enum net_counter counter)
{
    return channels_counters(server)->count[counter];
}

/* Turns the loop until the condition holds: a hang, not a time, is what fails. */
#define UNTIL(condition)                                                                           \
    do {                                                                                           \
        while (!(condition))                                                                       \
            loop_run_once(loop, UINT64_MAX);                                                       \
    } while (0)

static void turns(int number)
{
    while (number-- > 0)
        loop_run_once(loop, 0);
}

static void dial_as(struct side *side, enum channel_role role)
{
    side->channel =
        channel_dial(dialers, "127.0.0.1", at.port, role, DIAL_US, ECHO_MAX, on_side, side);
    assert_non_null(side->channel);
}

/* Dials, and waits for both ends; returns the accepted one. */
static struct side *meet(struct side *side, enum channel_role role)
{
    const int before = accepted_count;
    dial_as(side, role);
    UNTIL(side->opened && accepted_count > before);
    return &accepted[before];
}

/* -- Two that talk
 * --------------------------------------------------------------------------------- */

static void roles_open(void **state)
{
    (void)state;
    for (enum channel_role role = ROLE_CLIENT; role <= ROLE_MONITOR; role++) {
        struct side side = { .admits = true };
        struct side *other = meet(&side, role);
        assert_int_equal(channel_role(other->channel), role);
        assert_int_equal(channel_role(side.channel), role);
        assert_true(channel_was_dialled(side.channel));
        assert_false(channel_was_dialled(other->channel));
        assert_memory_equal(channel_hash(side.channel), channel_hash(other->channel), 32);
        assert_false(sodium_is_zero(channel_hash(side.channel), 32));
        assert_int_equal(channel_address(side.channel)->port, at.port);
        channel_set_tag(side.channel, 7);
        assert_int_equal(channel_tag(side.channel), 7);
        assert_int_equal(side.messages + other->messages, 0);
        channel_close(side.channel, true);
        UNTIL(other->closed);
        assert_int_equal(other->end, CHANNEL_END_CLOSED);
        assert_int_equal(side.closed, 0);
    }
    UNTIL(channels_state(dialers).all == 0 && channels_state(server).all == 0);
    assert_int_equal(channels_state(dialers).lingering, 0);
    assert_int_equal(channels_state(server).buffer_bytes, 0);
    assert_int_equal(count(NET_ACCEPTED), 4);
    assert_int_equal(count(NET_OPENED), 4);
    for (enum net_counter what = NET_REFUSED_TOTAL; what < NET_COUNTERS; what++)
        assert_int_equal(count(what), 0);
}

static void messages_of_all_lengths(void **state)
{
    (void)state;
    static uint8_t data[ECHO_MAX];
    static const size_t lens[] = { 1,     2,     100,   4075,  4076,   4077,    4096,
                                   16380, 16384, 65535, 65536, 262144, 1000000, ECHO_MAX };
    const size_t number = sizeof lens / sizeof *lens;
    struct side side = { .admits = true };
    accepts_as.echoes = true;
    randombytes_buf(data, sizeof data);
    struct side *other = meet(&side, ROLE_NODE);
    size_t total = 0;
    for (size_t i = 0; i < number; i++) {
        const struct slice parts[4] = { { data, lens[i] / 2 },
                                        { NULL, 0 },
                                        { data + lens[i] / 2, lens[i] / 4 },
                                        { data + lens[i] / 2 + lens[i] / 4,
                                          lens[i] - lens[i] / 2 - lens[i] / 4 } };
        assert_true(channel_send(side.channel, parts, 4));
        total += lens[i];
    }
    UNTIL(side.messages == (int)number || side.closed || other->closed);
    assert_int_equal(side.bytes, total);
    assert_int_equal(side.last_len, ECHO_MAX);
    assert_memory_equal(side.last, data, sizeof side.last);
    /* Buffers are held only while they hold something. */
    turns(3);
    assert_int_equal(channels_state(server).buffer_bytes, 0);
    assert_int_equal(channels_state(dialers).buffer_bytes, 0);
}

static void many_small_messages_in_order(void **state)
{
    (void)state;
    enum { NUMBER = 20000 };
    struct side side = { .admits = true };
    struct side *other = meet(&side, ROLE_CLIENT);
    for (uint32_t i = 0; i < NUMBER; i++)
        say(side.channel, &i, sizeof i);
    assert_int_equal(channel_unsent(side.channel), NUMBER * (4 + MESSAGE_HEAD_BYTES));
    UNTIL(other->messages == NUMBER);
    const uint32_t last = NUMBER - 1;
    assert_memory_equal(other->last, &last, sizeof last);
    assert_int_equal(channel_unsent(side.channel), 0);
    /* All went in one turn, so it was told once. */
    assert_int_equal(side.drained, 1);
}

static void reader_that_pauses_holds_the_sender(void **state)
{
    (void)state;
    enum { NUMBER = 14, SIZE = ECHO_MAX };
    static uint8_t data[SIZE];
    struct side side = { .admits = true };
    struct side *other = meet(&side, ROLE_CLIENT);
    turns(3);
    channel_set_reading(other->channel, false);
    for (int i = 0; i < NUMBER; i++)
        say(side.channel, data, sizeof data), turns(1);
    turns(50);
    assert_true(channel_unsent(side.channel) > 0);
    assert_int_equal(other->messages, 0);
    const int drained = side.drained;
    turns(10);
    assert_int_equal(side.drained, drained);
    channel_set_reading(other->channel, true);
    UNTIL(other->messages == NUMBER);
    UNTIL(side.drained > drained);
    assert_int_equal(channel_unsent(side.channel), 0);
}

static void full_buffers_are_said(void **state)
{
    (void)state;
    static uint8_t data[1 << 20];
    reopen(&(struct channels_config) { .buffer_cap_bytes = 64 << 10 });
    struct side side = { .admits = true };
    struct side *other = meet(&side, ROLE_CLIENT);
    assert_false(channel_send(other->channel, &(struct slice) { data, sizeof data }, 1));
    assert_int_equal(channel_unsent(other->channel), 0);
    say(other->channel, "ok", 2);
    UNTIL(side.messages == 1);
    /* What it cannot gather it does not take. */
    say(side.channel, data, sizeof data);
    UNTIL(other->closed);
    assert_int_equal(other->end, CHANNEL_END_NO_MEMORY);
    assert_int_equal(count(NET_NO_MEMORY), 1);
}

static void closing_in_every_handler(void **state)
{
    (void)state;
    struct side side = { .admits = true };
    accepts_as.shuts_at_opening = true;
    dial_as(&side, ROLE_CLIENT);
    UNTIL(side.closed);
    assert_int_equal(side.end, CHANNEL_END_CLOSED);
    assert_memory_equal(side.last, "bye", 3);
    UNTIL(channels_state(server).all == 0);

    accepts_as.shuts_at_opening = false;
    accepts_as.shuts_at_message = true;
    side = (struct side) { .admits = true };
    struct side *other = meet(&side, ROLE_CLIENT);
    say(side.channel, "1", 1);
    say(side.channel, "2", 1);
    UNTIL(side.closed);
    assert_int_equal(other->messages, 1);
    assert_int_equal(other->closed, 0);
    assert_true(side.end == CHANNEL_END_TRUNCATED || side.end == CHANNEL_END_RESET);
    assert_int_equal(channels_state(server).all, 0);
}

static void graceful_close_delivers_what_was_queued(void **state)
{
    (void)state;
    static uint8_t data[ECHO_MAX];
    struct side side = { .admits = true };
    struct side *other = meet(&side, ROLE_CTL);
    for (int i = 0; i < 12; i++)
        say(side.channel, data, sizeof data);
    channel_close(side.channel, true);
    assert_int_equal(channels_state(dialers).lingering, 1);
    UNTIL(other->closed);
    assert_int_equal(other->end, CHANNEL_END_CLOSED);
    assert_int_equal(other->messages, 12);
    UNTIL(channels_state(dialers).all == 0);
}

/* -- Dialling in vain
 * ------------------------------------------------------------------------------ */

static enum channel_end end_of_dial(struct channels *set, const char *host, uint16_t port,
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

static void nobody_there(void **state)
{
    (void)state;
    struct tcp_address nobody;
    int fd;
    assert_true(tcp_address_parse(&nobody, "127.0.0.1", 0));
    assert_int_equal(tcp_listen(&fd, &nobody), FT_OK);
    tcp_local_address(fd, &nobody);
    /* It listens, and never answers. */
    assert_int_equal(end_of_dial(dialers, "127.0.0.1", nobody.port, ROLE_CLIENT, 1000),
                     CHANNEL_END_TIMEOUT);
    close(fd);
    assert_int_equal(end_of_dial(dialers, "127.0.0.1", nobody.port, ROLE_CLIENT, DIAL_US),
                     CHANNEL_END_REFUSED);
    assert_int_equal(end_of_dial(dialers, "localhost", nobody.port, ROLE_CLIENT, DIAL_US),
                     CHANNEL_END_REFUSED);
    assert_int_equal(end_of_dial(dialers, "bad name!", 1, ROLE_CLIENT, DIAL_US),
                     CHANNEL_END_UNREACHABLE);
    char long_name[LOOKUP_NAME_BYTES + 1];
    memset(long_name, 'a', sizeof long_name);
    long_name[LOOKUP_NAME_BYTES] = 0;
    assert_int_equal(end_of_dial(dialers, long_name, 1, ROLE_CLIENT, DIAL_US),
                     CHANNEL_END_UNREACHABLE);
}

/* A name may have several addresses; the one that answers is found. */
static void name_with_addresses(void **state)
{
    (void)state;
    struct side side = { 0 };
    side.channel =
        channel_dial(dialers, "localhost", at.port, ROLE_CLIENT, DIAL_US, 4096, on_side, &side);
    assert_non_null(side.channel);
    UNTIL(side.opened || side.closed);
    assert_int_equal(side.opened, 1);
}

static void wrong_keys(void **state)
{
    (void)state;
    uint8_t other_public[NOISE_KEY_BYTES], other_secret[NOISE_KEY_BYTES], other_psk[32] = { 1 };
    noise_keypair(other_public, other_secret);
    struct channels *wrong_static = channels_create(
        loop, &(struct channels_config) { .static_public = other_public, .psk = psk });
    struct channels *wrong_psk = channels_create(
        loop, &(struct channels_config) { .static_public = public_key, .psk = other_psk });
    enum channel_end ends[3] = {
        end_of_dial(wrong_static, "127.0.0.1", at.port, ROLE_CLIENT, DIAL_US),
        end_of_dial(wrong_static, "127.0.0.1", at.port, ROLE_NODE, DIAL_US),
        end_of_dial(wrong_psk, "127.0.0.1", at.port, ROLE_NODE, DIAL_US),
    };
    /* The server says nothing to whom it does not know: it hangs up. */
    for (size_t i = 0; i < 3; i++)
        assert_true(ends[i] == CHANNEL_END_TRUNCATED || ends[i] == CHANNEL_END_RESET);
    assert_int_equal(count(NET_GARBAGE), 3);
    assert_int_equal(accepted_count, 0);
    /* A client needs no psk, so a wrong one does no harm. */
    struct side side = { 0 };
    side.channel =
        channel_dial(wrong_psk, "127.0.0.1", at.port, ROLE_CLIENT, DIAL_US, 4096, on_side, &side);
    UNTIL(side.opened);
    channels_destroy(wrong_static);
    channels_destroy(wrong_psk);
}

static void table_of_channels_has_an_end(void **state)
{
    (void)state;
    reopen(&(struct channels_config) { .max_channels = 2 });
    struct side sides[3] = { 0 };
    for (int i = 0; i < 3; i++)
        dial_as(&sides[i], ROLE_CLIENT);
    UNTIL(sides[0].closed + sides[1].closed + sides[2].closed == 1);
    assert_int_equal(count(NET_REFUSED_TOTAL), 1);
    assert_null(channel_dial(server, "127.0.0.1", 1, ROLE_CLIENT, 1, 1, on_side, &sides[0]));
}

/* -- Strangers
 * ------------------------------------------------------------------------------------- */

/* A plain socket, and the protocol spoken by hand. */
struct stranger {
    int fd;
    struct noise_cipher send, receive;
    uint8_t first[PREAMBLE_BYTES + FRAME_HEAD_BYTES + NOISE_HANDSHAKE_BYTES];
};

static void stranger_connect(struct stranger *stranger)
{
    struct sockaddr_in to = { .sin_family = AF_INET,
                              .sin_port = htons(at.port),
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    stranger->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(stranger->fd >= 0);
    assert_int_equal(connect(stranger->fd, (struct sockaddr *)&to, sizeof to), 0);
}

static void stranger_write(const struct stranger *stranger, const void *data, size_t len)
{
    assert_int_equal(send(stranger->fd, data, len, MSG_NOSIGNAL), len);
}

/* The server hung up, and said nothing before. */
static bool stranger_sees_end(const struct stranger *stranger)
{
    uint8_t byte;
    const ssize_t got = recv(stranger->fd, &byte, 1, MSG_DONTWAIT);
    assert_true(got <= 0);
    return got == 0 || errno == ECONNRESET;
}

static void stranger_begin(struct stranger *stranger, struct noise_handshake *handshake)
{
    uint8_t prologue[PROLOGUE_BYTES];
    prologue_write(prologue, ROLE_CLIENT, public_key);
    noise_start_initiator(handshake, NOISE_NK, prologue, sizeof prologue, public_key, NULL);
    preamble_write(stranger->first, ROLE_CLIENT);
    frame_write_head(stranger->first + PREAMBLE_BYTES, NOISE_HANDSHAKE_BYTES);
    assert_true(noise_write_message(handshake, NULL, 0,
                                    stranger->first + PREAMBLE_BYTES + FRAME_HEAD_BYTES));
}

static void stranger_handshake(struct stranger *stranger)
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
static size_t stranger_frame(struct stranger *stranger, uint8_t *out, const char *text)
{
    uint8_t payload[64];
    const size_t len = strlen(text);
    bytes_put_u32(payload, (uint32_t)len);
    memcpy(payload + MESSAGE_HEAD_BYTES, text, len);
    frame_seal(&stranger->send, payload, MESSAGE_HEAD_BYTES + len, out);
    return MESSAGE_HEAD_BYTES + len + FRAME_OVERHEAD_BYTES;
}

static void garbage_is_dropped_at_once(void **state)
{
    (void)state;
    static const uint8_t long_first[10] = { 'F', 'T', 'C', '1', 1, 0, 0, 0, 0xff, 0xff };
    static const struct {
        const void *data;
        size_t len;
    } garbage[] = {
        { "GET / HTTP/1.1\r\n\r\n", 18 }, { "FTC1\x05\0\0\0", 8 }, { "FTC1\x01\0\0\1", 8 },
        { "FTC2\x01\0\0\0", 8 },          { long_first, 10 },
    };
    for (size_t i = 0; i < sizeof garbage / sizeof *garbage; i++) {
        struct stranger stranger;
        stranger_connect(&stranger);
        stranger_write(&stranger, garbage[i].data, garbage[i].len);
        UNTIL(count(NET_GARBAGE) == i + 1);
        UNTIL(stranger_sees_end(&stranger));
        close(stranger.fd);
    }
    /* Told once for the burst; the rest waits for its end. */
    assert_int_equal(told[NET_GARBAGE], 1);
    assert_int_equal(accepted_count, 0);
    assert_int_equal(channels_state(server).all, 0);
}

static void one_byte_at_a_time(void **state)
{
    (void)state;
    struct stranger stranger;
    struct noise_handshake handshake;
    uint8_t reply[FRAME_HEAD_BYTES + NOISE_HANDSHAKE_BYTES], payload[1], frame[64];
    stranger_connect(&stranger);
    stranger_begin(&stranger, &handshake);
    for (size_t i = 0; i < sizeof stranger.first; i++) {
        stranger_write(&stranger, stranger.first + i, 1);
        turns(1);
    }
    while (recv(stranger.fd, reply, sizeof reply, MSG_DONTWAIT) < 0)
        turns(1);
    assert_true(
        noise_read_message(&handshake, reply + FRAME_HEAD_BYTES, NOISE_HANDSHAKE_BYTES, payload));
    noise_split(&handshake, &stranger.send, &stranger.receive);
    const size_t len = stranger_frame(&stranger, frame, "slow");
    for (size_t i = 0; i < len; i++) {
        assert_int_equal(accepted_count, 0);
        stranger_write(&stranger, frame + i, 1);
        turns(1);
    }
    UNTIL(accepted_count == 1 && accepted[0].messages == 1);
    assert_memory_equal(accepted[0].last, "slow", 4);
    /* An end in the middle of a frame, or after one, is a truncation alike. */
    stranger_write(&stranger, frame, 1);
    close(stranger.fd);
    UNTIL(accepted[0].closed);
    assert_true(accepted[0].end == CHANNEL_END_TRUNCATED);
    assert_int_equal(count(NET_TRUNCATED), 1);
}

static void flipped_bits_in_message_one(void **state)
{
    (void)state;
    struct stranger stranger;
    struct noise_handshake handshake;
    uint64_t before = 0;
    for (size_t i = 0; i < sizeof stranger.first; i++) {
        if (i == 4)
            continue; /* the role: another pattern, or nobody's; below */
        stranger_connect(&stranger);
        stranger_begin(&stranger, &handshake);
        stranger.first[i] ^= 0x40;
        stranger_write(&stranger, stranger.first, sizeof stranger.first);
        UNTIL(count(NET_GARBAGE) == before + 1);
        before++;
        close(stranger.fd);
    }
    stranger_connect(&stranger);
    stranger_begin(&stranger, &handshake);
    stranger.first[4] = ROLE_NODE;
    stranger_write(&stranger, stranger.first, sizeof stranger.first);
    UNTIL(count(NET_GARBAGE) == before + 1);
    close(stranger.fd);
    assert_int_equal(accepted_count, 0);
}

static void replayed_message_one_opens_nothing(void **state)
{
    (void)state;
    struct stranger honest, replayer;
    uint8_t frame[64];
    stranger_handshake(&honest);
    stranger_connect(&replayer);
    stranger_write(&replayer, honest.first, sizeof honest.first);
    const size_t len = stranger_frame(&honest, frame, "hello");
    stranger_write(&honest, frame, len);
    UNTIL(accepted_count == 1 && accepted[0].messages == 1);
    stranger_write(&replayer, frame, len);
    UNTIL(count(NET_GARBAGE) == 1);
    assert_int_equal(accepted_count, 1);
    assert_int_equal(accepted[0].closed, 0);
    close(honest.fd);
    close(replayer.fd);
}

static void frames_replayed_reordered_changed(void **state)
{
    (void)state;
    for (int kind = 0; kind < 4; kind++) {
        struct stranger stranger;
        uint8_t first[64], second[64];
        stranger_handshake(&stranger);
        const size_t len = stranger_frame(&stranger, first, "1");
        stranger_frame(&stranger, second, "2");
        stranger_write(&stranger, first, len);
        UNTIL(accepted_count == kind + 1 && accepted[kind].messages == 1);
        if (kind == 0)
            stranger_write(&stranger, first, len);
        if (kind == 1) {
            stranger_frame(&stranger, second, "3");
            stranger_write(&stranger, second, len);
        }
        if (kind == 2) {
            second[len - 1] ^= 1;
            stranger_write(&stranger, second, len);
        }
        if (kind == 3)
            stranger_write(&stranger, "\0\3abc", 5);
        UNTIL(accepted[kind].closed);
        assert_int_equal(accepted[kind].end, CHANNEL_END_GARBAGE);
        assert_int_equal(accepted[kind].messages, 1);
        close(stranger.fd);
    }
    assert_int_equal(count(NET_GARBAGE), 4);
}

static void bytes_before_the_answer_are_garbage(void **state)
{
    (void)state;
    struct stranger stranger;
    struct noise_handshake handshake;
    uint8_t both[sizeof stranger.first + 1];
    stranger_connect(&stranger);
    stranger_begin(&stranger, &handshake);
    memcpy(both, stranger.first, sizeof stranger.first);
    both[sizeof stranger.first] = 0;
    stranger_write(&stranger, both, sizeof both);
    UNTIL(count(NET_GARBAGE) == 1);
    close(stranger.fd);
}

static void limit_before_login(void **state)
{
    (void)state;
    static uint8_t data[LIMIT_PREAUTH_BYTES + 1];
    accepts_as.admits = false;
    struct side side = { 0 };
    struct side *other = meet(&side, ROLE_CLIENT);
    say(side.channel, data, LIMIT_PREAUTH_BYTES);
    UNTIL(other->messages == 1);
    say(side.channel, data, LIMIT_PREAUTH_BYTES + 1);
    UNTIL(other->closed);
    assert_int_equal(other->end, CHANNEL_END_OVERSIZED);
    /* A frame of that size is refused by its head. */
    struct stranger stranger;
    uint8_t frame[64];
    stranger_handshake(&stranger);
    stranger_write(&stranger, frame, stranger_frame(&stranger, frame, "hi"));
    stranger_write(&stranger, "\x10\x01", 2);
    UNTIL(count(NET_OVERSIZED) == 2);
    close(stranger.fd);
    /* After the login the same is welcome. */
    accepts_as.admits = true;
    side = (struct side) { .admits = true };
    other = meet(&side, ROLE_CLIENT);
    say(side.channel, data, sizeof data);
    UNTIL(other->messages == 1);
}

static void half_open_ones_time_out(void **state)
{
    (void)state;
    reopen(&(struct channels_config) { .handshake_timeout_us = 1000, .login_timeout_us = 1000 });
    accepts_as.admits = false;
    struct stranger silent, half, replayer;
    struct noise_handshake handshake;
    stranger_connect(&silent);
    stranger_connect(&half);
    stranger_connect(&replayer);
    stranger_begin(&replayer, &handshake);
    stranger_write(&half, "FTC1", 4);
    stranger_write(&replayer, replayer.first, sizeof replayer.first);
    UNTIL(count(NET_HANDSHAKE_TIMEOUT) == 3);
    assert_int_equal(accepted_count, 0);
    close(silent.fd);
    close(half.fd);
    close(replayer.fd);
    assert_int_equal(channels_state(server).preauth, 0);
}

static void login_times_out_unless_admitted(void **state)
{
    (void)state;
    reopen(&(struct channels_config) { .login_timeout_us = 1 });
    struct side first = { .admits = true }, second = { .admits = true };
    struct side *admitted = meet(&first, ROLE_CLIENT);
    accepts_as.admits = false;
    struct side *waiting = meet(&second, ROLE_CLIENT);
    UNTIL(waiting->closed);
    assert_int_equal(waiting->end, CHANNEL_END_TIMEOUT);
    assert_int_equal(count(NET_LOGIN_TIMEOUT), 1);
    assert_int_equal(admitted->closed, 0);
    channel_set_deadline(admitted->channel, 0); /* of no use any more */
    turns(3);
    assert_int_equal(admitted->closed, 0);
}

/* The cap of one address: newcomers come in, somebody random goes; all are counted. */
static void cap_of_one_address(void **state)
{
    (void)state;
    enum { NUMBER = 40, CAP = 8 };
    reopen(&(struct channels_config) { .preauth = 64, .preauth_per_address = CAP });
    struct stranger strangers[NUMBER];
    for (int i = 0; i < NUMBER; i++)
        stranger_connect(&strangers[i]);
    UNTIL(count(NET_ACCEPTED) == NUMBER);
    assert_int_equal(count(NET_REFUSED_ADDRESS), NUMBER - CAP);
    assert_int_equal(channels_state(server).preauth, CAP);
    /* And while they hold every slot, an honest client gets through. */
    struct side side = { .admits = true };
    meet(&side, ROLE_CLIENT);
    assert_int_equal(count(NET_REFUSED_ADDRESS), NUMBER - CAP + 1);
    for (int i = 0; i < NUMBER; i++)
        close(strangers[i].fd);
    UNTIL(count(NET_TRUNCATED) == CAP - 1);
    assert_int_equal(channels_state(server).preauth, 0);
    assert_int_equal(channels_state(server).all, 1);
}

static void cap_of_all(void **state)
{
    (void)state;
    enum { NUMBER = 60, CAP = 16 };
    reopen(&(struct channels_config) { .preauth = CAP, .preauth_per_address = 1000 });
    struct stranger strangers[NUMBER];
    for (int i = 0; i < NUMBER; i++)
        stranger_connect(&strangers[i]);
    UNTIL(count(NET_ACCEPTED) == NUMBER);
    const struct channels_state now = channels_state(server);
    assert_true(now.preauth <= CAP);
    assert_true(now.preauth >= CAP - CAP / 4);
    assert_int_equal(count(NET_REFUSED_CAP), NUMBER - now.preauth);
    for (int i = 0; i < NUMBER; i++)
        close(strangers[i].fd);
}

/* When all slots are held by confirmed ones that never log in, one of them goes, and is told. */
static void confirmed_ones_give_way_last(void **state)
{
    (void)state;
    reopen(&(struct channels_config) { .preauth = 4, .preauth_per_address = 4 });
    accepts_as.admits = false;
    struct side sides[5] = { 0 };
    for (int i = 0; i < 4; i++)
        meet(&sides[i], ROLE_CLIENT);
    meet(&sides[4], ROLE_CLIENT);
    int crowded = 0;
    for (int i = 0; i < 5; i++) {
        if (accepted[i].closed) {
            assert_int_equal(accepted[i].end, CHANNEL_END_CROWDED);
            crowded++;
        }
    }
    assert_int_equal(crowded, 1);
    assert_int_equal(accepted[4].closed, 0);
}

static void out_of_descriptors(void **state)
{
    (void)state;
    struct rlimit limit, none;
    struct stranger stranger;
    stranger_connect(&stranger);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    none = (struct rlimit) { 0, limit.rlim_max };
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    while (count(NET_ACCEPT_PAUSED) == 0)
        loop_run_once(loop, 0);
    turns(20); /* it looks away */
    const uint64_t paused = count(NET_ACCEPT_PAUSED);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_true(paused < 20);
    UNTIL(count(NET_ACCEPTED) == 1);
    close(stranger.fd);
}

/* -- Bursts
 * ---------------------------------------------------------------------------------------- */

static void burst_is_told_once(void **state)
{
    (void)state;
    struct burst burst = { 0 };
    assert_int_equal(burst_note(&burst, 1000), 1);
    for (int i = 0; i < 5; i++)
        assert_int_equal(burst_note(&burst, 2000), 0);
    assert_int_equal(burst_over(&burst, 1000 + BURST_US - 1), 0);
    assert_int_equal(burst_over(&burst, 1000 + BURST_US), 5);
    assert_int_equal(burst_over(&burst, 1000 + 9ull * BURST_US), 0);
    assert_int_equal(burst_note(&burst, 1000 + 9ull * BURST_US), 1);
}

static void everything_has_a_name(void **state)
{
    (void)state;
    for (enum net_counter i = 0; i < NET_COUNTERS; i++) {
        for (enum net_counter j = 0; j < i; j++)
            assert_string_not_equal(net_counter_name(i), net_counter_name(j));
    }
    for (enum channel_end i = 0; i < CHANNEL_ENDS; i++) {
        for (enum channel_end j = 0; j < i; j++)
            assert_string_not_equal(channel_end_name(i), channel_end_name(j));
    }
}

#define CHANNEL_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CHANNEL_TEST(roles_open),
        CHANNEL_TEST(messages_of_all_lengths),
        CHANNEL_TEST(many_small_messages_in_order),
        CHANNEL_TEST(reader_that_pauses_holds_the_sender),
        CHANNEL_TEST(full_buffers_are_said),
        CHANNEL_TEST(closing_in_every_handler),
        CHANNEL_TEST(graceful_close_delivers_what_was_queued),
        CHANNEL_TEST(nobody_there),
        CHANNEL_TEST(name_with_addresses),
        CHANNEL_TEST(wrong_keys),
        CHANNEL_TEST(table_of_channels_has_an_end),
        CHANNEL_TEST(garbage_is_dropped_at_once),
        CHANNEL_TEST(one_byte_at_a_time),
        CHANNEL_TEST(flipped_bits_in_message_one),
        CHANNEL_TEST(replayed_message_one_opens_nothing),
        CHANNEL_TEST(frames_replayed_reordered_changed),
        CHANNEL_TEST(bytes_before_the_answer_are_garbage),
        CHANNEL_TEST(limit_before_login),
        CHANNEL_TEST(half_open_ones_time_out),
        CHANNEL_TEST(login_times_out_unless_admitted),
        CHANNEL_TEST(cap_of_one_address),
        CHANNEL_TEST(cap_of_all),
        CHANNEL_TEST(confirmed_ones_give_way_last),
        CHANNEL_TEST(out_of_descriptors),
        cmocka_unit_test(burst_is_told_once),
        cmocka_unit_test(everything_has_a_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
