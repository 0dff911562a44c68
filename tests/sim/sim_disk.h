/* A disk in memory behind store/disk.h that forgets what was not synced.
 *
 * Deterministic: the same calls and the same seed give the same disk. Each file has what its
 * handles see and, in 512-byte sectors, what has reached the device; each folder has its names now
 * and its names as synced. sim_disk_crash keeps a random subset of the sectors and of the name
 * changes that were not synced. Zero pages cost nothing, but count as used space. */
#ifndef FTCHAT_TESTS_SIM_DISK_H
#define FTCHAT_TESTS_SIM_DISK_H

#include "store/disk.h"

struct sim_disk;

struct sim_disk *sim_disk_new(uint64_t seed);
void sim_disk_free(struct sim_disk *disk);
/* The table to give to the store; valid as long as the disk. */
const struct disk *sim_disk_table(struct sim_disk *disk);

/* Power is lost: handles and locks are gone (the store's memory must be thrown away, its handles
 * may still be closed), and so is a random part of what was not synced. */
void sim_disk_crash(struct sim_disk *disk, uint64_t seed);
/* The process is killed: handles and locks are gone, everything written stays. */
void sim_disk_kill(struct sim_disk *disk);

/* Operations that change something or promise it (create, write, sync, resize, rename, unlink,
 * mkdir, sync_dir) are counted. At operation number `at` (counting from 1 since sim_disk_new) the
 * disk dies: it and all later calls fail with FT_ERROR_IO and do nothing, until sim_disk_crash.
 * 0: never. */
uint64_t sim_disk_operations(const struct sim_disk *disk);
void sim_disk_die_at(struct sim_disk *disk, uint64_t at);
bool sim_disk_dead(const struct sim_disk *disk);

/* Counts every call, and fails exactly the one with number `at` (from now on: 1 is the next). The
 * failed write may have written a part; a failed sync loses what it should have made durable, while
 * handles go on seeing it, as a page cache does. 0: none. */
void sim_disk_fail_call(struct sim_disk *disk, uint64_t at, enum ft_error error);
uint64_t sim_disk_calls(const struct sim_disk *disk);
/* The next sync fails with FT_ERROR_SYNC, the next write or read with FT_ERROR_IO. */
void sim_disk_fail_sync(struct sim_disk *disk);
void sim_disk_fail_write(struct sim_disk *disk);
void sim_disk_fail_read(struct sim_disk *disk);

/* Bytes the disk holds at most; 0: no limit. */
void sim_disk_capacity(struct sim_disk *disk, uint64_t bytes);
uint64_t sim_disk_used(const struct sim_disk *disk);

/* What the operations since the last call would have taken, by a simple cost model: for the
 * simulator to delay a completion by. */
void sim_disk_latency_set(struct sim_disk *disk, uint64_t sync_us, uint64_t write_us_per_mib);
uint64_t sim_disk_latency_take(struct sim_disk *disk);

/* Damage at rest, seen by handles and device alike. False: no such byte. */
bool sim_disk_flip(struct sim_disk *disk, const char *path, uint64_t offset, uint8_t mask);
/* The page at `offset` cannot be read any more, until all of it is written. */
bool sim_disk_unreadable(struct sim_disk *disk, const char *path, uint64_t offset);
bool sim_disk_poke(struct sim_disk *disk, const char *path, uint64_t offset, const void *data,
                   size_t len);
bool sim_disk_peek(struct sim_disk *disk, const char *path, uint64_t offset, void *data,
                   size_t len);
/* Size of a file; UINT64_MAX: not there. */
uint64_t sim_disk_size(struct sim_disk *disk, const char *path);
bool sim_disk_remove(struct sim_disk *disk, const char *path);
/* Names of all files in turn: number 0, 1, 2 ...; NULL at the end. */
const char *sim_disk_name(const struct sim_disk *disk, size_t number);
/* A copy with the same contents and nothing open, for trying damages on. */
struct sim_disk *sim_disk_copy(const struct sim_disk *disk);

#endif
