/* A histogram of durations: 64 steps per power of two, so that a percentile is right within 1.6 %.
 *
 * Microseconds; durations beyond 2^40 us count as that. No memory but the struct. */
#ifndef FTCHAT_CMD_BENCH_TIMES_H
#define FTCHAT_CMD_BENCH_TIMES_H

#include <stdint.h>

enum { TIMES_STEP_BITS = 6, TIMES_EXPONENTS = 41 };

struct times {
    uint64_t count;
    uint64_t max_us;
    uint64_t steps[TIMES_EXPONENTS << TIMES_STEP_BITS];
};

void times_add(struct times *times, uint64_t us);
/* The duration that `per_mille` of all are not above; 0 when there are none. */
uint64_t times_at(const struct times *times, uint32_t per_mille);

#endif
