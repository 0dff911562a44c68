/* Damage at rest: flipped bits, sectors that hold another's bytes, pages that cannot be read.
 *
 * The atlas says which nodes may have damage where, so that a good copy of everything survives
 * somewhere and full recovery can be demanded (TigerBeetle's idea). What a node votes by (vote,
 * identity, the log's end) may rot on one fixed minority of a seed. Each file may rot on a minority
 * of its own, the first ones that are hit, so that over all files every node may be. A node that was
 * wiped has lost every file: what is committed may be on a bare majority, and a node that lags makes
 * up for nobody. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "core/node/state.h"
#include "core/raft/state.h"
#include "store/disk.h"
#include "tests/sim/sim.h"

static uint64_t below(struct world *world, uint64_t bound)
{
    return random_below(&world->faults.random, bound);
}

/* May `slot` lose what it votes by? */
static bool may_lose(const struct world *world, uint8_t slot)
{
    unsigned minority = (world->nodes_count - 1) / 2;
    uint64_t from = sim_mix(world->seed, 0) % world->nodes_count;
    return (slot - 1u + world->nodes_count - from) % world->nodes_count < minority;
}

/* Would `slot` and those that `hit` names be no more than a minority? */
static bool minority_with(const struct world *world, uint32_t hit, uint8_t slot)
{
    hit |= 1u << slot;
    return (unsigned)__builtin_popcount(hit) <= (world->nodes_count - 1u) / 2;
}

/* The entry of a file's name; a new one when there is room. NULL: none. */
static struct rot_file *atlas_file(struct atlas *atlas, const char *path)
{
    uint64_t name = sim_hash(path, strlen(path), 1);
    for (uint32_t i = 0; i < atlas->files_count; i++)
        if (atlas->files[i].name == name)
            return &atlas->files[i];
    if (atlas->files_count == sizeof atlas->files / sizeof atlas->files[0])
        return NULL;
    struct rot_file *file = &atlas->files[atlas->files_count++];
    *file = (struct rot_file) { .name = name, .checkpoint = strncmp(path, "checkpoint/", 11) == 0 };
    return file;
}

/* Has another checkpoint of it been hit? A log that has lost its beginning is understood by them alone: without them all of
 * it is lost. */
static bool takes_checkpoints(const struct world *world, uint8_t slot, const struct rot_file *file)
{
    const struct atlas *atlas = &world->faults.atlas;
    bool takes = false;
    for (uint32_t i = 0; i < atlas->files_count && file->checkpoint && !takes; i++)
        takes = &atlas->files[i] != file && atlas->files[i].checkpoint &&
                atlas->files[i].hit >> slot & 1;
    return takes && (world->retain_bytes || world->retain_us);
}

static uint64_t number_in(const char *path)
{
    const char *slash = strchr(path, '/');
    return slash ? strtoull(slash + 1, NULL, 10) : 0;
}

static bool ends_with(const char *path, const char *suffix)
{
    size_t len = strlen(path);
    return len > 4 && strcmp(path + len - 4, suffix) == 0;
}

static bool is_segment(const char *path)
{
    return ends_with(path, ".seg");
}

/* Which nodes have not all that is committed of a segment. */
static uint32_t laggards(const struct sim_node *node, const char *path)
{
    uint64_t last = node->durable_last;
    uint32_t lag = 0;
    const char *name;
    if (sim_node_up(node) && raft_commit(node_raft(node->node)) < last)
        last = raft_commit(node_raft(node->node));
    for (size_t i = 0; (name = sim_disk_name(node->disk, i)); i++)
        if (is_segment(name) && number_in(name) > number_in(path) && number_in(name) <= last)
            last = number_in(name) - 1;
    for (uint8_t slot = 1; slot <= node->world->nodes_count; slot++)
        if (node->world->nodes[slot].durable_last < last)
            lag |= 1u << slot;
    return lag;
}

/* An index is made where its segment is sealed, and elsewhere it is not: who has none makes up for nobody. */
static uint32_t without_index(const struct world *world, const char *path)
{
    uint32_t without = 0;
    for (uint8_t slot = 1; slot <= world->nodes_count; slot++)
        if (sim_disk_size(world->nodes[slot].disk, path) == UINT64_MAX)
            without |= 1u << slot;
    return without;
}

static bool atlas_allows(struct sim_node *node, const char *path)
{
    struct world *world = node->world;
    struct atlas *atlas = &world->faults.atlas;
    const struct rot_file *file = atlas_file(atlas, path);
    if (file && takes_checkpoints(world, node->slot, file) &&
        !(rot_may_wipe(world, node->slot) && members_can_spare(node)))
        return false;
    return file && minority_with(world, file->hit | atlas->wiped, node->slot) &&
           members_hold(world, file->hit | 1u << node->slot |
                                   (is_segment(path) ? laggards(node, path) : 0) |
                                   (ends_with(path, ".idx") ? without_index(world, path) : 0));
}

bool rot_struck(const struct world *world)
{
    bool struck = false;
    for (uint8_t slot = 1; slot <= world->nodes_count; slot++)
        struck |= world->nodes[slot].rotten;
    return struck;
}

/* What all others have dropped goes here when a later checkpoint is old enough to begin at. */
static bool others_dropped(const struct sim_node *node, uint64_t id)
{
    bool dropped = true;
    for (uint8_t slot = 1; slot <= node->world->nodes_count; slot++)
        dropped &= slot == node->slot || !members_wants(node->world, slot) ||
                   node->world->nodes[slot].first > id;
    return dropped;
}

bool rot_open(const struct sim_node *node)
{
    const struct mending *mending = &node->node->mending;
    uint32_t dropped = 0;
    for (uint32_t i = 0; i < mending->damaged_count; i++)
        dropped += others_dropped(node, mending->damaged[i].id);
    return node_damaged(node->node) > dropped;
}

void rot_describe(const struct sim_node *node)
{
    const struct mending *mending = &node->node->mending;
    fprintf(stderr, "    its log begins at %" PRIu64 "\n", node->first);
    for (uint32_t i = 0; i < mending->damaged_count; i++)
        fprintf(stderr, "    damaged: file %u, %" PRIu64 "\n", mending->damaged[i].file,
                mending->damaged[i].id);
}

bool rot_proved(const struct sim_node *node)
{
    return sim_node_up(node) && !raft_view(node_raft(node->node)).lost && !rot_open(node) &&
           node_rounds(node->node) >= node->calm_rounds + 2;
}

void rot_checked(struct sim_node *node)
{
    const struct raft *raft = node_raft(node->node);
    uint64_t last = raft->log.last < node->struck_last ? raft->log.last : node->struck_last;
    if (raft_commit(raft) < last)
        node->calm_rounds = node_rounds(node->node);
}

void rot_healed(struct world *world)
{
    struct atlas *atlas = &world->faults.atlas;
    for (uint8_t slot = 1; slot <= world->nodes_count; slot++) {
        struct sim_node *node = &world->nodes[slot];
        if (!node->rotten || !rot_proved(node))
            continue;
        node->doubtful = false;
        for (uint32_t i = 0; i < atlas->files_count; i++)
            atlas->files[i].hit &= ~(1u << slot);
    }
}

bool rot_leaves(const struct world *world, uint32_t voters)
{
    const struct atlas *atlas = &world->faults.atlas;
    int most = (__builtin_popcount(voters) - 1) / 2;
    bool leaves = true;
    for (uint32_t i = 0; i < atlas->files_count && leaves; i++)
        leaves = __builtin_popcount(voters & atlas->files[i].hit) <= most;
    return leaves;
}

bool rot_may_wipe(const struct world *world, uint8_t slot)
{
    const struct atlas *atlas = &world->faults.atlas;
    bool may = may_lose(world, slot) && minority_with(world, atlas->wiped, slot);
    for (uint32_t i = 0; i < atlas->files_count && may; i++)
        may = minority_with(world, atlas->files[i].hit | atlas->wiped, slot) &&
              members_hold(world, atlas->files[i].hit | 1u << slot);
    return may;
}

void rot_wiped(struct world *world, uint8_t slot)
{
    world->faults.atlas.wiped |= 1u << slot;
}

static bool is_checkpoint(const char *path)
{
    return strncmp(path, "checkpoint/0", 12) == 0;
}

static uint64_t newest_checkpoint(struct sim_node *node)
{
    uint64_t newest = 0;
    const char *name;
    for (size_t i = 0; (name = sim_disk_name(node->disk, i)); i++)
        if (is_checkpoint(name) && number_in(name) > newest)
            newest = number_in(name);
    return newest;
}

static bool votes_by(const char *path, uint64_t checkpoint)
{
    return strcmp(path, "vote") == 0 || strcmp(path, "identity") == 0 ||
           (is_segment(path) && number_in(path) > checkpoint);
}

static bool damage(struct sim_node *node, enum report_fault kind, const char *path, uint64_t offset)
{
    struct world *world = node->world;
    uint8_t sector[DISK_SECTOR_BYTES];
    bool done = false;
    switch (kind) {
    case FAULT_ROT:
        done = sim_disk_flip(node->disk, path, offset, (uint8_t)(1u << below(world, 8)));
        break;
    case FAULT_UNREADABLE:
        done = sim_disk_unreadable(node->disk, path, offset);
        break;
    case FAULT_MISDIRECTED: {
        uint64_t size = sim_disk_size(node->disk, path);
        uint64_t from = below(world, size / DISK_SECTOR_BYTES) * DISK_SECTOR_BYTES;
        offset -= offset % DISK_SECTOR_BYTES;
        done =
            from != offset && offset + sizeof sector <= size &&
            sim_disk_peek(node->disk, path, from, sector, sizeof sector) &&
            /* Zeros over the log's last entries look like a write that a crash tore (recover.h). */
            (sector[0] || memcmp(sector, sector + 1, sizeof sector - 1) != 0) &&
            sim_disk_poke(node->disk, path, offset, sector, sizeof sector);
        break;
    }
    default:
        CHECK(false && "no damage");
    }
    if (done) {
        SAY(world, "node %u: %s: %s at %" PRIu64, node->slot, report_fault_text(kind), path,
            offset);
        node->rotten = true;
        node->calm_rounds = sim_node_up(node) ? node_rounds(node->node) : 0;
        node->struck_last =
            sim_node_up(node) ? node_raft(node->node)->log.last : node->durable_last;
        node->doubtful |= votes_by(path, newest_checkpoint(node));
        struct rot_file *file = atlas_file(&world->faults.atlas, path);
        CHECK(file != NULL);
        file->hit |= 1u << node->slot;
        bool all = takes_checkpoints(world, node->slot, file);
        node->doubtful |= all;
        if (all || strcmp(path, "identity") == 0)
            rot_wiped(world, node->slot);
    }
    return done;
}

/* Where a segment's file ceases to be zeros. */
static uint64_t used_of(struct sim_node *node, const char *path)
{
    uint64_t size = sim_disk_size(node->disk, path);
    uint8_t sector[DISK_SECTOR_BYTES];
    uint64_t used = size < 4096 ? size : 4096;
    for (uint64_t at = used; at + sizeof sector <= size; at += sizeof sector) {
        if (!sim_disk_peek(node->disk, path, at, sector, sizeof sector))
            break;
        if (sector[0] || memcmp(sector, sector + 1, sizeof sector - 1) != 0)
            used = at + sizeof sector;
        else
            break;
    }
    return used;
}

/* May this file rot here, by the atlas? Spares and what is being written are nobody's yet. */
static bool may_rot(struct sim_node *node, const char *path, uint64_t checkpoint)
{
    struct world *world = node->world;
    bool voting = votes_by(path, checkpoint);
    if (voting && !(may_lose(world, node->slot) && members_can_spare(node)))
        return false;
    if (strcmp(path, "identity") == 0) /* with the vote's, its folder is put aside */
        return rot_may_wipe(world, node->slot);
    bool small =
        strcmp(path, "begin") == 0 || strcmp(path, "copy") == 0 || strcmp(path, "scrub") == 0;
    if (!voting && !small && strncmp(path, "log/0", 5) != 0 && !is_checkpoint(path))
        return false;
    return atlas_allows(node, path);
}

/* All checkpoints of a late log, as far as they may. */
static bool rot_checkpoints(struct sim_node *node, enum report_fault kind)
{
    uint64_t newest = newest_checkpoint(node);
    bool done = false;
    const char *name;
    for (size_t i = 0; (name = sim_disk_name(node->disk, i)); i++)
        if (is_checkpoint(name) && may_rot(node, name, newest))
            done |= damage(node, kind, name, below(node->world, sim_disk_size(node->disk, name)));
    return done;
}

/* Most damage to the log's end, where it is hardest. */
static bool rot_file(struct sim_node *node, enum report_fault kind)
{
    struct world *world = node->world;
    uint64_t checkpoint = newest_checkpoint(node);
    bool tail = below(world, 2);
    const char *name;
    const char *picked = NULL;
    uint64_t seen = 0;
    for (size_t i = 0; (name = sim_disk_name(node->disk, i)); i++) {
        if (!may_rot(node, name, checkpoint) ||
            (tail && !(is_segment(name) && number_in(name) > checkpoint)))
            continue;
        if (below(world, ++seen) == 0)
            picked = name;
    }
    if (!picked)
        return false;
    if (strcmp(picked, "vote") == 0 && below(world, 2)) { /* all copies of it */
        for (uint64_t page = 1; page < 4; page++)
            (void)damage(node, FAULT_ROT, picked, page * 4096 + below(world, 400));
        return damage(node, FAULT_ROT, picked, below(world, 400));
    }
    if (is_checkpoint(picked) && node->first > 1 && below(world, 2))
        return rot_checkpoints(node, kind);
    uint64_t used = is_segment(picked) ? used_of(node, picked) : sim_disk_size(node->disk, picked);
    uint64_t offset = below(world, used);
    if (below(world, 4) == 0) /* near the end, where it is not known what was committed */
        offset = used > 600 ? used - 1 - below(world, 600) : used - 1;
    return damage(node, kind, picked, offset);
}

bool rot_strike(struct world *world, enum report_fault kind)
{
    struct sim_node *node = &world->nodes[1 + below(world, world->nodes_count)];
    rot_healed(world);
    return world->workload.formed && rot_file(node, kind);
}
