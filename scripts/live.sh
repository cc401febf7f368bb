#!/usr/bin/env bash
# Runs chapters live on the embedded services (or the ones named by PRINCIPAL_KIT_…) and renders a copy of the site with
# this machine's numbers in _build/live/html. The tree itself is never written to.
#   live.sh --all | live.sh 1.1 [2.1 …]
# shellcheck source-path=SCRIPTDIR
set -e
if [ "${READY:-no}" != yes ]; then
  export STEPS=5
  CHAPTER="$*" "$(dirname "$0")/bootstrap.sh" book
  STEP=3
fi
. "$(dirname "$0")/steps.sh"
begin "Running chapter${1:+ }${*/--all/s, all that are ready,} live"
"$BIN/principal-kit" run "$@"
begin "Rendering what was just run"
"$BIN/python" scripts/live_site.py
finish
