/* The messages of ftchat: what travels inside the secure channel, one type byte and then the fields
 * below.
 *
 * Three conversations: client and node, ctl and node, node and node (peer). Integers are
 * little-endian; string8 and string16 carry their length before them. encode functions return the
 * bytes written, 0 when it did not fit; decode functions trust nothing and return false on anything
 * malformed. Decoded slices and pointers are borrowed from the message. */
#ifndef FTCHAT_CORE_WIRE_H
#define FTCHAT_CORE_WIRE_H

#include "core/bytes.h"
#include "core/chat/code.h"
#include "core/crypto.h"
#include "core/limits.h"

/* Argon2id at enrolment; a client takes no less. */
enum { WIRE_ARGON_PASSES = 2, WIRE_ARGON_BYTES = 64 << 20 };
enum { WIRE_VERSION = 1, WIRE_SALT_BYTES = 16, WIRE_TOKEN_BYTES = 16 };

enum wire_type {
    /* Client to node. Before READY only SALT, ENROL, LOGIN are answered. */
    WIRE_SALT = 1,    /* name string8 -> SALT_IS */
    WIRE_ENROL = 2,   /* struct wire_enrol -> ENROLLED */
    WIRE_LOGIN = 3,   /* struct wire_login -> READY or REFUSED */
    WIRE_COMMAND = 4, /* a device command (chat/command.h) -> ANSWER, once applied; NACK on a gap */
    WIRE_QUERY = 5,   /* struct wire_query -> RESULT */
    WIRE_PING = 6,    /* token u64 -> PONG with the same */

    /* Node to client. */
    WIRE_SALT_IS = 32,  /* salt[16], passes u32, memory_bytes u64 */
    WIRE_ENROLLED = 33, /* code u8, device u32, index u64 */
    WIRE_READY = 34,    /* struct wire_ready */
    WIRE_REFUSED =
        35,           /* code u8: the login failed; UNAVAILABLE: this node is behind, try another */
    WIRE_ANSWER = 36, /* struct wire_answer */
    WIRE_NACK = 37,   /* expected u64: send again from this seq on */
    WIRE_RECORD = 38, /* struct wire_record: one message or room event, streamed */
    WIRE_SKIPPED = 39,   /* room string8, from u64, to u64 (seq) */
    WIRE_TRUNCATED = 48, /* likewise: not kept any more */
    WIRE_RESULT = 40,    /* struct wire_result and its rows */
    WIRE_CLUSTER = 41,   /* struct wire_cluster */
    WIRE_PONG = 42,      /* token u64 */
    WIRE_GOAWAY = 43,    /* this node is stopping: use another one */
    WIRE_HELD = 44, /* seq u64, digest u64: durable on this node until there is a leader; not final.
                          seq 0, before READY: the enrolment is */
    WIRE_HELD_RECORD = 45, /* struct wire_record without seq, index and time: a post held here */
    WIRE_RETRACT = 46,     /* tag u64, seq u64: that held post will be no message */

    /* Ctl to node and back (role ctl of the channel: holds the cluster's secret). */
    WIRE_STATUS = 64, /* -> STATUS_IS */
    WIRE_FORM = 65,   /* cluster[16], secret[32], slots u8, segment_bytes u64 -> DONE once FORMED is
                         applied */
    WIRE_INVITE = 66, /* token_hash[32], uses u32, lifetime_us u64 -> DONE once applied */
    WIRE_HEALTH = 67, /* -> DONE once a probe is committed and applied */
    WIRE_VERIFY = 90,   /* -> DONE once this node has proved all that it has; index: damages */
    WIRE_TRANSFER = 68, /* slot u8 (0: the best) -> DONE once this node follows another leader */
    WIRE_MEMBERS = 76,  /* -> MEMBERS_IS */
    WIRE_MEMBER = 77,   /* struct wire_member, to the leader -> DONE once the change is committed */
    WIRE_STATUS_IS = 96,   /* struct wire_status */
    WIRE_DONE = 97,        /* code u8, index u64, text string8: why not */
    WIRE_MEMBERS_IS = 104, /* struct wire_members */
    WIRE_LOG = 69,         /* struct wire_log -> LOG_IS */
    WIRE_LOG_IS = 98,      /* struct wire_log_is: a piece of the committed log, for a backup */

    /* Node to node. RAFT is 1 in this conversation (raft/message.h). */
    WIRE_PEER_HELLO = 128, /* struct wire_hello, the first message each way */
    WIRE_PEER_FORWARD =
        129, /* commands for the leader: { size u32, body } ... in the sender's order */
    WIRE_PEER_NACK = 130, /* device u32, expected u64 */
    WIRE_PEER_PING = 132, /* sent_us u64 -> PONG on the same link */
    WIRE_PEER_PONG = 133, /* the same u64 */
    WIRE_PEER_RELAY =
        134, /* as FORWARD, from a node that does not hear the leader: goes on to it */
    WIRE_PEER_REFUSE = 131,  /* nothing of a FORWARD was or will be taken now: try again */
    WIRE_PEER_FETCH = 140,   /* struct wire_fetch -> FETCHED */
    WIRE_PEER_FETCHED = 141, /* struct wire_fetched and its data */
    /* Answers to a PING, on the same link: to one that is no member by what is committed up to
     * index u64, and to both of two processes that live under one identity. */
    WIRE_PEER_NOT_MEMBER = 146,
    WIRE_PEER_TWINS = 147,
};

/* What is signed, so that a signature is good for one purpose on one connection only. */
#define WIRE_ENROL_LABEL                                                                           \
    "ftchat enrol v1" /* label || handshake hash || device key, by the account key */
#define WIRE_LOGIN_LABEL "ftchat login v1" /* label || handshake hash, by the device key */

struct wire_enrol {
    bool is_register;
    struct slice name;
    const uint8_t *account_key; /* 32 */
    const uint8_t *device_key;  /* 32 */
    struct slice token;         /* empty or WIRE_TOKEN_BYTES */
    const uint8_t *signature;   /* 64 */
};

struct wire_login {
    const uint8_t *device_key;
    const uint8_t *signature;
    bool stream;           /* wants RECORDs; else only answers and results */
    uint64_t resume_index; /* stream what came after; 0: since this device's enrolment */
    uint64_t floor_index;  /* the newest index it was acknowledged or shown */
    uint8_t cluster[IDENTITY_BYTES]; /* whose indexes these are; zeros: not known */
};

struct wire_ready {
    uint8_t node;
    uint8_t leader;
    bool quorum;
    bool stale; /* this node is behind the client's floor_index */
    uint32_t device;
    uint64_t last; /* highest seq of this device that this node knows to be consumed */
    uint64_t applied;
    uint32_t message_bytes; /* [limits] */
    uint8_t cluster[IDENTITY_BYTES];
    uint64_t shared_index; /* the login named another cluster: what it saw up to here counts here
                              too, what came after is of a history that is gone; else all ones */
    struct slice user;
};

struct wire_answer {
    uint64_t seq;
    uint64_t digest; /* of the command answered: the client checks that it is the one it sent */
    enum chat_code code;
    struct slice room; /* as this user sees it; empty: none */
    uint64_t room_seq;
    uint64_t index;
    uint64_t time_us;
};

enum wire_record_kind {
    RECORD_POST = 1,
    RECORD_ME = 2,
    RECORD_JOIN = 16, /* room events */
    RECORD_PART = 17,
    RECORD_TOPIC = 18,
    RECORD_DELETE = 19, /* seq: of the post that was deleted; text: who wrote it */
};
enum wire_record_flag {
    RECORD_DELETED = 1, /* of a post: it has no text any more */
};
struct wire_record {
    uint8_t kind;
    uint8_t flags;
    uint64_t seq; /* of the post; events: of the newest post before */
    uint64_t index;
    uint64_t time_us;
    uint64_t sent_us;  /* 0: not claimed */
    uint64_t reply_to; /* a seq of the room; with reply_tag a device's: a uid. 0: none */
    uint64_t reply_tag;
    uint64_t device_tag; /* first 8 bytes of the device key; with device_seq the uid */
    uint64_t device_seq;
    struct slice room;
    struct slice from;
    struct slice text;
};

enum wire_query_kind {
    QUERY_HISTORY = 1,
    QUERY_ROOMS = 2,
    QUERY_WHO = 3,
    QUERY_WHOAMI = 4,
    QUERY_DEVICES = 5,
    QUERY_STATUS = 6
};
struct wire_query {
    uint64_t id;
    uint8_t kind;
    struct slice room; /* HISTORY, WHO */
    uint64_t before;   /* HISTORY, exclusive; 0: not given */
    uint64_t after;    /* HISTORY, exclusive; */
    bool has_after;
    uint16_t limit;       /* 1 .. LIMIT_HISTORY_PAGE */
    uint64_t floor_index; /* below this the result is stale */
};

/* RESULT: id u64, code u8, flags u8 (1 more, 2 stale), kind u8, then rows to the end of the
 * message: HISTORY  struct wire_record each, oldest first, with its size u32 before ROOMS    room
 * string8, topic string16, members u32, unread u64, joined u8 WHO      user string8, operator u8,
 * online u8 WHOAMI   user string8, device u32, tag u64 DEVICES  device u32, tag u64, enrolled index
 * u64, this one u8 STATUS   struct wire_cluster */
enum { RESULT_MORE = 1, RESULT_STALE = 2 };
struct wire_result {
    uint64_t id;
    enum chat_code code;
    uint8_t flags;
    uint8_t kind;
    struct slice rows;
};

struct wire_cluster {
    uint8_t node;
    uint8_t leader; /* 0: none */
    bool quorum;
    uint8_t healthy; /* bit n - 1: slot n answers */
    uint64_t term;
};

struct wire_hello {
    uint16_t version;
    uint8_t slot;
    uint8_t identity[IDENTITY_BYTES];
    uint8_t cluster[IDENTITY_BYTES]; /* zeros: blank */
    uint64_t incarnation; /* another one at each start of a process; 0: an older peer, not said */
    uint16_t feature_max;            /* the highest feature level that it can do */
    uint16_t level;                  /* of its cluster as far as it knows; 0: blank */
};

/* The committed log, one piece at a time, for whoever copies it; and its base, the checkpoint that
 * stands before its first entry when history was dropped. */
struct wire_log {
    bool base;
    uint64_t index;  /* whole entries from the one that holds this on; of a base, its own */
    uint64_t offset; /* of a base: bytes of its file from here on */
    uint32_t bytes;  /* wanted at most; one entry comes whole all the same */
};
struct wire_log_is {
    enum chat_code code; /* OK; BUSY: try again; UNAVAILABLE: it cannot be read here */
    uint64_t commit;     /* known here to be committed: no entry beyond it is handed out */
    uint64_t first;      /* where the log begins here; its base, when that is above 1, is at first - 1 */
    uint64_t segment_bytes;
    uint64_t size; /* of the base's file */
    uint8_t cluster[IDENTITY_BYTES];
    struct slice data; /* entries, or bytes of the base; may be empty */
};

/* A piece of what a node has on disk: how a node that is far behind catches up, and where a rotten
 * entry is found again. One piece is asked for at a time; whoever asks proves what comes (chain,
 * digests, checks). */
enum wire_fetch_kind {
    FETCH_OFFER = 1,      /* what is there: struct wire_offer */
    FETCH_ENTRIES = 2,    /* whole entries from the one that holds `index` on */
    FETCH_INDEX = 3,      /* bytes from `offset` of the index file of the segment that begins at
                             `index` */
    FETCH_CHECKPOINT = 4, /* bytes from `offset` of the checkpoint at `index` */
};
enum wire_fetch_code {
    FETCH_OK = 0,
    FETCH_GONE = 1,   /* not here: dropped, or not sealed yet; `index`: where the log begins here */
    FETCH_BUSY = 2,   /* another piece is being read for this node: try again */
    FETCH_FAILED = 3, /* it is here and cannot be read */
};
struct wire_fetch {
    uint64_t id; /* echoed */
    uint8_t kind;
    uint64_t index;
    uint64_t offset;
    uint32_t bytes; /* wanted at most; one entry comes whole all the same */
};
struct wire_fetched {
    uint64_t id;
    uint8_t kind;
    uint8_t code;
    uint64_t index;
    uint64_t offset;
    uint64_t size;   /* of the whole file; ENTRIES: 0 */
    uint64_t commit; /* known to the sender: what is not beyond is the same everywhere */
    struct slice data;
};
struct wire_offer {
    uint64_t oldest;        /* the first index that is there */
    uint64_t newest;        /* of the newest checkpoint: everything up to there is sealed */
    uint64_t segment_bytes; /* by which segments end */
};

enum wire_role {
    ROLE_BLANK,
    ROLE_LEARNER,
    ROLE_FOLLOWER,
    ROLE_CANDIDATE,
    ROLE_LEADER,
    ROLE_REMOVED, /* it was a member, and knows that it is none any more */
    WIRE_ROLES
};
struct wire_status {
    uint8_t node;
    uint8_t role; /* enum wire_role */
    bool quorum;
    bool formed;
    bool disk_full;
    uint8_t leader;
    uint8_t members; /* bit n - 1 each */
    uint8_t voters;
    uint8_t healthy; /* slots that this node hears */
    uint8_t identity[IDENTITY_BYTES];
    uint8_t cluster[IDENTITY_BYTES];
    uint64_t term;
    uint64_t commit;
    uint64_t applied;
    uint64_t last_index;
    uint64_t lag; /* behind its leader's commit */
    uint64_t held;
    uint64_t clients;
    uint64_t rtt_us; /* to its leader, or the median to its followers */
    uint64_t fsync_p50_us;
    uint64_t fsync_p99_us;
    uint64_t disk_free_bytes;
    uint64_t rss_bytes;
    uint64_t uptime_s;
    uint64_t pid;
    uint64_t feature_level; /* of the cluster, as applied here; 0: not formed */
    uint64_t feature_max;   /* that this node can do */
    uint64_t damaged;   /* files with damage that is known and not mended yet */
    uint64_t mended;    /* places, since it runs */
    uint64_t proved;    /* rounds of reading everything at rest, since it runs */
    uint64_t elections; /* that this node saw begin since it runs */
    uint64_t accepted;  /* connections; and what was refused, by kind */
    uint64_t refused_cap;
    uint64_t refused_deadline;
    uint64_t refused_garbage;
    uint64_t refused_truncated;
    uint64_t refused_oversized;
    struct slice version;
    bool twins;          /* another process runs under its identity */
    uint8_t ini_differs; /* bit n - 1: its ini and the log say different things of slot n */
};

/* A change of membership, for the leader. */
enum wire_member_op { WIRE_MEMBER_ADD = 1, WIRE_MEMBER_REMOVE = 2, WIRE_MEMBER_REPLACE = 3 };
struct wire_member {
    uint8_t op;
    uint8_t slot;
    bool force;    /* also what costs the quorum, or evicts a node that lives */
    uint16_t port; /* ADD and REPLACE: where the node is; 0: as the ini or the log says */
    struct slice host;
};

/* MEMBERS_IS: the configuration as the answering node has it, and what it sees of each seat. */
enum wire_seat_role { SEAT_LEARNER, SEAT_VOTER, SEAT_VACANT };
struct wire_seat {
    uint8_t slot;
    uint8_t role;   /* enum wire_seat_role */
    bool linked;    /* the member is there, as far as the answering node sees */
    uint64_t match; /* from the leader: how far its log is durable there */
    uint8_t identity[IDENTITY_BYTES];
    uint16_t port; /* 0: the log does not say */
    struct slice host;
};
struct wire_members {
    uint8_t node;
    uint8_t leader;
    bool leads;   /* it is the leader, with a quorum */
    bool pending; /* the configuration is not committed yet */
    bool formed;
    uint8_t ini_differs; /* bit n - 1: the answering node's ini and the log differ in slot n */
    uint64_t index;      /* of the configuration */
    uint64_t last_index; /* of the log */
    uint8_t cluster[IDENTITY_BYTES];
    unsigned count;
    struct wire_seat seats[LIMIT_NODES];
};

size_t wire_encode_enrol(const struct wire_enrol *in, uint8_t *out, size_t capacity);
bool wire_decode_enrol(struct wire_enrol *out, struct slice message);
size_t wire_encode_login(const struct wire_login *in, uint8_t *out, size_t capacity);
bool wire_decode_login(struct wire_login *out, struct slice message);
size_t wire_encode_ready(const struct wire_ready *in, uint8_t *out, size_t capacity);
bool wire_decode_ready(struct wire_ready *out, struct slice message);
size_t wire_encode_answer(const struct wire_answer *in, uint8_t *out, size_t capacity);
bool wire_decode_answer(struct wire_answer *out, struct slice message);
size_t wire_encode_query(const struct wire_query *in, uint8_t *out, size_t capacity);
bool wire_decode_query(struct wire_query *out, struct slice message);
/* The result's head, its type byte included; rows follow behind. */
size_t wire_encode_result(const struct wire_result *in, uint8_t *out, size_t capacity);
bool wire_decode_result(struct wire_result *out, struct slice message);
size_t wire_encode_cluster(const struct wire_cluster *in, uint8_t *out, size_t capacity);
bool wire_decode_cluster(struct wire_cluster *out, struct slice message);
size_t wire_encode_hello(const struct wire_hello *in, uint8_t *out, size_t capacity);
bool wire_decode_hello(struct wire_hello *out, struct slice message);
size_t wire_encode_fetch(const struct wire_fetch *in, uint8_t *out, size_t capacity);
bool wire_decode_fetch(struct wire_fetch *out, struct slice message);
/* The head, its type byte included; the data follows behind. */
size_t wire_encode_fetched(const struct wire_fetched *in, uint8_t *out, size_t capacity);
bool wire_decode_fetched(struct wire_fetched *out, struct slice message);
size_t wire_encode_offer(const struct wire_offer *in, uint8_t *out, size_t capacity);
bool wire_decode_offer(struct wire_offer *out, struct slice data);
size_t wire_encode_member(const struct wire_member *in, uint8_t *out, size_t capacity);
bool wire_decode_member(struct wire_member *out, struct slice message);
enum { WIRE_MEMBERS_BYTES = 64 + LIMIT_NODES * (32 + IDENTITY_BYTES + LIMIT_HOST_BYTES) };
size_t wire_encode_members(const struct wire_members *in, uint8_t *out, size_t capacity);
bool wire_decode_members(struct wire_members *out, struct slice message);
size_t wire_encode_log(const struct wire_log *in, uint8_t *out, size_t capacity);
bool wire_decode_log(struct wire_log *out, struct slice message);
/* The head, its type byte included; the data follow behind. */
size_t wire_encode_log_is(const struct wire_log_is *in, uint8_t *out, size_t capacity);
bool wire_decode_log_is(struct wire_log_is *out, struct slice message);
size_t wire_encode_status(const struct wire_status *in, uint8_t *out, size_t capacity);
bool wire_decode_status(struct wire_status *out, struct slice message);
/* With its type byte; rows of HISTORY are the same bytes with their size before. */
size_t wire_encode_record(const struct wire_record *in, uint8_t *out, size_t capacity);
bool wire_decode_record(struct wire_record *out, struct slice message);
bool wire_decode_held_record(struct wire_record *out, struct slice message);

#endif
