#!/bin/bash
# coverage.sh PARTS [--bar]: runs these parts (unit, sim, e2e) as built with gcov's counters, and sums them up.
# A failed test does not stop it, but is told: what it did not reach is missing in the table. With --bar it
# fails below the bars of coverage.py.
cd "$(dirname "$0")/../.." || exit 1
built=build/native-coverage
find "$built" -name '*.gcda' -delete
for part in $1; do
    case $part in
    unit)
        for test in "$built"/test/*_test; do
            "$test" >"$test.log" 2>&1 || echo "coverage: $(basename "$test") FAILED ($test.log)"
        done
        ;;
    sim) "$built/sim" --seeds "${COVERAGE_SEEDS:-40}" --from 1 >"$built/sim.log" 2>&1 || echo "coverage: sim FAILED ($built/sim.log)" ;;
    e2e) FTCHAT_BINARY=$built/ftchat tests/run e2e >"$built/e2e.log" 2>&1 || echo "coverage: e2e FAILED ($built/e2e.log)" ;;
    *) echo "coverage: no part is called $part" >&2 && exit 2 ;;
    esac
done
case $1 in *e2e*) ;; *) set -- "$@" --no-line-bar ;; esac
exec /usr/bin/python3 tests/tools/coverage.py "$built" "${@:2}"
