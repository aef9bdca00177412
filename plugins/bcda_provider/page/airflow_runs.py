"""What Airflow's database says of the export DAGs' runs; read by the page alone, which runs inside the API server."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from airflow.models.dag import DagModel
from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance
from airflow.models.xcom import XComModel
from airflow.utils.session import create_session
from sqlalchemy import select

from bcda_provider.failures import KEY as FAILURE
from bcda_provider.sources import dag_id
from bcda_provider.xcoms import failure_in, run_id_in

EXPORT_DAGS = ("bcda_weekly_export", "bcda_attribution_export", "bcda_runout_export")
"""DAGs whose runs bring data, without the source's suffix."""

NEWEST = 12
"""Runs that the page lists."""


@dataclass(frozen=True, slots=True)
class AirflowRun:
    """One run of an export DAG.

    Attributes:
        dag_id: of the DAG.
        dag_run_id: of the run.
        state: queued, running, success or failed.
        begun_at: when it was started, or is to start, UTC.
        ended_at: when it ended, UTC; None while it is at work.
        run_ids: our export runs that it planned, in the order of their tasks; none where nothing was needed.
        failed_tasks: ids of its failed tasks, with `[n]` for mapped ones.
        at_work: ids of tasks that are running, queued, deferred or to be tried again, with their state.
        failures: ids of tasks whose last try failed, with its sentence; a task has none while its next try runs.
        note: note of the run; empty when it has none.
    """

    dag_id: str
    dag_run_id: str
    state: str
    begun_at: datetime | None
    ended_at: datetime | None
    run_ids: tuple[str, ...] = ()
    failed_tasks: tuple[str, ...] = ()
    at_work: dict[str, str] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    note: str = ""


def export_dags(source: str) -> tuple[str, ...]:
    """Return the ids of a source's export DAGs.

    Args:
        source: connection id.
    """
    return tuple(dag_id(name, source) for name in EXPORT_DAGS)


def teams_of(dags: Collection[str]) -> dict[str, str | None]:
    """Return the team of each DAG that belongs to one: an auth manager decides by it.

    Args:
        dags: ids.
    """
    found: dict[str, str | None] = DagModel.get_dag_id_to_team_name_mapping(list(dags))
    return found


def newest_runs(dags: Collection[str], limit: int = NEWEST) -> list[AirflowRun]:
    """Return the newest runs of some export DAGs, newest first.

    Args:
        dags: ids of those whose runs may be seen.
        limit: how many at most.
    """
    with create_session() as session:
        runs = session.scalars(
            select(DagRun)
            .where(DagRun.dag_id.in_(dags))
            .order_by(DagRun.run_after.desc(), DagRun.id.desc())
            .limit(limit)
        ).all()
        tasks = _tasks(session, runs)
        planned = _planned(session, runs)
        failures = _failures(session, runs)
        return [
            AirflowRun(
                dag_id=run.dag_id,
                dag_run_id=run.run_id,
                state=str(run.state),
                begun_at=run.start_date or run.run_after,
                ended_at=run.end_date,
                run_ids=planned[run.dag_id, run.run_id],
                failed_tasks=tuple(
                    sorted(_name(task) for task in tasks[run.dag_id, run.run_id] if task.state == "failed")
                ),
                at_work={
                    _name(task): str(task.state) for task in tasks[run.dag_id, run.run_id] if task.state in _AT_WORK
                },
                failures=failures[run.dag_id, run.run_id],
                note=run.note or "",
            )
            for run in runs
        ]


def paused_dags(dags: Collection[str]) -> dict[str, bool]:
    """Return the export DAGs that Airflow has read, each with whether it is switched off.

    Args:
        dags: ids of those that may be seen.
    """
    with create_session() as session:
        found = session.execute(select(DagModel.dag_id, DagModel.is_paused).where(DagModel.dag_id.in_(dags))).all()
    return {str(name): bool(is_paused) for name, is_paused in found}


_AT_WORK = frozenset({"running", "queued", "scheduled", "deferred", "up_for_retry", "up_for_reschedule"})
_Key = tuple[str, str]


def _tasks(session: object, runs: Sequence[DagRun]) -> dict[_Key, list[TaskInstance]]:
    found: dict[_Key, list[TaskInstance]] = defaultdict(list)
    wanted = select(TaskInstance).where(
        TaskInstance.run_id.in_([run.run_id for run in runs]), TaskInstance.dag_id.in_({run.dag_id for run in runs})
    )
    for task in session.scalars(wanted):  # type: ignore[attr-defined]
        found[task.dag_id, task.run_id].append(task)
    return found


def _planned(session: object, runs: Sequence[DagRun]) -> dict[_Key, tuple[str, ...]]:
    """Return the export runs by Airflow run: what its `plan` tasks returned."""
    found: dict[_Key, list[str]] = defaultdict(list)
    wanted = (
        select(XComModel)
        .where(
            XComModel.run_id.in_([run.run_id for run in runs]),
            XComModel.dag_id.in_({run.dag_id for run in runs}),
            XComModel.key == "return_value",
            XComModel.task_id.in_(["plan", "gaps.plan", "roster.plan", "history.plan"]),
        )
        .order_by(XComModel.timestamp)
    )
    for value in session.scalars(wanted):  # type: ignore[attr-defined]
        if run_id := run_id_in(value.value):
            found[value.dag_id, value.run_id].append(run_id)
    return defaultdict(tuple, {key: tuple(run_ids) for key, run_ids in found.items()})


def _failures(session: object, runs: Sequence[DagRun]) -> dict[_Key, dict[str, str]]:
    """Return by Airflow run the sentences that its tasks left when their last try failed."""
    found: dict[_Key, dict[str, str]] = defaultdict(dict)
    wanted = (
        select(XComModel)
        .where(
            XComModel.run_id.in_([run.run_id for run in runs]),
            XComModel.dag_id.in_({run.dag_id for run in runs}),
            XComModel.key == FAILURE,
        )
        .order_by(XComModel.timestamp)
    )
    for left in session.scalars(wanted):  # type: ignore[attr-defined]
        if failure := failure_in(left.value):
            found[left.dag_id, left.run_id][_name(left)] = failure["text"]
    return found


def _name(task: TaskInstance | XComModel) -> str:
    return f"{task.task_id}[{task.map_index}]" if task.map_index >= 0 else str(task.task_id)
