/* Any bytes as each of the messages: what decodes encodes to the same bytes again. The first byte
 * chooses the kind; Raft's messages, invite links and identity files are among them. */
#include <stdlib.h>
#include <string.h>

#include "cmd/crypto_sodium.h"
#include "cmd/invite_link.h"
#include "core/check.h"
#include "core/raft/message.h"
#include "core/wire.h"
#include "store/internal.h"
#include "tests/fuzz/fuzz_disk.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t out[1 << 17];

/* The first byte is the type: who calls a decoder has looked at it. */
static void same(size_t len, struct slice in)
{
    CHECK(len == in.len);
    CHECK(memcmp(out + 1, in.data + 1, len - 1) == 0);
}

#define TRY(kind)                                                                                  \
    static void try_##kind(struct slice in)                                                        \
    {                                                                                              \
        struct wire_##kind message;                                                                \
        if (wire_decode_##kind(&message, in))                                                      \
            same(wire_encode_##kind(&message, out, sizeof out), in);                               \
    }
TRY(enrol)
TRY(login)
TRY(ready)
TRY(answer)
TRY(query)
TRY(result)
TRY(cluster)
TRY(record)
TRY(member)
TRY(members)
#undef TRY

/* A newer node may say more. */
static void try_status(struct slice in)
{
    struct wire_status status;
    if (!wire_decode_status(&status, in))
        return;
    size_t len = wire_encode_status(&status, out, sizeof out);
    size_t said = len < in.len ? len : in.len; /* an older one says less, a newer one more */
    CHECK(len > 0);
    same(said, (struct slice) { in.data, said });
    for (size_t i = 0; i < status.version.len; i++)
        CHECK(status.version.data[i] > ' ' && status.version.data[i] != '"');
}

static void try_hello(struct slice in)
{
    struct wire_hello hello;
    if (!wire_decode_hello(&hello, in))
        return;
    size_t len = wire_encode_hello(&hello, out, sizeof out);
    size_t said = len < in.len ? len : in.len; /* an older one says less, a newer one more */
    CHECK(len > 0);
    same(said, (struct slice) { in.data, said });
}

static void try_raft(struct slice in)
{
    struct raft_message message;
    if (!raft_message_decode(&message, in))
        return;
    size_t entries = message.kind == RAFT_APPEND ? message.append.entries.len : 0;
    size_t len = raft_message_encode(&message, out, sizeof out);
    CHECK(len == 1 + in.len - entries);
    CHECK(memcmp(out + 1, in.data, len - 1) == 0);
}

static void try_link(struct slice in)
{
    char text[LINK_TEXT_BYTES + 8];
    char again[LINK_TEXT_BYTES];
    struct link_invite invite;
    struct link_invite second;
    size_t len = in.len < sizeof text - 1 ? in.len : sizeof text - 1;
    memcpy(text, in.data, len);
    text[len] = 0;
    memset(&invite, 0, sizeof invite);
    if (!link_read(&invite, text))
        return;
    CHECK(invite.server_count >= 1 && invite.server_count <= LINK_SERVERS);
    CHECK(link_write(again, &invite));
    memset(&second, 0, sizeof second);
    CHECK(link_read(&second, again));
    CHECK(second.server_count == invite.server_count);
    CHECK(memcmp(second.token, invite.token, sizeof invite.token) == 0);
}

static void try_identity(struct slice in)
{
    struct disk_file input = { in.data, in.len };
    struct disk disk = fuzz_disk(&input);
    struct identity_file file;
    (void)(identity_file_load(&disk, &weak_crypto, &file) == FT_OK);
    (void)(identity_file_load(&disk, &crypto_sodium, &file) == FT_OK);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const tries[])(struct slice) = {
        try_enrol,  try_login,  try_ready,  try_answer, try_query, try_cluster,  try_hello,
        try_status, try_record, try_result, try_raft,   try_link,  try_identity,
    };
    if (size < 1 || !crypto_start())
        return 0;
    /* A copy of its own, so that reading beyond it is seen. */
    uint8_t *copy = malloc(size);
    CHECK(copy != NULL);
    memcpy(copy, data + 1, size - 1);
    tries[data[0] % (sizeof tries / sizeof *tries)]((struct slice) { copy, size - 1 });
    try_member((struct slice) { copy, size - 1 });
    try_members((struct slice) { copy, size - 1 });
    free(copy);
    return 0;
}
