#!/bin/bash
# Starts PostgreSQL; on an empty PGDATA first makes the cluster, the user, the database, and runs the init scripts.
# The interface is that of the upstream image: POSTGRES_PASSWORD(_FILE), POSTGRES_USER(_FILE), POSTGRES_DB(_FILE),
# POSTGRES_INITDB_ARGS, POSTGRES_HOST_AUTH_METHOD, PGDATA, /docker-entrypoint-initdb.d/*.{sh,sql,sql.gz}.
set -euo pipefail

fail() {
  echo "docker-entrypoint.sh: $*" >&2
  exit 1
}

# from_file NAME DEFAULT: NAME's value, else the content of the file that NAME_FILE names, else DEFAULT.
from_file() {
  local name=$1 file_name=${1}_FILE
  if [ -n "${!name:-}" ] && [ -n "${!file_name:-}" ]; then
    fail "both $name and $file_name are set; set one"
  fi
  if [ -n "${!file_name:-}" ]; then
    cat "${!file_name}"
  else
    printf '%s' "${!name:-$2}"
  fi
}

initialize() {
  local password=$1 user=$2 database=$3 method=${POSTGRES_HOST_AUTH_METHOD:-scram-sha-256}
  if [ -z "$password" ] && [ "$method" != trust ]; then
    fail "PGDATA is empty and no password is given; set POSTGRES_PASSWORD or POSTGRES_PASSWORD_FILE"
  fi
  local arguments=()
  read -ra arguments <<<"${POSTGRES_INITDB_ARGS:-}"
  if [ -n "$password" ]; then
    arguments+=(--pwfile=<(printf '%s\n' "$password"))
  fi
  initdb --username="$user" --auth-local=trust --auth-host="$method" --encoding=UTF8 "${arguments[@]}"
  printf '\nhost all all all %s\n' "$method" >>"$PGDATA/pg_hba.conf"
  [ -n "$(ls /docker-entrypoint-initdb.d)" ] || [ "$database" != postgres ] || return 0

  # Only the socket listens until the scripts are done, so that nobody meets a half-made database.
  pg_ctl -D "$PGDATA" -o "-c listen_addresses=''" -w start
  local sql=(psql -v ON_ERROR_STOP=1 --no-psqlrc --username "$user")
  if [ "$database" != postgres ]; then
    "${sql[@]}" --dbname postgres --set db="$database" <<<'CREATE DATABASE :"db";'
  fi
  local script
  for script in /docker-entrypoint-initdb.d/*; do
    case $script in
      *.sh) echo "running $script" && bash "$script" ;;
      *.sql) echo "running $script" && "${sql[@]}" --dbname "$database" -f "$script" ;;
      *.sql.gz) echo "running $script" && gunzip -c "$script" | "${sql[@]}" --dbname "$database" ;;
    esac
  done
  pg_ctl -D "$PGDATA" -m fast -w stop
}

if [ "${1:-}" = "" ] || [ "${1#-}" != "$1" ]; then
  set -- postgres "$@"
fi
if [ "$1" = postgres ]; then
  if [ "$(id -u)" = 0 ]; then
    fail "PostgreSQL refuses to run as root; run as uid 999"
  fi
  mkdir -p "$PGDATA"
  chmod 0700 "$PGDATA" 2>/dev/null || true
  # initdb writes PG_VERSION first, so a broken initialisation would look complete: this file is written last.
  if [ ! -s "$PGDATA/PG_VERSION" ]; then
    POSTGRES_USER=$(from_file POSTGRES_USER postgres)
    POSTGRES_PASSWORD=$(from_file POSTGRES_PASSWORD "")
    POSTGRES_DB=$(from_file POSTGRES_DB "$POSTGRES_USER")
    export POSTGRES_USER POSTGRES_PASSWORD POSTGRES_DB
    initialize "$POSTGRES_PASSWORD" "$POSTGRES_USER" "$POSTGRES_DB"
  fi
  unset POSTGRES_PASSWORD
fi
exec "$@"
