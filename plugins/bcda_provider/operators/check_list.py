"""Whether BCDA has an attribution list that is not loaded."""

from collections.abc import Mapping, Sequence
from typing import Any

from airflow.sdk import Asset, BaseOperator, Context
from airflow.sdk.exceptions import AirflowSkipException

from bcda.api.export_request import Scope, format_instant
from bcda.runs.plan import ListDates, NotNeeded, Wish, decide
from bcda.settings import server_of
from bcda_provider.arguments import Asked, types_of
from bcda_provider.assets import list_asset
from bcda_provider.clients import list_dates
from bcda_provider.data_home import places
from bcda_provider.hooks import BcdaHook
from bcda_provider.tasks import BcdaTask, known_source, together


class BcdaCheckListOperator(BcdaTask, BaseOperator):
    """Updates the source's asset `attribution_list` when BCDA's newest list is not loaded; skips with the reason otherwise.

    Asks again whenever it runs until the ledger has the list, so that no crash in between can lose one.

    Args:
        bcda_conn_id: connection of type `bcda`.
        consumer_dag_id: DAG that loads lists; while a run of it is at work nothing is announced again. None for no such DAG.
        source: connection whose asset is updated; by default `bcda_conn_id`. The asset is an outlet of the task when the DAG is
            read only if this is known then; a task that is mapped over connections updates it anyway.
        resource_types: types that a list has to be loaded for; by default the DAG's param of that name, else those of
            `BCDA_RESOURCE_TYPES`.
        api_version: version of the API; by default the DAG's param of that name, else the connection's.
        kwargs: arguments of Airflow's `BaseOperator`; `outlets` come on top of the list's asset.
    """

    template_fields: Sequence[str] = ("bcda_conn_id", "consumer_dag_id", "source", "resource_types", "api_version")

    def __init__(
        self,
        *,
        bcda_conn_id: str,
        consumer_dag_id: str | None = None,
        source: str | None = None,
        resource_types: Sequence[str] | str | None = None,
        api_version: str | None = None,
        **kwargs: Any,
    ) -> None:
        own = self.outlets_of({"bcda_conn_id": bcda_conn_id, "source": source})
        super().__init__(own_outlets=own, **kwargs)
        self.consumer_dag_id = consumer_dag_id
        self.source = source
        self.resource_types = resource_types
        self.bcda_conn_id = bcda_conn_id
        self.api_version = api_version

    @classmethod
    def outlets_of(cls, given: Mapping[str, Any]) -> Sequence[Asset]:
        """Return the asset of the attribution list, once the connection is known.

        Args:
            given: arguments of the task.
        """
        source = known_source(given)
        return (list_asset(source),) if source else ()

    def work(self, context: Context) -> str:
        """Return the date of the new list, RFC 3339.

        Raises:
            AirflowSkipException: there is none; says why.
        """
        from bcda import warehouse

        asked = Asked(self, context)
        types = types_of(asked)
        here = places(self.bcda_conn_id)
        settings = BcdaHook(self.bcda_conn_id, api_version=asked.api_version()).settings()
        lists = list_dates(settings, Scope.GROUP_ALL, self.bcda_conn_id)
        if lists.newest is None:
            self._skip("BCDA names no attribution list of this organization yet.")
        wish = Wish(settings.api_version, Scope.GROUP_ALL, types)
        held = warehouse.read_ledger(
            here,
            wish.api_version,
            wish.scope,
            wish.resource_types,
            server=server_of(settings.base_url),
        )
        decision = decide(wish, held.types, lists)
        if isinstance(decision, NotNeeded):
            self._skip(f"{decision.reason}{_january(lists)}")
        if self._is_at_work(context):
            self._skip(f"A run of {self.consumer_dag_id} is at work; this check looks again tomorrow.")
        list_at = format_instant(lists.newest) if lists.newest else ""
        # That of a connection that a template or a mapped argument names is known only now.
        asset = list_asset(self.source or self.bcda_conn_id)
        self.outlets = together(self.outlets, (asset,))
        context["outlet_events"][asset].extra = {"source_id": self.bcda_conn_id, "list_at": list_at}
        self.log.info("new attribution list of %s: %s", list_at, decision.reason)
        return list_at

    def _is_at_work(self, context: Context) -> bool:
        loads = self.consumer_dag_id
        return bool(loads and context["ti"].get_dr_count(dag_id=loads, states=["queued", "running"]))

    def _skip(self, reason: str) -> None:
        self.log.info("not needed: %s", reason)
        raise AirflowSkipException(reason)


def _january(lists: ListDates) -> str:
    """Return what to know while the year's first list has not come."""
    if not (lists.newest and lists.as_of and lists.newest.year < lists.as_of.year):
        return ""
    return f" The first list of {lists.as_of.year} has not come; until then only bcda_runout_export brings anything."
