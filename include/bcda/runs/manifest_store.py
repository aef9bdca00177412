"""The manifest of a run: asked for at BCDA, checked, and kept beside the run."""

import asyncio
import logging
from dataclasses import replace
from datetime import UTC, datetime

from bcda.api.client import BcdaClient
from bcda.api.export_request import format_instant
from bcda.api.manifest import Manifest
from bcda.api.protocol import JobState
from bcda.errors import (
    ExportExpiredError,
    ExportFailedError,
    InvalidRequestError,
    JobNotCompleteError,
    ServerError,
)
from bcda.runs import names
from bcda.runs.folders import run_folder
from bcda.runs.manifest_check import check_manifest
from bcda.storage.commit_points import CommitPoint, reached
from bcda.storage.guarded import guarded
from bcda.storage.places import Places

log = logging.getLogger(__name__)


async def save_manifest(
    client: BcdaClient, places: Places, run_id: str, job_id: str, *, is_of_run: bool = True
) -> Manifest:
    """Write the manifest of a completed job to `raw/{run_id}/manifest.json`; it can be asked for during a day only.

    A manifest of the same job stays as it is, since BCDA lists files in another order each time. One of another job goes, and
    before it all that came from that job.

    Args:
        client: of the server.
        places: where the run is written down.
        run_id: of the run.
        job_id: BCDA's number, as text.
        is_of_run: the run started the job; if not, it was written from the job's manifest.

    Raises:
        ExportFailedError: the job was canceled.
        ExportExpiredError: its files are gone.
        JobNotCompleteError: it is not complete yet, or not any more; wait for it.
        ServerError: BCDA answers 500.
        InvalidRequestError: the run is loaded, from another job.
        StorageError: what the other job left cannot be removed.
        ManifestError: the manifest is not the one that the run asked for; see `check_manifest`.
    """
    client.keep_texts_in(places.run_folder(run_id))
    status = await client.status(job_id)
    if status.state is JobState.FAILED:
        # A complete job cannot fail any more: BCDA answers so too when its check of the token fails (docs/bcda.md#token-check).
        raise ServerError(
            f'Job {job_id} was complete, and BCDA now answers 500 and says "{status.reason}"; its manifest is asked for again.',
            status=500,
        )
    if status.manifest is None:
        raise job_error(job_id, status.state, status.reason)
    sent = replace(status.manifest, answered_at=status.manifest.answered_at or datetime.now(UTC))
    manifest = await asyncio.to_thread(_keep_manifest, places, run_id, sent, job_id, is_of_run=is_of_run)
    reached(CommitPoint.MANIFEST_SAVED)
    log.info(
        "job %s is complete: %d files, transactionTime %s",
        job_id,
        len(manifest.files),
        format_instant(manifest.transaction_time),
    )
    return manifest


def _keep_manifest(places: Places, run_id: str, manifest: Manifest, job_id: str, *, is_of_run: bool) -> Manifest:
    """Store a manifest in place of another job's, or return the one that is stored of the same job.

    Raises:
        ManifestError: it is not the one that the run asked for.
    """
    folder = run_folder(places, run_id)
    folder.bring_run()
    check_manifest(manifest, folder.read_run(), job_id, is_of_run=is_of_run)
    kept = folder.keep_manifest(manifest)
    if kept is None:
        check_not_merged(places, run_id)
        log.info("another job is stored for this run; what came from it is removed")
        folder.forget_job()
        # The last step: until then the other job's manifest says that there is something to remove.
        folder.replace_manifest(manifest)
        kept = manifest
    folder.share(names.MANIFEST)
    return kept


def job_error(job_id: str, state: JobState, reason: str) -> ExportFailedError | ExportExpiredError | ServerError:
    """Return the error that the state of a job means for its run."""
    if state in {JobState.EXPIRED, JobState.UNKNOWN}:
        return ExportExpiredError(
            f"Job {job_id} is gone at BCDA ({reason}). Its files live for a day; clear `kick_off` with everything after it.",
            job_id=job_id,
        )
    if state is JobState.CANCELLED:
        return ExportFailedError(
            f"Job {job_id} has been canceled. Clear `kick_off` with everything after it to start another.",
            job_id=job_id,
        )
    if state is JobState.FAILED:
        return ExportFailedError(
            f'Job {job_id} failed at BCDA, which said "{reason}". Clear `kick_off` with everything after it to start another.',
            job_id=job_id,
            may_work_anew=True,
        )
    return JobNotCompleteError(f"Job {job_id} is {state}; it is not complete yet. It is waited for.")


@guarded("read the manifest")
def read_manifest(places: Places, run_id: str) -> Manifest:
    """Return the manifest of a run.

    Raises:
        ManifestError: it was never saved here, or cannot be read.
    """
    return run_folder(places, run_id).read_manifest()


def check_not_merged(places: Places, run_id: str) -> None:
    """Raise `InvalidRequestError` when a run is loaded: the ledger, the lake and the receipts tell of its job, and of no other."""
    if run_folder(places, run_id).is_merged():
        raise InvalidRequestError(
            f"Run {run_id} is merged into the warehouse, so no other job can take the place of its own. To ask BCDA again, clear "
            "`plan` with everything after it, which plans a new run, or trigger one with `full` or `since`."
        )
