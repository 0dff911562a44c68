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

/* A full table is no answer: the client is told, tries again, and goes on with something else. */
static void what_met_a_full_table_is_told_and_admitted_again(void **state)
{
    (void)state;
    struct nodes *nodes = nodes_new(1, 65536);
    nodes_form(nodes);
    uint32_t device = nodes_user(nodes, 1, "alice");
    nodes_create(nodes, 1, device, 1, "#one");
    nodes_create(nodes, 1, device, 2, "#two");
    nodes_create(nodes, 1, device, 3, "#three");
    nodes_post(nodes, 1, device, 4, 4, "#one", 10);
    nodes_run(nodes, 100000);
    assert_int_equal(nodes->answers[1][2].code, CODE_OK);
    assert_int_equal(nodes->answers[1][3].code, CODE_BUSY);
    assert_false(nodes->answered[1][4]);
    nodes->answered[1][3] = false;
    nodes_create(nodes, 1, device, 3, "#three");
    nodes_run(nodes, 100000);
    assert_true(nodes->answered[1][3]); /* asked the log again */
    assert_int_equal(nodes->answers[1][3].code, CODE_BUSY);
    nodes_command(nodes, 1, device, 3, 1, (struct command) { .kind = COMMAND_VOID });
    nodes_post(nodes, 1, device, 4, 2, "#one", 10);
    nodes_run(nodes, 100000);
    assert_int_equal(nodes->answers[1][3].code, CODE_VOIDED);
    assert_true(nodes->answered[1][4]);
    assert_int_equal(nodes->answers[1][4].room_seq, 1);
    nodes_free(nodes);
}

/* The post came by way of another node, the VOID waits here: both have the post's answer. */
static void giving_up_too_late_gets_the_answer_of_what_took_place(void **state)
{
    (void)state;
    struct nodes *nodes = nodes_new(3, 65536);
    uint8_t forward[256] = { WIRE_PEER_FORWARD };
    struct command post = { .kind = COMMAND_POST,
                            .seq = 2,
                            .beyond = 1,
                            .room = { (const uint8_t *)"#one", 4 },
                            .salt = (const uint8_t *)"saltsalt",
                            .text = { (const uint8_t *)"hello", 5 } };
    nodes_form(nodes);
    post.device = nodes_user(nodes, 1, "alice");
    nodes_create(nodes, 1, post.device, 1, "#one");
    nodes_run(nodes, 50000);
    post.account = chat_device(nodes->node->chat, post.device)->account;
    size_t len = command_encode(&post, forward + 5, sizeof forward - 5);
    bytes_put_u32(forward + 1, (uint32_t)len);
    nodes_open(nodes, 2, CONNECTION_NODE);
    nodes_hello(nodes, 2, 2, 2, 5);
    nodes_message(nodes, 2, forward, len + 5);
    nodes_command(nodes, 1, post.device, 2, 1, (struct command) { .kind = COMMAND_VOID });
    nodes_run(nodes, 50000);
    assert_true(nodes->answered[1][2]);
    assert_int_equal(nodes->answers[1][2].code, CODE_OK);
    assert_int_equal(nodes->answers[1][2].room_seq, 1);
    nodes_free(nodes);
}

static void forward_post(struct nodes *nodes, uint32_t connection, uint32_t device, uint64_t seq)
{
    uint8_t message[256] = { WIRE_PEER_FORWARD };
    struct command post = { .kind = COMMAND_POST,
                            .device = device,
                            .seq = seq,
                            .beyond = 1,
                            .account = chat_device(nodes->node->chat, device)->account,
                            .room = { (const uint8_t *)"#one", 4 },
                            .salt = (const uint8_t *)"saltsalt",
                            .text = { (const uint8_t *)"hello", 5 } };
    size_t len = command_encode(&post, message + 5, sizeof message - 5);
    assert_int_not_equal(len, 0);
    bytes_put_u32(message + 1, (uint32_t)len);
    nodes_message(nodes, connection, message, len + 5);
}

/* Its client went on at another node meanwhile and comes back: what is queued here from before is
 * final for it, and what it sends now follows on that. */
static void a_client_that_went_on_elsewhere_is_not_stuck_behind_its_past(void **state)
{
    (void)state;
    struct nodes *nodes = nodes_new(3, 65536);
    nodes_form(nodes);
    uint32_t device = nodes_user(nodes, 1, "alice");
    nodes_create(nodes, 1, device, 1, "#one");
    nodes_run(nodes, 50000);
    nodes_open(nodes, 2, CONNECTION_NODE);
    nodes_hello(nodes, 2, 2, 2, 5);
    nodes_post(nodes, 1, device, 2, 1, "#one", 10);
    nodes_post(nodes, 1, device, 3, 2, "#one", 10);
    nodes_turn_end(nodes); /* in the log, and its flush is under way */
    forward_post(nodes, 2, device, 4);
    nodes_turn_end(nodes);
    nodes_post(nodes, 1, device, 5, 1, "#one", 10);
    nodes_run(nodes, 100000);
    assert_true(nodes->answered[1][5]);
    assert_int_equal(nodes->answers[1][5].room_seq, 4);
    nodes_free(nodes);
}

/* A leader that was deposed and did not know it asks for what others have committed and answered: the client cannot go
 * back there, so what it sends after that is asked about again, and not passed over for ever. */
static void asking_for_what_is_final_elsewhere_ends(void **state)
{
    (void)state;
    struct nodes *nodes = nodes_new(1, 65536);
    nodes_form(nodes);
    uint32_t device = nodes_user(nodes, 1, "alice");
    nodes_create(nodes, 1, device, 1, "#one");
    nodes_run(nodes, 50000);
    nodes_post(nodes, 1, device, 4, 1, "#one", 10);
    nodes_run(nodes, 50000);
    unsigned asked = nodes->client_sent[1][WIRE_NACK];
    assert_true(asked >= 1); /* for 2, which the client has the answer to */
    nodes_post(nodes, 1, device, 4, 1, "#one", 10);
    nodes_run(nodes, 50000);
    assert_true(nodes->client_sent[1][WIRE_NACK] > asked);
    nodes_free(nodes);
}

/* After a rewind the client sends everything again, in order: nothing newer stands in its way. */
static void what_is_older_than_the_queue_takes_its_place_before_it(void **state)
{
    (void)state;
    struct nodes *nodes = nodes_new(1, 65536);
    nodes_form(nodes);
    uint32_t device = nodes_user(nodes, 1, "alice");
    nodes_create(nodes, 1, device, 1, "#one");
    nodes_run(nodes, 50000);
    nodes_post(nodes, 1, device, 4, 3, "#one", 10);
    nodes_post(nodes, 1, device, 6, 5, "#one", 10);
    assert_int_equal(nodes->client_sent[1][WIRE_NACK], 1); /* 5 is missing */
    for (uint8_t seq = 2; seq < 7; seq++)
        nodes_post(nodes, 1, device, seq, (uint8_t)(seq - 1), "#one", 10);
    nodes_run(nodes, 100000);
    for (uint64_t seq = 2; seq < 7; seq++) {
        assert_true(nodes->answered[1][seq]);
        assert_int_equal(nodes->answers[1][seq].room_seq, seq - 1);
    }
    nodes_free(nodes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_found_no_memory_is_admitted_again),
        cmocka_unit_test(what_met_a_full_table_is_told_and_admitted_again),
        cmocka_unit_test(giving_up_too_late_gets_the_answer_of_what_took_place),
        cmocka_unit_test(a_client_that_went_on_elsewhere_is_not_stuck_behind_its_past),
        cmocka_unit_test(what_is_older_than_the_queue_takes_its_place_before_it),
        cmocka_unit_test(asking_for_what_is_final_elsewhere_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
