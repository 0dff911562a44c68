/* What the files of the store share, and nobody else sees.
 *
 * Who may touch what:
 *   shared     under `mutex`, in sections of a few hundred nanoseconds: the segments' table with
 *              its marks, the spares, the postings that are in memory, durable_last
 *   log        only the caller of store_flush
 *   reading    only the caller of everything else
 *   constant   after store_open: disk, crypto, segment_bytes, identity
 *   cluster    set once by the log side before the first entry; others look at it only after they
 *              saw an entry under the mutex
 *
 * Every file opens with the same 24 bytes, in every version to come: magic [8], version u32, zero
 * u32, SipHash u64 of the first 16 under a key of zeros. So a newer file is told from a broken one.
 */
#ifndef FTCHAT_STORE_INTERNAL_H
#define FTCHAT_STORE_INTERNAL_H

#include <pthread.h>

#include "core/entry.h"
#include "store/disk.h"
#include "store/store.h"

enum {
    STORE_VERSION = 1,
    PROLOGUE_BYTES = 24,
    SEGMENT_HEADER_BYTES = 4096, /* entries begin here, in a sector of their own */
    MARK_STEP_BYTES = 16384,     /* one sparse mark for at least so many bytes of entries */
    STORE_SPARES = 16,           /* prepared segments that are remembered */
    STORE_HANDLES = 4,           /* segments that the reading side keeps open */
    STORE_WINDOW_BYTES = 128 << 10,
};

/* --- record.c: prologues, and files that are replaced whole ------------------------------------
 */

enum file_kind {
    FILE_IDENTITY,
    FILE_VOTE,
    FILE_SEGMENT,
    FILE_INDEX,
    FILE_CHECKPOINT,
    FILE_HELD,
    FILE_BEGIN,
    FILE_COPY,
    FILE_SCRUB,
};

void file_prologue_write(uint8_t *out, enum file_kind kind, const struct crypto *crypto);
/* OK, FOREIGN (another magic), VERSION (newer), CORRUPT. */
enum ft_error file_prologue_check(const uint8_t *data, size_t len, enum file_kind kind,
                                  const struct crypto *crypto);
/* What to do about it, for `why`. */
const char *file_advice(enum ft_error error);

/* Writes to `temporary`, syncs, renames to `path`, syncs `folder`. */
enum ft_error file_replace(const struct disk *disk, const char *folder, const char *temporary,
                           const char *path, const struct slice *parts, size_t parts_count);
/* What a killed process wrote and did not live to sync is made durable. OK when there is no such file. */
enum ft_error file_settle(const struct disk *disk, const char *path);
/* The whole file past the page cache, in memory the caller frees. */
enum ft_error file_load(const struct disk *disk, const char *path, size_t limit, uint8_t **data,
                        size_t *len);

/* A small file that nothing else could make good: its record stands in it twice, in pages of their
 * own. `prove` is given one after the other until it takes one. *whole: both are as they were written. */
enum ft_error file_replace_twice(const struct disk *disk, const char *temporary, const char *path,
                                 struct slice record);
typedef enum ft_error file_prove(void *ctx, struct slice record);
enum ft_error file_load_twice(const struct disk *disk, const char *path, size_t limit,
                              file_prove *prove, void *ctx, bool *whole);

/* Not const: so they take no room in the program's file, and none in memory either. */
enum { DISK_ZEROS = 1 << 20 };
extern uint8_t disk_zeros[DISK_ZEROS];

/* Reads like the disk's read, but goes around what the device cannot read: those pages come back as
 * bytes that no checksum agrees with. For whoever proves what it reads. */
enum ft_error disk_read_around(const struct disk *disk, struct disk_file *file, uint64_t offset,
                               uint8_t *data, size_t len, size_t *got);
/* Writes like the disk's write; a page that cannot be read takes no part of itself: all of it is written,
 * with what else of it could be read. What could not be is as bad as before. Not where another writes. */
enum ft_error disk_write_around(const struct disk *disk, struct disk_file *file, uint64_t offset,
                                const uint8_t *data, size_t len) FT_MUST_USE;
/* The prologue's own checksum is wrong: nobody wrote it so. */
bool file_prologue_rotten(const uint8_t *data, const struct crypto *crypto);

/* --- identity.c ---------------------------------------------------------------------------------
 */

struct identity_file {
    uint8_t identity[IDENTITY_BYTES];
    uint8_t cluster[IDENTITY_BYTES];
    uint64_t segment_bytes;
};
enum ft_error identity_file_save(const struct disk *disk, const struct crypto *crypto,
                                 const struct identity_file *file);
enum ft_error identity_file_load(const struct disk *disk, const struct crypto *crypto,
                                 struct identity_file *file);

/* --- vote.c -------------------------------------------------------------------------------------
 */

struct vote_record {
    uint64_t generation;
    uint64_t term;
    uint8_t vote[IDENTITY_BYTES];
    uint8_t identity[IDENTITY_BYTES];
    uint64_t truncate_from; /* not 0: a truncation was begun and is to be done again */
    uint64_t newest;        /* a segment that begins here must be there; 0: none */
    bool distrusted;        /* a vote was lost under this identity: never votes again */
    bool damaged;           /* a copy cannot be read: not on disk, told by vote_file_load, as is: */
    bool single;            /* the newest save died half-way: it stands in one copy only */
    struct store_lost lost; /* of a held tail that a truncation has removed */
};

enum vote_state { VOTE_VALID, VOTE_BROKEN };

enum {
    VOTE_PAIRS = 2,
    VOTE_COPIES = 4, /* pair 0: copies 0 and 1; pair 1: copies 2 and 3 */
    VOTE_SECTOR_BYTES = 4096,
    VOTE_FILE_BYTES = VOTE_COPIES * VOTE_SECTOR_BYTES,
    VOTE_RECORD_BYTES = DISK_SECTOR_BYTES, /* so that each copy is torn never, lost at worst */
};

enum ft_error vote_file_create(const struct disk *disk, const struct crypto *crypto,
                               const struct vote_record *record);
/* Writes both copies of the pair that `generation` names, and syncs. */
enum ft_error vote_file_save(const struct disk *disk, struct disk_file *file,
                             const struct crypto *crypto, const struct vote_record *record);
/* Both pairs anew, the same record twice. */
enum ft_error vote_file_renew(const struct disk *disk, const struct crypto *crypto,
                              struct vote_record *record);
/* MISSING, VERSION, FOREIGN, IO; else the newest valid record by vote_rows (recover.h). */
enum ft_error vote_file_load(const struct disk *disk, const struct crypto *crypto,
                             struct vote_record *record, bool *any);
enum vote_state vote_file_parse(const uint8_t *data, const struct crypto *crypto,
                                struct vote_record *record);

/* --- segment.c ----------------------------------------------------------------------------------
 */

/* The entry that begins at `offset` of the file covers first + delta. */
struct mark {
    uint32_t delta;
    uint32_t offset;
};

struct segment {
    uint64_t id; /* never used twice, so that a handle of a removed file is not mistaken */
    uint64_t first;
    uint64_t last;
    uint64_t end;              /* offset behind the last entry */
    uint8_t chain[HASH_BYTES]; /* of the last entry */
    struct mark *marks;        /* NULL once indexed: they are in the index file then */
    uint32_t marks_count;
    uint32_t marks_capacity;
    bool indexed;        /* its index file is complete and a checkpoint covers it */
    bool header_rotten;  /* to be written anew by recovery */
    bool deletions_lost; /* its index file cannot be read: what it deleted is not known */
};

struct segment_header {
    uint64_t first;
    uint64_t segment_bytes;
    uint8_t cluster[IDENTITY_BYTES];
    uint8_t chain[HASH_BYTES]; /* of the entry before the first */
};

void segment_path(char path[DISK_PATH_BYTES], uint64_t first, const char *suffix);
void segment_header_write(uint8_t out[SEGMENT_HEADER_BYTES], const struct segment_header *header,
                          const struct crypto *crypto);
enum ft_error segment_header_parse(const uint8_t data[SEGMENT_HEADER_BYTES],
                                   const struct crypto *crypto, struct segment_header *header);
/* A segment has as many bytes of entries as it takes: the one behind `end` begins in the next. */
static inline bool segment_full_at(uint64_t end, uint64_t segment_bytes)
{
    return end - SEGMENT_HEADER_BYTES >= segment_bytes;
}
static inline bool segment_full(const struct segment *segment, uint64_t segment_bytes)
{
    return segment_full_at(segment->end, segment_bytes);
}
/* Notes the entry at `offset` when it is far enough from the last mark; false: no memory. */
bool segment_mark(struct segment *segment, uint64_t index, uint64_t offset);
/* The last mark at or before `index`; the segment's first entry when there is none. */
uint64_t segment_mark_before(const struct segment *segment, uint64_t index);
void segment_cut_marks(struct segment *segment, uint64_t end);

/* Under the mutex: the table is sorted by `first` and has no holes. */
struct segment *segments_find(struct store *store, uint64_t index);
struct segment *segments_push(struct store *store); /* NULL: no memory */

/* Writes a segment's header anew; `chain`: before its first entry. */
enum ft_error segment_header_repair(struct store *store, uint64_t first,
                                    const uint8_t chain[HASH_BYTES]);

/* A segment that is gone: its file with a header and nothing else, for the rest to be put there. `chain`
 * NULL: what the header says is not known yet, and zeros say so. */
enum ft_error segment_file_create(struct store *store, uint64_t first,
                                  const uint8_t chain[HASH_BYTES]);
/* What its entries told of a sealed segment's end. */
void segment_learned(struct store *store, uint64_t first, uint64_t end,
                     const uint8_t chain[HASH_BYTES]);

void spare_path(char path[DISK_PATH_BYTES], uint64_t number);
/* Makes, fills and syncs one spare file; it is not in the table yet. */
enum ft_error spare_make(struct store *store, uint64_t *number);

/* --- index.c, postings.c ------------------------------------------------------------------------
 */

/* One post or event of a room. */
struct posting {
    uint64_t index;
    uint64_t seq;
    bool event;
};

struct packed_posting {
    uint64_t index;
    uint64_t seq_event; /* seq << 1 | event */
};

struct room_postings {
    uint32_t room;
    uint32_t count;
    uint32_t capacity; /* 0: a free slot */
    struct packed_posting *items;
};

struct postings {
    struct room_postings *rooms; /* open addressing, a power of two */
    uint32_t rooms_count;
    uint32_t rooms_capacity;
    uint64_t newest; /* highest index noted */
};

bool postings_add(struct postings *postings, uint32_t room, const struct posting *posting);
const struct room_postings *postings_room(const struct postings *postings, uint32_t room);
/* Ordinal of the room's first posting above `index`. */
uint32_t postings_after(const struct room_postings *room, uint64_t index);
struct posting postings_get(const struct room_postings *room, uint32_t ordinal);
/* Forgets everything up to `index`. */
void postings_drop(struct postings *postings, uint64_t index);
void postings_free(struct postings *postings);

/* --- deletions.c -------------------------------------------------------------------------------
 *
 * What was deleted of the log: from the index files of the segments that hold the deleting commands, and
 * from memory for what no index file covers yet. All of it is in one table in memory, some twenty bytes
 * each, so that a page of old history needs no look at newer segments. */

struct deletion {
    uint64_t index;  /* of the deleting command */
    uint64_t target; /* of the post's */
    uint32_t check;
};

struct deletions {
    uint64_t *targets; /* open addressing, a power of two; 0: free */
    uint32_t *checks;
    uint64_t count;
    uint64_t capacity;
    struct deletion *fresh; /* of no index file yet, by index */
    size_t fresh_count;
    size_t fresh_capacity;
};

/* Under the mutex, all. false: no memory. */
bool deletions_add(struct deletions *deletions, uint64_t begin, uint64_t target, uint32_t check);
bool deletions_find(const struct deletions *deletions, uint64_t target, uint32_t *check);
/* What is in index files now. */
void deletions_drop(struct deletions *deletions, uint64_t index);
/* Those of [first, last], copied by the caller under the mutex. */
struct deletion *deletions_of(const struct deletions *deletions, uint64_t first, uint64_t last,
                              size_t *count);
void deletions_free(struct deletions *deletions);
/* The same with the mutex. */
bool store_deleted(struct store *store, uint64_t target, uint32_t *check);

enum {
    INDEX_BLOCK_BYTES = 4096,
    INDEX_PAYLOAD_BYTES = INDEX_BLOCK_BYTES - 16, /* then block number u64, SipHash u64 */
    INDEX_MARK_BYTES = 8,
    INDEX_ROOM_BYTES = 24,
    INDEX_POSTING_BYTES = 8,
    INDEX_DELETION_BYTES = 16,
    INDEX_CACHED_BLOCKS = 8,
};

/* What an index file says of itself, in its first block. */
struct index_header {
    uint64_t first;
    uint64_t last;
    uint64_t end;
    uint8_t chain[HASH_BYTES];
    uint32_t marks;
    uint32_t rooms;
    uint32_t postings;
    uint32_t deletions;
};

/* A room's line in a segment's directory. */
struct index_room {
    uint32_t room;
    uint32_t count;
    uint32_t start; /* ordinal of its first posting in the file */
    uint64_t seq_base;
};

enum ft_error index_file_write(struct store *store, const struct segment *segment);
/* Reads and proves the first block, and that the file is as long as it says. */
enum ft_error index_file_header_load(const struct disk *disk, const struct crypto *crypto,
                                     const uint8_t key[DIGEST_KEY_BYTES], uint64_t first,
                                     struct index_header *header, bool whole);
/* The same of a file of any name. */
enum ft_error index_file_prove(const struct disk *disk, const struct crypto *crypto,
                               const uint8_t key[DIGEST_KEY_BYTES], const char *path,
                               uint64_t first, struct index_header *header, bool whole);
/* The reading side's ways into an index file. */
struct index_file {
    uint64_t id; /* of the segment; 0: none */
    uint64_t used;
    struct disk_file *file;
    struct index_header header;
};
enum ft_error index_file_open(struct store *store, const struct segment *segment,
                              struct index_file **index);
enum ft_error index_file_mark_before(struct store *store, struct index_file *index, uint64_t at,
                                     uint64_t *offset);
/* FT_OK with count 0 when the segment has nothing of the room. */
enum ft_error index_file_room(struct store *store, struct index_file *index, uint32_t room,
                              struct index_room *found);
enum ft_error index_file_posting(struct store *store, struct index_file *index,
                                 const struct index_room *room, uint32_t ordinal,
                                 struct posting *posting);

/* Deletion number `ordinal` (below header.deletions). */
enum ft_error index_file_deletion(struct store *store, struct index_file *index, uint32_t ordinal,
                                  struct deletion *deletion);

/* Hands out each deletion of an index file, by index. */
typedef bool index_deletion_fn(void *ctx, const struct deletion *deletion);
enum ft_error index_file_deletions(const struct disk *disk, const struct crypto *crypto,
                                   const uint8_t key[DIGEST_KEY_BYTES], const char *path,
                                   const struct index_header *header, index_deletion_fn *each,
                                   void *ctx);
/* Those of a segment's index file go into the table. Recovery; and when a lost file is there again. */
enum ft_error deletions_load(struct store *store, const char *path,
                             const struct index_header *header);
enum ft_error deletions_reload(struct store *store, uint64_t first);

struct index_block {
    uint64_t id; /* of the segment; 0: none */
    uint64_t number;
    uint64_t used;
    uint8_t data[INDEX_BLOCK_BYTES];
};

/* --- checkpoint.c -------------------------------------------------------------------------------
 */

enum { CHECKPOINTS_KEPT = 2 };

void checkpoint_file_release(uint8_t *file);
bool checkpoint_readable(struct store *store, uint64_t index);
void checkpoint_file_path(char path[DISK_PATH_BYTES], uint64_t index);
/* The state's bytes in memory the caller frees (`*state` is the whole file, `*slice` its state). */
enum ft_error checkpoint_file_load(const struct disk *disk, const struct crypto *crypto,
                                   const uint8_t key[DIGEST_KEY_BYTES], uint64_t index,
                                   uint8_t chain[HASH_BYTES], uint8_t **file, struct slice *state);
/* Proves what a file holds; `state` then points into it. For checkpoint_file_load and its fuzzer.
 */
enum ft_error checkpoint_file_parse(const uint8_t *data, size_t len, const struct crypto *crypto,
                                    const uint8_t key[DIGEST_KEY_BYTES], uint64_t index,
                                    uint8_t chain[HASH_BYTES], struct slice *state);

/* Writes the checkpoint file of a base, durably, under the store's cluster. */
enum ft_error checkpoint_file_save(struct store *store, const struct store_base *base);

/* --- begin.c ------------------------------------------------------------------------------------
 */

/* Where the log begins. Saved before anything is dropped, so that a crash leaves something to be
 * done again, and a segment that is missing is never taken for one that was dropped. */
enum ft_error begin_file_save(const struct disk *disk, const struct crypto *crypto, uint64_t first);
/* A late log begins at 1 again: what it was is gone. */
enum ft_error begin_file_remove(const struct disk *disk);
/* 1 when there is no such file. */
enum ft_error begin_file_load(const struct disk *disk, const struct crypto *crypto, uint64_t *first,
                              bool *whole);

/* --- copy.c, install.c --------------------------------------------------------------------------
 */

/* data/N/copy. */
struct copy_file {
    bool installing; /* complete: store_open puts it in place */
    uint64_t begin;  /* the log begins there afterwards; 0: where it does */
    uint64_t start;  /* the first index that is copied */
    uint64_t end;
    uint64_t segment_bytes;
    uint64_t *firsts; /* installing: of each copied segment; allocated */
    size_t count;
};
enum ft_error copy_file_save(const struct disk *disk, const struct crypto *crypto,
                             const uint8_t key[DIGEST_KEY_BYTES], const struct copy_file *file);
enum ft_error copy_file_load(const struct disk *disk, const struct crypto *crypto,
                             const uint8_t key[DIGEST_KEY_BYTES], struct copy_file *file,
                             bool *whole);
void copy_segment_path(char path[DISK_PATH_BYTES], uint64_t first, const char *suffix);
void copy_checkpoint_path(char path[DISK_PATH_BYTES], uint64_t index);
/* Removes data/N/copy and every file of a copy. */
enum ft_error copy_remove_all(const struct disk *disk);

enum copy_stage {
    COPY_NONE,
    COPY_CHECKPOINT, /* at the end */
    COPY_BASE,       /* the checkpoint before the first entry, when the log is to begin there */
    COPY_INDEX,
    COPY_ENTRIES,
    COPY_COMPLETE,
};

/* Puts a complete copy in place, from wherever a crash left that. *end 0: there was none. The
 * identity and the vote are loaded; both are brought up to date. */
struct vote_record;
struct identity_file;
enum ft_error install_finish(const struct disk *disk, const struct crypto *crypto,
                             struct identity_file *identity, struct vote_record *vote,
                             uint64_t *end);

/* --- retain.c -----------------------------------------------------------------------------------
 */

/* Drops the checkpoints that are of no use any more. */
void retain_drop_checkpoints(struct store *store);

/* --- names of the folder's files ----------------------------------------------------------------
 */

struct store_names {
    uint64_t *segments; /* sorted, each list */
    size_t segments_count;
    uint64_t *indexes;
    size_t indexes_count;
    uint64_t *checkpoints;
    size_t checkpoints_count;
    char (*copies)[DISK_PATH_BYTES]; /* of a copy under way */
    size_t copies_count;
    char (*leftovers)[DISK_PATH_BYTES]; /* spares and temporary files */
    size_t leftovers_count;
    bool no_memory;
    bool no_log; /* there is no such folder */
};
/* segment.c: cluster and segment size, as the header of every segment, copied or not, tells
 * them. MISSING: there is no segment. */
enum ft_error segments_ask(const struct disk *disk, const struct crypto *crypto,
                           const struct store_names *names, struct identity_file *file);
/* 20 digits and then exactly `suffix`. */
bool name_number(const char *name, const char *suffix, uint64_t *number);
enum ft_error names_list(const struct disk *disk, struct store_names *names);
void names_free(struct store_names *names);
/* What is left of a log that ends at `last` now, and is sealed up to `sealed`: checkpoints and indexes of more go. */
enum ft_error names_drop_beyond(const struct disk *disk, const struct store_names *names,
                                uint64_t sealed, uint64_t last) FT_MUST_USE;

/* --- the store ----------------------------------------------------------------------------------
 */

struct log_side {
    bool failed; /* the first failed write or sync: nothing is promised after it */
    struct disk_file *vote_file;
    struct vote_record vote;
    struct disk_file *active;
    uint64_t active_id;
    uint64_t last_flush;
};

enum { HELD_FILES = 64 }; /* at once: one for each start of a node that has something open */

/* What a file of the held log holds (held_copy.c). */
struct held_copy {
    uint64_t number;
    uint8_t *data;
    size_t len;
    size_t capacity;
    bool broken; /* there was no memory for all of it */
};

struct held_side {
    struct disk_file *file; /* this process's; NULL before its first append */
    uint64_t end;           /* of what is promised in it */
    uint64_t next;          /* the number of this process's file */
    size_t files;
    uint64_t rotten[HELD_FILES]; /* numbers of the files that were found so */
    size_t rotten_count;
    struct held_copy copies[HELD_FILES]; /* of those that are there and not rotten; held_mutex */
    size_t copies_count;
    uint8_t *records; /* what recovery found, until store_checkpoint_release */
    size_t len;
    size_t capacity;
};

struct read_handle {
    uint64_t id; /* 0: free */
    uint64_t used;
    struct disk_file *file;
};

/* The entry that was looked at last. */
struct read_entry {
    uint64_t id; /* of the segment; 0: none */
    uint64_t offset;
    uint32_t size;
    uint64_t first;
    uint32_t count;
    uint64_t term;
    uint64_t time_us;
    uint32_t ordinal; /* body_offset is this body's, relative to the bodies */
    uint64_t body_offset;
    bool heads_loaded;
};

struct read_side {
    uint64_t clock; /* orders the uses of what is cached */
    struct read_handle handles[STORE_HANDLES];
    struct index_file indexes[STORE_HANDLES];
    struct index_block *blocks; /* INDEX_CACHED_BLOCKS, made at first use */
    uint8_t *window;            /* STORE_WINDOW_BYTES, made at first use */
    uint64_t window_id;
    uint64_t window_offset;
    size_t window_len;
    uint8_t *heads; /* of `entry` */
    struct read_entry entry;
};

/* The checkpoint being written. */
struct checkpoint_side {
    uint64_t index; /* 0: none */
    struct slice state;
    uint8_t chain[HASH_BYTES];
    uint8_t hash[HASH_BYTES];
    uint64_t after;         /* what was indexed before */
    uint64_t done;          /* up to here index files are written; later: segments are sealed */
    struct disk_file *file; /* NULL: not begun */
    uint64_t at;
    bool saved;
};

/* Erasing what was deleted, of the reading side (scrub.c). */
enum { SCRUB_BYTES = 256 << 10 }; /* of a slice: the bytes it writes, and where */

struct scrub_side {
    uint64_t done;   /* what the segments up to here delete is erased, durably */
    uint64_t walked; /* at or beyond `done`: looked at by this process */
    uint32_t item;   /* of the deletions of the segment after it, the next */
    bool left_some;  /* something on the way could not be read: `done` stays before it */
    bool paused;     /* by an error, until the next checkpoint */
    uint32_t count;  /* of `writes` */
    size_t len;
    uint8_t *writes; /* SCRUB_BYTES, made at first use */
};
void scrub_free(struct store *store);
/* A checkpoint was made: there is more to do, and what failed is tried again. */
void scrub_go_on(struct store *store);
/* Something of the segment that begins at `first` is going to be mended with what another node sent. */
enum ft_error scrub_again(struct store *store, uint64_t first);
/* Its file is damaged: it is written anew. */
enum ft_error scrub_all_again(struct store *store);
/* Opening: finishes what a crash left half written. */
enum ft_error scrub_recover(struct store *store);
/* All is to be looked at again: other segments have come into the log. */
enum ft_error scrub_forget(const struct disk *disk);
/* Of a folder that nobody runs on: is the file good? MISSING: there is none. */
enum ft_error scrub_prove(const struct disk *disk, const struct crypto *crypto,
                          const uint8_t key[DIGEST_KEY_BYTES]);

struct copy_side {
    enum copy_stage stage;
    struct copy_file plan;
    uint8_t cluster[IDENTITY_BYTES];
    uint8_t end_chain[HASH_BYTES];
    struct disk_file *file; /* what is being written; NULL: not open */
    uint64_t offset;        /* of it, written and durable */
    uint64_t first;         /* the segment at hand; its index, once copied: */
    struct index_header header;
    uint64_t next;                   /* entry wanted */
    uint8_t chain[HASH_BYTES];       /* of the entry before it */
    uint8_t first_chain[HASH_BYTES]; /* of the entry before the segment at hand */
};

/* The file that is being proved (check.c). */
struct check_side {
    enum store_file file;
    uint64_t id;
    enum store_file next_file; /* of STORE_CHECK_NEXT */
    uint64_t next_id;
    struct scan *scan; /* made at first use, with its window */
    struct disk_file *handle;
    struct segment segment;   /* what the scan finds */
    struct segment known;     /* what the table says */
    uint64_t told;            /* bytes of it already counted */
    uint64_t gathered;        /* bytes of the file that is to take its place */
    bool skipped;             /* something of it could not be mended: its end proves nothing */
    bool resting;             /* its entries are proved: what is behind them comes next */
    uint64_t checkpoints_now; /* bytes of them, in this round and the one before */
    uint64_t checkpoints_before;
};

enum { STORE_NOTICED = 16 };
struct noticed {
    enum store_file file;
    uint64_t id;
};

struct store {
    const struct disk *disk;
    const struct crypto *crypto;
    uint64_t segment_bytes;
    uint8_t identity[IDENTITY_BYTES];
    uint8_t cluster[IDENTITY_BYTES];
    struct disk_file *lock;

    pthread_mutex_t mutex;
    struct segment *segments;
    size_t segments_count;
    size_t segments_capacity;
    uint64_t next_id;
    uint64_t durable_last;
    uint64_t begin;                 /* where the log begins */
    uint8_t base_chain[HASH_BYTES]; /* before the first entry of a log that has none yet */
    uint64_t indexed_last;          /* everything up to here is in index files */
    bool leftover;    /* behind the log's end lies what cannot be read (recover.h: HOLD) */
    uint64_t unexplained; /* where a late log begins that counts as one that begins at 1; or 0 */
    uint64_t spares[STORE_SPARES];
    size_t spares_count;
    uint64_t next_spare;
    struct postings postings;
    bool postings_lost; /* no memory for a posting: no checkpoint may be made any more */
    struct deletions deletions;
    bool deletions_lost; /* no memory for one: no post is given any more */
    uint64_t unsure;     /* posts up to here may be deleted without that being known: likewise */

    struct log_side log;
    struct held_side held; /* the log side's, too */
    struct read_side reading;
    struct checkpoint_side checkpoint; /* of the reading side, like the next */
    struct copy_side copy;
    struct scrub_side scrub;
    bool retains;
    struct check_side check; /* of the reading side, like all that follows */
    struct noticed noticed[STORE_NOTICED];
    size_t noticed_count;
    pthread_mutex_t tail;       /* segments are being written to, or mended; before `mutex` */
    pthread_mutex_t held_mutex; /* held.copies */

    uint8_t *checkpoint_file;
};

static inline void store_lock(struct store *store)
{
    pthread_mutex_lock(&store->mutex);
}

static inline void store_unlock(struct store *store)
{
    pthread_mutex_unlock(&store->mutex);
}

/* Of a segment's file, whose entries end before: what is behind them is zeros. */
static inline uint64_t segment_file_bytes(const struct store *store)
{
    return SEGMENT_HEADER_BYTES + store->segment_bytes + LIMIT_ENTRY_BYTES;
}

/* rest.c: proves a slice of the zeros behind the entries of the segment that begins at `first`, from *offset on, and
 * writes anew what is damaged there. `window`: SCAN_WINDOW_BYTES. *more: not at the file's end. */
enum ft_error rest_prove(struct store *store, struct disk_file *file, uint64_t first,
                         uint64_t *offset, uint8_t *window, bool *more, bool *mended);

/* log.c: closes the log side's handles, in the thread that opened them. */
void log_forget(struct store *store);

/* read.c: a segment's copy by an index in it (marks are not to be used), false when it is not
 * there; a handle on it; bytes of it in the window. */
bool reading_segment(struct store *store, uint64_t index, struct segment *copy,
                     uint64_t *mark_offset);
enum ft_error reading_handle(struct store *store, const struct segment *segment,
                             struct disk_file **file);
enum ft_error reading_window(struct store *store, const struct segment *segment, uint64_t offset,
                             size_t len, const uint8_t **data);
/* Makes the entry that covers `index` the current one (store->reading.entry). */
enum ft_error reading_locate(struct store *store, uint64_t index, struct segment *segment);
/* Where the body of the command at `index` lies; its bytes, proven, into `out` (place->size). */
struct body_place {
    struct segment segment;
    uint64_t offset;
    uint64_t digest;
    uint32_t size;
};
enum ft_error reading_find_body(struct store *store, uint64_t index, struct body_place *place);
enum ft_error reading_body_at(struct store *store, const struct body_place *place, uint8_t *out);
/* The body of the command at `index`, into `out`; *size is told even when it does not fit. */
enum ft_error reading_body(struct store *store, uint64_t index, uint8_t *out, size_t capacity,
                           uint32_t *size, uint64_t *time_us);
void reading_forget(struct store *store);
/* Remembers that a read failed there; OK and errors of other kinds are not. */
void reading_notice(struct store *store, enum store_file file, uint64_t id, enum ft_error error);
/* What was kept of a segment's files is not to be used again. */
void reading_renew(struct store *store, uint64_t first);

/* check.c */
void check_forget(struct store *store);

#endif
