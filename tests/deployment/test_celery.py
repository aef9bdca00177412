"""The services of docker-compose.yaml on this machine: work spreads over two workers, and one of them may die.

`make test-celery`
"""

import os
import re
import subprocess
import time
from collections import Counter
from dataclasses import replace

import killed_exports
import pytest
from native import WORKERS, NativeServices, needs_programs, wait_until
from plain_export import run_export

import make_secrets
from bcda.settings import ConnectionSettings
from bcda.storage.places import Places
from bcda_simulator import Fault, FaultKind, SimulatorServer
from bcda_simulator.certificate import make_certificate
from bcda_simulator.world import World

pytestmark = pytest.mark.celery

DAG = "bcda_weekly_export"
BATCHES = 8
NOTICED_SECONDS = int(os.environ.get("NOTICED_SECONDS", "30"))
"""How soon Airflow misses a task of a lost worker here; its default is 300."""


@pytest.fixture(scope="module")
def simulator(tmp_path_factory):
    """A BCDA with TLS and a certificate of its own, as in the sandbox."""
    certificate = make_certificate(tmp_path_factory.mktemp("tls"), "localhost")
    world = World(people=12, seed=7, history_weeks=12)
    server = SimulatorServer(
        world, start=killed_exports.START, settings=killed_exports.SERVED, host="localhost", certificate=certificate
    )
    trusted = str(certificate.certificate)
    with server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", trusted)
        yield server, trusted


@pytest.fixture(scope="module")
def services(simulator, tmp_path_factory):
    """All services; the run that Airflow schedules by itself is over."""
    needs_programs()
    server, trusted = simulator
    connection = {
        "host": server.base_url,
        "login": server.entity.client_id,
        "password": server.entity.client_secret,
        "extra": {"poll_seconds": 8, "poll_max_seconds": 1, "backoff_initial_seconds": 1},
    }
    environment = {
        **dict.fromkeys(make_secrets.TRUST, trusted),
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": str(NOTICED_SECONDS),
    }
    home = tmp_path_factory.mktemp("celery")
    with NativeServices(
        home, connection=connection, environment=environment, variables={"BCDA_WORKER_CONCURRENCY": "2"}
    ) as running:
        running.airflow.unpause(DAG)
        wait_until(lambda: running.airflow.api("GET", f"/dags/{DAG}/dagRuns")["dag_runs"], "the scheduled run", 60)
        (first,) = running.airflow.api("GET", f"/dags/{DAG}/dagRuns")["dag_runs"]
        assert ended(running, first["dag_run_id"], 180) == "success"
        yield running


@pytest.fixture(scope="module")
def alone(simulator, tmp_path_factory):
    """The same exports by the library alone, one call after the other; call it after each run of Airflow."""
    server, _ = simulator
    settings = ConnectionSettings(
        server.base_url, server.entity.client_id, server.entity.client_secret, tuning=killed_exports.FAST
    )
    places = Places.below(tmp_path_factory.mktemp("alone"))
    run_export(settings, places)

    def run():
        run_export(settings, places, count=BATCHES, full=True)
        return remains(places)

    return run


def remains(places):
    """Tables, lake and received bytes. Airflow leaves reports and what the page shows beside them, and tells the warehouse whose it is."""
    left = killed_exports.remains(places, Counter())
    del left.tables["ops.setting"]
    return replace(left, files=frozenset(name for name in left.files if name.startswith("lake/")))


def found(services):
    return remains(Places.below(services.data))


def fetching_and_landing(services, run):
    instances = services.airflow.task_instances(DAG, run)
    return [instance for instance in instances if instance["task_id"].startswith("batch.")]


def ended(services, run, seconds):
    """Wait for a run; the logs of failed tasks go into pytest's report."""
    state = services.airflow.wait_for_run(DAG, run, seconds)
    for instance in services.airflow.task_instances(DAG, run):
        if instance["state"] == "failed":
            print(instance["task_id"], instance["try_number"], services.airflow.task_log(DAG, run, instance))
    return state


def test_every_health_check_tells_well_from_unwell(services):
    for service in ("api-server", "scheduler", "dag-processor", "triggerer"):
        assert services.trouble(service) == ""
    for name in WORKERS:
        assert services.trouble("worker", name) == ""
    assert "worker-9 does not answer" in services.trouble("worker", "worker-9")


def test_doctor_says_well_where_a_worker_runs(services):
    done = subprocess.run(
        ["airflow", "bcda", "doctor"],
        env=services.environment_of("worker"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "FAILED" not in done.stdout
    assert re.search(r"^ok +token", done.stdout, re.MULTILINE)


def test_eight_batches_spread_over_both_workers_and_give_the_same_tables(services, alone):
    started = time.monotonic()
    run = services.airflow.trigger(DAG, {"batches": BATCHES, "full": True})
    assert ended(services, run, 240) == "success"
    seconds = time.monotonic() - started
    tasks = fetching_and_landing(services, run)
    by_worker = Counter(task["hostname"] for task in tasks)
    print(f"\n{len(tasks)} tasks of {BATCHES} batches in {seconds:.0f} s: {dict(by_worker)}")
    assert len(tasks) == 2 * BATCHES
    assert set(by_worker) == set(WORKERS)
    pools = {task["task_id"]: task["pool"] for task in services.airflow.task_instances(DAG, run)}
    assert {name for name, pool in pools.items() if pool == "bcda_warehouse"} == {
        *("plan", "merge", "gaps.plan", "gaps.merge", "publish", "report")
    }
    assert killed_exports.differences(found(services), alone()) == []


def test_a_killed_worker_costs_time_and_nothing_else(services, simulator, alone):
    server, _ = simulator
    # Long enough that the worker dies with files half fetched.
    server.faults.add(Fault(FaultKind.DELAY, "data", seconds=3))
    run = services.airflow.trigger(DAG, {"batches": BATCHES, "full": True})
    victim = WORKERS[0]

    def at_work():
        tasks = fetching_and_landing(services, run)
        return [task for task in tasks if task["state"] == "running" and task["hostname"] == victim]

    wait_until(at_work, "a task on the first worker", 120)
    lost = {(task["task_id"], task["map_index"]) for task in at_work()}
    services.airflow.kill(victim)
    killed = time.monotonic()
    server.faults.clear()
    assert services.trouble("worker", victim) != ""
    assert ended(services, run, NOTICED_SECONDS + 300) == "success"
    tasks = {(task["task_id"], task["map_index"]): task for task in fetching_and_landing(services, run)}
    print(f"\n{len(lost)} tasks lost; the run ended {time.monotonic() - killed:.0f} s after the worker died")
    assert lost
    for name in lost:
        assert tasks[name]["hostname"] == WORKERS[1]
        assert tasks[name]["try_number"] > 1
    assert killed_exports.differences(found(services), alone()) == []
