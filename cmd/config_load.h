/* Finding and reading the configuration, for every command.
 *
 * --config FILE, else $FTCHAT_CONFIG, ./ftchat.ini, /etc/ftchat/ftchat.ini. What is wrong is
 * printed here, one line for each mistake; the callers only pass the exit status on. Paths in the
 * file are relative to its folder. */
#ifndef FTCHAT_CMD_CONFIG_LOAD_H
#define FTCHAT_CMD_CONFIG_LOAD_H

#include "core/config.h"

#include <limits.h>

struct cluster_keys;
struct cluster_public;

struct config_file {
    char path[PATH_MAX];   /* as it was found */
    char folder[PATH_MAX]; /* absolute */
    struct config config;
};

/* Fills path and folder: true when there is such a file. `given` is --config's value or NULL; with
 * none of the places holding a file, path is where one would be made. */
bool config_locate(struct config_file *file, const char *given);

/* Finds, reads and checks; the exit status: EXIT_DONE, or EXIT_USAGE with everything said. */
int config_load(struct config_file *file, const char *command, const char *given);

/* The same, and the cluster's keys, for who runs node `id` (0: whichever it finds): it must be in the file. */
int config_load_node(struct config_file *file, const char *command, const char *given, unsigned id,
                     struct cluster_keys *keys);

/* A path of the file, made absolute; false when it is too long for PATH_MAX. */
bool config_resolve(const struct config_file *file, const char *path, char out[PATH_MAX]);

/* The key files that the configuration names; the exit status, with everything said. Nodes,
 * monitors and ctl need the first, clients the second. */
int config_load_keys(const struct config_file *file, const char *command,
                     struct cluster_keys *keys);
int config_load_public(const struct config_file *file, const char *command,
                       struct cluster_public *public_half);

#endif
