"""A real Airflow for tests: its home is set before the first import of Airflow, wherever that happens."""

import json
import os
import sys
import tempfile
import time
from pathlib import Path

import duckdb
import jsonschema
import pytest

PROJECT = Path(__file__).resolve().parents[2]
_HOME = tempfile.TemporaryDirectory(prefix="bcda-airflow-", ignore_cleanup_errors=True)

os.environ.update(
    {
        "AIRFLOW_HOME": _HOME.name,
        "AIRFLOW__CORE__DAGS_FOLDER": str(PROJECT / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(PROJECT / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
    }
)


@pytest.fixture(scope="session")
def airflow_database():
    """The metadata database, migrated once, into which `dag.test` writes the DAGs when they differ from those there.

    It reads all DAG files and writes them before each run, which takes a second. What a file gives depends on its text and the
    environment. And it sleeps for a second whenever it has just found out how many instances a mapped task has, as two or three
    times in an export.
    """
    from airflow.dag_processing import dagbag
    from airflow.sdk import DAG
    from airflow.utils.db import initdb

    initdb()
    read, write = dagbag.BundleDagBag, dagbag.sync_bag_to_db
    there, bags = [], {}

    def read_once(*, bundle_path, **given):
        files = sorted((str(path), path.read_bytes()) for path in Path(bundle_path).rglob("*.py"))
        key = (*files, *sorted(item for item in os.environ.items() if is_read_by_dags(item[0])))
        if key not in bags:
            bags[key] = read(bundle_path=bundle_path, **given)
        return bags[key]

    def write_once(bag, *given, **more):
        if there != [bag]:
            write(bag, *given, **more)
            there[:] = [bag]

    sleep = time.sleep

    def sleep_less(seconds):
        sleep(0.02 if sys._getframe(1).f_code is DAG.test.__code__ else seconds)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dagbag, "BundleDagBag", read_once)
        patch.setattr(dagbag, "sync_bag_to_db", write_once)
        patch.setattr(time, "sleep", sleep_less)
        yield


def is_read_by_dags(variable):
    """Tell whether a DAG file may read an environment variable; the home is for tasks, and each test has its own."""
    return variable.startswith(("AIRFLOW__", "BCDA_")) and variable != "BCDA_HOME"


@pytest.fixture(scope="session", autouse=True)
def each_schema_is_checked_once():
    """Let jsonschema check the schema of a param once in a process.

    Airflow validates each param of each task many times in a `dag.test`, and each time jsonschema first checks the schema itself,
    which is always the same: a third of the time of a short run. Values are validated as often as before.
    """
    validator = jsonschema.validators.validator_for({})
    check, checked = validator.check_schema, set()

    def check_once(schema, *given, **options):
        key = json.dumps(schema, sort_keys=True, default=repr)
        if key not in checked:
            check(schema, *given, **options)
            checked.add(key)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(validator, "check_schema", check_once)
        yield


@pytest.fixture
def connect(monkeypatch, places):
    """Point Airflow's connection and the project's home at a simulator."""

    def connect(server, **changes):
        extra = {
            "poll_seconds": 0.1,
            "poll_max_seconds": 0.2,
            "backoff_initial_seconds": 0.1,
            "backoff_max_seconds": 0.3,
            "file_attempts": 2,
            **changes.pop("extra", {}),
        }
        conn_id = changes.pop("conn_id", "bcda_default")
        connection = {
            "conn_type": "bcda",
            "host": server.base_url,
            "login": server.entity.client_id,
            "password": server.entity.client_secret,
            "extra": extra,
            **changes,
        }
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(connection))
        monkeypatch.setenv("BCDA_HOME", str(places.raw.parent))

    return connect


@pytest.fixture
def run_dag(airflow_database, monkeypatch):
    """Run one of the project's DAGs in this process, triggers included; return its state and that of each task."""
    from airflow._shared.secrets_masker import reset_secrets_masker as forget_secrets
    from airflow.dag_processing import dagbag as dagbags
    from airflow.models import dagrun
    from airflow.sdk._shared.secrets_masker import reset_secrets_masker as forget_secrets_of_tasks
    from airflow.utils.types import DagRunType

    bags = {}
    create = dagrun.get_or_create_dagrun
    run_type = [DagRunType.MANUAL]

    def create_of_type(**given):
        made = create(**given)
        made.run_type = run_type[0]
        given["session"].commit()
        return made

    monkeypatch.setattr(dagrun, "get_or_create_dagrun", create_of_type)

    def run(dag_id, *, backfill_of=None, **conf):
        """Run; `backfill_of` is the end of the data interval of a backfill."""
        # `dag.test` leaves the params of a run in the DAG, so each set of them has one of its own.
        key = (dag_id, json.dumps(conf, sort_keys=True))
        if key not in bags:
            bags[key] = dagbags.DagBag().dags[dag_id]
        dag = bags[key]
        for task in dag.tasks:
            task.retries = 0
        run_type[0] = DagRunType.BACKFILL_JOB if backfill_of else DagRunType.MANUAL
        # Each task has a process of its own in a real Airflow; here the tokens of all would pile up in one pattern.
        forget_secrets()
        forget_secrets_of_tasks()
        done = dag.test(run_conf=conf, **({"logical_date": backfill_of} if backfill_of else {}))
        return str(done.state), {f"{ti.task_id}[{ti.map_index}]": str(ti.state) for ti in done.get_task_instances()}

    return run


@pytest.fixture
def notes_at_once(airflow_database):
    """Let this process write notes as the API server does."""
    from airflow.models.xcom import XComModel
    from sqlalchemy import event

    from bcda_provider import notes

    notes.write_notes_at_once(None)
    yield
    event.remove(XComModel, "after_insert", notes._note_of)


@pytest.fixture
def logged(capfd, caplog):
    """Return what was logged since it was asked last."""

    def read():
        text = "".join(capfd.readouterr()) + caplog.text
        caplog.clear()
        return text

    return read


@pytest.fixture
def ask(places):
    """Query the published database."""

    def ask(sql, of=None):
        with duckdb.connect(str((of or places).published), read_only=True) as connection:
            return connection.execute(sql).fetchall()

    return ask
