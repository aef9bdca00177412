"""Writing the report of what was loaded."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from airflow.sdk import BaseOperator, Context, XComArg

from bcda_provider import arguments
from bcda_provider.data_home import places
from bcda_provider.failures import map_index_of
from bcda_provider.links import BcdaPageLink, BcdaReportLink, page_address
from bcda_provider.notes import leave_note
from bcda_provider.tasks import BcdaTask


class BcdaReportOperator(BcdaTask, BaseOperator):
    """Writes the report of each run that this DAG run loaded, and keeps the page's aggregates of what is published now.

    A task of its own: when it fails, what was loaded stays published.

    Args:
        bcda_conn_id: connection of the runs; its data has places of its own.
        run_ids: of the export runs, one or more: what plan tasks returned, or a text with commas.
        plan_task_ids: tasks that planned further runs, by their ids; those that skipped planned none. Unlike `run_ids`, they do
            not make this task wait for them, or skip with them.
        kwargs: arguments of Airflow's `BaseOperator`.
    """

    template_fields: Sequence[str] = ("bcda_conn_id", "run_ids", "plan_task_ids")
    operator_extra_links = (BcdaPageLink(), BcdaReportLink())

    def __init__(
        self,
        *,
        bcda_conn_id: str,
        run_ids: Sequence[str] | str | XComArg | None = None,
        plan_task_ids: Sequence[str] | str = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.run_ids: Any = run_ids
        self.plan_task_ids = plan_task_ids
        self.bcda_conn_id = bcda_conn_id
        self.run_id = ""

    def work(self, context: Context) -> dict[str, list[dict[str, str]]]:
        """Return the runs with a headline and the files of their reports.

        Args:
            context: of the task.

        Raises:
            InvalidRequestError: `run_ids` is no list of runs.
            StorageError: the folder of reports, or that of the published database, cannot be written.
        """
        from bcda.reporting.overview import keep_overview

        planned = planned_runs(context["ti"], self.run_ids, self.plan_task_ids)
        reports = write_reports(context["ti"], planned, self.bcda_conn_id)
        keep_overview(places(self.bcda_conn_id))
        self.run_id = reports[-1]["run_id"] if reports else ""
        return {"reports": reports}


def planned_runs(ti: Any, run_ids: Any, plan_task_ids: Any) -> list[str]:
    """Return the runs that this DAG run planned, each once.

    A mapped task looks at the plan task of its own map index, or at one that is not mapped; any other at all map indexes.

    Args:
        ti: task instance at work.
        run_ids: of runs, in any form of a list; None where a task was skipped.
        plan_task_ids: tasks that planned more of them, in any form of a list.

    Raises:
        InvalidRequestError: one of both is no list of names.
    """
    given = run_ids if run_ids is None or isinstance(run_ids, str) else [run_id for run_id in run_ids if run_id]
    found = list(arguments.names("run_ids", given))
    tasks, index = arguments.names("plan_task_ids", plan_task_ids), map_index_of(ti)
    for task in tasks:
        if index < 0:
            found += [run_id for run_id in ti.xcom_pull(task_ids=[task]) or () if run_id]
        elif run_id := ti.xcom_pull(task_ids=task, map_indexes=index) or ti.xcom_pull(task_ids=task, map_indexes=-1):
            found.append(run_id)
    return list(dict.fromkeys(arguments.names("plan_task_ids", found)))


def write_reports(ti: Any, planned: Sequence[str], conn_id: str) -> list[dict[str, str]]:
    """Write the report of each run that was planned and is loaded, and leave their headlines as the run's note.

    Args:
        ti: task instance at work.
        planned: ids of the runs.
        conn_id: connection of the runs.

    Returns:
        Of each: run_id, headline, and the paths html_file and text_file.
    """
    from bcda.reporting import run_report

    if len(planned) > 1:
        # What asks for gaps again can fail without keeping the rest from being published.
        planned = [run_id for run_id in planned if run_report.is_loaded(places(conn_id), run_id)]
    written = [
        run_report.write_report(places(conn_id), run_id, now=datetime.now(UTC), page=page_address(conn_id, run_id))
        for run_id in planned
    ]
    if written:
        leave_note(ti, "; ".join(report.headline for report in written))
    return [
        {
            "run_id": report.run_id,
            "headline": report.headline,
            "html_file": str(report.html),
            "text_file": str(report.text),
        }
        for report in written
    ]
