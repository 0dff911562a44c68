/* The inside of the state machine, for the files of core/chat only: the tables and who keeps what.
 *
 * One block of memory holds all tables. Positions are 1-based; a record once made stays where it
 * is, except devices: an ended device's position is used again under a new number (device.c).
 * Indexes (table.h) are derived, never saved. Nothing here fails: every step looks first whether
 * there is room, and answers CODE_BUSY before it has changed anything. */
#ifndef FTCHAT_CORE_CHAT_STATE_H
#define FTCHAT_CORE_CHAT_STATE_H

#include "core/chat/chat.h"
#include "core/chat/table.h"

/* An answer kept for a device. A device's answers are a list, oldest first, that holds exactly
 * the seqs done + 1 .. last. */
struct kept_answer {
    uint64_t digest;
    uint64_t room_seq;
    uint64_t index;
    uint64_t time_us;
    uint32_t room;
    uint32_t next : 24; /* also links the free ones */
    uint32_t code : 8;
};
_Static_assert(LIMIT_DEVICES *LIMIT_OUTSTANDING < (1 << 24), "a kept answer's link has 24 bits");

struct account_record {
    struct chat_account shown;
    uint32_t first_device;
};

struct device_record {
    struct chat_device shown;
    uint32_t number; /* 0: never used */
    uint32_t first_answer;
    uint32_t last_answer;
    uint32_t next_device; /* of its account; of an ended one: the next to be used again */
    uint32_t previous_device;
};

struct room_record {
    struct chat_room shown;
    uint8_t topic[LIMIT_TOPIC_BYTES];
};

struct invite_record {
    uint8_t token_hash[HASH_BYTES];
    uint32_t uses; /* granted */
    uint32_t spent;
    uint64_t expires_us;
};

struct chat {
    struct chat_limits limits;
    const struct crypto *crypto;
    struct chat_genesis genesis;
    uint8_t index_key[DIGEST_KEY_BYTES]; /* secret, so that nobody can choose keys that collide */

    uint32_t account_count;
    uint32_t device_count; /* positions ever used */
    uint32_t room_count;
    uint32_t membership_count;
    uint32_t invite_count;
    uint32_t answer_count; /* kept now */
    uint32_t answer_fresh; /* positions ever used */
    uint32_t answer_free;  /* list */
    uint32_t ended_count;  /* devices that can be used again, oldest first */
    uint32_t ended_first;
    uint32_t ended_last;

    struct account_record *accounts;
    struct device_record *devices;
    struct room_record *rooms;
    struct chat_membership *memberships;
    struct invite_record *invites;
    struct kept_answer *answers;

    struct table account_by_name;
    struct table device_by_key;
    struct table room_by_name; /* and by pair */
    struct table membership_by_pair;
    struct table invite_by_token;
};

/* One command being applied. */
struct step {
    struct chat *chat;
    uint64_t index;
    uint64_t time_us;
    const struct command *command;
    uint32_t account; /* of a device command */
    struct chat_applied *applied;
};

static inline bool slice_equals(struct slice slice, const void *data, size_t len)
{
    return slice.len == len && (len == 0 || memcmp(slice.data, data, len) == 0);
}

/* chat.c */
void chat_set_genesis(struct chat *chat, const struct chat_genesis *genesis);
uint64_t chat_hash_bytes(const struct chat *chat, const void *data, size_t len);
uint64_t chat_hash_pair(const struct chat *chat, uint32_t first, uint32_t second);

/* account.c */
struct account_record *account_at(const struct chat *chat, uint32_t account);
uint32_t account_add(struct chat *chat, struct slice folded, const uint8_t *key, uint64_t index);
enum chat_code account_enrol(struct step *step);

/* invite.c */
uint32_t invite_find(const struct chat *chat, const uint8_t *token_hash);
void invite_add(struct chat *chat, const struct invite_record *invite);
enum chat_code invite_apply(struct step *step);
bool invite_is_good(const struct chat *chat, uint32_t invite, uint64_t time_us);

/* device.c */
enum {
    DEVICE_ENDED_KEPT = 1024, /* ended devices that are remembered while positions are left */
};
struct device_record *device_at(const struct chat *chat, uint32_t number);
bool device_can_be_used_again(const struct device_record *device);
bool device_fits(const struct chat *chat, uint32_t account);
/* Ends the account's least recently used device when it has too many: `ended`, else 0. */
uint32_t device_add(struct chat *chat, uint32_t account, const uint8_t *key, uint64_t index,
                    uint32_t *ended);
void device_end(struct chat *chat, struct device_record *device);
void device_link(struct chat *chat, uint32_t position);
void device_link_ended(struct chat *chat, uint32_t position);

/* answer.c */
bool answer_fits(const struct chat *chat, const struct device_record *device, uint64_t done);
void answer_keep(struct chat *chat, struct device_record *device, const struct kept_answer *answer);
void answer_forget(struct chat *chat, struct device_record *device, uint64_t done);
const struct kept_answer *answer_at(const struct chat *chat, const struct device_record *device,
                                    uint64_t seq);

/* room.c */
struct room_record *room_at(const struct chat *chat, uint32_t room);
uint32_t room_find_name(const struct chat *chat, struct slice name);
uint32_t room_find_pair(const struct chat *chat, uint32_t one, uint32_t other);
uint32_t room_add(struct chat *chat, struct slice name, const uint32_t pair[2]);
/* The room that `name` means for `account`; else 0 and why. `peer` gets the account of "@name". */
uint32_t room_resolve(const struct chat *chat, uint32_t account, struct slice name, uint32_t *peer,
                      enum chat_code *code);
enum chat_code room_create(struct step *step);
enum chat_code room_join(struct step *step);
enum chat_code room_part(struct step *step);
enum chat_code room_topic(struct step *step);

/* member.c */
struct chat_membership *member_find(const struct chat *chat, uint32_t account, uint32_t room);
struct chat_membership *member_find_now(const struct chat *chat, uint32_t account, uint32_t room);
struct chat_membership *member_add(struct chat *chat, const struct chat_membership *membership);
/* A former member of a public room comes back. */
void member_rejoin(struct chat_membership *membership, uint64_t index);
bool member_fits(const struct chat *chat, uint32_t more);

/* post.c */
enum chat_code post_apply(struct step *step);
enum chat_code post_read(struct step *step);
enum chat_code post_delete(struct step *step);

#endif
