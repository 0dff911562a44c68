/* TCP sockets: addresses, listening, accepting, dialling. Everything is non-blocking, close-on-exec
 * and TCP_NODELAY; nothing here waits.
 *
 * Addresses are IPv6 throughout; IPv4 ones are kept v4-mapped (RFC 4291, 2.5.5.2) and shown dotted.
 * Names are not known here: see net/lookup.h. */
#ifndef FTCHAT_NET_TCP_H
#define FTCHAT_NET_TCP_H

#include "core/error.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sockaddr;

struct tcp_address {
    uint8_t ip[16];
    uint32_t scope; /* interface of a link-local address, else 0 */
    uint16_t port;
};

enum { TCP_ADDRESS_TEXT = 72 }; /* "[address%scope]:port" and its zero */

/* Reads a numeric host ("127.0.0.1", "::1"; "*" is every address). False when it is a name. */
bool tcp_address_parse(struct tcp_address *out, const char *host, uint16_t port);
/* Writes "127.0.0.1:7000" or "[::1]:7000". Returns `out`. */
char *tcp_address_format(char out[TCP_ADDRESS_TEXT], const struct tcp_address *address);
bool tcp_address_same_ip(const struct tcp_address *a, const struct tcp_address *b);
/* From the kernel's form; anything but IP becomes all zeros. */
void tcp_address_from(struct tcp_address *out, const struct sockaddr *from);

/* Listens; port 0 takes any (see tcp_local_address). FT_ERROR_LOCKED: the address is in use;
 * FT_ERROR_DENIED: a privileged port; FT_ERROR_NETWORK: not an address of this machine. */
FT_MUST_USE enum ft_error tcp_listen(int *fd, const struct tcp_address *address);
void tcp_local_address(int fd, struct tcp_address *out);

enum tcp_accepted {
    TCP_ACCEPTED,
    TCP_ACCEPT_NONE,      /* nobody waits */
    TCP_ACCEPT_EXHAUSTED, /* out of descriptors or memory: pause accepting for a while */
};

enum tcp_accepted tcp_accept(int listener, int *fd, struct tcp_address *from);

/* Begins to connect; writable means done: ask tcp_dial_result. FT_ERROR_DENIED: refused at once;
 * FT_ERROR_NETWORK: no way there; FT_ERROR_LIMIT: out of descriptors. */
FT_MUST_USE enum ft_error tcp_dial(int *fd, const struct tcp_address *address);
/* 0 when connected, else the errno of the attempt. */
int tcp_dial_result(int fd);

#endif
