#include "cmd/node/server.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void server_log(const struct server *server, const char *level, const char *text)
{
    log_line(level, "node", server->slot, "%s", text);
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
