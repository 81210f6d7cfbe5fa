#!/bin/sh
# Starts what it is told; `--option …` or `some.conf` alone means valkey-server with it, as in the upstream image.
set -eu
if [ "${1:-}" = "" ] || [ "${1#-}" != "$1" ] || [ "${1%.conf}" != "$1" ]; then
  set -- valkey-server "$@"
fi
if [ "$1" = valkey-server ]; then
  umask 0077
  # Upstream builds with protected mode off (a container's own network decides who comes); without a file we say so.
  case "${2:-}" in
    "" | -*) shift && set -- valkey-server --protected-mode no "$@" ;;
  esac
fi
exec "$@"
