#!/usr/bin/env bash
# Every benchmark in turn; each prints its table and leaves its figures in _build/benchmarks/.
# With --record, those on the shared harness renew benchmarks/results and the Benchmarks page.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ ! -f .venv/.stamp ]; then scripts/bootstrap.sh book; fi
mkdir -p _build/benchmarks
for file in benchmarks/[a-z]*.py; do
  if [ "$file" = benchmarks/side_by_side.py ]; then continue; fi  # what the others are made of
  printf '\n%s\n' "$file"
  if [ "${1:-}" = --record ] && grep -q side_by_side "$file"; then
    .venv/bin/python "$file" --record
  else
    .venv/bin/python "$file"
  fi
done
if [ "${1:-}" = --record ]; then .venv/bin/principal-kit benchmarks; fi
