#include "core/monitor/heal.h"

#include "core/check.h"

static uint8_t next_peer(const struct monitor *monitor, uint8_t slot)
{
    do
        slot = slot == LIMIT_NODES ? 1 : (uint8_t)(slot + 1);
    while (!monitor_has_peer(monitor, slot) && slot != monitor->options.slot);
    return slot;
}

/* The next ones in the ring of slots, so that each node has as many that look at it, however many there
 * are; and who leads looks also at those of whom no monitor tells. */
static bool is_probed(const struct monitor *monitor, uint8_t slot)
{
    uint8_t neighbour = monitor->options.slot;
    if (bully_leads(&monitor->bully) && !monitor_reaches(monitor, slot))
        return true;
    for (int i = 0; i < HEAL_NEIGHBOURS; i++)
        if ((neighbour = next_peer(monitor, neighbour)) == slot)
            return true;
    return false;
}

void heal_probed(struct monitor *monitor, uint8_t slot, bool good, uint64_t now_us)
{
    CHECK(slot >= 1 && slot <= LIMIT_NODES);
    struct monitor_target *target = &monitor->targets[slot];
    target->probing = false;
    target->reached = good;
    target->probed_us = now_us;
    target->probe_at_us = now_us + monitor->options.probe_us;
}

void heal_unprobed(struct monitor *monitor, uint8_t slot, uint64_t now_us)
{
    CHECK(slot >= 1 && slot <= LIMIT_NODES);
    monitor->targets[slot].probing = false;
    monitor->targets[slot].probe_at_us = now_us + monitor->options.probe_us;
}

static bool was_reached(const struct monitor *monitor, uint8_t slot, uint64_t now_us)
{
    const struct monitor_target *target = &monitor->targets[slot];
    return target->reached && now_us - target->probed_us < 2ull * monitor->options.probe_us;
}

uint8_t heal_reached(const struct monitor *monitor, uint64_t now_us)
{
    uint8_t set = 0;
    for (uint8_t slot = 1; slot <= LIMIT_NODES; slot++)
        if (monitor_has_peer(monitor, slot) && was_reached(monitor, slot, now_us))
            set |= (uint8_t)(1u << (slot - 1));
    return set;
}

/* Does anybody whose word is here have a sign of life of that node? */
static bool is_heard(const struct monitor *monitor, uint8_t slot, uint64_t now_us)
{
    uint8_t heard = monitor->own.heard;
    for (uint8_t peer = 1; peer <= LIMIT_NODES; peer++)
        if (monitor_has_peer(monitor, peer) && monitor_reaches(monitor, peer))
            heard |= monitor->peers[peer].report.heard | monitor->peers[peer].report.reached;
    return heard >> (slot - 1) & 1 || was_reached(monitor, slot, now_us);
}

static bool is_lost(const struct monitor *monitor, uint8_t slot, uint64_t now_us)
{
    if (is_heard(monitor, slot, now_us) || monitor->peers[slot].report.state == NODE_STOPPED)
        return false;
    /* Its own monitor tells of it, and keeps it running: but for a word from here it may pause. */
    return !monitor_reaches(monitor, slot) || monitor->peers[slot].report.state == NODE_DOWN;
}

static void start(struct monitor *monitor, uint8_t slot, uint64_t now_us,
                  const struct monitor_effects *effects)
{
    struct monitor_target *target = &monitor->targets[slot];
    bool by_monitor = monitor_reaches(monitor, slot);
    if (!by_monitor && !monitor->options.has_start_command) {
        if (!target->told)
            effects->emit(
                effects->ctx,
                &(struct monitor_effect) {
                    .kind = EFFECT_MONITOR_LOG,
                    .slot = slot,
                    .level = "alarm",
                    .text = "event=host_lost why=\"neither its node nor its monitor is heard, "
                            "and there is no [monitor] start_command\"" });
        target->told = true;
        return;
    }
    if (!by_monitor && monitor->commanding)
        return; /* one at a time */
    target->pause_us = target->pause_us ? target->pause_us * 2 : HEAL_PAUSE_US;
    if (target->pause_us > HEAL_PAUSE_MOST_US)
        target->pause_us = HEAL_PAUSE_MOST_US;
    target->start_us = now_us + target->pause_us;
    if (by_monitor) {
        monitor_send(monitor, monitor->peers[slot].connection, MONITOR_START, effects);
        return;
    }
    monitor->commanding = slot;
    effects->emit(effects->ctx,
                  &(struct monitor_effect) { .kind = EFFECT_MONITOR_COMMAND, .slot = slot });
}

static void look_at(struct monitor *monitor, uint8_t slot, uint64_t now_us,
                    const struct monitor_effects *effects)
{
    struct monitor_target *target = &monitor->targets[slot];
    if (!target->probing && target->probe_at_us <= now_us && is_probed(monitor, slot)) {
        target->probing = true;
        effects->emit(effects->ctx,
                      &(struct monitor_effect) { .kind = EFFECT_MONITOR_PROBE, .slot = slot });
    }
    if (!is_lost(monitor, slot, now_us) || !bully_leads(&monitor->bully)) {
        target->lost_us = target->start_us = target->pause_us = 0;
        target->told = false;
        return;
    }
    if (!target->lost_us)
        target->lost_us = now_us;
    /* Sure is only what was asked just now: silence alone may be this host's. */
    bool asked = target->probed_us == now_us && !target->reached;
    if ((asked || monitor_reaches(monitor, slot)) &&
        now_us - target->lost_us >= monitor->options.silence_us && target->start_us <= now_us)
        start(monitor, slot, now_us, effects);
}

void heal_look(struct monitor *monitor, uint64_t now_us, const struct monitor_effects *effects)
{
    for (uint8_t slot = 1; slot <= LIMIT_NODES; slot++)
        if (monitor_has_peer(monitor, slot))
            look_at(monitor, slot, now_us, effects);
}

uint64_t heal_due_us(const struct monitor *monitor)
{
    uint64_t due = UINT64_MAX;
    for (uint8_t slot = 1; slot <= LIMIT_NODES; slot++) {
        const struct monitor_target *target = &monitor->targets[slot];
        if (monitor_has_peer(monitor, slot) && !target->probing && is_probed(monitor, slot) &&
            target->probe_at_us < due)
            due = target->probe_at_us;
    }
    return due;
}
