#!/usr/bin/env bash
# Makes what Python plugins are built with: a virtual environment with componentize-py, in the tests' cache. Needs Python 3.11 or newer
# with venv. Prints the folder to put on PATH, whose python3 has the tool; all else goes to stderr.
set -euo pipefail
cache=${LATERNA_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/laterna-tests}
tool=componentize-py==0.25.1
folder=$cache/$tool

say() { echo "toolchains/python: $*" >&2; }

if ! python3 -c 'import sys, venv, ensurepip; assert sys.version_info >= (3, 11)' 2>/dev/null; then
  say "Python 3.11 or newer with venv is missing (found: $(python3 --version 2>/dev/null || echo none)); on Debian: apt-get install -y python3-venv"
  exit 1
fi
if [ ! -x "$folder/bin/componentize-py" ]; then
  say "installing $tool into $folder"
  mkdir -p "$cache"
  # A virtual environment cannot be moved: what marks it as whole, the program, is there last. Two runs at once do the same twice.
  python3 -m venv "$folder" >&2
  "$folder/bin/python3" -m pip install --quiet --disable-pip-version-check "$tool" >&2
fi
echo "$folder/bin"
