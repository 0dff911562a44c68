/* What goes wrong in the network: partitions of every shape, links that are slow, lose packets, flap
 * or are reset. Each ends by itself after a while. */
#include <inttypes.h>

#include "core/check.h"
#include "tests/sim/sim.h"

static uint64_t below(struct world *world, uint64_t bound)
{
    return random_below(&world->faults.random, bound);
}

static void reset_some(struct world *world, enum node_connection_role role)
{
    uint32_t from = (uint32_t)below(world, SIM_LINKS);
    for (uint32_t i = 0; i < SIM_LINKS; i++) {
        uint32_t number = (from + i) % SIM_LINKS;
        struct link *link = &world->network.links[number];
        if (link->stage == STAGE_UP && link->role == role) {
            network_reset(world, (struct handle) { number + 1, link->epoch });
            return;
        }
    }
}

/* Blocks between the hosts in `group` (bit per host) and all other nodes but `bridge`; `way` 1: from
 * the group, 2: to it, 3: both. */
static void block_group(struct world *world, uint64_t group, uint8_t bridge, unsigned way,
                        bool block)
{
    for (uint8_t a = 1; a < SIM_HOSTS; a++)
        for (uint8_t b = 1; b <= SIM_NODES; b++) {
            if (!(group >> a & 1) || (group >> b & 1) || a == bridge || b == bridge)
                continue;
            if (way & 1)
                network_block(world, a, b, block);
            if (way & 2)
                network_block(world, b, a, block);
        }
}

static void partition(struct world *world, enum report_fault kind, uint64_t group, uint8_t bridge,
                      unsigned way)
{
    SAY(world, "network: %s, hosts %" PRIx64 ", way %u, bridge %u", report_fault_text(kind), group,
        way, bridge);
    block_group(world, group, bridge, way, true);
    faults_open(world, kind, (uint8_t)way, bridge, group, 100 * SIM_MS, 8 * SIM_S);
}

/* Nodes in a circle, each `stride` slots from the next: each is cut off from those that are more than
 * `reach` places away, so that each still sees a majority, but no two the same one. */
static void block_ring(struct world *world, uint8_t stride, uint64_t reach, bool block)
{
    unsigned count = world->nodes_count;
    for (unsigned i = 0; i < count; i++)
        for (unsigned distance = 1; distance < count; distance++) {
            unsigned short_way = distance < count - distance ? distance : count - distance;
            unsigned from = 1 + i * stride % count;
            unsigned to = 1 + (i + distance) * stride % count;
            if (short_way > reach)
                network_block(world, (uint8_t)from, (uint8_t)to, block);
        }
}

static bool ring(struct world *world)
{
    unsigned count = world->nodes_count;
    if (count < 4)
        return false;
    unsigned reach = (count + 2) / 4;
    uint8_t stride = count % 2 ? (uint8_t)(1 + below(world, 2)) : 1;
    SAY(world, "network: a ring of stride %u, each sees %u to each side", stride, reach);
    block_ring(world, stride, reach, true);
    faults_open(world, FAULT_RING, stride, 0, reach, 200 * SIM_MS, 8 * SIM_S);
    return true;
}

static void pair_block(struct world *world, uint8_t a, uint8_t b, bool block)
{
    network_block(world, a, b, block);
    network_block(world, b, a, block);
}

static void pair(struct world *world, enum report_fault kind, uint8_t a, uint8_t b)
{
    SAY(world, "network: hosts %u and %u are cut off from each other", a, b);
    pair_block(world, a, b, true);
    faults_open(world, kind, a, b, 0, 100 * SIM_MS, 8 * SIM_S);
}

static void slow_link(struct world *world, uint8_t a, uint8_t b, uint32_t factor)
{
    SAY(world, "network: between hosts %u and %u slow by %u", a, b, factor);
    world->network.slow_link[a][b] = world->network.slow_link[b][a] = factor;
}

bool faults_on_network(struct world *world, enum report_fault kind)
{
    struct sim_node *node = faults_leader(world);
    uint64_t nodes = ((UINT64_C(1) << world->nodes_count) - 1) << 1;
    uint64_t clients = ((UINT64_C(1) << SIM_CLIENTS) - 1) << SIM_HOST_CLIENTS;
    uint8_t a = (uint8_t)(1 + below(world, world->nodes_count));
    uint8_t b = (uint8_t)(1 + below(world, world->nodes_count));
    switch (kind) {
    case FAULT_ISOLATE:
        if (node && below(world, 2))
            a = node->slot;
        partition(world, kind, UINT64_C(1) << a, 0, 3);
        return true;
    case FAULT_ONE_WAY:
        if (node && below(world, 2))
            a = node->slot;
        partition(world, kind, UINT64_C(1) << a, 0, 1 + (unsigned)below(world, 2));
        return true;
    case FAULT_SPLIT:
        partition(world, kind,
                  random_u64(&world->faults.random) & (below(world, 2) ? nodes : nodes | clients),
                  0, 3);
        return true;
    case FAULT_BRIDGE:
        if (world->nodes_count < 3)
            return false;
        partition(world, kind, random_u64(&world->faults.random) & nodes, a, 3);
        return true;
    case FAULT_RING:
        return ring(world);
    case FAULT_FLAP:
        if (a == b)
            return false;
        SAY(world, "network: hosts %u and %u see each other now and then", a, b);
        pair_block(world, a, b, true);
        faults_open(world, kind, a, b, 1 + 2 * below(world, 20), 5 * SIM_MS, 400 * SIM_MS);
        return true;
    case FAULT_SLOW_LINK:
        if (a == b)
            return false;
        slow_link(world, a, b, 3 + (uint32_t)below(world, 300));
        faults_open(world, kind, a, b, 0, 200 * SIM_MS, 6 * SIM_S);
        return true;
    case FAULT_LOSS:
        world->network.loss_permille = 1 + (uint32_t)below(world, 200);
        SAY(world, "network: loses %u of 1000 packets", world->network.loss_permille);
        faults_open(world, kind, 0, 0, 0, 200 * SIM_MS, 5 * SIM_S);
        return true;
    case FAULT_LEADER_PAIR:
        if (!node)
            return false;
        a = node->slot; /* falls through */
    case FAULT_PAIR:
        if (a == b)
            return false;
        pair(world, kind, a, b);
        return true;
    case FAULT_CLIENT_CUT:
        pair(world, kind, a, (uint8_t)(SIM_HOST_CLIENTS + below(world, world->clients_count)));
        return true;
    case FAULT_RESET_PEER:
        reset_some(world, CONNECTION_NODE);
        return true;
    case FAULT_RESET_CLIENT:
        reset_some(world, CONNECTION_CLIENT);
        return true;
    case FAULT_SLOW_NETWORK:
        world->network.slow = 3 + (uint32_t)below(world, 200);
        SAY(world, "network: slow by %u", world->network.slow);
        faults_open(world, kind, 0, 0, 0, 200 * SIM_MS, 5 * SIM_S);
        return true;
    default:
        CHECK(false && "not the network's fault");
    }
}

/* A link that flaps: the other state for a while, until it has changed often enough. */
static void flap(struct world *world, const struct open_fault *open)
{
    pair_block(world, open->a, open->b, open->value % 2 == 0);
    if (open->value > 1)
        faults_open(world, FAULT_FLAP, open->a, open->b, open->value - 1, 5 * SIM_MS, 400 * SIM_MS);
}

void faults_network_ends(struct world *world, const struct open_fault *open)
{
    switch (open->kind) {
    case FAULT_ISOLATE:
    case FAULT_ONE_WAY:
    case FAULT_SPLIT:
    case FAULT_BRIDGE:
        block_group(world, open->value, open->b, open->a, false);
        break;
    case FAULT_RING:
        block_ring(world, open->a, open->value, false);
        break;
    case FAULT_PAIR:
    case FAULT_LEADER_PAIR:
    case FAULT_CLIENT_CUT:
        pair_block(world, open->a, open->b, false);
        break;
    case FAULT_FLAP:
        flap(world, open);
        break;
    case FAULT_SLOW_LINK:
        slow_link(world, open->a, open->b, 1);
        break;
    case FAULT_LOSS:
        world->network.loss_permille = 0;
        break;
    case FAULT_SLOW_NETWORK:
        world->network.slow = 1;
        break;
    default:
        CHECK(false && "not the network's fault");
    }
}
