#!/usr/bin/env bash
# Trino over tables of the pipeline: the dashboard's queries, unchanged, against DuckDB's answers and the truth. Not part of
# `make test`: the server is 860 MB to fetch. It needs Maven once; Java is fetched too where there is none of 24 or newer.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ ! -f .venv/.stamp ]; then scripts/bootstrap.sh book; fi
.venv/bin/python -m principal_kit.services.trino_release
PRINCIPAL_KIT_TRINO_TEST=yes exec .venv/bin/python -m pytest -q -rs --durations=3 tests/platform/test_dashboard.py -k trino
