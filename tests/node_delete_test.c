/* DELETE at the node that takes it: the post is looked for on the disk, and what is found goes into
 * the command; whatever came meanwhile is asked for again. */
#include "tests/test_node.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "core/raft/state.h"

enum { POSTS = 5 };

static struct nodes *nodes;
static uint32_t alice;

/* Alice and her room with POSTS posts, under her seqs 2 .. POSTS + 1. */
static int talk(void **state)
{
    (void)state;
    nodes = nodes_new(1, 1 << 20);
    nodes_form(nodes);
    alice = nodes_user(nodes, 1, "alice");
    nodes_create(nodes, 1, alice, 1, "#one");
    nodes_run(nodes, 100000);
    for (uint64_t seq = 2; seq < POSTS + 2; seq++) {
        nodes_post(nodes, 1, alice, seq, 1, "#one", 10);
        nodes_run(nodes, 20000);
        assert_int_equal(nodes->answers[1][seq].code, CODE_OK);
    }
    return 0;
}

static int end(void **state)
{
    (void)state;
    nodes_free(nodes);
    return 0;
}

static void delete (uint64_t device_seq, uint64_t seq)
{
    struct command command = { .kind = COMMAND_DELETE,
                               .room = { (const uint8_t *)"#one", 4 },
                               .read_seq = seq };
    nodes->read_id = 0;
    nodes_command(nodes, 1, alice, device_seq, 1, command);
}

static bool erased; /* the next that is found */

/* The disk has this post of hers, or with 0 none. */
static void found(uint64_t seq, uint8_t kind, bool failed, bool more)
{
    static uint8_t data[1024];
    struct writer writer = writer_of(data, sizeof data);
    struct command post = { .kind = COMMAND_POST,
                            .device = alice,
                            .account = 1,
                            .seq = seq + 1,
                            .beyond = 1,
                            .salt = (const uint8_t *)"saltsalt",
                            .room = { (const uint8_t *)"#one", 4 },
                            .text = { (const uint8_t *)"xxxxxxxxxx", 10 } };
    uint8_t body[256];
    size_t len = command_encode(&post, body, sizeof body);
    assert_true(!erased || body_erase(nodes->node->options.crypto, body, len));
    if (seq) {
        write_u8(&writer, kind);
        write_u32(&writer, 1);
        write_u64(&writer, seq);
        write_u64(&writer, nodes->answers[1][seq + 1].index);
        write_u64(&writer, 1);
        write_u32(&writer, (uint32_t)len);
        write_copy(&writer, body, len);
    }
    assert_int_not_equal(nodes->read_id, 0);
    struct node_event event = { .kind = EVENT_READ_DONE,
                                .now = nodes->now,
                                .read = { .id = nodes->read_id,
                                          .failed = failed,
                                          .data = { data, writer_used(&writer) },
                                          .more = more } };
    node_step(nodes->node, &event, &nodes->effects);
    nodes_run(nodes, 50000);
}

static void answered(uint64_t device_seq, enum chat_code code)
{
    assert_true(nodes->answered[1][device_seq]);
    assert_int_equal(nodes->answers[1][device_seq].code, code);
    nodes->answered[1][device_seq] = false;
}

/* A page that comes from memory alone: nothing of these posts is durable here. */
static void page(uint32_t rows, uint32_t deleted)
{
    struct wire_query in = {
        .id = 1, .kind = QUERY_HISTORY, .room = { (const uint8_t *)"#one", 4 }, .limit = 200
    };
    uint8_t message[256];
    size_t len = wire_encode_query(&in, message, sizeof message);
    uint64_t durable = nodes->node->raft->durable;
    nodes->node->raft->durable = nodes->answers[1][1].index;
    nodes_message(nodes, 1, message, len);
    nodes->node->raft->durable = durable;
    assert_int_equal(nodes->result_rows[1], rows);
    assert_int_equal(nodes->result_deleted[1], deleted);
}

static void it_is_found_deleted_and_shown_so(void **state)
{
    (void)state;
    page(POSTS, 0);
    unsigned records = nodes->client_sent[1][WIRE_RECORD];
    delete (POSTS + 2, 3);
    assert_int_equal(nodes->read_from, 3);
    assert_int_equal(nodes->read_to, 3);
    nodes_run(nodes, 50000);
    assert_false(nodes->answered[1][POSTS + 2]);
    found(3, NODE_STORE_POST, false, false);
    answered(POSTS + 2, CODE_OK);
    assert_int_equal(nodes->deletes, nodes->answers[1][4].index);
    assert_int_not_equal(nodes->check, 0);
    assert_int_equal(nodes->client_sent[1][WIRE_RECORD], records + 1); /* the event */
    page(POSTS, 1);
    /* Again: nobody is told. */
    delete (POSTS + 3, 3);
    found(3, NODE_STORE_DELETED, false, false);
    answered(POSTS + 3, CODE_OK);
    assert_int_equal(nodes->client_sent[1][WIRE_RECORD], records + 1);
    page(POSTS, 1);
}

static void what_is_not_found(void **state)
{
    (void)state;
    uint64_t next = POSTS + 2;
    for (uint64_t seq = 0; seq <= POSTS + 1; seq += POSTS + 1, next++) {
        delete (next, seq);
        assert_int_equal(nodes->read_id, 0); /* it is not even looked for */
        nodes_run(nodes, 50000);
        answered(next, CODE_BAD_REQUEST);
    }
    /* Not final: the same seq goes on. */
    delete (next, 1);
    found(0, 0, true, false);
    answered(next, CODE_UNAVAILABLE);
    delete (next, 1);
    found(0, 0, false, true);
    answered(next, CODE_BUSY);
    /* Not kept any more. */
    delete (next, 1);
    found(0, 0, false, false);
    answered(next, CODE_BAD_REQUEST);
}

static void what_came_meanwhile_is_asked_for_again(void **state)
{
    (void)state;
    uint64_t next = POSTS + 2;
    delete (next, 1);
    nodes_post(nodes, 1, alice, next + 1, 2, "#one", 10);
    nodes_run(nodes, 50000);
    uint64_t read_id = nodes->read_id;
    delete(next, 1); /* it comes twice: it is looked for once */
    assert_int_equal(nodes->read_id, 0);
    nodes->read_id = read_id;
    found(1, NODE_STORE_POST, false, false);
    answered(next, CODE_OK);
    assert_false(nodes->answered[1][next + 1]);
    assert_int_equal(nodes->nacked[1], next + 1);
    nodes_post(nodes, 1, alice, next + 1, 1, "#one", 10);
    nodes_run(nodes, 50000);
    answered(next + 1, CODE_OK);
    page(POSTS + 1, 1);
}

/* Meanwhile it came to the log by another node, and the leader told what comes next: it is answered. */
static void it_is_answered_whatever_came_between(void **state)
{
    (void)state;
    delete(POSTS + 2, 1);
    nodes->node->sessions[1].refused_seq = POSTS + 3;
    found(1, NODE_STORE_POST, false, false);
    answered(POSTS + 2, CODE_OK);
}

/* What was refused is consumed by now, which its client has not said yet: what follows is taken. */
static void what_was_refused_is_answered_by_now(void **state)
{
    (void)state;
    nodes->node->sessions[1].refused_seq = POSTS; /* an answer that the client waits for still */
    nodes_post(nodes, 1, alice, POSTS + 2, 4, "#one", 10);
    nodes_run(nodes, 50000);
    answered(POSTS + 2, CODE_OK);
}

/* What was asked for comes to the log while its client, who has the answer from elsewhere, sends only what follows. */
static void what_was_passed_over_is_asked_for_again(void **state)
{
    (void)state;
    uint64_t next = POSTS + 2;
    nodes_post(nodes, 1, alice, next, 1, "#one", 10);
    nodes->node->sessions[1].refused_seq = next;
    nodes_post(nodes, 1, alice, next + 1, 2, "#one", 10);
    assert_true(nodes->node->sessions[1].passed_over);
    nodes_run(nodes, 50000);
    assert_int_equal(nodes->nacked[1], next + 1);
    assert_false(nodes->answered[1][next + 1]);
    nodes_post(nodes, 1, alice, next + 1, 1, "#one", 10);
    nodes_run(nodes, 50000);
    answered(next + 1, CODE_OK);
}

/* Another node sent it when it had erased it, and the command that deletes it is not applied here yet: it is
 * deleted all the same, and nobody is told twice. */
static void it_was_erased_elsewhere(void **state)
{
    (void)state;
    unsigned records = nodes->client_sent[1][WIRE_RECORD];
    delete (POSTS + 2, 3);
    erased = true;
    found(3, NODE_STORE_POST, false, false);
    erased = false;
    answered(POSTS + 2, CODE_OK);
    assert_int_equal(nodes->client_sent[1][WIRE_RECORD], records);
    struct command post = { .kind = COMMAND_POST, .account = 1, .flags = POST_ERASED };
    struct wire_record record = { 0 };
    assert_true(stream_record_from(nodes->node, &post, false, &record));
    assert_int_equal(record.flags, RECORD_DELETED);
    assert_int_equal(record.text.len, 0);
}

/* Its client is gone, or has another connection by now: nothing happens, and it comes again. */
static void who_asked_is_gone(void **state)
{
    (void)state;
    delete (POSTS + 2, 1);
    nodes_closed(nodes, 1);
    found(1, NODE_STORE_POST, false, false);
    assert_false(nodes->answered[1][POSTS + 2]);
    assert_int_equal(queue_count(nodes->node->queue), 0);
    for (unsigned i = 0; i < NODE_TARGETS; i++)
        assert_false(nodes->node->targets[i].used);
}

static void no_device_sends_what_is_erased(void **state)
{
    (void)state;
    struct command post = { .kind = COMMAND_POST,
                            .flags = POST_ERASED,
                            .salt = (const uint8_t *)"saltsalt",
                            .room = { (const uint8_t *)"#one", 4 },
                            .text = { (const uint8_t *)"x", 1 } };
    nodes_command(nodes, 1, alice, POSTS + 2, 1, post);
    assert_true(nodes->closed[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(it_is_found_deleted_and_shown_so, talk, end),
        cmocka_unit_test_setup_teardown(what_is_not_found, talk, end),
        cmocka_unit_test_setup_teardown(what_came_meanwhile_is_asked_for_again, talk, end),
        cmocka_unit_test_setup_teardown(it_is_answered_whatever_came_between, talk, end),
        cmocka_unit_test_setup_teardown(what_was_refused_is_answered_by_now, talk, end),
        cmocka_unit_test_setup_teardown(what_was_passed_over_is_asked_for_again, talk, end),
        cmocka_unit_test_setup_teardown(it_was_erased_elsewhere, talk, end),
        cmocka_unit_test_setup_teardown(who_asked_is_gone, talk, end),
        cmocka_unit_test_setup_teardown(no_device_sends_what_is_erased, talk, end),
    };
    return cmocka_run_group_tests_name("node_delete", tests, NULL, NULL);
}
