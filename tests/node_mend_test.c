/* What is damaged on this node's disk: whom it asks for it, in which order, and what it does when nobody has it. */
#include "core/raft/state.h"
#include "tests/test_node.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

/* As in store.h. */
enum { CHECK_NEXT, CHECK_FILE, CHECK_AGAIN, CHECK_SKIP };
enum { CHECKED_MORE, CHECKED_CLEAN, CHECKED_DAMAGED, CHECKED_GONE };
enum { AT_NONE, AT_IDENTITY, AT_VOTE, AT_CHECKPOINT, AT_SEGMENT, AT_INDEX, AT_TAIL };

enum { SECOND = 1000000, SEGMENT = 100, DAMAGED = 107 };

static struct nodes *nodes;

static void peer_event(enum node_event_kind kind, uint8_t slot, struct slice message)
{
    struct node_event event = { .kind = kind,
                                .now = nodes->now,
                                .peer = { .slot = slot, .end = LINK_CLOSED, .message = message } };
    node_step(nodes->node, &event, &nodes->effects);
}

/* One of so many members; the others' links are up. */
static int members(uint8_t count)
{
    nodes = nodes_new((uint8_t)((1u << count) - 1), 65536);
    nodes_form(nodes);
    struct raft_config *config = &nodes->node->raft->config;
    for (uint8_t slot = 2; slot <= count; slot++) {
        struct wire_hello hello = {
            .version = WIRE_VERSION, .slot = slot, .identity = { slot }, .feature_max = 1
        };
        uint8_t message[64];
        memcpy(hello.cluster, raft_cluster(nodes->node->raft), IDENTITY_BYTES);
        size_t len = wire_encode_hello(&hello, message, sizeof message);
        peer_event(EVENT_PEER_UP, slot, (struct slice) { NULL, 0 });
        peer_event(EVENT_PEER_MESSAGE, slot, (struct slice) { message, len });
        config->members[config->count] = config->members[0];
        config->members[config->count].slot = slot;
        config->members[config->count++].identity[0] = slot;
    }
    return 0;
}

static int three(void **state)
{
    (void)state;
    return members(3);
}

static int five(void **state)
{
    (void)state;
    return members(5);
}

static int end(void **state)
{
    (void)state;
    nodes_free(nodes);
    return 0;
}

static void turn(void)
{
    mend_turn(nodes->node, &nodes->effects);
}

static void later(uint64_t us)
{
    nodes->now.mono_us += us;
    nodes->node->now = nodes->now;
    turn();
}

static void checked(uint8_t file, uint64_t id, uint8_t result, uint64_t index)
{
    struct node_event event = { .kind = EVENT_CHECKED,
                                .now = nodes->now,
                                .checked = {
                                    .file = file, .id = id, .result = result, .index = index } };
    node_step(nodes->node, &event, &nodes->effects);
}

/* A read came upon it; the store looks, and stops there. */
static void damage(uint8_t file, uint64_t id, uint64_t index)
{
    mend_noticed(nodes->node, file, id);
    turn();
    assert_int_equal(nodes->last[EFFECT_CHECK].check.how, CHECK_FILE);
    assert_int_equal(nodes->last[EFFECT_CHECK].check.file, file);
    assert_int_equal(nodes->last[EFFECT_CHECK].check.id, id);
    checked(file, id, CHECKED_DAMAGED, index);
}

/* From whom the piece is wanted now. */
static uint8_t asked(void)
{
    return nodes->node->mending.phase == MEND_FETCHING ? nodes->node->mending.asked : 0;
}

static void fetched(uint8_t slot, enum wire_fetch_code code, uint64_t index, const char *data)
{
    struct wire_fetched answer = { .id = nodes->node->mending.fetch_id,
                                   .kind = FETCH_ENTRIES,
                                   .code = (uint8_t)code,
                                   .index = index,
                                   .size = 1000 };
    uint8_t message[256];
    size_t len = wire_encode_fetched(&answer, message, sizeof message);
    memcpy(message + len, data, strlen(data));
    (void)mend_fetched(nodes->node, slot, (struct slice) { message, len + strlen(data) },
                       &nodes->effects);
}

static void mended(bool failed, bool done, uint64_t want_offset)
{
    struct node_event event = { .kind = EVENT_MENDED,
                                .now = nodes->now,
                                .mended = { failed, done, want_offset } };
    node_step(nodes->node, &event, &nodes->effects);
}

static void entries_are_fetched_put_back_and_looked_at_again(void **state)
{
    (void)state;
    damage(AT_SEGMENT, SEGMENT, DAMAGED);
    assert_int_equal(node_damaged(nodes->node), 1);
    assert_int_equal(asked(), 2);
    fetched(2, FETCH_OK, DAMAGED, "entries");
    assert_int_equal(nodes->emitted[EFFECT_MEND], 1);
    assert_int_equal(nodes->last[EFFECT_MEND].mend.file, AT_SEGMENT);
    assert_int_equal(nodes->last[EFFECT_MEND].mend.id, SEGMENT);
    assert_int_equal(nodes->last[EFFECT_MEND].mend.data.len, strlen("entries"));
    mended(false, true, 0);
    assert_int_equal(nodes->last[EFFECT_CHECK].check.how, CHECK_AGAIN);
    checked(AT_SEGMENT, SEGMENT, CHECKED_CLEAN, 0);
    assert_int_equal(node_damaged(nodes->node), 0);
}

/* What one sends does not prove itself, and one does not answer: the other is asked, and later all anew. */
static void each_is_asked_in_turn_and_again_after_a_while(void **state)
{
    (void)state;
    damage(AT_SEGMENT, SEGMENT, DAMAGED);
    assert_int_equal(asked(), 2);
    fetched(2, FETCH_OK, DAMAGED, "something else");
    mended(true, false, 0);
    assert_int_equal(asked(), 3);
    fetched(2, FETCH_OK, DAMAGED, "late"); /* from whom is not asked any more */
    assert_int_equal(nodes->emitted[EFFECT_MEND], 1);
    later(SECOND);
    assert_int_equal(asked(), 0);
    assert_int_equal(nodes->last[EFFECT_CHECK].check.how,
                     CHECK_SKIP); /* what is behind it may be mended */
    checked(AT_SEGMENT, SEGMENT, CHECKED_CLEAN, 0);
    assert_int_equal(node_damaged(nodes->node), 1);
    later(3 * SECOND);
    assert_int_equal(nodes->last[EFFECT_CHECK].check.how, CHECK_FILE);
    checked(AT_SEGMENT, SEGMENT, CHECKED_DAMAGED, DAMAGED);
    assert_int_equal(asked(), 2);
    peer_event(EVENT_PEER_DOWN, 3, (struct slice) { NULL, 0 });
    fetched(2, FETCH_BUSY, DAMAGED, "");
    assert_int_equal(asked(), 0);
}

static void a_file_is_gathered_from_one_node(void **state)
{
    (void)state;
    damage(AT_INDEX, SEGMENT, 0);
    fetched(2, FETCH_OK, SEGMENT, "a part");
    mended(false, false, 6);
    assert_int_equal(asked(), 2);
    assert_int_equal(nodes->node->mending.offset, 6);
    fetched(2, FETCH_FAILED, SEGMENT, "");
    assert_int_equal(asked(), 3);
    assert_int_equal(nodes->node->mending.offset, 0); /* from its beginning */
    fetched(3, FETCH_OK, SEGMENT, "all of it");
    mended(false, true, 0);
    assert_int_equal(nodes->last[EFFECT_CHECK].check.how, CHECK_FILE);
    checked(AT_INDEX, SEGMENT, CHECKED_CLEAN, 0);
    assert_int_equal(node_damaged(nodes->node), 0);
}

static void the_vote_is_written_anew(void **state)
{
    (void)state;
    damage(AT_VOTE, 0, 0);
    assert_int_equal(asked(), 0);
    assert_true(nodes->node->raft->save_vote);
    later(SECOND);
    checked(AT_VOTE, 0, CHECKED_CLEAN, 0);
    assert_int_equal(node_damaged(nodes->node), 0);
}

/* All others' logs begin behind it: what is left of it here serves nobody, and their retention may be this node's. */
static void what_all_others_have_dropped_is_dropped(void **state)
{
    (void)state;
    damage(AT_INDEX, SEGMENT, 0);
    fetched(2, FETCH_GONE, SEGMENT + 50, "");
    fetched(3, FETCH_GONE, SEGMENT + 1, "");
    assert_int_equal(nodes->emitted[EFFECT_RETAIN], 1);
    assert_int_equal(nodes->last[EFFECT_RETAIN].retain.damaged, SEGMENT);
    assert_true(nodes->last[EFFECT_RETAIN].retain.floor == UINT64_MAX);
    assert_int_equal(node_damaged(nodes->node), 1);
    later(3 * SECOND);
    checked(AT_INDEX, SEGMENT, CHECKED_GONE, 0);
    assert_int_equal(node_damaged(nodes->node), 0);
}

/* Who copies from here needs what comes next, too; who mends does not, and may have the same damage. */
static void only_who_copies_is_waited_for(void **state)
{
    (void)state;
    struct serving *serving = &nodes->node->serving[2];
    for (int copies = 0; copies < 2; copies++) {
        *serving = (struct serving) { .until_us = nodes->now.mono_us + SECOND };
        serving->fetch = (struct wire_fetch) { .id = copies ? 7 : MEND_FETCH | 7,
                                               .kind = FETCH_INDEX,
                                               .index = SEGMENT };
        serve_drop_damaged(nodes->node, SEGMENT, &nodes->effects);
        assert_true(nodes->last[EFFECT_RETAIN].retain.floor == (copies ? SEGMENT : UINT64_MAX));
    }
}

/* Most have dropped it, and who has not cannot read it either. */
static void what_most_have_dropped_and_nobody_can_read_is_dropped(void **state)
{
    (void)state;
    damage(AT_INDEX, SEGMENT, 0);
    for (uint8_t slot = 2; slot <= 5; slot++)
        fetched(slot, slot < 4 ? FETCH_GONE : FETCH_FAILED, SEGMENT + 50, "");
    assert_int_equal(nodes->emitted[EFFECT_RETAIN], 0);
    later(3 * SECOND);
    checked(AT_INDEX, SEGMENT, CHECKED_DAMAGED, 0);
    for (uint8_t slot = 2; slot <= 4; slot++)
        fetched(slot, FETCH_GONE, SEGMENT + 50, "");
    fetched(5, FETCH_OK, SEGMENT, "rotten, too");
    assert_int_equal(nodes->emitted[EFFECT_RETAIN], 0);
    mended(true, false, 0);
    assert_int_equal(nodes->emitted[EFFECT_RETAIN], 1);
    assert_int_equal(nodes->last[EFFECT_RETAIN].retain.damaged, SEGMENT);
}

/* One may have it and cannot say so, or is only behind, or there is no other: it stays. */
static void what_another_may_have_is_kept(void **state)
{
    (void)state;
    damage(AT_INDEX, SEGMENT, 0);
    fetched(2, FETCH_GONE, SEGMENT + 50, "");
    fetched(3, FETCH_FAILED, SEGMENT, "");
    later(3 * SECOND);
    checked(AT_INDEX, SEGMENT, CHECKED_DAMAGED, 0);
    fetched(2, FETCH_GONE, SEGMENT + 50, "");
    fetched(3, FETCH_GONE, 1, "");
    later(3 * SECOND);
    checked(AT_INDEX, SEGMENT, CHECKED_DAMAGED, 0);
    nodes->node->raft->config.count = 1;
    fetched(2, FETCH_FAILED, SEGMENT, "");
    fetched(3, FETCH_FAILED, SEGMENT, "");
    assert_int_equal(nodes->emitted[EFFECT_RETAIN], 0);
    assert_int_equal(node_damaged(nodes->node), 1);
}

/* The checkpoint that a late log is understood by goes with what is behind it; another goes alone. */
static void a_checkpoint_that_nobody_has_is_dropped(void **state)
{
    (void)state;
    damage(AT_CHECKPOINT, 500, 0);
    fetched(2, FETCH_GONE, 600, "");
    fetched(3, FETCH_GONE, 600, "");
    assert_int_equal(nodes->emitted[EFFECT_RETAIN], 0);
    assert_int_equal(nodes->last[EFFECT_CHECK].check.how, CHECK_SKIP);
    checked(AT_CHECKPOINT, 500, CHECKED_GONE, 0);
    assert_int_equal(node_damaged(nodes->node), 0);

    nodes->node->first = 501;
    for (int i = 0; i < 3;
         i++) { /* behind it, or before it and without one there; or rotten, too */
        damage(AT_CHECKPOINT, 500, 0);
        fetched(2, FETCH_GONE, i ? 1 : 600, "");
        fetched(3, i == 2 ? FETCH_FAILED : FETCH_GONE, 600, "");
        assert_int_equal(nodes->emitted[EFFECT_RETAIN], i == 2 ? 2 : i + 1);
        assert_int_equal(nodes->last[EFFECT_RETAIN].retain.damaged, 501);
        if (i < 2)
            checked(AT_CHECKPOINT, 500, CHECKED_GONE, 0);
        later(3 * SECOND);
    }
}

/* What recovery held goes first; once it is whole the process starts anew and reads it. */
static void a_held_tail_is_mended_first(void **state)
{
    (void)state;
    struct mending *mending = &nodes->node->mending;
    mending->held = true;
    nodes->node->raft->lost_last = DAMAGED;
    mend_noticed(nodes->node, AT_INDEX, SEGMENT);
    later(SECOND);
    assert_int_equal(nodes->last[EFFECT_CHECK].check.file, AT_TAIL);
    checked(AT_TAIL, 0, CHECKED_DAMAGED, DAMAGED);
    fetched(2, FETCH_OK, DAMAGED, "entries");
    mended(false, true, 0);
    assert_int_equal(nodes->last[EFFECT_CHECK].check.how, CHECK_AGAIN);
    assert_false(nodes->halted);
    checked(AT_TAIL, 0, CHECKED_CLEAN, 0);
    assert_true(nodes->halted);
    assert_int_equal(nodes->last[EFFECT_HALT].halt.exit_status, NODE_STARTS_ANEW);
}

/* To start anew would not help: what is behind the log's end is all there is, and more was lost. */
static void a_tail_of_which_nothing_is_here_is_left(void **state)
{
    (void)state;
    nodes->node->mending.held = true;
    later(SECOND);
    checked(AT_TAIL, 0, CHECKED_CLEAN, 0);
    assert_false(nodes->halted);
    later(SECOND);
    assert_int_equal(nodes->emitted[EFFECT_CHECK], 1);
}

/* A leader has had it truncated meanwhile: there is nothing to mend any more. */
static void a_tail_that_is_gone_is_left(void **state)
{
    (void)state;
    struct mending *mending = &nodes->node->mending;
    mending->held = true;
    later(SECOND);
    checked(AT_TAIL, 0, CHECKED_GONE, 0);
    assert_false(mending->held);
    assert_false(nodes->halted);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(entries_are_fetched_put_back_and_looked_at_again, three,
                                        end),
        cmocka_unit_test_setup_teardown(each_is_asked_in_turn_and_again_after_a_while, three, end),
        cmocka_unit_test_setup_teardown(a_file_is_gathered_from_one_node, three, end),
        cmocka_unit_test_setup_teardown(the_vote_is_written_anew, three, end),
        cmocka_unit_test_setup_teardown(what_all_others_have_dropped_is_dropped, three, end),
        cmocka_unit_test_setup_teardown(what_most_have_dropped_and_nobody_can_read_is_dropped, five,
                                        end),
        cmocka_unit_test_setup_teardown(what_another_may_have_is_kept, three, end),
        cmocka_unit_test_setup_teardown(only_who_copies_is_waited_for, three, end),
        cmocka_unit_test_setup_teardown(a_checkpoint_that_nobody_has_is_dropped, three, end),
        cmocka_unit_test_setup_teardown(a_held_tail_is_mended_first, three, end),
        cmocka_unit_test_setup_teardown(a_tail_of_which_nothing_is_here_is_left, three, end),
        cmocka_unit_test_setup_teardown(a_tail_that_is_gone_is_left, three, end),
    };
    return cmocka_run_group_tests_name("node_mend", tests, NULL, NULL);
}
