/* Text on its way out: a buffer that grows, and what JSON and people need to be written into it. */
#ifndef FTCHAT_CMD_CLIENT_TEXT_OUT_H
#define FTCHAT_CMD_CLIENT_TEXT_OUT_H

#include "core/bytes.h"

struct text_out {
    char *data;
    size_t start; /* bytes [start, end) are held */
    size_t end;
    size_t size;
};

void text_free(struct text_out *out);
void text_add(struct text_out *out, const void *data, size_t len);
void text_word(struct text_out *out, const char *word);
void text_number(struct text_out *out, uint64_t number);
/* A JSON string with its quotes. Bytes that are not UTF-8 become U+FFFD. */
void text_json(struct text_out *out, struct slice text);
/* 2026-01-31T12:00:00.123456Z */
void text_time(struct text_out *out, uint64_t time_us);
/* Device tag in hex, "-", seq. */
void text_uid(struct text_out *out, uint64_t device_tag, uint64_t device_seq);
/* Only what is visible (P10): no control character, escape or mark that reorders text. Line ends
 * and tabs become spaces when `one_line`, else line ends stay. */
void text_visible(struct text_out *out, struct slice text, bool one_line);

static inline size_t text_len(const struct text_out *out)
{
    return out->end - out->start;
}

#endif
