/* A server's process: it starts on its disk and dies in several ways. What it does while it lives:
 * sim_turn.c. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "core/check.h"
#include "tests/sim/sim.h"

enum { BOOT_AGAIN_US = 1000000, COPY_BYTES = 12 << 10 };

struct item *sim_item(enum item_kind kind, size_t len)
{
    struct item *item = sim_must(malloc(sizeof *item + len));
    memset(item, 0, sizeof *item);
    item->kind = kind;
    item->len = (uint32_t)len;
    return item;
}

bool sim_node_up(const struct sim_node *node)
{
    return node->state == PROCESS_UP;
}

uint64_t sim_node_wall(const struct sim_node *node)
{
    uint64_t since = node->world->now - node->drift_since_us;
    int64_t drift = (int64_t)since / 1000 * node->drift_ppm / 1000;
    return UINT64_C(1700000000) * SIM_S + node->world->now + node->wall_offset_us + (uint64_t)drift;
}

struct now sim_node_now(const struct sim_node *node)
{
    return (struct now) { .mono_us = node->world->now + node->mono_offset_us,
                          .wall_us = sim_node_wall(node) };
}

void sim_node_create(struct world *world, uint8_t slot)
{
    struct sim_node *node = &world->nodes[slot];
    *node = (struct sim_node) {
        .world = world, .slot = slot, .place = slot, .host = slot, .power = true, .slow_disk = 1
    };
    node->disk = sim_disk_new(sim_mix(world->seed, slot));
    node->inbox_end = &node->inbox;
    node->jobs_end = &node->jobs;
    node->mono_offset_us = (uint64_t)slot * 1000 * SIM_S;
    node->sync_us = random_between(&world->random, 60, 3000);
    node->wall_offset_us = random_below(&world->random, 200 * SIM_MS) - 100 * SIM_MS;
    node->durable = sim_must(calloc(SIM_INDEXES, sizeof *node->durable));
}

/* Another process on a copy of its folder, beside it, on a host that nobody dials. */
void sim_node_copy(struct sim_node *copy, const struct sim_node *node)
{
    struct world *world = node->world;
    uint32_t epoch = copy->epoch + 1;
    if (copy->disk)
        sim_node_free(copy);
    *copy = (struct sim_node) { .world = world,
                                .slot = node->slot,
                                .place = SIM_TWIN,
                                .host = SIM_HOST_TWIN,
                                .epoch = epoch,
                                .power = true,
                                .slow_disk = 1 };
    copy->disk = sim_disk_copy(node->disk);
    copy->inbox_end = &copy->inbox;
    copy->jobs_end = &copy->jobs;
    copy->mono_offset_us = SIM_TWIN * 1000 * SIM_S;
    copy->sync_us = node->sync_us;
    copy->feature_max = node->feature_max;
    copy->feature_most = node->feature_most;
    copy->durable = sim_must(calloc(SIM_INDEXES, sizeof *copy->durable));
    memcpy(copy->durable, node->durable, SIM_INDEXES * sizeof *copy->durable);
    copy->durable_last = node->durable_last;
    copy->durable_term = node->durable_term;
    memcpy(copy->durable_vote, node->durable_vote, IDENTITY_BYTES);
    memcpy(copy->durable_identity, node->durable_identity, IDENTITY_BYTES);
    copy->interrupted = node->interrupted;
    copy->interrupted_from = node->interrupted_from;
    copy->rotten = node->rotten;
    copy->doubtful = node->doubtful;
    world_plan(world, HAPPEN_BOOT, world->now + random_below(&world->random, 2 * SIM_S), SIM_TWIN,
               0, epoch);
}

static void inbox_clear(struct sim_node *node)
{
    while (node->inbox) {
        struct item *item = node->inbox;
        node->inbox = item->next;
        free(item);
    }
    node->inbox_end = &node->inbox;
}

static void forget_process(struct sim_node *node)
{
    inbox_clear(node);
    sim_node_jobs_free(node);
    if (node->store)
        store_close(node->store);
    if (node->memory)
        CHECK(munmap(node->memory, node->memory_bytes) == 0);
    node->store = NULL;
    node->node = NULL;
    node->memory = NULL;
    node->hold_out = false;
    node->flush_out = node->job_out = node->die_in_flush = node->halt_again = false;
    node->paused = node->stopping = node->halted = node->dying = false;
    node->crash_in = 0;
    node->knows_removed = node->knows_twin = false;
    node->prepare_error = FT_OK;
    node->handed_over = 0;
    memset(node->peers, 0, sizeof node->peers);
    memset(node->connections, 0, sizeof node->connections);
    node->undrained = 0;
    node->epoch++;
}

void sim_node_free(struct sim_node *node)
{
    forget_process(node);
    sim_disk_free(node->disk);
    free(node->durable);
    free(node->lost);
    held_forget_promises(node);
}

/* --- start -------------------------------------------------------------------------------------*/

static struct node_options options_of(const struct sim_node *node)
{
    struct world *world = node->world;
    struct node_options options = {
        .slot = node->slot,
        .peers = (uint8_t)((1u << world->nodes_count) - 1),
        .crypto = &crypto_sim,
        .seed = random_u64(&world->random),
        .heartbeat_us = 50000,
        .election_min_us = SIM_ELECTION_MIN_US,
        .election_max_us = 1500000,
        .cache_bytes = 1 << 20,
        .cache_entries = 4096,
        .chat = { .accounts = 16,
                  .devices = 128,
                  .rooms = 64,
                  .memberships = 512,
                  .invites = 4,
                  .answers = 128 * LIMIT_OUTSTANDING },
        .connections = SIM_CONNECTIONS,
        .queue_bytes = 256 << 10,
        .recent_bytes = world->recent_bytes,
        .segment_bytes = world->segment_bytes,
        .retain_bytes = world->retain_bytes,
        .retain_us = world->retain_us,
        .copy_bytes = COPY_BYTES,
        .copy_bytes_per_s = 2 << 20,
        .scrub_us = world->scrub_us,
        .message_bytes = 8192,
        .posts_per_s = 1000,
        .catch_up = world->catch_up,
        .registrations_per_min = 1000,
        .feature_max = node->feature_max,
        .registration_open = true,
        .version = { (const uint8_t *)"sim", 3 },
    };
    memcpy(options.identity, node->identity, IDENTITY_BYTES);
    return options;
}

void sim_node_step(struct sim_node *node, const struct node_event *event)
{
    if (node->halted || node->dying)
        return;
    struct effects out = { .emit = sim_node_emit, .ctx = node };
    node->world->events++;
    node_step(node->node, event, &out);
}

static void restore_entries(struct sim_node *node, const struct store_recovery *recovery)
{
    uint8_t *buffer = node->world->buffer;
    uint64_t index = recovery->checkpoint_index + 1;
    while (index <= recovery->last_index) {
        size_t len;
        enum ft_error error =
            store_read_entries(node->store, index, buffer, LIMIT_ENTRY_BYTES, &len);
        if (error || len == 0)
            sim_fail(node->world, "node %u: recovered entries at %" PRIu64 " cannot be read: %d",
                     node->slot, index, (int)error);
        struct slice entries = { buffer, len };
        invariants_recovered(node, entries);
        struct node_event event = { .kind = EVENT_RESTORE, .now = sim_node_now(node) };
        event.entries = entries;
        sim_node_step(node, &event);
        for (size_t at = 0; at < len; at += bytes_get_u32(buffer + at + 4))
            index = bytes_get_u64(buffer + at + 8) + bytes_get_u32(buffer + at + 16);
    }
}

/* The version of the next run: any that the cluster's level allows; who is no member may stay behind. */
static void choose_version(struct sim_node *node)
{
    struct world *world = node->world;
    uint16_t before = node->feature_max;
    if (!before || (world->upgrades && !world->faults.over && random_below(&world->random, 3) == 0))
        node->feature_max = (uint16_t)(1 + (world->upgrades ? random_below(&world->random, 3) : 0));
    if (node->feature_max < world->level &&
        (world->faults.over || random_below(&world->random, 2) || faults_is_member(node)))
        node->feature_max = world->level;
    /* Going back is refused by then: it must find that out by itself. */
    if (world->upgrades && world->level > 1 && !world->faults.over && before &&
        random_below(&world->random, 8) == 0)
        node->feature_max = (uint16_t)(world->level - 1);
    if (node->feature_max > node->feature_most)
        node->feature_most = node->feature_max;
    node->downgraded = node->feature_max < node->feature_most;
    if (node->feature_max != before && before) {
        world->report->branches[node->feature_max < before ? BRANCH_DOWNGRADE : BRANCH_UPGRADE]++;
        SAY(world, "node %u: its version can do feature level %u now, not %u", node->slot,
            node->feature_max, before);
    }
}

static void start(struct sim_node *node, const struct store_recovery *recovery)
{
    struct world *world = node->world;
    memcpy(node->identity, recovery->identity, IDENTITY_BYTES);
    if (recovery->installed)
        invariants_installed(node, recovery);
    choose_version(node);
    struct node_options options = options_of(node);
    struct node_recovery from = { .checkpoint = recovery->checkpoint,
                                  .first_index = recovery->first_index };
    memcpy(from.sealed, recovery->sealed, sizeof from.sealed);
    memcpy(from.raft.cluster, recovery->cluster, IDENTITY_BYTES);
    memcpy(from.raft.vote, recovery->vote, IDENTITY_BYTES);
    from.raft.term = recovery->term;
    from.raft.lost_term = recovery->lost.term;
    from.raft.lost_last = recovery->lost.last;
    from.raft.leftover = recovery->leftover;
    from.raft.flush = recovery->flush;
    from.raft.commit = recovery->commit;
    from.raft.checkpoint_index = recovery->checkpoint_index;
    from.held = recovery->held.records;
    from.held_last = recovery->held.last;
    from.held_bytes = recovery->held.bytes + recovery->held.files;
    /* From the kernel, so that zeros cost only where they are touched. */
    node->memory_bytes = node_memory(&options);
    node->memory =
        mmap(NULL, node->memory_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(node->memory != MAP_FAILED);
    node->node = node_init(node->memory, &options, &from);
    if (!node->node && node->feature_max < world->level && node->downgraded) {
        world->report->branches[BRANCH_TOO_OLD]++;
        forget_process(node);
        world_plan(world, HAPPEN_BOOT, world->now + BOOT_AGAIN_US, node->place, 0, node->epoch);
        return;
    }
    if (!node->node)
        sim_fail(world, "node %u: its checkpoint at %" PRIu64 " cannot be read", node->slot,
                 recovery->checkpoint_index);
    node->state = PROCESS_UP;
    node->wake_at = node->due_at = SIM_NEVER;
    node->busy_until = 0;
    world->report->branches[BRANCH_UNEXPLAINED] +=
        node->first > 1 && recovery->lost.last && recovery->first_index == 1;
    node->first = recovery->first_index;
    world->report->branches[BRANCH_BEGINS_LATE] += recovery->first_index > 1;
    invariants_boot(node, recovery);
    held_recovered(node, recovery);
    restore_entries(node, recovery);
    invariants_recovered_all(node, recovery);
    store_checkpoint_release(node->store);
    struct node_event event = { .kind = EVENT_START, .now = sim_node_now(node) };
    sim_node_step(node, &event);
    held_started(node);
    sim_node_want_turn(node, world->now);
}

void sim_node_boot(struct sim_node *node)
{
    struct world *world = node->world;
    if (node->state != PROCESS_DOWN)
        return;
    struct store_options options = { .disk = sim_disk_table(node->disk),
                                     .crypto = &crypto_sim,
                                     .segment_bytes = world->segment_bytes,
                                     .retains = world->retain_bytes || world->retain_us };
    bytes_put_u64(options.fresh_identity, random_u64(&world->random));
    bytes_put_u64(options.fresh_identity + 8, random_u64(&world->random));
    if (!world->faults.over && random_below(&world->random, 12) == 0)
        sim_disk_die_at(node->disk,
                        sim_disk_operations(node->disk) + 1 + random_below(&world->random, 8));
    struct store_recovery recovery;
    char why[256] = "";
    enum ft_error error = store_open(&node->store, &options, &recovery, why, sizeof why);
    bool dead = sim_disk_dead(node->disk);
    if (error)
        node->store = NULL;
    if (dead || error == FT_ERROR_SPACE) {
        SAY(world, "node %u: start fails: %s", node->slot, dead ? "its power goes" : why);
        if (dead)
            sim_disk_crash(node->disk, random_u64(&world->random));
        forget_process(node);
        world_plan(world, HAPPEN_BOOT, world->now + BOOT_AGAIN_US, node->place, 0, node->epoch);
        return;
    }
    if (error && sim_told)
        for (size_t i = 0; sim_disk_name(node->disk, i); i++) {
            uint8_t head[32] = { 0 };
            const char *name = sim_disk_name(node->disk, i);
            (void)sim_disk_peek(node->disk, name, 0, head, sizeof head);
            SAY(world, "node %u: %s, %" PRIu64 " bytes, %016" PRIx64 " %016" PRIx64, node->slot,
                name, sim_disk_size(node->disk, name), bytes_get_u64(head),
                bytes_get_u64(head + 8));
        }
    if (error == FT_ERROR_CORRUPT && node->rotten && strncmp(why, "identity", 8) == 0) {
        /* Who it is and whose is lost in every place: its operator puts the folder aside. */
        world->report->branches[BRANCH_PUT_ASIDE]++;
        forget_process(node);
        sim_node_wipe(node);
        world_plan(world, HAPPEN_BOOT, world->now + BOOT_AGAIN_US, node->slot, 0, node->epoch);
        return;
    }
    if (error)
        sim_fail(world, "node %u: store_open: %d %s", node->slot, (int)error, why);
    sim_disk_die_at(node->disk, 0);
    node->boots++;
    node->epoch++;
    if (recovery.cut_bytes)
        world->report->branches[BRANCH_TAIL_CUT]++;
    world->report->branches[BRANCH_VOTE_LOST] += recovery.vote_lost;
    if (recovery.lost.last) {
        node->doubtful = true;
        world->report->branches[BRANCH_HELD_TAIL] += recovery.leftover;
        world->report
            ->branches[recovery.lost.last == UINT64_MAX ? BRANCH_HELD_SILENT : BRANCH_HELD_VOTES]++;
    }
    if (recovery.checkpoint_index)
        world->report->branches[BRANCH_RESTORED]++;
    SAY(world,
        "node %u: starts, term %" PRIu64 ", log to %" PRIu64 ", checkpoint %" PRIu64
        ", commit %" PRIu64 ", cut %" PRIu64 "%s",
        node->slot, recovery.term, recovery.last_index, recovery.checkpoint_index, recovery.commit,
        recovery.cut_bytes, recovery.may_vote ? "" : ", may not vote");
    if (recovery.damages)
        SAY(world, "node %u: %u damages, the first: %s; lost to %" PRIu64 ", term %" PRIu64,
            node->slot, recovery.damages, recovery.damage, recovery.lost.last, recovery.lost.term);
    start(node, &recovery);
}

/* --- death -------------------------------------------------------------------------------------*/

void sim_node_die(struct sim_node *node, enum death death)
{
    struct world *world = node->world;
    static const char *const names[] = { "is killed", "loses its power", "exits" };
    if (death == DEATH_POWER)
        node->power = false;
    if (node->state != PROCESS_UP)
        return;
    node->calm_rounds = 0;
    SAY(world, "node %u: %s", node->slot, names[death]);
    node->interrupted = node->flush_out;
    node->interrupted_from = node->flush_out ? node->flush.truncate_from : 0;
    sim_node_finish_disk(node, death);
    node->state = PROCESS_DOWN;
    network_process_gone(world, END_NODE, node->place, death == DEATH_POWER);
    if (death == DEATH_POWER)
        sim_disk_crash(node->disk, random_u64(&world->random));
    else
        sim_disk_kill(node->disk);
    forget_process(node);
}

void sim_node_wipe(struct sim_node *node)
{
    sim_node_die(node, DEATH_POWER);
    sim_disk_free(node->disk);
    node->disk = sim_disk_new(random_u64(&node->world->random));
    free(node->lost);
    node->lost = node->durable;
    memcpy(node->lost_identity, node->identity, IDENTITY_BYTES);
    memset(node->identity, 0, IDENTITY_BYTES);
    node->feature_most = 0;
    node->durable = sim_must(calloc(SIM_INDEXES, sizeof *node->durable));
    node->durable_last = node->durable_term = 0;
    node->copying = false;
    memset(node->durable_vote, 0, IDENTITY_BYTES);
    memset(node->durable_identity, 0, IDENTITY_BYTES);
    node->interrupted = node->doubtful = false;
    held_forget_promises(node);
    node->held_files = false;
    SAY(node->world, "node %u: its folder is wiped", node->slot);
}

void sim_node_pause(struct sim_node *node, bool pause)
{
    node->paused = pause;
    if (!pause)
        sim_node_want_turn(node, node->world->now);
}
