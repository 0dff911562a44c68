#include "core/chat/text.h"

#include "core/chat/chat.h"
#include "core/check.h"

size_t text_decode(struct slice text, uint32_t *point)
{
    static const uint32_t smallest[5] = { 0, 0, 0x80, 0x800, 0x10000 };
    if (!text.len)
        return 0;
    uint8_t first = text.data[0];
    if (first < 0x80) {
        *point = first;
        return 1;
    }
    if (first < 0xc2 || first > 0xf4)
        return 0;
    size_t len = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    if (text.len < len)
        return 0;
    uint32_t value = first & (0x7fu >> len);
    for (size_t i = 1; i < len; i++) {
        if ((text.data[i] & 0xc0) != 0x80)
            return 0;
        value = value << 6 | (text.data[i] & 0x3fu);
    }
    if (value < smallest[len] || value > 0x10ffff || (value >= 0xd800 && value <= 0xdfff))
        return 0;
    *point = value;
    return len;
}

/* Eight bytes at once that are ASCII and not NUL: what most texts are made of. */
static bool is_plain(const uint8_t *at)
{
    uint64_t word = bytes_get_u64(at);
    const uint64_t high = UINT64_C(0x8080808080808080);
    return !((word | (word - UINT64_C(0x0101010101010101))) & high);
}

bool text_is_utf8(struct slice text)
{
    CHECK(text.data != NULL || text.len == 0);
    while (text.len) {
        size_t step = 8;
        if (text.len < 8 || !is_plain(text.data)) {
            uint32_t point = 0;
            step = text_decode(text, &point);
            if (!step || !point)
                return false;
        }
        text.data += step;
        text.len -= step;
    }
    return true;
}

enum chat_code text_check(struct slice text, uint32_t max_bytes)
{
    CHECK(max_bytes > 0);
    if (!text.len)
        return CODE_BAD_REQUEST;
    if (text.len > max_bytes)
        return CODE_TOO_LONG;
    return text_is_utf8(text) ? CODE_OK : CODE_NOT_UTF8;
}
