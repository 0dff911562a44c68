/* What several time servers say together: each one's best answer of its last eight, and the time that
 * more than half of them can agree on.
 *
 * Source: RFC 5905, section 10 (the clock filter: of the last eight samples the one with the least delay
 * is nearest to the truth, and every sample grows less sure by 15 ppm of its age) and section 11.2.1
 * (the intersection, after K. Marzullo and S. Owicki, Maintaining the time in a distributed system,
 * PODC 1983: each answer is an interval that holds the true time if its server tells the truth; so as
 * long as fewer than half lie it is somewhere where more than half of them overlap). The best guess is the
 * middle of where most do; whose interval does not meet that is a falseticker.
 *
 * Offsets are signed microseconds, to be added to the clock that the samples were taken by. Times are
 * monotonic microseconds. Nothing is allocated. */
#ifndef FTCHAT_CORE_TIME_SERVERS_H
#define FTCHAT_CORE_TIME_SERVERS_H

#include "core/time/sntp.h"

#include <stdbool.h>

enum {
    TIME_SERVERS = 8,
    TIME_SAMPLES = 8,
    TIME_DRIFT_PPM = 15, /* what an undisciplined clock may be off by in a second, RFC 5905's PHI */
};

struct time_server {
    struct {
        struct sntp_sample sample;
        uint64_t at_us;
    } samples[TIME_SAMPLES];
    uint32_t count;
    uint32_t next;
    bool barred;    /* it told us to go away */
    bool false_one; /* of the last agreement: it was not in it */
};

/* What a server says now: the time is off by [low, high]. */
struct time_interval {
    int64_t low_us;
    int64_t high_us;
};

struct time_agreement {
    int64_t offset_us;
    uint64_t error_us; /* the truth is no farther, unless half of them lie */
    unsigned servers;  /* that count */
    unsigned agreeing;
};

void time_server_sample(struct time_server *server, const struct sntp_sample *sample,
                        uint64_t now_us);
/* False: it has said nothing of late. `life_us`: for how long an answer counts. */
bool time_server_interval(const struct time_server *server, uint64_t now_us, uint64_t life_us,
                          struct time_interval *interval);

/* False: no more than half of those that count agree; nothing is known then. Marks who is false. */
bool time_agree(struct time_server *servers, unsigned count, uint64_t now_us, uint64_t life_us,
                struct time_agreement *agreement);

#endif
