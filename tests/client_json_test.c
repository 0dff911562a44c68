/* cmd/client: JSON lines in and out, hostile ones too; the filter in front of a terminal. */
#include "cmd/client/client_json.h"
#include "cmd/client/json.h"
#include "core/chat/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static uint8_t scratch[2 * LIMIT_LINE_BYTES];
static struct text_out out;

static struct slice words(const char *text)
{
    return (struct slice) { (const uint8_t *)text, strlen(text) };
}

static void assert_slice(struct slice got, const char *expected)
{
    assert_int_equal(got.len, strlen(expected));
    assert_memory_equal(got.data, expected, got.len);
}

static void assert_out(const char *expected)
{
    text_add(&out, "", 1);
    assert_string_equal(out.data + out.start, expected);
    out.start = out.end = 0;
}

static enum json_line read_op(const char *line, struct client_op *op)
{
    out.start = out.end = 0;
    /* An exact copy on the heap: reading one byte too far is seen. */
    size_t len = strlen(line);
    static uint8_t *copy;
    free(copy);
    copy = malloc(len ? len : 1);
    memcpy(copy, line, len);
    return json_read_op((struct slice) { copy, len }, scratch, op, &out);
}

static void ops_are_read(void **state)
{
    (void)state;
    struct client_op op;
    assert_int_equal(
        read_op("{\"op\":\"send\",\"id\":\"c1\",\"room\":\"#ops\",\"text\":\"hi\"}", &op),
        JSON_LINE_OP);
    assert_int_equal(op.kind, CLIENT_SEND);
    assert_slice(op.id, "\"c1\"");
    assert_slice(op.room, "#ops");
    assert_slice(op.text, "hi");

    assert_int_equal(
        read_op(
            " { \"text\" : \"a\\u00e9\\ud83d\\ude00\\n\" , \"to\":\"bob\",\"x\":[{\"y\":[]},{}],"
            "\"id\":\"\\u0041\",\"op\":\"send\",\"reply_to\":7 } \r",
            &op),
        JSON_LINE_OP);
    assert_slice(op.id, "\"\\u0041\"");
    assert_slice(op.room, "@bob");
    assert_slice(op.text, "a\xc3\xa9\xf0\x9f\x98\x80\n");
    assert_int_equal(op.reply_to, 7);

    assert_int_equal(
        read_op("{\"op\":\"create\",\"id\":\"1\",\"room\":\"#a\",\"topic\":\"t\",\"private\":true}",
                &op),
        JSON_LINE_OP);
    assert_int_equal(op.kind, CLIENT_CREATE);
    assert_true(op.is_private);
    assert_slice(op.text, "t");

    assert_int_equal(read_op("{\"op\":\"history\",\"id\":\"1\",\"room\":\"#a\",\"after\":0}", &op),
                     JSON_LINE_OP);
    assert_true(op.has_after);
    assert_int_equal(op.after, 0);
    assert_int_equal(op.limit, 200);
    assert_int_equal(
        read_op("{\"op\":\"history\",\"id\":\"1\",\"room\":\"#a\",\"before\":9,\"limit\":3}", &op),
        JSON_LINE_OP);
    assert_int_equal(op.before, 9);
    assert_int_equal(op.limit, 3);
    assert_int_equal(read_op("{\"op\":\"quit\"}", &op), JSON_LINE_QUIT);
    assert_int_equal(read_op("{\"op\":\"typing\",\"room\":\"#a\"}", &op), JSON_LINE_NOTHING);
    /* The last of a name counts. */
    assert_int_equal(read_op("{\"op\":\"quit\",\"op\":\"rooms\",\"id\":\"r\"}", &op), JSON_LINE_OP);
    assert_int_equal(op.kind, CLIENT_ROOMS);
}

static void what_is_no_op_is_an_error_with_id_null(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "",
        " ",
        "{",
        "}",
        "[]",
        "null",
        "\"x\"",
        "17",
        "garbage",
        "{}",
        "{\"id\":\"x\"}",
        "{\"op\":17,\"id\":\"x\"}",
        "{\"op\":\"rooms\",\"id\":17}",
        "{\"op\":\"rooms\",\"id\":[]}",
        "{\"op\":\"rooms\" \"id\":\"x\"}",
        "{\"op\":\"rooms\",}",
        "{,\"op\":\"rooms\"}",
        "{\"op\":\"rooms\"}}",
        "{\"op\":\"rooms\"} x",
        "{\"op\":\"rooms\"",
        "{\"op\":\"ro",
        "{\"op\":\"rooms\",\"a\":01}",
        "{\"op\":\"rooms\",\"a\":1.}",
        "{\"op\":\"rooms\",\"a\":-}",
        "{\"op\":\"rooms\",\"a\":1e}",
        "{\"op\":\"rooms\",\"a\":+1}",
        "{\"op\":\"rooms\",\"a\":.5}",
        "{\"op\":\"rooms\",\"a\":tru}",
        "{\"op\":\"rooms\",\"a\":nul}",
        "{\"op\":\"rooms\",\"a\":NaN}",
        "{\"op\":\"rooms\",\"a\":\"\\x\"}",
        "{\"op\":\"rooms\",\"a\":\"\\u12g4\"}",
        "{\"op\":\"rooms\",\"a\":\"\\u12\"}",
        "{\"op\":\"rooms\",\"a\":\"\t\"}",
        "{\"op\":\"rooms\",\"a\":[1,]}",
        "{\"op\":\"rooms\",\"a\":[,1]}",
        "{\"op\":\"rooms\",\"a\":[1 2]}",
        "{\"op\":\"rooms\",\"a\":{\"b\"}}",
        "{\"op\":\"rooms\",\"a\":{\"b\":1,}}",
        "{\"op\":\"rooms\",\"a\":[}",
        "{\"op\":\"rooms\",\"a\":{1:2}}",
        "{'op':'rooms'}",
        "{\"op\":\"rooms\",\"id\":\"\xff\"}",
        "{\"op\":\"rooms\",\"a\":\"x\\",
    };
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        struct client_op op;
        if (read_op(lines[i], &op) != JSON_LINE_ERROR)
            fail_msg("taken: %s", lines[i]);
        assert_non_null(
            strstr(out.data, "{\"event\":\"error\",\"id\":null,\"code\":\"bad_request\""));
    }
    char deep[400] = "{\"op\":\"rooms\",\"id\":\"x\",\"a\":";
    for (int i = 0; i < 200; i++)
        strcat(deep, "[");
    struct client_op op;
    assert_int_equal(read_op(deep, &op), JSON_LINE_ERROR);
}

static void a_reply_names_a_seq_or_a_uid(void **state)
{
    (void)state;
    struct client_op op;
    assert_int_equal(read_op("{\"op\":\"send\",\"id\":\"x\",\"room\":\"#a\",\"text\":\"a\","
                             "\"reply_to\":\"00ff00000000000a-18446744073709551615\"}",
                             &op),
                     JSON_LINE_OP);
    assert_int_equal(op.kind, CLIENT_SEND);
    assert_true(op.reply_tag == 0x00ff00000000000a);
    assert_true(op.reply_to == UINT64_MAX);
    static const char *const wrong[] = {
        "00ff00000000000a-18446744073709551616",
        "00ff00000000000a-",
        "00ff00000000000a-01",
        "00FF00000000000a-1",
        "00ff00000000000a1",
        "0000000000000000-1",
        "00ff00000000000a-1x",
        "",
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        char line[200];
        snprintf(
            line, sizeof line,
            "{\"op\":\"send\",\"id\":\"x\",\"room\":\"#a\",\"text\":\"a\",\"reply_to\":\"%s\"}",
            wrong[i]);
        assert_int_equal(read_op(line, &op), JSON_LINE_OP);
        assert_int_equal(op.kind, CLIENT_REFUSED);
        assert_int_equal(op.code, CODE_BAD_REQUEST);
    }
}

static void bad_fields_reject_acks_and_error_results(void **state)
{
    (void)state;
    static const struct {
        const char *line;
        enum chat_code code;
    } rejected[] = {
        { "{\"op\":\"send\",\"id\":\"x\",\"room\":7,\"text\":\"a\"}", CODE_BAD_REQUEST },
        { "{\"op\":\"send\",\"id\":\"x\",\"room\":\"#a\",\"to\":\"b\",\"text\":\"a\"}",
          CODE_BAD_REQUEST },
        { "{\"op\":\"send\",\"id\":\"x\",\"room\":\"#a\",\"text\":[]}", CODE_BAD_REQUEST },
        { "{\"op\":\"send\",\"id\":\"x\",\"room\":\"#a\",\"text\":\"a\",\"reply_to\":-1}",
          CODE_BAD_REQUEST },
        { "{\"op\":\"send\",\"id\":\"x\",\"room\":\"#a\",\"text\":\"a\",\"reply_to\":\"u-1\"}",
          CODE_BAD_REQUEST },
        { "{\"op\":\"read\",\"id\":\"x\",\"room\":\"#a\"}", CODE_BAD_REQUEST },
        { "{\"op\":\"topic\",\"id\":\"x\",\"room\":\"#a\"}", CODE_BAD_REQUEST },
        { "{\"op\":\"create\",\"id\":\"x\",\"room\":\"#a\",\"private\":1}", CODE_BAD_REQUEST },
        { "{\"op\":\"edit\",\"id\":\"x\"}", CODE_UNSUPPORTED },
        { "{\"op\":\"kick\",\"id\":\"x\"}", CODE_UNSUPPORTED },
        { "{\"op\":\"revoke\",\"id\":\"x\"}", CODE_UNSUPPORTED },
    };
    struct client_op op;
    for (size_t i = 0; i < sizeof rejected / sizeof rejected[0]; i++) {
        assert_int_equal(read_op(rejected[i].line, &op), JSON_LINE_OP);
        assert_int_equal(op.kind, CLIENT_REFUSED);
        assert_int_equal(op.code, rejected[i].code);
        assert_slice(op.id, "\"x\"");
    }
    static const char *const errors[] = {
        "{\"op\":\"history\",\"id\":\"x\",\"room\":\"#a\",\"before\":1,\"after\":1}",
        "{\"op\":\"history\",\"id\":\"x\",\"room\":\"#a\",\"before\":0}",
        "{\"op\":\"history\",\"id\":\"x\",\"room\":\"#a\",\"limit\":0}",
        "{\"op\":\"history\",\"id\":\"x\",\"room\":\"#a\",\"limit\":1.5}",
        "{\"op\":\"search\",\"id\":\"x\",\"query\":\"q\"}",
        "{\"op\":\"what\",\"id\":\"x\"}",
    };
    for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++) {
        assert_int_equal(read_op(errors[i], &op), JSON_LINE_ERROR);
        assert_non_null(strstr(out.data, "\"id\":\"x\",\"code\":\""));
    }
}

/* NUL and lone surrogates reach the core as text that its check refuses. */
static void broken_text_is_seen_by_the_core(void **state)
{
    (void)state;
    static const char *const texts[] = { "\\u0000",        "a\\ud800", "\\udc00b",
                                         "\\ud800\\u0041", "\xff",     "\xc0\xaf" };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        char line[100];
        snprintf(line, sizeof line,
                 "{\"op\":\"send\",\"id\":\"x\",\"room\":\"#a\",\"text\":\"%s\"}", texts[i]);
        struct client_op op;
        assert_int_equal(read_op(line, &op), JSON_LINE_OP);
        assert_int_equal(op.kind, CLIENT_SEND);
        assert_true(op.text.len > 0);
        assert_false(text_is_utf8(op.text));
    }
}

static void a_line_of_the_limit_is_taken_and_a_longer_one_is_not(void **state)
{
    (void)state;
    static char line[LIMIT_LINE_BYTES + 3];
    int head =
        snprintf(line, sizeof line, "{\"op\":\"send\",\"id\":\"x\",\"to\":\"b\",\"text\":\"");
    memset(line + head, 'a', LIMIT_LINE_BYTES - (size_t)head - 2);
    strcpy(line + LIMIT_LINE_BYTES - 2, "\"}");
    struct client_op op;
    assert_int_equal(read_op(line, &op), JSON_LINE_OP);
    strcpy(line + LIMIT_LINE_BYTES - 2, "a\"}");
    assert_int_equal(read_op(line, &op), JSON_LINE_ERROR);
}

static void outputs_are_written_to_the_letter(void **state)
{
    (void)state;
    out.start = out.end = 0;
    struct wire_ready ready = { .node = 2, .leader = 0, .quorum = false, .user = words("alice") };
    struct client_output output = { .kind = CLIENT_OUT_READY };
    output.ready.ready = &ready;
    json_write_output(&out, &output);
    assert_out(
        "{\"event\":\"ready\",\"user\":\"alice\",\"node\":2,\"leader\":null,\"quorum\":false,"
        "\"resumed\":false}\n");

    output = (struct client_output) { .kind = CLIENT_OUT_ACK };
    output.ack.id = words("\"c1\"");
    output.ack.status = CLIENT_COMMITTED;
    output.ack.room = words("#ops");
    output.ack.room_seq = 17;
    output.ack.index = 204;
    output.ack.time_us = 1769860800123456;
    output.ack.device_tag = 0xab;
    output.ack.device_seq = 3;
    json_write_output(&out, &output);
    assert_out(
        "{\"event\":\"ack\",\"id\":\"c1\",\"status\":\"committed\",\"room\":\"#ops\",\"seq\":17,"
        "\"index\":204,\"ts\":\"2026-01-31T12:00:00.123456Z\",\"uid\":\"00000000000000ab-3\"}\n");

    output.ack.status = CLIENT_REJECTED;
    output.ack.code = CODE_NOT_A_MEMBER;
    output.ack.message = "no";
    output.ack.room_seq = output.ack.device_seq = 0;
    output.ack.room = words("");
    json_write_output(&out, &output);
    assert_out("{\"event\":\"ack\",\"id\":\"c1\",\"status\":\"rejected\",\"code\":\"not_a_member\","
               "\"message\":\"no\"}\n");

    struct wire_record record = {
        .kind = RECORD_POST,
        .seq = 1,
        .index = 2,
        .time_us = 0,
        .device_tag = 1,
        .device_seq = 1,
        .room = words("#o"),
        .from = words("a"),
        .text = words("\"\\\x01\n\xff\xc3\xa9"),
        .reply_to = 4,
    };
    json_write_record(&out, &record);
    assert_out("{\"event\":\"message\",\"room\":\"#o\",\"seq\":1,\"index\":2,\"uid\":"
               "\"0000000000000001-1\","
               "\"from\":\"a\",\"text\":\"\\\"\\\\\\u0001\\n\xef\xbf\xbd\xc3\xa9\","
               "\"ts\":\"1970-01-01T00:00:00.000000Z\",\"kind\":\"post\",\"reply_to\":4}");

    record.seq = record.index = 0; /* held */
    record.sent_us = 1;
    record.reply_tag = 3;
    record.text = words("hi");
    output = (struct client_output) { .kind = CLIENT_OUT_HELD, .record = &record };
    json_write_output(&out, &output);
    assert_out(
        "{\"event\":\"message\",\"room\":\"#o\",\"uid\":\"0000000000000001-1\",\"from\":\"a\","
        "\"text\":\"hi\",\"kind\":\"post\",\"sent\":\"1970-01-01T00:00:00.000001Z\","
        "\"reply_to\":\"0000000000000003-4\",\"held\":true}\n");
    output = (struct client_output) { .kind = CLIENT_OUT_RETRACT };
    output.retract.device_tag = 0xab;
    output.retract.device_seq = 7;
    json_write_output(&out, &output);
    assert_out("{\"event\":\"retract\",\"uid\":\"00000000000000ab-7\"}\n");

    struct wire_cluster cluster = { .leader = 2, .term = 8, .healthy = 3, .quorum = true };
    output = (struct client_output) { .kind = CLIENT_OUT_CLUSTER, .cluster = &cluster };
    json_write_output(&out, &output);
    assert_out(
        "{\"event\":\"cluster\",\"leader\":2,\"term\":8,\"healthy\":[1,2],\"quorum\":true}\n");

    output = (struct client_output) { .kind = CLIENT_OUT_OFFLINE };
    output.offline.reason = "connection refused";
    output.offline.queued = 3;
    json_write_output(&out, &output);
    assert_out("{\"event\":\"offline\",\"reason\":\"connection refused\",\"queued\":3}\n");
}

/* Rows that are cut short or make no sense end the list, and the line is whole nevertheless. */
static void torn_results_are_whole_lines(void **state)
{
    (void)state;
    uint8_t rows[200];
    struct writer writer = writer_of(rows, sizeof rows);
    write_slice8(&writer, "#ops", 4);
    write_slice16(&writer, "topic", 5);
    write_u32(&writer, 3);
    write_u64(&writer, 2);
    write_u8(&writer, 1);
    size_t full = writer_used(&writer);
    for (size_t len = 0; len <= full; len++) {
        struct wire_result result = { .kind = QUERY_ROOMS, .rows = { rows, len } };
        struct client_output output = { .kind = CLIENT_OUT_RESULT };
        output.result.id = words("\"r\"");
        output.result.result = &result;
        json_write_output(&out, &output);
        assert_out(
            len == full
                ? "{\"event\":\"result\",\"id\":\"r\",\"rooms\":[{\"room\":\"#ops\",\"topic\":"
                  "\"topic\",\"members\":3,\"unread\":2,\"joined\":true}]}\n"
                : "{\"event\":\"result\",\"id\":\"r\",\"rooms\":[]}\n");
    }
}

static void dates_are_right(void **state)
{
    (void)state;
    static const struct {
        uint64_t seconds;
        const char *text;
    } dates[] = {
        { 951782399, "2000-02-28T23:59:59.000000Z" },
        { 951782400, "2000-02-29T00:00:00.000000Z" },
        { 951868800, "2000-03-01T00:00:00.000000Z" },
        { 4107542400, "2100-03-01T00:00:00.000000Z" },
        { 1767225599, "2025-12-31T23:59:59.000000Z" },
        { UINT64_MAX / 1000000, "9999-12-31T23:59:59.999999Z" },
    };
    for (size_t i = 0; i < sizeof dates / sizeof dates[0]; i++) {
        text_time(&out, dates[i].seconds * 1000000);
        assert_out(dates[i].text);
    }
}

/* Every code point, alone and behind others: nothing that steers a terminal comes through. */
static void only_visible_characters_reach_a_terminal(void **state)
{
    (void)state;
    for (uint32_t first = 0; first < 256; first++) {
        for (uint32_t second = 0; second < 256; second++) {
            uint8_t bytes[4] = { (uint8_t)first, (uint8_t)second, 0x9b, 'm' };
            text_visible(&out, (struct slice) { bytes, 4 }, true);
            assert_true(text_is_utf8((struct slice) { (uint8_t *)out.data, out.end }));
            for (size_t i = 0; i < out.end; i++) {
                uint8_t byte = (uint8_t)out.data[i];
                assert_true(byte >= 0x20 && byte != 0x7f);
                assert_false(byte == 0xc2 && (uint8_t)out.data[i + 1] < 0xa0);
            }
            out.start = out.end = 0;
        }
    }
    static const char *const hidden[] = {
        "\x1b[31m",         "\r",           "\b",           "\x07",
        "\xc2\x9b",         "\xc2\x85",     "\xe2\x80\xae", "\xe2\x80\x8f",
        "\xe2\x81\xa6",     "\xe2\x80\xa8", "\xef\xbb\xbf", "\xd8\x9c",
        "\xf3\xa0\x81\x81", "\xed\xa0\x80", "\xe2\x80\x8b",
    };
    for (size_t i = 0; i < sizeof hidden / sizeof hidden[0]; i++) {
        text_visible(&out, words(hidden[i]), false);
        text_add(&out, "", 1);
        assert_null(strstr(out.data, hidden[i]));
        assert_non_null(strstr(out.data, "\xef\xbf\xbd"));
        out.start = out.end = 0;
    }
    text_visible(&out, words("na\xc3\xafve \xe6\x97\xa5\xe6\x9c\xac \xf0\x9f\x98\x80\ta\nb"), true);
    assert_out("na\xc3\xafve \xe6\x97\xa5\xe6\x9c\xac \xf0\x9f\x98\x80 a b");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ops_are_read),
        cmocka_unit_test(what_is_no_op_is_an_error_with_id_null),
        cmocka_unit_test(a_reply_names_a_seq_or_a_uid),
        cmocka_unit_test(bad_fields_reject_acks_and_error_results),
        cmocka_unit_test(broken_text_is_seen_by_the_core),
        cmocka_unit_test(a_line_of_the_limit_is_taken_and_a_longer_one_is_not),
        cmocka_unit_test(outputs_are_written_to_the_letter),
        cmocka_unit_test(torn_results_are_whole_lines),
        cmocka_unit_test(dates_are_right),
        cmocka_unit_test(only_visible_characters_reach_a_terminal),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    text_free(&out);
    return failed;
}
