"""Merging a run into the warehouse."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator, Context, XComArg

from bcda_provider import metrics
from bcda_provider.assets import table_assets
from bcda_provider.hooks import places, raw_places
from bcda_provider.links import BcdaPageLink
from bcda_provider.notes import leave_note
from bcda_provider.retry import BcdaRetryPolicy

if TYPE_CHECKING:
    from bcda_provider.lineage import Lineage


class BcdaMergeOperator(BaseOperator):
    """Merges all batches of a run, rows and ledger in one transaction, and tells the assets of the tables.

    Args:
        run_id: of the export run.
        batches: how many batches the run has at most.
        bcda_conn_id: connection of the run; its data has places of its own.
        source: connection whose assets are updated, known when the DAG is read.
    """

    template_fields: Sequence[str] = ("run_id", "batches", "bcda_conn_id")
    operator_extra_links = (BcdaPageLink(),)

    def __init__(
        self, *, run_id: str | XComArg, batches: int | str, bcda_conn_id: str, source: str, **kwargs: Any
    ) -> None:
        super().__init__(retry_policy=BcdaRetryPolicy(), outlets=list(table_assets(source)), **kwargs)
        self.bcda_conn_id = bcda_conn_id
        self.source = source
        self.run_id: Any = run_id
        self.batches = batches

    def execute(self, context: Context) -> dict[str, object]:
        """Return the run's summary: counts per resource type, the covered interval, gaps."""
        from bcda import export

        here = places(self.bcda_conn_id)
        tags = metrics.of_run(here, self.run_id)
        with metrics.timed(metrics.MERGE_DURATION, **tags):
            summary = export.merge(here, self.run_id, int(self.batches), now=datetime.now(UTC))
        metrics.emit(metrics.RUNS_LOADED, 1, **tags)
        for asset in table_assets(self.source):
            context["outlet_events"][asset].extra = {
                "source_id": self.bcda_conn_id,
                "run_id": summary.run_id,
                "transaction_time": summary.transaction_time,
            }
        files, lines = sum(entry.files for entry in summary.counts), sum(entry.lines for entry in summary.counts)
        leave_note(context["ti"], f"merged {files:,} files, {lines:,} lines; not published yet")
        return summary.to_json()

    def get_openlineage_facets_on_start(self) -> "Lineage":
        """Tell OpenLineage what is read and written."""
        from bcda_provider import lineage

        return lineage.merged(raw_places(self.bcda_conn_id), self.run_id)

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> "Lineage":  # noqa: ARG002 - the interface's
        """Tell OpenLineage what was read and written."""
        from bcda_provider import lineage

        return lineage.merged(raw_places(self.bcda_conn_id), self.run_id)
