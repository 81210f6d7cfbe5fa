#!/usr/bin/env bash
# Install Debian packages that the tests need: dev/apt.sh WHAT_FOR PACKAGE…; what comes with a service does not start it.
set -euo pipefail
what_for=$1
shift
if [ "$(id -u)" != 0 ]; then
  echo "$what_for; install it: apt-get install $*" >&2
  exit 1
fi
echo "installing $*" >&2
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod +x "$policy"
  trap 'rm -f "$policy"' EXIT
fi
apt-get -o DPkg::Lock::Timeout=300 update -qq
apt-get -o DPkg::Lock::Timeout=300 install -y -qq --no-install-recommends "$@" >/dev/null
