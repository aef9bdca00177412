# Programs of .venv/bin name their interpreter in their first line, which must be short and without blanks; `python -m` needs neither.
run := .venv/bin/python
suite := $(run) scripts/suites.py run

.PHONY: help demo up airflow env secrets setup clean lint fuzz bench setup-dev docs docs-serve screenshots reference lock pin audit licenses test test-library test-dags test-faults test-crash test-docs test-fuzz test-processes test-setup test-install test-network test-readers test-browser test-celery test-storm test-samples

##@ Use

help:       ## show this list
	@awk -F ':.*## ' '/^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z-]+:.*## / {printf "  %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: setup ## set up, run the weekly export twice on a simulated BCDA, and print a summary
	@$(run) scripts/demo.py

up: setup       ## start Airflow with the simulator; runs until you press Ctrl-C
	@$(run) scripts/up.py

airflow: setup ## start Airflow without the simulator, for your own connection; runs until you press Ctrl-C
	@$(run) scripts/up.py --without-simulator

env: setup  ## print the environment of the local Airflow for a shell: eval "$(make -s env)"
	@$(run) scripts/env.py

secrets:    ## write secrets/ for docker-compose.yaml, once; SANDBOX=1 for the simulator
	@$(or $(PYTHON),python3) scripts/make_secrets.py $(if $(SANDBOX),--sandbox)

setup:      ## create .venv from the lock; the other commands do this automatically
	@scripts/setup.sh

clean:      ## remove .venv and var, including the data of demo and up
	@rm -rf .venv var

##@ Develop

test: setup-dev ## set up and run the main tests: library, DAGs on a real Airflow, faults, and kills; needs only Python and make
	@$(suite) test

test-library: setup-dev ## run the longer tests of the library
	@$(suite) $@

test-dags: setup-dev ## run the longer tests of the DAGs, including a year of weekly runs
	@$(suite) $@

test-faults: setup-dev ## run the rest of the fault matrix
	@$(suite) $@

test-crash: setup-dev ## kill the processes of the library 200 times, and run two attempts at the same time 50 times; CRASH_KILLS=5000, CRASH_PAIRS=200
	@$(suite) $@

test-docs: setup-dev ## run the commands and queries of the documentation, compare the reference with the code, and build the site
	@$(suite) $@

test-fuzz: setup-dev ## run both fuzzers, for FUZZ_SECONDS each
	@$(suite) $@

test-processes: setup-dev ## test a real Airflow of four processes: kills, cleared tasks, backfills, an upgrade
	@$(suite) $@

test-setup: setup-dev ## run make setup and make demo behind a proxy, without pip, in a path with spaces, and without root; needs Squid and the package index
	@$(suite) $@

test-install: setup-dev ## install the wheel into stock Airflows and use it; needs PostgreSQL, Chromium, and the package index
	@$(suite) $@

test-network: setup-dev ## test proxies, certificates, and the environment; needs Squid
	@$(suite) $@

test-readers: setup-dev ## test the published file in other releases of DuckDB and in other tools; needs Java, Maven, and the package index
	@$(suite) $@

test-browser: setup-dev ## test the page, the forms, and the documentation in a browser; needs Chromium
	@$(suite) $@

test-celery: setup-dev ## run the services of docker-compose.yaml as processes, with two Celery workers; needs PostgreSQL and Redis
	@$(suite) $@

test-storm: setup-dev ## kill scheduler, triggerer, and workers of a real Airflow while they work; CRASH_WEEKS=50 runs longer
	@$(suite) $@

test-samples: setup-dev ## test the tables against the public sample resources; set BCDA_SAMPLES to their folder
	@$(suite) $@

lint: setup-dev ## check style, formatting, types, import contracts, spelling, and phrases
	@$(run) -m ruff check . && $(run) -m ruff format --check . && $(run) -m mypy && $(run) -c "from importlinter.cli import lint_imports_command as run; run()" --no-logo \
	  && $(run) -m codespell_lib && $(run) scripts/phrases.py

fuzz: setup-dev ## fuzz the input from BCDA; SECONDS=600 sets the time of each of the two fuzzers
	@$(run) tests/fuzz/fuzz_documents.py --seconds $(or $(SECONDS),600)
	@$(run) tests/fuzz/fuzz_lines.py --seconds $(or $(SECONDS),600)

bench: setup ## measure downloads (compared with curl), landing (compared with a simple script), merging, and the page
	@$(run) benchmarks/load.py
	@$(run) benchmarks/landing.py
	@$(run) benchmarks/merging.py
	@$(run) benchmarks/page.py

setup-dev:  ## create .venv with the tools for tests and checks
	@scripts/setup.sh dev

##@ Documentation

docs: setup-dev ## build the documentation into var/site
	@NO_MKDOCS_2_WARNING=1 $(run) -m mkdocs build --strict --quiet && echo "var/site/index.html"

docs-serve: setup-dev ## serve the documentation at a local address and update it on changes
	@NO_MKDOCS_2_WARNING=1 $(run) -m mkdocs serve --strict

screenshots: setup-dev ## run the browser tests and copy their pictures of the page to docs/images
	@$(suite) test-browser && cp $(patsubst docs/images/%,var/screenshots/%,$(wildcard docs/images/*.png)) docs/images/

reference: setup-dev ## write docs/reference from the code
	@$(run) scripts/reference.py

licenses:   ## write docs/licenses.md from the metadata of the locked packages
	@$(or $(PYTHON),python3) -m venv var/licenses
	@var/licenses/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.txt -r requirements-production.txt
	@var/licenses/bin/python scripts/licenses.py

##@ Dependencies

lock:       ## write the locks from requirements*.in; needs uv
	@for name in requirements-pip requirements requirements-dev requirements-production requirements-audit; do uv pip compile --universal --python-version 3.11 \
	  --generate-hashes --no-header --no-emit-index-url --no-emit-find-links -q $$name.in -o $$name.txt; done

pin:        ## add the digests of the images to their tags; REGISTRY=https://... uses a mirror
	@$(or $(PYTHON),python3) scripts/pin.py $(if $(REGISTRY),--registry $(REGISTRY))

audit:      ## check all locked packages for known vulnerabilities; needs https://pypi.org
	@$(or $(PYTHON),python3) -m venv var/audit
	@var/audit/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-audit.txt
	@var/audit/bin/python scripts/audit.py
