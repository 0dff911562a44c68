/* ReadIndex (thesis 6.4): a read is good once a majority answered an append that was sent after it
 * was asked for, in this leadership. Rounds count such sendings and never start anew; a ticket dies
 * with the leadership that gave it (whoever holds one drops it when term or role change). */
#include "core/raft/state.h"

uint64_t raft_read(struct raft *raft, uint64_t *index)
{
    if (raft->role != RAFT_LEADER || raft->commit < raft->first_of_term)
        return 0;
    if (raft->round_used) {
        raft->round++;
        raft->round_used = false;
    }
    raft->read_wanted = raft->round;
    *index = raft->commit;
    CHECK(raft->round > 0);
    return raft->round;
}

uint64_t raft_read_confirmed(const struct raft *raft)
{
    if (raft->role != RAFT_LEADER)
        return 0;
    uint64_t confirmed = raft_quorum_round(raft);
    CHECK(confirmed <= raft->round);
    return confirmed;
}
