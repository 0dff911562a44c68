/* Proving files at rest while the node runs: identity, vote, where the log begins, the held log,
 * checkpoints, each segment and its index, in turn or as asked, in slices. On the reading side. It
 * never looks at entries beyond the commit index: the log side may still change them. */
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "store/held.h"
#include "store/scan.h"

enum { LOOKS = 3 }; /* at what another thread writes */

static bool is_damage(enum ft_error error)
{
    return error == FT_ERROR_CORRUPT || error == FT_ERROR_FOREIGN || error == FT_ERROR_MISSING ||
           error == FT_ERROR_IO || error == FT_ERROR_VERSION;
}

static void let_go(struct store *store)
{
    struct check_side *side = &store->check;
    if (side->handle)
        store->disk->close(store->disk->ctx, side->handle);
    side->handle = NULL;
    free(side->segment.marks);
    side->segment = (struct segment) { 0 };
    side->file = STORE_FILE_NONE;
    side->resting = false;
}

void check_forget(struct store *store)
{
    let_go(store);
    if (store->check.scan)
        free(store->check.scan->window);
    free(store->check.scan);
    store->check.scan = NULL;
}

/* --- which file is next -------------------------------------------------------------------------
 */

static bool table_from(struct store *store, uint64_t from, struct segment *copy)
{
    bool any = false;
    store_lock(store);
    for (size_t i = 0; i < store->segments_count && !any; i++)
        if (store->segments[i].first >= from) {
            *copy = store->segments[i];
            copy->marks = NULL;
            any = true;
        }
    store_unlock(store);
    return any;
}

/* Of segments and checkpoints: as many of these as the last round came upon. */
static uint64_t total_bytes(struct store *store)
{
    const struct check_side *side = &store->check;
    uint64_t total = side->checkpoints_now > side->checkpoints_before ? side->checkpoints_now
                                                                      : side->checkpoints_before;
    store_lock(store);
    for (size_t i = 0; i < store->segments_count; i++)
        total += store->segments[i].indexed ? store->segments[i].end : segment_file_bytes(store);
    store_unlock(store);
    return total;
}

static bool checkpoint_from(struct store *store, uint64_t from, uint64_t *index)
{
    struct store_names names;
    bool any = false;
    if (names_list(store->disk, &names) != FT_OK)
        return false;
    for (size_t i = 0; i < names.checkpoints_count && !any; i++) {
        any = names.checkpoints[i] >= from;
        *index = names.checkpoints[i];
    }
    names_free(&names);
    return any;
}

/* The order of a round. */
static void choose_next(struct store *store, struct store_check *check)
{
    struct check_side *side = &store->check;
    struct segment segment;
    if (side->next_file == STORE_FILE_NONE) {
        side->next_file = STORE_FILE_IDENTITY;
        check->round = true;
        side->checkpoints_before = side->checkpoints_now;
        side->checkpoints_now = 0;
    }
    if (side->next_file == STORE_FILE_HELD &&
        !held_copy_from(store, side->next_id, &side->next_id)) {
        side->next_file = STORE_FILE_CHECKPOINT;
        side->next_id = 0;
    }
    if (side->next_file == STORE_FILE_CHECKPOINT &&
        !checkpoint_from(store, side->next_id, &side->next_id)) {
        side->next_file = STORE_FILE_SEGMENT;
        side->next_id = 0;
    }
    check->file = side->next_file;
    check->id = side->next_id;
    switch (side->next_file) {
    case STORE_FILE_IDENTITY:
        side->next_file = STORE_FILE_VOTE;
        break;
    case STORE_FILE_VOTE:
        side->next_file = STORE_FILE_BEGIN;
        break;
    case STORE_FILE_BEGIN:
        side->next_file = STORE_FILE_HELD;
        side->next_id = 0;
        break;
    case STORE_FILE_HELD:
    case STORE_FILE_CHECKPOINT:
        side->next_id++;
        break;
    case STORE_FILE_SEGMENT:
        if (table_from(store, side->next_id, &segment)) {
            check->id = segment.first;
            side->next_id = segment.first;
            side->next_file = STORE_FILE_INDEX;
        } else {
            check->file = STORE_FILE_NONE;
            side->next_file = STORE_FILE_NONE;
            side->next_id = 0;
        }
        break;
    default:
        side->next_file = STORE_FILE_SEGMENT;
        side->next_id++;
        break;
    }
}

/* --- small files --------------------------------------------------------------------------------
 */

static enum ft_error check_identity(struct store *store, struct store_check *check)
{
    struct identity_file file;
    struct identity_file own = { .segment_bytes = store->segment_bytes };
    if (store_durable_last(store) == 0)
        return FT_OK; /* it may be written just now */
    memcpy(own.identity, store->identity, IDENTITY_BYTES);
    memcpy(own.cluster, store->cluster, IDENTITY_BYTES);
    enum ft_error error = identity_file_load(store->disk, store->crypto, &file);
    if (!error && memcmp(file.identity, own.identity, IDENTITY_BYTES) == 0 &&
        memcmp(file.cluster, own.cluster, IDENTITY_BYTES) == 0)
        return FT_OK;
    if (error && !is_damage(error))
        return error;
    check->mended = true;
    return identity_file_save(store->disk, store->crypto, &own);
}

/* With it the file that says how far what was deleted is erased: without it all is gone through again. Only this
 * side changes them. */
static enum ft_error check_begin(struct store *store, struct store_check *check)
{
    uint64_t first;
    bool whole;
    enum ft_error error = scrub_prove(store->disk, store->crypto, store->cluster);
    if (error != FT_ERROR_MISSING && is_damage(error)) {
        check->mended = true;
        error = scrub_all_again(store);
    }
    if (error && error != FT_ERROR_MISSING)
        return error;
    if (store->begin == 1)
        return FT_OK; /* there is no such file */
    error = begin_file_load(store->disk, store->crypto, &first, &whole);
    if (!error && whole && first == store->begin)
        return FT_OK;
    if (error && !is_damage(error))
        return error;
    check->mended = true;
    return begin_file_save(store->disk, store->crypto, store->begin);
}

/* The log side writes votes: whoever asked has it save the present one again. What is read while it
 * is being written may be half of it; what stays damaged is. */
static enum ft_error check_vote(struct store *store, struct store_check *check)
{
    struct vote_record record;
    bool any;
    enum ft_error error = FT_OK;
    bool bad = true;
    for (int look = 0; look < LOOKS && bad; look++) {
        error = vote_file_load(store->disk, store->crypto, &record, &any);
        bad = error ? is_damage(error) : record.damaged;
    }
    if (bad)
        check->result = STORE_DAMAGED;
    return is_damage(error) ? FT_OK : error;
}

static enum ft_error check_checkpoint(struct store *store, struct store_check *check)
{
    uint8_t chain[HASH_BYTES];
    uint8_t *file;
    struct slice state;
    enum ft_error error = checkpoint_file_load(store->disk, store->crypto, store->cluster,
                                               check->id, chain, &file, &state);
    if (!error) {
        check->bytes = state.len;
        if (check->how == STORE_CHECK_NEXT)
            store->check.checkpoints_now += state.len;
        free(file);
    }
    if (error == FT_ERROR_MISSING)
        check->result = STORE_GONE;
    else if (is_damage(error))
        check->result = STORE_DAMAGED;
    return is_damage(error) ? FT_OK : error;
}

/* A rotten checkpoint that nobody has any more is worth less than none, as long as there is another. */
static enum ft_error drop_checkpoint(struct store *store, struct store_check *check)
{
    struct store_names names;
    bool other = false;
    enum ft_error error = names_list(store->disk, &names);
    for (size_t i = 0; i < names.checkpoints_count && !other; i++)
        other =
            names.checkpoints[i] != check->id && checkpoint_readable(store, names.checkpoints[i]);
    names_free(&names);
    store_lock(store);
    bool base = check->id + 1 == store->begin || check->id + 1 == store->unexplained;
    store_unlock(store);
    if (!other || base) /* the log is understood by that one, or will be */
        return error;
    char path[DISK_PATH_BYTES];
    checkpoint_file_path(path, check->id);
    error = store->disk->unlink(store->disk->ctx, path);
    if (!error)
        error = store->disk->sync_dir(store->disk->ctx, "checkpoint");
    check->result = STORE_GONE;
    return error == FT_ERROR_MISSING ? FT_OK : error;
}

static enum ft_error check_index(struct store *store, struct store_check *check)
{
    struct segment segment;
    struct index_header header;
    if (!table_from(store, check->id, &segment) || segment.first != check->id || !segment.indexed) {
        check->result = STORE_GONE;
        return FT_OK;
    }
    enum ft_error error = index_file_header_load(store->disk, store->crypto, store->cluster,
                                                 check->id, &header, true);
    if (is_damage(error) || (!error && header.last != segment.last))
        check->result = STORE_DAMAGED;
    return is_damage(error) ? FT_OK : error;
}

/* --- the held log -------------------------------------------------------------------------------
 */

static enum ft_error open_held(struct store *store, struct store_check *check)
{
    struct check_side *side = &store->check;
    const struct disk *disk = store->disk;
    char path[DISK_PATH_BYTES];
    uint64_t number;
    if (!held_copy_from(store, check->id, &number) || number != check->id) {
        check->result = STORE_GONE;
        return FT_OK;
    }
    held_path(path, number, "");
    enum ft_error error = disk->open(disk->ctx, path, DISK_WRITE, &side->handle);
    if (error) {
        side->handle = NULL;
        check->result = STORE_GONE; /* what it held was resolved meanwhile */
        return error == FT_ERROR_MISSING ? FT_OK : error;
    }
    disk->forget(disk->ctx, side->handle);
    side->file = check->file;
    side->id = check->id;
    side->told = 0;
    side->skipped = false;
    return FT_OK;
}

static enum ft_error walk_held(struct store *store, struct store_check *check, uint64_t budget)
{
    struct check_side *side = &store->check;
    uint64_t before = side->told;
    bool more = false;
    enum ft_error error =
        held_copy_prove(store, side->handle, side->id, &side->told, budget, &more, &check->mended);
    check->bytes = side->told - before;
    check->result = more ? STORE_MORE : STORE_CLEAN;
    if (!error && !more)
        let_go(store);
    return error;
}

/* --- segments -----------------------------------------------------------------------------------
 */

static bool chain_known(const uint8_t chain[HASH_BYTES])
{
    static const uint8_t zeros[HASH_BYTES];
    return memcmp(chain, zeros, HASH_BYTES) != 0;
}

/* The chain before a segment, by the one before it. */
static bool chain_before(struct store *store, uint64_t first, uint8_t chain[HASH_BYTES])
{
    struct segment before;
    memset(chain, 0, HASH_BYTES);
    if (first == 1)
        return true;
    if (!reading_segment(store, first - 1, &before, NULL))
        return false;
    memcpy(chain, before.chain, HASH_BYTES);
    return chain_known(chain);
}

/* The same of the log's first one, when the log does not begin with entry 1. */
static bool chain_of_base(struct store *store, uint64_t first, uint8_t chain[HASH_BYTES])
{
    struct store_base base;
    uint8_t *file;
    if (first != store->begin || store_base_read(store, &base, &file) != FT_OK)
        return false;
    memcpy(chain, base.chain, HASH_BYTES);
    free(file);
    return true;
}

/* Into segment->chain; a rotten header is written anew when what it said is known. */
static enum ft_error check_header(struct store *store, struct store_check *check)
{
    struct check_side *side = &store->check;
    struct segment_header header;
    uint8_t chain[HASH_BYTES];
    size_t got;
    enum ft_error error = disk_read_around(store->disk, side->handle, 0, side->scan->window,
                                           SEGMENT_HEADER_BYTES, &got);
    if (error)
        return error;
    bool known = chain_before(store, check->id, chain);
    bool good = got == SEGMENT_HEADER_BYTES &&
                segment_header_parse(side->scan->window, store->crypto, &header) == FT_OK &&
                header.first == check->id &&
                memcmp(header.cluster, store->cluster, IDENTITY_BYTES) == 0 &&
                (!known || memcmp(header.chain, chain, HASH_BYTES) == 0);
    if (good) {
        memcpy(side->segment.chain, header.chain, HASH_BYTES);
        return FT_OK;
    }
    known = known || chain_of_base(store, check->id, chain);
    memcpy(side->segment.chain, chain, HASH_BYTES);
    side->scan->unproven = !known;
    if (!known)
        return FT_OK; /* mended once the segment before is */
    check->mended = true;
    return segment_header_repair(store, check->id, chain);
}

static enum ft_error open_segment(struct store *store, struct store_check *check)
{
    struct check_side *side = &store->check;
    const struct disk *disk = store->disk;
    char path[DISK_PATH_BYTES];
    if (!table_from(store, check->id, &side->known) || side->known.first != check->id ||
        side->known.first > check->upto) {
        check->result = STORE_GONE;
        return FT_OK;
    }
    segment_path(path, check->id, "seg");
    enum ft_error error = disk->open(disk->ctx, path, DISK_READ, &side->handle);
    if (error == FT_ERROR_MISSING && side->known.indexed) {
        uint8_t chain[HASH_BYTES];
        bool known =
            chain_before(store, check->id, chain) || chain_of_base(store, check->id, chain);
        error = segment_file_create(store, check->id, known ? chain : NULL);
        check->mended = !error;
        if (!error)
            error = disk->open(disk->ctx, path, DISK_READ, &side->handle);
    }
    if (error) {
        side->handle = NULL;
        return error;
    }
    side->file = check->file;
    side->id = check->id;
    side->told = 0;
    side->skipped = false;
    side->segment = (struct segment) { .first = check->id };
    uint8_t *window = side->scan->window;
    *side->scan =
        (struct scan) { .disk = disk,
                        .crypto = store->crypto,
                        .key = store->cluster,
                        .file = side->handle,
                        .segment_bytes = store->segment_bytes,
                        .segment = &side->segment,
                        .stop_before =
                            side->known.last < check->upto ? side->known.last + 1 : check->upto + 1,
                        .window = window };
    disk->forget(disk->ctx, side->handle);
    error = disk->size(disk->ctx, side->handle, &side->scan->size);
    if (side->scan->size > side->known.end && side->known.end > SEGMENT_HEADER_BYTES)
        side->scan->size = side->known.end;
    bool unproven = false;
    if (!error) {
        error = check_header(store, check);
        unproven = side->scan->unproven;
    }
    scan_begin(side->scan);
    side->scan->unproven = unproven;
    return error;
}

/* What is held behind the log's end: the file where it begins, and then each that begins where the one
 * before ended. */
static enum ft_error open_tail(struct store *store, struct store_check *check, uint64_t next,
                               const uint8_t chain[HASH_BYTES], bool begins)
{
    struct check_side *side = &store->check;
    const struct disk *disk = store->disk;
    char path[DISK_PATH_BYTES];
    struct store_names names;
    enum ft_error error = names_list(disk, &names);
    if (error)
        return error;
    uint64_t first = 0;
    for (size_t i = 0; i < names.segments_count; i++)
        if (names.segments[i] <= next)
            first = names.segments[i];
    bool last = names.segments_count && first == names.segments[names.segments_count - 1];
    names_free(&names);
    struct segment good = { 0 };
    if (begins && first < next) /* its beginning is in the log and was proved */
        (void)reading_segment(store, next - 1, &good, NULL);
    if (!first || (first < next && good.first != first)) { /* what comes next is gone */
        check->result = STORE_GONE;
        return FT_OK;
    }
    segment_path(path, first, "seg");
    error = disk->open(disk->ctx, path, DISK_READ, &side->handle);
    if (error) {
        side->handle = NULL;
        return error;
    }
    side->file = STORE_FILE_TAIL;
    side->id = check->id;
    side->told = 0;
    side->skipped = false;
    uint8_t *window = side->scan->window;
    *side->scan = (struct scan) { .disk = disk,
                                  .crypto = store->crypto,
                                  .key = store->cluster,
                                  .file = side->handle,
                                  .segment_bytes = store->segment_bytes,
                                  .segment = &side->segment,
                                  .last_segment = last,
                                  .stop_before = UINT64_MAX,
                                  .window = window };
    side->segment = (struct segment) { .first = first };
    side->known = (struct segment) { .first = first };
    disk->forget(disk->ctx, side->handle);
    error = disk->size(disk->ctx, side->handle, &side->scan->size);
    scan_begin(side->scan);
    if (first < next) {
        side->scan->offset = good.end;
        side->scan->next = next;
    }
    memcpy(side->segment.chain, chain, HASH_BYTES);
    return error;
}

static enum ft_error begin_tail(struct store *store, struct store_check *check)
{
    uint8_t chain[HASH_BYTES];
    struct segment newest;
    store_lock(store);
    bool held = store->leftover;
    uint64_t next = store->durable_last + 1;
    store_unlock(store);
    if (!held) {
        check->result = STORE_GONE;
        return FT_OK;
    }
    if (reading_segment(store, next - 1, &newest, NULL))
        memcpy(chain, newest.chain, HASH_BYTES);
    else
        memcpy(chain, store->base_chain, HASH_BYTES); /* nothing is left before it */
    return open_tail(store, check, next, chain, true);
}

static void tell_damage(const struct check_side *side, struct store_check *check)
{
    check->result = STORE_DAMAGED;
    check->index = side->scan->damage.index;
    check->offset = side->scan->damage.offset;
}

/* Behind its entries. */
static enum ft_error walk_rest(struct store *store, struct store_check *check)
{
    struct check_side *side = &store->check;
    uint64_t before = side->told;
    bool more;
    enum ft_error error = rest_prove(store, side->handle, side->id, &side->told, side->scan->window,
                                     &more, &check->mended);
    check->bytes += side->told - before;
    check->result = more ? STORE_MORE : STORE_CLEAN;
    if (!error && !more)
        let_go(store);
    return error;
}

/* It ended without damage: where it should? */
static enum ft_error at_end(struct store *store, struct store_check *check)
{
    struct check_side *side = &store->check;
    struct scan *scan = side->scan;
    const struct segment known = side->known;
    if (side->file == STORE_FILE_TAIL) {
        uint64_t next = scan->next;
        uint8_t chain[HASH_BYTES];
        bool last = scan->last_segment;
        memcpy(chain, side->segment.chain, HASH_BYTES);
        let_go(store);
        check->result = last ? STORE_CLEAN : STORE_MORE;
        return last ? FT_OK : open_tail(store, check, next, chain, false);
    }
    bool all = scan->next > known.last;
    if (scan->next < scan->stop_before) {
        scan->damage = (struct scan_damage) { .part = DAMAGE_HEADER,
                                              .place = DAMAGE_EARLIER,
                                              .offset = scan->offset,
                                              .index = scan->next };
        tell_damage(side, check);
        return FT_OK;
    }
    if (all && known.indexed && !side->skipped) /* all of it is proven */
        segment_learned(store, known.first, side->segment.end, side->segment.chain);
    side->resting = true;
    side->told = known.end;
    return walk_rest(store, check);
}

static enum ft_error walk_on(struct store *store, struct store_check *check, uint64_t budget)
{
    struct check_side *side = &store->check;
    bool more;
    if (side->file == STORE_FILE_HELD)
        return walk_held(store, check, budget);
    if (side->resting)
        return walk_rest(store, check);
    uint64_t before = side->scan->offset;
    enum ft_error error = scan_some(side->scan, budget, &more);
    check->bytes = side->scan->offset - before;
    if (error)
        return error;
    const struct scan_damage *damage = &side->scan->damage;
    bool torn = side->file == STORE_FILE_TAIL && damage->place != DAMAGE_NOWHERE &&
                recover_decide(damage->place, damage->part, damage->zeros)->action == RECOVER_CUT;
    if (damage->place != DAMAGE_NOWHERE && !torn)
        tell_damage(side, check);
    else if (more)
        check->result = STORE_MORE;
    else
        return at_end(store, check);
    return FT_OK;
}

/* --- */

static enum ft_error begin(struct store *store, struct store_check *check)
{
    let_go(store);
    switch (check->file) {
    case STORE_FILE_NONE:
        return FT_OK;
    case STORE_FILE_IDENTITY:
        return check_identity(store, check);
    case STORE_FILE_VOTE:
        return check_vote(store, check);
    case STORE_FILE_CHECKPOINT:
        return check_checkpoint(store, check);
    case STORE_FILE_INDEX:
        return check_index(store, check);
    case STORE_FILE_SEGMENT:
        return open_segment(store, check);
    case STORE_FILE_TAIL:
        return begin_tail(store, check);
    case STORE_FILE_BEGIN:
        return check_begin(store, check);
    default:
        CHECK(check->file == STORE_FILE_HELD);
        return open_held(store, check);
    }
}

static bool make_scan(struct store *store)
{
    struct check_side *side = &store->check;
    if (!side->scan)
        side->scan = calloc(1, sizeof *side->scan);
    if (side->scan && !side->scan->window)
        side->scan->window = malloc(SCAN_WINDOW_BYTES);
    return side->scan && side->scan->window;
}

enum ft_error store_check(struct store *store, struct store_check *check, uint64_t budget)
{
    struct check_side *side = &store->check;
    enum ft_error error = FT_OK;
    if (!make_scan(store))
        return FT_ERROR_LIMIT;
    check->result = STORE_CLEAN;
    check->mended = check->round = false;
    check->index = check->offset = check->bytes = 0;
    bool going = side->handle && side->file == check->file && side->id == check->id;
    if (check->how == STORE_CHECK_NEXT)
        choose_next(store, check);
    if (check->how == STORE_CHECK_NEXT || check->how == STORE_CHECK_FILE || !going) {
        if (check->how == STORE_CHECK_SKIP && check->file == STORE_FILE_CHECKPOINT)
            return drop_checkpoint(store, check);
        if (check->how == STORE_CHECK_SKIP)
            return FT_OK; /* a file that is one piece: nothing is behind its damage */
        error = begin(store, check);
    } else if (check->how == STORE_CHECK_SKIP) {
        side->skipped = true;
        if (!scan_skip(side->scan)) {
            let_go(store);
            return FT_OK;
        }
    } else if (side->scan->damage.place != DAMAGE_NOWHERE) {
        store->disk->forget(store->disk->ctx, side->handle);
        scan_retry(side->scan);
    }
    if (!error && check->result == STORE_CLEAN && side->handle)
        error = walk_on(store, check, budget);
    check->total = total_bytes(store);
    if (error)
        let_go(store);
    return error;
}
