/* cmd/options and cmd/suggest: every way to write an option, and the nearest word. */
#include "cmd/commands.h"
#include "cmd/options.h"
#include "cmd/suggest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { OPTION_ID, OPTION_QUIET, OPTION_WAIT };

static const struct option_row rows[] = {
    [OPTION_ID] = { "id", 'i', "N", "which" },
    [OPTION_QUIET] = { "quiet", 'q', NULL, "say less" },
    [OPTION_WAIT] = { "wait", 0, "S", "how long" },
    { 0 },
};
static const struct command_page page = { "test", "[options]", "Tests.", rows };

/* Parses and compares with what is expected: `(option, value)` pairs; NULL for no value. */
struct expected {
    int option;
    const char *value;
};

static void assert_parsed(const char *const *words, const struct expected *expected)
{
    char *argv[16] = { (char *)"test" };
    int argc = 1;
    for (; words[argc - 1]; argc++)
        argv[argc] = (char *)words[argc - 1];
    struct options options = options_begin(&page, argc, argv);
    for (;; expected++) {
        int option = options_next(&options);
        assert_int_equal(option, expected->option);
        if (option == OPTIONS_END)
            return;
        if (expected->value)
            assert_string_equal(options.value, expected->value);
        if (option == OPTIONS_EXIT) {
            assert_int_equal(options.status, EXIT_USAGE);
            return;
        }
    }
}

#define WORDS(...)                                                                                 \
    (const char *const[])                                                                          \
    {                                                                                              \
        __VA_ARGS__, NULL                                                                          \
    }
#define EXPECTED(...)                                                                              \
    (const struct expected[])                                                                      \
    {                                                                                              \
        __VA_ARGS__,                                                                               \
        {                                                                                          \
            OPTIONS_END, NULL                                                                      \
        }                                                                                          \
    }

static void every_way_to_write_one(void **state)
{
    (void)state;
    assert_parsed(WORDS("--id", "3"), EXPECTED({ OPTION_ID, "3" }));
    assert_parsed(WORDS("--id=3"), EXPECTED({ OPTION_ID, "3" }));
    assert_parsed(WORDS("--id="), EXPECTED({ OPTION_ID, "" }));
    assert_parsed(WORDS("-i", "3"), EXPECTED({ OPTION_ID, "3" }));
    assert_parsed(WORDS("-i3"), EXPECTED({ OPTION_ID, "3" }));
    assert_parsed(WORDS("-qi3"), EXPECTED({ OPTION_QUIET, NULL }, { OPTION_ID, "3" }));
    assert_parsed(WORDS("-qq"), EXPECTED({ OPTION_QUIET, NULL }, { OPTION_QUIET, NULL }));
    assert_parsed(WORDS("-qi", "-q"), EXPECTED({ OPTION_QUIET, NULL }, { OPTION_ID, "-q" }));
}

static void operands_stand_anywhere(void **state)
{
    (void)state;
    assert_parsed(WORDS("a", "--quiet", "b", "-"),
                  EXPECTED({ OPTIONS_OPERAND, "a" }, { OPTION_QUIET, NULL },
                           { OPTIONS_OPERAND, "b" }, { OPTIONS_OPERAND, "-" }));
    assert_parsed(WORDS("--", "--quiet", "--"),
                  EXPECTED({ OPTIONS_OPERAND, "--quiet" }, { OPTIONS_OPERAND, "--" }));
}

static void mistakes(void **state)
{
    (void)state;
    assert_parsed(WORDS("--id"), EXPECTED({ OPTIONS_EXIT, NULL }));
    assert_parsed(WORDS("-i"), EXPECTED({ OPTIONS_EXIT, NULL }));
    assert_parsed(WORDS("--quiet=1"), EXPECTED({ OPTIONS_EXIT, NULL }));
    assert_parsed(WORDS("--quie"), EXPECTED({ OPTIONS_EXIT, NULL }));
    assert_parsed(WORDS("--quiets"), EXPECTED({ OPTIONS_EXIT, NULL }));
    assert_parsed(WORDS("-x"), EXPECTED({ OPTIONS_EXIT, NULL }));
}

static bool number(const char *text, uint64_t *out)
{
    struct options options = { .page = &page, .value = text };
    return options_number(&options, "id", 1, 7, out);
}

static void numbers(void **state)
{
    (void)state;
    uint64_t value = 99;
    assert_true(number("1", &value));
    assert_int_equal(value, 1);
    assert_true(number("007", &value));
    assert_int_equal(value, 7);
    static const char *const bad[] = {
        "", "0", "8", "-1", "+1", "1x", " 1", "18446744073709551617"
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(number(bad[i], &value));
    assert_int_equal(value, 7);
}

static const char *nearest(const char *typed)
{
    static const char *const words[] = { "node", "client", "monitor", "chaos", "ctl" };
    struct suggestion suggestion = suggest_begin(typed);
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        suggest_word(&suggestion, words[i]);
    return suggestion.best;
}

static void the_nearest_word(void **state)
{
    (void)state;
    assert_string_equal(nearest("nod"), "node");
    assert_string_equal(nearest("nodes"), "node");
    assert_string_equal(nearest("clinet"), "client");
    assert_string_equal(nearest("monitr"), "monitor");
    assert_string_equal(nearest("kaos"), "chaos");
    assert_string_equal(nearest("ctrl"), "ctl");
    assert_non_null(nearest("a-word-that-is-much-longer-than-any-of-the-names-that-there-are"));
    assert_non_null(nearest(""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_way_to_write_one),
        cmocka_unit_test(operands_stand_anywhere),
        cmocka_unit_test(mistakes),
        cmocka_unit_test(numbers),
        cmocka_unit_test(the_nearest_word),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
