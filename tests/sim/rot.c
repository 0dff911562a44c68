/* Damage at rest: flipped bits, sectors that hold another's bytes, pages that cannot be read.
 *
 * The atlas says which nodes may have damage where, so that a good copy of everything survives
 * somewhere and full recovery can be demanded (TigerBeetle's idea). What a node votes by (vote,
 * identity, the log's end) may rot on one fixed minority of a seed; each sealed file on a minority
 * of its own, so that over all files every node may be hit. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "store/disk.h"
#include "tests/sim/sim.h"

static uint64_t below(struct world *world, uint64_t bound)
{
    return random_below(&world->random, bound);
}

/* May `slot` have damage in what `region` names? Of each region a minority may. */
static bool atlas_allows(const struct world *world, uint8_t slot, uint64_t region)
{
    unsigned minority = (world->nodes_count - 1) / 2;
    uint64_t from = sim_mix(world->seed, region) % world->nodes_count;
    return (slot - 1u + world->nodes_count - from) % world->nodes_count < minority;
}

bool rot_may_lose(const struct world *world, uint8_t slot)
{
    return atlas_allows(world, slot, 0);
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
    }
    return done;
}

static uint64_t number_in(const char *path)
{
    const char *slash = strchr(path, '/');
    return slash ? strtoull(slash + 1, NULL, 10) : 0;
}

static bool is_segment(const char *path)
{
    size_t len = strlen(path);
    return len > 4 && strcmp(path + len - 4, ".seg") == 0;
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

static uint64_t newest_checkpoint(struct sim_node *node)
{
    uint64_t newest = 0;
    const char *name;
    for (size_t i = 0; (name = sim_disk_name(node->disk, i)); i++)
        if (strncmp(name, "checkpoint/0", 12) == 0 && number_in(name) > newest)
            newest = number_in(name);
    return newest;
}

/* May this file rot here, by the atlas? Spares and what is being written are nobody's yet. */
static bool may_rot(struct sim_node *node, const char *path, uint64_t checkpoint)
{
    const struct world *world = node->world;
    if (strcmp(path, "vote") == 0 || strcmp(path, "identity") == 0)
        return rot_may_lose(world, node->slot);
    if (strncmp(path, "log/0", 5) != 0 && strncmp(path, "checkpoint/0", 12) != 0)
        return false;
    if (is_segment(path) && number_in(path) > checkpoint)
        return rot_may_lose(world, node->slot);
    return atlas_allows(world, node->slot, sim_hash(path, strlen(path), 1));
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
    uint64_t used = is_segment(picked) ? used_of(node, picked) : sim_disk_size(node->disk, picked);
    uint64_t offset = below(world, used);
    if (below(world, 4) == 0) /* near the end, where it is not known what was committed */
        offset = used > 600 ? used - 1 - below(world, 600) : used - 1;
    return damage(node, kind, picked, offset);
}

bool rot_strike(struct world *world, enum report_fault kind)
{
    struct sim_node *node = &world->nodes[1 + below(world, world->nodes_count)];
    /* What the others have dropped already, they cannot give back. */
    if (!world->workload.formed || world->retain_bytes || world->retain_us)
        return false;
    return rot_file(node, kind);
}
