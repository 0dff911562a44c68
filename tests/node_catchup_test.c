/* A node that is far behind: from when it asks for a copy it takes no entries, until it gives up. */
#include "core/raft/state.h"
#include "tests/test_node.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void peer_event(struct nodes *nodes, enum node_event_kind kind, struct slice message)
{
    struct node_event event = { .kind = kind,
                                .now = nodes->now,
                                .peer = { .slot = 2, .end = LINK_CLOSED, .message = message } };
    node_step(nodes->node, &event, &nodes->effects);
}

/* Follows node 2, which says that copying is better; that link is up and greeted. */
static struct nodes *advised_to_copy(void)
{
    struct nodes *nodes = nodes_new(3, 65536);
    nodes_form(nodes);
    struct wire_hello hello = {
        .version = WIRE_VERSION, .slot = 2, .identity = { 2 }, .feature_max = 1
    };
    memcpy(hello.cluster, raft_cluster(nodes->node->raft), IDENTITY_BYTES);
    uint8_t message[64];
    size_t len = wire_encode_hello(&hello, message, sizeof message);
    peer_event(nodes, EVENT_PEER_UP, (struct slice) { NULL, 0 });
    peer_event(nodes, EVENT_PEER_MESSAGE, (struct slice) { message, len });
    struct raft *raft = nodes->node->raft;
    raft->role = RAFT_FOLLOWER;
    raft->leader = 2;
    raft->copy_advised = true;
    return nodes;
}

static void who_asks_for_a_copy_takes_no_entries_meanwhile(void **state)
{
    (void)state;
    struct nodes *nodes = advised_to_copy();
    catchup_turn(nodes->node, &nodes->effects);
    assert_int_equal(nodes->peer_sent[2][WIRE_PEER_FETCH], 1);
    assert_true(nodes->node->raft->copying);
    nodes_free(nodes);
}

static void who_has_nobody_to_ask_takes_entries(void **state)
{
    (void)state;
    struct nodes *nodes = advised_to_copy();
    nodes->node->peers[2].greeted = false;
    catchup_turn(nodes->node, &nodes->effects);
    assert_int_equal(nodes->peer_sent[2][WIRE_PEER_FETCH], 0);
    assert_false(nodes->node->raft->copying);
    nodes_free(nodes);
}

static void who_is_not_answered_takes_entries_again(void **state)
{
    (void)state;
    struct nodes *nodes = advised_to_copy();
    catchup_turn(nodes->node, &nodes->effects);
    nodes->node->raft->copy_advised = false; /* it shall not begin anew at once */
    nodes->node->now.mono_us += NODE_OFFER_US;
    catchup_turn(nodes->node, &nodes->effects);
    assert_false(nodes->node->raft->copying);
    nodes_free(nodes);
}

/* Who was removed needs no more than it has, and gives up what it began. */
static void who_is_no_member_copies_nothing(void **state)
{
    (void)state;
    struct nodes *nodes = advised_to_copy();
    nodes->node->removed = true;
    catchup_turn(nodes->node, &nodes->effects);
    assert_int_equal(nodes->peer_sent[2][WIRE_PEER_FETCH], 0);
    nodes->node->removed = false;
    catchup_turn(nodes->node, &nodes->effects);
    assert_int_equal(nodes->peer_sent[2][WIRE_PEER_FETCH], 1);
    nodes->node->removed = true;
    catchup_turn(nodes->node, &nodes->effects);
    assert_false(nodes->node->raft->copying);
    nodes_free(nodes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_asks_for_a_copy_takes_no_entries_meanwhile),
        cmocka_unit_test(who_has_nobody_to_ask_takes_entries),
        cmocka_unit_test(who_is_not_answered_takes_entries_again),
        cmocka_unit_test(who_is_no_member_copies_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
