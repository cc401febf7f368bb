#!/usr/bin/env bash
# PyFlink's own environment, in the user's cache. Does nothing twice.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ ! -f .venv/.stamp ]; then scripts/bootstrap.sh book; fi
exec .venv/bin/python -m principal_kit.services.pyflink_environment
