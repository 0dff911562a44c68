/* What the two files of the simulated disk share. */
#ifndef FTCHAT_TESTS_SIM_DISK_PRIVATE_H
#define FTCHAT_TESTS_SIM_DISK_PRIVATE_H

#include "core/random.h"
#include "tests/sim/sim_disk.h"

enum { PAGE_BYTES = 4096, PAGE_SECTORS = PAGE_BYTES / DISK_SECTOR_BYTES };

/* `now` is what handles see, `synced` what the device has; NULL is zeros; both may be the same
 * memory. A sector may differ when it is dirty, or when a failed sync lied about it. */
struct page {
    uint8_t *now;
    uint8_t *synced;
    uint8_t dirty;
    uint8_t lied;
    uint8_t bad; /* sectors that cannot be read until they are written */
};

struct inode {
    bool folder;
    bool locked;
    bool marked;
    uint64_t size;
    uint64_t synced_size;
    struct page *pages;
    size_t pages_count;
    struct inode *next;
};

struct name {
    char path[DISK_PATH_BYTES];
    struct inode *inode;
};

struct names {
    struct name *list;
    size_t count;
    size_t capacity;
};

enum change_kind { CHANGE_SET, CHANGE_REMOVE, CHANGE_RENAME };

struct change {
    enum change_kind kind;
    char path[DISK_PATH_BYTES];
    char to[DISK_PATH_BYTES];
    struct inode *inode;
};

struct disk_file {
    struct sim_disk *disk;
    struct inode *inode;
    uint64_t epoch;
    bool lock;
    struct disk_file *next;
};

struct sim_disk {
    struct disk table;
    struct random random;
    uint64_t epoch; /* handles of an earlier one are dead */
    struct inode *inodes;
    struct disk_file *files;
    struct names now;
    struct names synced;
    struct change *changes; /* not synced, in order */
    size_t changes_count;
    size_t changes_capacity;

    uint64_t operations;
    uint64_t calls;
    uint64_t die_at;
    bool dead;
    uint64_t fail_at;
    enum ft_error fail_error;
    bool fail_sync, fail_write, fail_read;
    uint64_t capacity;
    uint64_t sync_us, write_us_per_mib, latency_us;
};

struct inode *sim_names_get(const struct names *names, const char *path);
void sim_names_remove(struct names *names, const char *path);
void sim_names_set(struct names *names, const char *path, struct inode *inode);
struct inode *sim_inode_new(struct sim_disk *disk, bool folder);
struct page *sim_page_at(struct inode *inode, uint64_t number);
void sim_page_write(struct page *page, size_t from, const uint8_t *data, size_t len);
void sim_inode_sync(struct sim_disk *disk, struct inode *inode, bool all);
void sim_write_pages(struct inode *inode, uint64_t offset, const uint8_t *data, size_t len);

#endif
