/* The decisions of recovery, as tables that the code runs by (recover.c) and that a person can
 * read. The tests make the data of each row and expect its decision.
 *
 * The words: a *flush* is what one write and one sync put there. Each entry says which flush wrote
 * it and how far into it it lies, so the place where the last flush began is known. Only what that
 * flush wrote may be missing after a crash, whole sectors of it, which then read as zeros: the
 * segment was zero-filled before. All else that is wrong was damaged later: rot. */
#ifndef FTCHAT_STORE_RECOVER_H
#define FTCHAT_STORE_RECOVER_H

#include <stdbool.h>
#include <stddef.h>

/* Where the first damage after the checkpoint lies. */
enum damage_place {
    DAMAGE_NOWHERE,
    DAMAGE_EARLIER, /* a later flush, or a later segment, was written after it */
    DAMAGE_BEGINS,  /* in the flush that began the segment: it was synced before the file got its
                       name, so it was never torn */
    DAMAGE_LAST,    /* in the last flush */
};

enum damage_part {
    DAMAGE_NO_PART,
    DAMAGE_HEADER, /* the entry's header cannot be read: its term and index are unknown */
    DAMAGE_BODY,   /* the header can, its heads or a body cannot */
};

enum recover_action { RECOVER_OPEN, RECOVER_CUT, RECOVER_REFUSE };

struct recover_row {
    enum damage_place place;
    enum damage_part part;
    bool zeros; /* the bad bytes lie in a sector that reads as zeros */
    enum recover_action action;
    const char *why;
};

enum { RECOVER_ROWS = 13 };
extern const struct recover_row recover_rows[RECOVER_ROWS];
const struct recover_row *recover_decide(enum damage_place place, enum damage_part part,
                                         bool zeros);

/* The vote: two pairs of copies, written in turn. `other` is the pair that does not hold the
 * newest valid generation: a save that was promised may have gone there. */
enum vote_other {
    VOTE_OTHER_VALID,  /* at least one copy holds the generation before */
    VOTE_OTHER_BROKEN, /* neither copy can be read */
};

struct vote_row {
    bool found; /* a valid copy is there at all */
    enum vote_other other;
    bool may_vote;
    const char *why;
};

enum { VOTE_ROWS = 3 };
extern const struct vote_row vote_rows[VOTE_ROWS];
const struct vote_row *vote_decide(bool found, enum vote_other other);

#endif
