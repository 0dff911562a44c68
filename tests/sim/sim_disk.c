#include "tests/sim/sim_disk_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "core/random.h"

static void *must(void *memory)
{
    CHECK(memory != NULL);
    return memory;
}

/* --- names --------------------------------------------------------------------------------------
 */

struct inode *sim_names_get(const struct names *names, const char *path)
{
    for (size_t i = 0; i < names->count; i++)
        if (strcmp(names->list[i].path, path) == 0)
            return names->list[i].inode;
    return NULL;
}

void sim_names_remove(struct names *names, const char *path)
{
    for (size_t i = 0; i < names->count; i++)
        if (strcmp(names->list[i].path, path) == 0) {
            names->list[i] = names->list[--names->count];
            return;
        }
}

void sim_names_set(struct names *names, const char *path, struct inode *inode)
{
    sim_names_remove(names, path);
    if (names->count == names->capacity) {
        names->capacity = names->capacity ? names->capacity * 2 : 16;
        names->list = must(realloc(names->list, names->capacity * sizeof *names->list));
    }
    struct name *name = &names->list[names->count++];
    snprintf(name->path, sizeof name->path, "%s", path);
    name->inode = inode;
}

static void change_apply(struct names *names, const struct change *change)
{
    if (change->kind != CHANGE_SET)
        sim_names_remove(names, change->path);
    if (change->kind == CHANGE_SET)
        sim_names_set(names, change->path, change->inode);
    if (change->kind == CHANGE_RENAME)
        sim_names_set(names, change->to, change->inode);
}

static void change(struct sim_disk *disk, enum change_kind kind, const char *path, const char *to,
                   struct inode *inode)
{
    if (disk->changes_count == disk->changes_capacity) {
        disk->changes_capacity = disk->changes_capacity ? disk->changes_capacity * 2 : 16;
        disk->changes =
            must(realloc(disk->changes, disk->changes_capacity * sizeof *disk->changes));
    }
    struct change *made = &disk->changes[disk->changes_count++];
    *made = (struct change) { .kind = kind, .inode = inode };
    snprintf(made->path, sizeof made->path, "%s", path);
    snprintf(made->to, sizeof made->to, "%s", to);
    change_apply(&disk->now, made);
}

static bool in_folder(const char *path, const char *folder)
{
    size_t len = strlen(folder);
    if (len == 0)
        return strchr(path, '/') == NULL;
    return strncmp(path, folder, len) == 0 && path[len] == '/' &&
           strchr(path + len + 1, '/') == NULL;
}

/* --- inodes -------------------------------------------------------------------------------------
 */

struct inode *sim_inode_new(struct sim_disk *disk, bool folder)
{
    struct inode *inode = must(calloc(1, sizeof *inode));
    inode->folder = folder;
    inode->next = disk->inodes;
    disk->inodes = inode;
    return inode;
}

static void page_free(struct page *page)
{
    if (page->synced != page->now)
        free(page->synced);
    free(page->now);
    *page = (struct page) { 0 };
}

static void inode_free(struct inode *inode)
{
    for (size_t i = 0; i < inode->pages_count; i++)
        page_free(&inode->pages[i]);
    free(inode->pages);
    free(inode);
}

/* Frees what no name, change or handle leads to. */
static void sweep(struct sim_disk *disk)
{
    for (size_t i = 0; i < disk->now.count; i++)
        disk->now.list[i].inode->marked = true;
    for (size_t i = 0; i < disk->synced.count; i++)
        disk->synced.list[i].inode->marked = true;
    for (size_t i = 0; i < disk->changes_count; i++)
        if (disk->changes[i].inode)
            disk->changes[i].inode->marked = true;
    for (struct disk_file *file = disk->files; file; file = file->next)
        file->inode->marked = true;
    for (struct inode **at = &disk->inodes; *at;) {
        struct inode *inode = *at;
        if (inode->marked) {
            inode->marked = false;
            at = &inode->next;
        } else {
            *at = inode->next;
            inode_free(inode);
        }
    }
}

struct page *sim_page_at(struct inode *inode, uint64_t number)
{
    if (number >= inode->pages_count) {
        size_t count = inode->pages_count ? inode->pages_count : 4;
        while (count <= number)
            count *= 2;
        inode->pages = must(realloc(inode->pages, count * sizeof *inode->pages));
        memset(inode->pages + inode->pages_count, 0,
               (count - inode->pages_count) * sizeof *inode->pages);
        inode->pages_count = count;
    }
    return &inode->pages[number];
}

static bool is_zero(const uint8_t *data, size_t len)
{
    return len == 0 || (data[0] == 0 && memcmp(data, data + 1, len - 1) == 0);
}

/* Memory of the page's own for `now`, so that `synced` keeps what it has. */
static void page_own(struct page *page)
{
    if (page->now && page->now != page->synced)
        return;
    uint8_t *copy = must(malloc(PAGE_BYTES));
    if (page->now)
        memcpy(copy, page->now, PAGE_BYTES);
    else
        memset(copy, 0, PAGE_BYTES);
    page->now = copy;
}

void sim_page_write(struct page *page, size_t from, const uint8_t *data, size_t len)
{
    page->bad = 0;
    if (!page->now && !page->synced && is_zero(data, len))
        return;
    page_own(page);
    memcpy(page->now + from, data, len);
    for (size_t s = from / DISK_SECTOR_BYTES; s <= (from + len - 1) / DISK_SECTOR_BYTES; s++)
        page->dirty |= (uint8_t)(1u << s);
}

/* One sector of what handles see goes to the device, or back from it. */
static void sector_copy(struct page *page, unsigned sector, bool to_device)
{
    uint8_t **to = to_device ? &page->synced : &page->now;
    uint8_t *from = to_device ? page->now : page->synced;
    if (page->now == page->synced)
        return;
    if (!*to)
        *to = must(calloc(1, PAGE_BYTES));
    size_t at = sector * (size_t)DISK_SECTOR_BYTES;
    if (from)
        memcpy(*to + at, from + at, DISK_SECTOR_BYTES);
    else
        memset(*to + at, 0, DISK_SECTOR_BYTES);
}

/* When both are equal, one memory is enough. */
static void page_join(struct page *page)
{
    if (page->dirty || page->now == page->synced)
        return;
    static const uint8_t zeros[PAGE_BYTES];
    const uint8_t *now = page->now ? page->now : zeros;
    const uint8_t *synced = page->synced ? page->synced : zeros;
    if (page->lied && memcmp(now, synced, PAGE_BYTES) != 0)
        return;
    page->lied = 0;
    free(page->synced);
    page->synced = page->now;
    if (page->now && is_zero(page->now, PAGE_BYTES)) {
        free(page->now);
        page->now = page->synced = NULL;
    }
}

/* Dirty sectors reach the device: all of them, or each with even odds. They are clean then. */
void sim_inode_sync(struct sim_disk *disk, struct inode *inode, bool all)
{
    for (size_t i = 0; i < inode->pages_count; i++) {
        struct page *page = &inode->pages[i];
        if (!page->dirty)
            continue;
        if (all)
            page->lied &= (uint8_t)~page->dirty;
        for (unsigned s = 0; s < PAGE_SECTORS && (!all || page->lied); s++)
            if (page->dirty & 1u << s) {
                if (all || random_below(&disk->random, 2))
                    sector_copy(page, s, true);
                else
                    page->lied |= (uint8_t)(1u << s);
            }
        page->dirty = 0;
        page_join(page);
    }
    if (all || random_below(&disk->random, 2))
        inode->synced_size = inode->size;
}

/* What is clean is read anew from the device. */
static void inode_forget(struct inode *inode)
{
    for (size_t i = 0; i < inode->pages_count; i++) {
        struct page *page = &inode->pages[i];
        if (page->now == page->synced)
            continue;
        for (unsigned s = 0; s < PAGE_SECTORS; s++)
            if (!(page->dirty & 1u << s))
                sector_copy(page, s, false);
        page->lied &= page->dirty;
        page_join(page);
    }
}

static void inode_resize(struct inode *inode, uint64_t size)
{
    static const uint8_t zeros[PAGE_BYTES];
    for (uint64_t at = size; at < inode->size;) {
        size_t from = at % PAGE_BYTES;
        size_t part = PAGE_BYTES - from;
        if (at / PAGE_BYTES >= inode->pages_count)
            break;
        struct page *page = &inode->pages[at / PAGE_BYTES];
        if (page->now || page->synced || page->bad)
            sim_page_write(page, from, zeros, part);
        at += part;
    }
    inode->size = size;
}

/* --- faults -------------------------------------------------------------------------------------
 */

enum gate { GATE_GO, GATE_DO_AND_DIE, GATE_FAIL };

/* Each call comes by here; `mutates` says whether it counts as an operation. */
static enum gate gate(struct sim_disk *disk, bool mutates, enum ft_error *error)
{
    *error = FT_ERROR_IO;
    if (disk->dead)
        return GATE_FAIL;
    disk->calls++;
    if (disk->fail_at && disk->calls == disk->fail_at) {
        *error = disk->fail_error;
        disk->fail_at = 0;
        return GATE_FAIL;
    }
    if (mutates && ++disk->operations == disk->die_at) {
        disk->dead = true;
        return GATE_DO_AND_DIE;
    }
    return GATE_GO;
}

static bool stale(const struct disk_file *file)
{
    return file->epoch != file->disk->epoch;
}

/* --- the table ----------------------------------------------------------------------------------
 */

static enum ft_error handle_new(struct sim_disk *disk, struct inode *inode, struct disk_file **file)
{
    *file = must(calloc(1, sizeof **file));
    (*file)->disk = disk;
    (*file)->inode = inode;
    (*file)->epoch = disk->epoch;
    (*file)->next = disk->files;
    disk->files = *file;
    return FT_OK;
}

static bool folder_of_is_there(struct sim_disk *disk, const char *path)
{
    const char *slash = strrchr(path, '/');
    char folder[DISK_PATH_BYTES];
    if (!slash)
        return true;
    snprintf(folder, sizeof folder, "%.*s", (int)(slash - path), path);
    struct inode *inode = sim_names_get(&disk->now, folder);
    return inode && inode->folder;
}

static enum ft_error sim_open(void *ctx, const char *path, enum disk_mode mode,
                              struct disk_file **file)
{
    struct sim_disk *disk = ctx;
    enum ft_error error;
    enum gate way = gate(disk, mode == DISK_CREATE, &error);
    if (way == GATE_FAIL)
        return error;
    struct inode *inode = sim_names_get(&disk->now, path);
    if (mode == DISK_CREATE) {
        if (inode)
            return FT_ERROR_EXISTS;
        if (!folder_of_is_there(disk, path))
            return FT_ERROR_MISSING;
        inode = sim_inode_new(disk, false);
        change(disk, CHANGE_SET, path, "", inode);
    }
    if (!inode)
        return FT_ERROR_MISSING;
    return way == GATE_DO_AND_DIE ? FT_ERROR_IO : handle_new(disk, inode, file);
}

static void sim_close(void *ctx, struct disk_file *file)
{
    struct sim_disk *disk = ctx;
    if (file->lock && !stale(file))
        file->inode->locked = false;
    for (struct disk_file **at = &disk->files; *at; at = &(*at)->next)
        if (*at == file) {
            *at = file->next;
            free(file);
            return;
        }
    CHECK(false && "a handle is closed once");
}

/* Does a read touch a bad page, or does a write touch a part of one (the kernel reads it first)? */
static bool is_bad(const struct inode *inode, uint64_t offset, size_t len, bool partly)
{
    for (uint64_t page = offset / PAGE_BYTES; len && page <= (offset + len - 1) / PAGE_BYTES;
         page++) {
        uint64_t end =
            (page + 1) * PAGE_BYTES < inode->size ? (page + 1) * PAGE_BYTES : inode->size;
        bool whole = page * PAGE_BYTES >= offset && end <= offset + len;
        if (page < inode->pages_count && inode->pages[page].bad && !(partly && whole))
            return true;
    }
    return false;
}

static enum ft_error sim_read(void *ctx, struct disk_file *file, uint64_t offset, void *data,
                              size_t len, size_t *got)
{
    struct sim_disk *disk = ctx;
    enum ft_error error;
    *got = 0;
    if (gate(disk, false, &error) == GATE_FAIL || stale(file))
        return error;
    if (disk->fail_read) {
        disk->fail_read = false;
        return FT_ERROR_IO;
    }
    struct inode *inode = file->inode;
    if (is_bad(inode, offset, len, false))
        return FT_ERROR_IO;
    while (*got < len && offset < inode->size) {
        size_t from = offset % PAGE_BYTES;
        size_t part = PAGE_BYTES - from;
        if (part > len - *got)
            part = len - *got;
        if (part > inode->size - offset)
            part = (size_t)(inode->size - offset);
        uint64_t number = offset / PAGE_BYTES;
        const uint8_t *page = number < inode->pages_count ? inode->pages[number].now : NULL;
        if (page)
            memcpy((uint8_t *)data + *got, page + from, part);
        else
            memset((uint8_t *)data + *got, 0, part);
        *got += part;
        offset += part;
    }
    return FT_OK;
}

void sim_write_pages(struct inode *inode, uint64_t offset, const uint8_t *data, size_t len)
{
    uint64_t end = offset + len;
    while (len) {
        size_t from = offset % PAGE_BYTES;
        size_t part = PAGE_BYTES - from < len ? PAGE_BYTES - from : len;
        sim_page_write(sim_page_at(inode, offset / PAGE_BYTES), from, data, part);
        data += part;
        offset += part;
        len -= part;
    }
    if (end > inode->size)
        inode->size = end;
}

static enum ft_error sim_write(void *ctx, struct disk_file *file, uint64_t offset, const void *data,
                               size_t len)
{
    struct sim_disk *disk = ctx;
    enum ft_error error;
    enum gate way = gate(disk, true, &error);
    if (stale(file))
        return FT_ERROR_IO;
    bool fails = disk->fail_write || (way == GATE_FAIL && !disk->dead);
    if (fails) {
        disk->fail_write = false;
        /* A kernel gives up between pages, never within a sector. */
        uint64_t half = (offset + len / 2) / DISK_SECTOR_BYTES * DISK_SECTOR_BYTES;
        if (half > offset)
            sim_write_pages(file->inode, offset, data, (size_t)(half - offset));
        return error;
    }
    if (way == GATE_FAIL)
        return error;
    if (is_bad(file->inode, offset, len, true))
        return FT_ERROR_IO;
    uint64_t end = offset + len;
    if (disk->capacity && end > file->inode->size &&
        sim_disk_used(disk) + (end - file->inode->size) > disk->capacity)
        return FT_ERROR_SPACE;
    sim_write_pages(file->inode, offset, data, len);
    disk->latency_us += disk->write_us_per_mib * len >> 20;
    return way == GATE_DO_AND_DIE ? FT_ERROR_IO : FT_OK;
}

static enum ft_error sim_sync(void *ctx, struct disk_file *file)
{
    struct sim_disk *disk = ctx;
    enum ft_error error;
    enum gate way = gate(disk, true, &error);
    if (stale(file) || way == GATE_DO_AND_DIE || disk->dead)
        return FT_ERROR_IO;
    disk->latency_us += disk->sync_us;
    if (disk->fail_sync || way == GATE_FAIL) {
        disk->fail_sync = false;
        sim_inode_sync(disk, file->inode, false);
        return FT_ERROR_SYNC;
    }
    sim_inode_sync(disk, file->inode, true);
    return FT_OK;
}

static enum ft_error sim_resize(void *ctx, struct disk_file *file, uint64_t size)
{
    struct sim_disk *disk = ctx;
    enum ft_error error;
    enum gate way = gate(disk, true, &error);
    if (way == GATE_FAIL || stale(file))
        return error;
    inode_resize(file->inode, size);
    return way == GATE_DO_AND_DIE ? FT_ERROR_IO : FT_OK;
}

static enum ft_error sim_size(void *ctx, struct disk_file *file, uint64_t *size)
{
    enum ft_error error;
    if (gate(ctx, false, &error) == GATE_FAIL || stale(file))
        return error;
    *size = file->inode->size;
    return FT_OK;
}

static void sim_forget(void *ctx, struct disk_file *file)
{
    (void)ctx;
    if (!stale(file))
        inode_forget(file->inode);
}

static enum ft_error sim_rename(void *ctx, const char *from, const char *to)
{
    struct sim_disk *disk = ctx;
    enum ft_error error;
    enum gate way = gate(disk, true, &error);
    if (way == GATE_FAIL)
        return error;
    struct inode *inode = sim_names_get(&disk->now, from);
    if (!inode)
        return FT_ERROR_MISSING;
    change(disk, CHANGE_RENAME, from, to, inode);
    return way == GATE_DO_AND_DIE ? FT_ERROR_IO : FT_OK;
}

static enum ft_error sim_unlink(void *ctx, const char *path)
{
    struct sim_disk *disk = ctx;
    enum ft_error error;
    enum gate way = gate(disk, true, &error);
    if (way == GATE_FAIL)
        return error;
    if (!sim_names_get(&disk->now, path))
        return FT_ERROR_MISSING;
    change(disk, CHANGE_REMOVE, path, "", NULL);
    return way == GATE_DO_AND_DIE ? FT_ERROR_IO : FT_OK;
}

static enum ft_error sim_mkdir(void *ctx, const char *path)
{
    struct sim_disk *disk = ctx;
    enum ft_error error;
    enum gate way = gate(disk, true, &error);
    if (way == GATE_FAIL)
        return error;
    if (sim_names_get(&disk->now, path))
        return FT_ERROR_EXISTS;
    change(disk, CHANGE_SET, path, "", sim_inode_new(disk, true));
    return way == GATE_DO_AND_DIE ? FT_ERROR_IO : FT_OK;
}

static enum ft_error sim_sync_dir(void *ctx, const char *path)
{
    struct sim_disk *disk = ctx;
    enum ft_error error;
    enum gate way = gate(disk, true, &error);
    if (way != GATE_GO)
        return disk->dead ? error : FT_ERROR_SYNC;
    disk->latency_us += disk->sync_us;
    size_t kept = 0;
    for (size_t i = 0; i < disk->changes_count; i++) {
        if (in_folder(disk->changes[i].path, path))
            change_apply(&disk->synced, &disk->changes[i]);
        else
            disk->changes[kept++] = disk->changes[i];
    }
    disk->changes_count = kept;
    sweep(disk);
    return FT_OK;
}

static enum ft_error sim_list(void *ctx, const char *path,
                              void (*name)(void *list_ctx, const char *), void *list_ctx)
{
    struct sim_disk *disk = ctx;
    enum ft_error error;
    if (gate(disk, false, &error) == GATE_FAIL)
        return error;
    if (path[0] && !sim_names_get(&disk->now, path))
        return FT_ERROR_MISSING;
    size_t skip = path[0] ? strlen(path) + 1 : 0;
    for (size_t i = 0; i < disk->now.count; i++)
        if (in_folder(disk->now.list[i].path, path))
            name(list_ctx, disk->now.list[i].path + skip);
    return FT_OK;
}

static enum ft_error sim_space(void *ctx, uint64_t *bytes)
{
    struct sim_disk *disk = ctx;
    enum ft_error error;
    if (gate(disk, false, &error) == GATE_FAIL)
        return error;
    uint64_t used = sim_disk_used(disk);
    *bytes = disk->capacity == 0     ? UINT64_C(1) << 40
             : used < disk->capacity ? disk->capacity - used
                                     : 0;
    return FT_OK;
}

static enum ft_error sim_lock(void *ctx, const char *path, struct disk_file **file)
{
    struct sim_disk *disk = ctx;
    enum ft_error error;
    if (gate(disk, false, &error) == GATE_FAIL)
        return error;
    struct inode *inode = sim_names_get(&disk->now, path);
    if (!inode) {
        inode = sim_inode_new(disk, false);
        change(disk, CHANGE_SET, path, "", inode);
    }
    if (inode->locked)
        return FT_ERROR_LOCKED;
    inode->locked = true;
    (void)handle_new(disk, inode, file);
    (*file)->lock = true;
    return FT_OK;
}

/* --- for those who torment it -------------------------------------------------------------------
 */

struct sim_disk *sim_disk_new(uint64_t seed)
{
    struct sim_disk *disk = must(calloc(1, sizeof *disk));
    random_seed(&disk->random, seed);
    disk->epoch = 1;
    disk->table = (struct disk) {
        .ctx = disk,
        .open = sim_open,
        .close = sim_close,
        .read = sim_read,
        .write = sim_write,
        .sync = sim_sync,
        .resize = sim_resize,
        .size = sim_size,
        .forget = sim_forget,
        .rename = sim_rename,
        .unlink = sim_unlink,
        .mkdir = sim_mkdir,
        .sync_dir = sim_sync_dir,
        .list = sim_list,
        .space = sim_space,
        .lock = sim_lock,
    };
    return disk;
}

void sim_disk_free(struct sim_disk *disk)
{
    while (disk->files) {
        struct disk_file *file = disk->files;
        disk->files = file->next;
        free(file);
    }
    disk->now.count = disk->synced.count = disk->changes_count = 0;
    sweep(disk);
    free(disk->now.list);
    free(disk->synced.list);
    free(disk->changes);
    free(disk);
}

const struct disk *sim_disk_table(struct sim_disk *disk)
{
    return &disk->table;
}

void sim_disk_kill(struct sim_disk *disk)
{
    disk->epoch++;
    disk->dead = false;
    disk->die_at = 0;
    disk->fail_at = 0;
    disk->fail_sync = disk->fail_write = disk->fail_read = false;
    for (struct inode *inode = disk->inodes; inode; inode = inode->next)
        inode->locked = false;
}

void sim_disk_crash(struct sim_disk *disk, uint64_t seed)
{
    random_seed(&disk->random, seed);
    sim_disk_kill(disk);
    for (size_t i = 0; i < disk->changes_count; i++)
        if (random_below(&disk->random, 2))
            change_apply(&disk->synced, &disk->changes[i]);
    disk->changes_count = 0;
    disk->now.count = 0;
    for (size_t i = 0; i < disk->synced.count; i++)
        sim_names_set(&disk->now, disk->synced.list[i].path, disk->synced.list[i].inode);
    sweep(disk);
    for (struct inode *inode = disk->inodes; inode; inode = inode->next) {
        sim_inode_sync(disk, inode, false);
        inode_forget(inode);
        inode->size = inode->synced_size;
        /* What lies beyond the size that was kept is gone. */
        uint64_t size = inode->size;
        inode->size = inode->pages_count * (uint64_t)PAGE_BYTES;
        inode_resize(inode, size);
        sim_inode_sync(disk, inode, true);
    }
}
