"""The steps of an export, one function each, in the order they run.

What Airflow runs as tasks, a script or a test runs as plain calls:
plan, kick_off, (wait,) save_manifest, plan_batches, fetch_batch and land_batch for each batch, merge, publish.
Each reads what the step before it left on disk, and can be killed and run again.
"""

import logging
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime

from bcda import coverage, download, landing, warehouse
from bcda.batches import split_into_batches
from bcda.client import BcdaClient
from bcda.coverage import Interval
from bcda.errors import ExportExpiredError, ExportFailedError, ManifestError, ServerError
from bcda.export_request import ExportRequest, Scope, format_instant
from bcda.landed import LandedBatch, read_landed
from bcda.manifest import Manifest
from bcda.places import Places, private_folder, write_durably
from bcda.protocol import JobState
from bcda.receipts import Receipt, read_receipt
from bcda.runs import ExportRun, read_run, write_run
from bcda.settings import ApiVersion
from bcda.warehouse import MergeSummary, Snapshot

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Wish:
    """What a run is asked to do.

    Attributes:
        api_version: version of the API.
        scope: endpoint.
        resource_types: FHIR type names.
        since: explicit start of the interval, overrides coverage; None to follow it.
        full: ask for everything from the beginning.
        force: run even when the interval is covered.
        interval: data interval of a backfill; None for scheduled and manual runs.
    """

    api_version: ApiVersion
    scope: Scope
    resource_types: tuple[str, ...]
    since: datetime | None = None
    full: bool = False
    force: bool = False
    interval: Interval | None = None


@dataclass(frozen=True, slots=True)
class NotNeeded:
    """The run has nothing to ask for.

    Attributes:
        reason: why, for the person who looks at the skipped task.
    """

    reason: str


@dataclass(frozen=True, slots=True)
class KickedOff:
    """A job at BCDA that serves the run.

    Attributes:
        job_id: BCDA's number, as text.
        is_adopted: it was running already.
    """

    job_id: str
    is_adopted: bool


def plan(places: Places, wish: Wish, *, now: datetime) -> ExportRun | NotNeeded:
    """Decide what this run asks for, from what is covered, and write it down.

    Scheduled and manual runs continue where the least covered type ends; the first one asks for everything. A backfill
    asks from the start of its interval, since BCDA knows no upper bound, and is not needed when that is covered.

    Args:
        places: where the ledger and the raw folder are.
        wish: what is asked.
        now: present instant.

    Returns:
        The run, which is in `raw/{run_id}/run.json`, or why none is needed.

    Raises:
        InvalidRequestError: the wish is malformed.
        WarehouseLockedError: a load held the warehouse for too long.

    Source: design §2.4, §5.
    """
    covered = warehouse.covered_intervals(places, wish.api_version, wish.scope, wish.resource_types)
    if wish.interval is not None and not (wish.force or wish.full) and _has(covered, wish.interval):
        return NotNeeded(
            f"{_show(wish.interval.since)} to {_show(wish.interval.until)} is covered for {', '.join(wish.resource_types)}. "
            "Set `force` to fetch it again."
        )
    since = _since(wish, covered)
    request = ExportRequest(wish.api_version, wish.scope, wish.resource_types, since)
    run_id = f"{now.astimezone(UTC):%Y%m%dT%H%M%SZ}-{wish.scope}-{wish.api_version}-{secrets.token_hex(3)}"
    run = ExportRun(run_id, request, now)
    write_run(private_folder(places.run_folder(run_id)), run)
    log.info("run %s asks for %s since %s", run_id, ", ".join(wish.resource_types), _show(since))
    return run


def _has(covered: dict[str, list[Interval]], wanted: Interval) -> bool:
    return all(coverage.is_covered(wanted, intervals) for intervals in covered.values())


def _since(wish: Wish, covered: dict[str, list[Interval]]) -> datetime | None:
    if wish.full:
        log.info("asking for everything because `full` is set; what came before stays and is compared")
        return None
    if wish.since is not None:
        log.info(
            "asking from %s because `since` is set; the watermark is not moved past what is not covered",
            _show(wish.since),
        )
        return wish.since
    if wish.interval is not None:
        log.info(
            "asking from the start of the backfill's interval; everything up to now comes, BCDA has no upper bound"
        )
        return wish.interval.since
    since = coverage.next_since({name: list(intervals) for name, intervals in covered.items()}, wish.api_version)
    if since is None:
        never = [name for name, intervals in covered.items() if coverage.covered_until(intervals) is None]
        log.info("asking for everything because %s was never loaded completely", ", ".join(never))
    else:
        log.info("everything up to %s is covered; asking for what came after", _show(since))
    return since


async def kick_off(
    client: BcdaClient, places: Places, run_id: str, *, stale_job_ids: tuple[str, ...] = ()
) -> KickedOff:
    """Adopt a live job with the run's request, or start one.

    Looking first is what makes a crash between request and record harmless: the job it left is found and adopted.

    Args:
        client: of the server.
        places: where the run is written down.
        run_id: of the run.
        stale_job_ids: jobs of earlier attempts that a person gave up; cancelled, never adopted.

    Raises:
        RateLimitedError: an overlapping job is running; wait and call again.
        ServerError: the kick-off failed; a job may exist all the same and is found by the next call.
        ActionNeededError: see `BcdaClient.kick_off`.
    """
    request = read_run(places.run_folder(run_id)).request
    for stale in stale_job_ids:
        if await client.cancel(stale):
            log.info("cancelled job %s of an earlier attempt", stale)
    live = await client.find_live_job(request)
    if live is not None and live.job_id not in stale_job_ids:
        log.info("adopted job %s, which runs at BCDA for the same request", live.job_id)
        return KickedOff(live.job_id, is_adopted=True)
    job_id = await client.kick_off(request)
    log.info("BCDA accepted the export as job %s", job_id)
    return KickedOff(job_id, is_adopted=False)


async def save_manifest(client: BcdaClient, places: Places, run_id: str, job_id: str) -> Manifest:
    """Write the manifest of a completed job to `raw/{run_id}/manifest.json`; it can be asked for during a day only.

    Raises:
        ExportFailedError: the job failed or was cancelled.
        ExportExpiredError: its files are gone.
        ServerError: it is not complete yet.
    """
    folder = places.run_folder(run_id)
    status = await client.status(job_id)
    if status.manifest is None:
        raise job_error(job_id, status.state, status.reason)
    write_durably(folder / "manifest.json", status.manifest.to_bytes())
    log.info(
        "job %s is complete: %d files, transactionTime %s",
        job_id,
        len(status.manifest.files),
        _show(status.manifest.transaction_time),
    )
    return status.manifest


def job_error(job_id: str, state: JobState, reason: str) -> ExportFailedError | ExportExpiredError | ServerError:
    """Return the error that the state of a job means for its run."""
    if state in {JobState.EXPIRED, JobState.UNKNOWN}:
        return ExportExpiredError(
            f"Job {job_id} is gone at BCDA ({reason}). Its files live for a day; clear `kick_off` with everything after it.",
            job_id=job_id,
        )
    if state is JobState.CANCELLED:
        return ExportFailedError(
            f"Job {job_id} has been cancelled. Clear `kick_off` with everything after it to start another.",
            job_id=job_id,
        )
    if state is JobState.FAILED:
        return ExportFailedError(
            f'Job {job_id} failed at BCDA, which said "{reason}". Clear `kick_off` with everything after it to start another.',
            job_id=job_id,
        )
    return ServerError(f"Job {job_id} is {state}; it is not complete yet.")


def read_manifest(places: Places, run_id: str) -> Manifest:
    """Return the manifest of a run.

    Raises:
        ManifestError: it was never saved here, or cannot be read.
    """
    path = places.run_folder(run_id) / "manifest.json"
    if not path.exists():
        raise ManifestError(
            f"{path} is missing. All tasks of a run need the same BCDA_HOME; clear the wait task to save it again."
        )
    return Manifest.from_bytes(path.read_bytes())


def plan_batches(places: Places, run_id: str, count: int) -> list[int]:
    """Return the numbers of the run's batches; empty for an export without files."""
    return [batch.number for batch in split_into_batches(read_manifest(places, run_id), count)]


async def fetch_batch(client: BcdaClient, places: Places, run_id: str, batch: int, count: int) -> list[Receipt]:
    """Fetch and prove the files of one batch; files with a receipt are not requested again.

    Raises:
        IncompleteFileError, ExportExpiredError, CredentialsError, TransientError, StorageError: see `download.fetch_batch`.
    """
    manifest = read_manifest(places, run_id)
    files = split_into_batches(manifest, count)[batch].files
    done = 0

    def report(_: Receipt) -> None:
        nonlocal done
        done += 1
        if done % 50 == 0:
            log.info("fetched %d files of batch %d", done, batch)

    receipts = await download.fetch_batch(
        client, files, places.run_folder(run_id), job_id=manifest.job_id, on_file=report
    )
    log.info(
        "batch %d: %d files, %d of them fetched now, %d bytes",
        batch,
        len(files),
        done,
        sum(r.wire_bytes for r in receipts),
    )
    return receipts


def land_batch(places: Places, run_id: str, batch: int, count: int) -> LandedBatch:
    """Turn the fetched files of one batch into Parquet; a batch that has landed is not landed again.

    Raises:
        ManifestError: a file of the batch has no receipt.
        CountMismatchError, IncompleteFileError, StorageError: see `landing.land_files`.
    """
    folder = places.run_folder(run_id)
    landed = read_landed(folder, batch)
    if landed is not None and all((places.lake / file.path).exists() for file in landed.lake_files):
        log.info("batch %d has landed already", batch)
        return landed
    manifest = read_manifest(places, run_id)
    receipts = []
    for file in split_into_batches(manifest, count)[batch].files:
        receipt = read_receipt(folder, file.name)
        if receipt is None:
            raise ManifestError(f"{file.name} has no receipt; run the fetch task of batch {batch} again.")
        receipts.append(receipt)
    return landing.land_files(read_run(folder), manifest, receipts, batch=batch, places=places)


def merge(places: Places, run_id: str, count: int, *, now: datetime) -> MergeSummary:
    """Merge all batches of a run into the warehouse, rows and ledger in one transaction.

    Raises:
        ManifestError: a batch has not landed.
        CountMismatchError, WarehouseLockedError, StorageError: see `warehouse.merge_run`.
    """
    folder = places.run_folder(run_id)
    batches = []
    for number in plan_batches(places, run_id, count):
        landed = read_landed(folder, number)
        if landed is None:
            raise ManifestError(f"Batch {number} has not landed; run its tasks again.")
        batches.append(landed)
    summary = warehouse.merge_run(places, read_run(folder), read_manifest(places, run_id), batches, now=now)
    for entry in summary.counts:
        log.info(
            "%s: %d lines, %d new, %d changed, %d unchanged, %d older, %d duplicates, %d quarantined",
            entry.resource_type,
            entry.lines,
            entry.new,
            entry.changed,
            entry.unchanged,
            entry.older,
            entry.duplicates,
            entry.quarantined,
        )
    return summary


def publish(places: Places, *, shown_version: ApiVersion | None = None) -> Snapshot:
    """Check what was loaded and replace the database that analysts open by a snapshot of the warehouse.

    Args:
        places: where everything is.
        shown_version: version that the views show from now on; None leaves it.

    Raises:
        DataQualityError, WarehouseLockedError, StorageError: see `warehouse.publish`.
    """
    return warehouse.publish(places, shown_version=shown_version)


def _show(instant: datetime | None) -> str:
    return format_instant(instant) if instant is not None else "the beginning"
