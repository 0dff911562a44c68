/* The phi accrual failure detector: how sure is it that somebody who was heard regularly is gone?
 *
 * A fixed time-out is too short for a loaded host or too long for all others. Here the intervals
 * between the last PHI_WINDOW signs of life say what is usual, and suspicion grows with time:
 * phi = -log10(P), P being the chance that the next sign comes later than now although all is well.
 * Phi 1 is wrong once in ten silences, phi 8 once in a hundred million. The reader chooses his
 * level for each thing that he does about it.
 *
 * Source: N. Hayashibara, X. Defago, R. Yared and T. Katayama, The phi accrual failure detector,
 * SRDS 2004, sections 4.3 and 5: intervals are taken to be normally distributed. Beyond it: the
 * deviation never counts as less than `deviation_us` (signs in lockstep would make every hiccup of a
 * scheduler a death), a silence counts as one interval of at most `ceiling_us` (one outage must
 * not make the next one invisible), and at `ceiling_us` of silence phi is PHI_MOST whatever was
 * usual: detection is never slower than the fixed time-out that it replaces.
 *
 * Times are monotonic microseconds; levels are thousandths. Nothing is allocated. */
#ifndef FTCHAT_CORE_MONITOR_PHI_H
#define FTCHAT_CORE_MONITOR_PHI_H

#include <stdint.h>

enum {
    PHI_WINDOW = 100,
    PHI_MOST = 88560, /* as much as the table knows: twenty deviations */
    PHI_CEILING_MOST_US = 1 << 27,
};

struct phi_options {
    uint32_t
        expected_us; /* what the other side means to keep to; counts until there is experience */
    uint32_t deviation_us; /* the least; > 0 */
    uint32_t ceiling_us;   /* <= PHI_CEILING_MOST_US, >= expected_us */
};

struct phi {
    struct phi_options options;
    uint32_t window[PHI_WINDOW];
    uint32_t count;
    uint32_t next;
    uint64_t sum;
    uint64_t squares;
    uint64_t heard_us;
};

/* It counts as heard now. */
void phi_start(struct phi *phi, const struct phi_options *options, uint64_t now_us);
/* A sign of life. */
void phi_heard(struct phi *phi, uint64_t now_us);
/* The listener itself was away until now (its loop was late): the silence meanwhile says nothing. */
void phi_forgive(struct phi *phi, uint64_t now_us);
uint32_t phi_level(const struct phi *phi, uint64_t now_us);
/* When that level will be reached if nothing is heard. */
uint64_t phi_due_us(const struct phi *phi, uint32_t level);

#endif
