/* net/channel: two sides that talk, and dials that end in every way. */
#include "tests/test_channel.h"

#include <arpa/inet.h>
#include <netinet/in.h>

/* -- Two that talk ---------------------------------------------------------------------------- */

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

/* Both admit each other at OPENED, as nodes do: the dialer's first frame comes before the other can
 * have done so, and must fit all the same. */
static void long_greeting_between_nodes(void **state)
{
    (void)state;
    struct side side = { .admits = true, .greets = 100000 };
    accepts_as.greets = 100000;
    struct side *other = meet(&side, ROLE_NODE);
    UNTIL((other->messages && side.messages) || other->closed || side.closed);
    assert_int_equal(other->bytes, 100000);
    assert_int_equal(side.bytes, 100000);
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

/* -- Dialling in vain ------------------------------------------------------------------------- */

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

/* -- A server that is not one ----------------------------------------------------------------- */

/* Listens without a channel set; `at` of the dial is its port. */
static int fake_listen(uint16_t *port, int backlog)
{
    struct tcp_address address;
    int fd;
    assert_true(tcp_address_parse(&address, "127.0.0.1", 0));
    assert_int_equal(tcp_listen(&fd, &address), FT_OK);
    assert_int_equal(listen(fd, backlog), 0);
    tcp_local_address(fd, &address);
    *port = address.port;
    return fd;
}

static int fake_accept(int listener, struct side *side, uint16_t port)
{
    struct tcp_address from;
    int fd;
    side->channel =
        channel_dial(dialers, "127.0.0.1", port, ROLE_CLIENT, DIAL_US, ECHO_MAX, on_side, side);
    assert_non_null(side->channel);
    while (tcp_accept(listener, &fd, &from) != TCP_ACCEPTED)
        turns(1);
    turns(2);
    return fd;
}

static void answers_that_are_none(void **state)
{
    (void)state;
    uint8_t reply[FRAME_HEAD_BYTES + NOISE_HANDSHAKE_BYTES];
    uint16_t port;
    const int listener = fake_listen(&port, 4);
    frame_write_head(reply, NOISE_HANDSHAKE_BYTES);
    randombytes_buf(reply + FRAME_HEAD_BYTES, NOISE_HANDSHAKE_BYTES);
    for (int kind = 0; kind < 3; kind++) {
        struct side side = { 0 };
        const int fd = fake_accept(listener, &side, port);
        if (kind == 0) { /* the right form, by nobody who has the key */
            assert_int_equal(send(fd, reply, 20, 0), 20);
            turns(3);
            assert_int_equal(send(fd, reply + 20, sizeof reply - 20, 0), sizeof reply - 20);
        }
        if (kind == 1)
            assert_int_equal(send(fd, "HTTP", 4, 0), 4);
        if (kind == 2)
            close(fd);
        UNTIL(side.closed);
        assert_int_equal(side.opened, 0);
        if (kind == 2) {
            /* Our message 1 was never read, so the kernel may call it a reset. */
            assert_true(side.end == CHANNEL_END_TRUNCATED || side.end == CHANNEL_END_RESET);
            continue;
        }
        assert_int_equal(side.end, CHANNEL_END_GARBAGE);
        close(fd);
    }
    close(listener);
}

/* Its queue is full: the kernel drops our SYNs, as a firewall would. */
static void connecting_times_out(void **state)
{
    (void)state;
    enum { FILLERS = 4 };
    struct tcp_address to;
    uint16_t port;
    int fillers[FILLERS];
    const int listener = fake_listen(&port, 0);
    assert_true(tcp_address_parse(&to, "127.0.0.1", port));
    for (int i = 0; i < FILLERS; i++)
        assert_int_equal(tcp_dial(&fillers[i], &to), FT_OK);
    assert_int_equal(end_of_dial(dialers, "127.0.0.1", port, ROLE_CLIENT, 20000),
                     CHANNEL_END_TIMEOUT);
    for (int i = 0; i < FILLERS; i++)
        close(fillers[i]);
    close(listener);
}

static void public_key_that_is_no_point(void **state)
{
    (void)state;
    const uint8_t zeros[NOISE_KEY_BYTES] = { 0 };
    struct channels *bad =
        channels_create(loop, &(struct channels_config) { .static_public = zeros });
    assert_int_equal(end_of_dial(bad, "127.0.0.1", at.port, ROLE_CLIENT, DIAL_US),
                     CHANNEL_END_GARBAGE);
    channels_destroy(bad);
}

static void dial_given_up(void **state)
{
    (void)state;
    struct side side = { 0 };
    side.channel =
        channel_dial(dialers, "localhost", at.port, ROLE_CLIENT, DIAL_US, 4096, on_side, &side);
    assert_non_null(side.channel);
    assert_false(channel_send(side.channel, &(struct slice) { (const uint8_t *)"x", 1 }, 1));
    channel_close(side.channel, true);
    channel_close(side.channel, true); /* closed already */
    dial_as(&side, ROLE_CLIENT);
    turns(1);
    channel_close(side.channel, false);
    turns(3);
    assert_int_equal(side.opened + side.closed, 0);
    assert_int_equal(channels_state(dialers).all, 0);
}

static void over_ipv6(void **state)
{
    (void)state;
    struct tcp_address six;
    struct side side = { 0 };
    char text[TCP_ADDRESS_TEXT];
    int fd;
    assert_true(tcp_address_parse(&six, "::1", 0));
    if (tcp_listen(&fd, &six) != FT_OK)
        skip(); /* a machine without IPv6 */
    close(fd);
    struct channels *any =
        channels_create(loop, &(struct channels_config) { .static_secret = secret_key });
    assert_true(tcp_address_parse(&six, "*", 0));
    assert_int_equal(channels_listen(any, &six, on_side, &side), FT_OK);
    channels_listen_address(any, &six);
    /* One socket serves both families. */
    static const char *const hosts[] = { "::1", "127.0.0.1" };
    for (uint32_t i = 0; i < 2; i++) {
        side.channel =
            channel_dial(dialers, hosts[i], six.port, ROLE_CLIENT, DIAL_US, 4096, on_side, &side);
        assert_non_null(side.channel);
        while (channels_state(any).preauth == 0)
            turns(1);
        tcp_address_format(text, channel_address(side.channel));
        assert_non_null(strstr(text, hosts[i]));
        channel_close(side.channel, false);
        while (channels_state(any).preauth > 0)
            turns(1);
    }
    channels_destroy(any);
}

static void closed_channels_take_nothing(void **state)
{
    (void)state;
    struct side side = { .admits = true };
    struct side *other = meet(&side, ROLE_NODE);
    struct channel *gone = other->channel;
    channel_set_urgent(gone, false);
    assert_true(channel_last_heard_us(gone) <= loop_now_us(loop));
    assert_true(channel_last_heard_us(gone) > 0);
    channel_close(gone, true);
    assert_false(channel_send(gone, &(struct slice) { (const uint8_t *)"x", 1 }, 1));
    channel_admit(gone, 1);
    channel_set_reading(gone, false);
    UNTIL(side.closed);
    assert_int_equal(side.end, CHANNEL_END_CLOSED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CHANNEL_TEST(roles_open),
        CHANNEL_TEST(messages_of_all_lengths),
        CHANNEL_TEST(many_small_messages_in_order),
        CHANNEL_TEST(long_greeting_between_nodes),
        CHANNEL_TEST(reader_that_pauses_holds_the_sender),
        CHANNEL_TEST(full_buffers_are_said),
        CHANNEL_TEST(closing_in_every_handler),
        CHANNEL_TEST(graceful_close_delivers_what_was_queued),
        CHANNEL_TEST(nobody_there),
        CHANNEL_TEST(name_with_addresses),
        CHANNEL_TEST(wrong_keys),
        CHANNEL_TEST(table_of_channels_has_an_end),
        CHANNEL_TEST(answers_that_are_none),
        CHANNEL_TEST(connecting_times_out),
        CHANNEL_TEST(public_key_that_is_no_point),
        CHANNEL_TEST(dial_given_up),
        CHANNEL_TEST(over_ipv6),
        CHANNEL_TEST(closed_channels_take_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
