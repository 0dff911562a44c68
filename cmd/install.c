#include "cmd/install.h"

#include "cmd/commands.h"
#include "cmd/say.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* The path of the running file, absolute, so that the link works from everywhere. */
static const char *own_path(char path[PATH_MAX])
{
    ssize_t len = readlink("/proc/self/exe", path, PATH_MAX - 1);
    if (len <= 0)
        return NULL;
    path[len] = '\0';
    return path;
}

static int install_link(const char *folder, const char *path, const char *name)
{
    char link[PATH_MAX];
    if (snprintf(link, sizeof link, "%s/ftchat-%s", folder, name) >= (int)sizeof link)
        return say_error(EXIT_USAGE, NULL, "--install: %s: the path is too long", folder);
    if (symlink(path, link) == 0)
        return EXIT_DONE;
    int error = errno;
    char present[PATH_MAX];
    ssize_t len = error == EEXIST ? readlink(link, present, sizeof present) : -1;
    if (len == (ssize_t)strlen(path) && memcmp(present, path, (size_t)len) == 0)
        return EXIT_DONE;
    return say_error(EXIT_FAILED, NULL, "--install: %s: %s (%s)", link, strerror(error),
                     error == EEXIST ? "remove it first" : "the folder must exist and be writable");
}

int install_links(const char *folder)
{
    static const char *const names[] = { "node", "client", "monitor", "chaos", "ctl" };
    if (!folder)
        return say_error(EXIT_USAGE, NULL, "--install: no folder given (ftchat --install DIR)");
    char path[PATH_MAX];
    if (!own_path(path))
        return say_error(EXIT_FAILED, NULL,
                         "--install: cannot find this file: %s (is /proc mounted?)",
                         strerror(errno));
    int status = EXIT_DONE;
    for (size_t i = 0; i < sizeof names / sizeof names[0] && status == EXIT_DONE; i++)
        status = install_link(folder, path, names[i]);
    return status;
}
