/* Help for the tests of core/chat: a state machine in its own memory, and one call per command that
 * encodes, applies and counts the index and each device's seq. */
#ifndef FTCHAT_TESTS_TEST_CHAT_H
#define FTCHAT_TESTS_TEST_CHAT_H

#include "core/chat/chat.h"

enum { TEST_DEVICES = 4096 };

struct town {
    struct chat *chat;
    struct chat_limits limits;
    void *memory;
    uint64_t index;
    uint64_t time_us;
    uint64_t seq[TEST_DEVICES];        /* by device number: the last one sent */
    struct chat_applied applied;       /* of the latest command */
    uint8_t body[LIMIT_COMMAND_BYTES]; /* the latest command */
    size_t body_len;
    uint64_t digest; /* of the latest device command */
};

extern const struct chat_limits town_small;

void town_open(struct town *town, const struct chat_limits *limits);
/* With GENESIS and FORMED done. */
void town_form(struct town *town, const struct chat_limits *limits);
void town_close(struct town *town);
/* A fresh state machine from this one's checkpoint; false: it could not be read. */
bool town_copy(struct town *copy, const struct town *town);

/* Encodes and applies `command`; the code, and town->applied. */
enum chat_code town_apply(struct town *town, const struct command *command);
/* Applies the latest body again. */
enum chat_code town_again(struct town *town);
/* Under the device's next seq with beyond = 1. */
enum chat_code town_do(struct town *town, uint32_t device, struct command command);

void town_key(uint8_t key[32], uint64_t value);
enum chat_code town_enrol(struct town *town, const char *name, uint64_t account_key,
                          uint64_t device_key, uint8_t flags, uint64_t token);
/* Registers and answers the device's number. */
uint32_t town_user(struct town *town, const char *name, uint64_t key);
enum chat_code town_invite(struct town *town, uint64_t token, uint32_t uses, uint64_t expires);
enum chat_code town_post(struct town *town, uint32_t device, const char *room, const char *text);
enum chat_code town_room(struct town *town, uint32_t device, uint8_t kind, const char *room);
enum chat_code town_create(struct town *town, uint32_t device, const char *room, bool private);
enum chat_code town_topic(struct town *town, uint32_t device, const char *room, const char *text);
enum chat_code town_read(struct town *town, uint32_t device, const char *room, uint64_t seq);
uint32_t town_find(const struct town *town, uint32_t account, const char *room);

struct slice text_of(const char *text);

#endif
