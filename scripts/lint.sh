#!/usr/bin/env bash
# Everything that is checked without running the book. Goes through all checks and names those that failed at the end.
# shellcheck source-path=SCRIPTDIR
set -e
if [ "${READY:-no}" != yes ]; then "$(dirname "$0")/bootstrap.sh" test; fi
. "$(dirname "$0")/steps.sh"
failed=""

check() {
  local name=$1 start=$SECONDS
  shift
  printf '      %-16s' "$name"
  if output=$("$@" 2>&1); then
    printf 'ok, %d s\n' $((SECONDS - start))
  else
    printf 'FAILED\n%s\n' "$output"
    failed="$failed $name"
  fi
}

check ruff "$BIN/ruff" check .
check format "$BIN/ruff" format --check .
check imports "$BIN/lint-imports"
check notebooks "$BIN/principal-kit" notebooks check
check workflows scripts/actionlint.sh
check shellcheck shellcheck scripts/*.sh .ci/run postBuild

if [ -n "$failed" ]; then
  echo "lint failed:$failed" >&2
  exit 1
fi
