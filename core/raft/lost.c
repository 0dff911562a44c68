/* A node that lost a part of its log to rot: what it must not do, and when it may again.
 *
 * What was acknowledged here and cannot be read is neither present nor absent. It may have been
 * committed with this node's help, so this node must not help to elect a leader without it: its
 * vote goes only to a log that is as good as its own was (lost_term, lost_last), and it does not
 * campaign. That ends when a leader has made up for it. The leader of a term not below this node's
 * has everything that was committed before its election, and, if this node followed it before,
 * everything that this node acknowledged to it. So when it says in an append that it has nothing
 * beyond (APPEND_IS_ALL), and all up to there is durable here, nothing can be missing.
 *
 * Or it ends when all of it was found again (mend.c): an entry of lost_term at lost_last is the one
 * that was there, and so is everything before it.
 *
 * What is left of the lost part on disk stays there until such a leader is heard; then it is
 * truncated before the next entry is written, and the vote's record keeps what is owed. */
#include "core/raft/state.h"

bool raft_lost_allows(const struct raft *raft, const struct raft_vote_request *request)
{
    if (raft->lost_last == 0)
        return true;
    if (raft->lost_last == UINT64_MAX)
        return false;
    if (request->last_term != raft->lost_term)
        return request->last_term > raft->lost_term;
    return request->last_index >= raft->lost_last;
}

void raft_lost_found(struct raft *raft)
{
    if (raft->lost_last == 0 || raft->lost_last > raft->log.last ||
        raft_log_term(&raft->log, raft->lost_last) != raft->lost_term)
        return;
    raft->lost_last = raft->lost_term = 0;
    raft->save_vote = true;
}

void raft_lost_wait(struct raft *raft, uint64_t until_us)
{
    raft->lost_wait_us = until_us;
}

bool raft_lost_waits(const struct raft *raft)
{
    return raft->leftover_from && !raft->leftover_goes && raft->now_us < raft->lost_wait_us;
}

void raft_lost_heard(struct raft *raft, uint64_t end, bool all)
{
    CHECK(raft->role == RAFT_FOLLOWER);
    if (raft->lost_last == 0)
        return;
    raft->leftover_goes = raft->leftover_from != 0;
    CHECK(!all || raft->verified >= end);
    if (all && raft->lost_until == 0)
        raft->lost_until = end;
    raft_lost_flushed(raft);
}

void raft_lost_flushed(struct raft *raft)
{
    if (raft->lost_last == 0 || raft->leftover_from || raft->lost_until == 0 ||
        raft->durable < raft->lost_until)
        return;
    raft->lost_last = raft->lost_term = raft->lost_until = 0;
    raft->save_vote = true; /* nothing is owed any more; votes wait for this flush as for any */
}
