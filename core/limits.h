/* Every limit of ftchat, in one place. What the ini may change is here as range and default in
 * config.h.
 *
 * Each queue, table and buffer is sized from these at start. A limit that is reached is answered
 * (BUSY, a typed error, a closed connection), never stepped over. */
#ifndef FTCHAT_CORE_LIMITS_H
#define FTCHAT_CORE_LIMITS_H

enum {
    /* The cluster. */
    LIMIT_NODES = 7,        /* slots 1..7; the product names 1, 3 and 5 */
    IDENTITY_BYTES = 16,    /* a node's and a cluster's random identity */
    LIMIT_HOST_BYTES = 200, /* a name or an address */

    /* The log. One entry is one batch of commands: it travels and is stored whole. */
    LIMIT_COMMAND_BYTES = 65536 + 512, /* the longest text and its frame */
    LIMIT_ENTRY_COMMANDS = 4096,
    LIMIT_ENTRY_BYTES = 1 << 20,
    LIMIT_LOG_CACHE_BYTES = 16 << 20, /* newest entries, kept in memory for followers and apply */
    LIMIT_LOG_CACHE_ENTRIES = 65536,
    LIMIT_LOG_TERMS = 65536,     /* leaderships whose start the log remembers */
    LIMIT_FLUSH_BYTES = 4 << 20, /* one write and one fdatasync */

    /* Replication. */
    LIMIT_APPEND_BYTES = 1 << 20,   /* entries in one append message (one entry always fits) */
    LIMIT_INFLIGHT_BYTES = 6 << 20, /* sent to a peer and not yet acknowledged */
    LIMIT_INFLIGHT_APPENDS = 256,
    LIMIT_COPY_BYTES = 256 << 10, /* one piece of what a node that is far behind copies */
    LIMIT_COPY_BYTES_PER_S = 64 << 20,

    /* Chat. */
    LIMIT_USER_NAME = 32,
    LIMIT_ROOM_NAME = 33 * 4, /* bytes: '#' and 32 characters of UTF-8 */
    LIMIT_TEXT_BYTES = 65536,
    LIMIT_TOPIC_BYTES = 512,
    LIMIT_ACCOUNTS = 65536,
    LIMIT_DEVICES = 131072,
    LIMIT_DEVICES_PER_ACCOUNT = 64,
    LIMIT_ROOMS = 16384,
    LIMIT_MEMBERSHIPS = 524288,
    LIMIT_INVITES = 4096,
    LIMIT_OUTSTANDING = 64, /* commands of one device beyond its `done` */
    LIMIT_HISTORY_PAGE = 200,

    /* A node's connections. */
    LIMIT_CONNECTIONS = 65536,
    LIMIT_QUEUE_BYTES = 16 << 20, /* commands of a node's clients, waiting for their answer */
    LIMIT_QUEUE_COMMANDS = 131072,
    LIMIT_HOLD_BYTES = 256 << 10, /* one append to the held log */
    LIMIT_HELD_BYTES = 32 << 20,  /* of the held log's files; beyond, commands wait unheld */
    LIMIT_RECENT_BYTES = 4 << 20, /* newest applied records, encoded */
    LIMIT_CLIENT_UNSENT_BYTES = 256
                                << 10, /* a reader beyond this is served from disk, at its pace */

    /* A monitor, for each node that it looks after. */
    LIMIT_MONITOR_CONNECTIONS = 32, /* to and from other monitors */
    LIMIT_MONITOR_CHANNELS = 64,    /* these, probes, and strangers before they are closed */
    LIMIT_MONITOR_PREAUTH = 16,

    /* A client. */
    LIMIT_LINE_BYTES = 65536, /* of JSON; so of an id, too */
    LIMIT_OUTBOX_ENTRIES = 16384,
    LIMIT_OUTBOX_BYTES = 8 << 20, /* when full, no input is read */
    LIMIT_SERVERS = 32,           /* of one list */
    LIMIT_QUERIES = 256,          /* asked and not answered */
    LIMIT_QUERY_BYTES = 1 << 20,  /* their ids and rooms */
    LIMIT_CLIENT_HELD = 65536,    /* posts that a node shows it as held, and open */

    /* The channel. */
    LIMIT_PEER_MESSAGE_BYTES = (1 << 20) + 4096,
    LIMIT_CLIENT_MESSAGE_BYTES = LIMIT_COMMAND_BYTES + 512,
    LIMIT_NODE_MESSAGE_BYTES = 512 << 10, /* what a node sends to a client: a page of history */
    LIMIT_PREAUTH_BYTES = 4096,           /* buffered for a connection before its login */
};

_Static_assert(LIMIT_APPEND_BYTES >= LIMIT_ENTRY_BYTES, "an append carries at least one entry");
_Static_assert(LIMIT_PEER_MESSAGE_BYTES > LIMIT_APPEND_BYTES, "an append fits into a message");
_Static_assert(LIMIT_INFLIGHT_BYTES * 2 <= LIMIT_LOG_CACHE_BYTES,
               "what is in flight stays in memory");
_Static_assert(LIMIT_COMMAND_BYTES * 2 < LIMIT_HOLD_BYTES, "one command can always be held");
_Static_assert(LIMIT_COMMAND_BYTES < LIMIT_ENTRY_BYTES, "one command always fits into an entry");

#endif
