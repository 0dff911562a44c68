#include "cmd/client/client_json.h"
#include "core/check.h"

static void add_field(struct text_out *out, const char *name)
{
    text_word(out, ",\"");
    text_word(out, name);
    text_word(out, "\":");
}

static void add_text(struct text_out *out, const char *name, struct slice text)
{
    add_field(out, name);
    text_json(out, text);
}

static void add_words(struct text_out *out, const char *name, const char *words)
{
    add_text(out, name, (struct slice) { (const uint8_t *)words, strlen(words) });
}

static void add_count(struct text_out *out, const char *name, uint64_t number)
{
    add_field(out, name);
    text_number(out, number);
}

/* A node, or null for none. */
static void add_node(struct text_out *out, const char *name, uint8_t node)
{
    add_field(out, name);
    if (node)
        text_number(out, node);
    else
        text_word(out, "null");
}

static void add_bool(struct text_out *out, const char *name, bool value)
{
    add_field(out, name);
    text_word(out, value ? "true" : "false");
}

static void add_time(struct text_out *out, const char *name, uint64_t time_us)
{
    add_field(out, name);
    text_word(out, "\"");
    text_time(out, time_us);
    text_word(out, "\"");
}

static void add_uid(struct text_out *out, const char *name, uint64_t tag, uint64_t seq)
{
    add_field(out, name);
    text_word(out, "\"");
    text_uid(out, tag, seq);
    text_word(out, "\"");
}

static void add_raw(struct text_out *out, const char *name, struct slice raw)
{
    add_field(out, name);
    text_add(out, raw.data, raw.len);
}

void json_write_error(struct text_out *out, struct slice id, enum chat_code code,
                      const char *message)
{
    text_word(out, "{\"event\":\"error\"");
    add_raw(out, "id", id);
    add_words(out, "code", code_name(code));
    add_words(out, "message", message);
    text_word(out, "}\n");
}

static const char *event_kind(uint8_t kind)
{
    switch (kind) {
    case RECORD_JOIN:
        return "join";
    case RECORD_PART:
        return "part";
    case RECORD_TOPIC:
        return "topic";
    case RECORD_DELETE:
        return "delete";
    default:
        return "other";
    }
}

static void write_room_event(struct text_out *out, const struct wire_record *record)
{
    text_word(out, "{\"event\":\"room\"");
    add_words(out, "kind", event_kind(record->kind));
    bool deletes = record->kind == RECORD_DELETE;
    add_text(out, "room", record->room);
    add_text(out, "user", deletes ? record->text : record->from);
    add_text(out, "by", record->from);
    add_text(out, "text", deletes ? (struct slice) { NULL, 0 } : record->text);
    if (deletes)
        add_count(out, "seq", record->seq);
    add_count(out, "index", record->index);
    add_time(out, "ts", record->time_us);
    text_word(out, "}");
}

void json_write_record(struct text_out *out, const struct wire_record *record)
{
    if (record->kind != RECORD_POST && record->kind != RECORD_ME) {
        write_room_event(out, record);
        return;
    }
    bool held = record->index == 0;
    text_word(out, "{\"event\":\"message\"");
    add_text(out, "room", record->room);
    if (!held) {
        add_count(out, "seq", record->seq);
        add_count(out, "index", record->index);
    }
    add_uid(out, "uid", record->device_tag, record->device_seq);
    add_text(out, "from", record->from);
    add_text(out, "text", record->text);
    if (!held)
        add_time(out, "ts", record->time_us);
    add_words(out, "kind", record->kind == RECORD_ME ? "me" : "post");
    if (record->sent_us)
        add_time(out, "sent", record->sent_us);
    if (record->reply_tag)
        add_uid(out, "reply_to", record->reply_tag, record->reply_to);
    else if (record->reply_to)
        add_count(out, "reply_to", record->reply_to);
    if (held)
        add_bool(out, "held", true);
    if (record->flags & RECORD_DELETED)
        add_bool(out, "deleted", true);
    text_word(out, "}");
}

static void write_ack(struct text_out *out, const struct client_output *output)
{
    static const char *const statuses[] = {
        [CLIENT_QUEUED] = "queued",
        [CLIENT_HELD] = "held",
        [CLIENT_COMMITTED] = "committed",
        [CLIENT_REJECTED] = "rejected",
    };
    text_word(out, "{\"event\":\"ack\"");
    add_raw(out, "id", output->ack.id);
    add_words(out, "status", statuses[output->ack.status]);
    if (output->ack.room.len)
        add_text(out, "room", output->ack.room);
    if (output->ack.room_seq)
        add_count(out, "seq", output->ack.room_seq);
    if (output->ack.status == CLIENT_COMMITTED) {
        add_count(out, "index", output->ack.index);
        add_time(out, "ts", output->ack.time_us);
    }
    if (output->ack.device_seq)
        add_uid(out, "uid", output->ack.device_tag, output->ack.device_seq);
    if (output->ack.code != CODE_OK) {
        add_words(out, "code", code_name(output->ack.code));
        add_words(out, "message", output->ack.message);
    }
    if (output->ack.draft.len)
        add_text(out, "draft", output->ack.draft);
    text_word(out, "}\n");
}

static void add_cluster(struct text_out *out, const struct wire_cluster *cluster)
{
    add_node(out, "leader", cluster->leader);
    add_count(out, "term", cluster->term);
    add_field(out, "healthy");
    const char *before = "[";
    for (unsigned node = 1; node <= 8; node++) {
        if (!(cluster->healthy >> (node - 1) & 1))
            continue;
        text_word(out, before);
        text_number(out, node);
        before = ",";
    }
    text_word(out, before[0] == '[' ? "[]" : "]");
    add_bool(out, "quorum", cluster->quorum);
}

/* --- Results ---------------------------------------------------------------------------------- */

static void add_history(struct text_out *out, struct reader *rows)
{
    const char *before = "";
    add_field(out, "messages");
    text_word(out, "[");
    while (!rows->bad && reader_left(rows)) {
        struct wire_record record;
        if (!wire_decode_record(&record, read_slice32(rows)))
            break;
        text_word(out, before);
        before = ",";
        json_write_record(out, &record);
    }
    text_word(out, "]");
}

static void add_rooms(struct text_out *out, struct reader *rows)
{
    const char *before = "";
    add_field(out, "rooms");
    text_word(out, "[");
    while (!rows->bad && reader_left(rows)) {
        struct slice room = read_slice8(rows);
        struct slice topic = read_slice16(rows);
        uint32_t members = read_u32(rows);
        uint64_t unread = read_u64(rows);
        uint8_t joined = read_u8(rows);
        if (rows->bad)
            break;
        text_word(out, before);
        before = ",";
        text_word(out, "{\"room\":");
        text_json(out, room);
        add_text(out, "topic", topic);
        add_count(out, "members", members);
        add_count(out, "unread", unread);
        add_bool(out, "joined", joined != 0);
        text_word(out, "}");
    }
    text_word(out, "]");
}

static void add_users(struct text_out *out, struct reader *rows)
{
    const char *before = "";
    add_field(out, "users");
    text_word(out, "[");
    while (!rows->bad && reader_left(rows)) {
        struct slice user = read_slice8(rows);
        uint8_t is_operator = read_u8(rows);
        uint8_t online = read_u8(rows);
        if (rows->bad)
            break;
        text_word(out, before);
        before = ",";
        text_word(out, "{\"user\":");
        text_json(out, user);
        add_words(out, "state", online ? "online" : "unknown");
        add_bool(out, "op", is_operator != 0);
        text_word(out, "}");
    }
    text_word(out, "]");
}

static void add_tag(struct text_out *out, const char *name, uint64_t tag)
{
    struct text_out uid = { 0 };
    text_uid(&uid, tag, 0);
    add_text(out, name, (struct slice) { (const uint8_t *)uid.data, 16 });
    text_free(&uid);
}

static void add_devices(struct text_out *out, struct reader *rows)
{
    const char *before = "";
    add_field(out, "devices");
    text_word(out, "[");
    while (!rows->bad && reader_left(rows)) {
        uint32_t device = read_u32(rows);
        uint64_t tag = read_u64(rows);
        uint64_t enrolled = read_u64(rows);
        uint8_t this_one = read_u8(rows);
        if (rows->bad)
            break;
        text_word(out, before);
        before = ",";
        text_word(out, "{\"device\":");
        text_number(out, device);
        add_tag(out, "tag", tag);
        add_count(out, "enrolled", enrolled);
        add_bool(out, "this", this_one != 0);
        text_word(out, "}");
    }
    text_word(out, "]");
}

static void write_result(struct text_out *out, const struct client_output *output)
{
    const struct wire_result *result = output->result.result;
    struct reader rows = reader_of(result->rows.data, result->rows.len);
    struct wire_cluster cluster;
    text_word(out, "{\"event\":\"result\"");
    add_raw(out, "id", output->result.id);
    switch (result->kind) {
    case QUERY_HISTORY:
        add_history(out, &rows);
        break;
    case QUERY_ROOMS:
        add_rooms(out, &rows);
        break;
    case QUERY_WHO:
        add_users(out, &rows);
        break;
    case QUERY_WHOAMI:
        add_text(out, "user", read_slice8(&rows));
        add_count(out, "device", read_u32(&rows));
        add_tag(out, "tag", read_u64(&rows));
        break;
    case QUERY_DEVICES:
        add_devices(out, &rows);
        break;
    default:
        if (wire_decode_cluster(&cluster, result->rows)) {
            add_node(out, "node", cluster.node);
            add_cluster(out, &cluster);
        }
    }
    if (result->kind == QUERY_HISTORY || result->flags & RESULT_MORE)
        add_bool(out, "more", result->flags & RESULT_MORE);
    if (result->flags & RESULT_STALE)
        add_bool(out, "stale", true);
    text_word(out, "}\n");
}

static void write_ready(struct text_out *out, const struct client_output *output)
{
    const struct wire_ready *ready = output->ready.ready;
    text_word(out, "{\"event\":\"ready\"");
    add_text(out, "user", ready->user);
    add_node(out, "node", ready->node);
    add_node(out, "leader", ready->leader);
    add_bool(out, "quorum", ready->quorum);
    add_bool(out, "resumed", output->ready.resumed);
    if (ready->stale)
        add_bool(out, "stale", true);
    if (output->ready.restored)
        add_bool(out, "restored", true);
    text_word(out, "}\n");
}

void json_write_output(struct text_out *out, const struct client_output *output)
{
    static const struct slice no_id = { (const uint8_t *)"null", 4 };
    switch (output->kind) {
    case CLIENT_OUT_READY:
        write_ready(out, output);
        break;
    case CLIENT_OUT_ACK:
        write_ack(out, output);
        break;
    case CLIENT_OUT_RECORD:
    case CLIENT_OUT_HELD:
        json_write_record(out, output->record);
        text_word(out, "\n");
        break;
    case CLIENT_OUT_RESULT:
        write_result(out, output);
        break;
    case CLIENT_OUT_ERROR:
        json_write_error(out, output->error.has_id ? output->error.id : no_id, output->error.code,
                         output->error.message);
        break;
    case CLIENT_OUT_OFFLINE:
        text_word(out, "{\"event\":\"offline\"");
        add_words(out, "reason", output->offline.reason);
        add_count(out, "queued", output->offline.queued);
        text_word(out, "}\n");
        break;
    case CLIENT_OUT_CLUSTER:
        text_word(out, "{\"event\":\"cluster\"");
        add_cluster(out, output->cluster);
        text_word(out, "}\n");
        break;
    case CLIENT_OUT_SKIPPED:
    case CLIENT_OUT_TRUNCATED:
        text_word(out, output->kind == CLIENT_OUT_SKIPPED ? "{\"event\":\"skipped\""
                                                          : "{\"event\":\"truncated\"");
        add_text(out, "room", output->skipped.room);
        add_count(out, "from", output->skipped.from);
        add_count(out, "to", output->skipped.to);
        text_word(out, "}\n");
        break;
    case CLIENT_OUT_RETRACT:
        text_word(out, "{\"event\":\"retract\"");
        add_uid(out, "uid", output->retract.device_tag, output->retract.device_seq);
        text_word(out, "}\n");
        break;
    }
}
