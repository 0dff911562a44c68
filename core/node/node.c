#include "core/node/state.h"

#include "core/feature.h"

static size_t align16(size_t bytes)
{
    return (bytes + 15) & ~(size_t)15;
}

/* Hands out parts of the caller's memory; with no memory it only adds up. */
struct arena {
    uint8_t *memory;
    size_t used;
};

static void *take(struct arena *arena, size_t bytes)
{
    void *at = arena->memory ? arena->memory + arena->used : NULL;
    arena->used += align16(bytes);
    return at;
}

static struct raft_options raft_options_of(const struct node_options *options)
{
    struct raft_options raft = {
        .slot = options->slot,
        .crypto = options->crypto,
        .seed = options->seed,
        .heartbeat_us = options->heartbeat_us,
        .election_min_us = options->election_min_us,
        .election_max_us = options->election_max_us,
        .cache_bytes = options->cache_bytes,
        .cache_entries = options->cache_entries,
    };
    memcpy(raft.identity, options->identity, IDENTITY_BYTES);
    return raft;
}

/* A checkpoint holds the chat's state and raft's, which is mostly one term start per leadership. */
static size_t checkpoint_room(size_t chat_bytes)
{
    return chat_bytes + (size_t)LIMIT_LOG_TERMS * 16 + 4096;
}

static struct node *lay_out(struct arena *arena, const struct node_options *options)
{
    struct node *node = take(arena, sizeof(struct node));
    struct raft_options raft = raft_options_of(options);
    void *raft_at = take(arena, raft_memory(&raft));
    void *chat_at = take(arena, chat_memory(&options->chat));
    void *queue_at = take(arena, queue_memory(options->queue_bytes, options->chat.devices));
    void *recent_at = take(arena, recent_memory(options->recent_bytes));
    void *sessions = take(arena, options->connections * sizeof(struct session));
    void *account_sessions = take(arena, (options->chat.accounts + 1) * sizeof(uint32_t));
    void *credit_at = take(arena, (options->chat.accounts + 1) * sizeof(uint64_t));
    void *queued = take(arena, (options->chat.accounts + 1) * sizeof(uint32_t));
    void *credit = take(arena, (options->chat.accounts + 1) * sizeof(uint32_t));
    void *queries = take(arena, NODE_QUERIES * sizeof(struct pending_query));
    void *ranges = take(arena, NODE_RANGES * sizeof(struct effect_range));
    void *batch_sizes = take(arena, LIMIT_ENTRY_COMMANDS * sizeof(uint32_t));
    void *batch = take(arena, LIMIT_ENTRY_BYTES);
    void *forward_out = take(arena, LIMIT_APPEND_BYTES);
    void *hold_entry = take(arena, LIMIT_HOLD_BYTES);
    void *hold_positions = take(arena, NODE_HOLD_COMMANDS * sizeof(uint32_t));
    void *scratch = take(arena, NODE_PAGE_BYTES + LIMIT_COMMAND_BYTES + 4096);
    if (!node)
        return NULL;
    node->options = *options;
    node->raft = raft_init(raft_at, &raft);
    node->chat = chat_init(chat_at, &options->chat, options->crypto);
    node->queue = queue_init(queue_at, options->queue_bytes, options->chat.devices);
    node->recent = recent_init(recent_at, options->recent_bytes);
    node->sessions = sessions;
    node->account_sessions = account_sessions;
    node->account_credit_at = credit_at;
    node->account_queued = queued;
    node->account_credit = credit;
    node->queries = queries;
    node->ranges = ranges;
    node->batch_sizes = batch_sizes;
    node->batch = batch;
    node->forward_out = forward_out;
    node->hold_entry = hold_entry;
    node->hold_positions = hold_positions;
    node->scratch = scratch;
    return node;
}

/* The checkpoint's buffer comes last: its size is the chat's own bound for a full state. */
size_t node_memory(const struct node_options *options)
{
    struct arena arena = { NULL, 0 };
    (void)lay_out(&arena, options);
    return arena.used + checkpoint_room(chat_memory(&options->chat));
}

struct node *node_init(void *memory, const struct node_options *options,
                       const struct node_recovery *recovery)
{
    CHECK(options->slot >= 1 && options->slot <= LIMIT_NODES);
    CHECK(options->connections >= 1 && options->connections <= LIMIT_CONNECTIONS);
    CHECK(options->recent_bytes >= 4 * LIMIT_COMMAND_BYTES);
    CHECK(options->feature_max >= FEATURE_LEVEL_FIRST);
    struct arena arena = { memory, 0 };
    struct node *node = lay_out(&arena, options);
    node->checkpoint_bytes = checkpoint_room(chat_memory(&options->chat));
    node->checkpoint = arena.memory + arena.used;
    random_seed(&node->random, options->seed);
    node->nonce = random_u64(&node->random);
    node->incarnation = options->seed | 1;
    node->forward_done = true;
    node->forward_round = 1;

    struct raft_recovery raft = recovery->raft;
    struct reader reader = reader_of(recovery->checkpoint.data, recovery->checkpoint.len);
    if (recovery->checkpoint.len) {
        raft.checkpoint = read_slice32(&reader);
        struct slice chat = read_slice32(&reader);
        if (!reader_finished(&reader) || !chat_restore(node->chat, chat) ||
            chat_genesis(node->chat)->level > options->feature_max)
            return NULL;
        node->applied = raft.checkpoint_index;
    }
    if (!raft_restore(node->raft, &raft))
        return NULL;
    recent_begin(node->recent, node->applied);
    held_restore(node, recovery);
    serve_start(node, recovery->first_index, recovery->sealed);
    node->mending.held = recovery->raft.leftover;
    node->mending.commit = recovery->raft.commit;
    return node;
}

static void start(struct node *node, const struct effects *out)
{
    node->started_us = node->now.mono_us;
    held_settle(node, false, out);
    peers_start(node, out);
    raft_start(node->raft, node->now, out);
    mend_start(node);
    peers_tick(node, out);
}

static void tick(struct node *node, const struct effects *out)
{
    raft_tick(node->raft, node->now, out);
    peers_tick(node, out);
}

/* A planned stop: the leadership first, then the clients, then the end. */
static void stop_turn(struct node *node, const struct effects *out)
{
    struct raft_view view = raft_view(node->raft);
    bool in_time = node->now.mono_us < node->stop_by_us;
    if (view.role == RAFT_LEADER && in_time) {
        if (!raft_transferring(node->raft))
            (void)raft_transfer(node->raft, 0, node->now, out);
        if (raft_transferring(node->raft)) {
            node_wake_at(node->now.mono_us + 10000, out);
            return;
        }
    }
    /* The successor must be known, so that what is queued here still goes out under it. */
    bool settled = queue_count(node->queue) == queue_held_count(node->queue);
    if (in_time && view.role != RAFT_LEADER &&
        raft_config_voters(raft_latest_config(node->raft)) > 1 && (!view.leader || !settled)) {
        node_wake_at(node->now.mono_us + 10000, out);
        return;
    }
    if (node->stop_told)
        return;
    node->stop_told = true;
    uint8_t goaway[1] = { WIRE_GOAWAY };
    for (uint32_t i = 0; i < node->sessions_used; i++)
        if (node->sessions[i].state == SESSION_CLIENT)
            session_send(node, &node->sessions[i], (struct slice) { goaway, 1 }, out);
    struct effect effect = { .kind = EFFECT_HALT, .halt = { .reason = "stopped" } };
    effect_emit(out, &effect);
}

/* A change of leader, term or quorum: everything queued goes out again, and the clients are told.
 */
static void notice_changes(struct node *node, const struct effects *out)
{
    struct raft_view view = raft_view(node->raft);
    bool quorum = node_has_quorum(node);
    bool changed = view.leader != node->seen_leader || quorum != node->seen_quorum;
    if (view.term != node->seen_term) {
        node->elections += view.term > node->seen_term && node->seen_term;
        changed |= view.leader != 0;
    }
    uint8_t relay = view.leader ? 0 : view.relay;
    if (view.term != node->seen_term || view.leader != node->seen_leader || relay != node->relay)
        forward_again(node);
    node->relay = relay;
    node->admitting = view.role == RAFT_LEADER && view.first_of_term &&
                      node->applied >= view.first_of_term && !raft_transferring(node->raft);
    if (changed) {
        struct line line = line_begin("leader");
        line_pair(&line, "leader", view.leader);
        line_pair(&line, "term", view.term);
        line_pair(&line, "quorum", quorum);
        line_emit(&line, LOG_INFO, out);
        session_tell_cluster(node, out);
    }
    node->seen_term = view.term;
    node->seen_leader = view.leader;
    node->seen_quorum = quorum;
}

/* The one place where what came in during the turn turns into log entries, appends and answers. */
static void turn_end(struct node *node, const struct effects *out)
{
    peers_cluster_changed(node, out);
    notice_changes(node, out);
    formation_manage(node, out);
    membership_turn(node, out);
    level_manage(node, out);
    forward_turn(node, out);
    held_turn(node, out);
    raft_end_turn(node->raft, node->now, out);
    uint64_t applied_term = node->applied_term;
    apply_turn(node, out);
    if (node->applied_term != applied_term && !node->forward_done)
        node_wake_at(node->now.mono_us, out); /* what waited for this leader goes now */
    stream_turn(node, out);
    catchup_turn(node, out);
    notice_changes(node, out);
    if (node->retry_at_us)
        node_wake_at(node->retry_at_us, out);
    else if (node->admitting && !node->forward_done && raft_can_propose(node->raft))
        node_wake_at(node->now.mono_us, out);
    control_turn(node, out);
    mend_turn(node, out);
    if (node->stopping)
        stop_turn(node, out);
}

static void read_done(struct node *node, const struct node_event *event, const struct effects *out)
{
    uint64_t id = event->read.id;
    uint32_t number = (uint32_t)(id & 0xffffff);
    uint32_t generation = (uint32_t)(id >> 24);
    if (raft_owns_read(node->raft, id)) {
        raft_read_done(node->raft, id, !event->read.failed, event->read.data, node->now, out);
        return;
    }
    switch ((enum read_kind)(id >> 56)) {
    case READ_FOR_APPLY:
        apply_read_done(node, event->read.failed, event->read.data, out);
        break;
    case READ_FOR_STREAM:
        stream_read_done(node, number, generation, event, out);
        break;
    case READ_FOR_QUERY:
        history_read_done(node, number, event, out);
        break;
    case READ_FOR_PEER:
        serve_read_done(node, number, event, out);
        break;
    case READ_FOR_TARGET:
        target_read_done(node, number, event, out);
        break;
    case READ_FOR_COPY:
        copy_read_done(node, number, generation, event, out);
        break;
    }
}

static void flushed(struct node *node, const struct node_event *event, const struct effects *out)
{
    raft_flushed(node->raft, event->flushed.ticket,
                 event->flushed.no_space ? RAFT_FLUSH_NO_SPACE : RAFT_FLUSHED, node->now, out);
}

void node_step(struct node *node, const struct node_event *event, const struct effects *out)
{
    node->now = event->now;
    switch (event->kind) {
    case EVENT_RESTORE:
        if (!raft_restore_entries(node->raft, event->entries)) {
            struct effect effect = {
                .kind = EFFECT_HALT,
                .halt = { .exit_status = 5, .reason = "recovered entries do not follow each other" }
            };
            effect_emit(out, &effect);
        }
        break;
    case EVENT_START:
        start(node, out);
        break;
    case EVENT_TICK:
        tick(node, out);
        break;
    case EVENT_TURN_END:
        turn_end(node, out);
        break;
    case EVENT_OPEN:
        session_open(node, event, out);
        break;
    case EVENT_MESSAGE:
        session_message(node, event->client.connection, event->client.message, out);
        break;
    case EVENT_CLOSED:
        session_closed(node, event->client.connection, out);
        break;
    case EVENT_DRAINED:
        CHECK(event->client.connection < node->options.connections);
        stream_drained(node, &node->sessions[event->client.connection], out);
        break;
    case EVENT_PEER_UP:
        peers_up(node, event->peer.slot, out);
        break;
    case EVENT_PEER_DOWN:
        peers_down(node, event->peer.slot, event->peer.end, out);
        break;
    case EVENT_PEER_MESSAGE:
        peers_message(node, event->peer.slot, event->peer.message, out);
        break;
    case EVENT_FLUSHED:
        flushed(node, event, out);
        break;
    case EVENT_HELD:
        held_done(node, event, out);
        break;
    case EVENT_READ_DONE:
        read_done(node, event, out);
        break;
    case EVENT_DISK:
        raft_disk_space(node->raft, event->space, node->now);
        break;
    case EVENT_CHECKPOINTED:
        serve_checkpointed(node, event->checkpointed, out);
        break;
    case EVENT_RETAINED:
        serve_retained(node, event->retained, out);
        break;
    case EVENT_COPIED:
        catchup_copied(node, event, out);
        break;
    case EVENT_CHECKED:
        mend_checked(node, event, out);
        break;
    case EVENT_MENDED:
        mend_mended(node, event, out);
        break;
    case EVENT_NOTICED:
        mend_noticed(node, event->noticed.file, event->noticed.id);
        break;
    case EVENT_LATE:
        raft_restart_timers(node->raft, node->now);
        for (unsigned slot = 1; slot <= LIMIT_NODES; slot++)
            node->peers[slot].heard_us = node->now.mono_us;
        break;
    case EVENT_STOP:
        if (!node->stopping)
            node->stop_by_us = node->now.mono_us + NODE_STOP_US;
        node->stopping = true;
        break;
    }
}

void node_set_gauges(struct node *node, const struct node_gauges *gauges)
{
    node->gauges = *gauges;
}

const struct raft *node_raft(const struct node *node)
{
    return node->raft;
}

const struct chat *node_chat(const struct node *node)
{
    return node->chat;
}

uint64_t node_held(const struct node *node)
{
    return queue_held_count(node->queue);
}

uint8_t node_relay(const struct node *node)
{
    return node->relay;
}

uint32_t node_damaged(const struct node *node)
{
    return mend_open(node);
}

uint64_t node_rounds(const struct node *node)
{
    return node->mending.rounds;
}

uint64_t node_settled(const struct node *node)
{
    uint64_t durable = raft_durable(node->raft);
    return node->applied < durable ? node->applied : durable;
}

uint64_t node_applied(const struct node *node)
{
    return node->applied;
}

uint16_t node_level(const struct node *node)
{
    uint16_t level = chat_genesis(node->chat)->level;
    return node->level_asked > level ? node->level_asked : level;
}
