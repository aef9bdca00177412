"""Waiting for a BCDA job, deferred."""

import asyncio
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

from airflow.sdk import BaseSensorOperator, Context, XComArg
from airflow.sdk.exceptions import TaskDeferred

from bcda.errors import BcdaError, ExportFailedError
from bcda.protocol import JobState
from bcda.runs import Wait, note_wait
from bcda.settings import ConnectionSettings
from bcda_provider import metrics
from bcda_provider.events import JobEvent, Outcome
from bcda_provider.hooks import BcdaHook, client_of, raw_places
from bcda_provider.links import BcdaJobLink, BcdaPageLink
from bcda_provider.retry import BcdaRetryPolicy
from bcda_provider.triggers import BcdaJobTrigger


class BcdaJobSensor(BaseSensorOperator):
    """Waits until a job is complete, saves its manifest and returns the numbers of its batches.

    While it waits it is deferred and holds no worker. Marking the task or clearing it cancels the job at BCDA; a restart
    of the triggerer does not. The deadline counts from the first try and survives retries.

    Args:
        run_id: of the export run.
        job_id: BCDA's job number.
        batches: how many batches to deal the files to.
        bcda_conn_id: connection of type `bcda`.
        api_version: version of the API, empty for the connection's.
    """

    template_fields: Sequence[str] = ("run_id", "job_id", "batches", "bcda_conn_id", "api_version")
    operator_extra_links = (BcdaJobLink(), BcdaPageLink())

    def __init__(
        self,
        *,
        run_id: str | XComArg,
        job_id: str | XComArg,
        batches: int | str,
        bcda_conn_id: str,
        api_version: str = "",
        **kwargs: Any,
    ) -> None:
        super().__init__(retry_policy=BcdaRetryPolicy(has_job=True), **kwargs)
        self.run_id: Any = run_id
        self.job_id: Any = job_id
        self.batches = batches
        self.bcda_conn_id = bcda_conn_id
        self.api_version = api_version

    def execute(self, context: Context) -> list[int]:
        """Defer; a later try looks first whether the job is complete by now, and then does what `execute_complete` does.

        Args:
            context: of the task.

        Raises:
            ExportExpiredError: the files of the completed job are gone.
        """
        # A scheduler that notices a deferral after its end takes the worker's exit for a failure of the resumed task. On a
        # busy machine that can cost try after try, so a try that has nothing to wait for does not defer.
        if context["ti"].try_number > 1 and self._is_complete():
            return self._save_manifest(context)
        return self._wait(context)

    def _is_complete(self) -> bool:
        async def ask() -> bool:
            async with client_of(self._settings(), self.bcda_conn_id) as client:
                return (await client.status(self.job_id)).state is JobState.COMPLETED

        try:
            return asyncio.run(ask())
        except BcdaError as error:
            # What an unwell BCDA means for the wait is the trigger's to judge.
            self.log.info("job %s: %s", self.job_id, error)
            return False

    def _settings(self) -> ConnectionSettings:
        return BcdaHook(self.bcda_conn_id, api_version=self.api_version or None).settings()

    def _wait(self, context: Context) -> NoReturn:
        settings = self._settings()
        store, key = context["task_state_store"], f"deadline:{self.job_id}"
        recorded = store.get(key)
        deadline = float(str(recorded)) if recorded else time.time() + settings.tuning.job_deadline_seconds
        store.set(key, deadline)
        if not recorded:
            store.set(f"since:{self.job_id}", time.time())
        self.log.info("waiting for job %s; it is cancelled if it is not complete by %s", self.job_id, _show(deadline))
        reason = f"BCDA prepares the files of job {self.job_id}. It is cancelled if it is not complete by then."
        note_wait(
            raw_places(self.bcda_conn_id).run_folder(self.run_id), Wait(reason, datetime.fromtimestamp(deadline, UTC))
        )
        trigger = BcdaJobTrigger(
            bcda_conn_id=self.bcda_conn_id,
            api_version=settings.api_version.value,
            job_id=str(self.job_id),
            deadline_epoch_seconds=deadline,
        )
        raise TaskDeferred(trigger=trigger, method_name="execute_complete")

    def execute_complete(self, context: Context, event: dict[str, Any]) -> list[int]:
        """Save the manifest of a completed job and deal its files to batches.

        Args:
            context: of the task.
            event: a `JobEvent`.

        Raises:
            ExportFailedError: the job failed, was cancelled, passed its deadline, or BCDA refused to talk.
            ExportExpiredError: its files are gone.
        """
        from bcda import export

        ended = JobEvent.from_json(event)
        if ended.job_id != str(self.job_id):
            # After a clear the trigger of the try before can still deliver: its job's end is not this wait's.
            self.log.info("job %s of an earlier try is %s; waiting on", ended.job_id, ended.state)
            self._wait(context)
        if ended.outcome is Outcome.DEADLINE and ended.reason:
            raise ExportFailedError(
                f"Job {ended.job_id} was {ended.state} at its deadline and could not be cancelled: {ended.reason} It may still run "
                "at BCDA. Clear `kick_off` with everything after it: that cancels it and starts another.",
                job_id=ended.job_id,
            )
        if ended.outcome is Outcome.DEADLINE:
            raise ExportFailedError(
                f"Job {ended.job_id} was still {ended.state} at its deadline and has been cancelled at BCDA. "
                "Clear `kick_off` with everything after it to start another, or raise job_deadline_seconds on the connection.",
                job_id=ended.job_id,
            )
        if ended.outcome is Outcome.REFUSED:
            raise ExportFailedError(
                f"Waiting for job {ended.job_id} ended: {ended.reason} The job may still run at BCDA. Clear `wait_for_job` to wait "
                "on, or `kick_off` with everything after it: that cancels it and starts another.",
                job_id=ended.job_id,
            )
        if ended.outcome is Outcome.ENDED:
            raise export.job_error(ended.job_id, ended.state, ended.reason)
        return self._save_manifest(context)

    def _save_manifest(self, context: Context) -> list[int]:
        from bcda import export

        async def save() -> None:
            async with client_of(self._settings(), self.bcda_conn_id) as client:
                await export.save_manifest(client, raw_places(self.bcda_conn_id), self.run_id, str(self.job_id))

        asyncio.run(save())
        here = raw_places(self.bcda_conn_id)
        if since := context["task_state_store"].get(f"since:{self.job_id}"):
            waited = timedelta(seconds=time.time() - float(str(since)))
            metrics.emit(metrics.JOB_WAIT, waited, **metrics.of_run(here, self.run_id))
        return export.plan_batches(here, self.run_id, int(self.batches))


def _show(epoch_seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(epoch_seconds))
