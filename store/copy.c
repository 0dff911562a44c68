/* Copying the log from another node, piece by piece: the checkpoint at its end, the one before its
 * beginning if the own log does not reach so far, then each segment's index and its entries.
 *
 * An entry counts once its chain follows the one before and its bodies have their digests; a block
 * of an index once its check is right; a checkpoint once its hash is. Each piece is written and
 * synced before the next is wanted, so that after a crash at most the last one is torn: what cannot
 * be proven then is cut off and wanted again. The end is proven twice: a segment must end where its
 * index says, with the chain that the index names, and the last one with the chain that the
 * checkpoint names.
 *
 * The own log is not touched. On the reading side. */
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "store/index_format.h"
#include "store/scan.h"

enum { PIECE_STEP_BYTES = 4096 };

/* --- files of the copy --------------------------------------------------------------------------
 */

static void close_file(struct store *store)
{
    if (store->copy.file)
        store->disk->close(store->disk->ctx, store->copy.file);
    store->copy.file = NULL;
}

static const char *folder_of(const struct copy_side *copy)
{
    return copy->stage <= COPY_BASE ? "checkpoint" : "log";
}

static uint64_t checkpoint_at_hand(const struct copy_side *copy)
{
    return copy->stage == COPY_CHECKPOINT ? copy->plan.end : copy->plan.begin - 1;
}

static void path_of(const struct copy_side *copy, char path[DISK_PATH_BYTES])
{
    if (copy->stage <= COPY_BASE)
        copy_checkpoint_path(path, checkpoint_at_hand(copy));
    else
        copy_segment_path(path, copy->first, copy->stage == COPY_INDEX ? "idx" : "seg");
}

/* Whatever is there of the file at hand goes; it is wanted from its beginning. */
static enum ft_error start_over(struct store *store)
{
    char path[DISK_PATH_BYTES];
    close_file(store);
    store->copy.offset = 0;
    path_of(&store->copy, path);
    enum ft_error error = store->disk->unlink(store->disk->ctx, path);
    return error == FT_ERROR_MISSING ? FT_OK : error;
}

static enum ft_error write_piece(struct store *store, const void *data, size_t len)
{
    struct copy_side *copy = &store->copy;
    const struct disk *disk = store->disk;
    char path[DISK_PATH_BYTES];
    path_of(copy, path);
    enum ft_error error = FT_OK;
    bool made = copy->offset == 0;
    if (!copy->file) {
        if (made)
            error = start_over(store);
        if (!error)
            error = disk->open(disk->ctx, path, made ? DISK_CREATE : DISK_WRITE, &copy->file);
    }
    if (!error)
        error = disk->write(disk->ctx, copy->file, copy->offset, data, len);
    if (!error)
        error = disk->sync(disk->ctx, copy->file);
    if (!error && made)
        error = disk->sync_dir(disk->ctx, folder_of(copy));
    if (error) {
        close_file(store);
        return error;
    }
    copy->offset += len;
    return FT_OK;
}

/* --- from one file to the next ------------------------------------------------------------------
 */

static void next_segment(struct store *store, uint64_t first)
{
    struct copy_side *copy = &store->copy;
    close_file(store);
    copy->stage = first > copy->plan.end ? COPY_COMPLETE : COPY_INDEX;
    copy->first = copy->next = first;
    copy->offset = 0;
    memcpy(copy->first_chain, copy->chain, HASH_BYTES);
}

/* The chain that the first copied entry follows. */
static enum ft_error chain_at_start(struct store *store)
{
    struct copy_side *copy = &store->copy;
    memset(copy->chain, 0, HASH_BYTES);
    if (copy->plan.begin || copy->plan.start == 1)
        return FT_OK; /* the base's, once it is there; or the first of all */
    struct segment own;
    if (!reading_segment(store, copy->plan.start - 1, &own, NULL) ||
        own.last != copy->plan.start - 1)
        return FT_ERROR_MISSING;
    memcpy(copy->chain, own.chain, HASH_BYTES);
    return FT_OK;
}

static void after_checkpoint(struct store *store, const uint8_t chain[HASH_BYTES])
{
    struct copy_side *copy = &store->copy;
    close_file(store);
    if (copy->stage == COPY_CHECKPOINT) {
        memcpy(copy->end_chain, chain, HASH_BYTES);
        copy->stage = COPY_BASE;
        copy->offset = 0;
        if (copy->plan.begin > 1)
            return;
    } else {
        memcpy(copy->chain, chain, HASH_BYTES);
    }
    next_segment(store, copy->plan.start);
}

static enum ft_error prove_checkpoint(struct store *store, uint8_t chain[HASH_BYTES])
{
    struct copy_side *copy = &store->copy;
    char path[DISK_PATH_BYTES];
    uint8_t *data;
    size_t len;
    struct slice state;
    path_of(copy, path);
    enum ft_error error = file_load(store->disk, path, STORE_CHECKPOINT_BYTES_MAX, &data, &len);
    if (error)
        return error;
    error = checkpoint_file_parse(data, len, store->crypto, copy->cluster, checkpoint_at_hand(copy),
                                  chain, &state);
    free(data);
    return error == FT_ERROR_FOREIGN || error == FT_ERROR_VERSION ? FT_ERROR_CORRUPT : error;
}

/* The segment at hand is whole: does it end as its index says, and the copy as its checkpoint? */
static bool ends_right(const struct copy_side *copy)
{
    const struct index_header *header = &copy->header;
    CHECK(header->last <= copy->plan.end);
    if (copy->next != header->last + 1 || copy->offset != header->end ||
        memcmp(copy->chain, header->chain, HASH_BYTES) != 0)
        return false;
    return header->last < copy->plan.end || memcmp(copy->chain, copy->end_chain, HASH_BYTES) == 0;
}

/* What the copy has of a segment is not what it should be: both its files go. */
static enum ft_error drop_segment(struct store *store)
{
    struct copy_side *copy = &store->copy;
    char path[DISK_PATH_BYTES];
    close_file(store);
    copy_segment_path(path, copy->first, "seg");
    enum ft_error error = store->disk->unlink(store->disk->ctx, path);
    copy->stage = COPY_INDEX;
    copy->next = copy->first;
    memcpy(copy->chain, copy->first_chain, HASH_BYTES);
    return error ? error : start_over(store);
}

/* Each piece was good, the whole is not: it was thrown away (or that failed). */
static enum ft_error disproved(struct store *store, enum ft_error thrown_away)
{
    CHECK(store->copy.stage != COPY_COMPLETE);
    return thrown_away ? thrown_away : FT_ERROR_CORRUPT;
}

/* --- pieces -------------------------------------------------------------------------------------
 */

static enum ft_error take_checkpoint(struct store *store, uint64_t size, struct slice data)
{
    struct copy_side *copy = &store->copy;
    uint8_t chain[HASH_BYTES];
    if (data.len == 0 || size > STORE_CHECKPOINT_BYTES_MAX || copy->offset + data.len > size)
        return FT_ERROR_CORRUPT;
    enum ft_error error = write_piece(store, data.data, data.len);
    if (error || copy->offset < size)
        return error;
    error = prove_checkpoint(store, chain);
    if (!error)
        after_checkpoint(store, chain);
    return error == FT_ERROR_CORRUPT ? disproved(store, start_over(store)) : error;
}

/* Whole blocks, each with its number and its check. */
static enum ft_error take_index(struct store *store, uint64_t size, struct slice data)
{
    struct copy_side *copy = &store->copy;
    char path[DISK_PATH_BYTES];
    size_t len = data.len - data.len % INDEX_BLOCK_BYTES;
    if (len == 0 || copy->offset + len > size)
        return FT_ERROR_CORRUPT;
    for (size_t at = 0; at < len; at += INDEX_BLOCK_BYTES)
        if (!index_block_good(data.data + at, (copy->offset + at) / INDEX_BLOCK_BYTES,
                              store->crypto, copy->cluster))
            return FT_ERROR_CORRUPT;
    enum ft_error error = write_piece(store, data.data, len);
    if (error || copy->offset < size)
        return error;
    path_of(copy, path);
    error = index_file_prove(store->disk, store->crypto, copy->cluster, path, copy->first,
                             &copy->header, false);
    if (!error && copy->header.last > copy->plan.end)
        error = FT_ERROR_CORRUPT;
    if (error == FT_ERROR_CORRUPT || error == FT_ERROR_FOREIGN || error == FT_ERROR_VERSION)
        return disproved(store, start_over(store));
    if (error)
        return error;
    close_file(store);
    copy->stage = COPY_ENTRIES;
    copy->offset = 0;
    return FT_OK;
}

static enum ft_error begin_entries(struct store *store)
{
    struct copy_side *copy = &store->copy;
    struct segment_header header = { .first = copy->first,
                                     .segment_bytes = copy->plan.segment_bytes };
    memcpy(header.cluster, copy->cluster, IDENTITY_BYTES);
    memcpy(header.chain, copy->chain, HASH_BYTES);
    uint8_t *data = malloc(SEGMENT_HEADER_BYTES);
    if (!data)
        return FT_ERROR_LIMIT;
    segment_header_write(data, &header, store->crypto);
    enum ft_error error = write_piece(store, data, SEGMENT_HEADER_BYTES);
    free(data);
    return error;
}

/* How much of `data` are entries that follow, up to the segment's end; `chain` and `next` behind
 * them. */
static size_t proven(const struct store *store, struct slice data, uint8_t chain[HASH_BYTES],
                     uint64_t *next)
{
    const struct copy_side *copy = &store->copy;
    size_t at = 0;
    while (at < data.len && *next <= copy->header.last) {
        struct entry entry;
        if (entry_parse(&entry, store->crypto, copy->cluster, data.data + at, data.len - at) !=
                ENTRY_WHOLE ||
            entry.first != *next ||
            !entry_verify(&entry, store->crypto, copy->cluster, chain, data.data + at, NULL))
            break;
        memcpy(chain, entry.chain, HASH_BYTES);
        *next = entry.first + entry.count;
        at += entry.size;
    }
    return at;
}

static enum ft_error take_entries(struct store *store, struct slice data)
{
    struct copy_side *copy = &store->copy;
    uint8_t chain[HASH_BYTES];
    uint64_t next = copy->next;
    memcpy(chain, copy->chain, HASH_BYTES);
    size_t good = proven(store, data, chain, &next);
    if (good == 0)
        return FT_ERROR_CORRUPT;
    enum ft_error error = copy->offset == 0 ? begin_entries(store) : FT_OK;
    if (!error)
        error = write_piece(store, data.data, good);
    if (error)
        return error;
    memcpy(copy->chain, chain, HASH_BYTES);
    copy->next = next;
    if (next <= copy->header.last)
        return FT_OK;
    if (!ends_right(copy))
        return disproved(store, drop_segment(store));
    next_segment(store, next);
    return FT_OK;
}

/* --- what a crash left --------------------------------------------------------------------------
 */

static enum ft_error file_size(struct store *store, uint64_t *size)
{
    char path[DISK_PATH_BYTES];
    struct disk_file *file;
    path_of(&store->copy, path);
    enum ft_error error = store->disk->open(store->disk->ctx, path, DISK_READ, &file);
    if (error)
        return error;
    error = store->disk->size(store->disk->ctx, file, size);
    store->disk->close(store->disk->ctx, file);
    return error;
}

/* Of a checkpoint that is not whole nothing can be proven: the last piece, which may be torn, is
 * taken away, and the whole decides in the end. */
static enum ft_error resume_checkpoint(struct store *store)
{
    uint8_t chain[HASH_BYTES];
    uint64_t size = 0;
    enum ft_error error = prove_checkpoint(store, chain);
    if (!error) {
        after_checkpoint(store, chain);
        return FT_OK;
    }
    if (error == FT_ERROR_MISSING)
        return FT_OK;
    if (error == FT_ERROR_CORRUPT)
        error = file_size(store, &size);
    if (!error)
        store->copy.offset = size <= LIMIT_COPY_BYTES
                                 ? 0
                                 : (size - LIMIT_COPY_BYTES) / PIECE_STEP_BYTES * PIECE_STEP_BYTES;
    return error;
}

/* The blocks that are good from the beginning on. */
static enum ft_error resume_index(struct store *store)
{
    struct copy_side *copy = &store->copy;
    char path[DISK_PATH_BYTES];
    path_of(copy, path);
    enum ft_error error = index_file_prove(store->disk, store->crypto, copy->cluster, path,
                                           copy->first, &copy->header, true);
    if (!error && copy->header.last <= copy->plan.end) {
        copy->stage = COPY_ENTRIES;
        copy->offset = 0;
        return FT_OK;
    }
    if (error && error != FT_ERROR_MISSING && error != FT_ERROR_CORRUPT &&
        error != FT_ERROR_FOREIGN && error != FT_ERROR_VERSION)
        return error;
    return start_over(store); /* it is small */
}

/* The entries that can be proven; what is behind them is cut off. */
static enum ft_error scan_copied(struct store *store, struct disk_file *file,
                                 struct segment *segment)
{
    const struct disk *disk = store->disk;
    struct copy_side *copy = &store->copy;
    struct segment_header header;
    size_t got;
    uint8_t *window = malloc(SCAN_WINDOW_BYTES);
    if (!window)
        return FT_ERROR_LIMIT;
    struct scan scan = { .disk = disk,
                         .crypto = store->crypto,
                         .key = copy->cluster,
                         .file = file,
                         .segment_bytes = UINT64_MAX,
                         .last_segment = true,
                         .stop_before = copy->header.last + 1,
                         .segment = segment,
                         .window = window };
    disk->forget(disk->ctx, file);
    enum ft_error error = disk->size(disk->ctx, file, &scan.size);
    if (!error)
        error = disk->read(disk->ctx, file, 0, window, SEGMENT_HEADER_BYTES, &got);
    if (!error &&
        (got < SEGMENT_HEADER_BYTES ||
         segment_header_parse(window, store->crypto, &header) != FT_OK ||
         header.first != copy->first || memcmp(header.chain, copy->chain, HASH_BYTES) != 0))
        error = FT_ERROR_CORRUPT;
    if (!error)
        error = scan_segment(&scan);
    if (!error && scan.size > segment->end) {
        error = disk->resize(disk->ctx, file, segment->end);
        if (!error)
            error = disk->sync(disk->ctx, file);
    }
    free(window);
    free(segment->marks);
    return error;
}

static enum ft_error resume_entries(struct store *store)
{
    struct copy_side *copy = &store->copy;
    char path[DISK_PATH_BYTES];
    struct disk_file *file;
    struct segment segment = { .first = copy->first };
    path_of(copy, path);
    memcpy(segment.chain, copy->chain, HASH_BYTES);
    enum ft_error error = store->disk->open(store->disk->ctx, path, DISK_WRITE, &file);
    if (error)
        return error == FT_ERROR_MISSING ? FT_OK : error;
    error = scan_copied(store, file, &segment);
    store->disk->close(store->disk->ctx, file);
    if (error == FT_ERROR_CORRUPT || (!error && segment.last < segment.first))
        return start_over(store);
    if (error)
        return error;
    copy->offset = segment.end;
    copy->next = segment.last + 1;
    memcpy(copy->chain, segment.chain, HASH_BYTES);
    if (copy->next <= copy->header.last)
        return FT_OK;
    if (!ends_right(copy))
        return drop_segment(store);
    next_segment(store, copy->next);
    return FT_OK;
}

/* Goes on from file to file, as far as they are there. */
static enum ft_error resume(struct store *store)
{
    struct copy_side *copy = &store->copy;
    enum ft_error error = FT_OK;
    for (;;) {
        enum copy_stage stage = copy->stage;
        if (stage <= COPY_BASE)
            error = resume_checkpoint(store);
        else if (stage == COPY_INDEX)
            error = resume_index(store);
        else if (stage == COPY_ENTRIES)
            error = resume_entries(store);
        if (error || copy->stage == stage)
            return error;
    }
}

/* --- the plan -----------------------------------------------------------------------------------
 */

static enum ft_error fresh_plan(struct store *store, const struct store_copy_plan *plan,
                                uint64_t own_last)
{
    struct copy_side *copy = &store->copy;
    bool goes_on = !plan->whole && own_last + 1 >= plan->oldest &&
                   (own_last == 0 || store->segment_bytes == plan->segment_bytes);
    copy->plan = (struct copy_file) { .begin = goes_on ? 0 : plan->oldest,
                                      .start = goes_on ? own_last + 1 : plan->oldest,
                                      .end = plan->newest,
                                      .segment_bytes = plan->segment_bytes };
    enum ft_error error = copy_remove_all(store->disk);
    if (!error)
        error = copy_file_save(store->disk, store->crypto, copy->cluster, &copy->plan);
    return error;
}

static enum ft_error start_plan(struct store *store)
{
    struct copy_side *copy = &store->copy;
    close_file(store);
    copy->stage = COPY_CHECKPOINT;
    copy->offset = 0;
    enum ft_error error = chain_at_start(store);
    return error ? error : resume(store);
}

/* What was begun before is gone on with, if the one that is asked has what it lacks next: neither has
 * dropped it, nor ends before it. Its end stays if
 * its checkpoint is here, whatever the others have by now. */
static enum ft_error resume_plan(struct store *store, const struct store_copy_plan *plan,
                                 uint64_t own_last, bool *resumed)
{
    struct copy_side *copy = &store->copy;
    *resumed = false;
    bool whole;
    enum ft_error error =
        copy_file_load(store->disk, store->crypto, copy->cluster, &copy->plan, &whole);
    free(copy->plan.firsts); /* of one that is to be put in place, which is not gone on with */
    copy->plan.firsts = NULL;
    bool broken = error == FT_ERROR_CORRUPT || error == FT_ERROR_FOREIGN ||
                  error == FT_ERROR_VERSION || error == FT_ERROR_MISSING;
    if (error)
        return broken ? FT_OK : error;
    if (copy->plan.installing || copy->plan.segment_bytes != plan->segment_bytes ||
        copy->plan.end <= own_last || (plan->whole && !copy->plan.begin))
        return FT_OK;
    error = start_plan(store);
    if (!error && copy->stage == COPY_CHECKPOINT && copy->plan.end != plan->newest) {
        if (plan->newest < copy->plan.start)
            return FT_OK; /* this one has nothing of what was begun elsewhere */
        copy->plan.end = plan->newest;
        error = copy_file_save(store->disk, store->crypto, copy->cluster, &copy->plan);
        if (!error)
            error = start_plan(store);
    }
    if (error == FT_ERROR_MISSING)
        return FT_OK;
    uint64_t lacks = copy->stage >= COPY_INDEX ? copy->next : copy->plan.start;
    *resumed = !error &&
               (copy->stage == COPY_COMPLETE || (lacks >= plan->oldest && lacks <= plan->newest));
    if (copy->stage == COPY_BASE)
        *resumed = copy->plan.start == plan->oldest;
    return error;
}

static void tell(const struct store *store, struct store_copy_state *state)
{
    const struct copy_side *copy = &store->copy;
    *state = (struct store_copy_state) { .complete = copy->stage == COPY_COMPLETE,
                                         .end = copy->plan.end };
    memcpy(state->chain, copy->end_chain, HASH_BYTES);
    if (copy->stage <= COPY_BASE)
        state->next =
            (struct store_piece) { STORE_PIECE_CHECKPOINT, checkpoint_at_hand(copy), copy->offset };
    else if (copy->stage == COPY_INDEX)
        state->next = (struct store_piece) { STORE_PIECE_INDEX, copy->first, copy->offset };
    else
        state->next = (struct store_piece) { STORE_PIECE_ENTRIES, copy->next, 0 };
}

enum ft_error store_copy_begin(struct store *store, const struct store_copy_plan *plan,
                               struct store_copy_state *state)
{
    struct copy_side *copy = &store->copy;
    CHECK(plan->oldest > 0);
    CHECK(plan->newest >= plan->oldest);
    *state = (struct store_copy_state) { 0 };
    close_file(store);
    memcpy(copy->cluster, plan->cluster, IDENTITY_BYTES);
    store_lock(store);
    uint64_t own_last = store->indexed_last;
    store_unlock(store);
    if (own_last >= plan->newest) {
        enum ft_error error = store_copy_drop(store);
        return error == FT_ERROR_SYNC ? error : FT_ERROR_EXISTS;
    }
    bool resumed;
    enum ft_error error = resume_plan(store, plan, own_last, &resumed);
    if (!error && !resumed) {
        error = fresh_plan(store, plan, own_last);
        if (!error)
            error = start_plan(store);
    }
    if (error) {
        copy->stage = COPY_NONE;
        return error;
    }
    tell(store, state);
    state->resumed = resumed;
    return FT_OK;
}

enum ft_error store_copy_write(struct store *store, const struct store_piece *piece, uint64_t size,
                               struct slice data, struct store_copy_state *state)
{
    struct copy_side *copy = &store->copy;
    *state = (struct store_copy_state) { 0 };
    if (copy->stage == COPY_NONE)
        return FT_ERROR_MISSING;
    tell(store, state);
    if (state->complete || piece->kind != state->next.kind || piece->index != state->next.index ||
        piece->offset != state->next.offset)
        return FT_OK;
    enum ft_error error = copy->stage <= COPY_BASE    ? take_checkpoint(store, size, data)
                          : copy->stage == COPY_INDEX ? take_index(store, size, data)
                                                      : take_entries(store, data);
    if (error && error != FT_ERROR_CORRUPT)
        copy->stage = COPY_NONE; /* what is there is found again by the next begin */
    tell(store, state);
    return error;
}

enum ft_error store_copy_install(struct store *store)
{
    struct copy_side *copy = &store->copy;
    CHECK(copy->stage == COPY_COMPLETE);
    struct copy_file file = copy->plan;
    file.installing = true;
    enum ft_error error = FT_OK;
    size_t capacity = 0;
    for (uint64_t first = file.start; first <= file.end && !error;) {
        char path[DISK_PATH_BYTES];
        struct index_header header;
        if (file.count == capacity) {
            capacity = capacity ? capacity * 2 : 64;
            uint64_t *grown = realloc(file.firsts, capacity * sizeof *grown);
            if (!grown) {
                error = FT_ERROR_LIMIT;
                break;
            }
            file.firsts = grown;
        }
        copy_segment_path(path, first, "idx");
        error = index_file_prove(store->disk, store->crypto, copy->cluster, path, first, &header,
                                 false);
        file.firsts[file.count++] = first;
        first = header.last + 1;
    }
    if (!error)
        error = copy_file_save(store->disk, store->crypto, copy->cluster, &file);
    free(file.firsts);
    return error;
}

enum ft_error store_copy_drop(struct store *store)
{
    close_file(store);
    store->copy.stage = COPY_NONE;
    return copy_remove_all(store->disk);
}
