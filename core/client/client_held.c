#include "core/client/client_private.h"

/* What nodes without a leader hold (architecture.md, Held posts): acks of our own, and posts of everybody that the node
 * shows.
 *
 * The rule, and who keeps what of it. A reader is shown each held post at most once a connection,
 * for each that it was shown one end (the message of the same uid, or a retract; `offline` ends all
 * of them, `skipped` what it covers), and none of which it has seen the end.
 *
 *   the node  sends what it holds, once a connection, to all who are in its room now, however far
 *             behind them it is; and when it resolves one, a retract to all who are or were in its
 *             room and do not get it as a message, here. It remembers nothing of who was shown what.
 *   client    knows what it was shown on this connection, and lets no other end through; and what it
 *   here      has seen the end of, on any node and in any run before (client_seen.h), and shows
 *             nothing of that. So it does not matter how far the node is behind. */

/* --- What was shown on this connection and is open ----------------------------------------------- */

static uint32_t *head_of(const struct client *client, uint64_t tag, uint64_t seq)
{
    return &client->shown_heads[(tag ^ seq * UINT64_C(0x9e3779b97f4a7c15)) %
                                client_held_heads(&client->limits)];
}

/* The link that leads to it; where it ends, when it is not there. */
static uint32_t *find_shown(const struct client *client, uint64_t tag, uint64_t seq)
{
    uint32_t *at = head_of(client, tag, seq);
    while (*at && (client->shown[*at - 1].tag != tag || client->shown[*at - 1].seq != seq))
        at = &client->shown[*at - 1].next;
    return at;
}

/* False: no room. */
static bool add_shown(struct client *client, uint32_t *link, uint64_t tag, uint64_t seq)
{
    CHECK(*link == 0);
    uint32_t at = client->shown_free;
    if (at)
        client->shown_free = client->shown[at - 1].next;
    else if (client->shown_used < client->limits.held)
        at = ++client->shown_used;
    else
        return false;
    client->shown[at - 1] = (struct shown_held) { .tag = tag, .seq = seq };
    *link = at;
    return true;
}

/* False: it was not shown, or has ended. */
static bool end_shown(struct client *client, uint64_t tag, uint64_t seq)
{
    uint32_t *link = find_shown(client, tag, seq);
    uint32_t at = *link;
    if (!at)
        return false;
    *link = client->shown[at - 1].next;
    client->shown[at - 1].next = client->shown_free;
    client->shown_free = at;
    return true;
}

void held_online(struct client *client)
{
    if (client->shown_used)
        memset(client->shown_heads, 0,
               client_held_heads(&client->limits) * sizeof *client->shown_heads);
    client->shown_used = 0;
    client->shown_free = 0;
}

/* --- What has ended ------------------------------------------------------------------------------ */

/* What made room ended at some index up to the floor. */
static void note(struct client *client, uint64_t tag, uint64_t seq)
{
    if (seen_note(&client->seen, tag, seq))
        client->seen.forgot = client->floor;
}

void held_ended(struct client *client, uint64_t tag, uint64_t seq)
{
    if (seq)
        note(client, tag, seq);
}

void held_committed(struct client *client, const struct wire_record *record)
{
    CHECK(record->index > 0);
    if (record->kind == RECORD_POST || record->kind == RECORD_ME)
        (void)end_shown(client, record->device_tag, record->device_seq);
    held_ended(client, record->device_tag, record->device_seq);
}

void held_start(struct client *client, const struct client_recovered *recovered)
{
    if (recovered->seen)
        client->seen = *recovered->seen;
    else
        client->seen.forgot = client->floor;
    held_ended(client, client_tag(client), recovered->done_seq);
}

/* --- From the node ------------------------------------------------------------------------------- */

static bool held_record(struct client *client, struct slice message,
                        const struct client_effects *out)
{
    struct wire_record record;
    if (!wire_decode_held_record(&record, message))
        return false;
    if (record.kind != RECORD_POST && record.kind != RECORD_ME)
        return false;
    uint64_t tag = record.device_tag;
    uint64_t seq = record.device_seq;
    uint32_t *link = find_shown(client, tag, seq);
    if (*link || seen_ended(&client->seen, tag, seq, client->node_applied) ||
        !add_shown(client, link, tag, seq))
        return true;
    struct client_output output = { .kind = CLIENT_OUT_HELD };
    output.record = &record;
    client_show(out, &output);
    return true;
}

static void retract(struct client *client, uint64_t tag, uint64_t seq,
                    const struct client_effects *out)
{
    if (!end_shown(client, tag, seq))
        return;
    struct client_output output = { .kind = CLIENT_OUT_RETRACT };
    output.retract.device_tag = tag;
    output.retract.device_seq = seq;
    held_ended(client, tag, seq);
    client_show(out, &output);
    client_save_cursor(client, tag, seq, out);
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
    CHECK(type == WIRE_HELD || type == WIRE_RETRACT);
    if (type == WIRE_HELD)
        outbox_held(client, first, second, out);
    else
        retract(client, first, second, out);
    return true;
}
