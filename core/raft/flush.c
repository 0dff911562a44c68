/* The one flush that is out: cluster, vote, truncation and entries, durable in this order, then the
 * promises that wait for it. What gathers meanwhile goes into the next (group commit).
 *
 * A full disk refuses a flush whole, before anything of it was written: entries need a segment that
 * cannot be made. They stay in memory and are tried again once a second; the vote and a truncation,
 * which are written in place, go without them at once, so that a node whose disk is full still
 * votes. */
#include "core/raft/state.h"

bool raft_cluster_durable(const struct raft *raft)
{
    return !raft->save_cluster && !(raft->flush_out && raft->flushing_cluster);
}

uint32_t raft_flush_time(const struct raft *raft)
{
    uint64_t out_us = raft->flush_out ? raft->now_us - raft->flush_began_us : 0;
    if (out_us <= raft->flush_us)
        return raft->flush_us;
    return out_us < UINT32_MAX ? (uint32_t)out_us : UINT32_MAX;
}

uint32_t raft_flush_report(const struct raft *raft)
{
    uint32_t time = raft_flush_time(raft);
    return time > raft->flush_last_us ? time : raft->flush_last_us;
}

bool raft_disk_short(const struct raft *raft)
{
    return raft->disk_full || raft->no_spare;
}

void raft_disk_space(struct raft *raft, bool space, struct now now)
{
    raft->now_us = now.mono_us;
    raft->no_spare = !space;
    if (space && raft->disk_full)
        raft->disk_retry_us = now.mono_us;
}

/* Fills in the local part of the entries of this flush, just before the log thread reads them. */
static void stamp_run(struct raft *raft, struct slice run, uint32_t *flush_at)
{
    size_t at = 0;
    while (at < run.len) {
        uint8_t *data = raft->log.bytes + (run.data - raft->log.bytes) + at;
        struct entry entry;
        enum entry_state state = entry_parse(&entry, NULL, NULL, data, run.len - at);
        CHECK(state == ENTRY_WHOLE);
        entry_set_local(data, raft->ticket, *flush_at, raft->commit, raft->options.crypto,
                        raft->cluster);
        at += entry.size;
        *flush_at += entry.size;
    }
    CHECK(at == run.len);
}

static void gather_entries(struct raft *raft, struct effect_flush *flush)
{
    uint64_t last = raft->durable;
    uint32_t flush_at = 0;
    size_t left = LIMIT_FLUSH_BYTES;
    for (int i = 0; i < 2; i++) {
        const struct raft_meta *next = raft_log_find(&raft->log, last + 1);
        if (!next || next->size > left)
            break;
        flush->entries[i] = raft_log_run(&raft->log, last, left, &last);
        left -= flush->entries[i].len;
        stamp_run(raft, flush->entries[i], &flush_at);
    }
    CHECK(last > raft->durable || raft->durable == raft->log.last);
    raft->flushing_last = raft->flushing_end = last;
}

void raft_flush_start(struct raft *raft, struct now now, const struct effects *out)
{
    bool waits = raft->disk_full && now.mono_us < raft->disk_retry_us;
    CHECK(raft->durable <= raft->log.last);
    if (raft->flush_out || (waits && raft->save_cluster))
        return;
    bool entries = !waits && raft->durable < raft->log.last;
    if (!raft->save_cluster && !raft->save_vote && !raft->truncate_from && !raft->leftover_goes &&
        !entries)
        return;
    struct effect effect = { .kind = EFFECT_FLUSH };
    struct effect_flush *flush = &effect.flush;
    flush->ticket = ++raft->ticket;
    flush->save_cluster = raft->flushing_cluster = raft->save_cluster;
    memcpy(flush->cluster, raft->cluster, IDENTITY_BYTES);
    flush->save_vote = raft->flushing_vote = raft->save_vote;
    flush->term = raft->term;
    memcpy(flush->vote, raft->vote, IDENTITY_BYTES);
    flush->lost_term = raft->lost_term;
    flush->lost_last = raft->lost_last;
    flush->truncate_from = raft->flushing_truncate = raft->truncate_from;
    raft->flushing_leftover = raft->leftover_goes;
    CHECK(!raft->leftover_from ||
          flush->truncate_from <= raft->leftover_from); /* nothing is behind it */
    if (raft->leftover_goes && !flush->truncate_from)
        flush->truncate_from = raft->leftover_from;
    raft->flushing_last = raft->flushing_end = raft->durable;
    raft->flushing_short = waits;
    if (entries)
        gather_entries(raft, flush);
    raft->save_cluster = raft->save_vote = false;
    raft->truncate_from = 0;
    raft->flush_out = true;
    raft->flush_began_us = now.mono_us;
    CHECK(raft->flushing_last >= raft->durable);
    effect_emit(out, &effect);
}

void raft_truncate(struct raft *raft, uint64_t last)
{
    CHECK(raft->role == RAFT_FOLLOWER);
    CHECK(last >= raft->commit);
    CHECK(last < raft->log.last);
    bool writing = raft->flush_out && raft->flushing_end > last;
    if (raft->disk_last > last || writing) {
        if (raft->truncate_from == 0 || raft->truncate_from > last + 1)
            raft->truncate_from = last + 1;
    }
    raft_log_truncate(&raft->log, last, raft->flush_out && raft->flushing_last > last);
    if (raft->durable > last)
        raft->durable = last;
    if (raft->flushing_last > last)
        raft->flushing_last = last; /* what it writes beyond is nothing any more */
    if (raft->verified > last)
        raft->verified = last;
    raft_config_truncated(raft, last);
}

static void flush_refused(struct raft *raft, struct now now)
{
    raft->save_vote |= raft->flushing_vote;
    raft->save_cluster |= raft->flushing_cluster;
    uint64_t from = raft->flushing_truncate;
    if (from && (raft->truncate_from == 0 || raft->truncate_from > from))
        raft->truncate_from = from;
    if (raft->truncate_from > raft->disk_last)
        raft->truncate_from = 0; /* what should go was never written */
    raft->disk_full = true;
    raft->disk_retry_us = now.mono_us + RAFT_DISK_RETRY_US;
    CHECK(raft->durable <= raft->log.last);
}

void raft_flushed(struct raft *raft, uint64_t ticket, enum raft_flush_result result, struct now now,
                  const struct effects *out)
{
    CHECK(raft->flush_out);
    CHECK(ticket == raft->ticket);
    raft->now_us = now.mono_us;
    raft->flush_out = false;
    raft_log_unpin(&raft->log);
    if (raft->halted)
        return;
    if (result == RAFT_FLUSH_NO_SPACE) {
        flush_refused(raft, now);
        return;
    }
    uint64_t took_us = now.mono_us - raft->flush_began_us;
    if (took_us)
        raft->flush_us = raft_smooth(raft->flush_us, took_us);
    raft->flush_last_us = took_us < UINT32_MAX ? (uint32_t)took_us : UINT32_MAX;
    if (!raft->flushing_short)
        raft->disk_full = false;
    bool entries = raft->flushing_last > raft->durable;
    CHECK(raft->flushing_last >= raft->durable);
    raft->durable = raft->flushing_last;
    raft->disk_last = raft->flushing_end;
    if (raft->flushing_leftover) {
        raft->leftover_from = 0;
        raft->leftover_goes = false;
    }
    raft_lost_flushed(raft);
    if (raft->flushing_cluster && raft_is_voter(raft) && raft_majority(raft) == 1)
        raft->election_at_us = now.mono_us; /* bootstrapped: nobody else could lead */
    if (raft->flushing_vote && !raft->save_vote)
        raft_vote_flushed(raft, now, out);
    if (raft->role == RAFT_LEADER)
        raft_advance_commit(raft);
    else if (raft->ack_pending && entries)
        raft_acknowledge(raft, false, now, out);
    if (raft->role == RAFT_FOLLOWER && raft->durable < raft->verified)
        raft->ack_pending = true;
}
