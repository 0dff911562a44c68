#include "cmd/node/server.h"

#include "cmd/commands.h"
#include "cmd/crypto_sodium.h"
#include "cmd/say.h"
#include "core/check.h"

#include <errno.h>
#include <limits.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* data_dir must exist (an unmounted disk must not look blank); the node's own folder in it is made. */
static int make_folder(const struct server *server, char folder[PATH_MAX])
{
    char data[PATH_MAX];
    struct stat info;
    if (!config_resolve(&server->file, server->file.config.data_dir, data))
        return say_error(EXIT_USAGE, "node", "data_dir: path too long");
    if (stat(data, &info) != 0 || !S_ISDIR(info.st_mode))
        return say_error(EXIT_FAILED, "node",
                         "%s: no such folder (data_dir is never created by node: mount the disk, "
                         "or make it with: ftchat ctl init)",
                         data);
    int len = snprintf(folder, PATH_MAX, "%s/%u", data, server->slot);
    if (len < 0 || len >= PATH_MAX)
        return say_error(EXIT_USAGE, "node", "data_dir: path too long");
    if (mkdir(folder, 0700) != 0 && errno != EEXIST)
        return say_error(EXIT_FAILED, "node", "%s: %s (the data directory cannot be made)", folder,
                         strerror(errno));
    return EXIT_DONE;
}

int server_open_store(struct server *server, struct store_recovery *recovery)
{
    char folder[PATH_MAX];
    char why[256];
    int status = make_folder(server, folder);
    if (status)
        return status;
    if (disk_posix_open(&server->disk, folder))
        return say_error(EXIT_FAILED, "node", "%s: %s", folder, strerror(errno));
    server_pulse_recovering(server, folder);
    struct store_options options = {
        .disk = &server->disk,
        .crypto = &crypto_sodium,
        .segment_bytes = (uint64_t)server->file.config.log_segment_mb << 20,
        .retains = server->file.config.log_retain_days || server->file.config.log_retain_gb,
    };
    randombytes_buf(options.fresh_identity, sizeof options.fresh_identity);
    enum ft_error error = store_open(&server->store, &options, recovery, why, sizeof why);
    if (error)
        return say_error(error == FT_ERROR_CORRUPT ? EXIT_CORRUPT : EXIT_FAILED, "node", "%s: %s",
                         folder, why);
    return EXIT_DONE;
}

/* Everything after the checkpoint, as the core wants it: whole entries in order. */
bool server_restore(struct server *server, const struct store_recovery *recovery)
{
    size_t capacity = 4 * LIMIT_ENTRY_BYTES;
    uint8_t *buffer = malloc(capacity);
    uint64_t index = recovery->checkpoint_index + 1;
    if (!buffer)
        return false;
    while (index <= recovery->last_index && !server->halted) {
        size_t len = 0;
        if (store_read_entries(server->store, index, buffer, capacity, &len) || !len) {
            server_log(server, "error", "event=restore_failed why=\"the log cannot be read\"");
            free(buffer);
            return false;
        }
        struct node_event event = { .kind = EVENT_RESTORE, .entries = { buffer, len } };
        server_step(server, &event);
        for (size_t at = 0; at < len;) {
            struct entry entry;
            CHECK(entry_parse(&entry, &crypto_sodium, NULL, buffer + at, len - at) == ENTRY_WHOLE);
            index = entry.first + entry.count;
            at += entry.size;
        }
    }
    free(buffer);
    return !server->halted;
}

/* At once: nothing that was done since can be told to anybody any more. */
static void end_on_failure(const struct server *server, const char *what)
{
    char line[SERVER_LOG_BYTES];
    snprintf(line, sizeof line,
             "event=disk_failed what=%s why=\"a write or fsync failed: nothing after it can be "
             "promised, so this process ends (look at the kernel's log for the disk)\"",
             what);
    server_log(server, "alarm", line);
    _Exit(EXIT_FAILED);
}

static enum node_copy_result result_of(enum ft_error error)
{
    switch (error) {
    case FT_OK:
        return COPIED_OK;
    case FT_ERROR_EXISTS:
        return COPIED_EXISTS;
    case FT_ERROR_CORRUPT:
        return COPIED_CORRUPT;
    case FT_ERROR_SPACE:
        return COPIED_NO_SPACE;
    default:
        return COPIED_FAILED;
    }
}

static void copied(const struct store_completion *done, struct node_event *event)
{
    const struct store_copy_state *state = &done->copy;
    event->kind = EVENT_COPIED;
    event->copied.step = (uint8_t)done->id;
    event->copied.result = result_of(done->error);
    event->copied.complete = state->complete;
    event->copied.resumed = state->resumed;
    event->copied.piece =
        (struct effect_piece) { (uint8_t)state->next.kind, state->next.index, state->next.offset };
    event->copied.end = state->end;
    event->copied.chain = state->chain;
}

/* Nothing in core depends on it. */
static void scrubbed(struct server *server, const struct store_completion *done)
{
    const struct store_scrubbed *told = &done->scrubbed;
    if (done->error == FT_ERROR_SYNC)
        end_on_failure(server, "scrub");
    char line[160];
    snprintf(line, sizeof line, "event=scrub posts=%u unreadable=%u refused=%u%s", told->erased,
             told->rotten, told->refused, done->error ? " why=\"it is tried again\"" : "");
    bool good = !done->error && !told->rotten && !told->refused;
    server_log(server, good ? "info" : "warn", line);
}

static void completed(struct server *server, const struct store_completion *done)
{
    struct node_event event = { .kind = EVENT_READ_DONE,
                                .read = { .id = done->id,
                                          .failed = done->error != FT_OK,
                                          .data = { done->data, done->len },
                                          .more = done->answer.more,
                                          .older = done->answer.older,
                                          .size = done->size,
                                          .last_index = done->answer.last_index } };
    switch (done->kind) {
    case STORE_DONE_FLUSH:
        if (done->error && done->error != FT_ERROR_SPACE)
            end_on_failure(server, "log");
        server_note_flush(server, done->duration_us);
        event.kind = EVENT_FLUSHED;
        event.flushed.ticket = done->id;
        event.flushed.no_space = done->error == FT_ERROR_SPACE;
        event.flushed.duration_us =
            done->duration_us < UINT32_MAX ? (uint32_t)done->duration_us : UINT32_MAX;
        break;
    case STORE_DONE_HOLD:
        if (done->error && done->error != FT_ERROR_SPACE)
            end_on_failure(server, "held_log");
        if (done->error)
            server_log(server, "alarm",
                       "event=disk_full why=\"posts without a leader cannot be held: they wait\"");
        event.kind = EVENT_HELD;
        event.held.number = done->id;
        event.held.no_space = done->error == FT_ERROR_SPACE;
        break;
    case STORE_DONE_READ_ENTRIES:
        event.read.failed |= !done->len;
        break;
    case STORE_DONE_READ_POSTS:
    case STORE_DONE_READ_PIECE:
        break;
    case STORE_DONE_CHECK:
        if (done->error == FT_ERROR_SYNC)
            end_on_failure(server, "mending");
        event = (struct node_event) { .kind = EVENT_CHECKED };
        event.checked.file = (uint8_t)done->check.file;
        event.checked.id = done->check.id;
        event.checked.result = (uint8_t)done->check.result;
        event.checked.failed = done->error != FT_OK;
        event.checked.mended = done->check.mended;
        event.checked.round = done->check.round;
        event.checked.index = done->check.index;
        event.checked.bytes = done->check.bytes;
        event.checked.total = done->check.total;
        break;
    case STORE_DONE_MEND:
        if (done->error == FT_ERROR_SYNC)
            end_on_failure(server, "mending");
        event = (struct node_event) { .kind = EVENT_MENDED };
        event.mended.failed = done->error != FT_OK;
        event.mended.done = done->mend.done;
        event.mended.want_offset = done->mend.want_offset;
        break;
    case STORE_DONE_NOTICED:
        event = (struct node_event) { .kind = EVENT_NOTICED };
        event.noticed.file = (uint8_t)done->check.file;
        event.noticed.id = done->check.id;
        break;
    case STORE_DONE_CHECKPOINT:
        if (done->error == FT_ERROR_SYNC)
            end_on_failure(server, "checkpoint");
        if (done->error) {
            server_log(
                server, "warn",
                done->error == FT_ERROR_SPACE
                    ? "event=checkpoint_failed why=\"the disk is full: the next one will do\""
                    : "event=checkpoint_failed");
            return;
        }
        event = (struct node_event) { .kind = EVENT_CHECKPOINTED, .checkpointed = done->id };
        break;
    case STORE_DONE_RETAIN:
        if (done->error == FT_ERROR_SYNC)
            end_on_failure(server, "retention");
        if (done->error)
            server_log(server, "warn", "event=history_not_dropped why=\"it is tried again\"");
        event = (struct node_event) { .kind = EVENT_RETAINED, .retained = done->id };
        break;
    case STORE_DONE_COPY:
        if (done->error == FT_ERROR_SYNC)
            end_on_failure(server, "copy");
        event = (struct node_event) { 0 };
        copied(done, &event);
        break;
    case STORE_DONE_SCRUB:
        scrubbed(server, done);
        return;
    case STORE_DONE_PREPARE:
        if (done->error == FT_ERROR_SYNC)
            end_on_failure(server, "segment");
        if (done->error == FT_ERROR_SPACE)
            server_log(server, "alarm",
                       "event=disk_full why=\"the next segment cannot be made: make room\"");
        else if (done->error)
            server_log(server, "warn", "event=segment_not_prepared why=\"it is tried again\"");
        else
            server_log(server, "info", "event=disk_has_space");
        event.kind = EVENT_DISK;
        event.space = done->error != FT_ERROR_SPACE;
        break;
    }
    server_step(server, &event);
}

static void on_wake(struct loop_wakeup *wakeup)
{
    struct server *server = LOOP_HOLDER(struct server, disks, wakeup);
    struct store_completion done;
    while (!server->halted && store_threads_next(server->threads, &done)) {
        completed(server, &done);
        store_threads_release(&done);
    }
}

bool server_start_disks(struct server *server)
{
    server->disks.on_wake = on_wake;
    if (loop_wakeup_open(server->loop, &server->disks))
        return false;
    server->disks.source.urgent = true;
    if (store_threads_start(&server->threads, server->store, &server->disk,
                            server->disks.source.fd))
        return false;
    if (store_threads_shares_files(server->threads))
        server_log(server, "warn",
                   "event=shared_files why=\"unshare was refused: a kill during a slow fsync is "
                   "noticed late\"");
    return true;
}
