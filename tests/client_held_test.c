/* core/client and what nodes without a leader hold: acks, what is offered again to whom, and what is shown of others. */
#include "tests/client_script.h"

static uint64_t digest_of(const struct script *script, uint64_t seq)
{
    for (size_t i = 0; i < script->saved_count; i++)
        if (script->saved[i].seq == seq)
            return script_body_digest(script->saved[i].body, script->saved[i].body_len);
    return 0;
}

static void held(struct script *script, uint64_t seq, uint64_t digest)
{
    uint8_t message[17] = { WIRE_HELD };
    bytes_put_u64(message + 1, seq);
    bytes_put_u64(message + 9, digest);
    script_message(script, message, sizeof message);
}

static void post(struct script *script, uint64_t tag, uint64_t seq, uint64_t index)
{
    struct wire_record record = { .kind = RECORD_POST,
                                  .seq = index,
                                  .index = index,
                                  .device_tag = tag,
                                  .device_seq = seq,
                                  .room = script_text("#ops"),
                                  .from = script_text("bob"),
                                  .text = script_text("hi") };
    uint8_t message[256];
    size_t len = wire_encode_record(&record, message, sizeof message);
    message[0] = index ? WIRE_RECORD : WIRE_HELD_RECORD;
    script_message(script, message, len);
}

static void retract(struct script *script, uint64_t tag, uint64_t seq)
{
    uint8_t message[17] = { WIRE_RETRACT };
    bytes_put_u64(message + 1, tag);
    bytes_put_u64(message + 9, seq);
    script_message(script, message, sizeof message);
}

static void held_is_told_once_and_is_not_the_end(void **state)
{
    (void)state;
    struct script *script = script_online(1);
    script_send(script, "a", "1");
    script_clear(script);
    held(script, 1, digest_of(script, 1) + 1); /* somebody else's content under this seq */
    held(script, 2, 0);                        /* never sent */
    script_expect(script, "");
    held(script, 1, digest_of(script, 1));
    held(script, 1, digest_of(script, 1));
    script_expect(script, "ack a held\n");
    assert_int_equal(script->saved_count, 1); /* it is kept */
    assert_int_equal(client_view(script->client).held, 1);
    script_answer(script, 1, CODE_OK, 5);
    script_expect(script, "ack a committed #ops index 5\n");
    assert_int_equal(client_view(script->client).held, 0);
    script_free(script);
}

static void what_is_held_is_offered_to_every_node_it_comes_to(void **state)
{
    (void)state;
    struct script *script = script_online(1);
    script_send(script, "a", "1");
    script_send(script, "b", "2");
    held(script, 1, digest_of(script, 1));
    held(script, 2, digest_of(script, 2));
    script_closed(script, CLIENT_END_RESET);
    script_wake(script);
    script_connected(script);
    script_clear(script);
    script_ready(script, true, 0);
    script_expect(script, "ready node 1 resumed\n> command 16 device 9 seq 1 beyond 1\n"
                          "> command 16 device 9 seq 2 beyond 2\n");
    held(script, 1, digest_of(script, 1)); /* another node: known already */
    script_expect(script, "");
    script_answer(script, 1, CODE_OK, 5);
    script_answer(script, 2, CODE_NOT_A_MEMBER, 0);
    script_expect(script, "ack a committed #ops index 5\nack b rejected not_a_member\n");
    script_free(script);
}

static void the_draft(struct script *script, const struct client_output *output)
{
    if (output->kind == CLIENT_OUT_ACK && output->ack.status == CLIENT_REJECTED)
        script_note(script, "draft %.*s\n", (int)output->ack.draft.len, output->ack.draft.data);
}

static void a_held_text_that_is_rejected_comes_back(void **state)
{
    (void)state;
    struct script *script = script_online(1);
    script->on_output = the_draft;
    script_send(script, "a", "dear all");
    script_send(script, "b", "never held");
    held(script, 1, digest_of(script, 1));
    script_clear(script);
    script_answer(script, 1, CODE_NOT_A_MEMBER, 0);
    script_answer(script, 2, CODE_NOT_A_MEMBER, 0);
    script_expect(script, "ack a rejected not_a_member\ndraft dear all\n"
                          "ack b rejected not_a_member\ndraft \n");
    script_free(script);
}

static void what_was_shown_as_committed_is_not_shown_as_held(void **state)
{
    (void)state;
    struct script *script = script_online(1);
    post(script, 77, 3, 0);
    post(script, 77, 3, 8);
    script_expect(script, "held 3\nrecord 8\n");
    post(script, 77, 3, 0); /* a node that is behind */
    post(script, 77, 2, 0);
    retract(script, 77, 3);
    script_expect(script, "");
    post(script, 77, 4, 0);
    post(script, 78, 1, 0);
    retract(script, 77, 4);
    script_expect(script, "held 4\nheld 1\nretract 4\n");
    script_free(script);
}

static void each_is_shown_once_and_ends_once(void **state)
{
    (void)state;
    struct script *script = script_online(1);
    retract(script, 77, 4); /* a node tells all who may have been shown it */
    post(script, 77, 5, 0);
    post(script, 77, 5, 0);
    script_expect(script, "held 5\n");
    post(script, 77, 6, 9); /* its 5 has ended, too, but how is not known yet */
    retract(script, 77, 5);
    retract(script, 77, 5);
    script_expect(script, "record 9\nretract 5\n");
    for (uint64_t seq = 1; seq <= 200; seq++) { /* places are used again: there are 64 */
        post(script, 78, seq, 0);
        retract(script, 78, seq);
    }
    script_clear(script);
    for (uint64_t seq = 1; seq <= 70; seq++)
        post(script, 1000 + seq, 1, 0);
    for (uint64_t seq = 1; seq <= 70; seq++)
        retract(script, 1000 + seq, 1);
    size_t held = 0;
    size_t retracted = 0;
    for (const char *at = script->log; *at; at = strchr(at, '\n') + 1) {
        held += !strncmp(at, "held", 4);
        retracted += !strncmp(at, "retract", 7);
    }
    assert_int_equal(held, 64);
    assert_int_equal(retracted, 64);
    script_free(script);
}

/* Connected again, to a node that is behind everything. */
static void come_again(struct script *script)
{
    script_closed(script, CLIENT_END_RESET);
    script_wake(script);
    script_connected(script);
    script_ready(script, false, 0);
    script_clear(script);
}

static void the_next_node_shows_what_it_holds_but_for_what_has_ended(void **state)
{
    (void)state;
    struct script *script = script_online(1);
    post(script, 77, 1, 0);
    post(script, 77, 2, 0);
    post(script, 78, 1, 0);
    retract(script, 77, 1);
    come_again(script);
    post(script, 77, 1, 0); /* its end was seen there */
    post(script, 77, 2, 0);
    post(script, 78, 1, 0);
    retract(script, 77, 1);
    retract(script, 78, 1);
    script_expect(script, "held 2\nheld 1\nretract 1\n");
    script_free(script);
}

static void what_has_ended_is_remembered_by_the_next_run(void **state)
{
    (void)state;
    struct script *script = script_online(1);
    post(script, 77, 3, 8);
    post(script, 78, 5, 0);
    retract(script, 78, 5);
    script_send(script, "a", "1");
    script_answer(script, 1, CODE_OK, 9);
    script_start(script, 1, 2);
    script_connected(script);
    script_ready(script, false, 0);
    script_clear(script);
    post(script, 77, 3, 0);
    post(script, 78, 5, 0);
    post(script, bytes_get_u64(script->kept.secret_key + 32), 1, 0); /* its own, acked */
    script_expect(script, "");
    post(script, 79, 1, 0); /* nobody's whose end it has seen */
    post(script, 77, 4, 0);
    script_expect(script, "held 1\nheld 4\n");
    script_free(script);
}

/* Nobody kept what had ended, or some of it was not shown: a node that is behind that is not believed. */
static void what_may_have_ended_is_not_shown(void **state)
{
    (void)state;
    struct script *script = script_online(1);
    post(script, 77, 3, 8);
    script->seen.forgot = 8;
    memset(script->seen.senders, 0, sizeof script->seen.senders);
    script_start(script, 1, 2);
    script_connected(script);
    script_ready(script, false, 0);
    script_clear(script);
    post(script, 77, 3, 0);
    script_expect(script, "");
    retract(script, 77, 3);
    script_expect(script, "");
    post(script, 77, 4, 9);
    post(script, 77, 5, 0);
    script_expect(script, "record 9\nheld 5\n");
    script_free(script);

    script = script_online(1);
    uint8_t skipped[1 + 1 + 4 + 16] = { WIRE_SKIPPED, 4, '#', 'o', 'p', 's' };
    script_message(script, skipped, sizeof skipped);
    post(script, 77, 3, 8);
    script_clear(script);
    post(script, 78, 3, 0);
    script_expect(script, "");
    post(script, 77, 4, 0);
    script_expect(script, "held 4\n");
    script_free(script);
}

static void malformed_held_messages_end_the_connection(void **state)
{
    (void)state;
    static const uint8_t short_held[] = { WIRE_HELD, 1, 2 };
    static const uint8_t long_retract[18] = { WIRE_RETRACT };
    static const uint8_t bad_record[] = { WIRE_HELD_RECORD, RECORD_POST };
    const struct slice messages[] = { { short_held, sizeof short_held },
                                      { long_retract, sizeof long_retract },
                                      { bad_record, sizeof bad_record } };
    for (size_t i = 0; i < 3; i++) {
        struct script *script = script_online(1);
        script_message(script, messages[i].data, messages[i].len);
        assert_false(client_view(script->client).online);
        script_free(script);
    }
}

static void a_run_that_is_content_with_held_ends(void **state)
{
    (void)state;
    for (int content = 0; content < 2; content++) {
        struct script *script = calloc(1, sizeof *script);
        script->held_ok = content;
        script->kept.device = 9;
        script->now_us = 1000000;
        script_start(script, 1, 1);
        script_connected(script);
        script_ready(script, true, 0);
        script_send(script, "a", "1");
        script_send(script, "b", "2");
        script_stop(script, script->now_us + 60000000);
        held(script, 1, digest_of(script, 1));
        assert_false(script->exited);
        held(script, 2, digest_of(script, 2));
        assert_int_equal(script->exited, content);
        if (content)
            assert_int_equal(script->exit_status, 0);
        script_free(script);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(held_is_told_once_and_is_not_the_end),
        cmocka_unit_test(what_is_held_is_offered_to_every_node_it_comes_to),
        cmocka_unit_test(a_held_text_that_is_rejected_comes_back),
        cmocka_unit_test(what_was_shown_as_committed_is_not_shown_as_held),
        cmocka_unit_test(each_is_shown_once_and_ends_once),
        cmocka_unit_test(the_next_node_shows_what_it_holds_but_for_what_has_ended),
        cmocka_unit_test(what_has_ended_is_remembered_by_the_next_run),
        cmocka_unit_test(what_may_have_ended_is_not_shown),
        cmocka_unit_test(malformed_held_messages_end_the_connection),
        cmocka_unit_test(a_run_that_is_content_with_held_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
