/* `ftchat ctl add`, `remove` and `replace`: one change of membership, made by the leader.
 *
 * Asking again is no harm: what holds already is answered as done. So whatever is refused only for now (another change is
 * being made, no leader, a node that is not there yet) is asked again until the time is up. */
#include "cmd/commands.h"
#include "cmd/ctl.h"
#include "cmd/ctl_ask.h"
#include "cmd/ctl_options.h"
#include "cmd/say.h"
#include "core/check.h"

#include <stdio.h>
#include <string.h>

enum { ROUND_US = 2000000, PAUSE_US = 100000 };

struct change {
    const char *command;
    struct wire_member wanted;
    struct config_address address;
    uint64_t until_us;
    struct ask_members members;
    struct ask_result result;
};

static uint64_t soon(const struct change *change)
{
    uint64_t at = loop_clock_us() + ROUND_US;
    return at < change->until_us ? at : change->until_us;
}

/* The seat as the leader has it, or NULL: none, or no leader. */
static const struct wire_seat *look(struct ask *ask, struct change *change)
{
    if (!ask_members(ask, &change->members, soon(change)) || !change->members.config.leads)
        return NULL;
    for (unsigned i = 0; i < change->members.config.count; i++)
        if (change->members.config.seats[i].slot == change->wanted.slot)
            return &change->members.config.seats[i];
    return NULL;
}

static unsigned voters(const struct wire_members *members)
{
    unsigned count = 0;
    for (unsigned i = 0; i < members->count; i++)
        count += members->seats[i].role == SEAT_VOTER;
    return count;
}

/* Until the leader has committed it. */
static int make(struct ask *ask, struct change *change)
{
    uint8_t message[256];
    size_t len = wire_encode_member(&change->wanted, message, sizeof message);
    struct ask_result *result = &change->result;
    CHECK(len > 0);
    snprintf(result->why, sizeof result->why, "no node leads a majority");
    (void)look(ask, change); /* for the addresses */
    do {
        uint8_t leader = ask_leader(ask, change->until_us);
        if (!leader)
            break;
        if (!ask_command(ask, leader, (struct slice) { message, len }, soon(change), result))
            snprintf(result->why, sizeof result->why, "node %u leads and did not answer in time",
                     leader);
        else if (result->code == CODE_OK)
            return EXIT_DONE;
        else if (code_is_final(result->code))
            return say_error(EXIT_FAILED, change->command, "node %u: %s", change->wanted.slot,
                             result->why);
        loop_run_once(ask->loop, PAUSE_US);
    } while (loop_clock_us() < change->until_us);
    return say_error(EXIT_UNREACHABLE, change->command, "node %u: not done in time: %s",
                     change->wanted.slot, result->why);
}

static int done(struct ask *ask, struct change *change, const char *what)
{
    (void)look(ask, change);
    unsigned count = voters(&change->members.config);
    printf("Node %u %s%s%s.", change->wanted.slot, what, change->result.why[0] ? ": " : "",
           change->result.why);
    if (change->members.config.leads)
        printf(" %u node%s vote%s now: %u may fail.", count, count == 1 ? "" : "s",
               count == 1 ? "s" : "", (count - 1) / 2);
    printf("\n");
    return say_flushed(change->command);
}

static int wait_until_voter(struct ask *ask, struct change *change)
{
    do {
        const struct wire_seat *seat = look(ask, change);
        if (seat && seat->role == SEAT_VOTER && !change->members.config.pending)
            return done(ask, change, "votes");
        loop_run_once(ask->loop, PAUSE_US);
    } while (loop_clock_us() < change->until_us);
    return say_error(EXIT_UNREACHABLE, change->command,
                     "node %u is a learner and catches up; it will vote by itself "
                     "(ftchat ctl members)",
                     change->wanted.slot);
}

enum { OPTION_FORCE, FORCE_OPTIONS };

/* N, and HOST[:PORT] where `takes_address`. False: said. */
static bool take_operand(const struct options *options, struct change *change, bool takes_address)
{
    const char *text = options->value;
    struct wire_member *wanted = &change->wanted;
    if (!wanted->slot && text[0] >= '1' && text[0] <= '0' + LIMIT_NODES && !text[1]) {
        wanted->slot = (uint8_t)(text[0] - '0');
        return true;
    }
    if (!wanted->slot) {
        say_error(EXIT_USAGE, change->command, "%s: expected a node's number, 1 to %d", text,
                  LIMIT_NODES);
        return false;
    }
    if (!takes_address || wanted->port ||
        !config_address_parse(&change->address, text, strlen(text), CONFIG_PORT_DEFAULT)) {
        say_error(EXIT_USAGE, change->command, "%s: expected %s", text,
                  takes_address ? "one HOST[:PORT]" : "one node's number");
        return false;
    }
    wanted->port = change->address.port;
    wanted->host =
        (struct slice) { (const uint8_t *)change->address.host, strlen(change->address.host) };
    return true;
}

static int run(struct ask *ask, struct change *change, const char *config)
{
    int status = ask_open(ask, change->command, config);
    if (status)
        return status;
    struct wire_member *wanted = &change->wanted;
    const struct config_node *node = &ask->file.config.nodes[wanted->slot];
    if (wanted->op == WIRE_MEMBER_ADD && !wanted->port && node->present) {
        wanted->port = node->port; /* the leader's ini need not name it */
        wanted->host = (struct slice) { (const uint8_t *)node->host, strlen(node->host) };
    }
    status = make(ask, change);
    if (!status && wanted->op == WIRE_MEMBER_ADD)
        status = wait_until_voter(ask, change);
    else if (!status)
        status = done(ask, change,
                      wanted->op == WIRE_MEMBER_REMOVE
                          ? "does not belong to the cluster"
                          : "has left its seat; a blank node there takes it by itself");
    ask_close(ask);
    return status;
}

static int change_members(const struct command_page *page, enum wire_member_op op, int argc,
                          char **argv)
{
    static struct ask ask;
    static struct change change;
    struct ctl_given given = { .takes = CTL_WORDS, .wait_s = 30 };
    struct options options = options_begin(page, argc, argv);
    change.command = page->command;
    change.wanted.op = (uint8_t)op;
    for (int option; (option = ctl_next(&options, &given)) != OPTIONS_END;) {
        if (option == OPTIONS_EXIT)
            return options.status;
        if (option == OPTION_FORCE && op != WIRE_MEMBER_ADD)
            change.wanted.force = true;
        else if (!take_operand(&options, &change, op != WIRE_MEMBER_REMOVE))
            return EXIT_USAGE;
    }
    if (!change.wanted.slot)
        return say_error(EXIT_USAGE, page->command, "which node? (its number, 1 to %d)",
                         LIMIT_NODES);
    change.until_us = loop_clock_us() + given.wait_s * 1000000;
    return run(&ask, &change, given.config);
}

static const struct option_row add_rows[] = {
    CTL_ROW_WAIT("30"),
    CTL_ROW_CONFIG,
    { 0 },
};
static const struct option_row force_rows[] = {
    [OPTION_FORCE] = { "force", 0, NULL, "also when it lives, or too few others are there" },
    CTL_ROW_WAIT("30"),
    CTL_ROW_CONFIG,
    { 0 },
};
static const struct command_page add_page = {
    "ctl add",
    "N [HOST[:PORT]] [--wait S]",
    "Takes blank node N in, which must run: it learns, and votes when it has caught up. Its "
    "address "
    "goes\n"
    "into the log (default: the one in this ini), so that the other hosts' inis need not name it.\n"
    "For a member: another HOST:PORT is where it is dialled from now on.",
    add_rows,
};
static const struct command_page remove_page = {
    "ctl remove",
    "N [--force] [--wait S]",
    "Takes node N out. If it runs it says so, sends its clients away and disturbs nobody; a leader "
    "hands\n"
    "over first. Refused when too few of the other voters are there.",
    force_rows,
};
static const struct command_page replace_page = {
    "ctl replace",
    "N [HOST[:PORT]] [--force] [--wait S]",
    "Gives up the dead node N: what it was never comes back. A blank node started in its place (at "
    "HOST,\n"
    "when it is another one) takes the seat by itself and votes when it has caught up.",
    force_rows,
};

int ctl_add(int argc, char **argv)
{
    return change_members(&add_page, WIRE_MEMBER_ADD, argc, argv);
}

int ctl_remove(int argc, char **argv)
{
    return change_members(&remove_page, WIRE_MEMBER_REMOVE, argc, argv);
}

int ctl_replace(int argc, char **argv)
{
    return change_members(&replace_page, WIRE_MEMBER_REPLACE, argc, argv);
}
