#include "net/tcp.h"
#include "core/check.h"
#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { LISTEN_BACKLOG = 1024 };

static const uint8_t mapped_prefix[12] = { [10] = 0xff, [11] = 0xff };

/* -- Addresses -------------------------------------------------------------------------------- */

static bool is_mapped(const struct tcp_address *address)
{
    return memcmp(address->ip, mapped_prefix, sizeof mapped_prefix) == 0;
}

bool tcp_address_parse(struct tcp_address *out, const char *host, uint16_t port)
{
    memset(out, 0, sizeof *out);
    out->port = port;
    if (strcmp(host, "*") == 0)
        return true;
    if (inet_pton(AF_INET, host, out->ip + 12) == 1) {
        memcpy(out->ip, mapped_prefix, sizeof mapped_prefix);
        return true;
    }
    char numeric[INET6_ADDRSTRLEN];
    const char *percent = strchr(host, '%');
    const size_t len = percent ? (size_t)(percent - host) : strlen(host);
    if (len >= sizeof numeric)
        return false;
    memcpy(numeric, host, len);
    numeric[len] = 0;
    if (inet_pton(AF_INET6, numeric, out->ip) != 1)
        return false;
    if (percent) {
        out->scope = if_nametoindex(percent + 1);
        return out->scope != 0;
    }
    return true;
}

char *tcp_address_format(char out[TCP_ADDRESS_TEXT], const struct tcp_address *address)
{
    char host[INET6_ADDRSTRLEN] = "?";
    if (is_mapped(address)) {
        inet_ntop(AF_INET, address->ip + 12, host, sizeof host);
        snprintf(out, TCP_ADDRESS_TEXT, "%s:%u", host, address->port);
        return out;
    }
    inet_ntop(AF_INET6, address->ip, host, sizeof host);
    if (address->scope)
        snprintf(out, TCP_ADDRESS_TEXT, "[%s%%%u]:%u", host, (unsigned)address->scope,
                 address->port);
    else
        snprintf(out, TCP_ADDRESS_TEXT, "[%s]:%u", host, address->port);
    return out;
}

bool tcp_address_same_ip(const struct tcp_address *a, const struct tcp_address *b)
{
    return a->scope == b->scope && memcmp(a->ip, b->ip, sizeof a->ip) == 0;
}

void tcp_address_from(struct tcp_address *out, const struct sockaddr *from)
{
    memset(out, 0, sizeof *out);
    if (from->sa_family == AF_INET) {
        struct sockaddr_in in;
        memcpy(&in, from, sizeof in);
        memcpy(out->ip, mapped_prefix, sizeof mapped_prefix);
        memcpy(out->ip + 12, &in.sin_addr, 4);
        out->port = ntohs(in.sin_port);
    } else if (from->sa_family == AF_INET6) {
        struct sockaddr_in6 in;
        memcpy(&in, from, sizeof in);
        memcpy(out->ip, &in.sin6_addr, 16);
        out->scope = in.sin6_scope_id;
        out->port = ntohs(in.sin6_port);
    }
}

/* The kernel's form: an IPv4 address as such, so that hosts without IPv6 work. */
static socklen_t to_kernel(struct sockaddr_storage *out, const struct tcp_address *address)
{
    memset(out, 0, sizeof *out);
    if (is_mapped(address)) {
        struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(address->port) };
        memcpy(&in.sin_addr, address->ip + 12, 4);
        memcpy(out, &in, sizeof in);
        return sizeof in;
    }
    struct sockaddr_in6 in = { .sin6_family = AF_INET6,
                               .sin6_port = htons(address->port),
                               .sin6_scope_id = address->scope };
    memcpy(&in.sin6_addr, address->ip, 16);
    memcpy(out, &in, sizeof in);
    return sizeof in;
}

/* -- Sockets ---------------------------------------------------------------------------------- */

static void set_option(int fd, int level, int option, int value)
{
    CHECK(setsockopt(fd, level, option, &value, sizeof value) == 0);
}

static int open_socket(int family)
{
    return socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

/* Every address: IPv6 with IPv4 mapped into it, or IPv4 alone where the kernel has no IPv6. */
static enum ft_error listen_socket(int *fd, struct sockaddr_storage *at, socklen_t *len)
{
    *fd = open_socket(at->ss_family);
    if (*fd < 0 && errno == EAFNOSUPPORT && at->ss_family == AF_INET6) {
        struct tcp_address any;
        struct sockaddr_in6 in;
        memcpy(&in, at, sizeof in);
        CHECK(tcp_address_parse(&any, "0.0.0.0", ntohs(in.sin6_port)));
        if (memcmp(&in.sin6_addr, &in6addr_any, sizeof in6addr_any) != 0)
            return FT_ERROR_NETWORK;
        *len = to_kernel(at, &any);
        *fd = open_socket(AF_INET);
    }
    return *fd < 0 ? FT_ERROR_LIMIT : FT_OK;
}

enum ft_error tcp_listen(int *fd, const struct tcp_address *address)
{
    struct sockaddr_storage at;
    socklen_t len = to_kernel(&at, address);
    const enum ft_error error = listen_socket(fd, &at, &len);
    if (error)
        return error;
    set_option(*fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (at.ss_family == AF_INET6)
        set_option(*fd, IPPROTO_IPV6, IPV6_V6ONLY, 0);
    if (bind(*fd, (struct sockaddr *)&at, len) == 0 && listen(*fd, LISTEN_BACKLOG) == 0)
        return FT_OK;
    const int why = errno;
    close(*fd);
    *fd = -1;
    if (why == EADDRINUSE)
        return FT_ERROR_LOCKED;
    return why == EACCES ? FT_ERROR_DENIED : FT_ERROR_NETWORK;
}

void tcp_local_address(int fd, struct tcp_address *out)
{
    struct sockaddr_storage at = { 0 };
    socklen_t len = sizeof at;
    CHECK(getsockname(fd, (struct sockaddr *)&at, &len) == 0);
    tcp_address_from(out, (struct sockaddr *)&at);
}

enum tcp_accepted tcp_accept(int listener, int *fd, struct tcp_address *from)
{
    struct sockaddr_storage at = { 0 };
    socklen_t len = sizeof at;
    do {
        *fd = accept4(listener, (struct sockaddr *)&at, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    } while (*fd < 0 && (errno == EINTR || errno == ECONNABORTED || errno == EPROTO));
    if (*fd >= 0) {
        set_option(*fd, IPPROTO_TCP, TCP_NODELAY, 1);
        tcp_address_from(from, (struct sockaddr *)&at);
        return TCP_ACCEPTED;
    }
    if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
        return TCP_ACCEPT_EXHAUSTED;
    /* EAGAIN, and the network's own errors, which Linux hands to accept: look again later. */
    return TCP_ACCEPT_NONE;
}

enum ft_error tcp_dial(int *fd, const struct tcp_address *address)
{
    struct sockaddr_storage at;
    const socklen_t len = to_kernel(&at, address);
    *fd = open_socket(at.ss_family);
    if (*fd < 0)
        return errno == EAFNOSUPPORT ? FT_ERROR_NETWORK : FT_ERROR_LIMIT;
    set_option(*fd, IPPROTO_TCP, TCP_NODELAY, 1);
    if (connect(*fd, (struct sockaddr *)&at, len) == 0 || errno == EINPROGRESS || errno == EINTR)
        return FT_OK;
    const int why = errno;
    close(*fd);
    *fd = -1;
    return why == ECONNREFUSED ? FT_ERROR_DENIED : FT_ERROR_NETWORK;
}

int tcp_dial_result(int fd)
{
    int why = 0;
    socklen_t len = sizeof why;
    CHECK(getsockopt(fd, SOL_SOCKET, SO_ERROR, &why, &len) == 0);
    return why;
}
