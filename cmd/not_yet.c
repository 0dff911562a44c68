/* Commands whose turn comes later: they say so, and nothing else. */
#include "cmd/commands.h"
#include "cmd/options.h"
#include "cmd/say.h"

#include <stddef.h>
#include <string.h>

static int not_yet(const char *command, const char *about, int argc, char **argv)
{
    const struct command_page page = { command, "[options]", about, NULL };
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return options_help(&page);
    return say_error(EXIT_FAILED, command, "not in this build yet");
}

int cmd_chaos(int argc, char **argv)
{
    return not_yet("chaos", "Breaks a running cluster on purpose. Not in this build yet.", argc,
                   argv);
}
