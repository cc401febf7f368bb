#!/usr/bin/env bash
# Makes a machine ready: system packages, .venv with the locked packages, the jars. Does nothing twice.
#   bootstrap.sh [book|test]     what to get ready for (test adds Chromium, Go or actionlint, shellcheck, promtool)
#   bootstrap.sh --check [...]   only says what is missing; exit status 1 if anything is
# shellcheck source-path=SCRIPTDIR
CHECK_ONLY=no
if [ "${1:-}" = --check ]; then CHECK_ONLY=yes; shift; fi
PURPOSE=${1:-book}
STEPS=${STEPS:-3}
. "$(dirname "$0")/steps.sh"

# ── What is here ─────────────────────────────────────────────────────────────────────────────────
have() { command -v "$1" >/dev/null 2>&1; }

# The first Python that the kit supports and that can make a virtual environment.
find_python() {
  local candidate
  for candidate in "${PYTHON:-python3}" python3.13 python3.12 python3.11; do
    if have "$candidate" && "$candidate" - <<'PY' >/dev/null 2>&1
import ensurepip, sys, venv
sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
PY
    then command -v "$candidate"; return 0; fi
  done
  return 1
}

java_major() {
  local java=java
  if [ -n "${JAVA_HOME:-}" ] && [ -x "$JAVA_HOME/bin/java" ]; then java="$JAVA_HOME/bin/java"; fi
  "$java" -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' | head -n 1
}

have_java() {
  local major
  major=$(java_major || true)
  [ -n "$major" ] && [ "$major" -ge 17 ]
}

have_chromium() {
  local name
  for name in chromium chromium-browser google-chrome google-chrome-stable; do
    if have "$name"; then return 0; fi
  done
  [ -x "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome" ]
}

# Debian and Homebrew keep the server's programs off the PATH.
find_postgres() {
  local path
  for path in "$(command -v postgres)" "${POSTGRES_ROOT:-/usr/lib/postgresql}"/*/bin/postgres \
    /opt/homebrew/opt/postgresql@*/bin/postgres /usr/local/opt/postgresql@*/bin/postgres; do
    if [ -x "$path" ]; then echo "$path"; return 0; fi
  done
  return 1
}

# From Debian's package only the program is taken, by promtool.sh: the package would start a server.
have_promtool() {
  have promtool || [ -x "${PRINCIPAL_KIT_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/principal-kit}/tools/promtool" ]
}

# Names of what is missing, in words that map to packages below.
list_missing() {
  find_python >/dev/null || echo python
  have_java || echo java
  have mvn || echo maven
  have redis-server || echo redis
  find_postgres >/dev/null || echo postgresql
  if [ "$PURPOSE" = test ]; then
    have_chromium || echo chromium
    have actionlint || have go || echo go
    have shellcheck || echo shellcheck
    have_promtool || have apt-get || echo promtool
  fi
}

# ── How to get it ────────────────────────────────────────────────────────────────────────────────
in_apt() { apt-cache show "$1" >/dev/null 2>&1; }

first_in_apt() {
  local name
  for name in "$@"; do
    if in_apt "$name"; then echo "$name"; return 0; fi
  done
  echo "$1"
}

# Which packages give a Python the kit supports: only venv where python3 is recent enough, the release's own python3
# where that is, else the newest one the release carries beside it.
apt_python() {
  local minor
  minor=$(python3 -c 'import sys; print(sys.version_info[1])' 2>/dev/null || true)
  if [ "${minor:-0}" -ge 11 ] && [ "${minor:-0}" -le 13 ]; then echo python3-venv; return 0; fi
  minor=$(apt-cache show python3 2>/dev/null | sed -n 's/^Version: 3\.\([0-9]*\).*/\1/p' | head -n 1)
  if [ -z "$minor" ] || { [ "$minor" -ge 11 ] && [ "$minor" -le 13 ]; }; then echo python3 python3-venv; return 0; fi
  minor=$(first_in_apt python3.13-venv python3.12-venv python3.11-venv)
  echo "${minor%-venv}" "$minor"
}

apt_packages() {
  local item
  for item in "$@"; do
    case $item in
      python) apt_python ;;
      java) first_in_apt openjdk-17-jre-headless openjdk-21-jre-headless default-jre-headless ;;
      maven) echo maven ;;
      redis) echo redis-server ;;
      postgresql) echo postgresql ;;
      chromium) echo chromium fonts-dejavu-core ;;
      go) echo golang-go ca-certificates ;;
      shellcheck) echo shellcheck ;;
    esac
  done
}

brew_packages() {
  local item
  for item in "$@"; do
    case $item in
      python) echo python@3.12 ;;
      java) echo openjdk@17 ;;
      maven) echo maven ;;
      redis) echo redis ;;
      postgresql) echo postgresql@17 ;;
      chromium) echo --cask google-chrome ;;
      go) echo actionlint ;;
      shellcheck) echo shellcheck ;;
      promtool) echo prometheus ;;
    esac
  done
}

words() { tr '\n' ' ' | sed 's/ *$//'; }

stop_with_command() {
  local missing=$1 command=$2
  cat >&2 <<TEXT

Missing: $missing
This needs rights that this account does not have, or a package manager that this script does not drive.
Type this, then the same make command again:

    $command

No rights at all? With conda the same software installs into your home:

    conda env create -f environment.yml && conda activate principal-kit
TEXT
  exit 1
}

# The book starts servers of its own; without this the package makes one of the machine's, on port 5432, at every boot.
no_postgres_cluster() {
  "$@" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends -o Dpkg::Use-Pty=0 postgresql-common </dev/null >/dev/null
  "$@" sed -i 's/^#* *create_main_cluster.*/create_main_cluster = false/' /etc/postgresql-common/createcluster.conf
}

install_missing() {
  local missing packages as_root=()
  missing=$(list_missing | words)
  if [ -z "$missing" ]; then return 0; fi
  say "missing: $missing"
  if ! have apt-get; then
    # shellcheck disable=SC2086
    if [ "$(uname)" = Darwin ]; then
      stop_with_command "$missing" "brew install $(brew_packages $missing | words)"
    fi
    stop_with_command "$missing" "your package manager's install command for: Python 3.11-3.13, a Java 17+ runtime, Maven, redis-server, PostgreSQL"
  fi
  if [ "$CHECK_ONLY" = yes ]; then
    # shellcheck disable=SC2086
    stop_with_command "$missing" "sudo apt-get update && sudo apt-get install -y --no-install-recommends $(apt_packages $missing | words)"
  fi
  if [ "$(id -u)" -ne 0 ]; then
    if have sudo && sudo -n true 2>/dev/null; then
      as_root=(sudo -n)
    else
      # shellcheck disable=SC2086
      stop_with_command "$missing" "sudo apt-get update && sudo apt-get install -y --no-install-recommends $(apt_packages $missing | words)"
    fi
  fi
  say "apt-get update"
  ${as_root[@]+"${as_root[@]}"} apt-get update -qq
  # shellcheck disable=SC2086
  packages=$(apt_packages $missing | words)
  case " $missing " in
    *" postgresql "*) no_postgres_cluster ${as_root[@]+"${as_root[@]}"} ;;
  esac
  say "apt-get install $packages"
  # shellcheck disable=SC2086
  ${as_root[@]+"${as_root[@]}"} env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends -o Dpkg::Use-Pty=0 $packages </dev/null | sed -n '/^Setting up lib/d; s/^Setting up \(.*\) \.\.\.$/      + \1/p'
  missing=$(list_missing | words)
  if [ -n "$missing" ]; then
    echo "apt-get finished, but this is still missing or too old: $missing" >&2
    exit 1
  fi
}

system_packages() {
  install_missing
  if [ "$PURPOSE" = test ] && ! have_promtool; then
    if [ "$CHECK_ONLY" = yes ]; then stop_with_command promtool "scripts/promtool.sh --where"; fi
    say "promtool, out of Debian's package: $(scripts/promtool.sh --where)"
  fi
  say "python $("$(find_python)" -c 'import platform; print(platform.python_version())'), java $(java_major)," \
    "maven $(mvn --version 2>/dev/null | sed -n 's/.*Apache Maven \([0-9.]*\).*/\1/p')," \
    "redis $(redis-server --version | sed -n 's/.* v=\([0-9.]*\).*/\1/p')," \
    "postgresql $("$(find_postgres)" --version | sed -n 's/.*) \([0-9.]*\).*/\1/p')"
}

# ── The virtual environment ──────────────────────────────────────────────────────────────────────
digest() { if have sha256sum; then sha256sum; else shasum -a 256; fi; }

fingerprint() {
  { cat requirements.lock pyproject.toml; echo "$1"; echo "$PWD"; } | digest | cut -d ' ' -f 1
}

# The installer itself comes from the lock file too: version and hashes.
install_uv() {
  local only_uv
  only_uv=$(mktemp)
  awk '/^[a-z0-9]/ { keep = /^uv==/ } keep' requirements.lock >"$only_uv"
  "$BIN/python" -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r "$only_uv"
  rm -f "$only_uv"
}

python_packages() {
  local python version stamp
  python=$(find_python)
  version=$("$python" -c 'import sys; print(sys.version)')
  stamp=$(fingerprint "$version")
  if [ -x "$BIN/python" ] && [ "$(cat "$VENV/.stamp" 2>/dev/null)" = "$stamp" ]; then
    say "up to date with requirements.lock"
    return 0
  fi
  if ! "$BIN/python" -c "import sys; sys.exit(sys.version != '''$version''')" 2>/dev/null; then
    say "new .venv from $python"
    rm -rf "$VENV"
    "$python" -m venv "$VENV"
  fi
  say "uv, from requirements.lock"
  install_uv
  say "$(grep -c '^[a-z0-9].*==' requirements.lock) pinned packages, each checked against its hash (several hundred MB the first time)"
  "$BIN/uv" pip install --python "$BIN/python" --compile-bytecode --require-hashes -r requirements.lock
  "$BIN/uv" pip install --quiet --python "$BIN/python" --no-deps --no-build-isolation -e .
  echo "$stamp" >"$VENV/.stamp"
}

begin "System packages"
if [ "$CHECK_ONLY" = yes ]; then
  install_missing
  system_packages
  finish
  exit 0
fi
system_packages
begin "Python packages in .venv"
python_packages
begin "Jars of Apache Kafka and the Spark connectors, scripts of the site"
sets=()
# Flink takes 700 MB, and one chapter needs it. CHAPTER: the one to be run, by number or slug, several, or --all.
case "$PURPOSE ${CHAPTER:-}" in test\ * | *--all* | *2[.-]1*) sets=(--all) ;; esac
"$BIN/python" -m principal_kit.services.jars fetch ${sets[@]+"${sets[@]}"}
if [ ${#sets[@]} -gt 0 ]; then
  # Jobs in Python are one part of one topic: without their environment the chapter says so and goes on.
  "$BIN/python" -m principal_kit.services.pyflink_environment || say "without PyFlink: jobs in Python are left out"
fi
"$BIN/python" -m principal_kit.course.site
finish
