"""Waiting for a job without a worker: the asynchronous loop that runs in the triggerer."""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from bcda import budgets
from bcda.api.client import BcdaClient
from bcda.api.job_watch import JobWatch, Verdict
from bcda.api.protocol import LIVE_STATES, JobState, JobStatus
from bcda.api.wait_clock import WaitClock
from bcda.bounds import LONGEST_PROGRESS, shortened
from bcda.errors import BcdaError, NotAllowListedError, TransientError
from bcda.settings import ConnectionSettings
from bcda_provider.clients import client_of
from bcda_provider.data_home import raw_places
from bcda_provider.events import JobEvent, Outcome
from bcda_provider.hooks import BcdaHook

_PASSING = (TransientError, NotAllowListedError)
"""Errors that end no wait: the job goes on without us. BCDA gave it to this address, so that no connection in a triggerer that
has just started is an outage like any other."""


_OUTCOMES = {Verdict.COMPLETED: Outcome.COMPLETED, Verdict.ENDED: Outcome.ENDED, Verdict.STUCK: Outcome.STUCK}


class BcdaJobTrigger(BaseTrigger):
    """Polls one job until it ends, its deadline passes, or BCDA refuses to talk.

    Args:
        bcda_conn_id: connection of type `bcda`; credentials are read in the triggerer and never serialized.
        api_version: version of the API.
        job_id: BCDA's number, as text.
        deadline_epoch_seconds: wall-clock instant after which the job is canceled; a restart keeps it.
        run_id: of the export run, whose folder keeps what a restart of the triggerer would forget; empty for a wait that an
            earlier release began.
        restart_at_epoch_seconds: wall-clock instant after which a job that is still Pending is stuck; None for never, as in an
            earlier release.
    """

    def __init__(
        self,
        *,
        bcda_conn_id: str,
        api_version: str,
        job_id: str,
        deadline_epoch_seconds: float,
        run_id: str = "",
        restart_at_epoch_seconds: float | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bcda_conn_id = bcda_conn_id
        self.api_version = api_version
        self.job_id = job_id
        self.deadline_epoch_seconds = deadline_epoch_seconds
        self.run_id = run_id
        self.restart_at_epoch_seconds = restart_at_epoch_seconds
        self._settings: ConnectionSettings | None = None
        self._asked_to_wait = 0.0
        self._clock = WaitClock()

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return class path and arguments; none of them is secret."""
        return (
            f"{type(self).__module__}.{type(self).__name__}",
            {
                "bcda_conn_id": self.bcda_conn_id,
                "api_version": self.api_version,
                "job_id": self.job_id,
                "deadline_epoch_seconds": self.deadline_epoch_seconds,
                "run_id": self.run_id,
                "restart_at_epoch_seconds": self.restart_at_epoch_seconds,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield one event, a `JobEvent`, when the wait is over."""
        self._settings = await BcdaHook(self.bcda_conn_id, api_version=self.api_version).asettings()
        try:
            async with client_of(self._settings, self.bcda_conn_id) as client:
                if self.run_id:
                    client.keep_texts_in(raw_places(self.bcda_conn_id).run_folder(self.run_id))
                event = await self._wait(client, self._settings)
        except BcdaError as error:
            # Texts of our own errors hold no person's data; any other exception is a defect and stays one.
            event = JobEvent(self.job_id, Outcome.REFUSED, JobState.UNKNOWN, str(error))
        yield TriggerEvent(event.to_json())

    async def on_kill(self) -> None:
        """Cancel the job: a person cleared the task or marked it. Does not run when the triggerer restarts."""
        if self._settings is None:
            return
        async with client_of(self._settings, self.bcda_conn_id) as client:
            await self._note("cancelled", client)
            canceled = await client.cancel(self.job_id)
        self.log.info("job %s %s", self.job_id, "canceled at BCDA" if canceled else "was over already")

    async def _wait(self, client: BcdaClient, settings: ConnectionSettings) -> JobEvent:
        interval, shown = settings.tuning.poll_seconds, ""
        has_begun, self._clock = await self._has_begun(), WaitClock(await self._asked_at())
        watch = JobWatch(settings.tuning.failed_grace_seconds, self.restart_at_epoch_seconds, has_begun)
        # A deadline that was written down before our clock was set back ends anyway.
        deadline = min(self.deadline_epoch_seconds, self._clock.now() + settings.tuning.job_deadline_seconds)
        # An event that comes before the scheduler has noticed the deferral costs a try: it takes the worker's exit for a
        # failure of the resumed task. So the first question waits too.
        await asyncio.sleep(min(interval, max(0.0, deadline - self._clock.now())))
        while True:
            status = await self._ask(client, deadline - self._clock.now())
            if status is not None:
                if (now_shown := shortened(status.progress or status.state, LONGEST_PROGRESS)) != shown:
                    # The percentage is printed as sent; it is not a progress (docs/bcda.md#job-status).
                    shown = now_shown
                    self.log.info("job %s: %s", self.job_id, shown)
                if event := await self._judge(watch, status, client):
                    return event
            left = deadline - self._clock.now()
            if left <= 0 and self._clock.has_lasted(settings.tuning.job_deadline_seconds, client.server_now):
                return await self._give_up(client, status.state if status else JobState.UNKNOWN, settings)
            wait = max(self._asked_to_wait, interval * random.uniform(0.9, 1.1))  # noqa: S311 - jitter
            # Past a deadline that BCDA's clock does not confirm, no wish of a server puts the next look off for long.
            await asyncio.sleep(min(wait, max(0.05, left) if left > 0 else settings.tuning.poll_max_seconds))
            interval = min(interval * 1.5, settings.tuning.poll_max_seconds)

    async def _ask(self, client: BcdaClient, left: float) -> JobStatus | None:
        """Ask once more; None without an answer, or when the deadline comes before it.

        Args:
            client: of the server.
            left: seconds until the deadline; when it has passed, an answer has the time that any request has.
        """
        self._asked_to_wait = 0.0
        try:
            async with asyncio.timeout(left if left > 0 else None):
                return await client.status(self.job_id)
        except TimeoutError:
            self.log.warning("no answer on job %s before the deadline", self.job_id)
        except _PASSING as error:
            self._asked_to_wait = getattr(error, "retry_after_seconds", None) or 0.0
            at = datetime.now(UTC) + timedelta(seconds=min(self._asked_to_wait, max(0.0, left)))
            after = f" after {at:%Y-%m-%d %H:%M:%S} UTC" if self._asked_to_wait else ""
            self.log.warning("no answer on job %s, asking again%s: %s", self.job_id, after, error)
        return None

    async def _give_up(self, client: BcdaClient, state: JobState, settings: ConnectionSettings) -> JobEvent:
        """Cancel a job that is past its deadline, and try for a while when BCDA does not answer or the job goes on."""
        await self._note("cancelled", client)
        self.log.warning(
            "job %s is past its deadline, canceling it for up to %.0f s", self.job_id, budgets.GIVE_UP_SECONDS
        )
        until, accepted = time.monotonic() + budgets.GIVE_UP_SECONDS, False
        while True:
            try:
                accepted = await client.cancel(self.job_id) or accepted
                await asyncio.sleep(settings.tuning.poll_seconds)
                status = await client.status(self.job_id)
            except BcdaError as error:
                if accepted:
                    return JobEvent(self.job_id, Outcome.DEADLINE, state)
                if not isinstance(error, _PASSING) or time.monotonic() >= until:
                    return JobEvent(self.job_id, Outcome.DEADLINE, state, str(error))
                self.log.warning("job %s is past its deadline, canceling it again: %s", self.job_id, error)
            else:
                if event := self._given_up(status, state, accepted=accepted, is_late=time.monotonic() >= until):
                    return event
                self.log.warning("job %s is past its deadline and still %s, canceling it", self.job_id, status.state)
            await asyncio.sleep(settings.tuning.poll_max_seconds)

    def _given_up(self, status: JobStatus, state: JobState, *, accepted: bool, is_late: bool) -> JobEvent | None:
        """Return what became of a job that was to be canceled; None to try on.

        Args:
            status: after the cancellation.
            state: at the deadline.
            accepted: whether BCDA has accepted a cancellation.
            is_late: whether it has been tried for long enough.

        Source: docs/bcda.md#token-check, docs/bcda.md#cancellation.
        """
        if status.state is JobState.COMPLETED:
            # It ended while we tried: a cancellation in the last moment can end well.
            return JobEvent(self.job_id, Outcome.COMPLETED, status.state)
        if status.state in LIVE_STATES:
            lost = f"BCDA {'accepted the cancellation, but' if accepted else 'says that it is over, and'} it is still {status.state}."
            return JobEvent(self.job_id, Outcome.DEADLINE, state, lost) if is_late else None
        if accepted:
            return JobEvent(self.job_id, Outcome.DEADLINE, state)
        # A 500 can also mean that BCDA is not well, and a complete job answers so too.
        is_over = status.state is not JobState.FAILED or status.says_that_the_job_failed
        return JobEvent(self.job_id, Outcome.ENDED, status.state, status.reason) if is_over or is_late else None

    async def _judge(self, watch: JobWatch, status: JobStatus, client: BcdaClient) -> JobEvent | None:
        """Return the event that a status means, None while the wait goes on; keep what a restart would forget."""
        had_begun, was_failing = watch.has_begun, watch.failing_since is not None
        verdict = watch.see(status, self._clock.now())
        if verdict is Verdict.STUCK and not self._is_old_enough(client):
            verdict = Verdict.WAIT
        if watch.has_begun and not had_begun:
            await self._note("begun", client)
        if verdict is Verdict.WAIT:
            if watch.failing_since is not None and not was_failing:
                self.log.warning("job %s shows as failed; BCDA may heal it, asking on", self.job_id)
            return None
        return JobEvent(self.job_id, _OUTCOMES[verdict], status.state, status.reason)

    def _is_old_enough(self, client: BcdaClient) -> bool:
        """Tell whether BCDA's clock agrees that a job which is still Pending is stuck."""
        seconds = self._settings.tuning.pending_restart_seconds if self._settings else 0.0
        return self._clock.has_lasted(seconds, client.server_now)

    async def _asked_at(self) -> datetime | None:
        """Return when BCDA accepted the job, by its own clock; None when that is not recorded."""
        if not self.run_id:
            return None
        try:
            return await asyncio.to_thread(self._read_asked_at)
        except BcdaError as error:
            self.log.warning("what is recorded of the run of job %s cannot be read: %s", self.job_id, error)
            return None

    def _read_asked_at(self) -> datetime | None:
        from bcda.runs import job_restart

        run = job_restart.run_of(raw_places(self.bcda_conn_id), self.run_id)
        return run.asked_at if run is not None else None

    async def _has_begun(self) -> bool:
        """Tell whether an earlier wait for the job saw it In Progress."""
        if not self.run_id:
            return False
        try:
            return await asyncio.to_thread(self._read_begun) is not None
        except BcdaError as error:
            self.log.warning("what is recorded of job %s cannot be read, waiting without it: %s", self.job_id, error)
            return False

    def _read_begun(self) -> datetime | None:
        # Reading a DAG imports this module, and must not import pyarrow.
        from bcda.runs import job_records
        from bcda.runs.job_records import Fact

        return job_records.read(raw_places(self.bcda_conn_id), self.run_id, self.job_id, Fact.BEGUN)

    async def _note(self, fact: str, client: BcdaClient) -> None:
        """Record what a restart, or a later kick-off, has to know; a triggerer that cannot write there waits anyway."""
        from bcda.runs import job_records
        from bcda.runs.job_records import Fact

        if not self.run_id:
            return
        try:
            here = raw_places(self.bcda_conn_id)
            await asyncio.to_thread(job_records.note, here, self.run_id, self.job_id, Fact(fact), client.server_time)
        except BcdaError as error:
            self.log.warning("that job %s is %s cannot be recorded: %s", self.job_id, fact, error)
