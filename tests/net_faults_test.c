/* net/channel when the kernel does not do as it is asked: it takes nothing, or a byte at a time; it
 * names each way in which a connection can end; it is out of memory. What the owner is told, and
 * what reaches the other side, must be right all the same.
 *
 * The system calls are made to fail by the linker's --wrap (Makefile), while the loop turns. */
#include "tests/test_channel.h"

#include <netinet/in.h>
#include <sys/epoll.h>

/* -- The kernel ------------------------------------------------------------------------------- */

enum call { NO_CALL, SEND, RECV, CONNECT, DIAL_RESULT, EPOLL_CTL, CALLOC };

static struct {
    enum call call;
    int skip;  /* calls that pass before */
    int times; /* calls that fail then */
    int error; /* as this; 0: of a send, only `most` bytes are taken */
    size_t most;
    int failed;
} kernel;

static void fails(enum call call, int skip, int times, int error)
{
    kernel.call = call;
    kernel.skip = skip;
    kernel.times = times;
    kernel.error = error;
    kernel.failed = 0;
}

static void works_again(void)
{
    kernel.call = NO_CALL;
}

static bool fails_now(enum call call)
{
    if (kernel.call != call)
        return false;
    if (kernel.skip > 0) {
        kernel.skip--;
        return false;
    }
    if (kernel.failed >= kernel.times)
        return false;
    kernel.failed++;
    errno = kernel.error;
    return true;
}

ssize_t __real_send(int fd, const void *data, size_t len, int flags);
ssize_t __real_recv(int fd, void *data, size_t len, int flags);
int __real_connect(int fd, const struct sockaddr *to, socklen_t len);
int __real_getsockopt(int fd, int level, int name, void *value, socklen_t *len);
int __real_epoll_ctl(int epoll, int what, int fd, struct epoll_event *event);
void *__real_calloc(size_t count, size_t size);
ssize_t __wrap_send(int fd, const void *data, size_t len, int flags);
ssize_t __wrap_recv(int fd, void *data, size_t len, int flags);
int __wrap_connect(int fd, const struct sockaddr *to, socklen_t len);
int __wrap_getsockopt(int fd, int level, int name, void *value, socklen_t *len);
int __wrap_epoll_ctl(int epoll, int what, int fd, struct epoll_event *event);
void *__wrap_calloc(size_t count, size_t size);

ssize_t __wrap_send(int fd, const void *data, size_t len, int flags)
{
    if (!fails_now(SEND))
        return __real_send(fd, data, len, flags);
    if (kernel.error)
        return -1;
    return __real_send(fd, data, len < kernel.most ? len : kernel.most, flags);
}

ssize_t __wrap_recv(int fd, void *data, size_t len, int flags)
{
    return fails_now(RECV) ? -1 : __real_recv(fd, data, len, flags);
}

int __wrap_connect(int fd, const struct sockaddr *to, socklen_t len)
{
    return fails_now(CONNECT) ? -1 : __real_connect(fd, to, len);
}

int __wrap_getsockopt(int fd, int level, int name, void *value, socklen_t *len)
{
    const int result = __real_getsockopt(fd, level, name, value, len);
    if (name == SO_ERROR && fails_now(DIAL_RESULT))
        memcpy(value, &kernel.error, sizeof kernel.error);
    return result;
}

int __wrap_epoll_ctl(int epoll, int what, int fd, struct epoll_event *event)
{
    return fails_now(EPOLL_CTL) ? -1 : __real_epoll_ctl(epoll, what, fd, event);
}

void *__wrap_calloc(size_t number, size_t size)
{
    return fails_now(CALLOC) ? NULL : __real_calloc(number, size);
}

/* -- The other side --------------------------------------------------------------------------- */

/* A stranger whose channel is open; returns the side that the server's owner has. */
static struct side *befriend(struct stranger *stranger)
{
    const int before = accepted_count;
    uint8_t frame[64];
    stranger_handshake(stranger);
    stranger_write(stranger, frame, stranger_frame(stranger, frame, "hi"));
    UNTIL(accepted_count == before + 1 && accepted[before].messages == 1);
    return &accepted[before];
}

/* The next frame for the stranger is whole, authentic, and says this; "" is the end. */
static void stranger_hears(struct stranger *stranger, const char *text)
{
    uint8_t frame[128];
    const size_t said = strlen(text);
    const size_t len = (said ? MESSAGE_HEAD_BYTES + said : 0) + FRAME_OVERHEAD_BYTES;
    struct slice payload;
    for (size_t got = 0; got < len;) {
        const ssize_t now = __real_recv(stranger->fd, frame + got, len - got, MSG_DONTWAIT);
        assert_int_not_equal(now, 0);
        if (now > 0)
            got += (size_t)now;
        else
            loop_run_once(loop, 0);
    }
    assert_int_equal(frame_length(frame, len), len);
    assert_true(frame_open(&stranger->receive, frame, len, &payload));
    if (said == 0)
        assert_int_equal(payload.len, 0);
    else
        assert_memory_equal(payload.data + MESSAGE_HEAD_BYTES, text, said);
}

/* -- Writing ---------------------------------------------------------------------------------- */

static void interrupted_send_is_done_again(void **state)
{
    (void)state;
    struct stranger stranger;
    struct side *side = befriend(&stranger);
    say(side->channel, "once", 4);
    fails(SEND, 0, 3, EINTR);
    turns(1);
    assert_int_equal(kernel.failed, 3);
    assert_int_equal(side->drained, 1);
    works_again();
    stranger_hears(&stranger, "once");
    close(stranger.fd);
}

static void what_the_kernel_does_not_take_is_kept(void **state)
{
    (void)state;
    struct stranger stranger;
    struct side *side = befriend(&stranger);
    say(side->channel, "first", 5);
    fails(SEND, 0, 5, EAGAIN);
    turns(3);
    say(side->channel, "second", 6);
    assert_int_equal(side->drained, 0);
    assert_true(channel_unsent(side->channel) > 0);
    UNTIL(side->drained == 1);
    assert_int_equal(kernel.failed, 5);
    works_again();
    assert_int_equal(channel_unsent(side->channel), 0);
    stranger_hears(&stranger, "first");
    stranger_hears(&stranger, "second");
    /* A byte at a time. */
    say(side->channel, "third", 5);
    fails(SEND, 0, 1000, 0);
    kernel.most = 1;
    UNTIL(side->drained == 2);
    works_again();
    stranger_hears(&stranger, "third");
    close(stranger.fd);
}

/* The other side resets while bytes wait for the kernel: the poll tells of both at once. */
static void reset_while_bytes_wait(void **state)
{
    (void)state;
    struct stranger stranger;
    struct side *side = befriend(&stranger);
    say(side->channel, "lost", 4);
    fails(SEND, 0, 1, EAGAIN);
    turns(1);
    assert_int_equal(kernel.failed, 1);
    stranger_reset(&stranger);
    UNTIL(side->closed);
    works_again();
    assert_int_equal(side->end, CHANNEL_END_RESET);
    assert_int_equal(count(NET_RESET), 1);
    assert_int_equal(channels_state(server).all, 0);
}

/* Once a write has failed nothing is written any more, and nothing is held; what the other side
 * said before its end is still read; and the end is a reset, however it looks to the reader. */
static void broken_for_writing_is_still_read(void **state)
{
    (void)state;
    for (int kind = 0; kind < 2; kind++) {
        struct stranger stranger;
        uint8_t frame[64];
        struct side *side = befriend(&stranger);
        say(side->channel, "lost", 4);
        if (kind == 1) { /* of what was kept */
            fails(SEND, 0, 1, EAGAIN);
            turns(1);
        }
        fails(SEND, 0, 1, EPIPE);
        UNTIL(channel_unsent(side->channel) == 0);
        assert_int_equal(kernel.failed, 1);
        works_again();
        assert_int_equal(side->closed, 0);
        assert_int_equal(side->drained, 0);
        say(side->channel, "lost", 4);
        turns(2);
        assert_int_equal(side->drained, 0);
        stranger_write(&stranger, frame, stranger_frame(&stranger, frame, "late"));
        UNTIL(side->messages == 2);
        assert_memory_equal(side->last, "late", 4);
        assert_int_equal(__real_recv(stranger.fd, frame, 1, MSG_DONTWAIT), -1);
        close(stranger.fd);
        UNTIL(side->closed);
        assert_int_equal(side->end, CHANNEL_END_RESET);
    }
    assert_int_equal(count(NET_RESET), 2);
    assert_int_equal(channels_state(server).buffer_bytes, 0);
}

static void nobody_lingers_on_a_broken_one(void **state)
{
    (void)state;
    struct stranger stranger;
    struct side *side = befriend(&stranger);
    say(side->channel, "lost", 4);
    fails(SEND, 0, 1, EPIPE);
    turns(1);
    assert_int_equal(kernel.failed, 1);
    works_again();
    channel_close(side->channel, true);
    assert_int_equal(channels_state(server).all, 0);
    assert_int_equal(channels_state(server).lingering, 0);
    UNTIL(stranger_sees_end(&stranger));
    close(stranger.fd);
}

/* -- Lingering -------------------------------------------------------------------------------- */

/* The kernel is full when the owner closes, or when the closing frame is due. */
static void graceful_close_outlasts_a_full_kernel(void **state)
{
    (void)state;
    for (int skip = 0; skip < 2; skip++) {
        struct stranger stranger;
        uint8_t byte;
        struct side *side = befriend(&stranger);
        say(side->channel, "bye", 3);
        fails(SEND, skip, 4, EAGAIN);
        if (skip == 0)
            turns(1);
        channel_close(side->channel, true);
        channel_close(side->channel, true);
        channel_close(side->channel, false); /* it is on its way already */
        assert_int_equal(channels_state(server).lingering, 1);
        while (kernel.failed < 4)
            turns(1);
        works_again();
        stranger_hears(&stranger, "bye");
        stranger_hears(&stranger, "");
        ssize_t got;
        while ((got = recv(stranger.fd, &byte, 1, MSG_DONTWAIT)) < 0)
            turns(1);
        assert_int_equal(got, 0);
        assert_int_equal(channels_state(server).lingering, 1);
        close(stranger.fd);
        UNTIL(channels_state(server).all == 0);
        assert_int_equal(channels_state(server).lingering, 0);
        assert_int_equal(side->closed, 0);
    }
}

/* Reading goes on while lingering, or the other side would never get to its own end: it has more to
 * say than the kernels hold. */
static void owner_who_paused_closes(void **state)
{
    (void)state;
    struct stranger stranger;
    struct side *side = befriend(&stranger);
    channel_set_reading(side->channel, false);
    channel_close(side->channel, true);
    stranger_hears(&stranger, "");
    static uint8_t data[1 << 20];
    for (size_t said = 0; said < 16 * sizeof data;) {
        const ssize_t now =
            __real_send(stranger.fd, data, sizeof data, MSG_DONTWAIT | MSG_NOSIGNAL);
        assert_true(now > 0 || errno == EAGAIN);
        said += now > 0 ? (size_t)now : 0;
        turns(1);
    }
    close(stranger.fd);
    UNTIL(channels_state(server).all == 0);
    assert_int_equal(side->messages, 1);
    assert_int_equal(side->closed, 0);
}

/* Lingering before it was admitted, it still holds a slot of those before login, and gives way. */
static void lingering_one_gives_way(void **state)
{
    (void)state;
    reopen(&(struct channels_config) { .preauth = 1, .preauth_per_address = 1 });
    accepts_as.admits = false;
    struct stranger first, second;
    struct side *side = befriend(&first);
    channel_close(side->channel, true);
    stranger_hears(&first, "");
    assert_int_equal(channels_state(server).lingering, 1);
    struct side *other = befriend(&second);
    assert_int_equal(count(NET_REFUSED_ADDRESS), 1);
    assert_int_equal(channels_state(server).all, 1);
    assert_int_equal(channels_state(server).lingering, 0);
    assert_int_equal(other->closed, 0);
    close(first.fd);
    close(second.fd);
}

/* -- Memory ----------------------------------------------------------------------------------- */

/* One block for what is queued, none for what the kernel leaves. */
static void no_memory_for_what_is_kept(void **state)
{
    (void)state;
    for (int lingers = 0; lingers < 2; lingers++) {
        reopen(&(struct channels_config) { .buffer_cap_bytes = 300 });
        struct stranger stranger;
        struct side *side = befriend(&stranger);
        uint8_t text[250] = { 0 };
        say(side->channel, text, sizeof text);
        if (lingers)
            channel_close(side->channel, true);
        fails(SEND, 0, 1, 0);
        kernel.most = 1;
        turns(1);
        assert_int_equal(kernel.failed, 1);
        works_again();
        assert_int_equal(side->closed, !lingers);
        if (!lingers)
            assert_int_equal(side->end, CHANNEL_END_NO_MEMORY);
        /* Who was closed already is nobody's concern. */
        assert_int_equal(count(NET_NO_MEMORY), !lingers);
        assert_int_equal(channels_state(server).all, 0);
        assert_int_equal(channels_state(server).buffer_bytes, 0);
        close(stranger.fd);
    }
}

static void no_memory_for_half_a_preamble(void **state)
{
    (void)state;
    reopen(&(struct channels_config) { .buffer_cap_bytes = 1 });
    struct stranger stranger;
    stranger_connect(&stranger);
    stranger_write(&stranger, "FTC1", 4);
    UNTIL(count(NET_NO_MEMORY) == 1);
    UNTIL(stranger_sees_end(&stranger));
    close(stranger.fd);
    assert_int_equal(accepted_count, 0);
}

static void no_memory_to_confirm_the_keys(void **state)
{
    (void)state;
    struct channels *poor = channels_create(
        loop, &(struct channels_config) { .static_public = public_key, .buffer_cap_bytes = 1 });
    assert_int_equal(end_of_dial(poor, "127.0.0.1", at.port, ROLE_CLIENT, DIAL_US),
                     CHANNEL_END_NO_MEMORY);
    channels_destroy(poor);
    UNTIL(channels_state(server).all == 0);
    assert_int_equal(accepted_count, 0);
}

static void no_memory_for_a_channel(void **state)
{
    (void)state;
    struct side side = { .admits = true };
    for (int skip = 0; skip < 2; skip++) {
        fails(CALLOC, skip, 1, ENOMEM);
        assert_null(channel_dial(dialers, "127.0.0.1", at.port, ROLE_CLIENT, DIAL_US, ECHO_MAX,
                                 on_side, &side));
        assert_int_equal(kernel.failed, 1);
        works_again();
        assert_int_equal(channels_state(dialers).all, 0);
    }
    meet(&side, ROLE_CLIENT);
}

static void no_watch_for_a_channel(void **state)
{
    (void)state;
    fails(EPOLL_CTL, 0, 1, ENOSPC);
    assert_int_equal(end_of_dial(dialers, "127.0.0.1", at.port, ROLE_CLIENT, DIAL_US),
                     CHANNEL_END_UNREACHABLE);
    assert_int_equal(kernel.failed, 1);
    works_again();
    /* What was dialled and dropped came to the listener all the same. */
    UNTIL(count(NET_TRUNCATED) + count(NET_RESET) == 1);
    struct stranger stranger;
    stranger_connect(&stranger);
    fails(EPOLL_CTL, 0, 1, ENOMEM);
    UNTIL(count(NET_REFUSED_TOTAL) == 1);
    works_again();
    UNTIL(stranger_sees_end(&stranger));
    close(stranger.fd);
    assert_int_equal(channels_state(server).all, 0);
    assert_int_equal(channels_state(server).preauth, 0);
}

/* -- How reading and dialling fail ------------------------------------------------------------ */

static void each_failure_of_reading_has_its_end(void **state)
{
    (void)state;
    static const struct {
        int error;
        enum channel_end end;
    } rows[] = {
        { ETIMEDOUT, CHANNEL_END_TIMEOUT },
        { EHOSTUNREACH, CHANNEL_END_UNREACHABLE },
        { ENETUNREACH, CHANNEL_END_UNREACHABLE },
        { ECONNRESET, CHANNEL_END_RESET },
        { ENOMEM, CHANNEL_END_RESET },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct stranger stranger;
        struct side *side = befriend(&stranger);
        stranger_write(&stranger, "x", 1);
        fails(RECV, 0, 1, rows[i].error);
        UNTIL(side->closed);
        works_again();
        assert_int_equal(side->end, rows[i].end);
        assert_int_equal(channels_state(server).all, 0);
        close(stranger.fd);
    }
    /* It was admitted, so nobody waited for its login. */
    assert_int_equal(count(NET_LOGIN_TIMEOUT), 0);
    assert_int_equal(count(NET_RESET), 2);
}

static void reading_that_finds_nothing_goes_on(void **state)
{
    (void)state;
    static const int errors[] = { EAGAIN, EINTR };
    for (size_t i = 0; i < 2; i++) {
        struct stranger stranger;
        uint8_t frame[64];
        struct side *side = befriend(&stranger);
        stranger_write(&stranger, frame, stranger_frame(&stranger, frame, "there"));
        fails(RECV, 0, 3, errors[i]);
        UNTIL(side->messages == 2);
        assert_int_equal(kernel.failed, 3);
        works_again();
        assert_memory_equal(side->last, "there", 5);
        close(stranger.fd);
        UNTIL(side->closed);
    }
}

static void each_failure_of_dialling_has_its_end(void **state)
{
    (void)state;
    static const struct {
        enum call call;
        int error;
        enum channel_end end;
    } rows[] = {
        { CONNECT, ECONNREFUSED, CHANNEL_END_REFUSED },
        { CONNECT, ENETUNREACH, CHANNEL_END_UNREACHABLE },
        { CONNECT, EADDRNOTAVAIL, CHANNEL_END_UNREACHABLE },
        { DIAL_RESULT, ECONNREFUSED, CHANNEL_END_REFUSED },
        { DIAL_RESULT, ETIMEDOUT, CHANNEL_END_TIMEOUT },
        { DIAL_RESULT, EHOSTUNREACH, CHANNEL_END_UNREACHABLE },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        fails(rows[i].call, 0, 1, rows[i].error);
        assert_int_equal(end_of_dial(dialers, "127.0.0.1", at.port, ROLE_CLIENT, DIAL_US),
                         rows[i].end);
        assert_int_equal(kernel.failed, 1);
        works_again();
        assert_int_equal(channels_state(dialers).all, 0);
    }
    assert_int_equal(accepted_count, 0);
}

static void no_time_to_dial(void **state)
{
    (void)state;
    assert_int_equal(end_of_dial(dialers, "127.0.0.1", at.port, ROLE_CLIENT, 0),
                     CHANNEL_END_TIMEOUT);
}

/* -- What the two do that they should not ----------------------------------------------------- */

/* Who has no secret lets nobody in by it, not by one of zeros either. */
static void node_that_meets_no_psk(void **state)
{
    (void)state;
    static const uint8_t zeros[NOISE_KEY_BYTES];
    struct side owner = { 0 };
    struct tcp_address open_at;
    struct channels *open =
        channels_create(loop, &(struct channels_config) { .static_secret = secret_key });
    assert_true(tcp_address_parse(&open_at, "127.0.0.1", 0));
    assert_int_equal(channels_listen(open, &open_at, on_side, &owner), FT_OK);
    channels_listen_address(open, &open_at);
    struct channels *guessing = channels_create(
        loop, &(struct channels_config) { .static_public = public_key, .psk = zeros });
    struct channels *const those[] = { dialers, guessing };
    for (size_t i = 0; i < 2; i++) {
        const enum channel_end end =
            end_of_dial(those[i], "127.0.0.1", open_at.port, ROLE_NODE, DIAL_US);
        assert_true(end == CHANNEL_END_TRUNCATED || end == CHANNEL_END_RESET);
        assert_int_equal(channels_counters(open)->count[NET_GARBAGE], i + 1);
    }
    assert_int_equal(owner.opened, 0);
    channels_destroy(guessing);
    channels_destroy(open);
}

/* Passes what a dialer and the server say on, the answer a byte at a time. */
static void answer_comes_a_byte_at_a_time(void **state)
{
    (void)state;
    struct tcp_address address, from;
    struct side side = { .admits = true };
    uint8_t data[256];
    int listener, fd;
    ssize_t got;
    assert_true(tcp_address_parse(&address, "127.0.0.1", 0));
    assert_int_equal(tcp_listen(&listener, &address), FT_OK);
    tcp_local_address(listener, &address);
    side.channel = channel_dial(dialers, "127.0.0.1", address.port, ROLE_CLIENT, DIAL_US, ECHO_MAX,
                                on_side, &side);
    assert_non_null(side.channel);
    while (tcp_accept(listener, &fd, &from) != TCP_ACCEPTED)
        turns(1);
    struct stranger between;
    stranger_connect(&between);
    while ((got = recv(fd, data, sizeof data, MSG_DONTWAIT)) < 0)
        turns(1);
    stranger_write(&between, data, (size_t)got);
    while ((got = recv(between.fd, data, sizeof data, MSG_DONTWAIT)) < 0)
        turns(1);
    assert_int_equal(got, FRAME_HEAD_BYTES + NOISE_HANDSHAKE_BYTES);
    for (ssize_t i = 0; i < got; i++) {
        assert_int_equal(side.opened, 0);
        assert_int_equal(send(fd, data + i, 1, 0), 1);
        turns(2);
    }
    UNTIL(side.opened);
    channel_close(side.channel, false);
    close(fd);
    close(between.fd);
    close(listener);
}

/* Closes again what is ending. */
static void on_closing(void *owner, struct channel *channel, const struct channel_event *event)
{
    struct side *side = owner;
    assert_int_equal(event->kind, CHANNEL_CLOSED);
    side->closed++;
    channel_close(channel, side->closed % 2);
    assert_false(channel_send(channel, &(struct slice) { (const uint8_t *)"x", 1 }, 1));
    channel_set_deadline(channel, 0);
    channel_set_reading(channel, false);
}

static void closing_what_is_ending(void **state)
{
    (void)state;
    struct side seen = { 0 };
    for (int i = 1; i <= 2; i++) {
        struct stranger stranger;
        struct side *side = befriend(&stranger);
        channel_set_handler(side->channel, on_closing, &seen);
        close(stranger.fd);
        UNTIL(seen.closed == i);
        turns(2);
        assert_int_equal(seen.closed, i);
        assert_int_equal(channels_state(server).all, 0);
    }
}

static void message_beyond_every_limit(void **state)
{
    (void)state;
    struct stranger stranger;
    struct side *side = befriend(&stranger);
    uint8_t *data = calloc(1, CHANNEL_MESSAGE_MAX + 1);
    assert_non_null(data);
    assert_false(channel_send(side->channel, &(struct slice) { data, CHANNEL_MESSAGE_MAX + 1 }, 1));
    assert_int_equal(channel_unsent(side->channel), 0);
    say(side->channel, data, CHANNEL_MESSAGE_MAX);
    free(data);
    close(stranger.fd);
    UNTIL(side->closed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CHANNEL_TEST(interrupted_send_is_done_again),
        CHANNEL_TEST(what_the_kernel_does_not_take_is_kept),
        CHANNEL_TEST(reset_while_bytes_wait),
        CHANNEL_TEST(broken_for_writing_is_still_read),
        CHANNEL_TEST(nobody_lingers_on_a_broken_one),
        CHANNEL_TEST(graceful_close_outlasts_a_full_kernel),
        CHANNEL_TEST(owner_who_paused_closes),
        CHANNEL_TEST(lingering_one_gives_way),
        CHANNEL_TEST(no_memory_for_what_is_kept),
        CHANNEL_TEST(no_memory_for_half_a_preamble),
        CHANNEL_TEST(no_memory_to_confirm_the_keys),
        CHANNEL_TEST(no_memory_for_a_channel),
        CHANNEL_TEST(no_watch_for_a_channel),
        CHANNEL_TEST(each_failure_of_reading_has_its_end),
        CHANNEL_TEST(reading_that_finds_nothing_goes_on),
        CHANNEL_TEST(each_failure_of_dialling_has_its_end),
        CHANNEL_TEST(no_time_to_dial),
        CHANNEL_TEST(node_that_meets_no_psk),
        CHANNEL_TEST(answer_comes_a_byte_at_a_time),
        CHANNEL_TEST(closing_what_is_ending),
        CHANNEL_TEST(message_beyond_every_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
