/* Deadlines of one loop: an intrusive binary heap, earliest first.
 *
 * A timer lives in the struct that waits; the heap holds pointers only, in an array sized once. All
 * times are absolute microseconds of the loop's monotonic clock. Nothing can fail; a heap that is
 * full is the programmer's error. */
#ifndef FTCHAT_NET_TIMER_H
#define FTCHAT_NET_TIMER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct loop_timer {
    uint64_t at_us;
    void (*on_fire)(struct loop_timer *timer); /* set by the owner before the first setting */
    uint32_t slot;                             /* place in the heap + 1; 0: not set */
};

struct timer_heap {
    struct loop_timer **slots;
    uint32_t count;
    uint32_t max;
};

/* (Re)sets the timer; one that is set already moves. */
void timer_heap_set(struct timer_heap *heap, struct loop_timer *timer, uint64_t at_us);
/* Harmless on a timer that is not set. */
void timer_heap_clear(struct timer_heap *heap, struct loop_timer *timer);
/* The earliest timer, or NULL. */
struct loop_timer *timer_heap_first(const struct timer_heap *heap);

static inline bool timer_is_set(const struct loop_timer *timer)
{
    return timer->slot != 0;
}

#endif
