#include "core/time/correction.h"

#include "core/check.h"

static void move(struct time_correction *correction, uint64_t mono_us)
{
    uint64_t passed = mono_us > correction->moved_us ? mono_us - correction->moved_us : 0;
    int64_t most = (int64_t)(passed / (1000000 / TIME_SLEW_PPM));
    int64_t left = correction->wanted_us - correction->difference_us;
    if (most == 0)
        return; /* what is left of the step is not lost: it is taken with the next one */
    correction->moved_us = mono_us;
    if (left > most)
        left = most;
    else if (left < -most)
        left = -most;
    correction->difference_us += left;
}

uint64_t time_told(struct time_correction *correction, uint64_t mono_us, uint64_t system_us)
{
    if (!correction->agreed)
        return system_us;
    move(correction, mono_us);
    int64_t told = (int64_t)mono_us + correction->difference_us;
    return told > 0 ? (uint64_t)told : 0;
}

void time_correct(struct time_correction *correction, int64_t difference_us, uint64_t mono_us)
{
    if (correction->agreed)
        move(correction, mono_us);
    else
        correction->difference_us = difference_us;
    correction->agreed = true;
    correction->wanted_us = difference_us;
    correction->moved_us = correction->moved_us ? correction->moved_us : mono_us;
}

int64_t time_remaining(const struct time_correction *correction)
{
    return correction->wanted_us - correction->difference_us;
}
