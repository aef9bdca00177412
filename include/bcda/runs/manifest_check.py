"""Whether a manifest is the one that a run asked for, and dates what it brings by a clock that can be believed."""

from bcda.api import protocol
from bcda.api.export_request import format_instant
from bcda.api.manifest import Manifest
from bcda.api.server_clock import is_future
from bcda.errors import ManifestError
from bcda.runs.run import ExportRun


def check_manifest(manifest: Manifest, run: ExportRun, job_id: str, *, is_of_run: bool = True) -> None:
    """Compare a manifest with what its run asked for and with BCDA's clock.

    Args:
        manifest: as BCDA sent it.
        run: that asked for it.
        job_id: BCDA's number of the job whose status was asked for, as text.
        is_of_run: the run started the job. If not, the run was written from the manifest, and there is no request to compare.

    Raises:
        ManifestError: it is of another job or another request, or its `transactionTime` lies in the future, or before that
            of the export that this one continues.

    Source: docs/bcda.md#time-windows, docs/bcda.md#manifest, docs/bcda.md#kick-off-request.
    """
    if int(manifest.job_id) != int(job_id):
        raise ManifestError(
            f"BCDA answered the status request for job {job_id} with the manifest of job {manifest.job_id}. Nothing was fetched. "
            "Check whether a proxy between here and BCDA stores answers, then clear `kick_off` with everything after it."
        )
    if is_of_run:
        _check_request(manifest, run)
    _check_time(manifest, run)


def _check_request(manifest: Manifest, run: ExportRun) -> None:
    if difference := protocol.differs(manifest.request_url, run.request):
        raise ManifestError(
            f"Job {manifest.job_id} does not match the request of this run: {difference}. Nothing was fetched. Check "
            "whether a proxy between here and BCDA rewrites addresses, then clear `kick_off` with everything after it."
        )


def _check_time(manifest: Manifest, run: ExportRun) -> None:
    since, until = run.request.since, manifest.transaction_time
    # A `since` that a person chose can lie after BCDA's last load of data; one that follows an earlier export cannot.
    if run.follows_coverage and since is not None and until < since:
        raise ManifestError(
            f"The manifest of job {manifest.job_id} has the transactionTime {format_instant(until)}, and its export asked for changes "
            f"after {format_instant(since)}, the end of an earlier one. Nothing was fetched: BCDA's data has gone back in time. Tell "
            "BCDA's help desk, then clear `kick_off` with everything after it."
        )
    if manifest.answered_at is not None and is_future(manifest.transaction_time, manifest.answered_at):
        raise ManifestError(
            f"The manifest of job {manifest.job_id} has the transactionTime {format_instant(manifest.transaction_time)}, and BCDA's "
            f"clock said {format_instant(manifest.answered_at)} when it sent it. Nothing was fetched: an export that is dated in "
            "the future would make every later one empty. Tell BCDA's help desk, then clear `kick_off` with everything after it."
        )
