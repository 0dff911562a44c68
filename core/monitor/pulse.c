#include "core/monitor/pulse.h"

#include "core/check.h"

#define PULSE_MAGIC UINT32_C(0x736c7066) /* "fpls" */

void pulse_encode(const struct pulse *pulse, uint8_t *out)
{
    CHECK(pulse->phase > PULSE_NONE && pulse->phase <= PULSE_STOPPED);
    bytes_put_u32(out, PULSE_MAGIC);
    out[4] = PULSE_VERSION;
    out[5] = (uint8_t)pulse->phase;
    out[6] = pulse->slot;
    out[7] = pulse->leader;
    bytes_put_u64(out + 8, pulse->term);
    bytes_put_u64(out + 16, pulse->commit);
    bytes_put_u64(out + 24, pulse->applied);
    bytes_put_u64(out + 32, pulse->progress);
    for (size_t i = 0; i < LIMIT_NODES; i++)
        bytes_put_u16(out + PULSE_AT_HEARD + 2 * i, pulse->heard_ms[1 + i]);
}

bool pulse_decode(struct pulse *pulse, struct slice datagram)
{
    struct reader reader = reader_of(datagram.data, datagram.len);
    bool ours = read_u32(&reader) == PULSE_MAGIC;
    uint8_t version = read_u8(&reader);
    uint8_t phase = read_u8(&reader);
    *pulse = (struct pulse) { .phase = (enum pulse_phase)phase,
                              .slot = read_u8(&reader),
                              .leader = read_u8(&reader) };
    pulse->term = read_u64(&reader);
    pulse->commit = read_u64(&reader);
    pulse->applied = read_u64(&reader);
    pulse->progress = read_u64(&reader);
    for (unsigned slot = 1; slot <= LIMIT_NODES; slot++)
        pulse->heard_ms[slot] = read_u16(&reader);
    return reader_finished(&reader) && ours && version == PULSE_VERSION && phase > PULSE_NONE &&
           phase <= PULSE_STOPPED && pulse->slot >= 1 && pulse->slot <= LIMIT_NODES &&
           pulse->leader <= LIMIT_NODES;
}
