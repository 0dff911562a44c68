/* `ftchat ctl check`: what is wrong with the configuration and the keys, without starting or
 * touching anything. Exit 0: good, warnings or not; 1: a key file is bad; 2: the configuration is.
 */
#include "cmd/commands.h"
#include "cmd/config_load.h"
#include "cmd/crypto_sodium.h"
#include "cmd/ctl.h"
#include "cmd/ctl_options.h"
#include "cmd/ini_text.h"
#include "cmd/keys.h"
#include "cmd/say.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static const char command[] = "ctl check";

enum { OPTION_KEYS };

static const struct option_row rows[] = {
    [OPTION_KEYS] = { "keys", 0, NULL, "print every key of the configuration, and be done" },
    CTL_ROW_CONFIG,
    { 0 },
};

static const struct command_page page = {
    .command = command,
    .usage = "[options]",
    .about = "Checks the configuration and the key files; starts and changes nothing.",
    .rows = rows,
};

static bool is_loopback(const char *host)
{
    return strcmp(host, "localhost") == 0 || strcmp(host, "::1") == 0 ||
           (strncmp(host, "127.", 4) == 0 && strspn(host, "0123456789.") == strlen(host));
}

static void warn_of_open_doors(const struct config_file *file)
{
    const struct config *config = &file->config;
    bool outside = false;
    for (int id = 1; id <= LIMIT_NODES; id++)
        outside |= config->nodes[id].present &&
                   !(is_loopback(config->nodes[id].host) && is_loopback(config->nodes[id].listen));
    if (outside && config->accounts_registration == REGISTRATION_OPEN)
        say_warning(
            command,
            "%s: [accounts] registration: open, and not all nodes are on localhost: anybody "
            "who reaches them can make an account (set it to invite)",
            file->path);
    if (config->monitor_http.host[0] && !is_loopback(config->monitor_http.host))
        say_warning(command,
                    "%s: [monitor] http: %s is not localhost: the page has no password (put a "
                    "proxy before it)",
                    file->path, config->monitor_http.host);
    if (outside && config->chaos_enabled)
        say_warning(command, "%s: [chaos] enabled: yes (only for clusters that may be broken)",
                    file->path);
    if (config->node_count == 2 || config->node_count == 4)
        say_warning(command, "%s: %u nodes survive no more failures than %u (use 1, 3 or 5)",
                    file->path, config->node_count, config->node_count - 1);
}

static void warn_of_data(const struct config_file *file)
{
    char path[PATH_MAX];
    struct stat status;
    if (!config_resolve(file, file->config.data_dir, path))
        return;
    if (stat(path, &status) != 0 || !S_ISDIR(status.st_mode))
        say_warning(command, "%s: data_dir is no folder that is there (nodes need it)", path);
}

/* The exit status. A client's host has no key, so none is no error. */
static int check_keys(const struct config_file *file)
{
    char key_path[PATH_MAX];
    char pub_path[PATH_MAX];
    char why[KEYS_WHY_BYTES];
    static struct cluster_keys keys;
    struct cluster_public public_half;
    if (!config_resolve(file, file->config.key_file, key_path) ||
        !config_resolve(file, file->config.pub_file, pub_path))
        return say_error(EXIT_USAGE, command, "key_file or pub_file: the path is too long");
    enum ft_error key_error = keys_load(&keys, key_path, why);
    int status = EXIT_DONE;
    if (key_error == FT_ERROR_MISSING)
        say_warning(command, "%s: is not there (nodes, monitors and ctl need it: ftchat ctl init)",
                    key_path);
    else if (key_error)
        status = say_error(EXIT_FAILED, command, "%s: %s", key_path, why);
    enum ft_error pub_error = keys_load_public(&public_half, pub_path, why);
    if (pub_error == FT_ERROR_MISSING)
        say_warning(command, "%s: is not there (clients need it: ftchat ctl init)", pub_path);
    else if (pub_error)
        status = say_error(EXIT_FAILED, command, "%s: %s", pub_path, why);
    if (!key_error && !pub_error && !keys_same(&keys.public_half, &public_half))
        status = say_error(EXIT_FAILED, command,
                           "%s: belongs to another key than %s (copy both from one host)", pub_path,
                           key_path);
    keys_wipe(&keys);
    return status;
}

int ctl_check(int argc, char **argv)
{
    static struct config_file file;
    struct ctl_given given = { 0 };
    struct options options = options_begin(&page, argc, argv);
    for (int option; (option = ctl_next(&options, &given)) != OPTIONS_END;) {
        if (option != OPTION_KEYS)
            return options.status;
        ini_print_keys();
        return say_flushed(command);
    }
    if (!crypto_start())
        return say_error(EXIT_FAILED, command, "the system gives no random numbers");
    int status = config_load(&file, command, given.config);
    if (status != EXIT_DONE)
        return status;
    warn_of_open_doors(&file);
    warn_of_data(&file);
    status = check_keys(&file);
    if (status != EXIT_DONE)
        return status;
    printf("%s: good: cluster %s, %u node%s\n", file.path, file.config.cluster_name,
           file.config.node_count, file.config.node_count == 1 ? "" : "s");
    return say_flushed(command);
}
