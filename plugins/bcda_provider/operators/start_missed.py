"""Starting the weekly export of a week that was missed, or failed for a reason that passes by itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import Context

from bcda.api.export_request import Scope
from bcda.errors import InvalidRequestError, ManifestError
from bcda.runs.coverage import Interval
from bcda.runs.run import read_run
from bcda.storage.places import Places
from bcda_provider.arguments import Asked, text
from bcda_provider.data_home import places
from bcda_provider.failures import KEY as FAILURE
from bcda_provider.failures import TRIED
from bcda_provider.notes import as_note, leave_note
from bcda_provider.sources import default_types, is_of_project
from bcda_provider.tasks import BcdaTask
from bcda_provider.weekly import CRON, newest_week
from bcda_provider.xcoms import failure_in

PREFIX = "missed__"
"""How the ids of runs begin that this task starts; the day on which their week was due follows, then that of the start."""


@dataclass(frozen=True, slots=True)
class Week:
    """What is known of the newest week that is due.

    Attributes:
        due: when its run was due, UTC.
        is_loaded: a run of all types was planned after that and is in the ledger.
        was_ever_loaded: some run of the whole population is in the ledger.
        is_paused: the weekly DAG is paused.
        unlike: the schedule that this task was given, when the weekly DAG has another one; else empty.
        active: its runs that are queued or running.
        has_run: the schedule, or this task, has started a run for the week.
        was_started_today: this task has started a run today.
        failures: what the failed tasks of the newest such run left: `text` and `passes`; see `failures_of`.
    """

    due: datetime
    is_loaded: bool = False
    was_ever_loaded: bool = True
    is_paused: bool = False
    unlike: str = ""
    active: int = 0
    has_run: bool = True
    was_started_today: bool = False
    failures: tuple[dict[str, Any], ...] = ()


def decide(week: Week) -> tuple[bool, str]:
    """Return whether to start a run, and why, in a sentence.

    Args:
        week: what is known.
    """
    of = f"The weekly export of {week.due:%Y-%m-%d %H:%M} UTC"
    if hindrance := _hindrance(week, of):
        return False, hindrance
    if not week.has_run:
        return True, f"{of} did not start, as when Airflow was down."
    if not week.failures:
        return (
            False,
            f"{of} left no reason. A person ended it, or its process died, or it ran with version 1.0; trigger it again.",
        )
    if lasting := [failure["text"] for failure in week.failures if not failure["passes"]]:
        return False, f"{of} needs a person: {lasting[0]}"
    return True, f"{of} failed for a reason that passes: {week.failures[0]['text']}"


def _hindrance(week: Week, of: str) -> str:
    """Return why no run can or need be started, whatever became of the last one; empty when nothing is in the way."""
    if week.unlike:
        return (
            f"bcda_maintenance was given the weekly schedule {week.unlike!r}, and the weekly DAG has another one. Name the same "
            "schedule in both DAG files."
        )
    if week.is_loaded:
        return f"{of} is loaded."
    if week.is_paused:
        return f"{of} is not loaded. Its DAG is paused; unpause it to load the data."
    if week.active:
        return f"{of} is not loaded yet; a run is queued or running."
    if week.was_started_today:
        return f"{of} is not loaded. A run was started today already; the next is possible tomorrow."
    if not week.has_run and not week.was_ever_loaded:
        return "Nothing is loaded yet. The first export starts when its DAG is unpaused."
    return ""


class BcdaStartMissedOperator(BcdaTask, TriggerDagRunOperator):
    """Triggers the weekly export when its newest week is not loaded and nobody has to act first.

    At most once a day, never while a run is queued or running.

    Args:
        weekly_dag_id: DAG of the weekly export.
        weekly_schedule: its schedule, a cron expression in UTC.
        bcda_conn_id: connection whose data is looked at.
        start_missed: whether to start a run at all; by default the DAG's param of that name, else true.
        kwargs: arguments of Airflow's `TriggerDagRunOperator`.
    """

    template_fields: Sequence[str] = ("bcda_conn_id", "weekly_dag_id", "weekly_schedule", "start_missed")

    def __init__(
        self,
        *,
        weekly_dag_id: str,
        bcda_conn_id: str,
        weekly_schedule: str = CRON,
        start_missed: bool | str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(trigger_dag_id=weekly_dag_id, **{"logical_date": None, **kwargs})
        self.weekly_dag_id = weekly_dag_id
        self.weekly_schedule = weekly_schedule
        self.bcda_conn_id = bcda_conn_id
        self.start_missed = start_missed

    def work(self, context: Context) -> dict[str, str]:
        """Return why no run was started; end by triggering one otherwise.

        Args:
            context: of the task.

        Raises:
            InvalidRequestError: the DAG is that of another connection.
        """
        if not Asked(self, context).flag("start_missed", default=True):
            return self._not_started("The param `start_missed` is off.")
        check_weekly(self.weekly_dag_id, self.bcda_conn_id)
        # Airflow's operator reads its own name of the DAG, which was set before any template was rendered.
        self.trigger_dag_id = self.weekly_dag_id
        now = datetime.now(UTC)
        starts, reason = decide(self._week(context["ti"], now))
        if not starts:
            return self._not_started(reason)
        self.log.info("%s Starting a run of %s.", reason, self.trigger_dag_id)
        leave_note(context["ti"], f"started {self.trigger_dag_id}: {reason}")
        self.trigger_run_id = run_id(newest_week(now, self.weekly_schedule), now)
        self.note = as_note(f"started by {context['ti'].dag_id}: {reason}")
        # Ends the task by an exception of Airflow's, which triggers the run.
        TriggerDagRunOperator.execute(self, context)
        raise AssertionError

    def _not_started(self, reason: str) -> dict[str, str]:
        self.log.info("No run was started. %s", reason)
        return {"reason": reason}

    def _week(self, ti: Any, now: datetime) -> Week:
        week, dag = newest_week(now, self.weekly_schedule), self.trigger_dag_id
        loaded, ever = _loaded(places(self.bcda_conn_id), week)
        days = [week.until + timedelta(days=number) for number in range((now - week.until).days + 2)]
        ours = ti.get_task_states(dag_id=dag, run_ids=[run_id(week, day) for day in days])
        scheduled = ti.get_task_states(dag_id=dag, logical_dates=[week.since])
        newest = max(ours, default=next(iter(scheduled), None))
        # On the day on which a week is due, the week before can have had its run of the day.
        before = newest_week(week.until - timedelta(seconds=1), self.weekly_schedule)
        today = [run_id(which, now) for which in (week, before)]
        weekly = ti.get_dag(dag)
        return Week(
            due=week.until,
            is_loaded=loaded,
            was_ever_loaded=ever,
            is_paused=weekly.is_paused,
            unlike=self._unlike(weekly.next_dagrun),
            active=ti.get_dr_count(dag_id=dag, states=["queued", "running"]),
            has_run=newest is not None,
            was_started_today=bool(ti.get_dr_count(dag_id=dag, run_ids=today)),
            failures=_failures(ti, dag, newest, {**scheduled, **ours}.get(newest, {})) if newest else (),
        )

    def _unlike(self, next_week: datetime | None) -> str:
        """Return this task's schedule when the next run's week does not begin when one of that schedule does."""
        if next_week is None or newest_week(next_week, self.weekly_schedule).until == next_week:
            return ""
        return self.weekly_schedule


def check_weekly(dag: Any, source: str) -> None:
    """Check that a DAG may be started for a connection: a template can name any, and ours are one connection's each.

    Args:
        dag: id of the DAG, rendered.
        source: connection of the task.

    Raises:
        InvalidRequestError: it is another connection's.
    """
    if is_of_project(text("weekly_dag_id", dag)) and not is_of_project(dag, source):
        raise InvalidRequestError(
            f"`weekly_dag_id` is {dag[:64]!r}, which is not a DAG of the connection {source}. No run was started. Name the weekly "
            "DAG of that connection."
        )


def run_id(week: Interval, day: datetime) -> str:
    """Return the id of the run that is started for a week on a day: Airflow accepts it once.

    Args:
        week: its data interval.
        day: timestamp of the start, UTC.
    """
    return f"{PREFIX}{week.until:%Y-%m-%d}__{day:%Y-%m-%d}"


def _failures(ti: Any, dag: str, run_id: str, states: dict[str, str]) -> tuple[dict[str, Any], ...]:
    """Return what the failed tasks of a run left; Airflow names mapped ones with their number behind an underscore."""
    failed = [name for name, state in states.items() if state == "failed"]
    tasks = {name.rpartition("_")[0] if "batch." in name else name for name in failed}
    found = ti.xcom_pull(dag_id=dag, run_id=run_id, task_ids=sorted(tasks), key=FAILURE) if tasks else ()
    return failures_of(len(failed), [failure_in(value) for value in found or ()])


def failures_of(failed: int, left: Sequence[dict[str, Any] | None]) -> tuple[dict[str, Any], ...]:
    """Return what failed for good, as the tasks said; if some task did not say it, only what needs a person.

    A task says nothing when its process dies. One that a person marks as failed between two tries has left the sentence of
    the try before, which was to be followed by another.

    Args:
        failed: how many tasks failed.
        left: what they left: `text` and `passes`; None for nothing.
    """
    final = [failure for failure in left if failure and TRIED not in failure["text"].partition(": ")[0]]
    return tuple(failure for failure in final if len(final) >= failed or not failure["passes"])


def _loaded(here: Places, week: Interval) -> tuple[bool, bool]:
    """Return whether a run of all types was planned since the week was due and is merged, and whether any ever was."""
    from bcda import warehouse

    merged = warehouse.merged_runs(here)
    wanted, found = set(default_types()), []
    for run_id in merged:
        try:
            found.append(read_run(here.run_folder(run_id)))
        except ManifestError:
            # Of a run whose folder is gone nobody knows any more what it asked for; it is an old one.
            continue
    whole = [run for run in found if run.request.scope is Scope.PATIENT and wanted <= set(run.request.resource_types)]
    return any(run.planned_at >= week.until for run in whole), bool(merged)
