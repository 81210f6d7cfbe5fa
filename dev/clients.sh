#!/usr/bin/env bash
# Make .clients: the environment of real clients that serving is tested with (their needs are not ours), from
# the hash-pinned lock.
set -euo pipefail
cd "$(dirname "$0")/.."
lock=tests/clients/requirements.lock
mark=.clients/.lock-$(sha256sum "$lock" | cut -c1-16)
[ -f "$mark" ] && exit 0

uv=$(dev/uv.sh)
printf '\033[1m==>\033[0m installing clients into .clients\n' >&2
export UV_CACHE_DIR=${XDG_CACHE_HOME:-/var/cache}/windtunnel/uv UV_LINK_MODE=${UV_LINK_MODE:-hardlink}
rm -rf .clients
"$uv" venv -q --python "$(command -v python3)" .clients
"$uv" pip install -q --python .clients/bin/python --no-deps --require-hashes -r "$lock"
touch "$mark"
