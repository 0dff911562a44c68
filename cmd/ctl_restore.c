/* `ftchat ctl restore DIR`: the first node of a new cluster, from a backup. */
#include "cmd/commands.h"
#include "cmd/crypto_sodium.h"
#include "cmd/ctl.h"
#include "cmd/ctl_options.h"
#include "cmd/ctl_rebuild.h"
#include "cmd/say.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char command[] = "ctl restore";

enum { OPTION_ID };
static const struct option_row rows[] = {
    [OPTION_ID] = { "id", 0, "N", "which node's folder to make (default: 1)" },
    CTL_ROW_CONFIG,
    { 0 },
};
static const struct command_page page = {
    command,
    "DIR [--id N]",
    "Makes data_dir/N from the backup in DIR: the first node of a new cluster with the same "
    "history,\n"
    "accounts and devices. Never over a folder that is there: put what is left of the old cluster\n"
    "aside, on every host. Then start node N, and the other nodes blank: they join and copy the "
    "log.\n"
    "What was acknowledged after the backup was taken is lost. The keys and the ini are not in a\n"
    "backup: keep copies of them.",
    rows,
};

/* An empty folder is as good as none; anything else may be somebody's identity. */
static int check_target(const struct config_file *file, const struct rebuild *rebuild)
{
    char data[PATH_MAX];
    struct stat info;
    if (!config_resolve(file, file->config.data_dir, data) || stat(data, &info) != 0 ||
        !S_ISDIR(info.st_mode))
        return say_error(EXIT_FAILED, command,
                         "%s: no such folder (data_dir: make it, or mount it)",
                         file->config.data_dir);
    if (rmdir(rebuild->target) != 0 && errno != ENOENT)
        return say_error(EXIT_FAILED, command,
                         "%s: is there already: a backup is never restored over a node's folder "
                         "(put it aside first: mv %s %s.old)",
                         rebuild->target, rebuild->target, rebuild->target);
    return EXIT_DONE;
}

static int move(const struct rebuild *rebuild)
{
    char built[PATH_MAX + 8];
    snprintf(built, sizeof built, "%s.new", rebuild->target);
    if (rename(built, rebuild->target) != 0)
        return say_error(EXIT_FAILED, command, "%s: cannot be renamed to %s: %s", built,
                         rebuild->target, strerror(errno));
    int status = ctl_folder_sync_parent(command, rebuild->target);
    if (status)
        return status;
    printf("%s: made: everything up to index %llu of the backup.\n"
           "Now start node %u, then the others with no data_dir/N of their own: they join it.\n",
           rebuild->target, (unsigned long long)rebuild->last, rebuild->slot);
    return say_flushed(command);
}

int ctl_restore(int argc, char **argv)
{
    static struct config_file file;
    static struct rebuild rebuild = { .command = command, .from_backup = true };
    struct ctl_given given = { .takes = CTL_WORD };
    struct options options = options_begin(&page, argc, argv);
    uint64_t slot = 1;
    for (int option; (option = ctl_next(&options, &given)) != OPTIONS_END;) {
        if (option != OPTION_ID)
            return options.status;
        if (!options_number(&options, "id", 1, LIMIT_NODES, &slot))
            return EXIT_USAGE;
    }
    if (!given.word)
        return say_error(EXIT_USAGE, command, "no folder given (see --help)");
    int status = config_load(&file, command, given.config);
    if (status)
        return status;
    if (!crypto_start())
        return say_error(EXIT_FAILED, command, "the system gives no randomness");
    if (!file.config.nodes[slot].present)
        return say_error(EXIT_USAGE, command, "--id: %llu: no [node.%llu] in %s",
                         (unsigned long long)slot, (unsigned long long)slot, file.path);
    rebuild.source = given.word;
    rebuild.slot = (uint8_t)slot;
    if (!ctl_folder_path(&file, rebuild.slot, rebuild.target))
        return say_error(EXIT_USAGE, command, "data_dir: path too long");
    status = check_target(&file, &rebuild);
    if (!status)
        status = rebuild_folder(&rebuild);
    return status ? status : move(&rebuild);
}
