/* core/chat/text, name: UTF-8 against a table made from its definition, and names. */
#include "core/chat/chat.h"
#include "core/chat/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static struct slice of(const char *text)
{
    return (struct slice) { (const uint8_t *)text, strlen(text) };
}

static size_t encode(uint32_t point, uint8_t out[4])
{
    if (point < 0x80) {
        out[0] = (uint8_t)point;
        return 1;
    }
    size_t len = point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
    for (size_t i = len - 1; i > 0; i--, point >>= 6)
        out[i] = (uint8_t)(0x80 | (point & 0x3f));
    out[0] = (uint8_t)(0xf00 >> len | point);
    return len;
}

static void every_character(void **state)
{
    (void)state;
    for (uint32_t point = 1; point <= 0x110010; point++) {
        uint8_t bytes[4];
        size_t len = encode(point, bytes);
        bool good = point <= 0x10ffff && (point < 0xd800 || point > 0xdfff);
        uint32_t got = 0;
        struct slice text = { bytes, len };
        if (text_decode(text, &got) != (good ? len : 0) || (good && got != point) ||
            text_check(text, 8) != (good ? CODE_OK : CODE_NOT_UTF8))
            fail_msg("U+%04X", point);
        for (size_t cut = 1; cut < len; cut++)
            assert_int_equal(text_decode((struct slice) { bytes, cut }, &got), 0);
    }
}

/* Every first three bytes, judged by RFC 3629's grammar written out. */
static void every_start(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 1 << 24; i++) {
        uint8_t bytes[4] = { (uint8_t)(i >> 16), (uint8_t)(i >> 8), (uint8_t)i, 0x80 };
        uint8_t a = bytes[0], b = bytes[1];
        bool tail_b = b >= 0x80 && b <= 0xbf;
        bool tail_c = bytes[2] >= 0x80 && bytes[2] <= 0xbf;
        size_t expected = 0;
        if (a <= 0x7f)
            expected = 1;
        else if (a >= 0xc2 && a <= 0xdf && tail_b)
            expected = 2;
        else if (((a == 0xe0 && b >= 0xa0 && b <= 0xbf) || (a >= 0xe1 && a <= 0xec && tail_b) ||
                  (a == 0xed && b >= 0x80 && b <= 0x9f) || (a >= 0xee && a <= 0xef && tail_b)) &&
                 tail_c)
            expected = 3;
        else if (((a == 0xf0 && b >= 0x90 && b <= 0xbf) || (a >= 0xf1 && a <= 0xf3 && tail_b) ||
                  (a == 0xf4 && b >= 0x80 && b <= 0x8f)) &&
                 tail_c)
            expected = 4;
        uint32_t point = 0;
        if (text_decode((struct slice) { bytes, 4 }, &point) != expected)
            fail_msg("%02x %02x %02x 80", a, b, bytes[2]);
    }
}

static void texts(void **state)
{
    (void)state;
    assert_int_equal(text_check(of(""), 10), CODE_BAD_REQUEST);
    assert_int_equal(text_check(of("1234567890"), 10), CODE_OK);
    assert_int_equal(text_check(of("12345678901"), 10), CODE_TOO_LONG);
    assert_int_equal(text_check(of("a\tb\nc"), 10), CODE_OK);
    /* One wrong byte at every place of texts around the eight-byte step. */
    static const uint8_t wrong[] = { 0x00, 0x80, 0xbf, 0xc0, 0xc1, 0xf5, 0xff, 0xe4 };
    for (size_t len = 1; len <= 40; len++) {
        uint8_t *text = malloc(len);
        for (size_t at = 0; at < len; at++)
            for (size_t i = 0; i < sizeof wrong; i++) {
                memset(text, 'a', len);
                assert_int_equal(text_check((struct slice) { text, len }, 64), CODE_OK);
                text[at] = wrong[i];
                assert_int_equal(text_check((struct slice) { text, len }, 64), CODE_NOT_UTF8);
            }
        free(text);
    }
}

static void user_names(void **state)
{
    (void)state;
    static const char *const good[] = { "a", "alice", "A.b-c_9",
                                        "z0123456789012345678901234567890" };
    static const char *const bad[] = { "",          "9a", "-a",
                                       ".a",        "_a", "a b",
                                       "a@b",       "#a", "\xc3\xa9",
                                       "a\xc3\xa9", "a/", "a01234567890123456789012345678901" };
    uint8_t out[LIMIT_USER_NAME];
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        assert_int_equal(name_fold_user(of(good[i]), out), strlen(good[i]));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(name_fold_user(of(bad[i]), out), 0);
    assert_int_equal(name_fold_user(of("ALIce.X"), out), 7);
    assert_memory_equal(out, "alice.x", 7);
}

static void room_names(void **state)
{
    (void)state;
    static const char *const good[] = {
        "#a",
        "#9",
        "#-_",
        "#ops-2",
        "#01234567890123456789012345678901",
        "#küche",
        "#αβγ-1",
        "#новости_ops",
        "#חדר",
        "#غرفة",
        "#ห",
        "#방",
        "#会議ルーム",
        "#ops-日本",
        "#会会会会会会会会会会会会会会会会会会会会会会会会会会会会会会会会",
    };
    static const char *const bad[] = {
        "",
        "#",
        "ops",
        "@ops",
        "#Ops",
        "#a b",
        "#a.b",
        "##",
        "#012345678901234567890123456789012",
        "#αд",
        "#éα",
        "#Новости",
        "#Ω",
        "#a\xcc\x81",
        "#😀",
        "#\xff",
        "#\xd0",
        "#a\n",
        "#×",
        "#会방",
        "#会会会会会会会会会会会会会会会会会会会会会会会会会会会会会会会会会",
    };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        if (name_check_room(of(good[i])) != CODE_OK)
            fail_msg("%s is refused", good[i]);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (name_check_room(of(bad[i])) != CODE_BAD_NAME)
            fail_msg("%s is taken", bad[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_character), cmocka_unit_test(every_start), cmocka_unit_test(texts),
        cmocka_unit_test(user_names),      cmocka_unit_test(room_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
