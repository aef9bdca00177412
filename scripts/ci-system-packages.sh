#!/usr/bin/env bash
# Installs what the tests need beside Python: a browser, PostgreSQL and Redis. Debian, as root; elsewhere it names them.
set -euo pipefail
declare -A packages=([chromium]=chromium [redis-server]=redis-server [pg_ctlcluster]=postgresql)
missing=()
for program in "${!packages[@]}"; do
  command -v "$program" > /dev/null || missing+=("${packages[$program]}")
done
if [ ${#missing[@]} -eq 0 ]; then exit 0; fi
if [ "$(id -u)" != 0 ] || ! command -v apt-get > /dev/null; then
  echo "Not installed: ${missing[*]} (Debian's names). Install them, or run this as root on Debian." >&2
  exit 1
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -qq --yes --no-install-recommends "${missing[@]}"
