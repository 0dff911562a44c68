#include "cmd/bench_load.h"

#include "core/chat/command.h"
#include "core/check.h"
#include "core/wire.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    DIALS_AT_ONCE = 32, /* a node lets so many strangers of one address in by default, twice over */
    DIAL_US = 5000000,
    TICK_US = 1000,
    AGAIN_US = 5000,
    CLOCK_TEXT = 16, /* a post's text begins with its time, so that readers know how old it is */
    NAME_BYTES = 32,
};

enum client_kind { KIND_WRITER, KIND_READER, KIND_IDLE };
enum client_state { STATE_ENROLLING, STATE_LOGIN, STATE_ROOM, STATE_READY };

struct load_client {
    struct load *load;
    struct channel *channel;
    enum client_kind kind;
    enum client_state state;
    uint32_t number;
    uint32_t device;
    bool room_asked;
    uint64_t done;     /* seq: all up to it are answered */
    uint64_t last;     /* seq: given out */
    uint64_t again_us; /* not 0: everything after `done` goes again then */
    uint8_t room[NAME_BYTES];
    uint8_t room_len;
    uint8_t account_public[PUBLIC_KEY_BYTES];
    uint8_t account_secret[SECRET_KEY_BYTES];
    uint8_t device_public[PUBLIC_KEY_BYTES];
    uint8_t device_secret[SECRET_KEY_BYTES];
    uint64_t sent_us[LIMIT_OUTSTANDING]; /* by seq */
};

static void failed(struct load *load, enum load_error error, const struct load_client *client,
                   const char *what)
{
    if (load->error)
        return; /* the first one says why */
    load->error = error;
    snprintf(load->why, sizeof load->why, "client %u: %s", client->number, what);
}

static void transmit(struct load_client *client, const void *data, size_t len)
{
    if (!client->channel)
        return;
    if (!channel_send(client->channel, &(struct slice) { data, len }, 1))
        failed(client->load, LOAD_LOST, client, "its channel takes no more");
}

/* --- Before the first post ------------------------------------------------------------------- */

static size_t name_of(const struct load_client *client, char name[NAME_BYTES])
{
    char hex[2 * sizeof client->load->nonce + 1];
    sodium_bin2hex(hex, sizeof hex, client->load->nonce, sizeof client->load->nonce);
    return (size_t)snprintf(name, NAME_BYTES, "b%s-%u", hex, client->number);
}

static void sign(const struct load_client *client, const char *label, bool with_device,
                 const uint8_t *secret, uint8_t signature[SIGNATURE_BYTES])
{
    uint8_t text[32 + HASH_BYTES + PUBLIC_KEY_BYTES];
    struct writer writer = writer_of(text, sizeof text);
    write_copy(&writer, label, strlen(label));
    write_copy(&writer, channel_hash(client->channel), HASH_BYTES);
    if (with_device)
        write_copy(&writer, client->device_public, PUBLIC_KEY_BYTES);
    CHECK(!writer.full);
    crypto_sign_detached(signature, NULL, text, writer_used(&writer), secret);
}

static void send_enrol(struct load_client *client)
{
    char name[NAME_BYTES];
    uint8_t signature[SIGNATURE_BYTES];
    uint8_t message[256];
    sign(client, WIRE_ENROL_LABEL, true, client->account_secret, signature);
    struct wire_enrol enrol = { .is_register = true,
                                .name = { (const uint8_t *)name, name_of(client, name) },
                                .account_key = client->account_public,
                                .device_key = client->device_public,
                                .signature = signature };
    client->state = STATE_ENROLLING;
    transmit(client, message, wire_encode_enrol(&enrol, message, sizeof message));
}

static void send_login(struct load_client *client)
{
    uint8_t signature[SIGNATURE_BYTES];
    uint8_t message[256];
    sign(client, WIRE_LOGIN_LABEL, false, client->device_secret, signature);
    struct wire_login login = { .device_key = client->device_public,
                                .signature = signature,
                                .stream = client->kind == KIND_READER };
    client->state = STATE_LOGIN;
    transmit(client, message, wire_encode_login(&login, message, sizeof message));
}

static void send_command(struct load_client *client, struct command *command)
{
    static uint8_t message[1 + LIMIT_COMMAND_BYTES];
    CHECK(command->seq > client->done);
    CHECK(command->seq - client->done <= LIMIT_OUTSTANDING);
    command->device = client->device;
    command->beyond = (uint8_t)(command->seq - client->done);
    command->room = (struct slice) { client->room, client->room_len };
    message[0] = WIRE_COMMAND;
    size_t len = command_encode(command, message + 1, sizeof message - 1);
    CHECK(len > 0);
    transmit(client, message, 1 + len);
}

/* The first of those who share a room makes it. */
static void send_room(struct load_client *client)
{
    bool makes = !client->load->settings.readers || client->number == 0;
    if (!makes && !client->load->room_made)
        return; /* on_tick asks again */
    struct command command = { .kind = makes ? COMMAND_CREATE : COMMAND_JOIN, .seq = 1 };
    client->room_asked = true;
    client->last = 1;
    send_command(client, &command);
}

static void became_ready(struct load_client *client)
{
    client->state = STATE_READY;
    client->load->opening--;
    client->load->ready++;
}

static void logged_in(struct load_client *client)
{
    char name[NAME_BYTES];
    char room[NAME_BYTES];
    const struct load_client *owner =
        client->load->settings.readers ? client->load->clients : client;
    name_of(owner, name);
    client->room_len = (uint8_t)snprintf(room, sizeof room, "#%.30s", name);
    memcpy(client->room, room, client->room_len);
    channel_admit(client->channel, LIMIT_NODE_MESSAGE_BYTES);
    client->state = STATE_ROOM;
    if (client->kind == KIND_IDLE)
        became_ready(client);
    else
        send_room(client);
}

static void setup_message(struct load_client *client, struct slice message)
{
    struct reader reader = reader_of(message.data, message.len);
    uint8_t type = read_u8(&reader);
    uint8_t code = type == WIRE_ENROLLED || type == WIRE_REFUSED ? read_u8(&reader) : 0;
    if (code >= CODES || (type == WIRE_REFUSED && code == CODE_OK))
        code = CODE_BAD_REQUEST;
    if (type == WIRE_ENROLLED && code == CODE_OK) {
        client->device = read_u32(&reader);
        send_login(client);
    } else if (type == WIRE_READY && client->state == STATE_LOGIN) {
        logged_in(client);
    } else if (code == CODE_BUSY || code == CODE_UNAVAILABLE) {
        client->again_us = loop_clock_us() + AGAIN_US;
    } else if (code != CODE_OK) {
        failed(client->load, LOAD_REFUSED, client, code_message((enum chat_code)code));
    }
}

/* --- Posting --------------------------------------------------------------------------------- */

static void write_clock(uint8_t text[CLOCK_TEXT], uint64_t us)
{
    for (int i = CLOCK_TEXT - 1; i >= 0; i--, us >>= 4)
        text[i] = (uint8_t) "0123456789abcdef"[us & 15];
}

static uint64_t read_clock(struct slice text)
{
    uint64_t us = 0;
    for (int i = 0; i < CLOCK_TEXT && (size_t)i < text.len; i++)
        us = us << 4 |
             (uint64_t)(text.data[i] <= '9' ? text.data[i] - '0' : text.data[i] - 'a' + 10);
    return us;
}

/* The same bytes for the same seq, whenever it goes. */
static void send_post(struct load_client *client, uint64_t seq)
{
    static uint8_t text[LIMIT_TEXT_BYTES];
    static bool filled;
    uint8_t salt[8];
    if (!filled)
        for (size_t i = 0; i < sizeof text; i++)
            text[i] = (uint8_t)('a' + i % 26);
    filled = true;
    bytes_put_u64(salt, seq * 0x9e3779b97f4a7c15);
    write_clock(text, client->sent_us[seq % LIMIT_OUTSTANDING]);
    struct command command = { .kind = COMMAND_POST,
                               .seq = seq,
                               .salt = salt,
                               .text = { text, client->load->settings.bytes } };
    send_command(client, &command);
}

static bool may_post(const struct load_client *client)
{
    const struct load *load = client->load;
    return client->kind == KIND_WRITER && client->state == STATE_READY && !client->again_us &&
           client->last - client->done < load->settings.depth && load->posting &&
           (!load->limit || load->posts < load->limit);
}

static void post(struct load_client *client)
{
    uint64_t seq = ++client->last;
    client->sent_us[seq % LIMIT_OUTSTANDING] = loop_clock_us();
    client->load->posts++;
    client->load->waiting++;
    send_post(client, seq);
}

static void fill_window(struct load_client *client)
{
    while (!client->load->settings.rate && may_post(client))
        post(client);
}

static void send_again(struct load_client *client, uint64_t from)
{
    client->again_us = 0;
    for (uint64_t seq = from; seq <= client->last; seq++) {
        client->load->counts.sent_again++;
        if (seq == 1)
            send_room(client);
        else
            send_post(client, seq);
    }
}

static void answered(struct load_client *client, const struct wire_answer *answer)
{
    struct load *load = client->load;
    if (answer->seq != client->done + 1)
        return; /* a repeat */
    if (!code_is_final(answer->code)) {
        load->counts.refused_for_now++;
        client->again_us = loop_clock_us() + AGAIN_US;
        return;
    }
    if (answer->code != CODE_OK) {
        failed(load, LOAD_REFUSED, client, code_message(answer->code));
        return;
    }
    client->done = answer->seq;
    if (answer->seq == 1) {
        load->room_made |= client->number == 0;
        became_ready(client);
        return;
    }
    CHECK(load->waiting > 0);
    load->waiting--;
    if (load->measuring) {
        load->counts.committed++;
        times_add(&load->counts.commit_times,
                  loop_clock_us() - client->sent_us[answer->seq % LIMIT_OUTSTANDING]);
    }
    fill_window(client);
}

static void delivered(struct load *load, struct slice message)
{
    struct wire_record record;
    if (!wire_decode_record(&record, message) || record.kind != RECORD_POST || !load->measuring)
        return;
    uint64_t sent_us = read_clock(record.text);
    load->counts.delivered++;
    if (sent_us >= load->counts.begin_us)
        times_add(&load->counts.delivery_times, loop_clock_us() - sent_us);
}

static void heard(struct load_client *client, struct slice message)
{
    struct wire_answer answer;
    switch (message.data[0]) {
    case WIRE_ANSWER:
        if (wire_decode_answer(&answer, message))
            answered(client, &answer);
        break;
    case WIRE_NACK: {
        struct reader reader = reader_of(message.data + 1, message.len - 1);
        uint64_t expected = read_u64(&reader);
        if (reader_finished(&reader) && expected > client->done && expected <= client->last)
            send_again(client, expected);
        break;
    }
    case WIRE_RECORD:
        delivered(client->load, message);
        break;
    case WIRE_GOAWAY:
        failed(client->load, LOAD_LOST, client, "its node is stopping");
        break;
    default:
        break;
    }
}

static void on_event(void *owner, struct channel *channel, const struct channel_event *event)
{
    struct load_client *client = owner;
    switch (event->kind) {
    case CHANNEL_OPENED:
        client->channel = channel;
        send_enrol(client);
        break;
    case CHANNEL_MESSAGE:
        if (client->state == STATE_ENROLLING || client->state == STATE_LOGIN)
            setup_message(client, event->message);
        else
            heard(client, event->message);
        break;
    case CHANNEL_DRAINED:
        break;
    case CHANNEL_CLOSED:
        client->channel = NULL;
        failed(client->load, LOAD_LOST, client, channel_end_name(event->end));
        break;
    }
}

/* --- All of them ----------------------------------------------------------------------------- */

static void dial_more(struct load *load)
{
    const struct load_settings *settings = &load->settings;
    while (load->opened < load->client_count && load->opening < DIALS_AT_ONCE) {
        struct load_client *client = &load->clients[load->opened];
        bool first = client->kind == KIND_WRITER && !settings->spread;
        const struct config_address *server =
            &settings->servers[first ? 0 : client->number % settings->server_count];
        client->channel = channel_dial(load->channels, server->host, server->port, ROLE_CLIENT,
                                       DIAL_US, LIMIT_NODE_MESSAGE_BYTES, on_event, client);
        if (!client->channel) {
            failed(load, LOAD_LOST, client, "no memory for its channel");
            return;
        }
        load->opened++;
        load->opening++;
    }
}

static void post_paced(struct load *load, uint64_t now_us)
{
    uint64_t due = (now_us - load->paced_since_us) * load->settings.rate / 1000000;
    uint32_t passed = 0; /* clients in a row whose window is full */
    while (load->paced_posts < due && passed < load->settings.writers) {
        struct load_client *client = &load->clients[load->paced_next++ % load->settings.writers];
        passed++;
        if (!may_post(client))
            continue;
        post(client);
        load->paced_posts++;
        passed = 0;
    }
}

static void on_tick(struct loop_timer *timer)
{
    struct load *load = LOOP_HOLDER(struct load, tick, timer);
    uint64_t now_us = loop_clock_us();
    for (uint32_t i = 0; i < load->opened; i++) {
        struct load_client *client = &load->clients[i];
        if (client->state == STATE_ROOM && !client->room_asked && client->channel)
            send_room(client);
        if (!client->again_us || client->again_us > now_us)
            continue;
        client->again_us = 0;
        if (client->state == STATE_ENROLLING)
            send_enrol(client);
        else if (client->state == STATE_LOGIN)
            send_login(client);
        else
            send_again(client, client->done + 1);
    }
    dial_more(load);
    if (load->settings.rate && load->posting)
        post_paced(load, now_us);
    bool busy = load->settings.rate || !load_is_ready(load);
    loop_timer_set(load->loop, timer, loop_now_us(load->loop) + (busy ? TICK_US : AGAIN_US));
}

bool load_open(struct load *load, struct loop *loop, struct channels *channels,
               const struct load_settings *settings)
{
    CHECK(settings->depth >= 1 && settings->depth <= LIMIT_OUTSTANDING);
    CHECK(settings->bytes >= CLOCK_TEXT && settings->server_count >= 1);
    *load = (struct load) { .settings = *settings, .loop = loop, .channels = channels };
    load->client_count = settings->writers + settings->readers + settings->idle;
    load->clients = calloc(load->client_count, sizeof *load->clients);
    if (!load->clients)
        return false;
    randombytes_buf(load->nonce, sizeof load->nonce);
    for (uint32_t i = 0; i < load->client_count; i++) {
        struct load_client *client = &load->clients[i];
        client->load = load;
        client->number = i;
        client->kind = i < settings->writers                       ? KIND_WRITER
                       : i < settings->writers + settings->readers ? KIND_READER
                                                                   : KIND_IDLE;
        crypto_sign_keypair(client->account_public, client->account_secret);
        crypto_sign_keypair(client->device_public, client->device_secret);
    }
    load->tick.on_fire = on_tick;
    loop_timer_set(loop, &load->tick, loop_clock_us());
    return true;
}

bool load_is_ready(const struct load *load)
{
    return load->ready == load->client_count;
}

void load_post(struct load *load, uint64_t limit)
{
    load->posting = true;
    load->limit = limit;
    load->paced_since_us = loop_clock_us();
    for (uint32_t i = 0; i < load->settings.writers; i++)
        fill_window(&load->clients[i]);
}

void load_pause(struct load *load)
{
    load->posting = false;
}

void load_measure(struct load *load)
{
    memset(&load->counts, 0, sizeof load->counts);
    load->counts.begin_us = loop_clock_us();
    load->measuring = true;
}

void load_stop_measuring(struct load *load)
{
    load->measuring = false;
}

void load_close(struct load *load)
{
    loop_timer_clear(load->loop, &load->tick);
    for (uint32_t i = 0; i < load->client_count; i++)
        if (load->clients[i].channel)
            channel_close(load->clients[i].channel, false);
    free(load->clients);
    load->clients = NULL;
}
