#!/usr/bin/env bash
# principal-kit from .venv, made ready first if this is the first time.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ ! -f .venv/.stamp ]; then scripts/bootstrap.sh book; fi
exec .venv/bin/principal-kit "$@"
