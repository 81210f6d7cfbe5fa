#!/usr/bin/env bash
# The chart's rules, alerts and metric names are checked by promtool: install Debian's prometheus, which has it, unless
# one is here.
set -euo pipefail
if command -v promtool >/dev/null; then exit 0; fi
"$(dirname "$0")/apt.sh" "dev/promtool.sh: the chart tests need promtool" prometheus
