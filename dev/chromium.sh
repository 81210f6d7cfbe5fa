#!/usr/bin/env bash
# The report is tested in a real browser: install Debian's Chromium unless one is here.
set -euo pipefail
if command -v chromium >/dev/null; then exit 0; fi
if [ "$(id -u)" != 0 ]; then
  echo "dev/chromium.sh: the tests of the report need a browser; install one: apt-get install chromium" >&2
  exit 1
fi
echo "installing chromium" >&2
apt-get update -qq
apt-get -o DPkg::Lock::Timeout=300 install -y -qq --no-install-recommends chromium fonts-dejavu-core >/dev/null
