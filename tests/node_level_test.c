/* The feature level on one node: it rises when all can, is held by the ini, and a node that cannot ends first. */
#include "tests/test_node.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static uint16_t level(const struct nodes *nodes)
{
    return chat_genesis(nodes->node->chat)->level;
}

static void alone_it_rises_to_what_this_version_can_do(void **state)
{
    (void)state;
    struct nodes *nodes = nodes_new(1, 65536);
    nodes_form(nodes);
    nodes_run(nodes, 500000);
    assert_int_equal(level(nodes), 1);
    nodes->node->options.feature_max = 3;
    nodes->node->options.feature_allowed = 2;
    nodes_run(nodes, 500000);
    assert_int_equal(level(nodes), 2);
    nodes->node->options.feature_allowed = 0;
    nodes_run(nodes, 500000);
    assert_int_equal(level(nodes), 3);
    assert_false(nodes->halted);
    nodes_free(nodes);
}

/* Node 2 is there, blank, and says what it can do. */
static void greeted_by_2(struct nodes *nodes, uint16_t feature_max)
{
    struct node_event event = { .kind = EVENT_PEER_UP, .now = nodes->now, .peer = { .slot = 2 } };
    node_step(nodes->node, &event, &nodes->effects);
    struct wire_hello hello = { .version = WIRE_VERSION,
                                .slot = 2,
                                .identity = { 2 },
                                .feature_max = feature_max,
                                .level = 0 };
    uint8_t message[64];
    event = (struct node_event) { .kind = EVENT_PEER_MESSAGE, .now = nodes->now };
    event.peer.slot = 2;
    event.peer.message =
        (struct slice) { message, wire_encode_hello(&hello, message, sizeof message) };
    node_step(nodes->node, &event, &nodes->effects);
}

/* ctl adds node 2. Is it a member now? */
static bool add_2(struct nodes *nodes)
{
    struct wire_member wanted = { .op = WIRE_MEMBER_ADD, .slot = 2 };
    uint8_t message[64];
    size_t len = wire_encode_member(&wanted, message, sizeof message);
    nodes_open(nodes, 5, CONNECTION_CTL);
    nodes_message(nodes, 5, message, len);
    nodes_run(nodes, 100000);
    nodes_closed(nodes, 5);
    return raft_config_find(raft_latest_config(nodes->node->raft), 2) != NULL;
}

/* A member that is too old, or away and so of any version, holds it back. */
static void it_does_not_rise_without_every_member(void **state)
{
    (void)state;
    struct nodes *nodes = nodes_new(3, 65536);
    nodes_form(nodes);
    greeted_by_2(nodes, 1);
    assert_true(add_2(nodes));
    nodes->node->options.feature_max = 2;
    nodes_run(nodes, 300000);
    assert_int_equal(level(nodes), 1);
    nodes->node->peers[2].feature_max = 2;
    nodes->now.mono_us += NODE_SILENT_US; /* it says nothing more */
    nodes_run(nodes, 300000);
    assert_int_equal(level(nodes), 1);
    nodes_free(nodes);
}

static void who_is_too_old_is_not_added(void **state)
{
    (void)state;
    struct nodes *nodes = nodes_new(3, 65536);
    nodes_form(nodes);
    greeted_by_2(nodes, 1);
    nodes->node->options.feature_max = 2;
    nodes_run(nodes, 300000);
    assert_int_equal(level(nodes), 2);
    assert_false(add_2(nodes));
    assert_int_equal(nodes->client_sent[5][WIRE_DONE], 1);
    nodes->node->peers[2].feature_max = 2;
    assert_true(add_2(nodes));
    nodes_free(nodes);
}

static void a_peer_of_a_higher_level_ends_it(void **state)
{
    (void)state;
    struct nodes *nodes = nodes_new(3, 65536);
    struct wire_hello hello = { .version = WIRE_VERSION,
                                .slot = 2,
                                .identity = { 2 },
                                .cluster = { 9 },
                                .feature_max = 2,
                                .level = 2 };
    uint8_t message[64];
    size_t len = wire_encode_hello(&hello, message, sizeof message);
    nodes_open(nodes, 2, CONNECTION_NODE);
    nodes_message(nodes, 2, message, len);
    assert_true(nodes->halted);
    nodes_free(nodes);
}

static void a_command_of_a_higher_level_is_not_applied(void **state)
{
    (void)state;
    struct nodes *nodes = nodes_new(1, 65536);
    nodes_form(nodes);
    uint8_t body[32];
    struct command command = { .kind = COMMAND_LEVEL, .level = 2, .nonce = 1 };
    uint32_t len = (uint32_t)command_encode(&command, body, sizeof body);
    assert_int_not_equal(raft_propose(nodes->node->raft, 1, &len, body, len, nodes->now), 0);
    nodes_run(nodes, 300000);
    assert_true(nodes->halted);
    assert_int_equal(level(nodes), 1);
    nodes_free(nodes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(alone_it_rises_to_what_this_version_can_do),
        cmocka_unit_test(it_does_not_rise_without_every_member),
        cmocka_unit_test(who_is_too_old_is_not_added),
        cmocka_unit_test(a_peer_of_a_higher_level_ends_it),
        cmocka_unit_test(a_command_of_a_higher_level_is_not_applied),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
