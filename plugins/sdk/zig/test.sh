#!/usr/bin/env bash
# The Zig SDK's own tests, natively.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
command -v zig >/dev/null || { echo "zig is missing: tests/languages/toolchains/zig.sh installs it" >&2; exit 1; }
zig test test.zig
