/* The simulator: whole clusters and their clients, the real core and the real store, in one thread
 * from one seed.
 *
 * Reading order: world.c (time, the heap of what comes next, one seed from start to end),
 * network.c, sim_node.c, sim_turn.c and sim_effect.c (a server's process), sim_client.c (a
 * client's), held.c (held posts on all sides), workload.c (what the clients do), faults.c and faults_network.c, members.c (who belongs to the cluster), choices.c (which part
 * of a seed runs) and minimise.c, then the judges: invariants.c after each
 * turn of a node, oracle.c and verdict.c from the clients' side; report.c counts.
 *
 * Nothing here looks at a clock or at the system's randomness: the same seed gives the same run, and
 * each effect goes into a hash that says so. Times are microseconds of the world, from 0. Whoever
 * finds something wrong calls sim_fail, which names the seed and ends the program. */
#ifndef FTCHAT_TESTS_SIM_SIM_H
#define FTCHAT_TESTS_SIM_SIM_H

#include <stdio.h>
#include <string.h>

#include "core/chat/command.h"
#include "core/client/client.h"
#include "core/node/node.h"
#include "core/random.h"
#include "store/store.h"
#include "tests/sim/oracle.h"
#include "tests/sim/report.h"
#include "tests/sim/sim_disk.h"
#include "tests/sim/sizes.h"

struct world;
struct sim_client;

/* --- world.c: what comes next ------------------------------------------------------------------*/

enum happening_kind {
    HAPPEN_TURN = 1,  /* who: slot */
    HAPPEN_FLUSH,     /* who: slot; the log thread is done */
    HAPPEN_HOLD,      /* who: slot; the same, with what is held */
    HAPPEN_DISK,      /* who: slot; the reading thread is done with its first job */
    HAPPEN_BOOT,      /* who: slot */
    HAPPEN_DEATH,     /* who: slot, id: enum death */
    HAPPEN_ARRIVE,    /* id: link, who: side that sent */
    HAPPEN_DIAL,      /* id: link; the first packet gets there */
    HAPPEN_DIAL_LATE, /* id: link; who dialled gives up */
    HAPPEN_CLIENT_BOOT,
    HAPPEN_CLIENT_TICK,
    HAPPEN_CLIENT_WORK, /* its person does something */
    HAPPEN_CLIENT_SAVE, /* what it remembers lazily reaches its folder; DONE becomes SAVED */
    HAPPEN_CLIENT_DERIVED,
    HAPPEN_CTL,
    HAPPEN_COURSE,    /* the operator looks whether the members are those that are wanted */
    HAPPEN_FAULT,     /* id: kind */
    HAPPEN_FAULT_END, /* id: number of the fault */
};

struct happening {
    uint64_t at;
    uint64_t order;
    uint32_t epoch; /* of the process or link; another one now: it is void */
    uint32_t id;
    uint8_t kind;
    uint8_t who;
};

struct heap {
    struct happening *list;
    size_t count;
    size_t capacity;
    uint64_t order;
};

/* Each node's next turn. Most are planned again before they come: that would fill the heap. */
struct turns {
    struct happening of[SIM_NODES + 2]; /* by place; at: SIM_NEVER when none is planned */
    uint8_t soonest;                    /* place */
};

/* --- network.c ---------------------------------------------------------------------------------*/

enum packet_kind {
    PACKET_DATA,
    PACKET_UP, /* the acceptor's half of the handshake */
    PACKET_END,
    PACKET_RESET,
    PACKET_REFUSED,
};

struct packet {
    struct packet *next;
    uint64_t at;
    enum packet_kind kind;
    uint32_t len;
    uint8_t data[];
};

/* One direction of a link: a stream in order, that is late but loses nothing while both live. */
struct way {
    struct packet *first;
    struct packet *last;
    uint64_t unread; /* bytes sent that the receiving process has not taken */
    bool held;       /* a partition holds it up; retransmitted when it is over */
    bool waiting;    /* a HAPPEN_ARRIVE is under way */
};

enum end_kind { END_NODE = 1, END_CLIENT, END_CTL };

struct end {
    enum end_kind kind;
    uint8_t who;
    uint32_t number; /* acceptor: its connection; dialling node: the peer's slot */
    bool gone;       /* the process ended, or closed it */
    uint8_t host;
};

enum { SIM_NO_CONNECTION = UINT32_MAX };

/* A link as one who holds it names it; another epoch: it is gone. */
struct handle {
    uint32_t link; /* number + 1; 0: none */
    uint32_t epoch;
};

enum link_stage { STAGE_FREE, STAGE_DIALLING, STAGE_ACCEPTED, STAGE_UP };

struct link {
    enum link_stage stage;
    uint32_t epoch;
    enum node_connection_role role;
    struct end ends[2];       /* 0 dialled, 1 accepted */
    struct way ways[2];       /* ways[s]: sent by side s */
    uint8_t hash[HASH_BYTES]; /* of the handshake */
};

struct network {
    struct link links[SIM_LINKS];
    uint32_t next;
    uint8_t blocked[SIM_HOSTS][SIM_HOSTS]; /* how many faults block it, from - to */
    uint64_t latency_us;                   /* one way, typical */
    uint64_t latency_spread_us;
    uint32_t slow; /* a factor, 1: none */
    uint32_t slow_link[SIM_HOSTS][SIM_HOSTS];
    uint32_t loss_permille;
};

struct handle network_dial(struct world *world, struct end from, uint8_t slot,
                           enum node_connection_role role, uint64_t timeout_us);
/* The link, or NULL when it is gone. */
struct link *network_link(struct world *world, struct handle handle);
void network_send(struct world *world, struct handle handle, unsigned side,
                  const struct slice *parts, unsigned parts_count);
/* The process on this side is done with it: the other side reads what is queued, then the end. */
void network_close(struct world *world, struct handle handle, unsigned side);
/* Something between the two resets it: both are told. */
void network_reset(struct world *world, struct handle handle);
/* The process on `side` took `len` bytes out of its socket. */
void network_taken(struct world *world, struct handle handle, unsigned side, uint64_t len);
void network_accept(struct world *world, struct handle handle, uint32_t number);
/* All links of a process: it was killed (the kernel resets them), or its power is gone (silence). */
void network_process_gone(struct world *world, enum end_kind kind, uint8_t who, bool silent);
/* A host has power again: what others still hold of its old links is reset. */
void network_host_back(struct world *world, uint8_t host);
void network_block(struct world *world, uint8_t from, uint8_t to, bool block);
void network_start(struct network *network);
void network_heal(struct world *world); /* nothing is blocked, slow or lost any more */
void network_arrive(struct world *world, const struct happening *happening);
void network_dial_arrives(struct world *world, const struct happening *happening);
void network_dial_late(struct world *world, const struct happening *happening);
void network_free(struct network *network);

/* --- sim_node.c, sim_turn.c, sim_effect.c ------------------------------------------------------------------*/

enum item_kind {
    ITEM_FLUSHED,
    ITEM_DISK,
    ITEM_HELD,
    ITEM_READ_DONE,
    ITEM_CHECKPOINTED,
    ITEM_RETAINED,
    ITEM_COPIED,
    ITEM_CHECKED,
    ITEM_MENDED,
    ITEM_NOTICED,
    ITEM_PEER_UP,
    ITEM_PEER_DOWN,
    ITEM_PEER_MESSAGE,
    ITEM_OPEN,
    ITEM_MESSAGE,
    ITEM_CLOSED,
    ITEM_STOP,
};

/* Something that waits in a process's sockets or completion queues. */
struct item {
    struct item *next;
    enum item_kind kind;
    enum raft_link_end end;
    struct handle link;
    uint64_t id;
    uint64_t last_index;
    uint64_t duration_us;
    bool failed;
    bool more;
    bool older;
    uint64_t size;
    uint8_t step;
    enum ft_error error;
    struct store_copy_state copy;
    struct store_check check;
    bool mended;
    uint64_t want_offset;
    uint32_t len;
    uint8_t data[];
};

enum job_kind {
    JOB_ENTRIES,
    JOB_POSTS,
    JOB_PIECE,
    JOB_CHECK,
    JOB_MEND,
    JOB_CHECKPOINT, /* from here on: chores, which change the disk */
    JOB_RETAIN,
    JOB_COPY,
    JOB_PREPARE,
    JOB_SCRUB,
};

struct job {
    struct job *next;
    enum job_kind kind;
    uint64_t id;
    uint64_t index;
    uint32_t capacity;
    struct store_query query;
    struct store_room_range *ranges;
    struct store_check check;
    struct store_mend mend;
    uint8_t *state; /* of a checkpoint; a piece's data */
    size_t state_len;
    struct store_piece piece;
    struct store_retention retention;
    struct effect_copy copy;
};

/* A command that a node has on its disk, or may have. */
struct held_promise {
    uint32_t device;
    uint64_t seq;
    uint64_t digest;
    bool durable;
};

enum process_state { PROCESS_DOWN, PROCESS_UP, PROCESS_WIPED };

struct sim_node {
    struct world *world;
    uint8_t slot;
    uint8_t place; /* in the world's nodes: its slot, or SIM_TWIN */
    uint8_t host;
    enum process_state state;
    bool power; /* its host answers */
    bool paused;
    bool stopping;
    uint32_t epoch; /* of the process */
    uint32_t boots;
    struct sim_disk *disk;
    struct store *store;
    struct node *node;
    void *memory;
    size_t memory_bytes;
    uint8_t identity[IDENTITY_BYTES];
    uint16_t feature_max;    /* of the version that it runs; 0: never started */
    uint16_t feature_most;   /* of all versions that it ran */
    bool downgraded;         /* it ran a newer one before */
    uint64_t wall_offset_us; /* wrapping: may be before the world's */
    int64_t drift_ppm;
    uint64_t drift_since_us;

    bool dying; /* dies at the end of this step: nothing more is carried out */
    uint64_t mono_offset_us;

    struct item *inbox;
    struct item **inbox_end;
    uint64_t due_at; /* since when a turn is wanted */
    uint64_t wake_at;
    uint64_t busy_until;

    struct handle peers[SIM_NODES + 1];
    struct handle connections[SIM_CONNECTIONS];
    uint64_t undrained; /* bit per connection: sent since DRAINED */

    bool flush_out;
    bool die_in_flush; /* the next one */
    uint32_t death;
    struct effect_flush flush;
    uint64_t flush_began;
    bool hold_out;
    struct effect_hold hold;
    struct held_promise *promises; /* what it must not lose before it is resolved */
    uint32_t promises_count;
    bool interrupted_discard; /* the last process died while it discarded them */
    bool held_files;
    struct job *jobs;
    struct job **jobs_end;
    bool job_out;

    bool halted;
    int halt_status;
    bool halt_again;
    bool knows_removed;
    bool knows_twin;
    uint8_t fetched_kind; /* the piece that it asked for last, and whom */
    uint8_t fetched_from;
    uint64_t fetched_index;
    uint64_t first;    /* where its log begins */
    bool copying;      /* it has begun to copy and has not put that in place */
    uint32_t crash_in; /* effects until the process dies; 0: it does not */

    uint64_t sync_us; /* what its disk takes */
    uint32_t slow_disk;
    bool fail_flush; /* the next sync fails: the log thread's, the reading thread's */
    bool fail_job;
    enum ft_error prepare_error; /* told last */
    uint64_t calm_rounds; /* of proving everything, at the last damage and when the faults ended */
    uint64_t struck_last; /* of its log, at the last damage */
    bool rotten;          /* its disk was damaged in this seed (rot.c) */
    bool doubtful;        /* in what it votes by */

    /* For invariants.c. */
    uint64_t handed_over;      /* when its process last did so for its disk's sake; 0: never */
    bool interrupted;          /* the last process died with a flush out */
    uint64_t interrupted_from; /* which truncates from here; 0: nothing */
    uint64_t seen_commit;
    uint64_t seen_term;
    uint64_t seen_applied;
    bool seen_lost;
    uint64_t led_term; /* it led this term at the end of its last turn; 0: none */
    uint64_t recovered_last;
    uint64_t seen_last;
    uint64_t seen_last_tag;
    uint64_t seen_leader_term;
    uint64_t seen_level;   /* and the configuration, as its leader */
    uint64_t durable_term; /* what finished flushes promised */
    uint8_t durable_vote[IDENTITY_BYTES];
    uint8_t durable_identity[IDENTITY_BYTES]; /* whose they are */
    uint64_t durable_last;
    uint64_t *durable; /* per index: the tag of the entry that ends there */
    uint64_t *lost;    /* the same of the folder that was wiped: it was acknowledged once */
    uint8_t lost_identity[IDENTITY_BYTES];
    uint64_t seen_config;
    bool seen_pending;
};

void sim_node_create(struct world *world, uint8_t slot);
void sim_node_copy(struct sim_node *copy, const struct sim_node *node);
void sim_node_free(struct sim_node *node);
void sim_node_boot(struct sim_node *node);
enum death { DEATH_KILL, DEATH_POWER, DEATH_EXIT };
void sim_node_die(struct sim_node *node, enum death death);
void sim_node_turn(struct sim_node *node);
void sim_node_step(struct sim_node *node, const struct node_event *event);
struct now sim_node_now(const struct sim_node *node);
void sim_node_want_turn(struct sim_node *node, uint64_t at);
void sim_node_put(struct sim_node *node, struct item *item);
struct item *sim_item(enum item_kind kind, size_t len);
void sim_node_pause(struct sim_node *node, bool pause);
void sim_node_wipe(struct sim_node *node);
uint64_t sim_node_wall(const struct sim_node *node);
bool sim_node_up(const struct sim_node *node);
void sim_node_emit(void *ctx, const struct effect *effect);
void sim_node_flush_done(struct sim_node *node);
void sim_node_job_done(struct sim_node *node);
enum ft_error sim_node_flush(struct sim_node *node);
enum ft_error sim_node_job_run(struct sim_node *node, struct item **done);
void sim_node_jobs_free(struct sim_node *node);
void sim_node_prepare(struct sim_node *node);
void sim_node_scrub(struct sim_node *node);
void sim_node_finish_disk(struct sim_node *node, enum death death);

/* --- held.c ------------------------------------------------------------------------------------*/

void held_begin(struct sim_node *node, const struct effect *effect, uint64_t time_us);
void held_done_on_disk(struct sim_node *node);
void held_told(struct sim_node *node, struct slice message);
void held_recovered(struct sim_node *node, const struct store_recovery *recovery);
void held_started(struct sim_node *node);
void held_interrupted(struct sim_node *node, enum death death);
void held_forget_promises(struct sim_node *node);
void held_oracle_shown(struct sim_client *client, const struct wire_record *record);
void held_oracle_record(struct sim_client *client, const struct wire_record *record);
void held_oracle_skipped(struct sim_client *client, uint64_t room);
void held_oracle_retract(struct sim_client *client, uint64_t tag, uint64_t seq);
/* What it was shown so far is remembered in its folder. */
void held_oracle_saved(struct sim_client *client);
/* `knows`: the folder is its last one. */
void held_oracle_restarted(struct sim_client *client, bool knows);
/* The connection is gone, and with it what it was shown as held. */
void held_oracle_left(struct sim_client *client);
/* Was this client told so of that op (number + 1) under that uid? */
bool held_oracle_was_retracted(const struct world *world, uint8_t client, uint64_t tag,
                               uint64_t seq, uint32_t op);
void held_oracle_end(struct world *world);

/* --- sim_client.c ------------------------------------------------------------------------------*/

/* A line of the client's outbox file. */
struct saved_entry {
    struct saved_entry *next;
    uint64_t number;
    uint64_t seq;
    uint32_t id_len;
    uint32_t body_len;
    uint8_t data[];
};

/* What is in a client's folder. */
struct saved {
    uint8_t secret_key[SECRET_KEY_BYTES];
    uint32_t device;
    uint64_t enrolled_index;
    uint64_t cursor;
    uint64_t floor;
    uint64_t last_number;
    uint64_t last_seq;
    uint64_t done_number;
    uint64_t done_seq;
    struct client_seen seen;
    struct saved_entry *entries;
};

struct sim_client {
    struct world *world;
    uint8_t number;
    bool running;
    bool paused;
    uint32_t epoch;
    uint32_t boots;
    struct client *client;
    struct client_limits limits;
    void *memory;
    uint8_t name[16];
    uint8_t name_len;

    struct saved saved;
    struct saved staged; /* of a device that is not taken yet */
    struct saved copy;   /* somebody kept one */
    bool has_copy;
    bool went_back; /* its folder was an old copy once: it cannot know what it did after that */
    bool staging;
    bool has_done; /* a DONE that is not saved yet */
    uint64_t done_number, done_seq;
    bool has_cursor;
    uint64_t cursor, floor, forgot;
    struct client_sender *unsaved; /* what it has seen the end of since the last save */
    uint32_t unsaved_count, unsaved_capacity;
    bool save_planned;

    struct handle link;
    uint64_t wake_at;
    uint64_t tick_planned;
    struct item *inbox; /* while paused */
    struct item **inbox_end;
    uint32_t crash_in;
    bool dying;
    bool made_device; /* to be answered after the step */

    uint64_t derive_salt;

    /* Its person: workload.c. */
    uint64_t pace_us;
    uint64_t burst;
    uint32_t issued;
    uint32_t queries_open;
    uint64_t joined; /* bit per room: asked for */
};

void sim_client_create(struct world *world, uint8_t number);
void sim_client_free(struct sim_client *client);
void sim_client_boot(struct sim_client *client);
void sim_client_die(struct sim_client *client);
/* Keeps a copy of its folder; the next time it dies and comes back with that. */
bool sim_client_old_copy(struct sim_client *client);
void sim_client_pause(struct sim_client *client, bool pause);
void sim_client_tick(struct sim_client *client);
void sim_client_save(struct sim_client *client);
void sim_client_derived(struct sim_client *client);
void sim_client_op(struct sim_client *client, const struct client_op *op);
/* From the network. */
void sim_client_connected(struct sim_client *client, struct handle link);
void sim_client_closed(struct sim_client *client, struct handle link, enum client_end end);
void sim_client_message(struct sim_client *client, struct handle link, struct slice message);

/* --- workload.c --------------------------------------------------------------------------------*/

struct workload {
    unsigned rooms;
    unsigned users;
    bool has_private;
    bool stopped;
    uint32_t text_bytes;
    /* ctl */
    uint8_t ctl_slot;
    struct handle ctl_link;
    bool ctl_is_up;
    uint8_t transfer_slot; /* to ask for; 0: nothing */
    bool transfer_due;
    struct wire_member member; /* to ask for */
    bool member_due;
    bool formed;
    uint64_t formed_at;
    uint8_t cluster[IDENTITY_BYTES];
    uint8_t secret[32];
    uint8_t slots;
};

void workload_start(struct world *world);
void workload_work(struct sim_client *client);
void ctl_wake(struct world *world);
void ctl_up(struct world *world, struct handle link);
void ctl_message(struct world *world, struct handle link, struct slice message);
void ctl_closed(struct world *world, struct handle link);
void ctl_transfer(struct world *world, uint8_t slot);

/* --- members.c ---------------------------------------------------------------------------------*/

enum { MEMBERS_KNOWN = 64 };

struct members {
    uint8_t first; /* bit per slot: with whom it is formed, and who belongs to it at the end */
    uint8_t last;
    uint8_t some; /* between these and all it grows and shrinks; 0: it does not */
    uint8_t target;
    uint64_t stays_until;
    struct raft_config known[MEMBERS_KNOWN]; /* that a leader counts by, or one may again */
    unsigned count;
};

void members_start(struct world *world);
void members_turn(struct sim_node *node);
bool members_fault(struct world *world);
bool members_replace_dead(struct world *world);
void members_course(struct world *world);
bool members_can_spare(const struct sim_node *victim);
/* Is there a majority of every configuration that counts in the folders of those not in `but` (bit 1 << slot)? */
bool members_hold(const struct world *world, uint32_t but);
/* Would ctl, had it come a moment later, not ask for this any more? */
bool members_regrets(const struct sim_node *leader, struct slice message);
/* Does it belong to the cluster at the end? */
bool members_wants(const struct world *world, uint8_t slot);
/* With no more faults: who is to belong to it comes back, who is not goes. */
void members_calm(struct world *world);
/* Its folder is copied and both are started; the copy is ended. */
bool members_twin(struct world *world);
void members_twin_end(struct world *world);
/* With no more faults: two that both live are told so; then the copy is ended. */
void members_twin_told(struct world *world);
void members_free(struct world *world);
const char *members_outside(const struct sim_node *node);

/* --- faults.c ----------------------------------------------------------------------------------*/

enum { FAULTS_OPEN = 256 };

struct open_fault {
    bool used;
    uint32_t epoch;
    enum report_fault kind;
    uint8_t a, b;
    uint64_t value;
};

/* Which nodes were damaged where (rot.c); bit per slot. */
struct rot_file {
    uint64_t name; /* hash of its path */
    bool checkpoint;
    uint32_t hit;
};
struct atlas {
    uint32_t wiped;
    struct rot_file files[4096];
    uint32_t files_count;
};

struct faults {
    bool over;
    struct random random;
    uint32_t number; /* of the next one, from 0 */
    uint32_t happened[FAULT_KINDS];
    uint32_t counted;              /* in this seed */
    uint64_t mean_us[FAULT_KINDS]; /* 0: not in this seed */
    struct open_fault open[FAULTS_OPEN];
    struct atlas atlas;
};

void faults_start(struct world *world);
void faults_happen(struct world *world, const struct happening *happening);
void faults_end(struct world *world, const struct happening *happening);
void faults_restart_later(struct world *world, uint8_t slot);
struct sim_node *faults_leader(struct world *world);
/* Does the newest configuration that a running node knows name it? */
bool faults_is_member(const struct sim_node *node);
/* Notes a fault that ends after a time between the two. */
void faults_open(struct world *world, enum report_fault kind, uint8_t a, uint8_t b, uint64_t value,
                 uint64_t least_us, uint64_t most_us);
/* faults_network.c */
bool faults_on_network(struct world *world, enum report_fault kind);
void faults_network_ends(struct world *world, const struct open_fault *open);
/* rot.c */
void rot_describe(const struct sim_node *node);
bool rot_may_wipe(const struct world *world, uint8_t slot);
void rot_wiped(struct world *world, uint8_t slot);
/* Any node's disk was damaged. */
bool rot_struck(const struct world *world);
/* It knows of damage that another could mend. */
bool rot_open(const struct sim_node *node);
/* It was proved whole since it was damaged last. */
bool rot_proved(const struct sim_node *node);
/* Does each file stand whole on a majority of `voters` (bit 1 << slot)? */
bool rot_leaves(const struct world *world, uint32_t voters);
/* A slice of proving is done: what is not committed yet is not looked at, and so a round that left out what was
 * damaged proves nothing. */
void rot_checked(struct sim_node *node);
/* Notes which nodes are whole again. */
void rot_healed(struct world *world);
bool rot_strike(struct world *world, enum report_fault kind);
void faults_stop(struct world *world); /* everything is healed and started again */

/* --- invariants.c ------------------------------------------------------------------------------*/

struct chain_mark { /* of an entry that ends at an index */
    uint64_t tag;   /* of its chain; 0: none */
    uint64_t term;
    uint64_t by; /* the term in which somebody first knew it to be committed */
};

struct place {
    uint32_t room;
    bool known;
    bool event;
    uint64_t seq;
};

struct known_entry {
    uint64_t index;
    uint64_t term;
    uint64_t tag;
};

struct promised_vote {
    uint64_t identity;
    uint64_t term;
    uint64_t candidate;
};

struct invariants {
    uint8_t leader_of[SIM_TERMS];
    struct chain_mark *committed; /* by index */
    uint8_t **history;            /* by index: the committed entry that ends there, whole */
    uint64_t committed_last;
    uint64_t history_last;       /* up to there history has no hole */
    struct place *places;        /* by index */
    uint64_t *checkpoints;       /* by index: a hash of the state there; 0: none */
    struct known_entry *entries; /* open addressing by index and term */
    struct promised_vote *votes; /* open addressing */
};

void invariants_start(struct world *world);
void invariants_free(struct world *world);
void invariants_boot(struct sim_node *node, const struct store_recovery *recovery);
void invariants_recovered(struct sim_node *node, struct slice entries);
void invariants_recovered_all(struct sim_node *node, const struct store_recovery *recovery);
void invariants_turn(struct sim_node *node);
/* The process is to start anew with a copied log up to `end`. */
void invariants_installed(struct sim_node *node, const struct store_recovery *recovery);
void invariants_flushed(struct sim_node *node);
void invariants_peer_send(struct sim_node *node, const struct effect *effect);
void invariants_index(struct sim_node *node, const struct effect *effect);
void invariants_checkpoint(struct sim_node *node, const struct effect *effect);
void invariants_hand_over(struct sim_node *node, const char *text);

/* --- sim_crypto.c ------------------------------------------------------------------------------*/

extern const struct crypto crypto_sim;
void crypto_sim_key(uint8_t secret_key[SECRET_KEY_BYTES], uint64_t a, uint64_t b);
uint64_t sim_mix(uint64_t a, uint64_t b);
uint64_t sim_hash(const void *data, size_t len, uint64_t seed);

/* --- the world ---------------------------------------------------------------------------------*/

struct world {
    uint64_t seed;
    uint64_t now;
    uint64_t events;
    struct random random;
    struct heap heap;
    struct turns turns;
    unsigned nodes_count;
    unsigned clients_count;
    struct sim_node nodes[SIM_NODES + 2];
    struct sim_client clients[SIM_CLIENTS];
    struct network network;
    struct workload workload;
    struct members members;
    struct faults faults;
    struct invariants invariants;
    struct oracle oracle;
    struct report *report;
    size_t recent_bytes;
    uint32_t catch_up;
    uint64_t segment_bytes;
    uint64_t retain_bytes; /* of each node; 0: for ever */
    uint64_t retain_us;
    uint64_t scrub_us;
    bool upgrades;    /* nodes come back as another version now and then */
    uint16_t level;   /* the highest feature level that any node applied or asked for */
    uint64_t load_us; /* how long the faults go on */
    uint64_t effects_hash;
    uint8_t *buffer; /* LIMIT_ENTRY_BYTES, for reads */
};

extern bool sim_told;       /* somebody wants to know what happens: one of these */
extern bool sim_transcript; /* on standard output, for people */
extern FILE *sim_ndjson;    /* one JSON object a line */
/* Whose world a failed CHECK is in. */
void sim_running(struct world *world);

/* Runs one seed; returns the hash of all its effects. */
uint64_t world_run(uint64_t seed, struct report *report);
void world_plan(struct world *world, enum happening_kind kind, uint64_t at, uint8_t who,
                uint32_t id, uint32_t epoch);
/* Instead of the turn that was planned for it. */
void world_plan_turn(struct world *world, uint64_t at, uint8_t place, uint32_t epoch);
void world_run_until(struct world *world, uint64_t until);
void world_note(struct world *world, uint64_t value);
struct now world_now(const struct world *world);

_Noreturn __attribute__((format(printf, 2, 3))) void sim_fail(struct world *world,
                                                              const char *format, ...);
__attribute__((format(printf, 2, 3))) void sim_say(struct world *world, const char *format, ...);
/* The arguments are not looked at without a transcript. */
#define SAY(world, ...)                                                                            \
    do {                                                                                           \
        if (sim_told)                                                                              \
            sim_say((world), __VA_ARGS__);                                                         \
    } while (0)

void *sim_must(void *memory);

#endif
