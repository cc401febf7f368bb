#!/usr/bin/env bash
# The site from the committed, validated outputs into _build/html; a warning is an error.
# shellcheck source-path=SCRIPTDIR
set -e
if [ "${READY:-no}" != yes ]; then "$(dirname "$0")/bootstrap.sh" book; fi
. "$(dirname "$0")/steps.sh"
mkdir -p _build/logs
log=_build/logs/site.log
if ! "$BIN/jupyter-book" build . --nitpick --warningiserror --keep-going >"$log" 2>&1; then
  tail -n 60 "$log" >&2
  echo "The site did not build; the whole log is $log" >&2
  exit 1
fi
cp -R book/_static/. _build/html/_static/  # Sphinx leaves a changed style sheet behind when no page changed
"$BIN/python" scripts/live_site.py --unlink
say "$(find _build/html -name '*.html' | wc -l | tr -d ' ') pages in _build/html (log: $log)"
