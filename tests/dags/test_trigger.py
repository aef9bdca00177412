"""The job trigger across the border: serialized, through JSON, imported by its path, run against the simulator."""

import asyncio
import importlib
import inspect
import json
import time
from dataclasses import replace
from datetime import timedelta

import pytest
from plain_export import planned

from bcda import budgets
from bcda.api.client import BcdaClient
from bcda.api.export_request import ExportRequest, Scope
from bcda.api.wait_clock import SLACK_SECONDS
from bcda.runs import job_records
from bcda.runs.run import amend_run
from bcda.settings import ApiVersion
from bcda_provider.events import JobEvent, Outcome
from bcda_simulator import Fault, FaultKind, SimulatorSettings

PATIENTS = ExportRequest(ApiVersion.V2, Scope.PATIENT, ("Patient",))


@pytest.fixture
def trigger_for(serve, settings_for, connect):
    async def make(server, *, deadline_seconds=60.0, restart_seconds=None, run_id="", **connection):
        connect(server, **connection)
        async with BcdaClient(settings_for(server)) as client:
            job_id = await client.kick_off(PATIENTS)
        from bcda_provider.triggers import BcdaJobTrigger

        made = BcdaJobTrigger(
            bcda_conn_id="bcda_default",
            api_version="v2",
            job_id=job_id,
            deadline_epoch_seconds=time.time() + deadline_seconds,
            run_id=run_id,
            restart_at_epoch_seconds=None if restart_seconds is None else time.time() + restart_seconds,
        )
        path, arguments = json.loads(json.dumps(made.serialize()))
        assert "secret" not in json.dumps(arguments)
        module, _, name = path.rpartition(".")
        return getattr(importlib.import_module(module), name)(**arguments)

    return make


async def event_of(trigger):
    return JobEvent.from_json(json.loads(json.dumps((await anext(trigger.run())).payload)))


@pytest.mark.parametrize(
    ("faults", "connection", "deadline", "outcome"),
    [
        ([], {}, 60, Outcome.COMPLETED),
        ([Fault(FaultKind.EXPIRE_TOKENS, "status", times=1)], {}, 60, Outcome.COMPLETED),
        ([Fault(FaultKind.ANSWER, "status", status=503, times=20)], {}, 60, Outcome.COMPLETED),
        ([Fault(FaultKind.STUCK, "kick-off")], {}, 1, Outcome.DEADLINE),
        ([Fault(FaultKind.JOB_FAILS, "kick-off")], {}, 60, Outcome.ENDED),
        ([Fault(FaultKind.ANSWER, "status", status=403)], {}, 60, Outcome.REFUSED),
    ],
    ids=["completes", "token-expires", "outage", "stuck", "fails", "refused"],
)
async def test_a_wait_ends_with_one_event(airflow_database, serve, trigger_for, faults, connection, deadline, outcome):
    server = serve(faults=faults)
    trigger = await trigger_for(server, deadline_seconds=deadline, **connection)
    assert (await event_of(trigger)).outcome is outcome
    if outcome is Outcome.DEADLINE:
        assert server.jobs() == {1: "Cancelled"}


async def test_a_job_that_stays_pending_is_given_back_and_not_cancelled(airflow_database, serve, trigger_for):
    server = serve(faults=[Fault(FaultKind.STUCK_PENDING, "kick-off")])
    event = await event_of(await trigger_for(server, restart_seconds=0.3))
    assert (event.outcome, event.state) == (Outcome.STUCK, "pending")
    assert server.jobs() == {1: "Pending"}


async def test_a_restarted_triggerer_knows_that_the_job_had_begun(airflow_database, serve, trigger_for, places):
    fails = Fault(FaultKind.JOB_FAILS, "kick-off", seconds=100)
    server = serve(faults=[fails])
    places.run_folder("run").mkdir(parents=True)
    trigger = await trigger_for(server, run_id="run")
    before = asyncio.ensure_future(anext(trigger.run()))
    while not list(places.raw.glob("run/job-1-begun.json")):
        await asyncio.sleep(0.05)
    before.cancel()
    server.clock.advance(100)
    # The new process has not seen the job yet; without the record it would grant it 75 minutes.
    path, arguments = trigger.serialize()
    after = getattr(importlib.import_module(path.rpartition(".")[0]), path.rpartition(".")[2])(**arguments)
    event = await asyncio.wait_for(event_of(after), 10)
    assert (event.outcome, event.state) == (Outcome.ENDED, "failed")


@pytest.mark.parametrize("restart_seconds", [None, -86_400.0], ids=["deadline", "restart"])
async def test_a_clock_that_jumped_cancels_no_job(
    airflow_database, serve, settings_for, trigger_for, places, restart_seconds
):
    """By our clock, which has just been set a day ahead, the deadline has passed; by BCDA's, the job has just begun."""
    server = serve(settings=SimulatorSettings(pending_seconds=60))
    run = planned(settings_for(server), places, resource_types=("Patient",))
    amend_run(places.run_folder(run.run_id), asked_at=server.clock.now())
    trigger = await trigger_for(server, deadline_seconds=-86_400.0, restart_seconds=restart_seconds, run_id=run.run_id)
    waiting = asyncio.ensure_future(event_of(trigger))
    while sum(entry.endpoint == "status" for entry in server.requests) < 3:
        await asyncio.sleep(0.02)
    server.clock.advance(60)
    assert (await asyncio.wait_for(waiting, 20)).outcome is Outcome.COMPLETED
    assert not any(entry.endpoint == "cancel" for entry in server.requests)


async def test_by_bcdas_clock_too_a_wait_has_an_end(airflow_database, serve, settings_for, trigger_for, places):
    server = serve(faults=[Fault(FaultKind.STUCK, "kick-off")])
    run = planned(settings_for(server), places, resource_types=("Patient",))
    amend_run(places.run_folder(run.run_id), asked_at=server.clock.now())
    waiting = asyncio.ensure_future(event_of(await trigger_for(server, deadline_seconds=-1.0, run_id=run.run_id)))
    while not any(entry.endpoint == "status" for entry in server.requests):
        await asyncio.sleep(0.02)
    server.clock.advance(2 * 86_400)
    assert (await asyncio.wait_for(waiting, 20)).outcome is Outcome.DEADLINE
    assert server.jobs() == {1: "Cancelled"}


@pytest.mark.parametrize("ends", [True, False])
async def test_a_cancellation_at_the_deadline_is_looked_after(airflow_database, serve, trigger_for, monkeypatch, ends):
    """It can be lost, and then the job ends well or goes on (docs/bcda.md#cancellation)."""
    monkeypatch.setattr(budgets, "GIVE_UP_SECONDS", 0.5)
    server = serve(settings=SimulatorSettings(pending_seconds=60), faults=[Fault(FaultKind.CANCEL_LOST, "cancel")])
    waiting = asyncio.ensure_future(event_of(await trigger_for(server, deadline_seconds=0.3)))
    while not any(entry.endpoint == "cancel" for entry in server.requests):
        await asyncio.sleep(0.02)
    if ends:
        server.clock.advance(60)
    event = await waiting
    assert event.outcome is (Outcome.COMPLETED if ends else Outcome.DEADLINE)
    assert ("accepted the cancellation, but it is still pending" in event.reason) is not ends


async def test_connections_that_are_not_made_end_no_wait(airflow_database, serve, trigger_for, gate):
    server = serve(settings=SimulatorSettings(pending_seconds=2))
    trigger = await trigger_for(server, extra={"max_attempts": 2, "backoff_initial_seconds": 0.01})
    # Five tries of a triggerer that has just started; the client's two tries each are used up twice.
    gate.refuses = 5
    event = await event_of(trigger)
    assert (event.outcome, gate.refused) == (Outcome.COMPLETED, 5)


QUICK = {"max_attempts": 2, "backoff_initial_seconds": 0.01}


@pytest.mark.parametrize(
    ("fault", "seconds", "states", "said"),
    [
        ({"status": 503, "times": 7}, 60, {1: "Cancelled"}, ""),
        ({"status": 503}, 1, {1: "In Progress"}, "Canceling job 1: 503"),
        ({"status": 403}, 60, {1: "In Progress"}, "Canceling job 1: 403"),
    ],
    ids=["for a while", "for good", "refused"],
)
async def test_a_deadline_stays_one_when_the_job_cannot_be_cancelled(
    airflow_database, serve, trigger_for, monkeypatch, fault, seconds, states, said
):
    monkeypatch.setattr(budgets, "GIVE_UP_SECONDS", seconds)
    server = serve(faults=[Fault(FaultKind.STUCK, "kick-off"), Fault(FaultKind.ANSWER, "cancel", **fault)])
    trigger = await trigger_for(server, deadline_seconds=1, extra=QUICK)
    event = await event_of(trigger)
    assert (event.outcome, event.state) == (Outcome.DEADLINE, "in-progress")
    assert event.reason.startswith(said)
    assert bool(event.reason) is bool(said)
    assert server.jobs() == states


async def test_a_job_that_ends_well_before_it_can_be_cancelled_is_taken(airflow_database, serve, trigger_for):
    server = serve(settings=SimulatorSettings(pending_seconds=1))
    server.faults.add(Fault(FaultKind.ANSWER, "cancel", status=503))
    trigger = await trigger_for(server, deadline_seconds=0.3, extra=QUICK)
    waiting = asyncio.ensure_future(event_of(trigger))
    while server.jobs() != {1: "Completed"}:
        await asyncio.sleep(0.05)
    server.faults.clear()
    # As BCDA answers for a complete job, too, while it cannot check tokens (docs/bcda.md#token-check).
    server.faults.add(Fault(FaultKind.ANSWER, "status", status=500, text="Internal Error", times=1))
    assert (await waiting).outcome is Outcome.COMPLETED


async def test_on_kill_cancels_the_job_without_asking_for_the_connection(
    airflow_database, serve, trigger_for, places, monkeypatch
):
    server = serve(settings=SimulatorSettings(pending_seconds=60))
    places.run_folder("run").mkdir(parents=True)
    trigger = await trigger_for(server, run_id="run")
    running = trigger.run()
    task = asyncio.ensure_future(anext(running))
    while not any(entry.endpoint == "status" for entry in server.requests):
        await asyncio.sleep(0.05)
    monkeypatch.delenv("AIRFLOW_CONN_BCDA_DEFAULT")
    await trigger.on_kill()
    assert server.jobs() == {1: "Cancelled"}
    # So that the next kick-off knows the job when it comes back.
    assert list(job_records.cancelled(places)) == ["1"]
    task.cancel()


def test_an_event_of_another_shape_is_refused():
    from bcda.errors import ManifestError

    for value in (None, {}, {"job_id": "1", "outcome": "odd", "state": "pending", "reason": ""}, "text"):
        with pytest.raises(ManifestError):
            JobEvent.from_json(value)


async def test_a_server_that_wants_a_long_wait_is_not_asked_before(airflow_database, serve, trigger_for):
    away = Fault(FaultKind.ANSWER, "status", status=503, retry_after="3600")
    server = serve(faults=[Fault(FaultKind.STUCK, "kick-off"), away])
    trigger = await trigger_for(server, deadline_seconds=2)
    assert (await event_of(trigger)).outcome is Outcome.DEADLINE
    # Polls are tenths of a second apart otherwise; the second question is the last before the job is canceled, the third after.
    assert [request.endpoint for request in server.requests].count("status") == 3


def test_deferred_tasks_of_earlier_releases_find_what_they_resume_with(airflow_database):
    from bcda_provider.operators import BcdaKickOffOperator
    from bcda_provider.sensors import BcdaJobSensor
    from bcda_provider.triggers import BcdaJobTrigger

    # As version 1.0 stored it: class path, arguments, and the method that the task goes on with.
    arguments = {"bcda_conn_id": "bcda_default", "api_version": "v2", "job_id": "7", "deadline_epoch_seconds": 1.5}
    path, stored = BcdaJobTrigger(**arguments).serialize()
    assert path == "bcda_provider.triggers.BcdaJobTrigger"
    # What 1.0 did not know stays off: nothing is kept of the job, and it is not started again.
    assert stored == arguments | {"run_id": "", "restart_at_epoch_seconds": None}
    for operator in (BcdaKickOffOperator, BcdaJobSensor):
        assert "event" in inspect.signature(operator.execute_complete).parameters


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(Fault(FaultKind.DRIP, "status", seconds=0.1), id="body"),
        pytest.param(Fault(FaultKind.ENDLESS_HEADERS, "status", seconds=0.1), id="headers", marks=pytest.mark.complete),
    ],
)
@pytest.mark.parametrize("answered_first", [True, False], ids=["after an answer", "from the start"])
async def test_an_answer_that_drips_puts_no_deadline_off(
    airflow_database, serve, settings_for, trigger_for, places, monkeypatch, fault, answered_first
):
    """One request could take a minute here, and BCDA's clock is never heard of again."""
    monkeypatch.setattr(budgets, "UNCONFIRMED_SECONDS", 0.5)
    server = serve(faults=[Fault(FaultKind.STUCK, "kick-off"), replace(fault, skip=1 if answered_first else 0)])
    run = planned(settings_for(server), places, resource_types=("Patient",))
    # By BCDA's clock the job is nearly as old as it may be, and is not before the deadline, the slack of its clock included.
    nearly = timedelta(seconds=86_400 - SLACK_SECONDS - 0.2)
    amend_run(places.run_folder(run.run_id), asked_at=server.clock.now() - nearly)
    trigger = await trigger_for(server, deadline_seconds=2.0, run_id=run.run_id)
    began = time.monotonic()
    waiting = asyncio.ensure_future(event_of(trigger))
    while server.jobs() != {1: "Cancelled"}:
        await asyncio.sleep(0.05)
        assert time.monotonic() - began < 30
    server.faults.clear()
    assert (await waiting).outcome is Outcome.DEADLINE
