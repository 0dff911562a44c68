/* The bytes of a client's state file: its device, its outbox, how far it has shown.
 *
 *     magic      "FTCHST1\n"
 *     record     size u32 (of type and fields), check u64 (SipHash of them), type u8, fields
 *     DEVICE     secret key[64]                          the first record
 *     ENROLLED   device u32, index u64
 *     COUNTS     last number u64, last seq u64, done seq u64
 *     CURSOR     index u64, floor u64, cluster[16] (zeros: not known)
 *     PUT        number u64, seq u64, id string32, body
 *     DONE       number u64, seq u64
 *     SEEN       tag u64, seq u64: this command of that device has ended (client_seen.h)
 *     FORGOT     index u64: client_seen.forgot; in a file without one: the floor
 *
 * Records are only appended. Reading stops at the first one that is not whole: behind it is a tail
 * that was being written when the power went. Integers are little-endian. */
#ifndef FTCHAT_CMD_CLIENT_OUTBOX_FILE_H
#define FTCHAT_CMD_CLIENT_OUTBOX_FILE_H

#include "cmd/client/text_out.h"
#include "core/client/client.h"

/* What a file says. Entries point into the file's bytes; the array is the caller's to free. */
struct outbox_image {
    struct client_recovered recovered;
    struct client_entry *entries;
    struct client_seen seen; /* recovered.seen */
    size_t whole_bytes;      /* what lies behind is to be cut off */
};

/* False: there is no device to be read (not such a file, or its beginning is lost). */
bool outbox_read(struct outbox_image *image, struct slice file);

void outbox_write_magic(struct text_out *out);
void outbox_write_device(struct text_out *out, const uint8_t secret_key[SECRET_KEY_BYTES]);
void outbox_write_enrolled(struct text_out *out, uint32_t device, uint64_t index);
void outbox_write_counts(struct text_out *out, const struct client_recovered *recovered);
void outbox_write_cursor(struct text_out *out, uint64_t index, uint64_t floor,
                         const uint8_t cluster[IDENTITY_BYTES]);
void outbox_write_put(struct text_out *out, const struct client_entry *put);
void outbox_write_done(struct text_out *out, uint64_t number, uint64_t seq);
void outbox_write_seen(struct text_out *out, uint64_t tag, uint64_t seq);
void outbox_write_forgot(struct text_out *out, uint64_t index);
void outbox_write_all_seen(struct text_out *out, const struct client_seen *seen);
/* Everything that `recovered` holds, as a new file. */
void outbox_write_all(struct text_out *out, const struct client_recovered *recovered);

#endif
