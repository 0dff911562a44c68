/* The `client` command's running part: one core/client, interpreted.
 *
 *     client_command.c    options and configuration into a struct client_setup
 *     client_run.c        events and effects: loop, channel, state file, Argon2id, signals
 *     client_io.c         standard input as lines, standard output without blocking the loop
 *     client_lines.c      what people see and type: --send, --follow, --history, the terminal
 *     client_json_*.c     what machines see and write
 *
 * Order within a turn, which exactly-once rests on (core/client/client.h): puts reach the state
 * file before anything is sent; acks reach standard output before the file says that they did; only
 * then does the node hear of it. */
#ifndef FTCHAT_CMD_CLIENT_CLIENT_APP_H
#define FTCHAT_CMD_CLIENT_CLIENT_APP_H

#include "cmd/client/client_state.h"
#include "cmd/client/text_out.h"
#include "cmd/keys.h"
#include "core/client/client.h"
#include "core/config.h"
#include "net/channel.h"

#include <pthread.h>

enum client_mode { MODE_LINES, MODE_JSON, MODE_SEND, MODE_FOLLOW, MODE_HISTORY };

enum { PASSWORD_BYTES = 1024, INPUT_BYTES = 256 << 10, BACKLOG_BYTES = 1 << 20 };

struct client_setup {
    enum client_mode mode;
    bool json; /* of FOLLOW and HISTORY */
    bool held_ok;
    bool terminal; /* standard output is one */
    bool is_register;
    bool shuffle;
    char user[LIMIT_USER_NAME + 1];
    char room[LIMIT_ROOM_NAME + 1]; /* "": none */
    uint32_t history;
    uint64_t wait_us;
    uint8_t token[WIRE_TOKEN_BYTES];
    uint8_t token_len;
    struct config_address servers[LIMIT_SERVERS];
    uint8_t server_count;
    uint32_t connect_timeout_ms;
    uint32_t retry_ms;
    struct cluster_public key;
    const char *state_folder;
    bool has_password;
    char password[PASSWORD_BYTES];
};

struct app {
    struct client_setup *setup;
    struct client *client;
    void *client_memory; /* where it lives */
    struct client_state *state;
    struct loop *loop;
    struct channels *channels;
    struct channel *channel;
    struct loop_timer wake;
    struct loop_timer patience;
    struct loop_hook turn_end;
    struct loop_signals signals;

    /* Argon2id, on its thread. */
    struct loop_wakeup derived;
    pthread_t worker;
    bool working;
    bool derive_failed;
    uint8_t salt[WIRE_SALT_BYTES];
    uint32_t passes;
    uint64_t memory_bytes;
    uint8_t account_key[SECRET_KEY_BYTES];

    /* What emit leaves for after the step. */
    bool device_wanted;
    bool lost;
    enum client_end lost_how;
    bool has_done;
    uint64_t done_number;
    uint64_t done_seq;
    bool has_cursor;
    uint64_t cursor;
    uint64_t floor;
    uint64_t forgot;
    uint8_t cluster[IDENTITY_BYTES];
    bool exited;
    int exit_status;
    uint64_t left;

    /* Standard input and output. */
    struct loop_source in;
    bool in_open;
    bool in_plain;   /* a file: always readable */
    bool discarding; /* the rest of a line that is too long */
    char *input;
    size_t input_start;
    size_t input_end;
    struct loop_source out_source;
    struct text_out out;
    int out_fd;
    bool out_socket;
    bool out_blocked;
    bool out_broken;

    /* Lines. */
    uint8_t *scratch;
    uint64_t next_id;
    bool ready_once;
    uint64_t no_quorum_at; /* since when; 0: there is one */
    bool quorum_told;
    uint64_t progress_at;
    bool failed;     /* something was refused */
    bool prompt_due; /* the terminal's line is empty */
    uint32_t history_left;
    uint64_t history_before;
    bool history_failed;    /* no page comes any more */
    struct text_out *pages; /* newest first */
    size_t page_count;
};

int client_run(struct client_setup *setup);
/* client_command.c: asks for it, when there is a terminal to ask on. */
void client_ask_password(struct client_setup *setup);

/* client_run.c, for the others */
void app_op(struct app *app, const struct client_op *op);
void app_stop(struct app *app, uint64_t wait_us);

/* client_io.c */
void io_start(struct app *app);
void io_stop(struct app *app);
/* Takes lines while there is room for what they ask. */
void io_read(struct app *app);
/* Writes what the reader takes. */
void io_write(struct app *app);
/* All of it, waiting for the reader for some seconds. */
void io_write_all(struct app *app);

/* client_lines.c */
void lines_start(struct app *app);
void lines_input(struct app *app, struct slice line, bool too_long);
void lines_end(struct app *app);
void lines_output(struct app *app, const struct client_output *output);
int lines_status(const struct app *app, int status);
void lines_prompt(struct app *app);

#endif
