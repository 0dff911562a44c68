/* SNTP: one question to a time server, and what its answer says of this clock.
 *
 * Source: RFC 4330 (SNTPv4), sections 4, 5 and 8, and RFC 5905 (NTPv4), sections 6 to 8. The client's
 * transmit timestamp is not a time but a random cookie, which the server must return: nothing is
 * told about this host's clock, and nobody answers who has not seen the question. (The idea of
 * draft-ietf-ntp-data-minimization.)
 *
 * Times are microseconds since 1970 as this host's clock says, intervals are signed microseconds.
 * Nothing is allocated. */
#ifndef FTCHAT_CORE_TIME_SNTP_H
#define FTCHAT_CORE_TIME_SNTP_H

#include "core/bytes.h"

enum { SNTP_PACKET_BYTES = 48 };

/* Of one question. The clock must not be set between: the caller takes both times from a clock that is
 * not (monotonic time and a fixed difference). */
struct sntp_question {
    uint64_t cookie;  /* not 0 */
    uint64_t sent_us; /* T1 */
};

enum sntp_answer {
    SNTP_GOOD,
    SNTP_IGNORED, /* not an answer to this question, or not a sane one: wait for another */
    SNTP_UNSURE,  /* the server says that it does not know the time itself */
    SNTP_SLOWER,  /* kiss of death RATE: ask less often */
    SNTP_GO_AWAY, /* kiss of death DENY or RSTR: never ask again */
};

struct sntp_sample {
    int64_t offset_us; /* what to add to this clock to get the server's */
    uint64_t delay_us; /* of the round trip */
    uint64_t
        root_us; /* how far the server itself may be off: half its root delay and its dispersion */
    uint8_t stratum;
};

void sntp_ask(const struct sntp_question *question, uint8_t out[SNTP_PACKET_BYTES]);
/* `received_us`: T4. The sample is filled in only with SNTP_GOOD. */
enum sntp_answer sntp_read(const struct sntp_question *question, struct slice packet,
                           uint64_t received_us, struct sntp_sample *sample);

#endif
