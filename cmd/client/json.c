#include "cmd/client/json.h"

enum { JSON_DEPTH = 64 };

struct json_reader json_begin(struct slice line, uint8_t *scratch)
{
    return (struct json_reader) { .rest = line, .scratch = scratch };
}

static void drop(struct json_reader *reader, size_t len)
{
    reader->rest = (struct slice) { reader->rest.data + len, reader->rest.len - len };
}

static void skip_space(struct json_reader *reader)
{
    while (reader->rest.len && memchr(" \t\r\n", reader->rest.data[0], 4))
        drop(reader, 1);
}

/* The next byte that is no space, not taken; 0 at the end. */
static uint8_t peek(struct json_reader *reader)
{
    skip_space(reader);
    return reader->rest.len ? reader->rest.data[0] : 0;
}

static bool take(struct json_reader *reader, uint8_t byte)
{
    if (peek(reader) != byte || !reader->rest.len)
        return false;
    drop(reader, 1);
    return true;
}

static int hex_value(uint8_t byte)
{
    if (byte >= '0' && byte <= '9')
        return byte - '0';
    byte |= 0x20;
    return byte >= 'a' && byte <= 'f' ? byte - 'a' + 10 : -1;
}

/* Four digits at `at`; -1: not there. */
static int32_t read_hex4(struct slice rest, size_t at)
{
    if (rest.len < at + 4)
        return -1;
    int32_t value = 0;
    for (size_t i = 0; i < 4; i++) {
        int digit = hex_value(rest.data[at + i]);
        if (digit < 0)
            return -1;
        value = value << 4 | digit;
    }
    return value;
}

static void put_point(struct json_reader *reader, uint32_t point)
{
    uint8_t *out = reader->scratch;
    if (point < 0x80) {
        *out++ = (uint8_t)point;
    } else if (point < 0x800) {
        *out++ = (uint8_t)(0xc0 | point >> 6);
        *out++ = (uint8_t)(0x80 | (point & 63));
    } else if (point < 0x10000) {
        *out++ = (uint8_t)(0xe0 | point >> 12);
        *out++ = (uint8_t)(0x80 | (point >> 6 & 63));
        *out++ = (uint8_t)(0x80 | (point & 63));
    } else {
        *out++ = (uint8_t)(0xf0 | point >> 18);
        *out++ = (uint8_t)(0x80 | (point >> 12 & 63));
        *out++ = (uint8_t)(0x80 | (point >> 6 & 63));
        *out++ = (uint8_t)(0x80 | (point & 63));
    }
    reader->scratch = out;
}

/* What follows a backslash. */
static bool take_escape(struct json_reader *reader)
{
    static const char letters[] = "\"\\/bfnrt";
    static const char meanings[] = "\"\\/\b\f\n\r\t";
    if (!reader->rest.len)
        return false;
    uint8_t letter = reader->rest.data[0];
    const char *found = letter ? strchr(letters, letter) : NULL;
    if (found) {
        *reader->scratch++ = (uint8_t)meanings[found - letters];
        drop(reader, 1);
        return true;
    }
    int32_t first = letter == 'u' ? read_hex4(reader->rest, 1) : -1;
    if (first < 0)
        return false;
    drop(reader, 5);
    uint32_t point = (uint32_t)first;
    if (point >= 0xd800 && point < 0xdc00 && reader->rest.len >= 6 &&
        memcmp(reader->rest.data, "\\u", 2) == 0) {
        int32_t second = read_hex4(reader->rest, 2);
        if (second >= 0xdc00 && second < 0xe000) {
            point = 0x10000 + ((point - 0xd800) << 10) + ((uint32_t)second - 0xdc00);
            drop(reader, 6);
        }
    }
    put_point(reader, point);
    return true;
}

/* The quote is there. */
static bool take_string(struct json_reader *reader, struct slice *text)
{
    uint8_t *start = reader->scratch;
    drop(reader, 1);
    while (reader->rest.len) {
        uint8_t byte = reader->rest.data[0];
        if (byte < 0x20)
            return false;
        drop(reader, 1);
        if (byte == '"') {
            *text = (struct slice) { start, (size_t)(reader->scratch - start) };
            return true;
        }
        if (byte != '\\')
            *reader->scratch++ = byte;
        else if (!take_escape(reader))
            return false;
    }
    return false;
}

static size_t count_digits(struct slice rest, size_t at)
{
    size_t count = 0;
    while (at + count < rest.len && rest.data[at + count] >= '0' && rest.data[at + count] <= '9')
        count++;
    return count;
}

static bool take_number(struct json_reader *reader, struct json_field *field)
{
    struct slice rest = reader->rest;
    size_t at = rest.data[0] == '-';
    size_t digits = count_digits(rest, at);
    if (digits == 0 || (digits > 1 && rest.data[at] == '0'))
        return false;
    field->is_integer = at == 0 && digits <= 19;
    field->number = 0;
    for (size_t i = 0; i < digits && field->is_integer; i++)
        field->number = field->number * 10 + (uint64_t)(rest.data[i] - '0');
    at += digits;
    if (at < rest.len && rest.data[at] == '.') {
        size_t fraction = count_digits(rest, at + 1);
        if (fraction == 0)
            return false;
        at += 1 + fraction;
        field->is_integer = false;
    }
    if (at < rest.len && (rest.data[at] | 0x20) == 'e') {
        at++;
        at += at < rest.len && (rest.data[at] == '+' || rest.data[at] == '-');
        size_t exponent = count_digits(rest, at);
        if (exponent == 0)
            return false;
        at += exponent;
        field->is_integer = false;
    }
    drop(reader, at);
    return true;
}

static bool take_word(struct json_reader *reader, const char *word)
{
    size_t len = strlen(word);
    if (reader->rest.len < len || memcmp(reader->rest.data, word, len) != 0)
        return false;
    drop(reader, len);
    return true;
}

static bool take_scalar(struct json_reader *reader, struct json_field *field)
{
    switch (peek(reader)) {
    case '"':
        field->type = JSON_STRING;
        return take_string(reader, &field->text);
    case 't':
        field->type = JSON_TRUE;
        return take_word(reader, "true");
    case 'f':
        field->type = JSON_FALSE;
        return take_word(reader, "false");
    case 'n':
        field->type = JSON_NULL;
        return take_word(reader, "null");
    default:
        field->type = JSON_NUMBER;
        return reader->rest.len && take_number(reader, field);
    }
}

/* An array or object, only checked. `closers` is the stack of what is open. */
static bool skip_nested(struct json_reader *reader)
{
    uint8_t closers[JSON_DEPTH];
    size_t depth = 0;
    bool fresh = false; /* just opened: may close at once */
    struct json_field ignored;
    uint8_t *scratch = reader->scratch;
    for (;;) {
        bool opens_array = take(reader, '[');
        if (opens_array || take(reader, '{')) {
            if (depth == JSON_DEPTH)
                return false;
            closers[depth++] = opens_array ? ']' : '}';
            fresh = true;
        } else {
            if (!take_scalar(reader, &ignored))
                return false;
            reader->scratch = scratch;
            fresh = false;
        }
        while (depth && take(reader, closers[depth - 1])) {
            depth--;
            fresh = false;
        }
        if (depth == 0)
            return true;
        if (!fresh && !take(reader, ','))
            return false;
        if (closers[depth - 1] == '}') {
            if (peek(reader) != '"' || !take_string(reader, &ignored.text) || !take(reader, ':'))
                return false;
            reader->scratch = scratch;
        }
    }
}

static bool take_value(struct json_reader *reader, struct json_field *field)
{
    uint8_t first = peek(reader);
    const uint8_t *start = reader->rest.data;
    bool good;
    if (first == '[' || first == '{') {
        field->type = JSON_NESTED;
        good = skip_nested(reader);
    } else {
        good = take_scalar(reader, field);
    }
    field->raw = (struct slice) { start, (size_t)(reader->rest.data - start) };
    return good;
}

enum json_step json_next(struct json_reader *reader, struct json_field *field)
{
    bool first = !reader->begun;
    if (first && !take(reader, '{'))
        return JSON_BAD;
    reader->begun = true;
    *field = (struct json_field) { .type = JSON_NULL };
    if (take(reader, '}')) {
        skip_space(reader);
        return reader->rest.len ? JSON_BAD : JSON_END;
    }
    if (!first && !take(reader, ','))
        return JSON_BAD;
    if (peek(reader) != '"' || !take_string(reader, &field->key) || !take(reader, ':') ||
        !take_value(reader, field))
        return JSON_BAD;
    return JSON_FIELD;
}
