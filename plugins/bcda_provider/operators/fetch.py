"""Fetching one batch of files."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseAsyncOperator, Context, XComArg

from bcda.receipts import Receipt
from bcda_provider import metrics
from bcda_provider.hooks import BcdaHook, client_of, raw_places
from bcda_provider.links import BcdaPageLink
from bcda_provider.retry import BcdaRetryPolicy

if TYPE_CHECKING:
    from bcda_provider.lineage import Lineage


class BcdaFetchOperator(BaseAsyncOperator):
    """Fetches and proves the files of one batch, several at a time; mapped over the batches of a run.

    Args:
        run_id: of the export run.
        batch: number of the batch.
        batches: how many batches the run has at most.
        bcda_conn_id: connection of type `bcda`.
        api_version: version of the API, empty for the connection's.
    """

    template_fields: Sequence[str] = ("run_id", "batch", "batches", "bcda_conn_id", "api_version")
    operator_extra_links = (BcdaPageLink(),)

    def __init__(
        self,
        *,
        run_id: str | XComArg,
        batch: int | str,
        batches: int | str,
        bcda_conn_id: str,
        api_version: str = "",
        **kwargs: Any,
    ) -> None:
        super().__init__(retry_policy=BcdaRetryPolicy(has_job=True), **kwargs)
        self.run_id: Any = run_id
        self.batch = batch
        self.batches = batches
        self.bcda_conn_id = bcda_conn_id
        self.api_version = api_version

    async def aexecute(self, context: Context) -> dict[str, int]:  # noqa: ARG002 - the interface's
        """Return batch, files and bytes."""
        from bcda import export

        settings = await BcdaHook(self.bcda_conn_id, api_version=self.api_version or None).asettings()
        count = int(self.batches)
        # BCDA counts requests per address, so batches that run side by side share one budget.
        share = max(1, settings.tuning.requests_per_five_minutes // count)
        settings = replace(settings, tuning=replace(settings.tuning, requests_per_five_minutes=share))
        here = raw_places(self.bcda_conn_id)
        tags = metrics.of_run(here, self.run_id)

        def fetched(receipt: Receipt) -> None:
            metrics.emit(metrics.FILES_FETCHED, 1, **tags)
            metrics.emit(metrics.BYTES_FETCHED, receipt.wire_bytes, **tags)

        with metrics.timed(metrics.FETCH_DURATION, **tags):
            async with client_of(settings, self.bcda_conn_id) as client:
                receipts = await export.fetch_batch(client, here, self.run_id, int(self.batch), count, on_file=fetched)
        return {
            "batch": int(self.batch),
            "files": len(receipts),
            "bytes": sum(receipt.wire_bytes for receipt in receipts),
        }

    def get_openlineage_facets_on_start(self) -> "Lineage":
        """Tell OpenLineage what is read and written."""
        from bcda_provider import lineage

        return lineage.fetching(raw_places(self.bcda_conn_id), self.run_id)

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> "Lineage":  # noqa: ARG002 - the interface's
        """Tell OpenLineage what was read and written."""
        from bcda_provider import lineage

        return lineage.fetched(raw_places(self.bcda_conn_id), self.run_id, int(self.batch), int(self.batches))
