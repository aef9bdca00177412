"""An Airflow and a data home that release 1.0 made and used, opened by this release: runs that wait go on, the next ones load."""

import json
import os
import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import duckdb_cryptography
import pytest
from earlier_code import code_of
from waiting import wait_until

from airflow_processes import READ_SELDOM, AirflowProcesses
from bcda.doctor.check import Status
from bcda.doctor.storage import check_storage
from bcda.maintenance import change_key
from bcda.storage import duckdb_files
from bcda.storage.places import Places
from bcda.storage.publication import DEFAULT_STORAGE, ENCRYPTED_STORAGE
from bcda.warehouse import publish
from simulator_process import POLL_SECONDS, SimulatorProcess

PROJECT = Path(__file__).resolve().parents[2]
COMMIT_OF_1_0 = "7d75af7"
WEEKLY, RUNOUT, LIST_CHECK = "bcda_weekly_export", "bcda_runout_export", "bcda_attribution_check"
PENDING_SECONDS = 600
"""By the simulator's clock, which otherwise runs as fast as ours: a job is done when a test moves the clock."""

EXTRA = {
    "api_version": "v2",
    "auth": "basic",
    "request_timeout_seconds": 60,
    "max_attempts": 2,
    "backoff_initial_seconds": 0.1,
    "backoff_max_seconds": POLL_SECONDS,
    "concurrent_downloads": 4,
    "requests_per_five_minutes": 2400,
    "poll_seconds": POLL_SECONDS,
    "poll_max_seconds": POLL_SECONDS,
    "job_deadline_seconds": 86400,
    "failed_grace_seconds": 4500,
    "file_attempts": 4,
    "list_wait_seconds": 86400,
    "parallel_jobs": False,
    "shared_system": True,
    "secret_made_on": f"{datetime.now(UTC) - timedelta(days=24):%Y-%m-%d}",
}
"""What the form of 1.0 stored: every field of it, flat. The waits are shorter than its defaults."""

FORM = {
    "resource_types": ["ExplanationOfBenefit", "Patient", "Coverage"],
    "since": None,
    "full": False,
    "force": False,
    "batches": 2,
    "conn_id": "bcda_default",
    "api_version": None,
    "systems": [],
    "final_action": None,
    "outcome": None,
    "service_from": None,
    "service_through": None,
}
"""The run configuration that the trigger form of 1.0 sent when nothing in it was changed."""

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def earlier(tmp_path_factory):
    """The code of release 1.0, from the history."""
    folder = tmp_path_factory.mktemp("earlier")
    code_of(COMMIT_OF_1_0, folder, "include", "plugins", "dags", "tests/unit")
    return folder


def environment_of(code):
    """The variables with which Python and Airflow take a release's code; before that of the virtual environment."""
    return {
        "AIRFLOW__CORE__DAGS_FOLDER": str(code / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(code / "plugins"),
        "PYTHONPATH": os.pathsep.join(str(code / part) for part in ("include", "plugins")),
    }


class Stage:
    """A simulator, an Airflow of one release after the other, and what the earlier one left."""

    def __init__(self, home, simulator):
        self.home, self.data, self.simulator = home, home / "data", simulator
        self.airflow = None
        self.runs = {}

    def start(self, code, **more):
        environment = {**READ_SELDOM, "BCDA_HOME": str(self.data), **environment_of(code), **more}
        self.airflow = AirflowProcesses(self.home / "airflow", environment=environment)
        return self.airflow

    def jobs(self):
        return {job["number"]: job["state"] for job in self.simulator.control("GET", "state")["jobs"]}

    def asked(self, endpoint):
        return [entry for entry in self.simulator.control("GET", "state")["requests"] if entry["endpoint"] == endpoint]

    def finish_job(self):
        """Let the job that BCDA prepares be done."""
        wait_until(lambda: {"Pending", "In Progress"} & set(self.jobs().values()))
        self.simulator.control("POST", "clock", {"advance_seconds": PENDING_SECONDS})

    def state(self, dag_id):
        return self.airflow.api("GET", f"/dags/{dag_id}/dagRuns/{self.runs[dag_id]}")["state"]

    def first_run(self, dag_id):
        """Switch a DAG on and return the run that its schedule makes."""
        self.airflow.unpause(dag_id)
        wait_until(lambda: self.airflow.api("GET", f"/dags/{dag_id}/dagRuns")["dag_runs"])
        return self.airflow.api("GET", f"/dags/{dag_id}/dagRuns")["dag_runs"][0]["dag_run_id"]

    def ended(self, dag_id, run):
        state = self.airflow.wait_for_run(dag_id, run)
        for instance in self.airflow.task_instances(dag_id, run):
            if instance["state"] == "failed":
                print(instance["task_id"], self.airflow.task_log(dag_id, run, instance))
        return state

    def ask(self, sql):
        with duckdb.connect(str(self.data / "bcda.duckdb"), read_only=True) as connection:
            return connection.execute(sql).fetchall()


@pytest.fixture(scope="module")
def stage(tmp_path_factory, earlier):
    """Release 1.0 has loaded a week and was stopped while runs waited in each way; this release was started in its place."""
    home = tmp_path_factory.mktemp("upgrade")
    arguments = ("--people", "6", "--clock", "2026-11-10T12:00:00+00:00", "--pending-seconds", str(PENDING_SECONDS))
    with SimulatorProcess(home, *arguments) as simulator:
        stage = Stage(home, simulator)
        with stage.start(earlier) as airflow:
            use_1_0(stage, airflow)
        with stage.start(PROJECT, BCDA_RETRY_SCALE="0.2"):
            yield stage


def use_1_0(stage, airflow):
    simulator = stage.simulator
    connection = {
        "connection_id": "bcda_default",
        "conn_type": "bcda",
        "host": simulator.facts["base_url"],
        "login": simulator.facts["client_id"],
        "password": simulator.facts["client_secret"],
        "extra": json.dumps(EXTRA),
    }
    airflow.api("POST", "/connections", connection)
    loaded = stage.first_run(WEEKLY)
    assert "conn_id" in airflow.api("GET", f"/dags/{WEEKLY}/details")["params"]
    stage.finish_job()
    assert stage.ended(WEEKLY, loaded) == "success"
    simulator.control("POST", "clock", {"advance_seconds": 7 * 86400})

    # One waits for its job, the next one for its turn, the third for room at BCDA, the fourth for its next try.
    waiting, queued = airflow.trigger(WEEKLY, FORM), airflow.trigger(WEEKLY, FORM)
    airflow.wait_for_task(WEEKLY, waiting, "wait_for_job", ["deferred"])
    airflow.unpause(RUNOUT)
    overlapping = airflow.trigger(RUNOUT, FORM)
    airflow.wait_for_task(RUNOUT, overlapping, "kick_off", ["deferred"])
    simulator.control("POST", "faults", {"kind": "answer", "endpoint": "attribution", "status": 503})
    retried = stage.first_run(LIST_CHECK)
    airflow.wait_for_task(LIST_CHECK, retried, "check_list", ["up_for_retry"])
    stage.runs = {"loaded": loaded, WEEKLY: waiting, "queued": queued, RUNOUT: overlapping, LIST_CHECK: retried}
    stage.jobs_before = stage.jobs()
    stage.reports_before = sorted(path.name for path in (stage.data / "reports").iterdir())


def test_a_task_between_two_tries_is_tried_as_often_as_1_0_promised(stage):
    run = stage.runs[LIST_CHECK]

    def note():
        return stage.airflow.api("GET", f"/dags/{LIST_CHECK}/dagRuns/{run}")["note"] or ""

    # On a slow machine the third try can come before anybody looks.
    wait_until(lambda: re.match(r"BCDA check_list failed in try [23] of 4: ServerError: ", note()))
    stage.simulator.control("DELETE", "faults")
    assert stage.ended(LIST_CHECK, run) == "success"


def test_a_deferred_run_ends_well_with_the_job_it_had(stage):
    assert stage.jobs() == stage.jobs_before
    # The trigger was stored by 1.0 and runs with the code of this release.
    before = len(stage.asked("status"))
    wait_until(lambda: len(stage.asked("status")) > before)
    stage.finish_job()
    assert stage.ended(WEEKLY, stage.runs[WEEKLY]) == "success"
    # Whatever 1.0 counts as a try, the run had one of each.
    tries = {ti["task_id"]: ti["try_number"] for ti in stage.airflow.task_instances(WEEKLY, stage.runs[WEEKLY])}
    # The tasks for gaps came with this release; there is no gap, so Airflow skips all but the first.
    assert {tries.pop(task) for task in list(tries) if task.startswith("gaps.")} <= {0, 1}
    assert set(tries.values()) == {1}, tries


def test_a_queued_run_with_the_form_of_1_0_and_one_that_waits_for_room_load(stage):
    runs = {stage.runs["queued"]: WEEKLY, stage.runs[RUNOUT]: RUNOUT}
    assert "conn_id" not in stage.airflow.api("GET", f"/dags/{WEEKLY}/details")["params"]
    for _ in runs:
        stage.finish_job()
    assert {stage.ended(dag, run) for run, dag in runs.items()} == {"success"}


def test_nothing_was_fetched_or_counted_twice(stage):
    # The files of the first, a week old by now, are gone at BCDA.
    assert list(stage.jobs().values()) == ["Expired", *["Completed"] * 3]
    assert Counter(entry["status"] for entry in stage.asked("kick-off")) == {202: 4}
    fetched = Counter(entry["target"] for entry in stage.asked("data") if entry["status"] == 200)
    assert set(fetched.values()) == {1}
    assert stage.ask("SELECT count(*), count(DISTINCT job_id) FROM ops.export_run") == [(4, 4)]
    assert stage.ask("SELECT count(*) FROM ops.export_file") == [(len(fetched),)]
    # From the lake, to which both releases wrote, the same database comes out, row by row.
    done = command(stage, "python", "-m", "bcda", "rebuild-warehouse", str(stage.home / "anew.duckdb"))
    assert done.returncode == 0, done.stderr


def test_the_published_file_is_that_of_this_release(stage):
    with duckdb.connect() as connection:
        connection.execute(f"ATTACH '{stage.data / 'bcda.duckdb'}' AS other (READ_ONLY)")
        found = connection.execute("SELECT tags FROM duckdb_databases() WHERE database_name = 'other'").fetchall()
        assert found[0][0]["storage_version"].removesuffix("+") == "v1.4.0"
        views = "SELECT schema_name, view_name FROM duckdb_views() WHERE database_name = 'other' AND NOT internal"
        for schema, view in connection.execute(views).fetchall():
            connection.execute(f"SELECT count(*) FROM other.{schema}.{view}").fetchall()


def test_page_reports_and_doctor_show_what_1_0_did(stage):
    def get(path):
        answer = stage.airflow._http.get(f"/bcda/{path}")
        assert answer.status_code == 200, answer.text
        return answer.text

    # Read from the key of 1.0; at midnight a day more.
    assert re.search(r"2[45] days old, ends on ", get(""))
    assert len(stage.reports_before) >= 2
    for name in {Path(name).stem for name in stage.reports_before}:
        assert name in get(f"reports/{name}")
    done = command(stage, "airflow", "bcda", "doctor")
    assert done.returncode == 0, done.stdout
    assert done.stdout.splitlines()[-1].startswith(("All is well", "Nothing failed"))


def test_the_nightly_maintenance_works_on_what_is_there(stage):
    run = stage.first_run("bcda_maintenance")
    stage.airflow.wait_for_run("bcda_maintenance", run)
    states = {ti["task_id"]: ti["state"] for ti in stage.airflow.task_instances("bcda_maintenance", run)}
    # By this machine's clock the simulator's data can be old, and the secret too.
    assert {name: state for name, state in states.items() if not name.startswith("check_")} == dict.fromkeys(
        ("purge_raw", "compact_lake", "vacuum", "start_missed_export"), "success"
    )
    said = stage.airflow.task_log(
        "bcda_maintenance",
        run,
        stage.airflow.api("GET", f"/dags/bcda_maintenance/dagRuns/{run}/taskInstances/start_missed_export"),
    )
    assert "is loaded." in said, said


def command(stage, program, *arguments):
    environment = stage.airflow.environment
    return subprocess.run([program, *arguments], env=environment, capture_output=True, text=True, check=False)


WRITE = f"""
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from rawfiles import load
from test_warehouse import EOB, claim, patient
from bcda import duckdb_files
from bcda.encryption import EncryptionKey
from bcda.places import Places
from bcda.warehouse import publish
assert not hasattr(duckdb_files, "storage_of"), "this is not the code of 1.0"
duckdb_files.LOAD_CRYPTOGRAPHY = {duckdb_cryptography.statement()!r}
places = replace(Places.below(Path(sys.argv[1])), key=EncryptionKey.from_text(sys.argv[2]))
load(places, [(EOB, claim(1) + claim(2)), ("Patient", patient())])
publish(places)
"""


@pytest.fixture
def encrypted(earlier, tmp_path, monkeypatch):
    """The places of an encrypted data home that 1.0 made: two claims and a Patient, loaded and published."""
    paths = os.pathsep.join(str(earlier / part) for part in ("include", "tests/unit"))
    command = [sys.executable, "-c", WRITE, tmp_path, duckdb_cryptography.KEY.text]
    subprocess.run(command, env={**os.environ, "PYTHONPATH": paths}, check=True)
    monkeypatch.setattr(duckdb_files, "LOAD_CRYPTOGRAPHY", duckdb_cryptography.statement())
    return replace(Places.below(tmp_path), key=duckdb_cryptography.KEY)


def opened(path, key=None):
    """Return the storage version of a published file and how many claims it shows, in itself and in the lake."""
    with duckdb.connect() as connection:
        if key:
            connection.execute(duckdb_cryptography.statement())
            duckdb_files.add_lake_key(connection, duckdb_files.LAKE_KEY, key)
        duckdb_files.attach(connection, path, "other", key=key, read_only=True)
        claims = "SELECT count(*) FROM other.claim_current"
        in_lake = "SELECT count(*) FROM other.resource WHERE resource_type = 'ExplanationOfBenefit'"
        counts = [connection.execute(sql).fetchall()[0][0] for sql in (claims, in_lake)]
        return duckdb_files.storage_of(connection, "other"), *counts


def test_an_encrypted_data_home_is_published_anew(encrypted):
    assert {check.status for check in check_storage(encrypted)} <= {Status.OK, Status.WARNING}
    publish(encrypted)
    assert opened(encrypted.published, encrypted.key) == (ENCRYPTED_STORAGE, 2, 2)


@pytest.mark.parametrize("new", [None, duckdb_cryptography.OTHER_KEY])
def test_an_encrypted_data_home_gets_another_key_or_none(encrypted, new):
    changed = change_key(encrypted, new)
    assert (changed.lake_files, changed.databases) == (len(list(encrypted.lake.rglob("*.parquet"))), 2)
    assert opened(encrypted.published, new)[1:] == (2, 2)
    publish(replace(encrypted, key=new))
    assert opened(encrypted.published, new) == (ENCRYPTED_STORAGE if new else DEFAULT_STORAGE, 2, 2)
