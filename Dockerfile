# Airflow with this project in it, as docker-compose.yaml runs it.
#   docker build -t bcda-airflow .
# Encryption at rest needs DuckDB's extension httpfs, which DuckDB downloads: add --build-arg DUCKDB_EXTENSIONS=httpfs
# Further packages, such as an auth manager, go into requirements-site.txt, locked with hashes as requirements.txt is.
# The tag is exact. To pin the bytes too, build with --build-arg PYTHON_IMAGE=python:3.12.12-slim-bookworm@sha256:...
ARG PYTHON_IMAGE=python:3.12.12-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
WORKDIR /project
# Tasks would compile each module again in a file system that they may not write to.
ENV PYTHONDONTWRITEBYTECODE=
COPY requirements.txt requirements-production.txt requirements-site*.txt ./
RUN python -m venv .venv \
 && for lock in requirements*.txt; do \
      .venv/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps --require-hashes -r "$lock" || exit 1; \
    done \
 && .venv/bin/pip check
ARG DUCKDB_EXTENSIONS=""
RUN install -d /home/airflow \
 && for name in $DUCKDB_EXTENSIONS; do \
      HOME=/home/airflow .venv/bin/python -c "import duckdb; duckdb.sql('INSTALL $name')" || exit 1; \
    done
COPY . .
RUN .venv/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps --no-build-isolation -e . \
 && .venv/bin/python -m compileall -q dags include plugins scripts

FROM ${PYTHON_IMAGE}
# What the containers write to; a new volume takes owner and mode from here.
RUN useradd --uid 50000 --home-dir /home/airflow airflow \
 && install -d -o airflow -g airflow -m 0700 /airflow /data /logs /sandbox /users
# Owned by root: who runs tasks cannot change what they run.
COPY --from=build /home/airflow /home/airflow
COPY --from=build /project /project
WORKDIR /project
ENV PATH=/project/.venv/bin:$PATH HOME=/home/airflow AIRFLOW_HOME=/airflow
USER 50000
CMD ["airflow", "--help"]
