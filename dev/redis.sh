#!/usr/bin/env bash
# The component tests talk to a real Redis: install Debian's unless one is here, and don't let it run as a service.
set -euo pipefail
if command -v redis-server >/dev/null || command -v valkey-server >/dev/null; then exit 0; fi
if [ "$(id -u)" != 0 ]; then
  echo "dev/redis.sh: the component tests need a Redis; install one: apt-get install redis-server" >&2
  exit 1
fi
echo "installing redis-server" >&2
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod +x "$policy"
  trap 'rm -f "$policy"' EXIT
fi
apt-get update -qq
apt-get install -y -qq --no-install-recommends redis-server >/dev/null
