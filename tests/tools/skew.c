/* Runs a program whose wall clock is wrong, by as much as a file says at the moment: for the tests
 * of clocks that jump. The machine's own clock is left alone.
 *
 *   skew FILE PROGRAM [ARGUMENT ...]     FILE holds seconds, to be added; missing or empty: 0
 *
 * libfaketime cannot reach into a static program. So the program is traced: at exec its vDSO is
 * hidden, which makes it ask the kernel for the time; a seccomp filter stops it only where it asks
 * for CLOCK_REALTIME, and the answer is changed. Everything else runs at full speed. SIGTERM and
 * SIGHUP go on to the program; it dies with its tracer. x86-64. */
#include <elf.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { SYSCALL_STOP = SIGTRAP | 0x80 };

static pid_t program;

static void pass_on(int number)
{
    if (program > 0)
        kill(program, number);
}

static long long offset_ns(const char *path)
{
    double seconds = 0;
    FILE *file = fopen(path, "re");
    if (!file)
        return 0;
    if (fscanf(file, "%lf", &seconds) != 1)
        seconds = 0;
    fclose(file);
    return (long long)(seconds * 1e9);
}

/* Stops at clock_gettime(CLOCK_REALTIME or its coarse sister), and at nothing else. */
static int filter_time(void)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clock_gettime, 0, 4),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, CLOCK_REALTIME, 1, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, CLOCK_REALTIME_COARSE, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRACE),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog code = { sizeof filter / sizeof filter[0], filter };
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        return -1;
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &code);
}

static void run_program(char **words)
{
    if (ptrace(PTRACE_TRACEME, 0, NULL, NULL))
        _exit(77);
    raise(SIGSTOP);
    if (filter_time())
        _exit(77);
    execvp(words[0], words);
    perror(words[0]);
    _exit(127);
}

/* The auxiliary vector lies behind the arguments and the environment of the new program. */
static void hide_vdso(pid_t thread)
{
    struct user_regs_struct registers;
    ptrace(PTRACE_GETREGS, thread, NULL, &registers);
    unsigned long at = registers.rsp;
    long count = ptrace(PTRACE_PEEKDATA, thread, at, NULL);
    at += 8 * ((unsigned long)count + 2);
    while (ptrace(PTRACE_PEEKDATA, thread, at, NULL))
        at += 8;
    for (at += 8;; at += 16) {
        long tag = ptrace(PTRACE_PEEKDATA, thread, at, NULL);
        if (tag == AT_NULL)
            return;
        if (tag == AT_SYSINFO_EHDR)
            ptrace(PTRACE_POKEDATA, thread, at, AT_IGNORE);
    }
}

/* true: the call is over, and its answer changed. */
static int change_answer(pid_t thread, const char *path)
{
    struct user_regs_struct registers;
    ptrace(PTRACE_GETREGS, thread, NULL, &registers);
    if ((long)registers.rax == -ENOSYS)
        return 0; /* it only begins */
    if (registers.orig_rax != SYS_clock_gettime || registers.rax != 0)
        return 1;
    long long seconds = ptrace(PTRACE_PEEKDATA, thread, registers.rsi, NULL);
    long long ns = ptrace(PTRACE_PEEKDATA, thread, registers.rsi + 8, NULL);
    long long all = seconds * 1000000000 + ns + offset_ns(path);
    ptrace(PTRACE_POKEDATA, thread, registers.rsi, all / 1000000000);
    ptrace(PTRACE_POKEDATA, thread, registers.rsi + 8, all % 1000000000);
    return 1;
}

/* What a stopped thread goes on with. */
static void resume(pid_t thread, int status, const char *path)
{
    int event = status >> 16;
    int number = WSTOPSIG(status);
    if (event == PTRACE_EVENT_EXEC)
        hide_vdso(thread);
    if (event == PTRACE_EVENT_SECCOMP || (number == SYSCALL_STOP && !change_answer(thread, path)))
        ptrace(PTRACE_SYSCALL, thread, NULL, NULL);
    else if (event || number == SYSCALL_STOP || number == SIGSTOP || number == SIGTRAP)
        ptrace(PTRACE_CONT, thread, NULL, NULL);
    else
        ptrace(PTRACE_CONT, thread, NULL, (long)number);
}

int main(int argc, char **argv)
{
    int status;
    if (argc < 3) {
        fprintf(stderr, "usage: skew FILE PROGRAM [ARGUMENT ...]\n");
        return 2;
    }
    struct sigaction action = { .sa_handler = pass_on, .sa_flags = SA_RESTART };
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGHUP, &action, NULL);
    program = fork();
    if (program == 0)
        run_program(argv + 2);
    if (program < 0 || waitpid(program, &status, 0) != program || !WIFSTOPPED(status))
        return 77;
    long options = PTRACE_O_TRACEEXEC | PTRACE_O_TRACESECCOMP | PTRACE_O_TRACECLONE |
                   PTRACE_O_TRACEFORK | PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL;
    if (ptrace(PTRACE_SETOPTIONS, program, NULL, options))
        return 77;
    ptrace(PTRACE_CONT, program, NULL, NULL);
    for (;;) {
        pid_t thread = waitpid(-1, &status, __WALL);
        if (thread < 0 && errno == EINTR)
            continue;
        if (thread < 0)
            return 77;
        if (thread == program && WIFEXITED(status))
            return WEXITSTATUS(status);
        if (thread == program && WIFSIGNALED(status))
            return 128 + WTERMSIG(status);
        if (WIFSTOPPED(status))
            resume(thread, status, argv[1]);
    }
}
