#include "net/loop.h"
#include "core/check.h"
#include "core/limits.h"
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

enum {
    TIMERS_MAX = LIMIT_CONNECTIONS * 2 + 1024,
    POLL_BATCH = 512,
    /* After a pause more sockets may be ready than one poll reports: poll again, this often at
     * most, before any timer fires. */
    POLLS_WHEN_LATE = LIMIT_CONNECTIONS / POLL_BATCH,
    LATE_US = 2000,
    SLEEP_MAX_MS = 3600000,
};

struct loop {
    int epoll_fd;
    bool stopped;
    bool again;
    bool in_turn;
    uint64_t now_us;
    uint64_t late_us;
    struct timer_heap timers;
    struct loop_hook *hooks[LOOP_PHASES];
    /* The batch being served. A source that is removed meanwhile is struck out of it. */
    struct epoll_event batch[POLL_BATCH];
    int batch_count;
};

/* -- Clocks ----------------------------------------------------------------------------------- */

static uint64_t clock_us(clockid_t clock)
{
    struct timespec now;
    CHECK(clock_gettime(clock, &now) == 0);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

uint64_t loop_clock_us(void)
{
    return clock_us(CLOCK_MONOTONIC);
}

uint64_t loop_wall_us(void)
{
    return clock_us(CLOCK_REALTIME);
}

uint64_t loop_now_us(const struct loop *loop)
{
    return loop->now_us;
}

uint64_t loop_late_us(const struct loop *loop)
{
    return loop->late_us;
}

/* -- Life ------------------------------------------------------------------------------------- */

struct loop *loop_create(void)
{
    struct loop *loop = calloc(1, sizeof *loop);
    if (!loop)
        return NULL;
    /* Sized once; the kernel gives pages only to the part that is ever used. */
    loop->timers.slots = malloc(TIMERS_MAX * sizeof(struct loop_timer *));
    loop->timers.max = TIMERS_MAX;
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (!loop->timers.slots || loop->epoll_fd < 0) {
        loop_destroy(loop);
        return NULL;
    }
    signal(SIGPIPE, SIG_IGN);
    loop->now_us = loop_clock_us();
    return loop;
}

void loop_destroy(struct loop *loop)
{
    if (loop->epoll_fd >= 0)
        close(loop->epoll_fd);
    free(loop->timers.slots);
    free(loop);
}

/* -- Sources ---------------------------------------------------------------------------------- */

enum ft_error loop_watch(struct loop *loop, struct loop_source *source, unsigned interest)
{
    CHECK(source->on_ready != NULL);
    CHECK(source->fd >= 0);
    if (source->added && source->interest == interest)
        return FT_OK;
    struct epoll_event event = { .data.ptr = source };
    if (interest & LOOP_READ)
        event.events |= EPOLLIN;
    if (interest & LOOP_WRITE)
        event.events |= EPOLLOUT;
    if (epoll_ctl(loop->epoll_fd, source->added ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, source->fd,
                  &event) != 0) {
        /* Only the user's limit of watches and memory are not our own mistakes. */
        CHECK(errno == ENOSPC || errno == ENOMEM);
        return FT_ERROR_LIMIT;
    }
    source->added = true;
    source->interest = (uint8_t)interest;
    return FT_OK;
}

void loop_unwatch(struct loop *loop, struct loop_source *source)
{
    if (!source->added)
        return;
    CHECK(epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, source->fd, NULL) == 0);
    source->added = false;
    for (int i = 0; i < loop->batch_count; i++) {
        if (loop->batch[i].data.ptr == source)
            loop->batch[i].data.ptr = NULL;
    }
}

static void serve_batch(struct loop *loop, bool urgent)
{
    for (int i = 0; i < loop->batch_count; i++) {
        struct loop_source *source = loop->batch[i].data.ptr;
        if (!source || source->urgent != urgent)
            continue;
        const uint32_t events = loop->batch[i].events;
        loop->batch[i].data.ptr = NULL; /* once */
        unsigned ready = 0;
        if (events & EPOLLIN)
            ready |= LOOP_READ;
        if (events & EPOLLOUT)
            ready |= LOOP_WRITE;
        if (events & (EPOLLERR | EPOLLHUP))
            ready |= LOOP_BROKEN;
        source->on_ready(source, ready);
    }
}

/* -- The turn --------------------------------------------------------------------------------- */

static void poll_sources(struct loop *loop, int timeout_ms)
{
    loop->batch_count = 0;
    const int count = epoll_wait(loop->epoll_fd, loop->batch, POLL_BATCH, timeout_ms);
    CHECK(count >= 0 || errno == EINTR);
    loop->batch_count = count < 0 ? 0 : count;
}

/* Until the earliest timer, rounded up: waking early would only mean waking twice. */
static int sleep_ms(const struct loop *loop, uint64_t max_wait_us)
{
    if (loop->again || loop->stopped)
        return 0;
    uint64_t wait_us = max_wait_us;
    const struct loop_timer *first = timer_heap_first(&loop->timers);
    if (first) {
        const uint64_t now_us = loop_clock_us();
        const uint64_t left_us = first->at_us > now_us ? first->at_us - now_us : 0;
        wait_us = left_us < wait_us ? left_us : wait_us;
    }
    if (wait_us == UINT64_MAX)
        return -1;
    const uint64_t wait_ms = wait_us / 1000 + (wait_us % 1000 != 0);
    return wait_ms > SLEEP_MAX_MS ? SLEEP_MAX_MS : (int)wait_ms;
}

static void fire_timers(struct loop *loop)
{
    /* A timer set meanwhile for now or the past waits for the next turn. */
    const uint64_t until_us = loop->now_us;
    uint32_t most = loop->timers.count;
    while (most-- > 0) {
        struct loop_timer *first = timer_heap_first(&loop->timers);
        if (!first || first->at_us > until_us)
            break;
        timer_heap_clear(&loop->timers, first);
        first->on_fire(first);
    }
}

static void run_hooks(struct loop *loop, enum loop_phase phase)
{
    struct loop_hook *next;
    for (struct loop_hook *hook = loop->hooks[phase]; hook; hook = next) {
        next = hook->next;
        hook->run(hook);
    }
}

void loop_run_once(struct loop *loop, uint64_t max_wait_us)
{
    poll_sources(loop, sleep_ms(loop, max_wait_us));
    loop->again = false;
    loop->in_turn = true;
    loop->now_us = loop_clock_us();
    const struct loop_timer *first = timer_heap_first(&loop->timers);
    loop->late_us = first && first->at_us < loop->now_us ? loop->now_us - first->at_us : 0;
    int polls = loop->late_us > LATE_US ? POLLS_WHEN_LATE : 1;
    for (;;) {
        const bool full = loop->batch_count == POLL_BATCH;
        serve_batch(loop, true);
        serve_batch(loop, false);
        if (!full || --polls <= 0)
            break;
        poll_sources(loop, 0);
    }
    loop->batch_count = 0;
    fire_timers(loop);
    for (enum loop_phase phase = LOOP_TURN_END; phase < LOOP_PHASES; phase++)
        run_hooks(loop, phase);
    loop->in_turn = false;
}

void loop_run(struct loop *loop)
{
    while (!loop->stopped)
        loop_run_once(loop, UINT64_MAX);
    loop->stopped = false;
}

void loop_stop(struct loop *loop)
{
    loop->stopped = true;
}

void loop_again(struct loop *loop)
{
    loop->again = true;
}

bool loop_in_turn(const struct loop *loop)
{
    return loop->in_turn;
}

/* -- Timers and hooks -----------------------------------------------------------------------------
 */

void loop_timer_set(struct loop *loop, struct loop_timer *timer, uint64_t at_us)
{
    timer_heap_set(&loop->timers, timer, at_us);
}

void loop_timer_clear(struct loop *loop, struct loop_timer *timer)
{
    timer_heap_clear(&loop->timers, timer);
}

void loop_add_hook(struct loop *loop, enum loop_phase phase, struct loop_hook *hook)
{
    struct loop_hook **end = &loop->hooks[phase];
    while (*end)
        end = &(*end)->next;
    hook->next = NULL;
    *end = hook;
}

void loop_remove_hook(struct loop *loop, enum loop_phase phase, struct loop_hook *hook)
{
    struct loop_hook **at = &loop->hooks[phase];
    while (*at && *at != hook)
        at = &(*at)->next;
    CHECK(*at == hook);
    *at = hook->next;
}

/* -- Signals and other threads ---------------------------------------------------------------- */

static void on_signal_ready(struct loop_source *source, unsigned ready)
{
    (void)ready;
    struct loop_signals *signals = (struct loop_signals *)(void *)source;
    struct signalfd_siginfo info;
    while (read(source->fd, &info, sizeof info) == (ssize_t)sizeof info)
        signals->on_signal(signals, (int)info.ssi_signo);
}

enum ft_error loop_watch_signals(struct loop *loop, struct loop_signals *signals,
                                 const int *numbers, size_t count)
{
    _Static_assert(offsetof(struct loop_signals, source) == 0, "the source is the struct's start");
    sigset_t set;
    sigemptyset(&set);
    for (size_t i = 0; i < count; i++)
        sigaddset(&set, numbers[i]);
    CHECK(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
    const int fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (fd < 0)
        return FT_ERROR_LIMIT;
    signals->source = (struct loop_source) { .on_ready = on_signal_ready, .fd = fd };
    return loop_watch(loop, &signals->source, LOOP_READ);
}

static void on_wakeup_ready(struct loop_source *source, unsigned ready)
{
    (void)ready;
    struct loop_wakeup *wakeup = (struct loop_wakeup *)(void *)source;
    uint64_t posted;
    if (read(source->fd, &posted, sizeof posted) == (ssize_t)sizeof posted)
        wakeup->on_wake(wakeup);
}

enum ft_error loop_wakeup_open(struct loop *loop, struct loop_wakeup *wakeup)
{
    _Static_assert(offsetof(struct loop_wakeup, source) == 0, "the source is the struct's start");
    const int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (fd < 0)
        return FT_ERROR_LIMIT;
    wakeup->source = (struct loop_source) { .on_ready = on_wakeup_ready, .fd = fd };
    const enum ft_error error = loop_watch(loop, &wakeup->source, LOOP_READ);
    if (error)
        close(fd);
    return error;
}

void loop_wakeup_post(struct loop_wakeup *wakeup)
{
    const uint64_t one = 1;
    /* It fails only when 2^64-2 posts are unread: then it is awake anyway. */
    const ssize_t written = write(wakeup->source.fd, &one, sizeof one);
    (void)written;
}

void loop_wakeup_close(struct loop *loop, struct loop_wakeup *wakeup)
{
    loop_unwatch(loop, &wakeup->source);
    close(wakeup->source.fd);
    wakeup->source.fd = -1;
}
