.PHONY: demo test fuzz up env bench lint lock help setup setup-dev clean

help:       ## show this list
	@grep -E '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */\t/' | expand -t 10

demo: setup ## set up, run the main job twice on a simulated BCDA, print a summary
	@.venv/bin/python scripts/demo.py

test: lint  ## set up, then all checks and tests
	@.venv/bin/python -m pytest

fuzz: setup-dev ## fuzz what comes from BCDA, SECONDS=600 for each of the two fuzzers
	@.venv/bin/python tests/fuzz/fuzz_documents.py --seconds $(or $(SECONDS),600)
	@.venv/bin/python tests/fuzz/fuzz_lines.py --seconds $(or $(SECONDS),600)

up: setup   ## Airflow with the simulator, until interrupted
	@.venv/bin/python scripts/up.py

env: setup  ## print exports for a shell: eval "$(make -s env)"
	@.venv/bin/python scripts/env.py

bench: setup ## measure fetching against curl, landing against what a user would write instead, and merging into growing tables
	@.venv/bin/python benchmarks/load.py
	@.venv/bin/python benchmarks/landing.py
	@.venv/bin/python benchmarks/merging.py

lint: setup-dev ## lint, formatting, types, import contracts
	@.venv/bin/ruff check . && .venv/bin/ruff format --check . && .venv/bin/mypy && .venv/bin/lint-imports --no-logo

lock:       ## make the locks from requirements*.in (needs uv)
	@for name in requirements requirements-dev requirements-postgres; do uv pip compile --universal --python-version 3.11 \
	  --generate-hashes --no-header --no-emit-index-url --no-emit-find-links -q $$name.in -o $$name.txt; done

setup:
	@scripts/setup.sh

setup-dev:
	@scripts/setup.sh dev

clean:      ## remove everything that was made here, data of demo and up included
	@rm -rf .venv var
