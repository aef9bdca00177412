"""Kick-off: adopt the live job that serves a run, or start one."""

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from bcda.api import protocol
from bcda.api.client import BcdaClient
from bcda.api.export_request import ExportRequest, Scope, format_instant
from bcda.api.protocol import JobState, ListedJob
from bcda.errors import AttributionMissingError, ManifestError, MissingList, RateLimitedError, ServerError
from bcda.runs import canceled_jobs
from bcda.runs.folders import run_folder
from bcda.runs.manifest_store import check_not_merged
from bcda.runs.own_jobs import keep_one, serves
from bcda.runs.run import ExportRun
from bcda.storage.commit_points import CommitPoint, reached
from bcda.storage.places import Places

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class KickedOff:
    """A job at BCDA that serves the run.

    Attributes:
        job_id: BCDA's number, as text.
        is_adopted: it was running already.
        returned_jobs: jobs that had been canceled from here, had come back, and were canceled again.
    """

    job_id: str
    is_adopted: bool
    returned_jobs: tuple[str, ...] = ()


async def kick_off(
    client: BcdaClient, places: Places, run_id: str, *, stale_job_ids: tuple[str, ...] = ()
) -> KickedOff:
    """Adopt a live job with the run's request, or start one.

    Looking first is what makes a crash between request and record harmless: the job it left is found and adopted, also
    when it is complete by then. The date
    of the attribution list is written down before the request, so that it can be too old but never too new. A job that was
    canceled from here and has come back is in nobody's interest, so it is canceled again and not waited for.

    Args:
        client: of the server.
        places: where the run is written down.
        run_id: of the run.
        stale_job_ids: jobs of earlier attempts that a person gave up; canceled, never adopted.

    Raises:
        InvalidRequestError: the run is loaded; nothing was asked of BCDA.
        RateLimitedError: an overlapping job is running, ours or someone else's; wait and call again.
        ServerError: the kick-off failed. A job that it left behind has been canceled, or is found by the next call.
        AttributionMissingError: BCDA has no list for the export; `.case` says which of the cases.
        ActionNeededError: see `BcdaClient.kick_off`.

    Source: docs/bcda.md#overlapping-jobs, docs/bcda.md#rules-for-a-client, rules 3 to 5.
    """
    folder = run_folder(places, run_id)
    client.keep_texts_in(folder.path)
    check_not_merged(places, run_id)
    folder.bring_run()
    run = folder.read_run()
    if run.replacement_job and run.replaced_job in stale_job_ids:
        stale_job_ids = (*stale_job_ids, run.replacement_job)
    for stale in stale_job_ids:
        if await canceled_jobs.cancel(client, places, run_id, stale):
            log.info("canceled job %s of an earlier attempt", stale)
    jobs = await client.usable_jobs()
    found = await canceled_jobs.cancel_returned(client, places, jobs)
    await _cancel_stuck(client, places, run, found.others)
    mine = await _own_job(client, places, run, found.others, stale_job_ids)
    if mine is not None:
        log.info("adopted job %s, which is %s at BCDA for the same request", mine.job_id, mine.state)
        folder.amend(asked_at=mine.created_at)
        return KickedOff(mine.job_id, is_adopted=True, returned_jobs=found.canceled_again)
    live = [job for job in found.others if job.state in protocol.LIVE_STATES and job.job_id not in stale_job_ids]
    live += found.in_the_way
    _check_free(client, live, run.request)
    if run.newest_job_before is None:
        newest = max((int(job.job_id) for job in jobs), default=0)
        run = folder.amend(newest_job_before=newest)
    # Asked again with each attempt: a run can have waited weeks for the list that its job is then made from.
    list_at = await _list_date(client, run.request.scope)
    run = folder.amend(list_at=list_at)
    job_id = await _start(client, places, run, {job.job_id for job in live})
    folder.amend(asked_at=client.server_time)
    log.info("BCDA accepted the export as job %s", job_id)
    # Another attempt of this run can have asked at the same instant. What is asked for can have changed for want of a list.
    run = folder.read_run()
    then = await canceled_jobs.cancel_returned(client, places, await client.usable_jobs())
    first = await _own_job(client, places, run, then.others, stale_job_ids)
    kept = job_id if first is None else first.job_id
    return KickedOff(kept, is_adopted=kept != job_id, returned_jobs=(*found.canceled_again, *then.canceled_again))


async def _own_job(
    client: BcdaClient, places: Places, run: ExportRun, jobs: Sequence[ListedJob], unwanted: Collection[str]
) -> ListedJob | None:
    """Return the job that the run uses; None when there is none yet."""
    now = client.server_time
    return await keep_one(
        client, places, run, [job for job in jobs if job.job_id not in unwanted and serves(job, run, now)]
    )


async def _list_date(client: BcdaClient, scope: Scope) -> datetime | None:
    """Return the date of the list that a job is made from; None when BCDA does not say and the export can do without.

    Raises:
        ServerError, ManifestError: it cannot be read, and a Group export would not know what it has brought.
    """
    try:
        return (await client.attribution_status()).of(scope)
    except (ServerError, ManifestError) as error:
        if scope is not Scope.PATIENT:
            raise
        log.warning("The date of the attribution list is not known; the export runs without it. %s", error)
        return None


async def _cancel_stuck(client: BcdaClient, places: Places, run: ExportRun, jobs: list[ListedJob]) -> None:
    """Cancel jobs with this request that have been live for more than a day: BCDA never ends them (docs/bcda.md#stuck-and-returning-jobs).

    Only BCDA's clock tells: by ours, which can jump, a job that has just begun could look so old.
    """
    if client.server_date is None:
        return
    for job in jobs:
        is_stuck = job.state in protocol.LIVE_STATES and not protocol.is_in_force(job, client.server_date)
        if is_stuck and protocol.same_request(job.request_url, protocol.kick_off_path(run.request)):
            await canceled_jobs.cancel(client, places, run.run_id, job.job_id)
            log.warning("job %s has been %s for more than a day; it was canceled, not adopted", job.job_id, job.state)


def _check_free(client: BcdaClient, live: list[ListedJob], request: ExportRequest) -> None:
    """Raise `RateLimitedError` when a running job is in the way."""
    parallel_jobs = client.settings.tuning.parallel_jobs
    for job in live:
        why = protocol.in_the_way(job, request, client.server_time, parallel_jobs=parallel_jobs)
        if why is not None:
            raise RateLimitedError(
                f"Job {job.job_id} of this organization is {job.state} for {job.shown_types}: {why}."
            )


async def _start(client: BcdaClient, places: Places, run: ExportRun, known: set[str]) -> str:
    try:
        reached(CommitPoint.ABOUT_TO_ASK)
        job_id = await client.kick_off(run.request)
    except AttributionMissingError as error:
        if error.case is not MissingList.NO_OLDER_LIST or not run.may_ask_for_all:
            raise
        log.warning(
            "BCDA has no attribution list from before %s; asking for everything instead", _show(run.request.since)
        )
        run = run_folder(places, run.run_id).amend(
            request=replace(run.request, since=None),
            may_ask_for_all=False,
            reason=f"{run.reason} BCDA has no list from before that, so everything is asked for.",
        )
        return await _start(client, places, run, known)
    except RateLimitedError as error:
        # A job that comes back between the look at the list and the request is refused for like any other.
        found = await canceled_jobs.cancel_returned(client, places, await client.live_jobs())
        if not found.canceled_again:
            raise
        raise RateLimitedError(
            f"Job {', '.join(found.canceled_again)} was canceled earlier and was active at BCDA again. It has been canceled again.",
            retry_after_seconds=error.retry_after_seconds,
        ) from error
    except ServerError as error:
        if error.status is None:
            # No answer came: the job may well be running, and the next look at the list adopts it.
            raise
        phantom = await _cancel_phantom(client, places, run, known)
        raise ServerError(
            f"{error}{f' Job {phantom}, which it left behind, has been canceled.' if phantom else ''}",
            retry_after_seconds=error.retry_after_seconds,
            status=error.status,
        ) from error
    else:
        reached(CommitPoint.JOB_ACCEPTED)
        return job_id


async def _cancel_phantom(client: BcdaClient, places: Places, run: ExportRun, known: set[str]) -> str | None:
    """Cancel the Pending job that a kick-off answered with 500 may have left, and return its number (docs/bcda.md#kick-off-refusals)."""
    path = protocol.kick_off_path(run.request)
    for job in await client.live_jobs():
        if job.job_id not in known and job.state is JobState.PENDING and protocol.same_request(job.request_url, path):
            await canceled_jobs.cancel(client, places, run.run_id, job.job_id)
            return job.job_id
    return None


def _show(instant: datetime | None) -> str:
    return format_instant(instant) if instant is not None else "the beginning"
