#!/bin/sh
# Starts versitygw with its arguments; without any, by VGW_BACKEND, VGW_ARGS, VGW_BACKEND_ARG, VGW_BACKEND_ARGS,
# as the upstream image does.
set -eu
if [ "$#" -eq 0 ]; then
  case "${VGW_BACKEND:-}" in
    posix | scoutfs | s3 | azure | plugin | iam) ;;
    *)
      echo "docker-entrypoint.sh: nothing to start; give arguments, or set VGW_BACKEND to posix, scoutfs, s3, azure, plugin or iam" >&2
      exit 1
      ;;
  esac
  # Lists of options: word splitting is meant.
  # shellcheck disable=SC2086
  set -- ${VGW_ARGS:-} "$VGW_BACKEND" ${VGW_BACKEND_ARG:+"$VGW_BACKEND_ARG"} ${VGW_BACKEND_ARGS:-}
fi
exec /usr/local/bin/versitygw "$@"
