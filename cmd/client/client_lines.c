/* What people see and type: --send, --follow, --history, and a plain line mode on a terminal.
 * Everything that came from others passes text_visible. */
#include "cmd/client/client_app.h"
#include "cmd/client/client_json.h"
#include "cmd/commands.h"
#include "cmd/say.h"
#include "core/chat/chat.h"
#include "core/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const char command[] = "client";

enum { QUORUM_TOLD_US = 1500 * 1000 };

/* A refusal of these is not shown: /join makes the room, unless there is one. */
static const char quiet_id[] = "\"ftchat-quiet-";

static struct slice words(const char *text)
{
    return (struct slice) { (const uint8_t *)text, strlen(text) };
}

/* Ids of our own are JSON strings too: what is left in the outbox may be answered to a later run
 * that speaks JSON. */
static void ask(struct app *app, struct client_op op)
{
    char id[40];
    const char *name = op.kind == CLIENT_CREATE ? quiet_id : "\"ftchat-";
    int len = snprintf(id, sizeof id, "%s%llu\"", name, (unsigned long long)++app->next_id);
    op.id = (struct slice) { (const uint8_t *)id, (size_t)len };
    app_op(app, &op);
}

static void ask_room(struct app *app, enum client_op_kind kind, struct slice room,
                     struct slice text)
{
    ask(app,
        (struct client_op) {
            .kind = kind, .room = room, .text = text, .limit = kind == CLIENT_HISTORY ? 20 : 0 });
}

static void ask_history(struct app *app)
{
    uint32_t limit = app->history_left;
    ask(app, (struct client_op) {
                 .kind = CLIENT_HISTORY,
                 .room = words(app->setup->room),
                 .before = app->history_before,
                 .limit = (uint16_t)(limit > LIMIT_HISTORY_PAGE ? LIMIT_HISTORY_PAGE : limit),
             });
}

/* --- Showing ---------------------------------------------------------------------------------- */

static void begin_line(struct app *app)
{
    if (app->setup->mode == MODE_LINES && app->setup->terminal && !app->prompt_due)
        text_word(&app->out, "\r\x1b[K");
    app->prompt_due = true;
}

static void add_visible(struct app *app, struct slice text)
{
    text_visible(&app->out, text, true);
}

static void show_words(struct app *app, const char *text)
{
    begin_line(app);
    text_word(&app->out, text);
    text_word(&app->out, "\n");
}

static void write_record(struct text_out *out, const struct wire_record *record)
{
    bool held = record->index == 0;
    text_time(out, held ? record->sent_us : record->time_us);
    text_word(out, " ");
    text_visible(out, record->room, true);
    bool me = record->kind == RECORD_ME;
    bool post = record->kind == RECORD_POST;
    text_word(out, post ? " <" : " * ");
    text_visible(out, record->from, true);
    text_word(out, post ? "> " : me ? " " : "");
    if (record->kind == RECORD_JOIN)
        text_word(out, " joined");
    if (record->kind == RECORD_PART)
        text_word(out, " left");
    if (record->kind == RECORD_TOPIC)
        text_word(out, " set the topic: ");
    if (record->kind == RECORD_DELETE) {
        text_word(out, " deleted message ");
        text_number(out, record->seq);
        text_word(out, " of ");
    }
    if (record->flags & RECORD_DELETED)
        text_word(out, "[deleted]");
    text_visible(out, record->text, true);
    if (held) {
        text_word(out, " [held by this node only, ");
        text_uid(out, record->device_tag, record->device_seq);
        text_word(out, "]");
    } else if (record->sent_us && (post || me)) {
        text_word(out, " [written ");
        text_time(out, record->sent_us);
        text_word(out, "]");
    }
    text_word(out, "\n");
}

static void show_rooms(struct app *app, struct reader *rows)
{
    while (!rows->bad && reader_left(rows)) {
        struct slice room = read_slice8(rows);
        struct slice topic = read_slice16(rows);
        uint32_t members = read_u32(rows);
        uint64_t unread = read_u64(rows);
        uint8_t joined = read_u8(rows);
        if (rows->bad)
            return;
        begin_line(app);
        add_visible(app, room);
        text_word(&app->out, joined ? " (in it), members " : ", members ");
        text_number(&app->out, members);
        text_word(&app->out, ", unread ");
        text_number(&app->out, unread);
        text_word(&app->out, topic.len ? ": " : "");
        add_visible(app, topic);
        text_word(&app->out, "\n");
    }
}

static void show_users(struct app *app, struct reader *rows)
{
    while (!rows->bad && reader_left(rows)) {
        struct slice user = read_slice8(rows);
        uint8_t is_operator = read_u8(rows);
        uint8_t online = read_u8(rows);
        if (rows->bad)
            return;
        begin_line(app);
        text_word(&app->out, is_operator ? "@" : " ");
        add_visible(app, user);
        text_word(&app->out, online ? " (online here)\n" : "\n");
    }
}

/* One page of --history: kept until the older ones are here, for the oldest is printed first. */
static void take_page(struct app *app, const struct wire_result *result)
{
    struct reader rows = reader_of(result->rows.data, result->rows.len);
    struct text_out page = { 0 };
    uint64_t oldest = 0;
    while (!rows.bad && reader_left(&rows)) {
        struct wire_record record;
        if (!wire_decode_record(&record, read_slice32(&rows)))
            break;
        oldest = oldest ? oldest : record.seq;
        app->history_left -= app->history_left > 0;
        if (app->setup->json) {
            json_write_record(&page, &record);
            text_word(&page, "\n");
        } else {
            write_record(&page, &record);
        }
    }
    app->pages = realloc(app->pages, (app->page_count + 1) * sizeof page);
    CHECK(app->pages != NULL);
    app->pages[app->page_count++] = page;
    app->history_before = oldest;
}

static void print_pages(struct app *app)
{
    while (app->page_count) {
        struct text_out *page = &app->pages[--app->page_count];
        text_add(&app->out, page->data, text_len(page));
        text_free(page);
    }
    free(app->pages);
    app->pages = NULL;
}

static void show_result(struct app *app, const struct wire_result *result)
{
    if (app->setup->mode == MODE_HISTORY) {
        take_page(app, result);
        return;
    }
    struct reader rows = reader_of(result->rows.data, result->rows.len);
    if (result->kind == QUERY_ROOMS)
        show_rooms(app, &rows);
    if (result->kind == QUERY_WHO)
        show_users(app, &rows);
    while (result->kind == QUERY_HISTORY && !rows.bad && reader_left(&rows)) {
        struct wire_record record;
        if (!wire_decode_record(&record, read_slice32(&rows)))
            break;
        begin_line(app);
        text_number(&app->out, record.seq); /* what /delete takes */
        text_word(&app->out, " ");
        write_record(&app->out, &record);
    }
    if (result->flags & RESULT_STALE)
        show_words(app, "(this node is behind: there may be more)");
}

static void show_ack(struct app *app, const struct client_output *output)
{
    size_t quiet = sizeof quiet_id - 1;
    if (output->ack.id.len > quiet && memcmp(output->ack.id.data, quiet_id, quiet) == 0)
        return;
    if (output->ack.status == CLIENT_REJECTED) {
        app->failed = true;
        if (app->setup->mode == MODE_LINES) {
            begin_line(app);
            text_word(&app->out, "not done: ");
            text_word(&app->out, output->ack.message);
            if (output->ack.draft.len) {
                text_word(&app->out, ": ");
                add_visible(app, output->ack.draft);
            }
            text_word(&app->out, "\n");
        } else {
            say_error(EXIT_FAILED, command, "not posted: %s", output->ack.message);
        }
    } else if (output->ack.status == CLIENT_QUEUED && output->ack.code != CODE_OK &&
               app->setup->mode == MODE_LINES) {
        begin_line(app);
        text_word(&app->out, "waiting: ");
        text_word(&app->out, output->ack.message);
        text_word(&app->out, "\n");
    }
}

static void show_status(struct app *app, const struct client_output *output)
{
    bool quiet = app->setup->mode != MODE_LINES;
    if (output->kind == CLIENT_OUT_ERROR) {
        app->failed = true;
        app->history_failed |= output->error.has_id;
        if (quiet || !output->error.has_id)
            say_error(EXIT_FAILED, command, "%s: %s", code_name(output->error.code),
                      output->error.message);
        else
            show_words(app, output->error.message);
    } else if (quiet) {
        if (output->kind == CLIENT_OUT_OFFLINE && app->setup->mode == MODE_FOLLOW)
            say_warning(command, "offline: %s", output->offline.reason);
    } else if (output->kind == CLIENT_OUT_OFFLINE) {
        begin_line(app);
        text_word(&app->out, "-- offline: ");
        text_word(&app->out, output->offline.reason);
        text_word(&app->out, " (what you write is kept and sent later)\n");
    } else if (output->kind == CLIENT_OUT_READY) {
        app->no_quorum_at = 0;
        app->quorum_told = !output->ready.ready->quorum;
        begin_line(app);
        text_word(&app->out, "-- online at node ");
        text_number(&app->out, output->ready.ready->node);
        text_word(&app->out, output->ready.ready->quorum ? "\n" : ", no quorum now\n");
    } else if (output->kind == CLIENT_OUT_CLUSTER && output->cluster->quorum) {
        if (app->quorum_told)
            show_words(app, "-- quorum again");
        app->no_quorum_at = 0;
        app->quorum_told = false;
    } else if (output->kind == CLIENT_OUT_CLUSTER && !app->no_quorum_at) {
        app->no_quorum_at = loop_now_us(app->loop);
        loop_timer_set(app->loop, &app->patience, app->no_quorum_at + QUORUM_TOLD_US);
    }
}

/* An election is no news; a majority that stays away is. */
static void tell_quorum(struct app *app)
{
    if (!app->no_quorum_at || app->quorum_told ||
        loop_now_us(app->loop) < app->no_quorum_at + QUORUM_TOLD_US)
        return;
    app->quorum_told = true;
    show_words(app, "-- no quorum now: what you write waits, or is held by this node");
}

static bool is_followed(const struct app *app, const struct wire_record *record)
{
    const char *room = app->setup->room;
    if (app->setup->mode == MODE_SEND || app->setup->mode == MODE_HISTORY)
        return false;
    if (app->setup->mode == MODE_LINES || !room[0])
        return true;
    return record->room.len == strlen(room) && memcmp(record->room.data, room, strlen(room)) == 0;
}

static void show_retract(struct app *app, const struct client_output *output)
{
    if (app->setup->mode == MODE_SEND || app->setup->mode == MODE_HISTORY)
        return;
    if (app->setup->json) {
        json_write_output(&app->out, output);
        return;
    }
    begin_line(app);
    text_word(&app->out, "-- held and no message here (refused, or you left before): ");
    text_uid(&app->out, output->retract.device_tag, output->retract.device_seq);
    text_word(&app->out, "\n");
}

void lines_output(struct app *app, const struct client_output *output)
{
    switch (output->kind) {
    case CLIENT_OUT_RECORD:
    case CLIENT_OUT_HELD:
        if (!is_followed(app, output->record))
            break;
        if (app->setup->json) {
            json_write_record(&app->out, output->record);
            text_word(&app->out, "\n");
            break;
        }
        begin_line(app);
        write_record(&app->out, output->record);
        break;
    case CLIENT_OUT_RESULT:
        show_result(app, output->result.result);
        break;
    case CLIENT_OUT_ACK:
        show_ack(app, output);
        break;
    case CLIENT_OUT_SKIPPED:
    case CLIENT_OUT_TRUNCATED:
        begin_line(app);
        text_word(&app->out, output->kind == CLIENT_OUT_SKIPPED
                                 ? "-- not shown here (see history): "
                                 : "-- not kept any more: ");
        add_visible(app, output->skipped.room);
        text_word(&app->out, " ");
        text_number(&app->out, output->skipped.from);
        text_word(&app->out, "-");
        text_number(&app->out, output->skipped.to);
        text_word(&app->out, "\n");
        break;
    case CLIENT_OUT_RETRACT:
        show_retract(app, output);
        break;
    default:
        show_status(app, output);
    }
}

void lines_prompt(struct app *app)
{
    if (app->setup->mode == MODE_HISTORY && !app->exited &&
        (app->page_count || app->history_failed) && client_view(app->client).queries == 0) {
        /* One more page; or all is here, or all that will come. */
        if (app->history_left && app->history_before > 1 && !app->history_failed) {
            ask_history(app);
        } else {
            print_pages(app);
            app_stop(app, 1);
        }
    }
    if (app->setup->mode != MODE_LINES)
        return;
    tell_quorum(app);
    if (!app->setup->terminal || !app->prompt_due)
        return;
    app->prompt_due = false;
    add_visible(app, words(app->setup->room[0] ? app->setup->room : "(no room)"));
    text_word(&app->out, "> ");
}

/* --- Typing ----------------------------------------------------------------------------------- */

static struct slice first_word(struct slice *rest)
{
    size_t len = 0;
    while (len < rest->len && rest->data[len] != ' ')
        len++;
    struct slice word = { rest->data, len };
    while (len < rest->len && rest->data[len] == ' ')
        len++;
    *rest = (struct slice) { rest->data + len, rest->len - len };
    return word;
}

static bool is_word(struct slice word, const char *other)
{
    return word.len == strlen(other) && memcmp(word.data, other, word.len) == 0;
}

/* The room that is written to from now on. */
static void change_room(struct app *app, struct slice room)
{
    struct client_setup *setup = app->setup;
    if (room.len > LIMIT_ROOM_NAME)
        return;
    memcpy(setup->room, room.data, room.len);
    setup->room[room.len] = '\0';
}

static void send_message(struct app *app, struct slice rest)
{
    struct slice user = first_word(&rest);
    char room[LIMIT_ROOM_NAME + 1];
    if (user.len == 0 || user.len + 1 > LIMIT_ROOM_NAME) {
        show_words(app, "/msg USER TEXT");
        return;
    }
    room[0] = '@';
    memcpy(room + 1, user.data, user.len);
    struct slice to = { (const uint8_t *)room, user.len + 1 };
    if (rest.len)
        ask_room(app, CLIENT_SEND, to, rest);
    else
        change_room(app, to);
}

/* "[ROOM] [N]", in either's absence here, 20. */
static void show_history(struct app *app, struct slice rest)
{
    struct slice room = words(app->setup->room);
    uint32_t limit = 20;
    while (rest.len) {
        struct slice word = first_word(&rest);
        uint32_t number = 0;
        for (size_t i = 0; i < word.len; i++) {
            bool digit = word.data[i] >= '0' && word.data[i] <= '9';
            number = digit && number < 10000 ? number * 10 + word.data[i] - '0' : 10000;
        }
        if (word.data[0] == '#' || word.data[0] == '@') {
            room = word;
        } else if (number >= 1 && number <= LIMIT_HISTORY_PAGE) {
            limit = number;
        } else {
            show_words(app, "/history [#room or @user] [number up to 200]");
            return;
        }
    }
    ask(app, (struct client_op) { .kind = CLIENT_HISTORY, .room = room, .limit = (uint16_t)limit });
}

/* By the number that /history shows. */
static void delete (struct app *app, struct slice rest)
{
    struct slice word = first_word(&rest);
    uint64_t seq = 0;
    bool number = word.len > 0 && word.len < 19 && !rest.len;
    for (size_t i = 0; i < word.len && number; i++) {
        number = word.data[i] >= '0' && word.data[i] <= '9';
        seq = seq * 10 + word.data[i] - '0';
    }
    if (!number || !seq)
        show_words(app, "/delete NUMBER, as /history shows it, in the room you write to");
    else
        ask(app, (struct client_op) {
                     .kind = CLIENT_DELETE, .room = words(app->setup->room), .seq = seq });
}

/* Makes the room, unless there is one, and enters it. */
static void join(struct app *app, struct slice room)
{
    if (name_check_room(room) != CODE_OK) {
        show_words(app, "/join #room: # and 1 to 32 of a-z 0-9 - _");
        return;
    }
    ask_room(app, CLIENT_CREATE, room, words(""));
    ask_room(app, CLIENT_JOIN, room, words(""));
    change_room(app, room);
}

static void part(struct app *app, struct slice room)
{
    bool is_here = is_word(room, app->setup->room);
    ask_room(app, CLIENT_PART, room, words(""));
    if (is_here && room.len && room.data[0] == '#')
        app->setup->room[0] = '\0';
}

static void slash(struct app *app, struct slice rest)
{
    struct slice word = first_word(&rest);
    struct slice here = words(app->setup->room);
    struct slice given = rest.len ? rest : here;
    app->prompt_due = true;
    if (is_word(word, "/join")) {
        join(app, rest);
    } else if (is_word(word, "/part")) {
        part(app, given);
    } else if (is_word(word, "/msg") || is_word(word, "/query")) {
        send_message(app, rest);
    } else if (is_word(word, "/me")) {
        ask_room(app, CLIENT_ME, here, rest);
    } else if (is_word(word, "/topic")) {
        if (rest.len)
            ask_room(app, CLIENT_TOPIC, here, rest);
        else
            show_words(app, "/topic TEXT sets it; /list shows it");
    } else if (is_word(word, "/names") || is_word(word, "/who")) {
        ask_room(app, CLIENT_WHO, given, words(""));
    } else if (is_word(word, "/list")) {
        ask_room(app, CLIENT_ROOMS, here, words(""));
    } else if (is_word(word, "/history")) {
        show_history(app, rest);
    } else if (is_word(word, "/delete")) {
        delete (app, rest);
    } else if (is_word(word, "/quit")) {
        app_stop(app, app->setup->wait_us);
    } else {
        show_words(app, "/join #room  /part  /msg user text  /me text  /topic text  "
                        "/names  /who  /list  /history [#room] [number]  /delete number  /quit");
    }
}

static void refuse_line(struct app *app)
{
    if (app->setup->mode == MODE_JSON) {
        json_write_error(&app->out, words("null"), CODE_BAD_REQUEST,
                         "the line is longer than 64 KiB");
        return;
    }
    app->failed = true;
    say_error(EXIT_FAILED, command, "a line is longer than 64 KiB and was not posted");
}

void lines_input(struct app *app, struct slice line, bool too_long)
{
    struct client_op op;
    app->progress_at = loop_now_us(app->loop);
    if (too_long) {
        refuse_line(app);
    } else if (app->setup->mode == MODE_JSON) {
        enum json_line kind = json_read_op(line, app->scratch, &op, &app->out);
        if (kind == JSON_LINE_OP)
            app_op(app, &op);
        else if (kind == JSON_LINE_QUIT)
            app_stop(app, app->setup->wait_us);
    } else if (app->setup->mode == MODE_SEND) {
        if (line.len)
            ask_room(app, CLIENT_SEND, words(app->setup->room), line);
    } else if (line.len && line.data[0] == '/') {
        slash(app, line);
    } else if (line.len && !app->setup->room[0]) {
        show_words(app, "no room yet: /join #room, or /msg user text");
    } else if (line.len) {
        app->prompt_due = true;
        ask_room(app, CLIENT_SEND, words(app->setup->room), line);
    } else {
        app->prompt_due = true;
    }
}

void lines_end(struct app *app)
{
    app_stop(app, app->setup->wait_us);
}

void lines_start(struct app *app)
{
    const struct client_setup *setup = app->setup;
    bool public_room = setup->room[0] == '#';
    app->history_left = setup->history;
    if (public_room && (setup->mode == MODE_SEND || setup->mode == MODE_LINES))
        ask_room(app, CLIENT_JOIN, words(setup->room), words(""));
    if (setup->mode == MODE_HISTORY)
        ask_history(app);
    app->prompt_due = true;
}

/* What was refused makes the run a failure; a history that was printed makes it none. */
int lines_status(const struct app *app, int status)
{
    if (app->setup->mode == MODE_HISTORY && status == EXIT_UNREACHABLE && app->ready_once &&
        app->history_left != app->setup->history && !app->pages)
        status = EXIT_DONE;
    bool counts = app->setup->mode == MODE_SEND || app->setup->mode == MODE_HISTORY;
    return status == EXIT_DONE && counts && app->failed ? EXIT_FAILED : status;
}
