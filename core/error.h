/* What the environment can do to us: disks, sockets, files. Returned, never stored in errno; the
 * text for a person is made once, at the edge, by whoever knows the path or the peer.
 *
 * The programmer's errors are CHECK (check.h). The other side's errors are refused and counted. */
#ifndef FTCHAT_CORE_ERROR_H
#define FTCHAT_CORE_ERROR_H

enum ft_error {
    FT_OK = 0,
    FT_ERROR_IO, /* the device or the kernel failed: EIO */
    FT_ERROR_SYNC, /* a sync failed, whatever the reason: what it was to keep may be lost, the process must end */
    FT_ERROR_SPACE,   /* no space left on the device, or over a quota */
    FT_ERROR_MISSING, /* no such file or record */
    FT_ERROR_EXISTS,  /* it is there already */
    FT_ERROR_CORRUPT, /* it is there and its checksum or form is wrong */
    FT_ERROR_VERSION, /* written by a newer version than this one */
    FT_ERROR_FOREIGN, /* it belongs to another cluster or another node */
    FT_ERROR_LOCKED,  /* another process holds it */
    FT_ERROR_DENIED,  /* no permission, or the wrong key */
    FT_ERROR_LIMIT,   /* over a limit of limits.h */
    FT_ERROR_NETWORK, /* connecting, resolving or talking failed */
};

#define FT_MUST_USE __attribute__((warn_unused_result))

#endif
