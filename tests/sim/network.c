/* Links between processes, as TCP gives them: each direction a stream that keeps its order, may be
 * late, may stand still while a partition lasts and then goes on, and ends by an end that is read
 * after what was sent, or by a reset that overtakes it. What dies without power tells nobody.
 *
 * A packet that is lost is sent again after a time-out, and all behind it waits; one that comes twice
 * or early is TCP's to sort out. (Raft's messages lost, twice and in any order: raft_schedule_test.) */
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "tests/sim/sim.h"

enum { DIAL_AGAIN_US = 1000000, RETRANSMIT_US = 300000, RESET_LATE_US = 1500000, LOST_US = 200000 };

static uint64_t latency(struct world *world, uint8_t from, uint8_t to)
{
    const struct network *network = &world->network;
    uint64_t spread = random_below(&world->random, network->latency_spread_us + 1);
    if (random_below(&world->random, 50) == 0)
        spread *= 8;
    uint64_t lost_us = 0;
    while (network->loss_permille && lost_us < 8 * LOST_US &&
           random_below(&world->random, 1000) < network->loss_permille)
        lost_us += lost_us ? lost_us : LOST_US;
    return (network->latency_us + spread) * network->slow * network->slow_link[from][to] + lost_us;
}

struct link *network_link(struct world *world, struct handle handle)
{
    if (handle.link == 0)
        return NULL;
    struct link *link = &world->network.links[handle.link - 1];
    return link->epoch == handle.epoch && link->stage != STAGE_FREE ? link : NULL;
}

static struct handle handle_of(const struct world *world, const struct link *link)
{
    return (struct handle) { (uint32_t)(link - world->network.links) + 1, link->epoch };
}

static void way_clear(struct way *way)
{
    while (way->first) {
        struct packet *packet = way->first;
        way->first = packet->next;
        free(packet);
    }
    *way = (struct way) { 0 };
}

static void link_free(struct link *link)
{
    way_clear(&link->ways[0]);
    way_clear(&link->ways[1]);
    link->stage = STAGE_FREE;
    link->epoch++;
}

void network_free(struct network *network)
{
    for (unsigned i = 0; i < SIM_LINKS; i++)
        link_free(&network->links[i]);
}

/* --- packets -----------------------------------------------------------------------------------*/

static void plan_arrival(struct world *world, struct link *link, unsigned side, uint64_t at)
{
    struct way *way = &link->ways[side];
    CHECK(!way->waiting);
    way->waiting = true;
    struct handle handle = handle_of(world, link);
    world_plan(world, HAPPEN_ARRIVE, at, (uint8_t)side, handle.link, handle.epoch);
}

static struct packet *push(struct world *world, struct link *link, unsigned side,
                           enum packet_kind kind, size_t len, uint64_t extra_us)
{
    struct way *way = &link->ways[side];
    struct packet *packet = sim_must(malloc(sizeof *packet + len));
    packet->next = NULL;
    packet->kind = kind;
    packet->len = (uint32_t)len;
    packet->at =
        world->now + extra_us + latency(world, link->ends[side].host, link->ends[1 - side].host);
    if (way->first && way->last->at > packet->at)
        packet->at = way->last->at;
    if (way->first)
        way->last->next = packet;
    else
        way->first = packet;
    way->last = packet;
    way->unread += len;
    if (!way->waiting && !way->held)
        plan_arrival(world, link, side, way->first->at);
    return packet;
}

void network_send(struct world *world, struct handle handle, unsigned side,
                  const struct slice *parts, unsigned parts_count)
{
    struct link *link = network_link(world, handle);
    if (!link || link->ends[side].gone)
        return;
    size_t len = 0;
    for (unsigned i = 0; i < parts_count; i++)
        len += parts[i].len;
    struct packet *packet = push(world, link, side, PACKET_DATA, len, 0);
    size_t at = 0;
    for (unsigned i = 0; i < parts_count; i++) {
        if (parts[i].len)
            memcpy(packet->data + at, parts[i].data, parts[i].len);
        at += parts[i].len;
    }
}

/* --- telling a process -------------------------------------------------------------------------*/

static void tell_node(struct world *world, const struct link *link, unsigned side,
                      enum item_kind kind, const uint8_t *data, size_t len, enum raft_link_end end)
{
    struct sim_node *node = &world->nodes[link->ends[side].who];
    struct item *item = sim_item(kind, len);
    item->link = handle_of(world, link);
    item->id = link->ends[side].number;
    item->end = end;
    if (len)
        memcpy(item->data, data, len);
    sim_node_put(node, item);
}

static enum client_end client_end_of(enum packet_kind kind)
{
    switch (kind) {
    case PACKET_END:
        return CLIENT_END_LOST;
    case PACKET_REFUSED:
        return CLIENT_END_REFUSED;
    default:
        return CLIENT_END_RESET;
    }
}

static void tell_end(struct world *world, struct link *link, unsigned side, enum packet_kind kind,
                     bool timed_out)
{
    struct end *end = &link->ends[side];
    struct handle handle = handle_of(world, link);
    enum raft_link_end how = timed_out                ? LINK_TIMED_OUT
                             : kind == PACKET_END     ? LINK_CLOSED
                             : kind == PACKET_REFUSED ? LINK_REFUSED
                                                      : LINK_RESET;
    end->gone = true;
    if (end->kind == END_NODE)
        tell_node(world, link, side, side == 0 ? ITEM_PEER_DOWN : ITEM_CLOSED, NULL, 0, how);
    else if (end->kind == END_CLIENT)
        sim_client_closed(&world->clients[end->who], handle,
                          timed_out ? CLIENT_END_TIMEOUT : client_end_of(kind));
    else
        ctl_closed(world, handle);
}

static void tell_message(struct world *world, struct link *link, unsigned side,
                         const struct packet *packet)
{
    const struct end *end = &link->ends[side];
    if (end->kind == END_NODE) {
        tell_node(world, link, side, side == 0 ? ITEM_PEER_MESSAGE : ITEM_MESSAGE, packet->data,
                  packet->len, LINK_CLOSED);
        return;
    }
    struct handle handle = handle_of(world, link);
    struct slice message = { packet->data, packet->len };
    if (end->kind == END_CLIENT)
        sim_client_message(&world->clients[end->who], handle, message);
    else
        ctl_message(world, handle, message);
}

static void tell_up(struct world *world, struct link *link)
{
    const struct end *end = &link->ends[0];
    link->stage = STAGE_UP;
    if (end->kind == END_NODE)
        tell_node(world, link, 0, ITEM_PEER_UP, NULL, 0, LINK_CLOSED);
    else if (end->kind == END_CLIENT)
        sim_client_connected(&world->clients[end->who], handle_of(world, link));
    else
        ctl_up(world, handle_of(world, link));
}

/* One packet has come to the host of `side`. */
static void deliver(struct world *world, struct link *link, unsigned side,
                    const struct packet *packet)
{
    struct end *end = &link->ends[side];
    struct handle handle = handle_of(world, link);
    bool power = end->kind != END_NODE || world->nodes[end->who].power;
    if (packet->kind >= PACKET_END) {
        if (!end->gone)
            tell_end(world, link, side, packet->kind, false);
        link = network_link(world, handle);
        if (link)
            link_free(link);
        return;
    }
    if (end->gone) {
        if (power && !link->ends[1 - side].gone)
            (void)push(world, link, side, PACKET_RESET, 0, 0);
        return;
    }
    if (packet->kind == PACKET_UP)
        tell_up(world, link);
    else
        tell_message(world, link, side, packet);
}

void network_arrive(struct world *world, const struct happening *happening)
{
    struct handle handle = { happening->id, happening->epoch };
    unsigned side = happening->who;
    struct link *link = network_link(world, handle);
    if (!link)
        return;
    struct way *way = &link->ways[side];
    way->waiting = false;
    if (world->network.blocked[link->ends[side].host][link->ends[1 - side].host]) {
        way->held = true;
        return;
    }
    while (way->first && way->first->at <= world->now) {
        struct packet *packet = way->first;
        way->first = packet->next;
        deliver(world, link, 1 - side, packet);
        free(packet);
        link = network_link(world, handle);
        if (!link)
            return;
    }
    if (way->first && !way->waiting && !way->held)
        plan_arrival(world, link, side, way->first->at);
}

void network_taken(struct world *world, struct handle handle, unsigned side, uint64_t len)
{
    struct link *link = network_link(world, handle);
    if (!link)
        return;
    struct way *way = &link->ways[1 - side];
    way->unread -= len < way->unread ? len : way->unread; /* a reset forgets what was unread */
    const struct end *sender = &link->ends[1 - side];
    if (sender->kind == END_NODE && side == 0 && !sender->gone)
        sim_node_want_turn(&world->nodes[sender->who], world->now + SIM_MS);
}

/* --- beginnings --------------------------------------------------------------------------------*/

struct handle network_dial(struct world *world, struct end from, uint8_t slot,
                           enum node_connection_role role, uint64_t timeout_us)
{
    struct network *network = &world->network;
    struct link *link = NULL;
    for (unsigned i = 0; i < SIM_LINKS && !link; i++) {
        struct link *at = &network->links[network->next++ % SIM_LINKS];
        if (at->stage == STAGE_FREE)
            link = at;
    }
    CHECK(link != NULL);
    link->stage = STAGE_DIALLING;
    link->role = role;
    link->ends[0] = from;
    link->ends[1] =
        (struct end) { .kind = END_NODE, .who = slot, .number = SIM_NO_CONNECTION, .host = slot };
    for (unsigned i = 0; i < HASH_BYTES; i += 8)
        bytes_put_u64(link->hash + i, random_u64(&world->random));
    struct handle handle = handle_of(world, link);
    uint64_t at = world->now + latency(world, from.host, slot);
    world_plan(world, HAPPEN_DIAL, at, 0, handle.link, handle.epoch);
    world_plan(world, HAPPEN_DIAL_LATE, world->now + timeout_us, 0, handle.link, handle.epoch);
    return handle;
}

void network_dial_arrives(struct world *world, const struct happening *happening)
{
    struct handle handle = { happening->id, happening->epoch };
    struct link *link = network_link(world, handle);
    if (!link || link->stage != STAGE_DIALLING)
        return;
    if (link->ends[0].gone) {
        link_free(link);
        return;
    }
    uint8_t from = link->ends[0].host;
    uint8_t to = link->ends[1].host;
    struct sim_node *node = &world->nodes[link->ends[1].who];
    if (world->network.blocked[from][to] || world->network.blocked[to][from] || !node->power) {
        world_plan(world, HAPPEN_DIAL, world->now + DIAL_AGAIN_US, 0, handle.link, handle.epoch);
        return;
    }
    if (!sim_node_up(node)) {
        link->ends[1].gone = true;
        (void)push(world, link, 1, PACKET_REFUSED, 0, 0);
        return;
    }
    link->stage = STAGE_ACCEPTED;
    tell_node(world, link, 1, ITEM_OPEN, NULL, 0, LINK_CLOSED);
}

void network_accept(struct world *world, struct handle handle, uint32_t number)
{
    struct link *link = network_link(world, handle);
    CHECK(link && link->stage == STAGE_ACCEPTED);
    link->ends[1].number = number;
    (void)push(world, link, 1, PACKET_UP, 0, 0);
}

void network_dial_late(struct world *world, const struct happening *happening)
{
    struct handle handle = { happening->id, happening->epoch };
    struct link *link = network_link(world, handle);
    if (!link || link->stage == STAGE_UP || link->ends[0].gone)
        return;
    tell_end(world, link, 0, PACKET_END, true);
    if (link->stage == STAGE_DIALLING || link->ends[1].gone)
        link_free(link);
    else
        (void)push(world, link, 0, PACKET_END, 0, 0);
}

/* --- ends --------------------------------------------------------------------------------------*/

void network_close(struct world *world, struct handle handle, unsigned side)
{
    struct link *link = network_link(world, handle);
    if (!link || link->ends[side].gone)
        return;
    link->ends[side].gone = true;
    if (link->ends[1 - side].gone || link->stage == STAGE_DIALLING)
        link_free(link);
    else
        (void)push(world, link, side, PACKET_END, 0, 0);
}

void network_reset(struct world *world, struct handle handle)
{
    struct link *link = network_link(world, handle);
    if (!link || link->stage != STAGE_UP)
        return;
    for (unsigned side = 0; side < 2; side++)
        if (!link->ends[side].gone)
            tell_end(world, link, side, PACKET_RESET, false);
    link = network_link(world, handle);
    if (link)
        link_free(link);
}

static void end_of_process(struct world *world, struct link *link, unsigned side, bool silent)
{
    struct way *way = &link->ways[side];
    link->ends[side].gone = true;
    if (link->ends[1 - side].gone || link->stage == STAGE_DIALLING) {
        if (side == 1 && !link->ends[0].gone && link->stage == STAGE_DIALLING) {
            link->ends[1].gone = false; /* the first packet is still on its way */
            return;
        }
        link_free(link);
        return;
    }
    bool reset = random_below(&world->random, 2);
    if (silent || reset) {
        /* A reset overtakes what was sent; without power nothing more leaves the host. */
        bool waiting = way->waiting;
        bool held = way->held;
        way_clear(way);
        way->waiting = waiting;
        way->held = held;
    }
    if (!silent)
        (void)push(world, link, side, reset ? PACKET_RESET : PACKET_END, 0, 0);
}

void network_process_gone(struct world *world, enum end_kind kind, uint8_t who, bool silent)
{
    for (unsigned i = 0; i < SIM_LINKS; i++) {
        struct link *link = &world->network.links[i];
        for (unsigned side = 0; side < 2 && link->stage != STAGE_FREE; side++) {
            const struct end *end = &link->ends[side];
            if (end->kind == kind && end->who == who && !end->gone)
                end_of_process(world, link, side, silent);
        }
    }
}

void network_host_back(struct world *world, uint8_t host)
{
    for (unsigned i = 0; i < SIM_LINKS; i++) {
        struct link *link = &world->network.links[i];
        for (unsigned side = 0; side < 2 && link->stage != STAGE_FREE; side++) {
            const struct end *end = &link->ends[side];
            if (end->host == host && end->gone && !link->ends[1 - side].gone &&
                !link->ways[side].first)
                (void)push(world, link, side, PACKET_RESET, 0,
                           random_below(&world->random, RESET_LATE_US));
        }
    }
}

/* --- partitions --------------------------------------------------------------------------------*/

static void release(struct world *world, uint8_t from, uint8_t to)
{
    for (unsigned i = 0; i < SIM_LINKS; i++) {
        struct link *link = &world->network.links[i];
        for (unsigned side = 0; side < 2 && link->stage != STAGE_FREE; side++) {
            struct way *way = &link->ways[side];
            if (!way->held || link->ends[side].host != from || link->ends[1 - side].host != to)
                continue;
            way->held = false;
            if (way->first)
                plan_arrival(world, link, side,
                             world->now + random_below(&world->random, RETRANSMIT_US));
        }
    }
}

void network_block(struct world *world, uint8_t from, uint8_t to, bool block)
{
    uint8_t *count = &world->network.blocked[from][to];
    if (block) {
        CHECK(*count < UINT8_MAX);
        ++*count;
        return;
    }
    if (*count > 0 && --*count == 0)
        release(world, from, to);
}

void network_start(struct network *network)
{
    network->slow = 1;
    network->loss_permille = 0;
    for (unsigned from = 0; from < SIM_HOSTS; from++)
        for (unsigned to = 0; to < SIM_HOSTS; to++)
            network->slow_link[from][to] = 1;
}

void network_heal(struct world *world)
{
    network_start(&world->network);
    for (uint8_t from = 0; from < SIM_HOSTS; from++)
        for (uint8_t to = 0; to < SIM_HOSTS; to++)
            if (world->network.blocked[from][to]) {
                world->network.blocked[from][to] = 0;
                release(world, from, to);
            }
}
