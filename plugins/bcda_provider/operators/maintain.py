"""Maintenance of a source: one step a task."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import BaseOperator, Context

from bcda.errors import ActionNeededError
from bcda_provider import metrics
from bcda_provider.hooks import BcdaHook, places
from bcda_provider.retry import BcdaRetryPolicy


class BcdaMaintainOperator(BaseOperator):
    """Does one step of the maintenance of a source. Reads the DAG's params `raw_days` and `fresh_days`.

    Args:
        step: `purge_raw`, `compact_lake`, `vacuum`, `check_freshness` or `check_secret`.
        bcda_conn_id: connection whose data is looked after.
    """

    template_fields: Sequence[str] = ("bcda_conn_id",)

    def __init__(self, *, step: str, bcda_conn_id: str, **kwargs: Any) -> None:
        super().__init__(retry_policy=BcdaRetryPolicy(), **kwargs)
        self.step = step
        self.bcda_conn_id = bcda_conn_id

    def execute(self, context: Context) -> dict[str, int]:
        """Return what was done, in numbers.

        Raises:
            ActionNeededError: data is stale, or the client secret has ended.
        """
        steps: dict[str, Callable[[dict[str, Any]], dict[str, int]]] = {
            "purge_raw": self._purge_raw,
            "compact_lake": self._compact_lake,
            "vacuum": self._vacuum,
            "check_freshness": self._check_freshness,
            "check_secret": self._check_secret,
        }
        return steps[self.step](dict(context["params"]))

    def _purge_raw(self, params: dict[str, Any]) -> dict[str, int]:
        from bcda import maintenance

        kept = timedelta(days=int(params["raw_days"]))
        purged = maintenance.purge_raw(places(self.bcda_conn_id), now=datetime.now(UTC), kept=kept)
        return {"runs": purged.runs, "files": purged.files, "bytes": purged.bytes}

    def _compact_lake(self, _: dict[str, Any]) -> dict[str, int]:
        from bcda import maintenance, warehouse

        here = places(self.bcda_conn_id)
        return {"files_fewer": maintenance.compact_lake(here, warehouse.merged_runs(here))}

    def _vacuum(self, _: dict[str, Any]) -> dict[str, int]:
        from bcda import warehouse

        here = places(self.bcda_conn_id)
        return {"bytes_smaller": warehouse.vacuum(here) if here.warehouse.exists() else 0}

    def _check_freshness(self, params: dict[str, Any]) -> dict[str, int]:
        from bcda import maintenance

        here = places(self.bcda_conn_id)
        metrics.tell_status(here)
        status = maintenance.data_status(here)
        limit = timedelta(days=int(params["fresh_days"]))
        return self._tell(maintenance.check_freshness(status, now=datetime.now(UTC), limit=limit))

    def _check_secret(self, _: dict[str, Any]) -> dict[str, int]:
        from bcda import maintenance

        made_on = BcdaHook(self.bcda_conn_id).settings().tuning.secret_made_on
        if not made_on:
            self.log.info(
                "The connection does not say when its secret was made; fill in `Secret made on` to be warned."
            )
        finding = maintenance.check_secret(made_on, today=datetime.now(UTC).date())
        return self._tell([finding] if finding else [])

    def _tell(self, findings: Sequence[Any]) -> dict[str, int]:
        for finding in findings:
            self.log.warning("%s", finding.text)
        failures = [finding.text for finding in findings if finding.is_failure]
        if failures:
            raise ActionNeededError(" ".join(failures))
        return {"findings": len(findings)}
