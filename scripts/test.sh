#!/usr/bin/env bash
# What CI runs, but for the containers (docker_test.sh). Later steps run even when an earlier one failed, so that one run
# tells everything; the exit status is that of all of them, and pytest's own closing line comes last.
#   test.sh [--fast]     --fast: lint, and the tests that start no server and open no browser
# shellcheck source-path=SCRIPTDIR
set -e
FAST=no
if [ "${1:-}" = --fast ]; then FAST=yes; fi
if [ "$FAST" = yes ]; then export STEPS=5; else export STEPS=7; fi
"$(dirname "$0")/bootstrap.sh" test
STEP=3
. "$(dirname "$0")/steps.sh"
export READY=yes
problems=""

attempt() {
  local title=$1
  shift
  begin "$title"
  "$@" || problems="$problems $1"
}

attempt "Lint" scripts/lint.sh
if [ "$FAST" = yes ]; then
  begin "Fast tests"
  status=0
  "$BIN/pytest" -q -m "not slow and not integration and not browser" || status=$?
else
  attempt "Site, warnings as errors" scripts/site.sh
  attempt "Notebooks: every committed output compared with a fresh run (nbval)" \
    "$BIN/pytest" --nbval --nbval-cell-timeout=180 --nbval-kernel-name=python3 --timeout=0 \
    --nbval-sanitize-with=notebooks/sanitize.cfg notebooks
  begin "Tests, with coverage"
  status=0
  if [ -n "$problems" ]; then say "failed so far:$problems"; fi
  # Two processes, each with servers of its own; a file stays in one, since its tests share what they started.
  "$BIN/pytest" -n 2 --dist loadfile --cov --cov-report=term --durations=10 || status=$?
fi
CURRENT=""
if [ -n "$problems" ]; then exit 1; fi
exit "$status"
