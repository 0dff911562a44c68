/* A node that is far behind: from when it asks for a copy it takes no entries, until it gives up. */
#include "core/raft/state.h"
#include "tests/test_node.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void peer_event(struct nodes *nodes, uint8_t slot, enum node_event_kind kind,
                       struct slice message)
{
    struct node_event event = { .kind = kind,
                                .now = nodes->now,
                                .peer = { .slot = slot, .end = LINK_CLOSED, .message = message } };
    node_step(nodes->node, &event, &nodes->effects);
}

/* Its link is up and greeted. */
static void greet(struct nodes *nodes, uint8_t slot)
{
    struct wire_hello hello = {
        .version = WIRE_VERSION, .slot = slot, .identity = { slot }, .feature_max = 1
    };
    memcpy(hello.cluster, raft_cluster(nodes->node->raft), IDENTITY_BYTES);
    uint8_t message[64];
    size_t len = wire_encode_hello(&hello, message, sizeof message);
    peer_event(nodes, slot, EVENT_PEER_UP, (struct slice) { NULL, 0 });
    peer_event(nodes, slot, EVENT_PEER_MESSAGE, (struct slice) { message, len });
}

/* Follows node 2, which says that copying is better. */
static struct nodes *advised_to_copy(void)
{
    struct nodes *nodes = nodes_new(7, 65536);
    nodes_form(nodes);
    greet(nodes, 2);
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

/* What was asked for last is answered by `slot`. */
static void fetched(struct nodes *nodes, uint8_t slot, uint8_t code, struct slice data)
{
    const struct catchup *catchup = &nodes->node->catchup;
    uint8_t message[256];
    struct wire_fetched head = { .id = catchup->id,
                                 .kind = catchup->state == CATCHUP_OFFER ? FETCH_OFFER
                                                                         : catchup->next.kind,
                                 .code = code,
                                 .index = catchup->next.index,
                                 .data = data };
    assert_int_equal(catchup->source, slot);
    size_t len = wire_encode_fetched(&head, message, sizeof message);
    assert_true(len > 0 && len + data.len <= sizeof message);
    if (data.len)
        memcpy(message + len, data.data, data.len);
    assert_true(catchup_fetched(nodes->node, slot, (struct slice) { message, len + data.len },
                                &nodes->effects));
}

/* Node 3 offers up to 598, and then nobody has the checkpoint there. */
static void offered_and_gone(struct nodes *nodes)
{
    uint8_t data[128];
    struct wire_offer offer = { .oldest = 1, .newest = 598, .segment_bytes = 65536 };
    fetched(nodes, 3, FETCH_OK,
            (struct slice) { data, wire_encode_offer(&offer, data, sizeof data) });
    assert_int_equal(nodes->last[EFFECT_COPY].copy.step, COPY_BEGIN);
    struct node_event begun = { .kind = EVENT_COPIED, .now = nodes->now };
    begun.copied.step = COPY_BEGIN;
    begun.copied.result = COPIED_OK;
    begun.copied.piece = (struct effect_piece) { FETCH_CHECKPOINT, 598, 0 };
    begun.copied.end = 598;
    node_step(nodes->node, &begun, &nodes->effects);
    fetched(nodes, 3, FETCH_GONE, (struct slice) { NULL, 0 });
    fetched(nodes, 2, FETCH_GONE, (struct slice) { NULL, 0 });
}

/* It would be gone on with for ever. */
static void what_nobody_has_the_end_of_is_dropped(void **state)
{
    (void)state;
    struct nodes *nodes = advised_to_copy();
    greet(nodes, 3);
    catchup_turn(nodes->node, &nodes->effects); /* the leader is asked last */
    offered_and_gone(nodes);
    assert_int_equal(nodes->last[EFFECT_COPY].copy.step, COPY_DROP);
    assert_int_equal(nodes->node->catchup.state, CATCHUP_IDLE);
    assert_false(nodes->node->catchup.whole);
    nodes->now.mono_us += NODE_COPY_RETRY_US;
    nodes->node->now = nodes->now;
    catchup_turn(nodes->node, &nodes->effects);
    fetched(nodes, 2, FETCH_GONE, (struct slice) { NULL, 0 }); /* who has no offer */
    assert_int_equal(nodes->node->catchup.source, 3);          /* is not better */
    offered_and_gone(nodes);
    assert_int_equal(nodes->last[EFFECT_COPY].copy.step, COPY_DROP);
    nodes_free(nodes);
}

/* What an interrupted copy left would lie there for ever, unproven (seed 110035303). */
static void what_is_left_of_a_copy_goes_when_none_is_needed(void **state)
{
    (void)state;
    struct nodes *nodes = advised_to_copy();
    struct raft *raft = nodes->node->raft;
    nodes->node->peers[2].greeted = false; /* nobody to copy from */
    nodes->node->catchup.clean = false;
    nodes->emitted[EFFECT_COPY] = 0;
    raft->told_commit = raft->commit + 1;
    raft->leader_heard_us = nodes->now.mono_us;
    catchup_turn(nodes->node, &nodes->effects);
    raft->copy_advised = false;
    catchup_turn(nodes->node, &nodes->effects);
    assert_int_equal(nodes->emitted[EFFECT_COPY], 0); /* it may be gone on with */
    raft->told_commit = raft->commit;
    catchup_turn(nodes->node, &nodes->effects);
    catchup_turn(nodes->node, &nodes->effects);
    assert_int_equal(nodes->emitted[EFFECT_COPY], 1);
    assert_int_equal(nodes->last[EFFECT_COPY].copy.step, COPY_DROP);
    nodes->node->catchup.clean = false;
    raft->leader = 0;
    catchup_turn(nodes->node, &nodes->effects);
    assert_int_equal(nodes->emitted[EFFECT_COPY], 1);
    nodes->node->removed = true;
    catchup_turn(nodes->node, &nodes->effects);
    assert_int_equal(nodes->emitted[EFFECT_COPY], 2);
    nodes_free(nodes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_left_of_a_copy_goes_when_none_is_needed),
        cmocka_unit_test(who_asks_for_a_copy_takes_no_entries_meanwhile),
        cmocka_unit_test(who_has_nobody_to_ask_takes_entries),
        cmocka_unit_test(who_is_not_answered_takes_entries_again),
        cmocka_unit_test(who_is_no_member_copies_nothing),
        cmocka_unit_test(what_nobody_has_the_end_of_is_dropped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
