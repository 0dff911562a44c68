/* Allocations that fail, by the linker's --wrap (Makefile): those of the store alone, not those of the
 * test nor of the simulated disk under it. For one source of a program only. */
#ifndef FTCHAT_TESTS_TEST_HEAP_H
#define FTCHAT_TESTS_TEST_HEAP_H

#include <stdlib.h>

#include "tests/test_store.h"

static struct {
    bool watching; /* the store runs, not the test or the disk */
    uint64_t count;
    uint64_t fail_at; /* 0: none */
} heap;

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);

static bool fails_now(void)
{
    return heap.watching && ++heap.count == heap.fail_at;
}

void *__wrap_malloc(size_t size)
{
    return fails_now() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    return fails_now() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *old, size_t size)
{
    return fails_now() ? NULL : __real_realloc(old, size);
}

/* --- the disk, which allocates for itself -------------------------------------------------------*/

static struct disk real;

/* The store's own watching goes on after the call. */
#define UNWATCHED(call)                                                                            \
    do {                                                                                           \
        bool watching = heap.watching;                                                             \
        heap.watching = false;                                                                     \
        enum ft_error error = (call);                                                              \
        heap.watching = watching;                                                                  \
        return error;                                                                              \
    } while (0)

static enum ft_error quiet_open(void *ctx, const char *path, enum disk_mode mode,
                                struct disk_file **file)
{
    UNWATCHED(real.open(ctx, path, mode, file));
}

/* As if the file had shrunk under whoever reads. */
static struct {
    uint64_t count;
    uint64_t at; /* the read that gives less than there is; 0: none */
} shorts;

static enum ft_error quiet_read(void *ctx, struct disk_file *file, uint64_t offset, void *data,
                                size_t len, size_t *got)
{
    enum ft_error error = real.read(ctx, file, offset, data, len, got);
    if (heap.watching && ++shorts.count == shorts.at)
        *got /= 2;
    return error;
}

static enum ft_error quiet_write(void *ctx, struct disk_file *file, uint64_t offset,
                                 const void *data, size_t len)
{
    UNWATCHED(real.write(ctx, file, offset, data, len));
}

static enum ft_error quiet_sync(void *ctx, struct disk_file *file)
{
    UNWATCHED(real.sync(ctx, file));
}

static enum ft_error quiet_resize(void *ctx, struct disk_file *file, uint64_t size)
{
    UNWATCHED(real.resize(ctx, file, size));
}

static enum ft_error quiet_rename(void *ctx, const char *from, const char *to)
{
    UNWATCHED(real.rename(ctx, from, to));
}

static enum ft_error quiet_unlink(void *ctx, const char *path)
{
    UNWATCHED(real.unlink(ctx, path));
}

static enum ft_error quiet_mkdir(void *ctx, const char *path)
{
    UNWATCHED(real.mkdir(ctx, path));
}

static enum ft_error quiet_sync_dir(void *ctx, const char *path)
{
    UNWATCHED(real.sync_dir(ctx, path));
}

static enum ft_error quiet_lock(void *ctx, const char *path, struct disk_file **file)
{
    UNWATCHED(real.lock(ctx, path, file));
}

/* The disk, which allocates for itself, does so unwatched. */
static inline void heap_spares(struct sim_disk *disk)
{
    struct disk *table = (struct disk *)(uintptr_t)sim_disk_table(disk);
    if (table->open == quiet_open)
        return;
    real = *table;
    table->open = quiet_open;
    table->read = quiet_read;
    table->write = quiet_write;
    table->sync = quiet_sync;
    table->resize = quiet_resize;
    table->rename = quiet_rename;
    table->unlink = quiet_unlink;
    table->mkdir = quiet_mkdir;
    table->sync_dir = quiet_sync_dir;
    table->lock = quiet_lock;
}

/* What the store does meanwhile is watched. */
#define WATCHED(call)                                                                              \
    do {                                                                                           \
        heap.watching = true;                                                                      \
        call;                                                                                      \
        heap.watching = false;                                                                     \
    } while (0)

#endif
