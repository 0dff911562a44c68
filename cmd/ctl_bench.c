/* `ftchat ctl bench`: how fast this machine commits posts, measured on a throw-away cluster of three nodes or, with --live,
 * on the running one. */
#include "cmd/bench_cluster.h"
#include "cmd/bench_load.h"
#include "cmd/commands.h"
#include "cmd/ctl.h"
#include "cmd/ctl_ask.h"
#include "cmd/ctl_options.h"
#include "cmd/keys.h"
#include "cmd/say.h"
#include "core/check.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

static const char command[] = "ctl bench";

enum {
    OPTION_CONNECTIONS,
    OPTION_DEPTH,
    OPTION_SECONDS,
    OPTION_POSTS,
    OPTION_RATE,
    OPTION_BYTES,
    OPTION_READERS,
    OPTION_IDLE,
    OPTION_SPREAD,
    OPTION_JSON,
    OPTION_DIR,
    OPTION_LIVE,
};
static const struct option_row rows[] = {
    [OPTION_CONNECTIONS] = { "connections", 0, "N", "clients that post (default 16)" },
    [OPTION_DEPTH] = { "depth", 0, "N", "posts of each that wait for their answer (default 64)" },
    [OPTION_SECONDS] = { "seconds", 0, "S", "measure for so long, after a warm-up (default 5)" },
    [OPTION_POSTS] = { "posts", 0, "N", "measure this many posts instead, without a warm-up" },
    [OPTION_RATE] = { "rate", 0, "N", "posts a second in all (default: as many as go)" },
    [OPTION_BYTES] = { "bytes", 0, "N", "of a post's text (default 128)" },
    [OPTION_READERS] = { "readers", 0, "N", "clients that read what all others post in one room" },
    [OPTION_IDLE] = { "idle", 0, "N", "clients that are logged in and do nothing" },
    [OPTION_SPREAD] = { "spread", 0, NULL, "clients on all nodes (default: on the leader)" },
    [OPTION_JSON] = { "json", 0, NULL, "one JSON object" },
    [OPTION_DIR] = { "dir", 0, "DIR",
                     "make the cluster's folder here (default $TMPDIR, /var/tmp)" },
    [OPTION_LIVE] = { "live", 0, NULL, "write into the running cluster (its limits count)" },
    CTL_ROW_CONFIG,
    { 0 },
};
static const struct command_page page = {
    "ctl bench",
    "[options]",
    "Starts three nodes in a folder of their own, posts, prints committed posts per second and "
    "how\n"
    "long each took to be durable on a majority, and removes it all. Nodes, load and whatever "
    "else\n"
    "runs here share the processors: the figure is this machine's, in this minute.",
    rows,
};

enum { WARM_UP_US = 1000000, DRAIN_US = 10000000, READY_US = 60000000, LOOK_US = 100000 };

struct bench {
    struct load_settings settings;
    struct bench_cluster cluster;
    struct ask ask;
    struct channels *channels;
    struct load load;
    struct loop_signals signals;
    struct loop_timer wake;
    uint64_t seconds;
    uint64_t posts;
    bool json;
    bool live;
    bool interrupted;
    const char *dir;
    const char *config;
};

static const int ends[] = { SIGINT, SIGTERM, SIGHUP };

static void on_signal(struct loop_signals *signals, int number)
{
    (void)number;
    LOOP_HOLDER(struct bench, signals, signals)->interrupted = true;
}

static void on_wake(struct loop_timer *timer)
{
    (void)timer;
}

/* Turns the loop until `done` says so (NULL: never) or the time is up. The exit status. */
static int turn(struct bench *bench, bool (*done)(const struct load *load), uint64_t until_us)
{
    uint64_t look_us = 0;
    loop_timer_set(bench->ask.loop, &bench->wake, until_us);
    while (loop_clock_us() < until_us && !(done && done(&bench->load))) {
        if (bench->interrupted)
            return say_error(EXIT_FAILED, command, "interrupted");
        if (bench->load.error)
            return say_error(EXIT_FAILED, command, "%s", bench->load.why);
        if (look_us < loop_clock_us()) {
            look_us = loop_clock_us() + LOOK_US;
            if (!bench->live && !bench_cluster_runs(&bench->cluster))
                return say_error(EXIT_FAILED, command, "a node has ended by itself");
        }
        loop_run_once(bench->ask.loop, LOOK_US);
    }
    loop_timer_clear(bench->ask.loop, &bench->wake);
    return EXIT_DONE;
}

static bool is_drained(const struct load *load)
{
    return load->waiting == 0;
}

static bool is_posted(const struct load *load)
{
    return load->counts.committed >= load->limit;
}

/* --- The report ------------------------------------------------------------------------------ */

static double per_second(uint64_t count, uint64_t us)
{
    return us ? (double)count * 1e6 / (double)us : 0;
}

static void print_json(const struct bench *bench, uint64_t us)
{
    const struct load_settings *settings = &bench->settings;
    const struct load_counts *counts = &bench->load.counts;
    const struct times *commit = &counts->commit_times;
    const struct times *delivery = &counts->delivery_times;
#define U(value) (unsigned long long)(value)
    printf("{\"posts_per_s\":%.0f,\"posts\":%llu,\"seconds\":%.3f,\"p50_us\":%llu,\"p99_us\":%llu,"
           "\"max_us\":%llu,\"connections\":%u,\"depth\":%u,\"bytes\":%u,\"placement\":\"%s\","
           "\"refused_for_now\":%llu,\"sent_again\":%llu",
           per_second(counts->committed, us), U(counts->committed), (double)us / 1e6,
           U(times_at(commit, 500)), U(times_at(commit, 990)), U(commit->max_us), settings->writers,
           settings->depth, settings->bytes, settings->spread ? "spread" : "leader",
           U(counts->refused_for_now), U(counts->sent_again));
    if (settings->readers)
        printf(",\"readers\":%u,\"delivered_per_s\":%.0f,\"delivery_p50_us\":%llu,"
               "\"delivery_p99_us\":%llu",
               settings->readers, per_second(counts->delivered, us), U(times_at(delivery, 500)),
               U(times_at(delivery, 990)));
    printf("}\n");
#undef U
}

static void print_text(const struct bench *bench, uint64_t us)
{
    const struct load_settings *settings = &bench->settings;
    const struct load_counts *counts = &bench->load.counts;
    const struct times *commit = &counts->commit_times;
    printf("%.0f posts/s committed (%llu of %u bytes in %.1f s; %u connections x %u, %s)\n",
           per_second(counts->committed, us), (unsigned long long)counts->committed,
           settings->bytes, (double)us / 1e6, settings->writers, settings->depth,
           settings->spread ? "spread over the nodes" : "on the leader");
    printf("latency: p50 %.2f ms, p99 %.2f ms, max %.2f ms\n", (double)times_at(commit, 500) / 1e3,
           (double)times_at(commit, 990) / 1e3, (double)commit->max_us / 1e3);
    if (settings->readers)
        printf("%.0f posts/s delivered to %u readers: p50 %.2f ms, p99 %.2f ms after the sending\n",
               per_second(counts->delivered, us), settings->readers,
               (double)times_at(&counts->delivery_times, 500) / 1e3,
               (double)times_at(&counts->delivery_times, 990) / 1e3);
    if (counts->refused_for_now)
        printf("%llu answers were `not now` (a limit of the cluster); those posts went again\n",
               (unsigned long long)counts->refused_for_now);
}

/* --- The run --------------------------------------------------------------------------------- */

static int measure(struct bench *bench)
{
    struct load *load = &bench->load;
    int status = turn(bench, load_is_ready, loop_clock_us() + READY_US);
    if (!status && !load_is_ready(load))
        return say_error(EXIT_UNREACHABLE, command, "only %u of %u clients could log in in time",
                         load->ready, load->client_count);
    if (!status && !bench->posts) {
        load_post(load, 0);
        status = turn(bench, NULL, loop_clock_us() + WARM_UP_US);
    }
    if (status)
        return status;
    load_measure(load);
    if (bench->posts)
        load_post(load, bench->posts);
    status = turn(bench, bench->posts ? is_posted : NULL,
                  bench->posts ? UINT64_MAX : loop_clock_us() + bench->seconds * 1000000);
    uint64_t us = loop_clock_us() - load->counts.begin_us;
    load_stop_measuring(load);
    load_pause(load);
    if (!status)
        status = turn(bench, is_drained, loop_clock_us() + DRAIN_US);
    if (!status && load->waiting)
        status =
            say_error(EXIT_UNREACHABLE, command, "%u posts are without an answer", load->waiting);
    if (status)
        return status;
    if (bench->json)
        print_json(bench, us);
    else
        print_text(bench, us);
    return say_flushed(command);
}

/* The leader first. */
static int find_servers(struct bench *bench)
{
    struct load_settings *settings = &bench->settings;
    uint8_t leader = ask_leader(&bench->ask, loop_clock_us() + 10000000);
    if (!leader)
        return say_error(EXIT_UNREACHABLE, command, "no node leads a majority");
    for (unsigned i = 0; i < LIMIT_NODES; i++) {
        const struct config_node *node =
            &bench->ask.file.config.nodes[1 + (leader - 1 + i) % LIMIT_NODES];
        if (!node->present)
            continue;
        struct config_address *server = &settings->servers[settings->server_count++];
        memcpy(server->host, node->host, sizeof server->host);
        server->port = node->port;
    }
    return EXIT_DONE;
}

static int load_and_measure(struct bench *bench)
{
    struct cluster_public key;
    const char *config = bench->live ? bench->config : bench->cluster.config;
    int status = ask_open(&bench->ask, command, config);
    if (status)
        return status;
    bench->signals.on_signal = on_signal;
    bench->wake.on_fire = on_wake;
    if (loop_watch_signals(bench->ask.loop, &bench->signals, ends, sizeof ends / sizeof ends[0]))
        return say_error(EXIT_FAILED, command, "signals cannot be watched");
    status = config_load_public(&bench->ask.file, command, &key);
    if (!status)
        status = find_servers(bench);
    if (status)
        return status;
    const struct load_settings *settings = &bench->settings;
    struct channels_config channels = { .static_public = key.public_key,
                                        .max_channels = settings->writers + settings->readers +
                                                        settings->idle + 8,
                                        .buffer_cap_bytes = UINT64_C(1) << 30 };
    bench->channels = channels_create(bench->ask.loop, &channels);
    if (!bench->channels || !load_open(&bench->load, bench->ask.loop, bench->channels, settings))
        return say_error(EXIT_FAILED, command, "no memory");
    status = measure(bench);
    load_close(&bench->load);
    return status;
}

static int run(struct bench *bench)
{
    sigset_t blocked;
    sigemptyset(&blocked);
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++)
        sigaddset(&blocked, ends[i]); /* until the loop looks for them, so that all is removed */
    sigprocmask(SIG_BLOCK, &blocked, NULL);
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files);
    }
    int status = EXIT_DONE;
    if (!bench->live)
        status = bench_cluster_start(&bench->cluster, bench->dir);
    if (!status)
        status = load_and_measure(bench);
    bench_cluster_stop(&bench->cluster);
    return status;
}

/* False: said, or asked for help; the exit status is options->status. */
static bool take_option(struct bench *bench, struct options *options, int option)
{
    struct load_settings *settings = &bench->settings;
    static const struct {
        int option;
        uint32_t min;
        uint32_t max;
    } ranges[] = {
        { OPTION_CONNECTIONS, 0, 16000 }, { OPTION_DEPTH, 1, LIMIT_OUTSTANDING },
        { OPTION_SECONDS, 1, 86400 },     { OPTION_POSTS, 1, 1000000000 },
        { OPTION_RATE, 1, 10000000 },     { OPTION_BYTES, 16, 65536 },
        { OPTION_READERS, 1, 16000 },     { OPTION_IDLE, 1, 60000 },
    };
    uint64_t number = 0;
    options->status = EXIT_USAGE;
    for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++)
        if (ranges[i].option == option &&
            !options_number(options, rows[option].name, ranges[i].min, ranges[i].max, &number))
            return false;
    uint32_t small = (uint32_t)number;
    switch (option) {
    case OPTION_CONNECTIONS:
        settings->writers = small;
        return true;
    case OPTION_DEPTH:
        settings->depth = small;
        return true;
    case OPTION_SECONDS:
        bench->seconds = number;
        return true;
    case OPTION_POSTS:
        bench->posts = number;
        return true;
    case OPTION_RATE:
        settings->rate = small;
        return true;
    case OPTION_BYTES:
        settings->bytes = small;
        return true;
    case OPTION_READERS:
        settings->readers = small;
        return true;
    case OPTION_IDLE:
        settings->idle = small;
        return true;
    case OPTION_SPREAD:
        settings->spread = true;
        return true;
    case OPTION_JSON:
        bench->json = true;
        return true;
    case OPTION_DIR:
        bench->dir = options->value;
        return true;
    default:
        CHECK(option == OPTION_LIVE);
        bench->live = true;
        return true;
    }
}

int ctl_bench(int argc, char **argv)
{
    static struct bench bench; /* not initialised: it is large, and would lie in the binary */
    bench.settings = (struct load_settings) { .writers = 16, .depth = 64, .bytes = 128 };
    bench.seconds = 5;
    const char *temporary = getenv("TMPDIR");
    bench.dir = temporary && *temporary ? temporary : "/var/tmp";
    struct options options = options_begin(&page, argc, argv);
    struct ctl_given given = { 0 };
    for (int option; (option = ctl_next(&options, &given)) != OPTIONS_END;)
        if (option == OPTIONS_EXIT || !take_option(&bench, &options, option))
            return options.status;
    bench.config = given.config;
    const struct load_settings *settings = &bench.settings;
    if (!settings->writers && (settings->readers || bench.posts || !settings->idle))
        return say_error(EXIT_USAGE, command, "--connections: 0: only --idle needs nobody to post");
    if (bench.config && !bench.live)
        return say_error(EXIT_USAGE, command,
                         "--config: only with --live (else the cluster is "
                         "bench's own)");
    return run(&bench);
}
