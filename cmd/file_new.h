/* A new file, whole or not at all: written beside its place, synced, moved there, the folder
 * synced. What is there already is never overwritten. */
#ifndef FTCHAT_CMD_FILE_NEW_H
#define FTCHAT_CMD_FILE_NEW_H

#include <stddef.h>
#include <sys/types.h>

/* 0, or the errno; EEXIST when something of that name is there. */
int file_new(const char *path, const void *data, size_t len, mode_t mode);

#endif
