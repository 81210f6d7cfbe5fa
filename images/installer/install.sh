#!/bin/sh
# Make a virtual environment from a hash-pinned lock, byte-compiled, with Windtunnel's source on its path.
# Runs inside a build only, where uv is mounted beside this file: `install.sh /opt/airflow`.
# The build's secrets: `ca` (certificates for the package index), `index` (UV_INDEX_URL=… lines; may hold a password).
set -eu
venv=$1
here=$(dirname "$0")

if [ -s /run/secrets/ca ]; then
  export SSL_CERT_FILE=/run/secrets/ca
fi
if [ -s /run/secrets/index ]; then
  set -a
  # shellcheck disable=SC1091
  . /run/secrets/index
  set +a
fi
export UV_CACHE_DIR=/var/cache/uv UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never UV_HTTP_TIMEOUT=180

"$here/uv" venv -q --allow-existing --python "$(command -v python3)" "$venv"
"$here/uv" pip install -q --python "$venv/bin/python" --require-hashes --compile-bytecode -r "$venv/requirements.lock"
site=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
echo /opt/windtunnel/src > "$site/windtunnel.pth"
