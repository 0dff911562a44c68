/* core/node/queue against a plain list: order, per-device order, bodies, and what full means. */
#include "core/limits.h"
#include "core/node/queue.h"
#include "core/random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

enum { DEVICES = 5, QUEUE_BYTES = 16384, MODEL_MAX = 512, BODY_MAX = 3000 };

struct model_item {
    uint32_t device;
    uint64_t seq;
    uint32_t len;
    uint8_t fill;
    uint32_t position;
};

struct model {
    struct model_item items[MODEL_MAX];
    unsigned count;
    uint64_t next_seq[DEVICES + 1];
};

static void check_bodies(const struct queue *queue, const struct model *model)
{
    static uint8_t body[BODY_MAX];
    uint32_t position = queue_first(queue);
    for (unsigned i = 0; i < model->count; i++) {
        const struct model_item *item = &model->items[i];
        assert_int_equal(position, item->position);
        assert_int_equal(queue_at(queue, position)->seq, item->seq);
        assert_int_equal(queue_at(queue, position)->len, item->len);
        queue_copy(queue, position, body);
        for (uint32_t at = 0; at < item->len; at++)
            assert_int_equal(body[at], (uint8_t)(item->fill + at));
        position = queue_next(queue, position);
    }
    assert_int_equal(position, 0);
    assert_int_equal(queue_count(queue), model->count);
}

static void check_devices(const struct queue *queue, const struct model *model)
{
    for (uint32_t device = 0; device <= DEVICES; device++) {
        uint32_t position = queue_device_first(queue, device);
        uint32_t last = 0;
        for (unsigned i = 0; i < model->count; i++) {
            if (model->items[i].device != device)
                continue;
            assert_int_equal(position, model->items[i].position);
            last = position;
            position = queue_device_next(queue, position);
        }
        assert_int_equal(position, 0);
        assert_int_equal(queue_device_last(queue, device), last);
    }
}

static void push(struct queue *queue, struct model *model, struct random *random)
{
    static uint8_t body[BODY_MAX];
    uint32_t device = (uint32_t)random_below(random, DEVICES + 1);
    uint32_t len = (uint32_t)random_between(random, 1, random_below(random, 4) ? 200 : BODY_MAX);
    uint8_t fill = (uint8_t)random_u64(random);
    for (uint32_t at = 0; at < len; at++)
        body[at] = (uint8_t)(fill + at);
    struct queue_item item = { .device = device, .seq = model->next_seq[device] + 1, .len = len };
    if (model->count == MODEL_MAX || !queue_push(queue, &item, (struct slice) { body, len }))
        return;
    model->next_seq[device]++;
    model->items[model->count++] =
        (struct model_item) { device, item.seq, len, fill, queue_device_last(queue, device) };
}

/* A device's items go from its ends only, or all: what is left stays without a gap. */
static void remove_one(struct queue *queue, struct model *model, struct random *random)
{
    if (!model->count)
        return;
    unsigned at = (unsigned)random_below(random, model->count);
    uint32_t device = model->items[at].device;
    for (at = 0; model->items[at].device != device;)
        at++;
    queue_remove(queue, model->items[at].position);
    model->count--;
    for (; at < model->count; at++)
        model->items[at] = model->items[at + 1];
}

static void like_a_plain_list(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct random random;
        static struct model model;
        random_seed(&random, seed);
        model = (struct model) { 0 };
        void *memory = calloc(1, queue_memory(QUEUE_BYTES, DEVICES));
        struct queue *queue = queue_init(memory, QUEUE_BYTES, DEVICES);
        for (unsigned step = 0; step < 600; step++) {
            if (random_below(&random, 5) < 3)
                push(queue, &model, &random);
            else
                remove_one(queue, &model, &random);
            check_bodies(queue, &model);
            check_devices(queue, &model);
        }
        free(memory);
    }
}

static void full_takes_nothing_and_empties_wholly(void **state)
{
    (void)state;
    void *memory = calloc(1, queue_memory(QUEUE_BYTES, DEVICES));
    struct queue *queue = queue_init(memory, QUEUE_BYTES, DEVICES);
    uint8_t body[1] = { 7 };
    unsigned fitted[2] = { 0, 0 };
    for (unsigned round = 0; round < 2; round++) {
        struct queue_item item = { .device = 1, .seq = 1, .len = 1 };
        for (; queue_push(queue, &item, (struct slice) { body, 1 }); item.seq++)
            fitted[round]++;
        assert_int_equal(queue_count(queue), fitted[round]);
        while (queue_first(queue))
            queue_remove(queue, queue_first(queue));
        assert_int_equal(queue_device_first(queue, 1), 0);
    }
    assert_true(fitted[0] >= QUEUE_BYTES / 300);
    assert_int_equal(fitted[0], fitted[1]); /* no block is lost */
    free(memory);
}

/* Numbers of devices go beyond the table; generations of one position share its list, one at a time. */
static void a_device_number_finds_its_position(void **state)
{
    (void)state;
    void *memory = calloc(1, queue_memory(QUEUE_BYTES, DEVICES));
    struct queue *queue = queue_init(memory, QUEUE_BYTES, DEVICES);
    uint8_t body[1] = { 7 };
    struct queue_item item = { .device = 3 + 5 * LIMIT_DEVICES, .seq = 9, .len = 1 };
    assert_true(queue_push(queue, &item, (struct slice) { body, 1 }));
    assert_int_equal(queue_at(queue, queue_device_first(queue, 3))->device, item.device);
    assert_int_equal(queue_device_first(queue, 2), 0);
    free(memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(like_a_plain_list),
        cmocka_unit_test(full_takes_nothing_and_empties_wholly),
        cmocka_unit_test(a_device_number_finds_its_position),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
