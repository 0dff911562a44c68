#!/bin/bash
# Same sources, same compiler, same bytes: a build in another folder gives the same file.
set -u
cd "$(dirname "$0")/.." || exit 1
unset MAKEFLAGS MFLAGS MAKELEVEL
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/another/build"
cp -aR Makefile main.c .version cmd core net store tests "$work/another/"
ln -s "$(cd build/deps && pwd -P)" "$work/another/build/deps"
FTCHAT_VERSION=$(cat build/version) make -s -C "$work/another" || { echo "FAIL: it does not build"; exit 1; }
cmp ftchat "$work/another/ftchat" || { echo "FAIL: the folder is in the bytes"; exit 1; }
strings -n 6 ftchat | grep -F "$PWD" && { echo "FAIL: names the folder it was built in"; exit 1; }
echo "$(sha256sum <ftchat | cut -c1-16) in both folders"
