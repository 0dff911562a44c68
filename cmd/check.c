#include "core/check.h"

#include <stdio.h>
#include <stdlib.h>

/* The only definition in the program; tests and the simulator bring their own. It writes straight
 * to stderr: nothing that this process believes can be trusted any more, its buffers included. */
_Noreturn void check_failed(const char *file, int line, const char *condition)
{
    dprintf(2, "level=fatal event=check_failed at=%s:%d condition=\"%s\"\n", file, line, condition);
    abort();
}
