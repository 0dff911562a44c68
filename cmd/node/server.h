/* The node as a program: the core's server wired to sockets and disks. For the files of cmd/node only.
 *
 *   node.c         options, start, the loop, the end
 *   carry_out.c    the core's effects
 *   connections.c  channels become the core's connections and links, and their events
 *   disks.c        the disk threads' completions become events
 *   gauges.c       what status shows beyond what the core knows; the log line
 *   pulse.c        signs of life for this host's monitor
 *
 * One thread runs all of it; the disk threads are store's. The core is stepped only from the loop's handlers, never
 * from inside an effect: what an effect finds broken is noted and told at the turn's end (doomed). */
#ifndef FTCHAT_CMD_NODE_SERVER_H
#define FTCHAT_CMD_NODE_SERVER_H

#include "cmd/config_load.h"
#include "cmd/log_line.h"
#include "core/node/node.h"
#include "net/channel.h"
#include "store/disk.h"
#include "store/store.h"
#include "store/threads.h"

enum {
    SERVER_FLUSH_SAMPLES = 512,
    SERVER_LOG_BYTES = LOG_LINE_BYTES,
    SERVER_DIAL_US = 2000000,
    SERVER_GAUGES_US = 1000000,
};

struct server {
    struct config_file file;
    uint8_t slot;
    const char *log; /* where it logs instead of stderr, or NULL */
    struct loop *loop;
    struct channels *channels;
    struct disk disk;
    struct store *store;
    struct store_threads *threads;
    struct node *node;
    size_t node_bytes;
    struct effects effects;

    struct loop_timer wake;
    uint64_t wake_at_us; /* UINT64_MAX: none */
    uint32_t late_us;    /* a turn later than this starts the time-outs anew */
    struct loop_timer gauges_timer;
    struct loop_timer pulse_timer;
    struct loop_wakeup disks;
    struct loop_signals signals;
    struct loop_hook turn_end;

    /* Accepted channels by the core's connection numbers; free numbers are a stack. */
    struct channel **connections;
    uint32_t *free_numbers;
    uint32_t free_count;
    uint32_t *doomed; /* numbers whose channel was cut off inside an effect */
    uint32_t doomed_count;
    struct channel *peers[LIMIT_NODES + 1];
    struct raft_address addresses[LIMIT_NODES + 1]; /* the ini's */
    bool doomed_peers[LIMIT_NODES + 1];

    uint32_t flush_us[SERVER_FLUSH_SAMPLES];
    uint64_t flushes;
    uint64_t log_next_index;

    bool halted;
    bool again; /* then the process starts anew */
    int exit_status;
};

/* node.c */
struct now server_now(const struct server *server);
void server_step(struct server *server, struct node_event *event);

/* carry_out.c: struct effects' emit. */
void server_carry_out(void *server, const struct effect *effect);

/* connections.c */
bool server_connections_init(struct server *server);
bool server_listen(struct server *server);
void server_dial(struct server *server, const struct effect *effect);
void server_send_peer(struct server *server, const struct effect *effect);
void server_close_peer(struct server *server, uint8_t slot);
void server_send_client(struct server *server, const struct effect *effect);
void server_close_client(struct server *server, uint32_t number, bool gracefully);
void server_tell_doomed(struct server *server);

/* disks.c */
int server_open_store(struct server *server, struct store_recovery *recovery);
bool server_restore(struct server *server, const struct store_recovery *recovery);
bool server_start_disks(struct server *server);

/* gauges.c */
void server_log(const struct server *server, const char *level, const char *text);
void server_note_flush(struct server *server, uint64_t duration_us);
void server_gauges(struct server *server);
void server_notice(void *owner, enum net_counter what, uint64_t how_many,
                   const struct tcp_address *from);

/* pulse.c: in this order; each is nothing without a monitor. `folder` is the node's own. */
void server_pulse_recovering(struct server *server, const char *folder);
/* No signal any more: a program that begins in this process's place has no handler yet. */
void server_pulse_pause(void);
void server_pulse_running(struct server *server);
void server_pulse_stopping(struct server *server);
void server_pulse_stopped(void);

#endif
