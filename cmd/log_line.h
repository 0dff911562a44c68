/* One logfmt line on stderr, in one write: what node and monitor say to whoever operates them. */
#ifndef FTCHAT_CMD_LOG_LINE_H
#define FTCHAT_CMD_LOG_LINE_H

enum { LOG_LINE_BYTES = 512 };

/* `ts=... level=LEVEL WHO=SLOT TEXT`; TEXT is `event=... key=value ...`, what is longer than
 * LOG_LINE_BYTES is cut. Slot 0 is left out. */
void log_line(const char *level, const char *who, unsigned slot, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* The datagram for the service manager (sd_notify(3)), when it asked for one: "READY=1". */
void log_notify(const char *state);

#endif
