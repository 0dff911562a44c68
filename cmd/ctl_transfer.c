/* `ftchat ctl transfer`: hands leadership over, without a pause that anybody would notice. */
#include "cmd/commands.h"
#include "cmd/ctl.h"
#include "cmd/ctl_ask.h"
#include "cmd/ctl_options.h"
#include "cmd/say.h"

#include <stdio.h>

static const struct option_row rows[] = {
    CTL_ROW_WAIT("5"),
    CTL_ROW_CONFIG,
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
    struct ctl_given given = { .takes = CTL_SLOT, .wait_s = 5 };
    int status;
    if (!ctl_read(&page, argc, argv, &given, &status))
        return status;
    status = ask_open(&ask, "ctl transfer", given.config);
    if (status)
        return status;
    if (given.slot && !ask.file.config.nodes[given.slot].present)
        status = say_error(EXIT_USAGE, "ctl transfer", "%u: no [node.%u] in %s", given.slot,
                           given.slot, ask.file.path);
    else
        status = transfer(&ask, given.slot, loop_clock_us() + given.wait_s * 1000000);
    ask_close(&ask);
    return status;
}
