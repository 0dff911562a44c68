/* The judges from the clients' side: oracle.c notes what each client's person asked for and was shown
 * and judges what it can at once; verdict.c compares all of it with the history at the seed's end. */
#ifndef FTCHAT_TESTS_SIM_ORACLE_H
#define FTCHAT_TESTS_SIM_ORACLE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/chat/code.h"
#include "core/client/client.h"
#include "tests/sim/sizes.h"

struct world;
struct sim_client;

enum { ORACLE_HELD = 4096, ORACLE_GONE = 256 };
enum { ORACLE_OPS = 1 << 14, ORACLE_QUERIES = 32, ORACLE_ROOM_BYTES = 72 };
enum {
    ROOM_NOPE = 15,   /* nobody makes it */
    ROOM_DIRECT = 16, /* + the other user */
    ORACLE_ROOMS = ROOM_DIRECT + SIM_CLIENTS,
};

enum op_fate { FATE_OPEN, FATE_COMMITTED, FATE_REJECTED };

/* One thing that a client's person asked for and that is answered by acks. */
struct oracle_op {
    uint8_t client;
    uint8_t kind; /* enum client_op_kind */
    uint8_t room;
    bool put; /* it is in the outbox: from then on it must get its answer */
    enum op_fate fate;
    enum chat_code code;
    uint64_t room_seq;
    uint64_t index;
    uint64_t time_us;
    uint32_t boots;      /* of the client when it was answered */
    uint32_t held_boots; /* of the client when it was told `held` */
    uint8_t held_on;     /* bit per node that showed it as held */
    uint8_t retracted;   /* bit per client that was told so */
    uint32_t found;      /* verdict: how often it stands in the history */
    uint64_t target;     /* CLIENT_DELETE: the seq */
};

struct oracle_uid {
    uint64_t tag;
    uint64_t seq;
    uint64_t room;
    uint32_t op;
    bool left; /* its end need not be shown: some of its room was not streamed */
    bool lost; /* retracted, and not remembered */
};

struct oracle_shown {
    struct oracle_uid uid; /* tag and seq */
    uint64_t index;
    uint64_t seq;
    uint64_t room; /* hash of its name, the same for all who see it */
    uint32_t op;   /* number + 1; 0: an event; ORACLE_DELETED: a post without its text */
};
#define ORACLE_DELETED UINT32_MAX

/* A post of which this client was told that it is deleted; a query from this number on says so. */
struct oracle_gone {
    uint8_t room;
    uint64_t seq;
    uint32_t query;
};

struct oracle_skip {
    uint64_t room;
    uint64_t from;
    uint64_t to;
};

struct oracle_query {
    bool used;
    uint32_t id;
    uint8_t room;
    uint64_t index;    /* of the post that is named by: */
    uint64_t at_least; /* its last row's seq, when it asks for the newest */
};

struct oracle_client {
    struct oracle_shown *shown; /* by index */
    uint32_t count;
    uint32_t capacity;
    struct oracle_skip *skips;
    uint32_t skips_count;
    uint32_t skips_capacity;
    struct oracle_gone gone[ORACLE_GONE]; /* in this life */
    uint32_t gone_count;
    uint32_t acked_op; /* newest in this life */
    uint32_t next_query;
    uint64_t acked_seq[ORACLE_ROOMS]; /* newest acknowledged post per room */
    uint64_t acked_index[ORACLE_ROOMS];
    struct oracle_query queries[ORACLE_QUERIES];
    struct oracle_uid held[ORACLE_HELD]; /* on this connection, and open */
    uint32_t held_count;
    struct oracle_uid retracted[ORACLE_HELD];
    uint32_t retracted_count;
    uint32_t retracted_saved;
};

struct oracle {
    struct oracle_op *ops;
    uint32_t ops_count;
    uint64_t *seen; /* what anybody was shown at an index: the first time decides; 0: nothing */
    uint64_t *seen_text; /* likewise its text, when it was shown with one */
    bool *seen_deleted;  /* it was shown as deleted */
    struct oracle_client clients[SIM_CLIENTS];
    uint64_t acknowledged;
};

void oracle_start(struct world *world);
void oracle_free(struct world *world);
/* Numbers the op, for its id and its text. */
uint32_t oracle_issue(struct sim_client *client, enum client_op_kind kind, uint8_t room);
/* Of an op CLIENT_DELETE: the seq of a post in the room. */
uint64_t oracle_target(struct sim_client *client, uint8_t room);
void oracle_put(struct sim_client *client, struct slice id);
uint32_t oracle_ask(struct sim_client *client, uint8_t room, bool newest);
void oracle_output(struct sim_client *client, const struct client_output *output);
void oracle_restarted(struct sim_client *client);
void oracle_went_back(struct sim_client *client);
/* Nothing that anybody asked for is open any more. */
bool oracle_settled(const struct world *world);
/* "n12 ..." -> 13; 0: not one of ours. */
uint32_t oracle_op_of(struct slice text);
/* A room's name, the same for all who see it: a direct one is named by both. */
uint64_t oracle_room(struct slice room, struct slice user);
void verdict(struct world *world);

#endif
