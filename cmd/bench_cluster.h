/* A throw-away cluster for `ftchat ctl bench`: three nodes of this same file on free ports of this host, in a folder of
 * their own.
 *
 * The nodes die with this process, however it ends; the folder goes in bench_cluster_stop, so only a SIGKILL leaves it
 * behind. Nothing here is a measurement. */
#ifndef FTCHAT_CMD_BENCH_CLUSTER_H
#define FTCHAT_CMD_BENCH_CLUSTER_H

#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>

enum { BENCH_NODES = 3 };

struct bench_cluster {
    char folder[PATH_MAX]; /* empty: none */
    char config[PATH_MAX];
    pid_t nodes[BENCH_NODES]; /* 0: not running */
};

/* Makes, starts and forms it below `parent`. The exit status, with everything said; stop it in any case. */
int bench_cluster_start(struct bench_cluster *cluster, const char *parent);
/* False: a node has ended by itself. */
bool bench_cluster_runs(struct bench_cluster *cluster);
void bench_cluster_stop(struct bench_cluster *cluster);

#endif
