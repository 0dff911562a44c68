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

enum recover_action {
    RECOVER_OPEN,
    RECOVER_CUT,  /* zero it: it was never promised */
    RECOVER_HOLD, /* the log ends before it for now; it stays where it is and is neither present nor
                     absent until it was fetched or a leader has sent it again (hold_rows) */
};

struct recover_row {
    enum damage_place place;
    enum damage_part part;
    bool zeros; /* a sector of it (of its header, when that is bad) reads as zeros */
    enum recover_action action;
    const char *why;
};

enum { RECOVER_ROWS = 13 };
extern const struct recover_row recover_rows[RECOVER_ROWS];
const struct recover_row *recover_decide(enum damage_place place, enum damage_part part,
                                         bool zeros);

/* What a node with a held tail may do. Its last header says how good its log was when all of it could
 * be read: with it the node votes as it would have then; it does not campaign. Without it, it gives
 * no vote before a leader that was elected without it has overwritten or confirmed the tail. */
struct hold_row {
    bool end_readable; /* the last header can be read, and nothing but zeros is behind its entry */
    bool may_vote;     /* for whoever's log is as good as that header */
    bool may_campaign;
    const char *why;
};

enum { HOLD_ROWS = 2 };
extern const struct hold_row hold_rows[HOLD_ROWS];
const struct hold_row *hold_decide(bool end_readable);

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
