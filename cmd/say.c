#include "cmd/say.h"

#include "cmd/commands.h"
#include "cmd/version.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { LINE_MAX_BYTES = 2048 };

/* One write for the whole line: lines of several processes on one terminal do not mix. */
static void print_line(const char *command, const char *kind, const char *format, va_list arguments)
{
    char line[LINE_MAX_BYTES + 2];
    int head = snprintf(line, LINE_MAX_BYTES, "ftchat%s%.32s: %s", command ? " " : "",
                        command ? command : "", kind);
    size_t used = head > 0 ? (size_t)head : 0;
    vsnprintf(line + used, LINE_MAX_BYTES - used, format, arguments);
    size_t len = strlen(line);
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
            line[i] = '?';
    line[len] = '\n';
    line[len + 1] = '\0';
    fflush(stdout);
    fputs(line, stderr);
}

int say_error(int status, const char *command, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    print_line(command, "", format, arguments);
    va_end(arguments);
    return status;
}

void say_warning(const char *command, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    print_line(command, "warning: ", format, arguments);
    va_end(arguments);
}

int say_version(void)
{
    printf("ftchat %s\n", version_string());
    return say_flushed(NULL);
}

int say_flushed(const char *command)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return EXIT_DONE;
    return say_error(EXIT_FAILED, command, "standard output: %s", strerror(errno));
}
