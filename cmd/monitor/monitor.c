/* `ftchat monitor`: keeps the nodes of this host running. */
#include "cmd/monitor/monitor.h"

#include "cmd/commands.h"
#include "cmd/crypto_sodium.h"
#include "cmd/options.h"
#include "cmd/say.h"
#include "cmd/version.h"

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
    "Starts the nodes of this host and keeps them running: one that dies is started again, one "
    "that\n"
    "hangs (no pulse for [monitor] pulse_timeout_ms) is killed and started again; one that ended\n"
    "with status 0 was stopped on purpose and is left alone. Nodes that run already are taken "
    "over.\n"
    "With --all each node logs to data_dir/N/node.log, which is kept short.\n"
    "SIGTERM: stops its nodes, then ends with 0. SIGHUP: starts those that are stopped.\n"
    "When the monitor itself dies its nodes go on; the next one takes them over.",
    rows,
};

enum { CHORES_US = 10000000 };

/* --- which nodes are this host's ----------------------------------------------------------------
 */

/* An address is this host's if one can listen on it. */
static bool is_local(const struct addrinfo *address)
{
    struct sockaddr_storage any_port = { 0 };
    memcpy(&any_port, address->ai_addr, address->ai_addrlen);
    int fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool local = fd >= 0 && bind(fd, (const struct sockaddr *)&any_port, address->ai_addrlen) == 0;
    if (fd >= 0)
        close(fd);
    return local;
}

static bool is_this_host(const char *host)
{
    struct addrinfo *found = NULL;
    const struct addrinfo wanted = { .ai_socktype = SOCK_STREAM };
    bool local = false;
    if (getaddrinfo(host, "0", &wanted, &found) != 0)
        return false;
    for (struct addrinfo *one = found; one && !local; one = one->ai_next)
        local = is_local(one);
    freeaddrinfo(found);
    return local;
}

static int open_wards(struct monitor *monitor, uint8_t only)
{
    int status = EXIT_DONE;
    for (uint8_t slot = 1; slot <= LIMIT_NODES && !status; slot++) {
        const struct config_node *node = &monitor->file.config.nodes[slot];
        if (!node->present || (only ? slot != only : !is_this_host(node->host)))
            continue;
        status = ward_open(&monitor->wards[monitor->wards_count++], monitor, slot);
    }
    if (!status && !monitor->wards_count)
        return say_error(EXIT_USAGE, "monitor",
                         "--all: no node of %s has an address of this host (name one: --id N)",
                         monitor->file.path);
    return status;
}

/* --- its loop ----------------------------------------------------------------------------------- */

void monitor_ward_stopped(struct monitor *monitor)
{
    if (!monitor->leaving)
        return;
    for (uint32_t i = 0; i < monitor->wards_count; i++)
        if (monitor->wards[i].supervisor.state != SUPERVISED_STOPPED)
            return;
    loop_stop(monitor->loop);
}

static void on_signal(struct loop_signals *signals, int number)
{
    struct monitor *monitor = LOOP_HOLDER(struct monitor, signals, signals);
    uint64_t now = loop_clock_us();
    if (number != SIGHUP && monitor->leaving) {
        log_line("warn", "monitor", 0,
                 "event=leaving why=\"a second signal: the nodes end without it\"");
        loop_stop(monitor->loop);
        return;
    }
    monitor->leaving = monitor->leaving || number != SIGHUP;
    log_line("info", "monitor", 0, "event=%s", monitor->leaving ? "stopping" : "reload");
    if (monitor->leaving)
        log_notify("STOPPING=1");
    for (uint32_t i = 0; i < monitor->wards_count; i++) {
        struct ward *ward = &monitor->wards[i];
        if (monitor->leaving)
            supervisor_dismiss(&ward->supervisor, now);
        else
            supervisor_ask(&ward->supervisor, now);
        ward_look(ward);
    }
    monitor_ward_stopped(monitor);
}

static void on_watchdog(struct loop_timer *timer)
{
    struct monitor *monitor = LOOP_HOLDER(struct monitor, watchdog, timer);
    log_notify("WATCHDOG=1");
    loop_timer_set(monitor->loop, timer, loop_now_us(monitor->loop) + monitor->watchdog_us);
}

static void on_chores(struct loop_timer *timer)
{
    struct monitor *monitor = LOOP_HOLDER(struct monitor, chores, timer);
    for (uint32_t i = 0; i < monitor->wards_count; i++)
        ward_chores(&monitor->wards[i]);
    loop_timer_set(monitor->loop, timer, loop_now_us(monitor->loop) + CHORES_US);
}

static void start_timers(struct monitor *monitor)
{
    const char *asked = getenv("WATCHDOG_USEC");
    monitor->watchdog_us = asked ? strtoull(asked, NULL, 10) / 2 : 0;
    monitor->watchdog.on_fire = on_watchdog;
    if (monitor->watchdog_us)
        on_watchdog(&monitor->watchdog);
    monitor->chores.on_fire = on_chores;
    on_chores(&monitor->chores);
}

static int run(struct monitor *monitor)
{
    static const int numbers[] = { SIGTERM, SIGINT, SIGHUP };
    monitor->loop = loop_create();
    if (!monitor->loop)
        return say_error(EXIT_FAILED, "monitor", "no event loop");
    monitor->signals.on_signal = on_signal;
    if (loop_watch_signals(monitor->loop, &monitor->signals, numbers, 3))
        return say_error(EXIT_FAILED, "monitor", "signals cannot be watched");
    log_line("info", "monitor", 0, "event=start version=%s nodes=%u", version_string(),
             monitor->wards_count);
    for (uint32_t i = 0; i < monitor->wards_count; i++)
        ward_start(&monitor->wards[i]);
    start_timers(monitor);
    log_notify("READY=1");
    loop_run(monitor->loop);
    log_line("info", "monitor", 0, "event=end");
    return EXIT_DONE;
}

/* What is started is the file that this program was called from, so that a new one put in its place
 * is what the next start runs. */
static int find_itself(struct monitor *monitor)
{
    static const char gone[] = " (deleted)";
    ssize_t len = readlink("/proc/self/exe", monitor->program, sizeof monitor->program - 1);
    if (len <= 0)
        return say_error(EXIT_FAILED, "monitor",
                         "/proc/self/exe: cannot be read (is /proc mounted?)");
    monitor->program[len] = 0;
    size_t tail = sizeof gone - 1;
    if ((size_t)len > tail && strcmp(monitor->program + len - tail, gone) == 0)
        monitor->program[(size_t)len - tail] = 0;
    if (!realpath(monitor->file.path, monitor->config))
        return say_error(EXIT_USAGE, "monitor", "%s: cannot be found", monitor->file.path);
    return EXIT_DONE;
}

int cmd_monitor(int argc, char **argv)
{
    static struct monitor monitor;
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
            monitor.all = true;
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
    if (!id == !monitor.all)
        return say_error(EXIT_USAGE, "monitor",
                         "--id N or --all: exactly one of them: which nodes?");
    int status = config_load(&monitor.file, "monitor", config);
    if (status)
        return status;
    if (id && !monitor.file.config.nodes[id].present)
        return say_error(EXIT_USAGE, "monitor", "--id: %llu: no [node.%llu] in %s",
                         (unsigned long long)id, (unsigned long long)id, monitor.file.path);
    if (!crypto_start())
        return say_error(EXIT_FAILED, "monitor", "the system gives no randomness");
    status = find_itself(&monitor);
    if (!status)
        status = open_wards(&monitor, (uint8_t)id);
    if (!status)
        status = run(&monitor);
    for (uint32_t i = 0; i < monitor.wards_count; i++)
        ward_close(&monitor.wards[i]);
    return status;
}
