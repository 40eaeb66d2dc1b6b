#!/usr/bin/env bash
# Clang 19 with wasm-ld and wasi-libc, from Debian: an alternative to `zig cc` for C and C++ plugins.
# The folder that it prints has a `clang` and a `clang++` that compile for wasm32-wasi where the target is not named.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
folder=$cache/clang-19

debian clang-19 lld-19 wasi-libc libclang-rt-19-dev-wasm32
install() {
  mkdir "$1/bin"
  ln -s "$(command -v clang-19)" "$1/bin/clang"
  ln -s "$(command -v clang++-19)" "$1/bin/clang++"
  ln -s "$(command -v wasm-ld-19)" "$1/bin/wasm-ld"
}
once "$folder" install
"$folder/bin/clang" --version >/dev/null || fail "$folder/bin/clang does not run: remove $folder and start again"
echo "$folder/bin"
