#!/usr/bin/env bash
# The component tests talk to a real Redis: install Debian's unless one is here.
set -euo pipefail
if command -v redis-server >/dev/null || command -v valkey-server >/dev/null; then exit 0; fi
"$(dirname "$0")/apt.sh" "dev/redis.sh: the component tests need a Redis" redis-server
