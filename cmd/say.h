/* What every command says to a person: errors as one line, the version, the end of stdout.
 *
 * An error is `ftchat CMD: what: why (what to do)` on stderr. What comes from outside (a file's
 * text, another host's words) may be among the arguments: control characters are shown as '?', so
 * that no error message can change a terminal or pretend to be two lines. */
#ifndef FTCHAT_CMD_SAY_H
#define FTCHAT_CMD_SAY_H

/* Prints one error line and returns `status`; `command` may be NULL for the front door. */
int say_error(int status, const char *command, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The same shape for what is only worth a warning. */
void say_warning(const char *command, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Prints `ftchat VERSION`; the exit status. */
int say_version(void);

/* Flushes stdout: 0, or 1 with a message when what was printed did not arrive (a full disk). */
int say_flushed(const char *command);

#endif
