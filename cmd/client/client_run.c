#include "cmd/client/client_app.h"
#include "cmd/client/client_json.h"
#include "cmd/commands.h"
#include "cmd/crypto_sodium.h"
#include "cmd/say.h"
#include "core/check.h"

#include <signal.h>
#include <sodium.h>
#include <stdlib.h>

static const char command[] = "client";
enum { FAREWELL_US = 300 * 1000, CLIENT_BUFFER_BYTES = 64 << 20 };

/* --- The step --------------------------------------------------------------------------------- */

static void emit(void *ctx, const struct client_effect *effect);

static void step(struct app *app, struct client_event *event)
{
    const struct client_effects out = { emit, app };
    event->now = (struct now) { loop_now_us(app->loop), loop_wall_us() };
    client_step(app->client, event, &out);
}

void app_op(struct app *app, const struct client_op *op)
{
    CHECK(client_has_room(app->client));
    step(app, &(struct client_event) { .kind = CLIENT_EVENT_INPUT, .op = op });
}

void app_stop(struct app *app, uint64_t wait_us)
{
    struct client_event event = { .kind = CLIENT_EVENT_STOP };
    event.stop_until_us = wait_us ? loop_now_us(app->loop) + wait_us : 0;
    step(app, &event);
}

/* --- The connection --------------------------------------------------------------------------- */

static enum client_end end_of(enum channel_end end)
{
    switch (end) {
    case CHANNEL_END_CLOSED:
        return CLIENT_END_CLOSED;
    case CHANNEL_END_TRUNCATED:
        return CLIENT_END_LOST;
    case CHANNEL_END_RESET:
        return CLIENT_END_RESET;
    case CHANNEL_END_TIMEOUT:
        return CLIENT_END_TIMEOUT;
    case CHANNEL_END_REFUSED:
        return CLIENT_END_REFUSED;
    case CHANNEL_END_UNREACHABLE:
        return CLIENT_END_UNREACHABLE;
    case CHANNEL_END_GARBAGE:
        return CLIENT_END_GARBAGE;
    default:
        return CLIENT_END_OTHER;
    }
}

static void on_channel(void *owner, struct channel *channel, const struct channel_event *event)
{
    struct app *app = owner;
    struct client_event told = { .kind = CLIENT_EVENT_MESSAGE };
    if (channel != app->channel || app->lost)
        return;
    switch (event->kind) {
    case CHANNEL_OPENED:
        told.kind = CLIENT_EVENT_CONNECTED;
        told.handshake_hash = channel_hash(channel);
        break;
    case CHANNEL_MESSAGE:
        told.message = event->message;
        break;
    case CHANNEL_CLOSED:
        app->channel = NULL;
        told.kind = CLIENT_EVENT_CLOSED;
        told.end = end_of(event->end);
        break;
    default:
        return;
    }
    step(app, &told);
}

static void lose(struct app *app, enum client_end how)
{
    if (app->channel)
        channel_close(app->channel, false);
    app->channel = NULL;
    app->lost = true;
    app->lost_how = how;
    loop_again(app->loop);
}

static void dial(struct app *app, const struct client_effect *effect)
{
    const struct config_address *server = &app->setup->servers[effect->dial.server];
    app->channel = channel_dial(app->channels, server->host, server->port, ROLE_CLIENT,
                                effect->dial.timeout_us, LIMIT_NODE_MESSAGE_BYTES, on_channel, app);
    if (!app->channel)
        lose(app, CLIENT_END_UNREACHABLE);
}

static void transmit(struct app *app, const struct client_effect *effect)
{
    struct slice parts[3];
    size_t count = 0;
    for (int i = 0; i < 3; i++)
        if (effect->parts[i].len)
            parts[count++] = effect->parts[i];
    if (app->channel && !channel_send(app->channel, parts, count))
        lose(app, CLIENT_END_OTHER);
}

/* --- The password ----------------------------------------------------------------------------- */

static void *derive(void *ctx)
{
    struct app *app = ctx;
    uint8_t seed[crypto_sign_SEEDBYTES];
    uint8_t public_key[PUBLIC_KEY_BYTES];
    const char *password = app->setup->password;
    app->derive_failed =
        crypto_pwhash(seed, sizeof seed, password, strlen(password), app->salt, app->passes,
                      (size_t)app->memory_bytes, crypto_pwhash_ALG_ARGON2ID13) != 0 ||
        crypto_sign_seed_keypair(public_key, app->account_key, seed) != 0;
    sodium_memzero(seed, sizeof seed);
    loop_wakeup_post(&app->derived);
    return NULL;
}

static void begin_derive(struct app *app, const struct client_effect *effect)
{
    CHECK(!app->working);
    memcpy(app->salt, effect->derive.salt, sizeof app->salt);
    app->passes = effect->derive.passes;
    app->memory_bytes = effect->derive.memory_bytes;
    app->derive_failed = true;
    if (!app->setup->has_password)
        say_error(EXIT_DENIED, command, "no password (give --password-file or FTCHAT_PASSWORD)");
    else if (pthread_create(&app->worker, NULL, derive, app) == 0)
        app->working = true;
    else
        say_error(EXIT_DENIED, command, "no thread for the password's key");
    if (!app->working)
        loop_wakeup_post(&app->derived);
}

static void end_derive(struct loop_wakeup *wakeup)
{
    struct app *app = LOOP_HOLDER(struct app, derived, wakeup);
    struct client_event event = { .kind = CLIENT_EVENT_DERIVED };
    if (app->working) {
        pthread_join(app->worker, NULL);
        app->working = false;
        if (app->derive_failed)
            say_error(EXIT_DENIED, command, "not enough memory for the password's key (%llu MiB)",
                      (unsigned long long)app->memory_bytes >> 20);
    }
    event.derived.failed = app->derive_failed;
    memcpy(event.derived.secret_key, app->account_key, SECRET_KEY_BYTES);
    sodium_memzero(app->account_key, sizeof app->account_key);
    step(app, &event);
    sodium_memzero(&event, sizeof event);
}

/* --- Effects ---------------------------------------------------------------------------------- */

static void show(struct app *app, const struct client_output *output)
{
    if (output->kind == CLIENT_OUT_READY) {
        app->ready_once = true;
        if (app->channel)
            channel_admit(app->channel, LIMIT_NODE_MESSAGE_BYTES);
    }
    if (output->kind == CLIENT_OUT_READY || output->kind == CLIENT_OUT_ACK)
        app->progress_at = loop_now_us(app->loop);
    if (app->setup->mode == MODE_JSON)
        json_write_output(&app->out, output);
    else
        lines_output(app, output);
}

static void emit(void *ctx, const struct client_effect *effect)
{
    struct app *app = ctx;
    switch (effect->kind) {
    case CLIENT_DIAL:
        dial(app, effect);
        break;
    case CLIENT_TRANSMIT:
        transmit(app, effect);
        break;
    case CLIENT_CLOSE:
        if (app->channel)
            channel_close(app->channel, true);
        app->channel = NULL;
        app->lost = false;
        break;
    case CLIENT_DERIVE:
        begin_derive(app, effect);
        break;
    case CLIENT_NEW_DEVICE:
        app->device_wanted = true;
        loop_again(app->loop);
        break;
    case CLIENT_DEVICE_ENROLLED:
        state_enrolled(app->state, effect->enrolled.device, effect->enrolled.index);
        break;
    case CLIENT_OUTBOX_PUT:
        state_put(app->state, &effect->put);
        break;
    case CLIENT_OUTBOX_DONE:
        app->has_done = true;
        app->done_number = effect->done.number;
        app->done_seq = effect->done.seq;
        break;
    case CLIENT_OUTBOX_SYNC:
        io_write_all(app);
        state_sync(app->state);
        break;
    case CLIENT_CURSOR:
        app->has_cursor = true;
        app->cursor = effect->cursor.index;
        app->floor = effect->cursor.floor;
        app->forgot = effect->cursor.forgot;
        memcpy(app->cluster, effect->cursor.cluster, sizeof app->cluster);
        if (effect->cursor.seq)
            state_seen(app->state, effect->cursor.tag, effect->cursor.seq);
        break;
    case CLIENT_EMIT:
        show(app, effect->output);
        break;
    case CLIENT_WAKE_AT:
        if (effect->wake_at_us == UINT64_MAX)
            loop_timer_clear(app->loop, &app->wake);
        else
            loop_timer_set(app->loop, &app->wake, effect->wake_at_us);
        break;
    case CLIENT_EXIT:
        app->exited = true;
        app->exit_status = effect->exit.status;
        app->left = effect->exit.left;
        loop_stop(app->loop);
        break;
    }
}

/* --- The end of a turn ------------------------------------------------------------------------ */

/* Remembers what has been shown; true when the node may hear of it. */
static bool remember(struct app *app)
{
    bool done = app->has_done;
    if (done)
        state_done(app->state, app->done_number, app->done_seq);
    if (app->has_cursor)
        state_cursor(app->state, app->cursor, app->floor, app->cluster, app->forgot);
    app->has_done = app->has_cursor = false;
    state_write(app->state);
    return done;
}

static void make_device(struct app *app)
{
    struct client_event event = { .kind = CLIENT_EVENT_DEVICE_MADE };
    uint8_t public_key[PUBLIC_KEY_BYTES];
    app->device_wanted = false;
    io_write_all(app);
    remember(app);
    int failed = crypto_sign_keypair(public_key, event.secret_key);
    CHECK(failed == 0);
    state_new_device(app->state, event.secret_key);
    step(app, &event);
    app->has_done = false; /* of the old one */
    sodium_memzero(&event, sizeof event);
}

static bool is_impatient(const struct app *app)
{
    return app->setup->mode == MODE_SEND || app->setup->mode == MODE_HISTORY;
}

static void check_patience(struct app *app)
{
    struct client_view view = client_view(app->client);
    uint64_t now = loop_now_us(app->loop);
    if (app->ready_once && view.queued == 0 && view.queries == 0)
        app->progress_at = now;
    uint64_t until = app->progress_at + app->setup->wait_us;
    if (now < until)
        loop_timer_set(app->loop, &app->patience, until);
    else
        app_stop(app, 1);
}

static void turn_end(struct loop_hook *hook)
{
    struct app *app = LOOP_HOLDER(struct app, turn_end, hook);
    if (app->lost) {
        app->lost = false;
        step(app, &(struct client_event) { .kind = CLIENT_EVENT_CLOSED, .end = app->lost_how });
    }
    if (app->device_wanted)
        make_device(app);
    io_read(app);
    state_write(app->state);
    lines_prompt(app);
    io_write(app);
    if (app->out_broken && !app->exited)
        app_stop(app, 0);
    if (app->channel)
        channel_set_reading(app->channel, text_len(&app->out) < BACKLOG_BYTES);
    if (app->exited || text_len(&app->out))
        return;
    if (remember(app)) {
        struct client_event event = { .kind = CLIENT_EVENT_SAVED, .saved_seq = app->done_seq };
        step(app, &event);
        if (text_len(&app->out) || app->has_done)
            loop_again(app->loop);
    }
    state_tidy(app->state, client_view(app->client).queued == 0 && !app->has_done);
    if (is_impatient(app) && !app->exited)
        check_patience(app);
}

static void on_wake(struct loop_timer *timer)
{
    struct app *app = LOOP_HOLDER(struct app, wake, timer);
    step(app, &(struct client_event) { .kind = CLIENT_EVENT_TICK });
}

/* The turn that it begins looks at the clock. */
static void on_patience(struct loop_timer *timer)
{
    (void)timer;
}

static void on_signal(struct loop_signals *signals, int number)
{
    struct app *app = LOOP_HOLDER(struct app, signals, signals);
    (void)number;
    app_stop(app, 0);
}

/* --- The run ---------------------------------------------------------------------------------- */

static bool open_world(struct app *app)
{
    static const int numbers[] = { SIGTERM, SIGINT };
    app->loop = loop_create();
    if (!app->loop)
        return false;
    app->wake.on_fire = on_wake;
    app->patience.on_fire = on_patience;
    app->signals.on_signal = on_signal;
    app->derived.on_wake = end_derive;
    app->turn_end.run = turn_end;
    const struct channels_config config = {
        .static_public = app->setup->key.public_key,
        .max_channels = 8,
        .buffer_cap_bytes = CLIENT_BUFFER_BYTES,
    };
    app->channels = channels_create(app->loop, &config);
    if (!app->channels || loop_watch_signals(app->loop, &app->signals, numbers, 2) != FT_OK ||
        loop_wakeup_open(app->loop, &app->derived) != FT_OK)
        return false;
    loop_add_hook(app->loop, LOOP_TURN_END, &app->turn_end);
    return true;
}

static void start(struct app *app)
{
    const struct client_setup *setup = app->setup;
    size_t size = client_memory(&client_limits_default);
    void *memory = app->client_memory = malloc(size);
    CHECK(memory != NULL);
    uint64_t seed;
    randombytes_buf(&seed, sizeof seed);
    app->client = client_init(memory, &client_limits_default, &crypto_sodium, seed);
    const struct client_options options = {
        .user = { (const uint8_t *)setup->user, strlen(setup->user) },
        .token = { setup->token, setup->token_len },
        .is_register = setup->is_register,
        .stream = setup->mode != MODE_SEND && setup->mode != MODE_HISTORY,
        .held_ok = setup->held_ok,
        .shuffle = setup->shuffle,
        .servers = setup->server_count,
        .connect_timeout_ms = setup->connect_timeout_ms,
        .retry_ms = setup->retry_ms,
    };
    struct client_event event = { .kind = CLIENT_EVENT_START };
    event.start.options = &options;
    event.start.recovered = state_recovered(app->state);
    step(app, &event);
}

/* The closing frame leaves, and what was shown is remembered. */
static void say_farewell(struct app *app)
{
    io_write_all(app);
    if (!text_len(&app->out))
        remember(app);
    uint64_t until = loop_clock_us() + FAREWELL_US;
    while (channels_state(app->channels).lingering && loop_clock_us() < until)
        loop_run_once(app->loop, 20 * 1000);
    uint64_t held = client_view(app->client).held;
    if (app->left && held == app->left && app->setup->held_ok)
        say_warning(
            command,
            "%llu held by one node: committed when a majority is back (do not send it again)",
            (unsigned long long)held);
    else if (app->left)
        say_warning(command,
                    "%llu not confirmed: what is in the outbox stays there, and the next run sends "
                    "it first (do not send it again)",
                    (unsigned long long)app->left);
    if (app->exit_status == EXIT_UNREACHABLE && !app->left)
        say_error(EXIT_UNREACHABLE, command, "no answer from the cluster in time");
}

int client_run(struct client_setup *setup)
{
    struct app *app = calloc(1, sizeof *app);
    CHECK(app != NULL);
    app->setup = setup;
    app->state = state_open(command, setup->state_folder, setup->user, setup->key.id);
    if (!app->state) {
        free(app);
        return EXIT_FAILED;
    }
    if (state_recovered(app->state)->device == 0 && !setup->has_password) {
        client_ask_password(setup);
        if (!setup->has_password) {
            /* Before anything is taken for the outbox of a device that nobody knows. */
            say_error(EXIT_DENIED, command,
                      "%s%sno password (give --password-file or FTCHAT_PASSWORD)", setup->user,
                      state_is_twin(app->state)
                          ? " has another client running here, so this one is a new device: "
                          : ": ");
            state_close(app->state);
            free(app);
            return EXIT_DENIED;
        }
    }
    if (!open_world(app)) {
        state_close(app->state);
        free(app);
        return say_error(EXIT_FAILED, command, "cannot start (descriptors or memory are short)");
    }
    io_start(app);
    app->progress_at = loop_now_us(app->loop);
    start(app);
    lines_start(app);
    loop_run(app->loop);
    loop_remove_hook(app->loop, LOOP_TURN_END, &app->turn_end);
    int status = lines_status(app, app->exit_status);
    say_farewell(app);
    if (app->working)
        pthread_join(app->worker, NULL);
    io_stop(app);
    channels_destroy(app->channels);
    loop_destroy(app->loop);
    state_close(app->state);
    free(app->client_memory);
    sodium_memzero(app, sizeof *app);
    free(app);
    return status;
}
