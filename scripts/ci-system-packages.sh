#!/usr/bin/env bash
# Installs the programs that the suites of tests/suites.toml need, such as a browser. Debian, as root; elsewhere it names them.
set -euo pipefail
cd "$(dirname "$0")/.."
missing=$("${PYTHON:-python3}" scripts/suites.py missing)
if [ -z "$missing" ]; then exit 0; fi
if [ "$(id -u)" != 0 ] || ! command -v apt-get > /dev/null; then
  echo "Not installed (names of Debian packages):" $missing. "Install them, or run this as root on Debian." >&2
  exit 1
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# shellcheck disable=SC2086 # a word for each package
apt-get install -qq --yes --no-install-recommends $missing
