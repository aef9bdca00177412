"""The kick-off as Airflow calls it again and again: what it waits for, and for how long."""

import asyncio
import re
import time
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from plain_export import planned

from bcda import budgets, export
from bcda.api.client import BcdaClient
from bcda.api.export_request import ExportRequest, Scope
from bcda.errors import AttributionMissingError, ExportFailedError
from bcda.runs import canceled_jobs
from bcda.settings import ApiVersion
from bcda_simulator import Fault, FaultKind, SimulatorSettings

DEADLINE = 86_400.0
FOREIGN = ExportRequest(ApiVersion.V2, Scope.GROUP_RUNOUT, ("Patient",))


class Store(dict):
    """Airflow's task state store as far as the kick-off needs it."""

    def set(self, key, value):
        self[key] = value

    def delete(self, key):
        self.pop(key, None)


@pytest.fixture
def now(monkeypatch):
    """The operator's clock, as a list of one instant."""
    from bcda_provider.operators import kick_off

    instant = [1_767_600_000.0]
    monkeypatch.setattr(kick_off, "time", SimpleNamespace(time=lambda: instant[0]))
    return instant


def test_cleared_it_cancels_the_job_of_the_attempt_before(airflow_database, serve, settings_for, connect, places):
    from bcda_provider.operators import BcdaKickOffOperator

    server = serve(settings=SimulatorSettings(pending_seconds=60))
    connect(server)
    run = planned(settings_for(server), places)
    store = Store()
    for clear_number in range(2):
        operator = BcdaKickOffOperator(task_id="kick_off", run_id=run.run_id, bcda_conn_id="bcda_default")
        operator.execute({"task_state_store": store, "dag_run": SimpleNamespace(clear_number=clear_number)})
    assert server.jobs() == {1: "Cancelled", 2: "Pending"}


def test_a_wait_for_a_list_is_no_wait_for_another_job(
    airflow_database, serve, settings_for, connect, places, now, logged
):
    from airflow.sdk.exceptions import TaskDeferred

    from bcda_provider.operators import BcdaKickOffOperator

    server = serve(faults=[Fault(FaultKind.STUCK, "kick-off")])
    connect(server, extra={"job_deadline_seconds": DEADLINE})
    settings = settings_for(server)
    run = planned(settings, places)
    operator = BcdaKickOffOperator(task_id="kick_off", run_id=run.run_id, bcda_conn_id="bcda_default")
    context = {"task_state_store": Store(), "dag_run": SimpleNamespace(clear_number=0)}

    def someone(act, *given):
        async def acts():
            async with BcdaClient(settings) as client:
                return await getattr(client, act)(*given)

        return asyncio.run(acts())

    def waits_for(what):
        with pytest.raises(TaskDeferred):
            operator.execute_complete(context, None)
        assert what in logged()

    # 5 January: someone's runout export is in the way, then there is no list until mid February.
    runout = someone("kick_off", FOREIGN)
    waits_for(f"Job {runout} of this organization")
    now[0] += 600
    someone("cancel", runout)
    server.faults.add(Fault(FaultKind.WRONG_YEAR, "kick-off", times=1))
    waits_for("unable to perform export operations for this Group")
    now[0] += 38 * 86_400
    someone("kick_off", FOREIGN)
    waits_for("of this organization")
    # Jobs that stay in the way end the wait anyway.
    now[0] += DEADLINE - 60
    waits_for("of this organization")
    now[0] += 120
    with pytest.raises(
        ExportFailedError, match=r"longer than the job deadline\. What it said last: Job \d+ of this organization"
    ):
        operator.execute_complete(context, None)


def test_a_canceled_job_that_came_back_is_told_of_in_the_note(airflow_database, serve, settings_for, connect, places):
    from bcda_provider.operators import BcdaKickOffOperator

    returns = SimulatorSettings(pending_seconds=60, cancelled_jobs_return=True)
    server = serve(settings=returns, faults=[Fault(FaultKind.UPSTREAM_GONE)])
    connect(server)
    settings, notes = settings_for(server), []
    given_up, run = planned(settings, places), planned(settings, places, full=True)

    async def give_up():
        async with BcdaClient(settings) as client:
            job_id = (await export.kick_off(client, places, given_up.run_id)).job_id
            await canceled_jobs.cancel(client, places, given_up.run_id, job_id)

    asyncio.run(give_up())
    server.faults.clear()
    server.clock.advance(2)
    ti = SimpleNamespace(xcom_push=lambda key, value: notes.append(value))
    context = {"task_state_store": Store(), "dag_run": SimpleNamespace(clear_number=0), "ti": ti}
    operator = BcdaKickOffOperator(task_id="kick_off", run_id=run.run_id, bcda_conn_id="bcda_default")
    assert operator.execute(context) == "2"
    assert server.jobs() == {1: "Cancelled", 2: "Pending"}
    assert notes == [
        "kick_off: job 1 was canceled earlier, was active at BCDA again, and has been canceled again. Job 2 brings the data."
    ]


def test_the_token_limit_is_no_job_in_the_way(airflow_database, serve, settings_for, connect, places, now, logged):
    from airflow.sdk.exceptions import TaskDeferred

    from bcda.runs.run import read_wait
    from bcda_provider.operators import BcdaKickOffOperator

    server = serve(settings=SimulatorSettings(token_limit=0))
    connect(server)
    run = planned(settings_for(server), places)
    operator = BcdaKickOffOperator(task_id="kick_off", run_id=run.run_id, bcda_conn_id="bcda_default")
    with pytest.raises(TaskDeferred) as deferred:
        operator.execute({"task_state_store": Store(), "dag_run": SimpleNamespace(clear_number=0)})
    said = "Token request: 429, the token limit: BCDA gives an organization 1,000 tokens in five minutes"
    # What the log says, and what page and report show while the task waits.
    assert said in logged()
    assert read_wait(places.run_folder(run.run_id)).reason.startswith(said)
    assert "job" not in read_wait(places.run_folder(run.run_id)).reason
    assert deferred.value.trigger.moment.timestamp() - time.time() > 250


@pytest.mark.parametrize("wish", ["86400", "9" * 30, "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_a_wait_that_the_server_asks_for_ends_at_the_deadline_and_says_when(
    airflow_database, serve, settings_for, connect, places, now, logged, wish
):
    from airflow.sdk.exceptions import TaskDeferred

    from bcda_provider.operators import BcdaKickOffOperator

    busy = Fault(FaultKind.ANSWER, "kick-off", status=429, retry_after=wish, body="none")
    server = serve(faults=[busy])
    connect(server, extra={"job_deadline_seconds": 3_600.0})
    run = planned(settings_for(server), places)
    operator = BcdaKickOffOperator(task_id="kick_off", run_id=run.run_id, bcda_conn_id="bcda_default")
    context = {"task_state_store": Store(), "dag_run": SimpleNamespace(clear_number=0)}
    with pytest.raises(TaskDeferred) as deferred:
        operator.execute_complete(context, None)
    moment = deferred.value.trigger.moment
    assert 0 < (moment - datetime.now(UTC)).total_seconds() <= 3_602
    assert re.search(rf"Looking again at {moment:%Y-%m-%d %H:%M}:\d\d UTC, without holding a worker", logged())
    now[0] += 3_602
    with pytest.raises(ExportFailedError, match="longer than the job deadline"):
        operator.execute_complete(context, None)


def test_a_wait_for_a_list_has_an_end(airflow_database, serve, settings_for, connect, places, now, logged):
    from airflow.sdk.exceptions import TaskDeferred

    from bcda_provider.operators import BcdaKickOffOperator

    server = serve(faults=[Fault(FaultKind.WRONG_YEAR, "kick-off")])
    connect(server)
    run = planned(settings_for(server), places)
    operator = BcdaKickOffOperator(task_id="kick_off", run_id=run.run_id, bcda_conn_id="bcda_default")
    context = {"task_state_store": Store(), "dag_run": SimpleNamespace(clear_number=0)}
    for _ in range(2):
        with pytest.raises(TaskDeferred):
            operator.execute_complete(context, None)
        now[0] += budgets.LIST_WAITS_SECONDS - 1
        # 90 days after the clock of the test.
        assert "until 2026-04-05 at the latest" in logged()
    with pytest.raises(AttributionMissingError):
        operator.execute_complete(context, None)
