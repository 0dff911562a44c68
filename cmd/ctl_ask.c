#include "cmd/ctl_ask.h"

#include "cmd/commands.h"
#include "cmd/crypto_sodium.h"
#include "cmd/keys.h"
#include "cmd/say.h"
#include "core/check.h"

#include <stdlib.h>
#include <string.h>

enum { ASK_ROUND_US = 500000, ASK_PAUSE_US = 20000 };

static void on_event(void *owner, struct channel *channel, const struct channel_event *event)
{
    struct ask *ask = owner;
    struct ask_node *node = &ask->nodes[channel_tag(channel)];
    switch (event->kind) {
    case CHANNEL_OPENED:
        channel_admit(channel, ask->reply_bytes);
        node->state = ASK_WAITING;
        if (!channel_send(channel, &(struct slice) { node->request, node->request_len }, 1))
            node->state = ASK_FAILED;
        break;
    case CHANNEL_MESSAGE:
        CHECK(event->message.len <= ask->reply_bytes);
        memcpy(node->reply, event->message.data, event->message.len);
        node->reply_len = event->message.len;
        node->state = ASK_ANSWERED;
        break;
    case CHANNEL_DRAINED:
        break;
    case CHANNEL_CLOSED:
        node->channel = NULL;
        node->end = event->end;
        if (node->state != ASK_ANSWERED)
            node->state = ASK_FAILED;
        break;
    }
}

static void on_deadline(struct loop_timer *timer)
{
    LOOP_HOLDER(struct ask, deadline, timer)->over = true;
}

int ask_open(struct ask *ask, const char *command, const char *config)
{
    struct cluster_keys keys;
    int status = config_load(&ask->file, command, config);
    if (status)
        return status;
    if (!crypto_start())
        return say_error(EXIT_FAILED, command, "the system gives no randomness");
    status = config_load_keys(&ask->file, command, &keys);
    if (status)
        return status;
    if (!ask->reply_bytes)
        ask->reply_bytes = ASK_REPLY_BYTES;
    ask->loop = loop_create();
    struct channels_config settings = { .static_public = keys.public_half.public_key,
                                        .psk = keys.psk,
                                        .max_channels = 64,
                                        .linger_us = 100000 };
    ask->channels = ask->loop ? channels_create(ask->loop, &settings) : NULL;
    keys_wipe(&keys);
    if (!ask->channels)
        return say_error(EXIT_FAILED, command, "no memory");
    ask->deadline.on_fire = on_deadline;
    return EXIT_DONE;
}

void ask_close(struct ask *ask)
{
    if (!ask->channels)
        return;
    for (unsigned slot = 1; slot <= LIMIT_NODES; slot++)
        if (ask->nodes[slot].channel)
            channel_close(ask->nodes[slot].channel, true);
    uint64_t until = loop_clock_us() + 200000;
    do
        loop_run_once(ask->loop, 10000);
    while (channels_state(ask->channels).lingering && loop_clock_us() < until);
    channels_destroy(ask->channels);
    loop_destroy(ask->loop);
    for (unsigned slot = 1; slot <= LIMIT_NODES; slot++)
        free(ask->nodes[slot].reply);
}

void ask_send(struct ask *ask, uint8_t slot, struct slice request)
{
    struct ask_node *node = &ask->nodes[slot];
    const struct config_node *config = &ask->file.config.nodes[slot];
    CHECK(config->present);
    CHECK(request.len <= sizeof node->request);
    memcpy(node->request, request.data, request.len);
    node->request_len = request.len;
    node->reply_len = 0;
    if (node->channel) {
        node->state = channel_send(node->channel, &request, 1) ? ASK_WAITING : ASK_FAILED;
        return;
    }
    if (!node->reply)
        node->reply = malloc(ask->reply_bytes);
    if (node->reply)
        node->channel = channel_dial(ask->channels, config->host, config->port, ROLE_CTL, 2000000,
                                     ask->reply_bytes, on_event, ask);
    node->state = node->channel ? ASK_DIALLING : ASK_FAILED;
    if (node->channel)
        channel_set_tag(node->channel, slot);
}

static unsigned count(const struct ask *ask, enum ask_state state)
{
    unsigned found = 0;
    for (unsigned slot = 1; slot <= LIMIT_NODES; slot++)
        found += ask->nodes[slot].state == state;
    return found;
}

static void wait_for(struct ask *ask, uint64_t until_us, bool any)
{
    ask->over = false;
    loop_timer_set(ask->loop, &ask->deadline, until_us);
    while (!ask->over && count(ask, ASK_DIALLING) + count(ask, ASK_WAITING) > 0 &&
           !(any && count(ask, ASK_ANSWERED)))
        loop_run_once(ask->loop, UINT64_MAX);
    loop_timer_clear(ask->loop, &ask->deadline);
}

void ask_wait(struct ask *ask, uint64_t until_us)
{
    wait_for(ask, until_us, false);
}

void ask_wait_any(struct ask *ask, uint64_t until_us)
{
    wait_for(ask, until_us, true);
}

static bool is_pending(const struct ask *ask, uint8_t slot)
{
    enum ask_state state = ask->nodes[slot].state;
    return state == ASK_DIALLING || state == ASK_WAITING;
}

bool ask_command(struct ask *ask, uint8_t slot, struct slice request, uint64_t until_us,
                 struct ask_result *result)
{
    ask_send(ask, slot, request);
    ask->over = false;
    loop_timer_set(ask->loop, &ask->deadline, until_us);
    while (!ask->over && is_pending(ask, slot))
        loop_run_once(ask->loop, UINT64_MAX);
    loop_timer_clear(ask->loop, &ask->deadline);
    return ask_done(ask_reply(ask, slot), &result->code, &result->index, result->why);
}

/* Among those that have answered since it was last looked at. */
static uint8_t leader_among_answers(struct ask *ask)
{
    for (uint8_t slot = 1; slot <= LIMIT_NODES; slot++) {
        struct wire_status status;
        if (ask->nodes[slot].state != ASK_ANSWERED)
            continue;
        if (wire_decode_status(&status, ask_reply(ask, slot)) && status.role == ROLE_LEADER &&
            status.quorum)
            return slot;
        ask->nodes[slot].state = ASK_IDLE;
    }
    return 0;
}

uint8_t ask_leader(struct ask *ask, uint64_t until_us)
{
    static const uint8_t request[1] = { WIRE_STATUS };
    do {
        uint64_t round_us = loop_clock_us() + ASK_ROUND_US;
        for (uint8_t slot = 1; slot <= LIMIT_NODES; slot++)
            if (ask->file.config.nodes[slot].present)
                ask_send(ask, slot, (struct slice) { request, 1 });
        do {
            ask_wait_any(ask, round_us < until_us ? round_us : until_us);
            uint8_t leader = leader_among_answers(ask);
            if (leader)
                return leader;
        } while (!ask->over && count(ask, ASK_DIALLING) + count(ask, ASK_WAITING) > 0);
        loop_run_once(ask->loop, ASK_PAUSE_US);
    } while (loop_clock_us() < until_us);
    return 0;
}

struct slice ask_reply(const struct ask *ask, uint8_t slot)
{
    const struct ask_node *node = &ask->nodes[slot];
    return (struct slice) { node->reply, node->state == ASK_ANSWERED ? node->reply_len : 0 };
}

void ask_statuses(struct ask *ask, struct wire_status statuses[LIMIT_NODES + 1], uint64_t until_us)
{
    uint8_t request[1] = { WIRE_STATUS };
    for (uint8_t slot = 1; slot <= LIMIT_NODES; slot++)
        if (ask->file.config.nodes[slot].present)
            ask_send(ask, slot, (struct slice) { request, 1 });
    ask_wait(ask, until_us);
    for (uint8_t slot = 1; slot <= LIMIT_NODES; slot++) {
        struct slice reply = ask_reply(ask, slot);
        memset(&statuses[slot], 0, sizeof statuses[slot]);
        if (reply.len && !wire_decode_status(&statuses[slot], reply))
            memset(&statuses[slot], 0, sizeof statuses[slot]);
    }
}

/* A host that the log names goes to the terminal and into JSON: nothing but names and addresses. */
static bool is_host(struct slice host)
{
    for (size_t i = 0; i < host.len; i++) {
        uint8_t c = host.data[i];
        if (!(c >= '0' && c <= '9') && !(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z') &&
            c != '.' && c != '-' && c != ':' && c != '_' && c != '%')
            return false;
    }
    return host.len > 0 && host.len < CONFIG_TEXT_BYTES;
}

static void learn(struct ask *ask, const struct wire_seat *seat)
{
    struct config_node *node = &ask->file.config.nodes[seat->slot];
    if (!seat->port || !is_host(seat->host) || ask_reply(ask, seat->slot).len)
        return;
    if (ask->nodes[seat->slot].channel)
        channel_close(ask->nodes[seat->slot].channel, false);
    ask->nodes[seat->slot].channel = NULL;
    *node = (struct config_node) { .present = true, .port = seat->port };
    memcpy(node->host, seat->host.data, seat->host.len);
}

static bool is_better(const struct wire_members *one, const struct wire_members *than)
{
    return one->leads != than->leads ? one->leads : one->index > than->index;
}

bool ask_members(struct ask *ask, struct ask_members *members, uint64_t until_us)
{
    static const uint8_t request[1] = { WIRE_MEMBERS };
    *members = (struct ask_members) { 0 };
    for (uint8_t slot = 1; slot <= LIMIT_NODES; slot++)
        if (ask->file.config.nodes[slot].present)
            ask_send(ask, slot, (struct slice) { request, 1 });
    ask_wait(ask, until_us);
    for (uint8_t slot = 1; slot <= LIMIT_NODES; slot++) {
        struct slice reply = ask_reply(ask, slot);
        struct wire_members answer;
        if (!reply.len || !wire_decode_members(&answer, reply))
            continue;
        members->differs[slot] = answer.ini_differs;
        if (members->config.node && !is_better(&answer, &members->config))
            continue;
        memcpy(members->reply, reply.data, reply.len);
        bool again =
            wire_decode_members(&members->config, (struct slice) { members->reply, reply.len });
        CHECK(again);
    }
    for (unsigned i = 0; i < members->config.count; i++)
        learn(ask, &members->config.seats[i]);
    return members->config.node != 0;
}

bool ask_done(struct slice reply, enum chat_code *code, uint64_t *index, char why[256])
{
    struct reader reader = reader_of(reply.data, reply.len);
    uint8_t type = read_u8(&reader);
    uint8_t number = read_u8(&reader);
    *index = read_u64(&reader);
    struct slice text = read_slice8(&reader);
    if (!reader_finished(&reader) || type != WIRE_DONE || number >= CODES)
        return false;
    *code = (enum chat_code)number;
    memcpy(why, text.data, text.len);
    why[text.len] = 0;
    return true;
}
