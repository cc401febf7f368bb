#!/usr/bin/env bash
# The containers of docker/compose.yaml.
#   docker.sh up [PROFILE]      build, start, wait until each is healthy, print what to export; profiles: cluster, pipeline
#   docker.sh build             only the images: the book's, and Spark's on the book's Python
#   docker.sh down              stop, and remove containers, networks and volumes
#   docker.sh logs [SERVICE]    the last lines of each service, or of one
#   docker.sh doctor            health of each container, then the kit's own report over their addresses
#   docker.sh exports [PROFILE] only the export lines
# DOCKER_ENV_FILE=... takes ports and token from another file than docker/.env; BUILD=no starts the images as they are.
set -euo pipefail
cd "$(dirname "$0")/.."
ENV_FILE=${DOCKER_ENV_FILE:-docker/.env}
PROJECT=${COMPOSE_PROJECT_NAME:-principal-kit}

require_compose() {
  if docker compose version >/dev/null 2>&1; then return 0; fi
  echo "Docker with its compose plugin is needed: see https://docs.docker.com/engine/install/." >&2
  echo "Without Docker, \`make up\` starts the same versions as local processes." >&2
  exit 1
}

random() { od -An -N16 -tx1 /dev/urandom | tr -d ' \n'; }

# A token of your own for JupyterLab and a password for PostgreSQL, made once; docker/.env is not committed.
make_env_file() {
  if [ -f "$ENV_FILE" ]; then return 0; fi
  (umask 077 && sed -e "s/^JUPYTER_TOKEN=.*/JUPYTER_TOKEN=$(random)/" -e "s/^POSTGRES_PASSWORD=.*/POSTGRES_PASSWORD=$(random)/" \
    docker/.env.example >"$ENV_FILE")
}

compose() { docker compose --env-file "$ENV_FILE" -f docker/compose.yaml "$@"; }

# What compose takes for NAME: the environment, else the file, else the example's value.
value() {
  local file
  if [ -n "${!1:-}" ]; then echo "${!1}"; return 0; fi
  for file in "$ENV_FILE" docker/.env.example; do
    if grep -q "^$1=" "$file"; then sed -n "s/^$1=//p" "$file" | tail -n 1; return 0; fi
  done
}

# Python UDFs need one Python on both sides: the images take the minor version of .venv.
python_base() {
  local minor=12
  if [ -x .venv/bin/python ]; then minor=$(.venv/bin/python -c 'import sys; print(sys.version_info[1])'); fi
  echo "python:3.$minor-slim-bookworm"
}

exports() {
  local i list=""
  if [ "${1:-}" = cluster ]; then
    for i in 1 2 3; do list="$list${list:+,}$PROJECT-broker-$i-1@127.0.0.1:$(value "BROKER_${i}_PORT")"; done
    echo "export PRINCIPAL_KIT_KAFKA=$list"
    list=""
    for i in 0 1 2 3 4 5; do list="$list${list:+,}$PROJECT-redis-$i-1@127.0.0.1:$(value "REDIS_${i}_PORT")"; done
    echo "export PRINCIPAL_KIT_REDIS_NODES=$list"
  else
    echo "export PRINCIPAL_KIT_KAFKA=$PROJECT-kafka-1@127.0.0.1:$(value KAFKA_PORT)"
  fi
  echo "export PRINCIPAL_KIT_REDIS=$PROJECT-redis-1@127.0.0.1:$(value REDIS_PORT)"
  echo "export PRINCIPAL_KIT_SPARK=sc://127.0.0.1:$(value SPARK_CONNECT_PORT)"
  if [ "${1:-}" != pipeline ]; then return 0; fi
  echo "export PRINCIPAL_KIT_FLINK=$PROJECT-flink-jobmanager-1@127.0.0.1:$(value FLINK_PORT)"
  echo "export PRINCIPAL_KIT_FLINK_SQL=127.0.0.1:$(value FLINK_SQL_PORT)"
  echo "export PRINCIPAL_KIT_POSTGRES=postgresql://kit:$(value POSTGRES_PASSWORD)@127.0.0.1:$(value POSTGRES_PORT)/lake"
  echo "export PRINCIPAL_KIT_CONNECT=$PROJECT-connect-1@127.0.0.1:$(value CONNECT_PORT)"
  echo "export PRINCIPAL_KIT_TRINO=$PROJECT-trino-1@127.0.0.1:$(value TRINO_PORT)"
}

running() { [ -n "$(docker ps -q --filter "name=^$PROJECT-$1-1$")" ]; }

running_profile() {
  if running broker-1; then echo cluster
  elif running flink-jobmanager; then echo pipeline; fi
}

build() {
  make_env_file
  PYTHON_BASE=$(python_base)
  export PYTHON_BASE
  compose build --quiet book
  compose build --quiet spark-master # from the book's image, and the one of every Spark service
  if [ "${1:-}" = pipeline ]; then compose build --quiet flink-jobmanager; fi
}

up() {
  local profile=${1:-} options=()
  case $profile in
    "") ;;
    cluster | pipeline) options=(--profile "$profile") ;;
    *) echo "unknown profile $profile: there are cluster and pipeline" >&2; exit 2 ;;
  esac
  if [ "${BUILD:-yes}" != no ]; then build "$profile"; else make_env_file; fi
  if ! compose ${options[@]+"${options[@]}"} up --detach --no-build --wait --wait-timeout 300; then
    why
    exit 1
  fi
  cat <<TEXT

All healthy. To run chapters on them, from this shell:

$(exports "$profile" | sed 's/^/  /')

  .venv/bin/principal-kit run 1.1

$(if [ "$profile" = pipeline ]; then pages; fi)
JupyterLab inside: http://127.0.0.1:$(value JUPYTER_PORT)/lab?token=$(value JUPYTER_TOKEN)
Stop everything:   make docker-down
TEXT
}

# The pipeline's own pages, and how its jobs are started: in a container, since the tables are in a volume.
pages() {
  cat <<TEXT
Start the jobs: docker exec $PROJECT-book-1 python -m principal_kit.services.deployed start
Flink:      http://127.0.0.1:$(value FLINK_PORT)     Grafana: http://127.0.0.1:$(value GRAFANA_PORT)
Prometheus: http://127.0.0.1:$(value PROMETHEUS_PORT)     Jaeger:  http://127.0.0.1:$(value JAEGER_PORT)
TEXT
}

# What the containers that did not become healthy said last.
why() {
  local name
  for name in $(docker ps --all --filter "label=com.docker.compose.project=$PROJECT" --format '{{.Names}} {{.Status}}' | awk '!/\(healthy\)/ && !/Created/ { print $1 }'); do
    printf '\nLast lines of %s:\n' "$name" >&2
    docker logs --tail 12 "$name" 2>&1 | cut -c 1-200 >&2
  done
}

down() {
  if [ ! -f "$ENV_FILE" ]; then ENV_FILE=docker/.env.example; fi
  compose --profile cluster --profile pipeline down --volumes --remove-orphans
}

doctor() {
  make_env_file
  compose --profile cluster --profile pipeline ps --all --format 'table {{.Service}}\t{{.Image}}\t{{.Status}}\t{{.Ports}}'
  eval "$(exports "$(running_profile)")"
  exec .venv/bin/principal-kit doctor
}

require_compose
command=${1:-}
shift || true
case $command in
  up | down | build | doctor) "$command" "$@" ;;
  exports) make_env_file; exports "$@" ;;
  logs) make_env_file; compose --profile cluster --profile pipeline logs --tail 100 "$@" ;;
  *) sed -n '2,10s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
