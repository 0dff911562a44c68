/* `ftchat ctl status`: all nodes at once, two seconds in all, as a table or as one JSON object. */
#include "cmd/commands.h"
#include "cmd/ctl.h"
#include "cmd/ctl_ask.h"
#include "cmd/ctl_options.h"
#include "cmd/say.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { OPTION_JSON, OPTION_WATCH };
static const struct option_row rows[] = {
    [OPTION_JSON] = { "json", 0, NULL, "one JSON object" },
    [OPTION_WATCH] = { "watch", 'w', NULL, "again every second, until interrupted" },
    CTL_ROW_CONFIG,
    { 0 },
};
static const struct command_page page = {
    "ctl status",
    "[--json] [--watch]",
    "Shows every node. Exit status: 0 quorum and all healthy; 1 quorum, not all healthy; 3 no "
    "quorum.",
    rows,
};

enum { STATUS_US = 2000000, WATCH_US = 1000000 };

struct picture {
    struct wire_status nodes[LIMIT_NODES + 1];
    uint8_t leader; /* 0: no quorum */
    uint64_t term;
    uint64_t commit;
    uint8_t expected;    /* bit n - 1: a member; in a cluster not formed yet, named by the ini */
    unsigned healthy;    /* of them */
    uint8_t ini_differs; /* bit n - 1: the inis and the log say different things of slot n */
    uint64_t feature_level; /* the highest that any node has applied */
    uint64_t feature_next;  /* the highest that any node can do */
    unsigned voters;
    bool formed;
    bool blank; /* every node that answers is */
};

static bool is_healthy(const struct wire_status *status)
{
    return status->node && status->quorum && !status->disk_full && !status->twins && !status->damaged &&
           status->role != ROLE_BLANK && status->role != ROLE_REMOVED;
}

static const char *state_of(const struct wire_status *status)
{
    if (!status->node)
        return "dead";
    if (status->twins)
        return "twins";
    if (status->role == ROLE_REMOVED)
        return "removed";
    return is_healthy(status) ? "healthy" : "degraded";
}

static const char *role_name(uint8_t role)
{
    static const char *const names[WIRE_ROLES] = { "blank",     "learner", "follower",
                                                   "candidate", "leader",  "removed" };
    return names[role];
}

/* The leader is the one of the highest term that a majority of the voters it names follows. */
static void find_leader(struct picture *picture)
{
    for (unsigned slot = 1; slot <= LIMIT_NODES; slot++) {
        const struct wire_status *status = &picture->nodes[slot];
        if (status->role != ROLE_LEADER || !status->quorum || status->term < picture->term)
            continue;
        picture->leader = (uint8_t)slot;
        picture->term = status->term;
        picture->commit = status->commit;
        picture->formed = status->formed;
        picture->voters = (unsigned)__builtin_popcount(status->voters);
        if (status->formed)
            picture->expected = status->members;
    }
}

static struct picture look(struct ask *ask)
{
    static struct ask_members members;
    struct picture picture = { 0 };
    uint64_t until_us = loop_clock_us() + STATUS_US;
    (void)ask_members(ask, &members, until_us - STATUS_US / 2); /* for what the ini lacks */
    ask_statuses(ask, picture.nodes, until_us);
    for (unsigned slot = 1; slot <= LIMIT_NODES; slot++)
        if (ask->file.config.nodes[slot].present)
            picture.expected |= (uint8_t)(1u << (slot - 1));
    find_leader(&picture);
    unsigned answering = 0;
    unsigned blank = 0;
    for (unsigned slot = 1; slot <= LIMIT_NODES; slot++) {
        picture.ini_differs |= picture.nodes[slot].ini_differs;
        picture.healthy += (picture.expected >> (slot - 1) & 1) && is_healthy(&picture.nodes[slot]);
        answering += picture.nodes[slot].node != 0;
        blank += picture.nodes[slot].node && picture.nodes[slot].role == ROLE_BLANK;
        if (picture.nodes[slot].feature_level > picture.feature_level)
            picture.feature_level = picture.nodes[slot].feature_level;
        if (picture.nodes[slot].feature_max > picture.feature_next)
            picture.feature_next = picture.nodes[slot].feature_max;
        if (!picture.leader && picture.nodes[slot].term > picture.term)
            picture.term = picture.nodes[slot].term;
        if (!picture.leader && picture.nodes[slot].commit > picture.commit)
            picture.commit = picture.nodes[slot].commit;
    }
    picture.blank = blank > 0 && blank == answering;
    return picture;
}

static uint64_t lag_of(const struct picture *picture, const struct wire_status *status)
{
    return picture->commit > status->applied ? picture->commit - status->applied : 0;
}

/* "host:port", an IPv6 address in brackets. */
static const char *address_of(const struct config_node *config, char *out, size_t len)
{
    bool is_v6 = strchr(config->host, ':') != NULL;
    snprintf(out, len, "%s%s%s:%u", is_v6 ? "[" : "", config->host, is_v6 ? "]" : "", config->port);
    return out;
}

static void print_json_node(const struct ask *ask, const struct picture *picture, unsigned slot)
{
    const struct config_node *config = &ask->file.config.nodes[slot];
    const struct wire_status *status = &picture->nodes[slot];
    char address[CONFIG_TEXT_BYTES + 16];
    printf("{\"id\":%u,\"addr\":\"%s\",", slot, address_of(config, address, sizeof address));
    if (!status->node) {
        printf(
            "\"role\":null,\"state\":\"dead\",\"applied\":null,\"lag\":null,\"held\":null,"
            "\"clients\":null,\"rtt_us\":null,\"fsync_p50_us\":null,\"fsync_p99_us\":null,"
            "\"disk_free_bytes\":null,\"rss_bytes\":null,\"uptime_s\":null,\"pid\":null,"
            "\"version\":null,\"feature_level\":null,\"feature_max\":null,\"connections\":null}");
        return;
    }
#define U(field) (unsigned long long)status->field
    printf("\"role\":\"%s\",\"state\":\"%s\",\"applied\":%llu,\"lag\":%llu,\"held\":%llu,"
           "\"clients\":%llu,\"rtt_us\":%llu,\"fsync_p50_us\":%llu,\"fsync_p99_us\":%llu,"
           "\"disk_free_bytes\":%llu,\"rss_bytes\":%llu,\"uptime_s\":%llu,\"pid\":%llu,",
           role_name(status->role), state_of(status), U(applied),
           (unsigned long long)lag_of(picture, status), U(held), U(clients), U(rtt_us),
           U(fsync_p50_us), U(fsync_p99_us), U(disk_free_bytes), U(rss_bytes), U(uptime_s), U(pid));
    printf("\"feature_level\":%llu,\"feature_max\":%llu,", U(feature_level), U(feature_max));
    printf("\"version\":\"%.*s\",\"elections\":%llu,\"disk_full\":%s,"
           "\"damaged\":%llu,\"mended\":%llu,\"proved\":%llu,"
           "\"connections\":{\"accepted\":%llu,\"refused_cap\":%llu,\"refused_deadline\":%llu,"
           "\"garbage\":%llu,\"truncated\":%llu,\"oversized\":%llu}}",
           (int)status->version.len, (const char *)status->version.data, U(elections),
           status->disk_full ? "true" : "false", U(damaged), U(mended), U(proved), U(accepted),
           U(refused_cap), U(refused_deadline), U(refused_garbage), U(refused_truncated),
           U(refused_oversized));
#undef U
}

static void print_json(const struct ask *ask, const struct picture *picture)
{
    printf("{\"cluster\":\"%s\",\"quorum\":%s,\"leader\":", ask->file.config.cluster_name,
           picture->leader ? "true" : "false");
    if (picture->leader)
        printf("%u", picture->leader);
    else
        printf("null");
    printf(",\"term\":%llu,\"commit\":%llu,\"nodes\":[", (unsigned long long)picture->term,
           (unsigned long long)picture->commit);
    bool first = true;
    for (unsigned slot = 1; slot <= LIMIT_NODES; slot++) {
        if (!ask->file.config.nodes[slot].present)
            continue;
        if (!first)
            printf(",");
        first = false;
        print_json_node(ask, picture, slot);
    }
    printf("]}\n");
}

static void print_row(const struct ask *ask, const struct picture *picture, unsigned slot)
{
    const struct config_node *config = &ask->file.config.nodes[slot];
    const struct wire_status *status = &picture->nodes[slot];
    char address[CONFIG_TEXT_BYTES + 16];
    address_of(config, address, sizeof address);
    if (!status->node) {
        printf("%-4u %-22s %-10s %-9s\n", slot, address, "-", "dead");
        return;
    }
    printf("%-4u %-22s %-10s %-9s %10llu %8llu %8llu %8llu %9llu %8llu %8llu\n", slot, address,
           role_name(status->role), state_of(status), (unsigned long long)status->applied,
           (unsigned long long)lag_of(picture, status), (unsigned long long)status->clients,
           (unsigned long long)status->rtt_us, (unsigned long long)status->fsync_p99_us,
           (unsigned long long)(status->rss_bytes >> 10), (unsigned long long)status->pid);
}

/* What an operator wants to know first: does it take posts, and how much more may break. */
static void print_summary(const struct picture *picture)
{
    if (!picture->leader && picture->blank) {
        printf("No cluster yet: nodes are blank. Once, on one host: ftchat ctl form\n");
        return;
    }
    if (!picture->leader) {
        printf("NO QUORUM: nothing can be committed. Start the nodes that are dead.\n");
        return;
    }
    if (!picture->formed) {
        printf("Forming: posts are taken once all configured nodes vote.\n");
        return;
    }
    const struct wire_status *leader = &picture->nodes[picture->leader];
    unsigned here = (unsigned)__builtin_popcount(leader->voters & leader->healthy);
    unsigned majority = picture->voters / 2 + 1;
    printf("Node %u leads in term %llu; %u more voter%s may fail.\n", picture->leader,
           (unsigned long long)picture->term, here > majority ? here - majority : 0,
           here - majority == 1 ? "" : "s");
    if (picture->feature_next > picture->feature_level)
        printf(
            "Feature level %llu; some nodes can do %llu: it rises when all can (or the ini holds "
            "it).\n",
            (unsigned long long)picture->feature_level, (unsigned long long)picture->feature_next);
}

static void print_table(const struct ask *ask, const struct picture *picture)
{
    printf("%-4s %-22s %-10s %-9s %10s %8s %8s %8s %9s %8s %8s\n", "node", "address", "role",
           "state", "applied", "lag", "clients", "rtt_us", "fsync_us", "rss_KiB", "pid");
    for (unsigned slot = 1; slot <= LIMIT_NODES; slot++)
        if (ask->file.config.nodes[slot].present)
            print_row(ask, picture, slot);
    print_summary(picture);
    if (picture->ini_differs)
        printf("An ini and the log differ (ftchat ctl members).\n");
    for (unsigned slot = 1; slot <= LIMIT_NODES; slot++)
        if (picture->nodes[slot].node && picture->nodes[slot].damaged)
            printf("Node %u: %llu damaged file%s on its disk, mended as soon as another node can "
                   "give what is missing.\n",
                   slot, (unsigned long long)picture->nodes[slot].damaged,
                   picture->nodes[slot].damaged == 1 ? "" : "s");
}

static int show(struct ask *ask, bool json)
{
    struct picture picture = look(ask);
    if (json)
        print_json(ask, &picture);
    else
        print_table(ask, &picture);
    int flushed = say_flushed("ctl status");
    if (flushed)
        return flushed;
    if (!picture.leader)
        return EXIT_UNREACHABLE;
    return picture.healthy == (unsigned)__builtin_popcount(picture.expected) ? EXIT_DONE
                                                                             : EXIT_FAILED;
}

static void on_second(struct loop_timer *timer)
{
    (void)timer;
}

static void wait_a_second(struct ask *ask)
{
    struct loop_timer timer = { .on_fire = on_second };
    uint64_t at = loop_clock_us() + WATCH_US;
    loop_timer_set(ask->loop, &timer, at);
    while (loop_clock_us() < at)
        loop_run_once(ask->loop, UINT64_MAX);
}

int ctl_status(int argc, char **argv)
{
    static struct ask ask;
    struct ctl_given given = { 0 };
    bool json = false;
    bool watch = false;
    struct options options = options_begin(&page, argc, argv);
    for (int option; (option = ctl_next(&options, &given)) != OPTIONS_END;) {
        if (option == OPTIONS_EXIT)
            return options.status;
        json |= option == OPTION_JSON;
        watch |= option == OPTION_WATCH;
    }
    int status = ask_open(&ask, "ctl status", given.config);
    if (status)
        return status;
    for (;;) {
        if (watch && !json && isatty(STDOUT_FILENO))
            printf("\033[H\033[J");
        status = show(&ask, json);
        if (!watch)
            break;
        wait_a_second(&ask);
    }
    ask_close(&ask);
    return status;
}
