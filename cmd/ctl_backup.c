/* `ftchat ctl backup DIR`: the cluster's committed log, whole and proven, in a folder that no node can mistake for its own.
 *
 * A backup is a store of its own (store.h, backup = true): the same segments, chain and digests as a node's, under the
 * cluster's identity. So everything that is known to hold for a node's folder holds for it: what is there was synced, a
 * tail torn by a crash is cut when it is opened again, and ctl verify's walk proves it. The log is the history, and
 * committed entries never change, so a second run into the same folder fetches only what is new and any node can give
 * it; an interrupted run is gone on with by the next one. */
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
#include <string.h>
#include <sys/stat.h>

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
    static const char *const names[] = { "lock",     "log",      "checkpoint",  "vote",
                                         "vote.tmp", "identity", "identity.tmp" };
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

static int open_folder(struct backup *backup, const char *path, uint64_t segment_bytes)
{
    struct store_recovery recovery;
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
    enum ft_error error = store_open(&backup->store, &options, &recovery, why, sizeof why);
    if (error)
        return say_error(error == FT_ERROR_CORRUPT ? EXIT_CORRUPT : EXIT_FAILED, command, "%s: %s",
                         path,
                         error == FT_ERROR_LOCKED ? "another backup into it is under way" : why);
    backup->before = backup->last = recovery.last_index;
    backup->flush = recovery.flush;
    memcpy(backup->cluster, recovery.cluster, IDENTITY_BYTES);
    static const uint8_t blank[IDENTITY_BYTES];
    backup->has_cluster = memcmp(backup->cluster, blank, IDENTITY_BYTES) != 0;
    if (!backup->last)
        return EXIT_DONE;
    size_t len;
    struct entry entry;
    if (store_read_entries(backup->store, backup->last, backup->entries, sizeof backup->entries,
                           &len) ||
        entry_parse(&entry, &crypto_sodium, NULL, backup->entries, len) != ENTRY_WHOLE)
        return say_error(EXIT_CORRUPT, command, "%s: its last entry cannot be read", path);
    memcpy(backup->chain, entry.chain, HASH_BYTES);
    return EXIT_DONE;
}

/* --- copying ------------------------------------------------------------------------------------
 */

/* One piece of the log, from what follows `last`. The reply is good until the next question. */
static int fetch(struct backup *backup, struct wire_log_is *piece)
{
    uint8_t request[16];
    struct wire_log wanted = { .index = backup->last + 1, .bytes = LIMIT_ENTRY_BYTES };
    size_t len = wire_encode_log(&wanted, request, sizeof request);
    CHECK(len > 0);
    ask_send(&backup->ask, backup->slot, (struct slice) { request, len });
    ask_wait(&backup->ask, loop_clock_us() + backup->wait_us);
    struct slice reply = ask_reply(&backup->ask, backup->slot);
    if (!reply.len)
        return say_error(EXIT_UNREACHABLE, command,
                         "node %u no longer answers; what was copied stays (run it again: it goes "
                         "on at index %llu)",
                         backup->slot, (unsigned long long)backup->last + 1);
    if (!wire_decode_log_is(piece, reply))
        return say_error(EXIT_FAILED, command, "node %u: not understood (another version?)",
                         backup->slot);
    if (piece->code != CODE_OK && !backup->last)
        return say_error(
            EXIT_FAILED, command,
            "node %u has dropped the beginning of its log ([log] retain_days, retain_gb), or "
            "cannot read it: a backup has to begin before that, in this version",
            backup->slot);
    if (piece->code != CODE_OK)
        return say_error(EXIT_FAILED, command, "node %u cannot read its log at index %llu%s",
                         backup->slot, (unsigned long long)backup->last + 1,
                         " (see its log; give another one with --node)");
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
    CHECK(piece->entries.len <= sizeof backup->entries);
    memcpy(backup->entries, piece->entries.data, piece->entries.len);
    for (size_t at = 0; at < piece->entries.len;) {
        struct entry entry;
        uint8_t *data = backup->entries + at;
        if (entry_parse(&entry, &crypto_sodium, NULL, data, piece->entries.len - at) !=
                ENTRY_WHOLE ||
            entry.first != backup->last + 1 ||
            !entry_verify(&entry, &crypto_sodium, backup->cluster, backup->chain, data, NULL))
            return wrong_history(backup);
        memcpy(backup->chain, entry.chain, HASH_BYTES);
        backup->last = entry.first + entry.count - 1;
        entry_set_local(data, flush.number, (uint32_t)at, backup->last, &crypto_sodium,
                        backup->cluster);
        at += entry.size;
    }
    flush.entries[0] = (struct slice) { backup->entries, piece->entries.len };
    enum ft_error error = store_flush(backup->store, &flush);
    if (error)
        return say_error(EXIT_FAILED, command, "%s: %s; what was copied before stays",
                         backup->folder.path,
                         error == FT_ERROR_SPACE ? "no space is left" : "cannot be written");
    backup->flush = flush.number;
    return EXIT_DONE;
}

static int copy(struct backup *backup, const char *path)
{
    while (!backup->store || backup->last < backup->target) {
        struct wire_log_is piece;
        int status = fetch(backup, &piece);
        if (!status && !backup->store) {
            /* The first one only tells how long segments are: the folder is opened now. */
            status = open_folder(backup, path, piece.segment_bytes);
            if (!status && backup->has_cluster &&
                memcmp(backup->cluster, piece.cluster, IDENTITY_BYTES) != 0)
                status = say_error(EXIT_FAILED, command,
                                   "%s: holds the backup of another cluster, or of this one before "
                                   "it was restored (give a new folder)",
                                   path);
            if (!status)
                continue;
        }
        if (!status && memcmp(piece.cluster, backup->cluster, IDENTITY_BYTES) != 0 &&
            backup->has_cluster)
            status = wrong_history(backup);
        if (!status && piece.entries.len)
            status = take(backup, &piece);
        if (status)
            return status;
        if (!piece.entries.len)
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
        status = copy(&backup, given.word);
    if (!status)
        status = prove(&backup);
    if (backup.store)
        store_close(backup.store);
    if (backup.folder.path[0])
        disk_posix_close(&backup.folder.disk);
    ask_close(&backup.ask);
    return status;
}
