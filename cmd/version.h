/* This build's version, such as 0.1.0+c966c54f: shown by --version, in status and in the logs. */
#ifndef FTCHAT_CMD_VERSION_H
#define FTCHAT_CMD_VERSION_H

const char *version_string(void);

#endif
