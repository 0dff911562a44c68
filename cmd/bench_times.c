#include "cmd/bench_times.h"

enum { STEPS = 1 << TIMES_STEP_BITS };

void times_add(struct times *times, uint64_t us)
{
    uint64_t value = us >> 40 ? (UINT64_C(1) << 40) - 1 : us;
    unsigned exponent = 0;
    while (value >> exponent >= 2 * STEPS)
        exponent++;
    /* Below 2 * STEPS each microsecond has a step of its own. */
    uint64_t at = value < STEPS ? value
                                : ((uint64_t)(exponent + 1) << TIMES_STEP_BITS) +
                                      ((value >> exponent) & (STEPS - 1));
    times->steps[at]++;
    times->count++;
    if (us > times->max_us)
        times->max_us = us;
}

uint64_t times_at(const struct times *times, uint32_t per_mille)
{
    uint64_t wanted = (times->count * per_mille + 999) / 1000;
    uint64_t seen = 0;
    for (uint32_t at = 0; at < TIMES_EXPONENTS << TIMES_STEP_BITS && wanted; at++) {
        seen += times->steps[at];
        if (seen < wanted)
            continue;
        if (at < STEPS)
            return at;
        unsigned exponent = (at >> TIMES_STEP_BITS) - 1;
        uint64_t us = ((uint64_t)STEPS + (at & (STEPS - 1))) << exponent;
        return us < times->max_us ? us : times->max_us;
    }
    return times->max_us;
}
