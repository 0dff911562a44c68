/* `ftchat monitor`: keeps the nodes of this host running. */
#include "cmd/monitor/monitor_app.h"

#include "cmd/commands.h"
#include "cmd/options.h"
#include "cmd/say.h"
#include "cmd/version.h"
#include "net/tcp.h"

#include <ifaddrs.h>
#include <netdb.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { OPTION_ID, OPTION_ALL, OPTION_CONFIG };
static const struct option_row rows[] = {
    [OPTION_ID] = { "id", 0, "N", "look after node N, which is on this host" },
    [OPTION_ALL] = { "all", 0, NULL, "look after every node of the ini whose host is this one" },
    [OPTION_CONFIG] = { "config", 0, "FILE", "the configuration (default: ./ftchat.ini)" },
    { 0 },
};
static const struct command_page page = {
    "monitor",
    "--id N | --all [--config FILE]",
    "Starts the nodes of this host and keeps them running: one that dies is started again, one\n"
    "that hangs (no pulse for [monitor] pulse_timeout_ms) is killed and started again; one that\n"
    "ended with status 0 was stopped on purpose and is left alone. Nodes that run already are\n"
    "taken over. With --all each node logs to data_dir/N/node.log, which is kept short.\n"
    "SIGTERM: stops its nodes, then ends with 0. SIGHUP: starts those that are stopped.\n"
    "When the monitor itself dies its nodes go on; the next one takes them over.\n"
    "Monitors hear each other on [node.N] monitor_port and elect a leader, the highest number\n"
    "that is there. Of a host where neither node nor monitor is heard it runs [monitor]\n"
    "start_command.",
    rows,
};

enum { CHORES_US = 10000000 };

/* --- which nodes are this host's ----------------------------------------------------------------
 */

/* One of an interface, or of the loopback network. (To listen on one proves nothing: some hosts are
 * told to let that be done for addresses that they may get.) */
static bool is_local(const struct sockaddr *wanted, const struct ifaddrs *interfaces)
{
    struct tcp_address address;
    struct tcp_address loopback;
    struct tcp_address own;
    tcp_address_from(&address, wanted);
    bool local = tcp_address_parse(&loopback, "127.0.0.0", 0) &&
                 memcmp(address.ip, loopback.ip, 13) == 0; /* ::ffff:127.0.0.0/104 */
    for (; interfaces && !local; interfaces = interfaces->ifa_next) {
        if (!interfaces->ifa_addr || interfaces->ifa_addr->sa_family != wanted->sa_family)
            continue;
        tcp_address_from(&own, interfaces->ifa_addr);
        local = tcp_address_same_ip(&own, &address);
    }
    return local;
}

static bool is_this_host(const char *host)
{
    struct addrinfo *found = NULL;
    const struct addrinfo wanted = { .ai_socktype = SOCK_STREAM };
    struct ifaddrs *interfaces = NULL;
    bool local = false;
    if (getaddrinfo(host, "0", &wanted, &found) != 0)
        return false;
    if (getifaddrs(&interfaces) != 0)
        interfaces = NULL;
    for (struct addrinfo *one = found; one && !local; one = one->ai_next)
        local = is_local(one->ai_addr, interfaces);
    freeaddrinfo(found);
    freeifaddrs(interfaces);
    return local;
}

static int open_wards(struct app *app, uint8_t only)
{
    int status = EXIT_DONE;
    for (uint8_t slot = 1; slot <= LIMIT_NODES && !status; slot++) {
        const struct config_node *node = &app->file.config.nodes[slot];
        if (!node->present || (only ? slot != only : !is_this_host(node->host)))
            continue;
        status = ward_open(&app->wards[app->wards_count++], app, slot);
    }
    if (!status && !app->wards_count)
        return say_error(EXIT_USAGE, "monitor",
                         "--all: no node of %s has an address of this host (name one: --id N)",
                         app->file.path);
    return status;
}

/* --- its loop ----------------------------------------------------------------------------------- */

void app_ward_stopped(struct app *app)
{
    if (!app->leaving)
        return;
    for (uint32_t i = 0; i < app->wards_count; i++)
        if (app->wards[i].supervisor.state != SUPERVISED_STOPPED)
            return;
    loop_stop(app->loop);
}

static void on_signal(struct loop_signals *signals, int number)
{
    struct app *app = LOOP_HOLDER(struct app, signals, signals);
    uint64_t now = loop_clock_us();
    if (number != SIGHUP && app->leaving) {
        log_line("warn", "monitor", 0,
                 "event=leaving why=\"a second signal: the nodes end without it\"");
        loop_stop(app->loop);
        return;
    }
    app->leaving = app->leaving || number != SIGHUP;
    log_line("info", "monitor", 0, "event=%s", app->leaving ? "stopping" : "reload");
    if (app->leaving)
        log_notify("STOPPING=1");
    for (uint32_t i = 0; i < app->wards_count; i++) {
        struct ward *ward = &app->wards[i];
        if (app->leaving)
            supervisor_dismiss(&ward->supervisor, now);
        else
            supervisor_ask(&ward->supervisor, now);
        ward_look(ward);
    }
    app_ward_stopped(app);
}

static void on_watchdog(struct loop_timer *timer)
{
    struct app *app = LOOP_HOLDER(struct app, watchdog, timer);
    log_notify("WATCHDOG=1");
    loop_timer_set(app->loop, timer, loop_now_us(app->loop) + app->watchdog_us);
}

static void on_chores(struct loop_timer *timer)
{
    struct app *app = LOOP_HOLDER(struct app, chores, timer);
    for (uint32_t i = 0; i < app->wards_count; i++)
        ward_chores(&app->wards[i]);
    loop_timer_set(app->loop, timer, loop_now_us(app->loop) + CHORES_US);
}

static void start_timers(struct app *app)
{
    const char *asked = getenv("WATCHDOG_USEC");
    app->watchdog_us = asked ? strtoull(asked, NULL, 10) / 2 : 0;
    app->watchdog.on_fire = on_watchdog;
    if (app->watchdog_us)
        on_watchdog(&app->watchdog);
    app->chores.on_fire = on_chores;
    on_chores(&app->chores);
}

static int run(struct app *app)
{
    static const int numbers[] = { SIGTERM, SIGINT, SIGHUP };
    app->loop = loop_create();
    if (!app->loop)
        return say_error(EXIT_FAILED, "monitor", "no event loop");
    app->signals.on_signal = on_signal;
    if (loop_watch_signals(app->loop, &app->signals, numbers, 3))
        return say_error(EXIT_FAILED, "monitor", "signals cannot be watched");
    log_line("info", "monitor", 0, "event=start version=%s nodes=%u", version_string(),
             app->wards_count);
    for (uint32_t i = 0; i < app->wards_count; i++)
        ward_start(&app->wards[i]);
    start_timers(app);
    log_notify("READY=1");
    loop_run(app->loop);
    log_line("info", "monitor", 0, "event=end");
    return EXIT_DONE;
}

/* What is started is the file that this program was called from, so that a new one put in its place
 * is what the next start runs. */
static int find_itself(struct app *app)
{
    static const char gone[] = " (deleted)";
    ssize_t len = readlink("/proc/self/exe", app->program, sizeof app->program - 1);
    if (len <= 0)
        return say_error(EXIT_FAILED, "monitor",
                         "/proc/self/exe: cannot be read (is /proc mounted?)");
    app->program[len] = 0;
    size_t tail = sizeof gone - 1;
    if ((size_t)len > tail && strcmp(app->program + len - tail, gone) == 0)
        app->program[(size_t)len - tail] = 0;
    /* Not through links: relative paths in it are relative to where it was found. */
    const char *slash = strrchr(app->file.path, '/');
    int size = snprintf(app->config, sizeof app->config, "%s/%s", app->file.folder,
                        slash ? slash + 1 : app->file.path);
    if (size >= (int)sizeof app->config)
        return say_error(EXIT_USAGE, "monitor", "%s: path too long", app->file.path);
    return EXIT_DONE;
}

int cmd_monitor(int argc, char **argv)
{
    static struct app app;
    const char *config = NULL;
    uint64_t id = 0;
    struct options options = options_begin(&page, argc, argv);
    for (int option; (option = options_next(&options)) != OPTIONS_END;) {
        switch (option) {
        case OPTION_ID:
            if (!options_number(&options, "id", 1, LIMIT_NODES, &id))
                return EXIT_USAGE;
            break;
        case OPTION_ALL:
            app.all = true;
            break;
        case OPTION_CONFIG:
            config = options.value;
            break;
        case OPTIONS_OPERAND:
            return say_error(EXIT_USAGE, "monitor", "%s: not an option (see ftchat monitor --help)",
                             options.value);
        default:
            return options.status;
        }
    }
    if (!id == !app.all)
        return say_error(EXIT_USAGE, "monitor",
                         "--id N or --all: exactly one of them: which nodes?");
    int status = config_load_node(&app.file, "monitor", config, (unsigned)id, &app.keys);
    if (!status)
        status = find_itself(&app);
    if (!status)
        status = open_wards(&app, (uint8_t)id);
    if (!status)
        status = run(&app);
    for (uint32_t i = 0; i < app.wards_count; i++)
        ward_close(&app.wards[i]);
    keys_wipe(&app.keys);
    return status;
}
