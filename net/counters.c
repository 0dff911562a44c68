#include "net/counters.h"
#include "core/check.h"

const char *net_counter_name(enum net_counter counter)
{
    static const char *const names[NET_COUNTERS] = {
        [NET_ACCEPTED] = "accepted",
        [NET_OPENED] = "opened",
        [NET_REFUSED_TOTAL] = "refused_total",
        [NET_REFUSED_CAP] = "refused_cap",
        [NET_REFUSED_ADDRESS] = "refused_address",
        [NET_HANDSHAKE_TIMEOUT] = "handshake_timeouts",
        [NET_LOGIN_TIMEOUT] = "login_timeouts",
        [NET_GARBAGE] = "garbage",
        [NET_TRUNCATED] = "truncated",
        [NET_RESET] = "resets",
        [NET_OVERSIZED] = "oversized",
        [NET_NO_MEMORY] = "no_memory",
        [NET_ACCEPT_PAUSED] = "accept_paused",
    };
    CHECK(counter < NET_COUNTERS);
    return names[counter];
}

uint64_t burst_note(struct burst *burst, uint64_t now_us, uint64_t burst_us)
{
    burst->untold++;
    return burst_over(burst, now_us, burst_us);
}

uint64_t burst_over(struct burst *burst, uint64_t now_us, uint64_t burst_us)
{
    if (burst->untold == 0 || now_us < burst->until_us)
        return 0;
    const uint64_t told = burst->untold;
    burst->untold = 0;
    burst->until_us = now_us + burst_us;
    return told;
}
