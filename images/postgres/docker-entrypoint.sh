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

# make_data: fill PGDATA, in a directory beside it that gets its name when all is done, so that a kill on the way
# leaves nothing that looks complete. Where PGDATA is a volume's own root, there is no beside.
make_data() {
  local final=$PGDATA
  if ! mountpoint -q "$final" && rm -rf "$final.partial" && mkdir -p "$final.partial" 2>/dev/null; then
    PGDATA=$final.partial
  fi
  mkdir -p "$PGDATA"
  chmod 0700 "$PGDATA"
  initialize "$POSTGRES_PASSWORD" "$POSTGRES_USER" "$POSTGRES_DB"
  if [ "$PGDATA" != "$final" ]; then
    [ ! -d "$final" ] || rmdir "$final"
    mv "$PGDATA" "$final"
    PGDATA=$final
  fi
}

initialize() {
  local password=$1 user=$2 database=$3 method=${POSTGRES_HOST_AUTH_METHOD:-scram-sha-256}
  if [ -z "$password" ] && [ "$method" != trust ]; then
    fail "PGDATA is empty and no password is given; set POSTGRES_PASSWORD or POSTGRES_PASSWORD_FILE"
  fi
  local arguments=()
  read -ra arguments <<<"${POSTGRES_INITDB_ARGS:-}"
  arguments+=(--username="$user" --auth-local=trust --auth-host="$method" --encoding=UTF8)
  if [ -n "$password" ]; then
    # From a pipe: the password is in no argument and no file.
    initdb "${arguments[@]}" --pwfile=<(printf '%s\n' "$password")
  else
    initdb "${arguments[@]}"
  fi
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
  if [ ! -s "$PGDATA/PG_VERSION" ]; then
    POSTGRES_USER=$(from_file POSTGRES_USER postgres)
    POSTGRES_PASSWORD=$(from_file POSTGRES_PASSWORD "")
    POSTGRES_DB=$(from_file POSTGRES_DB "$POSTGRES_USER")
    export POSTGRES_USER POSTGRES_PASSWORD POSTGRES_DB PGDATA
    make_data
  fi
  unset POSTGRES_PASSWORD
fi
exec "$@"
