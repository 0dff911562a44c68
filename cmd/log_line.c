#include "cmd/log_line.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static void write_line(const char *level, const char *who, unsigned slot, const char *format,
                       va_list values)
{
    struct timespec now;
    struct tm when;
    char line[LOG_LINE_BYTES + 96];
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &when);
    size_t at = strftime(line, sizeof line, "ts=%Y-%m-%dT%H:%M:%S", &when);
    at += (size_t)snprintf(line + at, sizeof line - at, ".%06ldZ level=%s ", now.tv_nsec / 1000,
                           level);
    if (slot)
        at += (size_t)snprintf(line + at, sizeof line - at, "%s=%u ", who, slot);
    int len = vsnprintf(line + at, sizeof line - at, format, values);
    if (len < 0)
        return;
    at += (size_t)len;
    if (at > sizeof line - 1)
        at = sizeof line - 1;
    line[at++] = '\n';
    ssize_t ignored = write(STDERR_FILENO, line, at);
    (void)ignored;
}

void log_line(const char *level, const char *who, unsigned slot, const char *format, ...)
{
    va_list values;
    va_start(values, format);
    write_line(level, who, slot, format, values);
    va_end(values);
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
