#include "cmd/command.h"
#include "cmd/ctl.h"
#include "cmd/say.h"

int ctl_check(int argc, char **argv)
{
    (void)argc, (void)argv;
    return say_error(EXIT_FAILED, "ctl check", "not in this build yet");
}
