#include "core/node/state.h"

/* Catching up by copying: a node that is far behind, or needs what its leader's disk does not have
 * any more, fetches sealed segments and the checkpoint at their end from any other node, a piece at
 * a time and at a bounded rate, and starts anew with them in place of its log. It goes on hearing
 * its leader meanwhile, votes by the log that it has, and asks for no entries.
 *
 * The store proves each piece, makes it durable and says which one is next (store/copy.c); so a
 * crash, here or there, costs one piece. What is decided here is whom to ask, when, and whether the
 * copy may take the log's place (raft_may_install). */

static void line_of(const char *event, enum effect_log_level level, uint8_t source, uint64_t index,
                    const struct effects *out)
{
    struct line line = line_begin(event);
    if (source)
        line_pair(&line, "peer", source);
    line_pair(&line, "index", index);
    line_emit(&line, level, out);
}

/* --- whom to ask --------------------------------------------------------------------------------*/

static bool may_ask(const struct node *node, uint8_t slot)
{
    const struct peer *peer = &node->peers[slot];
    return peer->known && peer->link == LINK_UP && peer->greeted &&
           !memcmp(peer->cluster, raft_cluster(node->raft), IDENTITY_BYTES);
}

/* Somebody who was not tried since the last piece came and is not among `but`; the leader last, it
 * has enough to do. */
static uint8_t choose_but(struct node *node, uint8_t but)
{
    uint8_t leader = raft_leader(node->raft);
    uint8_t found[LIMIT_NODES];
    unsigned count = 0;
    but |= node->catchup.tried;
    for (uint8_t slot = 1; slot <= LIMIT_NODES; slot++)
        if (slot != leader && may_ask(node, slot) && !(but >> slot & 1))
            found[count++] = slot;
    if (count)
        return found[random_below(&node->random, count)];
    bool last = leader && leader != node->options.slot && may_ask(node, leader);
    return last && !(but >> leader & 1) ? leader : 0;
}

/* A copy that begins at a damaged one would come no further than the last. When all are, each is tried again. */
static uint8_t choose(struct node *node)
{
    struct catchup *catchup = &node->catchup;
    uint8_t well = choose_but(node, catchup->ill);
    if (!well && catchup->state == CATCHUP_OFFER)
        catchup->ill = 0;
    return well ? well : choose_but(node, 0);
}

static void drop(struct node *node, const struct effects *out)
{
    struct effect effect = { .kind = EFFECT_COPY, .copy = { .step = COPY_DROP } };
    node->catchup.clean = true;
    effect_emit(out, &effect);
}

static void give_up(struct node *node, uint64_t for_us, const struct effects *out)
{
    struct catchup *catchup = &node->catchup;
    catchup->state = CATCHUP_IDLE;
    catchup->tried = catchup->gone = 0;
    catchup->source = 0;
    catchup->next_at_us = node->now.mono_us + for_us;
    raft_set_copying(node->raft, false); /* what can be appended, is */
    node_wake_at(catchup->next_at_us, out);
}

static void send_fetch(struct node *node, const struct effects *out)
{
    struct catchup *catchup = &node->catchup;
    bool offer = catchup->state == CATCHUP_OFFER;
    struct wire_fetch fetch = { .id = ++catchup->id,
                                .kind = offer ? FETCH_OFFER : catchup->next.kind,
                                .index = catchup->next.index,
                                .offset = catchup->next.offset,
                                .bytes = node->options.copy_bytes };
    uint8_t message[64];
    size_t len = wire_encode_fetch(&fetch, message, sizeof(message));
    CHECK(len > 0);
    catchup->asked = true;
    catchup->give_up_at_us = node->now.mono_us + (offer ? NODE_OFFER_US : NODE_FETCH_US);
    (void)peers_send(node, catchup->source, (struct slice) { message, len },
                     (struct slice) { NULL, 0 }, out);
    node_wake_at(catchup->give_up_at_us, out);
}

/* Asks the source at hand, or another one; when all were tried it is left for a while. */
static void ask(struct node *node, const struct effects *out)
{
    struct catchup *catchup = &node->catchup;
    if (!catchup->source || !may_ask(node, catchup->source))
        catchup->source = choose(node);
    if (catchup->source) {
        send_fetch(node, out);
        return;
    }
    bool nowhere = catchup->state == CATCHUP_FETCH && catchup->gone &&
                   !(catchup->tried & ~(catchup->gone | catchup->ill));
    if (nowhere && catchup->next.kind == FETCH_CHECKPOINT) { /* by now they end elsewhere */
        catchup->ill |= (uint8_t)(1u << catchup->offerer);
        drop(node, out);
    } else if (nowhere) {
        /* Nobody has a segment that begins where this one wants to go on, or only one who cannot
         * read it: a copy from where the others' logs begin needs neither. */
        catchup->whole = true;
    }
    give_up(node, NODE_COPY_RETRY_US, out);
}

static void try_another(struct node *node, const struct effects *out)
{
    struct catchup *catchup = &node->catchup;
    catchup->tried |= (uint8_t)(1u << catchup->source);
    catchup->source = 0;
    ask(node, out);
}

/* --- the store's side ---------------------------------------------------------------------------*/

static void begin(struct node *node, const struct wire_offer *offer, const struct effects *out)
{
    struct effect effect = { .kind = EFFECT_COPY,
                             .copy = { .step = COPY_BEGIN,
                                       .oldest = offer->oldest,
                                       .newest = offer->newest,
                                       .segment_bytes = offer->segment_bytes,
                                       .whole = node->catchup.whole } };
    memcpy(effect.copy.cluster, raft_cluster(node->raft), IDENTITY_BYTES);
    node->catchup.state = CATCHUP_STORE;
    node->catchup.clean = false;
    node->catchup.offerer = node->catchup.source;
    effect_emit(out, &effect);
}

/* Proven, whole and durable: from here on nothing is promised by the old log. */
static void install(struct node *node, const struct effects *out)
{
    struct catchup *catchup = &node->catchup;
    if (!raft_may_install(node->raft, catchup->end, catchup->chain)) {
        drop(node, out);
        give_up(node, NODE_COPY_RETRY_US, out);
        return;
    }
    raft_freeze(node->raft);
    catchup->state = CATCHUP_INSTALL;
    struct effect effect = { .kind = EFFECT_COPY, .copy = { .step = COPY_INSTALL } };
    effect_emit(out, &effect);
}

static void start_anew(struct node *node, bool good, const struct effects *out)
{
    uint8_t goaway[1] = { WIRE_GOAWAY };
    line_of(good ? "copy_complete" : "copy_not_installed", good ? LOG_INFO : LOG_ALARM, 0,
            node->catchup.end, out);
    for (uint32_t i = 0; i < node->sessions_used; i++)
        if (node->sessions[i].state == SESSION_CLIENT)
            session_send(node, &node->sessions[i], (struct slice) { goaway, 1 }, out);
    struct effect effect = { .kind = EFFECT_HALT,
                             .halt = { 0, !node->stopping, "starts anew with the copied log" } };
    effect_emit(out, &effect);
}

static void begun(struct node *node, const struct node_event *event, const struct effects *out)
{
    struct catchup *catchup = &node->catchup;
    if (event->copied.result != COPIED_OK) {
        if (event->copied.result != COPIED_EXISTS)
            line_of("copy_not_begun", LOG_WARN, catchup->source, node->applied, out);
        give_up(node, NODE_COPY_FAILED_US, out);
        return;
    }
    catchup->end = event->copied.end;
    line_of(event->copied.resumed ? "copy_resumed" : "copy_begun", LOG_INFO, catchup->source,
            catchup->end, out);
    catchup->refused = 0;
    /* Who has no newer one may have what is missing of this one. */
    catchup->tried = catchup->gone = 0;
}

static void written(struct node *node, const struct node_event *event, const struct effects *out)
{
    struct catchup *catchup = &node->catchup;
    switch (event->copied.result) {
    case COPIED_OK:
    case COPIED_EXISTS:
        catchup->tried = catchup->gone = 0;
        catchup->refused = 0;
        return;
    case COPIED_CORRUPT:
        line_of("copy_refused", LOG_WARN, catchup->source, event->copied.piece.index, out);
        catchup->tried |= (uint8_t)(1u << catchup->source);
        catchup->ill |= (uint8_t)(1u << catchup->source);
        catchup->source = 0;
        if (++catchup->refused < NODE_COPY_REFUSALS)
            return;
        drop(node, out); /* what it goes on from may be what is wrong */
        give_up(node, NODE_COPY_FAILED_US, out);
        return;
    case COPIED_NO_SPACE:
    case COPIED_FAILED:
        line_of("copy_failed", LOG_WARN, 0, event->copied.piece.index, out);
        give_up(node, NODE_COPY_FAILED_US, out);
        return;
    }
}

void catchup_copied(struct node *node, const struct node_event *event, const struct effects *out)
{
    struct catchup *catchup = &node->catchup;
    if (event->copied.step == COPY_INSTALL) {
        CHECK(catchup->state == CATCHUP_INSTALL);
        start_anew(node, event->copied.result == COPIED_OK, out);
        return;
    }
    CHECK(catchup->state == CATCHUP_STORE);
    catchup->state = CATCHUP_FETCH;
    catchup->asked = false;
    if (event->copied.step == COPY_BEGIN)
        begun(node, event, out);
    else
        written(node, event, out);
    if (catchup->state != CATCHUP_FETCH)
        return;
    catchup->next = event->copied.piece;
    catchup->complete = event->copied.complete;
    if (catchup->complete)
        memcpy(catchup->chain, event->copied.chain, HASH_BYTES);
    catchup_turn(node, out);
}

/* --- the others' answers ------------------------------------------------------------------------*/

/* So many bytes at most in a second: what others send and what goes to the disk stays a share. */
static void pace(struct node *node, size_t bytes)
{
    struct catchup *catchup = &node->catchup;
    uint64_t from =
        catchup->next_at_us > node->now.mono_us ? catchup->next_at_us : node->now.mono_us;
    catchup->next_at_us = from + (uint64_t)bytes * 1000000 / node->options.copy_bytes_per_s;
}

static void offered(struct node *node, const struct wire_fetched *fetched,
                    const struct effects *out)
{
    struct wire_offer offer;
    if (fetched->code != FETCH_OK || !wire_decode_offer(&offer, fetched->data) ||
        offer.newest <= node->applied) {
        try_another(node, out);
        return;
    }
    begin(node, &offer, out);
}

static void take_piece(struct node *node, const struct wire_fetched *fetched,
                       const struct effects *out)
{
    struct catchup *catchup = &node->catchup;
    if (fetched->code != FETCH_OK || fetched->data.len == 0) {
        if (fetched->code == FETCH_GONE)
            catchup->gone |= (uint8_t)(1u << catchup->source);
        if (fetched->code == FETCH_FAILED)
            catchup->ill |= (uint8_t)(1u << catchup->source);
        try_another(node, out);
        return;
    }
    pace(node, fetched->data.len);
    struct effect effect = {
        .kind = EFFECT_COPY,
        .copy = { .step = COPY_WRITE,
                  .piece = { fetched->kind, fetched->index, fetched->offset },
                  .size = fetched->size,
                  .data = fetched->data },
    };
    catchup->state = CATCHUP_STORE;
    effect_emit(out, &effect);
}

bool catchup_fetched(struct node *node, uint8_t slot, struct slice message,
                     const struct effects *out)
{
    struct catchup *catchup = &node->catchup;
    struct wire_fetched fetched;
    if (!wire_decode_fetched(&fetched, message))
        return false;
    bool waiting = catchup->state == CATCHUP_OFFER || catchup->state == CATCHUP_FETCH;
    if (!waiting || !catchup->asked || slot != catchup->source || fetched.id != catchup->id)
        return true; /* it comes late */
    catchup->asked = false;
    if (catchup->state == CATCHUP_OFFER)
        offered(node, &fetched, out);
    else
        take_piece(node, &fetched, out);
    return true;
}

/* --- time ---------------------------------------------------------------------------------------*/

/* It needs no copy: it leads, belongs nowhere any more, or has all that is committed. */
static bool needs_none(const struct node *node, const struct raft_view *view)
{
    if (node->removed || view->role == RAFT_LEADER)
        return true;
    return !view->copy_advised && raft_has_quorum(node->raft) &&
           view->commit >= raft_told_commit(node->raft);
}

static void idle_turn(struct node *node, const struct raft_view *view, const struct effects *out)
{
    struct catchup *catchup = &node->catchup;
    /* What is left of one that was interrupted, here or in an earlier process, would lie there for ever. */
    if (!catchup->clean && needs_none(node, view))
        drop(node, out);
    if (!view->copy_advised || view->blank || !view->cluster_durable || node->stopping)
        return;
    if (node->removed) /* what it lacks is of no use to it, unless it is taken in again */
        return;
    if (node->now.mono_us < catchup->next_at_us) {
        node_wake_at(catchup->next_at_us, out);
        return;
    }
    /* No more entries from here on: else the leader's appends race with the copy, and what they
     * bring first makes it useless half-way. give_up() takes it back. */
    raft_set_copying(node->raft, true);
    catchup->state = CATCHUP_OFFER;
    catchup->next = (struct effect_piece) { 0 };
    ask(node, out);
}

void catchup_turn(struct node *node, const struct effects *out)
{
    struct catchup *catchup = &node->catchup;
    struct raft_view view = raft_view(node->raft);
    if (catchup->state == CATCHUP_IDLE)
        idle_turn(node, &view, out);
    if (catchup->state != CATCHUP_OFFER && catchup->state != CATCHUP_FETCH)
        return;
    bool useless = view.role == RAFT_LEADER || node->removed ||
                   (catchup->state == CATCHUP_FETCH && view.commit >= catchup->end);
    if (useless) {
        drop(node, out);
        give_up(node, NODE_COPY_RETRY_US, out);
        return;
    }
    if (catchup->asked) {
        if (node->now.mono_us >= catchup->give_up_at_us || !may_ask(node, catchup->source)) {
            catchup->asked = false;
            try_another(node, out);
        }
        return;
    }
    uint64_t at = catchup->next_at_us;
    if (catchup->complete && at < node->started_us + NODE_INSTALL_AFTER_US)
        at = node->started_us +
             NODE_INSTALL_AFTER_US; /* a disk that fails now is not tried again at once */
    if (node->now.mono_us < at)
        node_wake_at(at, out);
    else if (catchup->complete && view.role == RAFT_FOLLOWER)
        install(node, out);
    else if (!catchup->complete)
        ask(node, out);
}
