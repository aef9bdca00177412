.PHONY: help demo up env secrets test test-storm test-celery fuzz lint bench docs docs-serve screenshots reference lock audit licences setup setup-dev clean

##@ To try it and to use it

help:       ## show this list
	@awk -F ':.*## ' '/^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z-]+:.*## / {printf "  %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: setup ## set up, run the main job twice on a simulated BCDA, print a summary
	@.venv/bin/python scripts/demo.py

up: setup   ## Airflow with the simulator, until interrupted
	@.venv/bin/python scripts/up.py

env: setup  ## print exports for a shell: eval "$(make -s env)"
	@.venv/bin/python scripts/env.py

secrets:    ## write secrets/ for docker-compose.yaml, once; SANDBOX=1 for the simulator
	@$(or $(PYTHON),python3) scripts/make_secrets.py $(if $(SANDBOX),--sandbox)

setup:      ## make .venv from the lock; the others do it by themselves
	@scripts/setup.sh

clean:      ## remove everything that was made here, data of demo and up included
	@rm -rf .venv var

##@ To work on it

test: lint  ## set up, then all checks and tests
	@.venv/bin/python -m pytest

test-storm: setup-dev ## kill scheduler, triggerer and workers of a real Airflow while they work; CRASH_WEEKS=50 does it longer
	@.venv/bin/python -m pytest -n 0 -m storm -s tests/crash

test-celery: setup-dev ## the services of docker-compose.yaml as processes of this machine, with two Celery workers; needs PostgreSQL and Redis
	@.venv/bin/python -m pytest -n 0 -m celery -s tests/deployment

lint: setup-dev ## lint, formatting, types, import contracts
	@.venv/bin/ruff check . && .venv/bin/ruff format --check . && .venv/bin/mypy && .venv/bin/lint-imports --no-logo

fuzz: setup-dev ## fuzz what comes from BCDA, SECONDS=600 for each of the two fuzzers
	@.venv/bin/python tests/fuzz/fuzz_documents.py --seconds $(or $(SECONDS),600)
	@.venv/bin/python tests/fuzz/fuzz_lines.py --seconds $(or $(SECONDS),600)

bench: setup ## measure fetching against curl, landing against what a user would write instead, merging into growing tables, and the page
	@.venv/bin/python benchmarks/load.py
	@.venv/bin/python benchmarks/landing.py
	@.venv/bin/python benchmarks/merging.py
	@.venv/bin/python benchmarks/page.py

setup-dev:  ## make .venv with the tools for tests and checks too
	@scripts/setup.sh dev

##@ Documentation

docs: setup-dev ## build the documentation into var/site
	@NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --strict --quiet && echo "var/site/index.html"

docs-serve: setup-dev ## show the documentation at a local address, and follow changes
	@NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs serve --strict

screenshots: setup-dev ## run the browser tests and take their pictures of the page to docs/images
	@.venv/bin/python -m pytest -n 0 tests/browser && cp $(patsubst docs/images/%,var/screenshots/%,$(wildcard docs/images/*.png)) docs/images/

reference: setup-dev ## write docs/reference from the code
	@.venv/bin/python scripts/reference.py

licences:   ## write docs/licences.md from the metadata of everything that is installed with the project
	@$(or $(PYTHON),python3) -m venv var/licences
	@var/licences/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.txt -r requirements-production.txt
	@var/licences/bin/python scripts/licences.py

##@ Dependencies

lock:       ## make the locks from requirements*.in (needs uv)
	@for name in requirements requirements-dev requirements-production requirements-audit; do uv pip compile --universal --python-version 3.11 \
	  --generate-hashes --no-header --no-emit-index-url --no-emit-find-links -q $$name.in -o $$name.txt; done

audit:      ## ask the package index for known vulnerabilities of everything locked (needs https://pypi.org)
	@$(or $(PYTHON),python3) -m venv var/audit
	@var/audit/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-audit.txt
	@var/audit/bin/python scripts/audit.py
