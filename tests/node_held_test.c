/* Held posts, the node's side: when they begin, what is told when, and what a device must have there first. */
#include "tests/test_node.h"

#include "core/raft/state.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { ALICE = 1, BOB = 2, SECOND = 1000000 };

/* A follower that hears nobody and may not campaign, until it may. */
static void lose_the_leader(struct nodes *nodes)
{
    struct raft *raft = nodes->node->raft;
    raft->role = RAFT_FOLLOWER;
    raft->leader = 0;
    raft->lost_last = 1; /* does not campaign */
}

/* Alice made #ops and bob is in it; then the leader is gone. */
static struct nodes *begin(uint32_t *alice)
{
    struct nodes *nodes = nodes_new(1, 1 << 20);
    nodes_form(nodes);
    *alice = nodes_user(nodes, ALICE, "alice");
    uint32_t bob = nodes_user(nodes, BOB, "bob");
    nodes_create(nodes, ALICE, *alice, 1, "#ops");
    nodes_run(nodes, 50000);
    nodes_command(
        nodes, BOB, bob, 1, 1,
        (struct command) { .kind = COMMAND_JOIN, .room = { (const uint8_t *)"#ops", 4 } });
    nodes_run(nodes, 50000);
    assert_int_equal(nodes->answers[BOB][1].code, CODE_OK);
    lose_the_leader(nodes);
    return nodes;
}

static void held_begins_after_a_second_and_is_told_when_it_is_durable(void **state)
{
    (void)state;
    uint32_t alice;
    struct nodes *nodes = begin(&alice);
    nodes_post(nodes, ALICE, alice, 2, 1, "#ops", 10);
    nodes_run(nodes, SECOND - 100000);
    assert_false(nodes->holding); /* an election is shorter */
    nodes_run(nodes, 300000);
    assert_true(nodes->holding);
    assert_false(nodes->hold.discard);
    assert_int_equal(nodes->client_sent[ALICE][WIRE_HELD], 0);
    assert_int_equal(node_held(nodes->node), 0);
    nodes_held(nodes, false);
    assert_int_equal(node_held(nodes->node), 1);
    assert_int_equal(nodes->client_sent[ALICE][WIRE_HELD], 1);
    assert_int_equal(nodes->client_sent[BOB][WIRE_HELD], 0);
    assert_int_equal(nodes->client_sent[ALICE][WIRE_HELD_RECORD], 1);
    assert_int_equal(nodes->client_sent[BOB][WIRE_HELD_RECORD], 1);
    assert_false(nodes->answered[ALICE][2]);
    nodes_post(nodes, ALICE, alice, 2, 1, "#ops", 10); /* offered again: held, and shown once */
    nodes_post(nodes, ALICE, alice, 3, 2, "#ops", 10); /* at once from now on */
    nodes_turn_end(nodes);
    assert_true(nodes->holding);
    nodes_held(nodes, false);
    assert_int_equal(nodes->client_sent[ALICE][WIRE_HELD], 3);
    assert_int_equal(nodes->client_sent[BOB][WIRE_HELD_RECORD], 2);
    assert_int_equal(node_held(nodes->node), 2);

    nodes->node->raft->lost_last = 0;
    nodes_run(nodes, 3 * SECOND);
    assert_int_equal(nodes->answers[ALICE][2].code, CODE_OK);
    assert_int_equal(nodes->answers[ALICE][2].room_seq, 1);
    assert_int_equal(nodes->answers[ALICE][3].room_seq, 2);
    assert_int_equal(node_held(nodes->node), 0);
    assert_int_equal(nodes->client_sent[BOB][WIRE_RETRACT], 0);
    assert_true(nodes->holding && nodes->hold.discard); /* nothing is open any more */
    nodes_held(nodes, false);
    nodes_run(nodes, SECOND);
    assert_false(nodes->holding);
    nodes_free(nodes);
}

static void a_full_disk_is_not_held_and_tried_again(void **state)
{
    (void)state;
    uint32_t alice;
    struct nodes *nodes = begin(&alice);
    nodes_post(nodes, ALICE, alice, 2, 1, "#ops", 10);
    nodes_run(nodes, 2 * SECOND);
    assert_true(nodes->holding);
    nodes_held(nodes, true);
    nodes_run(nodes, 500000);
    assert_false(nodes->holding);
    assert_int_equal(nodes->client_sent[ALICE][WIRE_HELD], 0);
    nodes_run(nodes, SECOND);
    assert_true(nodes->holding);
    nodes_held(nodes, false);
    assert_int_equal(nodes->client_sent[ALICE][WIRE_HELD], 1);
    nodes_free(nodes);
}

static void what_is_before_it_must_be_there(void **state)
{
    (void)state;
    uint32_t alice;
    struct nodes *nodes = begin(&alice);
    nodes_post(nodes, ALICE, alice, 4, 3, "#ops", 10); /* 2 and 3 are not here and may be open */
    nodes_run(nodes, 2 * SECOND);
    assert_false(nodes->holding);
    nodes_post(nodes, ALICE, alice, 4, 1, "#ops", 10); /* they are final */
    nodes_turn_end(nodes);
    assert_true(nodes->holding);
    nodes_held(nodes, false);
    assert_int_equal(nodes->client_sent[ALICE][WIRE_HELD], 1);
    /* What went on elsewhere stays held here until that is known here; what comes next is held, too. */
    nodes_post(nodes, ALICE, alice, 7, 1, "#ops", 10);
    nodes_turn_end(nodes);
    assert_true(nodes->holding);
    nodes_held(nodes, false);
    assert_int_equal(node_held(nodes->node), 2);
    nodes_free(nodes);
}

static const uint8_t bob_key[PUBLIC_KEY_BYTES] = { 'b', 'o', 'b' };
static const uint8_t signature[SIGNATURE_BYTES];

static void who_comes_later_is_shown_what_is_held(void **state)
{
    (void)state;
    uint32_t alice;
    struct nodes *nodes = begin(&alice);
    nodes_post(nodes, ALICE, alice, 2, 1, "@bob", 10); /* begins a conversation */
    nodes_post(nodes, ALICE, alice, 3, 2, "#nope", 10);
    nodes_run(nodes, 2 * SECOND);
    nodes_closed(nodes, BOB);
    nodes_held(nodes, false);
    assert_int_equal(nodes->client_sent[ALICE][WIRE_HELD], 2);
    assert_int_equal(nodes->client_sent[ALICE][WIRE_HELD_RECORD],
                     1); /* there is no such room here */
    assert_int_equal(nodes->client_sent[BOB][WIRE_HELD_RECORD], 0);
    struct wire_login login = { .device_key = bob_key, .signature = signature, .stream = true };
    uint8_t message[256];
    size_t len = wire_encode_login(&login, message, sizeof message);
    nodes_open(nodes, BOB, CONNECTION_CLIENT);
    nodes_message(nodes, BOB, message, len);
    assert_int_equal(nodes->client_sent[BOB][WIRE_HELD_RECORD], 1);
    nodes_free(nodes);
}

/* Bob comes again, and has seen what there is up to `index`. */
static void bob_comes_from(struct nodes *nodes, uint64_t index)
{
    struct wire_login login = {
        .device_key = bob_key, .signature = signature, .stream = true, .resume_index = index
    };
    uint8_t message[256];
    size_t len = wire_encode_login(&login, message, sizeof message);
    nodes_closed(nodes, BOB);
    nodes_open(nodes, BOB, CONNECTION_CLIENT);
    memset(nodes->client_sent[BOB], 0, sizeof nodes->client_sent[BOB]);
    nodes_message(nodes, BOB, message, len);
    nodes_turn_end(nodes);
}

/* From where he saw `ahead` more than this node has applied. */
static void bob_comes(struct nodes *nodes, uint64_t ahead)
{
    bob_comes_from(nodes, node_applied(nodes->node) + ahead);
}

static uint32_t bobs_device(struct nodes *nodes)
{
    return chat_find_device(nodes->node->chat, bob_key);
}

/* Bob leaves #ops: held here, or known to all as soon as there is a leader. */
static void bob_parts(struct nodes *nodes, uint64_t seq)
{
    nodes_command(
        nodes, BOB, bobs_device(nodes), seq, 1,
        (struct command) { .kind = COMMAND_PART, .room = { (const uint8_t *)"#ops", 4 } });
}

static void bob_joins(struct nodes *nodes, uint64_t seq)
{
    nodes_command(
        nodes, BOB, bobs_device(nodes), seq, 1,
        (struct command) { .kind = COMMAND_JOIN, .room = { (const uint8_t *)"#ops", 4 } });
}

/* What he has seen the end of is the client's to know: the node that is left alone is often behind all its readers. */
static void who_has_seen_more_is_shown_what_is_held_at_once(void **state)
{
    (void)state;
    uint32_t alice;
    struct nodes *nodes = begin(&alice);
    nodes_post(nodes, ALICE, alice, 2, 1, "#ops", 10);
    nodes_run(nodes, 2 * SECOND);
    nodes_held(nodes, false);
    bob_comes(nodes, 1000);
    assert_int_equal(nodes->client_sent[BOB][WIRE_HELD_RECORD], 1);
    nodes_post(nodes, ALICE, alice, 3, 2, "#ops", 10);
    nodes_turn_end(nodes);
    nodes_held(nodes, false);
    assert_int_equal(nodes->client_sent[BOB][WIRE_HELD_RECORD], 2);
    nodes->node->raft->lost_last = 0;
    nodes_run(nodes, 3 * SECOND);
    assert_int_equal(nodes->answers[ALICE][3].code, CODE_OK);
    /* He gets no messages here: if another node has left them out for him, this is their end. */
    assert_int_equal(nodes->client_sent[BOB][WIRE_RETRACT], 2);
    nodes_free(nodes);
}

/* Its author left the room before it was committed. Bob was shown it, though he came when the queue knew more. */
static void what_is_refused_is_retracted_for_all_in_the_room(void **state)
{
    (void)state;
    uint32_t alice;
    struct nodes *nodes = begin(&alice);
    nodes_command(
        nodes, ALICE, alice, 2, 1,
        (struct command) { .kind = COMMAND_PART, .room = { (const uint8_t *)"#ops", 4 } });
    nodes_post(nodes, ALICE, alice, 3, 2, "#ops", 10);
    nodes_run(nodes, 2 * SECOND);
    nodes_held(nodes, false);
    bob_comes(nodes, 0);
    assert_int_equal(nodes->client_sent[BOB][WIRE_HELD_RECORD], 1);
    nodes->node->raft->lost_last = 0;
    nodes_run(nodes, 3 * SECOND);
    assert_int_equal(nodes->answers[ALICE][3].code, CODE_NOT_A_MEMBER);
    assert_int_equal(nodes->client_sent[BOB][WIRE_RETRACT], 1);
    assert_int_equal(nodes->client_sent[ALICE][WIRE_RETRACT], 1);
    nodes_free(nodes);
}

/* Bob left before the post was committed: it is no message of his, and he was shown it. */
static void who_left_the_room_is_told_the_end(void **state)
{
    (void)state;
    uint32_t alice;
    struct nodes *nodes = begin(&alice);
    bob_parts(nodes, 2);
    nodes_post(nodes, ALICE, alice, 2, 1, "#ops", 10);
    nodes_run(nodes, 2 * SECOND);
    nodes_held(nodes, false);
    assert_int_equal(nodes->client_sent[BOB][WIRE_HELD_RECORD], 1);
    assert_int_equal(nodes->client_sent[BOB][WIRE_RETRACT], 0);
    uint32_t before = nodes->client_sent[BOB][WIRE_RECORD];
    nodes->node->raft->lost_last = 0;
    nodes_run(nodes, 3 * SECOND);
    assert_int_equal(nodes->answers[ALICE][2].code, CODE_OK);
    assert_int_equal(nodes->client_sent[BOB][WIRE_RECORD], before + 1); /* that he left */
    assert_int_equal(nodes->client_sent[BOB][WIRE_RETRACT], 1);
    assert_int_equal(nodes->client_sent[ALICE][WIRE_RETRACT], 0);
    nodes_free(nodes);
}

/* Its retract was right, and yet he gets the message when he reads once more from before: of who left and came back
 * often, the earliest times have become one (chat.h). */
static void who_left_and_came_back_often_gets_the_message_after_its_end(void **state)
{
    (void)state;
    uint32_t alice;
    struct nodes *nodes = begin(&alice);
    bob_parts(nodes, 2);
    nodes_post(nodes, ALICE, alice, 2, 1, "#ops", 10);
    nodes_run(nodes, 2 * SECOND);
    nodes_held(nodes, false);
    nodes->node->raft->lost_last = 0;
    nodes_run(nodes, 3 * SECOND);
    assert_int_equal(nodes->answers[ALICE][2].code, CODE_OK);
    assert_int_equal(nodes->client_sent[BOB][WIRE_RETRACT], 1);
    uint64_t before = nodes->answers[ALICE][2].index - 2; /* what comes next is that he left */
    nodes_held(nodes, false);
    bob_comes_from(nodes, before);
    assert_int_equal(nodes->client_sent[BOB][WIRE_RECORD], 1);
    for (uint64_t times = 1; times <= CHAT_INTERVALS + 1; times++) {
        bob_joins(nodes, 2 * times + 1);
        nodes_run(nodes, 50000);
        assert_int_equal(nodes->answers[BOB][2 * times + 1].code, CODE_OK);
        uint32_t seen = (uint32_t)(2 * times);
        bool is_one = times > CHAT_INTERVALS;
        bob_comes_from(nodes, before);
        assert_int_equal(nodes->client_sent[BOB][WIRE_RECORD], seen + is_one);
        bob_parts(nodes, 2 * times + 2);
        nodes_run(nodes, 50000);
    }
    nodes_free(nodes);
}

static size_t enrolment(uint8_t *message, size_t capacity, const uint8_t *account_key,
                        const uint8_t *device_key)
{
    struct wire_enrol enrol = { .name = { (const uint8_t *)"bob", 3 },
                                .account_key = account_key,
                                .device_key = device_key,
                                .signature = signature };
    return wire_encode_enrol(&enrol, message, capacity);
}

/* Of a known account; asked again from another connection it is the same one. Nothing is refused for good. */
static void enrolling_is_held_and_a_wrong_password_is_not_judged(void **state)
{
    (void)state;
    uint32_t alice;
    static const uint8_t fresh[PUBLIC_KEY_BYTES] = { 1 };
    static const uint8_t wrong[PUBLIC_KEY_BYTES] = { 2 };
    struct nodes *nodes = begin(&alice);
    uint8_t message[512];
    nodes_run(nodes, 2 * SECOND);
    for (uint32_t connection = 3; connection < 5; connection++) {
        size_t len = enrolment(message, sizeof message, bob_key, fresh);
        nodes_open(nodes, connection, CONNECTION_CLIENT);
        nodes_message(nodes, connection, message, len);
    }
    nodes_turn_end(nodes);
    assert_true(nodes->holding);
    nodes_held(nodes, false);
    assert_int_equal(node_held(nodes->node), 1);
    assert_int_equal(nodes->client_sent[3][WIRE_HELD] + nodes->client_sent[4][WIRE_HELD], 1);
    assert_int_equal(nodes->client_sent[4][WIRE_HELD], 1);
    size_t len = enrolment(message, sizeof message, wrong, fresh);
    nodes_open(nodes, 5, CONNECTION_CLIENT);
    nodes_message(nodes, 5, message, len);
    nodes_turn_end(nodes);
    assert_false(nodes->holding);
    assert_int_equal(nodes->client_sent[5][WIRE_ENROLLED], 1); /* unavailable */
    assert_int_equal(chat_find_device(nodes->node->chat, fresh), 0);
    nodes->node->raft->lost_last = 0;
    nodes_run(nodes, 3 * SECOND);
    assert_true(chat_find_device(nodes->node->chat, fresh) != 0);
    assert_int_equal(nodes->client_sent[4][WIRE_ENROLLED], 1);
    nodes_free(nodes);
}

/* A record that rotted in the held log is not there after a restart: its client has it still, and what
 * is held behind it waits for it. */
static void what_is_lost_between_others_is_filled_in(void **state)
{
    (void)state;
    uint32_t alice;
    struct nodes *nodes = begin(&alice);
    for (uint64_t seq = 2; seq <= 4; seq++)
        nodes_post(nodes, ALICE, alice, seq, (uint8_t)(seq - 1), "#ops", 10);
    nodes_run(nodes, 2 * SECOND);
    nodes_held(nodes, false);
    assert_int_equal(node_held(nodes->node), 3);
    forward_remove(nodes->node, forward_find(nodes->node, alice, 3));
    assert_int_equal(node_held(nodes->node), 2);
    for (uint64_t seq = 2; seq <= 4; seq++)
        nodes_post(nodes, ALICE, alice, seq, (uint8_t)(seq - 1), "#ops", 10);
    nodes_turn_end(nodes);
    assert_true(nodes->holding);
    nodes_held(nodes, false);
    assert_int_equal(node_held(nodes->node), 3);
    nodes->node->raft->lost_last = 0;
    nodes_run(nodes, 3 * SECOND);
    for (uint64_t seq = 2; seq <= 4; seq++) {
        assert_int_equal(nodes->answers[ALICE][seq].code, CODE_OK);
        assert_int_equal(nodes->answers[ALICE][seq].room_seq, seq - 1);
    }
    assert_int_equal(node_held(nodes->node), 0);
    nodes_free(nodes);
}

/* An earlier process held this device's post. */
static void restore_of(struct nodes *nodes, uint32_t device)
{
    static const uint8_t salt[8];
    static uint8_t record[256];
    struct command command = { .kind = COMMAND_POST,
                               .device = device,
                               .seq = 1,
                               .beyond = 1,
                               .account = 1,
                               .room = { (const uint8_t *)"#ops", 4 },
                               .salt = salt,
                               .text = { (const uint8_t *)"hi", 2 } };
    size_t len = command_encode(&command, record + 4, sizeof record - 4);
    bytes_put_u32(record, (uint32_t)len);
    struct node_recovery recovery = { .held = { record, 4 + len }, .held_last = 1 };
    held_restore(nodes->node, &recovery);
}

/* Its enrolment is not in the own log any more: rot took it. That the newest entry that is left is of this leader's
 * term does not say that there is no such device (seed 120019851). */
static void what_an_unknown_device_holds_stays_until_all_is_applied(void **state)
{
    (void)state;
    uint32_t alice;
    struct nodes *nodes = begin(&alice);
    struct raft *raft = nodes->node->raft;
    restore_of(nodes, alice + 5);
    assert_int_equal(node_held(nodes->node), 1);
    uint64_t applied = nodes->node->applied;
    raft->leader = 2;
    raft->told_commit = applied + 3;
    raft->leader_heard_us = nodes->now.mono_us;
    nodes_turn_end(nodes);
    assert_true(raft_has_quorum(raft));
    assert_int_equal(node_held(nodes->node), 1);
    raft->told_commit = applied + 4; /* it goes on; what was heard first is enough */
    nodes->node->applied = applied + 3;
    held_turn(nodes->node, &nodes->effects);
    assert_int_equal(node_held(nodes->node), 0);
    nodes_free(nodes);
}

/* Nor does a post of the one that had its place before, and that ended in what rot took. */
static void what_the_next_device_in_a_place_holds_stays(void **state)
{
    (void)state;
    uint32_t alice;
    struct nodes *nodes = begin(&alice);
    restore_of(nodes, alice + LIMIT_DEVICES);
    assert_int_equal(node_held(nodes->node), 1);
    nodes_post(nodes, ALICE, alice, 2, 1, "#ops", 10);
    nodes_turn_end(nodes);
    assert_int_equal(node_held(nodes->node), 1);
    assert_int_equal(nodes->answers[ALICE][2].code, CODE_BUSY);
    nodes_free(nodes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(held_begins_after_a_second_and_is_told_when_it_is_durable),
        cmocka_unit_test(a_full_disk_is_not_held_and_tried_again),
        cmocka_unit_test(what_is_before_it_must_be_there),
        cmocka_unit_test(who_comes_later_is_shown_what_is_held),
        cmocka_unit_test(who_has_seen_more_is_shown_what_is_held_at_once),
        cmocka_unit_test(what_is_refused_is_retracted_for_all_in_the_room),
        cmocka_unit_test(who_left_the_room_is_told_the_end),
        cmocka_unit_test(who_left_and_came_back_often_gets_the_message_after_its_end),
        cmocka_unit_test(what_is_lost_between_others_is_filled_in),
        cmocka_unit_test(what_an_unknown_device_holds_stays_until_all_is_applied),
        cmocka_unit_test(what_the_next_device_in_a_place_holds_stays),
        cmocka_unit_test(enrolling_is_held_and_a_wrong_password_is_not_judged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
