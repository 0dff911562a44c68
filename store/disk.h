/* The seam between the store and a disk: a table of file operations.
 *
 * The program fills it with disk_posix.c, the tests and the simulator with tests/sim/sim_disk.c,
 * which can lose what was not synced. Paths are relative to the node's folder, '/' between names.
 * A handle belongs to the thread that opened it (the log thread has a file table of its own).
 *
 * What a caller may rely on after a crash: file data that was written before a `sync` that returned
 * FT_OK, and names that were made, moved or removed before a `sync_dir` of their folder that did.
 * Anything else may or may not be there, 512-byte sectors each for itself. After an error of write,
 * sync, resize, rename, unlink or sync_dir nothing is known about what it touched: whoever needs
 * the promise ends. Buffers are borrowed for the call. */
#ifndef FTCHAT_STORE_DISK_H
#define FTCHAT_STORE_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"

struct disk_file;

enum {
    DISK_SECTOR_BYTES = 512, /* written whole or not at all */
    DISK_PAGE_BYTES = 4096,  /* cannot be read, or is, as a whole */
    DISK_PATH_BYTES = 96,    /* the longest path the store makes, with its NUL */
};

enum disk_mode {
    DISK_READ,   /* must exist */
    DISK_WRITE,  /* must exist; read and write */
    DISK_CREATE, /* must not exist; read and write */
};

struct disk {
    void *ctx;

    /* MISSING, EXISTS, SPACE, DENIED or IO. */
    enum ft_error (*open)(void *ctx, const char *path, enum disk_mode mode,
                          struct disk_file **file);
    void (*close)(void *ctx, struct disk_file *file);

    /* *got < len only at the file's end. */
    enum ft_error (*read)(void *ctx, struct disk_file *file, uint64_t offset, void *data,
                          size_t len, size_t *got);
    /* All of it, or an error. Grows the file when needed; only then SPACE can be the answer. */
    enum ft_error (*write)(void *ctx, struct disk_file *file, uint64_t offset, const void *data,
                           size_t len);
    /* SYNC when it fails: never to be tried again. sync_dir likewise. */
    enum ft_error (*sync)(void *ctx, struct disk_file *file);
    enum ft_error (*resize)(void *ctx, struct disk_file *file, uint64_t size);
    enum ft_error (*size)(void *ctx, struct disk_file *file, uint64_t *size);
    /* Lets go of what memory holds of the file, so that the next reads come from the device: a
     * cached page may be newer than what a failed sync left there. */
    void (*forget)(void *ctx, struct disk_file *file);

    enum ft_error (*rename)(void *ctx, const char *from, const char *to);
    enum ft_error (*unlink)(void *ctx, const char *path);
    enum ft_error (*mkdir)(void *ctx, const char *path); /* EXISTS is told */
    enum ft_error (*sync_dir)(void *ctx, const char *path);
    /* Calls `name` for each file or folder in `path`, in any order, without "." and "..". "" is
     * the node's folder itself. */
    enum ft_error (*list)(void *ctx, const char *path, void (*name)(void *list_ctx, const char *),
                          void *list_ctx);

    /* Free bytes on the device for this user. */
    enum ft_error (*space)(void *ctx, uint64_t *bytes);
    /* Creates the file if need be and holds it until close or the process's end; LOCKED when
     * another process has it. */
    enum ft_error (*lock)(void *ctx, const char *path, struct disk_file **file);
};

/* disk_posix.c: a folder of this machine, which must exist. `path` is borrowed only for the call.
 */
enum ft_error disk_posix_open(struct disk *disk, const char *path) FT_MUST_USE;
void disk_posix_close(struct disk *disk);
/* File descriptors, for a thread that keeps only its own: the folder's, and a handle's. */
int disk_posix_folder(const struct disk *disk);
int disk_posix_descriptor(const struct disk_file *file);

#endif
