"""What the job sensor does before it defers: nothing on its first try, a look on each later one."""

import asyncio
import time
from types import SimpleNamespace

import pytest
from plain_export import planned

from bcda import export
from bcda.api.client import BcdaClient
from bcda.api.export_request import ExportRequest, Scope
from bcda.settings import ApiVersion
from bcda.storage.commit_points import RestartPoint
from bcda_simulator import Fault, FaultKind, SimulatorSettings


@pytest.fixture
def try_to_wait(airflow_database, serve, settings_for, connect, places):
    """Kick off, let the job end or not, and execute the sensor as Airflow does on a given try."""

    def attempt(try_number, *, job_ends=True, faults=()):
        server = serve(faults=[] if job_ends else [Fault(FaultKind.STUCK, "kick-off")])
        connect(server)
        settings = settings_for(server)
        run = planned(settings, places)

        async def started():
            async with BcdaClient(settings) as client:
                job_id = (await export.kick_off(client, places, run.run_id)).job_id
                while job_ends and (await client.status(job_id)).manifest is None:
                    await asyncio.sleep(0.05)
                return job_id

        job_id = asyncio.run(started())
        for fault in faults:
            server.faults.add(fault)
        from bcda_provider.sensors import BcdaJobSensor

        sensor = BcdaJobSensor(
            task_id="wait_for_job", run_id=run.run_id, job_id=job_id, batches=2, bcda_conn_id="bcda_default"
        )
        return sensor.execute({"ti": SimpleNamespace(try_number=try_number), "task_state_store": Store()})

    return attempt


class Store(dict):
    """Airflow's task state store as far as the sensor needs it."""

    def set(self, key, value):
        self[key] = value


def test_a_later_try_whose_job_is_complete_goes_on_without_deferring(try_to_wait, places):
    assert try_to_wait(2) == [0, 1]
    assert list(places.raw.glob("*/manifest.json"))


@pytest.mark.parametrize(
    ("number", "situation"),
    [
        (1, {}),
        (2, {"job_ends": False}),
        (2, {"faults": [Fault(FaultKind.ANSWER, "status", status=403)]}),
        (2, {"faults": [Fault(FaultKind.ANSWER, "status", status=503, times=20)]}),
        # Complete when the try asks, and running again when it asks for the manifest.
        (2, {"faults": [Fault(FaultKind.BACK_TO_RUNNING, "status", skip=1)]}),
    ],
    ids=["first try", "still running", "refused", "outage", "running again"],
)
def test_everything_else_is_left_to_the_trigger(try_to_wait, number, situation):
    from airflow.sdk.exceptions import TaskDeferred

    with pytest.raises(TaskDeferred) as deferred:
        try_to_wait(number, **situation)
    assert deferred.value.method_name == "execute_complete"


@pytest.mark.parametrize(
    ("outcome", "reason", "said", "unsaid"),
    [
        ("deadline", "", "has been canceled at BCDA", "may still run"),
        ("deadline", "503.", "could not be canceled: 503. It may still run at BCDA. Clear `kick_off`", "has been"),
        ("refused", "403.", "ended: 403. The job may still run at BCDA. Clear `wait_for_job` to wait on", "canceled"),
    ],
    ids=["canceled", "not canceled", "refused"],
)
def test_a_wait_that_ends_badly_says_whether_the_job_may_still_run(outcome, reason, said, unsaid):
    from bcda.errors import ExportFailedError
    from bcda_provider.sensors import BcdaJobSensor

    sensor = BcdaJobSensor(task_id="wait_for_job", run_id="r", job_id="7", batches=2, bcda_conn_id="bcda_default")
    event = {"job_id": "7", "outcome": outcome, "state": "in-progress", "reason": reason}
    with pytest.raises(ExportFailedError) as caught:
        sensor.execute_complete({}, event)
    assert said in str(caught.value)
    assert unsaid not in str(caught.value)
    assert "`kick_off` with everything after it" in str(caught.value)


class StuckWait:
    """A wait for a job that stays Pending, as Airflow calls it again and again."""

    def __init__(self, server, settings, places):
        self.server, self.settings, self.places = server, settings, places
        self.run_id = planned(settings, places).run_id
        self.store, self.notes = Store(), []
        self.ask(lambda client: export.kick_off(client, places, self.run_id))

    def ask(self, question):
        async def asked():
            async with BcdaClient(self.settings) as client:
                return await question(client)

        return asyncio.run(asked())

    def call(self, method, *given, try_number=1):
        """Call a method of a new operator, as each process has one; return trigger and next method of its deferral."""
        from airflow.sdk.exceptions import TaskDeferred

        from bcda_provider.sensors import BcdaJobSensor

        ti = SimpleNamespace(try_number=try_number, xcom_push=lambda key, value: self.notes.append(value))
        self.sensor = BcdaJobSensor(
            task_id="wait_for_job", run_id=self.run_id, job_id="1", batches=2, bcda_conn_id="bcda_default"
        )
        with pytest.raises(TaskDeferred) as deferred:
            getattr(self.sensor, method)({"ti": ti, "task_state_store": self.store}, *given)
        return deferred.value.trigger, deferred.value.method_name


STUCK = {"job_id": "1", "outcome": "stuck", "state": "pending", "reason": ""}
HOUR = 3_600


@pytest.fixture
def stuck(airflow_database, serve, settings_for, connect, places):
    stays_pending = Fault(FaultKind.STUCK_PENDING, "kick-off", times=1)
    server = serve(faults=[stays_pending], settings=SimulatorSettings(pending_seconds=60))
    connect(server)
    return StuckWait(server, settings_for(server), places)


def test_a_job_that_stays_pending_is_replaced_by_one_with_a_deadline_of_its_own(stuck):
    trigger, _ = stuck.call("execute")
    assert trigger.restart_at_epoch_seconds == pytest.approx(time.time() + 2 * HOUR, abs=60)
    stuck.store.update({"since:1": time.time() - 2 * HOUR, "deadline:1": time.time() + 22 * HOUR})
    trigger, method = stuck.call("execute_complete", STUCK)
    assert (trigger.job_id, trigger.restart_at_epoch_seconds, method) == ("2", None, "execute_complete")
    assert trigger.deadline_epoch_seconds == pytest.approx(time.time() + 24 * HOUR, abs=60)
    assert stuck.notes == [
        "wait_for_job: Job 1 stayed Pending for 2 hours and was canceled. Job 2 takes its place. The run waits for it for up to 24 hours."
    ]
    # The link of the task leads to the job that it waits for.
    assert stuck.sensor.job_id == "2"
    # Late news of the first job do not end the wait, and a later try goes on with the second.
    for step in (("execute_complete", {**STUCK, "outcome": "ended", "state": "cancelled"}), ("execute",)):
        trigger, _ = stuck.call(*step, try_number=2)
        assert (trigger.job_id, trigger.restart_at_epoch_seconds) == ("2", None)
    assert stuck.server.jobs() == {1: "Cancelled", 2: "Pending"}


def test_a_try_that_died_in_the_restart_is_followed_by_one_that_ends_it(stuck, monkeypatch):
    from bcda.runs import job_restart

    class KilledError(BaseException):
        pass

    def die(point):
        if point is RestartPoint.JOB_GIVEN_UP:
            raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(job_restart, "reached", die)
        with pytest.raises(KilledError):
            stuck.call("execute_complete", STUCK)
    trigger, _ = stuck.call("execute", try_number=2)
    assert trigger.job_id == "2"
    assert stuck.server.jobs() == {1: "Cancelled", 2: "Pending"}


def test_a_restart_waits_for_room_without_a_worker_until_the_deadline_of_the_first_job(stuck):
    from airflow.providers.standard.triggers.temporal import TimeDeltaTrigger

    from bcda.errors import ExportFailedError

    stuck.call("execute")
    stuck.server.job(1).cancelled_at = stuck.server.clock.now()
    foreign = ExportRequest(ApiVersion.V2, Scope.GROUP_RUNOUT, ("Patient",))
    stuck.ask(lambda client: client.kick_off(foreign))
    stuck.server.job(1).cancelled_at = None
    trigger, method = stuck.call("execute_complete", STUCK)
    assert (type(trigger), method) == (TimeDeltaTrigger, "restart_complete")
    (wait,) = stuck.places.raw.glob("*/waiting.json")
    assert "Job 2 of this organization is pending" in wait.read_text()
    stuck.store["deadline:1"] = time.time() - 1
    with pytest.raises(ExportFailedError, match="kept another from starting in its place until its deadline"):
        stuck.sensor.restart_complete({"task_state_store": stuck.store}, None)
    stuck.store["deadline:1"] = time.time() + HOUR
    stuck.ask(lambda client: client.cancel("2"))
    trigger, method = stuck.call("restart_complete", None)
    assert (trigger.job_id, method) == ("3", "execute_complete")
    assert stuck.server.jobs() == {1: "Cancelled", 2: "Cancelled", 3: "Pending"}
