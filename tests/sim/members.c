/* Who belongs to the cluster, while it works: nodes are removed and added, dead ones are replaced, and some clusters
 * grow and shrink between some of the nodes and all. The operator is as careful as the manual asks: no folder is wiped
 * that a majority of the voters still needs. */
#include <inttypes.h>
#include <string.h>

#include "core/check.h"
#include "core/raft/state.h"
#include "tests/sim/sim.h"

enum { TWINS_TOLD_US = 5000000, COURSE_US = 700000, COURSE_STAYS_US = 12000000 };

static uint64_t below(struct world *world, uint64_t bound)
{
    return random_below(&world->faults.random, bound);
}

static bool has(uint8_t slots, uint8_t slot)
{
    return slots >> (slot - 1) & 1;
}

bool members_wants(const struct world *world, uint8_t slot)
{
    return has(world->members.last, slot);
}

void members_start(struct world *world)
{
    struct members *members = &world->members;
    struct random *random = &world->random;
    uint8_t all = (uint8_t)((1u << world->nodes_count) - 1);
    *members = (struct members) { .first = all, .last = all };
    if (world->nodes_count < 4 || random_below(random, 3))
        return;
    uint8_t some = 0;
    while (__builtin_popcount(some) < 3)
        some |= (uint8_t)(1u << random_below(random, world->nodes_count));
    members->some = some;
    if (random_below(random, 2))
        members->first = some;
    if (random_below(random, 2))
        members->last = some;
    members->target = members->first == some ? all : some;
    world_plan(world, HAPPEN_COURSE, random_between(random, 5 * SIM_S, 15 * SIM_S), 0, 0, 0);
}

/* --- what the cluster counts on ----------------------------------------------------------------*/

static void count_change(struct sim_node *leader, const struct raft_config *before,
                         const struct raft_config *after)
{
    uint64_t *branches = leader->world->report->branches;
    branches[BRANCH_LEADER_REMOVED] +=
        !raft_member_is(raft_config_find(after, leader->slot), leader->identity);
    for (unsigned i = 0; i < after->count; i++) {
        const struct raft_member *now = &after->members[i];
        const struct raft_member *then = raft_config_find(before, now->slot);
        bool again = then && !memcmp(then->identity, now->identity, IDENTITY_BYTES);
        if (now->vacant || !then || (again && !then->vacant))
            continue;
        branches[again          ? BRANCH_SEAT_RETURNED
                 : then->vacant ? BRANCH_SEAT_TAKEN
                                : BRANCH_SEAT_INHERITED]++;
    }
}

/* What a leader has in its log counts until something later is committed. */
void members_turn(struct sim_node *node)
{
    struct members *members = &node->world->members;
    const struct raft *raft = node_raft(node->node);
    bool pending = raft_config_pending(raft);
    if (raft->role != RAFT_LEADER ||
        (raft->config.index == node->seen_config && pending == node->seen_pending))
        return;
    node->seen_config = raft->config.index;
    node->seen_pending = pending;
    unsigned kept = 0;
    for (unsigned i = 0; i < members->count; i++)
        if (pending || members->known[i].index > raft->config.index)
            members->known[kept++] = members->known[i];
    CHECK(kept < MEMBERS_KNOWN);
    members->known[kept++] = raft->config;
    members->count = kept;
    if (pending)
        count_change(node, &raft->previous, &raft->config);
}

/* May the folder of `victim` be lost for ever? Not when a majority that counts would be lost with it. One that is rotten
 * in what it votes by may have to wait for the others. */
bool members_can_spare(const struct sim_node *victim)
{
    const struct world *world = victim->world;
    const struct members *members = &world->members;
    for (unsigned i = 0; i < members->count; i++) {
        const struct raft_config *config = &members->known[i];
        unsigned whole = 0;
        unsigned voters = raft_config_voters(config);
        for (unsigned m = 0; m < config->count; m++) {
            const struct sim_node *node = &world->nodes[config->members[m].slot];
            bool same = raft_member_is(&config->members[m], node->identity);
            /* Its folder before this one is still counted on, and what was in it can be told only once. */
            if (node == victim && !config->members[m].vacant && !same)
                return false;
            whole += config->members[m].voter && same && node != victim && !node->doubtful;
            /* A learner may be promoted before its leader knows. */
            voters += node == victim && !config->members[m].voter && !config->members[m].vacant;
        }
        if (whole * 2 <= voters)
            return false;
    }
    return members->count > 0;
}

bool members_hold(const struct world *world, uint32_t but)
{
    const struct members *members = &world->members;
    bool hold = members->count > 0;
    for (unsigned i = 0; i < members->count && hold; i++) {
        const struct raft_config *config = &members->known[i];
        unsigned whole = 0;
        for (unsigned m = 0; m < config->count; m++) {
            const struct raft_member *member = &config->members[m];
            whole += member->voter && !(but >> member->slot & 1) &&
                     raft_member_is(member, world->nodes[member->slot].identity);
        }
        hold = whole * 2 > raft_config_voters(config);
    }
    return hold;
}

/* The operator who gives up a seat knows which folders are lost; whoever leads may not yet. */
bool members_regrets(const struct sim_node *leader, struct slice message)
{
    struct world *world = leader->world;
    const struct raft_config *config = raft_latest_config(node_raft(leader->node));
    struct wire_member wanted;
    unsigned voters = 0;
    unsigned whole = 0;
    uint32_t stay = 0;
    if (!message.len || message.data[0] != WIRE_MEMBER || !wire_decode_member(&wanted, message) ||
        wanted.op == WIRE_MEMBER_ADD)
        return false;
    rot_healed(world);
    for (unsigned i = 0; i < config->count; i++) {
        const struct raft_member *member = &config->members[i];
        bool same = raft_member_is(member, world->nodes[member->slot].identity);
        if (member->vacant || member->slot == wanted.slot || (!member->voter && same))
            continue; /* a learner that is lost may still be promoted */
        voters++;
        whole += same && !world->nodes[member->slot].doubtful;
        stay |= 1u << member->slot;
    }
    return voters && (whole * 2 <= voters || !rot_leaves(world, stay));
}

/* --- the operator ------------------------------------------------------------------------------*/

static void ask(struct world *world, enum wire_member_op op, uint8_t slot)
{
    struct workload *workload = &world->workload;
    const struct sim_node *leader = faults_leader(world);
    if (!workload->formed || workload->transfer_due)
        return;
    if (leader)
        workload->ctl_slot = leader->slot;
    workload->member_due = true;
    workload->member = (struct wire_member) { .op = (uint8_t)op, .slot = slot };
    SAY(world, "ctl: asks node %u for change %d of node %u", workload->ctl_slot, (int)op, slot);
    ctl_wake(world);
}

bool members_fault(struct world *world)
{
    struct sim_node *node = &world->nodes[1 + below(world, world->nodes_count)];
    const struct sim_node *leading = faults_leader(world);
    if (!world->workload.formed || !leading || world->nodes_count < 3)
        return false;
    const struct raft_config *config = raft_latest_config(node_raft(leading->node));
    const struct raft_member *seat = raft_config_find(config, node->slot);
    if (!seat || seat->vacant) {
        ask(world, WIRE_MEMBER_ADD, node->slot);
    } else if (below(world, 3) && node != leading) {
        if (sim_node_up(node)) {
            sim_node_die(node, DEATH_KILL);
            faults_restart_later(world, node->slot);
        }
        ask(world, WIRE_MEMBER_REPLACE, node->slot);
    } else {
        ask(world, WIRE_MEMBER_REMOVE, node->slot);
    }
    return true;
}

/* Its host is gone for ever. Its seat is given up, and a blank node comes in its place; or that comes before. */
bool members_replace_dead(struct world *world)
{
    struct sim_node *node = &world->nodes[1 + below(world, world->nodes_count)];
    rot_healed(world);
    if (!world->workload.formed || world->nodes_count < 3 || !members_can_spare(node) ||
        !rot_may_wipe(world, node->slot))
        return false;
    rot_wiped(world, node->slot);
    sim_node_wipe(node);
    ask(world, WIRE_MEMBER_REPLACE, node->slot);
    faults_restart_later(world, node->slot);
    return true;
}

bool members_twin(struct world *world)
{
    struct sim_node *node = &world->nodes[1 + below(world, world->nodes_count)];
    struct sim_node *twin = &world->nodes[SIM_TWIN];
    if (!world->workload.formed || (twin->disk && twin->state != PROCESS_WIPED) ||
        !sim_node_up(node) || raft_config_voters(raft_latest_config(node_raft(node->node))) < 3 ||
        !faults_is_member(node))
        return false;
    sim_node_die(node, DEATH_KILL);
    faults_restart_later(world, node->slot);
    sim_node_copy(twin, node);
    SAY(world, "a copy of node %u's folder is started beside it", node->slot);
    faults_open(world, FAULT_TWIN, node->slot, 0, 0, SIM_S, 15 * SIM_S);
    return true;
}

void members_twin_end(struct world *world)
{
    struct sim_node *twin = &world->nodes[SIM_TWIN];
    if (!twin->disk || twin->state == PROCESS_WIPED)
        return;
    sim_node_die(twin, DEATH_KILL);
    twin->state = PROCESS_WIPED;
    SAY(world, "the copy of node %u's folder is wiped", twin->slot);
}

void members_twin_told(struct world *world)
{
    struct sim_node *twin = &world->nodes[SIM_TWIN];
    struct sim_node *node = &world->nodes[twin->slot];
    if (!twin->disk || twin->state == PROCESS_WIPED)
        return;
    world_run_until(world, world->now + TWINS_TOLD_US);
    uint32_t boots = twin->boots + node->boots;
    bool both = sim_node_up(twin) && sim_node_up(node);
    world_run_until(world, world->now + TWINS_TOLD_US);
    if (both && sim_node_up(twin) && sim_node_up(node) && boots == twin->boots + node->boots &&
        faults_is_member(node) && !memcmp(twin->identity, node->identity, IDENTITY_BYTES)) {
        if (!twin->knows_twin || !node->knows_twin)
            sim_fail(world,
                     "node %u: two processes run under its identity, and %s does not know it",
                     node->slot, node->knows_twin ? "the copy" : "it");
        world->report->branches[BRANCH_TWINS_TOLD]++;
    }
    members_twin_end(world);
}

void members_free(struct world *world)
{
    if (world->nodes[SIM_TWIN].disk)
        sim_node_free(&world->nodes[SIM_TWIN]);
}

/* One change towards these members, if they are not. Who is wanted comes first: the last voter is not
 * removed before another votes. */
static bool towards(struct world *world, uint8_t slots)
{
    const struct sim_node *leader = faults_leader(world);
    if (!world->workload.formed || !leader)
        return false;
    const struct raft_config *config = raft_latest_config(node_raft(leader->node));
    for (uint8_t slot = 1; slot <= world->nodes_count; slot++) {
        const struct raft_member *seat = raft_config_find(config, slot);
        bool sits = seat && !seat->vacant;
        if (!has(slots, slot) || (sits && seat->voter))
            continue;
        if (!sits)
            ask(world, WIRE_MEMBER_ADD, slot);
        return false;
    }
    for (uint8_t slot = 1; slot <= world->nodes_count; slot++) {
        if (has(slots, slot) || !raft_config_find(config, slot))
            continue;
        ask(world, WIRE_MEMBER_REMOVE, slot);
        return false;
    }
    return !raft_config_pending(node_raft(leader->node));
}

void members_course(struct world *world)
{
    struct members *members = &world->members;
    if (world->faults.over)
        return;
    world_plan(world, HAPPEN_COURSE, world->now + COURSE_US, 0, 0, 0);
    if (members->stays_until > world->now || !towards(world, members->target))
        return;
    bool grown = members->target != members->some;
    world->report->branches[grown ? BRANCH_GROWN : BRANCH_SHRUNK]++;
    SAY(world, "the cluster has %s", grown ? "grown" : "shrunk");
    members->target = (uint8_t)(grown ? members->some : (1u << world->nodes_count) - 1);
    members->stays_until = world->now + random_below(&world->random, COURSE_STAYS_US);
}

void members_calm(struct world *world)
{
    world->workload.transfer_due = false;
    for (uint8_t slot = 1; slot <= world->nodes_count; slot++) {
        struct sim_node *node = &world->nodes[slot];
        if (!sim_node_up(node) || node->feature_max >= world->level)
            continue;
        /* Its links are older than the level, so it has not heard of it; ctl says why it is not added. */
        sim_node_die(node, DEATH_KILL);
        faults_restart_later(world, slot);
    }
    (void)towards(world, world->members.last);
}

/* Who is not to be a member at the end knows that it is none. */
const char *members_outside(const struct sim_node *node)
{
    const struct sim_node *leader = faults_leader(node->world);
    if (!leader)
        return "there is no leader";
    if (raft_config_find(raft_latest_config(node_raft(leader->node)), node->slot))
        return "a node is not removed";
    if (!raft_view(node_raft(node->node)).blank && !node->knows_removed)
        return "a removed node does not know that it is none";
    return NULL;
}
