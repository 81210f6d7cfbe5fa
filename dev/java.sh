#!/usr/bin/env bash
# Spark's conformance tests need Java 17 or newer: install Debian's unless one is here.
set -euo pipefail
java=${JAVA_HOME:+$JAVA_HOME/bin/}java
if command -v "$java" >/dev/null; then
  version=$("$java" -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p')
  [ "${version:-0}" -ge 17 ] && exit 0
  echo "dev/java.sh: $java is Java ${version:-unknown}; Spark needs 17 or newer: set JAVA_HOME to one" >&2
  exit 1
fi
if [ "$(id -u)" != 0 ]; then
  echo "dev/java.sh: Spark's tests need Java; install one: apt-get install openjdk-17-jre-headless (or 21)" >&2
  exit 1
fi
apt-get update -qq
# Debian 12 has 17, Debian 13 has 21.
for package in openjdk-17-jre-headless openjdk-21-jre-headless; do
  if apt-cache show "$package" >/dev/null 2>&1; then
    echo "installing $package" >&2
    apt-get install -y -qq --no-install-recommends "$package" >/dev/null
    exit 0
  fi
done
echo "dev/java.sh: there is neither openjdk-17-jre-headless nor openjdk-21-jre-headless to install" >&2
exit 1
