"""Waiting for a job in this process, as a notebook or a shell does; Airflow waits in its triggerer instead."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from bcda.api.client import BcdaClient
from bcda.api.job_watch import JobWatch, Verdict
from bcda.api.protocol import JobState, JobStatus
from bcda.errors import ExportExpiredError, ExportFailedError, NotAllowListedError, TransientError

_SOON_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Restart:
    """How a job that stays Pending is replaced by another, once (docs/bcda.md#stuck-and-returning-jobs).

    Attributes:
        seconds: how long it may stay Pending from now on.
        start: cancels the job, and returns the number of another, or of the same if it is no longer Pending.
    """

    seconds: float
    start: Callable[[str], Awaitable[str]]


async def wait_for_job(
    client: BcdaClient, job_id: str, tell: Callable[[str], None], *, next_step: str, restart: Restart | None = None
) -> str:
    """Request the status of a job until it is complete. A client that cannot reach BCDA keeps trying.

    Args:
        client: of the server.
        job_id: BCDA's number.
        tell: called with each new state.
        next_step: what to do when the job is over without files; ends the messages.
        restart: what to do with a job that stays Pending; None for nothing.

    Returns:
        The complete job: the given one, or the one that took its place.

    Raises:
        ExportFailedError: the job failed, was canceled, or was not complete within `tuning.job_deadline_seconds`, in which
            case it has been canceled.
        ExportExpiredError: BCDA does not have the job or its files any more.
        CredentialsError: BCDA refuses the credentials.

    Source: docs/bcda.md#job-states, docs/bcda.md#job-status, docs/bcda.md#stuck-and-returning-jobs.
    """
    tuning, shown = client.settings.tuning, ""
    watch = JobWatch(tuning.failed_grace_seconds, time.monotonic() + restart.seconds if restart else None)
    until, interval = time.monotonic() + tuning.job_deadline_seconds, tuning.poll_seconds
    while True:
        status, asked_to_wait = await _ask(client, job_id, tell, until - time.monotonic())
        if status is not None:
            if (now_shown := status.progress or status.state.value) != shown:
                shown = now_shown
                tell(f"Job {job_id}: {shown}")
            verdict = watch.see(status, time.monotonic())
            if verdict is Verdict.COMPLETED:
                return job_id
            if verdict is Verdict.ENDED:
                raise _over(job_id, status, next_step)
            if verdict is Verdict.STUCK and restart is not None:
                tell(f"Job {job_id} stays Pending. It is canceled and another is started.")
                job_id = await restart.start(job_id)
                watch, shown = JobWatch(tuning.failed_grace_seconds), ""
                continue
        if time.monotonic() >= until:
            await _give_up(client, job_id, next_step)
        pause = max(asked_to_wait, interval * random.uniform(0.9, 1.1))  # noqa: S311 - jitter
        await asyncio.sleep(max(0.0, min(pause, until - time.monotonic())))
        interval = min(interval * 1.5, tuning.poll_max_seconds)


async def _ask(
    client: BcdaClient, job_id: str, tell: Callable[[str], None], left: float
) -> tuple[JobStatus | None, float]:
    """Return the status, or None without an answer, since the job continues anyway; and the pause in seconds that BCDA asks for.

    Args:
        client: of the server.
        job_id: BCDA's number.
        tell: called when there is no answer.
        left: seconds until the end of the wait; when it has passed, an answer has the time that any request has.
    """
    try:
        async with asyncio.timeout(left if left > 0 else None):
            return await client.status(job_id), 0.0
    except TimeoutError:
        tell(f"No answer on job {job_id} before the end of the wait.")
        return None, 0.0
    except (TransientError, NotAllowListedError) as error:
        pause = getattr(error, "retry_after_seconds", None) or 0.0
        tell(f"No answer on job {job_id}; asking {again_after(min(pause, max(0.0, left)))}. {error}")
        return None, pause


def again_after(seconds: float) -> str:
    """Return when something is retried: `again`, with the time where that is not soon.

    Args:
        seconds: from now.
    """
    if seconds < _SOON_SECONDS:
        return "again"
    return f"again at {datetime.now(UTC) + timedelta(seconds=seconds):%Y-%m-%d %H:%M} UTC"


async def _give_up(client: BcdaClient, job_id: str, next_step: str) -> None:
    """Cancel a job that is past its deadline. If it has ended meanwhile, its next status decides."""
    hours = client.settings.tuning.job_deadline_seconds / 3600
    if await client.cancel(job_id):
        raise ExportFailedError(
            f"Job {job_id} was not complete after {hours:g} hours (job_deadline_seconds) and has been canceled. {next_step}",
            job_id=job_id,
        )


def _over(job_id: str, status: JobStatus, next_step: str) -> ExportFailedError | ExportExpiredError:
    if status.state is JobState.FAILED:
        return ExportFailedError(
            f'Job {job_id} failed at BCDA, which said "{status.reason}". {next_step}', job_id=job_id, may_work_anew=True
        )
    if status.state is JobState.CANCELLED:
        return ExportFailedError(f"Job {job_id} has been canceled. {next_step}", job_id=job_id)
    return ExportExpiredError(
        f"BCDA does not have job {job_id} or its files any more: {status.reason}. Files last for a day. {next_step}",
        job_id=job_id,
    )
