/* What a checkpoint keeps of raft: the configuration, the chain and the log time at its index, and
 * where the leaderships up to there began. Recovery: the checkpoint first, then the entries after
 * it, then raft_start.
 *
 *   version u8 (2), index u64, time u64, chain[32], configuration index u64,
 *   configuration string16, count u32, { first u64, term u64 } each, rising */
#include "core/raft/state.h"

enum { CHECKPOINT_VERSION = 2, START_BYTES = 16 };

void raft_config_applied(struct raft *raft, const struct entry *entry)
{
    CHECK(entry->kind == ENTRY_CONFIG);
    CHECK(entry->first > raft->at_applied.index);
    struct slice body = entry_body(entry, 0);
    bool good = raft_config_decode(&raft->at_applied, body.data, body.len);
    CHECK(good);
    raft->at_applied.index = entry->first;
}

size_t raft_checkpoint(const struct raft *raft, const struct entry *last, uint8_t *out,
                       size_t capacity)
{
    const struct raft_log *log = &raft->log;
    const struct raft_config *config = &raft->at_applied;
    uint64_t index = last->first + last->count - 1;
    CHECK(index <= raft->commit);
    CHECK(config->index <= index);
    uint8_t members[RAFT_CONFIG_BYTES];
    size_t members_len = raft_config_encode(config, members, sizeof members);
    CHECK(members_len > 0);
    struct writer writer = writer_of(out, capacity);
    write_u8(&writer, CHECKPOINT_VERSION);
    write_u64(&writer, index);
    write_u64(&writer, last->time_us);
    write_copy(&writer, last->chain, HASH_BYTES);
    write_u64(&writer, config->index);
    write_slice16(&writer, members, members_len);
    uint32_t end = 0;
    while (end < log->starts_count && log->starts[end].first <= index)
        end++;
    CHECK(end > 0);
    if (writer.full || capacity - writer_used(&writer) < 4 + START_BYTES)
        return 0;
    size_t fits = (capacity - writer_used(&writer) - 4) / START_BYTES;
    uint32_t begin = end > fits ? end - (uint32_t)fits : 0; /* the newest matter most */
    write_u32(&writer, end - begin);
    for (uint32_t i = begin; i < end; i++) {
        write_u64(&writer, log->starts[i].first);
        write_u64(&writer, log->starts[i].term);
    }
    CHECK(!writer.full);
    return writer_used(&writer);
}

struct checkpoint_head {
    uint64_t index;
    uint64_t time_us;
    uint8_t chain[HASH_BYTES];
    struct raft_config config;
    uint32_t count; /* of the term starts that follow */
};

static bool read_head(struct reader *reader, struct checkpoint_head *head)
{
    uint8_t version = read_u8(reader);
    head->index = read_u64(reader);
    head->time_us = read_u64(reader);
    read_copy(reader, head->chain, HASH_BYTES);
    uint64_t config_index = read_u64(reader);
    struct slice members = read_slice16(reader);
    head->count = read_u32(reader);
    if (reader->bad || version != CHECKPOINT_VERSION || config_index > head->index)
        return false;
    if (!raft_config_decode(&head->config, members.data, members.len))
        return false;
    head->config.index = config_index;
    return head->count > 0 && head->count <= LIMIT_LOG_TERMS &&
           reader_left(reader) == head->count * START_BYTES;
}

static bool restore_checkpoint(struct raft *raft, uint64_t index, struct slice checkpoint)
{
    struct reader reader = reader_of(checkpoint.data, checkpoint.len);
    struct checkpoint_head head;
    if (!read_head(&reader, &head) || head.index != index)
        return false;
    raft->config = raft->previous = raft->at_applied = head.config;
    raft_links_changed(raft);
    raft_log_reset(&raft->log, index, head.time_us, head.chain);
    uint64_t before_first = 0, before_term = 0;
    for (uint32_t i = 0; i < head.count; i++) {
        uint64_t first = read_u64(&reader);
        uint64_t term = read_u64(&reader);
        if (first <= before_first || term <= before_term || first > index)
            return false;
        raft_log_add_start(&raft->log, first, term);
        before_first = first;
        before_term = term;
    }
    raft->log.last_term = before_term;
    return reader_finished(&reader);
}

bool raft_checkpoint_read(struct slice checkpoint, struct raft_config *config, uint64_t *term,
                          uint64_t *time_us)
{
    struct reader reader = reader_of(checkpoint.data, checkpoint.len);
    struct checkpoint_head head;
    if (!read_head(&reader, &head))
        return false;
    *config = head.config;
    *time_us = head.time_us;
    for (uint32_t i = 0; i < head.count; i++) {
        (void)read_u64(&reader);
        *term = read_u64(&reader);
    }
    return reader_finished(&reader);
}

bool raft_restore(struct raft *raft, const struct raft_recovery *recovery)
{
    CHECK(!raft->started);
    CHECK(raft->log.last == 0);
    memcpy(raft->cluster, recovery->cluster, IDENTITY_BYTES);
    raft->term = recovery->term;
    memcpy(raft->vote, recovery->vote, IDENTITY_BYTES);
    raft->lost_term = recovery->lost_term;
    raft->lost_last = recovery->lost_last;
    raft->ticket = recovery->flush;
    raft->checkpoint_index = recovery->checkpoint_index;
    if (recovery->checkpoint_index &&
        !restore_checkpoint(raft, recovery->checkpoint_index, recovery->checkpoint))
        return false;
    raft->durable = raft->disk_last = raft->log.last;
    raft->applied = recovery->checkpoint_index;
    raft->leftover_from = recovery->leftover; /* the index: raft_start */
    /* Until the entries are here; cut to the log's end by raft_start. */
    raft->commit = recovery->commit > recovery->checkpoint_index ? recovery->commit
                                                                 : recovery->checkpoint_index;
    return true;
}

bool raft_restore_entries(struct raft *raft, struct slice entries)
{
    struct raft_log *log = &raft->log;
    CHECK(!raft->started);
    while (entries.len) {
        struct entry entry;
        if (entry_parse(&entry, raft->options.crypto, NULL, entries.data, entries.len) !=
            ENTRY_WHOLE)
            return false;
        if (entry.first != log->last + 1 || entry.term < log->last_term || entry.term == 0)
            return false;
        if (!entry_verify(&entry, raft->options.crypto, raft->cluster, log->last_chain,
                          entries.data, NULL))
            return false;
        struct raft_config config;
        struct slice body = entry_body(&entry, 0);
        if (entry.kind == ENTRY_CONFIG && !raft_config_decode(&config, body.data, body.len))
            return false;
        uint8_t *room = raft_log_room(log, entry.size, raft->commit, false);
        if (!room) /* more than the memory that it was made in: the disk still has it */
            room = raft_log_room(log, entry.size, log->last, false);
        if (!room)
            return false;
        memcpy(room, entries.data, entry.size);
        raft_log_push(log, &entry);
        if (entry.kind == ENTRY_CONFIG)
            raft_config_appended(raft, &entry);
        entries.data += entry.size;
        entries.len -= entry.size;
    }
    raft->durable = raft->disk_last = log->last;
    return true;
}

void raft_start(struct raft *raft, struct now now, const struct effects *out)
{
    CHECK(!raft->started);
    CHECK(raft->role == RAFT_FOLLOWER);
    raft->started = true;
    raft->now_us = now.mono_us;
    raft->leader_since_us = now.mono_us;
    if (raft->commit > raft->log.last)
        raft->commit = raft->log.last;
    raft->verified = raft->commit;
    if (raft->leftover_from)
        raft->leftover_from = raft->log.last + 1;
    else
        raft_lost_found(raft);
    /* A log without an entry belongs to no cluster: forming or joining died between the identity and its first
     * entry. Nothing was acknowledged; the term and the vote stay. */
    if (raft->log.last == 0 && raft->lost_last == 0)
        memset(raft->cluster, 0, IDENTITY_BYTES);
    if (raft->log.last_term > raft->term) {
        /* A vote is saved before any entry of its term: none was given in this one. */
        raft->term = raft->log.last_term;
        memset(raft->vote, 0, IDENTITY_BYTES);
    }
    raft_reset_election(raft, now);
    if (raft_is_voter(raft) && raft_majority(raft) == 1)
        raft->election_at_us = now.mono_us; /* nobody else could lead */
    (void)out;
}
