/* What is at rest on this node's disk is proved in turn, and what is damaged is fetched from the
 * others and put back.
 *
 * One file is looked at at a time. The store says where it stopped; the others are asked for that
 * piece, one after the other; the store proves it before it writes, and goes on. What nobody has is
 * skipped, remembered and tried again. Damage that a read comes upon goes first, and before it the
 * tail that recovery held: until it is whole this node may not campaign (raft/lost.c), and once it
 * is, the node starts anew and reads it. A leader that is heard meanwhile waits a little for that,
 * then has the tail truncated and sends it again. */
#include "core/node/state.h"

/* As in store.h; the simulator and the program check that they are the same. */
enum { CHECK_NEXT, CHECK_FILE, CHECK_AGAIN, CHECK_SKIP };
enum { CHECKED_MORE, CHECKED_CLEAN, CHECKED_DAMAGED, CHECKED_GONE };
enum {
    AT_NONE,
    AT_IDENTITY,
    AT_VOTE,
    AT_CHECKPOINT,
    AT_SEGMENT,
    AT_INDEX,
    AT_TAIL,
    AT_BEGIN, /* the store has all that it needs to make this and the next good */
    AT_HELD,
};

enum {
    MEND_PATIENCE_US = 500000, /* one node's time to answer */
    MEND_RETRY_US = 2000000,   /* when nobody had it */
    MEND_LEADER_US = 3000000,  /* that a leader waits at most */
    MEND_LEAST_US = 20000,     /* between two files of a scrub */
};

static const char *const file_names[] = { "",      "identity", "vote",  "checkpoint", "segment",
                                          "index", "tail",     "begin", "held" };

static void tell(struct node *node, const char *what, enum effect_log_level level,
                 const struct effects *out)
{
    const struct mending *mending = &node->mending;
    struct line line = line_begin(what);
    line_add(&line, " file=");
    line_add(&line, file_names[mending->file]);
    line_pair(&line, "id", mending->id);
    if (mending->index)
        line_pair(&line, "index", mending->index);
    if (mending->asked)
        line_pair(&line, "peer", mending->asked);
    line_emit(&line, level, out);
}

uint32_t mend_open(const struct node *node)
{
    const struct mending *mending = &node->mending;
    bool held = raft_view(node->raft).lost;
    return mending->damaged_count + held;
}

void mend_prove_all(struct node *node)
{
    struct mending *mending = &node->mending;
    mending->asked_for = true;
    mending->asked_rounds = mending->rounds;
    mending->asked_found = mending->found;
    mending->scrub_at_us = node->now.mono_us;
}

bool mend_proved_all(const struct node *node, uint64_t *found, uint64_t *open)
{
    const struct mending *mending = &node->mending;
    *found = mending->found - mending->asked_found;
    *open = mend_open(node);
    return !mending->asked_for && mending->phase != MEND_FETCHING && mending->phase != MEND_WRITING;
}

/* --- what is known to be damaged ----------------------------------------------------------------*/

static struct damaged_file *listed(struct mending *mending, uint8_t file, uint64_t id)
{
    for (uint32_t i = 0; i < mending->damaged_count; i++)
        if (mending->damaged[i].file == file && mending->damaged[i].id == id)
            return &mending->damaged[i];
    return NULL;
}

static void list(struct mending *mending, uint8_t file, uint64_t id, uint64_t retry_at_us)
{
    struct damaged_file *known = listed(mending, file, id);
    if (!known && mending->damaged_count < NODE_DAMAGED)
        known = &mending->damaged[mending->damaged_count++];
    if (known) /* else the next round finds it again */
        *known = (struct damaged_file) { file, id, retry_at_us };
}

static void unlist(struct mending *mending, uint8_t file, uint64_t id)
{
    struct damaged_file *known = listed(mending, file, id);
    if (known)
        *known = mending->damaged[--mending->damaged_count];
}

void mend_noticed(struct node *node, uint8_t file, uint64_t id)
{
    if (!listed(&node->mending, file, id))
        list(&node->mending, file, id, node->now.mono_us);
}

/* --- asking the others --------------------------------------------------------------------------*/

static void check(struct node *node, uint8_t how, const struct effects *out)
{
    struct mending *mending = &node->mending;
    mending->phase = MEND_CHECKING;
    struct effect effect = {
        .kind = EFFECT_CHECK, .check = { how, mending->file, mending->id, raft_commit(node->raft) }
    };
    effect_emit(out, &effect);
}

static uint8_t piece_of(const struct mending *mending)
{
    return mending->file == AT_INDEX        ? FETCH_INDEX
           : mending->file == AT_CHECKPOINT ? FETCH_CHECKPOINT
                                            : FETCH_ENTRIES;
}

static uint64_t piece_index(const struct mending *mending)
{
    return piece_of(mending) == FETCH_ENTRIES ? mending->index : mending->id;
}

static bool ask(struct node *node, uint8_t slot, const struct effects *out)
{
    struct mending *mending = &node->mending;
    mending->fetch_id = MEND_FETCH | ++mending->fetches; /* catchup.c counts below */
    struct wire_fetch fetch = { .id = mending->fetch_id,
                                .kind = piece_of(mending),
                                .index = piece_index(mending),
                                .offset = mending->offset,
                                .bytes = LIMIT_COPY_BYTES };
    uint8_t message[64];
    size_t len = wire_encode_fetch(&fetch, message, sizeof(message));
    CHECK(len > 0);
    mending->asked = slot;
    mending->until_us = node->now.mono_us + MEND_PATIENCE_US;
    return peers_send(node, slot, (struct slice) { message, len }, (struct slice) { NULL, 0 }, out);
}

/* Is every other node among `slots`? */
static bool all_others(const struct node *node, uint8_t slots)
{
    for (uint8_t slot = 1; slot <= LIMIT_NODES; slot++)
        if (slot != node->options.slot && raft_config_find(raft_latest_config(node->raft), slot) &&
            !(slots >> slot & 1))
            return false;
    return true;
}

/* More than half of the members are among `slots`. */
static bool most(const struct node *node, uint8_t slots)
{
    return (unsigned)__builtin_popcount(slots) * 2 > raft_latest_config(node->raft)->count;
}

/* Retention has dropped it everywhere else, or at most and the others cannot read theirs: what is left of it here serves
 * nobody. A late log's base is no other
 * node's, nor kept by it: each has the history behind it, or has dropped that by retention; so the log may as well begin at
 * the next one. */
static void drop_too(struct node *node, const struct effects *out)
{
    const struct mending *mending = &node->mending;
    bool base = mending->file == AT_CHECKPOINT && mending->id + 1 == node->first;
    bool history = mending->file == AT_SEGMENT || mending->file == AT_INDEX;
    uint8_t without = base ? mending->lacking : history ? mending->dropped : 0;
    if (history && most(node, mending->dropped))
        without |= mending->failing;
    if (without && all_others(node, without))
        serve_drop_damaged(node, base ? node->first : mending->id, out);
}

/* Nobody has it, or nobody is there: it is skipped for now. */
static void give_up(struct node *node, const struct effects *out)
{
    struct mending *mending = &node->mending;
    mending->asked = 0;
    if (mending->file != AT_TAIL) /* which is looked at again anyway */
        list(mending, mending->file, mending->id, node->now.mono_us + MEND_RETRY_US);
    mending->skipped = true;
    drop_too(node, out);
    if (mending->file == AT_SEGMENT ||
        (mending->file == AT_CHECKPOINT && all_others(node, mending->lacking)))
        check(node, CHECK_SKIP, out);
    else
        mending->phase = MEND_IDLE;
}

static void ask_next(struct node *node, const struct effects *out)
{
    struct mending *mending = &node->mending;
    mending->phase = MEND_FETCHING;
    mending->offset = 0;
    for (uint8_t slot = 1; slot <= LIMIT_NODES; slot++) {
        const struct peer *peer = &node->peers[slot];
        /* A cluster of zeros: it was blank when it was greeted. */
        bool here = peer->greeted && peer->link == LINK_UP &&
                    (identity_is_zero(peer->cluster) ||
                     !memcmp(peer->cluster, raft_cluster(node->raft), IDENTITY_BYTES));
        if (!here || (mending->tried >> slot & 1))
            continue;
        mending->tried |= (uint8_t)(1u << slot);
        if (ask(node, slot, out))
            return;
    }
    give_up(node, out);
}

/* --- one file after the other -------------------------------------------------------------------*/

static void finish(struct node *node, const struct effects *out)
{
    struct mending *mending = &node->mending;
    mending->phase = MEND_IDLE;
    if (mending->file == AT_TAIL && !mending->tail_mended) {
        mending->held = false; /* what was lost is not here: a leader sends it */
        return;
    }
    if (mending->file == AT_TAIL) {
        struct effect effect = {
            .kind = EFFECT_HALT,
            .halt = { NODE_STARTS_ANEW, true,
                      "event=log_mended why=\"the log is whole again: starting anew\"" }
        };
        effect_emit(out, &effect);
        return;
    }
    if (!mending->skipped)
        unlist(mending, mending->file, mending->id);
    node_wake_at(node->now.mono_us, out);
}

static void damaged(struct node *node, uint64_t index, const struct effects *out)
{
    struct mending *mending = &node->mending;
    bool news = !mending->listed || mending->index != index;
    mending->found += news;
    mending->index = index;
    mending->asked = 0;
    mending->tried = mending->lacking = mending->dropped = mending->failing = 0;
    mending->listed = true;
    if (mending->file != AT_TAIL)
        list(mending, mending->file, mending->id, 0);
    if (news)
        tell(node, "damage_found", LOG_ALARM, out);
    if (mending->file == AT_VOTE) {
        raft_save_vote(node->raft); /* twice: the pairs are written in turn */
        mending->skipped = true;
        mending->phase = MEND_IDLE;
        list(mending, mending->file, mending->id, node->now.mono_us + MEND_PATIENCE_US);
        mending->mended++;
        return;
    }
    ask_next(node, out);
}

/* So slowly that all takes scrub_us. */
static void pace(struct node *node, uint64_t bytes, uint64_t total)
{
    struct mending *mending = &node->mending;
    uint64_t wait = MEND_LEAST_US;
    if (!node->options.scrub_us || mending->asked_for) {
        mending->scrub_at_us = node->now.mono_us + (mending->asked_for ? 0 : MEND_RETRY_US);
        return;
    }
    for (; total >> 18; total >>= 1) /* a year's microseconds times this fit into 64 bits */
        bytes >>= 1;
    if (total)
        wait = bytes < total ? node->options.scrub_us * bytes / total : node->options.scrub_us;
    if (wait < MEND_LEAST_US)
        wait = MEND_LEAST_US;
    mending->scrub_at_us = node->now.mono_us + wait;
}

void mend_checked(struct node *node, const struct node_event *event, const struct effects *out)
{
    struct mending *mending = &node->mending;
    CHECK(mending->phase == MEND_CHECKING);
    mending->file = event->checked.file;
    mending->id = event->checked.id;
    CHECK(mending->file <= AT_HELD);
    mending->listed |= listed(mending, mending->file, mending->id) != NULL;
    if (event->checked.result == CHECKED_GONE)
        mending->skipped = false; /* what is not here is not damaged */
    pace(node, event->checked.bytes, event->checked.total);
    if (event->checked.round) {
        mending->rounds++;
        if (mending->asked_for && mending->rounds >= mending->asked_rounds + 2)
            mending->asked_for = false;
    }
    if (event->checked.mended) {
        mending->found++;
        mending->mended++;
        mending->index = 0;
        mending->asked = 0;
        tell(node, "damage_mended", LOG_WARN, out);
    }
    if (event->checked.failed && mending->file == AT_TAIL) {
        mending->phase = MEND_IDLE;
    } else if (event->checked.failed) {
        mending->phase = MEND_IDLE;
        list(mending, mending->file, mending->id, node->now.mono_us + MEND_RETRY_US);
    } else if (event->checked.result == CHECKED_DAMAGED) {
        damaged(node, event->checked.index, out);
    } else if (event->checked.result == CHECKED_GONE && mending->file == AT_TAIL) {
        mending->held = false; /* a leader had it truncated */
        mending->phase = MEND_IDLE;
    } else {
        finish(node, out);
    }
}

void mend_mended(struct node *node, const struct node_event *event, const struct effects *out)
{
    struct mending *mending = &node->mending;
    CHECK(mending->phase == MEND_WRITING);
    if (event->mended.failed) {
        mending->failing |= (uint8_t)(1u << mending->asked);
        ask_next(node, out);
    } else if (!event->mended.done) {
        mending->phase = MEND_FETCHING;
        mending->offset = event->mended.want_offset;
        if (!ask(node, mending->asked, out))
            ask_next(node, out);
    } else {
        mending->mended++;
        mending->tail_mended |= mending->file == AT_TAIL;
        tell(node, "damage_mended", LOG_WARN, out);
        check(node,
              mending->file == AT_SEGMENT || mending->file == AT_TAIL ? CHECK_AGAIN : CHECK_FILE,
              out);
    }
}

static bool begin(struct node *node, uint8_t how, uint8_t file, uint64_t id,
                  const struct effects *out)
{
    struct mending *mending = &node->mending;
    mending->file = file;
    mending->id = id;
    mending->listed = file == AT_TAIL && mending->held_told;
    mending->held_told |= file == AT_TAIL;
    mending->skipped = false;
    check(node, how, out);
    return true;
}

static bool choose(struct node *node, const struct effects *out)
{
    struct mending *mending = &node->mending;
    uint64_t now = node->now.mono_us;
    if (mending->held && now >= mending->held_at_us) {
        mending->held_at_us = now + MEND_PATIENCE_US;
        return begin(node, CHECK_FILE, AT_TAIL, 0, out);
    }
    for (uint32_t i = 0; i < mending->damaged_count; i++) {
        const struct damaged_file *file = &mending->damaged[i];
        if (file->retry_at_us <= now)
            return begin(node, CHECK_FILE, file->file, file->id, out);
    }
    if ((node->options.scrub_us || mending->asked_for) && now >= mending->scrub_at_us)
        return begin(node, CHECK_NEXT, AT_NONE, 0, out);
    return false;
}

void mend_start(struct node *node)
{
    struct mending *mending = &node->mending;
    mending->scrub_at_us = node->now.mono_us + MEND_RETRY_US;
    mending->held_at_us = node->now.mono_us;
    if (mending->held)
        raft_lost_wait(node->raft, node->now.mono_us + MEND_LEADER_US);
}

void mend_turn(struct node *node, const struct effects *out)
{
    struct mending *mending = &node->mending;
    uint64_t now = node->now.mono_us;
    if (node->stopping || raft_is_blank(node->raft))
        return;
    if (mending->phase == MEND_FETCHING && now >= mending->until_us)
        ask_next(node, out);
    if (mending->phase == MEND_FETCHING)
        node_wake_at(mending->until_us, out);
    if (mending->phase != MEND_IDLE || choose(node, out))
        return;
    uint64_t wake = UINT64_MAX;
    for (uint32_t i = 0; i < mending->damaged_count; i++)
        if (mending->damaged[i].retry_at_us < wake)
            wake = mending->damaged[i].retry_at_us;
    if (mending->held && mending->held_at_us < wake)
        wake = mending->held_at_us;
    if ((node->options.scrub_us || mending->asked_for) && mending->scrub_at_us < wake)
        wake = mending->scrub_at_us;
    if (wake != UINT64_MAX)
        node_wake_at(wake, out);
}

/* --- what comes back ----------------------------------------------------------------------------*/

/* False: it is not an answer to what was asked for here. */
bool mend_fetched(struct node *node, uint8_t slot, struct slice message, const struct effects *out)
{
    struct mending *mending = &node->mending;
    struct wire_fetched fetched;
    if (mending->phase != MEND_FETCHING || slot != mending->asked ||
        !wire_decode_fetched(&fetched, message) || fetched.id != mending->fetch_id)
        return false;
    if (fetched.code != FETCH_OK || !fetched.data.len) {
        if (fetched.code == FETCH_GONE)
            mending->lacking |= (uint8_t)(1u << slot);
        if (fetched.code == FETCH_GONE && fetched.index > mending->id)
            mending->dropped |= (uint8_t)(1u << slot);
        if (fetched.code == FETCH_FAILED)
            mending->failing |= (uint8_t)(1u << slot);
        ask_next(node, out);
        return true;
    }
    uint64_t own = raft_commit(node->raft);
    if (own < mending->commit)
        own = mending->commit;
    mending->phase = MEND_WRITING;
    struct effect effect = { .kind = EFFECT_MEND,
                             .mend = { mending->file, mending->id, fetched.offset, fetched.size,
                                       fetched.commit < own ? fetched.commit : own,
                                       fetched.data } };
    effect_emit(out, &effect);
    return true;
}
