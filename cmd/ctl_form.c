/* `ftchat ctl form`: makes the configured nodes one cluster, once. */
#include "cmd/commands.h"
#include "cmd/ctl.h"
#include "cmd/ctl_ask.h"
#include "cmd/ctl_options.h"
#include "cmd/say.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>

enum { OPTION_NODES };
static const struct option_row rows[] = {
    [OPTION_NODES] = { "nodes", 0, "LIST", "form with these now, such as 1,2 (default: all)" },
    CTL_ROW_WAIT("30"),
    CTL_ROW_CONFIG,
    { 0 },
};
static const struct command_page page = {
    "ctl form",
    "[--nodes LIST] [--wait S]",
    "Makes the configured blank nodes one cluster: waits until they answer, then until all vote.\n"
    "Done once per cluster; already done is no error.",
    rows,
};

struct forming {
    struct ask ask;
    struct wire_status statuses[LIMIT_NODES + 1];
    uint8_t slots;
    uint64_t until_us;
};

static bool parse_nodes(const char *list, uint8_t *slots)
{
    const char *item;
    size_t len;
    *slots = 0;
    while (config_list_next(&list, &item, &len)) {
        if (len != 1 || item[0] < '1' || item[0] > '0' + LIMIT_NODES)
            return false;
        *slots |= (uint8_t)(1u << (item[0] - '1'));
    }
    return *slots != 0;
}

static bool listed(uint8_t slots, uint8_t slot)
{
    return slots >> (slot - 1) & 1;
}

static uint8_t first_of(uint8_t slots)
{
    uint8_t slot = 1;
    while (!listed(slots, slot))
        slot++;
    return slot;
}

static uint64_t soon(const struct forming *forming)
{
    uint64_t at = loop_clock_us() + 2000000;
    return at < forming->until_us ? at : forming->until_us;
}

/* What the nodes that answered are: how many of the listed, whether all are blank or all are of one cluster. */
struct survey {
    unsigned missing; /* listed and silent */
    uint8_t missing_slot;
    bool blank;
    bool member;
    bool mixed;
    bool formed;
    uint8_t leader;
};

static struct survey survey(const struct forming *forming)
{
    struct survey found = { 0 };
    const uint8_t *cluster = NULL;
    for (uint8_t slot = 1; slot <= LIMIT_NODES; slot++) {
        const struct wire_status *status = &forming->statuses[slot];
        if (!status->node) {
            if (listed(forming->slots, slot)) {
                found.missing++;
                found.missing_slot = slot;
            }
            continue;
        }
        if (status->role == ROLE_BLANK) {
            found.blank |= listed(forming->slots, slot);
            continue;
        }
        found.member = true;
        found.formed |= status->formed;
        if (status->role == ROLE_LEADER)
            found.leader = slot;
        if (cluster && memcmp(cluster, status->cluster, IDENTITY_BYTES) != 0)
            found.mixed = true;
        cluster = status->cluster;
    }
    return found;
}

static int send_form(struct forming *forming, uint8_t slot)
{
    uint8_t message[1 + IDENTITY_BYTES + 32 + 1 + 8];
    struct writer writer = writer_of(message, sizeof message);
    uint8_t fresh[IDENTITY_BYTES + 32];
    randombytes_buf(fresh, sizeof fresh);
    write_u8(&writer, WIRE_FORM);
    write_copy(&writer, fresh, sizeof fresh);
    write_u8(&writer, forming->slots);
    write_u64(&writer, (uint64_t)forming->ask.file.config.log_segment_mb << 20);
    ask_send(&forming->ask, slot, (struct slice) { message, writer_used(&writer) });
    ask_wait(&forming->ask, forming->until_us);
    enum chat_code code;
    uint64_t index;
    char why[256];
    if (!ask_done(ask_reply(&forming->ask, slot), &code, &index, why))
        return loop_clock_us() >= forming->until_us ? EXIT_UNREACHABLE : EXIT_FAILED;
    if (code != CODE_OK)
        return say_error(EXIT_USAGE, "ctl form", "node %u: %s", slot, why);
    return EXIT_DONE;
}

static int refuse_mixed(const struct survey *found)
{
    if (found->mixed)
        return say_error(EXIT_FAILED, "ctl form",
                         "the nodes belong to different clusters (one of them has another's data "
                         "directory)");
    return EXIT_DONE;
}

/* Once formed, all that is listed must vote. */
static bool all_vote(const struct forming *forming)
{
    for (uint8_t slot = 1; slot <= LIMIT_NODES; slot++)
        if (forming->statuses[slot].role == ROLE_LEADER && forming->statuses[slot].formed)
            return (forming->slots & ~forming->statuses[slot].voters) == 0;
    return false;
}

static int form(struct forming *forming)
{
    struct survey found = { 0 };
    do {
        ask_statuses(&forming->ask, forming->statuses, soon(forming));
        found = survey(forming);
        int status = refuse_mixed(&found);
        if (status)
            return status;
        if (all_vote(forming)) {
            printf("The cluster is formed; node %u leads.\n", found.leader);
            return say_flushed("ctl form");
        }
        if (!found.missing) {
            uint8_t slot = found.member && found.leader ? found.leader : first_of(forming->slots);
            status = found.member && !found.leader ? EXIT_DONE : send_form(forming, slot);
            if (status == EXIT_USAGE)
                return status;
        }
        loop_run_once(forming->ask.loop, 20000);
    } while (loop_clock_us() < forming->until_us);
    if (found.missing)
        return say_error(EXIT_UNREACHABLE, "ctl form",
                         "node %u does not answer (is it started? see its log)",
                         found.missing_slot);
    return say_error(EXIT_UNREACHABLE, "ctl form",
                     "not all nodes vote yet (they go on by themselves: ftchat ctl status)");
}

/* All that the ini has, or those that --nodes lists; 0: it lists others. */
static uint8_t wanted_slots(const struct config *config, const char *nodes)
{
    uint8_t all = 0;
    uint8_t some;
    for (uint8_t slot = 1; slot <= LIMIT_NODES; slot++)
        if (config->nodes[slot].present)
            all |= (uint8_t)(1u << (slot - 1));
    if (!nodes)
        return all;
    return parse_nodes(nodes, &some) && !(some & ~all) ? some : 0;
}

int ctl_form(int argc, char **argv)
{
    static struct forming forming;
    struct ctl_given given = { .wait_s = 30 };
    const char *nodes = NULL;
    struct options options = options_begin(&page, argc, argv);
    for (int option; (option = ctl_next(&options, &given)) != OPTIONS_END;) {
        if (option != OPTION_NODES)
            return options.status;
        nodes = options.value;
    }
    int status = ask_open(&forming.ask, "ctl form", given.config);
    if (status)
        return status;
    forming.slots = wanted_slots(&forming.ask.file.config, nodes);
    forming.until_us = loop_clock_us() + given.wait_s * 1000000;
    if (!forming.slots)
        status = say_error(EXIT_USAGE, "ctl form",
                           "--nodes: %s: expected nodes of the ini, such as 1,2", nodes);
    else
        status = form(&forming);
    ask_close(&forming.ask);
    return status;
}
