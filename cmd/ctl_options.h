/* What the ctl commands' lines have in common: --config FILE, --wait S, and which operands.
 *
 * A command puts CTL_ROW_CONFIG and CTL_ROW_WAIT into its table where it takes them, fills a struct ctl_given with its
 * defaults, and walks with ctl_next instead of options_next: it sees only the options that are its own, and the end.
 *
 *     struct ctl_given given = { .takes = CTL_SLOT, .wait_s = 5 };
 *     struct options options = options_begin(&page, argc, argv);
 *     for (int option; (option = ctl_next(&options, &given)) != OPTIONS_END;) {
 *         if (option != OPTION_JSON)
 *             return options.status;   (--help was printed, or the error was)
 *         json = true;
 *     } */
#ifndef FTCHAT_CMD_CTL_OPTIONS_H
#define FTCHAT_CMD_CTL_OPTIONS_H

#include "cmd/options.h"

enum ctl_operands {
    CTL_NO_OPERAND,
    CTL_SLOT,  /* one node's number, or none */
    CTL_WORD,  /* one word, or none: a folder */
    CTL_WORDS, /* any: ctl_next hands each out as OPTIONS_OPERAND */
};

struct ctl_given {
    enum ctl_operands takes;
    const char *config; /* NULL: not given */
    uint64_t wait_s;    /* the default, until --wait says another */
    uint8_t slot;       /* 0: not given */
    const char *word;   /* NULL: not given */
};

#define CTL_ROW_CONFIG                                                                             \
    {                                                                                              \
        "config", 'c', "FILE", "the configuration (else $FTCHAT_CONFIG, ./ftchat.ini, ...)"        \
    }
#define CTL_ROW_WAIT(seconds)                                                                      \
    {                                                                                              \
        "wait", 0, "S", "give up after this many seconds (default " seconds ")"                    \
    }

/* The row's index of the next option that is the command's own, OPTIONS_END, or OPTIONS_EXIT with everything said
 * (options->status). */
int ctl_next(struct options *options, struct ctl_given *given);

/* The whole line of a command that has no options of its own: false: the exit status is *status. */
bool ctl_read(const struct command_page *page, int argc, char **argv, struct ctl_given *given,
              int *status);

#endif
