#include "core/wire.h"

static struct writer message_of(enum wire_type type, uint8_t *out, size_t capacity)
{
    struct writer writer = writer_of(out, capacity);
    write_u8(&writer, (uint8_t)type);
    return writer;
}

static size_t finished(const struct writer *writer)
{
    return writer->full ? 0 : writer_used(writer);
}

/* The fields of a message: what follows its type byte, which must be `type`. */
static struct reader fields_of(enum wire_type type, struct slice message)
{
    struct reader reader = reader_of(message.data, message.len);
    if (read_u8(&reader) != (uint8_t)type)
        reader.bad = true;
    return reader;
}

/* A bool travels as 0 or 1; anything else is malformed. */
static bool read_bool(struct reader *reader)
{
    uint8_t value = read_u8(reader);
    reader->bad |= value > 1;
    return value == 1;
}

static enum chat_code read_code(struct reader *reader)
{
    uint8_t value = read_u8(reader);
    reader->bad |= value >= CODES;
    return (enum chat_code)(value < CODES ? value : CODE_BAD_REQUEST);
}

/* It is printed as it is: in tables, and between quotes. */
static bool is_printable(struct slice text)
{
    for (size_t i = 0; i < text.len; i++)
        if (text.data[i] <= ' ' || text.data[i] >= 0x7f || text.data[i] == '"' ||
            text.data[i] == '\\')
            return false;
    return true;
}

size_t wire_encode_enrol(const struct wire_enrol *in, uint8_t *out, size_t capacity)
{
    struct writer writer = message_of(WIRE_ENROL, out, capacity);
    write_u8(&writer, in->is_register);
    write_slice8(&writer, in->name.data, in->name.len);
    write_copy(&writer, in->account_key, PUBLIC_KEY_BYTES);
    write_copy(&writer, in->device_key, PUBLIC_KEY_BYTES);
    write_slice8(&writer, in->token.data, in->token.len);
    write_copy(&writer, in->signature, SIGNATURE_BYTES);
    return finished(&writer);
}

bool wire_decode_enrol(struct wire_enrol *out, struct slice message)
{
    struct reader reader = fields_of(WIRE_ENROL, message);
    out->is_register = read_bool(&reader);
    out->name = read_slice8(&reader);
    out->account_key = read_bytes(&reader, PUBLIC_KEY_BYTES);
    out->device_key = read_bytes(&reader, PUBLIC_KEY_BYTES);
    out->token = read_slice8(&reader);
    out->signature = read_bytes(&reader, SIGNATURE_BYTES);
    return reader_finished(&reader) && (out->token.len == 0 || out->token.len == WIRE_TOKEN_BYTES);
}

size_t wire_encode_login(const struct wire_login *in, uint8_t *out, size_t capacity)
{
    struct writer writer = message_of(WIRE_LOGIN, out, capacity);
    write_copy(&writer, in->device_key, PUBLIC_KEY_BYTES);
    write_copy(&writer, in->signature, SIGNATURE_BYTES);
    write_u8(&writer, in->stream);
    write_u64(&writer, in->resume_index);
    write_u64(&writer, in->floor_index);
    write_copy(&writer, in->cluster, IDENTITY_BYTES);
    return finished(&writer);
}

bool wire_decode_login(struct wire_login *out, struct slice message)
{
    struct reader reader = fields_of(WIRE_LOGIN, message);
    out->device_key = read_bytes(&reader, PUBLIC_KEY_BYTES);
    out->signature = read_bytes(&reader, SIGNATURE_BYTES);
    out->stream = read_bool(&reader);
    out->resume_index = read_u64(&reader);
    out->floor_index = read_u64(&reader);
    read_copy(&reader, out->cluster, IDENTITY_BYTES);
    return reader_finished(&reader);
}

size_t wire_encode_ready(const struct wire_ready *in, uint8_t *out, size_t capacity)
{
    struct writer writer = message_of(WIRE_READY, out, capacity);
    write_u8(&writer, in->node);
    write_u8(&writer, in->leader);
    write_u8(&writer, in->quorum);
    write_u8(&writer, in->stale);
    write_u32(&writer, in->device);
    write_u64(&writer, in->last);
    write_u64(&writer, in->applied);
    write_u32(&writer, in->message_bytes);
    write_copy(&writer, in->cluster, IDENTITY_BYTES);
    write_u64(&writer, in->shared_index);
    write_slice8(&writer, in->user.data, in->user.len);
    return finished(&writer);
}

bool wire_decode_ready(struct wire_ready *out, struct slice message)
{
    struct reader reader = fields_of(WIRE_READY, message);
    out->node = read_u8(&reader);
    out->leader = read_u8(&reader);
    out->quorum = read_bool(&reader);
    out->stale = read_bool(&reader);
    out->device = read_u32(&reader);
    out->last = read_u64(&reader);
    out->applied = read_u64(&reader);
    out->message_bytes = read_u32(&reader);
    read_copy(&reader, out->cluster, IDENTITY_BYTES);
    out->shared_index = read_u64(&reader);
    out->user = read_slice8(&reader);
    return reader_finished(&reader);
}

size_t wire_encode_answer(const struct wire_answer *in, uint8_t *out, size_t capacity)
{
    struct writer writer = message_of(WIRE_ANSWER, out, capacity);
    write_u64(&writer, in->seq);
    write_u64(&writer, in->digest);
    write_u8(&writer, (uint8_t)in->code);
    write_slice8(&writer, in->room.data, in->room.len);
    write_u64(&writer, in->room_seq);
    write_u64(&writer, in->index);
    write_u64(&writer, in->time_us);
    return finished(&writer);
}

bool wire_decode_answer(struct wire_answer *out, struct slice message)
{
    struct reader reader = fields_of(WIRE_ANSWER, message);
    out->seq = read_u64(&reader);
    out->digest = read_u64(&reader);
    out->code = read_code(&reader);
    out->room = read_slice8(&reader);
    out->room_seq = read_u64(&reader);
    out->index = read_u64(&reader);
    out->time_us = read_u64(&reader);
    return reader_finished(&reader);
}

size_t wire_encode_query(const struct wire_query *in, uint8_t *out, size_t capacity)
{
    struct writer writer = message_of(WIRE_QUERY, out, capacity);
    write_u64(&writer, in->id);
    write_u8(&writer, in->kind);
    write_slice8(&writer, in->room.data, in->room.len);
    write_u64(&writer, in->before);
    write_u64(&writer, in->after);
    write_u8(&writer, in->has_after);
    write_u16(&writer, in->limit);
    write_u64(&writer, in->floor_index);
    return finished(&writer);
}

bool wire_decode_query(struct wire_query *out, struct slice message)
{
    struct reader reader = fields_of(WIRE_QUERY, message);
    out->id = read_u64(&reader);
    out->kind = read_u8(&reader);
    out->room = read_slice8(&reader);
    out->before = read_u64(&reader);
    out->after = read_u64(&reader);
    out->has_after = read_bool(&reader);
    out->limit = read_u16(&reader);
    out->floor_index = read_u64(&reader);
    return reader_finished(&reader) && out->kind >= QUERY_HISTORY && out->kind <= QUERY_STATUS;
}

size_t wire_encode_result(const struct wire_result *in, uint8_t *out, size_t capacity)
{
    struct writer writer = message_of(WIRE_RESULT, out, capacity);
    write_u64(&writer, in->id);
    write_u8(&writer, (uint8_t)in->code);
    write_u8(&writer, in->flags);
    write_u8(&writer, in->kind);
    write_copy(&writer, in->rows.data, in->rows.len);
    return finished(&writer);
}

bool wire_decode_result(struct wire_result *out, struct slice message)
{
    struct reader reader = fields_of(WIRE_RESULT, message);
    out->id = read_u64(&reader);
    out->code = read_code(&reader);
    out->flags = read_u8(&reader);
    out->kind = read_u8(&reader);
    out->rows = read_slice(&reader, reader_left(&reader));
    return reader_finished(&reader);
}

size_t wire_encode_cluster(const struct wire_cluster *in, uint8_t *out, size_t capacity)
{
    struct writer writer = message_of(WIRE_CLUSTER, out, capacity);
    write_u8(&writer, in->node);
    write_u8(&writer, in->leader);
    write_u8(&writer, in->quorum);
    write_u8(&writer, in->healthy);
    write_u64(&writer, in->term);
    return finished(&writer);
}

bool wire_decode_cluster(struct wire_cluster *out, struct slice message)
{
    struct reader reader = fields_of(WIRE_CLUSTER, message);
    out->node = read_u8(&reader);
    out->leader = read_u8(&reader);
    out->quorum = read_bool(&reader);
    out->healthy = read_u8(&reader);
    out->term = read_u64(&reader);
    return reader_finished(&reader);
}

size_t wire_encode_hello(const struct wire_hello *in, uint8_t *out, size_t capacity)
{
    struct writer writer = message_of(WIRE_PEER_HELLO, out, capacity);
    write_u16(&writer, in->version);
    write_u8(&writer, in->slot);
    write_copy(&writer, in->identity, IDENTITY_BYTES);
    write_copy(&writer, in->cluster, IDENTITY_BYTES);
    write_u64(&writer, in->incarnation);
    write_u16(&writer, in->feature_max);
    write_u16(&writer, in->level);
    return finished(&writer);
}

/* A newer peer may say more: what follows the known fields is left alone. */
bool wire_decode_hello(struct wire_hello *out, struct slice message)
{
    struct reader reader = fields_of(WIRE_PEER_HELLO, message);
    out->version = read_u16(&reader);
    out->slot = read_u8(&reader);
    read_copy(&reader, out->identity, IDENTITY_BYTES);
    read_copy(&reader, out->cluster, IDENTITY_BYTES);
    out->incarnation = reader_left(&reader) ? read_u64(&reader) : 0;
    out->feature_max = reader_left(&reader) ? read_u16(&reader) : 1;
    out->level = reader_left(&reader) ? read_u16(&reader) : 0;
    return !reader.bad && out->slot >= 1 && out->slot <= LIMIT_NODES;
}

size_t wire_encode_record(const struct wire_record *in, uint8_t *out, size_t capacity)
{
    struct writer writer = message_of(WIRE_RECORD, out, capacity);
    write_u8(&writer, in->kind);
    write_u8(&writer, in->flags);
    write_u64(&writer, in->seq);
    write_u64(&writer, in->index);
    write_u64(&writer, in->time_us);
    write_u64(&writer, in->sent_us);
    write_u64(&writer, in->reply_to);
    write_u64(&writer, in->reply_tag);
    write_u64(&writer, in->device_tag);
    write_u64(&writer, in->device_seq);
    write_slice8(&writer, in->room.data, in->room.len);
    write_slice8(&writer, in->from.data, in->from.len);
    write_copy(&writer, in->text.data, in->text.len);
    return finished(&writer);
}

static bool decode_record(struct wire_record *out, enum wire_type type, struct slice message)
{
    struct reader reader = fields_of(type, message);
    out->kind = read_u8(&reader);
    out->flags = read_u8(&reader);
    out->seq = read_u64(&reader);
    out->index = read_u64(&reader);
    out->time_us = read_u64(&reader);
    out->sent_us = read_u64(&reader);
    out->reply_to = read_u64(&reader);
    out->reply_tag = read_u64(&reader);
    out->device_tag = read_u64(&reader);
    out->device_seq = read_u64(&reader);
    out->room = read_slice8(&reader);
    out->from = read_slice8(&reader);
    out->text = read_slice(&reader, reader_left(&reader));
    return reader_finished(&reader);
}

bool wire_decode_record(struct wire_record *out, struct slice message)
{
    return decode_record(out, WIRE_RECORD, message);
}

bool wire_decode_held_record(struct wire_record *out, struct slice message)
{
    return decode_record(out, WIRE_HELD_RECORD, message) && !out->index && !out->seq;
}

size_t wire_encode_member(const struct wire_member *in, uint8_t *out, size_t capacity)
{
    struct writer writer = message_of(WIRE_MEMBER, out, capacity);
    write_u8(&writer, in->op);
    write_u8(&writer, in->slot);
    write_u8(&writer, in->force);
    write_u16(&writer, in->port);
    write_slice8(&writer, in->host.data, in->host.len);
    return finished(&writer);
}

bool wire_decode_member(struct wire_member *out, struct slice message)
{
    struct reader reader = fields_of(WIRE_MEMBER, message);
    out->op = read_u8(&reader);
    out->slot = read_u8(&reader);
    out->force = read_bool(&reader);
    out->port = read_u16(&reader);
    out->host = read_slice8(&reader);
    return reader_finished(&reader) && out->op >= WIRE_MEMBER_ADD &&
           out->op <= WIRE_MEMBER_REPLACE && out->slot >= 1 && out->slot <= LIMIT_NODES &&
           out->host.len <= LIMIT_HOST_BYTES && (out->port != 0) == (out->host.len != 0) &&
           is_printable(out->host);
}

size_t wire_encode_members(const struct wire_members *in, uint8_t *out, size_t capacity)
{
    struct writer writer = message_of(WIRE_MEMBERS_IS, out, capacity);
    write_u8(&writer, in->node);
    write_u8(&writer, in->leader);
    write_u8(&writer, in->leads);
    write_u8(&writer, in->pending);
    write_u8(&writer, in->formed);
    write_u8(&writer, in->ini_differs);
    write_u64(&writer, in->index);
    write_u64(&writer, in->last_index);
    write_copy(&writer, in->cluster, IDENTITY_BYTES);
    write_u8(&writer, (uint8_t)in->count);
    for (unsigned i = 0; i < in->count; i++) {
        const struct wire_seat *seat = &in->seats[i];
        write_u8(&writer, seat->slot);
        write_u8(&writer, seat->role);
        write_u8(&writer, seat->linked);
        write_u64(&writer, seat->match);
        write_copy(&writer, seat->identity, IDENTITY_BYTES);
        write_u16(&writer, seat->port);
        write_slice8(&writer, seat->host.data, seat->host.len);
    }
    return finished(&writer);
}

bool wire_decode_members(struct wire_members *out, struct slice message)
{
    struct reader reader = fields_of(WIRE_MEMBERS_IS, message);
    *out = (struct wire_members) { .node = read_u8(&reader) };
    out->leader = read_u8(&reader);
    out->leads = read_bool(&reader);
    out->pending = read_bool(&reader);
    out->formed = read_bool(&reader);
    out->ini_differs = read_u8(&reader);
    out->index = read_u64(&reader);
    out->last_index = read_u64(&reader);
    read_copy(&reader, out->cluster, IDENTITY_BYTES);
    out->count = read_u8(&reader);
    if (out->count > LIMIT_NODES)
        return false;
    for (unsigned i = 0; i < out->count; i++) {
        struct wire_seat *seat = &out->seats[i];
        seat->slot = read_u8(&reader);
        seat->role = read_u8(&reader);
        seat->linked = read_bool(&reader);
        seat->match = read_u64(&reader);
        read_copy(&reader, seat->identity, IDENTITY_BYTES);
        seat->port = read_u16(&reader);
        seat->host = read_slice8(&reader);
        if (seat->slot < 1 || seat->slot > LIMIT_NODES || seat->role > SEAT_VACANT ||
            seat->host.len > LIMIT_HOST_BYTES || !is_printable(seat->host))
            return false;
    }
    return reader_finished(&reader);
}

size_t wire_encode_log(const struct wire_log *in, uint8_t *out, size_t capacity)
{
    struct writer writer = message_of(WIRE_LOG, out, capacity);
    write_u8(&writer, in->base);
    write_u64(&writer, in->index);
    write_u64(&writer, in->offset);
    write_u32(&writer, in->bytes);
    return finished(&writer);
}

bool wire_decode_log(struct wire_log *out, struct slice message)
{
    struct reader reader = fields_of(WIRE_LOG, message);
    uint8_t base = read_u8(&reader);
    out->base = base;
    out->index = read_u64(&reader);
    out->offset = read_u64(&reader);
    out->bytes = read_u32(&reader);
    return reader_finished(&reader) && base <= 1 && out->index > 0 && out->bytes > 0;
}

size_t wire_encode_log_is(const struct wire_log_is *in, uint8_t *out, size_t capacity)
{
    struct writer writer = message_of(WIRE_LOG_IS, out, capacity);
    write_u8(&writer, (uint8_t)in->code);
    write_u64(&writer, in->commit);
    write_u64(&writer, in->first);
    write_u64(&writer, in->segment_bytes);
    write_u64(&writer, in->size);
    write_copy(&writer, in->cluster, IDENTITY_BYTES);
    return finished(&writer);
}

bool wire_decode_log_is(struct wire_log_is *out, struct slice message)
{
    struct reader reader = fields_of(WIRE_LOG_IS, message);
    out->code = read_code(&reader);
    out->commit = read_u64(&reader);
    out->first = read_u64(&reader);
    out->segment_bytes = read_u64(&reader);
    out->size = read_u64(&reader);
    read_copy(&reader, out->cluster, IDENTITY_BYTES);
    if (reader.bad || out->first == 0)
        return false;
    out->data = (struct slice) { reader.at, reader_left(&reader) };
    return true;
}

/* The numbers of a status, in the order in which they travel. */
enum { STATUS_NUMBERS = 26 };
static void status_numbers(struct wire_status *status, uint64_t *at[STATUS_NUMBERS])
{
    uint64_t *numbers[STATUS_NUMBERS] = {
        &status->term,
        &status->commit,
        &status->applied,
        &status->last_index,
        &status->lag,
        &status->held,
        &status->clients,
        &status->rtt_us,
        &status->fsync_p50_us,
        &status->fsync_p99_us,
        &status->disk_free_bytes,
        &status->rss_bytes,
        &status->uptime_s,
        &status->pid,
        &status->feature_level,
        &status->feature_max,
        &status->damaged,
        &status->mended,
        &status->proved,
        &status->elections,
        &status->accepted,
        &status->refused_cap,
        &status->refused_deadline,
        &status->refused_garbage,
        &status->refused_truncated,
        &status->refused_oversized,
    };
    memcpy(at, numbers, sizeof(numbers));
}

size_t wire_encode_fetch(const struct wire_fetch *in, uint8_t *out, size_t capacity)
{
    struct writer writer = writer_of(out, capacity);
    write_u8(&writer, WIRE_PEER_FETCH);
    write_u64(&writer, in->id);
    write_u8(&writer, in->kind);
    write_u64(&writer, in->index);
    write_u64(&writer, in->offset);
    write_u32(&writer, in->bytes);
    return writer.full ? 0 : writer_used(&writer);
}

bool wire_decode_fetch(struct wire_fetch *out, struct slice message)
{
    struct reader reader = reader_of(message.data, message.len);
    (void)read_u8(&reader);
    out->id = read_u64(&reader);
    out->kind = read_u8(&reader);
    out->index = read_u64(&reader);
    out->offset = read_u64(&reader);
    out->bytes = read_u32(&reader);
    return reader_finished(&reader) && out->kind >= FETCH_OFFER && out->kind <= FETCH_CHECKPOINT &&
           out->bytes > 0;
}

size_t wire_encode_fetched(const struct wire_fetched *in, uint8_t *out, size_t capacity)
{
    struct writer writer = writer_of(out, capacity);
    write_u8(&writer, WIRE_PEER_FETCHED);
    write_u64(&writer, in->id);
    write_u8(&writer, in->kind);
    write_u8(&writer, in->code);
    write_u64(&writer, in->index);
    write_u64(&writer, in->offset);
    write_u64(&writer, in->size);
    write_u64(&writer, in->commit);
    return writer.full ? 0 : writer_used(&writer);
}

bool wire_decode_fetched(struct wire_fetched *out, struct slice message)
{
    struct reader reader = reader_of(message.data, message.len);
    (void)read_u8(&reader);
    out->id = read_u64(&reader);
    out->kind = read_u8(&reader);
    out->code = read_u8(&reader);
    out->index = read_u64(&reader);
    out->offset = read_u64(&reader);
    out->size = read_u64(&reader);
    out->commit = read_u64(&reader);
    out->data = read_slice(&reader, reader_left(&reader));
    return reader_finished(&reader) && out->kind >= FETCH_OFFER && out->kind <= FETCH_CHECKPOINT &&
           out->code <= FETCH_FAILED;
}

size_t wire_encode_offer(const struct wire_offer *in, uint8_t *out, size_t capacity)
{
    struct writer writer = writer_of(out, capacity);
    write_u64(&writer, in->oldest);
    write_u64(&writer, in->newest);
    write_u64(&writer, in->segment_bytes);
    return writer.full ? 0 : writer_used(&writer);
}

bool wire_decode_offer(struct wire_offer *out, struct slice data)
{
    struct reader reader = reader_of(data.data, data.len);
    out->oldest = read_u64(&reader);
    out->newest = read_u64(&reader);
    out->segment_bytes = read_u64(&reader);
    return reader_finished(&reader) && out->oldest > 0 && out->newest >= out->oldest &&
           out->newest < UINT64_MAX / 2 && out->segment_bytes > 0 &&
           out->segment_bytes <= UINT32_MAX / 2;
}

size_t wire_encode_status(const struct wire_status *in, uint8_t *out, size_t capacity)
{
    struct wire_status copy = *in;
    uint64_t *numbers[STATUS_NUMBERS];
    status_numbers(&copy, numbers);
    struct writer writer = message_of(WIRE_STATUS_IS, out, capacity);
    write_u8(&writer, in->node);
    write_u8(&writer, in->role);
    write_u8(&writer, in->quorum);
    write_u8(&writer, in->formed);
    write_u8(&writer, in->disk_full);
    write_u8(&writer, in->leader);
    write_u8(&writer, in->members);
    write_u8(&writer, in->voters);
    write_u8(&writer, in->healthy);
    write_copy(&writer, in->identity, IDENTITY_BYTES);
    write_copy(&writer, in->cluster, IDENTITY_BYTES);
    for (unsigned i = 0; i < STATUS_NUMBERS; i++)
        write_u64(&writer, *numbers[i]);
    write_slice8(&writer, in->version.data, in->version.len);
    write_u8(&writer, in->twins);
    write_u8(&writer, in->ini_differs);
    return finished(&writer);
}

/* As with a HELLO, an older node says less and a newer one more. */
bool wire_decode_status(struct wire_status *out, struct slice message)
{
    memset(out, 0, sizeof(*out));
    uint64_t *numbers[STATUS_NUMBERS];
    status_numbers(out, numbers);
    struct reader reader = fields_of(WIRE_STATUS_IS, message);
    out->node = read_u8(&reader);
    out->role = read_u8(&reader);
    out->quorum = read_bool(&reader);
    out->formed = read_bool(&reader);
    out->disk_full = read_bool(&reader);
    out->leader = read_u8(&reader);
    out->members = read_u8(&reader);
    out->voters = read_u8(&reader);
    out->healthy = read_u8(&reader);
    read_copy(&reader, out->identity, IDENTITY_BYTES);
    read_copy(&reader, out->cluster, IDENTITY_BYTES);
    for (unsigned i = 0; i < STATUS_NUMBERS; i++)
        *numbers[i] = read_u64(&reader);
    out->version = read_slice8(&reader);
    if (reader_left(&reader)) {
        out->twins = read_bool(&reader);
        out->ini_differs = read_u8(&reader);
    }
    return !reader.bad && out->role < WIRE_ROLES && is_printable(out->version);
}
