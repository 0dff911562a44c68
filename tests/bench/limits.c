/* What the machine itself gives, beside ftchat's own figures: fdatasync of 4 KiB over a zero-written file, and a round trip
 * of 128 bytes over loopback that wakes a sleeper on another core. One JSON object; microseconds.
 *
 *     limits DIR */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { SYNCS = 2000, TRIPS = 5000, BLOCK = 4096, FILL = 1 << 20, MESSAGE = 128 };

static void require(int good, const char *what)
{
    if (good)
        return;
    perror(what);
    exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static int by_size(const void *left, const void *right)
{
    uint64_t one = *(const uint64_t *)left;
    uint64_t other = *(const uint64_t *)right;
    return (one > other) - (one < other);
}

static void print(const char *name, uint64_t *ns, size_t count, const char *end)
{
    qsort(ns, count, sizeof *ns, by_size);
    printf("\"%s_p50_us\":%.1f,\"%s_p99_us\":%.1f%s", name, (double)ns[count / 2] / 1e3, name,
           (double)ns[count * 99 / 100] / 1e3, end);
}

static void measure_syncs(const char *folder)
{
    static uint64_t ns[SYNCS];
    static char data[FILL];
    char path[4096];
    snprintf(path, sizeof path, "%s/limits.tmp", folder);
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    require(fd >= 0, path);
    require(unlink(path) == 0, path);
    for (off_t at = 0; at < (off_t)SYNCS * BLOCK; at += FILL)
        require(pwrite(fd, data, FILL, at) == FILL, "write");
    require(fsync(fd) == 0, "fsync");
    memset(data, 'x', sizeof data);
    for (int i = 0; i < SYNCS; i++) {
        uint64_t begin = now_ns();
        require(pwrite(fd, data, BLOCK, (off_t)i * BLOCK) == BLOCK, "write");
        require(fdatasync(fd) == 0, "fdatasync");
        ns[i] = now_ns() - begin;
    }
    close(fd);
    print("fdatasync_4k", ns, SYNCS, ",");
}

static void pin(int core)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET((size_t)core, &set);
    (void)sched_setaffinity(0, sizeof set, &set); /* one core only: then not pinned */
}

static void echo(int listener)
{
    char data[MESSAGE];
    pin(1);
    int fd = accept(listener, NULL, NULL);
    require(fd >= 0, "accept");
    while (recv(fd, data, sizeof data, MSG_WAITALL) == MESSAGE)
        require(send(fd, data, sizeof data, 0) == MESSAGE, "send");
    _exit(0);
}

static void measure_trips(void)
{
    static uint64_t ns[TRIPS];
    char data[MESSAGE] = { 0 };
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
    socklen_t len = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    require(listener >= 0 && bind(listener, (struct sockaddr *)&address, len) == 0 &&
                listen(listener, 1) == 0 &&
                getsockname(listener, (struct sockaddr *)&address, &len) == 0,
            "listen");
    fflush(stdout);
    pid_t child = fork();
    require(child >= 0, "fork");
    if (child == 0)
        echo(listener);
    pin(0);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    require(connect(fd, (struct sockaddr *)&address, len) == 0, "connect");
    for (int i = 0; i < TRIPS; i++) {
        uint64_t begin = now_ns();
        require(send(fd, data, sizeof data, 0) == MESSAGE, "send");
        require(recv(fd, data, sizeof data, MSG_WAITALL) == MESSAGE, "recv");
        ns[i] = now_ns() - begin;
    }
    close(fd);
    waitpid(child, NULL, 0);
    print("round_trip", ns, TRIPS, "");
}

int main(int argc, char **argv)
{
    printf("{");
    measure_syncs(argc > 1 ? argv[1] : ".");
    measure_trips();
    printf("}\n");
    return 0;
}
