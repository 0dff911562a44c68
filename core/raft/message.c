#include "core/raft/message.h"

#include "core/check.h"

static void encode_append(struct writer *writer, const struct raft_append *append)
{
    CHECK(!(append->flags & APPEND_HAS_CHAIN) == !append->chain);
    write_u8(writer, append->flags);
    write_u64(writer, append->session);
    write_u64(writer, append->round);
    write_u64(writer, append->sent_us);
    write_u64(writer, append->prev_index);
    write_u64(writer, append->prev_term);
    write_u64(writer, append->commit);
    write_u32(writer, append->heartbeat_us);
    write_u32(writer, append->timeout_us);
    if (append->chain)
        write_copy(writer, append->chain, HASH_BYTES);
}

static void encode_append_reply(struct writer *writer, const struct raft_append_reply *reply)
{
    write_u8(writer, reply->flags);
    write_u64(writer, reply->session);
    write_u64(writer, reply->round);
    write_u64(writer, reply->sent_us);
    write_u64(writer, reply->match);
    write_u64(writer, reply->accepted);
    write_u64(writer, reply->rejected);
    write_u64(writer, reply->conflict_index);
    write_u64(writer, reply->conflict_term);
    write_u64(writer, reply->wall_us);
    write_u32(writer, reply->room);
    write_u32(writer, reply->flush_us);
}

size_t raft_message_encode(const struct raft_message *message, uint8_t *out, size_t capacity)
{
    struct writer writer = writer_of(out, capacity);
    write_u8(&writer, PEER_RAFT);
    write_u8(&writer, (uint8_t)message->kind);
    write_u64(&writer, message->term);
    switch (message->kind) {
    case RAFT_APPEND:
        encode_append(&writer, &message->append);
        break;
    case RAFT_APPEND_REPLY:
        encode_append_reply(&writer, &message->append_reply);
        break;
    case RAFT_VOTE_REQUEST:
        write_u8(&writer, message->vote_request.flags);
        write_u64(&writer, message->vote_request.last_index);
        write_u64(&writer, message->vote_request.last_term);
        write_u64(&writer, message->vote_request.sent_us);
        break;
    case RAFT_VOTE_REPLY:
        write_u8(&writer, message->vote_reply.flags);
        write_u64(&writer, message->vote_reply.asked_term);
        write_u64(&writer, message->vote_reply.sent_us);
        write_u8(&writer, message->vote_reply.leader);
        write_u32(&writer, message->vote_reply.flush_us);
        break;
    case RAFT_TIMEOUT_NOW:
        break;
    }
    CHECK(!writer.full);
    CHECK(message->term > 0);
    return writer_used(&writer);
}

static bool decode_append(struct reader *reader, struct raft_append *append)
{
    append->flags = read_u8(reader);
    append->session = read_u64(reader);
    append->round = read_u64(reader);
    append->sent_us = read_u64(reader);
    append->prev_index = read_u64(reader);
    append->prev_term = read_u64(reader);
    append->commit = read_u64(reader);
    append->heartbeat_us = read_u32(reader);
    append->timeout_us = read_u32(reader);
    append->chain = append->flags & APPEND_HAS_CHAIN ? read_bytes(reader, HASH_BYTES) : NULL;
    append->entries = read_slice(reader, reader_left(reader));
    if (append->flags &
        ~(APPEND_WANTS_REPLY | APPEND_HAS_CHAIN | APPEND_DISK_FULL | APPEND_COPY | APPEND_IS_ALL))
        return false;
    return (append->prev_index == 0) == (append->prev_term == 0);
}

static bool decode_append_reply(struct reader *reader, struct raft_append_reply *reply)
{
    reply->flags = read_u8(reader);
    reply->session = read_u64(reader);
    reply->round = read_u64(reader);
    reply->sent_us = read_u64(reader);
    reply->match = read_u64(reader);
    reply->accepted = read_u64(reader);
    reply->rejected = read_u64(reader);
    reply->conflict_index = read_u64(reader);
    reply->conflict_term = read_u64(reader);
    reply->wall_us = read_u64(reader);
    reply->room = read_u32(reader);
    reply->flush_us = read_u32(reader);
    if (reply->flags &
        ~(REPLY_REJECTED | REPLY_AT_ONCE | REPLY_DISK_FULL | REPLY_COPYING | REPLY_LOST))
        return false;
    if (reply->flags & REPLY_REJECTED && reply->conflict_index > reply->rejected)
        return false;
    return reply->match <= reply->accepted;
}

static bool decode_vote_request(struct reader *reader, struct raft_vote_request *request)
{
    request->flags = read_u8(reader);
    request->last_index = read_u64(reader);
    request->last_term = read_u64(reader);
    request->sent_us = read_u64(reader);
    if (request->flags & ~(VOTE_PRE | VOTE_TRANSFER))
        return false;
    return request->flags != (VOTE_PRE | VOTE_TRANSFER);
}

static bool decode_vote_reply(struct reader *reader, struct raft_vote_reply *reply)
{
    reply->flags = read_u8(reader);
    reply->asked_term = read_u64(reader);
    reply->sent_us = read_u64(reader);
    reply->leader = read_u8(reader);
    reply->flush_us = read_u32(reader);
    return !(reply->flags & ~(VOTE_PRE | VOTE_GRANTED)) && reply->leader <= LIMIT_NODES;
}

bool raft_message_decode(struct raft_message *message, struct slice data)
{
    struct reader reader = reader_of(data.data, data.len);
    bool good = true;
    *message = (struct raft_message) { 0 };
    message->kind = (enum raft_message_kind)read_u8(&reader);
    message->term = read_u64(&reader);
    switch (message->kind) {
    case RAFT_APPEND:
        good = decode_append(&reader, &message->append);
        break;
    case RAFT_APPEND_REPLY:
        good = decode_append_reply(&reader, &message->append_reply);
        break;
    case RAFT_VOTE_REQUEST:
        good = decode_vote_request(&reader, &message->vote_request);
        break;
    case RAFT_VOTE_REPLY:
        good = decode_vote_reply(&reader, &message->vote_reply);
        break;
    case RAFT_TIMEOUT_NOW:
        break;
    default:
        return false;
    }
    /* Terms are counted up one by one: the upper half of the numbers is never reached. */
    return good && message->term > 0 && message->term < UINT64_MAX / 2 && reader_finished(&reader);
}
