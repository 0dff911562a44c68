/* The held log: commands that this node took while there was no leader, in files of their own.
 *
 * It is written only by the log thread and only appended to: each append is one entry (entry.h: the
 * same record as the log's), synced before it returns. A process never appends to a file that it
 * found: its first append makes held-<next number>. So a file's last append is the only one that a
 * crash can have torn, and nothing ever has to be repaired in place. When nothing is open any more
 * all files go at once; one that was found rotten is kept beside, as held-<number>.rotten, and
 * never read again.
 *
 *    0  prologue [24]
 *   24  cluster [16]          whose key the entries' digests have
 *   40  zeros
 *  504  check u64             SipHash of bytes 0..503 under the cluster's identity
 *  512  entries: first = number of its first record, term 0, time = when it was held, no chain, the
 *       commit index known then; each begins a sector, and what is left of its last one is filled
 *       with 0xee, so that no sector that was written reads as zeros
 *
 * A reader that lost its way looks for the next sector that begins a good entry. Nobody can have put one
 * into a body: a header has zero bytes, and what is held is text without (core/node/held.c).
 *
 * What a file that cannot be read whole comes to, by what is found from some sector on (rows in
 * held_rows; "last": no good entry follows):
 *
 *   nothing but zeros, last                   the end
 *   the header zeros or cut off, last         torn: it was never promised
 *   the header good, a sector of it zeros or
 *     cut off, last                           torn
 *   anything else                             rot: told by name; what can be proven of it counts */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "store/held.h"

enum {
    AT_CLUSTER = 24,
    AT_CHECK = HELD_HEADER_BYTES - 8,
    FILLER = 0xee,
};

void held_path(char path[DISK_PATH_BYTES], uint64_t number, const char *suffix)
{
    snprintf(path, DISK_PATH_BYTES, "held-%020llu%s", (unsigned long long)number, suffix);
}

static uint64_t padded(uint64_t size)
{
    return (size + DISK_SECTOR_BYTES - 1) / DISK_SECTOR_BYTES * DISK_SECTOR_BYTES;
}

/* --- reading a file -------------------------------------------------------------------------------
 */

const struct held_row held_rows[HELD_ROWS] = {
    { HELD_HEAD_ZEROS, false, true, HELD_TORN, "an append that was never promised" },
    { HELD_HEAD_ZEROS, false, false, HELD_ROTTEN, "zeros where an entry was: one follows" },
    { HELD_HEAD_ZEROS, true, true, HELD_TORN, "an append that was never promised" },
    { HELD_HEAD_ZEROS, true, false, HELD_ROTTEN, "zeros where an entry was: one follows" },
    { HELD_HEAD_BAD, false, true, HELD_ROTTEN, "a header that was written and is wrong" },
    { HELD_HEAD_BAD, false, false, HELD_ROTTEN, "a header that was written and is wrong" },
    { HELD_HEAD_BAD, true, true, HELD_ROTTEN, "a header that was written and is wrong" },
    { HELD_HEAD_BAD, true, false, HELD_ROTTEN, "a header that was written and is wrong" },
    { HELD_HEAD_GOOD, false, true, HELD_ROTTEN, "a body is wrong and all of it was written" },
    { HELD_HEAD_GOOD, false, false, HELD_ROTTEN, "a body is wrong" },
    { HELD_HEAD_GOOD, true, true, HELD_TORN, "an append that was never promised" },
    { HELD_HEAD_GOOD, true, false, HELD_ROTTEN, "a body is wrong: an entry follows" },
};

const struct held_row *held_decide(enum held_head head, bool missing, bool last)
{
    const struct held_row *row = held_rows;
    while (row->head != head || row->missing != missing || row->last != last) {
        row++;
        CHECK(row < held_rows + HELD_ROWS && "every case has its row");
    }
    return row;
}

static bool zeros(const uint8_t *data, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (data[i])
            return false;
    return true;
}

/* The header alone, whatever became of heads and bodies. */
static bool header_good(const struct held_scan *scan, size_t at)
{
    const uint8_t *data = scan->data + at;
    if (scan->len - at < ENTRY_HEADER_BYTES || bytes_get_u32(data) != ENTRY_MAGIC)
        return false;
    if (bytes_get_u32(data + ENTRY_AT_CHECK) != entry_header_check(scan->crypto, scan->key, data))
        return false;
    uint32_t size = bytes_get_u32(data + ENTRY_AT_SIZE);
    uint32_t count = bytes_get_u32(data + ENTRY_AT_COUNT);
    return count >= 1 && count <= LIMIT_ENTRY_COMMANDS && size <= LIMIT_ENTRY_BYTES &&
           size >= entry_size(count, 0) && bytes_get_u64(data + ENTRY_AT_FIRST) > scan->last &&
           bytes_get_u64(data + ENTRY_AT_FIRST) <= UINT64_MAX - count;
}

/* The next sector from `at` on that begins a good entry; the file's end when there is none. */
static size_t next_entry(const struct held_scan *scan, size_t at)
{
    while (at < scan->len && !header_good(scan, at))
        at += DISK_SECTOR_BYTES;
    return at < scan->len ? at : scan->len;
}

/* A sector of [from, from + size) reads as zeros or is beyond the end. */
static bool sector_missing(const struct held_scan *scan, size_t from, size_t size)
{
    if (size > scan->len - from)
        return true;
    for (size_t at = from; at < from + size; at += DISK_SECTOR_BYTES)
        if (zeros(scan->data + at, DISK_SECTOR_BYTES))
            return true;
    return false;
}

static void tell(struct held_scan *scan, size_t offset, uint64_t number, const char *what)
{
    scan->rotten++;
    if (scan->on_rot)
        scan->on_rot(scan->ctx, offset, number, what);
}

/* False: a body is not what its head says. With `give` those that are go to the caller, and those that
 * are not are told. */
static bool take_bodies(struct held_scan *scan, const struct entry *entry, size_t at, bool give)
{
    struct entry_cursor cursor = { 0 };
    struct slice body;
    bool all = true;
    while (entry_next(entry, &cursor, &body)) {
        bool good = entry_body_good(entry, scan->crypto, scan->key, cursor.ordinal - 1, body.data,
                                    body.len);
        all &= good;
        if (!give)
            continue;
        if (!good)
            tell(scan, at + (size_t)(body.data - (scan->data + at)),
                 entry->first + cursor.ordinal - 1, "a held record is damaged");
        else if (scan->on_record)
            scan->on_record(scan->ctx, entry->first + cursor.ordinal - 1, body);
    }
    return all;
}

/* What fills a sector behind an entry is no content, but what is not as it was written is rot. */
static void check_filler(struct held_scan *scan, size_t from, uint64_t to)
{
    for (size_t at = from; at < to && at < scan->len; at++)
        if (scan->data[at] != FILLER) {
            tell(scan, at, 0, "what fills the last sector of held records is damaged");
            return;
        }
}

/* VERSION: it may be whole, but is not known here. */
static enum ft_error prove_header(const struct crypto *crypto, const uint8_t *data)
{
    enum ft_error error = file_prologue_check(data, HELD_HEADER_BYTES, FILE_HELD, crypto);
    if (error)
        return error;
    bool proven =
        bytes_get_u64(data + AT_CHECK) == crypto->digest(data + AT_CLUSTER, data, AT_CHECK);
    return proven ? FT_OK : FT_ERROR_CORRUPT;
}

static void read_header(struct held_scan *scan)
{
    if (scan->len < HELD_HEADER_BYTES || zeros(scan->data, HELD_HEADER_BYTES))
        return; /* its first append was torn */
    enum ft_error error = prove_header(scan->crypto, scan->data);
    scan->newer = error == FT_ERROR_VERSION;
    if (error)
        tell(scan, 0, 0, "the held log's header is damaged");
    else if (memcmp(scan->data + AT_CLUSTER, scan->key, IDENTITY_BYTES) != 0)
        tell(scan, 0, 0, "the held log is of another cluster");
}

/* What is at `at` is no whole entry. Returns where to go on. */
static size_t damaged(struct held_scan *scan, size_t at, const struct entry *entry)
{
    bool good = header_good(scan, at);
    size_t size =
        (size_t)(good ? padded(bytes_get_u32(scan->data + at + ENTRY_AT_SIZE)) : DISK_SECTOR_BYTES);
    size_t left = scan->len - at;
    bool cut = left < DISK_SECTOR_BYTES;
    enum held_head head = good                                               ? HELD_HEAD_GOOD
                          : cut || zeros(scan->data + at, DISK_SECTOR_BYTES) ? HELD_HEAD_ZEROS
                                                                             : HELD_HEAD_BAD;
    if (good)
        scan->last = bytes_get_u64(scan->data + at + ENTRY_AT_FIRST) +
                     bytes_get_u32(scan->data + at + ENTRY_AT_COUNT) - 1;
    size_t next = next_entry(scan, size < left ? at + size : scan->len);
    bool missing = sector_missing(scan, at, size);
    const struct held_row *row = held_decide(head, missing, next == scan->len);
    if (row->decision == HELD_TORN) {
        scan->torn_bytes = zeros(scan->data + at, left) ? 0 : left;
        return scan->len;
    }
    if (entry->heads)
        (void)take_bodies(scan, entry, at, true);
    else
        tell(scan, at, good ? bytes_get_u64(scan->data + at + ENTRY_AT_FIRST) : 0,
             good ? "held records are damaged" : "the header of held records is damaged");
    return next;
}

void held_scan(struct held_scan *scan)
{
    scan->torn_bytes = scan->rotten = 0;
    scan->newer = false;
    read_header(scan);
    size_t at = HELD_HEADER_BYTES < scan->len ? HELD_HEADER_BYTES : scan->len;
    while (at < scan->len) {
        struct entry entry = { 0 };
        bool whole =
            header_good(scan, at) && entry_parse(&entry, scan->crypto, scan->key, scan->data + at,
                                                 scan->len - at) == ENTRY_WHOLE;
        if (!whole)
            entry.heads = NULL;
        if (!whole || !take_bodies(scan, &entry, at, false)) {
            at = damaged(scan, at, &entry);
            continue;
        }
        (void)take_bodies(scan, &entry, at, true);
        scan->last = entry.first + entry.count - 1;
        if (entry.commit > scan->commit)
            scan->commit = entry.commit;
        uint64_t end = at + padded(entry.size);
        check_filler(scan, at + entry.size, end);
        at = end < scan->len ? (size_t)end : scan->len;
    }
}

/* --- the files of a folder ------------------------------------------------------------------------
 */

static int by_number(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static void note_name(void *ctx, const char *name)
{
    struct held_names *names = ctx;
    uint64_t number;
    if (strncmp(name, "held-", 5) != 0 || !name_number(name + 5, "", &number))
        return;
    if (names->count == HELD_FILES)
        names->too_many = true;
    else
        names->list[names->count++] = number;
}

enum ft_error held_names_list(const struct disk *disk, struct held_names *names)
{
    *names = (struct held_names) { 0 };
    enum ft_error error = disk->list(disk->ctx, "", note_name, names);
    qsort(names->list, names->count, sizeof names->list[0], by_number);
    return !error && names->too_many ? FT_ERROR_LIMIT : error;
}

enum ft_error held_file_load(const struct disk *disk, uint64_t number, uint8_t **data, size_t *len)
{
    char path[DISK_PATH_BYTES];
    held_path(path, number, "");
    return file_load(disk, path, HELD_FILE_BYTES, data, len);
}

enum ft_error held_ask(const struct disk *disk, const struct crypto *crypto,
                       uint8_t cluster[IDENTITY_BYTES])
{
    struct held_names names;
    enum ft_error error = held_names_list(disk, &names);
    bool told = false;
    for (size_t i = 0; i < names.count && !told; i++) {
        uint8_t *data;
        size_t len;
        if (held_file_load(disk, names.list[i], &data, &len) != FT_OK)
            continue;
        told = len >= HELD_HEADER_BYTES && prove_header(crypto, data) == FT_OK;
        if (told)
            memcpy(cluster, data + AT_CLUSTER, IDENTITY_BYTES);
        free(data);
    }
    return told ? FT_OK : error ? error : FT_ERROR_MISSING;
}

/* --- recovery -------------------------------------------------------------------------------------
 */

struct gathering {
    struct store *store;
    struct store_recovery *recovery;
    uint64_t file;
    bool no_memory;
};

static bool grow(struct store *store, size_t more)
{
    size_t capacity = store->held.capacity ? store->held.capacity : 4096;
    while (capacity < store->held.len + more)
        capacity *= 2;
    if (capacity == store->held.capacity)
        return true;
    uint8_t *records = realloc(store->held.records, capacity);
    if (!records)
        return false;
    store->held.records = records;
    store->held.capacity = capacity;
    return true;
}

static void on_record(void *ctx, uint64_t number, struct slice body)
{
    struct gathering *gathering = ctx;
    struct store *store = gathering->store;
    (void)number;
    if (!grow(store, 4 + body.len)) {
        gathering->no_memory = true;
        return;
    }
    bytes_put_u32(store->held.records + store->held.len, (uint32_t)body.len);
    if (body.len)
        memcpy(store->held.records + store->held.len + 4, body.data, body.len);
    store->held.len += 4 + body.len;
}

static void on_rot(void *ctx, uint64_t offset, uint64_t number, const char *what)
{
    struct gathering *gathering = ctx;
    struct store_held *held = &gathering->recovery->held;
    if (held->rotten++)
        return;
    snprintf(held->what, sizeof held->what, "held-%020llu at %llu, record %llu: %s",
             (unsigned long long)gathering->file, (unsigned long long)offset,
             (unsigned long long)number, what);
}

static enum ft_error recover_file(struct store *store, uint64_t number,
                                  struct store_recovery *recovery)
{
    struct held_side *side = &store->held;
    struct gathering gathering = { store, recovery, number, false };
    struct held_scan scan = { .crypto = store->crypto,
                              .key = store->cluster,
                              .last = recovery->held.last,
                              .on_record = on_record,
                              .on_rot = on_rot,
                              .ctx = &gathering };
    uint8_t *data;
    char path[DISK_PATH_BYTES];
    held_path(path, number, "");
    enum ft_error error = file_settle(store->disk, path);
    if (!error)
        error = held_file_load(store->disk, number, &data, &scan.len);
    if (error == FT_ERROR_CORRUPT) {
        on_rot(&gathering, 0, 0, "the file is longer than a held log can be");
        side->rotten[side->rotten_count++] = number;
        return FT_OK;
    }
    if (error)
        return error;
    scan.data = data;
    held_scan(&scan);
    if (scan.rotten)
        side->rotten[side->rotten_count++] = number;
    else
        held_copy_add(store, number, data, scan.len);
    free(data);
    recovery->held.bytes += scan.len;
    recovery->held.last = scan.last;
    if (scan.commit > recovery->held.commit)
        recovery->held.commit = scan.commit;
    return scan.newer ? FT_ERROR_VERSION : gathering.no_memory ? FT_ERROR_LIMIT : FT_OK;
}

enum ft_error held_recover(struct store *store, struct store_recovery *recovery)
{
    struct held_names names;
    enum ft_error error = held_names_list(store->disk, &names);
    for (size_t i = 0; i < names.count && !error; i++)
        error = recover_file(store, names.list[i], recovery);
    store->held.next = names.count ? names.list[names.count - 1] + 1 : 1;
    store->held.files = names.count;
    recovery->held.files = (uint32_t)names.count;
    recovery->held.records = (struct slice) { store->held.records, store->held.len };
    return error;
}

void held_release(struct store *store)
{
    free(store->held.records);
    store->held.records = NULL;
    store->held.len = store->held.capacity = 0;
}

void held_forget(struct store *store)
{
    if (store->held.file)
        store->disk->close(store->disk->ctx, store->held.file);
    store->held.file = NULL;
}

/* --- writing --------------------------------------------------------------------------------------
 */

static void header_write(uint8_t out[HELD_HEADER_BYTES], const struct store *store)
{
    memset(out, 0, HELD_HEADER_BYTES);
    file_prologue_write(out, FILE_HELD, store->crypto);
    memcpy(out + AT_CLUSTER, store->cluster, IDENTITY_BYTES);
    bytes_put_u64(out + AT_CHECK, store->crypto->digest(store->cluster, out, AT_CHECK));
}

/* What a full disk took a part of goes again, so that the next append finds zeros or nothing. */
static enum ft_error take_back(struct store *store, bool begun, const char *path)
{
    const struct disk *disk = store->disk;
    struct held_side *side = &store->held;
    if (!begun)
        return disk->resize(disk->ctx, side->file, side->end);
    held_forget(store);
    return disk->unlink(disk->ctx, path);
}

static enum ft_error append(struct store *store, struct slice entry)
{
    const struct disk *disk = store->disk;
    struct held_side *side = &store->held;
    char path[DISK_PATH_BYTES];
    held_path(path, side->next, "");
    bool begin = !side->file;
    if (begin && side->files == HELD_FILES)
        return FT_ERROR_SPACE;
    size_t before = begin ? HELD_HEADER_BYTES : 0;
    size_t len = before + (size_t)padded(entry.len);
    uint8_t *data = malloc(len);
    if (!data)
        return FT_ERROR_LIMIT;
    if (begin)
        header_write(data, store);
    memcpy(data + before, entry.data, entry.len);
    memset(data + before + entry.len, FILLER, len - before - entry.len);
    enum ft_error error = FT_OK;
    if (begin) {
        error = disk->open(disk->ctx, path, DISK_CREATE, &side->file);
        side->end = 0;
    }
    if (error) {
        free(data);
        side->file = NULL;
        return error;
    }
    error = disk->write(disk->ctx, side->file, side->end, data, len);
    if (error == FT_ERROR_SPACE) {
        free(data);
        return take_back(store, begin, path) ? FT_ERROR_IO : FT_ERROR_SPACE;
    }
    if (!error)
        error = disk->sync(disk->ctx, side->file);
    if (!error && begin)
        error = disk->sync_dir(disk->ctx, "");
    if (!error)
        held_copy_add(store, side->next, data, len);
    free(data);
    if (error)
        return error;
    side->end += len;
    side->files += begin;
    return FT_OK;
}

static bool is_rotten(const struct held_side *side, uint64_t number)
{
    for (size_t i = 0; i < side->rotten_count; i++)
        if (side->rotten[i] == number)
            return true;
    return false;
}

/* A crash in its middle leaves some of them: what they hold is resolved, and is found to be. */
static enum ft_error discard(struct store *store)
{
    const struct disk *disk = store->disk;
    struct held_side *side = &store->held;
    struct held_names names;
    held_copies_drop(store);
    if (side->file) {
        held_forget(store);
        side->next++;
    }
    enum ft_error error = held_names_list(disk, &names);
    for (size_t i = 0; i < names.count && !error; i++) {
        char path[DISK_PATH_BYTES];
        char aside[DISK_PATH_BYTES];
        held_path(path, names.list[i], "");
        held_path(aside, names.list[i], ".rotten");
        error = is_rotten(side, names.list[i]) ? disk->rename(disk->ctx, path, aside)
                                               : disk->unlink(disk->ctx, path);
    }
    if (!error)
        error = disk->sync_dir(disk->ctx, "");
    if (!error)
        side->files = side->rotten_count = 0;
    return error;
}

enum ft_error store_hold(struct store *store, const struct store_hold *hold)
{
    if (store->log.failed)
        return FT_ERROR_IO;
    CHECK(hold->discard != (hold->entry.len > 0));
    enum ft_error error = hold->discard ? discard(store) : append(store, hold->entry);
    if (error && error != FT_ERROR_SPACE)
        store->log.failed = true; /* as with store_flush: nothing is promised after it */
    return !error || error == FT_ERROR_SPACE ? error : FT_ERROR_IO;
}
