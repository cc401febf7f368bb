#!/usr/bin/env bash
# pyproject.toml, and PyFlink, resolved once for every supported Python and system, with hashes. Keeps the versions locked;
# `make lock LOCK_ARGS=--upgrade` moves them.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ ! -x .venv/bin/uv ]; then scripts/bootstrap.sh book; fi
# shellcheck disable=SC2086
.venv/bin/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 \
  --generate-hashes --no-header --quiet -o requirements.lock ${LOCK_ARGS:-}
echo "requirements.lock: $(grep -c '^[a-z0-9].*==' requirements.lock) pinned packages"
# PyFlink's environment (services/pyflink_environment.py): no second copy of Flink's jars, and what builds the rest.
version=$(.venv/bin/python -c 'from principal_kit.services import WANTED; print(WANTED["flink"])')
# shellcheck disable=SC2086
printf 'apache-flink==%s\nsetuptools\nwheel\n' "$version" | .venv/bin/uv pip compile - --universal --python-version 3.11 \
  --generate-hashes --no-header --no-annotate --quiet --no-emit-package apache-flink-libraries \
  -o src/principal_kit/services/pyflink.lock ${LOCK_ARGS:-}
echo "pyflink.lock: $(grep -c '^[a-z0-9].*==' src/principal_kit/services/pyflink.lock) pinned packages"
