/* Any bytes as a command: what decodes encodes to the same bytes again, but for what stands in place of
 * erased words, and for a target that says that nothing was found. */
#include "core/chat/command.h"
#include "core/check.h"

#include <stdio.h>
#include <stdlib.h>

_Noreturn void check_failed(const char *file, int line, const char *condition)
{
    fprintf(stderr, "%s:%d: %s\n", file, line, condition);
    abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static uint8_t out[LIMIT_COMMAND_BYTES];
    struct command command;
    if (!command_decode(&command, (struct slice) { data, len }))
        return 0;
    size_t size = command_encode(&command, out, sizeof out);
    bool erased = command.kind == COMMAND_POST && command.flags & POST_ERASED;
    bool nothing = command.kind == COMMAND_DELETE && command.target.state == TARGET_UNKNOWN;
    CHECK(size == len || (size < len && (erased || nothing)));
    CHECK(memcmp(out, data, size) == 0);
    return 0;
}
