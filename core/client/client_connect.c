#include "core/client/client_private.h"

void connect_start(struct client *client, const struct client_options *options)
{
    CHECK(options->servers >= 1);
    CHECK(options->servers <= LIMIT_SERVERS);
    client->servers = options->servers;
    client->connect_timeout_us = (uint64_t)options->connect_timeout_ms * CLIENT_MS;
    client->retry_us = (uint64_t)options->retry_ms * CLIENT_MS;
    for (uint8_t i = 0; i < client->servers; i++)
        client->order[i] = i;
    for (uint8_t i = client->servers; options->shuffle && i > 1; i--) {
        uint64_t other = random_below(&client->random, i);
        uint8_t swapped = client->order[other];
        client->order[other] = client->order[i - 1];
        client->order[i - 1] = swapped;
    }
    client->fallback = -1;
    client->phase = PHASE_WAITING;
    client->dial_at = client->now.mono_us;
    client->offline_since = client->now.mono_us;
}

/* --- Looking for a quorum -------------------------------------------------------------------- */

static void end_search(struct client *client)
{
    client->searching = false;
    client->settle = false;
    client->fallback = -1;
    client->search_tries = 0;
}

static void next_server(struct client *client)
{
    client->at = (uint8_t)((client->at + 1) % client->servers);
}

/* One more server was found without a quorum, or not at all; true: the search is over, and the next
 * connection goes to the one that at least answered. */
static bool search_on(struct client *client)
{
    CHECK(client->searching);
    client->search_tries++;
    if (client->search_tries < client->servers)
        return false;
    client->settle = true;
    if (client->fallback >= 0)
        client->at = (uint8_t)client->fallback;
    return true;
}

/* --- Losing and finding servers -------------------------------------------------------------- */

void connect_tell_offline(struct client *client, const char *reason,
                          const struct client_effects *out)
{
    client->ready_told = false;
    client->offline_told = true;
    struct client_output output = { .kind = CLIENT_OUT_OFFLINE };
    output.offline.reason = reason;
    output.offline.queued = client->waiting;
    client_show(out, &output);
}

/* The first redial is immediate (spread a little, for the node had other clients, too); whole
 * rounds over the list in vain are followed by a wait that doubles. */
static void plan_dial(struct client *client, bool was_stable, const char *reason,
                      const struct client_effects *out)
{
    uint64_t now = client->now.mono_us;
    if (was_stable) {
        client->attempts = 0;
        client->dial_at = now + random_below(&client->random, CLIENT_JITTER_US);
        return;
    }
    client->attempts++;
    client->dial_at = now;
    if (client->attempts % client->servers != 0)
        return;
    if (!client->offline_told)
        connect_tell_offline(client, reason, out);
    uint32_t round = client->attempts / client->servers - 1;
    uint64_t wait = (uint64_t)CLIENT_BACKOFF_FIRST_US << (round < 16 ? round : 16);
    if (wait > client->retry_us)
        wait = client->retry_us;
    client->dial_at = now + random_between(&client->random, wait / 2, wait);
}

void connect_lost(struct client *client, const char *reason, bool close,
                  const struct client_effects *out)
{
    CHECK(client->phase != PHASE_STOPPED);
    CHECK(client->phase != PHASE_NEW);
    bool was_online = client->phase == PHASE_ONLINE;
    bool stable = was_online && client->now.mono_us - client->online_since >= CLIENT_STABLE_US;
    client->phase = PHASE_WAITING;
    client->phase_deadline = 0;
    if (was_online)
        client->offline_since = client->now.mono_us;
    if (close)
        client_emit(out, &(struct client_effect) { .kind = CLIENT_CLOSE });
    if (client->ready_told)
        connect_tell_offline(client, reason, out);
    if (client->searching && !client->settle) {
        client->dial_at = client->now.mono_us;
        if (!search_on(client) || client->fallback < 0)
            next_server(client);
        return;
    }
    end_search(client);
    next_server(client);
    plan_dial(client, stable, reason, out);
}

static void begin_search(struct client *client, const struct client_effects *out)
{
    CHECK(client->phase == PHASE_ONLINE);
    client->no_quorum_at = 0;
    client->research_at = 0;
    client->searching = true;
    client->settle = false;
    client->fallback = client->at;
    client->search_tries = 0;
    connect_lost(client, "the node has no quorum", true, out);
}

/* Logged in without a quorum. True: this one is taken nevertheless. */
static bool take_without_quorum(struct client *client, const struct client_effects *out)
{
    if (client->servers == 1 || client->settle)
        return true;
    if (!client->searching) {
        client->searching = true;
        client->search_tries = 0;
        client->fallback = client->at;
    } else if (client->fallback < 0) {
        client->fallback = client->at;
    }
    if (client->search_tries + 1 == client->servers && client->fallback == client->at)
        return true;
    connect_lost(client, "the node has no quorum", true, out);
    return false;
}

static void tell_ready(struct client *client, const struct wire_ready *ready, bool restored,
                       const struct client_effects *out)
{
    struct client_output output = { .kind = CLIENT_OUT_READY };
    output.ready.ready = ready;
    output.ready.resumed = client->ready_count > 0;
    output.ready.restored = restored;
    client->ready_count++;
    client->ready_told = true;
    client->offline_told = false;
    client_show(out, &output);
}

void connect_ready(struct client *client, const struct wire_ready *ready,
                   const struct client_effects *out)
{
    CHECK(client->phase == PHASE_LOGIN);
    if (!ready->quorum && !take_without_quorum(client, out))
        return;
    uint64_t now = client->now.mono_us;
    end_search(client);
    client->phase = PHASE_ONLINE;
    client->phase_deadline = 0;
    client->online_since = now;
    client->heard_at = now;
    client->ping_sent = false;
    client->node = ready->node;
    client->node_applied = ready->applied;
    client->left_out = false;
    client->quorum = ready->quorum;
    client->message_bytes = ready->message_bytes;
    client->no_quorum_at = 0;
    client->research_at = 0;
    if (ready->quorum) {
        client->research_us = 0;
    } else {
        client->research_us =
            client->research_us ? 2 * client->research_us : CLIENT_RESEARCH_FIRST_US;
        if (client->research_us > CLIENT_RESEARCH_LAST_US)
            client->research_us = CLIENT_RESEARCH_LAST_US;
        client->research_at = now + client->research_us;
    }
    tell_ready(client, ready, client_met(client, ready, out), out);
    held_online(client);
    outbox_online(client, ready->last);
    query_online(client);
}

void connect_cluster(struct client *client, const struct wire_cluster *cluster,
                     const struct client_effects *out)
{
    CHECK(client->phase == PHASE_ONLINE);
    struct client_output output = { .kind = CLIENT_OUT_CLUSTER };
    output.cluster = cluster;
    client_show(out, &output);
    if (cluster->quorum) {
        client->no_quorum_at = 0;
        client->research_at = 0;
        client->research_us = 0;
    } else if (client->quorum) {
        client->no_quorum_at = client->now.mono_us + CLIENT_NO_QUORUM_US;
    }
    client->quorum = cluster->quorum;
}

/* --- Time ------------------------------------------------------------------------------------ */

static void dial(struct client *client, const struct client_effects *out)
{
    struct client_effect effect = { .kind = CLIENT_DIAL };
    effect.dial.server = client->order[client->at];
    effect.dial.timeout_us = client->connect_timeout_us;
    if (client->searching && !client->settle)
        effect.dial.timeout_us = client_sooner(CLIENT_SEARCH_DIAL_US, client->connect_timeout_us);
    client->phase = PHASE_DIALLING;
    client_emit(out, &effect);
}

static void keep_alive(struct client *client, const struct client_effects *out)
{
    if (client->now.mono_us < client->heard_at + CLIENT_QUIET_US)
        return;
    if (client->ping_sent) {
        connect_lost(client, "the node does not answer", true, out);
        return;
    }
    client->ping_sent = true;
    client->heard_at = client->now.mono_us;
    uint8_t ping[9] = { WIRE_PING };
    bytes_put_u64(ping + 1, ++client->ping_token);
    client_transmit(out, ping, sizeof ping);
}

void connect_tick(struct client *client, const struct client_effects *out)
{
    uint64_t now = client->now.mono_us;
    switch (client->phase) {
    case PHASE_WAITING:
        if (now >= client->dial_at)
            dial(client, out);
        break;
    case PHASE_SALT:
    case PHASE_ENROLLING:
    case PHASE_LOGIN:
        if (now >= client->phase_deadline)
            connect_lost(client, "the node does not answer", true, out);
        break;
    case PHASE_ONLINE: {
        bool search = client->no_quorum_at != 0 && now >= client->no_quorum_at;
        search |= client->research_at != 0 && now >= client->research_at;
        if (search && client->servers > 1)
            begin_search(client, out);
        else
            keep_alive(client, out);
        break;
    }
    default:
        break;
    }
}

uint64_t connect_wake_at(const struct client *client)
{
    switch (client->phase) {
    case PHASE_WAITING:
        return client->dial_at;
    case PHASE_SALT:
    case PHASE_ENROLLING:
    case PHASE_LOGIN:
        return client->phase_deadline;
    case PHASE_ONLINE: {
        uint64_t at = client->heard_at + CLIENT_QUIET_US;
        if (client->servers > 1 && client->no_quorum_at != 0)
            at = client_sooner(at, client->no_quorum_at);
        if (client->servers > 1 && client->research_at != 0)
            at = client_sooner(at, client->research_at);
        return at;
    }
    default:
        return UINT64_MAX;
    }
}
