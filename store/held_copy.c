/* What the held log's files hold stands in memory, too, as long as they are there: nobody else has it,
 * and so what rots of it can be made good. Kept by whoever writes or recovers them, read by the reading
 * side, under a mutex of their own. A file that was rotten when it was found has no copy: recovery told
 * it, and it is kept beside in the end (held.c). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "store/held.h"

enum { SLICE_BYTES = 128 << 10 };

static struct held_copy *find(struct store *store, uint64_t number)
{
    struct held_side *side = &store->held;
    for (size_t i = 0; i < side->copies_count; i++)
        if (side->copies[i].number == number)
            return &side->copies[i];
    return NULL;
}

static bool extend(struct held_copy *copy, const uint8_t *data, size_t len)
{
    if (copy->len + len > copy->capacity) {
        size_t capacity = copy->capacity ? copy->capacity : 4096;
        while (capacity < copy->len + len)
            capacity *= 2;
        uint8_t *grown = realloc(copy->data, capacity);
        if (!grown)
            return false;
        copy->data = grown;
        copy->capacity = capacity;
    }
    if (len)
        memcpy(copy->data + copy->len, data, len);
    copy->len += len;
    return true;
}

void held_copy_add(struct store *store, uint64_t number, const uint8_t *data, size_t len)
{
    struct held_side *side = &store->held;
    pthread_mutex_lock(&store->held_mutex);
    struct held_copy *copy = find(store, number);
    if (!copy) {
        CHECK(side->copies_count < HELD_FILES);
        copy = &side->copies[side->copies_count++];
        *copy = (struct held_copy) { .number = number };
    }
    if (!copy->broken)
        copy->broken = !extend(copy, data, len); /* no memory: it is as good as its file */
    pthread_mutex_unlock(&store->held_mutex);
}

void held_copies_drop(struct store *store)
{
    struct held_side *side = &store->held;
    pthread_mutex_lock(&store->held_mutex);
    while (side->copies_count)
        free(side->copies[--side->copies_count].data);
    pthread_mutex_unlock(&store->held_mutex);
}

bool held_copy_from(struct store *store, uint64_t from, uint64_t *number)
{
    bool any = false;
    pthread_mutex_lock(&store->held_mutex);
    for (size_t i = 0; i < store->held.copies_count && !any; i++) { /* in rising order */
        const struct held_copy *copy = &store->held.copies[i];
        any = !copy->broken && copy->number >= from;
        if (any)
            *number = copy->number;
    }
    pthread_mutex_unlock(&store->held_mutex);
    return any;
}

static size_t take_slice(struct store *store, uint64_t number, uint64_t offset, uint8_t *out,
                         size_t capacity)
{
    size_t len = 0;
    pthread_mutex_lock(&store->held_mutex);
    const struct held_copy *copy = find(store, number);
    if (copy && !copy->broken && offset < copy->len) {
        len = copy->len - (size_t)offset < capacity ? copy->len - (size_t)offset : capacity;
        memcpy(out, copy->data + offset, len);
    }
    pthread_mutex_unlock(&store->held_mutex);
    return len;
}

/* One slice of a file is what its copy says, or is written anew. */
static enum ft_error prove_slice(const struct disk *disk, struct disk_file *file, uint64_t offset,
                                 const uint8_t *expected, uint8_t *data, size_t len, bool *mended)
{
    size_t got;
    enum ft_error error = disk_read_around(disk, file, offset, data, len, &got);
    if (error || (got == len && memcmp(expected, data, len) == 0))
        return error;
    *mended = true;
    error = disk->write(disk->ctx, file, offset, expected, len);
    return error ? error : disk->sync(disk->ctx, file);
}

enum ft_error held_copy_prove(struct store *store, struct disk_file *file, uint64_t number,
                              uint64_t *offset, uint64_t budget, bool *more, bool *mended)
{
    enum ft_error error = FT_OK;
    uint8_t *memory = malloc(2 * (size_t)SLICE_BYTES);
    if (!memory)
        return FT_ERROR_LIMIT;
    *more = true;
    for (uint64_t done = 0; *more && !error && done < budget;) {
        size_t len = take_slice(store, number, *offset, memory, SLICE_BYTES);
        *more = len > 0;
        if (len)
            error =
                prove_slice(store->disk, file, *offset, memory, memory + SLICE_BYTES, len, mended);
        *offset += len;
        done += len;
    }
    free(memory);
    return error;
}
