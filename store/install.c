/* Putting a complete copy in place, as a part of opening a folder: before anything of the log is
 * looked at, and again from the beginning after a crash in its middle, until data/N/copy is gone.
 *
 * Afterwards the log is what it was before the copy's start (or nothing, when it begins with the
 * copy), then the copy. What the log had from the copy's start on is gone: whoever asked for this
 * knew that nothing promised was in it. */
#include <stdlib.h>

#include "core/check.h"
#include "store/internal.h"

/* A part that is in place already was moved there before a crash. */
static enum ft_error move(const struct disk *disk, const char *from, const char *to)
{
    enum ft_error error = disk->rename(disk->ctx, from, to);
    if (error != FT_ERROR_MISSING)
        return error;
    struct disk_file *file;
    error = disk->open(disk->ctx, to, DISK_READ, &file);
    if (!error)
        disk->close(disk->ctx, file);
    return error == FT_ERROR_MISSING ? FT_ERROR_CORRUPT : error;
}

static enum ft_error move_all(const struct disk *disk, const struct copy_file *copy)
{
    static const char *const suffixes[] = { "seg", "idx" };
    char from[DISK_PATH_BYTES];
    char to[DISK_PATH_BYTES];
    enum ft_error error = FT_OK;
    for (size_t i = 0; i < copy->count; i++)
        for (size_t k = 0; k < 2 && !error; k++) {
            copy_segment_path(from, copy->firsts[i], suffixes[k]);
            segment_path(to, copy->firsts[i], suffixes[k]);
            error = move(disk, from, to);
        }
    copy_checkpoint_path(from, copy->end);
    checkpoint_file_path(to, copy->end);
    if (!error)
        error = move(disk, from, to);
    copy_checkpoint_path(from, copy->begin - 1);
    checkpoint_file_path(to, copy->begin - 1);
    if (!error && copy->begin > 1)
        error = move(disk, from, to);
    return error;
}

static bool is_copied(const struct copy_file *copy, uint64_t first)
{
    for (size_t i = 0; i < copy->count; i++)
        if (copy->firsts[i] == first)
            return true;
    return false;
}

static enum ft_error remove_old(const struct disk *disk, const struct copy_file *copy,
                                const uint64_t *firsts, size_t count, const char *suffix)
{
    enum ft_error error = FT_OK;
    for (size_t i = count; i > 0 && !error; i--) {
        uint64_t first = firsts[i - 1];
        char path[DISK_PATH_BYTES];
        if (first >= copy->begin && (first < copy->start || is_copied(copy, first)))
            continue;
        segment_path(path, first, suffix);
        error = disk->unlink(disk->ctx, path);
    }
    return error;
}

static enum ft_error remove_all_old(const struct disk *disk, const struct copy_file *copy)
{
    struct store_names names;
    enum ft_error error = names_list(disk, &names);
    if (error)
        return error;
    error = remove_old(disk, copy, names.segments, names.segments_count, "seg");
    if (!error)
        error = remove_old(disk, copy, names.indexes, names.indexes_count, "idx");
    for (size_t i = 0; i < names.checkpoints_count && !error; i++) {
        uint64_t index = names.checkpoints[i];
        char path[DISK_PATH_BYTES];
        if (index <= copy->end && index + 1 >= copy->begin)
            continue;
        checkpoint_file_path(path, index);
        error = disk->unlink(disk->ctx, path);
    }
    names_free(&names);
    return error;
}

static enum ft_error tell_vote(const struct disk *disk, const struct crypto *crypto,
                               const struct copy_file *copy, struct vote_record *vote)
{
    struct disk_file *file;
    enum ft_error error = disk->open(disk->ctx, "vote", DISK_WRITE, &file);
    if (error)
        return error;
    struct vote_record next = *vote;
    next.generation++;
    next.newest = copy->firsts[copy->count - 1];
    next.truncate_from = 0;
    error = vote_file_save(disk, file, crypto, &next);
    disk->close(disk->ctx, file);
    if (!error)
        *vote = next;
    return error;
}

static enum ft_error put_in_place(const struct disk *disk, const struct crypto *crypto,
                                  const struct copy_file *copy, struct identity_file *identity,
                                  struct vote_record *vote)
{
    /* Not what another node has erased by now, nor only what this one had not. */
    enum ft_error error = scrub_forget(disk);
    if (!error)
        error = move_all(disk, copy);
    /* The new names are durable before an old one goes. */
    if (!error)
        error = disk->sync_dir(disk->ctx, "log");
    if (!error)
        error = disk->sync_dir(disk->ctx, "checkpoint");
    if (!error && copy->begin)
        error = begin_file_save(disk, crypto, copy->begin);
    else if (!error && copy->start == 1)
        error = begin_file_remove(disk); /* of a late log that nothing explained */
    if (!error)
        error = remove_all_old(disk, copy);
    if (!error)
        error = disk->sync_dir(disk->ctx, "log");
    if (!error)
        error = disk->sync_dir(disk->ctx, "checkpoint");
    if (!error)
        error = tell_vote(disk, crypto, copy, vote);
    if (!error && identity->segment_bytes != copy->segment_bytes) {
        identity->segment_bytes = copy->segment_bytes;
        error = identity_file_save(disk, crypto, identity);
    }
    return error ? error : copy_remove_all(disk);
}

enum ft_error install_finish(const struct disk *disk, const struct crypto *crypto,
                             struct identity_file *identity, struct vote_record *vote,
                             uint64_t *end)
{
    struct copy_file copy;
    *end = 0;
    bool whole;
    enum ft_error error = copy_file_load(disk, crypto, identity->cluster, &copy, &whole);
    if (error == FT_ERROR_MISSING)
        return FT_OK;
    /* Replaced whole, it is never torn; so both copies of it are rotten. Of a copy under way nothing is lost but the work.
     * One that was being put in place has left parts of two logs, which are judged as any log that lacks some: by the
     * newest checkpoint, or what is behind the gap is held (recover.c). */
    if (error == FT_ERROR_CORRUPT)
        return copy_remove_all(disk);
    if (!error && copy.installing) {
        error = put_in_place(disk, crypto, &copy, identity, vote);
        *end = copy.end;
    }
    if (!error && !copy.installing && !whole)
        error = copy_file_save(disk, crypto, identity->cluster, &copy);
    free(copy.firsts);
    return error;
}
