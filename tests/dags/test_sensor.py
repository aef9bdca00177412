"""What the job sensor does before it defers: nothing on its first try, a look on each later one."""

import asyncio
from types import SimpleNamespace

import pytest
from exporting import planned

from bcda import export
from bcda.client import BcdaClient
from bcda_simulator import Fault, FaultKind


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
    ],
    ids=["first try", "still running", "refused", "outage"],
)
def test_everything_else_is_left_to_the_trigger(try_to_wait, number, situation):
    from airflow.sdk.exceptions import TaskDeferred

    with pytest.raises(TaskDeferred) as deferred:
        try_to_wait(number, **situation)
    assert deferred.value.method_name == "execute_complete"


@pytest.mark.parametrize(
    ("outcome", "reason", "said", "unsaid"),
    [
        ("deadline", "", "has been cancelled at BCDA", "may still run"),
        ("deadline", "503.", "could not be cancelled: 503. It may still run at BCDA. Clear `kick_off`", "has been"),
        ("refused", "403.", "ended: 403. The job may still run at BCDA. Clear `wait_for_job` to wait on", "cancelled"),
    ],
    ids=["cancelled", "not cancelled", "refused"],
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
