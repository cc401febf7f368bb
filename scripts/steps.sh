# shellcheck shell=bash disable=SC2034
# Sourced by the other scripts: numbered steps with their durations, and an end that names the step that failed.
# Written for bash 3.2 and up, so that macOS can run it too.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

VENV="$PWD/.venv"
BIN="$VENV/bin"
STEP=${STEP:-0}
STEPS=${STEPS:-0}
CURRENT=""
STEP_START=$SECONDS

say() { printf '      %s\n' "$*"; }

finish() {
  [ -z "$CURRENT" ] && return 0
  printf '      done in %d s\n' $((SECONDS - STEP_START))
  CURRENT=""
}

# begin TITLE: ends the step before it, announces the next one.
begin() {
  finish
  STEP=$((STEP + 1))
  CURRENT=$1
  STEP_START=$SECONDS
  printf '\n[%d/%d] %s\n' "$STEP" "$STEPS" "$CURRENT"
}

on_exit() {
  local status=$?
  if [ "$status" -ne 0 ] && [ -n "$CURRENT" ]; then
    printf '\nStopped in step %d of %d, "%s" (exit status %d). The lines above say why.\n' \
      "$STEP" "$STEPS" "$CURRENT" "$status" >&2
  fi
}
trap on_exit EXIT
