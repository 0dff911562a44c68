/* data/N/vote: the term and the vote, which must never be forgotten or go back.
 *
 * Four sectors of 4 KiB hold copies of one record. Generation g is written to both copies of pair
 * g % 2, and one sync makes the promise. The file begins with generations 1 and 2 of the same. A crash leaves each copy old or new (a record is one
 * 512-byte sector), so the newest valid copy is the newest promise or a save that was not promised
 * yet; both are safe. A pair that cannot be read at all was not torn by a crash: a promise may be
 * lost in it, and this identity does not vote again.
 *
 *    0  prologue [24]
 *   24  generation u64
 *   32  term u64
 *   40  vote [16]             zeros: none
 *   56  identity [16]         whose vote
 *   72  truncate_from u64     see log.c
 *   80  distrusted u8, zeros [7]
 *   88  newest u64            where the log's newest segment begins; a file that is gone was there
 *   96  lost: term u64, last u64, then zeros (store.h)
 *  504  check u64             SipHash of bytes 0..503 under the identity */
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "store/internal.h"
#include "store/recover.h"

enum {
    AT_GENERATION = 24,
    AT_TERM = 32,
    AT_VOTE = 40,
    AT_IDENTITY = 56,
    AT_TRUNCATE = 72,
    AT_DISTRUSTED = 80,
    AT_NEWEST = 88,
    AT_LOST_TERM = 96,
    AT_LOST_LAST = 104,
    AT_CHECK = VOTE_RECORD_BYTES - 8,
};

const struct vote_row vote_rows[VOTE_ROWS] = {
    { true, VOTE_OTHER_VALID, true, "the newest valid copy counts" },
    { true, VOTE_OTHER_BROKEN, false, "a newer vote may have been in the pair that is damaged" },
    { false, VOTE_OTHER_BROKEN, false, "no copy of the vote is left" },
};

const struct vote_row *vote_decide(bool found, enum vote_other other)
{
    const struct vote_row *row = vote_rows;
    while (row->found != found || row->other != other) {
        row++;
        CHECK(row < vote_rows + VOTE_ROWS && "every case has its row");
    }
    return row;
}

static void vote_format(uint8_t out[VOTE_RECORD_BYTES], const struct crypto *crypto,
                        const struct vote_record *record)
{
    memset(out, 0, VOTE_RECORD_BYTES);
    file_prologue_write(out, FILE_VOTE, crypto);
    bytes_put_u64(out + AT_GENERATION, record->generation);
    bytes_put_u64(out + AT_TERM, record->term);
    memcpy(out + AT_VOTE, record->vote, IDENTITY_BYTES);
    memcpy(out + AT_IDENTITY, record->identity, IDENTITY_BYTES);
    bytes_put_u64(out + AT_TRUNCATE, record->truncate_from);
    out[AT_DISTRUSTED] = record->distrusted;
    bytes_put_u64(out + AT_NEWEST, record->newest);
    bytes_put_u64(out + AT_LOST_TERM, record->lost.term);
    bytes_put_u64(out + AT_LOST_LAST, record->lost.last);
    bytes_put_u64(out + AT_CHECK, crypto->digest(record->identity, out, AT_CHECK));
}

enum vote_state vote_file_parse(const uint8_t *data, const struct crypto *crypto,
                                struct vote_record *record)
{
    if (file_prologue_check(data, VOTE_RECORD_BYTES, FILE_VOTE, crypto) != FT_OK)
        return VOTE_BROKEN;
    record->generation = bytes_get_u64(data + AT_GENERATION);
    record->term = bytes_get_u64(data + AT_TERM);
    memcpy(record->vote, data + AT_VOTE, IDENTITY_BYTES);
    memcpy(record->identity, data + AT_IDENTITY, IDENTITY_BYTES);
    record->truncate_from = bytes_get_u64(data + AT_TRUNCATE);
    record->distrusted = data[AT_DISTRUSTED] != 0;
    record->damaged = record->single = false;
    record->newest = bytes_get_u64(data + AT_NEWEST);
    record->lost.term = bytes_get_u64(data + AT_LOST_TERM);
    record->lost.last = bytes_get_u64(data + AT_LOST_LAST);
    if (bytes_get_u64(data + AT_CHECK) != crypto->digest(record->identity, data, AT_CHECK))
        return VOTE_BROKEN;
    return record->generation > 0 ? VOTE_VALID : VOTE_BROKEN;
}

enum ft_error vote_file_create(const struct disk *disk, const struct crypto *crypto,
                               const struct vote_record *record)
{
    CHECK(record->generation == VOTE_PAIRS);
    uint8_t *data = calloc(1, VOTE_FILE_BYTES);
    if (!data)
        return FT_ERROR_LIMIT;
    struct vote_record each = *record;
    for (uint64_t copy = 0; copy < VOTE_COPIES; copy++) {
        each.generation = copy < 2 ? 2 : 1;
        vote_format(data + copy * VOTE_SECTOR_BYTES, crypto, &each);
    }
    enum ft_error error =
        file_replace(disk, "", "vote.tmp", "vote", &(struct slice) { data, VOTE_FILE_BYTES }, 1);
    free(data);
    return error;
}

/* Whole pages: one that cannot be read any more is good again when it was written. Only the first
 * sector of each holds anything. */
enum ft_error vote_file_save(const struct disk *disk, struct disk_file *file,
                             const struct crypto *crypto, const struct vote_record *record)
{
    uint8_t data[VOTE_SECTOR_BYTES] = { 0 };
    vote_format(data, crypto, record);
    uint64_t pair = record->generation % 2;
    for (uint64_t copy = 2 * pair; copy < 2 * pair + 2; copy++) {
        enum ft_error error =
            disk->write(disk->ctx, file, copy * VOTE_SECTOR_BYTES, data, sizeof data);
        if (error)
            return error;
    }
    return disk->sync(disk->ctx, file);
}

enum ft_error vote_file_renew(const struct disk *disk, const struct crypto *crypto,
                              struct vote_record *record)
{
    struct disk_file *file = NULL;
    enum ft_error error = disk->open(disk->ctx, "vote", DISK_WRITE, &file);
    for (int pair = 0; pair < 2 && !error; pair++) {
        record->generation++;
        error = vote_file_save(disk, file, crypto, record);
    }
    if (file)
        disk->close(disk->ctx, file);
    record->damaged = record->single = false;
    return error;
}

/* What the pair that does not hold `newest` tells. */
static enum vote_other other_pair(const enum vote_state states[VOTE_COPIES], uint64_t newest)
{
    size_t pair = newest % 2 ? 0 : 2;
    if (states[pair] == VOTE_VALID || states[pair + 1] == VOTE_VALID)
        return VOTE_OTHER_VALID;
    return VOTE_OTHER_BROKEN;
}

enum ft_error vote_file_load(const struct disk *disk, const struct crypto *crypto,
                             struct vote_record *record, bool *any)
{
    uint8_t *data;
    size_t len;
    *record = (struct vote_record) { 0 };
    *any = false;
    enum ft_error error = file_load(disk, "vote", 2 * VOTE_FILE_BYTES, &data, &len);
    if (error)
        return error;
    bool rest = false;
    uint64_t generations[VOTE_COPIES] = { 0 };
    enum vote_state states[VOTE_COPIES] = { VOTE_BROKEN, VOTE_BROKEN, VOTE_BROKEN, VOTE_BROKEN };
    for (size_t i = 0; i < VOTE_COPIES; i++) {
        if (len < i * VOTE_SECTOR_BYTES + VOTE_RECORD_BYTES)
            continue;
        struct vote_record copy;
        const uint8_t *at = data + i * VOTE_SECTOR_BYTES;
        states[i] = vote_file_parse(at, crypto, &copy);
        if (states[i] == VOTE_BROKEN &&
            file_prologue_check(at, VOTE_RECORD_BYTES, FILE_VOTE, crypto) == FT_ERROR_VERSION)
            error = FT_ERROR_VERSION;
        /* A copy in the other pair's place is not one that was written there. */
        if (states[i] == VOTE_VALID && copy.generation % 2 != i / 2)
            states[i] = VOTE_BROKEN;
        for (size_t k = VOTE_RECORD_BYTES; k < VOTE_SECTOR_BYTES; k++)
            rest |= i * VOTE_SECTOR_BYTES + k < len && at[k] != 0;
        if (states[i] == VOTE_VALID)
            generations[i] = copy.generation;
        if (states[i] == VOTE_VALID && copy.generation > record->generation)
            *record = copy;
    }
    free(data);
    if (error)
        return error;
    *any = record->generation > 0;
    const struct vote_row *row = vote_decide(*any, other_pair(states, record->generation));
    record->distrusted |= !row->may_vote;
    record->damaged = rest || len != VOTE_FILE_BYTES;
    for (size_t i = 0; i < VOTE_COPIES; i++)
        record->damaged |= states[i] == VOTE_BROKEN;
    /* The newest stands in one copy only: its save died half-way. Whoever goes on with it promises
     * it, so it must not be lost with that copy. */
    size_t newest = 2 * (record->generation % 2);
    record->single = *any && generations[newest] != generations[newest + 1];
    return FT_OK;
}
