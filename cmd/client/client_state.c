#include "cmd/client/client_state.h"

#include "cmd/say.h"
#include "core/check.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    STATE_TWINS = 64,             /* clients of one user at the same time */
    STATE_TIDY_BYTES = 8 << 20,   /* a file beyond this is written anew when nothing is open */
    STATE_FILE_BYTES = 512 << 20, /* more is not read */
};

struct client_state {
    const char *command;
    char path[PATH_MAX];
    int twin; /* 1: the user's first client here */
    int lock_fd;
    int folder_fd;
    int fd;
    size_t file_bytes;
    struct text_out pending;         /* to be appended */
    struct text_out seen;            /* goes with the next cursor */
    struct client_recovered current; /* without entries */
    bool renewing;
    struct text_out fresh; /* PUTs of the new device */
    bool complained;
    uint8_t *bytes; /* of the file as it was read: the entries point there */
    struct outbox_image image;
};

/* Whose state, and where. */
struct place {
    const char *folder;
    const char *user;
    const char *key_id;
};

static void complain(struct client_state *state, const char *what)
{
    if (!state->complained)
        say_warning(state->command, "%s: %s: %s (what is queued may not survive this run)",
                    state->path, what, strerror(errno));
    state->complained = true;
}

static bool write_all(int fd, const char *data, size_t len)
{
    while (len) {
        ssize_t written = write(fd, data, len);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return false;
        data += written;
        len -= (size_t)written;
    }
    return true;
}

/* --- Finding the place ------------------------------------------------------------------------ */

static bool make_folders(char *path)
{
    for (char *at = path + 1; *at; at++) {
        if (*at != '/')
            continue;
        *at = '\0';
        bool failed = mkdir(path, 0700) != 0 && errno != EEXIST;
        *at = '/';
        if (failed)
            return false;
    }
    return mkdir(path, 0700) == 0 || errno == EEXIST;
}

static bool find_folder(char out[PATH_MAX], const char *given)
{
    const char *xdg = getenv("XDG_STATE_HOME");
    const char *home = getenv("HOME");
    int len;
    if (given)
        len = snprintf(out, PATH_MAX, "%s", given);
    else if (xdg && xdg[0] == '/')
        len = snprintf(out, PATH_MAX, "%s/ftchat", xdg);
    else
        len = snprintf(out, PATH_MAX, "%s/.local/state/ftchat", home && *home ? home : ".");
    return len > 0 && len < PATH_MAX - 128;
}

/* --- The whole file --------------------------------------------------------------------------- */

/* The caller frees *bytes. */
static bool read_file(int fd, uint8_t **bytes, size_t *len)
{
    struct stat about;
    if (fstat(fd, &about) != 0 || about.st_size > STATE_FILE_BYTES)
        return false;
    *bytes = malloc((size_t)about.st_size + 1);
    CHECK(*bytes != NULL);
    *len = 0;
    while (*len < (size_t)about.st_size) {
        ssize_t got = pread(fd, *bytes + *len, (size_t)about.st_size - *len, (off_t)*len);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return got == 0;
        *len += (size_t)got;
    }
    return true;
}

/* Is there a device that left something in its outbox? */
static bool has_unsent(const char *path)
{
    struct outbox_image image = { 0 };
    uint8_t *bytes = NULL;
    size_t len;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    bool unsent = fd >= 0 && read_file(fd, &bytes, &len) &&
                  outbox_read(&image, (struct slice) { bytes, len }) &&
                  image.recovered.device != 0 && image.recovered.entry_count > 0;
    if (fd >= 0)
        close(fd);
    free(image.entries);
    free(bytes);
    return unsent;
}

static size_t place_path(char out[PATH_MAX], const struct place *place, int twin, const char *end)
{
    char suffix[16] = "";
    if (twin > 1)
        snprintf(suffix, sizeof suffix, "-%d", twin);
    int len = snprintf(out, PATH_MAX, "%s/%s@%s%s.%s", place->folder, place->user, place->key_id,
                       suffix, end);
    CHECK(len > 0 && len < PATH_MAX);
    return (size_t)len;
}

/* The lock of a place, or -1: another client holds it (EWOULDBLOCK), or it cannot be opened. */
static int lock_place(const struct place *place, int twin, int flags)
{
    char path[PATH_MAX];
    place_path(path, place, twin, "lock");
    int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | flags, 0600);
    if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) == 0)
        return fd;
    int error = errno;
    close(fd);
    errno = error;
    return -1;
}

static void take(struct client_state *state, const struct place *place, int twin, int lock_fd)
{
    state->lock_fd = lock_fd;
    state->twin = twin;
    place_path(state->path, place, twin, "state");
}

/* Takes a place that no other client holds: one in which a second client of this user left
 * something unsent, else the first. */
static bool take_place(struct client_state *state, const struct place *place)
{
    for (int twin = 2; twin <= STATE_TWINS; twin++) {
        int fd = lock_place(place, twin, 0);
        if (fd < 0 && errno == ENOENT)
            break;
        char path[PATH_MAX];
        place_path(path, place, twin, "state");
        if (fd >= 0 && has_unsent(path)) {
            take(state, place, twin, fd);
            return true;
        }
        if (fd >= 0)
            close(fd);
    }
    for (int twin = 1; twin <= STATE_TWINS; twin++) {
        int fd = lock_place(place, twin, O_CREAT);
        if (fd >= 0) {
            take(state, place, twin, fd);
            return true;
        }
        if (errno != EWOULDBLOCK)
            return false;
    }
    errno = EBUSY;
    return false;
}

/* Writes `all` beside the file, durably, and puts it in its place. */
static bool replace_file(struct client_state *state, const struct text_out *all)
{
    char path[PATH_MAX + 8];
    snprintf(path, sizeof path, "%s.new", state->path);
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return false;
    if (!write_all(fd, all->data + all->start, text_len(all)) || fsync(fd) != 0 ||
        rename(path, state->path) != 0) {
        close(fd);
        return false;
    }
    (void)fsync(state->folder_fd);
    if (state->fd >= 0)
        close(state->fd);
    state->fd = fd;
    state->file_bytes = text_len(all);
    return true;
}

static void make_secret_key(uint8_t secret_key[SECRET_KEY_BYTES])
{
    uint8_t public_key[PUBLIC_KEY_BYTES];
    int failed = crypto_sign_keypair(public_key, secret_key);
    CHECK(failed == 0);
}

static bool begin_anew(struct client_state *state)
{
    state->image.recovered.seen = &state->image.seen;
    make_secret_key(state->image.recovered.secret_key);
    state->current = state->image.recovered;
    struct text_out all = { 0 };
    outbox_write_all(&all, &state->image.recovered);
    bool good = replace_file(state, &all);
    text_free(&all);
    return good;
}

/* What the core has room for: a file from elsewhere may hold more. */
static bool fits(const struct client_recovered *recovered)
{
    size_t bytes = 0;
    for (uint32_t i = 0; i < recovered->entry_count; i++)
        bytes += recovered->entries[i].id.len + recovered->entries[i].body.len;
    return recovered->entry_count <= LIMIT_OUTBOX_ENTRIES && bytes <= LIMIT_OUTBOX_BYTES;
}

static bool load(struct client_state *state)
{
    state->fd = open(state->path, O_RDWR | O_APPEND | O_CLOEXEC | O_NOFOLLOW);
    if (state->fd < 0)
        return errno == ENOENT && begin_anew(state);
    size_t len = 0;
    if (!read_file(state->fd, &state->bytes, &len))
        return false;
    bool whole = outbox_read(&state->image, (struct slice) { state->bytes, len });
    if (!whole || !fits(&state->image.recovered)) {
        char aside[PATH_MAX + 8];
        snprintf(aside, sizeof aside, "%s.bad", state->path);
        say_warning(state->command, "%s: cannot be read (kept as %s; a new device is made)",
                    state->path, aside);
        free(state->image.entries);
        memset(&state->image, 0, sizeof state->image);
        return rename(state->path, aside) == 0 && begin_anew(state);
    }
    state->current = state->image.recovered;
    state->current.entries = NULL;
    state->current.entry_count = 0;
    if (state->image.whole_bytes < len)
        say_warning(state->command, "%s: its last %zu bytes were torn and are cut off", state->path,
                    len - state->image.whole_bytes);
    struct text_out all = { 0 };
    outbox_write_all(&all, &state->image.recovered);
    bool good = replace_file(state, &all);
    text_free(&all);
    return good;
}

struct client_state *state_open(const char *command, const char *folder, const char *user,
                                const char *key_id)
{
    struct client_state *state = calloc(1, sizeof *state);
    CHECK(state != NULL);
    state->command = command;
    state->fd = state->lock_fd = state->folder_fd = -1;
    char path[PATH_MAX];
    bool good = find_folder(path, folder) && make_folders(path);
    if (good)
        state->folder_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const struct place place = { path, user, key_id };
    good = good && state->folder_fd >= 0 && take_place(state, &place) && load(state);
    if (good)
        return state;
    say_error(1, command, "%s: the state cannot be kept here: %s (see --state-dir)", path,
              strerror(errno));
    state_close(state);
    return NULL;
}

void state_close(struct client_state *state)
{
    if (!state)
        return;
    if (state->fd >= 0)
        close(state->fd);
    if (state->lock_fd >= 0)
        close(state->lock_fd);
    if (state->folder_fd >= 0)
        close(state->folder_fd);
    text_free(&state->pending);
    text_free(&state->seen);
    text_free(&state->fresh);
    free(state->image.entries);
    free(state->bytes);
    sodium_memzero(state, sizeof *state);
    free(state);
}

const struct client_recovered *state_recovered(const struct client_state *state)
{
    return &state->image.recovered;
}

bool state_is_twin(const struct client_state *state)
{
    return state->twin > 1;
}

/* --- Changes ---------------------------------------------------------------------------------- */

void state_put(struct client_state *state, const struct client_entry *put)
{
    outbox_write_put(state->renewing ? &state->fresh : &state->pending, put);
    state->current.last_number = put->number;
    if (put->seq)
        state->current.last_seq = put->seq;
}

void state_done(struct client_state *state, uint64_t number, uint64_t seq)
{
    outbox_write_done(&state->pending, number, seq);
    if (seq > state->current.done_seq)
        state->current.done_seq = seq;
}

void state_cursor(struct client_state *state, uint64_t index, uint64_t floor,
                  const uint8_t cluster[IDENTITY_BYTES], uint64_t forgot)
{
    /* Before the cursor: torn between them, it knows too much rather than too little. */
    if (text_len(&state->seen))
        text_add(&state->pending, state->seen.data + state->seen.start, text_len(&state->seen));
    state->seen.start = state->seen.end = 0;
    if (forgot != state->image.seen.forgot)
        outbox_write_forgot(&state->pending, forgot);
    state->image.seen.forgot = forgot;
    outbox_write_cursor(&state->pending, index, floor, cluster);
    state->current.cursor = index;
    state->current.floor = floor;
    memcpy(state->current.cluster, cluster, IDENTITY_BYTES);
}

void state_seen(struct client_state *state, uint64_t tag, uint64_t seq)
{
    outbox_write_seen(&state->seen, tag, seq);
    (void)seen_note(&state->image.seen, tag, seq);
}

void state_enrolled(struct client_state *state, uint32_t device, uint64_t index)
{
    outbox_write_enrolled(&state->pending, device, index);
    state->current.device = device;
    state->current.enrolled_index = index;
    state_write(state);
    state_sync(state);
}

void state_new_device(struct client_state *state, const uint8_t secret_key[SECRET_KEY_BYTES])
{
    state_write(state);
    state->renewing = true;
    memcpy(state->current.secret_key, secret_key, SECRET_KEY_BYTES);
    state->current.device = 0;
    state->current.enrolled_index = 0;
    state->current.last_seq = 0;
    state->current.done_seq = 0;
}

void state_write(struct client_state *state)
{
    size_t len = text_len(&state->pending);
    if (len == 0)
        return;
    if (write_all(state->fd, state->pending.data + state->pending.start, len)) {
        state->file_bytes += len;
        state->complained = false;
    } else {
        complain(state, "cannot be written");
    }
    state->pending.start = state->pending.end = 0;
}

/* The new device takes the old one's place, with all that goes on under it. */
static void renew(struct client_state *state)
{
    state->renewing = false;
    struct text_out all = { 0 };
    outbox_write_magic(&all);
    outbox_write_device(&all, state->current.secret_key);
    outbox_write_cursor(&all, state->current.cursor, state->current.floor, state->current.cluster);
    outbox_write_all_seen(&all, &state->image.seen);
    text_add(&all, state->fresh.data + state->fresh.start, text_len(&state->fresh));
    outbox_write_counts(&all, &state->current);
    if (!replace_file(state, &all))
        complain(state, "cannot be replaced");
    state->fresh.start = state->fresh.end = 0;
    text_free(&all);
}

void state_sync(struct client_state *state)
{
    state_write(state);
    if (state->renewing)
        renew(state);
    else if (fsync(state->fd) != 0)
        complain(state, "cannot be synced");
}

void state_tidy(struct client_state *state, bool nothing_open)
{
    if (!nothing_open || state->renewing || state->file_bytes < STATE_TIDY_BYTES)
        return;
    struct text_out all = { 0 };
    state->current.entry_count = 0;
    outbox_write_all(&all, &state->current);
    if (!replace_file(state, &all))
        complain(state, "cannot be replaced");
    text_free(&all);
}
