"""Another job in place of one that stays Pending, once in a run, whatever crashes when (docs/bcda.md#stuck-and-returning-jobs)."""

import logging

from bcda.api.client import BcdaClient
from bcda.api.protocol import JobState
from bcda.runs import canceled_jobs
from bcda.runs.folders import run_folder
from bcda.runs.kick_off import kick_off
from bcda.runs.run import ExportRun
from bcda.storage.commit_points import RestartPoint, reached
from bcda.storage.places import Places

log = logging.getLogger(__name__)


def run_of(places: Places, run_id: str) -> ExportRun | None:
    """Return what is written down of a run; None when nothing is here.

    Raises:
        ManifestError: it cannot be read.
        StorageError, StoreUnavailableError: the object store refuses, or does not answer.
    """
    folder = run_folder(places, run_id)
    folder.bring_run()
    return folder.read_run() if folder.has_run() else None


def current_job(run: ExportRun | None, job_id: str) -> str:
    """Return the job that a run waits for: the one that took the place of the given one, or the given one.

    Args:
        run: as written down; None when nothing is.
        job_id: BCDA's number that `kick_off` returned, as text.
    """
    return run.replacement_job if run is not None and run.replaced_job == job_id and run.replacement_job else job_id


def is_half_done(run: ExportRun | None, job_id: str) -> bool:
    """Tell whether a job is given up and nothing has taken its place yet: `restart_job` has to be called again."""
    return run is not None and run.replaced_job == job_id and not run.replacement_job


async def restart_job(client: BcdaClient, places: Places, run_id: str, job_id: str) -> str:
    """Cancel a job that stays Pending, start another with the same request, and return the job to wait for.

    The decision is written down before the cancellation, and the new job after BCDA has accepted it. Killed in between and
    called again, it finds the job that BCDA accepted in the list, as `kick_off` does.

    Args:
        client: of the server.
        places: of the source.
        run_id: of the run.
        job_id: BCDA's number of the job that stays Pending, as text.

    Returns:
        The new job; the given one when it is no longer Pending, completed before it could be canceled, or the run has had
        another job already.

    Raises:
        RateLimitedError: another job is in the way; wait and call again.
        ServerError: BCDA cannot cancel the job now, or the kick-off failed; call again.
        AttributionMissingError, ActionNeededError: see `kick_off`.
    """
    run = run_of(places, run_id)
    if run is None or (run.replaced_job and run.replaced_job != job_id):
        return job_id
    if run.replacement_job:
        return run.replacement_job
    if not run.replaced_job:
        state = (await client.status(job_id)).state
        if state is not JobState.PENDING:
            log.info("job %s is %s by now and is kept", job_id, state)
            return job_id
        run_folder(places, run_id).amend(replaced_job=job_id)
        reached(RestartPoint.JOB_GIVEN_UP)
    await canceled_jobs.cancel(client, places, run_id, job_id)
    # A cancellation in the last moment can end well (row 17).
    if (await client.status(job_id)).state is JobState.COMPLETED:
        run_folder(places, run_id).amend(replaced_job="")
        log.info("job %s completed before it could be canceled, and is kept", job_id)
        return job_id
    reached(RestartPoint.JOB_CANCELLED)
    started = await kick_off(client, places, run_id, stale_job_ids=(job_id,))
    reached(RestartPoint.JOB_REPLACED)
    run_folder(places, run_id).amend(replacement_job=started.job_id)
    log.warning("job %s stayed Pending and was canceled; job %s takes its place", job_id, started.job_id)
    return started.job_id
