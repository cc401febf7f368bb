#!/usr/bin/env bash
# Stops the containers and removes their networks and volumes.
set -euo pipefail
cd "$(dirname "$0")/.."
env_file=docker/.env
if [ ! -f "$env_file" ]; then env_file=docker/.env.example; fi
exec docker compose --env-file "$env_file" -f docker/compose.yaml down --volumes --remove-orphans "$@"
