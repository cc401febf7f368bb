#!/usr/bin/env bash
# Prometheus' own checker: the promtool on PATH, or the one out of Debian's package, kept in the kit's cache. Only the
# program is taken out of the package: installing it would start a server.
#   promtool.sh --where    prints its path (fetched if needed); anything else is promtool's own
set -euo pipefail
cache=${PRINCIPAL_KIT_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/principal-kit}

as_root() {
  if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo -n "$@"; fi
}

fetch() {
  local work
  work=$(mktemp -d)
  # apt compares the package with the checksum in Debian's signed lists; a new machine has no lists yet.
  if ! (cd "$work" && apt-get download -qq prometheus >/dev/null 2>&1); then
    as_root apt-get update -qq
    (cd "$work" && apt-get download -qq prometheus)
  fi
  dpkg-deb --fsys-tarfile "$work"/prometheus_*.deb | tar -xf - -C "$work" ./usr/bin/promtool
  mkdir -p "$cache/tools"
  mv "$work/usr/bin/promtool" "$cache/tools/promtool"
  rm -rf "$work"
}

if command -v promtool >/dev/null 2>&1; then
  tool=$(command -v promtool)
else
  tool="$cache/tools/promtool"
  if [ ! -x "$tool" ]; then
    if ! command -v apt-get >/dev/null 2>&1; then
      echo "promtool is missing; it comes with Prometheus: brew install prometheus, or https://prometheus.io/download" >&2
      exit 1
    fi
    fetch
  fi
fi
if [ "${1:-}" = --where ]; then echo "$tool"; exit 0; fi
exec "$tool" "$@"
