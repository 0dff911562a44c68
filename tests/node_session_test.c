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

static void enrol_by_invite(struct nodes *nodes, uint32_t connection, uint64_t number)
{
    static const uint8_t signature[SIGNATURE_BYTES];
    uint8_t key[PUBLIC_KEY_BYTES] = { 0 };
    uint8_t name[] = "user00";
    bytes_put_u64(key, number);
    name[4] = (uint8_t)('0' + number / 10 % 10);
    name[5] = (uint8_t)('0' + number % 10);
    struct wire_enrol in = { .is_register = true,
                             .name = { name, 6 },
                             .account_key = key,
                             .device_key = key,
                             .signature = signature,
                             .token = { key, 16 } };
    uint8_t message[512];
    size_t len = wire_encode_enrol(&in, message, sizeof message);
    assert_int_not_equal(len, 0);
    nodes_open(nodes, connection, CONNECTION_CLIENT);
    nodes_message(nodes, connection, message, len);
    nodes_run(nodes, 20000);
    if (!nodes->closed[connection])
        nodes_closed(nodes, connection);
}

/* Who makes tokens up fills neither the log nor the way of those who were invited. */
static void made_up_invites_cost_little_and_nobody_else(void **state)
{
    (void)state;
    struct nodes *nodes = nodes_new(1, 65536);
    nodes->node->options.registration_open = false;
    nodes_form(nodes);
    uint8_t token[16], hash[HASH_BYTES];
    uint8_t key[PUBLIC_KEY_BYTES] = { 0 };
    bytes_put_u64(key, 1);
    memcpy(token, key, sizeof token);
    nodes->crypto.hash(hash, NULL, 0, token, sizeof token);
    struct command invite = {
        .kind = COMMAND_INVITE, .token_hash = hash, .uses = 1, .expires_us = UINT64_MAX
    };
    assert_true(forward_command(nodes->node, &invite, NULL));
    nodes_run(nodes, 50000);
    uint64_t before = node_applied(nodes->node);
    for (uint64_t number = 2; number < 2 + 2 * NODE_UNKNOWN_INVITES; number++)
        enrol_by_invite(nodes, 1, number);
    assert_in_range(node_applied(nodes->node) - before, 1, NODE_UNKNOWN_INVITES + 2);
    assert_int_equal(chat_accounts(nodes->node->chat), 0);
    enrol_by_invite(nodes, 2, 1);
    assert_int_equal(chat_accounts(nodes->node->chat), 1);
    nodes_free(nodes);
}

/* A page that does not hold all rooms is not passed off as all of them. */
/* What was refused has been committed since, by whomever, and its client has not said yet that it knows. */
static void what_follows_a_refused_command_that_is_answered_is_taken(void **state)
{
    (void)state;
    struct nodes *nodes = nodes_new(1, 65536);
    nodes_form(nodes);
    uint32_t alice = nodes_user(nodes, 1, "alice");
    nodes_create(nodes, 1, alice, 1, "#one");
    nodes_post(nodes, 1, alice, 2, 2, "#one", 10);
    nodes_run(nodes, 50000);
    assert_true(nodes->answered[1][2]);
    nodes->node->sessions[1].refused_seq = 2;
    nodes_post(nodes, 1, alice, 3, 3, "#one", 10);
    nodes_run(nodes, 50000);
    assert_true(nodes->answered[1][3]);
    /* And what is not answered yet is waited for. */
    nodes->node->sessions[1].refused_seq = 4;
    nodes_post(nodes, 1, alice, 5, 5, "#one", 10);
    nodes_run(nodes, 50000);
    assert_false(nodes->answered[1][5]);
    nodes_free(nodes);
}

/* The disk's queue has room for so many; who is refused asks again. */
static void pieces_of_the_log_are_read_for_so_many_at_a_time(void **state)
{
    (void)state;
    struct nodes *nodes = nodes_new(1, 65536);
    nodes_form(nodes);
    for (unsigned i = 0; i <= NODE_COPIES; i++) {
        struct wire_log wanted = { .base = i & 1, .index = 1, .bytes = 1000 };
        uint8_t message[32];
        size_t len = wire_encode_log(&wanted, message, sizeof message);
        assert_true(len > 0);
        nodes_open(nodes, i, CONNECTION_CTL);
        nodes_message(nodes, i, message, len);
        assert_int_equal(nodes->client_sent[i][WIRE_LOG_IS], i == NODE_COPIES);
    }
    assert_int_equal(nodes->node->copies_out, NODE_COPIES);
    /* One of them leaves: its place is free once the disk has answered. */
    uint64_t id = read_id(READ_FOR_COPY, nodes->node->sessions[0].generation, 0);
    nodes_closed(nodes, 0);
    assert_int_equal(nodes->node->copies_out, NODE_COPIES);
    struct node_event event = { .kind = EVENT_READ_DONE, .now = nodes->now, .read = { .id = id } };
    node_step(nodes->node, &event, &nodes->effects);
    assert_int_equal(nodes->node->copies_out, NODE_COPIES - 1);
    nodes_free(nodes);
}

static void a_list_longer_than_a_page_says_so(void **state)
{
    (void)state;
    static uint8_t topic[LIMIT_TOPIC_BYTES];
    struct nodes *nodes = nodes_new_with_rooms(1, 65536, 1024);
    nodes_form(nodes);
    uint32_t device = nodes_user(nodes, 1, "alice");
    memset(topic, 't', sizeof topic);
    uint64_t rooms = 0;
    do {
        uint8_t name[] = "#room000";
        rooms++;
        for (unsigned i = 0, rest = (unsigned)rooms; i < 3; i++, rest /= 10)
            name[7 - i] = (uint8_t)('0' + rest % 10);
        struct command create = { .kind = COMMAND_CREATE,
                                  .room = { name, 8 },
                                  .text = { topic, sizeof topic } };
        nodes_command(nodes, 1, device, rooms, 1, create);
        nodes_run(nodes, 10000);
        nodes->node->sessions[1].unsent = 0; /* it reads */
        query(nodes, 1, rooms, QUERY_ROOMS);
    } while (!nodes->result_flags[1] && rooms < 999);
    assert_int_equal(chat_rooms(nodes->node->chat), rooms);
    assert_int_equal(nodes->result_flags[1], RESULT_MORE);
    assert_in_range(rooms * sizeof topic, NODE_PAGE_BYTES / 2, NODE_PAGE_BYTES);
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
        cmocka_unit_test(made_up_invites_cost_little_and_nobody_else),
        cmocka_unit_test(what_follows_a_refused_command_that_is_answered_is_taken),
        cmocka_unit_test(pieces_of_the_log_are_read_for_so_many_at_a_time),
        cmocka_unit_test(a_list_longer_than_a_page_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
