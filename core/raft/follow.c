/* A follower's side of replication (thesis 3.5): the consistency check, appending, truncating what
 * another leader left, acknowledging.
 *
 * `verified` is how far the own log is known to equal this term's leader's. What is acknowledged as
 * durable is min(durable, verified): a tail of an earlier term may be durable and wrong. */
#include "core/raft/state.h"

void raft_acknowledge(struct raft *raft, bool at_once, struct now now, const struct effects *out)
{
    raft->ack_pending = false;
    if (raft->leader == 0 || !raft_cluster_durable(raft))
        return;
    CHECK(raft->role == RAFT_FOLLOWER);
    CHECK(raft->leader != raft->options.slot);
    CHECK(raft->log.bytes_capacity <= UINT32_MAX);
    uint64_t match = raft->durable < raft->verified ? raft->durable : raft->verified;
    uint64_t room = raft_lost_waits(raft) ? 0 : raft_log_free(&raft->log, raft_forgettable(raft));
    struct raft_message message = {
        .kind = RAFT_APPEND_REPLY,
        .term = raft->term,
        .append_reply = {
            .flags = (uint8_t)((at_once ? REPLY_AT_ONCE : 0) |
                               (raft_disk_short(raft) ? REPLY_DISK_FULL : 0) |
                               (raft->copying ? REPLY_COPYING : 0) |
                               (raft->lost_last ? REPLY_LOST : 0)),
            .session = raft->append_session,
            .round = raft->append_round,
            .sent_us = raft->append_sent_us,
            .match = match,
            .accepted = raft->verified,
            .wall_us = now.wall_us,
            .room = (uint32_t)room,
            .flush_us = raft_flush_report(raft),
        },
    };
    raft_send(raft, raft->leader, &message, (struct slice) { NULL, 0 }, out);
}

/* The logs part at or before prev_index: says the last index here whose term is not above prev's,
 * so that a whole term is stepped over at a time. */
static void reject(struct raft *raft, uint8_t slot, const struct raft_append *append,
                   struct now now, const struct effects *out)
{
    uint64_t hint = raft_log_last_of_term(&raft->log, append->prev_term);
    if (hint > append->prev_index)
        hint = append->prev_index;
    if (hint < raft->commit && raft->commit <= append->prev_index)
        hint = raft->commit; /* committed is the same everywhere */
    uint64_t room = raft_log_free(&raft->log, raft_forgettable(raft));
    uint64_t match = raft->durable < raft->verified ? raft->durable : raft->verified;
    CHECK(hint <= append->prev_index);
    CHECK(hint <= raft->log.last);
    CHECK(raft->log.bytes_capacity <= UINT32_MAX);
    if (!raft_cluster_durable(raft))
        return;
    struct raft_message message = {
        .kind = RAFT_APPEND_REPLY,
        .term = raft->term,
        .append_reply = {
            .flags = (uint8_t)(REPLY_REJECTED | REPLY_AT_ONCE |
                               (raft_disk_short(raft) ? REPLY_DISK_FULL : 0) |
                               (raft->copying ? REPLY_COPYING : 0) |
                               (raft->lost_last ? REPLY_LOST : 0)),
            .session = append->session,
            .round = append->round,
            .sent_us = append->sent_us,
            .match = match,
            .accepted = raft->verified,
            .rejected = append->prev_index,
            .conflict_index = hint,
            .conflict_term = raft_log_term(&raft->log, hint),
            .wall_us = now.wall_us,
            .room = (uint32_t)room,
            .flush_us = raft_flush_report(raft),
        },
    };
    raft_send(raft, slot, &message, (struct slice) { NULL, 0 }, out);
}

static bool config_well_formed(const struct entry *entry)
{
    struct raft_config config;
    if (entry->kind != ENTRY_CONFIG)
        return true;
    struct slice body = entry_body(entry, 0);
    return raft_config_decode(&config, body.data, body.len);
}

enum appended { APPENDED, APPEND_FULL, APPEND_MALFORMED };

/* One entry that follows the log's end. */
static enum appended append_entry(struct raft *raft, const uint8_t *data, const struct entry *entry)
{
    CHECK(entry->first == raft->log.last + 1);
    if (entry->term < raft->log.last_term || !config_well_formed(entry))
        return APPEND_MALFORMED;
    if (!entry_verify(entry, raft->options.crypto, raft->cluster, raft->log.last_chain, data, NULL))
        return APPEND_MALFORMED;
    uint8_t *room = raft_log_room(&raft->log, entry->size, raft_forgettable(raft), false);
    if (!room)
        return APPEND_FULL;
    memcpy(room, data, entry->size);
    raft_log_push(&raft->log, entry);
    if (entry->kind == ENTRY_CONFIG)
        raft_config_appended(raft, entry);
    CHECK(raft->log.last == entry->first + entry->count - 1);
    return APPENDED;
}

/* The entries of an append whose prev_index is the same here. */
static enum appended append_entries(struct raft *raft, const struct raft_message *message,
                                    uint64_t *end, const struct effects *out)
{
    const uint8_t *data = message->append.entries.data;
    size_t left = message->append.entries.len;
    uint64_t at = message->append.prev_index;
    *end = at;
    while (left) {
        struct entry entry;
        if (entry_parse(&entry, raft->options.crypto, NULL, data, left) != ENTRY_WHOLE)
            return APPEND_MALFORMED;
        if (entry.first != at + 1 || entry.term == 0 || entry.term > message->term)
            return APPEND_MALFORMED;
        uint64_t last = entry.first + entry.count - 1;
        bool have = last <= raft->commit ||
                    (last <= raft->log.last && raft_log_term(&raft->log, last) == entry.term);
        if (!have) {
            if (entry.first <= raft->log.last) {
                if (at < raft->commit || at < raft->log.base) {
                    raft_halt(raft, "the leader contradicts what is committed here", out);
                    return APPEND_FULL;
                }
                raft_truncate(raft, at);
            }
            enum appended done = append_entry(raft, data, &entry);
            if (done != APPENDED)
                return done;
        }
        at = *end = last;
        if (raft->verified < at)
            raft->verified = at < raft->log.last ? at : raft->log.last;
        data += entry.size;
        left -= entry.size;
    }
    return APPENDED;
}

/* prev_index is in the log with the same term. */
static bool follows(const struct raft *raft, const struct raft_append *append)
{
    if (append->prev_index > raft->log.last)
        return false;
    if (append->prev_index <= raft->commit)
        return true; /* leader completeness */
    return raft_log_term(&raft->log, append->prev_index) == append->prev_term;
}

static void heard_from_leader(struct raft *raft, uint8_t slot, const struct raft_message *message,
                              struct now now)
{
    const struct raft_append *append = &message->append;
    if (message->term > raft->term || raft->role != RAFT_FOLLOWER)
        raft_become_follower(raft, message->term, slot, now);
    raft_set_leader(raft, slot, now);
    raft->leader_full = append->flags & APPEND_DISK_FULL;
    if (append->commit > raft->told_commit)
        raft->told_commit = append->commit;
    raft->leader_heard_us = now.mono_us;
    raft->campaign_at_us = 0;
    raft->retries = 0;
    uint32_t most = raft->options.election_max_us;
    raft->leader_heartbeat_us = append->heartbeat_us < most ? append->heartbeat_us : most;
    raft->leader_timeout_us = append->timeout_us < most ? append->timeout_us : most;
    raft_reset_election(raft, now);
    CHECK(raft->role == RAFT_FOLLOWER);
    CHECK(raft->leader == slot);
}

bool raft_on_append(struct raft *raft, uint8_t slot, const struct raft_message *message,
                    struct now now, const struct effects *out)
{
    const struct raft_append *append = &message->append;
    CHECK(message->kind == RAFT_APPEND);
    if (raft_is_blank(raft))
        return true; /* belongs nowhere yet */
    if (message->term < raft->term) {
        reject(raft, slot, append, now, out);
        return true;
    }
    bool another = raft->leader && raft->leader != slot;
    if (message->term == raft->term && (raft->role == RAFT_LEADER || another))
        return false; /* two leaders of one term: one of them lies */
    heard_from_leader(raft, slot, message, now);
    if (!follows(raft, append)) {
        reject(raft, slot, append, now, out);
        return true;
    }
    const uint8_t *chain = raft_log_chain(&raft->log, append->prev_index);
    if (append->chain && chain && memcmp(chain, append->chain, HASH_BYTES) != 0) {
        raft_halt(raft, "the same index and term hold another history than the leader's", out);
        return true;
    }
    if (raft->verified < append->prev_index)
        raft->verified = append->prev_index;
    if (raft_lost_waits(raft)) {
        raft->append_session = append->session;
        raft->append_round = append->round;
        raft->append_sent_us = append->sent_us;
        raft_acknowledge(raft, true, now, out);
        return true;
    }
    uint64_t end;
    enum appended done = append_entries(raft, message, &end, out);
    if (raft->halted)
        return true;
    raft_lost_heard(raft, end, done == APPENDED && append->flags & APPEND_IS_ALL);
    uint64_t commit = append->commit < raft->verified ? append->commit : raft->verified;
    if (commit > raft->commit)
        raft->commit = commit;
    raft->append_session = append->session;
    raft->append_round = append->round;
    raft->append_sent_us = append->sent_us;
    raft->copy_advised = append->flags & APPEND_COPY;
    bool news = append->entries.len > 0;
    if (append->flags & APPEND_WANTS_REPLY || done == APPEND_FULL ||
        (news && raft->durable >= raft->verified))
        raft_acknowledge(raft, true, now, out);
    if (raft->durable < raft->verified)
        raft->ack_pending = true;
    return done != APPEND_MALFORMED;
}
