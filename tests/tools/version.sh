#!/bin/bash
# Prints this tree's version: the number in .version, and the commit where it is known. `git archive`
# fills the commit into .version; a checkout asks git, and says when it differs from its commit.
set -eu
number=$(sed -n 1p .version)
commit=$(sed -n 2p .version)
case $commit in
'$'*) commit= ;;
esac
if [ -e .git ] && command -v git >/dev/null; then
    commit=$(git describe --always --dirty --abbrev=8 --exclude='*' 2>/dev/null || true)
fi
echo "$number${commit:++$commit}"
