/* disk.h over POSIX files below one folder. Writes are pwrite and fdatasync, one call each, so that
 * what a kernel or a fault injector does to them is seen. */
#include "store/disk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "core/check.h"

/* How long a lock may be held by a predecessor that was killed in the middle of a write: the kernel
 * lets go of it only when the device answers. */
enum { LOCK_TRIES = 100, LOCK_PAUSE_NS = 10 * 1000 * 1000 };

struct disk_file {
    int fd;
};

struct folder {
    int fd;
};

static enum ft_error error_of(int number)
{
    switch (number) {
    case ENOENT:
    case ENOTDIR:
        return FT_ERROR_MISSING;
    case EEXIST:
        return FT_ERROR_EXISTS;
    case ENOSPC:
    case EDQUOT:
        return FT_ERROR_SPACE;
    case EACCES:
    case EPERM:
    case EROFS:
        return FT_ERROR_DENIED;
    case EMFILE:
    case ENFILE:
    case ENOMEM:
        return FT_ERROR_LIMIT;
    default:
        return FT_ERROR_IO;
    }
}

static int folder_fd(void *ctx)
{
    return ((struct folder *)ctx)->fd;
}

static const char *path_or_dot(const char *path)
{
    return path[0] ? path : ".";
}

static enum ft_error file_open(void *ctx, const char *path, enum disk_mode mode,
                               struct disk_file **file)
{
    int flags = O_CLOEXEC | O_NOFOLLOW | (mode == DISK_READ ? O_RDONLY : O_RDWR);
    if (mode == DISK_CREATE)
        flags |= O_CREAT | O_EXCL;
    struct disk_file *made = malloc(sizeof *made);
    if (!made)
        return FT_ERROR_LIMIT;
    do {
        made->fd = openat(folder_fd(ctx), path, flags, 0600);
    } while (made->fd < 0 && errno == EINTR);
    if (made->fd < 0) {
        enum ft_error error = error_of(errno);
        free(made);
        return error;
    }
    *file = made;
    return FT_OK;
}

static void file_close(void *ctx, struct disk_file *file)
{
    (void)ctx;
    close(file->fd);
    free(file);
}

static enum ft_error file_read(void *ctx, struct disk_file *file, uint64_t offset, void *data,
                               size_t len, size_t *got)
{
    (void)ctx;
    *got = 0;
    while (*got < len) {
        ssize_t part = pread(file->fd, (uint8_t *)data + *got, len - *got, (off_t)(offset + *got));
        if (part < 0 && errno == EINTR)
            continue;
        if (part < 0)
            return error_of(errno);
        if (part == 0)
            break;
        *got += (size_t)part;
    }
    return FT_OK;
}

static enum ft_error file_write(void *ctx, struct disk_file *file, uint64_t offset,
                                const void *data, size_t len)
{
    (void)ctx;
    size_t done = 0;
    while (done < len) {
        ssize_t part =
            pwrite(file->fd, (const uint8_t *)data + done, len - done, (off_t)(offset + done));
        if (part < 0 && errno == EINTR)
            continue;
        if (part < 0)
            return error_of(errno);
        if (part == 0)
            return FT_ERROR_IO;
        done += (size_t)part;
    }
    return FT_OK;
}

static enum ft_error file_sync(void *ctx, struct disk_file *file)
{
    (void)ctx;
    return fdatasync(file->fd) == 0 ? FT_OK : FT_ERROR_SYNC;
}

static enum ft_error file_resize(void *ctx, struct disk_file *file, uint64_t size)
{
    (void)ctx;
    return ftruncate(file->fd, (off_t)size) == 0 ? FT_OK : error_of(errno);
}

static enum ft_error file_size(void *ctx, struct disk_file *file, uint64_t *size)
{
    (void)ctx;
    struct stat stat;
    if (fstat(file->fd, &stat) != 0)
        return error_of(errno);
    *size = (uint64_t)stat.st_size;
    return FT_OK;
}

static void file_forget(void *ctx, struct disk_file *file)
{
    (void)ctx;
    (void)posix_fadvise(file->fd, 0, 0, POSIX_FADV_DONTNEED);
}

static enum ft_error folder_rename(void *ctx, const char *from, const char *to)
{
    int fd = folder_fd(ctx);
    return renameat(fd, from, fd, to) == 0 ? FT_OK : error_of(errno);
}

static enum ft_error folder_unlink(void *ctx, const char *path)
{
    return unlinkat(folder_fd(ctx), path, 0) == 0 ? FT_OK : error_of(errno);
}

static enum ft_error folder_mkdir(void *ctx, const char *path)
{
    return mkdirat(folder_fd(ctx), path, 0700) == 0 ? FT_OK : error_of(errno);
}

static enum ft_error folder_sync(void *ctx, const char *path)
{
    int fd = openat(folder_fd(ctx), path_or_dot(path), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return error_of(errno);
    enum ft_error error = fsync(fd) == 0 ? FT_OK : FT_ERROR_SYNC;
    close(fd);
    return error;
}

static enum ft_error folder_list(void *ctx, const char *path,
                                 void (*name)(void *list_ctx, const char *), void *list_ctx)
{
    int fd = openat(folder_fd(ctx), path_or_dot(path), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return error_of(errno);
    DIR *dir = fdopendir(fd);
    if (!dir) {
        close(fd);
        return FT_ERROR_LIMIT;
    }
    errno = 0;
    for (struct dirent *item = readdir(dir); item; item = readdir(dir)) {
        if (strcmp(item->d_name, ".") != 0 && strcmp(item->d_name, "..") != 0)
            name(list_ctx, item->d_name);
        errno = 0;
    }
    enum ft_error error = errno ? FT_ERROR_IO : FT_OK;
    closedir(dir);
    return error;
}

static enum ft_error folder_space(void *ctx, uint64_t *bytes)
{
    struct statvfs vfs;
    if (fstatvfs(folder_fd(ctx), &vfs) != 0)
        return error_of(errno);
    *bytes = (uint64_t)vfs.f_bavail * vfs.f_frsize;
    return FT_OK;
}

/* flock, not a POSIX lock: closing another handle of the file must not let go of it. */
static enum ft_error folder_lock(void *ctx, const char *path, struct disk_file **file)
{
    struct disk_file *made = malloc(sizeof *made);
    if (!made)
        return FT_ERROR_LIMIT;
    made->fd = openat(folder_fd(ctx), path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    enum ft_error error = made->fd < 0 ? error_of(errno) : FT_ERROR_LOCKED;
    for (int i = 0; error == FT_ERROR_LOCKED && i < LOCK_TRIES; i++) {
        if (flock(made->fd, LOCK_EX | LOCK_NB) == 0) {
            *file = made;
            return FT_OK;
        }
        if (errno != EWOULDBLOCK && errno != EINTR)
            error = error_of(errno);
        else
            nanosleep(&(struct timespec) { 0, LOCK_PAUSE_NS }, NULL);
    }
    if (made->fd >= 0)
        close(made->fd);
    free(made);
    return error;
}

enum ft_error disk_posix_open(struct disk *disk, const char *path)
{
    struct folder *folder = malloc(sizeof *folder);
    if (!folder)
        return FT_ERROR_LIMIT;
    folder->fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder->fd < 0) {
        enum ft_error error = error_of(errno);
        free(folder);
        return error;
    }
    *disk = (struct disk) {
        .ctx = folder,
        .open = file_open,
        .close = file_close,
        .read = file_read,
        .write = file_write,
        .sync = file_sync,
        .resize = file_resize,
        .size = file_size,
        .forget = file_forget,
        .rename = folder_rename,
        .unlink = folder_unlink,
        .mkdir = folder_mkdir,
        .sync_dir = folder_sync,
        .list = folder_list,
        .space = folder_space,
        .lock = folder_lock,
    };
    return FT_OK;
}

void disk_posix_close(struct disk *disk)
{
    close(folder_fd(disk->ctx));
    free(disk->ctx);
    disk->ctx = NULL;
}

int disk_posix_folder(const struct disk *disk)
{
    CHECK(disk->open == file_open);
    return folder_fd(disk->ctx);
}

int disk_posix_descriptor(const struct disk_file *file)
{
    return file->fd;
}
