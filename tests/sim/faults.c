/* What goes wrong. Swarm style: each seed draws which kinds of fault it has, and how often each. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "tests/sim/sim.h"

enum { STOP_LIMIT_US = 10000000 };

static uint64_t below(struct world *world, uint64_t bound)
{
    return random_below(&world->random, bound);
}

static void plan_next(struct world *world, enum report_fault kind)
{
    uint64_t mean = world->faults.mean_us[kind];
    if (mean)
        world_plan(world, HAPPEN_FAULT, world->now + 1 + below(world, 2 * mean), 0, kind, 0);
}

void faults_start(struct world *world)
{
    struct faults *faults = &world->faults;
    memset(faults, 0, sizeof *faults);
    uint64_t share = 1 + below(world, 8); /* of the kinds, in tenths */
    uint64_t pace_ms = random_between(&world->random, 1000, 15000);
    for (unsigned kind = 0; kind < FAULT_KINDS; kind++) {
        if (below(world, 10) >= share)
            continue;
        faults->mean_us[kind] = random_between(&world->random, pace_ms / 2, pace_ms * 4) * SIM_MS;
    }
    if (below(world, 3))
        faults->mean_us[FAULT_POWER_ALL] *= 4;
    if (below(world, 2))
        faults->mean_us[FAULT_WIPE] = 0;
    if (world->nodes_count < 3)
        faults->mean_us[FAULT_WIPE] = 0;
    /* No seed without any. */
    faults->mean_us[below(world, 2) ? FAULT_KILL_LEADER : FAULT_ISOLATE] = pace_ms * SIM_MS;
    for (unsigned kind = 0; kind < FAULT_KINDS; kind++)
        plan_next(world, (enum report_fault)kind);
}

/* --- whom it hits ------------------------------------------------------------------------------*/

static struct sim_node *any_node(struct world *world)
{
    return &world->nodes[1 + below(world, world->nodes_count)];
}

static struct sim_node *any_up(struct world *world)
{
    struct sim_node *node = any_node(world);
    return sim_node_up(node) && !node->paused ? node : NULL;
}

static struct sim_node *leader(struct world *world)
{
    struct sim_node *best = NULL;
    uint64_t term = 0;
    for (uint8_t slot = 1; slot <= world->nodes_count; slot++) {
        struct sim_node *node = &world->nodes[slot];
        if (!sim_node_up(node) || node->paused)
            continue;
        struct raft_view view = raft_view(node_raft(node->node));
        if (view.role == RAFT_LEADER && view.term >= term) {
            best = node;
            term = view.term;
        }
    }
    return best;
}

static struct sim_client *any_client(struct world *world)
{
    struct sim_client *client = &world->clients[below(world, world->clients_count)];
    return client->running && !client->paused ? client : NULL;
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

void faults_restart_later(struct world *world, uint8_t slot)
{
    struct sim_node *node = &world->nodes[slot];
    uint64_t wait = below(world, 3) ? random_between(&world->random, 20 * SIM_MS, 800 * SIM_MS)
                                    : random_between(&world->random, SIM_S, 8 * SIM_S);
    if (world->faults.over)
        wait = 100 * SIM_MS;
    world_plan(world, HAPPEN_BOOT, world->now + wait, slot, 0, node->epoch);
}

static bool kill(struct world *world, struct sim_node *node, enum death death)
{
    if (!node || !sim_node_up(node))
        return false;
    sim_node_die(node, death);
    faults_restart_later(world, node->slot);
    return true;
}

/* --- faults that end ---------------------------------------------------------------------------*/

static void open_fault(struct world *world, enum report_fault kind, uint8_t a, uint8_t b,
                       uint64_t value, uint64_t least_us, uint64_t most_us)
{
    for (uint32_t i = 0; i < FAULTS_OPEN; i++) {
        struct open_fault *open = &world->faults.open[i];
        if (open->used)
            continue;
        uint32_t epoch = open->epoch + 1;
        *open = (struct open_fault) { true, epoch, kind, a, b, value };
        world_plan(world, HAPPEN_FAULT_END,
                   world->now + random_between(&world->random, least_us, most_us), 0, i, epoch);
        return;
    }
    CHECK(false && "too many open faults");
}

/* Blocks between the hosts in `group` (bit per host) and all other nodes; `way` 1: from the group,
 * 2: to it, 3: both. */
static void block_group(struct world *world, uint64_t group, unsigned way, bool block)
{
    for (uint8_t a = 1; a < SIM_HOSTS; a++)
        for (uint8_t b = 1; b <= SIM_NODES; b++) {
            if (!(group >> a & 1) || (group >> b & 1))
                continue;
            if (way & 1)
                network_block(world, a, b, block);
            if (way & 2)
                network_block(world, b, a, block);
        }
}

static void partition(struct world *world, enum report_fault kind, uint64_t group, unsigned way)
{
    SAY(world, "network: %s, hosts %" PRIx64 ", way %u", report_fault_text(kind), group, way);
    block_group(world, group, way, true);
    open_fault(world, kind, (uint8_t)way, 0, group, 100 * SIM_MS, 8 * SIM_S);
}

static void pair(struct world *world, enum report_fault kind, uint8_t a, uint8_t b)
{
    SAY(world, "network: hosts %u and %u are cut off from each other", a, b);
    network_block(world, a, b, true);
    network_block(world, b, a, true);
    open_fault(world, kind, a, b, 0, 100 * SIM_MS, 8 * SIM_S);
}

void faults_end(struct world *world, const struct happening *happening)
{
    struct open_fault *open = &world->faults.open[happening->id];
    if (!open->used || open->epoch != happening->epoch || world->faults.over)
        return;
    open->used = false;
    struct sim_node *node = &world->nodes[open->a];
    SAY(world, "ends: %s", report_fault_text(open->kind));
    switch (open->kind) {
    case FAULT_PAUSE:
        if (node->epoch == open->value)
            sim_node_pause(node, false);
        break;
    case FAULT_CLIENT_PAUSE:
        if (world->clients[open->a].epoch == open->value)
            sim_client_pause(&world->clients[open->a], false);
        break;
    case FAULT_STOP:
        if (node->epoch == open->value)
            sim_fail(world, "node %u: does not stop after SIGTERM", node->slot);
        break;
    case FAULT_ISOLATE:
    case FAULT_ONE_WAY:
    case FAULT_SPLIT:
        block_group(world, open->value, open->a, false);
        break;
    case FAULT_PAIR:
    case FAULT_LEADER_PAIR:
    case FAULT_CLIENT_CUT:
        network_block(world, open->a, open->b, false);
        network_block(world, open->b, open->a, false);
        break;
    case FAULT_SLOW_NETWORK:
        world->network.slow = 1;
        break;
    case FAULT_SLOW_DISK:
        node->slow_disk = 1;
        break;
    case FAULT_FULL_DISK:
        sim_disk_capacity(node->disk, 0);
        break;
    default:
        break;
    }
}

/* --- one fault ---------------------------------------------------------------------------------*/

static bool on_node(struct world *world, enum report_fault kind, struct sim_node *node)
{
    if (!node)
        return false;
    switch (kind) {
    case FAULT_KILL_MID_EFFECTS: /* counted when it dies */
        node->crash_in = 1 + (uint32_t)below(world, 60);
        return false;
    case FAULT_KILL_IN_FLUSH:
    case FAULT_POWER_IN_FLUSH:
        node->die_in_flush = true;
        node->death = kind == FAULT_KILL_IN_FLUSH ? DEATH_KILL : DEATH_POWER;
        return true;
    case FAULT_STOP: {
        if (node->stopping)
            return false;
        node->stopping = true;
        SAY(world, "node %u: SIGTERM", node->slot);
        sim_node_put(node, sim_item(ITEM_STOP, 0));
        open_fault(world, kind, node->slot, 0, node->epoch, STOP_LIMIT_US, STOP_LIMIT_US);
        return true;
    }
    case FAULT_PAUSE:
        if (node->stopping)
            return false;
        SAY(world, "node %u: is paused", node->slot);
        sim_node_pause(node, true);
        open_fault(world, kind, node->slot, 0, node->epoch, 20 * SIM_MS,
                   below(world, 2) ? 400 * SIM_MS : 5 * SIM_S);
        return true;
    case FAULT_CLOCK_JUMP: {
        uint64_t jump = below(world, below(world, 2) ? SIM_S : 40000000 * SIM_S);
        node->wall_offset_us += below(world, 2) ? jump : (uint64_t)0 - jump;
        return true;
    }
    case FAULT_CLOCK_DRIFT: {
        uint64_t wall = sim_node_wall(node);
        node->drift_ppm = (int64_t)below(world, 100000) - 50000;
        node->drift_since_us = world->now;
        node->wall_offset_us += wall - sim_node_wall(node);
        return true;
    }
    case FAULT_SLOW_DISK:
        node->slow_disk = 5 + (uint32_t)below(world, 300);
        SAY(world, "node %u: its disk is slow by %u", node->slot, node->slow_disk);
        open_fault(world, kind, node->slot, 0, 0, 200 * SIM_MS, 6 * SIM_S);
        return true;
    case FAULT_FULL_DISK:
        SAY(world, "node %u: its disk is full", node->slot);
        sim_disk_capacity(node->disk, sim_disk_used(node->disk) + 1 + below(world, 64 << 10));
        open_fault(world, kind, node->slot, 0, 0, SIM_S, 8 * SIM_S);
        return true;
    case FAULT_FAILED_SYNC:
        node->fail_flush = true;
        return true;
    default:
        CHECK(false && "not a node's fault");
    }
}

static bool wipe(struct world *world, struct sim_node *node)
{
    struct faults *faults = &world->faults;
    if (faults->wiped || !world->workload.formed || !sim_node_up(node))
        return false;
    faults->wiped = true;
    sim_node_wipe(node);
    faults_restart_later(world, node->slot);
    return true;
}

static bool on_network(struct world *world, enum report_fault kind)
{
    struct sim_node *node = leader(world);
    uint64_t nodes = ((UINT64_C(1) << world->nodes_count) - 1) << 1;
    uint64_t clients = ((UINT64_C(1) << SIM_CLIENTS) - 1) << SIM_HOST_CLIENTS;
    uint8_t a = (uint8_t)(1 + below(world, world->nodes_count));
    uint8_t b = (uint8_t)(1 + below(world, world->nodes_count));
    switch (kind) {
    case FAULT_ISOLATE:
        if (node && below(world, 2))
            a = node->slot;
        partition(world, kind, UINT64_C(1) << a, 3);
        return true;
    case FAULT_ONE_WAY:
        if (node && below(world, 2))
            a = node->slot;
        partition(world, kind, UINT64_C(1) << a, 1 + (unsigned)below(world, 2));
        return true;
    case FAULT_SPLIT:
        partition(world, kind,
                  random_u64(&world->random) & (below(world, 2) ? nodes : nodes | clients), 3);
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
        open_fault(world, kind, 0, 0, 0, 200 * SIM_MS, 5 * SIM_S);
        return true;
    default:
        CHECK(false && "not the network's fault");
    }
}

static bool on_client(struct world *world, enum report_fault kind, struct sim_client *client)
{
    if (!client)
        return false;
    if (kind == FAULT_CLIENT_OLD_COPY)
        return sim_client_old_copy(client);
    if (kind == FAULT_CLIENT_KILL) {
        sim_client_die(client);
    } else if (kind == FAULT_CLIENT_MID_EFFECTS) {
        client->crash_in = 1 + (uint32_t)below(world, 20);
        return false;
    } else {
        SAY(world, "client %u: is paused", client->number);
        sim_client_pause(client, true);
        open_fault(world, kind, client->number, 0, client->epoch, 20 * SIM_MS, 6 * SIM_S);
    }
    return true;
}

static bool power_all(struct world *world)
{
    for (uint8_t slot = 1; slot <= world->nodes_count; slot++)
        (void)kill(world, &world->nodes[slot], DEATH_POWER);
    return true;
}

static bool strike(struct world *world, enum report_fault kind)
{
    if (kind >= FAULT_ISOLATE && kind <= FAULT_SLOW_NETWORK)
        return on_network(world, kind);
    switch (kind) {
    case FAULT_KILL:
        return kill(world, any_node(world), DEATH_KILL);
    case FAULT_KILL_LEADER:
        return kill(world, leader(world), DEATH_KILL);
    case FAULT_POWER:
        return kill(world, any_node(world), DEATH_POWER);
    case FAULT_POWER_ALL:
        return power_all(world);
    case FAULT_WIPE:
        return wipe(world, any_node(world));
    case FAULT_TRANSFER:
        world->workload.ctl_slot =
            world->workload.formed ? any_node(world)->slot : world->workload.ctl_slot;
        ctl_transfer(world, (uint8_t)below(world, world->nodes_count + 1));
        return true;
    case FAULT_CLIENT_KILL:
    case FAULT_CLIENT_MID_EFFECTS:
    case FAULT_CLIENT_PAUSE:
    case FAULT_CLIENT_OLD_COPY:
        return on_client(world, kind, any_client(world));
    default:
        return on_node(world, kind, any_up(world));
    }
}

void faults_happen(struct world *world, const struct happening *happening)
{
    enum report_fault kind = (enum report_fault)happening->id;
    if (world->faults.over)
        return;
    if (strike(world, kind)) {
        world->report->faults[kind]++;
        world->faults.counted++;
    }
    plan_next(world, kind);
}

void faults_stop(struct world *world)
{
    struct faults *faults = &world->faults;
    SAY(world, "faults are over after %u", faults->counted);
    faults->over = true;
    network_unblock_all(world);
    world->network.slow = 1;
    for (uint8_t slot = 1; slot <= world->nodes_count; slot++) {
        struct sim_node *node = &world->nodes[slot];
        sim_disk_capacity(node->disk, 0);
        node->slow_disk = 1;
        node->fail_flush = false;
        node->crash_in = 0;
        node->die_in_flush = false;
        if (node->paused)
            sim_node_pause(node, false);
        if (node->state == PROCESS_DOWN)
            faults_restart_later(world, slot);
    }
    for (uint8_t i = 0; i < world->clients_count; i++) {
        world->clients[i].crash_in = 0;
        if (world->clients[i].paused)
            sim_client_pause(&world->clients[i], false);
    }
}
