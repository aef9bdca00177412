#!/usr/bin/env bash
# Makes .venv from the locks and installs the project in place; does nothing when the locks have not changed.
# The locks are complete, so nothing is resolved again: pip would look at newer versions of what one package wants with an extra.
# Usage: scripts/setup.sh [dev]
set -euo pipefail
cd "$(dirname "$0")/.."
want=${1:-run}
python=${PYTHON:-python3}
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
  echo "Python 3.11 or newer is needed; $python is $("$python" --version 2>&1). Name another one with PYTHON=..." >&2
  exit 1
}
unset PYTHONDONTWRITEBYTECODE
stamp() { cat requirements.txt pyproject.toml "${@}" | cksum; }
ready() { [ -f "$1" ] && [ "$(cat "$1")" = "$2" ]; }
mark=$(stamp)
if ! ready .venv/.installed "$mark"; then
  echo "Installing into .venv; this takes a minute or two" >&2
  [ -x .venv/bin/python ] || "$python" -m venv .venv
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.txt
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
  echo "$mark" > .venv/.installed
fi
mark=$(stamp requirements-production.txt requirements-dev.txt)
if [ "$want" = dev ] && ! ready .venv/.installed-dev "$mark"; then
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements-production.txt
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements-dev.txt
  echo "$mark" > .venv/.installed-dev
fi
