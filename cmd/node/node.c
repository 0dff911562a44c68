/* `ftchat node`: one node in the foreground. */
#include "cmd/commands.h"
#include "cmd/crypto_sodium.h"
#include "cmd/keys.h"
#include "cmd/node/server.h"
#include "cmd/options.h"
#include "cmd/say.h"
#include "cmd/version.h"
#include "core/check.h"
#include "core/feature.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#define DAY_US (UINT64_C(86400) * 1000000)

enum { OPTION_ID, OPTION_CONFIG, OPTION_LOG };
static const struct option_row rows[] = {
    [OPTION_ID] = { "id", 0, "N", "which node of the ini this is" },
    [OPTION_CONFIG] = { "config", 0, "FILE", "the configuration (default: ./ftchat.ini)" },
    [OPTION_LOG] = { "log", 0, "FILE", "log there instead; opened anew at SIGHUP" },
    { 0 },
};
static const struct command_page page = {
    "node",
    "--id N [--config FILE] [--log FILE]",
    "Runs one node in the foreground; logs to stderr.\n"
    "SIGTERM: hands leadership over and ends with 0. A blank node waits for `ftchat ctl form`.",
    rows,
};

struct now server_now(const struct server *server)
{
    return (struct now) { .mono_us = loop_now_us(server->loop), .wall_us = loop_wall_us() };
}

void server_step(struct server *server, struct node_event *event)
{
    if (server->halted)
        return;
    event->now = server_now(server);
    node_step(server->node, event, &server->effects);
}

static void on_tick(struct loop_timer *timer)
{
    struct server *server = LOOP_HOLDER(struct server, wake, timer);
    server->wake_at_us = UINT64_MAX;
    if (loop_late_us(server->loop) > server->late_us) {
        struct node_event late = { .kind = EVENT_LATE };
        server_step(server, &late);
    }
    struct node_event tick = { .kind = EVENT_TICK };
    server_step(server, &tick);
}

static void on_gauges(struct loop_timer *timer)
{
    struct server *server = LOOP_HOLDER(struct server, gauges_timer, timer);
    server_gauges(server);
    loop_timer_set(server->loop, timer, loop_now_us(server->loop) + SERVER_GAUGES_US);
}

static void on_turn_end(struct loop_hook *hook)
{
    struct server *server = LOOP_HOLDER(struct server, turn_end, hook);
    server_tell_doomed(server);
    struct node_event event = { .kind = EVENT_TURN_END };
    server_step(server, &event);
    if (server->halted)
        loop_stop(server->loop);
}

/* Everything that goes to stderr goes to that file from here on; false: it cannot be opened. */
static bool open_log(const struct server *server)
{
    if (!server->log)
        return true;
    int fd = open(server->log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);
    if (fd < 0)
        return false;
    bool moved = dup2(fd, STDERR_FILENO) >= 0;
    close(fd);
    return moved;
}

static void on_signal(struct loop_signals *signals, int number)
{
    struct server *server = LOOP_HOLDER(struct server, signals, signals);
    if (number == SIGHUP) {
        if (!open_log(server))
            server_log(server, "error", "event=log_not_opened");
        server_log(server, "info",
                   "event=reload why=\"no setting of this version changes while running\"");
        return;
    }
    server_log(server, "info", "event=stopping");
    log_notify("STOPPING=1");
    server_pulse_stopping(server);
    struct node_event event = { .kind = EVENT_STOP };
    server_step(server, &event);
}

/* As many descriptors as the system lets us have; told, for it bounds the connections. */
static void raise_descriptor_limit(const struct server *server)
{
    struct rlimit limit;
    char line[SERVER_LOG_BYTES];
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    rlim_t wanted = LIMIT_CONNECTIONS + 256;
    struct rlimit raised = { .rlim_cur = wanted, .rlim_max = wanted };
    if (limit.rlim_max >= wanted || setrlimit(RLIMIT_NOFILE, &raised) != 0) {
        raised.rlim_max = limit.rlim_max;
        raised.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted;
        (void)setrlimit(RLIMIT_NOFILE, &raised);
    }
    (void)getrlimit(RLIMIT_NOFILE, &limit);
    snprintf(line, sizeof line, "event=descriptors limit=%llu", (unsigned long long)limit.rlim_cur);
    server_log(server, "info", line);
}

_Static_assert((int)CONFIG_TEXT_BYTES <= (int)LIMIT_HOST_BYTES,
               "the log takes any host of the ini");

static void note_addresses(struct server *server)
{
    for (unsigned slot = 1; slot <= LIMIT_NODES; slot++) {
        const struct config_node *node = &server->file.config.nodes[slot];
        struct raft_address *address = &server->addresses[slot];
        if (!node->present)
            continue;
        address->port = node->port;
        address->host_len = (uint8_t)strlen(node->host);
        memcpy(address->host, node->host, address->host_len);
    }
}

static struct node_options options_of(const struct server *server,
                                      const struct store_recovery *recovery)
{
    const struct config *config = &server->file.config;
    struct node_options options = {
        .slot = server->slot,
        .addresses = server->addresses,
        .crypto = &crypto_sodium,
        .heartbeat_us = config->raft_heartbeat_ms * 1000,
        .election_min_us = config->raft_election_min_ms * 1000,
        .election_max_us = config->raft_election_max_ms * 1000,
        .cache_bytes = LIMIT_LOG_CACHE_BYTES,
        .cache_entries = LIMIT_LOG_CACHE_ENTRIES,
        .chat = chat_limits_default,
        .connections = LIMIT_CONNECTIONS,
        .queue_bytes = LIMIT_QUEUE_BYTES,
        .recent_bytes = LIMIT_RECENT_BYTES,
        .segment_bytes = recovery->segment_bytes,
        .retain_bytes = (uint64_t)config->log_retain_gb << 30,
        .retain_us = (uint64_t)config->log_retain_days * DAY_US,
        .copy_bytes = LIMIT_COPY_BYTES,
        .copy_bytes_per_s = LIMIT_COPY_BYTES_PER_S,
        .scrub_us = (uint64_t)config->log_scrub_days * 86400 * 1000000,
        .message_bytes = config->limit_message_bytes,
        .posts_per_s = config->limit_posts_per_s,
        .catch_up = config->limit_catch_up,
        .registrations_per_min = config->limit_registrations_per_min,
        .feature_max = FEATURE_LEVEL_MAX,
        .feature_allowed = (uint16_t)config->feature_level,
        .registration_open = config->accounts_registration == REGISTRATION_OPEN,
        .registration_closed = config->accounts_registration == REGISTRATION_CLOSED,
        .version = { (const uint8_t *)version_string(), strlen(version_string()) },
    };
    memcpy(options.identity, recovery->identity, sizeof options.identity);
    randombytes_buf(&options.seed, sizeof options.seed);
    for (unsigned slot = 1; slot <= LIMIT_NODES; slot++)
        if (config->nodes[slot].present)
            options.peers |= (uint8_t)(1u << (slot - 1));
    return options;
}

/* The core's memory: address space now, pages as they are used. */
static int make_node(struct server *server, const struct store_recovery *recovery)
{
    note_addresses(server);
    struct node_options options = options_of(server, recovery);
    struct node_recovery given = {
        .raft = { .term = recovery->term,
                  .lost_term = recovery->lost.term,
                  .lost_last = recovery->lost.last,
                  .leftover = recovery->leftover,
                  .flush = recovery->flush,
                  .commit = recovery->commit,
                  .checkpoint_index = recovery->checkpoint_index },
        .checkpoint = recovery->checkpoint,
        .held = recovery->held.records,
        .held_last = recovery->held.last,
        .held_bytes = recovery->held.bytes + recovery->held.files,
        .first_index = recovery->first_index,
    };
    _Static_assert(sizeof given.sealed == sizeof recovery->sealed, "they are the same");
    memcpy(given.sealed, recovery->sealed, sizeof given.sealed);
    memcpy(given.raft.cluster, recovery->cluster, sizeof given.raft.cluster);
    memcpy(given.raft.vote, recovery->vote, sizeof given.raft.vote);
    server->node_bytes = node_memory(&options);
    void *memory = mmap(NULL, server->node_bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED)
        return say_error(EXIT_FAILED, "node", "no memory for %zu bytes of address space",
                         server->node_bytes);
    server->late_us = options.election_min_us / 2;
    server->effects = (struct effects) { .emit = server_carry_out, .ctx = server };
    server->node = node_init(memory, &options, &given);
    store_checkpoint_release(server->store);
    if (!server->node)
        return say_error(EXIT_CORRUPT, "node",
                         "the checkpoint cannot be read by this version (start the version that "
                         "wrote it)");
    return EXIT_DONE;
}

static int make_channels(struct server *server, const struct cluster_keys *keys)
{
    struct channels_config config = {
        .static_secret = keys->secret,
        .static_public = keys->public_half.public_key,
        .psk = keys->psk,
        .max_channels = LIMIT_CONNECTIONS - 16,
        .preauth = server->file.config.limit_preauth,
        .preauth_per_address = server->file.config.limit_preauth_per_address,
        .on_notice = server_notice,
        .owner = server,
    };
    server->channels = channels_create(server->loop, &config);
    if (!server->channels || !server_connections_init(server))
        return say_error(EXIT_FAILED, "node", "no memory for connections");
    return server_listen(server) ? EXIT_DONE : EXIT_FAILED;
}

static int watch_signals(struct server *server)
{
    static const int numbers[] = { SIGTERM, SIGINT, SIGHUP };
    server->signals.on_signal = on_signal;
    if (loop_watch_signals(server->loop, &server->signals, numbers, 3))
        return say_error(EXIT_FAILED, "node", "signals cannot be watched");
    return EXIT_DONE;
}

static void told_recovery(const struct server *server, const struct store_recovery *recovery)
{
    char line[SERVER_LOG_BYTES];
    bool blank = sodium_is_zero(recovery->cluster, sizeof recovery->cluster);
    snprintf(line, sizeof line,
             "event=start version=%s blank=%d term=%llu first_index=%llu last_index=%llu "
             "checkpoint=%llu installed=%llu cut_bytes=%llu may_vote=%d may_campaign=%d",
             version_string(), blank, (unsigned long long)recovery->term,
             (unsigned long long)recovery->first_index, (unsigned long long)recovery->last_index,
             (unsigned long long)recovery->checkpoint_index,
             (unsigned long long)recovery->installed, (unsigned long long)recovery->cut_bytes,
             recovery->may_vote, recovery->may_campaign);
    server_log(server, "info", line);
    const struct store_held *held = &recovery->held;
    if (held->rotten) {
        snprintf(line, sizeof line,
                 "event=held_rotten damages=%llu first=\"%s\" why=\"what is damaged is not "
                 "believed; who sent it still has it\"",
                 (unsigned long long)held->rotten, held->what);
        server_log(server, "alarm", line);
    }
    if (recovery->damages) {
        snprintf(line, sizeof line, "event=damage files=%u first=\"%s\"", recovery->damages,
                 recovery->damage);
        server_log(server, "alarm", line);
    }
    if (recovery->vote_lost)
        server_log(
            server, "alarm",
            "event=vote_lost why=\"a vote may have been forgotten: this node goes on under a "
            "new identity and joins as a learner\"");
    if (recovery->lost.last)
        server_log(
            server, "alarm",
            recovery->lost.last == UINT64_MAX
                ? "event=log_held why=\"the end of the log cannot be read: no vote until a "
                  "leader has made up for it\""
                : "event=log_held why=\"a part of the log cannot be read: it is fetched from "
                  "the others, or sent again by a leader\"");
    if (blank)
        server_log(server, "info",
                   "event=blank why=\"waiting for its cluster, or for: ftchat ctl form\"");
}

/* What was sent last (GOAWAY) still goes out; nobody holds the end up for long. */
static void linger(struct server *server)
{
    uint64_t until = loop_clock_us() + 500000;
    loop_remove_hook(server->loop, LOOP_TURN_END, &server->turn_end);
    for (uint32_t i = 0; i < LIMIT_CONNECTIONS; i++)
        if (server->connections[i])
            channel_close(server->connections[i], true);
    for (unsigned slot = 1; slot <= LIMIT_NODES; slot++)
        if (server->peers[slot])
            channel_close(server->peers[slot], true);
    while (channels_state(server->channels).lingering && loop_clock_us() < until)
        loop_run_once(server->loop, 10000);
}

static int run(struct server *server, const struct cluster_keys *keys)
{
    struct store_recovery recovery;
    int status;
    server->loop = loop_create();
    if (!server->loop)
        return say_error(EXIT_FAILED, "node", "no event loop");
    /* What comes while it recovers is done once the loop turns. */
    if ((status = watch_signals(server)) || (status = server_open_store(server, &recovery)))
        return status;
    raise_descriptor_limit(server);
    server->wake.on_fire = on_tick;
    server->wake_at_us = UINT64_MAX;
    told_recovery(server, &recovery);
    status = make_node(server, &recovery);
    if (status)
        return status;
    if (!server_restore(server, &recovery))
        return server->halted ? server->exit_status : EXIT_FAILED;
    if ((status = make_channels(server, keys)))
        return status;
    if (!server_start_disks(server))
        return say_error(EXIT_FAILED, "node", "the disk threads cannot be started");
    server->turn_end.run = on_turn_end;
    loop_add_hook(server->loop, LOOP_TURN_END, &server->turn_end);
    server->gauges_timer.on_fire = on_gauges;
    on_gauges(&server->gauges_timer);
    struct node_event start = { .kind = EVENT_START };
    server_step(server, &start);
    log_notify("READY=1");
    server_pulse_running(server);
    loop_run(server->loop);
    linger(server);
    store_threads_stop(server->threads);
    store_close(server->store);
    if (server->exit_status == EXIT_DONE && !server->again)
        server_pulse_stopped();
    return server->exit_status;
}

/* The folder is another one now: the same program begins again in this process, so that whoever
 * watches it sees no death. What is open is closed by that; the signals that the loop watches stay
 * blocked, so that none is lost in between. */
static int start_anew(char **argv)
{
    server_pulse_pause();
    (void)execv("/proc/self/exe", argv);
    return say_error(EXIT_FAILED, "node", "cannot start anew: %s (start it)", strerror(errno));
}

int cmd_node(int argc, char **argv)
{
    static struct server server;
    const char *config = NULL;
    uint64_t id = 0;
    struct options options = options_begin(&page, argc, argv);
    for (int option; (option = options_next(&options)) != OPTIONS_END;) {
        switch (option) {
        case OPTION_ID:
            if (!options_number(&options, "id", 1, LIMIT_NODES, &id))
                return EXIT_USAGE;
            break;
        case OPTION_CONFIG:
            config = options.value;
            break;
        case OPTION_LOG:
            server.log = options.value;
            break;
        case OPTIONS_OPERAND:
            return say_error(EXIT_USAGE, "node", "%s: not an option (see ftchat node --help)",
                             options.value);
        default:
            return options.status;
        }
    }
    if (!id)
        return say_error(EXIT_USAGE, "node", "--id: missing: which node is this? (--id N)");
    if (!open_log(&server))
        return say_error(EXIT_FAILED, "node", "--log: %s: %s", server.log, strerror(errno));
    struct cluster_keys keys;
    int status = config_load_node(&server.file, "node", config, (unsigned)id, &keys);
    if (status)
        return status;
    server.slot = (uint8_t)id;
    status = run(&server, &keys);
    keys_wipe(&keys);
    return server.again || status == NODE_STARTS_ANEW ? start_anew(argv) : status;
}
