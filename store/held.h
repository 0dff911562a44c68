/* The held log's files, for the store's own files and its tests (held.c has the format). */
#ifndef FTCHAT_STORE_HELD_H
#define FTCHAT_STORE_HELD_H

#include "store/internal.h"

enum {
    HELD_HEADER_BYTES = DISK_SECTOR_BYTES,
    HELD_FILE_BYTES = 2 * LIMIT_HELD_BYTES,
};

enum held_head { HELD_HEAD_ZEROS, HELD_HEAD_BAD, HELD_HEAD_GOOD };
enum held_decision { HELD_TORN, HELD_ROTTEN };
struct held_row {
    enum held_head head;
    bool missing; /* a sector of it reads as zeros, or is beyond the file's end */
    bool last;    /* no good entry follows */
    enum held_decision decision;
    const char *why;
};
enum { HELD_ROWS = 12 };
extern const struct held_row held_rows[HELD_ROWS];
const struct held_row *held_decide(enum held_head head, bool missing, bool last);

/* Reads one file's bytes. It trusts nothing and never fails: records that are proven go to
 * on_record in order, what is rotten to on_rot with its offset and, when known, its number. */
struct held_scan {
    const struct crypto *crypto;
    const uint8_t *key; /* the cluster's identity */
    const uint8_t *data;
    size_t len;
    uint64_t last; /* in: the highest number before this file; out: in it */
    void (*on_record)(void *ctx, uint64_t number, struct slice body);
    void (*on_rot)(void *ctx, uint64_t offset, uint64_t number, const char *what);
    void *ctx;
    uint64_t commit; /* the highest that an entry names */
    uint64_t torn_bytes;
    uint64_t rotten;
    bool newer; /* of a version that is not known */
};
void held_scan(struct held_scan *scan);

struct held_names {
    uint64_t list[HELD_FILES]; /* sorted */
    size_t count;
    bool too_many;
};
enum ft_error held_names_list(const struct disk *disk, struct held_names *names);
enum ft_error held_file_load(const struct disk *disk, uint64_t number, uint8_t **data, size_t *len);

/* Which cluster's they are, by the first header that proves itself. MISSING: none does. */
enum ft_error held_ask(const struct disk *disk, const struct crypto *crypto,
                       uint8_t cluster[IDENTITY_BYTES]);
/* Reads what earlier processes left into recovery->held. */
enum ft_error held_recover(struct store *store, struct store_recovery *recovery);
void held_release(struct store *store);
/* Closes the handle, in the thread that opened it. */
void held_forget(struct store *store);
void held_path(char path[DISK_PATH_BYTES], uint64_t number, const char *suffix);

/* held_copy.c */
void held_copy_add(struct store *store, uint64_t number, const uint8_t *data, size_t len);
void held_copies_drop(struct store *store);
/* The first file from this number on; false: none. */
bool held_copy_from(struct store *store, uint64_t from, uint64_t *number);
/* Proves about `budget` bytes of a file from *offset on, and writes anew what is not as it was written.
 * *more: not at its end. */
enum ft_error held_copy_prove(struct store *store, struct disk_file *file, uint64_t number,
                              uint64_t *offset, uint64_t budget, bool *more, bool *mended);

#endif
