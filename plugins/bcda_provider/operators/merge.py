"""Merging a run into the warehouse."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from airflow.sdk import BaseOperator, Context, XComArg

from bcda_provider.assets import TABLE_ASSETS
from bcda_provider.hooks import places
from bcda_provider.retry import BcdaRetryPolicy


class BcdaMergeOperator(BaseOperator):
    """Merges all batches of a run, rows and ledger in one transaction, and tells the assets of the tables.

    Args:
        run_id: of the export run.
        batches: how many batches the run has at most.
    """

    template_fields: Sequence[str] = ("run_id", "batches")

    def __init__(self, *, run_id: str | XComArg, batches: int | str, **kwargs: Any) -> None:
        super().__init__(retry_policy=BcdaRetryPolicy(), outlets=list(TABLE_ASSETS), **kwargs)
        self.run_id: Any = run_id
        self.batches = batches

    def execute(self, context: Context) -> dict[str, object]:
        """Return the run's summary: counts per resource type, the covered interval, gaps."""
        from bcda import export

        summary = export.merge(places(), self.run_id, int(self.batches), now=datetime.now(UTC))
        for asset in TABLE_ASSETS:
            context["outlet_events"][asset].extra = {
                "run_id": summary.run_id,
                "transaction_time": summary.transaction_time,
            }
        return summary.to_json()
