/* The text of a new ftchat.ini, for `ctl init HOST ...`: the nodes, and every other key with its
 * meaning, range and default, as a comment to be taken in. Made from the table that also reads it.
 */
#ifndef FTCHAT_CMD_INI_TEXT_H
#define FTCHAT_CMD_INI_TEXT_H

#include <stddef.h>

/* The length, or 0: `*bad` is then the host that is none, or NULL when their number is wrong. */
size_t ini_compose(char *out, size_t size, const char *name, char **hosts, int host_count,
                   const char **bad);

/* Prints every section and key with range, default and meaning to stdout. */
void ini_print_keys(void);

#endif
