/* `ftchat ctl members`: who belongs to the cluster by its log, who of them is there, and where the inis say otherwise. */
#include "cmd/commands.h"
#include "cmd/ctl.h"
#include "cmd/ctl_ask.h"
#include "cmd/ctl_options.h"
#include "cmd/say.h"

#include <stdio.h>
#include <string.h>

enum { OPTION_JSON };
static const struct option_row rows[] = {
    [OPTION_JSON] = { "json", 0, NULL, "one JSON object" },
    CTL_ROW_WAIT("2"),
    CTL_ROW_CONFIG,
    { 0 },
};
static const struct command_page page = {
    "ctl members",
    "[--json] [--wait S]",
    "Shows the seats of the cluster, as its log says. Exit status: 0 every member is there; 1 one "
    "is "
    "not,\n"
    "or a seat is vacant; 3 no quorum.",
    rows,
};

static const char *const roles[] = { "learner", "voter", "vacant" };

static const char *state_of(const struct wire_members *members, const struct wire_seat *seat)
{
    if (seat->role == SEAT_VACANT)
        return "vacant";
    if (!members->leads)
        return "unknown";
    return seat->linked ? "here" : "away";
}

static uint64_t lag_of(const struct wire_members *members, const struct wire_seat *seat)
{
    return members->last_index > seat->match ? members->last_index - seat->match : 0;
}

/* As the log says; where it says nothing, as this ini does. */
static const char *address_of(const struct ask *ask, const struct wire_seat *seat, char *out,
                              size_t capacity)
{
    const struct config_node *node = &ask->file.config.nodes[seat->slot];
    char host[CONFIG_TEXT_BYTES] = "";
    uint16_t port = seat->port ? seat->port : node->port;
    if (seat->port && seat->host.len < sizeof host)
        memcpy(host, seat->host.data, seat->host.len);
    else
        memcpy(host, node->host, sizeof host);
    for (char *at = host; *at; at++)
        if (*at <= ' ' || *at > '~' || *at == '"' || *at == '\\')
            *at = '?';
    bool is_v6 = strchr(host, ':') != NULL;
    snprintf(out, capacity, "%s%s%s:%u", is_v6 ? "[" : "", host, is_v6 ? "]" : "", port);
    return out;
}

static void hex(char out[2 * IDENTITY_BYTES + 1], const uint8_t *bytes)
{
    for (unsigned i = 0; i < IDENTITY_BYTES; i++)
        snprintf(out + 2 * i, 3, "%02x", bytes[i]);
}

static void print_json(const struct ask *ask, const struct ask_members *all)
{
    const struct wire_members *members = &all->config;
    char address[CONFIG_TEXT_BYTES + 16];
    char identity[2 * IDENTITY_BYTES + 1];
    printf("{\"cluster\":\"%s\",\"quorum\":%s,\"leader\":", ask->file.config.cluster_name,
           members->leads ? "true" : "false");
    if (members->leads)
        printf("%u", members->node);
    else
        printf("null");
    printf(",\"index\":%llu,\"pending\":%s,\"members\":[", (unsigned long long)members->index,
           members->pending ? "true" : "false");
    for (unsigned i = 0; i < members->count; i++) {
        const struct wire_seat *seat = &members->seats[i];
        hex(identity, seat->identity);
        printf("%s{\"id\":%u,\"addr\":\"%s\",\"role\":\"%s\",\"state\":\"%s\",\"identity\":\"%s\",",
               i ? "," : "", seat->slot, address_of(ask, seat, address, sizeof address),
               roles[seat->role], state_of(members, seat), identity);
        if (members->leads && seat->role != SEAT_VACANT)
            printf("\"lag\":%llu}", (unsigned long long)lag_of(members, seat));
        else
            printf("\"lag\":null}");
    }
    printf("],\"ini_differs\":[");
    bool first = true;
    for (unsigned node = 1; node <= LIMIT_NODES; node++)
        for (unsigned slot = 1; slot <= LIMIT_NODES; slot++) {
            if (!(all->differs[node] >> (slot - 1) & 1))
                continue;
            printf("%s{\"on\":%u,\"id\":%u}", first ? "" : ",", node, slot);
            first = false;
        }
    printf("]}\n");
}

static void print_differences(const struct ask_members *all)
{
    for (unsigned node = 1; node <= LIMIT_NODES; node++)
        for (unsigned slot = 1; slot <= LIMIT_NODES; slot++)
            if (all->differs[node] >> (slot - 1) & 1)
                printf(
                    "The ini on node %u says something else of node %u than the log (see its log: "
                    "ini_differs).\n",
                    node, slot);
}

static void print_table(const struct ask *ask, const struct ask_members *all)
{
    const struct wire_members *members = &all->config;
    char address[CONFIG_TEXT_BYTES + 16];
    char identity[2 * IDENTITY_BYTES + 1];
    printf("%-4s %-22s %-8s %-8s %10s  %s\n", "node", "address", "role", "state", "lag",
           "identity");
    for (unsigned i = 0; i < members->count; i++) {
        const struct wire_seat *seat = &members->seats[i];
        char lag[24] = "-";
        hex(identity, seat->identity);
        if (members->leads && seat->role != SEAT_VACANT)
            snprintf(lag, sizeof lag, "%llu", (unsigned long long)lag_of(members, seat));
        printf("%-4u %-22s %-8s %-8s %10s  %s\n", seat->slot,
               address_of(ask, seat, address, sizeof address), roles[seat->role],
               state_of(members, seat), lag, seat->role == SEAT_VACANT ? "-" : identity);
    }
    if (members->leads)
        printf("Node %u leads%s.\n", members->node,
               members->pending ? "; a change is being committed" : "");
    else
        printf("NO QUORUM: this is what node %u knows.\n", members->node);
    print_differences(all);
}

static bool all_here(const struct wire_members *members)
{
    for (unsigned i = 0; i < members->count; i++)
        if (members->seats[i].role == SEAT_VACANT || !members->seats[i].linked)
            return false;
    return !members->pending;
}

int ctl_members(int argc, char **argv)
{
    static struct ask ask;
    static struct ask_members members;
    struct ctl_given given = { .wait_s = 2 };
    bool json = false;
    struct options options = options_begin(&page, argc, argv);
    for (int option; (option = ctl_next(&options, &given)) != OPTIONS_END;) {
        if (option == OPTIONS_EXIT)
            return options.status;
        json = true;
    }
    int status = ask_open(&ask, "ctl members", given.config);
    if (status)
        return status;
    bool answered = ask_members(&ask, &members, loop_clock_us() + given.wait_s * 1000000);
    if (!answered || !members.config.count) {
        ask_close(&ask);
        return say_error(EXIT_UNREACHABLE, "ctl members", "no node of a cluster answers");
    }
    if (json)
        print_json(&ask, &members);
    else
        print_table(&ask, &members);
    status = say_flushed("ctl members");
    ask_close(&ask);
    if (status)
        return status;
    if (!members.config.leads)
        return EXIT_UNREACHABLE;
    return all_here(&members.config) ? EXIT_DONE : EXIT_FAILED;
}
