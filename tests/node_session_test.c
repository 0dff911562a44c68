/* What a stranger and a client can make a node do is bounded. */
#include "tests/test_node.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void a_stranger_moves_its_deadline_once_and_asks_so_often(void **state)
{
    (void)state;
    struct nodes *nodes = nodes_new(1, 65536);
    static const uint8_t salt[] = { WIRE_SALT, 3, 'b', 'o', 'b' };
    nodes_form(nodes);
    nodes_open(nodes, 1, CONNECTION_CLIENT);
    for (unsigned i = 0; i < NODE_LOGIN_MESSAGES; i++)
        nodes_message(nodes, 1, salt, sizeof salt);
    assert_int_equal(nodes->emitted[EFFECT_CLIENT_DEADLINE], 1);
    assert_false(nodes->closed[1]);
    nodes_message(nodes, 1, salt, sizeof salt);
    assert_true(nodes->closed[1]);
    nodes_free(nodes);
}

static void query(struct nodes *nodes, uint32_t connection, uint64_t id, uint8_t kind)
{
    struct wire_query in = {
        .id = id, .kind = kind, .room = { (const uint8_t *)"#one", 4 }, .limit = 10
    };
    uint8_t message[256];
    size_t len = wire_encode_query(&in, message, sizeof message);
    assert_int_not_equal(len, 0);
    nodes_message(nodes, connection, message, len);
}

/* It asks and asks and reads nothing: lists cost no more than a refusal, then it is cut off. */
static void a_client_that_does_not_read_is_not_answered_without_end(void **state)
{
    (void)state;
    struct nodes *nodes = nodes_new(1, 65536);
    nodes_form(nodes);
    nodes_user(nodes, 1, "alice");
    struct session *session = &nodes->node->sessions[1];
    uint64_t id = 0;
    while (session->unsent < NODE_ANSWERS_BYTES)
        query(nodes, 1, ++id, QUERY_ROOMS);
    session->unsent = 2 * NODE_ANSWERS_BYTES - 1;
    unsigned before = nodes->client_sent[1][WIRE_RESULT];
    query(nodes, 1, ++id, QUERY_ROOMS);
    assert_int_equal(nodes->client_sent[1][WIRE_RESULT], before + 1);
    assert_false(nodes->closed[1]);
    query(nodes, 1, ++id, QUERY_ROOMS);
    assert_true(nodes->closed[1]);
    nodes_free(nodes);
}

static void one_client_leaves_room_for_the_pages_of_others(void **state)
{
    (void)state;
    struct nodes *nodes = nodes_new(1, 65536);
    nodes_form(nodes);
    uint32_t device = nodes_user(nodes, 1, "alice");
    nodes_user(nodes, 2, "bob");
    nodes_create(nodes, 1, device, 1, "#one");
    nodes_post(nodes, 1, device, 2, 2, "#one", 10);
    nodes_run(nodes, 50000);
    unsigned reads = nodes->emitted[EFFECT_READ_POSTS];
    for (uint64_t id = 0; id < 2 * NODE_QUERIES; id++)
        query(nodes, 1, id, QUERY_HISTORY);
    assert_int_equal(nodes->emitted[EFFECT_READ_POSTS], reads + NODE_CLIENT_QUERIES);
    query(nodes, 2, 1, QUERY_HISTORY);
    assert_int_equal(nodes->emitted[EFFECT_READ_POSTS], reads + NODE_CLIENT_QUERIES + 1);
    nodes_free(nodes);
}

static void skipped(struct nodes *nodes, uint32_t connection, uint32_t room, uint64_t upto)
{
    struct session *session = &nodes->node->sessions[connection];
    uint8_t record[33] = { NODE_STORE_SKIPPED };
    bytes_put_u32(record + 1, room);
    bytes_put_u64(record + 5, 1);
    bytes_put_u64(record + 13, upto);
    session->stream = STREAM_READING;
    nodes->node->reads_out++;
    struct node_event event = {
        .kind = EVENT_READ_DONE,
        .now = nodes->now,
        .read = { .id = read_id(READ_FOR_STREAM, session->generation, connection),
                  .data = { record, sizeof record } },
    };
    node_step(nodes->node, &event, &nodes->effects);
}

/* What a room's reader was told last is what counts for its next page. */
static void a_skip_told_again_takes_the_place_of_the_first(void **state)
{
    (void)state;
    struct nodes *nodes = nodes_new(1, 65536);
    nodes_form(nodes);
    uint32_t device = nodes_user(nodes, 1, "alice");
    nodes_create(nodes, 1, device, 1, "#one");
    nodes_create(nodes, 1, device, 2, "#two");
    nodes_run(nodes, 50000);
    skipped(nodes, 1, 1, 10);
    skipped(nodes, 1, 1, 20);
    skipped(nodes, 1, 2, 30);
    const struct session *session = &nodes->node->sessions[1];
    assert_int_equal(session->told[0].room, 1);
    assert_int_equal(session->told[0].upto_seq, 20);
    assert_int_equal(session->told[1].room, 2);
    assert_int_equal(session->told[1].upto_seq, 30);
    nodes_free(nodes);
}

/* Without a majority nothing of it is applied: what strangers ask for does not pile up. */
static void commands_of_no_device_are_bounded(void **state)
{
    (void)state;
    struct nodes *nodes = nodes_new(1, 65536);
    nodes_form(nodes);
    struct command health = { .kind = COMMAND_HEALTH };
    unsigned taken = 0;
    while (forward_command(nodes->node, &health, NULL))
        taken++;
    assert_in_range(taken, 1, NODE_NONCES);
    nodes_run(nodes, 3000000);
    assert_int_equal(nodes->node->nonces, 0);
    assert_true(forward_command(nodes->node, &health, NULL));
    nodes_free(nodes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stranger_moves_its_deadline_once_and_asks_so_often),
        cmocka_unit_test(a_client_that_does_not_read_is_not_answered_without_end),
        cmocka_unit_test(one_client_leaves_room_for_the_pages_of_others),
        cmocka_unit_test(a_skip_told_again_takes_the_place_of_the_first),
        cmocka_unit_test(commands_of_no_device_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
