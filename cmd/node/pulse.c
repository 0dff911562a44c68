/* The node's side of the pulse (core/monitor/pulse.h). */
#include "core/monitor/pulse.h"
#include "cmd/node/server.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

enum { LEAST_MS = 20 };

/* A signal handler sends it, too. */
static struct {
    int fd;
    struct sockaddr_un to;
    struct pulse pulse;
} beat = { .fd = -1 };

/* Nobody there, a full socket: never the node's concern. */
static void send_it(void)
{
    uint8_t bytes[PULSE_BYTES];
    pulse_encode(&beat.pulse, bytes);
    ssize_t ignored = sendto(beat.fd, bytes, sizeof bytes, MSG_NOSIGNAL | MSG_DONTWAIT,
                             (const struct sockaddr *)&beat.to, sizeof beat.to);
    (void)ignored;
}

/* While it recovers no loop turns. What it has computed and read by then is its progress: that stands
 * still when a disk does not answer, and when the process is frozen there is no signal either. Less than
 * this handler itself uses up in its time is none. */
static void on_alarm(int number)
{
    int error = errno; /* of whatever was interrupted */
    struct rusage used;
    (void)number;
    getrusage(RUSAGE_SELF, &used);
    uint64_t now = (uint64_t)used.ru_inblock * LEAST_MS +
                   (uint64_t)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1000 +
                   (uint64_t)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1000;
    if (now - beat.pulse.progress >= LEAST_MS)
        beat.pulse.progress = now;
    send_it();
    errno = error;
}

static uint64_t interval_us(const struct server *server)
{
    uint64_t interval = server->file.config.monitor_pulse_timeout_ms * 1000ull / 6;
    return interval < 500000 ? interval : 500000;
}

static void every(uint64_t us)
{
    const struct timeval time = { .tv_sec = (time_t)(us / 1000000),
                                  .tv_usec = (suseconds_t)(us % 1000000) };
    (void)setitimer(ITIMER_REAL, &(struct itimerval) { time, time }, NULL);
}

void server_pulse_recovering(struct server *server, const char *folder)
{
    /* By way of a descriptor, for a socket's path is short. */
    int at = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    beat.to.sun_family = AF_UNIX;
    snprintf(beat.to.sun_path, sizeof beat.to.sun_path, "/proc/self/fd/%d/monitor.sock", at);
    beat.fd = at < 0 ? -1 : socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    beat.pulse = (struct pulse) { .phase = PULSE_RECOVERING, .slot = server->slot };
    for (unsigned slot = 0; slot <= LIMIT_NODES; slot++)
        beat.pulse.heard_ms[slot] = PULSE_UNHEARD;
    if (beat.fd < 0)
        return;
    struct sigaction action = { .sa_handler = on_alarm, .sa_flags = SA_RESTART };
    (void)sigaction(SIGALRM, &action, NULL);
    on_alarm(SIGALRM);
    every(interval_us(server));
}

static uint16_t heard_ms(const struct server *server, uint8_t slot)
{
    uint64_t heard = raft_peer_view(node_raft(server->node), slot).last_heard_us;
    uint64_t since_ms = (loop_now_us(server->loop) - heard) / 1000;
    return heard && since_ms < PULSE_UNHEARD ? (uint16_t)since_ms : PULSE_UNHEARD;
}

static void tell(struct server *server)
{
    const struct raft_view view = raft_view(node_raft(server->node));
    beat.pulse.leader = view.leader;
    beat.pulse.term = view.term;
    beat.pulse.commit = view.commit;
    beat.pulse.applied = node_applied(server->node);
    beat.pulse.progress++;
    for (uint8_t slot = 1; slot <= LIMIT_NODES; slot++)
        beat.pulse.heard_ms[slot] =
            server->file.config.nodes[slot].present ? heard_ms(server, slot) : PULSE_UNHEARD;
    send_it();
}

static void on_pulse(struct loop_timer *timer)
{
    struct server *server = LOOP_HOLDER(struct server, pulse_timer, timer);
    tell(server);
    loop_timer_set(server->loop, timer, loop_now_us(server->loop) + interval_us(server));
}

void server_pulse_pause(void)
{
    every(0);
}

void server_pulse_running(struct server *server)
{
    if (beat.fd < 0)
        return;
    server_pulse_pause();
    beat.pulse.phase = PULSE_RUNNING;
    server->pulse_timer.on_fire = on_pulse;
    on_pulse(&server->pulse_timer);
}

void server_pulse_stopping(struct server *server)
{
    if (beat.fd < 0)
        return;
    beat.pulse.phase = PULSE_STOPPING;
    tell(server);
}

void server_pulse_stopped(void)
{
    if (beat.fd < 0)
        return;
    beat.pulse.phase = PULSE_STOPPED;
    beat.pulse.progress++;
    send_it();
}
