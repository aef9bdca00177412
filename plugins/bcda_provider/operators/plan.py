"""Planning: what this run asks for, or why it need not run."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from airflow.sdk import BaseOperator, Context
from airflow.sdk.exceptions import AirflowSkipException

from bcda.coverage import Interval
from bcda.export_request import Scope, parse_instant
from bcda.planning import NotNeeded, Wish
from bcda.settings import ApiVersion, ConnectionSettings, server_of
from bcda.type_filter import SystemType, TypeFilter
from bcda_provider import metrics
from bcda_provider.hooks import BcdaHook, list_dates, places
from bcda_provider.links import BcdaPageLink
from bcda_provider.notes import NOT_NEEDED, leave_note
from bcda_provider.retry import BcdaRetryPolicy

_FILTER_PARAMS = ("systems", "final_action", "outcome", "service_from", "service_through")


class BcdaPlanOperator(BaseOperator):
    """Decides from the ledger what to ask for and returns the run id; skips a run that is not needed.

    Reads the DAG's params `resource_types`, `since`, `full` and `force`, and the filter's on v3.

    Args:
        scope: endpoint of the export.
        is_roster: take the people of the newest attribution list in full, and nothing else.
        without_patient: leave Patient out, since the roster has just brought it.
        bcda_conn_id: connection of type `bcda`.
        api_version: version of the API, empty for the connection's.
    """

    template_fields: Sequence[str] = ("bcda_conn_id", "api_version")
    operator_extra_links = (BcdaPageLink(),)

    def __init__(
        self,
        *,
        scope: str,
        bcda_conn_id: str,
        api_version: str = "",
        is_roster: bool = False,
        without_patient: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(retry_policy=BcdaRetryPolicy(), **kwargs)
        self.scope = scope
        self.bcda_conn_id = bcda_conn_id
        self.api_version = api_version
        self.is_roster = is_roster
        self.without_patient = without_patient
        self.run_id = ""

    def execute(self, context: Context) -> str:
        """Return the run id.

        Raises:
            AirflowSkipException: nothing is needed; says why.
            InvalidRequestError: a param is malformed.
            AttributionMissingError: runout data is gone.
            ServerError: BCDA is not there.
        """
        hook = BcdaHook(self.bcda_conn_id, api_version=self.api_version or None)
        settings = hook.settings()
        tags = {"source": self.bcda_conn_id, "api_version": settings.api_version.value, "scope": self.scope}
        with metrics.timed(metrics.PLAN_DURATION, **tags):
            return self._plan(context, hook, settings)

    def _plan(self, context: Context, hook: BcdaHook, settings: ConnectionSettings) -> str:
        from bcda import export

        # Before anything is written down: a run that cannot reach BCDA leaves no trace.
        hook.check_open_endpoints(settings)
        wish = self._wish(context, settings)
        if not wish.resource_types:
            return self._skip(context, "Patient is all that was asked for, and the roster has brought it.")
        lists = list_dates(settings, wish.scope, self.bcda_conn_id) if wish.scope is not Scope.PATIENT else None
        planned = export.plan(
            places(self.bcda_conn_id), wish, now=datetime.now(UTC), lists=lists, server=server_of(settings.base_url)
        )
        if isinstance(planned, NotNeeded):
            return self._skip(context, planned.reason)
        leave_note(context["ti"], f"planned: {planned.reason}")
        self.run_id = planned.run_id
        return planned.run_id

    def _wish(self, context: Context, settings: ConnectionSettings) -> Wish:
        params = context["params"]
        types = ("Patient",) if self.is_roster else tuple(params["resource_types"])
        return Wish(
            api_version=settings.api_version,
            scope=Scope(self.scope),
            resource_types=tuple(name for name in types if name != "Patient" or not self.without_patient),
            since=parse_instant(params["since"]) if params.get("since") and not self.is_roster else None,
            full=bool(params.get("full")) or self.is_roster,
            force=bool(params.get("force")),
            interval=_backfill_interval(context),
            type_filter=_type_filter(params, settings) if "ExplanationOfBenefit" in types else None,
            is_roster=self.is_roster,
        )

    def _skip(self, context: Context, reason: str) -> str:
        leave_note(context["ti"], f"{NOT_NEEDED}{reason}")
        # Airflow does not show a skip's text, and people look for it in the log.
        self.log.info("not needed: %s", reason)
        raise AirflowSkipException(reason)


def _type_filter(params: Any, settings: ConnectionSettings) -> TypeFilter | None:
    """Return the form's filter. On v3 there always is one: without a system BCDA leaves unfinished claims out."""
    asked = {name: params.get(name) for name in _FILTER_PARAMS if params.get(name)}
    if settings.api_version is not ApiVersion.V3 and not asked:
        return None
    systems = [system for system in SystemType if settings.tuning.shared_system or system is not SystemType.SHARED]
    return TypeFilter.from_json({"systems": systems, **asked})


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
