/* Retention: whole segments go from the log's beginning, up to a checkpoint, which is then what the
 * rest of the log is understood by. So that there is one to drop up to, checkpoints are kept between
 * the oldest and the newest two while retention is on, about an eighth of the log apart: history is
 * kept as long as was asked for, and up to that much longer.
 *
 * Where the log begins is saved before anything goes: after a crash in the middle recovery drops the
 * rest. On the reading side. */
#include <string.h>

#include "core/check.h"
#include "store/internal.h"

enum { RUNGS = 8 };

/* --- which checkpoints stay ---------------------------------------------------------------------
 */

/* How many segments end at or before `index`; the bytes that come after it. */
static size_t segments_before(struct store *store, uint64_t index, uint64_t *bytes_after,
                              size_t *all)
{
    size_t before = 0;
    *bytes_after = 0;
    store_lock(store);
    for (size_t i = 0; i < store->segments_count; i++) {
        const struct segment *segment = &store->segments[i];
        if (segment->last <= index)
            before++;
        else
            *bytes_after += segment->end;
    }
    *all = store->segments_count;
    store_unlock(store);
    return before;
}

static void unlink_checkpoint(struct store *store, uint64_t index)
{
    char path[DISK_PATH_BYTES];
    checkpoint_file_path(path, index);
    (void)store->disk->unlink(store->disk->ctx, path);
}

/* That it does not always work is no harm: the next checkpoint tries again. */
void retain_drop_checkpoints(struct store *store)
{
    struct store_names names;
    if (names_list(store->disk, &names) != FT_OK)
        return;
    size_t kept_at = 0; /* where the last one that stays lies */
    for (size_t i = 0; i + CHECKPOINTS_KEPT < names.checkpoints_count; i++) {
        uint64_t index = names.checkpoints[i];
        uint64_t bytes;
        size_t all;
        if (index + 1 == store->begin)
            continue;
        size_t next = segments_before(store, names.checkpoints[i + 1], &bytes, &all);
        size_t step = all / RUNGS ? all / RUNGS : 1;
        bool stays = store->retains && index >= store->begin && next > kept_at + step;
        if (stays)
            kept_at = segments_before(store, index, &bytes, &all);
        else
            unlink_checkpoint(store, index);
    }
    names_free(&names);
}

/* --- how far ------------------------------------------------------------------------------------
 */

/* When the newest entry up to `index` was made. */
static enum ft_error made_at(struct store *store, uint64_t index, uint64_t *time_us)
{
    struct segment segment;
    enum ft_error error = reading_locate(store, index, &segment);
    *time_us = store->reading.entry.time_us;
    return error;
}

static bool may_drop_to(struct store *store, const struct store_retention *want, uint64_t index)
{
    uint64_t bytes_after;
    uint64_t time_us;
    size_t all;
    if (index < store->begin || index >= want->floor)
        return false;
    (void)segments_before(store, index, &bytes_after, &all);
    if (want->keep_bytes && bytes_after >= want->keep_bytes)
        return true;
    /* What cannot be read is being mended, and is as old as it was then. */
    return want->since_us && !made_at(store, index, &time_us) && time_us < want->since_us;
}

/* The lowest checkpoint behind the segment that holds `damaged`: what is dropped with it is least. */
static uint64_t choose_behind(struct store *store, const struct store_retention *want,
                              const struct store_names *names)
{
    struct segment segment;
    if (!reading_segment(store, want->damaged, &segment, NULL) || !segment.indexed)
        return 0;
    for (size_t i = 0; i + 1 < names->checkpoints_count; i++) {
        uint64_t index = names->checkpoints[i];
        if (index >= segment.last && index < want->floor && checkpoint_readable(store, index))
            return index;
    }
    return 0;
}

/* The highest checkpoint that may become the log's base; 0: none. One that cannot be read is none:
 * the log could not be understood from it. */
static uint64_t choose(struct store *store, const struct store_retention *want,
                       const struct store_names *names)
{
    for (size_t i = names->checkpoints_count > 0 ? names->checkpoints_count - 1 : 0; i > 0; i--) {
        uint64_t index = names->checkpoints[i - 1];
        if (may_drop_to(store, want, index) && checkpoint_readable(store, index))
            return index;
    }
    return 0;
}

/* --- dropping -----------------------------------------------------------------------------------
 */

/* Out of the table first, so that nobody looks for what is going. */
static size_t forget_segments(struct store *store, uint64_t begin, uint64_t *firsts, size_t most)
{
    size_t count = 0;
    store_lock(store);
    while (count < most && store->segments[count].last < begin) {
        CHECK(store->segments[count].indexed);
        firsts[count] = store->segments[count].first;
        count++;
    }
    store->segments_count -= count;
    if (count)
        memmove(store->segments, store->segments + count,
                store->segments_count * sizeof *store->segments);
    CHECK(store->segments_count > 0);
    store->begin = store->segments[0].first;
    store_unlock(store);
    return count;
}

static enum ft_error unlink_if_there(const struct disk *disk, const char *path)
{
    enum ft_error error = disk->unlink(disk->ctx, path);
    return error == FT_ERROR_MISSING ? FT_OK : error;
}

static enum ft_error drop_before(struct store *store, uint64_t begin)
{
    const struct disk *disk = store->disk;
    enum ft_error error = begin_file_save(disk, store->crypto, begin);
    reading_forget(store); /* handles of files that go */
    while (!error) {
        uint64_t firsts[64];
        size_t count = forget_segments(store, begin, firsts, sizeof firsts / sizeof firsts[0]);
        if (count == 0)
            break;
        for (size_t i = 0; i < count && !error; i++) {
            char path[DISK_PATH_BYTES];
            segment_path(path, firsts[i], "seg");
            error = unlink_if_there(disk, path);
            segment_path(path, firsts[i], "idx");
            if (!error)
                error = unlink_if_there(disk, path);
        }
    }
    if (!error)
        error = disk->sync_dir(disk->ctx, "log");
    retain_drop_checkpoints(store);
    return error;
}

enum ft_error store_retain(struct store *store, const struct store_retention *retention,
                           uint64_t *first)
{
    struct store_names names;
    *first = store->begin; /* only this side changes it */
    enum ft_error error = names_list(store->disk, &names);
    if (error)
        return error;
    uint64_t base = choose(store, retention, &names);
    if (!base && retention->damaged)
        base = choose_behind(store, retention, &names);
    names_free(&names);
    /* Not all of the log goes, whatever checkpoint stands behind what is lost of it. */
    if (base && base < store_durable_last(store))
        error = drop_before(store, base + 1);
    *first = store->begin;
    return error;
}
