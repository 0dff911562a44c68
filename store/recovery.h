/* One run of recovery: what it needs and what it found. For store.c; see recover.h for the
 * decisions. */
#ifndef FTCHAT_STORE_RECOVERY_H
#define FTCHAT_STORE_RECOVERY_H

#include "store/internal.h"

struct recovering {
    struct store *store; /* its disk, keys and segment_bytes are set; the table is filled here */
    struct vote_record *vote;
    struct store_names *names;
    struct store_recovery *recovery;
    char *why;
    size_t why_len;

    uint8_t *window;
    uint8_t chain[HASH_BYTES]; /* at the checkpoint; zeros without one */
    uint64_t term;             /* of the last entry */
    uint64_t file_size;        /* of the last segment */
    bool cut;
    uint64_t cut_from;
    uint64_t cut_to;
    bool held;         /* the log goes on behind its readable part */
    bool end_readable; /* and how far can be told */
    struct store_lost end;
};

/* One file with damage, for the log and for status; the first is told by name. */
void recover_note(struct recovering *run, const char *path, uint64_t offset, const char *what);

enum ft_error recover_log(struct recovering *run) FT_MUST_USE;

#endif
