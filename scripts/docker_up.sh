#!/usr/bin/env bash
# Starts the containers, waits until each reports healthy, prints what to export.
set -euo pipefail
cd "$(dirname "$0")/.."
if ! docker compose version >/dev/null 2>&1; then
  echo "Docker with its compose plugin is needed: see https://docs.docker.com/engine/install/." >&2
  echo "Without Docker, \`make up\` starts the same versions as local processes." >&2
  exit 1
fi
if [ ! -f docker/.env ]; then
  # A token of your own for JupyterLab, made once; docker/.env is not committed.
  umask 077
  sed "s/^JUPYTER_TOKEN=.*/JUPYTER_TOKEN=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')/" docker/.env.example >docker/.env
fi
docker compose --env-file docker/.env -f docker/compose.yaml up --detach --wait --wait-timeout 300 "$@"
set -a
# shellcheck source=/dev/null
. docker/.env
set +a
cat <<TEXT

All healthy. To run chapters on them, from this shell:

  export PRINCIPAL_KIT_KAFKA=127.0.0.1:${KAFKA_PORT:-9092}
  export PRINCIPAL_KIT_REDIS=127.0.0.1:${REDIS_PORT:-6379}
  # For DataFrames and SQL only, not for chapters with Python UDFs such as 1.1 (see README):
  # export PRINCIPAL_KIT_SPARK=sc://127.0.0.1:${SPARK_CONNECT_PORT:-15002}

  .venv/bin/principal-kit run 1.1

JupyterLab inside: http://127.0.0.1:${JUPYTER_PORT:-8888}/lab?token=${JUPYTER_TOKEN}
Stop everything:   make docker-down
TEXT
