/* A line of logfmt pairs for the operator, built without the C library's formatted output: core is
 * pure. What does not fit is cut. Values are our own words and numbers; names from outside are
 * checked before they come here. */
#ifndef FTCHAT_CORE_LINE_H
#define FTCHAT_CORE_LINE_H

#include "core/bytes.h"
#include "core/effect.h"

struct line {
    char text[240];
    size_t len;
};

static inline void line_add(struct line *line, const char *text)
{
    while (*text && line->len + 1 < sizeof(line->text))
        line->text[line->len++] = *text++;
    line->text[line->len] = 0;
}

static inline void line_add_number(struct line *line, uint64_t value)
{
    char digits[21];
    size_t at = sizeof(digits) - 1;
    digits[at] = 0;
    do
        digits[--at] = (char)('0' + value % 10);
    while (value /= 10);
    line_add(line, digits + at);
}

/* " key=value" */
static inline void line_pair(struct line *line, const char *key, uint64_t value)
{
    line_add(line, " ");
    line_add(line, key);
    line_add(line, "=");
    line_add_number(line, value);
}

static inline struct line line_begin(const char *event)
{
    struct line line = { .len = 0 };
    line_add(&line, "event=");
    line_add(&line, event);
    return line;
}

static inline void line_emit(const struct line *line, enum effect_log_level level,
                             const struct effects *out)
{
    struct effect effect = { .kind = EFFECT_LOG, .log = { level, line->text } };
    effect_emit(out, &effect);
}

#endif
