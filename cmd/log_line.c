#include "cmd/log_line.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

void log_line(const char *level, const char *who, unsigned slot, const char *text)
{
    struct timespec now;
    struct tm when;
    char line[LOG_LINE_BYTES + 96];
    char name[32] = "";
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &when);
    if (slot)
        snprintf(name, sizeof name, " %s=%u", who, slot);
    size_t at = strftime(line, sizeof line, "ts=%Y-%m-%dT%H:%M:%S", &when);
    int len = snprintf(line + at, sizeof line - at, ".%06ldZ level=%s%s %s\n", now.tv_nsec / 1000,
                       level, name, text);
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

void log_notify(const char *state)
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
