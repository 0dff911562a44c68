/* Checkpoints: writing the state, and its hash.
 *
 *   magic u32 "ftc1", version u16, then in this order, little-endian:
 *   genesis      done u8, formed u8, slots u8, segment_bytes u64, secret[32], level u16,
 *                ancestors u8, { cluster[16], shared u64 } ...
 *   accounts     count u32, { name string8, key[32], created_index u64 }
 *   rooms        count u32, { kind u8 (0 public, 1 private, 2 direct), name string8 or pair 2 u32,
 *                last_seq u64, last_index u64, topic string16 }
 *   memberships  count u32, { account u32, room u32, join u64, leave u64, read_seq u64, operator u8,
 *                earlier u8, { join u64, leave u64 } ... } ...
 *   devices      count u32, { number u32, account u32, key[32], last u64, done u64, used u64,
 *                enrolled u64, { digest u64, code u8, room u32, room_seq u64, index u64, time u64 }
 *                for each of done + 1 .. last }
 *   ended        count u32, { position u32 }, in the order in which they will be used again
 *   invites      count u32, { token_hash[32], uses u32, spent u32, expires_us u64 }
 *   check u64    SipHash of all before, under the key "ftchat state 1"
 *
 * Records stand in the order of their positions, so that equal states are equal bytes. Lists and
 * indexes are made again when reading (restore.c). */
#include "core/chat/checkpoint.h"

#include "core/check.h"

/* Where the bytes go: into the writer's buffer, or, for the hash, through a small one. */
struct sink {
    struct writer writer;
    const struct crypto *crypto; /* NULL: keep the bytes */
    uint64_t hash;
};

/* Longer than any record, a device with all its answers among them. */
enum { HASH_BUFFER_BYTES = 4096 };
_Static_assert(CHECKPOINT_DEVICE_BYTES + LIMIT_OUTSTANDING * CHECKPOINT_ANSWER_BYTES <
                   HASH_BUFFER_BYTES,
               "a device's record fits");

static void end_record(struct sink *sink)
{
    if (!sink->crypto)
        return;
    CHECK(!sink->writer.full);
    uint8_t key[DIGEST_KEY_BYTES] = { 0 };
    bytes_put_u64(key, sink->hash);
    sink->hash = sink->crypto->digest(key, sink->writer.start, writer_used(&sink->writer));
    sink->writer.at = sink->writer.start;
}

static void write_genesis(const struct chat *chat, struct writer *out)
{
    write_u32(out, CHECKPOINT_MAGIC);
    write_u16(out, CHECKPOINT_VERSION);
    write_u8(out, chat->genesis.done);
    write_u8(out, chat->genesis.formed);
    write_u8(out, chat->genesis.slots);
    write_u64(out, chat->genesis.segment_bytes);
    write_copy(out, chat->genesis.secret, sizeof chat->genesis.secret);
    write_u16(out, chat->genesis.level);
    write_u8(out, chat->genesis.ancestors_count);
    for (unsigned i = 0; i < chat->genesis.ancestors_count; i++) {
        write_copy(out, chat->genesis.ancestors[i].cluster, IDENTITY_BYTES);
        write_u64(out, chat->genesis.ancestors[i].shared_index);
    }
}

static void write_accounts(const struct chat *chat, struct sink *sink)
{
    struct writer *out = &sink->writer;
    write_u32(out, chat->account_count);
    for (uint32_t at = 1; at <= chat->account_count; at++) {
        const struct chat_account *account = &chat->accounts[at].shown;
        write_slice8(out, account->name, account->name_len);
        write_copy(out, account->key, PUBLIC_KEY_BYTES);
        write_u64(out, account->created_index);
        end_record(sink);
    }
}

static void write_rooms(const struct chat *chat, struct sink *sink)
{
    struct writer *out = &sink->writer;
    write_u32(out, chat->room_count);
    for (uint32_t at = 1; at <= chat->room_count; at++) {
        const struct chat_room *room = &chat->rooms[at].shown;
        write_u8(out, room->direct       ? CHECKPOINT_DIRECT
                      : room->is_private ? CHECKPOINT_PRIVATE
                                         : CHECKPOINT_PUBLIC);
        if (room->direct) {
            write_u32(out, room->pair[0]);
            write_u32(out, room->pair[1]);
        } else {
            write_slice8(out, room->name, room->name_len);
        }
        write_u64(out, room->last_seq);
        write_u64(out, room->last_index);
        write_slice16(out, chat->rooms[at].topic, room->topic_len);
        end_record(sink);
    }
}

static void write_memberships(const struct chat *chat, struct sink *sink)
{
    struct writer *out = &sink->writer;
    write_u32(out, chat->membership_count);
    for (uint32_t at = 1; at <= chat->membership_count; at++) {
        const struct chat_membership *membership = &chat->memberships[at];
        write_u32(out, membership->account);
        write_u32(out, membership->room);
        write_u64(out, membership->join_index);
        write_u64(out, membership->leave_index);
        write_u64(out, membership->read_seq);
        write_u8(out, membership->is_operator);
        write_u8(out, membership->earlier_count);
        for (unsigned i = 0; i < membership->earlier_count; i++) {
            write_u64(out, membership->earlier[i].join_index);
            write_u64(out, membership->earlier[i].leave_index);
        }
        end_record(sink);
    }
}

static void write_devices(const struct chat *chat, struct sink *sink)
{
    struct writer *out = &sink->writer;
    write_u32(out, chat->device_count);
    for (uint32_t at = 1; at <= chat->device_count; at++) {
        const struct device_record *device = &chat->devices[at];
        write_u32(out, device->number);
        write_u32(out, device->shown.account);
        write_copy(out, device->shown.key, PUBLIC_KEY_BYTES);
        write_u64(out, device->shown.last);
        write_u64(out, device->shown.done);
        write_u64(out, device->shown.used_index);
        write_u64(out, device->shown.enrolled_index);
        for (uint32_t i = device->first_answer; i; i = chat->answers[i].next) {
            const struct kept_answer *answer = &chat->answers[i];
            write_u64(out, answer->digest);
            write_u8(out, (uint8_t)answer->code);
            write_u32(out, answer->room);
            write_u64(out, answer->room_seq);
            write_u64(out, answer->index);
            write_u64(out, answer->time_us);
        }
        end_record(sink);
    }
    write_u32(out, chat->ended_count);
    for (uint32_t at = chat->ended_first; at; at = chat->devices[at].next_device) {
        write_u32(out, at);
        end_record(sink);
    }
}

static void write_invites(const struct chat *chat, struct sink *sink)
{
    struct writer *out = &sink->writer;
    write_u32(out, chat->invite_count);
    for (uint32_t at = 1; at <= chat->invite_count; at++) {
        const struct invite_record *invite = &chat->invites[at];
        write_copy(out, invite->token_hash, HASH_BYTES);
        write_u32(out, invite->uses);
        write_u32(out, invite->spent);
        write_u64(out, invite->expires_us);
        end_record(sink);
    }
    end_record(sink);
}

static void write_state(const struct chat *chat, struct sink *sink)
{
    write_genesis(chat, &sink->writer);
    write_accounts(chat, sink);
    write_rooms(chat, sink);
    write_memberships(chat, sink);
    write_devices(chat, sink);
    write_invites(chat, sink);
}

size_t chat_checkpoint_bytes(const struct chat *chat)
{
    return CHECKPOINT_FIXED_BYTES + (size_t)chat->account_count * CHECKPOINT_ACCOUNT_BYTES +
           (size_t)chat->room_count * CHECKPOINT_ROOM_BYTES +
           (size_t)chat->membership_count * CHECKPOINT_MEMBERSHIP_BYTES +
           (size_t)chat->device_count * CHECKPOINT_DEVICE_BYTES +
           (size_t)chat->answer_count * CHECKPOINT_ANSWER_BYTES +
           (size_t)chat->ended_count * sizeof(uint32_t) +
           (size_t)chat->invite_count * CHECKPOINT_INVITE_BYTES;
}

uint64_t checkpoint_check(const struct chat *chat, const uint8_t *state, size_t len)
{
    static const uint8_t key[DIGEST_KEY_BYTES] = "ftchat state 1";
    return chat->crypto->digest(key, state, len);
}

size_t chat_checkpoint(const struct chat *chat, uint8_t *out, size_t capacity)
{
    CHECK(out != NULL);
    struct sink sink = { writer_of(out, capacity), NULL, 0 };
    write_state(chat, &sink);
    if (sink.writer.full)
        return 0;
    size_t len = writer_used(&sink.writer);
    write_u64(&sink.writer, checkpoint_check(chat, out, len));
    CHECK(len + sizeof(uint64_t) <= chat_checkpoint_bytes(chat));
    return sink.writer.full ? 0 : writer_used(&sink.writer);
}

uint64_t chat_hash(const struct chat *chat)
{
    uint8_t buffer[HASH_BUFFER_BYTES];
    struct sink sink = { writer_of(buffer, sizeof buffer), chat->crypto, 0 };
    write_state(chat, &sink);
    CHECK(!sink.writer.full);
    return sink.hash;
}
