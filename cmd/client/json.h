/* A strict reader of one JSON object (RFC 8259), field by field.
 *
 *     struct json_reader reader = json_begin(line, scratch);
 *     while (json_next(&reader, &field) == JSON_FIELD) ...
 *
 * Strings are decoded into the caller's scratch (at least as long as the line); a lone surrogate
 * and bytes that are not UTF-8 come through as bytes that are no UTF-8 either, for whoever checks
 * the text. Nested values are checked and handed out as they stand. Nothing is allocated; depth is
 * bounded. A field is believed only when the end has been reached without JSON_BAD. */
#ifndef FTCHAT_CMD_CLIENT_JSON_H
#define FTCHAT_CMD_CLIENT_JSON_H

#include "core/bytes.h"

enum json_type { JSON_NULL, JSON_TRUE, JSON_FALSE, JSON_NUMBER, JSON_STRING, JSON_NESTED };
enum json_step { JSON_FIELD, JSON_END, JSON_BAD };

struct json_field {
    struct slice key;
    enum json_type type;
    struct slice raw;  /* as written */
    struct slice text; /* STRING: decoded */
    bool is_integer;   /* NUMBER: digits alone, and fits */
    uint64_t number;
};

struct json_reader {
    struct slice rest;
    uint8_t *scratch;
    bool begun;
};

struct json_reader json_begin(struct slice line, uint8_t *scratch);
enum json_step json_next(struct json_reader *reader, struct json_field *field);

#endif
