/* core/client: places, the window, answers, NACKs, conflicts; and exactly once against a model of a
 * cluster that forgets, refuses, crashes and is lied to. */
#include "core/random.h"
#include "tests/client_script.h"

static void a_post_is_put_before_it_is_sent_and_acked_once(void **state)
{
    (void)state;
    struct script *script = script_online(1);
    script_send(script, "a", "hi");
    script_expect(script, "> command 16 device 9 seq 1 beyond 1\n");
    assert_int_equal(script->saved_count, 1);
    script_answer(script, 1, CODE_OK, 7);
    script_expect(script, "ack a committed #ops index 7\n");
    assert_int_equal(script->saved_count, 0);
    script_answer(script, 1, CODE_OK, 7);
    script_expect(script, "");
    script_send(script, "b", "ho");
    script_expect(script, "> command 16 device 9 seq 2 beyond 1\n");
    assert_int_equal(script->kept.floor, 7);
    script_free(script);
}

static void ops_before_a_connection_are_queued_and_sent_in_order(void **state)
{
    (void)state;
    struct script *script = calloc(1, sizeof *script);
    script->kept.device = 9;
    script->now_us = 1000000;
    script_start(script, 1, 1);
    script_clear(script);
    script_send(script, "a", "1");
    script_op(script, (struct client_op) { .kind = CLIENT_ROOMS, .id = script_text("q") });
    script_send(script, "b", "2");
    script_expect(script, "ack a queued\nack b queued\n");
    script_connected(script);
    script_clear(script);
    script_ready(script, true, 0);
    script_expect(script, "ready node 1 resumed\n> command 16 device 9 seq 1 beyond 1\n"
                          "> command 16 device 9 seq 2 beyond 2\n> query 1 kind 2 \n");
    script_free(script);
}

static void the_outbox_is_synced_after_a_second_offline(void **state)
{
    (void)state;
    struct script *script = script_online(1);
    script_closed(script, CLIENT_END_REFUSED);
    script_send(script, "a", "1");
    script_clear(script);
    while (script->log_len == 0 || !strstr(script->log, "sync")) {
        script_clear(script);
        script_wake(script);
        if (script->dialled)
            script_closed(script, CLIENT_END_REFUSED);
    }
    assert_in_range(script->now_us, 2000000, 2100000);
    script_free(script);
}

static void malformed_ops_are_rejected_in_their_turn(void **state)
{
    (void)state;
    struct script *script = script_online(1);
    script_send(script, "good", "hi");
    script_send(script, "empty", "");
    script_op(script, (struct client_op) { .kind = CLIENT_JOIN,
                                           .id = script_text("noroom"),
                                           .room = script_text("") });
    script_op(script, (struct client_op) { .kind = CLIENT_JOIN,
                                           .id = script_text("badname"),
                                           .room = script_text("#A b") });
    script_op(script, (struct client_op) { .kind = CLIENT_REFUSED,
                                           .id = script_text("later"),
                                           .code = CODE_UNSUPPORTED });
    script_expect(script, "> command 16 device 9 seq 1 beyond 1\n");
    script_answer(script, 1, CODE_NOT_A_MEMBER, 4);
    script_expect(script, "ack good rejected not_a_member\nack empty rejected bad_request\n"
                          "ack noroom rejected bad_request\nack badname rejected bad_name\n"
                          "ack later rejected unsupported\n");
    assert_int_equal(script->saved_count, 0);
    script_free(script);
}

static void bad_queries_are_errors_and_good_ones_have_one_result(void **state)
{
    (void)state;
    struct script *script = script_online(1);
    struct client_op op = {
        .kind = CLIENT_HISTORY, .id = script_text("h"), .room = script_text("#ops"), .limit = 10
    };
    script_op(script, op);
    op.before = 3;
    op.has_after = true;
    op.id = script_text("both");
    script_op(script, op);
    op.has_after = false;
    op.room = script_text("#");
    op.id = script_text("name");
    script_op(script, op);
    op.room = script_text("#ops");
    op.limit = 201;
    op.id = script_text("limit");
    script_op(script, op);
    script_expect(script, "> query 1 kind 1 #ops\nerror both bad_request\nerror name bad_name\n"
                          "error limit bad_request\n");
    struct wire_result result = { .id = 1, .code = CODE_BUSY, .kind = QUERY_HISTORY };
    uint8_t message[64];
    script_message(script, message, wire_encode_result(&result, message, sizeof message));
    script_expect(script, "");
    script_tick(script, 200 * SCRIPT_MS);
    script_expect(script, "> query 1 kind 1 #ops\n");
    result.code = CODE_OK;
    result.flags = RESULT_MORE;
    script_message(script, message, wire_encode_result(&result, message, sizeof message));
    script_message(script, message, wire_encode_result(&result, message, sizeof message));
    script_expect(script, "result h more\n");
    script_free(script);
}

static void the_window_is_64_beyond_what_was_saved(void **state)
{
    (void)state;
    struct script *script = script_online(1);
    script->hold_saved = true;
    char id[16];
    for (int i = 1; i <= 70; i++) {
        snprintf(id, sizeof id, "i%d", i);
        script_send(script, id, "x");
    }
    assert_non_null(strstr(script->log, "seq 64 beyond 64\n"));
    assert_null(strstr(script->log, "seq 65"));
    script_clear(script);
    for (uint64_t seq = 1; seq <= 10; seq++)
        script_answer(script, seq, CODE_OK, seq + 1);
    assert_null(strstr(script->log, "seq 65"));
    script_clear(script);
    /* The caller has the acks and the file says so: now the node may forget, and the window moves.
     */
    struct client_event saved = { .kind = CLIENT_EVENT_SAVED, .saved_seq = 2 };
    script_step(script, &saved);
    script_expect(script, "> command 16 device 9 seq 65 beyond 63\n"
                          "> command 16 device 9 seq 66 beyond 64\n");
    script_free(script);
}

static void input_stops_when_the_outbox_is_full(void **state)
{
    (void)state;
    struct script *script = script_online(1);
    int taken = 0;
    while (client_has_room(script->client) && taken < 1000) {
        script_send(script, "x", "y");
        taken++;
    }
    assert_int_equal(taken, 256);
    script_answer(script, 1, CODE_OK, 2);
    assert_true(client_has_room(script->client));
    script_free(script);
}

static void never_final_codes_are_shown_once_and_tried_again(void **state)
{
    (void)state;
    struct script *script = script_online(1);
    script_send(script, "a", "1");
    script_send(script, "b", "2");
    script_clear(script);
    script_answer(script, 1, CODE_DISK_FULL, 0);
    script_u64(script, WIRE_NACK, 1);
    script_expect(script, "ack a queued disk_full\n");
    script_tick(script, 49 * SCRIPT_MS);
    script_expect(script, "");
    script_tick(script, 1 * SCRIPT_MS);
    script_expect(script, "> command 16 device 9 seq 1 beyond 1\n"
                          "> command 16 device 9 seq 2 beyond 2\n");
    script_answer(script, 1, CODE_DISK_FULL, 0);
    script_tick(script, 99 * SCRIPT_MS);
    script_expect(script, "");
    script_answer(script, 1, CODE_OK, 5);
    script_answer(script, 2, CODE_OK, 6);
    script_expect(script, "ack a committed #ops index 5\n> command 16 device 9 seq 2 beyond 2\n"
                          "ack b committed #ops index 6\n");
    script_free(script);
}

static void a_nack_rewinds_once(void **state)
{
    (void)state;
    struct script *script = script_online(1);
    script_send(script, "a", "1");
    script_send(script, "b", "2");
    script_send(script, "c", "3");
    script_answer(script, 1, CODE_OK, 5);
    script_clear(script);
    script_u64(script, WIRE_NACK, 2);
    script_expect(script, "> command 16 device 9 seq 2 beyond 1\n"
                          "> command 16 device 9 seq 3 beyond 2\n");
    script_u64(script, WIRE_NACK, 2);
    script_expect(script, "");
    script_tick(script, 50 * SCRIPT_MS); /* it meant it */
    script_expect(script, "> command 16 device 9 seq 2 beyond 1\n"
                          "> command 16 device 9 seq 3 beyond 2\n");
    script_u64(script, WIRE_NACK, 1000);
    script_u64(script, WIRE_NACK, 0);
    script_clear(script);
    script_answer(script, 2, CODE_OK, 6);
    script_answer(script, 3, CODE_OK, 7);
    assert_int_equal(script->saved_count, 0);
    script_free(script);
}

/* A node that held later ones for long answers those first; what it asked for twice is not forgotten for it. */
static void an_answer_does_not_end_the_wait_of_an_earlier_one(void **state)
{
    (void)state;
    struct script *script = script_online(1);
    script_send(script, "a", "1");
    script_send(script, "b", "2");
    script_send(script, "c", "3");
    script_u64(script, WIRE_NACK, 1);
    script_u64(script, WIRE_NACK, 1); /* it waits now, to go again */
    script_clear(script);
    script_answer(script, 3, CODE_OK, 7);
    script_expect(script, "> command 16 device 9 seq 1 beyond 1\n"
                          "> command 16 device 9 seq 2 beyond 2\n");
    script_answer(script, 1, CODE_OK, 8);
    script_answer(script, 2, CODE_OK, 9);
    assert_int_equal(script->saved_count, 0);
    script_free(script);
}

static void script_expect_voids(struct script *script, uint64_t first, uint64_t last)
{
    char expected[8192];
    size_t len = 0;
    for (uint64_t seq = first; seq <= last; seq++)
        len += (size_t)snprintf(expected + len, sizeof expected - len,
                                "> command %d device 9 seq %d beyond %d\n", COMMAND_VOID, (int)seq,
                                (int)(seq - first + 1));
    script_expect(script, expected);
}

/* Answered for good, and then the cluster was restored from before that: the seqs are given up, in
 * windows, and only then what waits goes on. */
static void what_a_restored_cluster_lost_is_given_up(void **state)
{
    (void)state;
    struct script *script = script_online(1);
    for (uint64_t seq = 1; seq <= 100; seq++) {
        script_send(script, "a", "1");
        script_answer(script, seq, CODE_OK, seq);
    }
    assert_int_equal(script->kept.done_seq, 100);
    script_send(script, "new", "2");
    script_clear(script);
    script_u64(script, WIRE_NACK, 5);
    script_expect_voids(script, 5, 68);
    script_u64(script, WIRE_NACK, 5); /* a companion; and what comes while it goes on */
    script_send(script, "newer", "3");
    script_expect(script, "");
    script_answer(script, 5, CODE_BUSY, 0);
    script_tick(script, 1000 * SCRIPT_MS);
    script_expect_voids(script, 5, 68);
    script_answer(script, 67, CODE_VOIDED, 1);
    script_expect(script, "");
    script_answer(script, 68, CODE_VOIDED, 2);
    script_expect_voids(script, 69, 100);
    script_u64(script, WIRE_NACK, 90); /* half of them were lost with a leader */
    script_expect_voids(script, 90, 100);
    script_answer(script, 100, CODE_VOIDED, 3);
    script_expect(script, "> command 16 device 9 seq 101 beyond 1\n"
                          "> command 16 device 9 seq 102 beyond 2\n");
    script_answer(script, 101, CODE_OK, 4);
    script_answer(script, 102, CODE_OK, 5);
    script_expect(script, "ack new committed #ops index 4\nack newer committed #ops index 5\n");
    script_free(script);
}

/* Three were answered, and the last two of them are given up now; one more waits. */
static struct script *two_of_three_lost(void)
{
    struct script *script = script_online(1);
    for (uint64_t seq = 1; seq <= 3; seq++) {
        script_send(script, "a", "1");
        script_answer(script, seq, CODE_OK, seq);
    }
    script_send(script, "new", "2");
    script_clear(script);
    script_u64(script, WIRE_NACK, 2);
    script_expect_voids(script, 2, 3);
    return script;
}

/* A node dropped what gives them up: a deletion from before it, which waited for a read there, said that they are
 * answered. It says nothing of that (seed 110025679). */
static void what_gives_up_goes_again_until_it_is_answered(void **state)
{
    (void)state;
    struct script *script = two_of_three_lost();
    script_tick(script, 1000 * SCRIPT_MS);
    script_expect_voids(script, 2, 3);
    script_answer(script, 3, CODE_VOIDED, 1);
    script_expect(script, "> command 16 device 9 seq 4 beyond 1\n");
    script_free(script);
}

/* Nor does a leader that came meanwhile lack them. */
static void a_leader_that_lacks_nothing_ends_the_giving_up(void **state)
{
    (void)state;
    struct script *script = two_of_three_lost();
    script_u64(script, WIRE_NACK, 4);
    script_tick(script, 50 * SCRIPT_MS);
    script_expect(script, "> command 16 device 9 seq 4 beyond 1\n");
    script_free(script);
}

/* The majority dies meanwhile: behind what gives them up, what waits is held. */
static void what_waits_behind_the_giving_up_is_offered_to_be_held(void **state)
{
    (void)state;
    struct script *script = two_of_three_lost();
    uint8_t held[17] = { WIRE_HELD };
    for (uint64_t seq = 2; seq <= 3; seq++) {
        script_expect(script, "");
        bytes_put_u64(held + 1, seq);
        script_message(script, held, sizeof held);
    }
    script_expect(script, "> command 16 device 9 seq 4 beyond 1\n");
    script_free(script);
}

static void everything_open_is_sent_again_after_a_reconnect(void **state)
{
    (void)state;
    struct script *script = script_online(2);
    for (int i = 0; i < 3; i++)
        script_send(script, "x", "y");
    script_answer(script, 1, CODE_OK, 3);
    script_closed(script, CLIENT_END_RESET);
    script_wake(script);
    script_connected(script);
    script_clear(script);
    script_ready(script, true, 2);
    script_expect(script, "ready node 2 resumed\n> command 16 device 9 seq 2 beyond 1\n"
                          "> command 16 device 9 seq 3 beyond 2\n");
    script_free(script);
}

static void what_is_left_goes_out_after_a_restart_under_the_old_ids(void **state)
{
    (void)state;
    struct script *script = script_online(1);
    script_send(script, "a", "1");
    script_send(script, "b", "2");
    script_answer(script, 1, CODE_OK, 3);
    script_start(script, 1, 2);
    script_connected(script);
    script_clear(script);
    script_ready(script, true, 1);
    script_send(script, "c", "3");
    script_expect(script, "ready node 1 resumed\n> command 16 device 9 seq 2 beyond 1\n"
                          "> command 16 device 9 seq 3 beyond 2\n");
    script_answer(script, 2, CODE_OK, 4);
    script_expect(script, "ack b committed #ops index 4\n");
    script_free(script);
}

static void a_conflict_makes_a_new_device_and_sends_under_it(void **state)
{
    (void)state;
    struct script *script = script_online(1);
    script_send(script, "a", "1");
    script_send(script, "b", "2");
    script_clear(script);
    script_answer(script, 1, CODE_CONFLICT, 0);
    script_expect(script, ""); /* b may still be taken under the old one */
    script_send(script, "c", "3");
    script_expect(script, "");
    script_answer(script, 2, CODE_OK, 9);
    script_expect(script, "close\n"
                          "offline: this device has to be replaced by a new one, queued 3\n"
                          "new device\n");
    /* A crash now finds the old device and all that was not answered. */
    assert_int_equal(script->saved_count, 3);
    script_new_device(script, 5);
    script_expect(script, "ack b committed #ops index 9\nsync\ndial 0\n");
    assert_int_equal(script->saved_count, 2);
    assert_string_equal(script->saved[0].id, "a");
    assert_int_equal(script->saved[0].seq, 1);
    assert_string_equal(script->saved[1].id, "c");
    assert_int_equal(script->saved[1].seq, 2);
    script_connected(script);
    script_salt_is(script, 2, 64 << 20);
    script_derived(script);
    script_enrolled(script, CODE_OK, 10);
    script_clear(script);
    script_ready(script, true, 0);
    script_expect(script, "ready node 1 resumed\n> command 16 device 10 seq 1 beyond 1\n"
                          "> command 16 device 10 seq 2 beyond 2\n");
    script_answer(script, 1, CODE_OK, 20);
    script_answer(script, 2, CODE_OK, 21);
    script_expect(script, "ack a committed #ops index 20\nack c committed #ops index 21\n");
    assert_int_equal(script->saved_count, 0);
    script_free(script);
}

/* The node knows more of this device than we do: an old copy of the state. */
static void an_old_copy_of_the_state_takes_a_new_device_at_once(void **state)
{
    (void)state;
    struct script *script = calloc(1, sizeof *script);
    script->kept.device = 9;
    script->kept.last_seq = script->kept.done_seq = 10;
    script->kept.last_number = 10;
    script->now_us = 1000000;
    script_start(script, 1, 1);
    script_send(script, "new", "x");
    script_connected(script);
    script_clear(script);
    script_ready(script, true, 50);
    script_expect(script, "ready node 1 resumed\nclose\n"
                          "offline: this device has to be replaced by a new one, queued 1\n"
                          "new device\n");
    script_new_device(script, 6);
    assert_int_equal(script->saved[0].seq, 1);
    script_free(script);
}

static void an_answer_to_other_content_is_a_conflict(void **state)
{
    (void)state;
    struct script *script = script_online(1);
    script_send(script, "a", "1");
    script->saved[0].body[3] ^= 1; /* so script_answer digests something else */
    script_clear(script);
    script_answer(script, 1, CODE_OK, 5);
    assert_true(script->device_asked);
    assert_null(strstr(script->log, "committed"));
    script_free(script);
}

/* --- Exactly once ----------------------------------------------------------------------------- */

enum { MODEL_TEXTS = 400, MODEL_DEVICES = 8 };

struct model_answer {
    uint64_t digest;
    uint64_t index;
    bool rejected;
};
struct model_device {
    uint8_t tag[PUBLIC_KEY_BYTES];
    uint64_t last;
    uint64_t done;
    struct model_answer answers[MODEL_TEXTS + 1];
};
struct model {
    struct random random;
    struct model_device devices[MODEL_DEVICES];
    uint32_t devices_count;
    uint64_t index;
    int applied[MODEL_TEXTS];
    int finals[MODEL_TEXTS];
    bool rejected[MODEL_TEXTS];
    int crashes;
    int order;
    uint8_t queue[4096][600]; /* messages to the client */
    size_t lens[4096];
    size_t begin;
    size_t end;
};

static void model_reply(struct model *model, const uint8_t *message, size_t len)
{
    assert_true(model->end < 4096);
    memcpy(model->queue[model->end], message, len);
    model->lens[model->end++] = len;
}

static void model_answer(struct model *model, const struct model_device *device, uint64_t seq,
                         uint64_t digest)
{
    const struct model_answer *kept = &device->answers[seq];
    struct wire_answer answer = { .seq = seq, .digest = kept->digest, .index = kept->index };
    answer.code = kept->rejected ? CODE_NOT_A_MEMBER : CODE_OK;
    if (seq <= device->done) {
        answer.code = CODE_OK; /* forgotten */
        answer.digest = digest;
        answer.index = 0;
    } else if (kept->digest != digest) {
        answer.code = CODE_CONFLICT;
    }
    uint8_t message[128];
    model_reply(model, message, wire_encode_answer(&answer, message, sizeof message));
}

static void model_command(struct model *model, struct model_device *device, struct slice message)
{
    struct command command;
    assert_true(command_decode(&command, (struct slice) { message.data + 1, message.len - 1 }));
    uint64_t digest = command_digest(&command, &script_crypto);
    uint64_t done = command.seq - command.beyond;
    if (done > device->done)
        device->done = done;
    assert_true(device->done <= device->last);
    if (command.seq <= device->last) {
        model_answer(model, device, command.seq, digest);
        return;
    }
    if (command.seq > device->last + 1) {
        uint8_t nack[9] = { WIRE_NACK };
        bytes_put_u64(nack + 1, device->last + 1);
        model_reply(model, nack, sizeof nack);
        return;
    }
    if (random_below(&model->random, 20) == 0) {
        struct wire_answer answer = { .seq = command.seq, .code = CODE_BUSY };
        uint8_t busy[128];
        model_reply(model, busy, wire_encode_answer(&answer, busy, sizeof busy));
        return;
    }
    if (random_below(&model->random, 30) == 0)
        return; /* lost with a leader; a NACK or a reconnect will tell */
    char digits[8] = { 0 };
    memcpy(digits, command.text.data, command.text.len);
    int text = atoi(digits);
    device->last++;
    struct model_answer *kept = &device->answers[device->last];
    kept->digest = digest;
    kept->index = ++model->index;
    kept->rejected = text % 7 == 0;
    if (!kept->rejected)
        model->applied[text]++;
    model_answer(model, device, command.seq, digest);
}

static struct model_device *model_device_of(struct model *model, const uint8_t *key)
{
    for (uint32_t i = 0; i < model->devices_count; i++)
        if (memcmp(model->devices[i].tag, key, PUBLIC_KEY_BYTES) == 0)
            return &model->devices[i];
    assert_true(model->devices_count < MODEL_DEVICES);
    struct model_device *device = &model->devices[model->devices_count++];
    memcpy(device->tag, key, PUBLIC_KEY_BYTES);
    return device;
}

static void model_transmit(struct script *script, struct slice message)
{
    struct model *model = script->owner;
    if (message.data[0] == WIRE_COMMAND)
        model_command(model, model_device_of(model, script->kept.secret_key + 32), message);
}

static void model_output(struct script *script, const struct client_output *output)
{
    struct model *model = script->owner;
    if (output->kind != CLIENT_OUT_ACK || output->ack.status < CLIENT_COMMITTED)
        return;
    int text = atoi((const char *)output->ack.id.data);
    model->finals[text]++;
    model->rejected[text] = output->ack.status == CLIENT_REJECTED;
    if (model->rejected[text])
        assert_int_equal(output->ack.code, CODE_NOT_A_MEMBER);
}

static void model_login(struct script *script, struct model *model)
{
    script_clear(script);
    script_connected(script);
    model->begin = model->end = 0;
    if (strstr(script->log, "> salt"))
        script_salt_is(script, 2, 64 << 20);
    if (script->derive_asked)
        script_derived(script);
    struct model_device *device = model_device_of(model, script->kept.secret_key + 32);
    if (script->kept.device == 0)
        script_enrolled(script, CODE_OK, (uint32_t)(device - model->devices) + 1);
    script_ready(script, true, device->last);
}

/* One thing that may happen. */
static void model_turn(struct script *script, struct model *model, int *next)
{
    uint64_t dice = random_below(&model->random, 100);
    if (script->device_asked) {
        script_new_device(script, (uint8_t)(20 + model->devices_count));
    } else if (dice < 30 && *next < MODEL_TEXTS && client_has_room(script->client) &&
               script->saved_count < 200) {
        char text[16];
        snprintf(text, sizeof text, "%d", (*next)++);
        script_send(script, text, text);
    } else if (dice < 31) {
        model->crashes++;
        script_start(script, 3, random_u64(&model->random));
    } else if (dice < 33 && script->connected) {
        script_closed(script, CLIENT_END_RESET);
    } else if (dice < 90 && script->connected && model->begin < model->end) {
        size_t at = model->begin++;
        script_message(script, model->queue[at], model->lens[at]);
    } else if (script->dialled) {
        if (random_below(&model->random, 3) == 0)
            script_closed(script, CLIENT_END_REFUSED);
        else
            model_login(script, model);
    } else if (script->wake_at_us != UINT64_MAX && dice >= 90) {
        script_wake(script);
    }
    if (!script->connected)
        model->begin = model->end = 0;
    if (model->begin == model->end)
        model->begin = model->end = 0;
}

static void every_op_ends_once_whatever_happens(void **state)
{
    (void)state;
    static struct model model;
    int renewed = 0;
    int crashes = 0;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        memset(&model, 0, sizeof model);
        random_seed(&model.random, seed);
        struct script *script = calloc(1, sizeof *script);
        memset(script->kept.secret_key, 1, SECRET_KEY_BYTES);
        script->owner = &model;
        script->on_transmit = model_transmit;
        script->on_output = model_output;
        script->now_us = 1000000;
        script_start(script, 3, seed);
        int next = 1;
        long turns = 0;
        while (next < MODEL_TEXTS || client_view(script->client).queued > 0) {
            model_turn(script, &model, &next);
            /* Once, another copy of the state sends something of its own. */
            if (seed % 3 == 0 && next == 100 && model.devices_count == 1) {
                struct model_device *device = &model.devices[0];
                device->last++;
                device->answers[device->last] = (struct model_answer) { 12345, ++model.index, 0 };
                next++;
                model.finals[100] = 1;
                model.applied[100] = 1;
            }
            assert_true(++turns < 200000);
        }
        for (int text = 1; text < MODEL_TEXTS; text++) {
            bool rejected = text % 7 == 0 && text != 100;
            assert_int_equal(model.applied[text], rejected ? 0 : 1);
            assert_int_equal(model.finals[text], 1);
            assert_int_equal(model.rejected[text], rejected);
        }
        assert_int_equal(script->saved_count, 0);
        renewed += model.devices_count > 1;
        crashes += model.crashes;
        script_free(script);
    }
    /* The hard cases were reached. */
    assert_true(renewed >= 15);
    assert_true(crashes > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_post_is_put_before_it_is_sent_and_acked_once),
        cmocka_unit_test(ops_before_a_connection_are_queued_and_sent_in_order),
        cmocka_unit_test(the_outbox_is_synced_after_a_second_offline),
        cmocka_unit_test(malformed_ops_are_rejected_in_their_turn),
        cmocka_unit_test(bad_queries_are_errors_and_good_ones_have_one_result),
        cmocka_unit_test(the_window_is_64_beyond_what_was_saved),
        cmocka_unit_test(input_stops_when_the_outbox_is_full),
        cmocka_unit_test(never_final_codes_are_shown_once_and_tried_again),
        cmocka_unit_test(a_nack_rewinds_once),
        cmocka_unit_test(an_answer_does_not_end_the_wait_of_an_earlier_one),
        cmocka_unit_test(what_a_restored_cluster_lost_is_given_up),
        cmocka_unit_test(what_gives_up_goes_again_until_it_is_answered),
        cmocka_unit_test(a_leader_that_lacks_nothing_ends_the_giving_up),
        cmocka_unit_test(what_waits_behind_the_giving_up_is_offered_to_be_held),
        cmocka_unit_test(everything_open_is_sent_again_after_a_reconnect),
        cmocka_unit_test(what_is_left_goes_out_after_a_restart_under_the_old_ids),
        cmocka_unit_test(a_conflict_makes_a_new_device_and_sends_under_it),
        cmocka_unit_test(an_old_copy_of_the_state_takes_a_new_device_at_once),
        cmocka_unit_test(an_answer_to_other_content_is_a_conflict),
        cmocka_unit_test(every_op_ends_once_whatever_happens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
