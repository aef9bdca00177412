"""Jobs that were canceled from here: canceling them, and canceling again those that come back (docs/bcda.md#stuck-and-returning-jobs)."""

import asyncio
import logging
from dataclasses import dataclass, replace

from bcda.api.client import BcdaClient
from bcda.api.protocol import LIVE_STATES, ListedJob
from bcda.errors import ServerError
from bcda.runs import job_records
from bcda.storage.places import Places

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Found:
    """BCDA's jobs, apart by whether they were canceled from here.

    Attributes:
        others: jobs that were not, in their order.
        canceled_again: numbers of those that had come back and were canceled again.
        in_the_way: those that have come back and cannot be canceled now.
    """

    others: list[ListedJob]
    canceled_again: tuple[str, ...]
    in_the_way: list[ListedJob]


async def cancel(client: BcdaClient, places: Places, run_id: str, job_id: str) -> bool:
    """Cancel a job for good: it is recorded first, so that a later kick-off knows it when it comes back.

    Args:
        client: of the server.
        places: of the source.
        run_id: of the run that cancels it.
        job_id: BCDA's number, as text.

    Returns:
        False when it was over already or is not there.

    Raises:
        ServerError: BCDA cannot cancel it now.
        StorageError, StoreUnavailableError: the record cannot be written; nothing was asked of BCDA.
    """
    record = (places, run_id, job_id, job_records.Fact.CANCELLED)
    is_recorded = await asyncio.to_thread(job_records.read, *record) is not None
    if not is_recorded:
        await asyncio.to_thread(job_records.note, *record, client.server_time)
    is_cancelled = await client.cancel(job_id)
    if not is_cancelled and not is_recorded:
        # It ended by itself, so it does not come back.
        await asyncio.to_thread(job_records.forget, *record)
    return is_cancelled


async def cancel_returned(client: BcdaClient, places: Places, jobs: list[ListedJob]) -> Found:
    """Cancel again what had been canceled from here and has come back.

    A preparation that was under way does not notice the cancellation, so that many minutes later the job is Pending, In
    Progress or Completed. The files of a completed one are not used.

    Args:
        client: of the server.
        places: of the source.
        jobs: of BCDA's list.

    Raises:
        StorageError, StoreUnavailableError: the records cannot be read.
    """
    recorded = await asyncio.to_thread(job_records.cancelled, places) if jobs else {}
    found, again = Found([], (), []), []
    for job in jobs:
        at = recorded.get(job.job_id)
        if at is None or (job.created_at is not None and job.created_at > at):
            # A number that another server gave, before the connection named this one, says nothing about this job.
            found.others.append(job)
        elif job.state not in LIVE_STATES:
            log.info("job %s was canceled, and is %s at BCDA anyway; its files are not used", job.job_id, job.state)
        else:
            try:
                if await client.cancel(job.job_id):
                    again.append(job.job_id)
                    log.warning(
                        "job %s had been canceled, came back as %s, and is canceled again", job.job_id, job.state
                    )
            except ServerError as error:
                found.in_the_way.append(job)
                log.warning("job %s had been canceled, came back, and cannot be canceled now: %s", job.job_id, error)
    return replace(found, canceled_again=tuple(again))
