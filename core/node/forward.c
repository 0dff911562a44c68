#include "core/node/state.h"

/* From the queue to the log. On the leader a command is admitted: it goes into this turn's batch
 * iff its seq is the next of its device (architecture.md, Exactly once). On a follower it travels
 * to the leader in batches. Either way it stays in the queue until apply answers it, and goes out
 * again after every change of leader or link. */

enum { NACK_BYTES = 1 + 4 + 8 };

void forward_again(struct node *node)
{
    node->forward_next = queue_first(node->queue);
    node->forward_done = node->forward_next == 0;
    node->retry_at_us = 0;
    node->forward_round++;
    node->forward_bytes = 0;
    node->forwarded_at_us = node->now.mono_us;
}

void forward_retry_within(struct node *node, uint64_t in_us)
{
    uint64_t at = node->now.mono_us + in_us;
    if (!node->retry_at_us || at < node->retry_at_us)
        node->retry_at_us = at;
}

static void remove_item(struct node *node, uint32_t position)
{
    if (node->forward_next == position) {
        node->forward_next = queue_next(node->queue, position);
        node->forward_done = node->forward_next == 0;
    }
    if (node->hold_next == position)
        node->hold_next = queue_next(node->queue, position);
    const struct queue_item *item = queue_at(node->queue, position);
    node->held_open -= item->hold != HOLD_NOT;
    node->nonces -= item->device == 0;
    if (item->account) {
        CHECK(node->account_queued[item->account] >= item->len);
        node->account_queued[item->account] -= item->len;
    }
    if (item->forwarding == node->forward_round) {
        CHECK(node->forward_bytes >= item->len);
        node->forward_bytes -= item->len;
    }
    queue_remove(node->queue, position);
}

/* What is held of a device may lack one that rotted in the held log: it is put where it belongs. */
static uint32_t first_beyond(const struct node *node, const struct queue_item *item)
{
    uint32_t position = queue_device_first(node->queue, item->device);
    while (position && queue_at(node->queue, position)->seq < item->seq)
        position = queue_device_next(node->queue, position);
    return position;
}

bool forward_push_any(struct node *node, const struct queue_item *item, struct slice body)
{
    uint32_t first = queue_device_first(node->queue, item->device);
    while (item->device && first && queue_at(node->queue, first)->device != item->device) {
        /* Numbers in a place rise: what is held of the next one there, whose enrolment rot took, stays. */
        if (queue_at(node->queue, first)->device > item->device)
            return false;
        remove_item(node, first); /* its place is another device's by now: it ended */
        first = queue_device_first(node->queue, item->device);
    }
    uint32_t next = item->device ? first_beyond(node, item) : 0;
    if (queue_count(node->queue) >= LIMIT_QUEUE_COMMANDS ||
        !queue_insert(node->queue, item, body, next))
        return false;
    uint32_t position = next ? queue_device_before(node->queue, next)
                             : queue_device_last(node->queue, item->device);
    node->account_queued[item->account] += item->account ? item->len : 0;
    if (!node->hold_next || next)
        node->hold_next = position;
    if (next) {
        forward_again(node); /* what stands behind it was refused for the lack of it */
    } else if (node->forward_done) {
        node->forward_next = position;
        node->forward_done = false;
    }
    return true;
}

bool forward_push(struct node *node, const struct queue_item *item, struct slice body)
{
    uint32_t share = node->account_queued[item->account];
    if (item->account && share + item->len > node->options.queue_bytes / NODE_QUEUE_SHARE)
        return false;
    return forward_push_any(node, item, body);
}

/* Its place may be another device's by now. */
static bool is_of(const struct node *node, uint32_t position, uint32_t device)
{
    return position && queue_at(node->queue, position)->device == device;
}

void forward_drop_device(struct node *node, uint32_t device)
{
    uint32_t position;
    while (is_of(node, position = queue_device_last(node->queue, device), device) &&
           queue_at(node->queue, position)->hold == HOLD_NOT)
        remove_item(node, position);
}

void forward_end_device(struct node *node, uint32_t device, const struct effects *out)
{
    uint32_t position;
    const struct chat_answer revoked = { .code = CODE_REVOKED };
    while (is_of(node, position = queue_device_first(node->queue, device), device)) {
        held_resolved(node, position, &revoked, out);
        remove_item(node, position);
    }
}

uint32_t forward_find(const struct node *node, uint32_t device, uint64_t seq)
{
    uint32_t position = queue_device_first(node->queue, device);
    if (!is_of(node, position, device))
        return 0;
    while (position && queue_at(node->queue, position)->seq < seq)
        position = queue_device_next(node->queue, position);
    return position && queue_at(node->queue, position)->seq == seq ? position : 0;
}

/* The client has the answers up to `done`, from this node or another: nobody waits for these here any more. But who was
 * shown a held one waits to see what became of it. */
void forward_drop_done(struct node *node, uint32_t device, uint64_t done)
{
    uint32_t position = queue_device_first(node->queue, device);
    if (!is_of(node, position, device))
        return;
    while (position && queue_at(node->queue, position)->seq <= done) {
        uint32_t next = queue_device_next(node->queue, position);
        if (queue_at(node->queue, position)->hold == HOLD_NOT)
            remove_item(node, position);
        position = next;
    }
}

void forward_remove(struct node *node, uint32_t position)
{
    remove_item(node, position);
}

bool forward_command(struct node *node, struct command *command, const struct session *session)
{
    uint8_t body[512];
    struct queue_item item = { .device = 0, .since_us = node->now.mono_us };
    command->nonce = ++node->nonce;
    item.seq = command->nonce;
    item.connection = UINT32_MAX;
    if (session) {
        item.connection = session_number(node, session);
        item.generation = session->generation;
    }
    size_t len = command_encode(command, body, sizeof(body));
    CHECK(len > 0);
    item.len = (uint32_t)len;
    if (node->nonces >= NODE_NONCES || !forward_push(node, &item, (struct slice) { body, len }))
        return false;
    node->nonces++;
    return true;
}

/* --- The leader's side ----------------------------------------------------------------------- */

enum verdict { ADMITTED, KNOWN, GAP, FULL, DROPPED };

static enum verdict admit(struct node *node, struct slice body, uint64_t *expected)
{
    struct command command;
    if (!command_decode(&command, body))
        return DROPPED;
    uint64_t used = entry_size(node->batch_count + 1, node->batch_len + body.len);
    if (used > raft_propose_limit(node->raft) || node->batch_count == LIMIT_ENTRY_COMMANDS)
        return FULL;
    if (command.kind >= COMMAND_DEVICE_KINDS) {
        struct chat_device *device = chat_device(node->chat, command.device);
        if (!device || !device->account)
            return DROPPED;
        uint64_t term = raft_view(node->raft).term;
        if (device->admitted_term != term || device->admitted < device->last) {
            device->admitted = device->last;
            device->admitted_term = term;
        }
        if (command.seq <= device->admitted)
            return KNOWN;
        *expected = device->admitted + 1;
        if (command.seq != *expected)
            return GAP;
        device->admitted = command.seq;
    }
    memcpy(node->batch + node->batch_len, body.data, body.len);
    node->batch_len += body.len;
    node->batch_sizes[node->batch_count++] = (uint32_t)body.len;
    return ADMITTED;
}

static void send_refuse(struct node *node, uint8_t slot, const struct effects *out)
{
    uint8_t message[1] = { WIRE_PEER_REFUSE };
    (void)peers_send(node, slot, (struct slice) { message, 1 }, (struct slice) { NULL, 0 }, out);
}

/* What raft did not take is not admitted: else it would count as known, and never go again. */
static void take_back_batch(struct node *node, const struct effects *out)
{
    struct reader reader = reader_of(node->batch, node->batch_len);
    for (uint32_t i = 0; i < node->batch_count; i++) {
        struct slice body = read_slice(&reader, node->batch_sizes[i]);
        struct command command;
        if (!command_decode(&command, body) || command.kind < COMMAND_DEVICE_KINDS)
            continue;
        struct chat_device *device = chat_device(node->chat, command.device);
        if (device && device->admitted >= command.seq)
            device->admitted = command.seq - 1;
    }
    CHECK(!reader.bad);
    for (uint8_t slot = 1; slot <= LIMIT_NODES; slot++)
        if (node->batch_slots >> slot & 1)
            send_refuse(node, slot, out);
    forward_retry_within(node, NODE_RETRY_US);
}

/* This turn's batch becomes one entry. false: raft refuses it now, and it is forwarded again. */
static bool propose_batch(struct node *node, const struct effects *out)
{
    if (!node->batch_count)
        return true;
    uint64_t first = raft_propose(node->raft, node->batch_count, node->batch_sizes, node->batch,
                                  node->batch_len, node->now);
    if (!first)
        take_back_batch(node, out);
    node->batch_count = 0;
    node->batch_len = 0;
    node->batch_slots = 0;
    return first != 0;
}

/* `from`: the slot that it came from, 0 when it is this node's own. */
static bool admit_or_propose(struct node *node, struct slice body, uint8_t from,
                             enum verdict *verdict, uint64_t *expected, const struct effects *out)
{
    *verdict = admit(node, body, expected);
    if (*verdict == FULL) {
        if (!propose_batch(node, out) || !raft_can_propose(node->raft))
            return false;
        *verdict = admit(node, body, expected);
    }
    if (*verdict == ADMITTED && from)
        node->batch_slots |= (uint8_t)(1u << from);
    return *verdict != FULL;
}

void forward_nack_client(struct node *node, uint32_t device, uint64_t expected,
                         const struct effects *out)
{
    struct session *session = session_of_device(node, device);
    if (!session)
        return;
    session->passed_over = false;
    session->refused_seq = expected; /* what it sent before this arrives is of no use here */
    uint8_t message[9] = { WIRE_NACK };
    bytes_put_u64(message + 1, expected);
    session_send(node, session, (struct slice) { message, sizeof(message) }, out);
}

/* The leader lacks `expected`. If it is here it goes again; if not, only the client has it. */
static void handle_gap(struct node *node, uint32_t device, uint64_t expected,
                       const struct effects *out)
{
    uint32_t first = queue_device_first(node->queue, device);
    const struct queue_item *item = first ? queue_at(node->queue, first) : NULL;
    if (item && item->device == device && (item->seq <= expected || item->hold != HOLD_NOT)) {
        forward_retry_within(node, NODE_RETRY_US / 10);
        return;
    }
    if (item && item->device == device)
        forward_drop_device(node, device);
    forward_nack_client(node, device, expected, out);
}

static void admit_own(struct node *node, const struct effects *out)
{
    while (!node->forward_done && raft_can_propose(node->raft)) {
        uint32_t position = node->forward_next;
        const struct queue_item item = *queue_at(node->queue, position);
        uint64_t expected = 0;
        enum verdict verdict;
        queue_copy(node->queue, position, node->scratch);
        if (!admit_or_propose(node, (struct slice) { node->scratch, item.len }, 0, &verdict,
                              &expected, out))
            break;
        node->forward_next = queue_next(node->queue, position);
        node->forward_done = node->forward_next == 0;
        if (verdict == GAP)
            handle_gap(node, item.device, expected, out);
    }
}

bool forward_received(struct node *node, uint8_t slot, struct slice message,
                      const struct effects *out)
{
    struct reader reader = reader_of(message.data + 1, message.len - 1);
    while (reader_left(&reader)) {
        struct slice body = read_slice32(&reader);
        struct command command;
        if (reader.bad || !command_decode(&command, body))
            return false;
        uint64_t expected = 0;
        enum verdict verdict;
        if (!node->admitting || !raft_can_propose(node->raft) ||
            !admit_or_propose(node, body, slot, &verdict, &expected, out)) {
            send_refuse(node, slot, out);
            return true;
        }
        if (verdict == GAP) {
            uint8_t nack[NACK_BYTES] = { WIRE_PEER_NACK };
            bytes_put_u32(nack + 1, command.device);
            bytes_put_u64(nack + 5, expected);
            (void)peers_send(node, slot, (struct slice) { nack, sizeof(nack) },
                             (struct slice) { NULL, 0 }, out);
        }
    }
    return true;
}

/* --- The follower's side --------------------------------------------------------------------- */

static void send_batch(struct node *node, size_t len, uint8_t slot, const struct effects *out)
{
    if (len <= 1)
        return;
    node->forward_out[0] = node->relay ? WIRE_PEER_RELAY : WIRE_PEER_FORWARD;
    (void)peers_send(node, slot, (struct slice) { node->forward_out, len },
                     (struct slice) { NULL, 0 }, out);
}

static void forward_to(struct node *node, uint8_t slot, const struct effects *out)
{
    size_t len = 1;
    while (!node->forward_done && node->forward_bytes < NODE_FORWARD_WINDOW) {
        const struct queue_item *item = queue_at(node->queue, node->forward_next);
        if (len + 4 + item->len > LIMIT_APPEND_BYTES / 4) {
            send_batch(node, len, slot, out);
            len = 1;
        }
        bytes_put_u32(node->forward_out + len, item->len);
        queue_copy(node->queue, node->forward_next, node->forward_out + len + 4);
        len += 4 + item->len;
        node->forward_bytes += item->len;
        queue_edit(node->queue, node->forward_next)->forwarding = node->forward_round;
        node->forward_next = queue_next(node->queue, node->forward_next);
        node->forward_done = node->forward_next == 0;
    }
    send_batch(node, len, slot, out);
}

/* --- For a node that cannot hear the leader ------------------------------------------------------ */

/* What a node without a leader sends goes on to the leader, once: what was relayed is not relayed again. */
bool forward_relayed(struct node *node, uint8_t slot, struct slice message,
                     const struct effects *out)
{
    uint8_t leader = raft_leader(node->raft);
    if (node->admitting || leader == node->options.slot)
        return forward_received(node, slot, message, out);
    struct reader reader = reader_of(message.data + 1, message.len - 1);
    while (reader_left(&reader)) {
        struct slice body = read_slice32(&reader);
        struct command command;
        if (reader.bad || !command_decode(&command, body))
            return false;
    }
    uint8_t type[1] = { WIRE_PEER_FORWARD };
    if (!leader || leader == slot || !node->peers[leader].greeted ||
        !peers_send(node, leader, (struct slice) { type, 1 },
                    (struct slice) { message.data + 1, message.len - 1 }, out)) {
        send_refuse(node, slot, out);
        return true;
    }
    node->relayed_for |= (uint8_t)(1u << slot);
    node->relayed_at_us = node->now.mono_us;
    return true;
}

/* The leader's refusals go back to those whose commands went through here. */
static void pass_on(struct node *node, struct slice message, const struct effects *out)
{
    if (node->now.mono_us >= node->relayed_at_us + NODE_RELAYED_US)
        node->relayed_for = 0;
    for (uint8_t slot = 1; slot <= LIMIT_NODES; slot++)
        if (node->relayed_for >> slot & 1)
            (void)peers_send(node, slot, message, (struct slice) { NULL, 0 }, out);
}

/* A NACK names a device's gap; a REFUSE says that the leader takes nothing just now. */
bool forward_nack(struct node *node, uint8_t slot, struct slice message, const struct effects *out)
{
    if (message.len <= NACK_BYTES && slot == raft_leader(node->raft))
        pass_on(node, message, out);
    if (message.data[0] == WIRE_PEER_REFUSE) {
        forward_retry_within(node, NODE_RETRY_US);
        return true;
    }
    struct reader reader = reader_of(message.data + 1, message.len - 1);
    uint32_t device = read_u32(&reader);
    uint64_t expected = read_u64(&reader);
    if (!reader_finished(&reader))
        return false;
    if (device && chat_device(node->chat, device))
        handle_gap(node, device, expected, out);
    return true;
}

/* What waits for an answer for long may have been lost on the way without a sign: then it goes
 * again. */
static void retry_when_due(struct node *node, const struct effects *out)
{
    uint32_t first = queue_first(node->queue);
    if (!first) {
        node->retry_at_us = 0;
        return;
    }
    uint64_t since = queue_at(node->queue, first)->since_us;
    if (since < node->forwarded_at_us)
        since = node->forwarded_at_us;
    uint64_t at = since + NODE_LATE_RETRY_US;
    if (node->retry_at_us && node->retry_at_us < at)
        at = node->retry_at_us;
    if (node->now.mono_us >= at) {
        forward_again(node);
        at = node->now.mono_us + NODE_LATE_RETRY_US;
    }
    node_wake_at(at, out);
}

/* A new leader takes nothing before its first entry is applied, and what reaches it sooner waits for the retry. An entry
 * of its term that is applied here says that it does; so does a while, for a node that started in the middle of a term. */
static bool leader_takes(const struct node *node, const struct raft_view *view,
                         const struct effects *out)
{
    uint64_t at = view->leader_since_us + NODE_RETRY_US;
    if (node->applied_term >= view->term || node->now.mono_us >= at)
        return true;
    node_wake_at(at, out);
    return false;
}

void forward_turn(struct node *node, const struct effects *out)
{
    struct raft_view view = raft_view(node->raft);
    retry_when_due(node, out);
    if (node->admitting)
        admit_own(node, out);
    else if (view.leader && view.leader != node->options.slot && !node->forward_done &&
             node->peers[view.leader].link == LINK_UP && node->peers[view.leader].greeted &&
             leader_takes(node, &view, out))
        forward_to(node, view.leader, out);
    else if (node->relay && !node->forward_done && node->peers[node->relay].greeted)
        forward_to(node, node->relay, out);
    (void)propose_batch(node, out);
}
