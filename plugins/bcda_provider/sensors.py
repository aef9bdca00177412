"""Waiting for a BCDA job, deferred."""

import asyncio
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

from airflow.providers.standard.triggers.temporal import TimeDeltaTrigger
from airflow.sdk import BaseSensorOperator, Context, XComArg
from airflow.sdk.exceptions import TaskDeferred

from bcda.api.protocol import JobState
from bcda.errors import BcdaError, ExportFailedError, JobNotCompleteError, RateLimitedError
from bcda.runs.run import Wait, note_wait
from bcda.settings import ConnectionSettings
from bcda_provider import arguments, metrics
from bcda_provider.arguments import Asked
from bcda_provider.clients import client_of
from bcda_provider.data_home import raw_places
from bcda_provider.events import JobEvent, Outcome
from bcda_provider.links import BcdaJobLink, BcdaPageLink
from bcda_provider.notes import leave_note
from bcda_provider.planned_runs import settings_of_run
from bcda_provider.retry import BcdaRetryPolicy
from bcda_provider.tasks import BcdaTask
from bcda_provider.triggers import BcdaJobTrigger


class BcdaJobSensor(BcdaTask, BaseSensorOperator):
    """Waits until a job is complete, saves its manifest and returns the numbers of its batches.

    While it waits it is deferred and holds no worker. Marking the task or clearing it cancels the job at BCDA; a restart
    of the triggerer does not. The deadline counts from the first try and survives retries.

    A job that stays Pending for `pending_restart_seconds` of the connection is canceled, and another one is started in its
    place, once in a run; it has a deadline of its own. `kick_off` then still shows the first job, this task the one it
    waits for.

    Args:
        run_id: of the export run.
        job_id: BCDA's job number.
        bcda_conn_id: connection of type `bcda`.
        batches: how many batches to deal the files to; by default the DAG's param `batches`, else 2. The tasks that fetch, land
            and merge the run need the same number.
        api_version: version of the API; by default that of the run.
        kwargs: arguments of Airflow's `BaseSensorOperator`.
    """

    policy = BcdaRetryPolicy(has_job=True)

    template_fields: Sequence[str] = ("run_id", "job_id", "batches", "bcda_conn_id", "api_version")
    operator_extra_links = (BcdaJobLink(), BcdaPageLink())

    def __init__(
        self,
        *,
        run_id: str | XComArg,
        job_id: str | XComArg,
        bcda_conn_id: str,
        batches: int | str | None = None,
        api_version: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.run_id: Any = run_id
        self.job_id: Any = job_id
        self.batches = batches
        self.bcda_conn_id = bcda_conn_id
        self.api_version = api_version
        self.is_restarted = False
        self.restarted = ""

    def work(self, context: Context) -> list[int]:
        """Defer; a later try looks first whether the job is complete by now, and then does what `execute_complete` does.

        Args:
            context: of the task.

        Raises:
            ExportExpiredError: the files of the completed job are gone.
        """
        arguments.text("run_id", self.run_id)
        if self._follow():
            self._restart(context)
        # A scheduler that notices a deferral after its end takes the worker's exit for a failure of the resumed task. On a
        # busy machine that can cost try after try, so a try that has nothing to wait for does not defer.
        if context["ti"].try_number > 1 and self._is_complete():
            return self._save_manifest(context)
        return self._wait(context)

    def _is_complete(self) -> bool:
        async def ask() -> bool:
            async with client_of(self._settings(), self.bcda_conn_id) as client:
                client.keep_texts_in(raw_places(self.bcda_conn_id).run_folder(self.run_id))
                return (await client.status(self.job_id)).state is JobState.COMPLETED

        try:
            return asyncio.run(ask())
        except BcdaError as error:
            # What an unwell BCDA means for the wait is the trigger's to judge.
            self.log.info("job %s: %s", self.job_id, error)
            return False

    def _follow(self) -> bool:
        """Go on with the job that the run waits for by now; tell whether it is given up and has no successor yet."""
        from bcda.runs import job_restart

        run = job_restart.run_of(raw_places(self.bcda_conn_id), self.run_id)
        self.is_restarted = run is not None and bool(run.replaced_job)
        is_half_done = job_restart.is_half_done(run, str(self.job_id))
        self.job_id = job_restart.current_job(run, str(self.job_id))
        if run is not None and run.replacement_job == self.job_id:
            self.restarted = (
                f"Job {run.replaced_job} stayed Pending and was canceled. Job {self.job_id} takes its place. "
            )
        return is_half_done

    def _settings(self) -> ConnectionSettings:
        return settings_of_run(self.bcda_conn_id, self.run_id, self.api_version)

    def _wait(self, context: Context) -> NoReturn:
        settings = self._settings()
        store, key = context["task_state_store"], f"deadline:{self.job_id}"
        recorded = store.get(key)
        deadline = float(str(recorded)) if recorded else time.time() + settings.tuning.job_deadline_seconds
        store.set(key, deadline)
        since = float(str(store.get(f"since:{self.job_id}") or time.time()))
        store.set(f"since:{self.job_id}", since)
        self.log.info("waiting for job %s; it is canceled if it is not complete by %s", self.job_id, _show(deadline))
        reason = f"{self.restarted}BCDA prepares the files of job {self.job_id}. It is canceled if it is not complete by then."
        note_wait(
            raw_places(self.bcda_conn_id).run_folder(self.run_id), Wait(reason, datetime.fromtimestamp(deadline, UTC))
        )
        trigger = BcdaJobTrigger(
            bcda_conn_id=self.bcda_conn_id,
            api_version=settings.api_version.value,
            job_id=str(self.job_id),
            deadline_epoch_seconds=deadline,
            run_id=str(self.run_id),
            # Once in a run: a second job that stays Pending is waited for until its deadline.
            restart_at_epoch_seconds=None if self.is_restarted else since + settings.tuning.pending_restart_seconds,
        )
        raise TaskDeferred(trigger=trigger, method_name="execute_complete")

    def execute_complete(self, context: Context, event: dict[str, Any]) -> list[int]:
        """Save the manifest of a completed job and deal its files to batches.

        Args:
            context: of the task.
            event: a `JobEvent`.

        Raises:
            ExportFailedError: the job failed, was canceled, passed its deadline, or BCDA refused to talk.
            ExportExpiredError: its files are gone.
        """
        from bcda import export

        is_half_done = self._follow()
        ended = JobEvent.from_json(event)
        if ended.job_id != str(self.job_id):
            # After a clear the trigger of the try before can still deliver: its job's end is not this wait's.
            self.log.info("job %s of an earlier try is %s; waiting on", ended.job_id, ended.state)
            self._wait(context)
        if ended.outcome is Outcome.STUCK or is_half_done:
            self._restart(context)
        if ended.outcome is Outcome.DEADLINE and ended.reason:
            raise ExportFailedError(
                f"Job {ended.job_id} was {ended.state} at its deadline and could not be canceled: {ended.reason} It may still run "
                "at BCDA. Clear `kick_off` with everything after it: that cancels it and starts another.",
                job_id=ended.job_id,
            )
        if ended.outcome is Outcome.DEADLINE:
            raise ExportFailedError(
                f"Job {ended.job_id} was still {ended.state} at its deadline and has been canceled at BCDA. "
                "Clear `kick_off` with everything after it to start another, or raise job_deadline_seconds on the connection.",
                job_id=ended.job_id,
                may_work_anew=True,
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

    def restart_complete(self, context: Context, event: Any) -> NoReturn:  # noqa: ARG002 - a timer's event says nothing
        """Try again to put another job in the place of one that stays Pending.

        Args:
            context: of the task.
            event: the timestamp at which the timer ended.

        Raises:
            ExportFailedError: other jobs were in the way until the deadline.
        """
        self._follow()
        self._restart(context)

    def _restart(self, context: Context) -> NoReturn:
        """Cancel a job that stays Pending, start another, and wait for that; wait for room at BCDA first if need be."""
        from bcda.runs import job_restart

        settings, stuck = self._settings(), str(self.job_id)

        async def restart() -> str:
            async with client_of(settings, self.bcda_conn_id) as client:
                return await job_restart.restart_job(client, raw_places(self.bcda_conn_id), self.run_id, stuck)

        try:
            self.job_id = asyncio.run(restart())
        except RateLimitedError as error:
            self._wait_for_room(context, settings, error)
        self._follow()
        if self.job_id != stuck:
            waited = _span(settings.tuning.pending_restart_seconds)
            deadline = _span(settings.tuning.job_deadline_seconds)
            text = (
                f"Job {stuck} stayed Pending for {waited} and was canceled. Job {self.job_id} takes its place. The run waits for it "
                f"for up to {deadline}."
            )
            self.log.warning("%s", text)
            leave_note(context["ti"], f"{self.task_id}: {text}")
        self._wait(context)

    def _wait_for_room(self, context: Context, settings: ConnectionSettings, error: RateLimitedError) -> NoReturn:
        """Defer until BCDA may have room for the job that takes another's place.

        Raises:
            ExportFailedError: the deadline of the job that was given up has passed.
        """
        deadline = float(str(context["task_state_store"].get(f"deadline:{self.job_id}") or 0.0))
        left = deadline - time.time()
        if left < 0:
            raise ExportFailedError(
                f"Job {self.job_id} stayed Pending and was canceled, and overlapping jobs of this organization kept another from "
                "starting in its place until its deadline. Look at BCDA's job list, cancel what is not wanted, then clear "
                "`kick_off` with everything after it.",
                job_id=str(self.job_id),
            ) from error
        seconds = min(max(error.retry_after_seconds or 0.0, settings.tuning.poll_max_seconds), left + 1)
        until = datetime.now(UTC) + timedelta(seconds=seconds)
        self.log.info("%s Looking again at %s, without holding a worker.", error, _show(until.timestamp()))
        note_wait(raw_places(self.bcda_conn_id).run_folder(self.run_id), Wait(str(error), until))
        self.defer(trigger=TimeDeltaTrigger(timedelta(seconds=seconds)), method_name="restart_complete")
        raise AssertionError

    def _wait_on(self, context: Context, error: JobNotCompleteError) -> NoReturn:
        """Wait again for a job that was complete and is running again.

        Raises:
            ExportFailedError: its deadline has passed.
        """
        deadline = context["task_state_store"].get(f"deadline:{self.job_id}")
        if deadline and time.time() > float(str(deadline)):
            raise ExportFailedError(
                f"Job {self.job_id} was complete, is running again, and its deadline has passed. Clear `kick_off` with everything "
                "after it: that cancels it and starts another.",
                job_id=str(self.job_id),
            ) from error
        self.log.warning("%s", error)
        self._wait(context)

    def _save_manifest(self, context: Context) -> list[int]:
        from bcda import export

        async def save() -> None:
            async with client_of(self._settings(), self.bcda_conn_id) as client:
                await export.save_manifest(client, raw_places(self.bcda_conn_id), self.run_id, str(self.job_id))

        try:
            asyncio.run(save())
        except JobNotCompleteError as error:
            self._wait_on(context, error)
        here = raw_places(self.bcda_conn_id)
        if since := context["task_state_store"].get(f"since:{self.job_id}"):
            waited = timedelta(seconds=time.time() - float(str(since)))
            metrics.emit(metrics.JOB_WAIT, waited, **metrics.of_run(here, self.run_id))
        return export.plan_batches(here, self.run_id, Asked(self, context).batches())


def _span(seconds: float) -> str:
    return f"{seconds / 3600:.3g} hours" if seconds >= 3600 else f"{seconds / 60:.3g} minutes"  # noqa: PLR2004


def _show(epoch_seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(epoch_seconds))
