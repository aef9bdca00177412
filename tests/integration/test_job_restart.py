"""Jobs that get stuck, are replaced by others, and come back after they were canceled (docs/bcda.md#stuck-and-returning-jobs)."""

import asyncio
import json
import time

import pytest
from plain_export import TYPES, fetch, load, planned

from bcda import export
from bcda.api.client import BcdaClient
from bcda.errors import RateLimitedError, ServerError
from bcda.runs import canceled_jobs, job_records, job_restart, kick_off
from bcda.runs.run import read_run
from bcda.storage.commit_points import CommitPoint, RestartPoint
from bcda_simulator import Fault, FaultKind, SimulatorSettings

NOT_CANCELLED = "job was not cancelled due to internal server error"


class KilledError(BaseException):
    pass


class Arrangement:
    """A server, a run, and the steps that end in a job."""

    def __init__(self, server, settings, places):
        self.server, self.settings, self.places = server, settings, places
        self.run_id = self.plan()

    def plan(self, **changes):
        return planned(self.settings, self.places, **changes).run_id

    def do(self, step, *given, run_id="", **named):
        async def within():
            async with BcdaClient(self.settings) as client:
                return await step(client, self.places, run_id or self.run_id, *given, **named)

        return asyncio.run(within())

    def kick_off(self, **named):
        return self.do(export.kick_off, **named)

    def restart(self, job_id="1"):
        return self.do(job_restart.restart_job, job_id)

    def cancel(self, job_id="1", **named):
        return self.do(canceled_jobs.cancel, job_id, **named)


@pytest.fixture
def arrange(serve, settings_for, places):
    def make(*faults, **settings):
        server = serve(settings=SimulatorSettings(**settings), faults=faults)
        return Arrangement(server, settings_for(server), places)

    return make


def stuck_pending(times=1):
    return Fault(FaultKind.STUCK_PENDING, "kick-off", times=times)


def test_a_job_that_stays_pending_is_replaced_once_and_everything_loads(arrange, places):
    one = arrange(stuck_pending())
    assert one.kick_off().job_id == "1"
    one.server.clock.advance(7_200)
    assert [one.restart(), one.restart()] == ["2", "2"]
    assert one.server.jobs()[1] == "Cancelled"
    run = job_restart.run_of(places, one.run_id)
    assert [job_restart.current_job(run, job) for job in ("1", "2", "7")] == ["2", "2", "7"]
    assert not job_restart.is_half_done(run, "1")
    # The second one is not given up, whatever becomes of it.
    assert one.restart("2") == "2"
    summary = load(places, one.run_id, asyncio.run(fetch(one.settings, places, one.run_id)))
    assert {entry.resource_type for entry in summary.counts} == set(TYPES)
    assert len(one.server.jobs()) == 2


@pytest.mark.parametrize(
    "point",
    [RestartPoint.JOB_GIVEN_UP, RestartPoint.JOB_CANCELLED, CommitPoint.JOB_ACCEPTED, RestartPoint.JOB_REPLACED],
    ids=lambda point: point.name,
)
def test_a_restart_that_is_killed_and_repeated_leaves_one_job(arrange, places, monkeypatch, point):
    one = arrange(stuck_pending(), pending_seconds=60)
    one.kick_off()

    def die(reached):
        if reached is point:
            raise KilledError

    with monkeypatch.context() as patch:
        for module in (job_restart, kick_off):
            patch.setattr(module, "reached", die)
        with pytest.raises(KilledError):
            one.restart()
    assert job_restart.is_half_done(read_run(places.run_folder(one.run_id)), "1")
    assert one.restart() == "2"
    assert one.server.jobs() == {1: "Cancelled", 2: "Pending"}


def test_a_job_that_has_begun_by_now_is_kept(arrange):
    one = arrange(Fault(FaultKind.STUCK, "kick-off"))
    one.kick_off()
    time.sleep(0.3)
    assert one.restart() == "1"
    assert one.server.jobs() == {1: "In Progress"}


def test_a_job_that_completes_before_it_is_canceled_is_kept(arrange, places, monkeypatch):
    one = arrange(Fault(FaultKind.CANCEL_LOST, "cancel"), pending_seconds=60)
    one.kick_off()
    cancel = BcdaClient.cancel

    async def in_the_last_moment(client, job_id):
        accepted = await cancel(client, job_id)
        one.server.clock.advance(60)
        while one.server.jobs()[1] != "Completed":
            await asyncio.sleep(0.02)
        return accepted

    monkeypatch.setattr(BcdaClient, "cancel", in_the_last_moment)
    assert one.restart() == "1"
    assert read_run(places.run_folder(one.run_id)).replaced_job == ""
    assert one.server.jobs() == {1: "Completed"}


def test_a_cancellation_that_is_lost_is_sent_again(arrange):
    one = arrange(stuck_pending(), Fault(FaultKind.CANCEL_LOST, "cancel", times=3), pending_seconds=60)
    one.kick_off()
    # It still is Pending, so BCDA refuses another; whoever waits calls again.
    with pytest.raises(RateLimitedError):
        one.restart()
    assert one.restart() == "2"
    assert one.server.jobs() == {1: "Cancelled", 2: "Pending"}


def test_clearing_the_kick_off_gives_up_the_replacement_too(arrange):
    one = arrange(stuck_pending(), pending_seconds=60)
    one.kick_off()
    one.restart()
    # Airflow knows the first job only.
    assert one.kick_off(stale_job_ids=("1",)).job_id == "3"
    assert one.server.jobs() == {1: "Cancelled", 2: "Cancelled", 3: "Pending"}


@pytest.fixture
def returning(arrange):
    """A run's job was canceled while its preparation failed; the upstream is back, and the next try is a second away."""
    one = arrange(Fault(FaultKind.UPSTREAM_GONE), pending_seconds=60, cancelled_jobs_return=True)
    one.kick_off()
    assert one.cancel()
    one.server.faults.clear()
    return one


def test_a_canceled_job_that_comes_back_is_canceled_again_by_the_next_run(returning):
    one = returning
    one.server.clock.advance(2)
    assert one.server.jobs() == {1: "Pending"}
    started = one.kick_off(run_id=one.plan(full=True))
    assert (started.job_id, started.is_adopted, started.returned_jobs) == ("2", False, ("1",))
    assert one.server.jobs() == {1: "Cancelled", 2: "Pending"}


def test_a_canceled_job_that_comes_back_complete_is_not_used(returning, logged_text):
    one = returning
    one.server.clock.advance(2)
    one.server.jobs()
    one.server.clock.advance(60)
    while one.server.jobs()[1] != "Completed":
        time.sleep(0.02)
    assert one.kick_off().job_id == "2"
    assert "job 1 was canceled, and is completed at BCDA anyway" in logged_text()


def test_a_job_that_comes_back_just_before_the_kick_off_is_named(returning, monkeypatch):
    one, ask = returning, BcdaClient.attribution_status

    async def after_a_while(client):
        one.server.clock.advance(2)
        return await ask(client)

    monkeypatch.setattr(BcdaClient, "attribution_status", after_a_while)
    run_id = one.plan(full=True)
    with pytest.raises(
        RateLimitedError, match=r"Job 1 was canceled earlier and was active at BCDA again\. It has been canceled again"
    ):
        one.kick_off(run_id=run_id)
    assert one.kick_off(run_id=run_id).job_id == "2"


def test_a_job_that_came_back_and_cannot_be_canceled_is_waited_for(returning):
    one = returning
    one.server.clock.advance(2)
    one.server.faults.add(Fault(FaultKind.ANSWER, "cancel", status=500, text=NOT_CANCELLED))
    with pytest.raises(RateLimitedError, match="Job 1 of this organization is pending"):
        one.kick_off(run_id=one.plan(full=True))


def test_a_live_job_with_the_number_of_one_that_was_canceled_elsewhere_is_left_alone(arrange, places):
    """The connection named another server before, whose jobs had numbers too."""
    one = arrange(pending_seconds=60)
    job_records.note(places, one.run_id, "1", job_records.Fact.CANCELLED, one.server.clock.now())
    one.server.clock.advance(60)
    assert one.kick_off().job_id == "1"
    assert one.kick_off().is_adopted
    assert one.server.jobs() == {1: "Pending"}


@pytest.mark.parametrize(
    ("settings", "fault", "outcome"),
    [
        ({"pending_seconds": 0.0}, {}, False),
        ({"pending_seconds": 60.0}, {"times": 1}, True),
    ],
    ids=["over already", "fails once"],
)
def test_a_cancellation_answered_with_500_looks_at_the_job(arrange, settings, fault, outcome):
    one = arrange(**settings)
    one.kick_off()
    while not settings["pending_seconds"] and one.server.jobs()[1] != "Completed":
        time.sleep(0.02)
    one.server.faults.add(Fault(FaultKind.ANSWER, "cancel", status=500, text=NOT_CANCELLED, **fault))
    assert one.cancel() is outcome
    # Only what was canceled can come back.
    assert list(job_records.cancelled(one.places)) == (["1"] if outcome else [])


def test_a_job_that_bcda_cannot_cancel_is_not_taken_for_over(arrange):
    one = arrange(
        Fault(FaultKind.ANSWER, "cancel", status=500, text=NOT_CANCELLED),
        Fault(FaultKind.ANSWER, "status", status=500, text="Internal Error"),
        pending_seconds=60,
    )
    one.kick_off()
    with pytest.raises(ServerError, match="Canceling job 1: 500"):
        one.cancel()


def test_a_run_that_an_earlier_release_planned_gets_another_job_too(arrange, places):
    one = arrange(stuck_pending(), pending_seconds=60)
    one.kick_off()
    path = places.run_folder(one.run_id) / "run.json"
    document = json.loads(path.read_text())
    path.write_text(json.dumps({key: value for key, value in document.items() if not key.startswith("replace")}))
    assert len(json.loads(path.read_text())) == len(document) - 2
    assert one.restart() == "2"


@pytest.fixture
def logged_text(caplog):
    caplog.set_level("INFO")
    return lambda: caplog.text
