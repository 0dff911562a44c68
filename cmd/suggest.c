#include "cmd/suggest.h"

#include <stdint.h>
#include <string.h>

enum { WORD_MAX = 32 };

static size_t least(size_t a, size_t b, size_t c)
{
    size_t ab = a < b ? a : b;
    return ab < c ? ab : c;
}

/* Levenshtein's distance, one row at a time; words are compared by their first WORD_MAX letters. */
static size_t distance_of(const char *a, const char *b)
{
    size_t row[WORD_MAX + 1];
    size_t a_len = strnlen(a, WORD_MAX);
    size_t b_len = strnlen(b, WORD_MAX);
    for (size_t j = 0; j <= b_len; j++)
        row[j] = j;
    for (size_t i = 1; i <= a_len; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b_len; j++) {
            size_t above = row[j];
            row[j] = least(above + 1, row[j - 1] + 1, diagonal + (a[i - 1] != b[j - 1]));
            diagonal = above;
        }
    }
    return row[b_len];
}

struct suggestion suggest_begin(const char *typed)
{
    return (struct suggestion) { .typed = typed, .best = NULL, .distance = SIZE_MAX };
}

void suggest_word(struct suggestion *suggestion, const char *word)
{
    size_t distance = distance_of(suggestion->typed, word);
    if (distance < suggestion->distance) {
        suggestion->best = word;
        suggestion->distance = distance;
    }
}
