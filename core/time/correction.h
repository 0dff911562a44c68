/* The clock that ftchat tells the time by: monotonic time and a difference, which follows what the
 * servers agree on without ever going back.
 *
 * Without servers, or until they have agreed once, the difference is the system clock's, whatever is
 * done to that. From then on the system clock says nothing any more. The first agreement is taken as
 * it is; after it the difference moves by at most TIME_SLEW_PPM of the time that passes, so that the time told always goes
 * forward (RFC 5905 slews by 500 ppm; this clock drives nothing but what people read, and is right
 * sooner). What is beyond that in the end is only said: an alarm is the caller's.
 *
 * Microseconds; nothing is allocated. */
#ifndef FTCHAT_CORE_TIME_CORRECTION_H
#define FTCHAT_CORE_TIME_CORRECTION_H

#include <stdbool.h>
#include <stdint.h>

enum { TIME_SLEW_PPM = 10000 };

struct time_correction {
    bool agreed;           /* ever */
    int64_t difference_us; /* the time told is monotonic time and this */
    int64_t wanted_us;     /* what it moves to */
    uint64_t moved_us;     /* when it was moved last */
};

/* The time to tell. `system_us`: the system clock now. */
uint64_t time_told(struct time_correction *correction, uint64_t mono_us, uint64_t system_us);
/* The servers agree that monotonic time and `difference_us` is the time. */
void time_correct(struct time_correction *correction, int64_t difference_us, uint64_t mono_us);
/* What is still to be made up for. */
int64_t time_remaining(const struct time_correction *correction);

#endif
