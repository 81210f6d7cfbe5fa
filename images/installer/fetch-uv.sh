#!/bin/sh
# Put uv into the directory $1 (a build stage's; no image keeps it), by the hash-pinned version of uv.txt beside this file.
set -eu
target=$1
here=$(dirname "$0")

if [ -s /run/secrets/ca ]; then
  export PIP_CERT=/run/secrets/ca
fi
if [ -s /run/secrets/index ]; then
  set -a
  # shellcheck disable=SC1091
  . /run/secrets/index
  set +a
fi

python3 -m venv /tmp/pip
/tmp/pip/bin/pip install -q --no-cache-dir --disable-pip-version-check --target /tmp/uv --require-hashes -r "$here/uv.txt"
mkdir -p "$target"
cp /tmp/uv/bin/uv "$target/uv"
rm -rf /tmp/pip /tmp/uv
