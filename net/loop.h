/* The event loop: epoll, timers, signals, and wake-ups from other threads.
 *
 * One loop belongs to one thread, and nothing that runs on it may block. Sources, timers, hooks and
 * wake-ups live in their owners' structs; the loop borrows them until they are removed, and
 * removing (or freeing) one inside any handler is safe. One turn is:
 *
 *     poll -> clock -> sources (urgent ones first) -> timers -> hooks: TURN_END, FLUSH, IDLE, REAP
 *
 * so after a pause everything that waits in the sockets is read before a timer fires. TURN_END is
 * the owner's one place to act on all that came in; FLUSH writes what was queued; IDLE does bounded
 * slow work; REAP frees what was closed in the turn. Times are microseconds. */
#ifndef FTCHAT_NET_LOOP_H
#define FTCHAT_NET_LOOP_H

#include "core/error.h"
#include "net/timer.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct loop;

/* NULL when the kernel refuses (descriptors, memory). SIGPIPE is ignored from here on. */
struct loop *loop_create(void);
void loop_destroy(struct loop *loop);

/* One turn; sleeps at most `max_wait_us` (UINT64_MAX: until something happens). */
void loop_run_once(struct loop *loop, uint64_t max_wait_us);
/* Turns until loop_stop. */
void loop_run(struct loop *loop);
void loop_stop(struct loop *loop);
/* The next poll will not sleep. */
void loop_again(struct loop *loop);
/* False between two turns, where nobody will run the hooks unless something wakes the loop. */
bool loop_in_turn(const struct loop *loop);

/* -- Clocks ----------------------------------------------------------------------------------- */

/* Monotonic, read once per turn. */
uint64_t loop_now_us(const struct loop *loop);
/* Monotonic, read now: for measuring work inside a turn. */
uint64_t loop_clock_us(void);
/* The wall clock now, since 1970. Never for time-outs. */
uint64_t loop_wall_us(void);
/* How long after its earliest timer this turn began; 0 when it was in time. */
uint64_t loop_late_us(const struct loop *loop);

/* -- Sources ---------------------------------------------------------------------------------- */

enum {
    LOOP_READ = 1,   /* readable, or at its end: read to learn which */
    LOOP_WRITE = 2,  /* writable */
    LOOP_BROKEN = 4, /* error or hang-up; reported whether asked for or not */
};

/* The struct that holds `pointer` as its `member`. */
#define LOOP_HOLDER(type, member, pointer)                                                         \
    ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

struct loop_source {
    void (*on_ready)(struct loop_source *source, unsigned ready);
    int fd;
    uint8_t interest; /* LOOP_READ | LOOP_WRITE; changed by loop_watch only */
    bool urgent;      /* served before the others of the same turn */
    bool added;
};

/* Adds the source, or changes what it waits for. */
FT_MUST_USE enum ft_error loop_watch(struct loop *loop, struct loop_source *source,
                                     unsigned interest);
/* To be called before the descriptor is closed. Harmless on a source that was never added. */
void loop_unwatch(struct loop *loop, struct loop_source *source);

/* -- Timers ----------------------------------------------------------------------------------- */

/* Fires once, at or after `at_us`, with the timer already cleared. */
void loop_timer_set(struct loop *loop, struct loop_timer *timer, uint64_t at_us);
void loop_timer_clear(struct loop *loop, struct loop_timer *timer);

/* -- Hooks ------------------------------------------------------------------------------------ */

enum loop_phase {
    LOOP_TURN_END,
    LOOP_FLUSH,
    LOOP_IDLE,
    LOOP_REAP,
    LOOP_PHASES,
};

struct loop_hook {
    void (*run)(struct loop_hook *hook);
    struct loop_hook *next;
};

/* Runs once in every turn, in the order added within a phase, until the loop is destroyed. */
void loop_add_hook(struct loop *loop, enum loop_phase phase, struct loop_hook *hook);
void loop_remove_hook(struct loop *loop, enum loop_phase phase, struct loop_hook *hook);

/* -- Signals and other threads ---------------------------------------------------------------- */

struct loop_signals {
    struct loop_source source;
    void (*on_signal)(struct loop_signals *signals, int number);
};

/* Blocks the `count` signals in this thread and delivers them as events. Call it before other
 * threads start, so that they inherit the mask. */
FT_MUST_USE enum ft_error loop_watch_signals(struct loop *loop, struct loop_signals *signals,
                                             const int *numbers, size_t count);

struct loop_wakeup {
    struct loop_source source;
    void (*on_wake)(struct loop_wakeup *wakeup);
};

/* `on_wake` is set by the owner before. Afterwards `source.urgent` may be set. */
FT_MUST_USE enum ft_error loop_wakeup_open(struct loop *loop, struct loop_wakeup *wakeup);
/* From any thread or signal handler; several before the loop looks are one. */
void loop_wakeup_post(struct loop_wakeup *wakeup);
void loop_wakeup_close(struct loop *loop, struct loop_wakeup *wakeup);

#endif
