#!/usr/bin/env bash
# The C SDK's own tests, natively with `zig cc`: unit tests, what must not compile, and whether the bindings are the contract's.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
command -v zig >/dev/null || { echo "zig is missing: tests/languages/toolchains/zig.sh installs it" >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

if [ -f ../../../wit/projection.wit ] &&
  [ "$(sha256sum ../../../wit/projection.wit | cut -d' ' -f1)" != "$(cat bindings/projection.sha256)" ]; then
  echo "bindings/projection.h is not of wit/projection.wit: run bindings/generate, and commit" >&2
  exit 1
fi

zig cc -std=c23 -Wall -Wextra -Wno-unused-function -g -O1 tests/test.c -o "$work/test"
"$work/test"

# Each beside one that differs in the wrong part alone and compiles.
good='LATERNA_TABLE(sums, key(text, id), key(integer, slot), column(integer, total), nullable(text, note), ordered(total))
LATERNA_UPSERT(sums, summed, key(id), key(slot), add(total), set(note))
LATERNA_DELETE_PREFIX(sums, cleared, key(id))
LATERNA_PROJECTION(p, 1, LATERNA_TOPICS(LATERNA_TOPIC("t")), LATERNA_TABLES(sums), LATERNA_CHANGES(summed, cleared))
void laterna_apply(const laterna_event *event, laterna_changes *changes) { (void)event; laterna_put(changes, summed, .id = laterna_literal("a"), .total = laterna_integer(1)); }'
compiles() { printf '#include "laterna.h"\n%s\n' "$1" >"$work/try.c" && zig cc -std=c23 -target wasm32-wasi -mexec-model=reactor -I . "$work/try.c" laterna.c -o "$work/try.wasm" 2>"$work/errors"; }
compiles "$good" || { cat "$work/errors"; echo "what is right does not compile" >&2; exit 1; }
tried=0
refused() { # refused FROM TO WORDS
  tried=$((tried + 1))
  local wrong=${good/"$1"/"$2"}
  if compiles "$wrong"; then echo "it compiles: $2" >&2; exit 1; fi
  grep -qF "$3" "$work/errors" || { cat "$work/errors"; echo "it is refused without the words: $3" >&2; exit 1; }
}
refused 'set(note)' 'set(other)' "no member named 'other'"
refused 'set(note)' 'add(note)' 'add is for integer, float and decimal'
refused 'key(slot), add' 'add' 'name every column of the key'
refused 'key(id), key(slot), add' 'key(slot), key(id), add' "name the key's columns first"
refused ', add(total)' '' 'needs every column that takes no NULL'
refused 'ordered(total)' 'ordered(other)' "no member named 'other'"
refused 'column(integer' 'column(number' 'laterna_number_value'
refused '.total = laterna_integer(1)' '.total = laterna_literal("1")' 'laterna_text_value'
refused '.total =' '.totl =' "does not refer to any field"
refused 'CHANGES(summed, cleared)' 'CHANGES(cleared)' 'summed__is_missing_in_LATERNA_CHANGES'
echo "$tried passed, 0 failed"
