/* `ftchat ctl init`: the key files that the ini names, the ini itself when hosts are given and
 * there is none, and a relative data folder.
 *
 * Nothing is overwritten and nothing is made before everything there has been looked at: what is
 * there and fits is kept (all of it: exit 0), what is there and does not fit ends it (exit 1). */
#include "cmd/commands.h"
#include "cmd/config_load.h"
#include "cmd/crypto_sodium.h"
#include "cmd/ctl.h"
#include "cmd/ctl_options.h"
#include "cmd/file_new.h"
#include "cmd/ini_text.h"
#include "cmd/keys.h"
#include "cmd/say.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static const char command[] = "ctl init";

enum { OPTION_NAME };

static const struct option_row rows[] = {
    [OPTION_NAME] = { "name", 0, "NAME",
                      "of the cluster, for a new configuration (default ftchat)" },
    CTL_ROW_CONFIG,
    { 0 },
};

static const struct command_page page = {
    .command = command,
    .usage = "[HOST[:PORT] ...] [options]",
    .about =
        "Makes the key files that the configuration names, and a relative data_dir. With hosts\n"
        "and no configuration, writes that too: one node for each host, port 7101 unless given.\n"
        "Never overwrites: with everything there already it says so and is done.",
    .rows = rows,
};

struct init {
    struct config_file file;
    char ini[CONFIG_FILE_BYTES];
    size_t ini_len; /* 0: it is there already */
    char key_path[PATH_MAX];
    char pub_path[PATH_MAX];
    struct cluster_keys keys;
    bool make_key;
    bool make_pub;
    bool made_any;
};

static void say_made(struct init *init, const char *path, const char *what)
{
    printf("made %s: %s\n", path, what);
    init->made_any = true;
}

/* --- looking -----------------------------------------------------------------------------------
 */

/* The nodes of the ini are those that were asked for, in the same order. */
static bool same_nodes(const struct config *a, const struct config *b)
{
    for (int id = 1; id <= LIMIT_NODES; id++)
        if (a->nodes[id].present != b->nodes[id].present ||
            strcmp(a->nodes[id].host, b->nodes[id].host) != 0 ||
            a->nodes[id].port != b->nodes[id].port)
            return false;
    return true;
}

static int compose_ini(struct init *init, const char *name, char **hosts, int host_count,
                       struct config *wanted)
{
    static struct config_report report;
    const char *bad = NULL;
    init->ini_len = ini_compose(init->ini, sizeof init->ini, name, hosts, host_count, &bad);
    if (init->ini_len == 0 && bad)
        return say_error(EXIT_USAGE, command, "%s: expected HOST, HOST:PORT or [IPV6]:PORT", bad);
    if (init->ini_len == 0)
        return say_error(EXIT_USAGE, command, "%d hosts: expected 1 to %d", host_count,
                         LIMIT_NODES);
    if (!config_parse(wanted, &report, init->ini, init->ini_len))
        return say_error(EXIT_USAGE, command, "%s", report.notes[0].text);
    return EXIT_DONE;
}

static int look_at_ini(struct init *init, const char *given, const char *name, char **hosts,
                       int host_count)
{
    static struct config wanted;
    if (host_count == 0) {
        if (name)
            return say_error(EXIT_USAGE, command,
                             "--name: only for a new configuration (give its hosts too)");
        return config_load(&init->file, command, given);
    }
    int status = compose_ini(init, name, hosts, host_count, &wanted);
    if (status != EXIT_DONE)
        return status;
    /* A new file is made here, never in /etc because one is there. */
    bool here = config_locate(&init->file, given) &&
                (given || strcmp(init->file.path, "/etc/ftchat/ftchat.ini") != 0);
    if (!here && !given && !strcmp(init->file.path, "/etc/ftchat/ftchat.ini"))
        config_locate(&init->file, "ftchat.ini");
    if (!init->file.folder[0])
        return say_error(EXIT_FAILED, command, "%s: its folder does not exist (make it first)",
                         init->file.path);
    if (!here) {
        init->file.config = wanted;
        return EXIT_DONE;
    }
    init->ini_len = 0;
    status = config_load(&init->file, command, init->file.path);
    if (status != EXIT_DONE)
        return status;
    if (!same_nodes(&init->file.config, &wanted))
        return say_error(EXIT_FAILED, command,
                         "%s: is there already, with other nodes (edit it, or remove it first)",
                         init->file.path);
    return EXIT_DONE;
}

static int look_at_keys(struct init *init)
{
    static struct cluster_public present;
    char why[KEYS_WHY_BYTES];
    if (!config_resolve(&init->file, init->file.config.key_file, init->key_path) ||
        !config_resolve(&init->file, init->file.config.pub_file, init->pub_path))
        return say_error(EXIT_USAGE, command, "key_file or pub_file: the path is too long");
    if (strcmp(init->key_path, init->pub_path) == 0)
        return say_error(EXIT_USAGE, command, "%s: key_file and pub_file are the same file",
                         init->key_path);
    enum ft_error key_error = keys_load(&init->keys, init->key_path, why);
    if (key_error && key_error != FT_ERROR_MISSING)
        return say_error(EXIT_FAILED, command, "%s: %s", init->key_path, why);
    enum ft_error pub_error = keys_load_public(&present, init->pub_path, why);
    if (pub_error && pub_error != FT_ERROR_MISSING)
        return say_error(EXIT_FAILED, command, "%s: %s", init->pub_path, why);
    init->make_key = key_error == FT_ERROR_MISSING;
    init->make_pub = pub_error == FT_ERROR_MISSING;
    if (init->make_key && !init->make_pub)
        return say_error(EXIT_FAILED, command,
                         "%s: is there, but %s is not (copy the key from another host, or remove "
                         "the public half to make a new cluster)",
                         init->pub_path, init->key_path);
    if (!init->make_key && !init->make_pub && !keys_same(&present, &init->keys.public_half))
        return say_error(EXIT_FAILED, command,
                         "%s: belongs to another key than %s (copy both from one host)",
                         init->pub_path, init->key_path);
    return EXIT_DONE;
}

/* --- making ------------------------------------------------------------------------------------
 */

static int make_ini(struct init *init)
{
    if (init->ini_len == 0)
        return EXIT_DONE;
    int error = file_new(init->file.path, init->ini, init->ini_len, 0644);
    if (error)
        return say_error(EXIT_FAILED, command, "%s: %s", init->file.path, strerror(error));
    say_made(init, init->file.path, "the configuration, the same on every host");
    return EXIT_DONE;
}

static int make_keys(struct init *init)
{
    char why[KEYS_WHY_BYTES];
    if (init->make_key) {
        keys_make(&init->keys);
        if (keys_save(&init->keys, init->key_path, why))
            return say_error(EXIT_FAILED, command, "%s: %s", init->key_path, why);
        say_made(init, init->key_path,
                 "the cluster's secrets; copy it to every host, show it to nobody");
    }
    if (init->make_pub) {
        if (keys_save_public(&init->keys.public_half, init->pub_path, why))
            return say_error(EXIT_FAILED, command, "%s: %s", init->pub_path, why);
        say_made(init, init->pub_path, "the public half, for clients");
    }
    return EXIT_DONE;
}

/* An absolute data_dir is likely a mount point: made here it would hide that the disk is missing.
 */
static int make_data(struct init *init)
{
    const char *data = init->file.config.data_dir;
    char path[PATH_MAX];
    struct stat status;
    if (!config_resolve(&init->file, data, path))
        return say_error(EXIT_USAGE, command, "data_dir: the path is too long");
    if (stat(path, &status) == 0) {
        if (S_ISDIR(status.st_mode))
            return EXIT_DONE;
        return say_error(EXIT_FAILED, command, "%s: data_dir is not a folder", path);
    }
    if (errno == ENOENT && data[0] == '/') {
        say_warning(command, "%s: data_dir is not there (make it before a node starts)", path);
        return EXIT_DONE;
    }
    if (errno != ENOENT || mkdir(path, 0700) != 0)
        return say_error(EXIT_FAILED, command, "%s: data_dir cannot be made: %s", path,
                         strerror(errno));
    say_made(init, path, "the nodes' files");
    return EXIT_DONE;
}

static int make_all(struct init *init)
{
    int status = make_ini(init);
    if (status == EXIT_DONE)
        status = make_keys(init);
    if (status == EXIT_DONE)
        status = make_data(init);
    if (status == EXIT_DONE && !init->made_any)
        printf("everything is there already: %s, its keys (id %s) and its data folder\n",
               init->file.path, init->keys.public_half.id);
    keys_wipe(&init->keys);
    int flushed = say_flushed(command);
    return status == EXIT_DONE ? flushed : status;
}

int ctl_init(int argc, char **argv)
{
    static struct init init;
    struct ctl_given given = { .takes = CTL_WORDS };
    const char *name = NULL;
    char *hosts[LIMIT_NODES + 1];
    int host_count = 0;
    struct options options = options_begin(&page, argc, argv);
    for (int option; (option = ctl_next(&options, &given)) != OPTIONS_END;) {
        if (option == OPTIONS_EXIT)
            return options.status;
        if (option == OPTION_NAME)
            name = options.value;
        else if (host_count <= LIMIT_NODES)
            hosts[host_count++] = (char *)options.value;
    }
    if (!crypto_start())
        return say_error(EXIT_FAILED, command, "the system gives no random numbers");
    int status = look_at_ini(&init, given.config, name, hosts, host_count);
    if (status == EXIT_DONE)
        status = look_at_keys(&init);
    return status == EXIT_DONE ? make_all(&init) : status;
}
