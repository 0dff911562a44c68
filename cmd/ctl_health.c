/* `ftchat ctl health`: commits a probe, which proves that posts can be written now. */
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
    "ctl health",
    "[--wait S]",
    "Commits a probe through the log and says how long it took. Exit status: 0 committed; 3 not in "
    "time.",
    rows,
};

/* A refusal that is not final (forming, busy, another leader) is tried again until the time is up. */
static int probe(struct ask *ask, uint64_t until_us)
{
    static const uint8_t request[1] = { WIRE_HEALTH };
    struct ask_result result = { .why = "no node leads a majority" };
    do {
        uint8_t leader = ask_leader(ask, until_us);
        if (!leader)
            break;
        uint64_t begin_us = loop_clock_us();
        if (!ask_command(ask, leader, (struct slice) { request, 1 }, until_us, &result)) {
            snprintf(result.why, sizeof result.why, "node %u took the probe and did not answer",
                     leader);
        } else if (result.code == CODE_OK) {
            printf("Healthy: node %u leads; a probe was committed at index %llu in %.2f ms.\n",
                   leader, (unsigned long long)result.index,
                   (double)(loop_clock_us() - begin_us) / 1000);
            return say_flushed("ctl health");
        } else if (code_is_final(result.code)) {
            return say_error(EXIT_FAILED, "ctl health", "node %u: %s", leader,
                             code_message(result.code));
        } else if (!result.why[0]) {
            snprintf(result.why, sizeof result.why, "%s", code_message(result.code));
        }
        loop_run_once(ask->loop, 20000);
    } while (loop_clock_us() < until_us);
    return say_error(EXIT_UNREACHABLE, "ctl health",
                     "no probe was committed in time: %s (see ftchat ctl status)", result.why);
}

int ctl_health(int argc, char **argv)
{
    static struct ask ask;
    struct ctl_given given = { .wait_s = 5 };
    int status;
    if (!ctl_read(&page, argc, argv, &given, &status))
        return status;
    status = ask_open(&ask, "ctl health", given.config);
    if (status)
        return status;
    status = probe(&ask, loop_clock_us() + given.wait_s * 1000000);
    ask_close(&ask);
    return status;
}
