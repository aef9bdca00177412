"""Which of BCDA's jobs a run may use, and how attempts of it that ask at the same time end with one job."""

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta

from bcda.api import protocol
from bcda.api.client import BcdaClient
from bcda.api.protocol import ListedJob
from bcda.runs import canceled_jobs
from bcda.runs.run import ExportRun
from bcda.storage.places import Places

log = logging.getLogger(__name__)

_FILES_LAST = timedelta(hours=20)
"""Age up to which a completed job is adopted: its files live for 24 hours and have to be fetched too (docs/bcda.md#job-states)."""


def serves(job: ListedJob, run: ExportRun, now: datetime) -> bool:
    """Tell whether a job brings what a run wants: a live one with the same request, or one that the run itself started.

    A job that has been live for more than a day is stuck.

    A completed job is the run's own when it is newer than every job there was before the run first asked: a process that
    died between request and record can have left it, and a second export would bring the same again.

    Args:
        job: of BCDA's list.
        run: that wants a job.
        now: by BCDA's clock.
    """
    if not protocol.same_request(job.request_url, protocol.kick_off_path(run.request)):
        return False
    if job.state in protocol.LIVE_STATES:
        return protocol.is_in_force(job, now)
    return _is_new(job, run) and job.created_at is not None and now - job.created_at < _FILES_LAST


async def keep_one(client: BcdaClient, places: Places, run: ExportRun, jobs: Sequence[ListedJob]) -> ListedJob | None:
    """Return the job that a run uses, and cancel the others that attempts of it started at the same time.

    BCDA looks for a running job before it adds a new one, so of two requests at the same time it can accept both. Of the jobs
    that are newer than the run's first request, the one with the lowest number is kept. Every attempt looks after it has
    asked, so all of them see that one and choose it.

    Args:
        client: of the server.
        places: of the source.
        run: that wants a job.
        jobs: those that serve it, the newest first.

    Raises:
        ServerError: BCDA cannot cancel one now.
        StorageError, StoreUnavailableError: a cancellation cannot be recorded.
    """
    own = sorted((job for job in jobs if _is_new(job, run)), key=lambda job: int(job.job_id))
    if not own:
        return jobs[0] if jobs else None
    kept, *others = own
    for job in others:
        if job.state in protocol.LIVE_STATES and await canceled_jobs.cancel(client, places, run.run_id, job.job_id):
            log.info("canceled job %s, which was started at the same time as job %s", job.job_id, kept.job_id)
    return kept


def _is_new(job: ListedJob, run: ExportRun) -> bool:
    return run.newest_job_before is not None and int(job.job_id) > run.newest_job_before
