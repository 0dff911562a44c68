/* How far a client knows each device's commands to have ended: as a message that it was shown, as a retract, or as an
 * ack of its own. A device's commands end in the order of their seqs, so one seq a device says it all.
 *
 * It outlives the process (client_recovered), for what a node holds it may hold for days: the node
 * that is left alone knows less than its clients have seen, and must show what it holds all the same.
 *
 * The table is bounded. `forgot` says what that costs: what ended up to this index may not be in it. */
#ifndef FTCHAT_CORE_CLIENT_CLIENT_SEEN_H
#define FTCHAT_CORE_CLIENT_CLIENT_SEEN_H

#include <stdbool.h>
#include <stdint.h>

enum { CLIENT_SENDERS = 1024, CLIENT_SENDER_WAYS = 4 };

struct client_sender {
    uint64_t tag; /* the device's (command.h) */
    uint64_t seq; /* this one has ended, and all before it; 0: a free place */
};

struct client_seen {
    uint64_t forgot;
    struct client_sender senders[CLIENT_SENDERS][CLIENT_SENDER_WAYS]; /* most recent first */
};

/* Its command of this seq has ended. True: another device had to make room. */
bool seen_note(struct client_seen *seen, uint64_t tag, uint64_t seq);
/* Is it, or may it be, that this one was seen to end, on a node that has applied `applied`? */
bool seen_ended(const struct client_seen *seen, uint64_t tag, uint64_t seq, uint64_t applied);

#endif
