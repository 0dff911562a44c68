/* A node's process, held by a descriptor of its own (pidfd), so that no signal ever reaches another
 * process that got its number: one that this monitor started, or one that was found running.
 *
 * Nothing here waits; the owner watches `pidfd`, which is readable once the process has ended. */
#ifndef FTCHAT_CMD_MONITOR_PROCESS_H
#define FTCHAT_CMD_MONITOR_PROCESS_H

#include <stdbool.h>
#include <sys/types.h>

struct process {
    pid_t pid; /* 0: none */
    int pidfd;
    bool child; /* else its status is somebody else's */
};

/* Runs `path` with `argv`, in a session of its own, with no signal blocked and nothing on its
 * standard input; it writes where this process writes. 0, or the errno. */
int process_start(struct process *process, const char *path, char *const argv[]);

/* Takes over a process that runs already. 0, or the errno; ESRCH when it is gone. */
int process_adopt(struct process *process, pid_t pid);

/* It may have ended meanwhile: then nothing happens. */
void process_signal(const struct process *process, int number);

/* SIGKILL to a child that was started, and to what it has started in its session. */
void process_kill_all(const struct process *process);

/* It has ended: waitpid's status, or -1 when it was not this process's child. Lets go of it. */
int process_reap(struct process *process);

/* "status 1", "signal 9 (Killed)", or that nobody knows. Returns `out`. */
char *process_end_text(int status, char out[48]);

/* Which node process holds the lock of this folder (an open descriptor): its id; 0: nobody does; -1:
 * somebody, but no node. */
pid_t process_holder(int folder);

#endif
