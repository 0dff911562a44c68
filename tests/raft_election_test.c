/* Elections: who leads, who does not, and when. */
#include "tests/test_raft.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void one_leader_is_elected_and_commits(void **state)
{
    (void)state;
    struct rafts *world = rafts_new(3, 1);
    rafts_form(world);
    uint8_t leader = rafts_elect(world);
    uint64_t index = rafts_propose(world, leader, 100);
    assert_int_not_equal(index, 0);
    rafts_run(world, 50000);
    for (uint8_t slot = 1; slot <= 3; slot++)
        assert_int_equal(raft_view(rafts_raft(world, slot)).commit, index);
    rafts_free(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_leader_is_elected_and_commits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
