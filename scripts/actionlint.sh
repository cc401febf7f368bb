#!/usr/bin/env bash
# Checks workflow files with actionlint: the one on PATH, or one built once with Go into the kit's cache.
#   actionlint.sh [FILE …]     without files: .github/workflows/
set -euo pipefail
cd "$(dirname "$0")/.."
version=v1.7.7 # the newest that still builds with Debian stable's Go (1.19)
if command -v actionlint >/dev/null 2>&1; then
  tool=actionlint
else
  cache=${PRINCIPAL_KIT_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/principal-kit}
  tool="$cache/tools/actionlint-$version"
  if [ ! -x "$tool" ]; then
    mkdir -p "$cache/tools"
    build=$(mktemp -d)
    GOBIN="$build" GOFLAGS=-mod=mod go install "github.com/rhysd/actionlint/cmd/actionlint@$version"
    mv "$build/actionlint" "$tool"
    rm -rf "$build"
  fi
fi
if [ $# -eq 0 ]; then set -- .github/workflows/*.yml; fi
exec "$tool" "$@"
