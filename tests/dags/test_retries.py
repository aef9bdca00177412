"""Which failures are retried and when, by arithmetic; what they say; when a missed week is started again."""

import asyncio
import json
import re
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from bcda.api.client import BcdaClient
from bcda.api.manifest import FileKind
from bcda.budgets import HELD_SECONDS
from bcda.errors import (
    CredentialsError,
    DataQualityError,
    ExportExpiredError,
    ExportFailedError,
    ManifestError,
    NotAllowListedError,
    RateLimitedError,
    ServerError,
    StorageError,
    StoreUnavailableError,
    WarehouseLockedError,
)
from bcda.runs.receipts import Receipt, check_bytes
from bcda.settings import ConnectionSettings
from bcda.storage.places import Places
from bcda_simulator import Fault, FaultKind

RETRIES = 9


@pytest.fixture
def policy(airflow_database):
    from bcda_provider.retry import BcdaRetryPolicy

    return BcdaRetryPolicy()


@pytest.fixture
def context_of(monkeypatch, tmp_path):
    """Return the context of a task; whether BCDA has answered its connection before is in the raw folder."""
    monkeypatch.setenv("BCDA_HOME", str(tmp_path / "home"))

    def context(task_id="plan", *, was_answered=False):
        if was_answered:
            folder = Places.below(tmp_path / "home").raw / "20261110T060000Z-patient-v2-abcdef"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "run.json").touch()
        task = SimpleNamespace(retries=RETRIES, bcda_conn_id="bcda_default")
        return {"ti": SimpleNamespace(task=task, task_id=task_id, map_index=-1)}

    return context


def delays(policy, error, context):
    """Return the pauses between the tries of a task that always fails, in seconds, until there is no next try."""
    found = []
    for try_number in range(1, RETRIES + 1):
        decision = policy.evaluate(error, try_number, RETRIES, context)
        if decision.retry_delay is None:
            break
        found.append(decision.retry_delay.total_seconds())
    return found


@pytest.mark.parametrize(
    "error", [ServerError("x"), StoreUnavailableError("x"), NotAllowListedError("x"), RateLimitedError("x")]
)
def test_an_outage_of_an_hour_is_outlasted_and_the_tries_are_bounded(policy, context_of, error):
    found = delays(policy, error, context_of(was_answered=True))
    assert len(found) == RETRIES
    assert found == sorted(found)
    assert sum(found) == 4_710
    assert 3_600 < sum(found) < 7_200
    # The longest gap is what a recovery waits for at most.
    assert max(found) == 900


def test_every_task_has_that_many_tries_and_a_killed_one_is_tried_again_soon_and_never_late(airflow_database):
    from airflow.dag_processing.dagbag import DagBag

    from bcda_provider.retry import PAUSES

    tasks = [task for dag in DagBag().dags.values() for task in dag.tasks]
    assert {task.retries for task in tasks} == {RETRIES} == {len(PAUSES)}
    assert {(task.retry_delay, task.max_retry_delay) for task in tasks} == {
        (timedelta(seconds=30), timedelta(seconds=900))
    }


def test_the_pauses_are_scaled_by_a_setting(monkeypatch, policy, context_of):
    monkeypatch.setenv("BCDA_RETRY_SCALE", "0.01")
    assert sum(delays(policy, ServerError("x"), context_of())) == pytest.approx(47.1)
    monkeypatch.setenv("BCDA_RETRY_SCALE", "24")
    assert sum(delays(policy, ServerError("x"), context_of())) == 24 * 4_710


@pytest.mark.parametrize("text", ["0", "-1", "25", "nan", "fast"])
def test_a_malformed_scale_is_an_import_error_that_says_so(airflow_database, monkeypatch, text):
    from airflow.dag_processing.dagbag import DagBag

    monkeypatch.setenv("BCDA_RETRY_SCALE", text)
    (said,) = {error.strip().splitlines()[-1].partition("ValueError: ")[2] for error in DagBag().import_errors.values()}
    assert said == f"BCDA_RETRY_SCALE must be a number above 0 and at most 24, such as 2. Got: {text!r}."


def test_a_cleared_task_has_all_its_pauses_again(policy, context_of):
    # Airflow goes on counting: cleared after its fourth try, a task may be tried up to 4 + RETRIES times and once more.
    decision = policy.evaluate(ServerError("x"), 5, 4 + RETRIES, context_of())
    assert decision.retry_delay.total_seconds() == 30
    decision = policy.evaluate(ServerError("x"), 4 + RETRIES, 4 + RETRIES, context_of())
    assert decision.retry_delay.total_seconds() == 900


def test_errors_that_a_person_must_mend_fail_at_once(policy, context_of):
    for error in (CredentialsError("x"), StorageError("x"), ManifestError("x"), DataQualityError("x", check_ids=())):
        assert delays(policy, error, context_of(was_answered=True)) == []
        assert not policy.passes_by_itself(error, context_of(was_answered=True))


def test_a_task_that_waits_for_another_load_holds_no_worker(policy, context_of):
    from bcda.warehouse import LOCK_WAIT_SECONDS

    held = WarehouseLockedError("x")
    assert LOCK_WAIT_SECONDS <= 60
    assert sum(delays(policy, held, context_of())) == 4_710
    # A lock held this long is not an outage.
    assert not policy.passes_by_itself(held, context_of())


def test_a_raw_file_that_differs_from_its_receipt_fails_landing_at_once_and_names_the_task_to_clear(
    policy, context_of, tmp_path
):
    name = "00001-Patient.ndjson.gz"
    receipt = Receipt(name, FileKind.OUTPUT, "Patient", "https://bcda.example/1.ndjson", 3, "0" * 64, 1, 1)
    (tmp_path / name).write_bytes(b"abc")
    with pytest.raises(
        ManifestError, match="clear the task `fetch` of its batch with all that is downstream"
    ) as caught:
        check_bytes(tmp_path, receipt)
    assert delays(policy, caught.value, context_of("export.batch.land")) == []


def test_trouble_in_the_triggerer_does_not_cost_the_job(policy, context_of):
    from airflow.sdk.exceptions import TaskDeferralError

    assert len(delays(policy, TaskDeferralError("Trigger failure"), context_of("wait_for_job"))) == RETRIES


def test_an_error_that_nobody_expects_is_tried_again_three_times(policy, context_of):
    assert delays(policy, ValueError("x"), context_of()) == [30, 60, 120]
    assert not policy.passes_by_itself(ValueError("x"), context_of())


def test_silence_is_an_outage_for_who_was_answered_before_and_the_allow_list_for_who_was_not(policy, context_of):
    from bcda_provider.retry import BcdaRetryPolicy

    silence = NotAllowListedError("x")
    assert delays(policy, silence, context_of()) == []
    assert not policy.passes_by_itself(silence, context_of())
    # Policies of earlier releases are read as they are; those of tasks that have a job need no look at the raw folder.
    with_job = BcdaRetryPolicy.deserialize(json.loads(json.dumps({"has_job": True})))
    assert len(delays(with_job, silence, context_of())) == RETRIES
    assert len(delays(policy, silence, context_of(was_answered=True))) == RETRIES
    assert policy.passes_by_itself(silence, context_of(was_answered=True))


def test_the_server_may_ask_for_a_longer_pause_and_not_for_a_shorter(policy, context_of):
    assert delays(policy, RateLimitedError("x", retry_after_seconds=7), context_of())[0] == 30
    assert delays(policy, ServerError("x", retry_after_seconds=3_600), context_of()) == [3_600] * RETRIES


@pytest.mark.parametrize("wish", [43_200, 86_400, 86_400 * 365 * 9_000, float("inf")])
def test_no_server_puts_a_task_off_for_ever(policy, context_of, wish):
    found = delays(policy, RateLimitedError("x", retry_after_seconds=wish), context_of())
    assert found == ([43_200] * 2 if wish == 43_200 else [86_400])
    # It is an outage anyway, so that the maintenance starts the week again.
    assert policy.passes_by_itself(RateLimitedError("x", retry_after_seconds=wish), context_of())


def test_a_lost_job_may_work_anew(policy, context_of):
    failed = ExportFailedError("x", job_id="1", may_work_anew=True)
    assert delays(policy, failed, context_of()) == []
    assert policy.passes_by_itself(failed, context_of())
    assert policy.passes_by_itself(ExportExpiredError("x", job_id="1"), context_of())
    assert not policy.passes_by_itself(ExportFailedError("x", job_id="1"), context_of())


def test_operators_take_another_policy(airflow_database):
    from airflow.sdk import ExceptionRetryPolicy

    from bcda_provider.operators import BcdaFetchOperator, BcdaLandOperator
    from bcda_provider.retry import BcdaRetryPolicy
    from bcda_provider.sensors import BcdaJobSensor

    other, given = ExceptionRetryPolicy(rules=[]), {"run_id": "r", "bcda_conn_id": "bcda_default", "batches": 1}
    made = {
        BcdaFetchOperator: given | {"batch": 0},
        BcdaLandOperator: given | {"batch": 0},
        BcdaJobSensor: given | {"job_id": "1"},
    }
    for kind, arguments in made.items():
        assert isinstance(kind(task_id="x", **arguments).retry_policy, BcdaRetryPolicy)
        assert kind(task_id="x", **arguments, retry_policy=other).retry_policy is other


def test_a_long_wait_is_left_to_the_scheduler(serve, settings_for):
    server = serve(faults=[Fault(FaultKind.ANSWER, "jobs", status=503, retry_after="3600")])
    waited = []

    async def ask():
        async def sleep(seconds):
            waited.append(seconds)

        async with BcdaClient(settings_for(server), sleep=sleep) as client:
            await client.live_jobs()

    with pytest.raises(ServerError) as caught:
        asyncio.run(ask())
    assert caught.value.retry_after_seconds == 3_600
    assert waited == []


def test_a_try_waits_for_a_minute_at_most_and_holds_its_worker_for_two():
    tuning = ConnectionSettings("http://localhost", "a", "b").tuning
    # The waits between the tries of one request; with every try running into its time limit, the second is the last.
    waits = sum(min(tuning.backoff_max_seconds, 2.0**n) + tuning.backoff_initial_seconds for n in range(5))
    assert waits <= 36
    assert HELD_SECONDS + tuning.request_timeout_seconds <= 120
    assert HELD_SECONDS <= 60


def text_of(context, error, try_number=2, max_tries=RETRIES):
    from bcda_provider.failures import failure_text
    from bcda_provider.retry import BcdaRetryPolicy

    ti = context["ti"]
    ti.task.retry_policy, ti.try_number, ti.max_tries = BcdaRetryPolicy(), try_number, max_tries
    return failure_text(ti, error, context)


def test_a_failure_says_its_try_and_when_the_next_one_is(context_of):
    text = text_of(context_of("kick_off"), ServerError("Job list: 503."))
    assert text.startswith("kick_off failed in try 2 of 10: ServerError: Job list: 503. Next try at ")
    assert re.fullmatch(r".* Next try at (\d{4}-\d\d-\d\d )?\d\d:\d\d UTC\.", text)
    late = text_of(context_of("kick_off"), ServerError("x", retry_after_seconds=86_400 * 1.5), try_number=1)
    # No server makes a task wait for longer than a day.
    assert f"at {datetime.now(UTC) + timedelta(days=1):%Y-%m-%d}" in late
    assert text_of(context_of(), CredentialsError("No.")) == "plan failed: CredentialsError: No."
    assert text_of(context_of(), ServerError("No."), RETRIES + 1) == "plan failed: ServerError: No."
    # A run that began with a release of three retries has no more than those.
    assert "failed in try 3 of 4: " in text_of(context_of(), ServerError("No."), 3, max_tries=3)
    assert text_of(context_of(), ServerError("No."), 4, max_tries=3) == "plan failed: ServerError: No."
    # Cleared after its first try, it has all of this release.
    assert "failed in try 1 of 10: " in text_of(context_of(), ServerError("No."), 2, max_tries=RETRIES + 1)
    mapped = context_of("batch.fetch")
    mapped["ti"].map_index = 3
    assert text_of(mapped, CredentialsError("No.")) == "batch.fetch[3] failed: CredentialsError: No."
    # A mapped task of ours names the batch it works on, before it is rendered that of its map index.
    mapped["ti"].task.batch = object()
    assert text_of(mapped, CredentialsError("No.")) == "batch.fetch of batch 3 failed: CredentialsError: No."
    mapped["ti"].task.batch = 7
    assert text_of(mapped, CredentialsError("No.")) == "batch.fetch of batch 7 failed: CredentialsError: No."


class WrittenInBetween:
    """A connection on which another task leaves its sentence after this one has looked for the note."""

    def __init__(self, connection, table, content):
        self._connection, self._table, self._content = connection, table, content

    def __getattr__(self, name):
        return getattr(self._connection, name)

    def execute(self, statement):
        done = self._connection.execute(statement)
        if statement.is_select and self._content is not None:
            found = done.all()
            values = {"dag_run_id": 1, "content": self._content, "created_at": DUE, "updated_at": DUE}
            self._connection.execute(self._table.insert().values(values))
            self._content = None
            return SimpleNamespace(first=lambda: next(iter(found), None))
        return done


@pytest.mark.parametrize(
    ("in_between", "note"),
    [("BCDA planned: everything", "BCDA mine"), ("I look at it.", "I look at it."), (None, "BCDA mine")],
)
def test_two_tasks_of_a_run_can_leave_a_sentence_at_the_same_moment(airflow_database, in_between, note):
    from airflow.models.dagrun import DagRunNote
    from sqlalchemy import create_engine, select

    from bcda_provider import notes

    table = DagRunNote.__table__
    with create_engine("sqlite://").begin() as connection:
        table.create(connection)
        left = SimpleNamespace(key=notes.KEY, dag_run_id=1, value="mine")
        notes._note_of(None, WrittenInBetween(connection, table, in_between), left)
        assert connection.execute(select(table.c.content)).scalars().all() == [note]


def test_a_sentence_is_the_note_of_its_run_at_once_and_a_note_of_a_person_stays(
    serve, connect, run_dag, notes_at_once, logged
):
    from airflow.models.dagrun import DagRun, DagRunNote
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    connect(serve(), password="wrong-secret")
    assert run_dag("bcda_weekly_export")[0] == "failed"
    sentence = "kick_off failed: CredentialsError: The token endpoint answered 401."
    assert logged().count(sentence) >= 2
    with create_session() as session:
        newest = select(DagRun).where(DagRun.dag_id == "bcda_weekly_export").order_by(DagRun.id.desc()).limit(1)
        run = session.scalars(newest).one()
        found = select(DagRunNote.content).where(DagRunNote.dag_run_id == run.id)
        assert session.scalars(found).one().startswith(f"BCDA {sentence}")

        def leave(text):
            given = {"dag_id": run.dag_id, "run_id": run.run_id, "task_id": "kick_off", "session": session}
            XComModel.set("bcda_note", json.dumps(text), serialize=False, **given)
            return session.scalars(found).one()

        assert leave("planned: Everything.") == "BCDA planned: Everything."
        run.note = "I look at it."
        assert leave("kick_off failed in try 1 of 10: No.") == "I look at it."
        session.rollback()


DUE = datetime(2026, 11, 24, 6, tzinfo=UTC)
OUTAGE = {"text": "plan failed: ServerError: No.", "passes": True}
LASTING = {"text": "kick_off failed: CredentialsError: No.", "passes": False}


@pytest.mark.parametrize(
    ("week", "starts", "why"),
    [
        ({"failures": (OUTAGE,)}, True, "failed for a reason that passes: plan failed: ServerError"),
        ({"failures": (OUTAGE,), "was_ever_loaded": False}, True, "failed for a reason that passes"),
        ({"has_run": False}, True, "did not start, as when Airflow was down"),
        ({"has_run": False, "was_ever_loaded": False}, False, "Nothing is loaded yet"),
        ({"failures": (OUTAGE, LASTING)}, False, "needs a person: kick_off failed: CredentialsError"),
        ({"failures": ()}, False, "A person ended it, or its process died"),
        ({"failures": (OUTAGE,), "active": 1}, False, "a run is queued or running"),
        ({"failures": (OUTAGE,), "is_paused": True}, False, "Its DAG is paused"),
        ({"failures": (OUTAGE,), "was_started_today": True}, False, "the next is possible tomorrow"),
        ({"failures": (OUTAGE,), "is_loaded": True}, False, "2026-11-24 06:00 UTC is loaded."),
        ({"failures": (OUTAGE,), "unlike": "0 6 * * 2"}, False, "the weekly DAG has another one"),
    ],
)
def test_a_missed_week_is_started_when_nobody_has_to_act_first(airflow_database, week, starts, why):
    from bcda_provider.operators.start_missed import Week, decide

    decided, reason = decide(Week(DUE, **week))
    assert decided is starts
    assert why in reason


RETRIED = {"text": "plan failed in try 2 of 10: ServerError: No. Next try at 03:10 UTC.", "passes": True}


@pytest.mark.parametrize(
    ("failed", "left", "counts"),
    [
        (1, [OUTAGE], (OUTAGE,)),
        (2, [OUTAGE, LASTING], (OUTAGE, LASTING)),
        # Of the second task the process died, so that a person must look at it.
        (2, [OUTAGE], ()),
        (3, [OUTAGE, None, LASTING], (LASTING,)),
        # A person marked the task as failed while it waited for its next try.
        (1, [RETRIED], ()),
        (0, [], ()),
    ],
)
def test_a_run_that_failed_in_part_is_started_again_only_if_each_failure_passes(airflow_database, failed, left, counts):
    from bcda_provider.operators.start_missed import failures_of

    assert failures_of(failed, left) == counts


class Told:
    """What Airflow tells a task of the runs of a DAG: ids, by id the state of each task."""

    def __init__(self, runs, scheduled=()):
        self._runs, self._scheduled = runs, scheduled
        self.next_dagrun = None

    def get_task_states(self, *, dag_id, run_ids=(), logical_dates=()):
        wanted = self._scheduled if logical_dates else run_ids
        return {run: self._runs[run] for run in wanted if run in self._runs}

    def get_dr_count(self, *, dag_id, run_ids=None, states=None):
        return len(self._runs.keys() & set(run_ids)) if run_ids else 0

    def get_dag(self, dag_id):
        return SimpleNamespace(is_paused=False, next_dagrun=self.next_dagrun)

    def xcom_pull(self, *, run_id, **_):
        return [OUTAGE for state in self._runs[run_id].values() if state == "failed"]


def test_a_run_for_the_week_before_says_nothing_of_the_week_that_is_due_later_that_day(places, monkeypatch):
    from bcda_provider.operators.start_missed import BcdaStartMissedOperator

    monkeypatch.setenv("BCDA_HOME", str(places.raw.parent))
    operator = BcdaStartMissedOperator(task_id="x", weekly_dag_id="weekly", bcda_conn_id="bcda_default")
    before = "missed__2026-11-17__2026-11-24"
    # At 03:00 the week before was started; at 06:00 the new week was due and failed in an outage.
    told = Told({before: {"plan": "success"}, "scheduled": {"plan": "failed"}}, ["scheduled"])
    later = operator._week(told, DUE + timedelta(hours=3))
    assert later.was_started_today
    assert later.failures == (OUTAGE,)
    tomorrow = operator._week(told, DUE + timedelta(hours=21))
    assert not tomorrow.was_started_today
    assert tomorrow.failures == (OUTAGE,)
    assert operator._week(told, DUE - timedelta(hours=2)).was_started_today


def test_the_newest_week_is_the_one_that_the_schedule_has_begun(airflow_database):
    from bcda_provider.weekly import newest_week

    for now, until in (
        (DUE, DUE),
        (DUE - timedelta(seconds=1), DUE - timedelta(weeks=1)),
        (DUE + timedelta(days=6), DUE),
    ):
        week = newest_week(now)
        assert (week.since, week.until) == (until - timedelta(weeks=1), until)


@pytest.mark.parametrize(
    ("weekly_schedule", "next_week", "unlike"),
    [
        (None, DUE, ""),
        (None, None, ""),
        # The file of the weekly export was changed to Wednesdays, and that of the maintenance was not.
        (None, DUE + timedelta(days=1), "0 6 * * 2"),
        ("0 6 * * 3", DUE + timedelta(days=1), ""),
    ],
)
def test_a_weekly_export_on_another_schedule_is_not_taken_for_missed(
    airflow_database, places, monkeypatch, weekly_schedule, next_week, unlike
):
    from bcda_provider.operators.start_missed import BcdaStartMissedOperator

    monkeypatch.setenv("BCDA_HOME", str(places.raw.parent))
    given = {"weekly_schedule": weekly_schedule} if weekly_schedule else {}
    operator = BcdaStartMissedOperator(task_id="x", weekly_dag_id="weekly", bcda_conn_id="bcda_default", **given)
    told = Told({}, [])
    told.next_dagrun = next_week
    found = operator._week(told, DUE + timedelta(days=2))
    assert found.unlike == unlike
    assert found.due == (DUE + timedelta(days=1) if weekly_schedule else DUE)
