/* How large the simulated world is, and its units of time (microseconds). */
#ifndef FTCHAT_TESTS_SIM_SIZES_H
#define FTCHAT_TESTS_SIM_SIZES_H

#include <stdint.h>

#include "core/limits.h"

enum {
    SIM_NODES = LIMIT_NODES,
    SIM_CLIENTS = 8,
    SIM_CONNECTIONS = 64, /* of one node */
    SIM_LINKS = 512,
    SIM_TWIN = SIM_NODES + 1,                    /* the place of a second process of one folder */
    SIM_HOSTS = 1 + SIM_NODES + SIM_CLIENTS + 2, /* 0 unused; the twin's and ctl's are the last */
    SIM_HOST_CLIENTS = 1 + SIM_NODES,
    SIM_HOST_CTL = SIM_HOSTS - 1,
    SIM_HOST_TWIN = SIM_HOSTS - 2,
    SIM_SEGMENT_BYTES = 64 << 10,
    SIM_ELECTION_MIN_US = 150000,
    SIM_INDEXES = 1 << 16, /* commands of one seed at most */
    SIM_TERMS = 1 << 13,
};

#define SIM_MS UINT64_C(1000)
#define SIM_S UINT64_C(1000000)
#define SIM_NEVER UINT64_MAX

#endif
