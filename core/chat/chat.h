/* The replicated state machine: accounts, devices, invites, rooms, members, and every device's
 * answers.
 *
 * chat_apply takes the committed commands in log order and nothing else; the same commands give the
 * same state and the same chat_hash on every node. It never looks at a clock (log time comes with
 * the command) and never refuses to apply: a command that is not allowed gets a code, which is the
 * answer for ever.
 *
 * Exactly once (architecture.md): per device `last` is the highest seq consumed; answers above
 * `done` are kept. Seen seq and same digest: the same answer. Seen seq, other digest: conflict.
 * Next seq: applied. A gap is never an answer and never recorded (CHAT_GAP): the leader's admission
 * keeps gaps out of the log, and apply ignores one.
 *
 * All memory is given at chat_init, sized by limits (the simulator uses small ones) and zeroed;
 * untouched tables cost nothing. Numbers of accounts and rooms are table positions, 1-based, stable
 * for ever; 0 is none. A device's number is never given twice, but an ended device's position is
 * used again, so device numbers can go beyond limits.devices: they are 1, 2, 3 ... until then, and
 * then position + generation * LIMIT_DEVICES. Whoever indexes by device takes
 * (number - 1) % LIMIT_DEVICES. */
#ifndef FTCHAT_CORE_CHAT_CHAT_H
#define FTCHAT_CORE_CHAT_CHAT_H

#include "core/chat/code.h"
#include "core/chat/command.h"

struct chat_limits {
    uint32_t accounts;
    uint32_t devices;
    uint32_t rooms;
    uint32_t memberships;
    uint32_t invites;
    uint32_t answers; /* kept answers of all devices together */
};
extern const struct chat_limits chat_limits_default; /* from limits.h */

struct chat;
size_t chat_memory(const struct chat_limits *limits);
struct chat *chat_init(void *memory, const struct chat_limits *limits, const struct crypto *crypto);

/* What applying one command came to. */
enum chat_result {
    CHAT_APPLIED,  /* consumed now; `code` is the answer */
    CHAT_REPEATED, /* consumed before; the answer of that time, or CODE_CONFLICT, index 0, when the
                      content is another. A VOID and the command it gives up are no conflict */
    CHAT_GAP,      /* not consumed, no answer: seq is beyond last + 1 */
    CHAT_FULL,    /* not consumed, no answer now; deterministic. `code` says why: CODE_BUSY, a table
                     is full; CODE_FORMING, a post before FORMED */
    CHAT_IGNORED, /* nothing happened. `code`: CODE_REVOKED, an ended or unknown device;
                     CODE_BAD_REQUEST, malformed; CODE_FORMING, nothing is taken before GENESIS */
};
struct chat_answer {
    enum chat_code code;
    uint32_t room;     /* 0: none */
    uint64_t room_seq; /* posts; 0: none */
    uint64_t index;
    uint64_t time_us;
};
struct chat_applied {
    enum chat_result result;
    struct command command; /* decoded; borrowed from the body */
    struct chat_answer answer;
    uint64_t digest;  /* of a device command: command_digest */
    uint32_t account; /* who did it (ENROL: the account) */
    uint32_t device;  /* ENROL: the device that resulted */
    /* A post or a room event took place (first time only): remember its place, tell the members. */
    bool indexed;
    bool event;            /* a room event (create counts as join), not a post */
    uint32_t ended_device; /* pushed out as least recently used, or closed; 0: none */
};
void chat_apply(struct chat *chat, uint64_t index, uint64_t time_us, struct slice body,
                struct chat_applied *applied);

/* What a device that resends (seq, digest) should get from the state as it is; CHAT_REPEATED with
 * the answer, CHAT_GAP when beyond last + 1, CHAT_APPLIED when it would be next, CHAT_IGNORED:
 * unknown device. Answers at or below `done` that were forgotten come back as CHAT_REPEATED with
 * CODE_OK and index 0. */
enum chat_result chat_look_up_answer(const struct chat *chat, uint32_t device, uint64_t seq,
                                     uint64_t digest, struct chat_answer *answer);

/* --- Checkpoints: everything but volatile fields; versioned, checked, the same bytes on every
 * node. */
size_t chat_checkpoint_bytes(const struct chat *chat); /* upper bound */
size_t chat_checkpoint(const struct chat *chat, uint8_t *out, size_t capacity);
bool chat_restore(struct chat *chat,
                  struct slice state); /* into a fresh chat; false: not readable */
uint64_t chat_hash(
    const struct chat *chat); /* of the whole state: equal on all nodes at equal index; slow */

/* --- Looking at the state. Pointers are good until the next apply. */
struct chat_account {
    uint8_t name[LIMIT_USER_NAME];
    uint8_t name_len;
    uint8_t key[PUBLIC_KEY_BYTES];
    uint32_t devices;          /* how many */
    uint32_t first_membership; /* list, see chat_next_membership */
    uint64_t created_index;
};
struct chat_device {
    uint8_t key[PUBLIC_KEY_BYTES];
    uint32_t account; /* 0: ended */
    uint64_t last;    /* highest seq consumed */
    uint64_t done;
    uint64_t used_index; /* of its latest command: least recently used goes first */
    uint64_t enrolled_index;
    /* volatile, of the node that leads: never in a checkpoint or a hash */
    uint64_t admitted;
    uint64_t admitted_term;
};
struct chat_room {
    uint8_t name[LIMIT_ROOM_NAME]; /* empty for a direct conversation */
    uint8_t name_len;
    bool direct;
    bool is_private;
    uint32_t pair[2]; /* direct: the two accounts, lower number first (equal: notes to oneself) */
    uint64_t last_seq;
    uint64_t last_index; /* of its newest post or event */
    uint32_t members;
    uint16_t topic_len;
    uint32_t first_member;
};
/* One account in one room. Coming back begins a new interval; the ones before are kept, so that a reader whose cursor is
 * behind gets what was said while it was there. Beyond CHAT_INTERVALS the oldest two become one, and what was said between
 * them counts as said while it was there. */
enum { CHAT_INTERVALS = 4 };
struct chat_interval {
    uint64_t join_index;
    uint64_t leave_index;
};
struct chat_membership {
    uint32_t account;
    uint32_t room;
    uint64_t join_index;
    uint64_t leave_index; /* 0: a member now; else left there (kept, so that a cursor behind it is
                             served right) */
    uint64_t read_seq;
    bool is_operator;
    uint8_t earlier_count;
    struct chat_interval earlier[CHAT_INTERVALS]; /* oldest first */
    uint32_t next_of_account;
    uint32_t next_of_room;
};
/* Where this cluster's history comes from when it was restored or recovered: of the clusters before,
 * the newest last; beyond CHAT_ANCESTORS the oldest is forgotten. */
enum { CHAT_ANCESTORS = 8 };
struct chat_ancestor {
    uint8_t cluster[IDENTITY_BYTES];
    uint64_t shared_index; /* up to here its history is this one's */
};
struct chat_genesis {
    bool done;   /* GENESIS was applied */
    bool formed; /* FORMED was applied: posts are taken */
    uint8_t slots;
    uint16_t level; /* the cluster's feature level (feature.h); it only rises */
    uint64_t segment_bytes;
    uint8_t secret[32];
    uint8_t ancestors_count;
    struct chat_ancestor ancestors[CHAT_ANCESTORS];
};
const struct chat_genesis *chat_genesis(const struct chat *chat);
/* How far what a client of `cluster` saw is what it would see here; 0: nothing is known of it. */
uint64_t chat_shared_index(const struct chat *chat, const uint8_t cluster[IDENTITY_BYTES]);
uint32_t chat_find_account(const struct chat *chat, struct slice name); /* case folded */
/* Was it ever made, and not forgotten since? Spent and expired ones are known too. */
bool chat_knows_invite(const struct chat *chat, const uint8_t token_hash[HASH_BYTES]);
/* An account's devices, by number: 0 begins, 0 ends. */
uint32_t chat_next_device(const struct chat *chat, uint32_t account, uint32_t previous);
uint32_t chat_find_device(const struct chat *chat, const uint8_t key[PUBLIC_KEY_BYTES]);
uint32_t chat_find_room(const struct chat *chat, uint32_t account,
                        struct slice name); /* "#room", or "@user" as account sees it */
const struct chat_account *chat_account(const struct chat *chat, uint32_t account);
/* NULL: no such device, or forgotten. Mutable only in its volatile fields. */
struct chat_device *chat_device(struct chat *chat, uint32_t device);
const struct chat_room *chat_room(const struct chat *chat, uint32_t room);
struct slice chat_room_topic(const struct chat *chat, uint32_t room);
uint32_t chat_rooms(const struct chat *chat); /* room numbers are 1 .. this */
uint32_t chat_accounts(const struct chat *chat);
/* The room's name as `account` sees it: "#ops" or "@bob". `out` holds LIMIT_ROOM_NAME; returns its
 * length. */
size_t chat_room_name(const struct chat *chat, uint32_t room, uint32_t account, uint8_t *out);
const struct chat_membership *chat_membership(const struct chat *chat, uint32_t account,
                                              uint32_t room); /* or NULL */
/* Was it a member when `index` was applied (joining and leaving included)? */
bool chat_was_member(const struct chat_membership *membership, uint64_t index);
/* Was it one when `index` had been applied (who left at it was none any more)? */
bool chat_was_member_after(const struct chat_membership *membership, uint64_t index);
/* Lists: pass NULL first; former members are included (leave_index). */
const struct chat_membership *chat_next_of_account(const struct chat *chat, uint32_t account,
                                                   const struct chat_membership *previous);
const struct chat_membership *chat_next_of_room(const struct chat *chat, uint32_t room,
                                                const struct chat_membership *previous);

/* --- Names and text (product.md, fine print). */
/* Lower-cases and checks a user name; 0: bad_name. `out` holds LIMIT_USER_NAME. */
size_t name_fold_user(struct slice name, uint8_t *out);
enum chat_code name_check_room(struct slice name);                /* "#..." only */
enum chat_code text_check(struct slice text, uint32_t max_bytes); /* empty, too_long, not_utf8 */

#endif
