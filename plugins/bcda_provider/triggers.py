"""Waiting for a job without a worker: the asynchronous loop that runs in the triggerer."""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from bcda.client import BcdaClient
from bcda.errors import BcdaError, NotAllowListedError, TransientError
from bcda.protocol import JobState, JobStatus
from bcda.settings import ConnectionSettings
from bcda_provider.events import JobEvent, Outcome
from bcda_provider.hooks import BcdaHook, client_of

CANCEL_FOR_SECONDS = 1_800.0
"""How long a job is tried to be cancelled after its deadline; BCDA's troubles are mostly shorter."""

_PASSING = (TransientError, NotAllowListedError)
"""Errors that end no wait: the job goes on without us. BCDA gave it to this address, so that no connection in a triggerer that
has just started is an outage like any other."""


class BcdaJobTrigger(BaseTrigger):
    """Polls one job until it ends, its deadline passes, or BCDA refuses to talk.

    Args:
        bcda_conn_id: connection of type `bcda`; credentials are read in the triggerer and never serialized.
        api_version: version of the API.
        job_id: BCDA's number, as text.
        deadline_epoch_seconds: wall-clock instant after which the job is cancelled; a restart keeps it.
    """

    def __init__(self, *, bcda_conn_id: str, api_version: str, job_id: str, deadline_epoch_seconds: float) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bcda_conn_id = bcda_conn_id
        self.api_version = api_version
        self.job_id = job_id
        self.deadline_epoch_seconds = deadline_epoch_seconds
        self._settings: ConnectionSettings | None = None
        self._failing_since: float | None = None

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return class path and arguments; none of them is secret."""
        return (
            f"{type(self).__module__}.{type(self).__name__}",
            {
                "bcda_conn_id": self.bcda_conn_id,
                "api_version": self.api_version,
                "job_id": self.job_id,
                "deadline_epoch_seconds": self.deadline_epoch_seconds,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield one event, a `JobEvent`, when the wait is over."""
        self._settings = await BcdaHook(self.bcda_conn_id, api_version=self.api_version).asettings()
        async with client_of(self._settings, self.bcda_conn_id) as client:
            try:
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
            cancelled = await client.cancel(self.job_id)
        self.log.info("job %s %s", self.job_id, "cancelled at BCDA" if cancelled else "was over already")

    async def _wait(self, client: BcdaClient, settings: ConnectionSettings) -> JobEvent:
        interval, shown = settings.tuning.poll_seconds, ""
        # An event that comes before the scheduler has noticed the deferral costs a try: it takes the worker's exit for a
        # failure of the resumed task. So the first question waits too.
        await asyncio.sleep(min(interval, max(0.0, self.deadline_epoch_seconds - time.time())))
        while True:
            status = await self._ask(client)
            if status is not None:
                if (now_shown := status.progress or status.state) != shown:
                    # The percentage is printed as sent; it is not a progress (wire contract §10).
                    shown = now_shown
                    self.log.info("job %s: %s", self.job_id, shown)
                if event := self._end(status, settings):
                    return event
            if time.time() >= self.deadline_epoch_seconds:
                return await self._give_up(client, status.state if status else JobState.UNKNOWN, settings)
            wait = interval * random.uniform(0.9, 1.1)  # noqa: S311 - jitter
            await asyncio.sleep(max(0.05, min(wait, self.deadline_epoch_seconds - time.time())))
            interval = min(interval * 1.5, settings.tuning.poll_max_seconds)

    async def _ask(self, client: BcdaClient) -> JobStatus | None:
        try:
            return await client.status(self.job_id)
        except _PASSING as error:
            self.log.warning("no answer on job %s, asking again: %s", self.job_id, error)
            return None

    async def _give_up(self, client: BcdaClient, state: JobState, settings: ConnectionSettings) -> JobEvent:
        """Cancel a job that is past its deadline, and try for a while when BCDA does not answer."""
        until = time.time() + CANCEL_FOR_SECONDS
        while True:
            try:
                if await client.cancel(self.job_id):
                    return JobEvent(self.job_id, Outcome.DEADLINE, state)
                # It ended while we tried, perhaps well.
                status = await client.status(self.job_id)
                event = self._end(status, settings)
                if event or time.time() >= until:
                    return event or JobEvent(self.job_id, Outcome.ENDED, status.state, status.reason)
            except BcdaError as error:
                if not isinstance(error, _PASSING) or time.time() >= until:
                    return JobEvent(self.job_id, Outcome.DEADLINE, state, str(error))
                self.log.warning("job %s is past its deadline, cancelling it again: %s", self.job_id, error)
            await asyncio.sleep(settings.tuning.poll_max_seconds)

    def _end(self, status: JobStatus, settings: ConnectionSettings) -> JobEvent | None:
        if status.state is JobState.COMPLETED:
            return JobEvent(self.job_id, Outcome.COMPLETED, status.state)
        if status.state is not JobState.FAILED:
            self._failing_since = None
            if status.state in {JobState.PENDING, JobState.IN_PROGRESS}:
                return None
            return JobEvent(self.job_id, Outcome.ENDED, status.state, status.reason)
        # BCDA repeats a failed preparation up to eight times over about an hour (wire contract §9).
        if self._failing_since is None:
            self._failing_since = time.time()
            self.log.warning("job %s shows as failed; BCDA may heal it, asking on", self.job_id)
        if time.time() - self._failing_since < settings.tuning.failed_grace_seconds:
            return None
        return JobEvent(self.job_id, Outcome.ENDED, status.state, status.reason)
