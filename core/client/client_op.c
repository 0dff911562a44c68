#include "core/chat/chat.h"
#include "core/client/client_private.h"

size_t op_room(struct slice room, bool direct_too, uint8_t name[LIMIT_ROOM_NAME])
{
    if (room.len < 2 || room.len > LIMIT_ROOM_NAME)
        return 0;
    if (room.data[0] == '#') {
        if (name_check_room(room) != CODE_OK)
            return 0;
        memcpy(name, room.data, room.len);
        return room.len;
    }
    if (room.data[0] != '@' || !direct_too)
        return 0;
    uint8_t user[LIMIT_USER_NAME];
    size_t len = name_fold_user((struct slice) { room.data + 1, room.len - 1 }, user);
    if (len == 0)
        return 0;
    CHECK(len <= LIMIT_USER_NAME);
    name[0] = '@';
    memcpy(name + 1, user, len);
    return len + 1;
}

static enum chat_code check_text(const struct client *client, const struct client_op *op)
{
    switch (op->kind) {
    case CLIENT_SEND:
    case CLIENT_ME:
        return text_check(op->text,
                          client->message_bytes ? client->message_bytes : LIMIT_TEXT_BYTES);
    case CLIENT_CREATE:
    case CLIENT_TOPIC:
        return op->text.len ? text_check(op->text, LIMIT_TOPIC_BYTES) : CODE_OK;
    default:
        return CODE_OK;
    }
}

/* A keyed hash of the seq: what a scrubbed body leaves behind confirms no guess. */
static void make_salt(const struct client *client, uint8_t salt[8])
{
    static const char label[] = "ftchat salt v1";
    uint8_t data[sizeof label + 8];
    memcpy(data, label, sizeof label);
    bytes_put_u64(data + sizeof label, client->last_seq + 1);
    uint8_t hash[HASH_BYTES];
    client->crypto->hash(hash, client->device_key, 32, data, sizeof data);
    memcpy(salt, hash, 8);
}

static uint8_t command_kind(enum client_op_kind kind)
{
    switch (kind) {
    case CLIENT_SEND:
    case CLIENT_ME:
        return COMMAND_POST;
    case CLIENT_CREATE:
        return COMMAND_CREATE;
    case CLIENT_JOIN:
        return COMMAND_JOIN;
    case CLIENT_PART:
        return COMMAND_PART;
    case CLIENT_TOPIC:
        return COMMAND_TOPIC;
    case CLIENT_READ:
        return COMMAND_READ;
    case CLIENT_DELETE:
        return COMMAND_DELETE;
    default:
        return 0;
    }
}

enum chat_code op_encode(struct client *client, const struct client_op *op, struct slice *body)
{
    if (op->kind == CLIENT_REFUSED)
        return op->code == CODE_OK ? CODE_BAD_REQUEST : op->code;
    uint8_t kind = command_kind(op->kind);
    CHECK(kind != 0);
    bool direct_too = op->kind == CLIENT_SEND || op->kind == CLIENT_ME || op->kind == CLIENT_READ ||
                      op->kind == CLIENT_DELETE;
    uint8_t name[LIMIT_ROOM_NAME];
    size_t name_len = op_room(op->room, direct_too, name);
    if (op->room.len == 0)
        return CODE_BAD_REQUEST;
    if (name_len == 0)
        return CODE_BAD_NAME;
    enum chat_code code = check_text(client, op);
    if (code != CODE_OK)
        return code;
    uint8_t salt[8];
    make_salt(client, salt);
    struct command command = {
        .kind = kind,
        .seq = 1,
        .beyond = 1,
        .room = { name, name_len },
        .text = op->text,
        .salt = salt,
        .read_seq = op->seq,
    };
    if (op->kind == CLIENT_CREATE)
        command.flags = op->is_private ? 1 : 0;
    if (op->kind == CLIENT_ME)
        command.flags |= POST_ME;
    if (kind == COMMAND_POST && op->reply_to) {
        command.flags |= op->reply_tag ? POST_REPLY_UID : POST_REPLY;
        command.reply_to = op->reply_to;
        command.reply_tag = op->reply_tag;
    }
    /* When it was written is shown of what waits for a connection or a quorum, and of what may yet have to. */
    if (kind == COMMAND_POST) {
        bool waits = client->phase != PHASE_ONLINE || !client->quorum;
        command.flags |= waits ? POST_SENT : POST_CLOCK;
        command.sent_us = client->now.wall_us;
    }
    size_t len = command_encode(&command, client->scratch, sizeof client->scratch);
    if (len == 0)
        return CODE_TOO_LONG;
    CHECK(len >= COMMAND_HEAD_BYTES);
    client->scratch[COMMAND_HEAD_BYTES - 1] = kind;
    *body =
        (struct slice) { client->scratch + COMMAND_HEAD_BYTES - 1, len - COMMAND_HEAD_BYTES + 1 };
    return CODE_OK;
}
