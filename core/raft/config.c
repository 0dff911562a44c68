/* Membership: the configuration entry, and who is who (thesis ch. 4). A configuration counts as
 * soon as it is in the log, and no longer than it is there. */
#include "core/raft/state.h"

enum { ROLE_OF_LEARNER, ROLE_OF_VOTER, ROLE_OF_NOBODY };

size_t raft_config_encode(const struct raft_config *config, uint8_t *out, size_t capacity)
{
    CHECK(config->count <= LIMIT_NODES);
    struct writer writer = writer_of(out, capacity);
    write_u8(&writer, (uint8_t)config->count);
    for (unsigned i = 0; i < config->count; i++) {
        const struct raft_member *member = &config->members[i];
        CHECK(member->slot >= 1 && member->slot <= LIMIT_NODES);
        CHECK(!member->vacant || !member->voter);
        CHECK(member->address.host_len <= LIMIT_HOST_BYTES);
        write_u8(&writer, member->slot);
        write_u8(&writer, member->vacant  ? ROLE_OF_NOBODY
                          : member->voter ? ROLE_OF_VOTER
                                          : ROLE_OF_LEARNER);
        write_copy(&writer, member->identity, IDENTITY_BYTES);
        write_u16(&writer, member->address.port);
        write_slice8(&writer, member->address.host, member->address.host_len);
    }
    return writer.full ? 0 : writer_used(&writer);
}

bool raft_config_decode(struct raft_config *config, const uint8_t *data, size_t len)
{
    struct reader reader = reader_of(data, len);
    unsigned seen = 0;
    *config = (struct raft_config) { .count = read_u8(&reader) };
    if (config->count > LIMIT_NODES)
        return false;
    for (unsigned i = 0; i < config->count; i++) {
        struct raft_member *member = &config->members[i];
        member->slot = read_u8(&reader);
        uint8_t role = read_u8(&reader);
        read_copy(&reader, member->identity, IDENTITY_BYTES);
        member->address.port = read_u16(&reader);
        struct slice host = read_slice8(&reader);
        if (member->slot < 1 || member->slot > LIMIT_NODES || role > ROLE_OF_NOBODY)
            return false;
        if (seen >> member->slot & 1 || host.len > LIMIT_HOST_BYTES)
            return false;
        seen |= 1u << member->slot;
        member->voter = role == ROLE_OF_VOTER;
        member->vacant = role == ROLE_OF_NOBODY;
        member->address.host_len = (uint8_t)host.len;
        if (host.len)
            memcpy(member->address.host, host.data, host.len);
    }
    return reader_finished(&reader);
}

const struct raft_member *raft_config_find(const struct raft_config *config, uint8_t slot)
{
    CHECK(config->count <= LIMIT_NODES);
    for (unsigned i = 0; i < config->count; i++) {
        if (config->members[i].slot == slot)
            return &config->members[i];
    }
    return NULL;
}

bool raft_member_is(const struct raft_member *member, const uint8_t identity[IDENTITY_BYTES])
{
    return member && !member->vacant && raft_identity_equal(member->identity, identity);
}

unsigned raft_config_voters(const struct raft_config *config)
{
    unsigned voters = 0;
    CHECK(config->count <= LIMIT_NODES);
    for (unsigned i = 0; i < config->count; i++)
        voters += config->members[i].voter;
    return voters;
}

void raft_config_appended(struct raft *raft, const struct entry *entry)
{
    CHECK(entry->kind == ENTRY_CONFIG);
    CHECK(entry->first > raft->config.index);
    struct slice body = entry_body(entry, 0);
    struct raft_config config;
    bool good = raft_config_decode(&config, body.data, body.len);
    CHECK(good); /* whoever appends has looked before */
    config.index = entry->first;
    for (uint8_t slot = 1; slot <= LIMIT_NODES; slot++) {
        const struct raft_member *before = raft_config_find(&raft->config, slot);
        const struct raft_member *after = raft_config_find(&config, slot);
        /* Whoever is new in a slot inherits nothing of its predecessor's; nor does one that comes
         * back: what it said before it left is answered under another session. */
        if (before && after && before->vacant == after->vacant &&
            raft_identity_equal(before->identity, after->identity))
            continue;
        raft->peers[slot].match = 0;
        raft->peers[slot].round_acked = 0;
        raft->peers[slot].answered_us = 0;
        raft_progress_reset(raft, slot, (struct now) { .mono_us = raft->now_us });
    }
    /* A second one is only made once the first is committed, so one step back is enough. */
    raft->previous = raft->config;
    raft->config = config;
    raft_links_changed(raft);
}

void raft_config_truncated(struct raft *raft, uint64_t last)
{
    CHECK(last >= raft->commit);
    if (raft->config.index <= last)
        return;
    CHECK(raft->previous.index <= last);
    raft->config = raft->previous;
    raft_links_changed(raft);
}

const struct raft_member *raft_self(const struct raft *raft)
{
    const struct raft_member *self = raft_config_find(&raft->config, raft->options.slot);
    return raft_member_is(self, raft->options.identity) ? self : NULL;
}

bool raft_is_voter(const struct raft *raft)
{
    const struct raft_member *self = raft_self(raft);
    return self && self->voter;
}

const struct raft_member *raft_linked_member(const struct raft *raft, uint8_t slot)
{
    CHECK(slot >= 1);
    CHECK(slot <= LIMIT_NODES);
    CHECK(!raft->peers[raft->options.slot].up);
    return raft->links.members >> slot & 1 ? raft_config_find(&raft->config, slot) : NULL;
}

static struct raft_links links_of(const struct raft *raft)
{
    struct raft_links links = { 0 };
    CHECK(raft->config.count <= LIMIT_NODES);
    for (unsigned i = 0; i < raft->config.count; i++) {
        const struct raft_member *member = &raft->config.members[i];
        const struct raft_peer *peer = &raft->peers[member->slot];
        if (!peer->up || !raft_member_is(member, peer->identity))
            continue;
        links.members |= 1u << member->slot;
        if (member->voter && peer->rtt_us > links.slowest_us)
            links.slowest_us = peer->rtt_us;
    }
    return links;
}

void raft_links_changed(struct raft *raft)
{
    raft->links = links_of(raft);
}

bool raft_links_right(const struct raft *raft)
{
    struct raft_links links = links_of(raft);
    return links.members == raft->links.members && links.slowest_us == raft->links.slowest_us;
}

unsigned raft_voter_bits(const struct raft *raft)
{
    unsigned bits = 0;
    for (unsigned i = 0; i < raft->config.count; i++) {
        if (raft->config.members[i].voter)
            bits |= 1u << raft->config.members[i].slot;
    }
    CHECK(bits < 1u << RAFT_SLOTS);
    return bits;
}

const struct raft_config *raft_latest_config(const struct raft *raft)
{
    return &raft->config;
}

bool raft_config_pending(const struct raft *raft)
{
    return raft->config.index > raft->commit;
}

/* Voters by identity: a slot whose identity changes loses one and gains one. */
static unsigned voters_not_in(const struct raft_config *config, const struct raft_config *other)
{
    unsigned missing = 0;
    for (unsigned i = 0; i < config->count; i++) {
        const struct raft_member *member = &config->members[i];
        if (!member->voter)
            continue;
        const struct raft_member *same = raft_config_find(other, member->slot);
        missing += !same || !same->voter || !raft_identity_equal(same->identity, member->identity);
    }
    CHECK(missing <= config->count);
    return missing;
}

/* One identity in two seats would vote twice. */
static bool has_twins(const struct raft_config *config)
{
    for (unsigned i = 0; i < config->count; i++) {
        for (unsigned other = 0; other < i; other++) {
            if (!config->members[other].vacant &&
                raft_member_is(&config->members[i], config->members[other].identity))
                return true;
        }
    }
    return false;
}

bool raft_propose_config(struct raft *raft, const struct raft_config *config, struct now now)
{
    uint8_t body[RAFT_CONFIG_BYTES];
    if (raft->role != RAFT_LEADER || raft->transfer_to)
        return false;
    if (raft->commit < raft->first_of_term || raft_config_pending(raft))
        return false;
    unsigned added = voters_not_in(config, &raft->config);
    unsigned removed = voters_not_in(&raft->config, config);
    if (added + removed > 1 || raft_config_voters(config) == 0 || has_twins(config))
        return false;
    const struct raft_member *here = raft_config_find(config, raft->options.slot);
    if (here && !here->vacant && !raft_member_is(here, raft->options.identity))
        return false;
    uint32_t size = (uint32_t)raft_config_encode(config, body, sizeof body);
    struct raft_config again;
    CHECK(size > 0);
    if (!raft_config_decode(&again, body, size))
        return false; /* two seats of one slot */
    return raft_append_own(raft, ENTRY_CONFIG, 1, &size, body, size, now) != 0;
}
