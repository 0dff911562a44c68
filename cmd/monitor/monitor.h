/* The monitor as a program: the core's decisions wired to processes and sockets. For the files of
 * cmd/monitor only.
 *
 *   monitor.c   options, which nodes are this host's, start, signals, the end
 *   ward.c      one node of this host: its folder, its pulses, its process
 *   process.c   starting, finding and ending processes
 *
 * One thread; nothing on its loop waits, but for the exec of a node that it starts. */
#ifndef FTCHAT_CMD_MONITOR_MONITOR_H
#define FTCHAT_CMD_MONITOR_MONITOR_H

#include "cmd/config_load.h"
#include "cmd/log_line.h"
#include "cmd/monitor/process.h"
#include "core/monitor/supervisor.h"
#include "net/loop.h"

struct monitor;

/* One node of this host. */
struct ward {
    struct monitor *monitor;
    uint8_t slot;
    char path[PATH_MAX]; /* its folder */
    int folder;          /* the same, open */
    int lock;            /* keeps a second monitor away for as long as this process lives */
    struct supervisor supervisor;
    struct process process;
    struct loop_source pidfd;
    struct loop_source pulses;
    struct loop_timer timer;
    struct pulse pulse; /* the last one */
    bool in_use_told;
    bool loop_told;
};

struct monitor {
    struct config_file file;
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
void monitor_ward_stopped(struct monitor *monitor);

/* ward.c. The exit status, with everything said. */
int ward_open(struct ward *ward, struct monitor *monitor, uint8_t slot);
void ward_start(struct ward *ward);
/* Looks what is to be done now, and sets the timer for the next look. */
void ward_look(struct ward *ward);
void ward_chores(struct ward *ward);
void ward_close(struct ward *ward);

#endif
