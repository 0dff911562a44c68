/* core/node/recent against a plain array: what was pushed is found, in order, until it is forgotten; and nothing is
 * forgotten before it is durable. */
#include "core/node/recent.h"
#include "core/random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

enum { RING_BYTES = 4096, MODEL_MAX = 3000, MESSAGE_MAX = 900 };

struct pushed {
    uint32_t room;
    uint64_t seq;
    uint32_t len;
    uint8_t fill;
};

static void check(const struct recent *recent, const struct pushed *all, uint64_t last,
                  uint64_t after)
{
    struct recent_record record;
    uint64_t position = 0;
    uint64_t expected = after > recent_floor(recent) ? after : recent_floor(recent);
    while ((position = recent_next(recent, position, after, &record)) != 0) {
        expected++;
        assert_int_equal(record.index, expected);
        assert_int_equal(record.room, all[expected].room);
        assert_int_equal(record.seq, all[expected].seq);
        assert_int_equal(record.message.len, all[expected].len);
        for (size_t at = 0; at < record.message.len; at++)
            assert_int_equal(record.message.data[at], (uint8_t)(all[expected].fill + at));
    }
    assert_int_equal(expected, last > after ? last : expected);
}

static void like_a_plain_array(void **state)
{
    (void)state;
    static struct pushed all[MODEL_MAX + 1];
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct random random;
        random_seed(&random, seed);
        void *memory = calloc(1, recent_memory(RING_BYTES));
        struct recent *recent = recent_init(memory, RING_BYTES);
        recent_begin(recent, 0);
        uint64_t durable = 0;
        for (uint64_t index = 1; index <= MODEL_MAX; index++) {
            uint8_t message[MESSAGE_MAX];
            struct pushed *one = &all[index];
            *one = (struct pushed) { .room = (uint32_t)index % 7 + 1,
                                     .seq = random_u64(&random),
                                     .len = (uint32_t)random_between(&random, 1, MESSAGE_MAX),
                                     .fill = (uint8_t)random_u64(&random) };
            for (uint32_t at = 0; at < one->len; at++)
                message[at] = (uint8_t)(one->fill + at);
            if (!recent_room(recent, one->len, durable))
                durable = index - 1; /* the flush came back */
            assert_true(recent_room(recent, one->len, durable));
            struct slice placed = recent_push(recent, one->room, index, one->seq,
                                              (struct slice) { message, one->len });
            assert_int_equal(placed.len, one->len);
            assert_true(recent_floor(recent) <= durable);
            check(recent, all, index, random_below(&random, index + 1));
        }
        assert_true(recent_floor(recent) > MODEL_MAX / 2); /* it forgets at all */
        free(memory);
    }
}

static void what_is_not_durable_stays(void **state)
{
    (void)state;
    void *memory = calloc(1, recent_memory(RING_BYTES));
    struct recent *recent = recent_init(memory, RING_BYTES);
    recent_begin(recent, 41);
    assert_int_equal(recent_floor(recent), 41);
    uint8_t message[500] = { 1 };
    uint64_t index = 42;
    for (; recent_room(recent, sizeof message, 41); index++)
        (void)recent_push(recent, 1, index, index, (struct slice) { message, sizeof message });
    assert_true(index > 45);
    assert_int_equal(recent_floor(recent), 41); /* nothing was forgotten to make room */
    assert_true(recent_room(recent, sizeof message, 42));
    free(memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(like_a_plain_array),
        cmocka_unit_test(what_is_not_durable_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
