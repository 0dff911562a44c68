#include "core/node/recent.h"

#include "core/check.h"

/* Positions count bytes for ever; a record lies at position % size and never straddles the end: the
 * rest of the ring is then skipped, marked by a head without a message. */
struct head {
    uint64_t index;
    uint64_t seq;
    uint32_t room;
    uint32_t len;  /* of the message; 0: skip to the ring's start */
    uint32_t size; /* of its place: what was put there at first */
    uint32_t zero;
};

struct recent {
    size_t size;
    uint64_t oldest; /* position */
    uint64_t end;
    uint64_t floor;
    uint8_t *bytes;
};

static size_t align8(size_t bytes)
{
    return (bytes + 7) & ~(size_t)7;
}

size_t recent_memory(size_t bytes)
{
    return sizeof(struct recent) + align8(bytes);
}

struct recent *recent_init(void *memory, size_t bytes)
{
    struct recent *recent = memory;
    recent->size = align8(bytes);
    recent->oldest = recent->end = recent->size; /* so that no record is at position 0 */
    recent->bytes = (uint8_t *)memory + sizeof(struct recent);
    return recent;
}

static struct head head_at(const struct recent *recent, uint64_t position)
{
    struct head head;
    memcpy(&head, recent->bytes + position % recent->size, sizeof(head));
    return head;
}

/* Too near to the ring's end for a head, or marked: the next record is at the start. */
static uint64_t skip_end(const struct recent *recent, uint64_t position)
{
    size_t left = recent->size - position % recent->size;
    if (position < recent->end && (left < sizeof(struct head) || !head_at(recent, position).len))
        return position + left;
    return position;
}

static uint64_t record_after(const struct recent *recent, uint64_t position)
{
    return position + sizeof(struct head) + align8(head_at(recent, position).size);
}

/* Where a record of `need` bytes would begin. */
static uint64_t place_for(const struct recent *recent, size_t need)
{
    size_t left = recent->size - recent->end % recent->size;
    return left < need ? recent->end + left : recent->end;
}

bool recent_room(const struct recent *recent, size_t len, uint64_t durable)
{
    size_t need = sizeof(struct head) + align8(len);
    CHECK(need * 2 <= recent->size);
    uint64_t upto = place_for(recent, need) + need;
    uint64_t position = skip_end(recent, recent->oldest);
    while (position < recent->end && upto - position > recent->size) {
        if (head_at(recent, position).index > durable)
            return false;
        position = skip_end(recent, record_after(recent, position));
    }
    return true;
}

struct slice recent_push(struct recent *recent, uint32_t room, uint64_t index, uint64_t seq,
                         struct slice message)
{
    size_t need = sizeof(struct head) + align8(message.len);
    CHECK(message.len > 0 && need * 2 <= recent->size);
    uint64_t place = place_for(recent, need);
    recent->oldest = skip_end(recent, recent->oldest);
    while (recent->oldest < recent->end && place + need - recent->oldest > recent->size) {
        recent->floor = head_at(recent, recent->oldest).index;
        recent->oldest = skip_end(recent, record_after(recent, recent->oldest));
    }
    if (place != recent->end && place - recent->end >= sizeof(struct head))
        memset(recent->bytes + recent->end % recent->size, 0, sizeof(struct head));
    if (recent->oldest == recent->end)
        recent->oldest = place;
    struct head head = { .index = index,
                         .seq = seq,
                         .room = room,
                         .len = (uint32_t)message.len,
                         .size = (uint32_t)message.len };
    uint8_t *at = recent->bytes + place % recent->size;
    memcpy(at, &head, sizeof(head));
    memcpy(at + sizeof(head), message.data, message.len);
    recent->end = place + need;
    return (struct slice) { at + sizeof(head), message.len };
}

uint64_t recent_next(const struct recent *recent, uint64_t position, uint64_t after_index,
                     struct recent_record *record)
{
    position = skip_end(recent, position ? position : recent->oldest);
    while (position < recent->end) {
        struct head head = head_at(recent, position);
        uint64_t next = record_after(recent, position);
        if (head.index > after_index) {
            const uint8_t *at = recent->bytes + position % recent->size + sizeof(head);
            *record = (struct recent_record) { head.room, head.index, head.seq, { at, head.len } };
            return next;
        }
        position = skip_end(recent, next);
    }
    return 0;
}

/* 0: there is none. */
static uint64_t position_of(const struct recent *recent, uint64_t index)
{
    uint64_t position = skip_end(recent, recent->oldest);
    while (position < recent->end) {
        uint64_t at = head_at(recent, position).index;
        if (at >= index)
            return at == index ? position : 0;
        position = skip_end(recent, record_after(recent, position));
    }
    return 0;
}

bool recent_find(const struct recent *recent, uint64_t index, struct recent_record *record)
{
    uint64_t position = position_of(recent, index);
    if (!position)
        return false;
    struct head head = head_at(recent, position);
    const uint8_t *at = recent->bytes + position % recent->size + sizeof(head);
    *record = (struct recent_record) { head.room, head.index, head.seq, { at, head.len } };
    return true;
}

bool recent_replace(struct recent *recent, uint64_t index, struct slice message)
{
    uint64_t position = position_of(recent, index);
    if (!position)
        return false;
    struct head head = head_at(recent, position);
    uint8_t *at = recent->bytes + position % recent->size;
    CHECK(message.len > 0 && message.len <= head.len);
    memset(at + sizeof(head), 0, head.len);
    memcpy(at + sizeof(head), message.data, message.len);
    head.len = (uint32_t)message.len;
    memcpy(at, &head, sizeof(head));
    return true;
}

uint64_t recent_floor(const struct recent *recent)
{
    return recent->floor;
}

void recent_begin(struct recent *recent, uint64_t index)
{
    CHECK(recent->oldest == recent->end);
    recent->floor = index;
}
