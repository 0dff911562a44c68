#include "tests/sim/report.h"

#include <inttypes.h>
#include <stdio.h>

static const char *const faults[FAULT_KINDS] = {
#define X(name, text) text,
    REPORT_FAULTS(X)
#undef X
};

static const char *const branches[BRANCHES] = {
#define X(name, text) text,
    REPORT_BRANCHES(X)
#undef X
};

const char *report_fault_text(enum report_fault fault)
{
    return faults[fault];
}

void report_print(const struct report *report, double seconds)
{
    uint64_t all = 0;
    for (unsigned i = 0; i < FAULT_KINDS; i++)
        all += report->faults[i];
    double simulated = (double)report->simulated_us / 1e6;
    printf("%" PRIu64 " seeds, %.2f simulated hours, %" PRIu64 " events, %" PRIu64
           " acknowledged, %" PRIu64 " records shown, %" PRIu64 " faults\n",
           report->seeds, simulated / 3600, report->events, report->acknowledged, report->records,
           all);
    printf("%" PRIu64 " seeds with fewer than 500 acknowledged or 10 faults\n", report->thin);
    printf("%.1f seeds/s, %.0f x real time, of one core\n", (double)report->seeds / seconds,
           (simulated + (double)report->again_us / 1e6) / seconds);
    printf("faults:\n");
    for (unsigned i = 0; i < FAULT_KINDS; i++)
        printf("  %10" PRIu64 "  %s\n", report->faults[i], faults[i]);
    printf("rare branches:\n");
    for (unsigned i = 0; i < BRANCHES; i++)
        printf("  %10" PRIu64 "  %s\n", report->branches[i], branches[i]);
}

bool report_complete(const struct report *report)
{
    bool complete = true;
    for (unsigned i = 0; i < FAULT_KINDS; i++)
        if (report->faults[i] == 0) {
            printf("never happened: %s\n", faults[i]);
            complete = false;
        }
    for (unsigned i = 0; i < BRANCHES; i++)
        if (report->branches[i] == 0) {
            printf("never reached: %s\n", branches[i]);
            complete = false;
        }
    return complete;
}
