/* What people do with their clients, and the operator's ctl that forms the cluster. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/check.h"
#include "tests/sim/choices.h"
#include "tests/sim/sim.h"

enum { TEXT_MAX = 3000, CTL_AGAIN_US = 2000000 };

void workload_start(struct world *world)
{
    struct workload *workload = &world->workload;
    struct random *random = &world->random;
    *workload = (struct workload) { 0 };
    workload->rooms = 1 + (unsigned)random_below(random, 5);
    workload->has_private = random_below(random, 3) == 0;
    workload->users = 1 + (unsigned)random_below(random, world->clients_count);
    workload->text_bytes = (uint32_t)random_between(random, 16, 500);
    workload->slots = world->members.first;
    do
        workload->ctl_slot = (uint8_t)random_between(random, 1, world->nodes_count);
    while (!(workload->slots >> (workload->ctl_slot - 1) & 1));
    bytes_put_u64(workload->cluster, random_u64(random) | 1);
    bytes_put_u64(workload->cluster + 8, random_u64(random));
    for (unsigned i = 0; i < 32; i += 8)
        bytes_put_u64(workload->secret + i, random_u64(random));
    uint64_t pace_us = random_between(random, 20, 250) * SIM_MS;
    for (uint8_t i = 0; i < world->clients_count; i++) {
        sim_client_create(world, i);
        struct sim_client *client = &world->clients[i];
        client->pace_us = pace_us * random_between(random, 1, 3);
        client->burst = random_below(random, 4) ? 1 : random_between(random, 2, 30);
        world_plan(world, HAPPEN_CLIENT_BOOT, random_below(random, 4 * SIM_S), i, 0, 0);
    }
    world_plan(world, HAPPEN_CTL, random_between(random, 10 * SIM_MS, SIM_S), 0, 0, 0);
}

/* --- people ------------------------------------------------------------------------------------*/

static struct slice room_name(const struct world *world, uint8_t room, char *out, size_t capacity)
{
    int len;
    if (room >= ROOM_DIRECT)
        len = snprintf(out, capacity, "@u%u", (unsigned)(room - ROOM_DIRECT));
    else if (room == ROOM_NOPE)
        len = snprintf(out, capacity, "#nope");
    else if (world->workload.has_private && room == 0)
        len = snprintf(out, capacity, "#private");
    else
        len = snprintf(out, capacity, "#r%u", room);
    return (struct slice) { (const uint8_t *)out, (size_t)len };
}

static void act(struct sim_client *client, enum client_op_kind kind, uint8_t room)
{
    struct world *world = client->world;
    char name[32];
    char id[16];
    char text[TEXT_MAX + 32];
    uint32_t number = oracle_issue(client, kind, room);
    struct client_op op = { .kind = kind, .room = room_name(world, room, name, sizeof name) };
    op.id.len = (size_t)snprintf(id, sizeof id, "n%u", number);
    op.id.data = (const uint8_t *)id;
    SAY(world, "client %u: %s is op %d in %s", client->number, id, (int)kind, name);
    if (kind == CLIENT_SEND || kind == CLIENT_ME || kind == CLIENT_TOPIC) {
        size_t len = (size_t)snprintf(text, sizeof text, "n%u ", number);
        size_t more = random_below(&world->random, world->workload.text_bytes);
        if (random_below(&world->random, 60) == 0)
            more = random_below(&world->random, TEXT_MAX);
        if (kind == CLIENT_TOPIC && more > 100)
            more = 100;
        memset(text + len, 'a' + (int)(number % 26), more);
        op.text = (struct slice) { (const uint8_t *)text, len + more };
        if (kind == CLIENT_SEND && random_below(&world->random, 200) == 0)
            op.text.len = 0; /* refused before it gets a seq */
    }
    if (kind == CLIENT_SEND && random_below(&world->random, 20) == 0)
        op.reply_to = 1 + random_below(&world->random, 20);
    op.is_private = kind == CLIENT_CREATE && room == 0 && world->workload.has_private;
    op.seq = 1 + random_below(&world->random, 50);
    if (kind == CLIENT_DELETE) {
        op.seq = oracle_target(client, room);
        world->oracle.ops[number].target = op.seq;
    }
    sim_client_op(client, &op);
}

static void ask(struct sim_client *client, enum client_op_kind kind, uint8_t room)
{
    struct world *world = client->world;
    struct random *random = &world->random;
    char name[32];
    char id[16];
    struct client_op op = { .kind = kind, .room = room_name(world, room, name, sizeof name) };
    uint64_t way = random_below(random, 4);
    op.limit = (uint16_t)random_between(random, 1, LIMIT_HISTORY_PAGE);
    if (way == 0)
        op.before = 1 + random_below(random, 200);
    if (way == 1) {
        op.has_after = true;
        op.after = random_below(random, 200);
    }
    bool member_for_good = room % 2 == 0 && room < ROOM_NOPE;
    uint32_t number = oracle_ask(client, room, way > 1 && member_for_good);
    op.id.len = (size_t)snprintf(id, sizeof id, "n%u", number);
    op.id.data = (const uint8_t *)id;
    SAY(world, "client %u: query %s of kind %d, %s before %" PRIu64 " after %" PRIu64 " limit %u",
        client->number, id, (int)kind, name, op.before, op.after, op.limit);
    sim_client_op(client, &op);
}

static uint8_t any_room(struct sim_client *client)
{
    struct world *world = client->world;
    if (random_below(&world->random, 12) == 0)
        return (uint8_t)(ROOM_DIRECT + random_below(&world->random, world->workload.users));
    return (uint8_t)random_below(&world->random, world->workload.rooms);
}

/* One thing. Rooms of even number are never left, so that reads of them can be judged. */
static void do_something(struct sim_client *client)
{
    struct world *world = client->world;
    uint8_t room = any_room(client);
    uint64_t what = random_below(&world->random, 100);
    if (room < ROOM_NOPE && !(client->joined >> room & 1)) {
        client->joined |= UINT64_C(1) << room;
        act(client, random_below(&world->random, 2) ? CLIENT_CREATE : CLIENT_JOIN, room);
    } else if (what < 67) {
        act(client, CLIENT_SEND, room);
    } else if (what < 70) {
        act(client, CLIENT_DELETE, room);
    } else if (what < 74) {
        act(client, CLIENT_ME, room);
    } else if (what < 84) {
        ask(client, CLIENT_HISTORY, room);
    } else if (what < 88) {
        ask(client, (enum client_op_kind)(CLIENT_ROOMS + random_below(&world->random, 5)), room);
    } else if (what < 90 && room < ROOM_NOPE && room % 2) {
        act(client, CLIENT_PART, room);
    } else if (what < 94 && room < ROOM_NOPE) {
        act(client, CLIENT_JOIN, room);
    } else if (what < 96 && room < ROOM_NOPE) {
        act(client, CLIENT_TOPIC, room);
    } else if (what < 97) {
        act(client, CLIENT_READ, room);
    } else if (what < 98) {
        act(client, CLIENT_DELETE, room);
    } else if (what < 99) {
        act(client, CLIENT_SEND, ROOM_NOPE);
    } else {
        act(client, CLIENT_CREATE, 0);
    }
}

void workload_work(struct sim_client *client)
{
    struct world *world = client->world;
    if (!client->running || world->workload.stopped)
        return;
    uint32_t epoch = client->epoch;
    uint64_t times = client->burst > 1 ? random_below(&world->random, client->burst) + 1 : 1;
    for (; times && client->epoch == epoch && !client->paused; times--) {
        struct client_view view = client_view(client->client);
        if (!client_has_room(client->client) || view.queued >= 100 || view.queries >= 12)
            break;
        if (world->oracle.ops_count + 1 >= ORACLE_OPS ||
            (choices.ops && world->oracle.ops_count >= choices.ops))
            break;
        do_something(client);
    }
    if (client->epoch == epoch)
        world_plan(world, HAPPEN_CLIENT_WORK,
                   world->now + 1 +
                       random_below(&world->random, 2 * client->pace_us * client->burst),
                   client->number, 0, client->epoch);
}

/* --- the operator ------------------------------------------------------------------------------*/

/* Asks until it is done: dials, says what it wants, and after a while begins anew. */
void ctl_wake(struct world *world)
{
    struct workload *workload = &world->workload;
    if (workload->formed && !workload->transfer_due && !workload->member_due)
        return;
    network_close(world, workload->ctl_link, 0);
    struct end end = { .kind = END_CTL, .host = SIM_HOST_CTL };
    workload->ctl_link = network_dial(world, end, workload->ctl_slot, CONNECTION_CTL, SIM_S);
    if (!workload->formed)
        world_plan(world, HAPPEN_CTL, world->now + CTL_AGAIN_US, 0, 0, 0);
}

void ctl_transfer(struct world *world, uint8_t slot)
{
    struct workload *workload = &world->workload;
    if (!workload->formed)
        return;
    workload->transfer_due = true;
    workload->transfer_slot = slot;
    ctl_wake(world);
}

void ctl_up(struct world *world, struct handle link)
{
    struct workload *workload = &world->workload;
    if (link.link != workload->ctl_link.link || link.epoch != workload->ctl_link.epoch)
        return;
    uint8_t message[128];
    struct writer writer = writer_of(message, sizeof message);
    if (workload->member_due) {
        workload->member_due = false;
        writer.at += wire_encode_member(&workload->member, message, sizeof message);
    } else if (workload->transfer_due) {
        workload->transfer_due = false;
        write_u8(&writer, WIRE_TRANSFER);
        write_u8(&writer, workload->transfer_slot);
    } else if (workload->formed) { /* what was wanted went over another link */
        network_close(world, link, 0);
        return;
    } else {
        write_u8(&writer, WIRE_FORM);
        write_copy(&writer, workload->cluster, IDENTITY_BYTES);
        write_copy(&writer, workload->secret, 32);
        write_u8(&writer, workload->slots);
        write_u64(&writer, world->segment_bytes);
    }
    CHECK(!writer.full);
    struct slice part = { message, writer_used(&writer) };
    network_send(world, link, 0, &part, 1);
}

void ctl_message(struct world *world, struct handle link, struct slice message)
{
    struct workload *workload = &world->workload;
    if (link.link != workload->ctl_link.link || link.epoch != workload->ctl_link.epoch)
        return;
    if (message.len < 2 || message.data[0] != WIRE_DONE)
        sim_fail(world, "ctl: an answer that is none");
    SAY(world, "ctl: done, code %u", message.data[1]);
    world->report->branches[BRANCH_MEMBER_REFUSED] += message.data[1] == CODE_FORBIDDEN;
    if (!workload->formed && message.data[1] == CODE_OK) {
        workload->formed = true;
        workload->formed_at = world->now;
    }
    network_close(world, link, 0);
    workload->ctl_link = (struct handle) { 0 };
}

void ctl_closed(struct world *world, struct handle link)
{
    struct workload *workload = &world->workload;
    if (link.link == workload->ctl_link.link && link.epoch == workload->ctl_link.epoch)
        workload->ctl_link = (struct handle) { 0 };
}
