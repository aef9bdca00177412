"""Merging a run into the warehouse."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset, BaseOperator, Context, XComArg

from bcda.privacy.suppression import rows
from bcda_provider import arguments, metrics
from bcda_provider.arguments import Asked
from bcda_provider.assets import table_assets
from bcda_provider.data_home import places, raw_places
from bcda_provider.links import BcdaPageLink
from bcda_provider.notes import leave_note
from bcda_provider.tasks import BcdaTask, known_source, together

if TYPE_CHECKING:
    from bcda_provider.lineage import Lineage


class BcdaMergeOperator(BcdaTask, BaseOperator):
    """Merges all batches of a run, rows and ledger in one transaction, and tells the assets of the tables.

    Args:
        run_id: of the export run.
        bcda_conn_id: connection of the run; its data has places of its own.
        batches: how many batches the run has at most, as its `BcdaJobSensor` was told; by default the DAG's param `batches`,
            else 2.
        source: connection whose assets are updated; by default `bcda_conn_id`. The assets are outlets of the task when the DAG
            is read only if this is known then; a task that is mapped over connections updates them anyway.
        kwargs: arguments of Airflow's `BaseOperator`; `outlets` come on top of the tables' assets.
    """

    template_fields: Sequence[str] = ("run_id", "batches", "bcda_conn_id", "source")
    operator_extra_links = (BcdaPageLink(),)

    def __init__(
        self,
        *,
        run_id: str | XComArg,
        bcda_conn_id: str,
        batches: int | str | None = None,
        source: str | None = None,
        **kwargs: Any,
    ) -> None:
        own = self.outlets_of({"bcda_conn_id": bcda_conn_id, "source": source})
        super().__init__(own_outlets=own, **kwargs)
        self.bcda_conn_id = bcda_conn_id
        self.source = source
        self.run_id: Any = run_id
        self.batches = batches

    @classmethod
    def outlets_of(cls, given: Mapping[str, Any]) -> Sequence[Asset]:
        """Return the assets of the tables, once the connection is known.

        Args:
            given: arguments of the task.
        """
        source = known_source(given)
        return table_assets(source) if source else ()

    def work(self, context: Context) -> dict[str, object]:
        """Return the run's summary: files and lines per resource type as they may be shown, the covered interval, gaps."""
        from bcda import export

        count = Asked(self, context).batches()
        arguments.text("run_id", self.run_id)
        here = places(self.bcda_conn_id)
        tags = metrics.of_run(here, self.run_id)
        with metrics.timed(metrics.MERGE_DURATION, **tags):
            summary = export.merge(here, self.run_id, count, now=datetime.now(UTC))
        metrics.emit(metrics.RUNS_LOADED, 1, **tags)
        # Those of a connection that a template or a mapped argument names are known only now.
        assets = table_assets(self.source or self.bcda_conn_id)
        self.outlets = together(self.outlets, assets)
        for asset in assets:
            context["outlet_events"][asset].extra = {
                "source_id": self.bcda_conn_id,
                "run_id": summary.run_id,
                "transaction_time": summary.transaction_time,
            }
        files, lines = sum(entry.files for entry in summary.counts), rows(sum(entry.lines for entry in summary.counts))
        leave_note(context["ti"], f"merged {files:,} files, {lines} lines; not published yet")
        return summary.to_json()

    def get_openlineage_facets_on_start(self) -> "Lineage":
        """Tell OpenLineage what is read and written."""
        from bcda_provider import lineage

        return lineage.merged(raw_places(self.bcda_conn_id), self.run_id)

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> "Lineage":  # noqa: ARG002 - the interface's
        """Tell OpenLineage what was read and written."""
        from bcda_provider import lineage

        return lineage.merged(raw_places(self.bcda_conn_id), self.run_id)
