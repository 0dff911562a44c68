#include "core/clock.h"

#include "core/check.h"

void log_clock_start(struct log_clock *clock, uint64_t last_us, uint64_t mono_us)
{
    *clock = (struct log_clock) { .last_us = last_us, .last_mono_us = mono_us };
}

void log_clock_report(struct log_clock *clock, uint8_t slot, uint64_t wall_us, uint64_t mono_us)
{
    CHECK(slot >= 1);
    CHECK(slot <= LIMIT_NODES);
    clock->reports[slot].known = true;
    clock->reports[slot].at_us = mono_us;
    clock->reports[slot].wall_us = wall_us;
}

void log_clock_forget(struct log_clock *clock, uint8_t slot)
{
    CHECK(slot >= 1);
    CHECK(slot <= LIMIT_NODES);
    clock->reports[slot].known = false;
}

/* What every reported clock shows now, sorted; returns how many. */
static unsigned readings(const struct log_clock *clock, unsigned voters, uint64_t mono_us,
                         uint64_t sorted[LIMIT_NODES])
{
    unsigned count = 0;
    for (unsigned slot = 1; slot <= LIMIT_NODES; slot++) {
        if (!(voters >> slot & 1) || !clock->reports[slot].known)
            continue;
        uint64_t at_us = clock->reports[slot].at_us;
        uint64_t age_us = mono_us > at_us ? mono_us - at_us : 0;
        if (age_us > CLOCK_REPORT_LIFE_US)
            continue;
        uint64_t wall_us = clock->reports[slot].wall_us;
        uint64_t reading = wall_us < UINT64_MAX - age_us ? wall_us + age_us : UINT64_MAX;
        unsigned at = count++;
        for (; at > 0 && sorted[at - 1] > reading; at--)
            sorted[at] = sorted[at - 1];
        sorted[at] = reading;
    }
    CHECK(count <= LIMIT_NODES);
    return count;
}

uint64_t log_clock_stamp(struct log_clock *clock, unsigned voters, uint64_t mono_us)
{
    uint64_t sorted[LIMIT_NODES];
    unsigned total = 0;
    for (unsigned slot = 1; slot <= LIMIT_NODES; slot++)
        total += voters >> slot & 1;
    unsigned count = readings(clock, voters, mono_us, sorted);
    uint64_t before = clock->last_us;
    uint64_t elapsed_us = mono_us > clock->last_mono_us ? mono_us - clock->last_mono_us : 0;
    /* Of an even number the lower one of the middle: a single fast clock of two is not followed. */
    if (count >= total / 2 + 1) {
        uint64_t median = sorted[(count - 1) / 2];
        clock->last_us = median > before ? median : before;
    } else if (before < UINT64_MAX - elapsed_us) {
        clock->last_us = before + elapsed_us;
    }
    clock->last_mono_us = mono_us;
    CHECK(clock->last_us >= before);
    return clock->last_us;
}
