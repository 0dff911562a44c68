/* Erasing what was deleted, in place, in sealed segments: the words go, and what is left has the same
 * length and digest (core/body.h), so that nothing else of the log changes and any reader can prove it.
 *
 * It goes by the deleting segments, in their order: a segment's index file names what its commands
 * delete, all of it older, and a checkpoint covers both. So the deletions are committed and applied
 * here, and nobody writes to these files any more. A node that has not come so far yet may be sent an
 * erased post: its state comes to be the same, and it shows the post as deleted a little earlier.
 *
 * A write that is torn would leave neither of the two: so what is to be written is first made durable
 * here, then written in place, then synced; opening does it again after a crash. What is mended with
 * what another node sent may have its words again: it is gone through once more. In slices, on the
 * reading side.
 *
 *    0  prologue [24]
 *   24  done u64              what segments up to here delete is erased, once these are written:
 *   32  count u64
 *   40  first u64             of the segment's file; count times
 *       offset u64, len u32, bytes
 *       check u64             SipHash of all before under the cluster's identity */
#include <stdlib.h>
#include <string.h>

#include "core/body.h"
#include "core/check.h"
#include "store/internal.h"

enum {
    AT_DONE = 24,
    AT_COUNT = 32,
    AT_WRITES = 40,
    WRITE_HEAD_BYTES = 20,
    SLICE_DELETIONS = 16,
    FILE_BYTES_MAX = AT_WRITES + SCRUB_BYTES + 8,
};

static const char path_scrub[] = "scrub";

_Static_assert(SCRUB_BYTES >= WRITE_HEAD_BYTES + LIMIT_COMMAND_BYTES, "any body fits");

/* --- the file -----------------------------------------------------------------------------------
 */

static enum ft_error save(struct store *store)
{
    const struct scrub_side *side = &store->scrub;
    size_t len = AT_WRITES + side->len;
    uint8_t *data = malloc(len + 8);
    if (!data)
        return FT_ERROR_LIMIT;
    file_prologue_write(data, FILE_SCRUB, store->crypto);
    bytes_put_u64(data + AT_DONE, side->done);
    bytes_put_u64(data + AT_COUNT, side->count);
    if (side->len)
        memcpy(data + AT_WRITES, side->writes, side->len);
    bytes_put_u64(data + len, store->crypto->digest(store->cluster, data, len));
    enum ft_error error = file_replace(store->disk, "", "scrub.tmp", path_scrub,
                                       &(struct slice) { data, len + 8 }, 1);
    free(data);
    return error;
}

static bool writes_good(struct slice writes, uint64_t count)
{
    struct reader reader = reader_of(writes.data, writes.len);
    for (; count; count--) { /* behind the end are zeros */
        uint64_t first = read_u64(&reader);
        uint64_t offset = read_u64(&reader);
        struct slice bytes = read_slice32(&reader);
        if (first == 0 || offset < SEGMENT_HEADER_BYTES || bytes.len == 0)
            return false;
    }
    return reader_finished(&reader);
}

/* The file's bytes are the caller's to free; `writes` lies in them. */
static enum ft_error load(const struct disk *disk, const struct crypto *crypto, const uint8_t *key,
                          uint8_t **data, uint64_t *done, struct slice *writes)
{
    size_t len;
    enum ft_error error = file_load(disk, path_scrub, FILE_BYTES_MAX, data, &len);
    if (error)
        return error;
    error = file_prologue_check(*data, len, FILE_SCRUB, crypto);
    if (!error && (len < AT_WRITES + 8 ||
                   bytes_get_u64(*data + len - 8) != crypto->digest(key, *data, len - 8)))
        error = FT_ERROR_CORRUPT;
    if (!error) {
        *writes = (struct slice) { *data + AT_WRITES, len - 8 - AT_WRITES };
        if (!writes_good(*writes, bytes_get_u64(*data + AT_COUNT)))
            error = FT_ERROR_CORRUPT;
    }
    if (!error) {
        *done = bytes_get_u64(*data + AT_DONE);
        return FT_OK;
    }
    free(*data);
    *data = NULL;
    return error;
}

/* Consecutive writes to one file. MISSING: retention has dropped it. */
static enum ft_error write_file(const struct disk *disk, struct reader *reader, uint64_t first)
{
    char path[DISK_PATH_BYTES];
    struct disk_file *file;
    segment_path(path, first, "seg");
    enum ft_error error = disk->open(disk->ctx, path, DISK_WRITE, &file);
    bool there = !error;
    bool same = true;
    while (same) {
        (void)read_u64(reader);
        uint64_t offset = read_u64(reader);
        struct slice bytes = read_slice32(reader);
        CHECK(!reader->bad);
        if (!error)
            error = disk_write_around(disk, file, offset, bytes.data, bytes.len);
        same = reader_left(reader) && bytes_get_u64(reader->at) == first;
    }
    if (!error)
        error = disk->sync(disk->ctx, file);
    if (there)
        disk->close(disk->ctx, file);
    return error == FT_ERROR_MISSING ? FT_OK : error;
}

static enum ft_error write_in_place(const struct disk *disk, struct slice writes)
{
    struct reader reader = reader_of(writes.data, writes.len);
    enum ft_error error = FT_OK;
    while (reader_left(&reader) && !error)
        error = write_file(disk, &reader, bytes_get_u64(reader.at));
    return error;
}

/* --- opening ------------------------------------------------------------------------------------
 */

enum ft_error scrub_recover(struct store *store)
{
    struct scrub_side *side = &store->scrub;
    uint8_t *data;
    struct slice writes;
    enum ft_error error =
        load(store->disk, store->crypto, store->cluster, &data, &side->done, &writes);
    /* Of a file that is rotten nothing is lost but the work: all is looked at again. (A body that was
     * half written just then would be found rotten itself.) */
    if (error == FT_ERROR_MISSING || error == FT_ERROR_CORRUPT || error == FT_ERROR_FOREIGN)
        return FT_OK;
    if (error)
        return error;
    side->walked = side->done;
    error = write_in_place(store->disk, writes);
    free(data);
    return error;
}

enum ft_error scrub_forget(const struct disk *disk)
{
    enum ft_error error = disk->unlink(disk->ctx, path_scrub);
    if (error == FT_ERROR_MISSING)
        return FT_OK;
    return error ? error : disk->sync_dir(disk->ctx, "");
}

enum ft_error scrub_prove(const struct disk *disk, const struct crypto *crypto,
                          const uint8_t key[DIGEST_KEY_BYTES])
{
    uint8_t *data;
    uint64_t done;
    struct slice writes;
    enum ft_error error = load(disk, crypto, key, &data, &done, &writes);
    if (!error)
        free(data);
    return error;
}

/* --- a slice ------------------------------------------------------------------------------------
 */

void scrub_go_on(struct store *store)
{
    struct scrub_side *side = &store->scrub;
    side->paused = false;
    if (!side->left_some)
        return;
    side->left_some = false;
    side->walked = side->done;
    side->item = 0;
}

static enum ft_error go_back(struct store *store, uint64_t to)
{
    struct scrub_side *side = &store->scrub;
    side->walked = side->done = to;
    side->item = side->count = 0;
    side->len = 0;
    side->left_some = side->paused = false;
    return save(store);
}

enum ft_error scrub_again(struct store *store, uint64_t first)
{
    return store->scrub.walked < first ? FT_OK : go_back(store, first - 1);
}

enum ft_error scrub_all_again(struct store *store)
{
    return go_back(store, 0);
}

void scrub_free(struct store *store)
{
    free(store->scrub.writes);
    store->scrub.writes = NULL;
}

bool store_wants_scrub(struct store *store)
{
    const struct scrub_side *side = &store->scrub;
    store_lock(store);
    bool wants = !side->paused && side->walked < store->indexed_last;
    store_unlock(store);
    return wants;
}

/* The segment whose deletions are to be looked at; false: there is no more. */
static bool segment_at_hand(struct store *store, struct segment *segment)
{
    struct scrub_side *side = &store->scrub;
    store_lock(store);
    if (side->walked + 1 < store->begin) {
        side->walked = store->begin - 1;
        side->item = 0;
    }
    bool any = side->walked < store->indexed_last;
    store_unlock(store);
    if (!any)
        return false;
    bool there = reading_segment(store, side->walked + 1, segment, NULL);
    CHECK(there && segment->indexed);
    return true;
}

static void put_write(struct scrub_side *side, const struct body_place *place)
{
    uint8_t *head = side->writes + side->len;
    bytes_put_u64(head, place->segment.first);
    bytes_put_u64(head + 8, place->offset);
    bytes_put_u32(head + 16, place->size);
    side->len += WRITE_HEAD_BYTES + place->size;
    side->count++;
}

/* Notes what is to be written for one deletion; nothing when it is erased, or not kept any more. */
static enum ft_error take(struct store *store, const struct deletion *deletion,
                          struct store_scrubbed *scrubbed)
{
    struct scrub_side *side = &store->scrub;
    struct body_place place;
    uint8_t *body = side->writes + side->len + WRITE_HEAD_BYTES;
    if (deletion->target < store->begin)
        return FT_OK;
    enum ft_error error = reading_find_body(store, deletion->target, &place);
    if (!error)
        error = reading_body_at(store, &place, body);
    if (error == FT_ERROR_CORRUPT || error == FT_ERROR_IO) {
        side->left_some = true;
        scrubbed->rotten++;
        return FT_OK;
    }
    if (error || body_is_erased(body, place.size))
        return error;
    CHECK(place.segment.indexed);
    /* The one place where history is destroyed: what is left must be what the deleting command said. */
    bool said = body_erase(store->crypto, body, place.size) &&
                body_erased_check(store->crypto, body, place.size) == deletion->check;
    scrubbed->refused += !said;
    scrubbed->erased += said;
    if (said)
        put_write(side, &place);
    return FT_OK;
}

/* As many deletions as a slice has. *progress: `done` has come further. */
static enum ft_error gather(struct store *store, struct store_scrubbed *scrubbed, bool *progress)
{
    struct scrub_side *side = &store->scrub;
    struct segment segment;
    side->count = 0;
    side->len = 0;
    *progress = false;
    for (unsigned i = 0; i < SLICE_DELETIONS; i++) {
        struct index_file *index;
        struct deletion deletion;
        if (SCRUB_BYTES - side->len < WRITE_HEAD_BYTES + LIMIT_COMMAND_BYTES ||
            !segment_at_hand(store, &segment))
            return FT_OK;
        enum ft_error error = index_file_open(store, &segment, &index);
        if (!error && side->item < index->header.deletions) {
            error = index_file_deletion(store, index, side->item, &deletion);
            if (!error)
                error = take(store, &deletion, scrubbed);
            side->item += !error;
        } else if (!error) {
            side->walked = segment.last;
            side->item = 0;
            if (!side->left_some)
                side->done = segment.last;
            *progress |= index->header.deletions > 0;
        }
        if (error)
            return error;
    }
    return FT_OK;
}

enum ft_error store_scrub(struct store *store, struct store_scrubbed *scrubbed)
{
    struct scrub_side *side = &store->scrub;
    bool progress = false;
    enum ft_error error = FT_OK;
    *scrubbed = (struct store_scrubbed) { 0 };
    if (!side->writes)
        side->writes = malloc(SCRUB_BYTES);
    if (!side->writes)
        error = FT_ERROR_LIMIT;
    struct scrub_side before = *side;
    if (!error)
        error = gather(store, scrubbed, &progress);
    if (!error && (side->count || progress))
        error = save(store);
    if (error) {
        *side = before; /* nothing was written */
        *scrubbed = (struct store_scrubbed) { 0 };
    } else if (side->count &&
               write_in_place(store->disk, (struct slice) { side->writes, side->len })) {
        error = FT_ERROR_SYNC; /* the next start finishes it */
    }
    store->reading.window_id = 0; /* it may show what was there */
    side->paused = error != FT_OK;
    return error;
}
