#!/usr/bin/env bash
# The report is tested in a real browser: install Debian's Chromium unless one is here.
set -euo pipefail
if command -v chromium >/dev/null; then exit 0; fi
"$(dirname "$0")/apt.sh" "dev/chromium.sh: the tests of the report need a browser" chromium fonts-dejavu-core
