/* Asking nodes over the authenticated channel: what all ctl commands that talk to a running cluster share.
 *
 * One conversation per command: ask_open, then ask_send to one or more slots (each is dialled when it is first asked), ask_wait
 * until enough have answered or the time is up, ask_close. Memory is the caller's struct; a reply stays until the
 * slot is asked again. */
#ifndef FTCHAT_CMD_CTL_ASK_H
#define FTCHAT_CMD_CTL_ASK_H

#include "cmd/config_load.h"
#include "core/wire.h"
#include "net/channel.h"

enum { ASK_REPLY_BYTES = WIRE_MEMBERS_BYTES }; /* unless the command takes longer ones */

enum ask_state { ASK_IDLE, ASK_DIALLING, ASK_WAITING, ASK_ANSWERED, ASK_FAILED };

struct ask_node {
    enum ask_state state;
    struct channel *channel;
    enum channel_end end; /* FAILED: why */
    uint8_t request[256];
    size_t request_len;
    uint8_t *reply; /* ask->reply_bytes; made when the node is first dialled */
    size_t reply_len;
};

struct ask_result {
    enum chat_code code;
    uint64_t index;
    char why[256];
};

struct ask_members {
    struct wire_members config;       /* borrows from `reply` */
    uint8_t differs[LIMIT_NODES + 1]; /* by node: bit n - 1: its ini and the log differ in slot n */
    uint8_t reply[ASK_REPLY_BYTES];
};

struct ask {
    size_t reply_bytes; /* the longest reply; set before ask_open, 0: ASK_REPLY_BYTES */
    struct config_file file;
    struct loop *loop;
    struct channels *channels;
    struct loop_timer deadline;
    bool over;
    struct ask_node nodes[LIMIT_NODES + 1];
};

/* Loads the configuration and the keys; the exit status, with everything said. */
int ask_open(struct ask *ask, const char *command, const char *config);
void ask_close(struct ask *ask);
void ask_send(struct ask *ask, uint8_t slot, struct slice request);
/* Until every node that was asked has answered or failed, or `until_us` (loop_clock_us). */
void ask_wait(struct ask *ask, uint64_t until_us);
/* The same, but also as soon as one has answered. */
void ask_wait_any(struct ask *ask, uint64_t until_us);
struct slice ask_reply(const struct ask *ask, uint8_t slot); /* empty: none */

/* Asks all nodes for their status; statuses[slot].node is 0 where none came. Versions are borrowed from the replies. */
void ask_statuses(struct ask *ask, struct wire_status statuses[LIMIT_NODES + 1], uint64_t until_us);
/* Asks all nodes that the ini names for the configuration, and takes the addresses of those that the
 * ini lacks, or that do not answer there, from their answers: the calls after this one reach every member. `members` is the leader's answer, else the newest; false: nobody
 * answered. `differs[slot]`: where that node's ini differs. */
bool ask_members(struct ask *ask, struct ask_members *members, uint64_t until_us);
/* Asks around until some node leads with a quorum: its slot, or 0 when the time is up. */
uint8_t ask_leader(struct ask *ask, uint64_t until_us);
/* One request to one node, and its DONE. false: none came in time, or the node is gone; whether it was done is then not
 * known. */
bool ask_command(struct ask *ask, uint8_t slot, struct slice request, uint64_t until_us,
                 struct ask_result *result);
/* A DONE reply. false: it is none. */
bool ask_done(struct slice reply, enum chat_code *code, uint64_t *index, char why[256]);

#endif
