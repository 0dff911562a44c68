/* Who is made a voter, and who is counted on when another is to go: not who has no vote to give. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "core/node/state.h"
#include "core/raft/state.h"
#include "tests/test_node.h"

static struct nodes *nodes;
static struct raft_peer *peer;

/* A leader whose learner, node 2, has all of its log. */
static int learner(void **state)
{
    (void)state;
    nodes = nodes_new(3, 65536);
    nodes_form(nodes);
    struct raft *raft = nodes->node->raft;
    struct raft_member *member = &raft->config.members[raft->config.count++];
    *member = (struct raft_member) { .slot = 2, .identity = { 2 } };
    peer = &raft->peers[2];
    memcpy(peer->identity, member->identity, IDENTITY_BYTES);
    peer->up = true;
    peer->match = raft->log.last;
    raft_links_changed(raft);
    struct peer *greeted = &nodes->node->peers[2];
    memcpy(greeted->identity, member->identity, IDENTITY_BYTES);
    memcpy(greeted->cluster, raft_cluster(raft), IDENTITY_BYTES);
    greeted->greeted = true;
    greeted->link = LINK_UP;
    greeted->feature_max = 1;
    greeted->heard_us = nodes->now.mono_us;
    return 0;
}

static int end(void **state)
{
    (void)state;
    nodes_free(nodes);
    return 0;
}

static bool promotes(void)
{
    nodes->node->manage_at_us = 0;
    formation_manage(nodes->node, &nodes->effects);
    return raft_config_pending(nodes->node->raft);
}

static void who_lost_a_part_of_its_log_is_not_promoted(void **state)
{
    (void)state;
    peer->lost = true;
    assert_false(promotes());
    peer->lost = false;
    assert_true(promotes());
}

static void who_lost_a_part_of_its_log_is_not_counted_on(void **state)
{
    (void)state;
    nodes->node->raft->config.members[1].voter = true;
    raft_links_changed(nodes->node->raft);
    assert_true(formation_quorum_without(nodes->node, 0));
    peer->lost = true;
    assert_false(formation_quorum_without(nodes->node, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(who_lost_a_part_of_its_log_is_not_promoted, learner, end),
        cmocka_unit_test_setup_teardown(who_lost_a_part_of_its_log_is_not_counted_on, learner, end),
    };
    return cmocka_run_group_tests_name("node_promote", tests, NULL, NULL);
}
