#!/usr/bin/env bash
# Makes what JavaScript and TypeScript plugins are built with: esbuild, componentize-qjs and the TypeScript compiler in the versions of
# node.json, in the tests' cache. Needs Node 20 or newer with npm. Prints the folder to put on PATH; all else goes to stderr.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${LATERNA_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/laterna-tests}
folder=$cache/node-$(cksum <"$here/node.json" | cut -d' ' -f1)

say() { echo "toolchains/node: $*" >&2; }

version=$(node --version 2>/dev/null || true)
major=${version#v}
if [ -z "$version" ] || [ "${major%%.*}" -lt 20 ] || ! command -v npm >/dev/null; then
  say "Node 20 or newer with npm is missing (found: ${version:-none}); install it from nodejs.org or by a version manager"
  exit 1
fi
if [ ! -d "$folder" ]; then
  say "installing into $folder"
  mkdir -p "$cache"
  # Filled beside and renamed, so that a second run at the same time, or one that is ended, leaves no half folder.
  beside=$(mktemp -d "$cache/node.XXXXXX")
  trap 'rm -rf "$beside"' EXIT
  cp "$here/node.json" "$beside/package.json"
  npm install --prefix "$beside" --no-audit --no-fund --loglevel=error >&2
  mv -T "$beside" "$folder" 2>/dev/null || [ -d "$folder" ]
fi
echo "$folder/node_modules/.bin"
