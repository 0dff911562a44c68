/* The front door: one table of commands, and the loop over it.
 * Called as `ftchat node ...`, or through a link named `ftchat-node` or `node`. */
#include "cmd/commands.h"
#include "cmd/install.h"
#include "cmd/say.h"
#include "cmd/suggest.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const struct command {
    const char *name;
    int (*function)(int argc, char **argv);
    const char *help;
} commands[] = {
    { "node", cmd_node, "run one node of the cluster, in the foreground" },
    { "client", cmd_client, "chat: on a terminal, in a pipe, or as JSON lines for a bot" },
    { "monitor", cmd_monitor, "start, watch and restart the nodes of this host" },
    { "chaos", cmd_chaos,
      "break a running cluster on purpose, and heal it (not in this build yet)" },
    { "ctl", cmd_ctl, "set up, look at and look after a cluster" },
};

enum { COMMANDS = sizeof commands / sizeof commands[0] };

static int print_help(void)
{
    printf("usage: ftchat COMMAND [options]\n\n");
    for (int i = 0; i < COMMANDS; i++)
        printf("  %-9s%s\n", commands[i].name, commands[i].help);
    printf("\n  --install DIR   make links ftchat-node ... to this file in DIR\n"
           "  -h, --help      this page; `ftchat help COMMAND` or `ftchat COMMAND --help`\n"
           "  -V, --version   print the version\n");
    return say_flushed(NULL);
}

static const struct command *find_command(const char *name)
{
    for (int i = 0; i < COMMANDS; i++)
        if (strcmp(name, commands[i].name) == 0)
            return &commands[i];
    return NULL;
}

static int unknown(const char *word)
{
    struct suggestion nearest = suggest_begin(word);
    for (int i = 0; i < COMMANDS && word[0] != '-'; i++)
        suggest_word(&nearest, commands[i].name);
    for (int i = 0; i < 3 && word[0] == '-'; i++)
        suggest_word(&nearest, (const char *[]) { "--help", "--version", "--install" }[i]);
    return say_error(EXIT_USAGE, NULL, "%s: unknown %s (did you mean %s?)", word,
                     word[0] == '-' ? "option" : "command", nearest.best);
}

int main(int argc, char **argv)
{
    const char *name = program_invocation_short_name;
    name += strncmp(name, "ftchat-", 7) == 0 ? strlen("ftchat-") : 0;
    const struct command *command = find_command(name);
    if (command)
        return command->function(argc, argv);
    const char *first = argc < 2 ? "" : argv[1];
    if (!*first)
        return say_error(EXIT_USAGE, NULL, "no command given (see ftchat --help)");
    if (strcmp(first, "--version") == 0 || strcmp(first, "-V") == 0)
        return say_version();
    if (strcmp(first, "--install") == 0)
        return install_links(argv[2]);
    int help = strcmp(first, "help") == 0;
    if ((help && !argv[2]) || strcmp(first, "--help") == 0 || strcmp(first, "-h") == 0)
        return print_help();
    command = find_command(argv[1 + help]);
    if (!command)
        return unknown(argv[1 + help]);
    if (help)
        return command->function(2, (char *[]) { argv[2], "--help", NULL });
    return command->function(argc - 1, argv + 1);
}
