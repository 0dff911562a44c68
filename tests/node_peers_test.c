/* Links to the other nodes: strangers among them are dialled without hurry, and joined once. */
#include "tests/test_node.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void link_event(struct nodes *nodes, enum node_event_kind kind, uint8_t slot,
                       enum raft_link_end end)
{
    struct node_event event = { .kind = kind,
                                .now = nodes->now,
                                .peer = { .slot = slot, .end = end } };
    node_step(nodes->node, &event, &nodes->effects);
}

/* A peer that takes the link and closes it at once (another version, another ini). */
static void a_peer_that_never_greets_is_dialled_with_back_off(void **state)
{
    (void)state;
    struct nodes *nodes = nodes_new(3, 65536);
    assert_int_equal(nodes->emitted[EFFECT_PEER_DIAL], 1);
    for (unsigned i = 0; i < 400; i++) {
        unsigned before = nodes->emitted[EFFECT_PEER_DIAL];
        if (nodes->node->peers[2].link == LINK_DIALLING) {
            link_event(nodes, EVENT_PEER_UP, 2, LINK_CLOSED);
            link_event(nodes, EVENT_PEER_DOWN, 2, LINK_CLOSED);
            assert_int_equal(nodes->emitted[EFFECT_PEER_DIAL], before);
        }
        nodes_run(nodes, 5000);
    }
    assert_in_range(nodes->emitted[EFFECT_PEER_DIAL], 4, 14);
    nodes_free(nodes);
}

static void a_peer_that_greeted_and_broke_is_dialled_at_once(void **state)
{
    (void)state;
    struct nodes *nodes = nodes_new(3, 65536);
    struct wire_hello hello = { .version = WIRE_VERSION, .slot = 2, .identity = { 2 } };
    uint8_t message[64];
    size_t len = wire_encode_hello(&hello, message, sizeof message);
    link_event(nodes, EVENT_PEER_UP, 2, LINK_CLOSED);
    struct node_event event = { .kind = EVENT_PEER_MESSAGE,
                                .now = nodes->now,
                                .peer = { .slot = 2, .message = { message, len } } };
    node_step(nodes->node, &event, &nodes->effects);
    link_event(nodes, EVENT_PEER_DOWN, 2, LINK_RESET);
    assert_int_equal(nodes->emitted[EFFECT_PEER_DIAL], 2);
    nodes_free(nodes);
}

/* Two clusters under one key: the link stays, and nothing but pings is answered. */
static void a_foreign_node_is_heard_and_not_cut_off(void **state)
{
    (void)state;
    struct nodes *nodes = nodes_new(3, 65536);
    static const uint8_t ping[9] = { WIRE_PEER_PING };
    static const uint8_t forward[1] = { WIRE_PEER_FORWARD };
    nodes_form(nodes);
    nodes_open(nodes, 2, CONNECTION_NODE);
    nodes_hello(nodes, 2, 2, 2, 77);
    nodes_message(nodes, 2, ping, sizeof ping);
    assert_int_equal(nodes->client_sent[2][WIRE_PEER_PONG], 1);
    assert_false(nodes->closed[2]);
    nodes_message(nodes, 2, forward, sizeof forward);
    assert_true(nodes->closed[2]);
    nodes_free(nodes);
}

/* Of another release: both sides hear of it, once, and nothing is done for each other. */
static void a_node_of_another_wire_version_is_told_apart(void **state)
{
    (void)state;
    struct nodes *nodes = nodes_new(3, 65536);
    uint8_t message[64];
    nodes_form(nodes);
    struct wire_hello hello = { .version = WIRE_VERSION + 1, .slot = 2, .identity = { 2 } };
    memcpy(hello.cluster, raft_cluster(nodes->node->raft), IDENTITY_BYTES);
    size_t len = wire_encode_hello(&hello, message, sizeof message);
    unsigned lines = nodes->emitted[EFFECT_LOG];
    for (uint32_t connection = 2; connection < 4; connection++) {
        nodes_open(nodes, connection, CONNECTION_NODE);
        nodes_message(nodes, connection, message, len);
        assert_int_equal(nodes->client_sent[connection][WIRE_PEER_HELLO], 1);
        assert_false(nodes->closed[connection]);
        assert_int_equal(nodes->emitted[EFFECT_LOG], lines + 1);
    }
    link_event(nodes, EVENT_PEER_UP, 2, LINK_CLOSED);
    struct node_event event = { .kind = EVENT_PEER_MESSAGE,
                                .now = nodes->now,
                                .peer = { .slot = 2, .message = { message, len } } };
    node_step(nodes->node, &event, &nodes->effects);
    assert_false(nodes->node->peers[2].greeted);
    hello.version = WIRE_VERSION; /* upgraded */
    len = wire_encode_hello(&hello, message, sizeof message);
    node_step(nodes->node, &event, &nodes->effects);
    assert_true(nodes->node->peers[2].greeted);
    assert_false(nodes->node->peers[2].version_told);
    nodes_free(nodes);
}

static void hello_as(struct nodes *nodes, uint32_t connection, uint8_t identity,
                     uint64_t incarnation)
{
    struct wire_hello hello = { .version = WIRE_VERSION,
                                .slot = 2,
                                .identity = { identity },
                                .incarnation = incarnation,
                                .feature_max = 1 };
    memcpy(hello.cluster, raft_cluster(nodes->node->raft), IDENTITY_BYTES);
    uint8_t message[64];
    size_t len = wire_encode_hello(&hello, message, sizeof message);
    assert_true(len > 0);
    nodes_open(nodes, connection, CONNECTION_NODE);
    nodes_message(nodes, connection, message, len);
}

static void hello_of(struct nodes *nodes, uint32_t connection, uint64_t incarnation)
{
    hello_as(nodes, connection, 2, incarnation);
}

/* The twin's link gives way to two of one process that was started anew; the first of those is dead. */
static void a_twin_is_not_forgotten_over_a_restart(void **state)
{
    (void)state;
    struct nodes *nodes = nodes_new(3, 65536);
    nodes_form(nodes);
    const struct peer *peer = &nodes->node->peers[2];
    hello_as(nodes, 0, 9, 5); /* whoever had the seat before: no twin of anybody's */
    hello_of(nodes, 2, 77);   /* the twin */
    hello_of(nodes, 3, 11);
    hello_of(nodes, 4, 12);
    assert_int_equal(peer->in_connection, 5);
    assert_int_equal(peer->in_other, 4);
    nodes_closed(nodes, 3);
    assert_int_equal(peer->in_connection, 5);
    assert_int_equal(peer->in_other, 3);
    nodes_closed(nodes, 0);
    nodes_closed(nodes, 4);
    assert_int_equal(peer->in_connection, 3);
    assert_int_equal(peer->in_other, 0);
    nodes_closed(nodes, 2);
    assert_int_equal(peer->in_connection, 0);
    nodes_free(nodes);
}

static uint64_t said_index;

static void listen(void *ctx, const struct effect *effect)
{
    (void)ctx;
    if (effect->kind != EFFECT_CLIENT_SEND || !effect->send.parts_count)
        return;
    struct slice said = effect->send.parts[0];
    if (said.len == 9 && said.data[0] == WIRE_PEER_NOT_MEMBER)
        said_index = bytes_get_u64(said.data + 1);
}

/* Its log may hold a change that was to take it back, later than the configuration here, and void. */
static void who_is_no_member_is_told_so_as_of_all_that_is_committed(void **state)
{
    (void)state;
    struct nodes *nodes = nodes_new(3, 65536);
    nodes_form(nodes);
    uint32_t device = nodes_user(nodes, 1, "alice");
    nodes_create(nodes, 1, device, 1, "#one");
    nodes_run(nodes, 50000);
    hello_of(nodes, 2, 11);
    uint8_t ping[9] = { WIRE_PEER_PING };
    struct node_event event = { .kind = EVENT_MESSAGE,
                                .now = nodes->now,
                                .client = { .connection = 2, .message = { ping, sizeof ping } } };
    struct effects listening = { .emit = listen };
    said_index = 0;
    node_step(nodes->node, &event, &listening);
    assert_true(raft_view(nodes->node->raft).commit > raft_latest_config(nodes->node->raft)->index);
    assert_int_equal(said_index, raft_view(nodes->node->raft).commit);
    nodes_free(nodes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_peer_that_never_greets_is_dialled_with_back_off),
        cmocka_unit_test(a_peer_that_greeted_and_broke_is_dialled_at_once),
        cmocka_unit_test(a_foreign_node_is_heard_and_not_cut_off),
        cmocka_unit_test(a_node_of_another_wire_version_is_told_apart),
        cmocka_unit_test(a_twin_is_not_forgotten_over_a_restart),
        cmocka_unit_test(who_is_no_member_is_told_so_as_of_all_that_is_committed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
