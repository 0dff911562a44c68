/* Elections: who leads, who does not, and when. */
#include "tests/test_raft.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void one_leader_is_elected_and_commits(void **state)
{
    (void)state;
    struct world *world = world_new(3, 1);
    world_form(world);
    uint8_t leader = world_elect(world);
    uint64_t index = world_propose(world, leader, 100);
    assert_int_not_equal(index, 0);
    world_run(world, 50000);
    for (uint8_t slot = 1; slot <= 3; slot++)
        assert_int_equal(raft_view(world_raft(world, slot)).commit, index);
    world_free(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_leader_is_elected_and_commits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
