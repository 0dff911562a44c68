#include "cmd/node/server.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

/* One logfmt line on stderr, in one write. */
void server_log(const struct server *server, const char *level, const char *text)
{
    struct timespec now;
    struct tm when;
    char line[SERVER_LOG_BYTES + 96];
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &when);
    size_t at = strftime(line, sizeof line, "ts=%Y-%m-%dT%H:%M:%S", &when);
    int len = snprintf(line + at, sizeof line - at, ".%06ldZ level=%s node=%u %s\n",
                       now.tv_nsec / 1000, level, server->slot, text);
    if (len < 0)
        return;
    size_t all = at + (size_t)len;
    if (all >= sizeof line) {
        all = sizeof line - 1;
        line[all - 1] = '\n';
    }
    ssize_t ignored = write(STDERR_FILENO, line, all);
    (void)ignored;
}

void server_note_flush(struct server *server, uint64_t duration_us)
{
    server->flush_us[server->flushes++ % SERVER_FLUSH_SAMPLES] =
        duration_us < UINT32_MAX ? (uint32_t)duration_us : UINT32_MAX;
}

static int by_size(const void *a, const void *b)
{
    uint32_t left = *(const uint32_t *)a;
    uint32_t right = *(const uint32_t *)b;
    return (left > right) - (left < right);
}

static uint64_t resident_bytes(void)
{
    char text[128];
    FILE *file = fopen("/proc/self/statm", "re");
    if (!file)
        return 0;
    size_t len = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[len] = 0;
    const char *second = strchr(text, ' ');
    return second ? strtoull(second, NULL, 10) * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
}

/* Once a second: what `status` shows beyond what the core knows itself. */
void server_gauges(struct server *server)
{
    uint32_t sorted[SERVER_FLUSH_SAMPLES];
    size_t count = server->flushes < SERVER_FLUSH_SAMPLES ? server->flushes : SERVER_FLUSH_SAMPLES;
    memcpy(sorted, server->flush_us, count * sizeof sorted[0]);
    qsort(sorted, count, sizeof sorted[0], by_size);
    const uint64_t *counted = channels_counters(server->channels)->count;
    struct node_gauges gauges = {
        .fsync_p50_us = count ? sorted[count / 2] : 0,
        .fsync_p99_us = count ? sorted[count * 99 / 100] : 0,
        .disk_free_bytes = store_space(server->store),
        .rss_bytes = resident_bytes(),
        .pid = (uint64_t)getpid(),
        .accepted = counted[NET_ACCEPTED],
        .refused_cap = counted[NET_REFUSED_TOTAL] + counted[NET_REFUSED_CAP] +
                       counted[NET_REFUSED_ADDRESS] + counted[NET_NO_MEMORY],
        .refused_deadline = counted[NET_HANDSHAKE_TIMEOUT] + counted[NET_LOGIN_TIMEOUT],
        .refused_garbage = counted[NET_GARBAGE],
        .refused_truncated = counted[NET_TRUNCATED] + counted[NET_RESET],
        .refused_oversized = counted[NET_OVERSIZED],
    };
    node_set_gauges(server->node, &gauges);
}

/* Strangers on the port: told once per burst. */
void server_notice(void *owner, enum net_counter what, uint64_t how_many,
                   const struct tcp_address *from)
{
    char line[SERVER_LOG_BYTES];
    char address[TCP_ADDRESS_TEXT];
    snprintf(line, sizeof line, "event=refused what=%s count=%llu latest=%s",
             net_counter_name(what), (unsigned long long)how_many,
             tcp_address_format(address, from));
    server_log(owner, "warn", line);
}

/* The service manager's datagram, when it asked for one. */
void server_notify(const char *state)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    if (!path || (path[0] != '/' && path[0] != '@') || strlen(path) >= sizeof address.sun_path)
        return;
    size_t len = strlen(path);
    memcpy(address.sun_path, path, len);
    if (path[0] == '@')
        address.sun_path[0] = 0;
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return;
    socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
    ssize_t ignored =
        sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&address, size);
    (void)ignored;
    close(fd);
}
