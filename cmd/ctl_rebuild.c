#include "cmd/ctl_rebuild.h"

#include "cmd/commands.h"
#include "cmd/crypto_sodium.h"
#include "cmd/say.h"
#include "core/chat/command.h"
#include "core/check.h"
#include "core/entry.h"
#include "core/raft/raft.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { BATCH_BYTES = LIMIT_FLUSH_BYTES };

struct building {
    struct rebuild *rebuild;
    struct ctl_folder from_folder;
    struct ctl_folder to_folder;
    struct store *from;
    struct store *to;
    struct store_recovery recovery; /* of the old folder */
    uint8_t identity[IDENTITY_BYTES];
    uint8_t cluster[IDENTITY_BYTES];

    struct raft_config config; /* the newest of the old log */
    uint64_t next;             /* index */
    uint64_t term;
    uint64_t time_us;
    uint8_t chain[HASH_BYTES];
    struct store_flush flush;
    size_t batch_len;
    uint32_t sizes[LIMIT_ENTRY_COMMANDS];
    uint64_t held; /* records taken over into the new held log */
    uint8_t read[2 * LIMIT_ENTRY_BYTES];
    uint8_t batch[BATCH_BYTES + LIMIT_ENTRY_BYTES];
};

/* --- the new log --------------------------------------------------------------------------------
 */

static int flush_batch(struct building *building)
{
    struct store_flush *flush = &building->flush;
    flush->number++;
    flush->entries[0] = (struct slice) { building->batch, building->batch_len };
    enum ft_error error = store_flush(building->to, flush);
    *flush = (struct store_flush) { .number = flush->number };
    building->batch_len = 0;
    if (!error)
        return EXIT_DONE;
    return say_error(EXIT_FAILED, building->rebuild->command, "%s: %s", building->to_folder.path,
                     error == FT_ERROR_SPACE ? "no space is left (it needs as much as the old log)"
                                             : "cannot be written");
}

static int append(struct building *building, const struct entry_draft *draft)
{
    uint8_t *data = building->batch + building->batch_len;
    size_t room = sizeof building->batch - building->batch_len;
    size_t size =
        entry_build(data, room, draft, &crypto_sodium, building->cluster, building->chain);
    CHECK(size > 0);
    entry_set_local(data, building->flush.number + 1, (uint32_t)building->batch_len,
                    building->rebuild->commit, &crypto_sodium, building->cluster);
    memcpy(building->chain, data + ENTRY_AT_CHAIN, HASH_BYTES);
    building->batch_len += size;
    building->next = draft->first + draft->count;
    building->term = draft->term;
    building->time_us = draft->time_us;
    return building->batch_len < BATCH_BYTES ? EXIT_DONE : flush_batch(building);
}

static int copy_entry(struct building *building, const struct entry *entry)
{
    struct slice first = entry_body(entry, 0);
    if (entry->kind == ENTRY_CONFIG)
        (void)raft_config_decode(&building->config, first.data, first.len);
    for (uint32_t i = 0; i < entry->count; i++)
        building->sizes[i] = bytes_get_u32(entry->heads + i * ENTRY_HEAD_BYTES);
    struct entry_draft draft = { .kind = entry->kind,
                                 .first = entry->first,
                                 .term = entry->term,
                                 .time_us = entry->time_us,
                                 .count = entry->count,
                                 .sizes = building->sizes,
                                 .bodies = entry->bodies };
    return append(building, &draft);
}

static int unreadable(const struct building *building)
{
    return say_error(EXIT_CORRUPT, building->rebuild->command,
                     "%s: the log cannot be read at index %llu (see ftchat ctl verify)",
                     building->rebuild->source, (unsigned long long)building->next);
}

static int copy_log(struct building *building)
{
    while (building->next <= building->recovery.last_index) {
        size_t len;
        if (store_read_entries(building->from, building->next, building->read,
                               sizeof building->read, &len) ||
            !len)
            return unreadable(building);
        for (size_t at = 0; at < len;) {
            struct entry entry;
            if (entry_parse(&entry, &crypto_sodium, NULL, building->read + at, len - at) !=
                    ENTRY_WHOLE ||
                entry.first != building->next)
                return unreadable(building);
            int status = copy_entry(building, &entry);
            if (status)
                return status;
            at += entry.size;
        }
    }
    return EXIT_DONE;
}

static int append_one(struct building *building, enum entry_kind kind, const uint8_t *body,
                      size_t len)
{
    uint32_t size = (uint32_t)len;
    CHECK(size > 0);
    struct entry_draft draft = { .kind = kind,
                                 .first = building->next,
                                 .term = building->term,
                                 .time_us = building->time_us,
                                 .count = 1,
                                 .sizes = &size,
                                 .bodies = body };
    return append(building, &draft);
}

/* The seats stay, but for this node's they are vacant: blank nodes take them. */
static struct raft_config seats_of(const struct building *building)
{
    struct raft_config config = building->config;
    uint8_t slot = building->rebuild->slot;
    unsigned at = 0;
    while (at < config.count && config.members[at].slot != slot)
        at++;
    if (at == config.count) {
        CHECK(config.count < LIMIT_NODES);
        config.members[config.count++] = (struct raft_member) { .slot = slot };
    }
    for (unsigned i = 0; i < config.count; i++) {
        struct raft_member *member = &config.members[i];
        member->voter = i == at;
        member->vacant = i != at;
    }
    memcpy(config.members[at].identity, building->identity, IDENTITY_BYTES);
    return config;
}

/* What makes it another cluster: whose history it was, and that this node alone votes now. */
static int begin_anew(struct building *building)
{
    uint8_t body[2048];
    const struct store_recovery *old = &building->recovery;
    building->term = (building->term > old->term ? building->term : old->term) + 1;
    struct command restored = { .kind = COMMAND_RESTORED,
                                .cluster = old->cluster,
                                .shared_index = building->rebuild->commit };
    int status =
        append_one(building, ENTRY_COMMANDS, body, command_encode(&restored, body, sizeof body));
    if (status)
        return status;
    struct raft_config config = seats_of(building);
    status =
        append_one(building, ENTRY_CONFIG, body, raft_config_encode(&config, body, sizeof body));
    if (status)
        return status;
    building->flush.save_vote = true;
    building->flush.term = building->term;
    return flush_batch(building);
}

/* --- what was held -------------------------------------------------------------------------------
 */

/* One append's worth of records: their bodies one after the other in `batch`. */
static int hold(struct building *building, uint32_t count, size_t len)
{
    static const uint8_t no_chain[HASH_BYTES];
    struct entry_draft draft = { .kind = ENTRY_COMMANDS,
                                 .first = building->held + 1,
                                 .time_us = building->time_us,
                                 .count = count,
                                 .sizes = building->sizes,
                                 .bodies = building->batch };
    size_t size = entry_build(building->read, LIMIT_HOLD_BYTES, &draft, &crypto_sodium,
                              building->cluster, no_chain);
    CHECK(size > 0 && len < size);
    struct store_hold hold = { .number = building->held + 1, .entry = { building->read, size } };
    entry_set_local(building->read, hold.number, 0, building->rebuild->commit, &crypto_sodium,
                    building->cluster);
    building->held += count;
    enum ft_error error = store_hold(building->to, &hold);
    return error ? say_error(EXIT_FAILED, building->rebuild->command, "%s: %s",
                             building->to_folder.path,
                             error == FT_ERROR_SPACE ? "no space is left" : "cannot be written")
                 : EXIT_DONE;
}

/* Devices and what is consumed of their commands are in the log: under the new cluster, too, each ends once. */
static int take_over_held(struct building *building)
{
    struct slice records = building->recovery.held.records;
    struct reader reader = reader_of(records.data, records.len);
    uint32_t count = 0;
    size_t len = 0;
    while (reader_left(&reader)) {
        struct slice body = read_slice32(&reader);
        CHECK(!reader.bad && body.len);
        uint64_t size = entry_size(count + 1, len + body.len);
        if (count == LIMIT_ENTRY_COMMANDS || size > LIMIT_HOLD_BYTES) {
            int status = hold(building, count, len);
            if (status)
                return status;
            count = 0;
            len = 0;
        }
        memcpy(building->batch + len, body.data, body.len);
        len += body.len;
        building->sizes[count++] = (uint32_t)body.len;
    }
    return count ? hold(building, count, len) : EXIT_DONE;
}

/* --- the folders --------------------------------------------------------------------------------
 */

static int open_source(struct building *building)
{
    struct rebuild *rebuild = building->rebuild;
    char why[256];
    int status = ctl_folder_open_path(&building->from_folder, rebuild->command, rebuild->source);
    if (status)
        return status;
    struct store_options options = { .disk = &building->from_folder.disk,
                                     .crypto = &crypto_sodium,
                                     .segment_bytes = 1 << 20, /* not used: it is not blank */
                                     .backup = rebuild->from_backup };
    randombytes_buf(options.fresh_identity, sizeof options.fresh_identity);
    struct stat info;
    char identity[PATH_MAX + 16];
    snprintf(identity, sizeof identity, "%s/identity", rebuild->source);
    if (stat(identity, &info) != 0)
        return say_error(EXIT_FAILED, rebuild->command, "%s: is no %s (no identity in it)",
                         rebuild->source, rebuild->from_backup ? "backup" : "node's folder");
    enum ft_error error =
        store_open(&building->from, &options, &building->recovery, why, sizeof why);
    if (error == FT_ERROR_LOCKED)
        return say_error(EXIT_FAILED, rebuild->command, "%s: is in use (stop node %u first)",
                         rebuild->source, rebuild->slot);
    if (error)
        return say_error(error == FT_ERROR_CORRUPT ? EXIT_CORRUPT : EXIT_FAILED, rebuild->command,
                         "%s: %s", rebuild->source, why);
    if (building->recovery.leftover) /* half a log is never taken for a whole one */
        return say_error(EXIT_CORRUPT, rebuild->command,
                         "%s: %s (see ftchat ctl verify; try another %s)", rebuild->source,
                         building->recovery.damage,
                         rebuild->from_backup ? "backup" : "node's folder");
    rebuild->last = building->recovery.last_index;
    rebuild->commit = rebuild->from_backup ? rebuild->last : building->recovery.commit;
    if (rebuild->commit > rebuild->last)
        rebuild->commit = rebuild->last;
    if (!rebuild->last)
        return say_error(EXIT_FAILED, rebuild->command,
                         "%s: holds no log (it never was in a "
                         "cluster)",
                         rebuild->source);
    return EXIT_DONE;
}

/* The old log has lost its beginning: the new one begins behind the same checkpoint, which keeps its chain and is hashed
 * for the new cluster. The new store is closed afterwards. */
static int take_over_base(struct building *building)
{
    const struct rebuild *rebuild = building->rebuild;
    struct store_base base;
    uint8_t *file;
    if (store_base_read(building->from, &base, &file))
        return say_error(
            EXIT_CORRUPT, rebuild->command,
            "%s: the checkpoint that its log begins with cannot be read (see ftchat ctl verify)",
            rebuild->source);
    struct reader reader = reader_of(base.state.data, base.state.len);
    bool good = raft_checkpoint_read(read_slice32(&reader), &building->config, &building->term,
                                     &building->time_us) &&
                !reader.bad;
    enum ft_error error =
        good ? store_base_write(building->to, building->cluster, &base) : FT_ERROR_CORRUPT;
    free(file);
    store_close(building->to);
    building->to = NULL;
    if (error)
        return say_error(good ? EXIT_FAILED : EXIT_CORRUPT, rebuild->command, "%s: %s",
                         good ? building->to_folder.path : rebuild->source,
                         error == FT_ERROR_SPACE ? "no space is left"
                         : good                  ? "cannot be written"
                                                 : "its checkpoint is of another version");
    memcpy(building->chain, base.chain, HASH_BYTES);
    building->next = base.index + 1;
    return EXIT_DONE;
}

static int open_target(struct building *building)
{
    const struct rebuild *rebuild = building->rebuild;
    char path[PATH_MAX + 8];
    char why[256];
    snprintf(path, sizeof path, "%s.new", rebuild->target);
    int status = ctl_folder_remove(rebuild->command, path);
    if (status)
        return status;
    if (mkdir(path, 0700) != 0)
        return say_error(EXIT_FAILED, rebuild->command, "%s: cannot be made: %s", path,
                         strerror(errno));
    status = ctl_folder_open_path(&building->to_folder, rebuild->command, path);
    if (status)
        return status;
    struct store_options options = { .disk = &building->to_folder.disk,
                                     .crypto = &crypto_sodium,
                                     .segment_bytes = building->recovery.segment_bytes };
    randombytes_buf(building->identity, sizeof building->identity);
    randombytes_buf(building->cluster, sizeof building->cluster);
    memcpy(options.fresh_identity, building->identity, IDENTITY_BYTES);
    struct store_recovery blank;
    if (store_open(&building->to, &options, &blank, why, sizeof why))
        return say_error(EXIT_FAILED, rebuild->command, "%s: %s", path, why);
    building->flush.save_cluster = true;
    memcpy(building->flush.cluster, building->cluster, IDENTITY_BYTES);
    building->next = 1;
    if (building->recovery.first_index == 1)
        return EXIT_DONE;
    status = take_over_base(building);
    if (!status && store_open(&building->to, &options, &blank, why, sizeof why))
        status = say_error(EXIT_FAILED, rebuild->command, "%s: %s", path, why);
    return status;
}

int rebuild_folder(struct rebuild *rebuild)
{
    struct building *building = calloc(1, sizeof *building);
    if (!building)
        return say_error(EXIT_FAILED, rebuild->command, "no memory");
    building->rebuild = rebuild;
    int status = open_source(building);
    if (!status)
        status = open_target(building);
    if (!status)
        status = copy_log(building);
    if (!status)
        status = begin_anew(building);
    if (!status)
        status = take_over_held(building);
    rebuild->held = building->held;
    if (building->from)
        store_close(building->from);
    if (building->to)
        store_close(building->to);
    if (!status)
        status = ctl_folder_prove(&building->to_folder, rebuild->command);
    if (building->from_folder.path[0])
        disk_posix_close(&building->from_folder.disk);
    if (building->to_folder.path[0])
        disk_posix_close(&building->to_folder.disk);
    free(building);
    return status;
}
