"""Kick-off: one job at BCDA for the run, whatever crashes when."""

import asyncio
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.providers.standard.triggers.temporal import TimeDeltaTrigger
from airflow.sdk import BaseOperator, Context, XComArg

from bcda import budgets
from bcda.errors import AttributionMissingError, ExportFailedError, MissingList, RateLimitedError
from bcda.runs.run import Wait, note_wait
from bcda.settings import ConnectionSettings
from bcda_provider import arguments, metrics
from bcda_provider.clients import client_of
from bcda_provider.data_home import raw_places
from bcda_provider.links import BcdaJobLink, BcdaPageLink
from bcda_provider.notes import leave_note
from bcda_provider.planned_runs import is_runout, settings_of_run
from bcda_provider.tasks import BcdaTask


class BcdaKickOffOperator(BcdaTask, BaseOperator):
    """Adopts or starts the job of a run and returns its number.

    The number is stored before anything else; a crash between BCDA's answer and the record is healed by the next try,
    which finds the job in BCDA's list. While another job of the organization is in the way it waits deferred and looks at
    the list again; while BCDA has no attribution list, as each January, it waits and asks daily. Cleared by a person, it
    cancels the job of the attempt before and starts another.

    Args:
        run_id: of the export run.
        bcda_conn_id: connection of type `bcda`.
        api_version: version of the API; by default that of the run.
        waits_for_list: wait when BCDA has no attribution list yet. By default a run does unless it exports runout data, which
            does not come back by waiting.
        kwargs: arguments of Airflow's `BaseOperator`.
    """

    template_fields: Sequence[str] = ("run_id", "bcda_conn_id", "api_version", "waits_for_list")
    operator_extra_links = (BcdaJobLink(), BcdaPageLink())

    def __init__(
        self,
        *,
        run_id: str | XComArg,
        bcda_conn_id: str,
        api_version: str | None = None,
        waits_for_list: bool | str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.run_id: Any = run_id
        self.bcda_conn_id = bcda_conn_id
        self.api_version = api_version
        self.waits_for_list = waits_for_list
        self.job_id = ""

    def work(self, context: Context) -> str:
        """Return BCDA's job number, as text."""
        return self._kick_off(context)

    def execute_complete(self, context: Context, event: Any) -> str:  # noqa: ARG002 - a timer's event says nothing
        """Look again after a wait.

        Args:
            context: of the task.
            event: the instant at which the timer ended.
        """
        return self._kick_off(context)

    def _kick_off(self, context: Context) -> str:
        from bcda import export

        waits_for_list = arguments.flag("waits_for_list", self.waits_for_list, default=not is_runout(self.run_id))
        store, attempt = context["task_state_store"], int(getattr(context["dag_run"], "clear_number", 0) or 0)
        recorded = store.get(f"job:{attempt}")
        if recorded:
            self.log.info("job %s is recorded for this attempt", recorded)
            self.job_id = str(recorded)
            return self.job_id
        stale = tuple(str(job) for number in range(attempt) if (job := store.get(f"job:{number}")))
        settings = settings_of_run(self.bcda_conn_id, self.run_id, self.api_version)
        here = raw_places(self.bcda_conn_id)
        tags = metrics.of_run(here, self.run_id)

        async def run() -> export.KickedOff:
            async with client_of(settings, self.bcda_conn_id) as client:
                return await export.kick_off(client, here, self.run_id, stale_job_ids=stale)

        try:
            with metrics.timed(metrics.KICK_OFF_DURATION, **tags):
                kicked_off = asyncio.run(run())
        except RateLimitedError as error:
            self._wait(store, attempt, settings, error, tags)
            raise
        except AttributionMissingError as error:
            if waits_for_list and error.case in {MissingList.NO_LIST, MissingList.WRONG_YEAR}:
                # BCDA looks for running jobs before it looks for a list (docs/bcda.md#kick-off-refusals), so none is in the way any more.
                store.delete(f"waits:{attempt}")
                since = float(str(store.get(f"list:{attempt}") or time.time()))
                store.set(f"list:{attempt}", since)
                self._wait_for_list(settings, error, since, tags)
            raise
        store.set(f"job:{attempt}", kicked_off.job_id)
        if kicked_off.returned_jobs:
            again = ", ".join(kicked_off.returned_jobs)
            leave_note(
                context["ti"],
                f"{self.task_id}: job {again} was canceled earlier, was active at BCDA again, and has been canceled again. "
                f"Job {kicked_off.job_id} brings the data.",
            )
        self.job_id = kicked_off.job_id
        return kicked_off.job_id

    def _wait(
        self, store: Any, attempt: int, settings: ConnectionSettings, error: RateLimitedError, tags: dict[str, str]
    ) -> None:
        """Defer until BCDA may have room; what is waited for other jobs without a break is bounded by the job deadline.

        Raises:
            ExportFailedError: an overlapping job, or a limit, has blocked this one for too long.
        """
        waits = store.get(f"waits:{attempt}") or {"since": time.time(), "count": 0}
        left = waits["since"] + settings.tuning.job_deadline_seconds - time.time()
        if left < 0:
            raise ExportFailedError(
                f"BCDA has made this run wait for longer than the job deadline. What it said last: {error} Look at BCDA's job list, "
                "cancel what is not wanted, then clear this task.",
                job_id="none",
            ) from error
        tuning = settings.tuning
        own = min(tuning.backoff_max_seconds, tuning.poll_seconds * 2 ** min(waits["count"], 10))
        # The last look comes at the deadline, whatever the server wishes.
        seconds = min(max(error.retry_after_seconds or 0.0, own), left + 1)
        store.set(f"waits:{attempt}", {"since": waits["since"], "count": waits["count"] + 1})
        metrics.emit(metrics.SLOT_WAIT, timedelta(seconds=seconds), **tags)
        until = self._note_wait(str(error), seconds)
        self.log.info("%s Looking again at %s, without holding a worker.", error, until)
        self.defer(trigger=TimeDeltaTrigger(timedelta(seconds=seconds)), method_name="execute_complete")

    def _wait_for_list(
        self, settings: ConnectionSettings, error: AttributionMissingError, since: float, tags: dict[str, str]
    ) -> None:
        """Defer until BCDA may have a list; what the run asks for follows the ledger, so that nothing is missed.

        Returns when the run has waited for longer than any closure of BCDA lasts: the error is raised then.
        """
        end = since + budgets.LIST_WAITS_SECONDS
        if time.time() >= end:
            return
        seconds = settings.tuning.list_wait_seconds
        metrics.emit(metrics.LIST_WAIT, timedelta(seconds=seconds), **tags)
        until = self._note_wait(str(error), seconds)
        self.log.warning(
            "%s This run waits, without holding a worker, and asks again at %s, until %s at the latest; mark it failed to end the wait.",
            error,
            until,
            f"{datetime.fromtimestamp(end, UTC):%Y-%m-%d}",
        )
        self.defer(trigger=TimeDeltaTrigger(timedelta(seconds=seconds)), method_name="execute_complete")

    def _note_wait(self, reason: str, seconds: float) -> str:
        """Write down what is waited for, and return until when."""
        until = datetime.now(UTC) + timedelta(seconds=seconds)
        note_wait(raw_places(self.bcda_conn_id).run_folder(self.run_id), Wait(reason, until))
        return f"{until:%Y-%m-%d %H:%M:%S} UTC"
