#include "cmd/ctl_folder.h"

#include "cmd/commands.h"
#include "cmd/say.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static bool find(const struct config_file *file, unsigned slot, char path[PATH_MAX])
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
    return find(file, slot, path) && stat(path, &info) == 0;
}

int ctl_folder_open(struct ctl_folder *folder, const char *command, const struct config_file *file,
                    unsigned slot)
{
    if (!find(file, slot, folder->path))
        return say_error(EXIT_USAGE, command, "data_dir: path too long");
    errno = 0;
    if (disk_posix_open(&folder->disk, folder->path))
        return say_error(errno == EACCES ? EXIT_DENIED : EXIT_FAILED, command, "%s: %s",
                         folder->path, strerror(errno ? errno : ENOMEM));
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
