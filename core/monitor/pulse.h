/* The pulse: what a node tells its own host's monitor, a datagram at a time, to show that it works.
 *
 * A node that runs pulses from its event loop, so that a loop that hangs is silent, whatever its
 * sockets still accept (apoptosis: silence is death, after R. Sterritt and M. Hinchey, "Apoptosis
 * and self-destruct", 2005). While it recovers and while it stops it pulses from the work that it
 * does: no progress, no pulse.
 *
 * Layout, little-endian, PULSE_BYTES: magic u32, version u8, phase u8, slot u8, leader u8 (0: none),
 * term u64, commit u64, applied u64, progress u64, heard_ms u16 x 7. Who sent it the kernel says (SCM_CREDENTIALS);
 * the socket lies in the node's own folder, which nobody else enters. */
#ifndef FTCHAT_CORE_MONITOR_PULSE_H
#define FTCHAT_CORE_MONITOR_PULSE_H

#include "core/bytes.h"
#include "core/limits.h"

enum {
    PULSE_AT_HEARD = 40,
    PULSE_BYTES = PULSE_AT_HEARD + 2 * LIMIT_NODES,
    PULSE_VERSION = 1,
    PULSE_UNHEARD = 0xffff,
};

enum pulse_phase {
    PULSE_NONE, /* never sent */
    PULSE_RECOVERING,
    PULSE_RUNNING,
    PULSE_STOPPING, /* on purpose */
    PULSE_STOPPED,  /* the last one: it ends with status 0 now */
};

struct pulse {
    enum pulse_phase phase;
    uint8_t slot;
    uint8_t leader;
    uint64_t term;
    uint64_t commit;
    uint64_t applied;
    uint64_t
        progress; /* another one with each thing that it does; one that stands still is no life */
    uint16_t
        heard_ms[LIMIT_NODES + 1]; /* by slot: since it heard that node; PULSE_UNHEARD: never, or
                                           longer ago than this can say */
};

/* PULSE_BYTES to `out`. */
void pulse_encode(const struct pulse *pulse, uint8_t *out);
/* False: it is none, or another version's. */
bool pulse_decode(struct pulse *pulse, struct slice datagram);

#endif
