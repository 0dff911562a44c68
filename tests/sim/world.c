/* Time, what comes next, and one seed from its first moment to its verdict. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "core/raft/state.h"
#include "tests/sim/choices.h"
#include "tests/sim/sim.h"

enum { CALM_LIMIT_US = 120000000, CALM_AFTER_US = 3000000, LOOK_US = 200000 };
enum { THIN_OPERATIONS = 500, THIN_FAULTS = 10, THIN_MORE_US = 180000000 };

void *sim_must(void *memory)
{
    if (!memory) {
        fprintf(stderr, "sim: out of memory\n");
        exit(2);
    }
    return memory;
}

void world_note(struct world *world, uint64_t value)
{
    world->effects_hash = sim_mix(world->effects_hash ^ world->now, value);
}

/* --- what comes next ---------------------------------------------------------------------------*/

static bool sooner(const struct happening *a, const struct happening *b)
{
    return a->at < b->at || (a->at == b->at && a->order < b->order);
}

void world_plan(struct world *world, enum happening_kind kind, uint64_t at, uint8_t who,
                uint32_t id, uint32_t epoch)
{
    struct heap *heap = &world->heap;
    CHECK(at >= world->now);
    if (heap->count == heap->capacity) {
        heap->capacity = heap->capacity ? heap->capacity * 2 : 1024;
        heap->list = sim_must(realloc(heap->list, heap->capacity * sizeof *heap->list));
    }
    struct happening happening = { .at = at,
                                   .order = heap->order++,
                                   .epoch = epoch,
                                   .id = id,
                                   .kind = (uint8_t)kind,
                                   .who = who };
    size_t place = heap->count++;
    while (place && sooner(&happening, &heap->list[(place - 1) / 2])) {
        heap->list[place] = heap->list[(place - 1) / 2];
        place = (place - 1) / 2;
    }
    heap->list[place] = happening;
}

static struct happening pop(struct heap *heap)
{
    CHECK(heap->count > 0);
    struct happening first = heap->list[0];
    struct happening last = heap->list[--heap->count];
    size_t place = 0;
    for (;;) {
        size_t child = place * 2 + 1;
        if (child >= heap->count)
            break;
        if (child + 1 < heap->count && sooner(&heap->list[child + 1], &heap->list[child]))
            child++;
        if (!sooner(&heap->list[child], &last))
            break;
        heap->list[place] = heap->list[child];
        place = child;
    }
    heap->list[place] = last;
    return first;
}

static void find_soonest(struct turns *turns)
{
    for (uint8_t place = 0; place < SIM_NODES + 2; place++)
        if (sooner(&turns->of[place], &turns->of[turns->soonest]))
            turns->soonest = place;
}

static void turns_start(struct turns *turns)
{
    for (uint8_t place = 0; place < SIM_NODES + 2; place++)
        turns->of[place].at = SIM_NEVER;
}

void world_plan_turn(struct world *world, uint64_t at, uint8_t place, uint32_t epoch)
{
    CHECK(at >= world->now);
    struct turns *turns = &world->turns;
    turns->of[place] = (struct happening) {
        .at = at, .order = world->heap.order++, .epoch = epoch, .kind = HAPPEN_TURN, .who = place
    };
    if (place == turns->soonest)
        find_soonest(turns);
    else if (sooner(&turns->of[place], &turns->of[turns->soonest]))
        turns->soonest = place;
}

/* The next thing to happen until then; false: none. */
static bool next(struct world *world, uint64_t until, struct happening *happening)
{
    struct heap *heap = &world->heap;
    struct happening *turn = &world->turns.of[world->turns.soonest];
    if (!heap->count || sooner(turn, &heap->list[0])) {
        if (turn->at > until)
            return false;
        *happening = *turn;
        turn->at = SIM_NEVER;
        find_soonest(&world->turns);
        return true;
    }
    if (heap->list[0].at > until)
        return false;
    *happening = pop(heap);
    return true;
}

/* --- what happens ------------------------------------------------------------------------------*/

static void to_node(struct world *world, const struct happening *happening)
{
    struct sim_node *node = &world->nodes[happening->who];
    if (node->epoch != happening->epoch)
        return;
    switch (happening->kind) {
    case HAPPEN_TURN:
        sim_node_turn(node);
        break;
    case HAPPEN_FLUSH:
        sim_node_flush_done(node);
        break;
    case HAPPEN_HOLD:
        held_done_on_disk(node);
        break;
    case HAPPEN_DISK:
        sim_node_job_done(node);
        break;
    case HAPPEN_DEATH:
        if (world->faults.over)
            break;
        sim_node_die(node, (enum death)happening->id);
        faults_restart_later(world, node->place);
        break;
    default:
        if (!node->power) {
            node->power = true;
            network_host_back(world, node->slot);
        }
        sim_node_boot(node);
        break;
    }
}

static void to_client(struct world *world, const struct happening *happening)
{
    struct sim_client *client = &world->clients[happening->who];
    if (client->epoch != happening->epoch)
        return;
    switch (happening->kind) {
    case HAPPEN_CLIENT_BOOT:
        sim_client_boot(client);
        break;
    case HAPPEN_CLIENT_TICK:
        if (client->tick_planned == happening->at)
            sim_client_tick(client);
        break;
    case HAPPEN_CLIENT_WORK:
        workload_work(client);
        break;
    case HAPPEN_CLIENT_SAVE:
        if (client->paused) /* it goes on when the process does */
            world_plan(world, HAPPEN_CLIENT_SAVE, world->now + 50 * SIM_MS, client->number, 0,
                       client->epoch);
        else
            sim_client_save(client);
        break;
    default:
        sim_client_derived(client);
        break;
    }
}

static void happen(struct world *world, const struct happening *happening)
{
    switch ((enum happening_kind)happening->kind) {
    case HAPPEN_TURN:
    case HAPPEN_FLUSH:
    case HAPPEN_HOLD:
    case HAPPEN_DISK:
    case HAPPEN_BOOT:
    case HAPPEN_DEATH:
        to_node(world, happening);
        break;
    case HAPPEN_CLIENT_BOOT:
    case HAPPEN_CLIENT_TICK:
    case HAPPEN_CLIENT_WORK:
    case HAPPEN_CLIENT_SAVE:
    case HAPPEN_CLIENT_DERIVED:
        to_client(world, happening);
        break;
    case HAPPEN_ARRIVE:
        network_arrive(world, happening);
        break;
    case HAPPEN_DIAL:
        network_dial_arrives(world, happening);
        break;
    case HAPPEN_DIAL_LATE:
        network_dial_late(world, happening);
        break;
    case HAPPEN_CTL:
        ctl_wake(world);
        break;
    case HAPPEN_COURSE:
        members_course(world);
        break;
    case HAPPEN_FAULT:
        faults_happen(world, happening);
        break;
    case HAPPEN_FAULT_END:
        faults_end(world, happening);
        break;
    }
}

void world_run_until(struct world *world, uint64_t until)
{
    struct happening happening;
    while (next(world, until, &happening)) {
        world->now = happening.at;
        happen(world, &happening);
    }
    world->now = until;
}

/* --- a seed ------------------------------------------------------------------------------------*/

static void draw(struct world *world)
{
    struct random *random = &world->random;
    /* Even sizes are no use, but must be safe, too. */
    static const uint8_t sizes[] = { 1, 1, 2, 4, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 5, 5, 5, 5, 5, 7 };
    world->nodes_count = sizes[random_below(random, sizeof sizes)];
    world->clients_count = (unsigned)random_between(random, 2, SIM_CLIENTS);
    world->recent_bytes = (size_t)4 * LIMIT_COMMAND_BYTES;
    world->upgrades = random_below(random, 3) == 0;
    world->catch_up = random_below(random, 4) ? 100000 : (uint32_t)random_between(random, 1, 60);
    /* Small ones fill up often, and then somebody is several of them behind. */
    world->segment_bytes =
        random_below(random, 2) ? SIM_SEGMENT_BYTES : random_between(random, 6 << 10, 24 << 10);
    if (random_below(random, 2)) /* what the log of most seeds exceeds */
        world->retain_bytes = random_between(random, 1, 5) * world->segment_bytes;
    if (random_below(random, 6) == 0)
        world->retain_us = random_between(random, 5, 40) * SIM_S;
    world->load_us = random_between(random, 60, 70) * SIM_S;
    world->scrub_us = random_between(random, 3, 12) * SIM_S;
    if (choices.clients && choices.clients < world->clients_count)
        world->clients_count = choices.clients;
    if (choices.load_s)
        world->load_us = choices.load_s * SIM_S;
    members_start(world);
    network_start(&world->network);
    world->network.latency_us = random_between(random, 30, 3000);
    world->network.latency_spread_us = random_between(random, 10, 3000);
}

/* NULL: everything is as it should be when nothing is wrong any more. */
static const char *what_is_missing(const struct world *world)
{
    unsigned leaders = 0;
    uint64_t applied = 0;
    if (!world->workload.formed)
        return "the cluster is not formed";
    for (uint8_t slot = 1; slot <= world->nodes_count; slot++) {
        const struct sim_node *node = &world->nodes[slot];
        if (!sim_node_up(node))
            return "a node is down";
        struct raft_view view = raft_view(node_raft(node->node));
        if (!members_wants(world, slot)) {
            const char *why = members_outside(node);
            if (why)
                return why;
            continue;
        }
        leaders += view.role == RAFT_LEADER;
        if (view.commit != view.last_index || node_applied(node->node) != view.commit ||
            view.durable != view.last_index)
            return "a node has not applied all of its log";
        if (applied && applied != view.commit)
            return "a node is behind";
        if (view.lost)
            return "a node has lost a part of its log";
        if (rot_open(node))
            return "a node knows of damage";
        if (!rot_proved(node))
            return "a node has not proved all that it has";
        applied = view.commit;
        const struct raft_config *config = raft_latest_config(node_raft(node->node));
        if (raft_config_voters(config) != (unsigned)__builtin_popcount(world->members.last))
            return "a node does not vote";
        if (node_held(node->node) || node->held_files)
            return "a node still holds something";
    }
    if (leaders != 1)
        return "there is not one leader";
    if (!oracle_settled(world))
        return "a command has no final answer";
    for (uint8_t i = 0; i < world->clients_count; i++) {
        const struct sim_client *client = &world->clients[i];
        if (!client->running || !client_view(client->client).online)
            return "a client is offline";
        if (client_view(client->client).queued || client_view(client->client).queries)
            return "a client waits for an answer";
    }
    return NULL;
}

static void describe(struct world *world)
{
    for (uint8_t slot = 1; slot <= world->nodes_count; slot++) {
        const struct sim_node *node = &world->nodes[slot];
        if (!sim_node_up(node)) {
            fprintf(stderr, "  node %u is down\n", slot);
            continue;
        }
        struct raft_view view = raft_view(node_raft(node->node));
        fprintf(stderr,
                "  node %u: role %d, term %" PRIu64 ", leader %u, commit %" PRIu64 ", last %" PRIu64
                ", durable %" PRIu64 ", applied %" PRIu64 ", voters %u%s%s\n",
                slot, (int)view.role, view.term, view.leader, view.commit, view.last_index,
                view.durable, node_applied(node->node),
                raft_config_voters(raft_latest_config(node_raft(node->node))),
                raft_has_quorum(node_raft(node->node)) ? "" : ", no quorum",
                view.disk_full ? ", disk full" : "");
        const struct raft *raft = node_raft(node->node);
        if (raft->lost_last || raft->aside || raft->frozen)
            fprintf(stderr, "    lost to %" PRIu64 " of term %" PRIu64 "%s%s\n", raft->lost_last,
                    raft->lost_term, raft->aside ? ", stands aside" : "",
                    raft->frozen ? ", frozen" : "");
        rot_describe(node);
        const struct raft_config *config = raft_latest_config(node_raft(node->node));
        for (unsigned m = 0; m < config->count; m++) {
            const struct raft_member *member = &config->members[m];
            struct raft_peer_view peer = raft_peer_view(node_raft(node->node), member->slot);
            fprintf(stderr, "    member %u, %s%s: match %" PRIu64 "%s\n", member->slot,
                    member->voter ? "voter" : "learner",
                    memcmp(member->identity, world->nodes[member->slot].identity, IDENTITY_BYTES)
                        ? " of another identity"
                        : "",
                    peer.match, peer.linked ? ", linked" : "");
        }
    }
    for (uint8_t i = 0; i < world->clients_count; i++) {
        const struct sim_client *client = &world->clients[i];
        if (!client->running)
            continue;
        struct client_view view = client_view(client->client);
        fprintf(stderr, "  client %u: %s, node %u, queued %" PRIu64 ", queries %u\n", i,
                view.online ? "online" : "offline", view.node, view.queued, view.queries);
    }
}

/* At rest is what stays so: a connection that died with the last fault may be found dead only now, and its client waits
 * some seconds by its back-off. */
static void calm(struct world *world)
{
    uint64_t limit = world->now + CALM_LIMIT_US;
    uint64_t rest_since = 0;
    const char *missing = "";
    faults_stop(world);
    members_twin_told(world);
    for (uint8_t slot = 1; slot <= world->nodes_count; slot++) {
        struct sim_node *node = &world->nodes[slot];
        node->calm_rounds = sim_node_up(node) ? node_rounds(node->node) : 0;
    }
    world->workload.stopped = true;
    while (world->now < limit) {
        world_run_until(world, world->now + LOOK_US);
        missing = what_is_missing(world);
        if (missing) {
            rest_since = 0;
            members_calm(world);
            continue;
        }
        if (!rest_since)
            rest_since = world->now;
        if (world->now - rest_since >= CALM_AFTER_US)
            break;
    }
    if (!missing && world->now - rest_since < CALM_AFTER_US)
        missing = "what is at rest does not stay so";
    if (missing) {
        describe(world);
        sim_fail(world, "it does not come to rest: %s", missing);
    }
}

/* Too little has happened to call it a seed. */
static bool is_thin(const struct world *world)
{
    return world->oracle.acknowledged < THIN_OPERATIONS || world->faults.counted < THIN_FAULTS;
}

uint64_t world_run(uint64_t seed, struct report *report)
{
    struct world *world = sim_must(calloc(1, sizeof *world));
    world->seed = seed;
    world->report = report;
    sim_running(world);
    random_seed(&world->random, seed);
    world->buffer = sim_must(malloc(LIMIT_ENTRY_BYTES));
    turns_start(&world->turns);
    draw(world);
    invariants_start(world);
    oracle_start(world);
    SAY(world, "seed %" PRIu64 ": %u nodes, %u clients", seed, world->nodes_count,
        world->clients_count);
    for (uint8_t slot = 1; slot <= world->nodes_count; slot++) {
        sim_node_create(world, slot);
        world_plan(world, HAPPEN_BOOT, random_below(&world->random, 300 * SIM_MS), slot, 0, 0);
    }
    workload_start(world);
    faults_start(world);
    world_run_until(world, world->load_us);
    while (!choices.load_s && is_thin(world) && world->now < world->load_us + THIN_MORE_US)
        world_run_until(world, world->now + SIM_S);
    calm(world);
    held_oracle_end(world);
    verdict(world);
    SAY(world, "clean: hash %016" PRIx64, world->effects_hash);
    report->seeds++;
    report->thin += is_thin(world);
    report->simulated_us += world->now;
    report->events += world->events;
    uint64_t hash = world->effects_hash;
    for (uint8_t slot = 1; slot <= world->nodes_count; slot++)
        sim_node_free(&world->nodes[slot]);
    members_free(world);
    for (uint8_t i = 0; i < world->clients_count; i++)
        sim_client_free(&world->clients[i]);
    network_free(&world->network);
    invariants_free(world);
    oracle_free(world);
    free(world->heap.list);
    free(world->buffer);
    free(world);
    sim_running(NULL);
    return hash;
}
