/* What rafts say to each other, inside a secure channel between members of one cluster.
 *
 * One byte PEER_RAFT, one byte of kind, then the fields in the order of the structs below,
 * little-endian; flags are one byte. An append's entries follow its head, whole and consecutive.
 * Everything is checked for form here and for sense where it is used; decoded pointers are borrowed
 * from the message. Terms, indexes and times are as in Ongaro's figure 3.1; what is added: the
 * session (a number for one leadership over one link: a late reply of another session does not
 * count), the round and the leader's send time, both echoed (ReadIndex, check-quorum, round trip),
 * the chain at prev_index, and the follower's clock and free room. */
#ifndef FTCHAT_CORE_RAFT_MESSAGE_H
#define FTCHAT_CORE_RAFT_MESSAGE_H

#include "core/bytes.h"
#include "core/crypto.h"
#include "core/limits.h"

enum { PEER_RAFT = 1 };

enum raft_message_kind {
    RAFT_APPEND = 1,
    RAFT_APPEND_REPLY = 2,
    RAFT_VOTE_REQUEST = 3,
    RAFT_VOTE_REPLY = 4,
    RAFT_TIMEOUT_NOW = 5,
};

enum { RAFT_HEAD_BYTES = 160 }; /* no head is longer, PEER_RAFT included */

enum {
    APPEND_WANTS_REPLY = 1,
    APPEND_HAS_CHAIN = 2,
    APPEND_DISK_FULL = 4, /* the leader takes no commands: its disk is full */
    APPEND_COPY = 8,    /* far behind, or what is wanted next is gone here: copy segments instead */
    APPEND_IS_ALL = 16, /* the leader had nothing beyond prev_index and these entries */
};
struct raft_append {
    uint8_t flags;
    uint64_t session;
    uint64_t round;
    uint64_t sent_us; /* the leader's monotonic clock */
    uint64_t prev_index;
    uint64_t prev_term;
    uint64_t commit;
    uint32_t heartbeat_us;
    uint32_t timeout_us;  /* the leader's election time-out: the floor of everybody's */
    const uint8_t *chain; /* at prev_index; NULL without APPEND_HAS_CHAIN */
    struct slice entries;
};

enum {
    REPLY_REJECTED = 1,
    REPLY_AT_ONCE = 2, /* no flush lies between append and reply: a round trip */
    REPLY_DISK_FULL = 4,
    REPLY_COPYING = 8, /* segments are being copied: no entries until that is over */
    REPLY_LOST = 16, /* it once had more, and lost it: what it acknowledged before does not count */
};
struct raft_append_reply {
    uint8_t flags;
    uint64_t session;
    uint64_t round;
    uint64_t sent_us;
    uint64_t match;    /* durable here and the same as the leader's */
    uint64_t accepted; /* the same as the leader's, perhaps not durable yet */
    uint64_t rejected; /* the prev_index that is not the same here */
    uint64_t conflict_index;
    uint64_t conflict_term;
    uint64_t wall_us;
    uint32_t room;     /* bytes of entries that can be taken now */
    uint32_t flush_us; /* how long a flush takes here, or the one that is out has taken */
};

enum { VOTE_PRE = 1, VOTE_TRANSFER = 2 };
struct raft_vote_request {
    uint8_t flags;
    uint64_t last_index;
    uint64_t last_term;
    uint64_t sent_us;
};

enum { VOTE_GRANTED = 2 }; /* beside VOTE_PRE */
struct raft_vote_reply {
    uint8_t flags;
    uint64_t asked_term; /* of the request */
    uint64_t sent_us;
    uint8_t leader; /* slot; 0: none known */
    uint32_t flush_us;
};

struct raft_message {
    enum raft_message_kind kind;
    uint64_t term; /* of the sender; in a pre-vote request the term it would campaign in */
    union {
        struct raft_append append;
        struct raft_append_reply append_reply;
        struct raft_vote_request vote_request;
        struct raft_vote_reply vote_reply;
    };
};

/* Writes the head, PEER_RAFT first; the entries of an append go as another part. Bytes written. */
size_t raft_message_encode(const struct raft_message *message, uint8_t *out, size_t capacity);
/* `data`: the bytes after PEER_RAFT. false: malformed. */
bool raft_message_decode(struct raft_message *message, struct slice data);

#endif
