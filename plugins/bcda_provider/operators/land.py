"""Landing one batch of files."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator, Context, XComArg

from bcda_provider import metrics
from bcda_provider.hooks import places, raw_places
from bcda_provider.links import BcdaPageLink
from bcda_provider.retry import BcdaRetryPolicy

if TYPE_CHECKING:
    from bcda_provider.lineage import Lineage


class BcdaLandOperator(BaseOperator):
    """Turns the fetched files of one batch into Parquet; mapped over the batches of a run.

    Args:
        run_id: of the export run.
        batch: number of the batch.
        batches: how many batches the run has at most.
        bcda_conn_id: connection of the run; its data has places of its own.
    """

    template_fields: Sequence[str] = ("run_id", "batch", "batches", "bcda_conn_id")
    operator_extra_links = (BcdaPageLink(),)

    def __init__(
        self, *, run_id: str | XComArg, batch: int | str, batches: int | str, bcda_conn_id: str, **kwargs: Any
    ) -> None:
        super().__init__(retry_policy=BcdaRetryPolicy(), **kwargs)
        self.run_id: Any = run_id
        self.batch = batch
        self.batches = batches
        self.bcda_conn_id = bcda_conn_id

    def execute(self, context: Context) -> dict[str, int]:  # noqa: ARG002 - the interface's
        """Return batch, lines read, resources landed and lines quarantined."""
        from bcda import export

        here = places(self.bcda_conn_id)
        tags = metrics.of_run(here, self.run_id)
        with metrics.timed(metrics.LAND_DURATION, **tags):
            landed = export.land_batch(here, self.run_id, int(self.batch), int(self.batches))
        lines_read = sum(file.lines_read for file in landed.files)
        rows_landed = sum(file.rows_landed for file in landed.files)
        lines_quarantined = sum(file.lines_quarantined for file in landed.files)
        metrics.emit(metrics.LINES_READ, lines_read, **tags)
        metrics.emit(metrics.LINES_LANDED, rows_landed, **tags)
        metrics.emit(metrics.LINES_QUARANTINED, lines_quarantined, **tags)
        return {
            "batch": landed.batch,
            "lines_read": lines_read,
            "rows_landed": rows_landed,
            "lines_quarantined": lines_quarantined,
        }

    def get_openlineage_facets_on_start(self) -> "Lineage":
        """Tell OpenLineage what is read and written."""
        from bcda_provider import lineage

        return lineage.landing(raw_places(self.bcda_conn_id))

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> "Lineage":  # noqa: ARG002 - the interface's
        """Tell OpenLineage what was read and written."""
        from bcda_provider import lineage

        return lineage.landed(raw_places(self.bcda_conn_id), self.run_id, int(self.batch))
