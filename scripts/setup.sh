#!/usr/bin/env bash
# Makes .venv from the locks and installs the project in place. Does nothing when the locks have not changed.
# Usage: scripts/setup.sh [dev]
#
# The locks are complete, so pip resolves nothing: it would look at newer versions of what one package wants with an extra.
set -euo pipefail
cd "$(dirname "$0")/.."
want=${1:-run}
python=${PYTHON:-python3}
unset PYTHONDONTWRITEBYTECODE

fail() {
  printf '%s\n' "$@" >&2
  exit 1
}

is_new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; }

make_environment() {
  if [ -e .venv ]; then
    .venv/bin/python -c '' 2> /dev/null || fail ".venv has no Python that runs. Remove it with \`rm -r .venv\` and try again."
    is_new_enough .venv/bin/python ||
      fail ".venv has $(.venv/bin/python --version 2>&1); 3.11 or newer is needed. Remove it with \`rm -r .venv\` and try again."
    return
  fi
  command -v "$python" > /dev/null ||
    fail "$python is not installed. Install it with \`sudo apt-get install python3 python3-venv\`, or name another one with PYTHON=..."
  is_new_enough "$python" ||
    fail "$python is $("$python" --version 2>&1); 3.11 or newer is needed. Name another one with PYTHON=..."
  "$python" -c 'import ensurepip' 2> /dev/null ||
    fail "$python cannot make virtual environments. Install what is missing with \`sudo apt-get install python3-venv\`."
  "$python" -m venv .venv
}

# A .venv that `uv venv` made has no pip.
make_pip() {
  .venv/bin/python -c 'import pip' 2> /dev/null || .venv/bin/python -m ensurepip > /dev/null 2>&1 ||
    fail ".venv has no pip, and its Python cannot install it. Remove it with \`rm -r .venv\` and try again."
  pip install -r requirements-pip.txt
}

# A lock is taken as it is. Compiling is left to the end, where it can use all processors.
pip() {
  local command=$1
  shift
  .venv/bin/python -m pip "$command" --quiet --disable-pip-version-check --no-input --no-compile --no-deps --require-hashes "$@"
}

install() {
  echo "Installing into .venv; this takes a minute or two" >&2
  make_environment
  make_pip
  pip install "$@"
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-input --no-deps --no-build-isolation -e .
  # Some packages carry files for other versions of Python, which do not compile.
  .venv/bin/python -m compileall -q -j 0 .venv/lib > /dev/null 2>&1 || true
}

stamp() { cat requirements-pip.txt pyproject.toml "$@" | cksum; }
ready() { [ -f "$1" ] && [ "$(cat "$1")" = "$2" ]; }

run_locks=(requirements.txt)
dev_locks=(requirements.txt requirements-production.txt requirements-dev.txt)
run_mark=$(stamp "${run_locks[@]}")
dev_mark=$(stamp "${dev_locks[@]}")
if [ "$want" = dev ] && ! ready .venv/.installed-dev "$dev_mark"; then
  install "${dev_locks[@]/#/--requirement=}"
  echo "$run_mark" > .venv/.installed
  echo "$dev_mark" > .venv/.installed-dev
elif ! ready .venv/.installed "$run_mark"; then
  install "${run_locks[@]/#/--requirement=}"
  echo "$run_mark" > .venv/.installed
fi
