#!/usr/bin/env bash
# Go 1.25 or newer: what the machine has.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

go=$(command -v go || true)
for folder in /usr/local/go/bin /usr/lib/go-1.26/bin /usr/lib/go-1.25/bin; do
  if [ -z "$go" ] && [ -x "$folder/go" ]; then go=$folder/go; fi
done
[ -n "$go" ] || fail "go is missing: install Go 1.25 or newer (https://go.dev/dl)"
version=$(GOTOOLCHAIN=local "$go" env GOVERSION)
minor=${version#go1.}
minor=${minor%%[!0-9]*}
if [ "$minor" -ge 25 ] 2>/dev/null || case $version in go[2-9]*) true ;; *) false ;; esac; then
  dirname "$go"
else
  fail "$go is $version, Go 1.25 or newer is wanted (https://go.dev/dl)"
fi
