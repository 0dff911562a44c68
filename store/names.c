/* What lies in the node's folder, by name. Files that are not the store's are left alone. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "store/internal.h"

struct listing {
    struct store_names *names;
    const char *folder;
};

static void add_number(struct store_names *names, uint64_t **list, size_t *count, uint64_t number)
{
    /* Grows at each power of two. */
    if ((*count & (*count - 1)) == 0) {
        size_t capacity = *count ? *count * 2 : 1;
        uint64_t *grown = realloc(*list, capacity * sizeof *grown);
        if (!grown) {
            names->no_memory = true;
            return;
        }
        *list = grown;
    }
    (*list)[(*count)++] = number;
}

static void add_path(struct store_names *names, char (**list)[DISK_PATH_BYTES], size_t *count,
                     const char *folder, const char *name)
{
    char(*grown)[DISK_PATH_BYTES] = realloc(*list, (*count + 1) * sizeof *grown);
    if (!grown) {
        names->no_memory = true;
        return;
    }
    *list = grown;
    int len = snprintf(grown[*count], DISK_PATH_BYTES, "%s%s", folder, name);
    CHECK(len > 0);
    if (len < DISK_PATH_BYTES) /* a longer one is not of this program's making */
        (*count)++;
}

bool name_number(const char *name, const char *suffix, uint64_t *number)
{
    *number = 0;
    for (int i = 0; i < 20; i++) {
        if (name[i] < '0' || name[i] > '9')
            return false;
        *number = *number * 10 + (uint64_t)(name[i] - '0');
    }
    return strcmp(name + 20, suffix) == 0;
}

static bool ends_with(const char *name, const char *end)
{
    size_t len = strlen(name);
    size_t end_len = strlen(end);
    return len >= end_len && strcmp(name + len - end_len, end) == 0;
}

static void note_name(void *ctx, const char *name)
{
    struct listing *listing = ctx;
    struct store_names *names = listing->names;
    uint64_t number;
    if (listing->folder[0] == 'l' && name_number(name, ".seg", &number))
        add_number(names, &names->segments, &names->segments_count, number);
    else if (listing->folder[0] == 'l' && name_number(name, ".idx", &number))
        add_number(names, &names->indexes, &names->indexes_count, number);
    else if (listing->folder[0] == 'c' && name_number(name, "", &number))
        add_number(names, &names->checkpoints, &names->checkpoints_count, number);
    else if (ends_with(name, ".tmp") || strncmp(name, "spare-", 6) == 0)
        add_path(names, &names->leftovers, &names->leftovers_count, listing->folder, name);
    else if (strncmp(name, "copy-", 5) == 0)
        add_path(names, &names->copies, &names->copies_count, listing->folder, name);
}

static int by_number(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static void sort(uint64_t *list, size_t count)
{
    if (count)
        qsort(list, count, sizeof *list, by_number);
}

enum ft_error names_list(const struct disk *disk, struct store_names *names)
{
    *names = (struct store_names) { 0 };
    struct listing log = { names, "log/" };
    struct listing checkpoint = { names, "checkpoint/" };
    enum ft_error error = disk->list(disk->ctx, "log", note_name, &log);
    names->no_log = error == FT_ERROR_MISSING;
    if (!error || error == FT_ERROR_MISSING)
        error = disk->list(disk->ctx, "checkpoint", note_name, &checkpoint);
    if (error == FT_ERROR_MISSING)
        error = FT_OK;
    if (!error && names->no_memory)
        error = FT_ERROR_LIMIT;
    if (error) {
        names_free(names);
        return error;
    }
    sort(names->segments, names->segments_count);
    sort(names->indexes, names->indexes_count);
    sort(names->checkpoints, names->checkpoints_count);
    return FT_OK;
}

void names_free(struct store_names *names)
{
    free(names->segments);
    free(names->indexes);
    free(names->checkpoints);
    free(names->copies);
    free(names->leftovers);
    *names = (struct store_names) { 0 };
}

/* The reading side may have dropped it since the names were read. */
static enum ft_error gone(enum ft_error error)
{
    return error == FT_ERROR_MISSING ? FT_OK : error;
}

enum ft_error names_drop_beyond(const struct disk *disk, const struct store_names *names,
                                uint64_t sealed, uint64_t last)
{
    char path[DISK_PATH_BYTES];
    enum ft_error error = FT_OK;
    bool index = false;
    bool checkpoint = false;
    for (size_t i = names->checkpoints_count; i > 0 && !error && names->checkpoints[i - 1] > last;
         i--) {
        checkpoint_file_path(path, names->checkpoints[i - 1]);
        error = gone(disk->unlink(disk->ctx, path));
        checkpoint = true;
    }
    for (size_t i = names->indexes_count; i > 0 && !error && names->indexes[i - 1] > sealed; i--) {
        segment_path(path, names->indexes[i - 1], "idx");
        error = gone(disk->unlink(disk->ctx, path));
        index = true;
    }
    if (!error && checkpoint)
        error = disk->sync_dir(disk->ctx, "checkpoint");
    if (!error && index)
        error = disk->sync_dir(disk->ctx, "log");
    return error;
}
