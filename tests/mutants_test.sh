#!/bin/bash
# Every planted bug still applies to the sources as they are (make mutants runs them; this is cheap).
cd "$(dirname "$0")/.." || exit 1
status=0
for patch in tests/mutants/*.patch; do
    patch -p1 --dry-run -s <"$patch" || { echo "$patch: does not apply any more"; status=1; }
done
exit $status
