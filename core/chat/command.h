/* Commands: what the replicated log holds, one body each. Encoded once by whoever makes them,
 * applied by every node.
 *
 * Rooms and users are named, not numbered: a node that is behind can still carry a command whose
 * names it does not know yet, and apply alone decides. Text and names are checked before a command
 * is proposed; apply checks them again, for the log is the truth.
 *
 *   kind u8
 *   device kinds (>= COMMAND_DEVICE_KINDS) go on with:
 *     device u32     the number that enrolling gave
 *     seq u64        1, 2, 3 ... per device; consumed only by the log
 *     beyond u8      seq - done, 1 .. LIMIT_OUTSTANDING: all answers up to `done` are final for
 *                    the client
 *     account u32    stamped, like the tag, by the node that takes the command (zeros from the
 *     tag u64        client): whose it is, and the first 8 bytes of the device's key; so that a
 *                    post can be shown for ever, also when its device has ended. The account's top
 *                    bit: this post is longer than [limits] of the node that took it
 *   the other kinds go on with:
 *     nonce u64      names this command to the node that waits for its answer
 *   then the content, by kind (string8, string16: length before the bytes):
 *     GENESIS        secret[32], slots u8 (bit n - 1: slot n must become a voter),
 *                    segment_bytes u64
 *     FORMED         -
 *     INVITE         token_hash[32], uses u32, expires_us u64 (log time)
 *     ENROL          flags u8 (enum enrol_flag), name string8, account_key[32],
 *                    device_key[32], token_hash[32]
 *     HEALTH         -
 *     RESTORED       cluster[16], shared u64: the log up to `shared` is that cluster's history;
 *                    what it committed beyond is not here (ctl restore, ctl recover)
 *     LEVEL          level u16: every member can do it (feature.h)
 *     POST           room string8, salt[8], flags u8 (enum post_flag, body.h), [sent u64],
 *                    [reply_to u64], [reply_tag u64, reply_to u64], text: the rest
 *     CREATE         room string8, private u8, topic string16
 *     JOIN, PART     room string8
 *     TOPIC          room string8, text string16
 *     READ           room string8, seq u64
 *     DELETE         room string8, seq u64; then, no part of what the device sent, what the node that
 *                    took the command found the post to be: struct command_target
 *     CLOSE          -            (the device ends, nothing outstanding)
 *     VOID           -            (gives its seq up)
 *
 * A direct message's room is "@name". The content of a device command, for its digest, is kind and
 * the content: resent under another `done` it is still the same command.
 *
 * A deleted post is erased once it can be (core/body.h): what stays of it is everything but its words,
 * and applying it again comes to the same. */
#ifndef FTCHAT_CORE_CHAT_COMMAND_H
#define FTCHAT_CORE_CHAT_COMMAND_H

#include "core/body.h"
#include "core/bytes.h"
#include "core/crypto.h"
#include "core/limits.h"

/* Where the parts of a device command's head begin. */
enum {
    COMMAND_ACCOUNT_AT = 14,
    COMMAND_HEAD_BYTES = BODY_HEAD_BYTES,
};
#define COMMAND_OVER_LONG UINT32_C(0x80000000)

enum command_kind {
    COMMAND_GENESIS = 1,
    COMMAND_FORMED = 2,
    COMMAND_INVITE = 3,
    COMMAND_ENROL = 4,
    COMMAND_HEALTH = 5,
    COMMAND_RESTORED = 8,
    COMMAND_LEVEL = 9,
    COMMAND_DEVICE_KINDS = 16, /* from here on: sent by a device under a seq */
    COMMAND_POST = BODY_POST,
    COMMAND_CREATE = 17,
    COMMAND_JOIN = 18,
    COMMAND_PART = 19,
    COMMAND_TOPIC = 20,
    COMMAND_READ = 21,
    COMMAND_CLOSE = 22,
    COMMAND_VOID = 23,
    COMMAND_DELETE = 24,
};

enum enrol_flag {
    ENROL_REGISTER = 1,    /* make the account when there is none */
    ENROL_NEEDS_TOKEN = 2, /* registration = invite on the node that took it: the token is spent */
};

/* The post that a DELETE names, which stands in the log and not in the state: found by the node that
 * takes the command, true for ever, and the same for all who apply it. state u8, index u64, author
 * u32, check u32. */
enum target_state {
    TARGET_UNKNOWN = 0, /* no such post is applied there: others may know it */
    TARGET_THERE = 1,
    TARGET_DELETED = 2, /* already */
    TARGET_GONE = 3,    /* it is not kept any more */
};
enum { COMMAND_TARGET_BYTES = 17 };
struct command_target {
    uint8_t state;
    uint64_t index;  /* of the post's command */
    uint32_t author; /* account */
    uint32_t check;  /* body_erased_check of what erasing leaves of it */
};

/* A decoded command; slices are borrowed from its bytes. Fields beside the kind's own are zero. */
struct command {
    uint8_t kind;
    uint32_t device;
    uint64_t seq;
    uint8_t beyond;
    uint32_t account; /* stamped by the node */
    bool over_long;   /* stamped by the node: refused, by every node alike */
    uint64_t tag;
    struct slice content; /* of a device command: what the digest covers, without the kind */
    struct slice room;
    struct slice text; /* POST: text; CREATE, TOPIC: topic */
    uint8_t flags;     /* CREATE: 1 is private */
    uint64_t sent_us;
    uint64_t reply_to; /* a seq of the room; with reply_tag: of that device */
    uint64_t reply_tag;
    uint64_t read_seq; /* READ, DELETE: of a post */
    struct command_target target;
    uint64_t nonce;
    uint32_t uses;
    uint64_t expires_us;
    uint64_t segment_bytes;
    uint8_t slots;
    uint16_t level;
    uint64_t shared_index;
    const uint8_t *cluster; /* RESTORED: 16 bytes */
    struct slice name;
    const uint8_t *salt;   /* POST: 8 bytes; erased: the digest of what it was */
    const uint8_t *secret; /* GENESIS */
    const uint8_t *token_hash;
    const uint8_t *account_key;
    const uint8_t *device_key;
};

/* false: not a command. Lengths and kinds are checked, names and text are not. */
bool command_decode(struct command *command, struct slice body);
/* Bytes written, 0 when it does not fit or a field is over its limit. Reads the fields its kind
 * has. */
size_t command_encode(const struct command *command, uint8_t *out, size_t capacity);
/* The text of a POST's content (what follows the kind); empty when it is none. */
struct slice command_post_text(struct slice content);
/* The feature level that a node must be able to do to apply it: of LEVEL, the one that it brings. Anything else, also what
 * cannot be decoded, is FEATURE_LEVEL_FIRST. */
uint16_t command_level(struct slice body);
/* The target that a DELETE's body ends with, in place of the one that it may have: `body` has room for
 * COMMAND_TARGET_BYTES more. Returns its length then. */
size_t command_set_target(uint8_t *body, size_t len, const struct command_target *target);
/* A device command's 8-byte digest of kind and content (unkeyed: equal everywhere). `content` is
 * set by decoding: whoever has only encoded decodes first. */
uint64_t command_digest(const struct command *command, const struct crypto *crypto);

#endif
