/* A body that a committed command deletes is erased in place on every disk, and then its digest does
 * not fit any more. What it is proved by is the check that the deleting command names: a body in the
 * log is good when it has its digest, or when it has been deleted and has this check.
 *
 * The key is a constant, for the check is a part of the log and goes with it where a cluster's history
 * goes on under another identity (ctl restore, ctl recover). Inline, because the store, which links
 * nothing of core, proves by it. */
#ifndef FTCHAT_CORE_ERASED_H
#define FTCHAT_CORE_ERASED_H

#include "core/crypto.h"

static inline uint32_t erased_check(const struct crypto *crypto, const void *body, size_t len)
{
    static const uint8_t key[DIGEST_KEY_BYTES] = "ftchat erased 1";
    return (uint32_t)crypto->digest(key, body, len);
}

#endif
