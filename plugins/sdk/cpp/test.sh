#!/usr/bin/env bash
# The C++ SDK's own tests, natively with `zig c++`. What it stands on has tests of its own: plugins/sdk/c/test.sh.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
command -v zig >/dev/null || { echo "zig is missing: tests/languages/toolchains/zig.sh installs it" >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
zig cc -std=c23 -O1 -c c/laterna.c -o "$work/laterna.o"
zig c++ -std=c++23 -Wall -Wno-unused-function -g -O1 tests/test.cpp "$work/laterna.o" -o "$work/test"
"$work/test"
