#!/usr/bin/env bash
# Make .venv: the host's environment for the CLI, the demo and the tests, from the hash-pinned lock.
# Quick when nothing changed; uv's package cache outside the checkout makes a fresh clone quick too.
set -euo pipefail
cd "$(dirname "$0")/.."
cache=${XDG_CACHE_HOME:-/var/cache}/windtunnel
lock=platform/requirements-dev.lock
mark=.venv/.lock-$(sha256sum "$lock" platform/pyproject.toml | sha256sum | cut -c1-16)
[ -f "$mark" ] && exit 0

say() { printf '\033[1m==>\033[0m %s\n' "$*" >&2; }

if ! python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
  echo "dev/venv.sh: Python 3.11 or newer is needed as python3; install it (Debian 12: apt-get install python3)" >&2
  exit 1
fi
if ! python3 -c 'import ensurepip' 2>/dev/null; then
  if [ "$(id -u)" != 0 ]; then
    echo "dev/venv.sh: python3 can't make virtual environments; install them: apt-get install python3-venv" >&2
    exit 1
  fi
  say "installing python3-venv"
  apt-get update -qq && apt-get install -y -qq python3-venv >/dev/null
fi

uv=$(dev/uv.sh)
say "installing the host environment into .venv"
export UV_CACHE_DIR=$cache/uv UV_LINK_MODE=${UV_LINK_MODE:-hardlink}
rm -rf .venv
"$uv" venv -q --seed --python "$(command -v python3)" .venv
# The lock is whole: asking packages for their needs again would fetch and build source ones (pyspark) each time.
"$uv" pip install -q --python .venv/bin/python --no-deps --require-hashes -r "$lock"
"$uv" pip install -q --python .venv/bin/python --no-deps -e platform
touch "$mark"
