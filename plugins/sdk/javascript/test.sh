#!/usr/bin/env bash
# The SDK's unit tests on Node, and what must and must not compile. Needs node, and TypeScript's tsc on PATH.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
node --test test/
tsc -p test
