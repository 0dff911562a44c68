/* A monitor among two others that say whatever they like: the first byte of each part says who speaks or
 * what else happens, the second how long the part is. It must take it all, and keep its own invariants. A
 * part is also read as a pulse. */
#include "core/check.h"
#include "core/monitor/monitor.h"
#include "core/monitor/pulse.h"

#include <stdlib.h>
#include <string.h>

struct other {
    struct monitor monitor;
    bool open[LIMIT_MONITOR_CONNECTIONS];
};

static void take(void *ctx, const struct monitor_effect *effect)
{
    struct other *other = ctx;
    struct monitor_message message;
    if (effect->kind == EFFECT_MONITOR_SEND) {
        CHECK(other->open[effect->connection]);
        CHECK(monitor_message_decode(&message, effect->bytes));
    }
    if (effect->kind == EFFECT_MONITOR_CLOSE) {
        CHECK(other->open[effect->connection]);
        other->open[effect->connection] = false;
    }
}

static void read_pulse(struct slice part)
{
    struct pulse pulse;
    uint8_t again[PULSE_BYTES];
    if (!pulse_decode(&pulse, part))
        return;
    pulse_encode(&pulse, again);
    CHECK(memcmp(again, part.data, PULSE_BYTES) == 0);
}

static void speak(struct other *other, uint8_t what, struct slice part, uint64_t now)
{
    const struct monitor_effects effects = { take, other };
    uint32_t connection = what % 4;
    struct monitor_event event = { .now_us = now, .connection = connection };
    switch (what >> 6) {
    case 0:
        event.kind = EVENT_MONITOR_TICK;
        break;
    case 1:
        event.kind = other->open[connection] ? EVENT_MONITOR_CLOSED : EVENT_MONITOR_OPENED;
        other->open[connection] = !other->open[connection];
        break;
    default:
        if (!other->open[connection])
            return;
        event.kind = EVENT_MONITOR_MESSAGE;
        event.bytes = part;
        break;
    }
    monitor_step(&other->monitor, &event, &effects);
    const struct bully *bully = &other->monitor.bully;
    CHECK(bully->leader == 0 || bully->leader >= bully->me);
    CHECK((bully->reachable & ~other->monitor.options.peers) == 0);
    CHECK(monitor_due_us(&other->monitor) > 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct other *other = calloc(1, sizeof *other);
    uint64_t now = 1000000;
    CHECK(other != NULL);
    const struct monitor_options options = {
        .slot = 2, .peers = 5, .heartbeat_us = 500000, .silence_us = 6000000, .probe_us = 3000000
    };
    const struct monitor_effects effects = { take, other };
    monitor_init(&other->monitor, &options);
    monitor_step(&other->monitor,
                 &(struct monitor_event) { .kind = EVENT_MONITOR_START, .now_us = now }, &effects);
    for (size_t at = 0; at + 2 <= len;) {
        uint8_t what = data[at];
        size_t size = data[at + 1] % 80;
        at += 2;
        if (size > len - at)
            size = len - at;
        now += (what >> 2 & 15) * 100000;
        read_pulse((struct slice) { data + at, size });
        speak(other, what, (struct slice) { data + at, size }, now);
        at += size;
    }
    free(other);
    return 0;
}
