#!/usr/bin/env bash
# TinyGo 0.41.0, built from its source (Go module proxy) with Debian's LLVM 19: about 5 minutes, once.
#
# A TinyGo of one's own (https://tinygo.org/getting-started/install) does as well: this one only stands in for it where
# releases cannot be had. The module lacks the submodules with wasi-libc and compiler-rt, so `-target wasip1` is pointed
# at Debian's; the commands of a plugin are the same with both.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
version=0.41.0
folder=$cache/tinygo-$version

PATH=$("$(dirname "${BASH_SOURCE[0]}")/go.sh"):$PATH
debian llvm-19-dev clang-19 libclang-19-dev lld-19 wasi-libc libclang-rt-19-dev-wasm32 binaryen g++

install() {
  local source root=$1 libc builtins
  say "fetching TinyGo $version through the Go module proxy"
  source=$(cd "$1" && GOFLAGS=-mod=mod GOTOOLCHAIN=local go mod download -json "github.com/tinygo-org/tinygo@v$version" |
    awk -F'"' '$2 == "Dir" { print $4 }')
  [ -d "$source" ] || fail "the Go module github.com/tinygo-org/tinygo@v$version could not be fetched"
  cp -a "$source/." "$root/"
  chmod -R u+w "$root"
  mkdir -p "$root/src/net" "$root/build"
  libc=/usr/lib/wasm32-wasi/libc.a
  builtins=$(ls /usr/lib/llvm-19/lib/clang/19*/lib/wasi/libclang_rt.builtins-wasm32.a | head -n 1)
  cat >"$root/targets/wasip1.json" <<JSON
{
  "llvm-target": "wasm32-unknown-wasi", "cpu": "generic",
  "features": "+bulk-memory,+mutable-globals,+nontrapping-fptoint,+sign-ext,-multivalue,-reference-types",
  "build-tags": ["tinygo.wasm"], "goos": "wasip1", "goarch": "wasm", "linker": "wasm-ld", "libc": "", "rtlib": "",
  "gc": "precise", "scheduler": "asyncify", "default-stack-size": 65536,
  "cflags": ["-I/usr/include/wasm32-wasi", "-mbulk-memory", "-mnontrapping-fptoint", "-mno-multivalue", "-mno-reference-types", "-msign-ext"],
  "ldflags": ["--stack-first", "--no-demangle", "$libc", "$builtins"],
  "extra-files": ["src/runtime/asm_tinygowasm.S"]
}
JSON
  say "building TinyGo $version with LLVM 19 (about 5 minutes)"
  (cd "$root" && GOTOOLCHAIN=local GOFLAGS=-mod=mod CGO_ENABLED=1 go build -tags llvm19 -o build/tinygo .) ||
    fail "TinyGo $version could not be built"
  # The program looks for its root where it stands, which is only known once the folder has its last name.
  mkdir -p "$root/bin"
  printf '#!/bin/sh\nTINYGOROOT=%s exec %s/build/tinygo "$@"\n' "$folder" "$folder" >"$root/bin/tinygo"
  chmod +x "$root/bin/tinygo"
}

once "$folder" install
"$folder/bin/tinygo" version >/dev/null || fail "$folder/bin/tinygo does not run: remove $folder and start again"
echo "$folder/bin"
