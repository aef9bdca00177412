"""The job trigger across the border: serialized, through JSON, imported by its path, run against the simulator."""

import asyncio
import importlib
import json
import time

import pytest

from bcda.client import BcdaClient
from bcda.export_request import ExportRequest, Scope
from bcda.settings import ApiVersion
from bcda_provider.events import JobEvent, Outcome
from bcda_simulator import Fault, FaultKind, SimulatorSettings

PATIENTS = ExportRequest(ApiVersion.V2, Scope.PATIENT, ("Patient",))


@pytest.fixture
def trigger_for(serve, settings_for, connect):
    async def make(server, *, deadline_seconds=60.0, **connection):
        connect(server, **connection)
        async with BcdaClient(settings_for(server)) as client:
            job_id = await client.kick_off(PATIENTS)
        from bcda_provider.triggers import BcdaJobTrigger

        made = BcdaJobTrigger(
            bcda_conn_id="bcda_default",
            api_version="v2",
            job_id=job_id,
            deadline_epoch_seconds=time.time() + deadline_seconds,
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
        ([Fault(FaultKind.JOB_FAILS, "kick-off")], {"extra": {"failed_grace_seconds": 0.2}}, 60, Outcome.ENDED),
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
        ({"status": 503}, 1, {1: "In Progress"}, "Cancelling job 1: 503"),
        ({"status": 403}, 60, {1: "In Progress"}, "Cancelling job 1: 403"),
    ],
    ids=["for a while", "for good", "refused"],
)
async def test_a_deadline_stays_one_when_the_job_cannot_be_cancelled(
    airflow_database, serve, trigger_for, monkeypatch, fault, seconds, states, said
):
    from bcda_provider import triggers

    monkeypatch.setattr(triggers, "CANCEL_FOR_SECONDS", seconds)
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
    # As BCDA answers for a complete job, too, while it cannot check tokens (wire contract §5).
    server.faults.add(Fault(FaultKind.ANSWER, "status", status=500, text="Internal Error", times=1))
    assert (await waiting).outcome is Outcome.COMPLETED


async def test_on_kill_cancels_the_job_without_asking_for_the_connection(
    airflow_database, serve, trigger_for, monkeypatch
):
    server = serve(settings=SimulatorSettings(pending_seconds=60))
    trigger = await trigger_for(server)
    running = trigger.run()
    task = asyncio.ensure_future(anext(running))
    while not any(entry.endpoint == "status" for entry in server.requests):
        await asyncio.sleep(0.05)
    monkeypatch.delenv("AIRFLOW_CONN_BCDA_DEFAULT")
    await trigger.on_kill()
    assert server.jobs() == {1: "Cancelled"}
    task.cancel()


def test_an_event_of_another_shape_is_refused():
    from bcda.errors import ManifestError

    for value in (None, {}, {"job_id": "1", "outcome": "odd", "state": "pending", "reason": ""}, "text"):
        with pytest.raises(ManifestError):
            JobEvent.from_json(value)


def test_the_retry_policy_follows_the_error_tree():
    from airflow.sdk.definitions.retry_policy import RetryAction

    from bcda.errors import CredentialsError, ManifestError, NotAllowListedError, RateLimitedError, ServerError
    from bcda_provider.retry import BcdaRetryPolicy

    policy = BcdaRetryPolicy()
    decided = {
        type(e).__name__: policy.evaluate(e, 1, 3)
        for e in (CredentialsError("x"), ManifestError("x"), ServerError("x"), ValueError("x"))
    }
    assert {name: decision.action for name, decision in decided.items()} == {
        "CredentialsError": RetryAction.FAIL,
        "ManifestError": RetryAction.FAIL,
        "ServerError": RetryAction.DEFAULT,
        "ValueError": RetryAction.DEFAULT,
    }
    # Before there is a job a person must look; a job that BCDA gave to this address is not given up.
    unanswered = NotAllowListedError("x")
    assert policy.evaluate(unanswered, 1, 3).action is RetryAction.FAIL
    with_job = BcdaRetryPolicy.deserialize(json.loads(json.dumps(BcdaRetryPolicy(has_job=True).serialize())))
    assert with_job.evaluate(unanswered, 1, 3).action is RetryAction.DEFAULT
    assert with_job.evaluate(CredentialsError("x"), 1, 3).action is RetryAction.FAIL
    asked = policy.evaluate(RateLimitedError("x", retry_after_seconds=7), 1, 3)
    assert (asked.action, asked.retry_delay.total_seconds()) == (RetryAction.RETRY, 7)


def test_the_tasks_that_have_a_job_are_those_that_do_not_give_it_up():
    from airflow.dag_processing.dagbag import DagBag
    from airflow.sdk.definitions.retry_policy import RetryAction

    from bcda.errors import NotAllowListedError

    kept = {
        task.task_id.rpartition(".")[2]
        for dag in DagBag().dags.values()
        for task in dag.tasks
        if policy_of(task) and policy_of(task).evaluate(NotAllowListedError("x"), 1, 3).action is RetryAction.DEFAULT
    }
    assert kept == {"wait_for_job", "fetch"}


def policy_of(task):
    """Return a task's policy; a mapped one keeps what it will be made with."""
    return getattr(task, "retry_policy", None) or getattr(task, "partial_kwargs", {}).get("retry_policy")
