#!/usr/bin/env bash
# The Go SDK's own tests, natively.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
command -v go >/dev/null || { echo "go is missing: tests/languages/toolchains/go.sh says how to get it" >&2; exit 1; }
[ -z "$(gofmt -l ./*.go)" ] || { gofmt -l ./*.go; echo "run gofmt -w" >&2; exit 1; }
go vet . && go test .
