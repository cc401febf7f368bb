#!/usr/bin/env bash
# Every benchmark in turn; each prints its table and leaves its figures in _build/benchmarks/.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ ! -f .venv/.stamp ]; then scripts/bootstrap.sh book; fi
mkdir -p _build/benchmarks
for file in benchmarks/[a-z]*.py; do
  printf '\n%s\n' "$file"
  .venv/bin/python "$file"
done
