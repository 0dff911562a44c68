#include "core/client/client_private.h"

/* What nodes without a leader hold (architecture.md, Held posts): acks of our own, and posts of everybody that the node
 * shows. Who was shown a post as committed is not shown it as held afterwards, though a node that
 * is behind may still have it so. */

static struct shown_sender *senders_of(struct client *client, uint64_t tag)
{
    return client->senders[tag % CLIENT_SENDERS];
}

/* The device's place among its set's, moved to the front; the least recent one makes room. */
static struct shown_sender *sender_place(struct client *client, uint64_t tag)
{
    struct shown_sender *set = senders_of(client, tag);
    unsigned at = 0;
    while (at < CLIENT_SENDER_WAYS - 1 && set[at].tag != tag)
        at++;
    struct shown_sender sender = set[at];
    if (sender.tag != tag)
        sender = (struct shown_sender) { .tag = tag };
    memmove(set + 1, set, at * sizeof *set);
    set[0] = sender;
    return &set[0];
}

void held_note(struct client *client, const struct wire_record *record)
{
    CHECK(record->index > 0);
    struct shown_sender *sender = sender_place(client, record->device_tag);
    if (record->device_seq > sender->seq)
        sender->seq = record->device_seq;
}

static bool was_shown(struct client *client, uint64_t tag, uint64_t seq)
{
    const struct shown_sender *set = senders_of(client, tag);
    for (unsigned i = 0; i < CLIENT_SENDER_WAYS; i++)
        if (set[i].tag == tag)
            return seq <= set[i].seq;
    return false;
}

static bool held_record(struct client *client, struct slice message,
                        const struct client_effects *out)
{
    struct wire_record record;
    if (!wire_decode_held_record(&record, message))
        return false;
    if (record.kind != RECORD_POST && record.kind != RECORD_ME)
        return false;
    if (was_shown(client, record.device_tag, record.device_seq))
        return true;
    struct client_output output = { .kind = CLIENT_OUT_HELD };
    output.record = &record;
    client_show(out, &output);
    return true;
}

bool held_message(struct client *client, struct slice message, const struct client_effects *out)
{
    if (message.data[0] == WIRE_HELD_RECORD)
        return held_record(client, message, out);
    struct reader reader = reader_of(message.data, message.len);
    uint8_t type = read_u8(&reader);
    uint64_t first = read_u64(&reader);
    uint64_t second = read_u64(&reader);
    if (!reader_finished(&reader))
        return false;
    if (type == WIRE_HELD) {
        outbox_held(client, first, second, out);
        return true;
    }
    CHECK(type == WIRE_RETRACT);
    struct client_output output = { .kind = CLIENT_OUT_RETRACT };
    output.retract.device_tag = first;
    output.retract.device_seq = second;
    if (!was_shown(client, first, second))
        client_show(out, &output);
    return true;
}
