/* Walks one segment's entries and proves each of them; at the first damage it gathers the facts by
 * which recovery decides (recover.h).
 *
 * It only reads. Memory: one window of 2 MiB, the caller's marks. FT_OK with damage.place not
 * DAMAGE_NOWHERE is an answer; an error is the device's. */
#ifndef FTCHAT_STORE_SCAN_H
#define FTCHAT_STORE_SCAN_H

#include "store/internal.h"
#include "store/recover.h"

struct scan_damage {
    enum damage_place place;
    enum damage_part part;
    bool zeros;
    uint64_t offset;
    uint64_t index;    /* of the entry, or where it should be */
    uint64_t used;     /* offset behind the last byte that is not zero */
    bool end_readable; /* the last header of the file can be read, and zeros are behind its entry */
    uint64_t end_term; /* of that entry */
    uint64_t end_last;
    uint64_t next_offset; /* the next entry whose header can be read; 0: none behind the damage */
    uint64_t next_index;
    bool next_chained; /* next_chain is what it follows: only a body is damaged */
    uint8_t next_chain[HASH_BYTES];
};

struct scan {
    const struct disk *disk;
    const struct crypto *crypto;
    const uint8_t *key;
    struct disk_file *file;
    uint64_t size;
    uint64_t segment_bytes; /* of entries; behind that many is none; UINT64_MAX: all may be */
    bool last_segment;      /* nothing was written after it */
    uint64_t stop_before;   /* entries from this index on are not looked at; UINT64_MAX: all */
    struct segment
        *segment; /* first and chain (of the entry before) in; end, last, chain, marks out */

    uint64_t entries;
    uint64_t erased; /* posts without words */
    uint64_t flush;  /* highest number seen, also in what is damaged */
    uint64_t commit; /* highest commit index named */
    uint64_t term;   /* of the last good entry */
    struct scan_damage damage;

    /* Where it is: for whoever goes on after a damage. */
    uint64_t offset;
    uint64_t next;
    bool unproven; /* what the next entry follows cannot be read */

    uint8_t *window;
    uint64_t window_offset;
    size_t window_len;
};

enum {
    SCAN_WINDOW_BYTES = 2 << 20,
    SCAN_SLICE_BYTES = 256 << 10, /* read at a time, where no entry is longer */
};

/* `window` is SCAN_WINDOW_BYTES of the caller's. */
enum ft_error scan_segment(struct scan *scan);
/* The same in slices of about `budget` bytes; *more: not at the end, nor at a damage. */
void scan_begin(struct scan *scan);
enum ft_error scan_some(struct scan *scan, uint64_t budget, bool *more);
/* Goes on behind the damage (false: there is nothing readable), or where it was, which was mended. */
bool scan_skip(struct scan *scan);
void scan_retry(struct scan *scan);
/* Only the facts about the file's end, as if its first entry were damaged. */
enum ft_error scan_end(struct scan *scan);

#endif
