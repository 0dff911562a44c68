#include "cmd/monitor/monitor_app.h"

#include "cmd/crypto_sodium.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

enum {
    HEARTBEATS = 12,       /* in [monitor] heartbeat_timeout_ms */
    HEARD_MS = 2000,       /* a node heard so lately is heard */
    COMMAND_US = 30000000, /* a start command takes no longer */
};

static void step(struct ward *ward, struct monitor_event *event)
{
    event->now_us = loop_clock_us();
    monitor_step(&ward->monitor, event, &ward->effects);
    loop_timer_set(ward->app->loop, &ward->tick, monitor_due_us(&ward->monitor));
}

static void on_tick(struct loop_timer *timer)
{
    struct ward *ward = LOOP_HOLDER(struct ward, tick, timer);
    bool late = loop_late_us(ward->app->loop) > ward->monitor.options.heartbeat_us;
    step(ward, &(struct monitor_event) { .kind = late ? EVENT_MONITOR_LATE : EVENT_MONITOR_TICK });
}

/* --- connections --------------------------------------------------------------------------------
 */

/* A channel's tag: its connection's number + 1; of one that is being dialled or probed, the slot. */

static void on_connected(void *owner, struct channel *channel, const struct channel_event *event)
{
    struct ward *ward = owner;
    uint32_t number = (uint32_t)channel_tag(channel) - 1;
    struct monitor_event told = { .connection = number, .bytes = event->message };
    switch (event->kind) {
    case CHANNEL_MESSAGE:
        told.kind = EVENT_MONITOR_MESSAGE;
        break;
    case CHANNEL_CLOSED:
        ward->connections[number] = NULL;
        told.kind = EVENT_MONITOR_CLOSED;
        break;
    default:
        return;
    }
    step(ward, &told);
}

/* False: there is no number left, and the channel is closed. */
static bool connect_as(struct ward *ward, struct channel *channel, uint8_t slot)
{
    uint32_t number = 0;
    while (number < LIMIT_MONITOR_CONNECTIONS &&
           (ward->connections[number] || ward->doomed[number]))
        number++;
    if (number == LIMIT_MONITOR_CONNECTIONS) {
        channel_close(channel, false);
        return false;
    }
    ward->connections[number] = channel;
    channel_set_tag(channel, number + 1);
    channel_set_handler(channel, on_connected, ward);
    channel_admit(channel, MONITOR_MESSAGE_BYTES);
    step(ward, &(struct monitor_event) {
                   .kind = EVENT_MONITOR_OPENED, .connection = number, .slot = slot });
    return true;
}

static void on_accepted(void *owner, struct channel *channel, const struct channel_event *event)
{
    struct ward *ward = owner;
    if (event->kind != CHANNEL_OPENED)
        return;
    if (channel_role(channel) == ROLE_MONITOR)
        (void)connect_as(ward, channel, 0);
    else
        channel_close(channel, false);
}

static void on_dialled(void *owner, struct channel *channel, const struct channel_event *event)
{
    struct ward *ward = owner;
    uint8_t slot = (uint8_t)channel_tag(channel);
    if (event->kind == CHANNEL_OPENED && connect_as(ward, channel, slot))
        return;
    step(ward, &(struct monitor_event) { .kind = EVENT_MONITOR_FAILED, .slot = slot });
}

static void on_probed(void *owner, struct channel *channel, const struct channel_event *event)
{
    struct ward *ward = owner;
    uint8_t slot = (uint8_t)channel_tag(channel);
    bool good = event->kind == CHANNEL_OPENED;
    if (good)
        channel_close(channel, true);
    step(ward,
         &(struct monitor_event) { .kind = EVENT_MONITOR_PROBED, .slot = slot, .good = good });
}

static bool dial(struct ward *ward, uint8_t slot, bool probe)
{
    const struct config *config = &ward->app->file.config;
    const struct config_node *node = &config->nodes[slot];
    struct channel *channel =
        channel_dial(ward->channels, node->host, probe ? node->port : node->monitor_port,
                     ROLE_MONITOR, config->health_timeout_ms * 1000ull, MONITOR_MESSAGE_BYTES,
                     probe ? on_probed : on_dialled, ward);
    if (channel)
        channel_set_tag(channel, slot);
    else
        loop_again(ward->app->loop);
    return channel != NULL;
}

static void send(struct ward *ward, uint32_t number, struct slice bytes)
{
    struct channel *channel = ward->connections[number];
    if (!channel || channel_send(channel, &bytes, 1))
        return;
    channel_close(channel, false);
    ward->connections[number] = NULL;
    ward->doomed[number] = true;
    loop_again(ward->app->loop);
}

static void on_turn_end(struct loop_hook *hook)
{
    struct ward *ward = LOOP_HOLDER(struct ward, turn_end, hook);
    for (uint32_t i = 0; i < LIMIT_MONITOR_CONNECTIONS; i++) {
        if (!ward->doomed[i])
            continue;
        ward->doomed[i] = false;
        step(ward, &(struct monitor_event) { .kind = EVENT_MONITOR_CLOSED, .connection = i });
    }
    for (uint8_t slot = 1; slot <= LIMIT_NODES; slot++) {
        bool undialled = ward->undialled[slot];
        bool unprobed = ward->unprobed[slot];
        ward->undialled[slot] = ward->unprobed[slot] = false;
        if (undialled)
            step(ward, &(struct monitor_event) { .kind = EVENT_MONITOR_FAILED, .slot = slot });
        if (unprobed)
            step(ward, &(struct monitor_event) { .kind = EVENT_MONITOR_UNPROBED, .slot = slot });
    }
}

/* --- the start command --------------------------------------------------------------------------
 */

static void on_command_end(struct loop_source *source, unsigned ready)
{
    struct command *command = LOOP_HOLDER(struct command, pidfd, source);
    struct ward *ward = LOOP_HOLDER(struct ward, command, command);
    char how[48];
    (void)ready;
    loop_unwatch(ward->app->loop, source);
    loop_timer_clear(ward->app->loop, &command->timer);
    log_line("info", "monitor", ward->slot, "event=start_command_ended of=%u how=\"%s\"",
             command->slot, process_end_text(process_reap(&command->process), how));
    step(ward, &(struct monitor_event) { .kind = EVENT_MONITOR_STARTED, .slot = command->slot });
}

static void on_command_late(struct loop_timer *timer)
{
    struct command *command = LOOP_HOLDER(struct command, timer, timer);
    struct ward *ward = LOOP_HOLDER(struct ward, command, command);
    if (command->process.pid)
        process_kill_all(&command->process);
    else
        step(ward,
             &(struct monitor_event) { .kind = EVENT_MONITOR_STARTED, .slot = command->slot });
}

/* %i is the node's number; the shell gets the rest as it stands. */
static void write_command(const char *pattern, uint8_t slot, char *out, size_t len)
{
    size_t at = 0;
    for (; *pattern && at + 1 < len; pattern++) {
        bool number = pattern[0] == '%' && pattern[1] == 'i';
        out[at++] = number ? (char)('0' + slot) : *pattern;
        pattern += number;
    }
    out[at] = 0;
}

static void run_command(struct ward *ward, uint8_t slot)
{
    struct command *command = &ward->command;
    char line[CONFIG_TEXT_BYTES];
    char shell[] = "/bin/sh";
    char flag[] = "-c";
    char *argv[] = { shell, flag, line, NULL };
    write_command(ward->app->file.config.monitor_start_command, slot, line, sizeof line);
    command->slot = slot;
    log_line("alarm", "monitor", ward->slot,
             "event=start_command of=%u why=\"neither its node nor its monitor is heard\"", slot);
    int error = process_start(&command->process, shell, argv);
    command->timer.on_fire = on_command_late;
    loop_timer_set(ward->app->loop, &command->timer, loop_clock_us() + COMMAND_US);
    command->pidfd =
        (struct loop_source) { .on_ready = on_command_end, .fd = command->process.pidfd };
    if (!error && loop_watch(ward->app->loop, &command->pidfd, LOOP_READ)) {
        error = errno; /* its end would not be heard */
        process_kill_all(&command->process);
        (void)process_reap(&command->process);
    }
    if (error)
        log_line("error", "monitor", ward->slot, "event=start_command_failed of=%u why=\"%s\"",
                 slot, strerror(error));
}

/* --- effects ------------------------------------------------------------------------------------
 */

static void carry_out(void *owner, const struct monitor_effect *effect)
{
    struct ward *ward = owner;
    switch (effect->kind) {
    case EFFECT_MONITOR_DIAL:
        ward->undialled[effect->slot] = !dial(ward, effect->slot, false);
        break;
    case EFFECT_MONITOR_PROBE:
        ward->unprobed[effect->slot] = !dial(ward, effect->slot, true);
        break;
    case EFFECT_MONITOR_SEND:
        send(ward, effect->connection, effect->bytes);
        break;
    case EFFECT_MONITOR_CLOSE:
        if (ward->connections[effect->connection])
            channel_close(ward->connections[effect->connection], false);
        ward->connections[effect->connection] = NULL;
        ward->doomed[effect->connection] = false;
        break;
    case EFFECT_MONITOR_START:
        supervisor_nudge(&ward->supervisor, loop_clock_us());
        loop_timer_set(ward->app->loop, &ward->timer, loop_clock_us());
        break;
    case EFFECT_MONITOR_COMMAND:
        run_command(ward, effect->slot);
        break;
    case EFFECT_MONITOR_LOG:
        if (effect->slot)
            log_line(effect->level, "monitor", ward->slot, "%s of=%u", effect->text, effect->slot);
        else
            log_line(effect->level, "monitor", ward->slot, "%s", effect->text);
        break;
    }
}

/* --- what it tells ------------------------------------------------------------------------------
 */

void links_report(struct ward *ward)
{
    const struct pulse *pulse = &ward->pulse;
    struct monitor_event event = {
        .kind = EVENT_MONITOR_NODE,
        .report = { .state = supervisor_node_state(&ward->supervisor),
                    .leader = pulse->leader,
                    .term = pulse->term,
                    .commit = pulse->commit,
                    .applied = pulse->applied },
    };
    if (!ward->channels)
        return;
    for (uint8_t slot = 1; slot <= LIMIT_NODES; slot++)
        if (pulse->heard_ms[slot] < HEARD_MS && slot != ward->slot)
            event.report.heard |= (uint8_t)(1u << (slot - 1));
    step(ward, &event);
}

/* --- beginning ----------------------------------------------------------------------------------
 */

/* Without it the lower ones cannot come here; its own node is looked after all the same. */
void links_chores(struct ward *ward)
{
    const struct config_node *node = &ward->app->file.config.nodes[ward->slot];
    struct tcp_address address;
    char text[TCP_ADDRESS_TEXT];
    if (!ward->channels || ward->listens)
        return;
    bool numeric = tcp_address_parse(&address, node->listen, node->monitor_port);
    ward->listens = numeric && !channels_listen(ward->channels, &address, on_accepted, ward);
    if (ward->listens || !ward->listen_told)
        log_line(ward->listens ? "info" : "alarm", "monitor", ward->slot,
                 ward->listens
                     ? "event=listening address=%s"
                     : "event=listen_failed address=%s why=\"in use, or not an address of "
                       "this host: the other monitors cannot come here\"",
                 numeric ? tcp_address_format(text, &address) : node->listen);
    ward->listen_told = true;
}

bool links_start(struct ward *ward)
{
    const struct config *config = &ward->app->file.config;
    const struct cluster_keys *keys = &ward->app->keys;
    _Static_assert(CONFIG_HEARTBEAT_MOST_MS * 1000 <= PHI_CEILING_MOST_US,
                   "the detector can wait so long");
    struct monitor_options options = {
        .slot = ward->slot,
        .heartbeat_us = config->monitor_heartbeat_timeout_ms * 1000 / HEARTBEATS,
        .silence_us = config->monitor_heartbeat_timeout_ms * 1000,
        .probe_us = config->health_interval_ms * 1000,
        .has_start_command = config->monitor_start_command[0] != 0,
    };
    for (uint8_t slot = 1; slot <= LIMIT_NODES; slot++)
        if (config->nodes[slot].present && slot != ward->slot)
            options.peers |= (uint8_t)(1u << (slot - 1));
    if (!options.peers)
        return true; /* there is nobody to talk with */
    struct channels_config channels = { .static_secret = keys->secret,
                                        .static_public = keys->public_half.public_key,
                                        .psk = keys->psk,
                                        .max_channels = LIMIT_MONITOR_CHANNELS,
                                        .preauth = LIMIT_MONITOR_PREAUTH,
                                        .owner = ward };
    randombytes_buf(&options.seed, sizeof options.seed);
    monitor_init(&ward->monitor, &options);
    ward->channels = channels_create(ward->app->loop, &channels);
    if (!ward->channels)
        return false;
    ward->effects = (struct monitor_effects) { .emit = carry_out, .ctx = ward };
    ward->tick.on_fire = on_tick;
    ward->turn_end.run = on_turn_end;
    loop_add_hook(ward->app->loop, LOOP_TURN_END, &ward->turn_end);
    links_chores(ward);
    step(ward, &(struct monitor_event) { .kind = EVENT_MONITOR_START });
    return true;
}
