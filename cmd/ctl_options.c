#include "cmd/ctl_options.h"

#include "cmd/commands.h"
#include "cmd/say.h"
#include "core/limits.h"

#include <string.h>

enum { WAIT_MAX_S = 86400 };

static int leave(struct options *options)
{
    options->status = EXIT_USAGE;
    return OPTIONS_EXIT;
}

/* False: said. */
static bool take_slot(const struct options *options, struct ctl_given *given)
{
    const char *text = options->value;
    if (text[0] < '1' || text[0] > '0' + LIMIT_NODES || text[1]) {
        say_error(EXIT_USAGE, options->page->command, "%s: expected a node's number, 1 to %d", text,
                  LIMIT_NODES);
        return false;
    }
    given->slot = (uint8_t)(text[0] - '0');
    return true;
}

static bool take_operand(const struct options *options, struct ctl_given *given)
{
    bool first = !given->slot && !given->word;
    if (given->takes == CTL_SLOT && first)
        return take_slot(options, given);
    if (given->takes == CTL_WORD && first) {
        given->word = options->value;
        return true;
    }
    say_error(EXIT_USAGE, options->page->command, "%s: expected %s (see --help)", options->value,
              first ? "no operand" : "one operand");
    return false;
}

int ctl_next(struct options *options, struct ctl_given *given)
{
    for (;;) {
        int option = options_next(options);
        const char *name = option >= 0 ? options->page->rows[option].name : "";
        if (strcmp(name, "config") == 0) {
            given->config = options->value;
        } else if (strcmp(name, "wait") == 0) {
            if (!options_number(options, name, 0, WAIT_MAX_S, &given->wait_s))
                return leave(options);
        } else if (option == OPTIONS_OPERAND && given->takes != CTL_WORDS) {
            if (!take_operand(options, given))
                return leave(options);
        } else {
            return option;
        }
    }
}

bool ctl_read(const struct command_page *page, int argc, char **argv, struct ctl_given *given,
              int *status)
{
    struct options options = options_begin(page, argc, argv);
    int option = ctl_next(&options, given);
    *status = options.status;
    return option == OPTIONS_END;
}
