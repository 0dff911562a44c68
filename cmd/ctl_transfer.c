/* `ftchat ctl transfer`: hands leadership over, without a pause that anybody would notice. */
#include "cmd/commands.h"
#include "cmd/ctl.h"
#include "cmd/ctl_ask.h"
#include "cmd/options.h"
#include "cmd/say.h"

#include <stdio.h>

enum { OPTION_WAIT, OPTION_CONFIG };
static const struct option_row rows[] = {
    [OPTION_WAIT] = { "wait", 0, "S", "give up after this many seconds (default 5)" },
    [OPTION_CONFIG] = { "config", 0, "FILE", "the configuration (default: ./ftchat.ini)" },
    { 0 },
};
static const struct command_page page = {
    "ctl transfer",
    "[N] [--wait S]",
    "Makes node N the leader, or without N the one that is best caught up.",
    rows,
};

static int transfer(struct ask *ask, uint8_t slot, uint64_t until_us)
{
    const uint8_t request[2] = { WIRE_TRANSFER, slot };
    struct ask_result result;
    uint8_t from = ask_leader(ask, until_us);
    if (!from)
        return say_error(EXIT_UNREACHABLE, "ctl transfer", "no node leads a majority");
    if (!ask_command(ask, from, (struct slice) { request, 2 }, until_us, &result))
        return say_error(EXIT_UNREACHABLE, "ctl transfer",
                         "node %u leads and did not answer (see ftchat ctl status)", from);
    if (result.code != CODE_OK)
        return say_error(EXIT_FAILED, "ctl transfer", "node %u leads on: %s", from, result.why);
    uint8_t leader = slot == from ? from : ask_leader(ask, until_us);
    if (!leader)
        return say_error(EXIT_UNREACHABLE, "ctl transfer", "node %u gave it up; nobody leads yet",
                         from);
    if (slot && leader != slot)
        return say_error(EXIT_FAILED, "ctl transfer", "node %u leads now, not node %u", leader,
                         slot);
    printf(leader == from ? "Node %u leads already.\n" : "Node %u leads now.\n", leader);
    return say_flushed("ctl transfer");
}

int ctl_transfer(int argc, char **argv)
{
    static struct ask ask;
    const char *config = NULL;
    uint64_t wait_s = 5;
    uint64_t slot = 0;
    struct options options = options_begin(&page, argc, argv);
    for (int option; (option = options_next(&options)) != OPTIONS_END;) {
        switch (option) {
        case OPTION_WAIT:
            if (!options_number(&options, "wait", 0, 86400, &wait_s))
                return EXIT_USAGE;
            break;
        case OPTION_CONFIG:
            config = options.value;
            break;
        case OPTIONS_OPERAND:
            if (!ctl_slot("ctl transfer", options.value, &slot))
                return EXIT_USAGE;
            break;
        default:
            return options.status;
        }
    }
    int status = ask_open(&ask, "ctl transfer", config);
    if (status)
        return status;
    if (slot && !ask.file.config.nodes[slot].present)
        status = say_error(EXIT_USAGE, "ctl transfer", "%llu: no [node.%llu] in %s",
                           (unsigned long long)slot, (unsigned long long)slot, ask.file.path);
    else
        status = transfer(&ask, (uint8_t)slot, loop_clock_us() + wait_s * 1000000);
    ask_close(&ask);
    return status;
}
