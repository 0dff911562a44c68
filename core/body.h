/* A command's body: the digest that the log proves it by, and erasing it.
 *
 * What a post says can be taken out of the log for ever without the log's being any less provable: the
 * digest of a post's body is that of what erasing leaves of it. Erased, a body keeps its length and
 * everything but its words: each byte of them becomes 0xee, its salt gives way to the digest of what the post was
 * (the one that its sender's exactly-once is kept by), and a flag says so. That digest covers words
 * and salt, so nothing of a whole post can change unseen; and as the salt was random and is gone, what
 * is left confirms no guess of the words. So an erased body is as good as a whole one wherever a log
 * is read, copied or replayed; that only what was deleted is erased, the store sees to (store/scrub.c).
 *
 * Of a post's layout (core/chat/command.h) this is here: kind u8, head up to BODY_HEAD_BYTES, room
 * string8, salt[8], flags u8, u64s as the flags say, text. Bodies that are not laid out so are no
 * posts; their digest is that of their bytes.
 *
 * Inline, because the store, which links nothing of core, proves and erases by it. */
#ifndef FTCHAT_CORE_BODY_H
#define FTCHAT_CORE_BODY_H

#include "core/bytes.h"
#include "core/crypto.h"
#include "core/limits.h"

enum post_flag {
    POST_ME = 1,         /* kind "me" */
    POST_SENT = 2,       /* carries the time the author's side claims, to be shown */
    POST_REPLY = 4,      /* carries the seq it replies to */
    POST_CLOCK = 8,      /* carries that time, to be shown if it took long to be committed */
    POST_REPLY_UID = 16, /* carries the uid it replies to: a device's tag and seq */
    POST_ERASED = 32,    /* deleted, and its words are gone; never from a device */
    POST_FLAGS = 63,
};

enum {
    BODY_POST = 16,
    BODY_HEAD_BYTES = 26,
    BODY_SALT_BYTES = 8,
    BODY_ERASED = 0xee, /* not zeros: a sector of zeros is one that was never written (entry.h) */
    BODY_KEPT_BYTES = BODY_HEAD_BYTES + 1 + LIMIT_ROOM_NAME + BODY_SALT_BYTES + 1 + 3 * 8,
};

/* Where the parts of a post lie in its body. */
struct body_parts {
    uint32_t salt_at; /* the flags follow it */
    uint32_t text_at;
    uint8_t flags;
};

/* false: it is no post. */
static inline bool body_find(struct body_parts *parts, const uint8_t *body, size_t len)
{
    if (len <= BODY_HEAD_BYTES || body[0] != BODY_POST || body[BODY_HEAD_BYTES] > LIMIT_ROOM_NAME)
        return false;
    parts->salt_at = BODY_HEAD_BYTES + 1u + body[BODY_HEAD_BYTES];
    parts->text_at = parts->salt_at + BODY_SALT_BYTES + 1;
    if (len < parts->text_at)
        return false;
    parts->flags = body[parts->text_at - 1];
    if (parts->flags & ~POST_FLAGS)
        return false;
    parts->text_at += parts->flags & (POST_SENT | POST_CLOCK) ? 8 : 0;
    parts->text_at += parts->flags & POST_REPLY_UID ? 8 : 0;
    parts->text_at += parts->flags & (POST_REPLY | POST_REPLY_UID) ? 8 : 0;
    return len >= parts->text_at;
}

/* Of a device command's kind and content: what its sender's exactly-once is kept by. Unkeyed: the
 * key says what is digested and, in its last byte, the kind, so that both need not lie together. */
static inline uint64_t body_content_digest(const struct crypto *crypto, uint8_t kind,
                                           const uint8_t *content, size_t len)
{
    uint8_t key[DIGEST_KEY_BYTES] = "ftchat command1";
    key[DIGEST_KEY_BYTES - 1] = kind;
    return crypto->digest(key, content, len);
}

static inline bool body_is_erased(const uint8_t *body, size_t len)
{
    struct body_parts parts;
    return body_find(&parts, body, len) && parts.flags & POST_ERASED;
}

/* At `salt`, where the post's salt and flags are: what erasing leaves of them. */
static inline void body_seal(uint8_t *salt, const struct crypto *crypto,
                             const struct body_parts *parts, const uint8_t *body, size_t len)
{
    if (parts->flags & POST_ERASED)
        return;
    bytes_put_u64(salt, body_content_digest(crypto, BODY_POST, body + BODY_HEAD_BYTES,
                                            len - BODY_HEAD_BYTES));
    salt[BODY_SALT_BYTES] |= POST_ERASED;
}

/* Is nothing of the words left? */
static inline bool body_wordless(const uint8_t *words, size_t len)
{
    return len == 0 || (words[0] == BODY_ERASED && memcmp(words, words + 1, len - 1) == 0);
}

/* Takes the words out, in place. Done again it changes nothing. false: it is no post. */
static inline bool body_erase(const struct crypto *crypto, uint8_t *body, size_t len)
{
    struct body_parts parts;
    if (!body_find(&parts, body, len))
        return false;
    body_seal(body + parts.salt_at, crypto, &parts, body, len);
    memset(body + parts.text_at, BODY_ERASED, len - parts.text_at);
    return true;
}

/* What an entry's head says of a body; `key` is the cluster's identity. */
static inline uint64_t body_digest(const struct crypto *crypto, const uint8_t key[DIGEST_KEY_BYTES],
                                   const uint8_t *body, size_t len)
{
    struct body_parts parts;
    if (!body_find(&parts, body, len))
        return crypto->digest(key, body, len);
    /* Not quite erased is not erased: no byte is outside of what is proved. */
    if (parts.flags & POST_ERASED && !body_wordless(body + parts.text_at, len - parts.text_at))
        return crypto->digest(key, body, len);
    uint8_t kept[BODY_KEPT_BYTES];
    memcpy(kept, body, parts.text_at);
    body_seal(kept + parts.salt_at, crypto, &parts, body, len);
    return crypto->digest(key, kept, parts.text_at);
}

/* Of what erasing leaves, as the command that deletes it names it: nothing else is erased. The key is
 * a constant, for this is a part of the log and goes with it where a cluster's history goes on under
 * another identity (ctl restore, ctl recover). */
static inline uint32_t body_erased_check(const struct crypto *crypto, const void *body, size_t len)
{
    static const uint8_t key[DIGEST_KEY_BYTES] = "ftchat erased 1";
    return (uint32_t)crypto->digest(key, body, len);
}

#endif
