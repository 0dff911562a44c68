#include "core/chat/command.h"

#include "core/check.h"
#include "core/feature.h"

enum {
    SALT_BYTES = BODY_SALT_BYTES,
    TOKEN_BYTES = HASH_BYTES,
    SECRET_BYTES = 32,
    REPLIES = POST_REPLY | POST_REPLY_UID,
    ENROL_FLAGS = ENROL_REGISTER | ENROL_NEEDS_TOKEN,
};

static bool device_fields_hold(const struct command *command)
{
    return command->beyond >= 1 && command->beyond <= LIMIT_OUTSTANDING &&
           command->seq >= command->beyond;
}

static bool lengths_hold(const struct command *command)
{
    size_t text = command->kind == COMMAND_POST ? LIMIT_TEXT_BYTES : LIMIT_TOPIC_BYTES;
    return command->room.len <= LIMIT_ROOM_NAME && command->name.len <= LIMIT_USER_NAME &&
           command->text.len <= text && command->target.state <= TARGET_GONE;
}

static bool flags_hold(const struct command *command)
{
    switch (command->kind) {
    case COMMAND_ENROL:
        return !(command->flags & ~ENROL_FLAGS);
    case COMMAND_POST:
        return !(command->flags & ~POST_FLAGS) && (command->flags & REPLIES) != REPLIES;
    default:
        return command->flags <= 1;
    }
}

static void decode_post(struct command *command, struct reader *reader)
{
    command->room = read_slice8(reader);
    command->salt = read_bytes(reader, SALT_BYTES);
    command->flags = read_u8(reader);
    if (command->flags & (POST_SENT | POST_CLOCK))
        command->sent_us = read_u64(reader);
    if (command->flags & POST_REPLY_UID)
        command->reply_tag = read_u64(reader);
    if (command->flags & (POST_REPLY | POST_REPLY_UID))
        command->reply_to = read_u64(reader);
    command->text = read_slice(reader, reader->bad ? 0 : reader_left(reader));
    if (command->flags & POST_ERASED)
        command->text.len = 0;
}

static void decode_delete(struct command *command, struct reader *reader)
{
    struct command_target *target = &command->target;
    command->room = read_slice8(reader);
    command->read_seq = read_u64(reader);
    if (reader->bad || !reader_left(reader))
        return;
    command->content.len -= reader_left(reader);
    target->state = read_u8(reader);
    target->index = read_u64(reader);
    target->author = read_u32(reader);
    target->check = read_u32(reader);
}

static void decode_enrol(struct command *command, struct reader *reader)
{
    command->flags = read_u8(reader);
    command->name = read_slice8(reader);
    command->account_key = read_bytes(reader, PUBLIC_KEY_BYTES);
    command->device_key = read_bytes(reader, PUBLIC_KEY_BYTES);
    command->token_hash = read_bytes(reader, TOKEN_BYTES);
}

/* What follows the kind, or `beyond`; false: no such kind. */
static bool decode_fields(struct command *command, struct reader *reader)
{
    switch (command->kind) {
    case COMMAND_GENESIS:
        command->secret = read_bytes(reader, SECRET_BYTES);
        command->slots = read_u8(reader);
        command->segment_bytes = read_u64(reader);
        return true;
    case COMMAND_INVITE:
        command->token_hash = read_bytes(reader, TOKEN_BYTES);
        command->uses = read_u32(reader);
        command->expires_us = read_u64(reader);
        return true;
    case COMMAND_ENROL:
        decode_enrol(command, reader);
        return true;
    case COMMAND_RESTORED:
        command->cluster = read_bytes(reader, IDENTITY_BYTES);
        command->shared_index = read_u64(reader);
        return true;
    case COMMAND_LEVEL:
        command->level = read_u16(reader);
        return true;
    case COMMAND_POST:
        decode_post(command, reader);
        return true;
    case COMMAND_CREATE:
        command->room = read_slice8(reader);
        command->flags = read_u8(reader);
        command->text = read_slice16(reader);
        return true;
    case COMMAND_JOIN:
    case COMMAND_PART:
        command->room = read_slice8(reader);
        return true;
    case COMMAND_TOPIC:
        command->room = read_slice8(reader);
        command->text = read_slice16(reader);
        return true;
    case COMMAND_READ:
        command->room = read_slice8(reader);
        command->read_seq = read_u64(reader);
        return true;
    case COMMAND_DELETE:
        decode_delete(command, reader);
        return true;
    case COMMAND_FORMED:
    case COMMAND_HEALTH:
    case COMMAND_CLOSE:
    case COMMAND_VOID:
        return true;
    default:
        return false;
    }
}

bool command_decode(struct command *command, struct slice body)
{
    CHECK(command != NULL);
    memset(command, 0, sizeof *command);
    if (!body.len || body.len > LIMIT_COMMAND_BYTES)
        return false;
    struct reader reader = reader_of(body.data, body.len);
    command->kind = read_u8(&reader);
    if (command->kind >= COMMAND_DEVICE_KINDS) {
        command->device = read_u32(&reader);
        command->seq = read_u64(&reader);
        command->beyond = read_u8(&reader);
        uint32_t stamp = read_u32(&reader);
        command->account = stamp & ~COMMAND_OVER_LONG;
        command->over_long = (stamp & COMMAND_OVER_LONG) != 0;
        command->tag = read_u64(&reader);
        if (reader.bad || !device_fields_hold(command))
            return false;
        command->content = (struct slice) { reader.at, reader_left(&reader) };
    } else {
        command->nonce = read_u64(&reader);
    }
    return decode_fields(command, &reader) && reader_finished(&reader) && lengths_hold(command) &&
           flags_hold(command);
}

struct slice command_post_text(struct slice content)
{
    struct command command = { .kind = COMMAND_POST };
    struct reader reader = reader_of(content.data, content.len);
    decode_post(&command, &reader);
    return reader.bad ? (struct slice) { NULL, 0 } : command.text;
}

uint16_t command_level(struct slice body)
{
    struct command command;
    bool rises = body.len && body.data[0] == COMMAND_LEVEL && command_decode(&command, body);
    return rises ? command.level : FEATURE_LEVEL_FIRST;
}

static void encode_post(const struct command *command, struct writer *writer)
{
    CHECK(command->salt != NULL);
    write_slice8(writer, command->room.data, command->room.len);
    write_copy(writer, command->salt, SALT_BYTES);
    write_u8(writer, command->flags);
    if (command->flags & (POST_SENT | POST_CLOCK))
        write_u64(writer, command->sent_us);
    if (command->flags & POST_REPLY_UID)
        write_u64(writer, command->reply_tag);
    if (command->flags & (POST_REPLY | POST_REPLY_UID))
        write_u64(writer, command->reply_to);
    write_copy(writer, command->text.data, command->text.len);
}

static void encode_enrol(const struct command *command, struct writer *writer)
{
    CHECK(command->account_key != NULL);
    CHECK(command->device_key != NULL);
    write_u8(writer, command->flags);
    write_slice8(writer, command->name.data, command->name.len);
    write_copy(writer, command->account_key, PUBLIC_KEY_BYTES);
    write_copy(writer, command->device_key, PUBLIC_KEY_BYTES);
    uint8_t *token = write_room(writer, TOKEN_BYTES);
    if (token && command->token_hash)
        memcpy(token, command->token_hash, TOKEN_BYTES);
    else if (token)
        memset(token, 0, TOKEN_BYTES);
}

static void write_target(const struct command_target *target, struct writer *writer)
{
    write_u8(writer, target->state);
    write_u64(writer, target->index);
    write_u32(writer, target->author);
    write_u32(writer, target->check);
}

static void encode_room_fields(const struct command *command, struct writer *writer)
{
    write_slice8(writer, command->room.data, command->room.len);
    if (command->kind == COMMAND_CREATE)
        write_u8(writer, command->flags);
    if (command->kind == COMMAND_CREATE || command->kind == COMMAND_TOPIC)
        write_slice16(writer, command->text.data, command->text.len);
    if (command->kind == COMMAND_READ || command->kind == COMMAND_DELETE)
        write_u64(writer, command->read_seq);
    if (command->kind == COMMAND_DELETE && command->target.state != TARGET_UNKNOWN)
        write_target(&command->target, writer);
}

static void encode_fields(const struct command *command, struct writer *writer)
{
    switch (command->kind) {
    case COMMAND_GENESIS:
        CHECK(command->secret != NULL);
        write_copy(writer, command->secret, SECRET_BYTES);
        write_u8(writer, command->slots);
        write_u64(writer, command->segment_bytes);
        return;
    case COMMAND_INVITE:
        CHECK(command->token_hash != NULL);
        write_copy(writer, command->token_hash, TOKEN_BYTES);
        write_u32(writer, command->uses);
        write_u64(writer, command->expires_us);
        return;
    case COMMAND_ENROL:
        encode_enrol(command, writer);
        return;
    case COMMAND_RESTORED:
        CHECK(command->cluster != NULL);
        write_copy(writer, command->cluster, IDENTITY_BYTES);
        write_u64(writer, command->shared_index);
        return;
    case COMMAND_LEVEL:
        write_u16(writer, command->level);
        return;
    case COMMAND_POST:
        encode_post(command, writer);
        return;
    case COMMAND_CREATE:
    case COMMAND_JOIN:
    case COMMAND_PART:
    case COMMAND_TOPIC:
    case COMMAND_READ:
    case COMMAND_DELETE:
        encode_room_fields(command, writer);
        return;
    case COMMAND_FORMED:
    case COMMAND_HEALTH:
    case COMMAND_CLOSE:
    case COMMAND_VOID:
        return;
    default:
        writer->full = true;
    }
}

size_t command_encode(const struct command *command, uint8_t *out, size_t capacity)
{
    CHECK(command != NULL);
    CHECK(out != NULL);
    if (!lengths_hold(command) || !flags_hold(command))
        return 0;
    struct writer writer = writer_of(out, capacity);
    write_u8(&writer, command->kind);
    if (command->kind >= COMMAND_DEVICE_KINDS) {
        if (!device_fields_hold(command))
            return 0;
        write_u32(&writer, command->device);
        write_u64(&writer, command->seq);
        write_u8(&writer, command->beyond);
        write_u32(&writer, command->account | (command->over_long ? COMMAND_OVER_LONG : 0));
        write_u64(&writer, command->tag);
    } else {
        write_u64(&writer, command->nonce);
    }
    encode_fields(command, &writer);
    return writer.full ? 0 : writer_used(&writer);
}

uint64_t command_digest(const struct command *command, const struct crypto *crypto)
{
    CHECK(command->kind >= COMMAND_DEVICE_KINDS);
    if (command->kind == COMMAND_POST && command->flags & POST_ERASED)
        return bytes_get_u64(command->salt);
    return body_content_digest(crypto, command->kind, command->content.data, command->content.len);
}

size_t command_set_target(uint8_t *body, size_t len, const struct command_target *target)
{
    struct command command;
    bool decoded = command_decode(&command, (struct slice) { body, len });
    CHECK(decoded && command.kind == COMMAND_DELETE);
    struct writer writer =
        writer_of(body + COMMAND_HEAD_BYTES + command.content.len, COMMAND_TARGET_BYTES);
    write_target(target, &writer);
    CHECK(!writer.full);
    return COMMAND_HEAD_BYTES + command.content.len + COMMAND_TARGET_BYTES;
}
