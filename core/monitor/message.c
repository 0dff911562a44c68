#include "core/monitor/message.h"

#include "core/check.h"

enum { AT_BODY = 4, REPORT_BYTES = 28 };

size_t monitor_message_encode(const struct monitor_message *message, uint8_t *out)
{
    const struct monitor_report *report = &message->report;
    uint8_t *body = out + AT_BODY;
    out[0] = MONITOR_VERSION;
    out[1] = (uint8_t)message->kind;
    out[2] = message->slot;
    out[3] = message->follows;
    if (message->kind != MONITOR_HEARTBEAT)
        return AT_BODY;
    CHECK(report->state > NODE_UNKNOWN && report->state < NODE_STATES);
    body[0] = (uint8_t)report->state;
    body[1] = report->leader;
    body[2] = report->heard;
    body[3] = report->reached;
    bytes_put_u64(body + 4, report->term);
    bytes_put_u64(body + 12, report->commit);
    bytes_put_u64(body + 20, report->applied);
    return AT_BODY + REPORT_BYTES;
}

_Static_assert(AT_BODY + REPORT_BYTES <= MONITOR_MESSAGE_BYTES, "a heartbeat is the longest");

static bool report_decode(struct monitor_report *report, struct reader *reader)
{
    uint8_t state = read_u8(reader);
    report->state = (enum node_state)state;
    report->leader = read_u8(reader);
    report->heard = read_u8(reader);
    report->reached = read_u8(reader);
    report->term = read_u64(reader);
    report->commit = read_u64(reader);
    report->applied = read_u64(reader);
    return state > NODE_UNKNOWN && state < NODE_STATES && report->leader <= LIMIT_NODES;
}

bool monitor_message_decode(struct monitor_message *message, struct slice bytes)
{
    struct reader reader = reader_of(bytes.data, bytes.len);
    uint8_t version = read_u8(&reader);
    uint8_t kind = read_u8(&reader);
    *message = (struct monitor_message) { .kind = (enum monitor_message_kind)kind };
    message->slot = read_u8(&reader);
    message->follows = read_u8(&reader);
    if (version != MONITOR_VERSION || kind < MONITOR_HELLO || kind > MONITOR_START ||
        message->slot < 1 || message->slot > LIMIT_NODES || message->follows > LIMIT_NODES)
        return false;
    if (kind == MONITOR_HEARTBEAT && !report_decode(&message->report, &reader))
        return false;
    return reader_finished(&reader);
}
