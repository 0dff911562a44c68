/* From the queue to the log: what is refused for now goes again, in order, until it is answered. */
#include "tests/test_node.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <stdlib.h>

/* The leader's memory fills while its disk stands still; then the disk goes on. */
static void what_found_no_memory_is_admitted_again(void **state)
{
    (void)state;
    struct nodes *nodes = nodes_new(1, 65536);
    nodes_form(nodes);
    uint32_t device = nodes_user(nodes, 1, "alice");
    nodes_create(nodes, 1, device, 1, "#ops");
    nodes_run(nodes, 50000);
    assert_true(nodes->answered[1][1]);
    for (uint8_t i = 0; i < 60; i++) {
        nodes_post(nodes, 1, device, 2u + i, (uint8_t)(1 + i), "#ops", 2000);
        nodes_turn_end(nodes);
    }
    assert_true(nodes->flushing);
    uint64_t taken = chat_device(nodes->node->chat, device)->admitted;
    assert_true(taken < 61); /* the rest is not in the log: it must not count as admitted */
    nodes_run(nodes, 3000000);
    for (uint64_t seq = 2; seq < 62; seq++) {
        assert_true(nodes->answered[1][seq]);
        assert_int_equal(nodes->answers[1][seq].code, CODE_OK);
        assert_int_equal(nodes->answers[1][seq].room_seq, seq - 1);
    }
    nodes_free(nodes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_found_no_memory_is_admitted_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
