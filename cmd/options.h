/* GNU-style options, the same way for every command: --name VALUE, --name=VALUE, -x VALUE, -xVALUE,
 * `--` ends them, operands may stand anywhere, an option given twice: the last counts (callers just
 * overwrite). --help and -h, --version and -V are understood everywhere and need no row.
 *
 *     enum { OPTION_ID, OPTION_CONFIG };
 *     static const struct option_row rows[] = {
 *         [OPTION_ID] = { "id", 0, "N", "which node of the ini this is" },
 *         [OPTION_CONFIG] = { "config", 'c', "FILE", "the configuration" },
 *         { 0 },
 *     };
 *     static const struct command_page page = { "node", "--id N [options]", "Runs one node.", rows
 * }; struct options options = options_begin(&page, argc, argv); for (int option; (option =
 * options_next(&options)) != OPTIONS_END;) switch (option) { case OPTION_ID: id = options.value;
 * break; case OPTIONS_OPERAND: operand = options.value; break; case OPTIONS_EXIT: return
 * options.status;   (--help was printed, or the error was)
 *         }
 *
 * Nothing is allocated; values are borrowed from argv. */
#ifndef FTCHAT_CMD_OPTIONS_H
#define FTCHAT_CMD_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

struct option_row {
    const char *name;     /* without the dashes; NULL ends the table */
    char letter;          /* of the short form, or 0 */
    const char *argument; /* its name in the help, or NULL when it takes none */
    const char *help;
};

/* One page of help. */
struct command_page {
    const char *command; /* "node", "ctl status": as errors name it */
    const char *usage;   /* what follows the command's name */
    const char *about;   /* some lines for people; may hold line ends */
    const struct option_row *rows;
};

enum { OPTIONS_END = -1, OPTIONS_OPERAND = -2, OPTIONS_EXIT = -3 };

struct options {
    const struct command_page *page;
    int argc;
    char **argv;
    int at;
    bool only_operands;  /* after `--` */
    const char *cluster; /* what is left of -abc */
    const char *value;   /* of the option just returned, or the operand */
    int status;          /* with OPTIONS_EXIT */
};

struct options options_begin(const struct command_page *page, int argc, char **argv);

/* The row's index, or one of OPTIONS_*. */
int options_next(struct options *options);

/* Prints the page; the exit status. */
int options_help(const struct command_page *page);

/* A decimal number in [min, max]; else prints the error (`--id: 9: expected 1 to 7`) and is false.
 */
bool options_number(const struct options *options, const char *name, uint64_t min, uint64_t max,
                    uint64_t *out);

#endif
