#include "cmd/version.h"

/* The Makefile says it to this one file, which is compiled anew when it changes. */
const char *version_string(void)
{
    return FTCHAT_VERSION;
}
