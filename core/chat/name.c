/* Names of users and rooms.
 *
 * A room name may hold the letters of one script beside a-z: mixing two is how names are made that
 * look like another. Where a script has capitals only its small letters are taken, as of a-z. */
#include "core/chat/chat.h"

#include "core/chat/text.h"
#include "core/check.h"

enum script {
    SCRIPT_NONE, /* not a letter of any script below */
    SCRIPT_LATIN,
    SCRIPT_GREEK,
    SCRIPT_CYRILLIC,
    SCRIPT_ARMENIAN,
    SCRIPT_HEBREW,
    SCRIPT_ARABIC,
    SCRIPT_DEVANAGARI,
    SCRIPT_THAI,
    SCRIPT_GEORGIAN,
    SCRIPT_HANGUL,
    SCRIPT_HAN, /* with the kana that Japanese writes between the characters */
};

struct range {
    uint32_t first;
    uint32_t last;
    enum script script;
};

/* Ascending. Unicode 15, general categories Ll and Lo, the letters in use today. */
static const struct range ranges[] = {
    { 0x00df, 0x00f6, SCRIPT_LATIN },    { 0x00f8, 0x00ff, SCRIPT_LATIN },
    { 0x0390, 0x0390, SCRIPT_GREEK },    { 0x03ac, 0x03ce, SCRIPT_GREEK },
    { 0x0430, 0x045f, SCRIPT_CYRILLIC }, { 0x0491, 0x0491, SCRIPT_CYRILLIC },
    { 0x0561, 0x0586, SCRIPT_ARMENIAN }, { 0x05d0, 0x05ea, SCRIPT_HEBREW },
    { 0x0620, 0x063f, SCRIPT_ARABIC },   { 0x0641, 0x064a, SCRIPT_ARABIC },
    { 0x0671, 0x06d3, SCRIPT_ARABIC },   { 0x0904, 0x0939, SCRIPT_DEVANAGARI },
    { 0x0e01, 0x0e30, SCRIPT_THAI },     { 0x0e32, 0x0e33, SCRIPT_THAI },
    { 0x0e40, 0x0e46, SCRIPT_THAI },     { 0x10d0, 0x10fa, SCRIPT_GEORGIAN },
    { 0x3041, 0x3096, SCRIPT_HAN },      { 0x30a1, 0x30fa, SCRIPT_HAN },
    { 0x30fc, 0x30fc, SCRIPT_HAN },      { 0x3400, 0x4dbf, SCRIPT_HAN },
    { 0x4e00, 0x9fff, SCRIPT_HAN },      { 0xac00, 0xd7a3, SCRIPT_HANGUL },
};

enum { ROOM_CHARACTERS = 32 };

static bool is_name_byte(uint32_t point)
{
    return (point >= 'a' && point <= 'z') || (point >= '0' && point <= '9') || point == '-' ||
           point == '_';
}

static enum script script_of(uint32_t point)
{
    for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++)
        if (point >= ranges[i].first && point <= ranges[i].last)
            return ranges[i].script;
    return SCRIPT_NONE;
}

size_t name_fold_user(struct slice name, uint8_t *out)
{
    CHECK(out != NULL);
    if (name.len < 1 || name.len > LIMIT_USER_NAME)
        return 0;
    for (size_t i = 0; i < name.len; i++) {
        uint8_t byte = name.data[i];
        if (byte >= 'A' && byte <= 'Z')
            byte = (uint8_t)(byte - 'A' + 'a');
        if (!is_name_byte(byte) && byte != '.')
            return 0;
        out[i] = byte;
    }
    return out[0] >= 'a' && out[0] <= 'z' ? name.len : 0;
}

enum chat_code name_check_room(struct slice name)
{
    CHECK(name.data != NULL || name.len == 0);
    if (name.len < 2 || name.len > LIMIT_ROOM_NAME || name.data[0] != '#')
        return CODE_BAD_NAME;
    enum script script = SCRIPT_NONE;
    uint32_t characters = 0;
    struct slice left = { name.data + 1, name.len - 1 };
    while (left.len) {
        uint32_t point = 0;
        size_t len = text_decode(left, &point);
        if (!len || ++characters > ROOM_CHARACTERS)
            return CODE_BAD_NAME;
        if (!is_name_byte(point)) {
            enum script its = script_of(point);
            if (its == SCRIPT_NONE || (script != SCRIPT_NONE && its != script))
                return CODE_BAD_NAME;
            script = its;
        }
        left.data += len;
        left.len -= len;
    }
    return CODE_OK;
}
