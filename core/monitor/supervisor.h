/* One node process, as its own host's monitor keeps it running: when to start it, when to kill it,
 * when to leave it alone. Pure: it is told what happened and asked what to do.
 *
 *   down ---START---> running ---ended, not on purpose---> down (after a pause)
 *                        |  ---ended on purpose---> stopped ---asked---> down
 *                        |---silent too long---> KILL ---> killed ---ended---> down
 *                        +---dismissed---> TERMINATE ---> ended ---> stopped
 *
 * Crash-only software (Candea and Fox, HotOS 2003) is what makes this safe: to kill a node is never
 * worse than its host's power failing. Pauses follow Erlang's supervisors and s6-supervise: the
 * first restart is at once, each further one waits twice as long, and a process that does not live
 * for `settle_us` several times in a row is said to crash in a loop and started only now and then.
 *
 * Only a missing pulse kills. A process that has not pulsed yet, or is recovering or stopping, has
 * `patience_us`: what it does then may take a slow disk as long.
 *
 * Times are monotonic microseconds. Nothing is allocated, nothing can fail. */
#ifndef FTCHAT_CORE_MONITOR_SUPERVISOR_H
#define FTCHAT_CORE_MONITOR_SUPERVISOR_H

#include "core/monitor/message.h"
#include "core/monitor/pulse.h"
#include "core/random.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    SUPERVISOR_PAUSE_US = 100000, /* before the second restart in a row; doubles from there */
    SUPERVISOR_PAUSE_MOST_US = 10000000,
    SUPERVISOR_LOOP = 6, /* so many ends in a row are a crash loop */
};

enum supervisor_state {
    SUPERVISED_DOWN,
    SUPERVISED_RUNNING,
    SUPERVISED_KILLED,  /* its end is awaited: a process that waits for a disk dies late */
    SUPERVISED_STOPPED, /* on purpose */
};

enum supervisor_order {
    ORDER_NOTHING,
    ORDER_START,     /* answered by supervisor_started, _failed or _postpone */
    ORDER_TERMINATE, /* SIGTERM: it hands leadership over */
    ORDER_KILL,      /* SIGKILL: it hangs */
};

struct supervisor_options {
    uint32_t silence_us; /* without a pulse for so long it hangs */
    uint32_t
        patience_us;    /* the same before its first pulse, while it recovers and while it stops */
    uint32_t settle_us; /* who has run for so long has come up */
    uint64_t seed;
};

struct supervisor {
    struct supervisor_options options;
    struct random random;
    enum supervisor_state state;
    enum pulse_phase phase; /* of the last pulse; PULSE_NONE: none yet */
    uint64_t progress;
    bool
        asked; /* to run, since its last pulse as running: if it is about to stop, it starts again */
    bool dismissed;      /* it is to stop, and to be left alone then */
    bool terminated;     /* TERMINATE was ordered */
    uint64_t start_us;   /* down: when to start it */
    uint64_t came_up_us; /* when it pulsed as running first; 0: not yet */
    uint64_t heard_us;
    uint32_t crashes; /* ends in a row that nobody meant, each before it had settled */
};

/* It is down and to be started now. */
void supervisor_init(struct supervisor *supervisor, const struct supervisor_options *options,
                     uint64_t now_us);

/* What to do now: each order comes once. Then supervisor_due_us says when to ask again at the
 * latest; UINT64_MAX: nothing will change by itself. */
enum supervisor_order supervisor_next(struct supervisor *supervisor, uint64_t now_us);
uint64_t supervisor_due_us(const struct supervisor *supervisor);

/* A process was made, or was found running already; or neither. */
void supervisor_started(struct supervisor *supervisor, uint64_t now_us);
void supervisor_failed(struct supervisor *supervisor, uint64_t now_us);
/* Not now, through no fault of its own. */
void supervisor_postpone(struct supervisor *supervisor, uint64_t until_us);

/* One whose progress stands still since the last one says nothing. */
void supervisor_pulse(struct supervisor *supervisor, enum pulse_phase phase, uint64_t progress,
                      uint64_t now_us);

/* It is gone. `status`: as waitpid tells, 0 when it ended by itself with 0; -1 when nobody knows (it
 * was somebody else's child), and then its last pulse tells. True: it was meant. */
bool supervisor_ended(struct supervisor *supervisor, int status, uint64_t now_us);

/* The monitor itself did not run until now: silence meanwhile says nothing. */
void supervisor_forgive(struct supervisor *supervisor, uint64_t now_us);

/* Somebody asks that it run: a stop on purpose ends, and so does a pause. */
void supervisor_ask(struct supervisor *supervisor, uint64_t now_us);
/* Another monitor asks, for nobody hears the node: a pause ends, but neither a stop on purpose nor the
 * pause of a crash loop. */
void supervisor_nudge(struct supervisor *supervisor, uint64_t now_us);
/* Somebody asks that it stop, until asked to run. */
void supervisor_dismiss(struct supervisor *supervisor, uint64_t now_us);

static inline bool supervisor_loops(const struct supervisor *supervisor)
{
    return supervisor->crashes >= SUPERVISOR_LOOP;
}

/* As the other monitors are told. */
enum node_state supervisor_node_state(const struct supervisor *supervisor);

#endif
