/* A client's process: carries out core/client's effects, with a folder that outlives it. What the
 * program writes at once (the outbox) is there after a kill; what it remembers lazily (answers that
 * are done, the cursor) may be lost by one. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "tests/sim/sim.h"

enum { SAVE_US = 40000, DERIVE_US = 300000, MONO_US = 77000000 };

static struct now client_now(const struct sim_client *client)
{
    return (struct now) { .mono_us = client->world->now + MONO_US,
                          .wall_us = UINT64_C(1700000000) * SIM_S + client->world->now };
}

void sim_client_create(struct world *world, uint8_t number)
{
    struct sim_client *client = &world->clients[number];
    *client = (struct sim_client) { .world = world, .number = number };
    client->inbox_end = &client->inbox;
    client->limits = (struct client_limits) { .outbox_entries = 256,
                                              .outbox_bytes = CLIENT_OUTBOX_BYTES_MIN,
                                              .queries = 16,
                                              .query_bytes = CLIENT_OUTBOX_BYTES_MIN,
                                              .held = ORACLE_HELD };
    client->name_len = (uint8_t)snprintf((char *)client->name, sizeof client->name, "u%u",
                                         number % world->workload.users);
    crypto_sim_key(client->saved.secret_key, world->seed, number);
}

static void entries_free(struct saved *saved)
{
    while (saved->entries) {
        struct saved_entry *entry = saved->entries;
        saved->entries = entry->next;
        free(entry);
    }
}

static void forget_process(struct sim_client *client)
{
    free(client->memory);
    client->memory = NULL;
    client->client = NULL;
    while (client->inbox) {
        struct item *item = client->inbox;
        client->inbox = item->next;
        free(item);
    }
    client->inbox_end = &client->inbox;
    entries_free(&client->staged);
    client->staging = client->made_device = false;
    client->has_done = client->has_cursor = client->save_planned = false;
    client->unsaved_count = 0;
    client->paused = client->dying = false;
    client->link = (struct handle) { 0 };
    client->crash_in = 0;
    client->running = false;
    client->epoch++;
}

void sim_client_free(struct sim_client *client)
{
    forget_process(client);
    entries_free(&client->saved);
    entries_free(&client->copy);
    free(client->unsaved);
}

/* --- the folder --------------------------------------------------------------------------------*/

static void put(struct saved *saved, const struct client_entry *from)
{
    struct saved_entry *entry = sim_must(malloc(sizeof *entry + from->id.len + from->body.len));
    *entry = (struct saved_entry) { .number = from->number,
                                    .seq = from->seq,
                                    .id_len = (uint32_t)from->id.len,
                                    .body_len = (uint32_t)from->body.len };
    if (from->id.len)
        memcpy(entry->data, from->id.data, from->id.len);
    if (from->body.len)
        memcpy(entry->data + from->id.len, from->body.data, from->body.len);
    struct saved_entry **at = &saved->entries;
    while (*at)
        at = &(*at)->next;
    *at = entry;
    saved->last_number = from->number;
    if (from->seq)
        saved->last_seq = from->seq;
}

static void copy_folder(struct saved *to, const struct saved *from)
{
    *to = *from;
    struct saved_entry **at = &to->entries;
    for (const struct saved_entry *entry = from->entries; entry; entry = entry->next) {
        size_t size = sizeof *entry + entry->id_len + entry->body_len;
        *at = sim_must(malloc(size));
        memcpy(*at, entry, size);
        at = &(*at)->next;
    }
    *at = NULL;
}

/* A new device and its outbox take the place of the old ones in one step. */
static void commit_staged(struct sim_client *client)
{
    client->staged.cursor = client->saved.cursor;
    client->staged.floor = client->saved.floor;
    client->staged.seen = client->saved.seen;
    if (client->staged.last_number < client->saved.last_number)
        client->staged.last_number = client->saved.last_number;
    entries_free(&client->saved);
    client->saved = client->staged;
    client->staged = (struct saved) { 0 };
    client->staging = false;
}

static void ended(struct sim_client *client, uint64_t tag, uint64_t seq)
{
    if (client->unsaved_count == client->unsaved_capacity) {
        client->unsaved_capacity = client->unsaved_capacity ? client->unsaved_capacity * 2 : 64;
        client->unsaved =
            sim_must(realloc(client->unsaved, client->unsaved_capacity * sizeof *client->unsaved));
    }
    client->unsaved[client->unsaved_count++] = (struct client_sender) { tag, seq };
}

static void save_seen(struct sim_client *client)
{
    for (uint32_t i = 0; i < client->unsaved_count; i++)
        (void)seen_note(&client->saved.seen, client->unsaved[i].tag, client->unsaved[i].seq);
    client->unsaved_count = 0;
    client->saved.seen.forgot = client->forgot;
    held_oracle_saved(client);
}

static void want_save(struct sim_client *client)
{
    if (client->save_planned)
        return;
    client->save_planned = true;
    struct world *world = client->world;
    world_plan(world, HAPPEN_CLIENT_SAVE, world->now + random_below(&world->random, SAVE_US),
               client->number, 0, client->epoch);
}

/* --- effects -----------------------------------------------------------------------------------*/

static void note(struct sim_client *client, const struct client_effect *effect)
{
    uint64_t value = (uint64_t)effect->kind << 16 | client->number;
    if (effect->kind == CLIENT_TRANSMIT)
        for (unsigned i = 0; i < 3; i++)
            value = sim_hash(effect->parts[i].data, effect->parts[i].len, value);
    world_note(client->world, value);
}

static void dial(struct sim_client *client, const struct client_effect *effect)
{
    CHECK(client->link.link == 0);
    struct end end = { .kind = END_CLIENT,
                       .who = client->number,
                       .host = (uint8_t)(SIM_HOST_CLIENTS + client->number) };
    client->link = network_dial(client->world, end, (uint8_t)(effect->dial.server + 1),
                                CONNECTION_CLIENT, effect->dial.timeout_us);
}

static void emit(void *ctx, const struct client_effect *effect)
{
    struct sim_client *client = ctx;
    struct world *world = client->world;
    if (client->dying)
        return;
    note(client, effect);
    if (client->crash_in && --client->crash_in == 0) {
        client->dying = true;
        return;
    }
    switch (effect->kind) {
    case CLIENT_DIAL:
        dial(client, effect);
        break;
    case CLIENT_TRANSMIT:
        network_send(world, client->link, 0, effect->parts, 3);
        break;
    case CLIENT_CLOSE:
        network_close(world, client->link, 0);
        client->link = (struct handle) { 0 };
        break;
    case CLIENT_DERIVE:
        client->derive_salt = bytes_get_u64(effect->derive.salt);
        world_plan(world, HAPPEN_CLIENT_DERIVED, world->now + DERIVE_US, client->number, 0,
                   client->epoch);
        break;
    case CLIENT_NEW_DEVICE:
        client->made_device = true;
        world->report->branches[BRANCH_NEW_DEVICE]++;
        break;
    case CLIENT_DEVICE_ENROLLED:
        client->saved.device = effect->enrolled.device;
        client->saved.enrolled_index = effect->enrolled.index;
        break;
    case CLIENT_OUTBOX_PUT:
        oracle_put(client, effect->put.id);
        put(client->staging ? &client->staged : &client->saved, &effect->put);
        break;
    case CLIENT_OUTBOX_DONE:
        client->has_done = true;
        client->done_number = effect->done.number;
        client->done_seq = effect->done.seq;
        want_save(client);
        break;
    case CLIENT_OUTBOX_SYNC:
        if (client->staging)
            commit_staged(client);
        break;
    case CLIENT_CURSOR:
        client->has_cursor = true;
        client->cursor = effect->cursor.index;
        client->floor = effect->cursor.floor;
        client->forgot = effect->cursor.forgot;
        if (effect->cursor.seq)
            ended(client, effect->cursor.tag, effect->cursor.seq);
        want_save(client);
        break;
    case CLIENT_EMIT:
        oracle_output(client, effect->output);
        break;
    case CLIENT_WAKE_AT:
        client->wake_at =
            effect->wake_at_us == UINT64_MAX ? SIM_NEVER : effect->wake_at_us - MONO_US;
        break;
    case CLIENT_EXIT:
        sim_fail(world, "client %u: ends itself with status %d", client->number,
                 effect->exit.status);
    }
}

static void plan_tick(struct sim_client *client)
{
    struct world *world = client->world;
    if (client->wake_at == SIM_NEVER || client->paused || client->tick_planned <= client->wake_at)
        return;
    uint64_t at = client->wake_at > world->now ? client->wake_at : world->now + 10;
    client->tick_planned = at;
    world_plan(world, HAPPEN_CLIENT_TICK, at, client->number, 0, client->epoch);
}

static void step(struct sim_client *client, struct client_event *event)
{
    struct client_effects out = { .emit = emit, .ctx = client };
    event->now = client_now(client);
    client->world->events++;
    client_step(client->client, event, &out);
    if (client->made_device && !client->dying) {
        client->made_device = false;
        entries_free(&client->staged);
        client->staged = (struct saved) { 0 };
        client->staging = true;
        client->has_done = false;
        crypto_sim_key(client->staged.secret_key, random_u64(&client->world->random), 1);
        struct client_event made = { .kind = CLIENT_EVENT_DEVICE_MADE, .now = client_now(client) };
        memcpy(made.secret_key, client->staged.secret_key, SECRET_KEY_BYTES);
        client_step(client->client, &made, &out);
    }
    if (client->dying) {
        client->world->report->faults[FAULT_CLIENT_MID_EFFECTS]++;
        sim_client_die(client);
        return;
    }
    plan_tick(client);
}

/* --- life --------------------------------------------------------------------------------------*/

void sim_client_boot(struct sim_client *client)
{
    struct world *world = client->world;
    if (client->running)
        return;
    struct client_entry entries[512];
    const struct saved *saved = &client->saved;
    struct client_recovered recovered = {
        .device = saved->device,
        .enrolled_index = saved->enrolled_index,
        .cursor = saved->cursor,
        .floor = saved->floor,
        .last_number = saved->last_number,
        .last_seq = saved->last_seq,
        .done_seq = saved->done_seq,
        .seen = &saved->seen,
        .entries = entries,
    };
    memcpy(recovered.secret_key, saved->secret_key, SECRET_KEY_BYTES);
    for (const struct saved_entry *entry = saved->entries; entry; entry = entry->next) {
        CHECK(recovered.entry_count < 512);
        entries[recovered.entry_count++] =
            (struct client_entry) { .number = entry->number,
                                    .seq = entry->seq,
                                    .id = { entry->data, entry->id_len },
                                    .body = { entry->data + entry->id_len, entry->body_len } };
    }
    client->running = true;
    client->boots++;
    client->epoch++;
    client->wake_at = client->tick_planned = SIM_NEVER;
    client->memory = sim_must(malloc(client_memory(&client->limits)));
    client->client =
        client_init(client->memory, &client->limits, &crypto_sim, random_u64(&world->random));
    SAY(world, "client %u: starts, outbox %u, cursor %" PRIu64, client->number,
        recovered.entry_count, recovered.cursor);
    oracle_restarted(client);
    struct client_options options = { .user = { client->name, client->name_len },
                                      .is_register = true,
                                      .stream = true,
                                      .shuffle = true,
                                      .servers = (uint8_t)world->nodes_count,
                                      .connect_timeout_ms = 5000,
                                      .retry_ms = 3000 };
    struct client_event event = { .kind = CLIENT_EVENT_START };
    event.start.options = &options;
    event.start.recovered = &recovered;
    step(client, &event);
    if (client->running)
        world_plan(world, HAPPEN_CLIENT_WORK,
                   world->now + random_below(&world->random, client->pace_us + 1), client->number,
                   0, client->epoch);
}

void sim_client_die(struct sim_client *client)
{
    struct world *world = client->world;
    if (!client->running)
        return;
    SAY(world, "client %u: is killed", client->number);
    network_process_gone(world, END_CLIENT, client->number, false);
    forget_process(client);
    world_plan(world, HAPPEN_CLIENT_BOOT,
               world->now + random_between(&world->random, 10 * SIM_MS, 3 * SIM_S), client->number,
               0, client->epoch);
}

bool sim_client_old_copy(struct sim_client *client)
{
    if (!client->has_copy || client->saved.last_seq == client->copy.last_seq) {
        entries_free(&client->copy);
        copy_folder(&client->copy, &client->saved);
        client->has_copy = true;
        return false;
    }
    SAY(client->world, "client %u: its folder is replaced by an old copy", client->number);
    sim_client_die(client);
    entries_free(&client->saved);
    client->saved = client->copy;
    client->copy = (struct saved) { 0 };
    client->has_copy = false;
    client->went_back = true;
    oracle_went_back(client);
    return true;
}

void sim_client_tick(struct sim_client *client)
{
    client->tick_planned = SIM_NEVER;
    if (!client->running || client->paused)
        return;
    if (client->wake_at > client->world->now) {
        plan_tick(client);
        return;
    }
    client->wake_at = SIM_NEVER;
    struct client_event event = { .kind = CLIENT_EVENT_TICK };
    step(client, &event);
}

void sim_client_save(struct sim_client *client)
{
    client->save_planned = false;
    struct saved *saved = &client->saved;
    if (client->has_cursor && !client->staging) {
        saved->cursor = client->cursor;
        saved->floor = client->floor;
        save_seen(client);
        client->has_cursor = false;
    }
    if (!client->has_done || client->staging)
        return;
    client->has_done = false;
    saved->done_number = client->done_number;
    saved->done_seq = client->done_seq;
    while (saved->entries && saved->entries->number <= saved->done_number) {
        struct saved_entry *entry = saved->entries;
        saved->entries = entry->next;
        free(entry);
    }
    struct client_event event = { .kind = CLIENT_EVENT_SAVED };
    event.saved_seq = client->done_seq;
    step(client, &event);
}

void sim_client_derived(struct sim_client *client)
{
    struct client_event event = { .kind = CLIENT_EVENT_DERIVED };
    /* The password is the name: the same account key for all devices of a user. */
    crypto_sim_key(event.derived.secret_key,
                   sim_hash(client->name, client->name_len, client->world->seed),
                   client->derive_salt);
    step(client, &event);
}

void sim_client_op(struct sim_client *client, const struct client_op *op)
{
    struct client_event event = { .kind = CLIENT_EVENT_INPUT };
    event.op = op;
    step(client, &event);
}

/* --- from the network --------------------------------------------------------------------------*/

static void take(struct sim_client *client, const struct item *item)
{
    if (!client->running || client->link.link != item->link.link ||
        client->link.epoch != item->link.epoch)
        return;
    struct client_event event = { .kind = CLIENT_EVENT_MESSAGE };
    struct link *link = network_link(client->world, item->link);
    if (item->kind == ITEM_PEER_UP) {
        if (!link)
            return;
        event.kind = CLIENT_EVENT_CONNECTED;
        event.handshake_hash = link->hash;
    } else if (item->kind == ITEM_CLOSED) {
        event.kind = CLIENT_EVENT_CLOSED;
        event.end = (enum client_end)item->id;
        client->link = (struct handle) { 0 };
    } else {
        network_taken(client->world, item->link, 0, item->len);
        event.message = (struct slice) { item->data, item->len };
    }
    step(client, &event);
}

static void arrived(struct sim_client *client, struct item *item)
{
    if (client->paused) {
        *client->inbox_end = item;
        client->inbox_end = &item->next;
        return;
    }
    take(client, item);
    free(item);
}

void sim_client_connected(struct sim_client *client, struct handle link)
{
    struct item *item = sim_item(ITEM_PEER_UP, 0);
    item->link = link;
    arrived(client, item);
}

void sim_client_closed(struct sim_client *client, struct handle link, enum client_end end)
{
    struct item *item = sim_item(ITEM_CLOSED, 0);
    item->link = link;
    item->id = end;
    arrived(client, item);
}

void sim_client_message(struct sim_client *client, struct handle link, struct slice message)
{
    struct item *item = sim_item(ITEM_MESSAGE, message.len);
    item->link = link;
    if (message.len)
        memcpy(item->data, message.data, message.len);
    arrived(client, item);
}

void sim_client_pause(struct sim_client *client, bool pause)
{
    client->paused = pause;
    uint32_t epoch = client->epoch;
    while (!client->paused && client->epoch == epoch && client->inbox) {
        struct item *item = client->inbox;
        client->inbox = item->next;
        if (!client->inbox)
            client->inbox_end = &client->inbox;
        take(client, item);
        free(item);
    }
    if (client->running && !client->paused && client->epoch == epoch) {
        client->tick_planned = SIM_NEVER;
        plan_tick(client);
    }
}
