"""Planning: what this run asks for, or why it need not run."""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any

from airflow.sdk import BaseOperator, Context, XComArg
from airflow.sdk.exceptions import AirflowSkipException

from bcda.api.export_request import Scope
from bcda.api.type_filter import ClaimOutcome, FinalAction, SystemType, TypeFilter
from bcda.runs.coverage import Interval
from bcda.runs.plan import GapWish, NotNeeded, Wish
from bcda.settings import ApiVersion, ConnectionSettings, server_of
from bcda_provider import arguments, metrics
from bcda_provider.arguments import Asked, types_of
from bcda_provider.clients import list_dates
from bcda_provider.data_home import places
from bcda_provider.hooks import BcdaHook
from bcda_provider.links import BcdaPageLink
from bcda_provider.notes import NOT_NEEDED, leave_note
from bcda_provider.tasks import BcdaTask


class BcdaPlanOperator(BcdaTask, BaseOperator):
    """Decides from the ledger what to ask for and returns the run id; skips a run that is not needed.

    Every argument can be a template, and be mapped. What to ask for, from `resource_types` to `api_version` but for
    `interval`, is the argument; where that is None, the DAG's param of the same name, if the DAG has one; else the default.
    Templates give texts, so `true`, `false`, ISO 8601 timestamps and lists with commas or in brackets are read as well. An
    empty text is a value that is given and empty: it keeps a param from being looked at.

    Args:
        bcda_conn_id: connection of type `bcda`.
        scope: endpoint of the export: `patient`, `group-all` or `group-runout`.
        resource_types: FHIR types; by default those of `BCDA_RESOURCE_TYPES`.
        since: timestamp with a time zone; export what changed after it. By default the covered interval is continued.
        full: export everything from the beginning.
        force: run even if the data is already loaded.
        accept_empty: load a full export even if it holds no people or no claims.
        accept_smaller_list: load a full export even if it holds fewer than half of the people of the last one.
        interval: two timestamps; export from the first, and skip when the interval is covered. By default that of a backfill
            run, and no interval in other runs.
        systems: v3 only: `NationalClaimsHistory`, `DDPS`, `SharedSystem`; by default all that the connection allows.
        final_action: v3 only: `FinalAction` or `NotFinalAction`.
        outcome: v3 only: `complete` or `partial`.
        service_from: v3 only: first day of service.
        service_through: v3 only: last day of service.
        api_version: `v1`, `v2` or `v3`; by default the connection's.
        is_roster: take the people of the newest attribution list in full, and nothing else.
        without_patient: leave Patient out, since the roster has just brought it.
        asks_gaps: ask again for what BCDA could not deliver, and for nothing else; the DAG's param `gaps` asks as well for what
            runs have stopped asking for.
        after_run_id: our export run, planned before in the same DAG run, whose gaps are left for the next time.
        kwargs: arguments of Airflow's `BaseOperator`.
    """

    template_fields: Sequence[str] = (
        "bcda_conn_id",
        "scope",
        "resource_types",
        "since",
        "full",
        "force",
        "accept_empty",
        "accept_smaller_list",
        "interval",
        "systems",
        "final_action",
        "outcome",
        "service_from",
        "service_through",
        "api_version",
        "is_roster",
        "without_patient",
        "asks_gaps",
        "after_run_id",
    )
    operator_extra_links = (BcdaPageLink(),)

    def __init__(
        self,
        *,
        scope: str,
        bcda_conn_id: str,
        resource_types: Sequence[str] | str | None = None,
        since: datetime | str | None = None,
        full: bool | str | None = None,
        force: bool | str | None = None,
        accept_empty: bool | str | None = None,
        accept_smaller_list: bool | str | None = None,
        interval: Sequence[datetime | str] | str | None = None,
        systems: Sequence[str] | str | None = None,
        final_action: str | None = None,
        outcome: str | None = None,
        service_from: date | str | None = None,
        service_through: date | str | None = None,
        api_version: str | None = None,
        is_roster: bool | str = False,
        without_patient: bool | str = False,
        asks_gaps: bool | str = False,
        after_run_id: str | XComArg | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.bcda_conn_id = bcda_conn_id
        self.scope = scope
        self.resource_types = resource_types
        self.since = since
        self.full = full
        self.force = force
        self.accept_empty = accept_empty
        self.accept_smaller_list = accept_smaller_list
        self.interval = interval
        self.systems = systems
        self.final_action = final_action
        self.outcome = outcome
        self.service_from = service_from
        self.service_through = service_through
        self.api_version = api_version
        self.is_roster = is_roster
        self.without_patient = without_patient
        self.asks_gaps = asks_gaps
        self.after_run_id: Any = after_run_id
        self.run_id = ""

    def work(self, context: Context) -> str:
        """Return the run id.

        Raises:
            AirflowSkipException: nothing is needed; says why.
            InvalidRequestError: an argument or a param is malformed, or BCDA_HOME is not set.
            AttributionMissingError: runout data is gone.
            ServerError: BCDA is not there.
        """
        asked = Asked(self, context)
        scope = arguments.member("scope", self.scope, Scope)
        hook = BcdaHook(self.bcda_conn_id, api_version=asked.api_version())
        settings = hook.settings()
        wish = self._wish(asked, scope, context, settings)
        tags = {"source": self.bcda_conn_id, "api_version": settings.api_version.value, "scope": scope.value}
        with metrics.timed(metrics.PLAN_DURATION, **tags):
            return self._plan(context, hook, settings, wish)

    def _plan(self, context: Context, hook: BcdaHook, settings: ConnectionSettings, wish: Wish) -> str:
        from bcda import export

        # Before anything is sent: where there is no place for claims, none are asked for.
        here = places(self.bcda_conn_id)
        if reason := _not_asked(wish, only_gaps=_only_gaps(context)):
            return self._skip(context, reason, wish)
        server = server_of(settings.base_url)
        if wish.gaps is not None:
            # Most runs find no gap, and need not ask BCDA anything to know it.
            foreseen = export.foresee(here, wish, server=server)
            if isinstance(foreseen, NotNeeded):
                return self._skip(context, foreseen.reason, wish)
        # Before anything is written down: a run that cannot reach BCDA leaves no trace.
        hook.check_open_endpoints(settings)
        if not wish.resource_types:
            return self._skip(context, "Patient is all that was asked for, and the roster has brought it.", wish)
        lists = list_dates(settings, wish.scope, self.bcda_conn_id) if wish.scope is not Scope.PATIENT else None
        planned = export.plan(here, wish, now=datetime.now(UTC), lists=lists, server=server)
        if isinstance(planned, NotNeeded):
            return self._skip(context, planned.reason, wish)
        leave_note(context["ti"], f"planned: {planned.reason}")
        self.run_id = planned.run_id
        return planned.run_id

    def _wish(self, asked: Asked, scope: Scope, context: Context, settings: ConnectionSettings) -> Wish:
        is_roster = arguments.flag("is_roster", self.is_roster)
        without_patient = arguments.flag("without_patient", self.without_patient)
        types = ("Patient",) if is_roster else types_of(asked)
        since = arguments.timestamp("since", asked["since"])
        asks_gaps = arguments.flag("asks_gaps", self.asks_gaps)
        return Wish(
            api_version=settings.api_version,
            scope=scope,
            resource_types=tuple(name for name in types if name != "Patient" or not without_patient),
            since=None if is_roster else since,
            full=asked.flag("full") or is_roster,
            force=asked.flag("force"),
            accept_empty=asked.flag("accept_empty"),
            accept_smaller_list=asked.flag("accept_smaller_list"),
            interval=arguments.interval("interval", self.interval) or _backfill_interval(context),
            type_filter=_type_filter(asked, settings) if "ExplanationOfBenefit" in types else None,
            is_roster=is_roster,
            gaps=GapWish(_only_gaps(context), self.after_run_id or "") if asks_gaps else None,
        )

    def _skip(self, context: Context, reason: str, wish: Wish) -> str:
        if wish.gaps is None:
            # What the regular export has left as the run's note says more.
            leave_note(context["ti"], f"{NOT_NEEDED}{reason}")
        # Airflow does not show a skip's text, and people look for it in the log.
        self.log.info("not needed: %s", reason)
        raise AirflowSkipException(reason)


def _only_gaps(context: Context) -> bool:
    """Tell whether the form asks for gaps again, those included for which runs have stopped asking."""
    return arguments.flag("gaps", (context.get("params") or {}).get("gaps"))


def _not_asked(wish: Wish, *, only_gaps: bool) -> str:
    """Return why the form leaves this export out; empty if it does not."""
    if wish.gaps is None:
        return "The run asks for gaps again, and for nothing else." if only_gaps else ""
    if not only_gaps and (wish.since or wish.full or wish.interval):
        return "The run was asked for an interval of its own. Gaps come with the next run that follows what is covered."
    return ""


def _type_filter(asked: Asked, settings: ConnectionSettings) -> TypeFilter | None:
    """Return the filter that is asked for. On v3 there always is one: without a system BCDA leaves unfinished claims out."""
    systems = arguments.names("systems", asked["systems"], SystemType)
    others: dict[str, Any] = {
        "final_action": arguments.choice("final_action", asked["final_action"], FinalAction),
        "outcome": arguments.choice("outcome", asked["outcome"], ClaimOutcome),
        "service_from": arguments.day("service_from", asked["service_from"]),
        "service_through": arguments.day("service_through", asked["service_through"]),
    }
    if settings.api_version is not ApiVersion.V3 and not systems and not any(others.values()):
        return None
    allowed = [system for system in SystemType if settings.tuning.shared_system or system is not SystemType.SHARED]
    return TypeFilter(systems=tuple(map(SystemType, systems or allowed)), **others)


def _backfill_interval(context: Context) -> Interval | None:
    """Return the data interval of a backfill run; other runs follow the ledger, whatever their interval is."""
    if getattr(context.get("dag_run"), "run_type", None) != "backfill":
        return None
    start, end = context.get("data_interval_start"), context.get("data_interval_end")
    if start is None or end is None:
        return None
    return Interval(_utc(start), _utc(end))


def _utc(instant: datetime) -> datetime:
    return datetime.fromtimestamp(instant.timestamp(), UTC)
