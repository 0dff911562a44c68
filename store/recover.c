/* Finding out what the last process left: the newest checkpoint that can be proved, the log after
 * it, and what to do about the first damage (recover.h's tables). Nothing is written before
 * everything was read. */
#include "store/recover.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "store/recovery.h"
#include "store/scan.h"

const struct recover_row recover_rows[RECOVER_ROWS] = {
    { DAMAGE_NOWHERE, DAMAGE_NO_PART, false, RECOVER_OPEN, "" },
    { DAMAGE_EARLIER, DAMAGE_HEADER, false, RECOVER_HOLD,
      "its header is rotten, and later writes stand behind it" },
    { DAMAGE_EARLIER, DAMAGE_HEADER, true, RECOVER_HOLD,
      "its header is gone, and later writes stand behind it" },
    { DAMAGE_EARLIER, DAMAGE_BODY, false, RECOVER_HOLD,
      "its body is rotten, and later writes stand behind it" },
    { DAMAGE_EARLIER, DAMAGE_BODY, true, RECOVER_HOLD,
      "its body is gone, and later writes stand behind it" },
    { DAMAGE_BEGINS, DAMAGE_HEADER, false, RECOVER_HOLD,
      "its header is rotten in a write that was complete" },
    { DAMAGE_BEGINS, DAMAGE_HEADER, true, RECOVER_HOLD,
      "its header is gone from a write that was complete" },
    { DAMAGE_BEGINS, DAMAGE_BODY, false, RECOVER_HOLD,
      "its body is rotten in a write that was complete" },
    { DAMAGE_BEGINS, DAMAGE_BODY, true, RECOVER_HOLD,
      "its body is gone from a write that was complete" },
    { DAMAGE_LAST, DAMAGE_HEADER, false, RECOVER_HOLD,
      "its header is rotten, not torn: what is damaged is not zero" },
    { DAMAGE_LAST, DAMAGE_HEADER, true, RECOVER_CUT, "a torn write, never acknowledged" },
    { DAMAGE_LAST, DAMAGE_BODY, false, RECOVER_HOLD,
      "its body is rotten, not torn: what is damaged is not zero" },
    { DAMAGE_LAST, DAMAGE_BODY, true, RECOVER_CUT, "a torn write, never acknowledged" },
};

const struct hold_row hold_rows[HOLD_ROWS] = {
    { true, true, false, "votes by its headers, does not campaign" },
    { false, false, false, "how far it went cannot be known: no vote" },
};

const struct hold_row *hold_decide(bool end_readable)
{
    return &hold_rows[end_readable ? 0 : 1];
}

const struct recover_row *recover_decide(enum damage_place place, enum damage_part part, bool zeros)
{
    const struct recover_row *row = recover_rows;
    while (row->place != place || row->part != part || row->zeros != zeros) {
        row++;
        CHECK(row < recover_rows + RECOVER_ROWS && "every case has its row");
    }
    return row;
}

static enum ft_error refuse(const struct recovering *run, enum ft_error error, const char *format,
                            ...) __attribute__((format(printf, 3, 4)));

static enum ft_error refuse(const struct recovering *run, enum ft_error error, const char *format,
                            ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(run->why, run->why_len, format, args);
    va_end(args);
    return error;
}

static enum ft_error refuse_file(const struct recovering *run, enum ft_error error,
                                 const char *path)
{
    return refuse(run, error, "%s %s", path, file_advice(error));
}

void recover_note(struct recovering *run, const char *path, uint64_t offset, const char *what)
{
    struct store_recovery *recovery = run->recovery;
    if (recovery->damages++ == 0)
        snprintf(recovery->damage, sizeof recovery->damage, "%s at byte %llu: %s", path,
                 (unsigned long long)offset, what);
}

/* Rot, and what the device cannot read: to be repaired, not to be despaired of. */
static bool is_rot(enum ft_error error)
{
    return error == FT_ERROR_CORRUPT || error == FT_ERROR_MISSING || error == FT_ERROR_FOREIGN ||
           error == FT_ERROR_IO;
}

/* The log ends here for now. */
static void hold(struct recovering *run, const char *path, uint64_t offset, const char *why)
{
    run->held = true;
    recover_note(run, path, offset, why);
}

/* --- the checkpoint -----------------------------------------------------------------------------
 */

static void forget_segments(struct store *store)
{
    while (store->segments_count)
        free(store->segments[--store->segments_count].marks);
    store->unsure = 0;
}

/* Where a sealed segment ends whose index file cannot be read: by its entries. */
static enum ft_error measure_sealed(struct recovering *run, struct segment *segment)
{
    struct store *store = run->store;
    const struct disk *disk = store->disk;
    char path[DISK_PATH_BYTES];
    struct disk_file *file;
    uint64_t last = segment->last;
    segment_path(path, segment->first, "seg");
    enum ft_error error = disk->open(disk->ctx, path, DISK_READ, &file);
    if (error)
        return is_rot(error) ? FT_OK : error;
    struct scan scan = { .disk = disk,
                         .crypto = store->crypto,
                         .key = store->cluster,
                         .file = file,
                         .segment_bytes = store->segment_bytes,
                         .segment = segment,
                         .stop_before = last + 1,
                         .window = run->window };
    struct segment_header header;
    size_t got;
    disk->forget(disk->ctx, file);
    error = disk->size(disk->ctx, file, &scan.size);
    if (!error)
        error = disk_read_around(disk, file, 0, run->window, SEGMENT_HEADER_BYTES, &got);
    if (!error && got == SEGMENT_HEADER_BYTES &&
        segment_header_parse(run->window, store->crypto, &header) == FT_OK)
        memcpy(segment->chain, header.chain, HASH_BYTES);
    if (!error)
        error = scan_segment(&scan);
    disk->close(disk->ctx, file);
    free(segment->marks);
    segment->marks = NULL;
    segment->marks_count = segment->marks_capacity = 0;
    if (segment->last != last && !segment_full(segment, store->segment_bytes)) {
        segment->last = last; /* damaged itself: to its end, whatever lies there */
        segment->end = scan.size;
        memset(segment->chain, 0, HASH_BYTES);
    }
    return error;
}

/* The segment that begins at `first` and ends at `last` or before: if a file is missing, between the
 * names that are there may be two. *next: behind it. */
static enum ft_error push_sealed(struct recovering *run, uint64_t first, uint64_t last,
                                 uint64_t *next)
{
    struct store *store = run->store;
    struct index_header header = { 0 };
    char path[DISK_PATH_BYTES];
    enum ft_error error =
        index_file_header_load(store->disk, store->crypto, store->cluster, first, &header, true);
    struct segment *segment = segments_push(store);
    if (!segment)
        return FT_ERROR_LIMIT;
    segment->first = first;
    segment->last = last;
    segment->indexed = true;
    segment_path(path, first, "idx");
    if (!error)
        error = deletions_load(store, path, &header);
    if (!error && header.last <= last) {
        segment->last = header.last;
        segment->end = header.end;
        memcpy(segment->chain, header.chain, HASH_BYTES);
        *next = header.last + 1;
        return FT_OK;
    }
    if (error && !is_rot(error))
        return error;
    segment->deletions_lost = true;
    store->unsure = last;
    recover_note(run, path, 0, "the index file is damaged or missing");
    error = measure_sealed(run, segment);
    *next = segment->last + 1;
    return error;
}

/* The first that is above `from`; else `none`. */
static uint64_t first_above(const uint64_t *names, size_t count, uint64_t from, uint64_t none)
{
    size_t i = 0;
    while (i < count && names[i] <= from)
        i++;
    return i < count ? names[i] : none;
}

/* All segments up to `index`, which a checkpoint covers; what is damaged of them is repaired while
 * the node runs. */
static enum ft_error load_indexed(struct recovering *run, uint64_t index,
                                  const uint8_t chain[HASH_BYTES])
{
    struct store *store = run->store;
    const struct store_names *names = run->names;
    for (uint64_t next = store->begin; next <= index;) {
        char path[DISK_PATH_BYTES];
        segment_path(path, next, "seg");
        uint64_t by_segments = first_above(names->segments, names->segments_count, next, index + 1);
        uint64_t by_indexes = first_above(names->indexes, names->indexes_count, next, index + 1);
        uint64_t after = by_segments < by_indexes ? by_segments : by_indexes;
        if (after > index + 1)
            after = index + 1;
        if (first_above(names->segments, names->segments_count, next - 1, 0) != next)
            recover_note(run, path, 0, "the segment is missing");
        enum ft_error error = push_sealed(run, next, after - 1, &next);
        if (error)
            return error;
    }
    if (store->segments_count)
        memcpy(store->segments[store->segments_count - 1].chain, chain, HASH_BYTES);
    return FT_OK;
}

/* A late log that no checkpoint explains is a log that is lost from its first entry on: what is there of it votes by its
 * end, and is copied anew. Where it begins stays on disk for as long as it does: a checkpoint may be mended first, and then
 * the next start understands it. */
static enum ft_error choose_checkpoint(struct recovering *run)
{
    struct store *store = run->store;
    for (size_t i = run->names->checkpoints_count; i > 0; i--) {
        uint64_t index = run->names->checkpoints[i - 1];
        uint8_t chain[HASH_BYTES];
        struct slice state;
        char path[DISK_PATH_BYTES];
        if (index + 1 < store->begin)
            break; /* retention had not dropped it yet: it explains nothing that is here */
        checkpoint_file_path(path, index);
        enum ft_error error = checkpoint_file_load(store->disk, store->crypto, store->cluster,
                                                   index, chain, &store->checkpoint_file, &state);
        if (is_rot(error)) {
            recover_note(run, path, 0, "the checkpoint is damaged");
            continue;
        }
        if (!error)
            error = load_indexed(run, index, chain);
        if (error) {
            forget_segments(store);
            return refuse_file(run, error, path);
        }
        run->recovery->checkpoint_index = index;
        run->recovery->checkpoint = state;
        memcpy(run->chain, chain, HASH_BYTES);
        store->indexed_last = index;
        if (index + 1 == store->begin)
            memcpy(store->base_chain, chain, HASH_BYTES);
        /* One that was begun when nothing explained the log: what a checkpoint covers is committed. */
        if (run->vote->truncate_from <= index)
            run->vote->truncate_from = 0;
        return FT_OK;
    }
    if (store->begin > 1) {
        char path[DISK_PATH_BYTES];
        segment_path(path, store->begin, "seg");
        hold(run, path, 0, "no checkpoint can be read that it is understood by");
        store->unexplained = store->begin;
        store->begin = 1;
    }
    return FT_OK;
}

/* --- what was to be dropped ---------------------------------------------------------------------
 */

/* Retention may have died between saying where the log begins and dropping what is before. */
static enum ft_error finish_dropping(struct recovering *run)
{
    struct store *store = run->store;
    struct store_names *names = run->names;
    size_t gone = 0;
    enum ft_error error = FT_OK;
    while (gone < names->segments_count && names->segments[gone] < store->begin && !error) {
        char path[DISK_PATH_BYTES];
        segment_path(path, names->segments[gone++], "seg");
        error = store->disk->unlink(store->disk->ctx, path);
    }
    names->segments_count -= gone;
    if (gone)
        memmove(names->segments, names->segments + gone, names->segments_count * sizeof(uint64_t));
    for (size_t i = 0; i < names->indexes_count && !error; i++) {
        char path[DISK_PATH_BYTES];
        if (names->indexes[i] >= store->begin)
            break;
        segment_path(path, names->indexes[i], "idx");
        error = store->disk->unlink(store->disk->ctx, path);
    }
    if (!error && gone)
        error = store->disk->sync_dir(store->disk->ctx, "log");
    return error ? refuse_file(run, error, "log") : FT_OK;
}

/* --- the log ------------------------------------------------------------------------------------
 */

/* A rotten header is known by heart: what is before it says all that it said. */
static enum ft_error read_header(struct recovering *run, struct disk_file *file,
                                 struct segment *segment, const char *path)
{
    struct store *store = run->store;
    size_t got;
    enum ft_error error =
        disk_read_around(store->disk, file, 0, run->window, SEGMENT_HEADER_BYTES, &got);
    if (error)
        return refuse_file(run, error, path);
    struct segment_header header;
    error = got < SEGMENT_HEADER_BYTES ? FT_ERROR_CORRUPT
                                       : segment_header_parse(run->window, store->crypto, &header);
    if (error == FT_ERROR_CORRUPT ||
        (error == FT_ERROR_FOREIGN && file_prologue_rotten(run->window, store->crypto))) {
        segment->header_rotten = true;
        recover_note(run, path, 0, "the segment's header is damaged");
        return FT_OK;
    }
    if (error)
        return refuse_file(run, error, path);
    if (memcmp(header.cluster, store->cluster, IDENTITY_BYTES) != 0)
        return refuse_file(run, FT_ERROR_FOREIGN, path);
    if (header.first != segment->first || memcmp(header.chain, segment->chain, HASH_BYTES) != 0)
        hold(run, path, 0, "it does not follow what is before it");
    return FT_OK;
}

/* The damage, if there is one, to its row. */
static void judge(struct recovering *run, const struct scan *scan, const char *path)
{
    const struct scan_damage *damage = &scan->damage;
    const struct recover_row *row = recover_decide(damage->place, damage->part, damage->zeros);
    if (row->action == RECOVER_HOLD) {
        hold(run, path, damage->offset, row->why);
        run->end_readable = damage->end_readable;
        run->end = (struct store_lost) { damage->end_term, damage->end_last };
    }
    if (row->action == RECOVER_CUT) {
        run->cut = true;
        run->cut_from = damage->offset;
        run->cut_to = damage->used;
        run->recovery->cut_bytes = damage->used - damage->offset;
    }
}

static enum ft_error scan_file(struct recovering *run, struct segment *segment, bool last)
{
    struct store *store = run->store;
    const struct disk *disk = store->disk;
    char path[DISK_PATH_BYTES];
    segment_path(path, segment->first, "seg");
    struct disk_file *file;
    enum ft_error error = disk->open(disk->ctx, path, DISK_WRITE, &file);
    if (error)
        return refuse_file(run, error, path);
    struct scan scan = { .disk = disk,
                         .crypto = store->crypto,
                         .key = store->cluster,
                         .file = file,
                         .segment_bytes = store->segment_bytes,
                         .last_segment = last,
                         .segment = segment,
                         .stop_before =
                             run->vote->truncate_from ? run->vote->truncate_from : UINT64_MAX,
                         .flush = run->recovery->flush,
                         .commit = run->recovery->commit,
                         .term = run->term,
                         .window = run->window };
    /* What is dirty cannot be forgotten, and what a killed process left dirty is to be durable
     * before this one relies on it. */
    error = disk->sync(disk->ctx, file);
    disk->forget(disk->ctx, file);
    if (!error)
        error = disk->size(disk->ctx, file, &scan.size);
    if (error)
        error = refuse_file(run, error, path);
    else
        error = read_header(run, file, segment, path);
    if (!error && !run->held) {
        error = scan_segment(&scan);
        if (error)
            error = refuse_file(run, error, path);
        else
            judge(run, &scan, path);
    }
    run->file_size = scan.size;
    run->recovery->flush = scan.flush;
    run->recovery->commit = scan.commit;
    run->term = scan.term;
    disk->close(disk->ctx, file);
    return error;
}

/* Everything after the checkpoint, up to the first damage that is not torn. */
static enum ft_error scan_log(struct recovering *run)
{
    struct store *store = run->store;
    uint64_t next = run->recovery->checkpoint_index + 1;
    uint64_t stop = run->vote->truncate_from ? run->vote->truncate_from : UINT64_MAX;
    uint8_t chain[HASH_BYTES];
    memcpy(chain, run->chain, HASH_BYTES);
    for (size_t i = 0; i < run->names->segments_count && !run->held; i++) {
        uint64_t first = run->names->segments[i];
        char path[DISK_PATH_BYTES];
        if (first >= stop)
            break;
        if (first < next && first <= run->recovery->checkpoint_index)
            continue;
        if (first != next) {
            segment_path(path, next, "seg");
            hold(run, path, 0, "the segment is missing");
            break;
        }
        struct segment *segment = segments_push(store);
        if (!segment)
            return refuse(run, FT_ERROR_LIMIT, "out of memory");
        segment->first = first;
        segment->last = first - 1;
        segment->end = SEGMENT_HEADER_BYTES;
        memcpy(segment->chain, chain, HASH_BYTES);
        enum ft_error error = scan_file(run, segment, i + 1 == run->names->segments_count);
        if (error)
            return error;
        memcpy(chain, segment->chain, HASH_BYTES);
        next = segment->last + 1;
    }
    run->recovery->last_index = next - 1;
    return FT_OK;
}

static uint64_t newest(const uint64_t *names, size_t count)
{
    return count ? names[count - 1] : 0;
}

static bool newest_segment_there(const struct recovering *run)
{
    const struct store_names *names = run->names;
    return run->vote->newest == 0 || first_above(names->segments, names->segments_count,
                                                 run->vote->newest - 1, 0) == run->vote->newest;
}

/* What was durable by other evidence must be in the log: a file that is gone is not a torn tail. */
static void nothing_missing(struct recovering *run)
{
    const struct store_names *names = run->names;
    uint64_t last = run->recovery->last_index;
    char path[DISK_PATH_BYTES];
    if (run->vote->truncate_from)
        last = UINT64_MAX; /* they go with what is truncated */
    if (newest(names->checkpoints, names->checkpoints_count) > last) {
        checkpoint_file_path(path, newest(names->checkpoints, names->checkpoints_count));
        hold(run, path, 0, "it stands beyond the log's end");
    }
    if (newest(names->indexes, names->indexes_count) > last) {
        segment_path(path, newest(names->indexes, names->indexes_count), "seg");
        hold(run, path, 0, "the segment is missing");
    }
    if (!newest_segment_there(run)) {
        segment_path(path, run->vote->newest, "seg");
        hold(run, path, 0, "the segment is missing");
    }
}

/* Is there evidence of more than the last segment tells? */
static bool more_was_there(const struct recovering *run)
{
    const struct store_names *names = run->names;
    uint64_t segment = newest(names->segments, names->segments_count);
    uint64_t last =
        run->end.last > run->recovery->last_index ? run->end.last : run->recovery->last_index;
    return newest(names->checkpoints, names->checkpoints_count) > last ||
           newest(names->indexes, names->indexes_count) > segment || !newest_segment_there(run);
}

/* How far a log went whose damage has later files behind it: the last of them tells. */
static enum ft_error look_at_end(struct recovering *run)
{
    struct store *store = run->store;
    const struct store_names *names = run->names;
    const struct disk *disk = store->disk;
    uint64_t newest = names->segments_count ? names->segments[names->segments_count - 1] : 0;
    struct disk_file *file;
    char path[DISK_PATH_BYTES];
    uint64_t first = store->segments_count ? store->segments[store->segments_count - 1].first : 0;
    if (!newest || newest <= first)
        return FT_OK;
    segment_path(path, newest, "seg");
    enum ft_error error = disk->open(disk->ctx, path, DISK_READ, &file);
    if (error)
        return refuse_file(run, error, path);
    struct scan scan = { .disk = disk,
                         .crypto = store->crypto,
                         .key = store->cluster,
                         .file = file,
                         .segment_bytes = store->segment_bytes,
                         .flush = run->recovery->flush,
                         .commit = run->recovery->commit,
                         .window = run->window };
    disk->forget(disk->ctx, file);
    error = disk->size(disk->ctx, file, &scan.size);
    if (!error)
        error = scan_end(&scan);
    disk->close(disk->ctx, file);
    if (error)
        return refuse_file(run, error, path);
    run->end_readable = scan.damage.end_readable;
    run->end = (struct store_lost) { scan.damage.end_term, scan.damage.end_last };
    run->recovery->flush = scan.flush;
    run->recovery->commit = scan.commit;
    return FT_OK;
}

/* The floor of what this node's vote may go to. A tail that was lost before is not forgotten. */
static void settle_hold(struct recovering *run)
{
    struct store_recovery *recovery = run->recovery;
    struct store *store = run->store;
    recovery->lost = run->vote->lost;
    if (!run->held)
        return;
    while (store->segments_count && !store->segments[store->segments_count - 1].indexed &&
           store->segments[store->segments_count - 1].last <
               store->segments[store->segments_count - 1].first)
        free(store->segments[--store->segments_count].marks); /* nothing of it can be read */
    if (more_was_there(run) || !run->end_readable || run->end.last <= recovery->last_index)
        run->end = (struct store_lost) { 0, UINT64_MAX };
    /* Of what was being removed the vote's record says it all, whatever is left. */
    bool told = run->vote->truncate_from && run->vote->truncate_from <= recovery->last_index + 1;
    if (!told && recovery->lost.last != UINT64_MAX &&
        (run->end.last == UINT64_MAX || run->end.term > recovery->lost.term ||
         (run->end.term == recovery->lost.term && run->end.last > recovery->lost.last)))
        recovery->lost = run->end;
    recovery->leftover = store->leftover = true;
    run->vote->truncate_from = 0; /* nothing was acknowledged after it was begun */
}

/* --- what recovery writes -----------------------------------------------------------------------
 */

static enum ft_error zero_out(struct recovering *run, const struct segment *segment, uint64_t from,
                              uint64_t to)
{
    const struct disk *disk = run->store->disk;
    char path[DISK_PATH_BYTES];
    struct disk_file *file;
    segment_path(path, segment->first, "seg");
    enum ft_error error = disk->open(disk->ctx, path, DISK_WRITE, &file);
    if (error)
        return error;
    memset(run->window, 0, SCAN_WINDOW_BYTES);
    for (size_t part; !error; from += part) {
        part = to - from < SCAN_WINDOW_BYTES ? (size_t)(to - from) : SCAN_WINDOW_BYTES;
        if (part == 0)
            break;
        error = disk->write(disk->ctx, file, from, run->window, part);
    }
    if (!error)
        error = disk->sync(disk->ctx, file);
    disk->close(disk->ctx, file);
    return error;
}

/* Does again what a crash interrupted: the later segments, then the rest of this one. */
static enum ft_error finish_truncation(struct recovering *run)
{
    struct store *store = run->store;
    enum ft_error error =
        names_drop_beyond(store->disk, run->names, store->indexed_last, run->recovery->last_index);
    if (error)
        return error;
    for (size_t i = run->names->segments_count; i > 0; i--) {
        char path[DISK_PATH_BYTES];
        if (run->names->segments[i - 1] < run->vote->truncate_from)
            break;
        segment_path(path, run->names->segments[i - 1], "seg");
        error = store->disk->unlink(store->disk->ctx, path);
        if (!error)
            error = store->disk->sync_dir(store->disk->ctx, "log");
        if (error)
            return error;
    }
    if (store->segments_count && run->recovery->last_index > run->recovery->checkpoint_index) {
        const struct segment *segment = &store->segments[store->segments_count - 1];
        if (segment->last + 1 == run->vote->truncate_from) {
            error = zero_out(run, segment, segment->end, run->file_size);
            if (error)
                return error;
        }
    }
    struct disk_file *file;
    error = store->disk->open(store->disk->ctx, "vote", DISK_WRITE, &file);
    if (error)
        return error;
    run->vote->truncate_from = 0;
    run->vote->generation++;
    error = vote_file_save(store->disk, file, store->crypto, run->vote);
    store->disk->close(store->disk->ctx, file);
    return error;
}

static enum ft_error write_headers(struct recovering *run)
{
    struct store *store = run->store;
    enum ft_error error = FT_OK;
    for (size_t i = 0; i < store->segments_count && !error; i++)
        if (store->segments[i].header_rotten)
            error = segment_header_repair(store, store->segments[i].first,
                                          i ? store->segments[i - 1].chain : run->chain);
    return error;
}

static enum ft_error repair(struct recovering *run)
{
    struct store *store = run->store;
    enum ft_error error = write_headers(run);
    if (!error && run->vote->truncate_from)
        error = finish_truncation(run);
    if (!error && run->cut)
        error =
            zero_out(run, &store->segments[store->segments_count - 1], run->cut_from, run->cut_to);
    if (error)
        return refuse_file(run, error, "log");
    for (size_t i = 0; i < run->names->leftovers_count; i++)
        (void)store->disk->unlink(store->disk->ctx, run->names->leftovers[i]);
    return FT_OK;
}

static void tell_sealed(struct recovering *run)
{
    const struct store *store = run->store;
    size_t count = 0;
    while (count < store->segments_count && store->segments[count].indexed)
        count++;
    for (size_t i = 0; i < STORE_SEALED_TOLD && i < count; i++)
        run->recovery->sealed[STORE_SEALED_TOLD - 1 - i] = store->segments[count - 1 - i].last;
    run->recovery->first_index = store->begin;
}

enum ft_error recover_log(struct recovering *run)
{
    CHECK(run->store->segments_count == 0);
    run->window = malloc(SCAN_WINDOW_BYTES);
    if (!run->window)
        return refuse(run, FT_ERROR_LIMIT, "out of memory");
    enum ft_error error = finish_dropping(run);
    if (!error)
        error = choose_checkpoint(run);
    if (!error)
        error = scan_log(run);
    if (!error)
        nothing_missing(run);
    if (!error && run->held)
        error = look_at_end(run);
    settle_hold(run);
    if (!error)
        error = repair(run);
    run->store->durable_last = run->recovery->last_index;
    tell_sealed(run);
    free(run->window);
    return error;
}
