#include "cmd/monitor/process.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static int pidfd_of(pid_t pid)
{
    return (int)syscall(SYS_pidfd_open, pid, 0);
}

/* In the child: nothing of the monitor's is left but where its words go. */
static void become(const char *path, char *const argv[])
{
    sigset_t none;
    sigemptyset(&none);
    unsetenv("NOTIFY_SOCKET"); /* the service manager speaks with the monitor */
    unsetenv("WATCHDOG_USEC");
    setsid();
    signal(SIGPIPE, SIG_DFL);
    sigprocmask(SIG_SETMASK, &none, NULL);
    int nothing = open("/dev/null", O_RDONLY);
    if (nothing > 0)
        dup2(nothing, 0);
    execv(path, argv);
    /* The file is gone: an upgrade is at work, or somebody removed it. This program is still here. */
    if (errno == ENOENT)
        execv("/proc/self/exe", argv);
}

int process_start(struct process *process, const char *path, char *const argv[])
{
    int told[2]; /* closed by a successful exec, else holds the errno */
    int error = 0;
    if (pipe2(told, O_CLOEXEC))
        return errno;
    pid_t pid = fork();
    if (pid == 0) {
        become(path, argv);
        error = errno;
        ssize_t ignored = write(told[1], &error, sizeof error);
        (void)ignored;
        _exit(127);
    }
    if (pid < 0)
        error = errno;
    close(told[1]);
    while (pid > 0 && read(told[0], &error, sizeof error) < 0 && errno == EINTR)
        ;
    close(told[0]);
    *process = (struct process) { .pid = pid, .pidfd = -1, .child = true };
    if (!error && (process->pidfd = pidfd_of(pid)) < 0) {
        error = errno; /* a kernel before 5.3 */
        kill(pid, SIGKILL);
    }
    if (!error)
        return 0;
    if (pid > 0)
        waitpid(pid, NULL, 0);
    process->pid = 0;
    return error;
}

int process_adopt(struct process *process, pid_t pid)
{
    *process = (struct process) { .pid = pid, .pidfd = pidfd_of(pid) };
    if (process->pidfd >= 0)
        return 0;
    process->pid = 0;
    return errno;
}

void process_signal(const struct process *process, int number)
{
    (void)syscall(SYS_pidfd_send_signal, process->pidfd, number, NULL, 0);
}

void process_kill_all(const struct process *process)
{
    process_signal(process, SIGKILL);
    (void)kill(-process->pid, SIGKILL); /* not reaped yet: the number is still its own */
}

int process_reap(struct process *process)
{
    int status = -1;
    if (process->child)
        while (waitpid(process->pid, &status, 0) < 0 && errno == EINTR)
            ;
    close(process->pidfd);
    *process = (struct process) { .pidfd = -1 };
    return status;
}

char *process_end_text(int status, char out[48])
{
    if (status == -1)
        snprintf(out, 48, "unknown");
    else if (WIFSIGNALED(status))
        snprintf(out, 48, "signal %d (%.24s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
    else
        snprintf(out, 48, "status %d", WEXITSTATUS(status));
    return out;
}

/* --- who holds a folder -------------------------------------------------------------------------
 */

/* Is it `ftchat node ...`, by whatever name, or a tool that looks into a folder? */
static bool is_node(pid_t pid)
{
    char path[40];
    char words[512];
    snprintf(path, sizeof path, "/proc/%d/cmdline", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t len = fd < 0 ? -1 : read(fd, words, sizeof words - 1);
    if (fd >= 0)
        close(fd);
    if (len <= 0)
        return false;
    words[len] = 0;
    const char *name = strrchr(words, '/') ? strrchr(words, '/') + 1 : words;
    const char *command = words + strlen(words) + 1;
    bool by_name = strcmp(name, "node") == 0 || strcmp(name, "ftchat-node") == 0;
    return by_name || (command < words + len && strcmp(command, "node") == 0);
}

/* Has that process this very file open? The same inode is another file on another file system. */
static bool has_open(pid_t pid, const struct stat *file)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
    DIR *folder = opendir(path);
    bool has = false;
    for (struct dirent *each; folder && !has && (each = readdir(folder));) {
        struct stat info;
        has = fstatat(dirfd(folder), each->d_name, &info, 0) == 0 && info.st_ino == file->st_ino &&
              info.st_dev == file->st_dev;
    }
    if (folder)
        closedir(folder);
    return has;
}

/* The kernel's list of locks: `1: FLOCK  ADVISORY  WRITE 123 08:01:4711 0 EOF`. */
static pid_t holder_of(const struct stat *lock)
{
    char line[160];
    pid_t found = -1;
    FILE *locks = fopen("/proc/locks", "re");
    while (locks && found < 0 && fgets(line, sizeof line, locks)) {
        int pid;
        unsigned long long inode;
        if (sscanf(line, "%*d: FLOCK %*s %*s %d %*x:%*x:%llu", &pid, &inode) == 2 &&
            inode == lock->st_ino && pid > 0 && is_node(pid) && has_open(pid, lock))
            found = pid;
    }
    if (locks)
        fclose(locks);
    return found;
}

pid_t process_holder(int folder)
{
    struct stat info;
    int fd = openat(folder, "lock", O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return 0; /* nobody was here before, or the node will say what is wrong */
    bool held = flock(fd, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
    pid_t pid = !held ? 0 : fstat(fd, &info) == 0 ? holder_of(&info) : -1;
    close(fd);
    return pid;
}
