/* Bytes in and out: little-endian integers, and a reader and a writer that cannot leave their
 * buffer.
 *
 * Every format of ftchat, on the wire and on disk, is read and written through these. Nothing is
 * allocated. A reader that is asked for more than is left answers zeros (or NULL) and stays `bad`:
 * parse everything, then look at `bad` once. A writer that runs over its end writes nothing more
 * and stays `full`. */
#ifndef FTCHAT_CORE_BYTES_H
#define FTCHAT_CORE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline bool bytes_are_zero(const void *data, size_t len)
{
    const uint8_t *at = data;
    return len == 0 || (at[0] == 0 && memcmp(at, at + 1, len - 1) == 0);
}

static inline uint16_t bytes_get_u16(const uint8_t *at)
{
    return (uint16_t)(at[0] | at[1] << 8);
}

static inline uint32_t bytes_get_u32(const uint8_t *at)
{
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static inline uint64_t bytes_get_u64(const uint8_t *at)
{
    return (uint64_t)bytes_get_u32(at) | (uint64_t)bytes_get_u32(at + 4) << 32;
}

static inline void bytes_put_u16(uint8_t *at, uint16_t value)
{
    at[0] = (uint8_t)value;
    at[1] = (uint8_t)(value >> 8);
}

static inline void bytes_put_u32(uint8_t *at, uint32_t value)
{
    at[0] = (uint8_t)value;
    at[1] = (uint8_t)(value >> 8);
    at[2] = (uint8_t)(value >> 16);
    at[3] = (uint8_t)(value >> 24);
}

static inline void bytes_put_u64(uint8_t *at, uint64_t value)
{
    bytes_put_u32(at, (uint32_t)value);
    bytes_put_u32(at + 4, (uint32_t)(value >> 32));
}

/* A borrowed run of bytes. Whoever keeps it beyond the call copies it. */
struct slice {
    const uint8_t *data;
    size_t len;
};

struct reader {
    const uint8_t *at;
    const uint8_t *end;
    bool bad; /* more was asked for than there was */
};

/* `data` may be NULL when there is nothing to read (C has no NULL + 0). */
static inline struct reader reader_of(const void *data, size_t len)
{
    const uint8_t *at = data ? data : (const uint8_t *)"";
    return (struct reader) { at, at + len, false };
}

static inline size_t reader_left(const struct reader *reader)
{
    return (size_t)(reader->end - reader->at);
}

/* The next `len` bytes, or NULL when fewer are left. */
static inline const uint8_t *read_bytes(struct reader *reader, size_t len)
{
    if (reader->bad || reader_left(reader) < len) {
        reader->bad = true;
        return NULL;
    }
    const uint8_t *at = reader->at;
    reader->at += len;
    return at;
}

static inline uint8_t read_u8(struct reader *reader)
{
    const uint8_t *at = read_bytes(reader, 1);
    return at ? at[0] : 0;
}

static inline uint16_t read_u16(struct reader *reader)
{
    const uint8_t *at = read_bytes(reader, 2);
    return at ? bytes_get_u16(at) : 0;
}

static inline uint32_t read_u32(struct reader *reader)
{
    const uint8_t *at = read_bytes(reader, 4);
    return at ? bytes_get_u32(at) : 0;
}

static inline uint64_t read_u64(struct reader *reader)
{
    const uint8_t *at = read_bytes(reader, 8);
    return at ? bytes_get_u64(at) : 0;
}

/* Copies `len` bytes to `out`; zeros when fewer are left. */
static inline void read_copy(struct reader *reader, void *out, size_t len)
{
    const uint8_t *at = read_bytes(reader, len);
    if (at)
        memcpy(out, at, len);
    else
        memset(out, 0, len);
}

/* A byte string with its length before it, in 8, 16 or 32 bits. */
static inline struct slice read_slice(struct reader *reader, size_t len)
{
    const uint8_t *at = read_bytes(reader, len);
    return (struct slice) { at, at ? len : 0 };
}

static inline struct slice read_slice8(struct reader *reader)
{
    return read_slice(reader, read_u8(reader));
}

static inline struct slice read_slice16(struct reader *reader)
{
    return read_slice(reader, read_u16(reader));
}

static inline struct slice read_slice32(struct reader *reader)
{
    return read_slice(reader, read_u32(reader));
}

/* Everything was there, and nothing is left over. */
static inline bool reader_finished(const struct reader *reader)
{
    return !reader->bad && reader->at == reader->end;
}

struct writer {
    uint8_t *start;
    uint8_t *at;
    uint8_t *end;
    bool full; /* more was written than fits */
};

static inline struct writer writer_of(void *data, size_t len)
{
    return (struct writer) { data, data, (uint8_t *)data + len, false };
}

static inline size_t writer_used(const struct writer *writer)
{
    return (size_t)(writer->at - writer->start);
}

/* Room for `len` bytes to be filled in by the caller, or NULL. */
static inline uint8_t *write_room(struct writer *writer, size_t len)
{
    if (writer->full || (size_t)(writer->end - writer->at) < len) {
        writer->full = true;
        return NULL;
    }
    uint8_t *at = writer->at;
    writer->at += len;
    return at;
}

static inline void write_u8(struct writer *writer, uint8_t value)
{
    uint8_t *at = write_room(writer, 1);
    if (at)
        at[0] = value;
}

static inline void write_u16(struct writer *writer, uint16_t value)
{
    uint8_t *at = write_room(writer, 2);
    if (at)
        bytes_put_u16(at, value);
}

static inline void write_u32(struct writer *writer, uint32_t value)
{
    uint8_t *at = write_room(writer, 4);
    if (at)
        bytes_put_u32(at, value);
}

static inline void write_u64(struct writer *writer, uint64_t value)
{
    uint8_t *at = write_room(writer, 8);
    if (at)
        bytes_put_u64(at, value);
}

static inline void write_copy(struct writer *writer, const void *data, size_t len)
{
    uint8_t *at = write_room(writer, len);
    if (at && len)
        memcpy(at, data, len);
}

static inline void write_slice8(struct writer *writer, const void *data, size_t len)
{
    writer->full |= len > UINT8_MAX;
    write_u8(writer, (uint8_t)len);
    write_copy(writer, data, len);
}

static inline void write_slice16(struct writer *writer, const void *data, size_t len)
{
    writer->full |= len > UINT16_MAX;
    write_u16(writer, (uint16_t)len);
    write_copy(writer, data, len);
}

static inline void write_slice32(struct writer *writer, const void *data, size_t len)
{
    writer->full |= len > UINT32_MAX;
    write_u32(writer, (uint32_t)len);
    write_copy(writer, data, len);
}

#endif
