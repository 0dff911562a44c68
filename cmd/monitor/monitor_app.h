/* The monitor as a program: the core's decisions wired to processes and sockets. For the files of
 * cmd/monitor only.
 *
 *   monitor.c   options, which nodes are this host's, start, signals, the end
 *   ward.c      one node of this host: its folder, its pulses, its process
 *   links.c     the same one's place among the other monitors: links, probes, the start command
 *   process.c   starting, finding and ending processes
 *
 * One thread; nothing on its loop waits, but for the exec of what it starts. */
#ifndef FTCHAT_CMD_MONITOR_MONITOR_APP_H
#define FTCHAT_CMD_MONITOR_MONITOR_APP_H

#include "cmd/config_load.h"
#include "cmd/keys.h"
#include "cmd/log_line.h"
#include "cmd/monitor/process.h"
#include "core/monitor/monitor.h"
#include "core/monitor/supervisor.h"
#include "net/channel.h"
#include "net/loop.h"

struct app;

/* The start command of another host's node, while it runs. */
struct command {
    struct process process;
    struct loop_source pidfd;
    struct loop_timer timer;
    uint8_t slot;
};

/* One node of this host. */
struct ward {
    struct app *app;
    uint8_t slot;
    char path[PATH_MAX]; /* its folder */
    int folder;          /* the same, open */
    int lock;            /* keeps a second monitor away for as long as this process lives */
    struct supervisor supervisor;
    struct process process;
    struct loop_source pidfd;
    struct loop_source pulses;
    ino_t socket_inode; /* of what the node pulses to */
    struct loop_timer timer;
    struct pulse pulse; /* the last one */
    bool in_use_told;
    bool loop_told;

    /* links.c; channels NULL: it is alone. */
    struct monitor monitor;
    struct monitor_effects effects;
    struct channels *channels;
    struct channel *connections[LIMIT_MONITOR_CONNECTIONS];
    bool doomed[LIMIT_MONITOR_CONNECTIONS]; /* cut off inside an effect: told at the turn's end */
    bool undialled[LIMIT_NODES + 1]; /* a dial, or a probe, that could not even begin: likewise */
    bool unprobed[LIMIT_NODES + 1];
    struct loop_timer tick;
    struct loop_hook turn_end;
    bool listens;
    bool listen_told;
    struct command command;
};

struct app {
    struct config_file file;
    struct cluster_keys keys;
    char
        program[PATH_MAX]; /* what is started: where this program was found, or what is there now */
    char config[PATH_MAX]; /* absolute */
    bool all;              /* the nodes' words go to a file of each, else where the monitor's go */
    struct loop *loop;
    struct loop_signals signals;
    struct loop_timer watchdog;
    uint64_t watchdog_us; /* 0: the service manager does not ask */
    struct loop_timer chores;
    bool leaving;
    uint32_t wards_count;
    struct ward wards[LIMIT_NODES];
};

/* monitor.c: a ward has stopped for good. */
void app_ward_stopped(struct app *app);

/* ward.c. The exit status, with everything said. */
int ward_open(struct ward *ward, struct app *app, uint8_t slot);
void ward_start(struct ward *ward);
/* Looks what is to be done now, and sets the timer for the next look. */
void ward_look(struct ward *ward);
void ward_chores(struct ward *ward);
void ward_close(struct ward *ward);

/* links.c. False: no memory. */
bool links_start(struct ward *ward);
/* Tells the others, with the next heartbeat, how this node is. */
void links_report(struct ward *ward);
/* Listens, if that did not go before. */
void links_chores(struct ward *ward);

#endif
