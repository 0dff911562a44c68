/* Invite links: all that a new user's client needs, as one word.
 *
 *     ftchat:BASE64URL of  version u8 (1), cluster's public key[32], token[16],
 *                          then per server: host string8, port u16; check[4] (BLAKE2b) at the end
 *
 * A link is a secret until its token is spent. */
#ifndef FTCHAT_CMD_INVITE_LINK_H
#define FTCHAT_CMD_INVITE_LINK_H

#include "cmd/keys.h"
#include "core/config.h"
#include "core/wire.h"

enum { LINK_SERVERS = LIMIT_NODES, LINK_TEXT_BYTES = 2560 };

struct link_invite {
    struct cluster_public key;
    uint8_t token[WIRE_TOKEN_BYTES];
    struct config_address servers[LINK_SERVERS];
    uint32_t server_count; /* 1 .. LINK_SERVERS */
};

/* False: a host's name is too long. */
bool link_write(char text[LINK_TEXT_BYTES], const struct link_invite *invite);
/* False: no link, cut short, or of a newer version. */
bool link_read(struct link_invite *invite, const char *text);

#endif
