/* What goes wrong. Swarm style: each seed draws which kinds of fault it has, and how often each. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "tests/sim/choices.h"
#include "tests/sim/sim.h"

enum { STOP_LIMIT_US = 10000000 };

/* Each fault draws from a generator of its own, so that leaving one out does not change the others. */
static uint64_t below(struct world *world, uint64_t bound)
{
    return random_below(&world->faults.random, bound);
}

static uint64_t between(struct world *world, uint64_t least, uint64_t most)
{
    return random_between(&world->faults.random, least, most);
}

/* The schedule is a function of the seed alone: the n-th fault of a kind comes at the same moment and
 * draws the same numbers, whatever else happened or was left out. */
static void plan_next(struct world *world, enum report_fault kind)
{
    struct faults *faults = &world->faults;
    uint64_t mean = faults->mean_us[kind];
    random_seed(&faults->random,
                sim_mix(world->seed, (uint64_t)kind << 32 | faults->happened[kind]++));
    if (mean)
        world_plan(world, HAPPEN_FAULT, world->now + 1 + below(world, 2 * mean), 0, kind, 0);
}

void faults_start(struct world *world)
{
    struct faults *faults = &world->faults;
    memset(faults, 0, sizeof *faults);
    random_seed(&faults->random, sim_mix(world->seed, UINT64_MAX));
    uint64_t share = 1 + below(world, 8); /* of the kinds, in tenths */
    uint64_t pace_ms = between(world, 1000, 15000);
    for (unsigned kind = 0; kind < FAULT_KINDS; kind++) {
        if (below(world, 10) >= share)
            continue;
        faults->mean_us[kind] = between(world, pace_ms / 2, pace_ms * 4) * SIM_MS;
    }
    if (below(world, 3))
        faults->mean_us[FAULT_POWER_ALL] *= 4;
    if (below(world, 4) == 0)
        faults->mean_us[FAULT_LONG_ABSENCE] = 30 * SIM_S;
    if (below(world, 4) == 0)
        faults->mean_us[FAULT_MEMBER] = between(world, 1500, 6000) * SIM_MS;
    if (below(world, 2))
        faults->mean_us[FAULT_WIPE] = 0;
    if (world->nodes_count < 3)
        faults->mean_us[FAULT_WIPE] = faults->mean_us[FAULT_REPLACE] = 0;
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

struct sim_node *faults_leader(struct world *world)
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

bool faults_is_member(const struct sim_node *node)
{
    const struct raft_config *newest = NULL;
    for (uint8_t slot = 1; slot <= node->world->nodes_count; slot++) {
        const struct sim_node *other = &node->world->nodes[slot];
        const struct raft_config *config =
            sim_node_up(other) ? raft_latest_config(node_raft(other->node)) : NULL;
        if (config && (!newest || config->index > newest->index))
            newest = config;
    }
    return !newest || raft_member_is(raft_config_find(newest, node->slot), node->identity);
}

static struct sim_client *any_client(struct world *world)
{
    struct sim_client *client = &world->clients[below(world, world->clients_count)];
    return client->running && !client->paused ? client : NULL;
}

void faults_restart_later(struct world *world, uint8_t slot)
{
    struct sim_node *node = &world->nodes[slot];
    uint64_t wait = below(world, 3) ? between(world, 20 * SIM_MS, 800 * SIM_MS)
                                    : between(world, SIM_S, 8 * SIM_S);
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

static bool is_network(enum report_fault kind)
{
    return kind >= FAULT_ISOLATE && kind <= FAULT_SLOW_NETWORK;
}

/* --- faults that end ---------------------------------------------------------------------------*/

void faults_open(struct world *world, enum report_fault kind, uint8_t a, uint8_t b, uint64_t value,
                 uint64_t least_us, uint64_t most_us)
{
    for (uint32_t i = 0; i < FAULTS_OPEN; i++) {
        struct open_fault *open = &world->faults.open[i];
        if (open->used)
            continue;
        uint32_t epoch = open->epoch + 1;
        *open = (struct open_fault) { true, epoch, kind, a, b, value };
        world_plan(world, HAPPEN_FAULT_END, world->now + between(world, least_us, most_us), 0, i,
                   epoch);
        return;
    }
    CHECK(false && "too many open faults");
}

void faults_end(struct world *world, const struct happening *happening)
{
    struct open_fault *open = &world->faults.open[happening->id];
    if (!open->used || open->epoch != happening->epoch || world->faults.over)
        return;
    open->used = false;
    SAY(world, "ends: %s", report_fault_text(open->kind));
    if (is_network(open->kind)) {
        const struct open_fault ended = *open;
        faults_network_ends(world, &ended);
        return;
    }
    struct sim_node *node = &world->nodes[open->a];
    switch (open->kind) {
    case FAULT_TWIN:
        members_twin_end(world);
        break;
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
        faults_open(world, kind, node->slot, 0, node->epoch, STOP_LIMIT_US, STOP_LIMIT_US);
        return true;
    }
    case FAULT_PAUSE:
        if (node->stopping)
            return false;
        SAY(world, "node %u: is paused", node->slot);
        sim_node_pause(node, true);
        faults_open(world, kind, node->slot, 0, node->epoch, 20 * SIM_MS,
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
        faults_open(world, kind, node->slot, 0, 0, 200 * SIM_MS, 6 * SIM_S);
        return true;
    case FAULT_FULL_DISK:
        SAY(world, "node %u: its disk is full", node->slot);
        sim_disk_capacity(node->disk, sim_disk_used(node->disk) + 1 + below(world, 64 << 10));
        faults_open(world, kind, node->slot, 0, 0, SIM_S, 25 * SIM_S);
        return true;
    case FAULT_FAILED_SYNC:
        if (below(world, 3))
            node->fail_flush = true;
        else
            node->fail_job = true;
        return true;
    default:
        CHECK(false && "not a node's fault");
    }
}

static bool wipe(struct world *world, struct sim_node *node)
{
    rot_healed(world);
    if (!world->workload.formed || !sim_node_up(node) || !members_can_spare(node) ||
        !rot_may_wipe(world, node->slot))
        return false;
    rot_wiped(world, node->slot);
    sim_node_wipe(node);
    faults_restart_later(world, node->slot);
    return true;
}

/* Long enough for the others' logs to go on without it by many segments. */
static bool long_absence(struct world *world, struct sim_node *node)
{
    if (!node || world->nodes_count < 3 || !world->workload.formed)
        return false;
    sim_node_die(node, DEATH_KILL);
    world_plan(world, HAPPEN_BOOT,
               world->now + random_between(&world->random, 15 * SIM_S, 50 * SIM_S), node->slot, 0,
               node->epoch);
    return true;
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
        faults_open(world, kind, client->number, 0, client->epoch, 20 * SIM_MS, 6 * SIM_S);
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
    if (is_network(kind))
        return faults_on_network(world, kind);
    switch (kind) {
    case FAULT_KILL:
        return kill(world, any_node(world), DEATH_KILL);
    case FAULT_KILL_LEADER:
        return kill(world, faults_leader(world), DEATH_KILL);
    case FAULT_POWER:
        return kill(world, any_node(world), DEATH_POWER);
    case FAULT_POWER_ALL:
        return power_all(world);
    case FAULT_WIPE:
        return wipe(world, any_node(world));
    case FAULT_MEMBER:
        return members_fault(world);
    case FAULT_REPLACE:
        return members_replace_dead(world);
    case FAULT_TWIN:
        return members_twin(world);
    case FAULT_LONG_ABSENCE:
        return long_absence(world, any_up(world));
    case FAULT_ROT:
    case FAULT_UNREADABLE:
    case FAULT_MISDIRECTED:
        return rot_strike(world, kind);
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
    struct faults *faults = &world->faults;
    if (faults->over)
        return;
    plan_next(world, kind);
    uint32_t number = faults->number++;
    if (!choices_fault(number))
        return;
    SAY(world, "fault %u: %s", number, report_fault_text(kind));
    if (strike(world, kind)) {
        world->report->faults[kind]++;
        faults->counted++;
    }
}

void faults_stop(struct world *world)
{
    struct faults *faults = &world->faults;
    SAY(world, "faults are over after %u", faults->counted);
    faults->over = true;
    network_heal(world);
    for (uint8_t slot = 1; slot <= world->nodes_count; slot++) {
        struct sim_node *node = &world->nodes[slot];
        sim_disk_capacity(node->disk, 0);
        node->slow_disk = 1;
        node->fail_flush = node->fail_job = false;
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
