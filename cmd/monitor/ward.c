#include "cmd/monitor/monitor_app.h"

#include "cmd/commands.h"
#include "cmd/say.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum {
    PATIENCE_TIMES = 10, /* of the pulse's time-out, for who recovers or stops */
    SETTLE_US = 3000000,
    BUSY_US = 1000000, /* between two looks at a folder that a tool holds */
    LOG_MOST_BYTES = 16 << 20,
};

/* --- its pulses ---------------------------------------------------------------------------------
 */

/* One datagram; false: there is none. */
static bool take_pulse(struct ward *ward)
{
    uint8_t bytes[PULSE_BYTES + 1];
    union {
        char space[CMSG_SPACE(sizeof(struct ucred))];
        struct cmsghdr align;
    } control;
    struct iovec part = { bytes, sizeof bytes };
    struct msghdr message = { .msg_iov = &part,
                              .msg_iovlen = 1,
                              .msg_control = control.space,
                              .msg_controllen = sizeof control.space };
    ssize_t len = recvmsg(ward->pulses.fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (len < 0)
        return errno == EINTR;
    struct ucred from = { 0 };
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    if (head && head->cmsg_level == SOL_SOCKET && head->cmsg_type == SCM_CREDENTIALS)
        memcpy(&from, CMSG_DATA(head), sizeof from);
    struct pulse pulse;
    if (!ward->process.pid || from.pid != ward->process.pid ||
        !pulse_decode(&pulse, (struct slice) { bytes, (size_t)len }) || pulse.slot != ward->slot)
        return true; /* somebody else's, or one that came late */
    if (ward->pulse.phase != pulse.phase && pulse.phase == PULSE_RUNNING)
        log_line("info", "monitor", ward->slot, "event=node_runs pid=%d", (int)from.pid);
    ward->pulse = pulse;
    supervisor_pulse(&ward->supervisor, pulse.phase, pulse.progress, loop_clock_us());
    return true;
}

static void on_pulses(struct loop_source *source, unsigned ready)
{
    struct ward *ward = LOOP_HOLDER(struct ward, pulses, source);
    (void)ready;
    while (take_pulse(ward))
        ;
    ward_look(ward);
}

/* --- its folder ---------------------------------------------------------------------------------
 */

/* data_dir must exist, as for node: an unmounted disk must not look blank. */
static int open_folder(struct ward *ward)
{
    char data[PATH_MAX];
    const struct config_file *file = &ward->app->file;
    if (!config_resolve(file, file->config.data_dir, data) ||
        snprintf(ward->path, sizeof ward->path, "%s/%u", data, ward->slot) >=
            (int)sizeof ward->path)
        return say_error(EXIT_USAGE, "monitor", "data_dir: path too long");
    if (mkdir(ward->path, 0700) != 0 && errno != EEXIST)
        return say_error(EXIT_FAILED, "monitor",
                         "%s: %s (data_dir must exist: mount the disk, or make it with: "
                         "ftchat ctl init)",
                         ward->path, strerror(errno));
    ward->folder = open(ward->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (ward->folder < 0)
        return say_error(EXIT_FAILED, "monitor", "%s: %s", ward->path, strerror(errno));
    return EXIT_DONE;
}

static int listen_to(struct ward *ward)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    const int on = 1;
    /* By way of the descriptor, for a socket's path is short. */
    snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/monitor.sock",
             ward->folder);
    (void)unlinkat(ward->folder, "monitor.sock", 0); /* whose it was is gone: the lock says so */
    ward->pulses = (struct loop_source) {
        .on_ready = on_pulses,
        .fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0),
        .urgent = true,
    };
    struct stat info;
    if (ward->pulses.fd < 0 ||
        setsockopt(ward->pulses.fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof on) != 0 ||
        bind(ward->pulses.fd, (const struct sockaddr *)&address, sizeof address) != 0 ||
        fstatat(ward->folder, "monitor.sock", &info, AT_SYMLINK_NOFOLLOW) != 0)
        return say_error(EXIT_FAILED, "monitor", "%s/monitor.sock: %s", ward->path,
                         strerror(errno));
    ward->socket_inode = info.st_ino;
    return EXIT_DONE;
}

/* Can the node still reach it? Whoever tidies up may have taken the socket away. */
static bool socket_there(const struct ward *ward)
{
    struct stat info;
    return ward->pulses.added &&
           fstatat(ward->folder, "monitor.sock", &info, AT_SYMLINK_NOFOLLOW) == 0 &&
           info.st_ino == ward->socket_inode;
}

static void close_folder(struct ward *ward)
{
    loop_unwatch(ward->app->loop, &ward->pulses);
    if (ward->pulses.fd >= 0)
        close(ward->pulses.fd);
    if (ward->lock >= 0)
        close(ward->lock);
    if (ward->folder >= 0)
        close(ward->folder);
    ward->pulses.fd = ward->lock = ward->folder = -1;
}

/* The lock keeps a second monitor away, the socket takes the pulses. */
static int take_folder(struct ward *ward)
{
    int status = open_folder(ward);
    if (status)
        return status;
    ward->lock =
        openat(ward->folder, "monitor.lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (ward->lock < 0)
        return say_error(EXIT_FAILED, "monitor", "%s/monitor.lock: %s", ward->path,
                         strerror(errno));
    if (flock(ward->lock, LOCK_EX | LOCK_NB) != 0)
        return say_error(EXIT_FAILED, "monitor",
                         "node %u has a monitor already (%s/monitor.lock is held)", ward->slot,
                         ward->path);
    return listen_to(ward);
}

/* A folder that was emptied by its removal (a lost disk) or put in place by a restore is another one
 * now: pulses to it would not be heard. False: it cannot be used. */
static bool hold_folder(struct ward *ward)
{
    struct stat held;
    struct stat there;
    if (ward->folder >= 0 && ward->lock >= 0 && socket_there(ward) &&
        fstat(ward->folder, &held) == 0 && stat(ward->path, &there) == 0 &&
        held.st_ino == there.st_ino && held.st_dev == there.st_dev)
        return true;
    close_folder(ward);
    if (take_folder(ward) == EXIT_DONE && !loop_watch(ward->app->loop, &ward->pulses, LOOP_READ))
        return true;
    close_folder(ward);
    return false;
}

/* --- its process --------------------------------------------------------------------------------
 */

static void on_end(struct loop_source *source, unsigned ready)
{
    struct ward *ward = LOOP_HOLDER(struct ward, pidfd, source);
    struct supervisor *supervisor = &ward->supervisor;
    char how[48];
    (void)ready;
    loop_unwatch(ward->app->loop, source);
    int pid = ward->process.pid;
    int status = process_reap(&ward->process);
    uint64_t now = loop_clock_us();
    process_end_text(status, how);
    if (supervisor_ended(supervisor, status, now)) {
        log_line("info", "monitor", ward->slot, "event=node_stopped pid=%d how=\"%s\"", pid, how);
        app_ward_stopped(ward->app);
    } else {
        log_line("warn", "monitor", ward->slot,
                 "event=node_ended pid=%d how=\"%s\" restart_in_ms=%llu", pid, how,
                 (unsigned long long)(supervisor_due_us(supervisor) - now) / 1000);
    }
    if (supervisor_loops(supervisor) && !ward->loop_told)
        log_line("alarm", "monitor", ward->slot,
                 "event=crash_loop ends=%u why=\"it does not come up: it is tried every 10 s now "
                 "(why, its "
                 "own log says; SIGHUP to this monitor: at once)\"",
                 supervisor->crashes);
    ward->loop_told = supervisor_loops(supervisor);
    ward_look(ward);
}

/* Its end will be told. */
static void watch(struct ward *ward, const char *event)
{
    uint64_t now = loop_clock_us();
    ward->pidfd = (struct loop_source) { .on_ready = on_end, .fd = ward->process.pidfd };
    supervisor_started(&ward->supervisor, now);
    ward->in_use_told = false;
    ward->pulse = (struct pulse) { .phase = PULSE_NONE };
    log_line("info", "monitor", ward->slot, "event=%s pid=%d", event, (int)ward->process.pid);
    if (loop_watch(ward->app->loop, &ward->pidfd, LOOP_READ))
        log_line("error", "monitor", ward->slot, "event=not_watched why=\"%s\"", strerror(errno));
}

static int run_it(struct ward *ward)
{
    struct app *app = ward->app;
    char id[4];
    char log[PATH_MAX + 16];
    snprintf(id, sizeof id, "%u", ward->slot);
    snprintf(log, sizeof log, "%s/node.log", ward->path);
    char words[][9] = { "node", "--id", "--config", "--log" };
    char name[] = "ftchat"; /* by whatever name the program was found */
    char *argv[] = {
        name, words[0], words[1], id, words[2], app->config, app->all ? words[3] : NULL, log, NULL
    };
    return process_start(&ward->process, app->program, argv);
}

/* One that runs already is taken over, whoever started it. */
static void start(struct ward *ward)
{
    uint64_t now = loop_clock_us();
    if (!hold_folder(ward)) {
        supervisor_failed(&ward->supervisor, now);
        return;
    }
    pid_t holder = process_holder(ward->folder);
    if (holder > 0 && process_adopt(&ward->process, holder) == 0) {
        watch(ward, "node_found");
        return;
    }
    if (holder != 0) {
        if (!ward->in_use_told)
            log_line(
                "info", "monitor", ward->slot,
                "event=folder_in_use why=\"another program holds it: the node is started after "
                "that\"");
        ward->in_use_told = true;
        supervisor_postpone(&ward->supervisor, now + BUSY_US);
        return;
    }
    int error = run_it(ward);
    if (!error) {
        watch(ward, "node_started");
        return;
    }
    supervisor_failed(&ward->supervisor, now);
    log_line("error", "monitor", ward->slot,
             "event=node_not_started why=\"%s: %s\" retry_in_ms=%llu", ward->app->program,
             strerror(error),
             (unsigned long long)(supervisor_due_us(&ward->supervisor) - now) / 1000);
}

static void carry_out(struct ward *ward, enum supervisor_order order)
{
    const int pid = (int)ward->process.pid;
    switch (order) {
    case ORDER_START:
        start(ward);
        break;
    case ORDER_TERMINATE: /* one that is frozen hears it when it goes on */
        log_line("info", "monitor", ward->slot, "event=node_stopping pid=%d", pid);
        process_signal(&ward->process, SIGTERM);
        break;
    case ORDER_KILL:
        log_line("alarm", "monitor", ward->slot,
                 "event=node_hangs pid=%d silent_ms=%llu why=\"no pulse: it is killed\"", pid,
                 (unsigned long long)(loop_clock_us() - ward->supervisor.heard_us) / 1000);
        process_signal(&ward->process, SIGKILL);
        break;
    case ORDER_NOTHING:
        break;
    }
}

void ward_look(struct ward *ward)
{
    struct supervisor *supervisor = &ward->supervisor;
    enum supervisor_order order;
    while ((order = supervisor_next(supervisor, loop_clock_us())) != ORDER_NOTHING)
        carry_out(ward, order);
    links_report(ward);
    uint64_t due = supervisor_due_us(supervisor);
    if (due == UINT64_MAX)
        loop_timer_clear(ward->app->loop, &ward->timer);
    else
        loop_timer_set(ward->app->loop, &ward->timer, due);
}

static void on_timer(struct loop_timer *timer)
{
    struct ward *ward = LOOP_HOLDER(struct ward, timer, timer);
    /* Its pulses of the time in which this process did not run have been read by now; those that it did
     * not send, for its host did not run, cannot be. */
    bool late = loop_late_us(ward->app->loop) > ward->supervisor.options.silence_us / 2;
    bool deaf = ward->process.pid && !socket_there(ward);
    if (deaf) {
        log_line("warn", "monitor", ward->slot,
                 "event=socket_gone why=\"somebody removed monitor.sock: made anew\"");
        (void)hold_folder(ward);
    }
    if (late || deaf)
        supervisor_forgive(&ward->supervisor, loop_clock_us());
    ward_look(ward);
}

/* --- beginning and end --------------------------------------------------------------------------
 */

int ward_open(struct ward *ward, struct app *app, uint8_t slot)
{
    *ward = (struct ward) { .app = app, .slot = slot, .folder = -1, .lock = -1 };
    ward->pulses.fd = -1;
    return take_folder(ward);
}

void ward_start(struct ward *ward)
{
    const uint32_t silence_us = ward->app->file.config.monitor_pulse_timeout_ms * 1000;
    struct supervisor_options options = { .silence_us = silence_us,
                                          .patience_us = silence_us < UINT32_MAX / PATIENCE_TIMES
                                                             ? silence_us * PATIENCE_TIMES
                                                             : UINT32_MAX,
                                          .settle_us = SETTLE_US };
    randombytes_buf(&options.seed, sizeof options.seed);
    supervisor_init(&ward->supervisor, &options, loop_clock_us());
    ward->timer.on_fire = on_timer;
    if (loop_watch(ward->app->loop, &ward->pulses, LOOP_READ))
        log_line("error", "monitor", ward->slot, "event=not_watched why=\"%s\"", strerror(errno));
    if (!links_start(ward))
        log_line("error", "monitor", ward->slot, "event=alone why=\"no memory for connections\"");
    ward_look(ward);
}

/* The node's file of words is moved aside when it is long; the node opens a new one. */
void ward_chores(struct ward *ward)
{
    struct stat info;
    links_chores(ward);
    if (!ward->app->all || fstatat(ward->folder, "node.log", &info, 0) != 0 ||
        info.st_size < LOG_MOST_BYTES)
        return;
    /* One that recovers does not listen to it yet. */
    if (ward->pulse.phase == PULSE_RUNNING && ward->process.pid &&
        renameat(ward->folder, "node.log", ward->folder, "node.log.1") == 0)
        process_signal(&ward->process, SIGHUP);
}

void ward_close(struct ward *ward)
{
    if (ward->folder >= 0 && ward->pulses.fd >= 0)
        (void)unlinkat(ward->folder, "monitor.sock", 0);
}
