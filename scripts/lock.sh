#!/usr/bin/env bash
# pyproject.toml resolved once for every supported Python and system, with hashes. Keeps the versions already locked;
# `make lock LOCK_ARGS=--upgrade` moves them.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ ! -x .venv/bin/uv ]; then scripts/bootstrap.sh book; fi
# shellcheck disable=SC2086
.venv/bin/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 \
  --generate-hashes --no-header --quiet -o requirements.lock ${LOCK_ARGS:-}
echo "requirements.lock: $(grep -c '^[a-z0-9].*==' requirements.lock) pinned packages"
