/* What the tests of the channel share: one loop, a server that accepts, a set that dials, an owner
 * that notes what it is told, and a stranger who speaks the protocol by hand. */
#ifndef FTCHAT_TESTS_TEST_CHANNEL_H
#define FTCHAT_TESTS_TEST_CHANNEL_H

#include "core/limits.h"
#include "net/channel.h"
#include "net/lookup.h"

#include <errno.h>
#include <setjmp.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum { ECHO_MAX = 1 << 20, SIDES = 512, DIAL_US = 60 * 1000 * 1000 };

/* One end of a channel, as its owner sees it. */
struct side {
    struct channel *channel;
    int opened, messages, drained, closed;
    enum channel_end end;
    size_t bytes;
    size_t last_len;
    uint8_t last[64]; /* the beginning of the last message */
    size_t greets;    /* length of a message sent inside the OPENED handler */
    int pages;        /* more messages to send, one at each DRAINED */
    bool admits;      /* at OPENED */
    bool echoes;
    bool shuts_at_message; /* closes, not gracefully, inside the handler */
    bool shuts_at_opening; /* gracefully */
};

extern struct loop *loop;
extern struct channels *server, *dialers;
extern struct tcp_address at;
extern struct side accepted[SIDES]; /* in the order they opened */
extern int accepted_count;
extern struct side accepts_as; /* what accepted sides begin as */
extern uint64_t told[NET_COUNTERS];
extern uint8_t secret_key[NOISE_KEY_BYTES], public_key[NOISE_KEY_BYTES], psk[NOISE_KEY_BYTES];

/* cmocka's set-up and tear-down; and both in one, for a server with other settings. */
int channel_set_up(void **state);
int channel_tear_down(void **state);
void reopen(const struct channels_config *config);

#define CHANNEL_TEST(name) cmocka_unit_test_setup_teardown(name, channel_set_up, channel_tear_down)

/* Turns the loop until the condition holds: a hang, not a time, is what fails. */
#define UNTIL(condition)                                                                           \
    do {                                                                                           \
        while (!(condition))                                                                       \
            loop_run_once(loop, UINT64_MAX);                                                       \
    } while (0)

void turns(int number);
uint64_t count(enum net_counter counter);

/* The owner of a side. */
void on_side(void *owner, struct channel *channel, const struct channel_event *event);
void say(struct channel *channel, const void *data, size_t len);
void dial_as(struct side *side, enum channel_role role);
/* Dials, and waits for both ends; returns the accepted one. */
struct side *meet(struct side *side, enum channel_role role);
/* How a dial that must fail ends. */
enum channel_end end_of_dial(struct channels *set, const char *host, uint16_t port,
                             enum channel_role role, uint64_t timeout_us);

/* A plain socket, and the protocol spoken by hand. */
struct stranger {
    int fd;
    struct noise_cipher send, receive;
    uint8_t first[PREAMBLE_BYTES + FRAME_HEAD_BYTES + NOISE_HANDSHAKE_BYTES];
};

void stranger_connect(struct stranger *stranger);
void stranger_write(const struct stranger *stranger, const void *data, size_t len);
/* The server hung up, and said nothing before. */
bool stranger_sees_end(const struct stranger *stranger);
/* Makes the preamble and message 1. */
void stranger_begin(struct stranger *stranger, struct noise_handshake *handshake);
/* Connects, and turns the loop until both have keys. */
void stranger_handshake(struct stranger *stranger);
/* Seals a message into a frame at `out`; returns its length. */
size_t stranger_frame(struct stranger *stranger, uint8_t *out, const char *text);
/* Closes with a reset instead of an end. */
void stranger_reset(const struct stranger *stranger);

#endif
