"""Landing one batch of files."""

from collections.abc import Sequence
from typing import Any

from airflow.sdk import BaseOperator, Context, XComArg

from bcda_provider.hooks import places
from bcda_provider.links import BcdaPageLink
from bcda_provider.retry import BcdaRetryPolicy


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

        landed = export.land_batch(places(self.bcda_conn_id), self.run_id, int(self.batch), int(self.batches))
        return {
            "batch": landed.batch,
            "lines_read": sum(file.lines_read for file in landed.files),
            "rows_landed": sum(file.rows_landed for file in landed.files),
            "lines_quarantined": sum(file.lines_quarantined for file in landed.files),
        }
