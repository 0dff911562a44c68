#!/bin/bash
# Prints this tree's version: the number in .version, and the commit where it is known. `git archive`
# fills the commit into .version; a checkout asks git, and says when it differs from its commit.
# FTCHAT_VERSION in the environment is believed (packagers, the test of reproducible builds).
set -eu
[ -z "${FTCHAT_VERSION-}" ] || { echo "$FTCHAT_VERSION"; exit 0; }
number=$(sed -n 1p .version)
commit=$(sed -n 2p .version)
case $commit in
'$'*) commit= ;;
esac
if [ -e .git ] && command -v git >/dev/null; then
    commit=$(git describe --always --dirty --abbrev=8 --exclude='*' 2>/dev/null || true)
fi
echo "$number${commit:++$commit}"
