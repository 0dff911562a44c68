#include "cmd/client/text_out.h"

#include "core/chat/text.h"
#include "core/check.h"

#include <stdlib.h>

void text_free(struct text_out *out)
{
    free(out->data);
    *out = (struct text_out) { 0 };
}

static char *reserve(struct text_out *out, size_t len)
{
    if (out->start == out->end)
        out->start = out->end = 0;
    if (out->size - out->end < len) {
        size_t size = out->size ? out->size : 4096;
        while (size - out->end < len)
            size *= 2;
        out->data = realloc(out->data, size);
        CHECK(out->data != NULL);
        out->size = size;
    }
    return out->data + out->end;
}

void text_add(struct text_out *out, const void *data, size_t len)
{
    if (len == 0)
        return;
    memcpy(reserve(out, len), data, len);
    out->end += len;
}

void text_word(struct text_out *out, const char *word)
{
    text_add(out, word, strlen(word));
}

void text_number(struct text_out *out, uint64_t number)
{
    char digits[20];
    size_t at = sizeof digits;
    do {
        digits[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number);
    text_add(out, digits + at, sizeof digits - at);
}

static void add_padded(struct text_out *out, uint64_t number, int width, char end)
{
    char digits[8];
    CHECK(width <= 6);
    for (int i = width - 1; i >= 0; i--) {
        digits[i] = (char)('0' + number % 10);
        number /= 10;
    }
    digits[width] = end;
    text_add(out, digits, (size_t)width + 1);
}

/* Days since 1970 to a date: Hinnant's civil_from_days, for years 1970 to 9999. */
void text_time(struct text_out *out, uint64_t time_us)
{
    const uint64_t last_us = 253402300799999999u;
    if (time_us > last_us)
        time_us = last_us;
    uint64_t seconds = time_us / 1000000;
    uint64_t day = seconds / 86400 + 719468;
    uint64_t era = day / 146097;
    uint64_t of_era = day % 146097;
    uint64_t year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    uint64_t of_year = of_era - (365 * year + year / 4 - year / 100);
    uint64_t shifted = (5 * of_year + 2) / 153;
    uint64_t month = shifted < 10 ? shifted + 3 : shifted - 9;
    add_padded(out, year + era * 400 + (month <= 2), 4, '-');
    add_padded(out, month, 2, '-');
    add_padded(out, of_year - (153 * shifted + 2) / 5 + 1, 2, 'T');
    add_padded(out, seconds / 3600 % 24, 2, ':');
    add_padded(out, seconds / 60 % 60, 2, ':');
    add_padded(out, seconds % 60, 2, '.');
    add_padded(out, time_us % 1000000, 6, 'Z');
}

void text_uid(struct text_out *out, uint64_t device_tag, uint64_t device_seq)
{
    static const char hex[] = "0123456789abcdef";
    char digits[17];
    for (int i = 0; i < 16; i++)
        digits[i] = hex[device_tag >> (60 - 4 * i) & 15];
    digits[16] = '-';
    text_add(out, digits, sizeof digits);
    text_number(out, device_seq);
}

static bool is_plain(uint8_t byte)
{
    return byte >= 0x20 && byte < 0x7f && byte != '"' && byte != '\\';
}

static void add_escape(struct text_out *out, uint32_t point)
{
    static const char hex[] = "0123456789abcdef";
    char escape[6] = { '\\', 'u', '0', '0', hex[point >> 4 & 15], hex[point & 15] };
    switch (point) {
    case '"':
        text_word(out, "\\\"");
        break;
    case '\\':
        text_word(out, "\\\\");
        break;
    case '\n':
        text_word(out, "\\n");
        break;
    case '\t':
        text_word(out, "\\t");
        break;
    case '\r':
        text_word(out, "\\r");
        break;
    default:
        text_add(out, escape, sizeof escape);
    }
}

void text_json(struct text_out *out, struct slice text)
{
    text_word(out, "\"");
    while (text.len) {
        size_t plain = 0;
        while (plain < text.len && is_plain(text.data[plain]))
            plain++;
        text_add(out, text.data, plain);
        text = (struct slice) { text.data + plain, text.len - plain };
        if (!text.len)
            break;
        uint32_t point = 0;
        size_t step = text_decode(text, &point);
        if (step == 0)
            text_word(out, "\xef\xbf\xbd");
        else if (point < 0x20 || point == 0x7f || point == '"' || point == '\\')
            add_escape(out, point);
        else
            text_add(out, text.data, step);
        step = step ? step : 1;
        text = (struct slice) { text.data + step, text.len - step };
    }
    text_word(out, "\"");
}

/* Not shown: C0, DEL and C1 controls, line and paragraph separators, everything that changes the
 * direction of text or hides in it, and what is no character at all. */
static bool is_invisible(uint32_t point)
{
    return point < 0x20 || (point >= 0x7f && point < 0xa0) || point == 0xad || point == 0x34f ||
           point == 0x61c || (point >= 0x115f && point <= 0x1160) ||
           (point >= 0x17b4 && point <= 0x17b5) || (point >= 0x180b && point <= 0x180f) ||
           (point >= 0x200b && point <= 0x200f) || (point >= 0x2028 && point <= 0x202e) ||
           (point >= 0x2060 && point <= 0x206f) || point == 0x3164 ||
           (point >= 0xd800 && point <= 0xf8ff) || (point >= 0xfe00 && point <= 0xfe0f) ||
           point == 0xfeff || point == 0xffa0 || (point >= 0xfff0 && point <= 0xfffb) ||
           (point >= 0xfdd0 && point <= 0xfdef) || (point & 0xfffe) == 0xfffe ||
           (point >= 0x1bca0 && point <= 0x1bca3) || (point >= 0x1d173 && point <= 0x1d17a) ||
           point >= 0xe0000;
}

void text_visible(struct text_out *out, struct slice text, bool one_line)
{
    while (text.len) {
        uint32_t point = 0;
        size_t step = text_decode(text, &point);
        if (step == 0) {
            text_word(out, "\xef\xbf\xbd");
            step = 1;
        } else if (point == '\n' && !one_line) {
            text_word(out, "\n");
        } else if (point == '\n' || point == '\t') {
            text_word(out, " ");
        } else if (is_invisible(point)) {
            text_word(out, "\xef\xbf\xbd");
        } else {
            text_add(out, text.data, step);
        }
        text = (struct slice) { text.data + step, text.len - step };
    }
}
