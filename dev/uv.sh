#!/usr/bin/env bash
# Print the path of the pinned uv; fetched once, into the cache outside the checkout.
set -euo pipefail
cd "$(dirname "$0")/.."
cache=${XDG_CACHE_HOME:-/var/cache}/windtunnel
version=$(sed -n 's/^uv==\([^ ]*\).*/\1/p' dev/uv.txt)
home=$cache/uv-$version
if [ ! -x "$home/bin/uv" ]; then
  printf '\033[1m==>\033[0m fetching uv %s\n' "$version" >&2
  python3 -m venv "$home"
  "$home/bin/pip" install -q --require-hashes -r dev/uv.txt
fi
echo "$home/bin/uv"
