/* `ftchat ctl backup DIR`: the cluster's committed log, whole and proven, in a folder that no node can mistake for its own.
 *
 * A backup is a store of its own (store.h, backup = true): the same segments, chain and digests as a node's, under the
 * cluster's identity. So everything that is known to hold for a node's folder holds for it: what is there was synced, a
 * tail torn by a crash is cut when it is opened again, and ctl verify's walk proves it. The log is the history, and
 * committed entries never change, so a second run into the same folder fetches only what is new and any node can give
 * it; an interrupted run is gone on with by the next one. When the log's beginning was dropped before the first run, the
 * checkpoint that stands in its place comes first, and the folder gets its name once that is in it. */
#include "cmd/commands.h"
#include "cmd/crypto_sodium.h"
#include "cmd/ctl.h"
#include "cmd/ctl_ask.h"
#include "cmd/ctl_folder.h"
#include "cmd/ctl_options.h"
#include "cmd/say.h"
#include "core/check.h"
#include "core/entry.h"
#include "store/store.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char command[] = "ctl backup";

enum { OPTION_NODE };
static const struct option_row rows[] = {
    [OPTION_NODE] = { "node", 0, "N", "copy from this node (default: one that does not lead)" },
    CTL_ROW_WAIT("30"),
    CTL_ROW_CONFIG,
    { 0 },
};
static const struct command_page page = {
    command,
    "DIR [--node N] [--wait S]",
    "Copies the committed log of the running cluster into DIR and proves it there: everything "
    "that\n"
    "was acknowledged before the command began, as one consistent history. DIR is made when it is\n"
    "not there; when it holds an earlier backup of this cluster, only what is new is fetched. "
    "What\n"
    "was interrupted is gone on with by the next run. --wait is for a node that says nothing.",
    rows,
};

struct backup {
    struct ask ask;
    struct wire_status statuses[LIMIT_NODES + 1];
    uint8_t slot; /* copied from */
    uint64_t wait_us;
    uint64_t target; /* the commit index known when the command began */
    struct ctl_folder folder;
    struct store *store;
    uint8_t cluster[IDENTITY_BYTES];
    bool has_cluster;
    uint64_t first;  /* where the log in DIR begins */
    uint64_t before; /* what DIR held already */
    uint64_t last;
    uint64_t flush;
    uint8_t chain[HASH_BYTES];
    uint8_t entries[LIMIT_ENTRY_BYTES];
};

/* --- from whom ----------------------------------------------------------------------------------
 */

/* Of those that answer, one that follows and is not behind: the leader has enough to do. */
static uint8_t best_node(const struct backup *backup)
{
    uint8_t best = 0;
    for (uint8_t slot = 1; slot <= LIMIT_NODES; slot++) {
        const struct wire_status *status = &backup->statuses[slot];
        const struct wire_status *other = &backup->statuses[best];
        if (!status->node || status->role == ROLE_BLANK)
            continue;
        if (!best || (status->role != ROLE_LEADER && other->role == ROLE_LEADER) ||
            (status->role != ROLE_LEADER && status->commit > other->commit))
            best = slot;
    }
    return best;
}

static int choose(struct backup *backup)
{
    ask_statuses(&backup->ask, backup->statuses, loop_clock_us() + 2000000);
    bool quorum = false;
    for (uint8_t slot = 1; slot <= LIMIT_NODES; slot++) {
        const struct wire_status *status = &backup->statuses[slot];
        quorum |= status->role == ROLE_LEADER && status->quorum;
        if (status->commit > backup->target)
            backup->target = status->commit;
    }
    if (backup->slot && !backup->statuses[backup->slot].node)
        return say_error(EXIT_UNREACHABLE, command, "node %u does not answer", backup->slot);
    if (!backup->slot)
        backup->slot = best_node(backup);
    if (!backup->slot)
        return say_error(EXIT_UNREACHABLE, command, "no node of a formed cluster answers");
    if (!quorum) {
        say_warning(command, "no node leads a majority: this is what node %u knows to be committed",
                    backup->slot);
        backup->target = backup->statuses[backup->slot].commit;
    }
    return EXIT_DONE;
}

/* --- into what ----------------------------------------------------------------------------------
 */

/* Somebody's folder with other things in it is not filled with ours. */
static bool only_ours(const char *path)
{
    static const char *const names[] = { "lock",     "log",      "checkpoint",   "vote",
                                         "vote.tmp", "identity", "identity.tmp", "begin" };
    DIR *dir = opendir(path);
    bool good = dir != NULL;
    for (struct dirent *entry; good && (entry = readdir(dir));) {
        bool known = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0;
        for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
            known |= strcmp(entry->d_name, names[i]) == 0;
        good = known;
    }
    if (dir)
        closedir(dir);
    return good;
}

static int open_store(struct backup *backup, const char *path, uint64_t segment_bytes,
                      struct store_recovery *recovery)
{
    char why[256];
    if (mkdir(path, 0700) != 0 && errno != EEXIST)
        return say_error(EXIT_FAILED, command, "%s: cannot be made: %s", path, strerror(errno));
    if (!only_ours(path))
        return say_error(EXIT_FAILED, command,
                         "%s: holds other files (give a folder of its own, or a new name)", path);
    int status = ctl_folder_open_path(&backup->folder, command, path);
    if (status)
        return status;
    struct store_options options = { .disk = &backup->folder.disk,
                                     .crypto = &crypto_sodium,
                                     .segment_bytes = segment_bytes,
                                     .backup = true };
    enum ft_error error = store_open(&backup->store, &options, recovery, why, sizeof why);
    if (error)
        return say_error(error == FT_ERROR_CORRUPT ? EXIT_CORRUPT : EXIT_FAILED, command, "%s: %s",
                         path,
                         error == FT_ERROR_LOCKED ? "another backup into it is under way" : why);
    if (recovery->leftover)
        return say_error(EXIT_CORRUPT, command, "%s: %s (give a new folder)", path,
                         recovery->damage);
    return EXIT_DONE;
}

/* The chain at the end of what DIR holds: its last entry's, or that of the base when there is none yet. */
static bool read_chain(struct backup *backup, const struct store_recovery *recovery)
{
    size_t len;
    struct entry entry;
    if (recovery->last_index == recovery->checkpoint_index) {
        struct store_base base;
        uint8_t *file;
        if (store_base_read(backup->store, &base, &file))
            return false;
        free(file);
        memcpy(backup->chain, base.chain, HASH_BYTES);
        return true;
    }
    if (store_read_entries(backup->store, backup->last, backup->entries, sizeof backup->entries,
                           &len) ||
        entry_parse(&entry, &crypto_sodium, NULL, backup->entries, len) != ENTRY_WHOLE)
        return false;
    memcpy(backup->chain, entry.chain, HASH_BYTES);
    return true;
}

static int open_folder(struct backup *backup, const char *path, uint64_t segment_bytes)
{
    struct store_recovery recovery = { 0 };
    int status = open_store(backup, path, segment_bytes, &recovery);
    if (status)
        return status;
    backup->first = recovery.first_index;
    backup->before = backup->last = recovery.last_index;
    backup->flush = recovery.flush;
    memcpy(backup->cluster, recovery.cluster, IDENTITY_BYTES);
    static const uint8_t blank[IDENTITY_BYTES];
    backup->has_cluster = memcmp(backup->cluster, blank, IDENTITY_BYTES) != 0;
    if (backup->last && !read_chain(backup, &recovery))
        return say_error(EXIT_CORRUPT, command, "%s: its last entry cannot be read", path);
    return EXIT_DONE;
}

static void close_folder(struct backup *backup)
{
    if (backup->store)
        store_close(backup->store);
    backup->store = NULL;
    if (backup->folder.path[0])
        disk_posix_close(&backup->folder.disk);
    backup->folder.path[0] = '\0';
}

/* --- copying ------------------------------------------------------------------------------------
 */

/* One piece of the log or of its base. The reply is good until the next question. OK without data: nothing is there yet, or
 * the log begins later. */
static int fetch(struct backup *backup, const struct wire_log *wanted, struct wire_log_is *piece)
{
    uint8_t request[32];
    size_t len = wire_encode_log(wanted, request, sizeof request);
    CHECK(len > 0);
    uint64_t deadline = loop_clock_us() + backup->wait_us;
    struct slice reply;
    for (;;) {
        ask_send(&backup->ask, backup->slot, (struct slice) { request, len });
        ask_wait(&backup->ask, deadline);
        reply = ask_reply(&backup->ask, backup->slot);
        if (!reply.len || !wire_decode_log_is(piece, reply) || piece->code != CODE_BUSY ||
            loop_clock_us() >= deadline)
            break;
        loop_run_once(backup->ask.loop, 20000); /* others are copying, too */
    }
    if (!reply.len)
        return say_error(EXIT_UNREACHABLE, command,
                         "node %u no longer answers; what was copied stays (run it again: it goes "
                         "on at index %llu)",
                         backup->slot, (unsigned long long)backup->last + 1);
    if (!wire_decode_log_is(piece, reply))
        return say_error(EXIT_FAILED, command, "node %u: not understood (another version?)",
                         backup->slot);
    bool dropped = !wanted->base && piece->first > wanted->index;
    if (piece->code != CODE_OK && !dropped)
        return say_error(
            EXIT_FAILED, command, "node %u cannot read its %s at index %llu%s", backup->slot,
            wanted->base ? "checkpoint" : "log", (unsigned long long)wanted->index,
            " (run it again, or see that node's log and give another one with --node)");
    if (dropped)
        piece->data.len = 0;
    return EXIT_DONE;
}

static int wrong_history(const struct backup *backup)
{
    return say_error(EXIT_FAILED, command,
                     "node %u: its log does not go on from what %s holds: another cluster's, or "
                     "restored since (back up into a new folder)",
                     backup->slot, backup->folder.path);
}

/* Proves the piece and makes it durable. */
static int take(struct backup *backup, const struct wire_log_is *piece)
{
    struct store_flush flush = { .number = backup->flush + 1 };
    if (!backup->has_cluster) {
        flush.save_cluster = true;
        memcpy(flush.cluster, piece->cluster, IDENTITY_BYTES);
        memcpy(backup->cluster, piece->cluster, IDENTITY_BYTES);
        backup->has_cluster = true;
    }
    CHECK(piece->data.len <= sizeof backup->entries);
    memcpy(backup->entries, piece->data.data, piece->data.len);
    for (size_t at = 0; at < piece->data.len;) {
        struct entry entry;
        uint8_t *data = backup->entries + at;
        if (entry_parse(&entry, &crypto_sodium, NULL, data, piece->data.len - at) != ENTRY_WHOLE ||
            entry.first != backup->last + 1 ||
            !entry_verify(&entry, &crypto_sodium, backup->cluster, backup->chain, data, NULL))
            return wrong_history(backup);
        memcpy(backup->chain, entry.chain, HASH_BYTES);
        backup->last = entry.first + entry.count - 1;
        entry_set_local(data, flush.number, (uint32_t)at, backup->last, &crypto_sodium,
                        backup->cluster);
        at += entry.size;
    }
    flush.entries[0] = (struct slice) { backup->entries, piece->data.len };
    enum ft_error error = store_flush(backup->store, &flush);
    if (error)
        return say_error(EXIT_FAILED, command, "%s: %s; what was copied before stays",
                         backup->folder.path,
                         error == FT_ERROR_SPACE ? "no space is left" : "cannot be written");
    backup->flush = flush.number;
    return EXIT_DONE;
}

/* --- a log that has lost its beginning ----------------------------------------------------------
 */

/* Its base, whole, from the node: allocated. */
static int fetch_base(struct backup *backup, uint64_t index, uint8_t **file, uint64_t *size)
{
    struct wire_log wanted = { .base = true, .index = index, .bytes = LIMIT_ENTRY_BYTES };
    *file = NULL;
    *size = 1;
    while (wanted.offset < *size) {
        struct wire_log_is piece;
        int status = fetch(backup, &wanted, &piece);
        if (status)
            return status;
        if (!*file) {
            *size = piece.size;
            *file =
                piece.size <= STORE_CHECKPOINT_BYTES_MAX ? malloc((size_t)piece.size + 1) : NULL;
            if (!*file)
                return say_error(EXIT_FAILED, command, "no memory for a checkpoint of %llu bytes",
                                 (unsigned long long)piece.size);
        }
        if (piece.size != *size || piece.data.len == 0 || piece.data.len > *size - wanted.offset)
            return say_error(EXIT_FAILED, command, "node %u: not understood (another version?)",
                             backup->slot);
        memcpy(*file + wanted.offset, piece.data.data, piece.data.len);
        wanted.offset += piece.data.len;
    }
    return EXIT_DONE;
}

static bool is_there(const char *path)
{
    struct stat info;
    return lstat(path, &info) == 0;
}

/* DIR is to be named into place, and what an interrupted run left beside it is to go: neither may be anybody else's. */
static int clear_place(const char *path, const char *made)
{
    if (is_there(path) && rmdir(path) != 0)
        return say_error(EXIT_FAILED, command,
                         "%s: holds other files (give a folder of its own, or a new name)", path);
    if (!is_there(made))
        return EXIT_DONE;
    if (!only_ours(made))
        return say_error(EXIT_FAILED, command,
                         "%s: is in the way, and not a backup that was interrupted (move it, or "
                         "give another name)",
                         made);
    struct ctl_folder folder = { .path = "" };
    struct disk_file *lock;
    int status = ctl_folder_open_path(&folder, command, made);
    if (status)
        return status;
    if (folder.disk.lock(folder.disk.ctx, "lock", &lock)) {
        status = say_error(EXIT_FAILED, command, "%s: another backup into it is under way", made);
    } else {
        status = ctl_folder_remove(command, made);
        folder.disk.close(folder.disk.ctx, lock);
    }
    disk_posix_close(&folder.disk);
    return status;
}

/* Makes `path` as a backup that begins behind the base; beside its place first, so that no half of it is ever found. */
static int make_begun(struct backup *backup, const char *path, const struct wire_log_is *about,
                      struct slice file)
{
    char made[PATH_MAX];
    struct store_recovery blank;
    struct store_base base;
    if (snprintf(made, sizeof made, "%s.new", path) >= (int)sizeof made)
        return say_error(EXIT_USAGE, command, "%.40s...: path too long", path);
    if (store_base_parse(&crypto_sodium, about->cluster, about->first - 1, file, &base))
        return say_error(
            EXIT_CORRUPT, command,
            "node %u: its checkpoint at %llu is damaged (give another node with --node)",
            backup->slot, (unsigned long long)about->first - 1);
    int status = clear_place(path, made);
    if (!status)
        status = open_store(backup, made, about->segment_bytes, &blank);
    if (!status && store_base_write(backup->store, about->cluster, &base))
        status = say_error(EXIT_FAILED, command, "%s: cannot be written", made);
    /* Still locked: nobody else clears it away in between. */
    if (!status && rename(made, path) != 0)
        status = say_error(EXIT_FAILED, command, "%s: cannot be renamed to %s: %s", made, path,
                           strerror(errno));
    close_folder(backup);
    return status ? status : ctl_folder_sync_parent(command, path);
}

static int begin_late(struct backup *backup, const char *path, const struct wire_log_is *about)
{
    uint8_t *file;
    uint64_t size;
    int status = fetch_base(backup, about->first - 1, &file, &size);
    if (!status)
        status = make_begun(backup, path, about, (struct slice) { file, (size_t)size });
    free(file);
    return status;
}

/* --- all of it ----------------------------------------------------------------------------------
 */

static bool is_backup(const char *path)
{
    char identity[PATH_MAX + 16];
    snprintf(identity, sizeof identity, "%s/identity", path);
    return is_there(identity);
}

/* Opens DIR, or makes it, as the node's log asks for: `about` is what the node said first. */
static int open_for(struct backup *backup, const char *path, const struct wire_log_is *about)
{
    int status = EXIT_DONE;
    if (about->first > 1 && !is_backup(path))
        status = begin_late(backup, path, about);
    if (!status)
        status = open_folder(backup, path, about->segment_bytes);
    if (!status && backup->has_cluster &&
        memcmp(backup->cluster, about->cluster, IDENTITY_BYTES) != 0)
        status = say_error(EXIT_FAILED, command,
                           "%s: holds the backup of another cluster, or of this one before "
                           "it was restored (give a new folder)",
                           path);
    return status;
}

static int copy(struct backup *backup, const char *path)
{
    while (!backup->store || backup->last < backup->target) {
        struct wire_log_is piece = { 0 };
        struct wire_log wanted = { .index = backup->last + 1, .bytes = LIMIT_ENTRY_BYTES };
        int status = fetch(backup, &wanted, &piece);
        if (!status && !backup->store) {
            status = open_for(backup, path, &piece);
            if (!status)
                continue;
        }
        if (!status && memcmp(piece.cluster, backup->cluster, IDENTITY_BYTES) != 0 &&
            backup->has_cluster)
            status = wrong_history(backup);
        if (!status && piece.first > backup->last + 1)
            status =
                say_error(EXIT_FAILED, command,
                          "node %u has dropped what follows index %llu, where %s ends (back up "
                          "into a new folder, and more often than history is dropped)",
                          backup->slot, (unsigned long long)backup->last, path);
        if (!status && piece.data.len)
            status = take(backup, &piece);
        if (status)
            return status;
        if (!piece.data.len)
            loop_run_once(backup->ask.loop, 20000); /* it is a little behind */
    }
    return EXIT_DONE;
}

/* --- the proof ----------------------------------------------------------------------------------
 */

static int prove(struct backup *backup)
{
    store_close(backup->store);
    backup->store = NULL;
    int status = ctl_folder_prove(&backup->folder, command);
    if (status)
        return status;
    printf("%s: all up to index %llu of node %u, %llu of them new; every entry is proven.\n",
           backup->folder.path, (unsigned long long)backup->last, backup->slot,
           (unsigned long long)(backup->last - backup->before));
    if (backup->first > 1)
        printf("It begins at index %llu: what was before had been dropped ([log] retain_days, "
               "retain_gb).\n",
               (unsigned long long)backup->first);
    return say_flushed(command);
}

int ctl_backup(int argc, char **argv)
{
    static struct backup backup; /* a MiB: not initialised, or it would lie in the binary */
    backup.ask.reply_bytes = LIMIT_PEER_MESSAGE_BYTES;
    struct ctl_given given = { .takes = CTL_WORD, .wait_s = 30 };
    struct options options = options_begin(&page, argc, argv);
    uint64_t slot = 0;
    for (int option; (option = ctl_next(&options, &given)) != OPTIONS_END;) {
        if (option != OPTION_NODE)
            return options.status;
        if (!options_number(&options, "node", 1, LIMIT_NODES, &slot))
            return EXIT_USAGE;
    }
    if (!given.word)
        return say_error(EXIT_USAGE, command, "no folder given (see --help)");
    char folder[PATH_MAX]; /* its name without slashes behind it */
    size_t len = strlen(given.word);
    while (len > 1 && given.word[len - 1] == '/')
        len--;
    if (len == 0 || len >= sizeof folder)
        return say_error(EXIT_USAGE, command, len ? "DIR: path too long" : "no folder given");
    memcpy(folder, given.word, len);
    folder[len] = '\0';
    int status = ask_open(&backup.ask, command, given.config);
    if (status)
        return status;
    backup.slot = (uint8_t)slot;
    backup.wait_us = given.wait_s * 1000000;
    if (slot && !backup.ask.file.config.nodes[slot].present)
        status = say_error(EXIT_USAGE, command, "--node: %u: no [node.%u] in %s", backup.slot,
                           backup.slot, backup.ask.file.path);
    if (!status)
        status = choose(&backup);
    if (!status)
        status = copy(&backup, folder);
    if (!status)
        status = prove(&backup);
    close_folder(&backup);
    ask_close(&backup.ask);
    return status;
}
