#include "cmd/config_load.h"

#include "cmd/commands.h"
#include "cmd/crypto_sodium.h"
#include "cmd/keys.h"
#include "cmd/say.h"
#include "core/check.h"
#include "core/error.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILE_READ_BYTES = CONFIG_FILE_BYTES + 1 }; /* one more, so that too long is seen */

/* The absolute folder of `path`, which itself need not exist. */
static bool find_folder(const char *path, char folder[PATH_MAX])
{
    char parent[PATH_MAX];
    const char *slash = strrchr(path, '/');
    size_t len = slash ? (size_t)(slash - path) + 1 : 0;
    if (len >= sizeof parent)
        return false;
    memcpy(parent, path, len);
    parent[len] = '\0';
    return realpath(len ? parent : ".", folder) != NULL;
}

static bool take_path(struct config_file *file, const char *path)
{
    size_t len = strlen(path);
    bool fits = len < sizeof file->path;
    memmove(file->path, path, fits ? len + 1 : 0); /* it may be file->path itself */
    if (!fits)
        file->path[0] = '\0';
    if (!fits || !find_folder(path, file->folder))
        file->folder[0] = '\0';
    return fits && access(path, F_OK) == 0;
}

bool config_locate(struct config_file *file, const char *given)
{
    const char *environment = getenv("FTCHAT_CONFIG");
    if (given)
        return take_path(file, given);
    if (environment && *environment)
        return take_path(file, environment);
    return take_path(file, "ftchat.ini") || take_path(file, "/etc/ftchat/ftchat.ini") ||
           take_path(file, "ftchat.ini");
}

static int read_whole(const char *path, char *text, size_t *len)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return errno;
    ssize_t got = 1;
    *len = 0;
    while (got > 0 && *len < FILE_READ_BYTES) {
        got = read(fd, text + *len, FILE_READ_BYTES - *len);
        if (got < 0 && errno == EINTR)
            got = 1;
        else if (got > 0)
            *len += (size_t)got;
    }
    int error = got < 0 ? errno : 0;
    close(fd);
    return error;
}

static void say_report(const char *command, const char *path, const struct config_report *report)
{
    for (uint32_t i = 0; i < report->count && i < LIMIT_NOTES; i++) {
        const struct config_note *note = &report->notes[i];
        if (note->line)
            say_error(EXIT_USAGE, command, "%s:%u: %s", path, note->line, note->text);
        else
            say_error(EXIT_USAGE, command, "%s: %s", path, note->text);
    }
    if (report->count > LIMIT_NOTES)
        say_error(EXIT_USAGE, command, "%s: and %u mistakes more", path,
                  report->count - LIMIT_NOTES);
}

int config_load(struct config_file *file, const char *command, const char *given)
{
    if (!config_locate(file, given) && !given && !getenv("FTCHAT_CONFIG"))
        return say_error(EXIT_USAGE, command,
                         "no configuration: neither ./ftchat.ini nor /etc/ftchat/ftchat.ini is "
                         "there (give --config FILE, or make one: ftchat ctl init HOST ...)");
    char *text = malloc(FILE_READ_BYTES);
    struct config_report *report = malloc(sizeof *report);
    CHECK(text && report);
    size_t len = 0;
    int error = read_whole(file->path, text, &len);
    int status = EXIT_USAGE;
    if (error || !file->folder[0])
        say_error(EXIT_USAGE, command, "%s: cannot be read: %s", file->path,
                  strerror(error ? error : ENAMETOOLONG));
    else if (config_parse(&file->config, report, text, len))
        status = EXIT_DONE;
    else
        say_report(command, file->path, report);
    free(text);
    free(report);
    return status;
}

bool config_resolve(const struct config_file *file, const char *path, char out[PATH_MAX])
{
    CHECK(file->folder[0] == '/');
    const char *folder = strcmp(file->folder, "/") == 0 ? "" : file->folder;
    int len = path[0] == '/' ? snprintf(out, PATH_MAX, "%s", path)
                             : snprintf(out, PATH_MAX, "%s/%s", folder, path);
    return len > 0 && len < PATH_MAX;
}

static int say_key_error(const char *command, const char *path, enum ft_error error,
                         const char *why)
{
    return say_error(error == FT_ERROR_DENIED ? EXIT_DENIED : EXIT_USAGE, command, "%s: %s", path,
                     why);
}

int config_load_keys(const struct config_file *file, const char *command, struct cluster_keys *keys)
{
    char path[PATH_MAX];
    char why[KEYS_WHY_BYTES];
    if (!config_resolve(file, file->config.key_file, path))
        return say_error(EXIT_USAGE, command, "%s: the path is too long", file->config.key_file);
    enum ft_error error = keys_load(keys, path, why);
    return error ? say_key_error(command, path, error, why) : EXIT_DONE;
}

int config_load_public(const struct config_file *file, const char *command,
                       struct cluster_public *public_half)
{
    char path[PATH_MAX];
    char why[KEYS_WHY_BYTES];
    if (!config_resolve(file, file->config.pub_file, path))
        return say_error(EXIT_USAGE, command, "%s: the path is too long", file->config.pub_file);
    enum ft_error error = keys_load_public(public_half, path, why);
    return error ? say_key_error(command, path, error, why) : EXIT_DONE;
}

int config_load_node(struct config_file *file, const char *command, const char *given, unsigned id,
                     struct cluster_keys *keys)
{
    int status = config_load(file, command, given);
    if (status)
        return status;
    if (id && !file->config.nodes[id].present)
        return say_error(EXIT_USAGE, command, "--id: %u: no [node.%u] in %s", id, id, file->path);
    if (!crypto_start())
        return say_error(EXIT_FAILED, command, "the system gives no randomness");
    return config_load_keys(file, command, keys);
}
