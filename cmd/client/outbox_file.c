#include "cmd/client/outbox_file.h"

#include "cmd/crypto_sodium.h"
#include "core/check.h"
#include "core/crypto.h"

#include <stdlib.h>

static const char magic[] = "FTCHST1\n";
enum {
    MAGIC_BYTES = 8,
    HEAD_BYTES = 12, /* size and check */
    RECORD_MAX = LIMIT_COMMAND_BYTES + LIMIT_LINE_BYTES + 64,
};
enum record_type {
    RECORD_DEVICE = 1,
    RECORD_ENROLLED = 2,
    RECORD_COUNTS = 3,
    RECORD_CURSOR_AT = 4,
    RECORD_PUT = 5,
    RECORD_DONE = 6,
    RECORD_SEEN = 7,
    RECORD_FORGOT = 8,
};

static uint64_t check_of(const void *data, size_t len)
{
    static const uint8_t key[DIGEST_KEY_BYTES] = "ftchat outbox 1";
    return crypto_sodium.digest(key, data, len);
}

/* --- Writing ---------------------------------------------------------------------------------- */

static void add_record(struct text_out *out, const void *fields, size_t fields_len,
                       struct slice tail)
{
    size_t head_at = text_len(out);
    uint8_t head[HEAD_BYTES] = { 0 };
    bytes_put_u32(head, (uint32_t)(fields_len + tail.len));
    text_add(out, head, sizeof head);
    text_add(out, fields, fields_len);
    text_add(out, tail.data, tail.len);
    uint8_t *at = (uint8_t *)out->data + out->start + head_at;
    bytes_put_u64(at + 4, check_of(at + HEAD_BYTES, fields_len + tail.len));
}

static void add_numbers(struct text_out *out, enum record_type type, const uint64_t *numbers,
                        size_t count)
{
    uint8_t fields[1 + 3 * 8] = { (uint8_t)type };
    CHECK(count <= 3);
    for (size_t i = 0; i < count; i++)
        bytes_put_u64(fields + 1 + 8 * i, numbers[i]);
    add_record(out, fields, 1 + 8 * count, (struct slice) { NULL, 0 });
}

void outbox_write_magic(struct text_out *out)
{
    text_add(out, magic, MAGIC_BYTES);
}

void outbox_write_device(struct text_out *out, const uint8_t secret_key[SECRET_KEY_BYTES])
{
    uint8_t type = RECORD_DEVICE;
    add_record(out, &type, 1, (struct slice) { secret_key, SECRET_KEY_BYTES });
}

void outbox_write_enrolled(struct text_out *out, uint32_t device, uint64_t index)
{
    uint8_t fields[13] = { RECORD_ENROLLED };
    bytes_put_u32(fields + 1, device);
    bytes_put_u64(fields + 5, index);
    add_record(out, fields, sizeof fields, (struct slice) { NULL, 0 });
}

void outbox_write_counts(struct text_out *out, const struct client_recovered *recovered)
{
    const uint64_t numbers[] = { recovered->last_number, recovered->last_seq, recovered->done_seq };
    add_numbers(out, RECORD_COUNTS, numbers, 3);
}

void outbox_write_cursor(struct text_out *out, uint64_t index, uint64_t floor,
                         const uint8_t cluster[IDENTITY_BYTES])
{
    uint8_t fields[17] = { RECORD_CURSOR_AT };
    bytes_put_u64(fields + 1, index);
    bytes_put_u64(fields + 9, floor);
    add_record(out, fields, sizeof fields, (struct slice) { cluster, IDENTITY_BYTES });
}

void outbox_write_done(struct text_out *out, uint64_t number, uint64_t seq)
{
    const uint64_t numbers[] = { number, seq };
    add_numbers(out, RECORD_DONE, numbers, 2);
}

void outbox_write_put(struct text_out *out, const struct client_entry *put)
{
    uint8_t fields[21 + LIMIT_LINE_BYTES];
    struct writer writer = writer_of(fields, sizeof fields);
    write_u8(&writer, RECORD_PUT);
    write_u64(&writer, put->number);
    write_u64(&writer, put->seq);
    write_slice32(&writer, put->id.data, put->id.len);
    CHECK(!writer.full);
    add_record(out, fields, writer_used(&writer), put->body);
}

void outbox_write_seen(struct text_out *out, uint64_t tag, uint64_t seq)
{
    const uint64_t numbers[] = { tag, seq };
    add_numbers(out, RECORD_SEEN, numbers, 2);
}

void outbox_write_forgot(struct text_out *out, uint64_t index)
{
    add_numbers(out, RECORD_FORGOT, &index, 1);
}

/* So that reading them again in this order makes the same table. */
void outbox_write_all_seen(struct text_out *out, const struct client_seen *seen)
{
    outbox_write_forgot(out, seen->forgot);
    for (unsigned set = 0; set < CLIENT_SENDERS; set++)
        for (unsigned way = CLIENT_SENDER_WAYS; way > 0; way--) {
            const struct client_sender *sender = &seen->senders[set][way - 1];
            if (sender->seq)
                outbox_write_seen(out, sender->tag, sender->seq);
        }
}

void outbox_write_all(struct text_out *out, const struct client_recovered *recovered)
{
    outbox_write_magic(out);
    outbox_write_device(out, recovered->secret_key);
    if (recovered->device)
        outbox_write_enrolled(out, recovered->device, recovered->enrolled_index);
    outbox_write_cursor(out, recovered->cursor, recovered->floor, recovered->cluster);
    if (recovered->seen)
        outbox_write_all_seen(out, recovered->seen);
    for (uint32_t i = 0; i < recovered->entry_count; i++)
        outbox_write_put(out, &recovered->entries[i]);
    outbox_write_counts(out, recovered);
}

/* --- Reading ---------------------------------------------------------------------------------- */

struct reading {
    struct client_recovered *to;
    struct client_seen *seen;
    struct client_entry *entries;
    size_t first; /* entries [first, count) are open */
    size_t count;
    size_t size;
    bool has_device;
    bool has_forgot;
};

static bool read_put(struct reading *reading, struct reader *fields)
{
    struct client_recovered *to = reading->to;
    struct client_entry put = { .number = read_u64(fields), .seq = read_u64(fields) };
    put.id = read_slice32(fields);
    put.body = read_slice(fields, fields->bad ? 0 : reader_left(fields));
    if (fields->bad || put.body.len == 0 || put.body.len > LIMIT_COMMAND_BYTES ||
        put.id.len > LIMIT_LINE_BYTES || put.number <= to->last_number ||
        (put.seq != 0 && put.seq <= to->last_seq))
        return false;
    if (reading->count == reading->size) {
        reading->size = reading->size ? 2 * reading->size : 64;
        reading->entries = realloc(reading->entries, reading->size * sizeof put);
        CHECK(reading->entries != NULL);
    }
    reading->entries[reading->count++] = put;
    to->last_number = put.number;
    if (put.seq)
        to->last_seq = put.seq;
    return true;
}

static bool read_done(struct reading *reading, struct reader *fields)
{
    uint64_t number = read_u64(fields);
    uint64_t seq = read_u64(fields);
    struct client_recovered *to = reading->to;
    if (!reader_finished(fields) || number > to->last_number || seq > to->last_seq)
        return false;
    while (reading->first < reading->count && reading->entries[reading->first].number <= number)
        reading->first++;
    if (seq > to->done_seq)
        to->done_seq = seq;
    return true;
}

static bool read_seen(struct reading *reading, struct reader *fields)
{
    uint64_t tag = read_u64(fields);
    uint64_t seq = read_u64(fields);
    if (!reader_finished(fields) || !seq)
        return false;
    (void)seen_note(reading->seen, tag, seq); /* who made room is in FORGOT */
    return true;
}

static bool read_fields(struct reading *reading, struct slice record)
{
    struct client_recovered *to = reading->to;
    struct reader fields = reader_of(record.data, record.len);
    enum record_type type = read_u8(&fields);
    if ((type == RECORD_DEVICE) == reading->has_device)
        return false; /* one device, and first */
    switch (type) {
    case RECORD_DEVICE:
        read_copy(&fields, to->secret_key, SECRET_KEY_BYTES);
        reading->has_device = reader_finished(&fields);
        return reading->has_device;
    case RECORD_ENROLLED:
        to->device = read_u32(&fields);
        to->enrolled_index = read_u64(&fields);
        return reader_finished(&fields);
    case RECORD_CURSOR_AT:
        to->cursor = read_u64(&fields);
        to->floor = read_u64(&fields);
        read_copy(&fields, to->cluster, IDENTITY_BYTES);
        return reader_finished(&fields);
    case RECORD_COUNTS: {
        uint64_t number = read_u64(&fields);
        uint64_t seq = read_u64(&fields);
        uint64_t done = read_u64(&fields);
        if (!reader_finished(&fields) || number < to->last_number || seq < to->last_seq ||
            done > seq || done < to->done_seq)
            return false;
        to->last_number = number;
        to->last_seq = seq;
        to->done_seq = done;
        return true;
    }
    case RECORD_PUT:
        return read_put(reading, &fields);
    case RECORD_DONE:
        return read_done(reading, &fields);
    case RECORD_SEEN:
        return read_seen(reading, &fields);
    case RECORD_FORGOT:
        reading->seen->forgot = read_u64(&fields);
        reading->has_forgot = true;
        return reader_finished(&fields);
    default:
        return false;
    }
}

/* The open entries' seqs lie beyond `done`: else the file contradicts itself. */
static bool is_consistent(const struct outbox_image *image)
{
    const struct client_recovered *to = &image->recovered;
    for (uint32_t i = 0; i < to->entry_count; i++)
        if (to->entries[i].seq != 0 && to->entries[i].seq <= to->done_seq)
            return false;
    return true;
}

bool outbox_read(struct outbox_image *image, struct slice file)
{
    memset(image, 0, sizeof *image);
    if (file.len < MAGIC_BYTES || memcmp(file.data, magic, MAGIC_BYTES) != 0)
        return false;
    struct reading reading = { .to = &image->recovered, .seen = &image->seen };
    size_t at = MAGIC_BYTES;
    while (file.len - at >= HEAD_BYTES) {
        uint32_t size = bytes_get_u32(file.data + at);
        uint64_t check = bytes_get_u64(file.data + at + 4);
        struct slice record = { file.data + at + HEAD_BYTES, size };
        if (size == 0 || size > RECORD_MAX || size > file.len - at - HEAD_BYTES ||
            check_of(record.data, record.len) != check || !read_fields(&reading, record))
            break;
        at += HEAD_BYTES + size;
    }
    image->whole_bytes = at;
    if (reading.first)
        memmove(reading.entries, reading.entries + reading.first,
                (reading.count - reading.first) * sizeof reading.entries[0]);
    if (!reading.has_forgot)
        image->seen.forgot = image->recovered.floor;
    image->recovered.seen = &image->seen;
    image->entries = reading.entries;
    image->recovered.entries = reading.entries;
    image->recovered.entry_count = (uint32_t)(reading.count - reading.first);
    if (reading.has_device && is_consistent(image))
        return true;
    free(image->entries);
    image->entries = NULL;
    return false;
}
