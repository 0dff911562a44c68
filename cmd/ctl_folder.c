#include "cmd/ctl_folder.h"

#include "cmd/commands.h"
#include "cmd/crypto_sodium.h"
#include "cmd/say.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

bool ctl_folder_path(const struct config_file *file, unsigned slot, char path[PATH_MAX])
{
    char data[PATH_MAX];
    if (!config_resolve(file, file->config.data_dir, data))
        return false;
    int len = snprintf(path, PATH_MAX, "%s/%u", data, slot);
    return len > 0 && len < PATH_MAX;
}

bool ctl_folder_exists(const struct config_file *file, unsigned slot)
{
    char path[PATH_MAX];
    struct stat info;
    return ctl_folder_path(file, slot, path) && stat(path, &info) == 0;
}

int ctl_folder_open(struct ctl_folder *folder, const char *command, const struct config_file *file,
                    unsigned slot)
{
    char path[PATH_MAX];
    if (!ctl_folder_path(file, slot, path))
        return say_error(EXIT_USAGE, command, "data_dir: path too long");
    return ctl_folder_open_path(folder, command, path);
}

int ctl_folder_open_path(struct ctl_folder *folder, const char *command, const char *path)
{
    if (strlen(path) >= sizeof folder->path)
        return say_error(EXIT_USAGE, command, "%.40s...: path too long", path);
    memcpy(folder->path, path, strlen(path) + 1);
    errno = 0;
    if (disk_posix_open(&folder->disk, folder->path))
        return say_error(errno == EACCES ? EXIT_DENIED : EXIT_FAILED, command, "%s: %s",
                         folder->path, strerror(errno ? errno : ENOMEM));
    return EXIT_DONE;
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *where)
{
    (void)info;
    (void)kind;
    (void)where;
    return remove(path);
}

int ctl_folder_remove(const char *command, const char *path)
{
    if (nftw(path, remove_one, 8, FTW_DEPTH | FTW_PHYS) != 0 && errno != ENOENT)
        return say_error(EXIT_FAILED, command, "%s: cannot be removed: %s", path, strerror(errno));
    return EXIT_DONE;
}

int ctl_folder_sync_parent(const char *command, const char *path)
{
    char parent[PATH_MAX] = ".";
    const char *slash = strrchr(path, '/');
    size_t len = slash == path ? 1 : slash ? (size_t)(slash - path) : 0;
    if (len >= sizeof parent)
        return say_error(EXIT_USAGE, command, "%.40s...: path too long", path);
    if (len) {
        memcpy(parent, path, len);
        parent[len] = '\0';
    }
    int fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool good = fd >= 0 && fsync(fd) == 0;
    if (fd >= 0)
        close(fd);
    return good ? EXIT_DONE : say_error(EXIT_FAILED, command, "%s: cannot be synced", parent);
}

struct proving {
    const struct ctl_folder *folder;
    const char *command;
    uint64_t damages;
};

static void found(void *ctx, const struct store_damage *damage)
{
    struct proving *proving = ctx;
    proving->damages++;
    say_warning(proving->command, "%s/%s: offset %llu: %s", proving->folder->path, damage->file,
                (unsigned long long)damage->offset, damage->what);
}

int ctl_folder_prove(const struct ctl_folder *folder, const char *command)
{
    struct proving proving = { folder, command, 0 };
    uint64_t entries;
    uint64_t erased;
    enum ft_error error =
        store_verify_folder(&folder->disk, &crypto_sodium, found, &proving, &entries, &erased);
    if (error)
        return say_error(EXIT_FAILED, command, "%s: what was written cannot be read back",
                         folder->path);
    if (proving.damages)
        return say_error(EXIT_CORRUPT, command,
                         "%s: what was written is damaged (is the disk good?)", folder->path);
    return EXIT_DONE;
}

int ctl_folder_error(const char *command, const char *path, unsigned slot, enum ft_error error)
{
    switch (error) {
    case FT_ERROR_LOCKED:
        return say_error(EXIT_FAILED, command, "%s: node %u runs (stop it first)", path, slot);
    case FT_ERROR_DENIED:
        return say_error(EXIT_DENIED, command, "%s: not readable for this user", path);
    case FT_ERROR_LIMIT:
        return say_error(EXIT_FAILED, command, "no memory");
    case FT_ERROR_MISSING:
        return say_error(EXIT_FAILED, command, "%s: no node's folder (files are missing)", path);
    case FT_ERROR_FOREIGN:
        return say_error(EXIT_FAILED, command, "%s: not an ftchat node's folder", path);
    case FT_ERROR_VERSION:
        return say_error(EXIT_FAILED, command,
                         "%s: written by a newer version (use that version's ctl)", path);
    case FT_ERROR_CORRUPT:
        return say_error(EXIT_CORRUPT, command, "%s: damaged (see ftchat ctl verify)", path);
    default:
        return say_error(EXIT_FAILED, command, "%s: the device refuses to be read", path);
    }
}
