"""Whether BCDA has an attribution list that is not loaded."""

from collections.abc import Sequence
from typing import Any

from airflow.sdk import BaseOperator, Context
from airflow.sdk.exceptions import AirflowSkipException

from bcda.export_request import Scope, format_instant
from bcda.planning import ListDates, NotNeeded, Wish, decide
from bcda.settings import server_of
from bcda_provider.assets import list_asset
from bcda_provider.hooks import BcdaHook, list_dates, places
from bcda_provider.retry import BcdaRetryPolicy


class BcdaCheckListOperator(BaseOperator):
    """Updates the source's asset `attribution_list` when BCDA's newest list is not loaded; skips with the reason otherwise.

    Asks again whenever it runs until the ledger has the list, so that no crash in between can lose one.

    Args:
        consumer_dag_id: DAG that loads lists; while a run of it is at work nothing is announced again.
        source: connection whose asset is updated, known when the DAG is read.
        resource_types: types that a list has to be loaded for.
        bcda_conn_id: connection of type `bcda`.
        api_version: version of the API, empty for the connection's.
    """

    template_fields: Sequence[str] = ("bcda_conn_id", "api_version")

    def __init__(
        self,
        *,
        consumer_dag_id: str,
        source: str,
        resource_types: Sequence[str],
        bcda_conn_id: str,
        api_version: str = "",
        **kwargs: Any,
    ) -> None:
        super().__init__(retry_policy=BcdaRetryPolicy(), outlets=[list_asset(source)], **kwargs)
        self.consumer_dag_id = consumer_dag_id
        self.source = source
        self.resource_types = tuple(resource_types)
        self.bcda_conn_id = bcda_conn_id
        self.api_version = api_version

    def execute(self, context: Context) -> str:
        """Return the date of the new list, RFC 3339.

        Raises:
            AirflowSkipException: there is none; says why.
        """
        from bcda import warehouse

        settings = BcdaHook(self.bcda_conn_id, api_version=self.api_version or None).settings()
        lists = list_dates(settings, Scope.GROUP_ALL, self.bcda_conn_id)
        if lists.newest is None:
            self._skip("BCDA names no attribution list of this organization yet.")
        wish = Wish(settings.api_version, Scope.GROUP_ALL, self.resource_types)
        held = warehouse.read_ledger(
            places(self.bcda_conn_id),
            wish.api_version,
            wish.scope,
            wish.resource_types,
            server=server_of(settings.base_url),
        )
        decision = decide(wish, held.types, lists)
        if isinstance(decision, NotNeeded):
            self._skip(f"{decision.reason}{_january(lists)}")
        at_work = context["ti"].get_dr_count(dag_id=self.consumer_dag_id, states=["queued", "running"])
        if at_work:
            self._skip(f"A run of {self.consumer_dag_id} is at work; this check looks again tomorrow.")
        list_at = format_instant(lists.newest) if lists.newest else ""
        context["outlet_events"][list_asset(self.source)].extra = {"source_id": self.bcda_conn_id, "list_at": list_at}
        self.log.info("new attribution list of %s: %s", list_at, decision.reason)
        return list_at

    def _skip(self, reason: str) -> None:
        self.log.info("not needed: %s", reason)
        raise AirflowSkipException(reason)


def _january(lists: ListDates) -> str:
    """Return what to know while the year's first list has not come."""
    if not (lists.newest and lists.as_of and lists.newest.year < lists.as_of.year):
        return ""
    return f" The first list of {lists.as_of.year} has not come; until then only bcda_runout_export brings anything."
