"""Airflow as it runs in production: four processes, a scheduler that dies, people who clear and backfill."""

import json
import shutil
import sqlite3
import threading
import time
from contextlib import closing
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import duckdb
import httpx
import pytest
from canaries import leaks_below, people_of
from metric_sink import MetricSink
from waiting import wait_until

from airflow_processes import READ_SELDOM, SECRET_FILES, AirflowProcesses
from bcda_simulator.world import World
from simulator_process import POLL_SECONDS, SimulatorProcess

DAG = "bcda_weekly_export"
pytestmark = pytest.mark.processes


class Chat(BaseHTTPRequestHandler):
    """Keeps what it is told."""

    told: ClassVar[list[str]] = []

    def do_POST(self):
        self.told.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def chat():
    """Settings with which the project's notifiers tell a chat; it keeps what it is told."""
    notifier = {
        "notifier": "airflow.providers.http.notifications.http.HttpNotifier",
        "kwargs": {"http_conn_id": "chat", "json": {"text": "{{ bcda.text }}"}},
    }
    with ThreadingHTTPServer(("127.0.0.1", 0), Chat) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield {
            "BCDA_NOTIFIERS": json.dumps([notifier]),
            "AIRFLOW_CONN_CHAT": f"http://127.0.0.1:{server.server_port}",
        }
        server.shutdown()


@pytest.fixture(scope="module")
def stage(tmp_path_factory, chat):
    """A simulator process and a running Airflow that is connected to it; the schedule's first run is over."""
    home = tmp_path_factory.mktemp("processes")
    with (
        MetricSink() as sink,
        SimulatorProcess(home, "--people", "6", "--clock", "2026-11-10T12:00:00+00:00") as simulator,
    ):
        environment = {
            **READ_SELDOM,
            **sink.environment,
            **chat,
            "BCDA_LATE_HOURS": "0.001",
            "AIRFLOW_CONN_BCDA_DEFAULT": simulator.connection(poll_seconds=POLL_SECONDS, poll_max_seconds=2),
            "BCDA_HOME": str(home / "data"),
        }
        with AirflowProcesses(home / "airflow", environment=environment) as airflow:
            airflow.unpause(DAG)
            deadline = time.monotonic() + 60
            while not (runs := airflow.api("GET", f"/dags/{DAG}/dagRuns")["dag_runs"]):
                assert time.monotonic() < deadline
                time.sleep(0.5)
            assert airflow.wait_for_run(DAG, runs[0]["dag_run_id"]) == "success"
            yield airflow, simulator, home, sink


@pytest.fixture
def airflow(stage):
    return stage[0]


@pytest.fixture
def simulator(stage):
    simulator = stage[1]
    yield simulator
    simulator.control("DELETE", "faults")


def jobs(simulator):
    return {job["number"]: job["state"] for job in simulator.control("GET", "state")["jobs"]}


def begun(airflow, body):
    """Create a backfill.

    On SQLite Airflow refuses one now and then while its scheduler writes, and says to ask again. Part of it can be there even so; it ends
    by itself, and no other one is created before.
    """
    for _ in range(10):
        try:
            return airflow.api("POST", "/backfills", body)
        except httpx.HTTPStatusError as error:
            if error.response.status_code not in {409, 503}:
                raise
            time.sleep(1)
        for begun_before in airflow.api("GET", f"/backfills?dag_id={body['dag_id']}")["backfills"]:
            over(airflow, begun_before, 200)
    raise AssertionError("Airflow's database was locked ten times")


def over(airflow, backfill, seconds):
    """Wait for a backfill; on SQLite Airflow's scheduler can end when the creation of one is refused and undone meanwhile."""

    def is_over():
        airflow.start_again_what_ended()
        return airflow.api("GET", f"/backfills/{backfill['id']}")["completed_at"] is not None

    wait_until(is_over, seconds)


def ended(airflow, run):
    """Wait for a run; the logs of failed tasks go into pytest's report."""
    state = airflow.wait_for_run(DAG, run)
    for instance in airflow.task_instances(DAG, run):
        if instance["state"] == "failed":
            print(instance["task_id"], instance["try_number"], airflow.task_log(DAG, run, instance))
    return state


def test_tasks_and_the_triggerer_send_metrics_and_a_late_run_is_said_to_be_late(airflow, simulator, stage):
    home, sink = stage[2:]

    def sent(name):
        return [entry for entry in sink.sent() if entry.name == name]

    with duckdb.connect(str(home / "data" / "bcda.duckdb"), read_only=True) as connection:
        counted = connection.execute(
            "SELECT count(*), sum(wire_bytes), sum(lines_read) FROM ops.export_file"
        ).fetchall()
    emitted = ("bcda.files_fetched", "bcda.bytes_fetched", "bcda.lines_read")
    assert counted == [tuple(sum(int(entry.value) for entry in sent(name)) for name in emitted)]
    # The questions for the job's status are the triggerer's but for the last, which saves the manifest.
    asked = [request["endpoint"] for request in simulator.control("GET", "state")["requests"]]
    assert asked.count("status") > 1
    assert len(sent("bcda.requests")) == len([name for name in asked if name not in {"open", "metadata"}])

    wait_until(lambda: sent("bcda.runs_late"))
    assert sent("bcda.runs_late")[0].tags == {"source": "bcda_default", "dag_id": DAG}
    wait_until(
        lambda: "is not done 0.001 hours after it was queued" in (home / "airflow" / "triggerer.log").read_text()
    )
    wait_until(lambda: any("is not done 0.001 hours after it was queued" in text for text in Chat.told))


def test_a_waiting_run_holds_no_worker_and_survives_a_killed_scheduler_and_is_cancelled_with_its_task(
    airflow, simulator
):
    simulator.control("POST", "faults", {"kind": "stuck", "endpoint": "kick-off", "times": 1})
    before = jobs(simulator)
    run = airflow.trigger(DAG, {"resource_types": ["Patient"]})
    airflow.wait_for_task(DAG, run, "wait_for_job", ["deferred"])
    (job,) = set(jobs(simulator)) - set(before)

    # No worker slot, no pool slot: the wait lives in the triggerer.
    pool = airflow.api("GET", "/pools/default_pool")
    assert (pool["running_slots"], pool["queued_slots"], pool["occupied_slots"]) == (0, 0, 0)
    assert pool["deferred_slots"] == 1
    assert [ti["task_id"] for ti in airflow.task_instances(DAG, run) if ti["state"] in {"running", "queued"}] == []

    airflow.kill("scheduler")
    airflow.start("scheduler")
    polls = len([r for r in simulator.control("GET", "state")["requests"] if r["endpoint"] == "status"])
    wait_until(
        lambda: len([r for r in simulator.control("GET", "state")["requests"] if r["endpoint"] == "status"]) > polls + 3
    )
    health = httpx.get(f"{airflow.base_url}/api/v2/monitor/health").json()
    wait_until(
        lambda: httpx.get(f"{airflow.base_url}/api/v2/monitor/health").json()["scheduler"]["status"] == "healthy"
    )
    assert health["triggerer"]["status"] == "healthy"
    assert set(jobs(simulator)) - set(before) == {job}
    assert jobs(simulator)[job] in {"Pending", "In Progress"}

    body = {
        "dry_run": False,
        "dag_run_id": run,
        "task_ids": ["kick_off"],
        "include_downstream": True,
        "only_failed": False,
    }
    airflow.api("POST", f"/dags/{DAG}/clearTaskInstances", body)
    wait_until(lambda: jobs(simulator)[job] == "Cancelled")
    # Cleared from the kick-off on, the run starts another job and ends well.
    assert ended(airflow, run) == "success"
    (second,) = set(jobs(simulator)) - set(before) - {job}
    assert jobs(simulator)[second] == "Completed"


def test_a_run_tells_of_itself_in_its_note_and_links_to_job_page_and_report(airflow, simulator, stage):
    (run,) = [
        run
        for run in airflow.api("GET", f"/dags/{DAG}/dagRuns?limit=100")["dag_runs"]
        if run["run_type"] == "scheduled"
    ]
    (report,) = (stage[2] / "data" / "reports").glob(f"{first_run(stage)}.txt")
    assert run["note"] == f"BCDA {report.read_text().splitlines()[1]}"

    def links(task):
        return airflow.api("GET", f"/dags/{DAG}/dagRuns/{run['dag_run_id']}/taskInstances/{task}/links")["extra_links"]

    job = f"{simulator.facts['base_url']}/api/v2/jobs/1"
    page = f"{airflow.base_url}/bcda/?source=bcda_default&run={report.stem}"
    for task in ("kick_off", "wait_for_job"):
        assert links(task) == {"BCDA job": job, "BCDA page": page}
    assert links("merge") == links("plan") == {"BCDA page": page}
    shown = f"{airflow.base_url}/bcda/reports/{report.stem}?source=bcda_default"
    assert links("report") == {"BCDA page": page, "Run report": shown}


def first_run(stage):
    with duckdb.connect(str(stage[2] / "data" / "bcda.duckdb"), read_only=True) as connection:
        return connection.execute("SELECT min_by(run_id, finished_at) FROM ops.export_run").fetchall()[0][0]


def waiting_for_ever(airflow, simulator, resource_type):
    """Start a run whose job never ends; return it and the job once its trigger has asked for it."""
    simulator.control("POST", "faults", {"kind": "stuck", "endpoint": "kick-off", "times": 1})
    before = set(jobs(simulator))
    run = airflow.trigger(DAG, {"resource_types": [resource_type]})
    airflow.wait_for_task(DAG, run, "wait_for_job", ["deferred"])
    (job,) = set(jobs(simulator)) - before
    # The trigger reads its connection when it first runs; what it has not started yet it could not cancel.
    wait_until(lambda: any(f"/jobs/{job}" in r["target"] for r in simulator.control("GET", "state")["requests"]))
    return run, job


def test_clearing_the_waiting_task_alone_cancels_its_job_and_says_what_to_do(airflow, simulator):
    run, job = waiting_for_ever(airflow, simulator, "Coverage")
    body = {"dry_run": False, "dag_run_id": run, "task_ids": ["wait_for_job"], "only_failed": False}
    airflow.api("POST", f"/dags/{DAG}/clearTaskInstances", body)
    wait_until(lambda: jobs(simulator)[job] == "Cancelled")
    assert airflow.wait_for_run(DAG, run) == "failed"
    instance = airflow.api("GET", f"/dags/{DAG}/dagRuns/{run}/taskInstances/wait_for_job")
    assert "Clear `kick_off` with everything after it" in airflow.task_log(DAG, run, instance)


def test_a_wait_that_a_person_marks_failed_cancels_its_job(airflow, simulator):
    run, job = waiting_for_ever(airflow, simulator, "Claim")
    airflow.api("PATCH", f"/dags/{DAG}/dagRuns/{run}/taskInstances/wait_for_job", {"new_state": "failed"})
    wait_until(lambda: jobs(simulator)[job] == "Cancelled")
    assert airflow.wait_for_run(DAG, run) == "failed"


def test_clearing_the_kick_off_of_a_loaded_run_is_refused_and_clearing_its_plan_starts_another(airflow, simulator):
    run = airflow.trigger(DAG, {"resource_types": ["Coverage"]})
    assert ended(airflow, run) == "success"
    before = set(jobs(simulator))

    def clear(task):
        body = {
            "dry_run": False,
            "dag_run_id": run,
            "task_ids": [task],
            "include_downstream": True,
            "only_failed": False,
        }
        airflow.api("POST", f"/dags/{DAG}/clearTaskInstances", body)

    clear("kick_off")
    assert airflow.wait_for_run(DAG, run) == "failed"
    instance = airflow.api("GET", f"/dags/{DAG}/dagRuns/{run}/taskInstances/kick_off")
    assert "clear `plan` with everything after it" in airflow.task_log(DAG, run, instance)
    assert set(jobs(simulator)) == before
    clear("plan")
    assert ended(airflow, run) == "success"
    (job,) = set(jobs(simulator)) - before
    assert jobs(simulator)[job] == "Completed"


def test_the_test_button_answers_in_a_sentence(airflow, simulator):
    connection = {
        "connection_id": "try_it",
        "conn_type": "bcda",
        "host": simulator.facts["base_url"],
        "login": simulator.facts["client_id"],
        "password": simulator.facts["client_secret"],
    }
    good = airflow.api("POST", "/connections/test", connection)
    assert good["status"] is True, good
    assert "accepts the credentials" in good["message"]
    bad = airflow.api("POST", "/connections/test", {**connection, "password": "not-the-secret"})
    assert bad["status"] is False
    assert "client secret" in bad["message"]
    assert "not-the-secret" not in bad["message"]


def test_the_connection_form_has_the_fields_of_a_bcda_connection(airflow):
    answer = airflow._http.get("/ui/connections/hook_meta")
    (meta,) = [entry for entry in answer.json() if entry["connection_type"] == "bcda"]
    assert meta["hook_name"] == "BCDA"
    assert meta["standard_fields"]["host"]["title"] == "Address"
    assert set(meta["extra_fields"]) == {"api_version", "credentials_made_on", "advanced"}


def backfilled(airflow, before):
    runs = airflow.api("GET", f"/dags/{DAG}/dagRuns?limit=100")["dag_runs"]
    return [run for run in runs if run["run_type"] == "backfill" and run["dag_run_id"] not in before]


def test_a_backfill_of_eight_weeks_makes_one_export_and_seven_skips(airflow, simulator, stage):
    jobs_before, runs_before = set(jobs(simulator)), {run["dag_run_id"] for run in backfilled(airflow, ())}
    body = {
        "dag_id": DAG,
        "from_date": "2026-07-06T00:00:00Z",
        "to_date": "2026-08-26T00:00:00Z",
        "reprocess_behavior": "none",
        "max_active_runs": 1,
        "run_backwards": False,
        "dag_run_conf": {"resource_types": ["ClaimResponse"], "batches": 1},
    }
    backfill = begun(airflow, body)
    over(airflow, backfill, 500)
    runs = backfilled(airflow, runs_before)
    assert len(runs) == 8
    assert {run["state"] for run in runs} == {"success"}
    states = [
        airflow.api("GET", f"/dags/{DAG}/dagRuns/{run['dag_run_id']}/taskInstances/plan")["state"] for run in runs
    ]
    assert sorted(states) == ["skipped"] * 7 + ["success"]
    assert len(set(jobs(simulator)) - jobs_before) == 1
    first = min(runs, key=lambda run: run["data_interval_start"])
    assert states[runs.index(first)] == "success"
    # It asked from the start of its interval, and the others say in their log why they need not ask.
    with duckdb.connect(str(stage[2] / "data" / "bcda.duckdb"), read_only=True) as connection:
        since = connection.execute(
            "SELECT since_ts FROM ops.export_run WHERE resource_types = ['ClaimResponse']"
        ).fetchall()
    assert [row[0].replace(tzinfo=UTC) for row in since] == [datetime.fromisoformat(first["data_interval_start"])]
    for run in runs:
        if run is not first:
            plan = airflow.api("GET", f"/dags/{DAG}/dagRuns/{run['dag_run_id']}/taskInstances/plan")
            assert "is covered for" in airflow.task_log(DAG, run["dag_run_id"], plan)

    # Run again as a person would, the same weeks are looked at again and nothing is fetched.
    again = begun(airflow, {**body, "reprocess_behavior": "completed", "to_date": "2026-07-08T00:00:00Z"})
    over(airflow, again, 120)
    plan = airflow.api("GET", f"/dags/{DAG}/dagRuns/{first['dag_run_id']}/taskInstances/plan")
    assert plan["state"] == "skipped"
    assert len(set(jobs(simulator)) - jobs_before) == 1


def test_the_runout_form_is_checked_before_a_run_exists(airflow):
    for conf, said in (
        ({"since": "last week"}, "since"),
        ({"resource_types": ["Observation"]}, "resource_types"),
        ({"full": "yes"}, "full"),
    ):
        with pytest.raises(httpx.HTTPStatusError) as caught:
            airflow.trigger("bcda_runout_export", conf)
        assert caught.value.response.status_code == 400
        assert said in caught.value.response.text


def test_a_new_attribution_list_is_loaded_by_exactly_one_run_across_a_restart_of_the_triggerer(
    airflow, simulator, stage
):
    check, export = "bcda_attribution_check", "bcda_attribution_export"
    for name in (check, export):
        airflow.unpause(name)
    # Switched on, each makes the run of its newest interval; the list is loaded, so both find nothing to do.
    for name in (check, export):
        wait_until(lambda name=name: airflow.api("GET", f"/dags/{name}/dagRuns")["dag_runs"])
        first = airflow.api("GET", f"/dags/{name}/dagRuns")["dag_runs"][0]["dag_run_id"]
        assert airflow.wait_for_run(name, first) == "success"

    def runs():
        return [
            run
            for run in airflow.api("GET", f"/dags/{export}/dagRuns")["dag_runs"]
            if run["run_type"] == "asset_triggered"
        ]

    assert runs() == []
    simulator.control("POST", "clock", {"set": "2026-12-06T12:00:00+00:00"})
    looked = airflow.trigger(check)
    assert airflow.wait_for_run(check, looked) == "success"
    wait_until(lambda: len(runs()) == 1)
    run = runs()[0]["dag_run_id"]
    airflow.wait_for_task(export, run, "roster.wait_for_job", ["deferred"])
    airflow.kill("triggerer")
    # Looked for again while it is at work, the list is not announced a second time.
    looked = airflow.trigger(check)
    assert airflow.wait_for_run(check, looked) == "success"
    instance = airflow.api("GET", f"/dags/{check}/dagRuns/{looked}/taskInstances/check_list")
    assert instance["state"] == "skipped"
    assert "is at work" in airflow.task_log(check, looked, instance)
    airflow.start("triggerer")
    assert airflow.wait_for_run(export, run, 240) == "success"
    looked = airflow.trigger(check)
    assert airflow.wait_for_run(check, looked) == "success"
    assert len(runs()) == 1
    with duckdb.connect(str(stage[2] / "data" / "bcda.duckdb"), read_only=True) as connection:
        loaded = connection.execute(
            "SELECT DISTINCT list_loaded::DATE::VARCHAR FROM ops.data_status WHERE resource_type IN ('Patient', 'Coverage', 'ExplanationOfBenefit')"
        ).fetchall()
    assert loaded == [("2026-12-05",)]


def private_of(simulator):
    now = datetime.fromisoformat(simulator.control("GET", "state")["now"])
    return people_of(World(people=6), 6, now=now, secret=simulator.facts["client_secret"])


def test_nothing_secret_or_personal_is_in_anything_that_airflow_keeps(airflow, simulator, stage):
    searched, found = leaks_below(stage[2] / "airflow", private_of(simulator), but=SECRET_FILES)
    assert searched > 50
    assert found == []


def test_a_canary_that_airflow_would_keep_is_found(airflow, simulator, stage, tmp_path):
    wanted = private_of(simulator)
    shutil.copy(stage[2] / "airflow" / "airflow.db", tmp_path / "airflow.db")
    assert leaks_below(tmp_path, wanted) == (1, [])
    with closing(sqlite3.connect(tmp_path / "airflow.db")) as database, database:
        value = json.dumps({"reason": f"for {wanted[0]}"})
        changed = database.execute("UPDATE xcom SET value = ? WHERE rowid = (SELECT min(rowid) FROM xcom)", [value])
        assert changed.rowcount == 1
    (tmp_path / f"{wanted[1]}.log").touch()
    assert leaks_below(tmp_path, wanted)[1] == ["airflow.db holds a canary", f"{wanted[1]}.log holds a canary"]
