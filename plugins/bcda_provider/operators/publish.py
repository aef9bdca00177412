"""Publishing the warehouse to analysts."""

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator, Context, XComArg

from bcda.errors import BcdaError, DataQualityError
from bcda_provider import metrics
from bcda_provider.data_home import places, raw_places
from bcda_provider.links import BcdaPageLink, BcdaReportLink
from bcda_provider.operators.report import planned_runs, write_reports
from bcda_provider.tasks import BcdaTask

if TYPE_CHECKING:
    from bcda.settings import ApiVersion
    from bcda_provider.lineage import Lineage


class BcdaPublishOperator(BcdaTask, BaseOperator):
    """Checks what was loaded and replaces the database that analysts open by a snapshot of the warehouse.

    The views show the version of the API that the environment variable `BCDA_SHOWN_VERSION` names; without it the one
    that was loaded first.

    Args:
        bcda_conn_id: connection whose data is published.
        run_ids: of the export runs that were loaded, one or more: what plan tasks returned, or a text with commas. Each is
            checked, and when checks fail, its report is written here.
        plan_task_ids: tasks that planned further runs, by their ids; see `BcdaReportOperator`.
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
        self.bcda_conn_id = bcda_conn_id
        self.run_ids: Any = run_ids
        self.plan_task_ids = plan_task_ids
        self.run_id = ""
        self._rows: Mapping[str, int] = {}

    def work(self, context: Context) -> dict[str, int]:
        """Return size in bytes and number of runs of the snapshot, and the number of warnings its checks gave.

        Args:
            context: of the task.

        Raises:
            DataQualityError: a check of level error failed; nothing was published.
        """
        from bcda import export

        here = places(self.bcda_conn_id)
        planned = planned_runs(context["ti"], self.run_ids, self.plan_task_ids)
        try:
            with metrics.timed(metrics.PUBLISH_DURATION, source=self.bcda_conn_id):
                snapshot = export.publish(here, shown_version=_shown_version(), run_ids=planned)
        except DataQualityError:
            self._report(context["ti"], planned)
            raise
        self._rows = snapshot.rows
        metrics.tell_status(here)
        return {"bytes": snapshot.bytes, "runs": snapshot.runs, "warnings": len(snapshot.warnings)}

    def _report(self, ti: Any, planned: Sequence[str]) -> None:
        """Write the reports now: the task that does it otherwise does not run after a failure."""
        try:
            reports = write_reports(ti, planned, self.bcda_conn_id)
        except BcdaError as error:
            # The failed checks are what the task must end with.
            self.log.error("The report could not be written: %s", error)  # noqa: TRY400 - its text says all
            return
        self.run_id = reports[-1]["run_id"] if reports else ""

    def get_openlineage_facets_on_start(self) -> "Lineage":
        """Tell OpenLineage what is read and written."""
        from bcda_provider import lineage

        return lineage.published(raw_places(self.bcda_conn_id), {})

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> "Lineage":  # noqa: ARG002 - the interface's
        """Tell OpenLineage what was read and written."""
        from bcda_provider import lineage

        return lineage.published(raw_places(self.bcda_conn_id), self._rows)


def _shown_version() -> "ApiVersion | None":
    from bcda.errors import InvalidRequestError
    from bcda.settings import ApiVersion

    name = os.environ.get("BCDA_SHOWN_VERSION")
    if name and name not in set(ApiVersion):
        raise InvalidRequestError(f"BCDA_SHOWN_VERSION is {name!r}; it must be one of {', '.join(ApiVersion)}.")
    return ApiVersion(name) if name else None
