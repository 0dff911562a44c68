#include "core/time/servers.h"

#include "core/check.h"

void time_server_sample(struct time_server *server, const struct sntp_sample *sample,
                        uint64_t now_us)
{
    server->samples[server->next].sample = *sample;
    server->samples[server->next].at_us = now_us;
    server->next = (server->next + 1) % TIME_SAMPLES;
    if (server->count < TIME_SAMPLES)
        server->count++;
}

/* How far the truth may be from a sample's offset. */
static uint64_t error_of(const struct sntp_sample *sample, uint64_t age_us)
{
    return sample->delay_us / 2 + sample->root_us + age_us * TIME_DRIFT_PPM / 1000000 + 1;
}

bool time_server_interval(const struct time_server *server, uint64_t now_us, uint64_t life_us,
                          struct time_interval *interval)
{
    uint64_t least = UINT64_MAX;
    for (uint32_t i = 0; i < server->count; i++) {
        uint64_t at_us = server->samples[i].at_us;
        uint64_t age_us = now_us > at_us ? now_us - at_us : 0;
        const struct sntp_sample *sample = &server->samples[i].sample;
        uint64_t error = error_of(sample, age_us);
        if (age_us > life_us || error >= least)
            continue;
        least = error;
        interval->low_us = sample->offset_us - (int64_t)error;
        interval->high_us = sample->offset_us + (int64_t)error;
    }
    return least != UINT64_MAX && !server->barred;
}

/* How many of the intervals hold all of [low, high]. */
static unsigned holding(const struct time_interval *intervals, unsigned count, int64_t low,
                        int64_t high)
{
    unsigned holds = 0;
    for (unsigned i = 0; i < count; i++)
        holds += intervals[i].low_us <= low && intervals[i].high_us >= high;
    return holds;
}

/* The intersection that most share, and the hull of all that more than half do. Each begins at somebody's
 * low end and ends at somebody's high end. How many share the first. */
static unsigned intersect(const struct time_interval *intervals, unsigned count,
                          struct time_interval *best, struct time_interval *hull)
{
    unsigned most = 0;
    *hull = (struct time_interval) { INT64_MAX, INT64_MIN };
    for (unsigned i = 0; i < count; i++) {
        for (unsigned j = 0; j < count; j++) {
            int64_t low = intervals[i].low_us;
            int64_t high = intervals[j].high_us;
            unsigned holds = low <= high ? holding(intervals, count, low, high) : 0;
            if (holds > most) {
                most = holds;
                *best = (struct time_interval) { low, high };
            }
            if (holds * 2 <= count)
                continue;
            hull->low_us = low < hull->low_us ? low : hull->low_us;
            hull->high_us = high > hull->high_us ? high : hull->high_us;
        }
    }
    return most;
}

bool time_agree(struct time_server *servers, unsigned count, uint64_t now_us, uint64_t life_us,
                struct time_agreement *agreement)
{
    struct time_interval intervals[TIME_SERVERS];
    struct time_interval best = { 0 };
    struct time_interval hull;
    unsigned known = 0;
    CHECK(count <= TIME_SERVERS);
    for (unsigned i = 0; i < count; i++)
        known += time_server_interval(&servers[i], now_us, life_us, &intervals[known]);
    unsigned agreeing = intersect(intervals, known, &best, &hull);
    bool agreed = agreeing * 2 > known;
    for (unsigned i = 0; i < count; i++) {
        struct time_interval own;
        bool counts = time_server_interval(&servers[i], now_us, life_us, &own);
        servers[i].false_one =
            counts && agreed && (own.low_us > best.high_us || own.high_us < best.low_us);
    }
    *agreement = (struct time_agreement) { .servers = known, .agreeing = agreeing };
    if (!agreed)
        return false;
    int64_t offset = best.low_us + (best.high_us - best.low_us) / 2;
    int64_t above = hull.high_us - offset;
    int64_t below = offset - hull.low_us;
    agreement->offset_us = offset;
    agreement->error_us = (uint64_t)(above > below ? above : below);
    return true;
}
