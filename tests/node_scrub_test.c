/* The scrub: everything is read once in the configured period, no slower and not much faster. */
#include "tests/test_node.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { FILES = 5, SECOND = 1000000, PERIOD = 100 * SECOND, ROUNDS = 3 };

static void checked(struct nodes *nodes, uint8_t file, uint64_t bytes, uint64_t total, bool round)
{
    struct node_event event = { .kind = EVENT_CHECKED, .now = nodes->now };
    event.checked.file = file;
    event.checked.result = 1; /* clean */
    event.checked.bytes = bytes;
    event.checked.total = total;
    event.checked.round = round;
    node_step(nodes->node, &event, &nodes->effects);
}

/* A folder of FILES files of these sizes, for ROUNDS rounds; how long one of them took. */
static uint64_t round_us(const uint64_t sizes[FILES])
{
    struct nodes *nodes = nodes_new(1, 1 << 20);
    nodes_form(nodes);
    nodes->node->options.scrub_us = PERIOD;
    uint64_t total = 0;
    uint64_t began = 0;
    for (size_t i = 0; i < FILES; i++)
        total += sizes[i];
    for (size_t next = 0; next <= ROUNDS * FILES;) {
        nodes_run(nodes, 5000);
        if (nodes->node->mending.phase != MEND_CHECKING)
            continue;
        began = next == FILES ? nodes->now.mono_us : began; /* the first one begins in time */
        checked(nodes, 4, sizes[next % FILES], total, next % FILES == 0);
        next++;
    }
    uint64_t took = (nodes->now.mono_us - began) / (ROUNDS - 1);
    nodes_free(nodes);
    return took;
}

static void everything_is_read_once_in_the_period(void **state)
{
    (void)state;
    static const uint64_t sizes[][FILES] = {
        { 20, 20, 20, 20, 20 },
        { 1 << 30, 1 << 30, 1 << 30, 1 << 30, 1 << 20 },
        { 60, 10, 10, 10, 10 },
        { 1, 1, 1, 1, UINT64_C(1) << 40 },
        { 34, 33, 33, 0, 0 },
    };
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        uint64_t took = round_us(sizes[i]);
        if (took > PERIOD + SECOND || took < PERIOD - SECOND)
            print_error("sizes %zu: %llu us\n", i, (unsigned long long)took);
        assert_in_range(took, PERIOD - SECOND, PERIOD + SECOND);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_is_read_once_in_the_period),
    };
    return cmocka_run_group_tests_name("node_scrub", tests, NULL, NULL);
}
