"""Landing one batch of files."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator, Context, XComArg

from bcda_provider import arguments, metrics
from bcda_provider.arguments import batch_of
from bcda_provider.data_home import places, raw_places
from bcda_provider.links import BcdaPageLink
from bcda_provider.tasks import BcdaTask

if TYPE_CHECKING:
    from bcda_provider.lineage import Lineage


class BcdaLandOperator(BcdaTask, BaseOperator):
    """Turns the fetched files of one batch into Parquet; mapped over the batches of a run.

    Args:
        run_id: of the export run.
        bcda_conn_id: connection of the run; its data has places of its own.
        batch: number of the batch, from 0. A run with fewer files than batches has nothing in the last ones.
        batches: how many batches the run has at most, as its `BcdaJobSensor` was told; by default the DAG's param `batches`,
            else 2.
        kwargs: arguments of Airflow's `BaseOperator`.
    """

    template_fields: Sequence[str] = ("run_id", "batch", "batches", "bcda_conn_id")
    operator_extra_links = (BcdaPageLink(),)

    def __init__(
        self,
        *,
        run_id: str | XComArg,
        bcda_conn_id: str,
        batch: int | str = 0,
        batches: int | str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.run_id: Any = run_id
        self.batch: Any = batch
        self.batches = batches
        self.bcda_conn_id = bcda_conn_id

    def work(self, context: Context) -> dict[str, int]:
        """Return batch and files. Lines are not handed on: those of one batch can be those of few people."""
        from bcda import export

        self.batch, count = batch_of(self, context)
        arguments.text("run_id", self.run_id)
        here = places(self.bcda_conn_id)
        tags = metrics.of_run(here, self.run_id)
        with metrics.timed(metrics.LAND_DURATION, **tags):
            landed = export.land_batch(here, self.run_id, self.batch, count)
        lines_read = sum(file.lines_read for file in landed.files)
        rows_landed = sum(file.rows_landed for file in landed.files)
        lines_quarantined = sum(file.lines_quarantined for file in landed.files)
        metrics.emit(metrics.LINES_READ, lines_read, **tags)
        metrics.emit(metrics.LINES_LANDED, rows_landed, **tags)
        metrics.emit(metrics.LINES_QUARANTINED, lines_quarantined, **tags)
        return {"batch": landed.batch, "files": len(landed.files)}

    def get_openlineage_facets_on_start(self) -> "Lineage":
        """Tell OpenLineage what is read and written."""
        from bcda_provider import lineage

        return lineage.landing(raw_places(self.bcda_conn_id))

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> "Lineage":  # noqa: ARG002 - the interface's
        """Tell OpenLineage what was read and written."""
        from bcda_provider import lineage

        return lineage.landed(raw_places(self.bcda_conn_id), self.run_id, int(self.batch))
