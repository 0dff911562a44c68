/* The commands of ftchat: what main.c's table points at.
 *
 * Each gets its own argv (argv[0] is the command's name) and returns the exit status: 0 done, 1 the
 * thing asked for failed or is unhealthy, 2 usage or config error, 3 could not reach (a quorum of)
 * the cluster in time, 4 not allowed, 5 corrupt data found. Every command answers --help with 0. */
#ifndef FTCHAT_CMD_COMMANDS_H
#define FTCHAT_CMD_COMMANDS_H

enum exit_status {
    EXIT_DONE = 0,
    EXIT_FAILED = 1,
    EXIT_USAGE = 2,
    EXIT_UNREACHABLE = 3,
    EXIT_DENIED = 4,
    EXIT_CORRUPT = 5,
};

int cmd_node(int argc, char **argv);
int cmd_client(int argc, char **argv);
int cmd_monitor(int argc, char **argv);
int cmd_chaos(int argc, char **argv);
int cmd_ctl(int argc, char **argv);

#endif
