/* What monitors say to each other over the secure channel, and its bytes.
 *
 * Layout, little-endian: version u8, kind u8, slot u8, follows u8; then of a HEARTBEAT: state u8, leader u8,
 * heard u8, reached u8, term u64, commit u64, applied u64. The others have nothing more. Every message says whom its sender follows (bully.h). */
#ifndef FTCHAT_CORE_MONITOR_MESSAGE_H
#define FTCHAT_CORE_MONITOR_MESSAGE_H

#include "core/bytes.h"
#include "core/limits.h"

enum {
    MONITOR_VERSION = 1,
    MONITOR_MESSAGE_BYTES = 64, /* no message is longer */
};

enum monitor_message_kind {
    MONITOR_HELLO = 1, /* the first one on a connection, both ways */
    MONITOR_HEARTBEAT,
    MONITOR_ELECTION,
    MONITOR_ANSWER,
    MONITOR_COORDINATOR,
    MONITOR_START, /* from the leader: your node is dead to all of us; start it if it is not running */
};

/* A node as its own host's monitor knows it: by its process and its pulse. */
enum node_state {
    NODE_UNKNOWN, /* of one whose monitor is not heard */
    NODE_DOWN,
    NODE_CRASHES, /* down, and tried only now and then */
    NODE_RECOVERS,
    NODE_RUNS,
    NODE_STOPS,
    NODE_HANGS,   /* killed; its end is awaited */
    NODE_STOPPED, /* on purpose */
    NODE_STATES,
};

/* Evidence, renewed with each heartbeat. Sets of nodes are bits, slot - 1. */
struct monitor_report {
    enum node_state state;
    uint8_t leader;  /* of the nodes, as that node knows it */
    uint8_t heard;   /* nodes that it hears */
    uint8_t reached; /* nodes whose port this monitor has reached lately */
    uint64_t term;
    uint64_t commit;
    uint64_t applied;
};

struct monitor_message {
    enum monitor_message_kind kind;
    uint8_t slot; /* the sender's */
    uint8_t follows;
    struct monitor_report report;
};

/* At most MONITOR_MESSAGE_BYTES to `out`; how many. */
size_t monitor_message_encode(const struct monitor_message *message, uint8_t *out);
/* False: it is none. */
bool monitor_message_decode(struct monitor_message *message, struct slice bytes);

#endif
