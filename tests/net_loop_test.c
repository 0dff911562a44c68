/* net/loop, net/timer, net/tcp, net/lookup: the order of a turn, and sockets that behave. */
#include "net/lookup.h"
#include "net/loop.h"
#include "net/tcp.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static struct loop *loop;
static char story[64]; /* what happened, one letter each */

static void note(char what)
{
    if (what == 0)
        return;
    const size_t len = strlen(story);
    assert_true(len + 1 < sizeof story);
    story[len] = what;
    story[len + 1] = 0;
}

static int open_loop(void **state)
{
    (void)state;
    loop = loop_create();
    story[0] = 0;
    return loop ? 0 : -1;
}

static int close_loop(void **state)
{
    (void)state;
    loop_destroy(loop);
    return 0;
}

/* -- Timers ----------------------------------------------------------------------------------- */

static void never(struct loop_timer *timer)
{
    (void)timer;
    fail();
}

static void heap_keeps_order(void **state)
{
    (void)state;
    enum { COUNT = 200 };
    struct loop_timer timers[COUNT];
    struct loop_timer *slots[COUNT];
    struct timer_heap heap = { .slots = slots, .max = COUNT };
    unsigned seed = 1;
    for (int round = 0; round < 50; round++) {
        for (int i = 0; i < COUNT; i++) {
            timers[i] = (struct loop_timer) { .on_fire = never };
            timer_heap_set(&heap, &timers[i], (unsigned)rand_r(&seed) % 64);
        }
        for (int i = 0; i < COUNT; i += 3)
            timer_heap_set(&heap, &timers[i], (unsigned)rand_r(&seed) % 64);
        for (int i = 0; i < COUNT; i += 5) {
            timer_heap_clear(&heap, &timers[i]);
            timer_heap_clear(&heap, &timers[i]);
            assert_false(timer_is_set(&timers[i]));
        }
        uint64_t last = 0;
        int left = 0;
        for (struct loop_timer *first; (first = timer_heap_first(&heap)); left++) {
            assert_true(first->at_us >= last);
            last = first->at_us;
            timer_heap_clear(&heap, first);
        }
        assert_int_equal(left, COUNT - COUNT / 5);
    }
}

static void heap_has_an_end(void **state)
{
    (void)state;
    struct loop_timer a = { .on_fire = never }, b = { .on_fire = never };
    struct loop_timer *slots[1];
    struct timer_heap heap = { .slots = slots, .max = 1 };
    timer_heap_set(&heap, &a, 1);
    expect_assert_failure(timer_heap_set(&heap, &b, 1));
}

static struct loop_timer repeating;
static int repeated;

static void repeat(struct loop_timer *timer)
{
    repeated++;
    loop_timer_set(loop, timer, loop_now_us(loop));
}

/* A timer that is set anew for the past fires once a turn, and the loop goes on. */
static void timer_fires_once_a_turn(void **state)
{
    (void)state;
    repeating = (struct loop_timer) { .on_fire = repeat };
    repeated = 0;
    loop_timer_set(loop, &repeating, 0);
    for (int turn = 1; turn <= 5; turn++) {
        loop_run_once(loop, UINT64_MAX);
        assert_int_equal(repeated, turn);
    }
    loop_timer_clear(loop, &repeating);
}

static void late(struct loop_timer *timer)
{
    (void)timer;
    note(loop_late_us(loop) >= 1000000 ? 'L' : '-');
}

static void lateness_is_told(void **state)
{
    (void)state;
    struct loop_timer timer = { .on_fire = late };
    loop_timer_set(loop, &timer, loop_now_us(loop) - 1000000);
    loop_run_once(loop, UINT64_MAX);
    assert_string_equal(story, "L");
    loop_run_once(loop, 0);
    assert_int_equal(loop_late_us(loop), 0);
}

/* -- The order of a turn ---------------------------------------------------------------------- */

struct pipe_end {
    struct loop_source source;
    int other;
    char name;
    struct pipe_end *removes;
};

static void pipe_close(struct pipe_end *end)
{
    loop_unwatch(loop, &end->source);
    close(end->source.fd);
    close(end->other);
}

static void pipe_ready(struct loop_source *source, unsigned ready)
{
    struct pipe_end *end = LOOP_HOLDER(struct pipe_end, source, source);
    char byte;
    assert_true(ready & LOOP_READ);
    assert_int_equal(read(source->fd, &byte, 1), 1);
    note(end->name);
    if (end->removes)
        pipe_close(end->removes);
}

static void pipe_open(struct pipe_end *end, char name, bool urgent)
{
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    *end = (struct pipe_end) { .other = fds[1], .name = name };
    end->source = (struct loop_source) { .on_ready = pipe_ready, .fd = fds[0], .urgent = urgent };
    assert_int_equal(loop_watch(loop, &end->source, LOOP_READ), FT_OK);
    assert_int_equal(write(end->other, "x", 1), 1);
}

static void timer_notes(struct loop_timer *timer)
{
    (void)timer;
    note('T');
}

static void hook_turn_end(struct loop_hook *hook)
{
    (void)hook;
    note('e');
}

static void hook_flush(struct loop_hook *hook)
{
    (void)hook;
    note('f');
}

static void hook_idle(struct loop_hook *hook)
{
    (void)hook;
    note('i');
}

static void hook_reap(struct loop_hook *hook)
{
    (void)hook;
    note('r');
}

static void turn_in_order(void **state)
{
    (void)state;
    struct pipe_end ordinary, urgent;
    struct loop_timer timer = { .on_fire = timer_notes };
    struct loop_hook hooks[4] = {
        { .run = hook_reap }, { .run = hook_idle }, { .run = hook_flush }, { .run = hook_turn_end }
    };
    loop_add_hook(loop, LOOP_REAP, &hooks[0]);
    loop_add_hook(loop, LOOP_IDLE, &hooks[1]);
    loop_add_hook(loop, LOOP_FLUSH, &hooks[2]);
    loop_add_hook(loop, LOOP_TURN_END, &hooks[3]);
    pipe_open(&ordinary, 'o', false);
    pipe_open(&urgent, 'u', true);
    loop_timer_set(loop, &timer, 0); /* long overdue, and still after the sockets */
    loop_run_once(loop, UINT64_MAX);
    assert_string_equal(story, "uoTefir");
    loop_remove_hook(loop, LOOP_IDLE, &hooks[1]);
    loop_run_once(loop, 0);
    assert_string_equal(story, "uoTefirefr");
    pipe_close(&ordinary);
    pipe_close(&urgent);
}

/* More are ready than one poll tells of: after a pause they all come before the timer. */
static void all_sockets_before_timers_after_a_pause(void **state)
{
    (void)state;
    enum { COUNT = 1500 };
    static struct pipe_end ends[COUNT];
    struct rlimit limit = { 8192, 8192 };
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_max < 4096)
        skip();
    limit.rlim_cur = 4096;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    struct loop_timer timer = { .on_fire = timer_notes };
    /* Only the last three tell, so that the story stays short: ready last, reported last. */
    for (int i = 0; i < COUNT; i++)
        pipe_open(&ends[i], i >= COUNT - 3 ? '.' : 0, false);
    loop_timer_set(loop, &timer, loop_now_us(loop) - 1000000);
    loop_run_once(loop, UINT64_MAX);
    assert_string_equal(story, "...T");
    for (int i = 0; i < COUNT; i++)
        pipe_close(&ends[i]);
}

/* Whichever comes first removes the other: it was ready too, and must not be served any more (it
 * would read from a closed descriptor). */
static void source_removed_in_a_handler(void **state)
{
    (void)state;
    struct pipe_end a, b;
    pipe_open(&a, 'a', false);
    pipe_open(&b, 'b', false);
    a.removes = &b;
    b.removes = &a;
    loop_run_once(loop, UINT64_MAX);
    assert_int_equal(strlen(story), 1);
    pipe_close(story[0] == 'a' ? &a : &b);
}

static void again_does_not_sleep(void **state)
{
    (void)state;
    loop_again(loop);
    loop_run_once(loop, UINT64_MAX); /* would sleep for ever */
    loop_stop(loop);
    loop_run(loop);
}

/* -- Signals and threads ---------------------------------------------------------------------- */

static void signal_notes(struct loop_signals *signals, int number)
{
    (void)signals;
    note(number == SIGUSR1 ? '1' : '2');
}

static void signals_are_events(void **state)
{
    (void)state;
    struct loop_signals signals = { .on_signal = signal_notes };
    assert_int_equal(loop_watch_signals(loop, &signals, (const int[]) { SIGUSR1, SIGUSR2 }, 2),
                     FT_OK);
    raise(SIGUSR2);
    raise(SIGUSR1);
    loop_run_once(loop, UINT64_MAX);
    assert_string_equal(story, "12");
    raise(SIGPIPE); /* ignored since loop_create */
    loop_unwatch(loop, &signals.source);
    close(signals.source.fd);
}

static void wake_notes(struct loop_wakeup *wakeup)
{
    (void)wakeup;
    note('w');
}

static void *post_often(void *wakeup)
{
    for (int i = 0; i < 1000; i++)
        loop_wakeup_post(wakeup);
    return NULL;
}

static void threads_wake_the_loop(void **state)
{
    (void)state;
    struct loop_wakeup wakeup = { .on_wake = wake_notes };
    pthread_t thread;
    assert_int_equal(loop_wakeup_open(loop, &wakeup), FT_OK);
    assert_int_equal(pthread_create(&thread, NULL, post_often, &wakeup), 0);
    pthread_join(thread, NULL);
    loop_run_once(loop, UINT64_MAX);
    assert_string_equal(story, "w");
    loop_wakeup_close(loop, &wakeup);
}

/* -- Addresses and sockets -------------------------------------------------------------------- */

static void addresses_read_and_written(void **state)
{
    (void)state;
    static const char *const same[][2] = {
        { "127.0.0.1", "127.0.0.1:7" },
        { "255.1.2.3", "255.1.2.3:7" },
        { "::1", "[::1]:7" },
        { "2001:db8::5", "[2001:db8::5]:7" },
        { "::ffff:1.2.3.4", "1.2.3.4:7" },
        { "*", "[::]:7" },
    };
    static const char *const names[] = { "localhost",   "",    "1.2.3", "1.2.3.4.5",
                                         "::1%no-such", ":::", "a:b",   "256.1.1.1" };
    struct tcp_address address, other;
    char text[TCP_ADDRESS_TEXT];
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        assert_true(tcp_address_parse(&address, same[i][0], 7));
        assert_string_equal(tcp_address_format(text, &address), same[i][1]);
    }
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        assert_false(tcp_address_parse(&address, names[i], 7));
    assert_true(tcp_address_parse(&address, "10.0.0.1", 1));
    assert_true(tcp_address_parse(&other, "10.0.0.1", 2));
    assert_true(tcp_address_same_ip(&address, &other));
    assert_true(tcp_address_parse(&other, "10.0.0.2", 1));
    assert_false(tcp_address_same_ip(&address, &other));
}

static void listening_errors_have_kinds(void **state)
{
    (void)state;
    struct tcp_address address;
    int first, second;
    assert_true(tcp_address_parse(&address, "127.0.0.1", 0));
    assert_int_equal(tcp_listen(&first, &address), FT_OK);
    tcp_local_address(first, &address);
    assert_true(address.port != 0);
    assert_int_equal(tcp_listen(&second, &address), FT_ERROR_LOCKED);
    assert_true(tcp_address_parse(&address, "192.0.2.1", 0)); /* RFC 5737: nobody's */
    assert_int_equal(tcp_listen(&second, &address), FT_ERROR_NETWORK);
    close(first);
}

static void accept_tells_when_exhausted(void **state)
{
    (void)state;
    /* valgrind plays the descriptor limit itself and loses the connection that it refuses. */
    if (getenv("UNDER_VALGRIND"))
        skip();
    struct tcp_address address, from;
    int listener, dialled, accepted;
    assert_true(tcp_address_parse(&address, "127.0.0.1", 0));
    assert_int_equal(tcp_listen(&listener, &address), FT_OK);
    tcp_local_address(listener, &address);
    assert_int_equal(tcp_accept(listener, &accepted, &from), TCP_ACCEPT_NONE);
    assert_int_equal(tcp_dial(&dialled, &address), FT_OK);
    struct rlimit limit, none = { 0, 0 };
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    none.rlim_max = limit.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    const enum tcp_accepted result = tcp_accept(listener, &accepted, &from);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_int_equal(result, TCP_ACCEPT_EXHAUSTED);
    assert_int_equal(tcp_accept(listener, &accepted, &from), TCP_ACCEPTED);
    assert_int_equal(tcp_dial_result(dialled), 0);
    close(accepted);
    close(dialled);
    close(listener);
}

static struct tcp_address found_first;
static size_t found_count;
static bool found;

static void on_found(void *owner, const struct tcp_address *addresses, size_t count)
{
    assert_ptr_equal(owner, &found);
    found = true;
    found_count = count;
    if (count)
        found_first = addresses[0];
}

static void names_are_looked_up(void **state)
{
    (void)state;
    struct tcp_address addresses[LOOKUP_ADDRESSES];
    assert_int_equal(lookup_now("127.0.0.1", 9, addresses), 1);
    found = false;
    assert_non_null(lookup_start(loop, "localhost", 9, on_found, &found));
    while (!found)
        loop_run_once(loop, UINT64_MAX);
    assert_true(found_count >= 1);
    assert_int_equal(found_first.port, 9);
    found = false;
    assert_non_null(lookup_start(loop, "bad name!", 9, on_found, &found));
    while (!found)
        loop_run_once(loop, UINT64_MAX);
    assert_int_equal(found_count, 0);
}

/* The thread may end before or after the cancel, or after the loop: nothing is told, nothing leaks
 * (the leak checker looks at the end). */
static void lookup_cancelled(void **state)
{
    (void)state;
    char long_name[LOOKUP_NAME_BYTES + 1];
    memset(long_name, 'a', sizeof long_name - 1);
    long_name[sizeof long_name - 1] = 0;
    assert_null(lookup_start(loop, long_name, 9, on_found, &found));
    found = false;
    for (int i = 0; i < 8; i++) {
        struct lookup *lookup = lookup_start(loop, "127.0.0.1", 9, on_found, &found);
        assert_non_null(lookup);
        lookup_cancel(lookup);
    }
    loop_run_once(loop, 0);
    assert_false(found);
}

#define LOOP_TEST(name) cmocka_unit_test_setup_teardown(name, open_loop, close_loop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(heap_keeps_order),
        cmocka_unit_test(heap_has_an_end),
        LOOP_TEST(timer_fires_once_a_turn),
        LOOP_TEST(lateness_is_told),
        LOOP_TEST(turn_in_order),
        LOOP_TEST(all_sockets_before_timers_after_a_pause),
        LOOP_TEST(source_removed_in_a_handler),
        LOOP_TEST(again_does_not_sleep),
        LOOP_TEST(signals_are_events),
        LOOP_TEST(threads_wake_the_loop),
        cmocka_unit_test(addresses_read_and_written),
        cmocka_unit_test(listening_errors_have_kinds),
        cmocka_unit_test(accept_tells_when_exhausted),
        LOOP_TEST(names_are_looked_up),
        LOOP_TEST(lookup_cancelled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
