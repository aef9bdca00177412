# Programs of .venv/bin name their interpreter in their first line, which must be short and without blanks; `python -m` needs neither.
run := .venv/bin/python
suite := $(run) scripts/suites.py run

.PHONY: help demo up airflow env secrets setup clean lint fuzz bench setup-dev docs docs-serve screenshots reference lock pin audit licenses test test-library test-dags test-faults test-crash test-docs test-fuzz test-processes test-setup test-install test-network test-readers test-browser test-celery test-storm test-samples

##@ To try it and to use it

help:       ## show this list
	@awk -F ':.*## ' '/^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z-]+:.*## / {printf "  %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: setup ## set up, run the main job twice on a simulated BCDA, print a summary
	@$(run) scripts/demo.py

up: setup       ## Airflow with the simulator, until interrupted
	@$(run) scripts/up.py

airflow: setup ## Airflow without the simulator, for your own connection, until interrupted
	@$(run) scripts/up.py --without-simulator

env: setup  ## print exports for a shell: eval "$(make -s env)"
	@$(run) scripts/env.py

secrets:    ## write secrets/ for docker-compose.yaml, once; SANDBOX=1 for the simulator
	@$(or $(PYTHON),python3) scripts/make_secrets.py $(if $(SANDBOX),--sandbox)

setup:      ## make .venv from the lock; the others do it by themselves
	@scripts/setup.sh

clean:      ## remove everything that was made here, data of demo and up included
	@rm -rf .venv var

##@ To work on it

test: setup-dev ## set up and test the library, the DAGs on a real Airflow, the faults and some kills; needs Python and make only
	@$(suite) test

test-library: setup-dev ## run the longer tests of the library
	@$(suite) $@

test-dags: setup-dev ## run the longer tests of the DAGs, a year of weekly runs among them
	@$(suite) $@

test-faults: setup-dev ## run the rest of the fault matrix
	@$(suite) $@

test-crash: setup-dev ## kill the processes of the library 200 times, run two attempts at once 50 times; CRASH_KILLS=5000, CRASH_PAIRS=200
	@$(suite) $@

test-docs: setup-dev ## run the commands and queries of the documentation, compare the reference with the code, build the site
	@$(suite) $@

test-fuzz: setup-dev ## run both fuzzers, for FUZZ_SECONDS each
	@$(suite) $@

test-processes: setup-dev ## test a real Airflow of four processes: kills, cleared tasks, backfills, an upgrade
	@$(suite) $@

test-setup: setup-dev ## run make setup and make demo behind a proxy, without pip, with blanks in the path, without root; needs Squid and the package index
	@$(suite) $@

test-install: setup-dev ## install the wheel into stock Airflows and use it; needs PostgreSQL, Chromium and the package index
	@$(suite) $@

test-network: setup-dev ## test proxies, certificates and the environment; needs Squid
	@$(suite) $@

test-readers: setup-dev ## test the published file in other releases of DuckDB and in other tools; needs Java, Maven and the package index
	@$(suite) $@

test-browser: setup-dev ## test the page, the forms and the documentation in a browser; needs Chromium
	@$(suite) $@

test-celery: setup-dev ## run the services of docker-compose.yaml as processes, with two Celery workers; needs PostgreSQL and Redis
	@$(suite) $@

test-storm: setup-dev ## kill scheduler, triggerer and workers of a real Airflow while they work; CRASH_WEEKS=50 kills longer
	@$(suite) $@

test-samples: setup-dev ## test the tables against the public sample resources; needs their folder in BCDA_SAMPLES
	@$(suite) $@

lint: setup-dev ## check style, formatting, types, import contracts, spelling and phrases
	@$(run) -m ruff check . && $(run) -m ruff format --check . && $(run) -m mypy && $(run) -c "from importlinter.cli import lint_imports_command as run; run()" --no-logo \
	  && $(run) -m codespell_lib && $(run) scripts/phrases.py

fuzz: setup-dev ## fuzz what comes from BCDA, SECONDS=600 for each of the two fuzzers
	@$(run) tests/fuzz/fuzz_documents.py --seconds $(or $(SECONDS),600)
	@$(run) tests/fuzz/fuzz_lines.py --seconds $(or $(SECONDS),600)

bench: setup ## measure fetching against curl, landing against what a user would write instead, merging into growing tables, and the page
	@$(run) benchmarks/load.py
	@$(run) benchmarks/landing.py
	@$(run) benchmarks/merging.py
	@$(run) benchmarks/page.py

setup-dev:  ## make .venv with the tools for tests and checks too
	@scripts/setup.sh dev

##@ Documentation

docs: setup-dev ## build the documentation into var/site
	@NO_MKDOCS_2_WARNING=1 $(run) -m mkdocs build --strict --quiet && echo "var/site/index.html"

docs-serve: setup-dev ## show the documentation at a local address, and follow changes
	@NO_MKDOCS_2_WARNING=1 $(run) -m mkdocs serve --strict

screenshots: setup-dev ## run the browser tests and take their pictures of the page to docs/images
	@$(suite) test-browser && cp $(patsubst docs/images/%,var/screenshots/%,$(wildcard docs/images/*.png)) docs/images/

reference: setup-dev ## write docs/reference from the code
	@$(run) scripts/reference.py

licenses:   ## write docs/licenses.md from the metadata of everything that is installed with the project
	@$(or $(PYTHON),python3) -m venv var/licenses
	@var/licenses/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.txt -r requirements-production.txt
	@var/licenses/bin/python scripts/licenses.py

##@ Dependencies

lock:       ## make the locks from requirements*.in (needs uv)
	@for name in requirements-pip requirements requirements-dev requirements-production requirements-audit; do uv pip compile --universal --python-version 3.11 \
	  --generate-hashes --no-header --no-emit-index-url --no-emit-find-links -q $$name.in -o $$name.txt; done

pin:        ## put the digests of the images behind their tags, as the registry gives them; REGISTRY=https://... asks a mirror
	@$(or $(PYTHON),python3) scripts/pin.py $(if $(REGISTRY),--registry $(REGISTRY))

audit:      ## ask the package index for known vulnerabilities of everything locked (needs https://pypi.org)
	@$(or $(PYTHON),python3) -m venv var/audit
	@var/audit/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-audit.txt
	@var/audit/bin/python scripts/audit.py
