/* One whole monitor as a state machine: its links to the others, who of them is alive, who leads, and
 * what the leader does about a host whose monitor is gone. What it does for its own host's node is
 * supervisor.h's.
 *
 * monitor_step(event) and effects, as for the node (core/effect.h): the caller brings the time with each event and
 * carries out what is emitted, in order, without calling back. Full mesh: the lower slot dials. Each
 * heartbeat carries what its sender knows of its own node, so every monitor knows all of them.
 *
 * A peer is reachable while its link is open and the detector (phi.h) does not suspect it. A silence is
 * the peer's only if this process itself ran: EVENT_MONITOR_LATE forgives.
 *
 * The one remote power: the leader may start a node, never one that anybody still hears. Through that
 * host's monitor while there is one (START: its supervisor decides), else by the start command, one
 * at a time, after pauses that double. Both do nothing to a node that runs. */
#ifndef FTCHAT_CORE_MONITOR_MONITOR_H
#define FTCHAT_CORE_MONITOR_MONITOR_H

#include "core/monitor/bully.h"
#include "core/monitor/message.h"
#include "core/monitor/phi.h"
#include "core/random.h"

enum {
    MONITOR_SUSPECT = 8000, /* phi: wrong once in a hundred million silences */
};

struct monitor_options {
    uint8_t slot;
    uint8_t peers;         /* bits: the other monitors of the ini */
    uint32_t heartbeat_us; /* between two */
    uint32_t silence_us;   /* who is silent for so long is gone, whatever was usual */
    uint32_t probe_us;     /* between two probes of a node */
    bool has_start_command;
    uint64_t seed;
};

enum monitor_event_kind {
    EVENT_MONITOR_START,
    EVENT_MONITOR_TICK,
    EVENT_MONITOR_LATE,     /* this process did not run for a while */
    EVENT_MONITOR_OPENED,   /* .connection; .slot: whom it dialled, 0: accepted */
    EVENT_MONITOR_CLOSED,   /* .connection */
    EVENT_MONITOR_FAILED,   /* .slot: a dial came to nothing */
    EVENT_MONITOR_MESSAGE,  /* .connection, .bytes */
    EVENT_MONITOR_NODE,     /* .report: its own node, when anything of it changed */
    EVENT_MONITOR_PROBED,   /* .slot, .good */
    EVENT_MONITOR_UNPROBED, /* .slot: the probe could not be made, which says nothing */
    EVENT_MONITOR_STARTED,  /* .slot: the start command has ended */
};

struct monitor_event {
    enum monitor_event_kind kind;
    uint64_t now_us;
    uint32_t
        connection; /* below LIMIT_MONITOR_CONNECTIONS; the caller's number, free again after CLOSED */
    uint8_t slot;
    bool good;
    struct slice bytes;
    struct monitor_report report;
};

enum monitor_effect_kind {
    EFFECT_MONITOR_DIAL,    /* .slot; answered by OPENED or FAILED */
    EFFECT_MONITOR_SEND,    /* .connection, .bytes */
    EFFECT_MONITOR_CLOSE,   /* .connection; its number is free, no CLOSED comes */
    EFFECT_MONITOR_PROBE,   /* .slot: reach its node's port; answered by PROBED */
    EFFECT_MONITOR_START,   /* start its own node, if it is down and was not stopped */
    EFFECT_MONITOR_COMMAND, /* .slot: run the start command; answered by STARTED */
    EFFECT_MONITOR_LOG,     /* .level, .text, .slot whom it is about, or 0 */
};

struct monitor_effect {
    enum monitor_effect_kind kind;
    uint32_t connection;
    uint8_t slot;
    struct slice bytes;
    const char *level;
    const char *text; /* event=... */
};

struct monitor_effects {
    void (*emit)(void *ctx, const struct monitor_effect *effect);
    void *ctx;
};

struct monitor_peer {
    uint32_t connection; /* LIMIT_MONITOR_CONNECTIONS: none */
    bool dialling;       /* until the other side has said who it is */
    bool suspected;
    uint64_t dial_us; /* when to dial next */
    uint64_t pause_us;
    uint64_t linked_us; /* when it said who it is */
    struct phi phi;
    struct monitor_report
        report; /* its last one; when it is not reachable UNKNOWN, or STOPPED if that was the last word */
};

struct monitor_target { /* a node, as the leader sees it */
    bool probing;
    bool reached; /* by the last probe */
    uint64_t probe_at_us;
    uint64_t probed_us; /* when the last probe was answered, either way; 0: never */
    uint64_t lost_us;   /* since when nobody knows anything good of it; 0: somebody does */
    uint64_t start_us;  /* not before */
    uint64_t pause_us;
    bool told;
};

struct monitor {
    struct monitor_options options;
    struct random random;
    struct bully bully;
    struct monitor_peer peers[LIMIT_NODES + 1];
    struct monitor_target targets[LIMIT_NODES + 1];
    uint8_t slot_of[LIMIT_MONITOR_CONNECTIONS]; /* who is at the other end; 0: not said yet */
    uint8_t dialled[LIMIT_MONITOR_CONNECTIONS]; /* who should be, until it is said; 0: accepted */
    bool open[LIMIT_MONITOR_CONNECTIONS];
    uint64_t opened_us[LIMIT_MONITOR_CONNECTIONS];
    struct monitor_report own;
    uint64_t beat_us;    /* the next heartbeat */
    uint8_t commanding;  /* whose start command runs; 0: none */
    uint8_t leader_told; /* the last that was logged */
};

/* monitor.c, for heal.c too. */
void monitor_send(const struct monitor *monitor, uint32_t connection,
                  enum monitor_message_kind kind, const struct monitor_effects *effects);

void monitor_init(struct monitor *monitor, const struct monitor_options *options);
void monitor_step(struct monitor *monitor, const struct monitor_event *event,
                  const struct monitor_effects *effects);
/* When it wants a TICK at the latest. */
uint64_t monitor_due_us(const struct monitor *monitor);

/* Is there a monitor of that slot beside this one? */
static inline bool monitor_has_peer(const struct monitor *monitor, uint8_t slot)
{
    return slot >= 1 && slot <= LIMIT_NODES && monitor->options.peers >> (slot - 1) & 1;
}

static inline bool monitor_reaches(const struct monitor *monitor, uint8_t slot)
{
    return monitor->bully.reachable >> (slot - 1) & 1;
}

#endif
