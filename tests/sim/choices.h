/* Which part of a seed runs. Without choices: all of it. Made by hand, or by minimise.c, that looks
 * for the least that still fails in the same way. */
#ifndef FTCHAT_TESTS_SIM_CHOICES_H
#define FTCHAT_TESTS_SIM_CHOICES_H

#include <stdbool.h>
#include <stdint.h>

enum { CHOICES_FAULTS = 1 << 14 }; /* numbers that can be chosen among; later ones do not happen */

struct choices {
    bool some_faults;                 /* only those that are kept */
    uint8_t keep[CHOICES_FAULTS / 8]; /* bit per number of a fault */
    uint32_t clients;                 /* at most; 0: as drawn */
    uint32_t ops;                     /* of all clients together, at most; 0: no limit */
    uint32_t load_s;                  /* how long faults and load go on; 0: as drawn */
};

extern struct choices choices;

/* Does the fault with this number happen? */
bool choices_fault(uint32_t number);
void choices_keep(struct choices *some, uint32_t number, bool keep);
/* "3,17-20", or "none"; false: it is not such a list. */
bool choices_read_faults(const char *list);
/* As options of the command line, with a space before each. */
void choices_print(const struct choices *some);

/* Runs the seed again and again with less; prints the command for the least that fails alike. False:
 * it does not fail. */
bool minimise(uint64_t seed);

/* What a run that fails leaves for minimise, in memory that its parent sees; NULL: nobody asks. */
struct outcome {
    bool failed;
    uint64_t where; /* a hash: the same for the same check */
    uint64_t at_us;
    uint32_t faults; /* that came by until then */
    uint32_t ops;
};
extern struct outcome *outcome;

#endif
