/* check_failed for the unit tests: inside cmocka's expect_assert_failure() it is what was expected,
 * elsewhere the test fails, naming the line. */
#include "core/check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

_Noreturn void check_failed(const char *file, int line, const char *condition)
{
    mock_assert(0, condition, file, line);
    abort();
}
