#include "core/client/client_seen.h"

#include "core/check.h"

#include <string.h>

bool seen_note(struct client_seen *seen, uint64_t tag, uint64_t seq)
{
    CHECK(seq > 0);
    struct client_sender *set = seen->senders[tag % CLIENT_SENDERS];
    unsigned at = 0;
    while (at < CLIENT_SENDER_WAYS - 1 && set[at].seq && set[at].tag != tag)
        at++;
    struct client_sender sender = set[at];
    bool pushed_out = sender.seq && sender.tag != tag;
    if (!sender.seq || sender.tag != tag)
        sender = (struct client_sender) { .tag = tag };
    if (seq > sender.seq)
        sender.seq = seq;
    memmove(set + 1, set, at * sizeof *set);
    set[0] = sender;
    return pushed_out;
}

bool seen_ended(const struct client_seen *seen, uint64_t tag, uint64_t seq, uint64_t applied)
{
    const struct client_sender *set = seen->senders[tag % CLIENT_SENDERS];
    for (unsigned i = 0; i < CLIENT_SENDER_WAYS; i++)
        if (set[i].seq && set[i].tag == tag)
            return seq <= set[i].seq;
    return applied < seen->forgot;
}
