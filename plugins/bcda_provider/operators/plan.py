"""Planning: what this run asks for, or why it need not run."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from airflow.sdk import BaseOperator, Context
from airflow.sdk.exceptions import AirflowSkipException

from bcda.coverage import Interval
from bcda.export_request import Scope, parse_instant
from bcda_provider.hooks import BcdaHook, places
from bcda_provider.retry import BcdaRetryPolicy


class BcdaPlanOperator(BaseOperator):
    """Decides from the ledger what to ask for and returns the run id; skips a backfill that is covered.

    Reads the DAG's params `resource_types`, `since`, `full` and `force`.

    Args:
        scope: endpoint of the export.
        bcda_conn_id: connection of type `bcda`.
        api_version: version of the API, empty for the connection's.
    """

    template_fields: Sequence[str] = ("bcda_conn_id", "api_version")

    def __init__(self, *, scope: str, bcda_conn_id: str, api_version: str = "", **kwargs: Any) -> None:
        super().__init__(retry_policy=BcdaRetryPolicy(), **kwargs)
        self.scope = scope
        self.bcda_conn_id = bcda_conn_id
        self.api_version = api_version

    def execute(self, context: Context) -> str:
        """Return the run id.

        Raises:
            AirflowSkipException: nothing is needed; says why.
            InvalidRequestError: a param is malformed.
            ServerError: BCDA is not there.
        """
        from bcda import export

        hook = BcdaHook(self.bcda_conn_id, api_version=self.api_version or None)
        settings = hook.settings()
        # Before anything is written down: a run that cannot reach BCDA leaves no trace.
        hook.check_open_endpoints(settings)
        params = context["params"]
        wish = export.Wish(
            api_version=settings.api_version,
            scope=Scope(self.scope),
            resource_types=tuple(params["resource_types"]),
            since=parse_instant(params["since"]) if params.get("since") else None,
            full=bool(params.get("full")),
            force=bool(params.get("force")),
            interval=_backfill_interval(context),
        )
        planned = export.plan(places(), wish, now=datetime.now(UTC))
        if isinstance(planned, export.NotNeeded):
            # Airflow does not show a skip's text, and people look for it in the log.
            self.log.info("not needed: %s", planned.reason)
            raise AirflowSkipException(planned.reason)
        return planned.run_id


def _backfill_interval(context: Context) -> Interval | None:
    """Return the data interval of a backfill run; other runs follow the ledger, whatever their interval is."""
    if context["dag_run"].run_type != "backfill":
        return None
    start, end = context.get("data_interval_start"), context.get("data_interval_end")
    if start is None or end is None:
        return None
    return Interval(_utc(start), _utc(end))


def _utc(instant: datetime) -> datetime:
    return datetime.fromtimestamp(instant.timestamp(), UTC)
