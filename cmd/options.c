#include "cmd/options.h"

#include "cmd/commands.h"
#include "cmd/say.h"
#include "cmd/suggest.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct options options_begin(const struct command_page *page, int argc, char **argv)
{
    return (struct options) { .page = page, .argc = argc, .argv = argv, .at = 1 };
}

static int leave(struct options *options, int status)
{
    options->status = status;
    return OPTIONS_EXIT;
}

int options_help(const struct command_page *page)
{
    printf("usage: ftchat %s %s\n\n%s\n\n", page->command, page->usage, page->about);
    for (const struct option_row *row = page->rows; row && row->name; row++) {
        char left[64];
        char letter[] = { '-', row->letter, ',', ' ', '\0' };
        snprintf(left, sizeof left, "%s--%s%s%s", row->letter ? letter : "    ", row->name,
                 row->argument ? " " : "", row->argument ? row->argument : "");
        printf("  %-28s %s\n", left, row->help);
    }
    printf("  %-28s %s\n  %-28s %s\n", "-h, --help", "print this page", "-V, --version",
           "print the version");
    return say_flushed(page->command);
}

static int unknown_option(struct options *options, const char *typed, size_t len)
{
    char name[64];
    snprintf(name, sizeof name, "%.*s", (int)len, typed);
    struct suggestion nearest = suggest_begin(name);
    for (const struct option_row *row = options->page->rows; row && row->name; row++)
        suggest_word(&nearest, row->name);
    suggest_word(&nearest, "help");
    suggest_word(&nearest, "version");
    return leave(options,
                 say_error(EXIT_USAGE, options->page->command,
                           "--%s: unknown option (did you mean --%s?)", name, nearest.best));
}

static int take_argument(struct options *options, const char *given, const char *shown)
{
    if (given) {
        options->value = given;
        return 0;
    }
    if (options->at >= options->argc)
        return leave(options, say_error(EXIT_USAGE, options->page->command,
                                        "%s: its value is missing (see --help)", shown));
    options->value = options->argv[options->at++];
    return 0;
}

static int long_option(struct options *options, const char *typed)
{
    const char *equals = strchr(typed, '=');
    size_t len = equals ? (size_t)(equals - typed) : strlen(typed);
    if (len == 4 && memcmp(typed, "help", 4) == 0)
        return leave(options, options_help(options->page));
    if (len == 7 && memcmp(typed, "version", 7) == 0)
        return leave(options, say_version());
    const struct option_row *rows = options->page->rows;
    for (int i = 0; rows && rows[i].name; i++) {
        if (strlen(rows[i].name) != len || memcmp(rows[i].name, typed, len) != 0)
            continue;
        if (!rows[i].argument && equals)
            return leave(options, say_error(EXIT_USAGE, options->page->command,
                                            "--%s: takes no value", rows[i].name));
        if (rows[i].argument &&
            take_argument(options, equals ? equals + 1 : NULL, typed - 2) == OPTIONS_EXIT)
            return OPTIONS_EXIT;
        return i;
    }
    return unknown_option(options, typed, len);
}

static int short_option(struct options *options)
{
    char letter = *options->cluster++;
    const char *rest = *options->cluster ? options->cluster : NULL;
    options->cluster = rest;
    if (letter == 'h')
        return leave(options, options_help(options->page));
    if (letter == 'V')
        return leave(options, say_version());
    const struct option_row *rows = options->page->rows;
    char shown[] = { '-', letter, '\0' };
    for (int i = 0; rows && rows[i].name; i++) {
        if (rows[i].letter != letter)
            continue;
        if (rows[i].argument) {
            options->cluster = NULL;
            if (take_argument(options, rest, shown) == OPTIONS_EXIT)
                return OPTIONS_EXIT;
        }
        return i;
    }
    return leave(options, say_error(EXIT_USAGE, options->page->command,
                                    "%s: unknown option (did you mean --help?)", shown));
}

int options_next(struct options *options)
{
    if (options->cluster)
        return short_option(options);
    if (options->at >= options->argc)
        return OPTIONS_END;
    const char *word = options->argv[options->at++];
    if (!options->only_operands && strcmp(word, "--") == 0) {
        options->only_operands = true;
        return options_next(options);
    }
    if (options->only_operands || word[0] != '-' || word[1] == '\0') {
        options->value = word;
        return OPTIONS_OPERAND;
    }
    if (word[1] == '-')
        return long_option(options, word + 2);
    options->cluster = word + 1;
    return short_option(options);
}

bool options_number(const struct options *options, const char *name, uint64_t min, uint64_t max,
                    uint64_t *out)
{
    uint64_t value = 0;
    const char *at = options->value;
    bool good = *at != '\0' && strlen(at) < 20;
    for (; good && *at; at++) {
        good = *at >= '0' && *at <= '9';
        value = value * 10 + (uint64_t)(*at - '0');
    }
    if (good && value >= min && value <= max) {
        *out = value;
        return true;
    }
    say_error(EXIT_USAGE, options->page->command,
              "--%s: %s: expected a number, %" PRIu64 " to %" PRIu64, name, options->value, min,
              max);
    return false;
}
