#include "cmd/node/server.h"

#include "core/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A channel's tag: an accepted one's connection number + 1, a dialled one's slot. */

bool server_connections_init(struct server *server)
{
    server->connections = calloc(LIMIT_CONNECTIONS, sizeof *server->connections);
    server->free_numbers = calloc(LIMIT_CONNECTIONS, sizeof *server->free_numbers);
    server->doomed = calloc(LIMIT_CONNECTIONS, sizeof *server->doomed);
    if (!server->connections || !server->free_numbers || !server->doomed)
        return false;
    /* The lowest numbers are taken first, so that the core's tables stay small. */
    for (uint32_t i = 0; i < LIMIT_CONNECTIONS; i++)
        server->free_numbers[i] = LIMIT_CONNECTIONS - 1 - i;
    server->free_count = LIMIT_CONNECTIONS;
    return true;
}

static void free_number(struct server *server, uint32_t number)
{
    CHECK(server->connections[number] != NULL);
    CHECK(server->free_count < LIMIT_CONNECTIONS);
    server->connections[number] = NULL;
    server->free_numbers[server->free_count++] = number;
}

static enum node_connection_role role_of(const struct channel *channel)
{
    switch (channel_role(channel)) {
    case ROLE_NODE:
        return CONNECTION_NODE;
    case ROLE_CTL:
    case ROLE_MONITOR:
        return CONNECTION_CTL;
    case ROLE_CLIENT:
        break;
    }
    return CONNECTION_CLIENT;
}

static void opened(struct server *server, struct channel *channel)
{
    CHECK(server->free_count > 0); /* channels' own cap is no higher */
    uint32_t number = server->free_numbers[--server->free_count];
    server->connections[number] = channel;
    channel_set_tag(channel, number + 1);
    struct node_event event = {
        .kind = EVENT_OPEN,
        .client = { .connection = number, .role = role_of(channel), .hash = channel_hash(channel) }
    };
    server_step(server, &event);
}

static void on_accepted(void *owner, struct channel *channel, const struct channel_event *event)
{
    struct server *server = owner;
    if (event->kind == CHANNEL_OPENED) {
        opened(server, channel);
        return;
    }
    if (!channel_tag(channel))
        return;
    struct node_event step = { .client = { .connection = (uint32_t)channel_tag(channel) - 1,
                                           .message = event->message } };
    if (event->kind == CHANNEL_MESSAGE)
        step.kind = EVENT_MESSAGE;
    else if (event->kind == CHANNEL_DRAINED)
        step.kind = EVENT_DRAINED;
    else
        step.kind = EVENT_CLOSED;
    if (event->kind == CHANNEL_CLOSED)
        free_number(server, step.client.connection);
    server_step(server, &step);
}

static enum raft_link_end link_end_of(enum channel_end end)
{
    switch (end) {
    case CHANNEL_END_CLOSED:
        return LINK_CLOSED;
    case CHANNEL_END_REFUSED:
        return LINK_REFUSED;
    case CHANNEL_END_RESET:
    case CHANNEL_END_TRUNCATED:
        return LINK_RESET;
    default:
        return LINK_TIMED_OUT;
    }
}

static void on_dialled(void *owner, struct channel *channel, const struct channel_event *event)
{
    struct server *server = owner;
    uint8_t slot = (uint8_t)channel_tag(channel);
    struct node_event step = { .peer = { .slot = slot, .message = event->message } };
    switch (event->kind) {
    case CHANNEL_OPENED:
        channel_admit(channel, LIMIT_PEER_MESSAGE_BYTES);
        step.kind = EVENT_PEER_UP;
        break;
    case CHANNEL_MESSAGE:
        step.kind = EVENT_PEER_MESSAGE;
        break;
    case CHANNEL_DRAINED:
        return;
    case CHANNEL_CLOSED:
        server->peers[slot] = NULL;
        step.kind = EVENT_PEER_DOWN;
        step.peer.end = link_end_of(event->end);
        break;
    }
    server_step(server, &step);
}

bool server_listen(struct server *server)
{
    const struct config_node *node = &server->file.config.nodes[server->slot];
    struct tcp_address address;
    char line[SERVER_LOG_BYTES];
    if (!tcp_address_parse(&address, node->listen, node->port)) {
        snprintf(line, sizeof line,
                 "event=listen_failed why=\"listen = %s: not a numeric address\"", node->listen);
        server_log(server, "error", line);
        return false;
    }
    enum ft_error error = channels_listen(server->channels, &address, on_accepted, server);
    char text[TCP_ADDRESS_TEXT];
    tcp_address_format(text, &address);
    if (error) {
        const char *why = error == FT_ERROR_LOCKED   ? "the port is in use"
                          : error == FT_ERROR_DENIED ? "not allowed to use this port"
                                                     : "not an address of this machine";
        snprintf(line, sizeof line, "event=listen_failed address=%s why=\"%s\"", text, why);
        server_log(server, "error", line);
        return false;
    }
    snprintf(line, sizeof line, "event=listening address=%s", text);
    server_log(server, "info", line);
    return true;
}

void server_dial(struct server *server, const struct effect *effect)
{
    uint8_t slot = effect->dial.slot;
    char host[LIMIT_HOST_BYTES + 1] = "";
    CHECK(server->peers[slot] == NULL);
    CHECK(effect->dial.host.len <= LIMIT_HOST_BYTES);
    if (effect->dial.host.len)
        memcpy(host, effect->dial.host.data, effect->dial.host.len);
    struct channel *channel =
        channel_dial(server->channels, host, effect->dial.port, ROLE_NODE, SERVER_DIAL_US,
                     LIMIT_PEER_MESSAGE_BYTES, on_dialled, server);
    if (!channel) {
        server->doomed_peers[slot] = true;
        return;
    }
    channel_set_tag(channel, slot);
    server->peers[slot] = channel;
}

void server_send_peer(struct server *server, const struct effect *effect)
{
    struct channel *channel = server->peers[effect->send.slot];
    if (!channel || channel_send(channel, effect->send.parts, effect->send.parts_count))
        return;
    channel_close(channel, false);
    server->peers[effect->send.slot] = NULL;
    server->doomed_peers[effect->send.slot] = true;
}

void server_close_peer(struct server *server, uint8_t slot)
{
    if (server->peers[slot])
        channel_close(server->peers[slot], false);
    server->peers[slot] = NULL;
    server->doomed_peers[slot] = false;
}

void server_send_client(struct server *server, const struct effect *effect)
{
    uint32_t number = (uint32_t)effect->send.connection;
    struct channel *channel = server->connections[number];
    if (!channel || channel_send(channel, effect->send.parts, effect->send.parts_count))
        return;
    channel_close(channel, false);
    server->connections[number] = NULL; /* the number is the core's until it was told */
    server->doomed[server->doomed_count++] = number;
}

void server_close_client(struct server *server, uint32_t number, bool gracefully)
{
    struct channel *channel = server->connections[number];
    if (channel) {
        channel_close(channel, gracefully);
        free_number(server, number);
        return;
    }
    /* Cut off already, and the core closes it before it was told. */
    for (uint32_t i = 0; i < server->doomed_count; i++)
        if (server->doomed[i] == number)
            server->doomed[i--] = server->doomed[--server->doomed_count];
    server->free_numbers[server->free_count++] = number;
}

void server_tell_doomed(struct server *server)
{
    while (server->doomed_count) {
        uint32_t number = server->doomed[--server->doomed_count];
        server->free_numbers[server->free_count++] = number;
        struct node_event event = { .kind = EVENT_CLOSED, .client = { .connection = number } };
        server_step(server, &event);
    }
    for (uint8_t slot = 1; slot <= LIMIT_NODES; slot++) {
        if (!server->doomed_peers[slot])
            continue;
        server->doomed_peers[slot] = false;
        struct node_event event = { .kind = EVENT_PEER_DOWN,
                                    .peer = { .slot = slot, .end = LINK_TIMED_OUT } };
        server_step(server, &event);
    }
}
