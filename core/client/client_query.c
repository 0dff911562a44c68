#include "core/client/client_private.h"

enum { QUERY_RETRY_US = 200 * CLIENT_MS };

static struct client_query *query_at(const struct client *client, uint32_t position)
{
    CHECK(position < client->query_count);
    uint64_t slot = (uint64_t)client->query_first + position;
    return &client->queries[slot % client->limits.queries];
}

static struct slice query_id(const struct client *client, const struct client_query *query)
{
    return (struct slice) { client->query_ring.base + query->offset, query->id_len };
}

bool query_has_room(const struct client *client)
{
    return client->query_count < client->limits.queries &&
           client_ring_fits(&client->query_ring, LIMIT_LINE_BYTES + LIMIT_ROOM_NAME);
}

static void show_error(struct slice id, enum chat_code code, const struct client_effects *out)
{
    struct client_output output = { .kind = CLIENT_OUT_ERROR };
    output.error.has_id = true;
    output.error.id = id;
    output.error.code = code;
    output.error.message = code_message(code);
    client_show(out, &output);
}

static uint8_t wire_kind(enum client_op_kind kind)
{
    switch (kind) {
    case CLIENT_HISTORY:
        return QUERY_HISTORY;
    case CLIENT_ROOMS:
        return QUERY_ROOMS;
    case CLIENT_WHO:
        return QUERY_WHO;
    case CLIENT_WHOAMI:
        return QUERY_WHOAMI;
    case CLIENT_DEVICES:
        return QUERY_DEVICES;
    default:
        CHECK(kind == CLIENT_STATUS);
        return QUERY_STATUS;
    }
}

static enum chat_code check_query(const struct client_op *op)
{
    if (op->kind != CLIENT_HISTORY)
        return CODE_OK;
    bool both = op->before != 0 && op->has_after;
    bool limit_fits = op->limit >= 1 && op->limit <= LIMIT_HISTORY_PAGE;
    return both || !limit_fits ? CODE_BAD_REQUEST : CODE_OK;
}

void query_input(struct client *client, const struct client_op *op,
                 const struct client_effects *out)
{
    CHECK(query_has_room(client));
    CHECK(op->id.len <= LIMIT_LINE_BYTES);
    struct client_query query = {
        .kind = wire_kind(op->kind),
        .id_len = (uint32_t)op->id.len,
        .before = op->before,
        .after = op->after,
        .has_after = op->has_after,
        .limit = op->limit,
    };
    enum chat_code code = check_query(op);
    uint8_t room[LIMIT_ROOM_NAME];
    if (op->kind == CLIENT_HISTORY || op->kind == CLIENT_WHO) {
        query.room_len = (uint32_t)op_room(op->room, true, room);
        if (op->room.len == 0)
            code = CODE_BAD_REQUEST;
        else if (query.room_len == 0 && code == CODE_OK)
            code = CODE_BAD_NAME;
    }
    if (code != CODE_OK) {
        show_error(op->id, code, out);
        return;
    }
    query.offset = client_ring_take(&client->query_ring, query.id_len + query.room_len);
    uint8_t *place = client->query_ring.base + query.offset;
    if (query.id_len)
        memcpy(place, op->id.data, query.id_len);
    if (query.room_len)
        memcpy(place + query.id_len, room, query.room_len);
    client->query_count++;
    *query_at(client, client->query_count - 1) = query;
}

void query_online(struct client *client)
{
    client->query_retry_at = 0;
    for (uint32_t i = 0; i < client->query_count; i++)
        query_at(client, i)->sent = false;
}

void query_pump(struct client *client, const struct client_effects *out)
{
    while (client->query_count && query_at(client, 0)->done) {
        struct client_query *query = query_at(client, 0);
        client_ring_give(&client->query_ring, query->offset, query->id_len + query->room_len);
        client->query_first = (client->query_first + 1) % client->limits.queries;
        client->query_count--;
        client->query_first_id++;
    }
    if (client->phase != PHASE_ONLINE)
        return;
    if (client->query_retry_at != 0) {
        if (client->now.mono_us < client->query_retry_at)
            return;
        client->query_retry_at = 0;
    }
    for (uint32_t i = 0; i < client->query_count; i++) {
        struct client_query *query = query_at(client, i);
        if (query->sent || query->done)
            continue;
        query->sent = true;
        query->unsure = outbox_unsure(client);
        struct wire_query message = {
            .id = client->query_first_id + i,
            .kind = query->kind,
            .room = { client->query_ring.base + query->offset + query->id_len, query->room_len },
            .before = query->before,
            .after = query->after,
            .has_after = query->has_after,
            .limit = query->limit,
            .floor_index = client->floor,
        };
        uint8_t buf[64 + LIMIT_ROOM_NAME];
        size_t len = wire_encode_query(&message, buf, sizeof buf);
        CHECK(len > 0);
        client_transmit(out, buf, len);
    }
}

bool query_result(struct client *client, struct slice message, const struct client_effects *out)
{
    struct wire_result result;
    if (!wire_decode_result(&result, message))
        return false;
    if (result.id < client->query_first_id ||
        result.id - client->query_first_id >= client->query_count)
        return true;
    struct client_query *query = query_at(client, (uint32_t)(result.id - client->query_first_id));
    if (query->done || !query->sent)
        return true;
    if (!code_is_final(result.code) && result.code != CODE_OK) {
        query->sent = false;
        client->query_retry_at = client->now.mono_us + QUERY_RETRY_US;
        return true;
    }
    if (result.code == CODE_OK && result.kind != query->kind)
        return false;
    query->done = true;
    if (result.code != CODE_OK) {
        show_error(query_id(client, query), result.code, out);
        return true;
    }
    if (query->unsure)
        result.flags |= RESULT_STALE;
    struct client_output output = { .kind = CLIENT_OUT_RESULT };
    output.result.id = query_id(client, query);
    output.result.result = &result;
    client_show(out, &output);
    return true;
}

uint64_t query_wake_at(const struct client *client)
{
    bool waits = client->phase == PHASE_ONLINE && client->query_retry_at != 0;
    return waits ? client->query_retry_at : UINT64_MAX;
}
