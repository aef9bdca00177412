"""Writing the report of what was loaded."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from airflow.sdk import BaseOperator, Context

from bcda_provider.hooks import places
from bcda_provider.links import BcdaPageLink, BcdaReportLink
from bcda_provider.notes import leave_note
from bcda_provider.retry import BcdaRetryPolicy


class BcdaReportOperator(BaseOperator):
    """Writes the report of each run that this DAG run loaded, and keeps the page's aggregates of what is published now.

    A task of its own: when it fails, what was loaded stays published.

    Args:
        plan_task_ids: tasks that planned the runs; those that skipped planned none.
        bcda_conn_id: connection of the runs; its data has places of its own.
    """

    template_fields: Sequence[str] = ("bcda_conn_id",)
    operator_extra_links = (BcdaPageLink(), BcdaReportLink())

    def __init__(self, *, plan_task_ids: Sequence[str], bcda_conn_id: str, **kwargs: Any) -> None:
        super().__init__(retry_policy=BcdaRetryPolicy(), **kwargs)
        self.plan_task_ids = tuple(plan_task_ids)
        self.bcda_conn_id = bcda_conn_id
        self.run_id = ""

    def execute(self, context: Context) -> dict[str, list[dict[str, str]]]:
        """Return the runs with a headline and the files of their reports.

        Args:
            context: of the task.

        Raises:
            StorageError: the folder of reports, or that of the published database, cannot be written.
        """
        from bcda.overview import keep_overview

        reports = write_reports(context["ti"], self.plan_task_ids, self.bcda_conn_id)
        keep_overview(places(self.bcda_conn_id))
        self.run_id = reports[-1]["run_id"] if reports else ""
        return {"reports": reports}


def write_reports(ti: Any, plan_task_ids: Sequence[str], conn_id: str) -> list[dict[str, str]]:
    """Write the report of each run that was planned, and leave their headlines as the run's note.

    Args:
        ti: task instance at work.
        plan_task_ids: tasks that planned the runs.
        conn_id: connection of the runs.

    Returns:
        Of each: run_id, headline, and the paths html_file and text_file.
    """
    from bcda import run_report

    planned = [run_id for run_id in ti.xcom_pull(task_ids=list(plan_task_ids)) or () if run_id]
    written = [run_report.write_report(places(conn_id), run_id, now=datetime.now(UTC)) for run_id in planned]
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
