#!/usr/bin/env bash
# JupyterLab on loopback, with Kafka and Redis started once for all notebooks and stopped when Lab ends.
# More arguments for Lab: make lab LAB_ARGS=--no-browser
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/bootstrap.sh book
.venv/bin/principal-kit up
trap '.venv/bin/principal-kit down' EXIT
# shellcheck disable=SC2086
.venv/bin/jupyter lab --ip=127.0.0.1 --notebook-dir=notebooks ${LAB_ARGS:-}
