#!/usr/bin/env bash
# Every benchmark in turn; each prints its table and leaves its figures in _build/benchmarks/.
# Options are passed on: `scripts/bench.sh --record` renews what the Benchmarks page is made from.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ ! -f .venv/.stamp ]; then scripts/bootstrap.sh book; fi
mkdir -p _build/benchmarks
for file in benchmarks/[a-z]*.py; do
  if [ "$file" = benchmarks/side_by_side.py ]; then continue; fi  # what the others are made of
  printf '\n%s\n' "$file"
  .venv/bin/python "$file"
done
