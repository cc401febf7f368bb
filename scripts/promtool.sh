#!/usr/bin/env bash
# Prometheus' own checker: the promtool on PATH, or the one out of Debian's package, kept in the kit's cache. Only the
# program is taken out of the package: installing it would start a server. With TOOL=amtool, Alertmanager's checker.
#   promtool.sh --where    prints its path (fetched if needed); anything else is promtool's own
set -euo pipefail
name=${TOOL:-promtool}
case $name in
  promtool) package=prometheus ;;
  amtool) package=prometheus-alertmanager ;;
  *) echo "TOOL is $name; expected promtool or amtool" >&2; exit 2 ;;
esac
cache=${PRINCIPAL_KIT_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/principal-kit}

as_root() {
  if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo -n "$@"; fi
}

fetch() {
  local work
  work=$(mktemp -d)
  # apt compares the package with the checksum in Debian's signed lists; a new machine has no lists yet.
  if ! (cd "$work" && apt-get download -qq "$package" >/dev/null 2>&1); then
    as_root apt-get update -qq
    (cd "$work" && apt-get download -qq "$package")
  fi
  dpkg-deb --fsys-tarfile "$work"/"$package"_*.deb | tar -xf - -C "$work" "./usr/bin/$name"
  mkdir -p "$cache/tools"
  mv "$work/usr/bin/$name" "$cache/tools/$name"
  rm -rf "$work"
}

if command -v "$name" >/dev/null 2>&1; then
  tool=$(command -v "$name")
else
  tool="$cache/tools/$name"
  if [ ! -x "$tool" ]; then
    if ! command -v apt-get >/dev/null 2>&1; then
      echo "$name is missing; it comes with Prometheus: brew install prometheus, or https://prometheus.io/download" >&2
      exit 1
    fi
    fetch
  fi
fi
if [ "${1:-}" = --where ]; then echo "$tool"; exit 0; fi
exec "$tool" "$@"
