#include "core/monitor/supervisor.h"

#include "core/check.h"

void supervisor_init(struct supervisor *supervisor, const struct supervisor_options *options,
                     uint64_t now_us)
{
    CHECK(options->silence_us > 0);
    CHECK(options->patience_us >= options->silence_us);
    *supervisor = (struct supervisor) { .options = *options, .start_us = now_us };
    random_seed(&supervisor->random, options->seed);
}

/* Of the process nothing is known but that it is there. */
void supervisor_started(struct supervisor *supervisor, uint64_t now_us)
{
    CHECK(supervisor->state == SUPERVISED_DOWN);
    supervisor->state = SUPERVISED_RUNNING;
    supervisor->phase = PULSE_NONE;
    supervisor->terminated = false;
    supervisor->asked = false;
    supervisor->came_up_us = 0;
    supervisor->heard_us = now_us;
}

/* Once more than so many ends the pause is the longest at once: that is the brake. */
static void pause_until(struct supervisor *supervisor, uint64_t now_us)
{
    uint64_t pause = 0;
    supervisor->crashes++;
    if (supervisor_loops(supervisor))
        pause = SUPERVISOR_PAUSE_MOST_US;
    else if (supervisor->crashes > 1)
        pause = (uint64_t)SUPERVISOR_PAUSE_US << (supervisor->crashes - 2);
    /* Hosts that crash together need not come back in step. */
    supervisor->start_us = now_us + pause - random_below(&supervisor->random, pause / 4);
    supervisor->state = SUPERVISED_DOWN;
}

void supervisor_failed(struct supervisor *supervisor, uint64_t now_us)
{
    CHECK(supervisor->state == SUPERVISED_DOWN);
    pause_until(supervisor, now_us);
}

void supervisor_postpone(struct supervisor *supervisor, uint64_t until_us)
{
    CHECK(supervisor->state == SUPERVISED_DOWN);
    supervisor->start_us = until_us;
}

bool supervisor_ended(struct supervisor *supervisor, int status, uint64_t now_us)
{
    CHECK(supervisor->state == SUPERVISED_RUNNING || supervisor->state == SUPERVISED_KILLED);
    bool killed = supervisor->state == SUPERVISED_KILLED;
    bool meant = !killed && (status == 0 || (status < 0 && supervisor->phase == PULSE_STOPPED));
    if (meant || supervisor->dismissed) {
        supervisor->state = supervisor->asked ? SUPERVISED_DOWN : SUPERVISED_STOPPED;
        supervisor->start_us = now_us;
        supervisor->crashes = 0;
        return true;
    }
    bool settled =
        supervisor->came_up_us && now_us - supervisor->came_up_us >= supervisor->options.settle_us;
    if (settled)
        supervisor->crashes = 0;
    pause_until(supervisor, now_us);
    return false;
}

void supervisor_pulse(struct supervisor *supervisor, enum pulse_phase phase, uint64_t progress,
                      uint64_t now_us)
{
    CHECK(phase != PULSE_NONE);
    if (supervisor->state != SUPERVISED_RUNNING)
        return; /* a late one, of a process that is gone */
    if (supervisor->phase == phase && supervisor->progress == progress)
        return;
    supervisor->phase = phase;
    supervisor->progress = progress;
    supervisor->heard_us = now_us;
    if (phase == PULSE_RUNNING)
        supervisor->asked = false; /* it does run */
    if (phase == PULSE_RUNNING && !supervisor->came_up_us)
        supervisor->came_up_us = now_us;
}

void supervisor_forgive(struct supervisor *supervisor, uint64_t now_us)
{
    supervisor->heard_us = now_us;
}

void supervisor_ask(struct supervisor *supervisor, uint64_t now_us)
{
    supervisor->dismissed = false;
    supervisor->crashes = 0;
    supervisor->asked = supervisor->state == SUPERVISED_RUNNING; /* it may be about to end */
    if (supervisor->state == SUPERVISED_STOPPED)
        supervisor->state = SUPERVISED_DOWN;
    if (supervisor->state == SUPERVISED_DOWN)
        supervisor->start_us = now_us;
}

void supervisor_nudge(struct supervisor *supervisor, uint64_t now_us)
{
    if (supervisor->state == SUPERVISED_DOWN && !supervisor_loops(supervisor) &&
        supervisor->start_us > now_us)
        supervisor->start_us = now_us;
}

void supervisor_dismiss(struct supervisor *supervisor, uint64_t now_us)
{
    if (supervisor->dismissed)
        return;
    supervisor->dismissed = true;
    supervisor->asked = false;
    supervisor->heard_us = now_us; /* it may take its time from here */
    if (supervisor->state == SUPERVISED_DOWN)
        supervisor->state = SUPERVISED_STOPPED;
}

/* When it hangs, if nothing is heard until then. */
static uint64_t silent_at(const struct supervisor *supervisor)
{
    bool works = supervisor->phase == PULSE_RUNNING && !supervisor->dismissed;
    return supervisor->heard_us +
           (works ? supervisor->options.silence_us : supervisor->options.patience_us);
}

static bool wants_terminate(const struct supervisor *supervisor)
{
    return supervisor->state == SUPERVISED_RUNNING && supervisor->dismissed &&
           !supervisor->terminated;
}

enum supervisor_order supervisor_next(struct supervisor *supervisor, uint64_t now_us)
{
    if (supervisor_due_us(supervisor) > now_us)
        return ORDER_NOTHING;
    if (wants_terminate(supervisor)) {
        supervisor->terminated = true;
        return ORDER_TERMINATE;
    }
    if (supervisor->state == SUPERVISED_RUNNING) {
        supervisor->state = SUPERVISED_KILLED;
        return ORDER_KILL;
    }
    CHECK(supervisor->state == SUPERVISED_DOWN);
    return ORDER_START;
}

uint64_t supervisor_due_us(const struct supervisor *supervisor)
{
    switch (supervisor->state) {
    case SUPERVISED_DOWN:
        return supervisor->start_us;
    case SUPERVISED_RUNNING:
        return wants_terminate(supervisor) ? 0 : silent_at(supervisor);
    default:
        return UINT64_MAX;
    }
}

enum node_state supervisor_node_state(const struct supervisor *supervisor)
{
    switch (supervisor->state) {
    case SUPERVISED_DOWN:
        return supervisor_loops(supervisor) ? NODE_CRASHES : NODE_DOWN;
    case SUPERVISED_RUNNING:
        if (supervisor->dismissed || supervisor->phase >= PULSE_STOPPING)
            return NODE_STOPS;
        return supervisor->phase == PULSE_RUNNING ? NODE_RUNS : NODE_RECOVERS;
    case SUPERVISED_KILLED:
        return NODE_HANGS;
    default:
        return NODE_STOPPED;
    }
}
