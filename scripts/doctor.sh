#!/usr/bin/env bash
# What is here and what is missing; works before anything is installed.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ -x .venv/bin/principal-kit ]; then exec .venv/bin/principal-kit doctor; fi
STEPS=1 scripts/bootstrap.sh --check book
echo
echo "The system packages are there; .venv is not. Type: make book"
