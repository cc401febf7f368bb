#!/usr/bin/env bash
# From a fresh clone to a book whose chapter CHAPTER was run on this machine.
# shellcheck source-path=SCRIPTDIR
set -e
export STEPS=6
"$(dirname "$0")/bootstrap.sh" book
STEP=3
. "$(dirname "$0")/steps.sh"
export READY=yes
chapter=${CHAPTER:-1.1}

begin "The site, from the committed outputs"
scripts/site.sh
finish
STEP=$STEP scripts/live.sh "$chapter"

cat <<TEXT

The book is ready, after $SECONDS s.

  Read it:            _build/html/index.html
  The run just made:  _build/live/html/index.html   (chapter $chapter with this machine's numbers)

  make lab            open the notebooks in JupyterLab with Kafka and Redis attached
  make run-all        run every chapter live
  .venv/bin/principal-kit run $chapter -p SCALE=medium     the same chapter, bigger
  .venv/bin/principal-kit doctor                        what runs here, in which version
TEXT
