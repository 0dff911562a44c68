/* Finding out what the last process left: the newest checkpoint that can be proved, the log after
 * it, and what to do about its end (recover.h's table). Nothing is written before everything was
 * read and found good, or at least cuttable. */
#include "store/recover.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "store/recovery.h"
#include "store/scan.h"

#define REJOIN                                                                                     \
    "; put this node's folder aside and start it blank: it joins again and copies the log"

const struct recover_row recover_rows[RECOVER_ROWS] = {
    { DAMAGE_NOWHERE, DAMAGE_NO_PART, false, RECOVER_OPEN, "" },
    { DAMAGE_EARLIER, DAMAGE_HEADER, false, RECOVER_REFUSE,
      "its header is rotten, and later writes stand behind it" REJOIN },
    { DAMAGE_EARLIER, DAMAGE_HEADER, true, RECOVER_REFUSE,
      "its header is gone, and later writes stand behind it" REJOIN },
    { DAMAGE_EARLIER, DAMAGE_BODY, false, RECOVER_REFUSE,
      "its body is rotten, and later writes stand behind it" REJOIN },
    { DAMAGE_EARLIER, DAMAGE_BODY, true, RECOVER_REFUSE,
      "its body is gone, and later writes stand behind it" REJOIN },
    { DAMAGE_BEGINS, DAMAGE_HEADER, false, RECOVER_REFUSE,
      "its header is rotten in a write that was complete" REJOIN },
    { DAMAGE_BEGINS, DAMAGE_HEADER, true, RECOVER_REFUSE,
      "its header is gone from a write that was complete" REJOIN },
    { DAMAGE_BEGINS, DAMAGE_BODY, false, RECOVER_REFUSE,
      "its body is rotten in a write that was complete" REJOIN },
    { DAMAGE_BEGINS, DAMAGE_BODY, true, RECOVER_REFUSE,
      "its body is gone from a write that was complete" REJOIN },
    { DAMAGE_LAST, DAMAGE_HEADER, false, RECOVER_REFUSE,
      "its header is rotten, not torn: what is damaged is not zero" REJOIN },
    { DAMAGE_LAST, DAMAGE_HEADER, true, RECOVER_CUT, "a torn write, never acknowledged" },
    { DAMAGE_LAST, DAMAGE_BODY, false, RECOVER_REFUSE,
      "its body is rotten, not torn: what is damaged is not zero" REJOIN },
    { DAMAGE_LAST, DAMAGE_BODY, true, RECOVER_CUT, "a torn write, never acknowledged" },
};

const struct recover_row *recover_decide(enum damage_place place, enum damage_part part, bool zeros)
{
    for (size_t i = 0; i < RECOVER_ROWS; i++)
        if (recover_rows[i].place == place && recover_rows[i].part == part &&
            recover_rows[i].zeros == zeros)
            return &recover_rows[i];
    CHECK(false && "every case has its row");
    return NULL;
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

/* --- the checkpoint -----------------------------------------------------------------------------
 */

static void forget_segments(struct store *store)
{
    while (store->segments_count)
        free(store->segments[--store->segments_count].marks);
}

/* Are all segments up to `index` there with good index files, and does the chain fit? */
static enum ft_error load_indexed(struct recovering *run, uint64_t index,
                                  const uint8_t chain[HASH_BYTES], bool *good)
{
    struct store *store = run->store;
    uint64_t next = store->begin;
    /* Before its first entry stands the checkpoint that the log is understood by. */
    *good = index + 1 == store->begin;
    for (size_t i = 0; i < run->names->segments_count && next <= index; i++) {
        struct index_header header;
        uint64_t first = run->names->segments[i];
        if (first != next)
            return FT_OK;
        enum ft_error error = index_file_header_load(store->disk, store->crypto, store->cluster,
                                                     first, &header, true);
        if (error == FT_ERROR_CORRUPT || error == FT_ERROR_MISSING || error == FT_ERROR_FOREIGN)
            return FT_OK;
        if (error)
            return error;
        struct segment *segment = segments_push(store);
        if (!segment)
            return FT_ERROR_LIMIT;
        segment->first = first;
        segment->last = header.last;
        segment->end = header.end;
        segment->indexed = true;
        memcpy(segment->chain, header.chain, HASH_BYTES);
        next = header.last + 1;
        if (header.last == index)
            *good = memcmp(header.chain, chain, HASH_BYTES) == 0;
    }
    return FT_OK;
}

static enum ft_error choose_checkpoint(struct recovering *run)
{
    struct store *store = run->store;
    for (size_t i = run->names->checkpoints_count; i > 0; i--) {
        uint64_t index = run->names->checkpoints[i - 1];
        uint8_t chain[HASH_BYTES];
        struct slice state;
        char path[DISK_PATH_BYTES];
        checkpoint_file_path(path, index);
        enum ft_error error = checkpoint_file_load(store->disk, store->crypto, store->cluster,
                                                   index, chain, &store->checkpoint_file, &state);
        if (error == FT_ERROR_VERSION)
            return refuse_file(run, error, path);
        if (error == FT_ERROR_CORRUPT || error == FT_ERROR_FOREIGN || error == FT_ERROR_MISSING)
            continue;
        bool good = false;
        if (!error)
            error = load_indexed(run, index, chain, &good);
        if (!error && good) {
            run->recovery->checkpoint_index = index;
            run->recovery->checkpoint = state;
            memcpy(run->chain, chain, HASH_BYTES);
            store->indexed_last = index;
            if (index + 1 == store->begin)
                memcpy(store->base_chain, chain, HASH_BYTES);
            return FT_OK;
        }
        forget_segments(store);
        free(store->checkpoint_file);
        store->checkpoint_file = NULL;
        if (error)
            return refuse_file(run, error, path);
    }
    if (store->begin > 1)
        return refuse(run, FT_ERROR_CORRUPT,
                      "no checkpoint can be read that the log, which begins at %llu, could be "
                      "understood by" REJOIN,
                      (unsigned long long)store->begin);
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

static enum ft_error read_header(struct recovering *run, struct disk_file *file,
                                 const struct segment *segment, const char *path)
{
    struct store *store = run->store;
    size_t got;
    enum ft_error error =
        store->disk->read(store->disk->ctx, file, 0, run->window, SEGMENT_HEADER_BYTES, &got);
    if (error)
        return refuse_file(run, error, path);
    struct segment_header header;
    if (got < SEGMENT_HEADER_BYTES)
        return refuse_file(run, FT_ERROR_CORRUPT, path);
    error = segment_header_parse(run->window, store->crypto, &header);
    if (error)
        return refuse_file(run, error, path);
    if (memcmp(header.cluster, store->cluster, IDENTITY_BYTES) != 0)
        return refuse_file(run, FT_ERROR_FOREIGN, path);
    if (header.first != segment->first || memcmp(header.chain, segment->chain, HASH_BYTES) != 0)
        return refuse_file(run, FT_ERROR_CORRUPT, path);
    return FT_OK;
}

/* The damage, if there is one, to its row. */
static enum ft_error judge(struct recovering *run, const struct scan *scan, const char *path)
{
    const struct scan_damage *damage = &scan->damage;
    const struct recover_row *row = recover_decide(damage->place, damage->part, damage->zeros);
    if (row->action == RECOVER_REFUSE)
        return refuse(run, FT_ERROR_CORRUPT, "%s: entry %llu at byte %llu is damaged: %s", path,
                      (unsigned long long)damage->index, (unsigned long long)damage->offset,
                      row->why);
    if (row->action == RECOVER_CUT) {
        run->cut = true;
        run->cut_from = damage->offset;
        run->cut_to = damage->used;
        run->recovery->cut_bytes = damage->used - damage->offset;
    }
    return FT_OK;
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
    if (!error) {
        error = scan_segment(&scan);
        error = error ? refuse_file(run, error, path) : judge(run, &scan, path);
    }
    run->file_size = scan.size;
    run->recovery->flush = scan.flush;
    run->recovery->commit = scan.commit;
    run->term = scan.term;
    disk->close(disk->ctx, file);
    return error;
}

/* Everything after the checkpoint. */
static enum ft_error scan_log(struct recovering *run)
{
    struct store *store = run->store;
    uint64_t next = run->recovery->checkpoint_index + 1;
    uint64_t stop = run->vote->truncate_from ? run->vote->truncate_from : UINT64_MAX;
    uint8_t chain[HASH_BYTES];
    memcpy(chain, run->chain, HASH_BYTES);
    for (size_t i = store->segments_count; i < run->names->segments_count; i++) {
        uint64_t first = run->names->segments[i];
        char path[DISK_PATH_BYTES];
        if (first >= stop)
            break;
        if (first != next) {
            segment_path(path, next, "seg");
            return refuse_file(run, FT_ERROR_CORRUPT, path);
        }
        struct segment *segment = segments_push(store);
        if (!segment)
            return refuse(run, FT_ERROR_LIMIT, "out of memory");
        segment->first = first;
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

/* What was durable by other evidence must be in the log: a file that is gone is not a torn tail. */
static enum ft_error nothing_missing(struct recovering *run)
{
    const struct store_names *names = run->names;
    uint64_t last = run->recovery->last_index;
    char path[DISK_PATH_BYTES];
    if (names->checkpoints_count && names->checkpoints[names->checkpoints_count - 1] > last) {
        checkpoint_file_path(path, names->checkpoints[names->checkpoints_count - 1]);
        return refuse(run, FT_ERROR_CORRUPT,
                      "%s stands beyond the log's end at %llu: segments are missing" REJOIN, path,
                      (unsigned long long)last);
    }
    if (names->indexes_count && names->indexes[names->indexes_count - 1] > last) {
        segment_path(path, names->indexes[names->indexes_count - 1], "seg");
        return refuse_file(run, FT_ERROR_MISSING, path);
    }
    bool found = run->vote->newest == 0;
    for (size_t i = 0; i < names->segments_count; i++)
        found |= names->segments[i] == run->vote->newest;
    if (!found) {
        segment_path(path, run->vote->newest, "seg");
        return refuse_file(run, FT_ERROR_MISSING, path);
    }
    return FT_OK;
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
    while (from < to && !error) {
        size_t part = to - from < SCAN_WINDOW_BYTES ? (size_t)(to - from) : SCAN_WINDOW_BYTES;
        error = disk->write(disk->ctx, file, from, run->window, part);
        from += part;
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
    for (size_t i = run->names->segments_count; i > store->segments_count; i--) {
        char path[DISK_PATH_BYTES];
        segment_path(path, run->names->segments[i - 1], "seg");
        enum ft_error error = store->disk->unlink(store->disk->ctx, path);
        if (!error)
            error = store->disk->sync_dir(store->disk->ctx, "log");
        if (error)
            return error;
    }
    if (store->segments_count && run->recovery->last_index > run->recovery->checkpoint_index) {
        const struct segment *segment = &store->segments[store->segments_count - 1];
        if (segment->last + 1 == run->vote->truncate_from) {
            enum ft_error error = zero_out(run, segment, segment->end, run->file_size);
            if (error)
                return error;
        }
    }
    struct disk_file *file;
    enum ft_error error = store->disk->open(store->disk->ctx, "vote", DISK_WRITE, &file);
    if (error)
        return error;
    run->vote->truncate_from = 0;
    run->vote->generation++;
    error = vote_file_save(store->disk, file, store->crypto, run->vote);
    store->disk->close(store->disk->ctx, file);
    return error;
}

static enum ft_error repair(struct recovering *run)
{
    struct store *store = run->store;
    enum ft_error error = FT_OK;
    if (run->vote->truncate_from)
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
        error = nothing_missing(run);
    if (!error)
        error = repair(run);
    run->store->durable_last = run->recovery->last_index;
    tell_sealed(run);
    free(run->window);
    return error;
}
