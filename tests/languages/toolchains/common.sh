# What the scripts of this folder share; sourced, never run.
#
# Each script installs, or finds, one toolchain of a pinned version, and prints the folder to put on PATH as its only
# line on stdout. It does nothing that is already done. Where something is missing, its last line on stderr says what,
# and how to get it.
set -euo pipefail

tool=$(basename "$0" .sh)
cache=${LATERNA_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/laterna-tests}/toolchains
mkdir -p "$cache"

say() { echo "toolchains/$tool: $*" >&2; }
fail() { say "$*"; exit 1; }

# debian PACKAGE..: installs those that are missing, as root, or says how.
debian() {
  local package missing=()
  command -v dpkg-query >/dev/null || fail "needs the Debian packages $*, or the same of another system"
  for package in "$@"; do
    dpkg-query -W -f '${Status}\n' "$package" 2>/dev/null | grep -qx 'install ok installed' || missing+=("$package")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  [ "$(id -u)" -eq 0 ] || fail "missing Debian packages: sudo apt-get update && sudo apt-get install -y ${missing[*]}"
  say "installing ${missing[*]}"
  apt-get update -qq >&2 || say "apt-get update failed; trying with the lists at hand"
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null ||
    fail "apt-get install ${missing[*]} failed"
}

# once FOLDER FUNCTION: makes FOLDER by calling FUNCTION with a folder beside it, which is renamed when it is whole; so
# a run that is ended, or a second one at the same time, leaves no half folder.
once() {
  [ ! -d "$1" ] || return 0
  local beside
  beside=$(mktemp -d "$1.XXXXXX")
  # shellcheck disable=SC2064 # the name as it is now
  trap "chmod -R u+w '$beside' 2>/dev/null || true; rm -rf '$beside'" EXIT
  "$2" "$beside" >&2
  mv -T "$beside" "$1" 2>/dev/null || [ -d "$1" ] || fail "$1 could not be made"
}
