/* `ftchat --install DIR`: links named ftchat-node, ftchat-client ... to this very file. */
#ifndef FTCHAT_CMD_INSTALL_H
#define FTCHAT_CMD_INSTALL_H

/* Makes the links in `folder`; one that leads here already is left as it is, anything else of that
 * name is never replaced. Returns the exit status. */
int install_links(const char *folder);

#endif
