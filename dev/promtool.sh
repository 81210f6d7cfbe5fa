#!/usr/bin/env bash
# The chart's rules, alerts and metric names are checked by promtool: install Debian's prometheus, which has it, unless
# one is here, and don't let it run as a service.
set -euo pipefail
if command -v promtool >/dev/null; then exit 0; fi
if [ "$(id -u)" != 0 ]; then
  echo "dev/promtool.sh: the chart tests need promtool; install one: apt-get install prometheus" >&2
  exit 1
fi
echo "installing promtool" >&2
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod +x "$policy"
  trap 'rm -f "$policy"' EXIT
fi
apt-get update -qq
apt-get -o DPkg::Lock::Timeout=300 install -y -qq --no-install-recommends prometheus >/dev/null
