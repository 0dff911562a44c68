/* The log side: one flush, made durable step by step.
 *
 * The order within a flush is cluster, vote, truncation, entries; each is durable before the next
 * begins. A failed write or sync of what may be promised is latched: whatever a retry answered, the
 * page that failed may be lost, so nothing is promised any more by this process.
 *
 * Truncation must survive a crash in its middle, which would otherwise look like rot: the vote's
 * record first says from where (`truncate_from`), then later segments are removed, the newest
 * first, and the rest of the current one is zeroed, then the record says that it is done. Recovery
 * does a truncation again that was begun. */
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "store/held.h"

/* --- where the entries go -----------------------------------------------------------------------
 */

/* Walks the entries of both runs. */
struct walk {
    struct slice runs[2];
    size_t run;
    size_t at;
    struct entry entry; /* the one at `at`; size 0 at the end */
    const struct store *store;
};

static void walk_look(struct walk *walk)
{
    walk->entry = (struct entry) { 0 };
    while (walk->run < 2 && walk->at == walk->runs[walk->run].len) {
        walk->run++;
        walk->at = 0;
    }
    if (walk->run == 2)
        return;
    const struct slice *run = &walk->runs[walk->run];
    enum entry_state state = entry_parse(&walk->entry, walk->store->crypto, walk->store->cluster,
                                         run->data + walk->at, run->len - walk->at);
    CHECK(state == ENTRY_WHOLE);
}

static void walk_next(struct walk *walk)
{
    walk->at += walk->entry.size;
    walk_look(walk);
}

static struct walk walk_of(const struct store *store, const struct store_flush *flush)
{
    struct walk walk = { .store = store };
    memcpy(walk.runs, flush->entries, sizeof walk.runs);
    walk_look(&walk);
    return walk;
}

/* --- segments on the log side --------------------------------------------------------------------
 */

static enum ft_error latch(struct store *store, enum ft_error error)
{
    if (error)
        store->log.failed = true;
    return error ? FT_ERROR_IO : FT_OK;
}

static void close_active(struct store *store)
{
    if (store->log.active)
        store->disk->close(store->disk->ctx, store->log.active);
    store->log.active = NULL;
    store->log.active_id = 0;
}

void log_forget(struct store *store)
{
    close_active(store);
    if (store->log.vote_file)
        store->disk->close(store->disk->ctx, store->log.vote_file);
    store->log.vote_file = NULL;
    held_forget(store);
}

/* A copy of the newest segment, without its marks; false when the log has none. */
static bool newest_segment(struct store *store, struct segment *copy)
{
    store_lock(store);
    bool any = store->segments_count > 0;
    if (any)
        *copy = store->segments[store->segments_count - 1];
    store_unlock(store);
    copy->marks = NULL;
    return any;
}

static enum ft_error open_active(struct store *store, const struct segment *segment)
{
    if (store->log.active && store->log.active_id == segment->id)
        return FT_OK;
    close_active(store);
    char path[DISK_PATH_BYTES];
    segment_path(path, segment->first, "seg");
    enum ft_error error = store->disk->open(store->disk->ctx, path, DISK_WRITE, &store->log.active);
    if (!error)
        store->log.active_id = segment->id;
    return error;
}

/* The content of the segment that the first entry of the flush comes after. */
static uint64_t content_before(struct store *store, const struct store_flush *flush)
{
    uint64_t end = SEGMENT_HEADER_BYTES;
    store_lock(store);
    if (flush->truncate_from) {
        struct segment *segment = segments_find(store, flush->truncate_from);
        /* Where in it does not matter: no spare is needed unless it fills up. */
        if (segment && segment->first < flush->truncate_from)
            end = segment_mark_before(segment, flush->truncate_from);
        else
            end = UINT64_MAX;
    } else if (store->segments_count) {
        end = store->segments[store->segments_count - 1].end;
    } else {
        end = UINT64_MAX;
    }
    store_unlock(store);
    return end == UINT64_MAX ? UINT64_MAX : end - SEGMENT_HEADER_BYTES;
}

/* Makes sure that the flush will find every new segment it needs, so that a full disk is noticed
 * before anything was written. A truncation point inside a segment is taken at the mark before it,
 * which may ask for one spare too few or too many; too few is made up for when it is reached. */
static enum ft_error reserve_segments(struct store *store, const struct store_flush *flush)
{
    size_t needed = 0;
    uint64_t content = content_before(store, flush);
    for (struct walk walk = walk_of(store, flush); walk.entry.size; walk_next(&walk)) {
        if (content >= store->segment_bytes) {
            needed++;
            content = 0;
        }
        content += walk.entry.size;
    }
    if (flush->truncate_from && needed == 0)
        needed = 1;
    for (;;) {
        store_lock(store);
        bool enough = store->spares_count >= needed || store->spares_count == STORE_SPARES;
        store_unlock(store);
        if (enough)
            return FT_OK;
        uint64_t number;
        enum ft_error error = spare_make(store, &number);
        if (error)
            return error == FT_ERROR_SPACE ? error : latch(store, error);
        store_lock(store);
        bool kept = store->spares_count < STORE_SPARES;
        if (kept)
            store->spares[store->spares_count++] = number;
        store_unlock(store);
        if (!kept) {
            char path[DISK_PATH_BYTES];
            spare_path(path, number);
            (void)store->disk->unlink(store->disk->ctx, path);
        }
    }
}

static enum ft_error take_spare(struct store *store, uint64_t *number)
{
    store_lock(store);
    bool have = store->spares_count > 0;
    if (have)
        *number = store->spares[--store->spares_count];
    store_unlock(store);
    return have ? FT_OK : spare_make(store, number);
}

/* Opens a spare as the active file and writes its header; it has no name yet. */
static enum ft_error begin_segment(struct store *store, uint64_t first, const uint8_t *chain,
                                   uint64_t *spare)
{
    close_active(store);
    enum ft_error error = take_spare(store, spare);
    if (error)
        return error;
    char path[DISK_PATH_BYTES];
    spare_path(path, *spare);
    error = store->disk->open(store->disk->ctx, path, DISK_WRITE, &store->log.active);
    if (error)
        return error;
    struct segment_header header = { .first = first, .segment_bytes = store->segment_bytes };
    memcpy(header.cluster, store->cluster, IDENTITY_BYTES);
    memcpy(header.chain, chain, HASH_BYTES);
    uint8_t *data = malloc(SEGMENT_HEADER_BYTES);
    if (!data)
        return FT_ERROR_LIMIT;
    segment_header_write(data, &header, store->crypto);
    error = store->disk->write(store->disk->ctx, store->log.active, 0, data, SEGMENT_HEADER_BYTES);
    free(data);
    return error;
}

static enum ft_error name_segment(struct store *store, uint64_t first, uint64_t spare)
{
    char from[DISK_PATH_BYTES];
    char to[DISK_PATH_BYTES];
    spare_path(from, spare);
    segment_path(to, first, "seg");
    enum ft_error error = store->disk->rename(store->disk->ctx, from, to);
    return error ? error : store->disk->sync_dir(store->disk->ctx, "log");
}

/* Lets readers see what is durable now. `from` walks over what was written, up to `until`. */
static enum ft_error publish(struct store *store, bool begun, struct walk from,
                             const struct walk *until)
{
    enum ft_error error = FT_OK;
    store_lock(store);
    CHECK(begun || store->segments_count > 0);
    struct segment *segment =
        begun ? segments_push(store) : &store->segments[store->segments_count - 1];
    if (!segment) {
        store_unlock(store);
        return FT_ERROR_LIMIT;
    }
    if (begun) {
        segment->first = from.entry.first;
        segment->end = SEGMENT_HEADER_BYTES;
    }
    while (from.run != until->run || from.at != until->at) {
        CHECK(from.entry.chain != NULL);
        if (!segment_mark(segment, from.entry.first, segment->end))
            error = FT_ERROR_LIMIT;
        segment->end += from.entry.size;
        segment->last = from.entry.first + from.entry.count - 1;
        memcpy(segment->chain, from.entry.chain, HASH_BYTES);
        walk_next(&from);
    }
    store->durable_last = segment->last;
    store->log.active_id = segment->id;
    store_unlock(store);
    return error;
}

static enum ft_error save_vote(struct store *store, const struct vote_record *next)
{
    if (!store->log.vote_file) {
        enum ft_error error =
            store->disk->open(store->disk->ctx, "vote", DISK_WRITE, &store->log.vote_file);
        if (error)
            return error;
    }
    struct vote_record record = *next;
    record.generation = store->log.vote.generation + 1;
    enum ft_error error = vote_file_save(store->disk, store->log.vote_file, store->crypto, &record);
    if (!error)
        store->log.vote = record;
    return error;
}

/* From now on a log without this segment is one that lost it. */
static enum ft_error promise_segment(struct store *store, uint64_t first)
{
    struct vote_record record = store->log.vote;
    record.newest = first;
    return save_vote(store, &record);
}

/* Writes what goes into one segment from where `walk` stands, and moves it on. */
static enum ft_error write_segment(struct store *store, struct walk *walk)
{
    struct segment newest = { .end = SEGMENT_HEADER_BYTES };
    memcpy(newest.chain, store->base_chain, HASH_BYTES);
    bool any = newest_segment(store, &newest);
    bool begin = !any || segment_full(&newest, store->segment_bytes);
    uint64_t expected = any ? newest.last + 1 : store->begin;
    CHECK(walk->entry.first == expected);
    uint64_t spare = 0;
    enum ft_error error = begin ? begin_segment(store, walk->entry.first, newest.chain, &spare)
                                : open_active(store, &newest);
    uint64_t end = begin ? SEGMENT_HEADER_BYTES : newest.end;
    struct walk from = *walk;
    while (walk->entry.size && !error && !segment_full_at(end, store->segment_bytes)) {
        size_t run = walk->run;
        size_t start = walk->at;
        uint64_t offset = end;
        while (walk->entry.size && walk->run == run &&
               !segment_full_at(end, store->segment_bytes)) {
            CHECK(walk->entry.first == expected);
            expected += walk->entry.count;
            end += walk->entry.size;
            walk_next(walk);
        }
        error = store->disk->write(store->disk->ctx, store->log.active, offset,
                                   walk->runs[run].data + start, (size_t)(end - offset));
    }
    if (!error)
        error = store->disk->sync(store->disk->ctx, store->log.active);
    if (!error && begin)
        error = name_segment(store, from.entry.first, spare);
    if (!error && begin)
        error = promise_segment(store, from.entry.first);
    return error ? error : publish(store, begin, from, walk);
}

/* --- truncation ---------------------------------------------------------------------------------
 */

/* The offset of the entry that begins at `index`, and the chain before it, by walking the headers
 * from the mark before. */
static enum ft_error find_entry(struct store *store, const struct segment *segment, uint64_t index,
                                uint64_t offset, uint64_t *found, uint8_t chain[HASH_BYTES])
{
    while (offset < segment->end) {
        uint8_t data[ENTRY_HEADER_BYTES];
        size_t got;
        enum ft_error error =
            store->disk->read(store->disk->ctx, store->log.active, offset, data, sizeof data, &got);
        if (error)
            return error;
        struct entry entry;
        if (entry_parse(&entry, store->crypto, store->cluster, data, got) != ENTRY_SHORT)
            return FT_ERROR_CORRUPT;
        if (entry.first + entry.count == index) {
            memcpy(chain, entry.chain, HASH_BYTES);
            *found = offset + entry.size;
            return FT_OK;
        }
        CHECK(entry.first < index); /* truncation is at an entry's first index */
        offset += entry.size;
    }
    return FT_ERROR_CORRUPT;
}

static enum ft_error write_zeros(struct store *store, uint64_t offset, uint64_t end)
{
    enum { CHUNK = 65536 };
    enum ft_error error = FT_OK;
    while (offset < end && !error) {
        size_t part = end - offset < CHUNK ? (size_t)(end - offset) : CHUNK;
        error = store->disk->write(store->disk->ctx, store->log.active, offset, disk_zeros, part);
        offset += part;
    }
    return error ? error : store->disk->sync(store->disk->ctx, store->log.active);
}

static enum ft_error remove_newest(struct store *store, const struct segment *segment)
{
    char path[DISK_PATH_BYTES];
    segment_path(path, segment->first, "seg");
    close_active(store);
    enum ft_error error = store->disk->unlink(store->disk->ctx, path);
    if (!error)
        error = store->disk->sync_dir(store->disk->ctx, "log");
    if (error)
        return error;
    store_lock(store);
    free(store->segments[--store->segments_count].marks);
    store->durable_last = segment->first - 1;
    store_unlock(store);
    return FT_OK;
}

static enum ft_error truncate_segment(struct store *store, const struct segment *segment,
                                      uint64_t index)
{
    store_lock(store);
    uint64_t mark = segment_mark_before(&store->segments[store->segments_count - 1], index - 1);
    store_unlock(store);
    uint64_t end = 0;
    uint8_t chain[HASH_BYTES];
    enum ft_error error = open_active(store, segment);
    if (!error)
        error = find_entry(store, segment, index, mark, &end, chain);
    if (error)
        return error;
    /* Readers must not look at what is about to vanish. */
    store_lock(store);
    struct segment *shared = &store->segments[store->segments_count - 1];
    shared->id = ++store->next_id; /* what readers kept of it is not to be used again */
    shared->end = end;
    shared->last = index - 1;
    memcpy(shared->chain, chain, HASH_BYTES);
    segment_cut_marks(shared, end);
    store->log.active_id = shared->id;
    store->durable_last = index - 1;
    store_unlock(store);
    return write_zeros(store, end, segment->end);
}

/* Truncation is at an entry's first index. Looked at before anything is written about it. */
static enum ft_error check_boundary(struct store *store, uint64_t index)
{
    struct segment segment;
    uint64_t mark;
    uint64_t end;
    uint8_t chain[HASH_BYTES];
    store_lock(store);
    struct segment *shared = segments_find(store, index);
    CHECK(shared != NULL);
    segment = *shared;
    mark = segment_mark_before(shared, index - 1);
    store_unlock(store);
    if (segment.first == index)
        return FT_OK;
    enum ft_error error = open_active(store, &segment);
    return error ? error : find_entry(store, &segment, index, mark, &end, chain);
}

/* Where the segment begins that is the newest once `index` and what follows is gone. */
static uint64_t newest_below(struct store *store, uint64_t index)
{
    uint64_t first = 0;
    store_lock(store);
    for (size_t i = 0; i < store->segments_count; i++)
        if (store->segments[i].first < index)
            first = store->segments[i].first;
    store_unlock(store);
    return first;
}

static bool has_leftover(struct store *store)
{
    store_lock(store);
    bool leftover = store->leftover;
    store_unlock(store);
    return leftover;
}

/* What was held behind the log's end goes: the segments after the last one that counts, the newest
 * first, and the rest of that one. */
static enum ft_error remove_leftover(struct store *store)
{
    struct store_names names;
    struct segment newest = { 0 };
    const struct disk *disk = store->disk;
    bool any = newest_segment(store, &newest);
    store_lock(store);
    uint64_t sealed = store->indexed_last;
    uint64_t last = store->durable_last;
    store_unlock(store);
    enum ft_error error = names_list(disk, &names);
    if (!error)
        error = names_drop_beyond(disk, &names, sealed, any ? newest.last : last);
    for (size_t i = names.segments_count; i > 0 && !error; i--) {
        char path[DISK_PATH_BYTES];
        if (any && names.segments[i - 1] <= newest.first)
            break;
        segment_path(path, names.segments[i - 1], "seg");
        error = disk->unlink(disk->ctx, path);
        if (!error)
            error = disk->sync_dir(disk->ctx, "log");
    }
    names_free(&names);
    uint64_t size = 0;
    /* Behind one that a checkpoint covers nothing was ever written; and its file may be gone itself, and being mended. */
    bool ends_in_it = any && !newest.indexed;
    if (!error && ends_in_it)
        error = open_active(store, &newest);
    if (!error && ends_in_it)
        error = disk->size(disk->ctx, store->log.active, &size);
    if (!error && ends_in_it && size > newest.end)
        error = write_zeros(store, newest.end, size);
    /* The last of what was: with it in place, what is written now would count as dropped. */
    if (!error && store->unexplained)
        error = begin_file_remove(disk);
    if (error)
        return error;
    store_lock(store);
    store->leftover = false;
    store->unexplained = 0;
    store_unlock(store);
    return FT_OK;
}

static enum ft_error truncate_log(struct store *store, uint64_t index)
{
    store_lock(store);
    uint64_t indexed_last = store->indexed_last;
    store_unlock(store);
    CHECK(index > indexed_last); /* what a checkpoint covers is committed */
    struct segment newest;
    while (newest_segment(store, &newest) && newest.last >= index) {
        enum ft_error error = newest.first >= index ? remove_newest(store, &newest)
                                                    : truncate_segment(store, &newest, index);
        if (error)
            return error;
    }
    if (has_leftover(store)) {
        enum ft_error error = remove_leftover(store);
        if (error)
            return error;
    }
    struct vote_record done = store->log.vote;
    done.truncate_from = 0;
    return save_vote(store, &done);
}

/* --- a flush ------------------------------------------------------------------------------------
 */

/* Only a log without an entry changes its cluster; and a segment has its first entry before it has its name. */
static enum ft_error save_cluster(struct store *store, const uint8_t cluster[IDENTITY_BYTES])
{
    struct segment none;
    CHECK(!newest_segment(store, &none));
    CHECK(store->log.vote.newest == 0);
    struct identity_file file = { .segment_bytes = store->segment_bytes };
    memcpy(file.identity, store->identity, IDENTITY_BYTES);
    memcpy(file.cluster, cluster, IDENTITY_BYTES);
    enum ft_error error = identity_file_save(store->disk, store->crypto, &file);
    if (!error)
        memcpy(store->cluster, cluster, IDENTITY_BYTES);
    return error;
}

enum ft_error store_flush(struct store *store, const struct store_flush *flush)
{
    if (store->log.failed)
        return FT_ERROR_IO;
    CHECK(flush->number > store->log.last_flush);
    bool has_entries = flush->entries[0].len || flush->entries[1].len;
    enum ft_error error = FT_OK;
    if (flush->save_cluster && memcmp(flush->cluster, store->cluster, IDENTITY_BYTES) != 0) {
        error = save_cluster(store, flush->cluster);
        if (error)
            return error == FT_ERROR_SPACE ? error : latch(store, error);
    }
    if (has_entries) {
        error = reserve_segments(store, flush);
        if (error)
            return error;
    }
    store->log.last_flush = flush->number;
    struct vote_record record = store->log.vote;
    bool leftover = has_leftover(store);
    CHECK(!leftover || flush->truncate_from <= store->durable_last + 1);
    bool truncates =
        flush->truncate_from && (flush->truncate_from <= store->durable_last || leftover);
    CHECK(!has_entries || !leftover || truncates);
    if (flush->save_vote || truncates)
        record.lost = flush->lost;
    if (flush->save_vote) {
        CHECK(flush->term >= record.term);
        record.term = flush->term;
        memcpy(record.vote, flush->vote, IDENTITY_BYTES);
    }
    if (truncates) {
        record.truncate_from = flush->truncate_from;
        record.newest = newest_below(store, flush->truncate_from);
        error = flush->truncate_from <= store->durable_last
                    ? check_boundary(store, flush->truncate_from)
                    : FT_OK;
    }
    if (!error && (flush->save_vote || truncates))
        error = save_vote(store, &record);
    pthread_mutex_lock(&store->tail);
    if (!error && truncates)
        error = truncate_log(store, flush->truncate_from);
    struct walk walk = walk_of(store, flush);
    while (walk.entry.size && !error)
        error = write_segment(store, &walk);
    pthread_mutex_unlock(&store->tail);
    return latch(store, error);
}
