/* `ftchat ctl recover N`: the last resort, when the majority is lost for ever. */
#include "cmd/commands.h"
#include "cmd/crypto_sodium.h"
#include "cmd/ctl.h"
#include "cmd/ctl_options.h"
#include "cmd/ctl_rebuild.h"
#include "cmd/say.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static const char command[] = "ctl recover";

enum { OPTION_YES };
static const struct option_row rows[] = {
    [OPTION_YES] = { "yes", 0, NULL, "do not ask" },
    CTL_ROW_CONFIG,
    { 0 },
};
static const struct command_page page = {
    command,
    "N [--yes]",
    "The last resort, when a majority of the nodes is lost for ever: makes the stopped node N of "
    "this\n"
    "host the only voter of a new cluster with everything that it has. Nothing that it knew to be\n"
    "committed is lost. Lost is what only the others had: posts that were acknowledged and had "
    "not\n"
    "reached this node. So choose the survivor with the longest log (`ftchat ctl dump N | tail -1` "
    "on\n"
    "each), and where one more node can come back, wait for it instead.\n"
    "The old folder is kept beside the new one. The lost nodes can never come back as they were:\n"
    "start them blank, they join and copy the log. Needs as much free space as the log has.",
    rows,
};

enum { EXCHANGE = 2 }; /* RENAME_EXCHANGE of linux/fs.h */

/* True: the person typed yes. */
static bool agreed(const struct rebuild *rebuild)
{
    char word[16] = "";
    printf("Node %u of this host will be the only voter of a NEW cluster.\n"
           "  - Everything that it has is kept.\n"
           "  - Acknowledged posts that had not reached it ARE LOST; it cannot know how many.\n"
           "  - The other nodes of the old cluster can never come back as they were.\n"
           "  - If any of them can still be started, stop here and start it instead.\n"
           "Type yes to go on: ",
           rebuild->slot);
    fflush(stdout);
    return fgets(word, sizeof word, stdin) && strcmp(word, "yes\n") == 0;
}

/* The old folder gives way to the new one in one step, where the file system can. */
static int exchange(const struct rebuild *rebuild)
{
    char built[PATH_MAX + 8];
    char aside[PATH_MAX + 40];
    snprintf(built, sizeof built, "%s.new", rebuild->target);
    snprintf(aside, sizeof aside, "%s.before-recover-%lld", rebuild->target, (long long)time(NULL));
    bool done = syscall(SYS_renameat2, AT_FDCWD, built, AT_FDCWD, rebuild->target, EXCHANGE) == 0 &&
                rename(built, aside) == 0;
    if (!done && (errno == EINVAL || errno == ENOSYS))
        done = rename(rebuild->target, aside) == 0 && rename(built, rebuild->target) == 0;
    if (!done)
        return say_error(EXIT_FAILED, command,
                         "%s: cannot be renamed: %s (the old folder is at %s "
                         "or at %s)",
                         rebuild->target, strerror(errno), rebuild->target, aside);
    int status = ctl_folder_sync_parent(command, rebuild->target);
    if (status)
        return status;
    printf("Node %u has everything up to index %llu; %llu of that was known to be committed.\n"
           "%llu held posts and other commands go on with it.\n"
           "The old folder is kept at %s: remove it when all is well.\n"
           "Now start node %u; then put the others' folders aside and start them blank.\n",
           rebuild->slot, (unsigned long long)rebuild->last, (unsigned long long)rebuild->commit,
           (unsigned long long)rebuild->held, aside, rebuild->slot);
    return say_flushed(command);
}

int ctl_recover(int argc, char **argv)
{
    static struct config_file file;
    static struct rebuild rebuild = { .command = command };
    struct ctl_given given = { .takes = CTL_SLOT };
    struct options options = options_begin(&page, argc, argv);
    bool yes = false;
    for (int option; (option = ctl_next(&options, &given)) != OPTIONS_END;) {
        if (option != OPTION_YES)
            return options.status;
        yes = true;
    }
    if (!given.slot)
        return say_error(EXIT_USAGE, command, "which node survived? (ftchat ctl recover N)");
    int status = config_load(&file, command, given.config);
    if (status)
        return status;
    if (!crypto_start())
        return say_error(EXIT_FAILED, command, "the system gives no randomness");
    if (!ctl_folder_exists(&file, given.slot))
        return say_error(EXIT_FAILED, command, "node %u has no folder on this host", given.slot);
    rebuild.slot = given.slot;
    if (!ctl_folder_path(&file, rebuild.slot, rebuild.target))
        return say_error(EXIT_USAGE, command, "data_dir: path too long");
    rebuild.source = rebuild.target;
    if (!yes && !isatty(STDIN_FILENO))
        return say_error(EXIT_USAGE, command, "nobody to ask here (see --help, then give --yes)");
    if (!yes && !agreed(&rebuild))
        return say_error(EXIT_FAILED, command, "nothing was done");
    status = rebuild_folder(&rebuild);
    return status ? status : exchange(&rebuild);
}
