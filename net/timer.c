#include "net/timer.h"
#include "core/check.h"

/* Slots are numbered from 1: the parent of n is n / 2. */
static struct loop_timer *at(const struct timer_heap *heap, uint32_t slot)
{
    return heap->slots[slot - 1];
}

static void put(struct timer_heap *heap, uint32_t slot, struct loop_timer *timer)
{
    heap->slots[slot - 1] = timer;
    timer->slot = slot;
}

static void sift_up(struct timer_heap *heap, uint32_t slot)
{
    struct loop_timer *timer = at(heap, slot);
    while (slot > 1 && at(heap, slot / 2)->at_us > timer->at_us) {
        put(heap, slot, at(heap, slot / 2));
        slot /= 2;
    }
    put(heap, slot, timer);
}

static void sift_down(struct timer_heap *heap, uint32_t slot)
{
    struct loop_timer *timer = at(heap, slot);
    for (;;) {
        uint32_t child = slot * 2;
        if (child > heap->count)
            break;
        if (child < heap->count && at(heap, child + 1)->at_us < at(heap, child)->at_us)
            child++;
        if (at(heap, child)->at_us >= timer->at_us)
            break;
        put(heap, slot, at(heap, child));
        slot = child;
    }
    put(heap, slot, timer);
}

void timer_heap_set(struct timer_heap *heap, struct loop_timer *timer, uint64_t at_us)
{
    CHECK(timer->on_fire != NULL);
    timer->at_us = at_us;
    if (!timer_is_set(timer)) {
        CHECK(heap->count < heap->max);
        put(heap, ++heap->count, timer);
    }
    sift_up(heap, timer->slot);
    sift_down(heap, timer->slot);
}

void timer_heap_clear(struct timer_heap *heap, struct loop_timer *timer)
{
    if (!timer_is_set(timer))
        return;
    const uint32_t slot = timer->slot;
    CHECK(at(heap, slot) == timer);
    struct loop_timer *last = at(heap, heap->count--);
    timer->slot = 0;
    if (last == timer)
        return;
    put(heap, slot, last);
    sift_up(heap, slot);
    sift_down(heap, last->slot);
}

struct loop_timer *timer_heap_first(const struct timer_heap *heap)
{
    return heap->count ? at(heap, 1) : NULL;
}
