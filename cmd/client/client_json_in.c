#include "cmd/client/client_json.h"
#include "cmd/client/json.h"
#include "core/chat/text.h"
#include "core/check.h"

#include <stddef.h>

enum op_answer { ANSWER_ACK, ANSWER_RESULT, ANSWER_NONE };

struct op_name {
    const char *name;
    enum op_answer answer;
    uint8_t kind; /* enum client_op_kind; 0: not in this build */
};

static const struct op_name ops[] = {
    { "send", ANSWER_ACK, CLIENT_SEND },
    { "create", ANSWER_ACK, CLIENT_CREATE },
    { "join", ANSWER_ACK, CLIENT_JOIN },
    { "part", ANSWER_ACK, CLIENT_PART },
    { "topic", ANSWER_ACK, CLIENT_TOPIC },
    { "read", ANSWER_ACK, CLIENT_READ },
    { "delete", ANSWER_ACK, CLIENT_DELETE },
    { "history", ANSWER_RESULT, CLIENT_HISTORY },
    { "rooms", ANSWER_RESULT, CLIENT_ROOMS },
    { "who", ANSWER_RESULT, CLIENT_WHO },
    { "whoami", ANSWER_RESULT, CLIENT_WHOAMI },
    { "devices", ANSWER_RESULT, CLIENT_DEVICES },
    { "status", ANSWER_RESULT, CLIENT_STATUS },
    { "edit", ANSWER_ACK, 0 },
    { "react", ANSWER_ACK, 0 },
    { "invite", ANSWER_ACK, 0 },
    { "kick", ANSWER_ACK, 0 },
    { "ban", ANSWER_ACK, 0 },
    { "unban", ANSWER_ACK, 0 },
    { "op", ANSWER_ACK, 0 },
    { "deop", ANSWER_ACK, 0 },
    { "mute", ANSWER_ACK, 0 },
    { "unmute", ANSWER_ACK, 0 },
    { "revoke", ANSWER_ACK, 0 },
    { "away", ANSWER_ACK, 0 },
    { "search", ANSWER_RESULT, 0 },
    { "typing", ANSWER_NONE, 0 },
};

/* The fields that any op knows, as they stood in the line; the last of a name counts. */
enum field_name {
    FIELD_OP,
    FIELD_ID,
    FIELD_ROOM,
    FIELD_TO,
    FIELD_TEXT,
    FIELD_TOPIC,
    FIELD_PRIVATE,
    FIELD_REPLY_TO,
    FIELD_SEQ,
    FIELD_BEFORE,
    FIELD_AFTER,
    FIELD_LIMIT,
    FIELDS
};
static const char *const field_names[FIELDS] = {
    "op",      "id",       "room", "to",     "text",  "topic",
    "private", "reply_to", "seq",  "before", "after", "limit",
};

static bool is_word(struct slice text, const char *word)
{
    return text.len == strlen(word) && memcmp(text.data, word, text.len) == 0;
}

/* A field that is null is one that is not there. */
static bool has(const struct json_field *field)
{
    return field->type != JSON_NULL;
}

static bool read_text(const struct json_field *field, struct slice *text)
{
    if (has(field) && field->type != JSON_STRING)
        return false;
    *text = field->text;
    return true;
}

static bool read_seq(const struct json_field *field, uint64_t *seq)
{
    if (has(field) && (field->type != JSON_NUMBER || !field->is_integer))
        return false;
    *seq = field->number;
    return true;
}

static bool read_room(const struct json_field fields[FIELDS], uint8_t *scratch,
                      struct client_op *op)
{
    struct slice to;
    if (!read_text(&fields[FIELD_ROOM], &op->room) || !read_text(&fields[FIELD_TO], &to))
        return false;
    if (!has(&fields[FIELD_TO]))
        return true;
    if (op->kind != CLIENT_SEND || has(&fields[FIELD_ROOM]) || to.len >= LIMIT_LINE_BYTES)
        return false;
    scratch[0] = '@';
    if (to.len)
        memcpy(scratch + 1, to.data, to.len);
    op->room = (struct slice) { scratch, to.len + 1 };
    return true;
}

/* A uid as text_uid writes it: 16 hex digits, '-', a number. */
static bool read_uid(struct slice text, uint64_t *tag, uint64_t *seq)
{
    *tag = *seq = 0;
    if (text.len < 18 || text.len > 16 + 1 + 20 || text.data[16] != '-' || text.data[17] == '0')
        return false;
    for (size_t i = 0; i < 16; i++) {
        uint8_t digit = text.data[i];
        bool letter = digit >= 'a' && digit <= 'f';
        if (!letter && (digit < '0' || digit > '9'))
            return false;
        *tag = *tag << 4 | (uint64_t)(letter ? digit - 'a' + 10 : digit - '0');
    }
    for (size_t i = 17; i < text.len; i++) {
        uint64_t digit = (uint64_t)text.data[i] - '0';
        if (digit > 9 || *seq > (UINT64_MAX - digit) / 10)
            return false;
        *seq = *seq * 10 + digit;
    }
    return *tag != 0;
}

static bool read_reply(const struct json_field *field, struct client_op *op)
{
    if (field->type == JSON_STRING)
        return read_uid(field->text, &op->reply_tag, &op->reply_to);
    return read_seq(field, &op->reply_to);
}

/* The fields of this kind of op; else a code. */
static enum chat_code read_fields(const struct json_field fields[FIELDS], uint8_t *scratch,
                                  struct client_op *op)
{
    if (!read_room(fields, scratch, op))
        return CODE_BAD_REQUEST;
    enum field_name text = op->kind == CLIENT_CREATE ? FIELD_TOPIC : FIELD_TEXT;
    if (!read_text(&fields[text], &op->text))
        return CODE_BAD_REQUEST;
    if (op->kind == CLIENT_TOPIC && !has(&fields[FIELD_TEXT]))
        return CODE_BAD_REQUEST;
    if (op->kind == CLIENT_CREATE) {
        enum json_type type = fields[FIELD_PRIVATE].type;
        op->is_private = type == JSON_TRUE;
        if (type != JSON_TRUE && type != JSON_FALSE && type != JSON_NULL)
            return CODE_BAD_REQUEST;
    }
    if (!read_reply(&fields[FIELD_REPLY_TO], op) || !read_seq(&fields[FIELD_SEQ], &op->seq))
        return CODE_BAD_REQUEST;
    if ((op->kind == CLIENT_READ || op->kind == CLIENT_DELETE) && !has(&fields[FIELD_SEQ]))
        return CODE_BAD_REQUEST;
    if (op->kind != CLIENT_HISTORY)
        return CODE_OK;
    uint64_t limit = LIMIT_HISTORY_PAGE;
    op->has_after = has(&fields[FIELD_AFTER]);
    if (!read_seq(&fields[FIELD_BEFORE], &op->before) ||
        !read_seq(&fields[FIELD_AFTER], &op->after) ||
        (has(&fields[FIELD_BEFORE]) && (op->has_after || op->before == 0)))
        return CODE_BAD_REQUEST;
    if (has(&fields[FIELD_LIMIT]) && !read_seq(&fields[FIELD_LIMIT], &limit))
        return CODE_BAD_REQUEST;
    if (limit == 0)
        return CODE_BAD_REQUEST;
    op->limit = (uint16_t)(limit > LIMIT_HISTORY_PAGE ? LIMIT_HISTORY_PAGE : limit);
    return CODE_OK;
}

static bool read_line(struct slice line, uint8_t *scratch, struct json_field fields[FIELDS])
{
    struct json_reader reader = json_begin(line, scratch);
    struct json_field field;
    enum json_step step;
    memset(fields, 0, FIELDS * sizeof fields[0]);
    while ((step = json_next(&reader, &field)) == JSON_FIELD)
        for (int i = 0; i < FIELDS; i++)
            if (is_word(field.key, field_names[i]))
                fields[i] = field;
    return step == JSON_END;
}

static const struct slice no_id = { (const uint8_t *)"null", 4 };

static enum json_line refuse(struct text_out *out, struct slice id, enum chat_code code)
{
    json_write_error(out, id, code, code_message(code));
    return JSON_LINE_ERROR;
}

enum json_line json_read_op(struct slice line, uint8_t *scratch, struct client_op *op,
                            struct text_out *out)
{
    _Static_assert(JSON_NULL == 0, "a field that is not there is null");
    struct json_field fields[FIELDS];
    memset(op, 0, sizeof *op);
    if (line.len > LIMIT_LINE_BYTES || !read_line(line, scratch, fields))
        return refuse(out, no_id, CODE_BAD_REQUEST);
    op->id = has(&fields[FIELD_ID]) ? fields[FIELD_ID].raw : no_id;
    bool id_fits =
        !has(&fields[FIELD_ID]) || (fields[FIELD_ID].type == JSON_STRING && text_is_utf8(op->id));
    if (fields[FIELD_OP].type != JSON_STRING || !id_fits)
        return refuse(out, no_id, CODE_BAD_REQUEST);
    if (is_word(fields[FIELD_OP].text, "quit"))
        return JSON_LINE_QUIT;
    const struct op_name *name = NULL;
    for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++)
        if (is_word(fields[FIELD_OP].text, ops[i].name))
            name = &ops[i];
    if (!name)
        return refuse(out, op->id, CODE_BAD_REQUEST);
    if (name->answer == ANSWER_NONE)
        return JSON_LINE_NOTHING;
    enum chat_code code = CODE_UNSUPPORTED;
    if (name->kind) {
        op->kind = name->kind;
        code = read_fields(fields, scratch + LIMIT_LINE_BYTES, op);
    }
    if (code != CODE_OK && name->answer == ANSWER_RESULT)
        return refuse(out, op->id, code);
    if (code != CODE_OK) {
        op->kind = CLIENT_REFUSED;
        op->code = code;
    }
    return JSON_LINE_OP;
}
