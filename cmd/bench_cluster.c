#include "cmd/bench_cluster.h"

#include "cmd/commands.h"
#include "cmd/say.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static const char command[] = "ctl bench";
enum { PORTS = 2 * BENCH_NODES, REMOVE_DESCRIPTORS = 16 };

/* All held at once, so that they differ; free again when this returns. */
static bool find_ports(uint16_t ports[PORTS])
{
    int fds[PORTS];
    bool good = true;
    for (int i = 0; i < PORTS; i++) {
        struct sockaddr_in address = { .sin_family = AF_INET,
                                       .sin_addr = { htonl(INADDR_LOOPBACK) } };
        socklen_t len = sizeof address;
        fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        good = good && fds[i] >= 0 &&
               bind(fds[i], (const struct sockaddr *)&address, sizeof address) == 0 &&
               getsockname(fds[i], (struct sockaddr *)&address, &len) == 0;
        ports[i] = ntohs(address.sin_port);
    }
    for (int i = 0; i < PORTS; i++)
        if (fds[i] >= 0)
            close(fds[i]);
    return good;
}

/* Limits that protect a real cluster from its clients would only measure themselves here. */
static bool write_config(const struct bench_cluster *cluster, const uint16_t ports[PORTS])
{
    FILE *file = fopen(cluster->config, "wxe");
    if (!file)
        return false;
    fputs("[cluster]\nname = bench\n", file);
    for (int i = 0; i < BENCH_NODES; i++)
        fprintf(file, "[node.%d]\nhost = 127.0.0.1\nport = %u\nmonitor_port = %u\n", i + 1,
                ports[2 * i], ports[2 * i + 1]);
    fputs("[accounts]\nregistration = open\n"
          "[limits]\nmessage_bytes = 65536\nposts_per_s = 1000000\ncatch_up = 10000000\n"
          "preauth = 16384\npreauth_per_address = 16384\nregistrations_per_min = 1000000\n",
          file);
    bool good = !ferror(file);
    return fclose(file) == 0 && good;
}

/* This same program again; what it prints goes to `log` in the folder. */
static pid_t start(const struct bench_cluster *cluster, const char *log, char *const argv[])
{
    char path[PATH_MAX];
    pid_t parent = getpid();
    if (snprintf(path, sizeof path, "%s/%s", cluster->folder, log) >= (int)sizeof path)
        return -1;
    pid_t child = fork();
    if (child != 0)
        return child;
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent)
        _exit(EXIT_FAILED);
    int out = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    int in = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (out < 0 || in < 0 || dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(out, 2) < 0)
        _exit(EXIT_FAILED);
    execv("/proc/self/exe", argv);
    _exit(EXIT_FAILED);
}

static int run(const struct bench_cluster *cluster, const char *log, char *const argv[])
{
    int status = 0;
    pid_t child = start(cluster, log, argv);
    if (child < 0)
        return EXIT_FAILED;
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            return EXIT_FAILED;
    return WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_FAILED;
}

static int start_nodes(struct bench_cluster *cluster)
{
    char *init[] = { "ftchat", "ctl", "init", "--config", cluster->config, NULL };
    char *form[] = { "ftchat", "ctl", "form", "--config", cluster->config, NULL };
    if (run(cluster, "setup.log", init) != EXIT_DONE)
        return say_error(EXIT_FAILED, command, "%s: ctl init failed", cluster->folder);
    for (int i = 0; i < BENCH_NODES; i++) {
        char id[2] = { (char)('1' + i), 0 };
        char log[] = "node0.log";
        char *node[] = { "ftchat", "node", "--id", id, "--config", cluster->config, NULL };
        log[4] = id[0];
        pid_t child = start(cluster, log, node);
        if (child < 0)
            return say_error(EXIT_FAILED, command, "no process more: %s", strerror(errno));
        cluster->nodes[i] = child;
    }
    if (run(cluster, "setup.log", form) != EXIT_DONE)
        return say_error(EXIT_FAILED, command, "the three nodes in %s do not form a cluster",
                         cluster->folder);
    return EXIT_DONE;
}

int bench_cluster_start(struct bench_cluster *cluster, const char *parent)
{
    uint16_t ports[PORTS];
    int len = snprintf(cluster->folder, sizeof cluster->folder, "%s/ftchat-bench-XXXXXX", parent);
    if (len < 0 || (size_t)len + sizeof "/ftchat.ini" > sizeof cluster->config) {
        cluster->folder[0] = 0;
        return say_error(EXIT_USAGE, command, "%s: path too long", parent);
    }
    if (!mkdtemp(cluster->folder)) {
        cluster->folder[0] = 0;
        return say_error(EXIT_FAILED, command, "%s: no folder can be made here: %s", parent,
                         strerror(errno));
    }
    char *whole = realpath(cluster->folder, NULL); /* of a --dir that is relative */
    if (whole && (size_t)snprintf(cluster->folder, sizeof cluster->folder, "%s", whole) +
                         sizeof "/ftchat.ini" >
                     sizeof cluster->config)
        return say_error(EXIT_USAGE, command, "%s: path too long", parent);
    free(whole);
    strcpy(cluster->config, cluster->folder);
    strcat(cluster->config, "/ftchat.ini");
    if (!find_ports(ports))
        return say_error(EXIT_FAILED, command, "no free ports on 127.0.0.1");
    if (!write_config(cluster, ports))
        return say_error(EXIT_FAILED, command, "%s: %s", cluster->config, strerror(errno));
    return start_nodes(cluster);
}

bool bench_cluster_runs(struct bench_cluster *cluster)
{
    bool all = true;
    for (int i = 0; i < BENCH_NODES; i++) {
        if (cluster->nodes[i] > 0 && waitpid(cluster->nodes[i], NULL, WNOHANG) != 0)
            cluster->nodes[i] = 0;
        all &= cluster->nodes[i] > 0;
    }
    return all;
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *place)
{
    (void)info;
    (void)kind;
    (void)place;
    (void)remove(path);
    return 0;
}

void bench_cluster_stop(struct bench_cluster *cluster)
{
    for (int i = 0; i < BENCH_NODES; i++)
        if (cluster->nodes[i] > 0)
            kill(cluster->nodes[i], SIGKILL);
    for (int i = 0; i < BENCH_NODES; i++) {
        while (cluster->nodes[i] > 0 && waitpid(cluster->nodes[i], NULL, 0) < 0 && errno == EINTR)
            continue;
        cluster->nodes[i] = 0;
    }
    if (cluster->folder[0])
        nftw(cluster->folder, remove_one, REMOVE_DESCRIPTORS, FTW_DEPTH | FTW_PHYS);
    cluster->folder[0] = 0;
}
