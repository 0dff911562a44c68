/* The subcommands of `ftchat ctl`, for the table in ctl.c. argv[0] is the subcommand's name; the
 * result is the exit status (commands.h). */
#ifndef FTCHAT_CMD_CTL_H
#define FTCHAT_CMD_CTL_H

int ctl_init(int argc, char **argv);
int ctl_check(int argc, char **argv);
int ctl_form(int argc, char **argv);
int ctl_status(int argc, char **argv);
int ctl_health(int argc, char **argv);
int ctl_invite(int argc, char **argv);
int ctl_members(int argc, char **argv);
int ctl_add(int argc, char **argv);
int ctl_remove(int argc, char **argv);
int ctl_replace(int argc, char **argv);
int ctl_transfer(int argc, char **argv);
int ctl_verify(int argc, char **argv);
int ctl_dump(int argc, char **argv);
int ctl_bench(int argc, char **argv);
int ctl_backup(int argc, char **argv);
int ctl_restore(int argc, char **argv);
int ctl_recover(int argc, char **argv);

#endif
