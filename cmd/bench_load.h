/* The load of `ftchat ctl bench`: many clients in one thread, each with a device, an account and a window of posts of its
 * own, over the same secure channel as any client.
 *
 * A client here is a small state machine without an outbox: dial, enrol with keys it makes (no password is derived), log
 * in, create or join a room, then post as fast as its window lets it. Exactly-once is kept as by a real one: what is
 * refused for now or reported missing goes again under its seq, with the same bytes. Readers stream one room that all
 * writers share; without readers each writer has a room of its own. Idle ones only stay.
 *
 * Memory is sized by load_open and freed by load_close. Times are microseconds of the monotonic clock, from handing a
 * post to the channel to reading its answer. */
#ifndef FTCHAT_CMD_BENCH_LOAD_H
#define FTCHAT_CMD_BENCH_LOAD_H

#include "cmd/bench_times.h"
#include "core/config.h"
#include "net/channel.h"

struct load_settings {
    struct config_address servers[LIMIT_NODES];
    uint32_t server_count;
    bool spread; /* writers take the servers in turn; else the first. The others always do. */
    uint32_t writers;
    uint32_t depth; /* 1 .. LIMIT_OUTSTANDING */
    uint32_t bytes;
    uint32_t readers;
    uint32_t idle;
    uint32_t rate; /* posts a second of all writers together; 0: as many as go */
};

enum load_error { LOAD_FINE, LOAD_LOST, LOAD_REFUSED };

/* What is counted between two load_measure. */
struct load_counts {
    uint64_t begin_us;
    uint64_t committed;
    struct times commit_times;
    uint64_t delivered; /* records that readers got */
    struct times delivery_times;
    uint64_t refused_for_now; /* answers that are not final: busy, rate limited ... */
    uint64_t sent_again;
};

struct load {
    struct load_settings settings;
    struct loop *loop;
    struct channels *channels;
    struct load_client *clients;
    uint32_t client_count;
    uint32_t opening; /* dialled and not ready */
    uint32_t opened;  /* dialled at all */
    uint32_t ready;
    uint32_t waiting; /* posts without an answer */
    bool room_made;   /* the shared one */
    bool posting;
    bool measuring;
    uint64_t limit; /* posts to send in all; 0: none */
    uint64_t posts; /* sent for the first time */
    uint64_t paced_since_us;
    uint64_t paced_posts;
    uint32_t paced_next;
    struct loop_timer tick;
    uint8_t nonce[5];
    enum load_error error;
    char why[200];
    struct load_counts counts;
};

/* Begins to connect; the loop and the channels are the caller's. False: no memory. */
bool load_open(struct load *load, struct loop *loop, struct channels *channels,
               const struct load_settings *settings);
bool load_is_ready(const struct load *load);
void load_post(struct load *load, uint64_t limit); /* begin to post; 0: no limit */
void load_pause(struct load *load);                /* no new posts; answers still come */
/* Counts from now on. */
void load_measure(struct load *load);
void load_stop_measuring(struct load *load);
/* Cuts all its channels off. */
void load_close(struct load *load);

#endif
