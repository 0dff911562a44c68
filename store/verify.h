/* What one run of store_verify knows, for the files that it is made of: verify.c goes through the
 * folder and the log, verify_files.c proves the other files.
 *
 * What is damaged is told and gone past, a page that the device cannot read too; every other error
 * of the device ends the run. */
#ifndef FTCHAT_STORE_VERIFY_H
#define FTCHAT_STORE_VERIFY_H

#include "store/internal.h"

struct verify {
    const struct disk *disk;
    const struct crypto *crypto;
    uint8_t key[IDENTITY_BYTES];
    uint64_t upto; /* entries after it are being written; UINT64_MAX: nobody writes */
    void (*found)(void *ctx, const struct store_damage *);
    void *ctx;
    uint64_t entries;
    uint64_t erased; /* posts */
    uint64_t next;             /* index that the next segment must begin with; 0: unknown */
    uint8_t chain[HASH_BYTES]; /* before `next` */
    struct store_names names;
    uint64_t begin; /* where the log begins; 0: cannot be read */
    uint8_t *window;
};

void verify_tell(struct verify *verify, const char *file, uint64_t offset, uint64_t index,
                 const char *what);
bool verify_is_damage(enum ft_error error);

/* *keyed: the cluster's identity, the key of everything else, is known. */
enum ft_error verify_identity(struct verify *verify, bool *keyed);
enum ft_error verify_begin(struct verify *verify);
enum ft_error verify_vote(struct verify *verify);
/* `segment` is what its entries say; `whole`: all of them could be read. */
enum ft_error verify_index(struct verify *verify, const struct segment *segment, bool whole);
enum ft_error verify_checkpoint(struct verify *verify, uint64_t index);
enum ft_error verify_held(struct verify *verify);
enum ft_error verify_scrub(struct verify *verify);
enum ft_error verify_copy(struct verify *verify);

#endif
