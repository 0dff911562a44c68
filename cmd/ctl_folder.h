/* A stopped node's folder on this host, for the ctl commands that look into it without starting anything.
 *
 * Where nothing else is said nothing is made or changed but the lock file, which is held while the store reads. */
#ifndef FTCHAT_CMD_CTL_FOLDER_H
#define FTCHAT_CMD_CTL_FOLDER_H

#include "cmd/config_load.h"
#include "store/disk.h"
#include "store/store.h"

struct ctl_folder {
    struct disk disk; /* disk_posix_close it */
    char path[PATH_MAX];
};

/* data_dir/SLOT; false: too long. */
bool ctl_folder_path(const struct config_file *file, unsigned slot, char path[PATH_MAX]);
bool ctl_folder_exists(const struct config_file *file, unsigned slot);
/* The exit status, with everything said. */
int ctl_folder_open(struct ctl_folder *folder, const char *command, const struct config_file *file,
                    unsigned slot);
int ctl_folder_open_path(struct ctl_folder *folder, const char *command, const char *path);
/* Removes a folder that is in the making, if it is there; syncs the folder that holds `path`. */
int ctl_folder_remove(const char *command, const char *path);
int ctl_folder_sync_parent(const char *command, const char *path);
/* Reads everything of a folder that nobody has open, and proves it; the exit status, with everything said. */
int ctl_folder_prove(const struct ctl_folder *folder, const char *command);
/* Says why the store could not read it; the exit status. */
int ctl_folder_error(const char *command, const char *path, unsigned slot, enum ft_error error);

#endif
