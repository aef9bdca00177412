"""Publishing the warehouse to analysts."""

from typing import Any

from airflow.sdk import BaseOperator, Context

from bcda_provider.hooks import places
from bcda_provider.retry import BcdaRetryPolicy


class BcdaPublishOperator(BaseOperator):
    """Replaces the database that analysts open by a snapshot of the warehouse."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(retry_policy=BcdaRetryPolicy(), **kwargs)

    def execute(self, context: Context) -> dict[str, int]:  # noqa: ARG002 - the interface's
        """Return size in bytes and number of runs of the snapshot."""
        from bcda import export

        snapshot = export.publish(places())
        return {"bytes": snapshot.bytes, "runs": snapshot.runs}
