/* CHECK: the assertion that stays on in production.
 *
 * It states what the programmer believes. When it is false, this process knows something untrue and
 * must not promise anything more: it ends at once, and the other nodes go on. Input from outside is
 * never CHECKed; it is parsed, refused and counted.
 *
 * core only declares check_failed: the program defines it in cmd/check.c (logs where and the last
 * events, then aborts), the tests and the simulator define their own. One condition per CHECK, so
 * that the line tells. */
#ifndef FTCHAT_CORE_CHECK_H
#define FTCHAT_CORE_CHECK_H

_Noreturn void check_failed(const char *file, int line, const char *condition);

#define CHECK(condition) ((condition) ? (void)0 : check_failed(__FILE__, __LINE__, #condition))

#endif
