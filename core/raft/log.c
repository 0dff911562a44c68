#include "core/raft/log.h"

#include "core/check.h"

static struct raft_meta *meta_at(const struct raft_log *log, uint32_t ordinal)
{
    return &log->metas[(log->metas_at + ordinal) % log->metas_capacity];
}

static struct entry entry_of(const struct raft_log *log, const struct raft_meta *meta)
{
    struct entry entry;
    enum entry_state state = entry_parse(&entry, NULL, NULL, raft_log_bytes(log, meta), meta->size);
    CHECK(state == ENTRY_WHOLE);
    CHECK(entry.first == meta->first);
    return entry;
}

/* Only entries in memory can be truncated to, so the last one's chain and time are found there. */
static void refresh_last(struct raft_log *log)
{
    if (log->metas_count == 0) {
        log->last_time_us = log->base_time_us;
        memcpy(log->last_chain, log->base_chain, HASH_BYTES);
    } else {
        const struct raft_meta *meta = meta_at(log, log->metas_count - 1);
        struct entry entry = entry_of(log, meta);
        CHECK(meta->last == log->last);
        log->last_time_us = entry.time_us;
        memcpy(log->last_chain, entry.chain, HASH_BYTES);
    }
    log->last_term = raft_log_term(log, log->last);
}

void raft_log_reset(struct raft_log *log, uint64_t base, uint64_t base_time_us,
                    const uint8_t base_chain[HASH_BYTES])
{
    CHECK(log->bytes_capacity >= 2 * RAFT_LOG_RESERVE_PART * RAFT_LOG_SMALL_BYTES);
    CHECK(log->metas_capacity >= 2 * RAFT_LOG_RESERVE_PART);
    log->head = log->tail = 0;
    log->metas_at = log->metas_count = log->starts_count = 0;
    log->pinned = false;
    log->base = log->last = base;
    log->base_time_us = log->last_time_us = base_time_us;
    log->last_term = 0;
    memcpy(log->base_chain, base_chain, HASH_BYTES);
    memcpy(log->last_chain, base_chain, HASH_BYTES);
}

/* --- terms -------------------------------------------------------------------------------------*/

/* How many starts lie at or before `index`. */
static uint32_t starts_upto_index(const struct raft_log *log, uint64_t index)
{
    uint32_t low = 0, high = log->starts_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (log->starts[middle].first <= index)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

uint64_t raft_log_term(const struct raft_log *log, uint64_t index)
{
    if (index == 0 || index > log->last)
        return 0;
    uint32_t count = starts_upto_index(log, index);
    return count ? log->starts[count - 1].term : 0;
}

uint64_t raft_log_last_of_term(const struct raft_log *log, uint64_t term)
{
    uint32_t low = 0, high = log->starts_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (log->starts[middle].term <= term)
            low = middle + 1;
        else
            high = middle;
    }
    return low < log->starts_count ? log->starts[low].first - 1 : log->last;
}

void raft_log_add_start(struct raft_log *log, uint64_t first, uint64_t term)
{
    CHECK(first > 0);
    if (log->starts_count) {
        CHECK(log->starts[log->starts_count - 1].first < first);
        CHECK(log->starts[log->starts_count - 1].term < term);
    }
    if (log->starts_count == LIMIT_LOG_TERMS) { /* the oldest half is history long committed */
        uint32_t kept = LIMIT_LOG_TERMS / 2;
        memmove(log->starts, log->starts + kept, kept * sizeof *log->starts);
        log->starts_count = kept;
    }
    log->starts[log->starts_count++] = (struct raft_term_start) { first, term };
}

/* --- finding -----------------------------------------------------------------------------------*/

const struct raft_meta *raft_log_find(const struct raft_log *log, uint64_t index)
{
    if (log->metas_count == 0 || index > log->last || index < meta_at(log, 0)->first)
        return NULL;
    uint32_t low = 0, high = log->metas_count - 1;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (meta_at(log, middle)->last >= index)
            high = middle;
        else
            low = middle + 1;
    }
    const struct raft_meta *meta = meta_at(log, low);
    CHECK(meta->first <= index);
    CHECK(meta->last >= index);
    return meta;
}

uint8_t *raft_log_bytes(const struct raft_log *log, const struct raft_meta *meta)
{
    CHECK(meta->position % log->bytes_capacity + meta->size <= log->bytes_capacity);
    return log->bytes + meta->position % log->bytes_capacity;
}

const struct raft_meta *raft_log_next(const struct raft_log *log, const struct raft_meta *meta)
{
    if (meta->last == log->last)
        return NULL;
    size_t at = (size_t)(meta - log->metas);
    CHECK(at < log->metas_capacity);
    const struct raft_meta *next = &log->metas[(at + 1) % log->metas_capacity];
    CHECK(next->first == meta->last + 1);
    return next;
}

const uint8_t *raft_log_chain(const struct raft_log *log, uint64_t index)
{
    if (index == log->last)
        return log->last_chain;
    if (index == log->base)
        return log->base_chain;
    const struct raft_meta *meta = raft_log_find(log, index);
    if (!meta || meta->last != index)
        return NULL;
    return raft_log_bytes(log, meta) + ENTRY_LOCAL_AT - HASH_BYTES;
}

struct slice raft_log_run(const struct raft_log *log, uint64_t after, size_t max_bytes,
                          uint64_t *last)
{
    const struct raft_meta *meta = raft_log_find(log, after + 1);
    *last = after;
    if (!meta)
        return (struct slice) { NULL, 0 };
    CHECK(meta->first == after + 1);
    struct slice run = { raft_log_bytes(log, meta), meta->size };
    *last = meta->last;
    uint64_t end = meta->position + meta->size;
    for (meta = raft_log_next(log, meta); meta; meta = raft_log_next(log, meta)) {
        if (meta->position != end || end % log->bytes_capacity == 0)
            break;
        if (run.len + meta->size > max_bytes)
            break;
        run.len += meta->size;
        end += meta->size;
        *last = meta->last;
    }
    CHECK(*last <= log->last);
    return run;
}

/* --- changing ----------------------------------------------------------------------------------*/

static void forget_oldest(struct raft_log *log)
{
    CHECK(log->metas_count > 1);
    CHECK(!log->pinned);
    struct entry gone = entry_of(log, meta_at(log, 0));
    log->base = meta_at(log, 0)->last;
    log->base_time_us = gone.time_us;
    memcpy(log->base_chain, gone.chain, HASH_BYTES);
    log->metas_at = (log->metas_at + 1) % log->metas_capacity;
    log->metas_count--;
    log->tail = meta_at(log, 0)->position;
}

static bool may_forget(const struct raft_log *log, uint64_t forgettable)
{
    /* The last entry stays: its chain is what the next one follows. */
    return log->metas_count > 1 && !log->pinned && meta_at(log, 0)->last <= forgettable;
}

size_t raft_log_largest(const struct raft_log *log)
{
    uint64_t largest = log->bytes_capacity / RAFT_LOG_RESERVE_PART - RAFT_LOG_SMALL_BYTES;
    CHECK(largest >= RAFT_LOG_SMALL_BYTES);
    return largest < LIMIT_ENTRY_BYTES ? (size_t)largest : LIMIT_ENTRY_BYTES;
}

uint8_t *raft_log_room(struct raft_log *log, size_t size, uint64_t forgettable, bool keep_reserve)
{
    uint64_t capacity = log->bytes_capacity;
    uint64_t reserve = keep_reserve ? capacity / RAFT_LOG_RESERVE_PART : 0;
    uint32_t metas = log->metas_capacity;
    if (keep_reserve)
        metas -= metas / RAFT_LOG_RESERVE_PART;
    if (size + reserve > capacity)
        return NULL;
    for (;;) {
        uint64_t at = log->head % capacity;
        uint64_t start = at + size > capacity ? log->head + capacity - at : log->head;
        if (log->metas_count < metas && start + size + reserve - log->tail <= capacity) {
            log->head = start;
            return log->bytes + start % capacity;
        }
        if (!may_forget(log, forgettable))
            return NULL;
        forget_oldest(log);
    }
}

void raft_log_push(struct raft_log *log, const struct entry *entry)
{
    CHECK(entry->first == log->last + 1);
    CHECK(log->metas_count < log->metas_capacity);
    CHECK(log->head + entry->size - log->tail <= log->bytes_capacity);
    uint64_t last = entry->first + entry->count - 1;
    if (entry->term != log->last_term) {
        CHECK(entry->term > log->last_term);
        raft_log_add_start(log, entry->first, entry->term);
    }
    *meta_at(log, log->metas_count) = (struct raft_meta) {
        entry->first, last, entry->term, log->head, entry->size, entry->kind,
    };
    log->metas_count++;
    log->head += entry->size;
    log->last = last;
    log->last_term = entry->term;
    log->last_time_us = entry->time_us;
    memcpy(log->last_chain, entry->chain, HASH_BYTES);
}

uint64_t raft_log_free(const struct raft_log *log, uint64_t forgettable)
{
    uint64_t tail = log->tail;
    if (!log->pinned) {
        const struct raft_meta *kept = raft_log_find(log, forgettable + 1);
        if (forgettable < log->last && kept)
            tail = kept->position;
        else if (forgettable >= log->last && log->metas_count)
            tail = meta_at(log, log->metas_count - 1)->position;
    }
    uint64_t used = log->head - tail;
    return used < log->bytes_capacity ? log->bytes_capacity - used : 0;
}

void raft_log_truncate(struct raft_log *log, uint64_t last, bool flushing)
{
    CHECK(last < log->last);
    CHECK(last >= log->base);
    while (log->metas_count && meta_at(log, log->metas_count - 1)->last > last) {
        const struct raft_meta *gone = meta_at(log, log->metas_count - 1);
        if (flushing)
            log->pinned = true;
        else
            log->head = gone->position;
        log->metas_count--;
    }
    while (log->starts_count && log->starts[log->starts_count - 1].first > last)
        log->starts_count--;
    log->last = last;
    if (log->metas_count == 0) {
        CHECK(last == log->base);
        if (!log->pinned)
            log->tail = log->head;
    }
    refresh_last(log);
    CHECK(raft_log_chain(log, last) != NULL);
}

void raft_log_unpin(struct raft_log *log)
{
    log->pinned = false;
    log->tail = log->metas_count ? meta_at(log, 0)->position : log->head;
    CHECK(log->head - log->tail <= log->bytes_capacity);
}
