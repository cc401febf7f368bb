#!/usr/bin/env bash
# Starts the containers, runs and breaks chapters on them (tests/docker), and leaves nothing behind.
#   docker_test.sh stack|pipeline  only the core set and `cluster`, or only the profile `pipeline`
#   docker_test.sh binder          instead: what Binder does with this repository
#
# With a Docker daemon at hand it uses that one and the official images. As root on a Debian-like Linux without one it
# installs Docker and starts a daemon of its own in a temporary folder; where the official images cannot be pulled, that
# daemon gets the stand-ins of tests/docker/standins under their names. Otherwise it says why it is skipped: status 0, or
# 1 with PRINCIPAL_KIT_DOCKER=required. PRINCIPAL_KIT_DOCKER=no skips it.
set -euo pipefail
cd "$(dirname "$0")/.."
BIN=.venv/bin
case ${1:-all} in
  all) FILES=(tests/docker/test_pipeline.py tests/docker/test_stack.py) ;; # in this order: the last of the stack's removes all
  stack | pipeline | binder) FILES=("tests/docker/test_$1.py") ;;
  *) echo "usage: docker_test.sh [stack|pipeline|binder]" >&2; exit 2 ;;
esac
OWN=""
DAEMON=""

skip() {
  echo "Containers: skipped, $1"
  if [ "${PRINCIPAL_KIT_DOCKER:-}" = required ]; then exit 1; fi
  exit 0
}

say() { printf '      %s\n' "$*"; }

# Everything of this run is in one folder and under one daemon: both go, however the run ends.
clean_up() {
  local status=$? mount
  trap '' INT TERM
  if [ -n "$DAEMON" ]; then
    kill "$DAEMON" 2>/dev/null || true
    wait "$DAEMON" 2>/dev/null || true
  fi
  if [ -n "$OWN" ]; then
    while read -r mount; do umount "$mount" || true; done < <(awk -v own="$OWN/" 'index($2, own) == 1 { print $2 }' /proc/mounts | sort -r)
    if [ "$status" -ne 0 ]; then
      echo "Last lines of the daemon's log:" >&2
      tail -n 15 "$OWN/daemon.log" >&2 || true
    fi
    rm -rf "$OWN"
  fi
  exit "$status"
}

install_packages() {
  local missing="" name
  for name in docker.io:dockerd iptables:iptables debootstrap:debootstrap; do
    if ! command -v "${name#*:}" >/dev/null 2>&1; then missing="$missing ${name%:*}"; fi
  done
  if ! docker compose version >/dev/null 2>&1 && ! command -v go >/dev/null 2>&1; then missing="$missing golang-go"; fi
  if [ -z "$missing" ]; then return 0; fi
  if ! command -v apt-get >/dev/null 2>&1; then skip "no Docker here, and no apt-get to install it with"; fi
  say "apt-get install$missing"
  apt-get update -qq
  # shellcheck disable=SC2086
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends -o Dpkg::Use-Pty=0 $missing </dev/null >"$OWN/apt.log" 2>&1 \
    || { tail -n 5 "$OWN/apt.log" >&2; skip "apt-get could not install$missing"; }
}

start_daemon() {
  local driver waited
  for driver in overlay2 vfs; do
    say "dockerd on a socket of its own, storage driver $driver"
    dockerd --data-root "$OWN/data" --exec-root "$OWN/exec" --host "unix://$OWN/docker.sock" --pidfile "$OWN/docker.pid" \
      --storage-driver "$driver" >"$OWN/daemon.log" 2>&1 &
    DAEMON=$!
    for ((waited = 0; waited < 150; waited++)); do
      if docker info >/dev/null 2>&1; then return 0; fi
      if ! kill -0 "$DAEMON" 2>/dev/null; then break; fi
      sleep 0.2
    done
    kill "$DAEMON" 2>/dev/null || true
    wait "$DAEMON" 2>/dev/null || true
    DAEMON=""
  done
  tail -n 15 "$OWN/daemon.log" >&2
  skip "a daemon does not start on this machine (its log is above)"
}

# Debian's docker.io comes without the compose plugin; its source is built at the version that the project is tested with,
# once: the kit's cache keeps it.
build_compose() {
  local source kept
  if docker compose version >/dev/null 2>&1; then return 0; fi
  kept="${PRINCIPAL_KIT_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/principal-kit}/tools/docker-compose-$COMPOSE-$(uname -m)"
  mkdir -p "$OWN/config/cli-plugins" "$(dirname "$kept")"
  if [ -x "$kept" ]; then
    cp "$kept" "$OWN/config/cli-plugins/docker-compose"
    if docker compose version >/dev/null 2>&1; then return 0; fi
  fi
  say "compose $COMPOSE from its source (two minutes, once)"
  source=$(go mod download -json "github.com/docker/compose/v2@$COMPOSE" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
  cp -r "$source" "$OWN/compose" && chmod -R u+w "$OWN/compose"
  (cd "$OWN/compose" && CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X github.com/docker/compose/v2/internal.Version=$COMPOSE" \
    -o "$OWN/config/cli-plugins/docker-compose" ./cmd) || skip "compose could not be built"
  cp "$OWN/config/cli-plugins/docker-compose" "$kept.$$" && mv "$kept.$$" "$kept" # whole or not at all
  rm -rf "$OWN/compose"
}
COMPOSE=v2.40.3

if [ "${PRINCIPAL_KIT_DOCKER:-}" = no ]; then skip "PRINCIPAL_KIT_DOCKER=no"; fi
if [ ! -f .venv/.stamp ]; then scripts/bootstrap.sh test; fi
if ! docker info >/dev/null 2>&1; then
  if [ "$(uname)" != Linux ]; then skip "no Docker daemon answers"; fi
  if [ "$(id -u)" -ne 0 ]; then skip "no Docker daemon answers, and only root may start one"; fi
  OWN=$(mktemp -d "${TMPDIR:-/tmp}/principal-kit-docker-XXXXXX")
  trap clean_up EXIT
  export DOCKER_HOST="unix://$OWN/docker.sock" DOCKER_CONFIG="$OWN/config" PRINCIPAL_KIT_STAND_INS=yes
  if [ -d "${HOME:-/root}/.docker/cli-plugins" ]; then mkdir -p "$OWN/config" && cp -r "${HOME:-/root}/.docker/cli-plugins" "$OWN/config/"; fi
  install_packages
  start_daemon
  build_compose
elif ! docker compose version >/dev/null 2>&1; then
  skip "Docker answers, but its compose plugin is missing"
fi
# The plain builder needs no plugin, which Debian's package lacks.
if ! docker buildx version >/dev/null 2>&1; then export DOCKER_BUILDKIT=0; fi
# A group of its own is not needed: on Ctrl-C pytest tears its containers down, then this script its daemon.
"$BIN/python" -m pytest -p no:cacheprovider -o addopts= -q -rs --timeout=0 --durations=12 -s "${FILES[@]}" ${TESTS:+-k "$TESTS"}
