"""Fetching one batch of files."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator, Context, XComArg

from bcda.runs.receipts import Receipt
from bcda.settings import ConnectionSettings
from bcda_provider import metrics
from bcda_provider.arguments import DEFAULT_BATCHES, batch_of
from bcda_provider.clients import client_of
from bcda_provider.data_home import raw_places
from bcda_provider.links import BcdaPageLink
from bcda_provider.planned_runs import settings_of_run
from bcda_provider.retry import BcdaRetryPolicy
from bcda_provider.tasks import BcdaTask

if TYPE_CHECKING:
    from bcda_provider.lineage import Lineage


class BcdaFetchOperator(BcdaTask, BaseOperator):
    """Fetches and proves the files of one batch, several at a time; mapped over the batches of a run.

    Args:
        run_id: of the export run.
        bcda_conn_id: connection of type `bcda`.
        batch: number of the batch, from 0. A run with fewer files than batches has nothing in the last ones.
        batches: how many batches the run has at most, as its `BcdaJobSensor` was told; by default the DAG's param `batches`,
            else 2.
        api_version: version of the API; by default that of the run.
        kwargs: arguments of Airflow's `BaseOperator`.
    """

    policy = BcdaRetryPolicy(has_job=True)

    template_fields: Sequence[str] = ("run_id", "batch", "batches", "bcda_conn_id", "api_version")
    operator_extra_links = (BcdaPageLink(),)

    def __init__(
        self,
        *,
        run_id: str | XComArg,
        bcda_conn_id: str,
        batch: int | str = 0,
        batches: int | str | None = None,
        api_version: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.run_id: Any = run_id
        self.batch: Any = batch
        self.batches: Any = batches
        self.bcda_conn_id = bcda_conn_id
        self.api_version = api_version

    def work(self, context: Context) -> dict[str, int]:
        """Return batch, files and bytes."""
        settings = settings_of_run(self.bcda_conn_id, self.run_id, self.api_version)
        # OpenLineage asks for them afterwards, without the params.
        self.batch, self.batches = batch_of(self, context)
        return asyncio.run(self._fetch(settings, self.batch, self.batches))

    async def _fetch(self, settings: ConnectionSettings, batch: int, count: int) -> dict[str, int]:
        from bcda import export

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
                receipts = await export.fetch_batch(client, here, self.run_id, batch, count, on_file=fetched)
        return {
            "batch": batch,
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

        return lineage.fetched(
            raw_places(self.bcda_conn_id), self.run_id, int(self.batch), int(self.batches or DEFAULT_BATCHES)
        )
