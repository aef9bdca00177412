"""Publishing the warehouse to analysts."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator, Context

from bcda_provider.hooks import places
from bcda_provider.retry import BcdaRetryPolicy

if TYPE_CHECKING:
    from bcda.settings import ApiVersion


class BcdaPublishOperator(BaseOperator):
    """Checks what was loaded and replaces the database that analysts open by a snapshot of the warehouse.

    The views show the version of the API that the environment variable `BCDA_SHOWN_VERSION` names; without it the one
    that was loaded first.

    Args:
        bcda_conn_id: connection whose data is published.
    """

    template_fields: Sequence[str] = ("bcda_conn_id",)

    def __init__(self, *, bcda_conn_id: str, **kwargs: Any) -> None:
        super().__init__(retry_policy=BcdaRetryPolicy(), **kwargs)
        self.bcda_conn_id = bcda_conn_id

    def execute(self, context: Context) -> dict[str, int]:  # noqa: ARG002 - the interface's
        """Return size in bytes and number of runs of the snapshot, and the number of warnings its checks gave."""
        from bcda import export

        snapshot = export.publish(places(self.bcda_conn_id), shown_version=_shown_version())
        return {"bytes": snapshot.bytes, "runs": snapshot.runs, "warnings": len(snapshot.warnings)}


def _shown_version() -> "ApiVersion | None":
    from bcda.errors import InvalidRequestError
    from bcda.settings import ApiVersion

    name = os.environ.get("BCDA_SHOWN_VERSION")
    if name and name not in set(ApiVersion):
        raise InvalidRequestError(f"BCDA_SHOWN_VERSION is {name!r}; it must be one of {', '.join(ApiVersion)}.")
    return ApiVersion(name) if name else None
