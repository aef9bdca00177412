"""Maintenance of a source: one step a task."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import BaseOperator, Context

from bcda.errors import ActionNeededError, InvalidRequestError
from bcda_provider import arguments, metrics
from bcda_provider.arguments import Asked
from bcda_provider.data_home import places
from bcda_provider.hooks import BcdaHook
from bcda_provider.tasks import BcdaTask

RAW_DAYS = 30
"""Days to keep raw files where nothing is said."""

FRESH_DAYS = 14
"""Days after which covered data is too old where nothing is said."""


class BcdaMaintainOperator(BcdaTask, BaseOperator):
    """Does one step of the maintenance of a source.

    Args:
        step: `purge_raw`, `compact_lake`, `vacuum`, `check_freshness` or `check_secret`.
        bcda_conn_id: connection whose data is looked after.
        raw_days: days to keep raw files; by default the DAG's param of that name, else 30.
        fresh_days: days after which covered data is too old; by default the DAG's param of that name, else 14.
        kwargs: arguments of Airflow's `BaseOperator`.
    """

    template_fields: Sequence[str] = ("bcda_conn_id", "step", "raw_days", "fresh_days")

    def __init__(
        self,
        *,
        step: str,
        bcda_conn_id: str,
        raw_days: int | str | None = None,
        fresh_days: int | str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.step = step
        self.bcda_conn_id = bcda_conn_id
        self.raw_days = raw_days
        self.fresh_days = fresh_days

    def work(self, context: Context) -> dict[str, int]:
        """Return what was done, in numbers.

        Raises:
            InvalidRequestError: there is no such step, or an argument or a param is malformed.
            ActionNeededError: data is stale, or the client secret has ended.
        """
        steps: dict[str, Callable[[Asked], dict[str, int]]] = {
            "purge_raw": self._purge_raw,
            "compact_lake": self._compact_lake,
            "vacuum": self._vacuum,
            "check_freshness": self._check_freshness,
            "check_secret": self._check_secret,
        }
        if self.step not in steps:
            raise InvalidRequestError(f"`step` must be one of {', '.join(steps)}. Got: {self.step!r}.")
        return steps[self.step](Asked(self, context))

    def _purge_raw(self, asked: Asked) -> dict[str, int]:
        from bcda import maintenance

        kept = timedelta(days=arguments.number("raw_days", asked["raw_days"], default=RAW_DAYS, least=1))
        purged = maintenance.purge_raw(places(self.bcda_conn_id), now=datetime.now(UTC), kept=kept)
        return {"runs": purged.runs, "files": purged.files, "bytes": purged.bytes}

    def _compact_lake(self, _: Asked) -> dict[str, int]:
        from bcda import maintenance, warehouse

        here = places(self.bcda_conn_id)
        return {"files_fewer": maintenance.compact_lake(here, warehouse.merged_runs(here))}

    def _vacuum(self, _: Asked) -> dict[str, int]:
        from bcda import warehouse

        here = places(self.bcda_conn_id)
        return {"bytes_smaller": warehouse.vacuum(here) if here.warehouse.exists() else 0}

    def _check_freshness(self, asked: Asked) -> dict[str, int]:
        from bcda import maintenance

        limit = timedelta(days=arguments.number("fresh_days", asked["fresh_days"], default=FRESH_DAYS, least=1))
        here = places(self.bcda_conn_id)
        metrics.tell_status(here)
        status = maintenance.data_status(here)
        return self._tell(maintenance.check_freshness(status, now=datetime.now(UTC), limit=limit))

    def _check_secret(self, _: Asked) -> dict[str, int]:
        from bcda import maintenance

        made_on = BcdaHook(self.bcda_conn_id).settings().tuning.credentials_made_on
        if not made_on:
            self.log.info(
                "The connection does not say when its secret was made; fill in `Credentials made on` to be warned."
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
