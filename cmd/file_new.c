#include "cmd/file_new.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { NO_REPLACE = 1 }; /* RENAME_NOREPLACE of linux/fs.h */

static int write_synced(int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t written = write(fd, data, len);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return errno;
        data += written;
        len -= (size_t)written;
    }
    return fsync(fd) == 0 ? 0 : errno;
}

static int sync_folder(const char *path)
{
    char folder[PATH_MAX];
    const char *slash = strrchr(path, '/');
    size_t len = slash ? (size_t)(slash - path) + 1 : 0;
    memcpy(folder, path, len);
    folder[len] = '\0';
    int fd = open(len ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return errno;
    int error = fsync(fd) == 0 ? 0 : errno;
    close(fd);
    return error;
}

/* Kernels or file systems without RENAME_NOREPLACE: a hard link does not replace either. */
static int move_new(const char *from, const char *to)
{
    if (syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, NO_REPLACE) == 0)
        return 0;
    if (errno != EINVAL && errno != ENOSYS)
        return errno;
    return link(from, to) == 0 ? 0 : errno;
}

int file_new(const char *path, const void *data, size_t len, mode_t mode)
{
    char beside[PATH_MAX];
    if (snprintf(beside, sizeof beside, "%s.new-%ld", path, (long)getpid()) >= (int)sizeof beside)
        return ENAMETOOLONG;
    unlink(beside);
    int fd = open(beside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
    if (fd < 0)
        return errno;
    int error = fchmod(fd, mode) == 0 ? write_synced(fd, data, len) : errno;
    if (close(fd) != 0 && !error)
        error = errno;
    if (!error)
        error = move_new(beside, path);
    unlink(beside); /* gone already, unless it was not moved */
    return error ? error : sync_folder(path);
}
