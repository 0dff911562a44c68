#include "core/chat/state.h"

#include "core/check.h"

const struct chat_limits chat_limits_default = {
    .accounts = LIMIT_ACCOUNTS,
    .devices = LIMIT_DEVICES,
    .rooms = LIMIT_ROOMS,
    .memberships = LIMIT_MEMBERSHIPS,
    .invites = LIMIT_INVITES,
    .answers = LIMIT_DEVICES * LIMIT_OUTSTANDING,
};

enum { ALIGNMENT = 64 };

/* Hands out the parts of one block; with no block it only adds up. */
struct layout {
    uint8_t *block;
    size_t used;
};

static void *take(struct layout *layout, size_t bytes)
{
    void *at = layout->block ? layout->block + layout->used : NULL;
    layout->used += (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    return at;
}

static void take_table(struct layout *layout, struct table *table, uint32_t capacity)
{
    void *memory = take(layout, table_memory(capacity));
    if (layout->block)
        table_init(table, memory, capacity);
}

/* Position 0 of each table stays unused. */
static void lay_out(struct chat *chat, struct layout *layout, const struct chat_limits *limits)
{
    chat->accounts = take(layout, (limits->accounts + 1ul) * sizeof *chat->accounts);
    chat->devices = take(layout, (limits->devices + 1ul) * sizeof *chat->devices);
    chat->rooms = take(layout, (limits->rooms + 1ul) * sizeof *chat->rooms);
    chat->memberships = take(layout, (limits->memberships + 1ul) * sizeof *chat->memberships);
    chat->invites = take(layout, (limits->invites + 1ul) * sizeof *chat->invites);
    chat->answers = take(layout, (limits->answers + 1ul) * sizeof *chat->answers);
    take_table(layout, &chat->account_by_name, limits->accounts);
    take_table(layout, &chat->device_by_key, limits->devices);
    take_table(layout, &chat->room_by_name, limits->rooms);
    take_table(layout, &chat->membership_by_pair, limits->memberships);
    take_table(layout, &chat->invite_by_token, limits->invites);
}

static void check_limits(const struct chat_limits *limits)
{
    CHECK(limits->accounts >= 1 && limits->accounts <= LIMIT_ACCOUNTS);
    CHECK(limits->devices >= 1 && limits->devices <= LIMIT_DEVICES);
    CHECK(limits->rooms >= 1 && limits->rooms <= LIMIT_ROOMS);
    CHECK(limits->memberships >= 1 && limits->memberships <= LIMIT_MEMBERSHIPS);
    CHECK(limits->invites >= 1 && limits->invites <= LIMIT_INVITES);
    CHECK(limits->answers >= 1 && limits->answers <= LIMIT_DEVICES * LIMIT_OUTSTANDING);
}

size_t chat_memory(const struct chat_limits *limits)
{
    check_limits(limits);
    struct chat none;
    struct layout layout = { NULL, 0 };
    take(&layout, sizeof none);
    lay_out(&none, &layout, limits);
    return layout.used;
}

struct chat *chat_init(void *memory, const struct chat_limits *limits, const struct crypto *crypto)
{
    CHECK(memory != NULL);
    CHECK(crypto != NULL);
    check_limits(limits);
    struct layout layout = { memory, 0 };
    struct chat *chat = take(&layout, sizeof *chat);
    chat->limits = *limits;
    chat->crypto = crypto;
    lay_out(chat, &layout, limits);
    return chat;
}

/* Before there is anything in the indexes: their key comes from the secret. */
void chat_set_genesis(struct chat *chat, const struct chat_genesis *genesis)
{
    CHECK(!chat->genesis.done);
    CHECK(genesis->done);
    static const uint8_t label[DIGEST_KEY_BYTES] = "ftchat index 1";
    uint8_t hash[HASH_BYTES];
    chat->genesis = *genesis;
    chat->crypto->hash(hash, label, sizeof label, genesis->secret, sizeof genesis->secret);
    memcpy(chat->index_key, hash, sizeof chat->index_key);
}

uint64_t chat_shared_index(const struct chat *chat, const uint8_t cluster[IDENTITY_BYTES])
{
    CHECK(chat->genesis.ancestors_count <= CHAT_ANCESTORS);
    for (unsigned i = 0; i < chat->genesis.ancestors_count; i++)
        if (memcmp(chat->genesis.ancestors[i].cluster, cluster, IDENTITY_BYTES) == 0)
            return chat->genesis.ancestors[i].shared_index;
    return 0;
}

const struct chat_genesis *chat_genesis(const struct chat *chat)
{
    return &chat->genesis;
}

uint64_t chat_hash_bytes(const struct chat *chat, const void *data, size_t len)
{
    return chat->crypto->digest(chat->index_key, data, len);
}

uint64_t chat_hash_pair(const struct chat *chat, uint32_t first, uint32_t second)
{
    uint8_t bytes[8];
    bytes_put_u32(bytes, first);
    bytes_put_u32(bytes + 4, second);
    return chat_hash_bytes(chat, bytes, sizeof bytes);
}
