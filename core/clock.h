/* Log time: what the leader stamps entries with.
 *
 * Unix microseconds. The median of the voters' wall clocks, as reported in append replies and kept
 * as offsets against this node's monotonic clock, but never below what was stamped before: it never
 * goes back, and one clock in 2038 moves nothing. With reports of fewer than a majority the last
 * stamp goes on with monotonic time. Ordering never depends on it (architecture.md, Time). */
#ifndef FTCHAT_CORE_CLOCK_H
#define FTCHAT_CORE_CLOCK_H

#include "core/limits.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    CLOCK_REPORT_LIFE_US = 60 * 1000 * 1000, /* then a report says nothing any more */
};

struct log_clock {
    uint64_t last_us;      /* the last stamp */
    uint64_t last_mono_us; /* when it was given */
    struct {
        bool known;
        uint64_t at_us;   /* monotonic time of the report */
        uint64_t wall_us; /* the reporter's clock at that time */
    } reports[LIMIT_NODES + 1];
};

/* A leader begins: nothing is reported yet, the last stamp is the log's. */
void log_clock_start(struct log_clock *clock, uint64_t last_us, uint64_t mono_us);
void log_clock_report(struct log_clock *clock, uint8_t slot, uint64_t wall_us, uint64_t mono_us);
void log_clock_forget(struct log_clock *clock, uint8_t slot);
/* The stamp of an entry made now. Bit n of `voters`: slot n votes. */
uint64_t log_clock_stamp(struct log_clock *clock, unsigned voters, uint64_t mono_us);

#endif
