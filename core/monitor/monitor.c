#include "core/monitor/monitor.h"

#include "core/check.h"
#include "core/monitor/heal.h"

enum {
    DIAL_PAUSE_US = 50000, /* after a dial that failed; doubles up to half the silence */
    HELLO_US = 5000000,    /* a connection that has not said who it is by then is closed */
};

static void emit(const struct monitor_effects *effects, const struct monitor_effect *effect)
{
    effects->emit(effects->ctx, effect);
}

static void say(const struct monitor_effects *effects, uint8_t slot, const char *level,
                const char *text)
{
    emit(effects, &(struct monitor_effect) {
                      .kind = EFFECT_MONITOR_LOG, .slot = slot, .level = level, .text = text });
}

void monitor_init(struct monitor *monitor, const struct monitor_options *options)
{
    CHECK(options->slot >= 1 && options->slot <= LIMIT_NODES);
    CHECK(!(options->peers >> (options->slot - 1) & 1));
    CHECK(options->heartbeat_us > 0 && options->silence_us >= options->heartbeat_us);
    *monitor = (struct monitor) { .options = *options, .own = { .state = NODE_DOWN } };
    random_seed(&monitor->random, options->seed);
    for (uint8_t slot = 1; slot <= LIMIT_NODES; slot++)
        monitor->peers[slot].connection = LIMIT_MONITOR_CONNECTIONS;
}

/* --- sending ------------------------------------------------------------------------------------*/

void monitor_send(const struct monitor *monitor, uint32_t connection,
                  enum monitor_message_kind kind, const struct monitor_effects *effects)
{
    uint8_t bytes[MONITOR_MESSAGE_BYTES];
    const struct monitor_message message = { .kind = kind,
                                             .slot = monitor->options.slot,
                                             .follows = monitor->bully.leader,
                                             .report = monitor->own };
    size_t len = monitor_message_encode(&message, bytes);
    emit(effects, &(struct monitor_effect) { .kind = EFFECT_MONITOR_SEND,
                                             .connection = connection,
                                             .bytes = { bytes, len } });
}

static void beat(struct monitor *monitor, uint64_t now_us, const struct monitor_effects *effects)
{
    monitor->own.reached = heal_reached(monitor, now_us);
    for (uint8_t slot = 1; slot <= LIMIT_NODES; slot++)
        if (monitor->peers[slot].connection < LIMIT_MONITOR_CONNECTIONS)
            monitor_send(monitor, monitor->peers[slot].connection, MONITOR_HEARTBEAT, effects);
    monitor->beat_us = now_us + monitor->options.heartbeat_us;
}

/* What the election has to say, and who leads now. */
static void send_election(struct monitor *monitor, const struct monitor_effects *effects)
{
    static const enum monitor_message_kind kinds[BULLY_MESSAGES] = {
        [BULLY_ELECTION] = MONITOR_ELECTION,
        [BULLY_ANSWER] = MONITOR_ANSWER,
        [BULLY_COORDINATOR] = MONITOR_COORDINATOR,
    };
    struct bully *bully = &monitor->bully;
    for (unsigned kind = 1; kind < BULLY_MESSAGES; kind++) {
        uint8_t to = bully->out[kind];
        bully->out[kind] = 0;
        for (uint8_t slot = 1; slot <= LIMIT_NODES; slot++)
            if (to >> (slot - 1) & 1)
                monitor_send(monitor, monitor->peers[slot].connection, kinds[kind], effects);
    }
    if (bully->leader && bully->leader != monitor->leader_told) {
        monitor->leader_told = bully->leader;
        say(effects, bully->leader, "info",
            bully_leads(bully) ? "event=leads_monitors" : "event=follows_monitor");
    }
}

/* --- links --------------------------------------------------------------------------------------*/

static void reach(struct monitor *monitor, uint8_t slot, bool reachable, uint64_t now_us)
{
    /* That it was stopped on purpose is not forgotten with its monitor: a host that is being looked
     * after stays as it is. */
    struct monitor_report *report = &monitor->peers[slot].report;
    bool stopped = report->state == NODE_STOPPED;
    if (!reachable)
        *report = (struct monitor_report) { .state = stopped ? NODE_STOPPED : NODE_UNKNOWN };
    bully_reach(&monitor->bully, slot, reachable, now_us);
}

static void dial_failed(struct monitor *monitor, uint8_t slot, uint64_t now_us)
{
    struct monitor_peer *peer = &monitor->peers[slot];
    uint64_t most = monitor->options.silence_us / 2;
    peer->dialling = false;
    peer->pause_us = peer->pause_us ? peer->pause_us * 2 : DIAL_PAUSE_US;
    if (peer->pause_us > most)
        peer->pause_us = most;
    peer->dial_us = now_us + peer->pause_us - random_below(&monitor->random, peer->pause_us / 4);
}

static void lose(struct monitor *monitor, uint8_t slot, uint64_t now_us)
{
    struct monitor_peer *peer = &monitor->peers[slot];
    bool lasted = now_us - peer->linked_us >= monitor->options.silence_us;
    peer->connection = LIMIT_MONITOR_CONNECTIONS;
    peer->suspected = false;
    if (lasted) {
        peer->pause_us = 0;
        peer->dial_us = now_us;
    } else { /* what does not last is dialled after a pause */
        dial_failed(monitor, slot, now_us);
    }
    reach(monitor, slot, false, now_us);
}

/* Nothing is known of that connection any more. */
static void forget(struct monitor *monitor, uint32_t connection, uint64_t now_us)
{
    if (monitor->dialled[connection])
        dial_failed(monitor, monitor->dialled[connection], now_us);
    monitor->open[connection] = false;
    monitor->slot_of[connection] = monitor->dialled[connection] = 0;
}

static void drop(struct monitor *monitor, uint32_t connection, uint64_t now_us,
                 const struct monitor_effects *effects)
{
    forget(monitor, connection, now_us);
    emit(effects,
         &(struct monitor_effect) { .kind = EFFECT_MONITOR_CLOSE, .connection = connection });
}

static void on_closed(struct monitor *monitor, uint32_t connection, uint64_t now_us)
{
    uint8_t slot = monitor->slot_of[connection];
    forget(monitor, connection, now_us);
    if (slot && monitor->peers[slot].connection == connection)
        lose(monitor, slot, now_us);
}

static void on_opened(struct monitor *monitor, const struct monitor_event *event,
                      const struct monitor_effects *effects)
{
    monitor->open[event->connection] = true;
    monitor->slot_of[event->connection] = 0;
    monitor->dialled[event->connection] = event->slot;
    monitor->opened_us[event->connection] = event->now_us;
    monitor_send(monitor, event->connection, MONITOR_HELLO, effects);
}

/* The newest connection of a peer counts: an older one may be dead without knowing it. */
static void on_hello(struct monitor *monitor, uint32_t connection,
                     const struct monitor_message *message, uint64_t now_us,
                     const struct monitor_effects *effects)
{
    struct monitor_peer *peer = &monitor->peers[message->slot];
    const struct phi_options options = { .expected_us = monitor->options.heartbeat_us,
                                         .deviation_us = monitor->options.heartbeat_us / 4,
                                         .ceiling_us = monitor->options.silence_us };
    if (peer->connection < LIMIT_MONITOR_CONNECTIONS) {
        drop(monitor, peer->connection, now_us, effects);
        lose(monitor, message->slot, now_us);
    }
    if (monitor->dialled[connection])
        peer->dialling = false;
    monitor->slot_of[connection] = message->slot;
    monitor->dialled[connection] = 0;
    peer->connection = connection;
    peer->suspected = false;
    peer->linked_us = now_us;
    phi_start(&peer->phi, &options, now_us);
    reach(monitor, message->slot, true, now_us);
    monitor_send(monitor, connection, MONITOR_HEARTBEAT, effects);
}

/* --- hearing ------------------------------------------------------------------------------------*/

static void on_heard(struct monitor *monitor, uint8_t slot, const struct monitor_message *message,
                     uint64_t now_us, const struct monitor_effects *effects)
{
    struct monitor_peer *peer = &monitor->peers[slot];
    if (peer->suspected) {
        peer->suspected = false;
        reach(monitor, slot, true, now_us);
    }
    switch (message->kind) {
    case MONITOR_HEARTBEAT:
        phi_heard(&peer->phi, now_us);
        peer->report = message->report;
        bully_heard(&monitor->bully, slot, message->follows, now_us);
        break;
    case MONITOR_ELECTION:
        bully_receive(&monitor->bully, slot, BULLY_ELECTION, message->follows, now_us);
        break;
    case MONITOR_ANSWER:
        bully_receive(&monitor->bully, slot, BULLY_ANSWER, message->follows, now_us);
        break;
    case MONITOR_COORDINATOR:
        bully_receive(&monitor->bully, slot, BULLY_COORDINATOR, message->follows, now_us);
        break;
    case MONITOR_START:
        emit(effects, &(struct monitor_effect) { .kind = EFFECT_MONITOR_START });
        break;
    case MONITOR_HELLO:
        break; /* once is enough */
    }
}

static void on_message(struct monitor *monitor, const struct monitor_event *event,
                       const struct monitor_effects *effects)
{
    struct monitor_message message;
    uint8_t slot = monitor->slot_of[event->connection];
    uint8_t dialled = monitor->dialled[event->connection];
    bool good = monitor->open[event->connection] &&
                monitor_message_decode(&message, event->bytes) &&
                monitor_has_peer(monitor, message.slot) && (!slot || slot == message.slot) &&
                (slot || message.kind == MONITOR_HELLO) && (!dialled || dialled == message.slot);
    if (!good) {
        say(effects, slot, "warn", "event=refused what=message");
        if (monitor->open[event->connection])
            drop(monitor, event->connection, event->now_us, effects);
        if (slot && monitor->peers[slot].connection == event->connection)
            lose(monitor, slot, event->now_us);
        return;
    }
    if (!slot)
        on_hello(monitor, event->connection, &message, event->now_us, effects);
    else
        on_heard(monitor, slot, &message, event->now_us, effects);
}

/* --- time ---------------------------------------------------------------------------------------*/

static void suspect(struct monitor *monitor, uint8_t slot, uint64_t now_us)
{
    struct monitor_peer *peer = &monitor->peers[slot];
    if (peer->connection < LIMIT_MONITOR_CONNECTIONS && !peer->suspected &&
        phi_level(&peer->phi, now_us) >= MONITOR_SUSPECT) {
        peer->suspected = true;
        reach(monitor, slot, false, now_us);
    }
}

/* A link whose peer has been silent for so long may be dead without a word: another one is tried. */
static void renew(struct monitor *monitor, uint8_t slot, uint64_t now_us,
                  const struct monitor_effects *effects)
{
    struct monitor_peer *peer = &monitor->peers[slot];
    if (peer->connection < LIMIT_MONITOR_CONNECTIONS && peer->suspected &&
        now_us - peer->phi.heard_us >= 2ull * monitor->options.silence_us) {
        drop(monitor, peer->connection, now_us, effects);
        lose(monitor, slot, now_us);
    }
    bool mine = slot > monitor->options.slot;
    if (mine && peer->connection == LIMIT_MONITOR_CONNECTIONS && !peer->dialling &&
        peer->dial_us <= now_us) {
        peer->dialling = true;
        emit(effects, &(struct monitor_effect) { .kind = EFFECT_MONITOR_DIAL, .slot = slot });
    }
}

static void close_nameless(struct monitor *monitor, uint64_t now_us,
                           const struct monitor_effects *effects)
{
    for (uint32_t i = 0; i < LIMIT_MONITOR_CONNECTIONS; i++)
        if (monitor->open[i] && !monitor->slot_of[i] && now_us - monitor->opened_us[i] >= HELLO_US)
            drop(monitor, i, now_us, effects);
}

static void look(struct monitor *monitor, uint64_t now_us, const struct monitor_effects *effects)
{
    for (uint8_t slot = 1; slot <= LIMIT_NODES; slot++) {
        if (!monitor_has_peer(monitor, slot))
            continue;
        suspect(monitor, slot, now_us);
        renew(monitor, slot, now_us, effects);
    }
    close_nameless(monitor, now_us, effects);
    bully_tick(&monitor->bully, now_us);
    if (monitor->beat_us <= now_us)
        beat(monitor, now_us, effects);
    heal_look(monitor, now_us, effects);
    send_election(monitor, effects);
}

void monitor_step(struct monitor *monitor, const struct monitor_event *event,
                  const struct monitor_effects *effects)
{
    uint64_t now_us = event->now_us;
    CHECK(event->connection < LIMIT_MONITOR_CONNECTIONS);
    switch (event->kind) {
    case EVENT_MONITOR_START:
        bully_start(&monitor->bully, monitor->options.slot, now_us);
        break;
    case EVENT_MONITOR_TICK:
        break;
    case EVENT_MONITOR_LATE:
        for (uint8_t slot = 1; slot <= LIMIT_NODES; slot++) {
            monitor->targets[slot].lost_us = 0;
            if (monitor->peers[slot].connection < LIMIT_MONITOR_CONNECTIONS)
                phi_forgive(&monitor->peers[slot].phi, now_us);
        }
        break;
    case EVENT_MONITOR_OPENED:
        on_opened(monitor, event, effects);
        break;
    case EVENT_MONITOR_CLOSED:
        on_closed(monitor, event->connection, now_us);
        break;
    case EVENT_MONITOR_FAILED:
        dial_failed(monitor, event->slot, now_us);
        break;
    case EVENT_MONITOR_MESSAGE:
        on_message(monitor, event, effects);
        break;
    case EVENT_MONITOR_NODE:
        if (event->report.state != monitor->own.state)
            monitor->beat_us = now_us; /* such news do not wait */
        monitor->own = event->report;
        if (monitor->own.state != NODE_RUNS)
            monitor->own.heard = 0; /* what it heard before says nothing now */
        break;
    case EVENT_MONITOR_PROBED:
        heal_probed(monitor, event->slot, event->good, now_us);
        break;
    case EVENT_MONITOR_UNPROBED:
        heal_unprobed(monitor, event->slot, now_us);
        break;
    case EVENT_MONITOR_STARTED:
        CHECK(monitor->commanding == event->slot);
        monitor->commanding = 0;
        break;
    }
    look(monitor, now_us, effects);
}

uint64_t monitor_due_us(const struct monitor *monitor)
{
    uint64_t due = monitor->beat_us;
    if (bully_due_us(&monitor->bully) < due)
        due = bully_due_us(&monitor->bully);
    uint64_t probe = heal_due_us(monitor);
    if (probe < due)
        due = probe;
    for (uint8_t slot = 1; slot <= LIMIT_NODES; slot++) {
        const struct monitor_peer *peer = &monitor->peers[slot];
        bool linked = peer->connection < LIMIT_MONITOR_CONNECTIONS;
        uint64_t at = UINT64_MAX;
        if (monitor_has_peer(monitor, slot) && linked && !peer->suspected)
            at = phi_due_us(&peer->phi, MONITOR_SUSPECT);
        else if (monitor_has_peer(monitor, slot) && !linked && !peer->dialling &&
                 slot > monitor->options.slot)
            at = peer->dial_us;
        if (at < due)
            due = at;
    }
    return due;
}
