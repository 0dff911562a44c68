/* The simulated disk for those who torment it: faults to come, damage at rest, copies. */
#include <string.h>

#include "tests/sim/sim_disk_private.h"

uint64_t sim_disk_operations(const struct sim_disk *disk)
{
    return disk->operations;
}

void sim_disk_die_at(struct sim_disk *disk, uint64_t at)
{
    disk->die_at = at;
}

bool sim_disk_dead(const struct sim_disk *disk)
{
    return disk->dead;
}

void sim_disk_fail_call(struct sim_disk *disk, uint64_t at, enum ft_error error)
{
    disk->fail_at = at ? disk->calls + at : 0;
    disk->fail_error = error;
}

uint64_t sim_disk_calls(const struct sim_disk *disk)
{
    return disk->calls;
}

void sim_disk_fail_sync(struct sim_disk *disk)
{
    disk->fail_sync = true;
}

void sim_disk_fail_write(struct sim_disk *disk)
{
    disk->fail_write = true;
}

void sim_disk_fail_read(struct sim_disk *disk)
{
    disk->fail_read = true;
}

void sim_disk_capacity(struct sim_disk *disk, uint64_t bytes)
{
    disk->capacity = bytes;
}

uint64_t sim_disk_used(const struct sim_disk *disk)
{
    uint64_t used = 0;
    for (const struct inode *inode = disk->inodes; inode; inode = inode->next)
        used += inode->size;
    return used;
}

void sim_disk_latency_set(struct sim_disk *disk, uint64_t sync_us, uint64_t write_us_per_mib)
{
    disk->sync_us = sync_us;
    disk->write_us_per_mib = write_us_per_mib;
}

uint64_t sim_disk_latency_take(struct sim_disk *disk)
{
    uint64_t latency_us = disk->latency_us;
    disk->latency_us = 0;
    return latency_us;
}

bool sim_disk_peek(struct sim_disk *disk, const char *path, uint64_t offset, void *data, size_t len)
{
    struct inode *inode = sim_names_get(&disk->now, path);
    if (!inode || inode->folder || offset + len > inode->size)
        return false;
    for (size_t i = 0; i < len; i++, offset++) {
        uint64_t number = offset / PAGE_BYTES;
        const uint8_t *page = number < inode->pages_count ? inode->pages[number].now : NULL;
        ((uint8_t *)data)[i] = page ? page[offset % PAGE_BYTES] : 0;
    }
    return true;
}

bool sim_disk_poke(struct sim_disk *disk, const char *path, uint64_t offset, const void *data,
                   size_t len)
{
    struct inode *inode = sim_names_get(&disk->now, path);
    if (!inode || inode->folder || offset + len > inode->size)
        return false;
    sim_write_pages(inode, offset, data, len);
    sim_inode_sync(disk, inode, true);
    return true;
}

bool sim_disk_flip(struct sim_disk *disk, const char *path, uint64_t offset, uint8_t mask)
{
    uint8_t byte;
    if (!sim_disk_peek(disk, path, offset, &byte, 1))
        return false;
    byte ^= mask;
    return sim_disk_poke(disk, path, offset, &byte, 1);
}

bool sim_disk_unreadable(struct sim_disk *disk, const char *path, uint64_t offset)
{
    struct inode *inode = sim_names_get(&disk->now, path);
    if (!inode || inode->folder || offset >= inode->size)
        return false;
    struct page *page = sim_page_at(inode, offset / PAGE_BYTES);
    if (page->dirty)
        return false; /* memory has it */
    page->bad = UINT8_MAX;
    return true;
}

uint64_t sim_disk_size(struct sim_disk *disk, const char *path)
{
    const struct inode *inode = sim_names_get(&disk->now, path);
    return inode && !inode->folder ? inode->size : UINT64_MAX;
}

bool sim_disk_remove(struct sim_disk *disk, const char *path)
{
    if (!sim_names_get(&disk->now, path))
        return false;
    sim_names_remove(&disk->now, path);
    sim_names_remove(&disk->synced, path);
    return true;
}

const char *sim_disk_name(const struct sim_disk *disk, size_t number)
{
    for (size_t i = 0; i < disk->now.count; i++)
        if (!disk->now.list[i].inode->folder && number-- == 0)
            return disk->now.list[i].path;
    return NULL;
}

struct sim_disk *sim_disk_copy(const struct sim_disk *disk)
{
    struct sim_disk *copy = sim_disk_new(1);
    for (size_t i = 0; i < disk->now.count; i++) {
        const struct inode *from = disk->now.list[i].inode;
        struct inode *to = sim_inode_new(copy, from->folder);
        for (uint64_t p = 0; p < from->pages_count; p++)
            if (from->pages[p].now)
                sim_page_write(sim_page_at(to, p), 0, from->pages[p].now, PAGE_BYTES);
        to->size = from->size;
        sim_inode_sync(copy, to, true);
        sim_names_set(&copy->now, disk->now.list[i].path, to);
        sim_names_set(&copy->synced, disk->now.list[i].path, to);
    }
    return copy;
}
