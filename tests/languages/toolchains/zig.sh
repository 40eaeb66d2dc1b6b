#!/usr/bin/env bash
# Zig 0.17.1 from PyPI: Zig, and with it clang and a libc for C and C++ plugins.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
version=0.17.1
folder=$cache/zig-$version

install() {
  command -v python3 >/dev/null || fail "python3 is missing: apt-get install python3 python3-pip"
  python3 -m pip --version >/dev/null 2>&1 || fail "pip is missing: apt-get install python3-pip"
  say "fetching Zig $version through pip"
  python3 -m pip install -q --disable-pip-version-check --root-user-action ignore --no-deps --target "$1/lib" \
    "ziglang==$version" || fail "pip install ziglang==$version failed"
  mkdir "$1/bin"
  ln -s ../lib/ziglang/zig "$1/bin/zig"
}

once "$folder" install
[ "$("$folder/bin/zig" version)" = "$version" ] || fail "$folder/bin/zig does not run: remove $folder and start again"
echo "$folder/bin"
