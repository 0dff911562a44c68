#include "core/time/sntp.h"

#include "core/check.h"

#include <string.h>

enum {
    AT_FLAGS = 0, /* leap 2 bits, version 3, mode 3 */
    AT_STRATUM = 1,
    AT_ROOT_DELAY = 4,
    AT_ROOT_DISPERSION = 8,
    AT_REFERENCE_ID = 12,
    AT_ORIGINATE = 24,
    AT_RECEIVE = 32,
    AT_TRANSMIT = 40,

    LEAP_UNKNOWN = 3,
    MODE_CLIENT = 3,
    MODE_SERVER = 4,
    STRATUM_MOST = 15,
    DELAY_MOST_US = 16000000, /* MAXDISP of RFC 5905 */
};

#define UNIX_SECONDS UINT64_C(2208988800) /* from 1900 to 1970 */
#define ERA_SECONDS (UINT64_C(1) << 32)

static uint32_t get_be32(const uint8_t *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static uint64_t get_be64(const uint8_t *at)
{
    return (uint64_t)get_be32(at) << 32 | get_be32(at + 4);
}

static void put_be64(uint8_t *at, uint64_t value)
{
    for (int i = 0; i < 8; i++)
        at[i] = (uint8_t)(value >> (56 - 8 * i));
}

/* The time of a timestamp that is next to `near_us`: seconds come round every 136 years. */
static int64_t unix_us(uint64_t stamp, uint64_t near_us)
{
    uint64_t near_s = near_us / 1000000 + UNIX_SECONDS;
    uint64_t seconds = (near_s & ~(ERA_SECONDS - 1)) | stamp >> 32;
    if (seconds > near_s + ERA_SECONDS / 2)
        seconds -= ERA_SECONDS;
    else if (seconds + ERA_SECONDS / 2 < near_s)
        seconds += ERA_SECONDS;
    uint64_t fraction_us = (stamp & UINT32_MAX) * 1000000 >> 32;
    return ((int64_t)seconds - (int64_t)UNIX_SECONDS) * 1000000 + (int64_t)fraction_us;
}

/* NTP's short format: 16.16 seconds. */
static uint64_t short_us(uint32_t value)
{
    return (uint64_t)value * 1000000 >> 16;
}

void sntp_ask(const struct sntp_question *question, uint8_t out[SNTP_PACKET_BYTES])
{
    CHECK(question->cookie != 0);
    memset(out, 0, SNTP_PACKET_BYTES);
    out[AT_FLAGS] = 4 << 3 | MODE_CLIENT;
    put_be64(out + AT_TRANSMIT, question->cookie);
}

static enum sntp_answer kiss_of_death(const uint8_t *id)
{
    if (memcmp(id, "RATE", 4) == 0)
        return SNTP_SLOWER;
    if (memcmp(id, "DENY", 4) == 0 || memcmp(id, "RSTR", 4) == 0)
        return SNTP_GO_AWAY;
    return SNTP_UNSURE; /* the others: not now */
}

enum sntp_answer sntp_read(const struct sntp_question *question, struct slice packet,
                           uint64_t received_us, struct sntp_sample *sample)
{
    const uint8_t *data = packet.data;
    if (packet.len < SNTP_PACKET_BYTES || received_us < question->sent_us)
        return SNTP_IGNORED;
    unsigned version = data[AT_FLAGS] >> 3 & 7;
    if ((data[AT_FLAGS] & 7) != MODE_SERVER || version < 3 || version > 4 ||
        get_be64(data + AT_ORIGINATE) != question->cookie)
        return SNTP_IGNORED;
    if (data[AT_STRATUM] == 0)
        return kiss_of_death(data + AT_REFERENCE_ID);
    if (data[AT_FLAGS] >> 6 == LEAP_UNKNOWN || data[AT_STRATUM] > STRATUM_MOST ||
        get_be64(data + AT_TRANSMIT) == 0)
        return SNTP_UNSURE;
    int64_t t1 = (int64_t)question->sent_us;
    int64_t t2 = unix_us(get_be64(data + AT_RECEIVE), question->sent_us);
    int64_t t3 = unix_us(get_be64(data + AT_TRANSMIT), question->sent_us);
    int64_t t4 = (int64_t)received_us;
    int64_t delay = (t4 - t1) - (t3 - t2);
    uint64_t root = short_us(get_be32(data + AT_ROOT_DELAY)) / 2 +
                    short_us(get_be32(data + AT_ROOT_DISPERSION));
    /* The clocks' steps may make a short way a little shorter than none. */
    if (t3 < t2 || delay < -1000 || delay > DELAY_MOST_US || root > DELAY_MOST_US)
        return SNTP_IGNORED;
    *sample = (struct sntp_sample) { .offset_us = ((t2 - t1) + (t3 - t4)) / 2,
                                     .delay_us = delay > 0 ? (uint64_t)delay : 0,
                                     .root_us = root,
                                     .stratum = data[AT_STRATUM] };
    return SNTP_GOOD;
}
