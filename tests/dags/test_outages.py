"""An outage in each phase on a real Airflow: tasks wait without a worker, say why, and everything loads without a person."""

import json
import time
from collections import Counter

import duckdb
import pytest
from relay import Relay
from waiting import wait_until

from airflow_processes import READ_SELDOM, AirflowProcesses
from simulator_process import POLL_SECONDS, SimulatorProcess

UNSEEN = "\u200b"
"""What keeps Airflow from making links of addresses in notes."""

DAG, MAINTENANCE = "bcda_weekly_export", "bcda_maintenance"
WISH = {"full": True, "batches": 1, "resource_types": ["Patient", "ExplanationOfBenefit"]}
pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    """A simulator behind a relay, and a running Airflow whose pauses between tries are a fifth of the usual ones."""
    home = tmp_path_factory.mktemp("outages")
    with (
        SimulatorProcess(home, "--people", "6", "--clock", "2026-11-10T12:00:00+00:00") as simulator,
        Relay(int(simulator.facts["base_url"].rpartition(":")[2])) as relay,
    ):
        tuning = {"poll_seconds": POLL_SECONDS, "poll_max_seconds": 2, "backoff_initial_seconds": 0.1}
        connection = json.loads(simulator.connection(**tuning, failed_grace_seconds=1))
        environment = {
            **READ_SELDOM,
            "BCDA_RETRY_SCALE": "0.2",
            "AIRFLOW_CONN_BCDA_DEFAULT": json.dumps(connection | {"host": f"http://127.0.0.1:{relay.port}"}),
            "BCDA_HOME": str(home / "data"),
        }
        with AirflowProcesses(home / "airflow", environment=environment) as airflow:
            yield airflow, simulator, relay, home / "data"


@pytest.fixture
def airflow(stage):
    return stage[0]


@pytest.fixture
def simulator(stage):
    simulator = stage[1]
    yield simulator
    simulator.control("DELETE", "faults")


@pytest.fixture
def relay(stage):
    return stage[2]


def asked(simulator):
    return simulator.control("GET", "state")["requests"]


def wait_for_task(airflow, run, task, state):
    """Wait for a task of a run, mapped or not, and return its instances that are in a state."""
    found = []

    def reached():
        found[:] = [ti for ti in airflow.task_instances(DAG, run) if ti["task_id"] == task and ti["state"] == state]
        return bool(found)

    wait_until(reached)
    return found


def check_it_waits_without_a_worker(airflow, run, task):
    """Check that a task is up for retry, that nothing holds a worker, and that page and note say why."""
    first = wait_for_task(airflow, run, task, "up_for_retry")[0]
    pool = airflow.api("GET", "/pools/default_pool")
    assert (pool["running_slots"], pool["queued_slots"]) == (0, 0)

    def note_of_run():
        return airflow.api("GET", f"/dags/{DAG}/dagRuns/{run}")["note"] or ""

    # The task says it right after Airflow knows that it is up for retry.
    wait_until(lambda: note_of_run().startswith(f"BCDA {task}"), 30)
    note = note_of_run()
    assert "failed in try 1 of 10: ServerError: " in note
    assert " Next try at " in note
    page = airflow._http.get("/bcda/runs?source=bcda_default").text
    assert note.removeprefix("BCDA ").partition(": ServerError")[0] in page
    assert "without holding a worker" in page
    # The log of the try begins and ends its error with the same sentence, below everything that Airflow folds away.
    path = f"/dags/{DAG}/dagRuns/{run}/taskInstances/{task}/logs/{first['try_number'] - 1 or 1}"
    entries = airflow.api("GET", f"{path}?map_index={first['map_index']}&full_content=true")["content"]
    errors = [entry for entry in entries if isinstance(entry, dict) and entry.get("level") == "error"]
    assert errors[0]["event"] == errors[-1]["event"] == note.removeprefix("BCDA ").replace(UNSEEN, "")
    assert [len(entry["error_detail"]) for entry in errors if entry.get("error_detail")] == [1]
    after = [entry["event"] for entry in entries if isinstance(entry, dict)]
    last = len(after) - 1 - after[::-1].index(errors[-1]["event"])
    assert set(after[last + 1 :]) <= {"::endgroup::"}
    assert after[last - 1] == "::endgroup::"


def loaded(stage):
    with duckdb.connect(str(stage[3] / "bcda.duckdb"), read_only=True) as connection:
        return connection.execute("SELECT count(*), sum(lines_read) FROM ops.export_run").fetchall()[0]


def test_a_failed_week_is_started_again_by_the_maintenance_once_it_may_work(airflow, simulator, stage):
    # The first run of the schedule: its job fails at BCDA, which no person can mend.
    simulator.control("POST", "faults", {"kind": "job-fails", "endpoint": "kick-off", "times": 1})
    airflow.unpause(DAG)
    wait_until(lambda: airflow.api("GET", f"/dags/{DAG}/dagRuns")["dag_runs"])
    (scheduled,) = airflow.api("GET", f"/dags/{DAG}/dagRuns")["dag_runs"]
    assert airflow.wait_for_run(DAG, scheduled["dag_run_id"]) == "failed"
    note = airflow.api("GET", f"/dags/{DAG}/dagRuns/{scheduled['dag_run_id']}")["note"]
    assert note.startswith("BCDA wait_for_job failed: ExportFailedError: Job 1 failed at BCDA")

    airflow.unpause(MAINTENANCE)
    wait_until(lambda: airflow.api("GET", f"/dags/{MAINTENANCE}/dagRuns")["dag_runs"])
    wait_until(lambda: len(airflow.api("GET", f"/dags/{DAG}/dagRuns")["dag_runs"]) == 2)
    (started,) = [
        run
        for run in airflow.api("GET", f"/dags/{DAG}/dagRuns")["dag_runs"]
        if run["dag_run_id"].startswith("missed__")
    ]
    assert airflow.wait_for_run(DAG, started["dag_run_id"]) == "success"
    assert loaded(stage)[0] == 1

    # Once it is loaded, nothing is started.
    again = airflow.trigger(MAINTENANCE)
    # The data of the simulator is weeks old by this machine's clock, so `check_freshness` fails.
    airflow.wait_for_run(MAINTENANCE, again)
    task = airflow.api("GET", f"/dags/{MAINTENANCE}/dagRuns/{again}/taskInstances/start_missed_export")
    assert "is loaded." in airflow.task_log(MAINTENANCE, again, task)
    assert len(airflow.api("GET", f"/dags/{DAG}/dagRuns")["dag_runs"]) == 2


def test_a_network_that_is_gone_before_the_plan(airflow, relay, stage):
    before = loaded(stage)[0]
    relay.cut()
    run = airflow.trigger(DAG, WISH)
    check_it_waits_without_a_worker(airflow, run, "plan")
    relay.restore()
    assert airflow.wait_for_run(DAG, run) == "success"
    assert loaded(stage)[0] == before + 1


def test_a_token_service_that_is_down_at_the_kick_off_costs_no_second_job(airflow, simulator, stage):
    before, jobs = loaded(stage)[0], len(simulator.control("GET", "state")["jobs"])
    simulator.control("POST", "faults", {"kind": "drop", "endpoint": "token"})
    run = airflow.trigger(DAG, WISH)
    check_it_waits_without_a_worker(airflow, run, "kick_off")
    simulator.control("DELETE", "faults")
    # The job is started, and the connection breaks before BCDA says so: the next try adopts it.
    simulator.control("POST", "faults", {"kind": "phantom", "endpoint": "kick-off", "times": 1})
    assert airflow.wait_for_run(DAG, run) == "success"
    assert loaded(stage)[0] == before + 1
    states = Counter(job["state"] for job in simulator.control("GET", "state")["jobs"][jobs:])
    assert states["Completed"] == 1
    assert set(states) <= {"Completed", "Cancelled"}


def test_a_network_that_is_gone_while_the_job_runs(airflow, relay, stage):
    before = loaded(stage)[0]
    run = airflow.trigger(DAG, WISH)
    wait_for_task(airflow, run, "wait_for_job", "deferred")
    relay.cut()
    time.sleep(POLL_SECONDS + 6)
    (waiting,) = [ti for ti in airflow.task_instances(DAG, run) if ti["task_id"] == "wait_for_job"]
    assert waiting["state"] == "deferred"
    relay.restore()
    assert airflow.wait_for_run(DAG, run) == "success"
    assert loaded(stage)[0] == before + 1


def test_a_server_that_answers_503_to_downloads_and_then_is_gone(airflow, simulator, relay, stage):
    before, seen = loaded(stage)[0], len(asked(simulator))
    # One file passes; what is receipted is not asked for again.
    simulator.control("POST", "faults", {"kind": "answer", "endpoint": "data", "status": 503, "skip": 1})
    run = airflow.trigger(DAG, WISH)
    check_it_waits_without_a_worker(airflow, run, "batch.fetch")
    relay.cut()
    simulator.control("DELETE", "faults")
    wait_until(lambda: any(ti["try_number"] > 2 for ti in airflow.task_instances(DAG, run)))
    relay.restore()
    assert airflow.wait_for_run(DAG, run, 240) == "success"
    assert loaded(stage)[0] == before + 1
    fetched = Counter(
        entry["target"] for entry in asked(simulator)[seen:] if entry["endpoint"] == "data" and entry["status"] == 200
    )
    assert set(fetched.values()) == {1}
