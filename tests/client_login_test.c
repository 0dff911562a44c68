/* core/client: login paths, the server list, back-off, keep-alive, quorum, quitting. */
#include "tests/client_script.h"

static void first_run_derives_enrols_and_logs_in(void **state)
{
    (void)state;
    struct script *script = script_new(1);
    script_expect(script, "dial 0\n");
    script_connected(script);
    script_expect(script, "> salt alice\n");
    script_salt_is(script, 2, 64 << 20);
    script_expect(script, "derive 2\n");
    script_derived(script);
    script_expect(script, "> enrol alice token 0\n");
    script_enrolled(script, CODE_OK, 77);
    script_expect(script, "enrolled 77\n> login resume 0 floor 5\n");
    script_ready(script, true, 0);
    script_expect(script, "ready node 1\n");
    assert_int_equal(script->kept.device, 77);
    script_free(script);
}

static void enrolled_device_logs_in_where_it_left_off(void **state)
{
    (void)state;
    struct script *script = calloc(1, sizeof *script);
    script->kept.device = 3;
    script->kept.cursor = 40;
    script->kept.floor = 50;
    script->now_us = 1000000;
    script_start(script, 1, 1);
    script_connected(script);
    script_expect(script, "dial 0\n> login resume 40 floor 50\n");
    script_ready(script, true, 0);
    script_expect(script, "ready node 1 resumed\n");
    script_free(script);
}

static void weak_or_absurd_hashing_is_refused(void **state)
{
    (void)state;
    static const struct {
        uint32_t passes;
        uint64_t memory_bytes;
    } bad[] = { { 1, 64 << 20 }, { 2, 63 << 20 }, { 1000, 64 << 20 }, { 2, 1ull << 40 } };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct script *script = script_new(1);
        script_connected(script);
        script_clear(script);
        script_salt_is(script, bad[i].passes, bad[i].memory_bytes);
        assert_false(script->derive_asked);
        assert_false(script->connected);
        script_free(script);
    }
}

static void wrong_password_ends_with_4(void **state)
{
    (void)state;
    struct script *script = script_new(1);
    script_send(script, "a", "hi");
    script_connected(script);
    script_salt_is(script, 2, 64 << 20);
    script_derived(script);
    script_clear(script);
    script_enrolled(script, CODE_BAD_PASSWORD, 0);
    script_expect(script, "error  bad_password\nclose\nexit 4 left 1\n");
    assert_int_equal(script->saved_count, 1);
    script_free(script);
}

static void a_forming_cluster_is_tried_again(void **state)
{
    (void)state;
    struct script *script = script_new(1);
    script_connected(script);
    script_salt_is(script, 2, 64 << 20);
    script_derived(script);
    script_clear(script);
    script_enrolled(script, CODE_FORMING, 0);
    assert_non_null(strstr(script->log, "close\noffline: "));
    script_clear(script);
    script_wake(script);
    script_connected(script);
    /* The key is derived once. */
    script_expect(script, "dial 0\n> enrol alice token 0\n");
    script_free(script);
}

static void connection_lost_while_deriving_goes_on_with_the_key(void **state)
{
    (void)state;
    struct script *script = script_new(2);
    script_connected(script);
    script_salt_is(script, 2, 64 << 20);
    script_closed(script, CLIENT_END_RESET);
    script_clear(script);
    script_derived(script);
    script_tick(script, 60 * SCRIPT_MS);
    script_connected(script);
    assert_non_null(strstr(script->log, "> enrol alice"));
    script_free(script);
}

static void lost_connection_goes_to_the_next_server_at_once(void **state)
{
    (void)state;
    struct script *script = script_online(3);
    script_tick(script, 1500 * SCRIPT_MS);
    script_closed(script, CLIENT_END_LOST);
    script_expect(script, "offline: connection lost, queued 0\n");
    assert_true(script->wake_at_us <= script->now_us + 50 * SCRIPT_MS);
    script_wake(script);
    script_expect(script, "dial 1\n");
    script_closed(script, CLIENT_END_REFUSED);
    script_expect(script, "dial 2\n");
    script_connected(script);
    script_clear(script);
    script_ready(script, true, 0);
    script_expect(script, "ready node 3 resumed\n");
    script_free(script);
}

/* The waits between rounds: within 50, 100, 200 ... 3000 ms, at least half of it. */
static void rounds_in_vain_back_off(void **state)
{
    (void)state;
    struct script *script = script_new(2);
    uint64_t expected = 50 * SCRIPT_MS;
    for (int round = 0; round < 10; round++) {
        script_closed(script, CLIENT_END_REFUSED);
        assert_true(script->dialled); /* the second server: at once */
        script_closed(script, CLIENT_END_REFUSED);
        assert_false(script->dialled);
        uint64_t wait = script->wake_at_us - script->now_us;
        assert_in_range(wait, expected / 2, expected);
        script_wake(script);
        assert_true(script->dialled);
        expected = expected * 2 > 3000 * SCRIPT_MS ? 3000 * SCRIPT_MS : expected * 2;
    }
    /* Said once. */
    char *first = strstr(script->log, "offline");
    assert_non_null(first);
    assert_null(strstr(first + 1, "offline"));
    assert_int_equal(script->dial_timeout_us, 5000 * SCRIPT_MS);
    script_free(script);
}

static void a_silent_node_is_asked_and_then_left(void **state)
{
    (void)state;
    struct script *script = script_online(2);
    script_tick(script, 1999 * SCRIPT_MS);
    script_expect(script, "");
    script_tick(script, 1 * SCRIPT_MS);
    script_expect(script, "> ping\n");
    script_u64(script, WIRE_PONG, 1);
    script_tick(script, 1999 * SCRIPT_MS);
    script_expect(script, "");
    script_tick(script, 2 * SCRIPT_MS);
    script_tick(script, 1990 * SCRIPT_MS);
    script_expect(script, "> ping\n");
    script_tick(script, 20 * SCRIPT_MS);
    script_expect(script, "close\noffline: the node does not answer, queued 0\n");
    script_tick(script, 50 * SCRIPT_MS);
    script_expect(script, "dial 1\n");
    script_free(script);
}

static void a_node_that_is_silent_in_login_is_left(void **state)
{
    (void)state;
    struct script *script = script_new(2);
    script_connected(script);
    script_clear(script);
    script_tick(script, 4000 * SCRIPT_MS);
    script_tick(script, 1);
    script_expect(script, "close\ndial 1\n");
    script_free(script);
}

static void goaway_and_unavailable_go_on(void **state)
{
    (void)state;
    struct script *script = script_online(3);
    script_tick(script, 1500 * SCRIPT_MS);
    script_message(script, (uint8_t[]) { WIRE_GOAWAY }, 1);
    script_expect(script, "close\noffline: the node is stopping, queued 0\n");
    script_wake(script);
    script_connected(script);
    script_clear(script);
    script_code(script, WIRE_REFUSED, CODE_UNAVAILABLE);
    script_expect(script, "close\ndial 2\n");
    script_free(script);
}

static void the_first_with_a_quorum_is_kept(void **state)
{
    (void)state;
    struct script *script = calloc(1, sizeof *script);
    script->kept.device = 9;
    script->now_us = 1000000;
    script_start(script, 3, 1);
    script_connected(script);
    script_clear(script);
    script_ready(script, false, 0);
    script_expect(script, "close\ndial 1\n");
    assert_int_equal(script->dial_timeout_us, 1000 * SCRIPT_MS);
    script_connected(script);
    script_ready(script, true, 0);
    script_expect(script, "> login resume 0 floor 0\nready node 2 resumed\n");
    script_free(script);
}

static void with_no_quorum_anywhere_it_stays(void **state)
{
    (void)state;
    struct script *script = calloc(1, sizeof *script);
    script->kept.device = 9;
    script->now_us = 1000000;
    script_start(script, 3, 1);
    script_closed(script, CLIENT_END_REFUSED); /* 0 is down */
    script_connected(script);
    script_clear(script);
    script_ready(script, false, 0); /* 1 has none */
    script_expect(script, "close\ndial 2\n");
    script_closed(script, CLIENT_END_TIMEOUT);
    script_expect(script, "dial 0\n");
    script_closed(script, CLIENT_END_REFUSED);
    script_expect(script, "dial 1\n");
    script_connected(script);
    script_clear(script);
    script_ready(script, false, 0);
    script_expect(script, "ready node 2 no quorum resumed\n");
    /* It looks again after a while, and once a quorum is back, not any more. */
    script_tick(script, 1000 * SCRIPT_MS);
    uint8_t message[64];
    struct wire_cluster cluster = { .node = 2, .leader = 1, .quorum = true };
    size_t len = wire_encode_cluster(&cluster, message, sizeof message);
    script_message(script, message, len);
    script_expect(script, "cluster quorum 1\n");
    cluster.quorum = false;
    len = wire_encode_cluster(&cluster, message, sizeof message);
    script_message(script, message, len);
    script_expect(script, "cluster quorum 0\n");
    script_tick(script, 999 * SCRIPT_MS);
    script_expect(script, "");
    script_tick(script, 1 * SCRIPT_MS);
    script_expect(script, "close\noffline: the node has no quorum, queued 0\n");
    script_tick(script, 1);
    script_expect(script, "dial 2\n");
    script_free(script);
}

static void nonsense_from_a_node_ends_the_connection(void **state)
{
    (void)state;
    static const uint8_t messages[][3] = {
        { 0, 0, 0 }, { WIRE_ANSWER, 1, 2 },  { WIRE_RECORD, 1, 2 }, { WIRE_CLUSTER, 0, 0 },
        { 255 },     { WIRE_SKIPPED, 9, 1 }, { WIRE_NACK, 0, 0 },   { WIRE_RESULT, 0, 0 },
    };
    for (size_t i = 0; i < sizeof messages / sizeof messages[0]; i++) {
        struct script *script = script_online(1);
        script_message(script, messages[i], 3);
        assert_false(script->connected);
        script_free(script);
    }
}

static void a_revoked_device_is_replaced(void **state)
{
    (void)state;
    struct script *script = script_online(1);
    script_send(script, "sent", "one");
    script_closed(script, CLIENT_END_LOST);
    script_send(script, "unsent", "two");
    script_wake(script);
    script_connected(script);
    script_clear(script);
    script_code(script, WIRE_REFUSED, CODE_REVOKED);
    script_expect(script, "ack sent rejected revoked\nclose\nnew device\n");
    script_new_device(script, 3);
    script_expect(script, "sync\ndial 0\n");
    assert_int_equal(script->saved_count, 1);
    assert_string_equal(script->saved[0].id, "unsent");
    assert_int_equal(script->saved[0].seq, 1);
    script_connected(script);
    script_expect(script, "> salt alice\n");
    script_free(script);
}

static void quit_waits_then_gives_up(void **state)
{
    (void)state;
    struct script *script = script_online(1);
    script_send(script, "a", "one");
    script_clear(script);
    script_stop(script, script->now_us + 30000 * SCRIPT_MS);
    script_expect(script, "");
    script_answer(script, 1, CODE_OK, 8);
    script_expect(script, "ack a committed #ops index 8\nclose\nexit 0 left 0\n");
    script_free(script);

    script = script_online(1);
    script_send(script, "a", "one");
    script_clear(script);
    script_stop(script, script->now_us + 1000 * SCRIPT_MS);
    script_wake(script);
    script_expect(script, "sync\nclose\nexit 3 left 1\n");
    script_free(script);

    script = script_online(1);
    script_stop(script, 0);
    script_expect(script, "close\nexit 0 left 0\n");
    script_free(script);
}

/* Who never got in cannot say that all is done. */
static void quit_before_any_login_is_unreachable(void **state)
{
    (void)state;
    struct script *script = script_new(1);
    script_stop(script, script->now_us + 1000 * SCRIPT_MS);
    assert_false(script->exited);
    script_closed(script, CLIENT_END_REFUSED);
    while (!script->exited) {
        script_wake(script);
        if (script->dialled)
            script_closed(script, CLIENT_END_REFUSED);
    }
    assert_int_equal(script->exit_status, 3);
    script_free(script);
}

static void messages_never_go_backwards(void **state)
{
    (void)state;
    struct script *script = script_online(1);
    static const uint64_t indexes[] = { 5, 6, 6, 3, 9, 8, 10 };
    for (size_t i = 0; i < sizeof indexes / sizeof indexes[0]; i++) {
        struct wire_record record = { .kind = RECORD_POST, .index = indexes[i] };
        uint8_t message[128];
        size_t len = wire_encode_record(&record, message, sizeof message);
        script_message(script, message, len);
    }
    script_expect(script, "record 5\nrecord 6\nrecord 9\nrecord 10\n");
    assert_int_equal(script->kept.cursor, 10);
    script_free(script);
}

/* Another cluster with the same key: a restored one goes on where the histories part, and says so once. */
static void what_was_seen_of_a_cluster_that_is_gone_is_not_waited_for(void **state)
{
    (void)state;
    struct script *script = calloc(1, sizeof *script);
    script->kept.device = 3;
    script->kept.cursor = 40;
    script->kept.floor = 50;
    script->now_us = 1000000;
    script_start(script, 1, 1);
    script_connected(script);
    script_ready_of(script, true, 0, 7, UINT64_MAX);
    script_expect(script, "dial 0\n> login resume 40 floor 50\nready node 1 resumed\n");
    assert_int_equal(script->kept.cluster[0], 7);
    assert_int_equal(script->kept.cursor, 40);
    script_closed(script, CLIENT_END_RESET);
    script_wake(script);
    script_connected(script);
    script_clear(script);
    script_ready_of(script, true, 0, 8, 30);
    script_expect(script, "ready node 1 restored\n");
    assert_int_equal(script->kept.cluster[0], 8);
    assert_int_equal(script->kept.cursor, 30);
    assert_int_equal(script->kept.floor, 30);
    struct wire_record record = { .kind = RECORD_POST, .index = 31 };
    uint8_t message[128];
    script_message(script, message, wire_encode_record(&record, message, sizeof message));
    script_expect(script, "record 31\n");
    /* The next run knows it already. */
    script_start(script, 1, 2);
    script_connected(script);
    script_clear(script);
    script_ready_of(script, true, 0, 8, UINT64_MAX);
    script_expect(script, "ready node 1 resumed\n");
    script_free(script);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_run_derives_enrols_and_logs_in),
        cmocka_unit_test(enrolled_device_logs_in_where_it_left_off),
        cmocka_unit_test(weak_or_absurd_hashing_is_refused),
        cmocka_unit_test(wrong_password_ends_with_4),
        cmocka_unit_test(a_forming_cluster_is_tried_again),
        cmocka_unit_test(connection_lost_while_deriving_goes_on_with_the_key),
        cmocka_unit_test(lost_connection_goes_to_the_next_server_at_once),
        cmocka_unit_test(rounds_in_vain_back_off),
        cmocka_unit_test(a_silent_node_is_asked_and_then_left),
        cmocka_unit_test(a_node_that_is_silent_in_login_is_left),
        cmocka_unit_test(goaway_and_unavailable_go_on),
        cmocka_unit_test(the_first_with_a_quorum_is_kept),
        cmocka_unit_test(with_no_quorum_anywhere_it_stays),
        cmocka_unit_test(nonsense_from_a_node_ends_the_connection),
        cmocka_unit_test(a_revoked_device_is_replaced),
        cmocka_unit_test(quit_waits_then_gives_up),
        cmocka_unit_test(quit_before_any_login_is_unreachable),
        cmocka_unit_test(messages_never_go_backwards),
        cmocka_unit_test(what_was_seen_of_a_cluster_that_is_gone_is_not_waited_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
