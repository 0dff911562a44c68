/* One node's data directory: the log in segments, the vote, the identity, checkpoints and the
 * posts' index.
 *
 * It keeps bytes and decides nothing. Each function here runs to its end in the caller's thread:
 * the program calls them on the two disk threads (threads.h), the simulator inline over a simulated
 * disk (disk.h is the seam). The log side (store_flush) and the reading side (all else after
 * store_open) may run in parallel; each has file handles of its own, because the log thread has a
 * file table of its own.
 *
 *   data/N/lock               held while the node runs
 *   data/N/identity           this node's random identity, its cluster's identity (zeros: blank)
 *   data/N/vote               term and vote, two copies in different sectors of alternating pairs
 *   data/N/log/<first>.seg    segments: preallocated, zero-written; named by their first index
 *   data/N/log/<first>.idx    a sealed segment's index: room, seq -> place
 *   data/N/held-<number>      commands held while there is no leader; gone when none is open (held.c)
 *   data/N/checkpoint/<index> the state machine at a segment's end: the newest two, the one before
 *                             the log's first entry, and with retention some between (retain.c)
 *   data/N/begin              where the log begins, once that is above 1
 *   data/N/scrub              how far what was deleted is erased, and what is being written (scrub.c)
 *   data/N/copy               a catch-up by copying that is under way (copy.c); its files are
 *                             log/copy-<first>.seg and .idx, checkpoint/copy-<index>
 *
 * Segment boundaries are a function of content: a segment ends with the entry that fills it to
 * segment_bytes or beyond, so a file holds up to segment_bytes + LIMIT_ENTRY_BYTES. Checkpoints are
 * taken exactly at a segment's end: a restart replays what came after the newest one.
 *
 * Errors: FT_ERROR_SPACE from store_flush wrote nothing that counts and may be tried again: what
 * goes without entries (a vote, a truncation) is written in place and needs no space. Every other
 * error of store_flush is final, and so is FT_ERROR_SYNC from anything: the process must end (a
 * failed fsync is never retried). Reads may fail alone. */
#ifndef FTCHAT_STORE_STORE_H
#define FTCHAT_STORE_STORE_H

#include "core/bytes.h"
#include "core/crypto.h"
#include "core/error.h"
#include "core/limits.h"

struct disk;
struct store;

struct store_options {
    const struct disk *disk;     /* borrowed for the store's life; its root is data/N */
    const struct crypto *crypto; /* likewise */
    uint64_t segment_bytes;      /* for a blank directory; an existing log keeps its own */
    uint8_t fresh_identity[IDENTITY_BYTES]; /* taken when the directory is blank */
    bool retains; /* history is dropped in time: checkpoints to drop up to are kept */
    bool backup; /* a copy of a cluster's log that belongs to no node: its identity is zeros, and no
                    node opens it. fresh_identity is not looked at */
};

/* What earlier processes held (held.c). What is damaged is told and left out. */
struct store_held {
    struct slice
        records; /* { size u32, body } each, oldest first; until store_checkpoint_release */
    uint32_t files;
    uint64_t last;  /* highest number of a record; 0: none ever */
    uint64_t bytes; /* of the files */
    uint64_t commit;
    uint64_t rotten; /* damages found */
    char what[160];  /* the first of them */
};

enum { STORE_SEALED_TOLD = 4, STORE_CHECKPOINT_BYTES_MAX = 1 << 30 };

/* The end of a log of which a part was lost; last 0: nothing was. */
struct store_lost {
    uint64_t term;
    uint64_t last; /* UINT64_MAX: how far it went is not known */
};

/* What a node knows after opening its directory. */
struct store_recovery {
    uint8_t identity[IDENTITY_BYTES];
    uint8_t cluster[IDENTITY_BYTES]; /* zeros: blank */
    uint64_t term;
    uint8_t vote[IDENTITY_BYTES]; /* zeros: none in this term */
    bool may_vote;                /* while a part of the log is lost, by recover.h's hold_rows */
    bool may_campaign;
    uint64_t segment_bytes;
    uint64_t checkpoint_index;          /* 0: none */
    struct slice checkpoint;            /* owned by the store until store_checkpoint_release */
    uint64_t first_index;               /* where the log begins; 1 unless history was dropped */
    uint64_t last_index;                /* the log is (checkpoint_index, last_index]; 0: empty */
    uint64_t sealed[STORE_SEALED_TOLD]; /* ends of the newest sealed segments, rising; 0: none */
    uint64_t installed;                 /* a copy was put in place up to here; 0: none */
    uint64_t flush;                     /* number of the last flush found */
    uint64_t commit;                    /* highest commit index that a header names */
    uint64_t cut_bytes;                 /* a torn tail that was cut, for the log line */
    struct store_held held;
    /* Entries were here beyond last_index that cannot be read now (recover.h, hold_rows): a vote
     * goes only to a log that is as good as theirs was. */
    struct store_lost lost;
    bool leftover;  /* they are still on the disk; the first flush of entries must truncate from
                         last_index + 1 */
    bool vote_lost; /* its identity is a new one: the old one may have given a vote unknown to it */
    uint32_t damages; /* files with damage, all that was found */
    char damage[160]; /* the first of them, for the log line */
};

/* Opens, locks and recovers. On an error `why` tells what to do in one line, and the directory is
 * left untouched. */
enum ft_error store_open(struct store **store, const struct store_options *options,
                         struct store_recovery *recovery, char *why, size_t why_len) FT_MUST_USE;
void store_checkpoint_release(struct store *store);
void store_close(struct store *store);

/* What a log that begins above 1 is understood by: the checkpoint that stands before its first entry. */
struct store_base {
    uint64_t index; /* the log begins at index + 1 */
    uint8_t chain[HASH_BYTES];
    struct slice state; /* as it was given to store_checkpoint */
};
/* MISSING: the log begins at 1. The state's bytes lie in *file, which the caller frees. */
enum ft_error store_base_read(struct store *store, struct store_base *base,
                              uint8_t **file) FT_MUST_USE;
/* Proves such a checkpoint's file that somebody else sent; `state` points into it. */
enum ft_error store_base_parse(const struct crypto *crypto, const uint8_t cluster[IDENTITY_BYTES],
                               uint64_t index, struct slice file,
                               struct store_base *base) FT_MUST_USE;
/* In a folder whose log has no entry: it belongs to `cluster` from now on, and its log begins behind
 * `base`. Only to be closed then, and opened anew. For a folder in the making: one that a crash leaves
 * half done cannot be opened. */
enum ft_error store_base_write(struct store *store, const uint8_t cluster[IDENTITY_BYTES],
                               const struct store_base *base) FT_MUST_USE;

/* One flush: done in this order, each step durable before the next, then it returns. What is absent
 * is skipped. */
struct store_flush {
    uint64_t number;   /* the ticket; strictly increasing, also over restarts */
    bool save_cluster; /* the identity file: this node now belongs to `cluster` */
    uint8_t cluster[IDENTITY_BYTES];
    bool save_vote;
    uint64_t term;
    uint8_t vote[IDENTITY_BYTES];
    struct store_lost lost;  /* goes with the vote and with a truncation */
    uint64_t truncate_from;  /* 0: nothing; else zero the log from this index (an entry's first) to
                                its old end */
    struct slice entries[2]; /* whole entries, consecutive, the local part filled in; two runs when
                                a ring wraps. An entry never straddles the runs. */
};
enum ft_error store_flush(struct store *store, const struct store_flush *flush) FT_MUST_USE;

/* The held log, on the log side as store_flush: `entry` is durable when it returns FT_OK, or everything
 * held is forgotten. SPACE: nothing of it was kept, and it may be tried again. */
struct store_hold {
    uint64_t number; /* of the request */
    bool discard;
    struct slice entry; /* whole, its local part filled in; empty with discard */
};
enum ft_error store_hold(struct store *store, const struct store_hold *hold) FT_MUST_USE;

/* Copies whole entries from the one that holds `index` on, as many as fit into `capacity` (at least
 * one, which always fits into LIMIT_ENTRY_BYTES); never beyond what a finished flush wrote. Bodies
 * are verified. *len 0: not there. */
enum ft_error store_read_entries(struct store *store, uint64_t index, uint8_t *out, size_t capacity,
                                 size_t *len) FT_MUST_USE;

/* The posts' index. INDEX effects arrive in index order, for posts (seq 1, 2, 3 ... per room) and
 * for room events (event = true, seq of the newest post before it, not consumed). Kept in memory
 * until the segment is sealed; after a restart they come again for everything after the checkpoint.
 */
void store_index(struct store *store, uint32_t room, uint64_t seq, uint64_t index, bool event);

/* The command at `index` deletes the post whose command is at `target`: from now on it is given as
 * STORE_DELETED. `check` is that of what erasing leaves of the post (core/body.h). As store_index: kept
 * in memory until the segment of `index` is sealed, and then in its index file. */
void store_delete(struct store *store, uint64_t index, uint64_t target, uint32_t check);

/* Posts of one room by seq, both ends included, events left out; or everything of several rooms,
 * merged by index. */
struct store_room_range {
    uint32_t room;
    uint64_t after_index; /* exclusive */
    uint64_t upto_index;  /* inclusive */
    uint64_t from_seq;    /* posts below are left out and told by one STORE_SKIPPED record, which
                             stands where the first of them would be */
    uint64_t last_seq;    /* the newest, kept or not: of what is not kept when nothing is */
    bool skip_told;       /* an earlier page told it: they are left out silently */
};
struct store_query {
    uint32_t room; /* by seq, when rooms_count is 0 */
    uint64_t seq_from;
    uint64_t seq_to;
    uint64_t
        forward_to; /* not 0: if what is kept begins after seq_from, as many from there, to this
                            one at most */
    /* By seq, not 0: what lies beyond it is not looked at. There may still stand on the disk what a
     * leader of an earlier term sent. */
    uint64_t upto_index;
    uint32_t rooms_count; /* merged: this many ranges */
    const struct store_room_range *rooms;
    uint32_t max_records;
};

/* The answer is a run of records: kind u8, room u32, seq u64, index u64, time u64, size u32,
 * body[size]. A SKIPPED record has seq = first seq left out, index = last seq left out, no body. */
enum store_record_kind {
    STORE_POST = 1,
    STORE_EVENT = 2,
    STORE_SKIPPED = 3,
    STORE_TRUNCATED = 4, /* index = last seq that is not kept any more; first of the page */
    STORE_DELETED = 5,   /* a post; its body is what it was, or erased */
};
enum { STORE_RECORD_BYTES = 33 };

struct store_answer {
    size_t len;
    uint32_t records;
    bool more;           /* capacity or max_records cut it, or the rest is not durable here yet */
    bool older;          /* by seq: posts before seq_from are kept too */
    uint64_t last_index; /* merged: all up to here was given or left out; cursor for what follows */
};
enum ft_error store_read_posts(struct store *store, const struct store_query *query, uint8_t *out,
                               size_t capacity, struct store_answer *answer) FT_MUST_USE;

/* Writes the indexes of all segments up to `index` (the last index of a full segment, already
 * durable: MISSING when it is not), then the checkpoint, seals, and drops checkpoints older than
 * the newest two. The sum of the sizes of a segment's entries decides where it ends. */
enum ft_error store_checkpoint(struct store *store, uint64_t index, struct slice state) FT_MUST_USE;
/* The same a slice at a time: step until *finished or an error. `state` is borrowed until then. */
enum ft_error store_checkpoint_begin(struct store *store, uint64_t index,
                                     struct slice state) FT_MUST_USE;
enum ft_error store_checkpoint_step(struct store *store, bool *finished) FT_MUST_USE;

/* Drops whole segments from the log's beginning, up to a checkpoint: those beyond `keep_bytes` of
 * newer ones, and those whose newest entry was made before `since_us`. 0: no such limit. And the
 * segment that holds `damaged`, with what is before it: it cannot be read, and nobody else keeps it;
 * 0: none. Nothing at or above `floor` goes. *first: where the log begins now. */
struct store_retention {
    uint64_t keep_bytes;
    uint64_t since_us;
    uint64_t floor;
    uint64_t damaged;
};
enum ft_error store_retain(struct store *store, const struct store_retention *retention,
                           uint64_t *first) FT_MUST_USE;

/* Erases the words of deleted posts in sealed segments, a slice at a time, as long as it is wanted: after a
 * checkpoint, and after an open that found some left. Errors other than SYNC: it is not wanted then
 * before the next checkpoint. */
struct store_scrubbed {
    uint32_t erased;  /* posts */
    uint32_t rotten;  /* could not be read: looked at again */
    uint32_t refused; /* are not what their deletion says: left as they are */
};
bool store_wants_scrub(struct store *store);
enum ft_error store_scrub(struct store *store, struct store_scrubbed *scrubbed) FT_MUST_USE;

/* --- What other nodes copy from here (piece.c), and copying from them (copy.c). ---------------- */

enum store_piece_kind {
    STORE_PIECE_ENTRIES = 2,    /* whole entries from the one that holds `index` on */
    STORE_PIECE_INDEX = 3,      /* bytes of the index file of the segment that begins at `index` */
    STORE_PIECE_CHECKPOINT = 4, /* bytes of the checkpoint at `index` */
};
struct store_piece {
    enum store_piece_kind kind;
    uint64_t index;
    uint64_t offset; /* in the file; 0 for entries */
};
/* Into `out` of at least LIMIT_ENTRY_BYTES: at most `want` bytes, but one entry whole. *len 0: not
 * there (any more). *size: of the whole file. Entries are proven as by store_read_entries; what is
 * in files is proven by whoever gets it. */
enum ft_error store_read_piece(struct store *store, const struct store_piece *piece, size_t want,
                               uint8_t *out, size_t *len, uint64_t *size) FT_MUST_USE;

/* Copies the log from another node's offer. Every piece is proven before it counts and durable
 * before the next is wanted; what was copied is found again after a crash. Nothing of the node's
 * own log is touched before the next store_open after store_copy_install. */
struct store_copy_plan {
    uint8_t cluster[IDENTITY_BYTES];
    uint64_t oldest; /* where the other's log begins */
    uint64_t newest; /* of its newest checkpoint */
    uint64_t segment_bytes;
    bool whole; /* even if the own log could be gone on from */
};
struct store_copy_state {
    bool complete;
    struct store_piece next;   /* what is wanted now, unless complete */
    uint64_t end;              /* of the copy: its newest checkpoint */
    uint8_t chain[HASH_BYTES]; /* there; once complete */
    bool resumed;              /* begin: something was there already */
};
/* EXISTS: the own log reaches as far. SPACE: tried again later, from where it stands. */
enum ft_error store_copy_begin(struct store *store, const struct store_copy_plan *plan,
                               struct store_copy_state *state) FT_MUST_USE;
/* CORRUPT: it is not what it should be; `state` says what is wanted then. A piece that is not
 * wanted (any more) changes nothing. `size`: of the whole file, as the other says. */
enum ft_error store_copy_write(struct store *store, const struct store_piece *piece, uint64_t size,
                               struct slice data, struct store_copy_state *state) FT_MUST_USE;
/* From here on the next store_open puts the copy in place of the log up to its end and of whatever
 * the log has after it. The caller decides that nothing it promised is lost by that, promises
 * nothing more, and opens the store anew, whatever this returns. */
enum ft_error store_copy_install(struct store *store) FT_MUST_USE;
/* Forgets the copy. Only SYNC matters. */
enum ft_error store_copy_drop(struct store *store) FT_MUST_USE;

/* --- Proving what is at rest, and mending it (check.c, mend.c) ----------------------------------
 *
 * One file at a time, in slices, on the reading side, while the node runs. At a damage it stops:
 * then the caller mends it with what another node has and goes on where it was, or skips it. What
 * can be made good from what is here (a segment's header, the identity, where the log begins, the
 * held log) is, at once. */

enum store_file {
    STORE_FILE_NONE,
    STORE_FILE_IDENTITY,
    STORE_FILE_VOTE,
    STORE_FILE_CHECKPOINT, /* id: its index */
    STORE_FILE_SEGMENT,    /* id: its first index */
    STORE_FILE_INDEX,      /* id: its segment's first index */
    STORE_FILE_TAIL,       /* what recovery held (store_recovery.leftover) */
    STORE_FILE_BEGIN,      /* made good at once, like the next: what they say is in memory, too */
    STORE_FILE_HELD,       /* id: its number */
};
enum store_check_how {
    STORE_CHECK_NEXT,  /* the file after the last one that NEXT gave; all in turn */
    STORE_CHECK_FILE,  /* this one */
    STORE_CHECK_AGAIN, /* goes on where it stopped */
    STORE_CHECK_SKIP,  /* goes on behind the damage */
};
enum store_checked {
    STORE_MORE,    /* a slice is done: call again, with AGAIN */
    STORE_CLEAN,   /* the end of it */
    STORE_DAMAGED, /* entries: from `index` on; files: all of it */
    STORE_GONE,    /* not here (any more) */
};
struct store_check {
    enum store_check_how how;
    enum store_file file;
    uint64_t id;
    uint64_t upto; /* the commit index: entries after it may be truncated and are not looked at */

    enum store_checked result;
    bool mended; /* something was damaged and made good */
    bool round;  /* NEXT began at the first file again */
    uint64_t index;
    uint64_t offset;
    uint64_t bytes; /* read in this slice */
    uint64_t total; /* of all files together, roughly */
};
enum ft_error store_check(struct store *store, struct store_check *check,
                          uint64_t budget) FT_MUST_USE;

/* A part of the file that store_check stopped at. Entries go to where the damage is: those that are
 * proved by what stands around them, or that `committed` says every node has. Files are gathered,
 * in order of `offset`, and put in place when they are complete and proved. CORRUPT: it is not what
 * should be there. */
struct store_mend {
    enum store_file file;
    uint64_t id;
    uint64_t offset;
    uint64_t size;
    uint64_t committed;
    struct slice data;

    bool done;           /* go on with store_check */
    uint64_t want_index; /* else: the entry wanted next */
    uint64_t want_offset;
};
enum ft_error store_mend(struct store *store, struct store_mend *mend) FT_MUST_USE;

/* What reads came upon since the last call: file and id of one damage; NONE: nothing. */
enum store_file store_noticed(struct store *store, uint64_t *id);

/* Creates, zero-fills and fsyncs the next segment ahead of need. Called on the reading side
 * whenever there is no spare one; FT_ERROR_SPACE is how a full disk is
 * seen first. */
enum ft_error store_prepare(struct store *store) FT_MUST_USE;
bool store_wants_prepare(const struct store *store);

/* Everything up to here is on the disk; grows with each flush. */
uint64_t store_durable_last(struct store *store);
/* Free bytes on the device, 0 when it cannot be told. */
uint64_t store_space(struct store *store);

/* Reads everything and proves it: chain, digests, indexes, checkpoints, vote. Calls `found` once
 * per damage. */
struct store_damage {
    const char *file;
    uint64_t offset;
    uint64_t index; /* 0: not inside an entry */
    const char *what;
};
enum ft_error store_verify(struct store *store,
                           void (*found)(void *ctx, const struct store_damage *), void *ctx,
                           uint64_t *entries) FT_MUST_USE;
/* The same for a folder that no node runs on (it is locked meanwhile): finds more than one damage
 * where store_open would refuse at the first. *erased: posts that have no words any more. */
enum ft_error store_verify_folder(const struct disk *disk, const struct crypto *crypto,
                                  void (*found)(void *ctx, const struct store_damage *), void *ctx,
                                  uint64_t *entries, uint64_t *erased) FT_MUST_USE;

/* Hands out a stopped folder's log from the entry that holds `from` to the one that holds `to`, each
 * entry proven, until `each` returns false. The folder is locked meanwhile and nothing is changed:
 * a torn tail is CORRUPT here, while store_open would cut it. */
struct entry;
struct store_walk {
    uint64_t from;
    uint64_t to;
    bool (*each)(void *ctx, const struct entry *entry);
    void *ctx;
};
enum ft_error store_walk_folder(const struct disk *disk, const struct crypto *crypto,
                                const struct store_walk *walk) FT_MUST_USE;

#endif
