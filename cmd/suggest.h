/* "Did you mean": the nearest of a list of words, by edit distance. Used wherever a person typed a
 * name that does not exist: commands, options, sections and keys. */
#ifndef FTCHAT_CMD_SUGGEST_H
#define FTCHAT_CMD_SUGGEST_H

#include <stddef.h>

struct suggestion {
    const char *typed;
    const char *best; /* the nearest so far, borrowed; NULL before the first word */
    size_t distance;
};

struct suggestion suggest_begin(const char *typed);
void suggest_word(struct suggestion *suggestion, const char *word);

#endif
