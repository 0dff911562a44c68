#include "core/client/client.h"

#include "core/client/client_private.h"

const struct client_limits client_limits_default = {
    .outbox_entries = LIMIT_OUTBOX_ENTRIES,
    .outbox_bytes = LIMIT_OUTBOX_BYTES,
    .queries = LIMIT_QUERIES,
    .query_bytes = LIMIT_QUERY_BYTES,
    .held = LIMIT_CLIENT_HELD,
};

/* --- Memory ---------------------------------------------------------------------------------- */

struct layout {
    size_t entries;
    size_t queries;
    size_t outbox;
    size_t query_bytes;
    size_t heads;
    size_t shown;
    size_t all;
};

static size_t rounded(size_t size)
{
    return (size + 15) & ~(size_t)15;
}

static struct layout lay_out(const struct client_limits *limits)
{
    struct layout layout = { .entries = rounded(sizeof(struct client)) };
    layout.queries = layout.entries + rounded(limits->outbox_entries * sizeof(struct outbox_entry));
    layout.outbox = layout.queries + rounded(limits->queries * sizeof(struct client_query));
    layout.query_bytes = layout.outbox + rounded(limits->outbox_bytes);
    layout.heads = layout.query_bytes + rounded(limits->query_bytes);
    layout.shown = layout.heads + rounded(client_held_heads(limits) * sizeof(uint32_t));
    layout.all = layout.shown + rounded(limits->held * sizeof(struct shown_held));
    return layout;
}

size_t client_memory(const struct client_limits *limits)
{
    return lay_out(limits).all;
}

struct client *client_init(void *memory, const struct client_limits *limits,
                           const struct crypto *crypto, uint64_t seed)
{
    CHECK(memory != NULL);
    CHECK(limits->outbox_entries > 0);
    CHECK(limits->queries > 0);
    CHECK(limits->held > 0);
    CHECK(limits->outbox_bytes >= CLIENT_OUTBOX_BYTES_MIN);
    CHECK(limits->query_bytes >= CLIENT_OUTBOX_BYTES_MIN);
    struct layout layout = lay_out(limits);
    uint8_t *base = memory;
    struct client *client = memory;
    memset(client, 0, sizeof *client);
    client->limits = *limits;
    client->crypto = crypto;
    client->entries = (void *)(base + layout.entries);
    client->queries = (void *)(base + layout.queries);
    client_ring_init(&client->outbox, base + layout.outbox, limits->outbox_bytes);
    client_ring_init(&client->query_ring, base + layout.query_bytes, limits->query_bytes);
    client->query_first_id = 1;
    client->shown_heads = (void *)(base + layout.heads);
    client->shown = (void *)(base + layout.shown);
    memset(client->shown_heads, 0, client_held_heads(limits) * sizeof *client->shown_heads);
    random_seed(&client->random, seed);
    return client;
}

/* --- Small things ---------------------------------------------------------------------------- */

void client_show(const struct client_effects *out, const struct client_output *output)
{
    struct client_effect effect = { .kind = CLIENT_EMIT };
    effect.output = output;
    client_emit(out, &effect);
}

void client_transmit(const struct client_effects *out, const void *data, size_t len)
{
    CHECK(len > 0);
    struct client_effect effect = { .kind = CLIENT_TRANSMIT };
    effect.parts[0] = (struct slice) { data, len };
    client_emit(out, &effect);
}

void client_save_cursor(const struct client *client, uint64_t tag, uint64_t seq,
                        const struct client_effects *out)
{
    struct client_effect effect = { .kind = CLIENT_CURSOR };
    effect.cursor.index = client->cursor;
    effect.cursor.floor = client->floor;
    effect.cursor.forgot = client->seen.forgot;
    effect.cursor.tag = tag;
    effect.cursor.seq = seq;
    memcpy(effect.cursor.cluster, client->cluster, IDENTITY_BYTES);
    client_emit(out, &effect);
}

void client_floor_raise(struct client *client, uint64_t index, const struct client_effects *out)
{
    if (index <= client->floor)
        return;
    client->floor = index;
    client_save_cursor(client, 0, 0, out);
}

bool client_met(struct client *client, const struct wire_ready *ready,
                const struct client_effects *out)
{
    bool restored = ready->shared_index != UINT64_MAX;
    if (!memcmp(client->cluster, ready->cluster, IDENTITY_BYTES))
        return false;
    memcpy(client->cluster, ready->cluster, IDENTITY_BYTES);
    if (client->cursor > ready->shared_index)
        client->cursor = ready->shared_index;
    if (client->floor > ready->shared_index)
        client->floor = ready->shared_index;
    client_save_cursor(client, 0, 0, out);
    return restored;
}

/* --- Messages while online ------------------------------------------------------------------- */

static bool record(struct client *client, struct slice message, const struct client_effects *out)
{
    struct wire_record shown;
    if (!wire_decode_record(&shown, message))
        return false;
    if (shown.index <= client->cursor)
        return true;
    client->cursor = shown.index;
    if (shown.index > client->floor)
        client->floor = shown.index;
    held_committed(client, &shown);
    if (client->left_out)
        client->seen.forgot = client->floor;
    struct client_output output = { .kind = CLIENT_OUT_RECORD };
    output.record = &shown;
    client_show(out, &output);
    client_save_cursor(client, shown.device_tag, shown.device_seq, out);
    return true;
}

static bool left_out(struct client *client, struct slice message, enum client_output_kind kind,
                     const struct client_effects *out)
{
    struct client_output output = { .kind = kind };
    struct reader reader = reader_of(message.data, message.len);
    (void)read_u8(&reader);
    output.skipped.room = read_slice8(&reader);
    output.skipped.from = read_u64(&reader);
    output.skipped.to = read_u64(&reader);
    if (!reader_finished(&reader))
        return false;
    client->left_out = true;
    client_show(out, &output);
    return true;
}

static bool nack(struct client *client, struct slice message, const struct client_effects *out)
{
    struct reader reader = reader_of(message.data, message.len);
    (void)read_u8(&reader);
    uint64_t expected = read_u64(&reader);
    if (!reader_finished(&reader))
        return false;
    outbox_nack(client, expected, out);
    return true;
}

static bool online_message(struct client *client, struct slice message,
                           const struct client_effects *out)
{
    struct wire_cluster cluster;
    switch (message.data[0]) {
    case WIRE_ANSWER:
        return outbox_answer(client, message, out);
    case WIRE_NACK:
        return nack(client, message, out);
    case WIRE_RECORD:
        return record(client, message, out);
    case WIRE_HELD:
    case WIRE_HELD_RECORD:
    case WIRE_RETRACT:
        return held_message(client, message, out);
    case WIRE_SKIPPED:
        return left_out(client, message, CLIENT_OUT_SKIPPED, out);
    case WIRE_TRUNCATED:
        return left_out(client, message, CLIENT_OUT_TRUNCATED, out);
    case WIRE_RESULT:
        return query_result(client, message, out);
    case WIRE_CLUSTER:
        if (!wire_decode_cluster(&cluster, message))
            return false;
        connect_cluster(client, &cluster, out);
        return true;
    case WIRE_PONG:
        return true;
    case WIRE_GOAWAY:
        connect_lost(client, "the node is stopping", true, out);
        return true;
    case WIRE_REFUSED:
        if (message.len == 2 && message.data[1] == CODE_REVOKED) {
            outbox_revoked(client, out);
            login_renew(client, out);
        } else {
            connect_lost(client, "the node ended the session", true, out);
        }
        return true;
    default:
        return false;
    }
}

static void received(struct client *client, struct slice message, const struct client_effects *out)
{
    bool understood = false;
    client->heard_at = client->now.mono_us;
    client->ping_sent = false;
    if (message.len == 0)
        return;
    if (client->phase == PHASE_ONLINE)
        understood = online_message(client, message, out);
    else if (client->phase >= PHASE_SALT && client->phase <= PHASE_LOGIN)
        understood = login_message(client, message, out);
    if (!understood && client->phase >= PHASE_SALT && client->phase <= PHASE_ONLINE)
        connect_lost(client, "the node sent something that is not understood", true, out);
}

/* --- Events ---------------------------------------------------------------------------------- */

static void start(struct client *client, const struct client_options *options,
                  const struct client_recovered *recovered)
{
    CHECK(client->phase == PHASE_NEW);
    CHECK(options->user.len >= 1);
    CHECK(options->user.len <= LIMIT_USER_NAME);
    CHECK(options->token.len <= WIRE_TOKEN_BYTES);
    memcpy(client->user, options->user.data, options->user.len);
    client->user_len = (uint8_t)options->user.len;
    if (options->token.len)
        memcpy(client->token, options->token.data, options->token.len);
    client->token_len = (uint8_t)options->token.len;
    client->is_register = options->is_register;
    client->stream = options->stream;
    client->held_ok = options->held_ok;
    memcpy(client->device_key, recovered->secret_key, SECRET_KEY_BYTES);
    client->device = recovered->device;
    client->enrolled_index = recovered->enrolled_index;
    client->cursor = recovered->cursor;
    client->floor = recovered->floor;
    memcpy(client->cluster, recovered->cluster, IDENTITY_BYTES);
    if (client->floor < recovered->cursor)
        client->floor = recovered->cursor;
    if (client->floor < recovered->enrolled_index)
        client->floor = recovered->enrolled_index;
    client->ready_count = recovered->device != 0;
    held_start(client, recovered);
    outbox_start(client, recovered);
    connect_start(client, options);
}

static const char *end_reason(enum client_end end)
{
    switch (end) {
    case CLIENT_END_CLOSED:
        return "the node closed the connection";
    case CLIENT_END_LOST:
        return "connection lost";
    case CLIENT_END_RESET:
        return "connection reset";
    case CLIENT_END_TIMEOUT:
        return "timed out";
    case CLIENT_END_REFUSED:
        return "connection refused";
    case CLIENT_END_UNREACHABLE:
        return "host unreachable";
    case CLIENT_END_GARBAGE:
        return "not a node of this cluster, or another key";
    default:
        return "connection failed";
    }
}

static void stop(struct client *client, uint64_t until_us)
{
    if (!client->stopping || until_us < client->stop_until_us)
        client->stop_until_us = until_us;
    client->stopping = true;
}

/* Leaves when all is answered, or the time is up. Who never logged in has not been seen to be able
 * to: that waits, too. */
static void leave_if_done(struct client *client, const struct client_effects *out)
{
    if (!client->stopping || client->phase == PHASE_STOPPED)
        return;
    CHECK(client->held <= client->waiting);
    bool open = client->waiting > (client->held_ok ? client->held : 0) || client->query_count > 0;
    bool late = client->now.mono_us >= client->stop_until_us;
    bool seen = client->ready_told || client->device != 0;
    if (!late && (open || !seen))
        return;
    struct client_effect effect = { .kind = CLIENT_EXIT };
    bool at_once = client->stop_until_us == 0;
    effect.exit.status = open || (!seen && !at_once) ? 3 : 0;
    effect.exit.left = client->waiting;
    if (client->dirty && client->waiting > 0)
        client_emit(out, &(struct client_effect) { .kind = CLIENT_OUTBOX_SYNC });
    if (client->phase >= PHASE_DIALLING && client->phase <= PHASE_ONLINE)
        client_emit(out, &(struct client_effect) { .kind = CLIENT_CLOSE });
    client->phase = PHASE_STOPPED;
    client_emit(out, &effect);
}

static void arm(struct client *client, const struct client_effects *out)
{
    if (client->phase == PHASE_STOPPED)
        return;
    uint64_t at = client_sooner(connect_wake_at(client), outbox_wake_at(client));
    at = client_sooner(at, query_wake_at(client));
    if (client->stopping)
        at = client_sooner(at, client->stop_until_us);
    /* One that is armed too early does no harm: most deadlines only move away. */
    if (at >= client->wake_armed && client->wake_armed > client->now.mono_us)
        return;
    client->wake_armed = at;
    struct client_effect effect = { .kind = CLIENT_WAKE_AT };
    effect.wake_at_us = at;
    client_emit(out, &effect);
}

static void take(struct client *client, const struct client_event *event,
                 const struct client_effects *out)
{
    switch (event->kind) {
    case CLIENT_EVENT_START:
        start(client, event->start.options, event->start.recovered);
        break;
    case CLIENT_EVENT_TICK:
        break;
    case CLIENT_EVENT_CONNECTED:
        if (client->phase == PHASE_DIALLING)
            login_connected(client, event->handshake_hash, out);
        break;
    case CLIENT_EVENT_CLOSED:
        if (client->phase >= PHASE_DIALLING && client->phase <= PHASE_ONLINE)
            connect_lost(client, end_reason(event->end), false, out);
        break;
    case CLIENT_EVENT_MESSAGE:
        received(client, event->message, out);
        break;
    case CLIENT_EVENT_DERIVED:
        login_derived(client, event, out);
        break;
    case CLIENT_EVENT_DEVICE_MADE:
        login_device_made(client, event->secret_key, out);
        break;
    case CLIENT_EVENT_INPUT:
        CHECK(client_has_room(client));
        if (event->op->kind >= CLIENT_HISTORY)
            query_input(client, event->op, out);
        else
            outbox_input(client, event->op, out);
        break;
    case CLIENT_EVENT_SAVED:
        if (client->phase != PHASE_RENEWING)
            outbox_saved(client, event->saved_seq);
        break;
    case CLIENT_EVENT_STOP:
        stop(client, event->stop_until_us);
        break;
    }
}

void client_step(struct client *client, const struct client_event *event,
                 const struct client_effects *out)
{
    CHECK((client->phase == PHASE_NEW) == (event->kind == CLIENT_EVENT_START));
    if (client->phase == PHASE_STOPPED)
        return;
    CHECK(event->now.mono_us >= client->now.mono_us);
    client->now = event->now;
    take(client, event, out);
    if (client->phase == PHASE_STOPPED)
        return;
    connect_tick(client, out);
    outbox_tick(client, out);
    outbox_pump(client, out);
    query_pump(client, out);
    leave_if_done(client, out);
    arm(client, out);
}

bool client_has_room(const struct client *client)
{
    return outbox_has_room(client) && query_has_room(client);
}

struct client_view client_view(const struct client *client)
{
    return (struct client_view) {
        .online = client->phase == PHASE_ONLINE,
        .enrolled = client->device != 0,
        .node = client->phase == PHASE_ONLINE ? client->node : 0,
        .queued = client->waiting,
        .held = client->held,
        .queries = client->query_count,
        .cursor = client->cursor,
        .done_seq = client->done_seq,
        .last_seq = client->last_seq,
    };
}
