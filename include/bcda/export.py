"""The steps of an export, one function each, in the order they run.

What Airflow runs as tasks, a script or a test runs as plain calls:
plan, kick_off, (wait,) save_manifest, plan_batches, fetch_batch and land_batch for each batch, merge, publish.
Each reads what the step before it left on disk, and can be killed and run again. With an object store the steps may run on
workers without a common disk: each hands over through the store what the next one needs (`shared_runs`).
"""

import asyncio
import logging
import secrets
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from bcda import cancelled_jobs, download, landing, parquet_files, protocol, shared_runs, warehouse
from bcda.batches import files_of_batch, split_into_batches
from bcda.client import BcdaClient
from bcda.commit_points import CommitPoint, reached
from bcda.earlier_job import forget_job
from bcda.errors import (
    AttributionMissingError,
    ExportExpiredError,
    ExportFailedError,
    InvalidRequestError,
    JobNotCompleteError,
    ManifestError,
    MissingList,
    RateLimitedError,
    ServerError,
)
from bcda.export_request import ExportRequest, Scope, format_instant
from bcda.files import private_folder, read_bytes, remove_dead, write_durably, write_first
from bcda.guarded import guarded
from bcda.landed import LandedBatch, read_landed
from bcda.manifest import Manifest, is_of_same_job
from bcda.manifest_check import check_manifest
from bcda.own_jobs import keep_one, serves
from bcda.places import Places
from bcda.planning import Decision, ListDates, NotNeeded, Wish, decide
from bcda.progress import Done, Progress
from bcda.protocol import JobState, ListedJob
from bcda.receipts import Receipt, parse_receipt, read_receipt, receipt_path
from bcda.runs import ExportRun, read_run, write_run
from bcda.settings import ApiVersion
from bcda.warehouse import MergeSummary, Snapshot
from bcda.warehouse_place import claim_place

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


@guarded("read the ledger")
def foresee(places: Places, wish: Wish, *, lists: ListDates | None = None, server: str = "") -> Decision | NotNeeded:
    """Return what `plan` would decide, and write nothing down; see there."""
    warehouse.correct_gap_types(places)
    held = warehouse.read_ledger(places, wish.api_version, wish.scope, wish.resource_types, server=server)
    return decide(wish, held.types, lists or ListDates())


@guarded("plan the run")
def plan(
    places: Places, wish: Wish, *, now: datetime, lists: ListDates | None = None, server: str = ""
) -> ExportRun | NotNeeded:
    """Decide what this run asks for, from what is covered, and write it down.

    Args:
        places: where the ledger and the raw folder are.
        wish: what is asked.
        now: present instant.
        lists: dates of the newest attribution lists; needed for Group exports.
        server: of the connection (`settings.server_of`), so that two are not mixed.

    Returns:
        The run, which is in `raw/{run_id}/run.json`, or why none is needed.

    Raises:
        InvalidRequestError: the wish is malformed, the warehouse is another source's, or the installed pyarrow cannot encrypt.
        AttributionMissingError: runout data is gone.
        WarehouseLockedError: a load held the warehouse for too long.

    Source: design §2.4, §5.
    """
    parquet_files.check_library(places.key)
    warehouse.correct_gap_types(places)
    held = warehouse.read_ledger(places, wish.api_version, wish.scope, wish.resource_types, server=server)
    decision = decide(wish, held.types, lists or ListDates())
    if isinstance(decision, NotNeeded):
        return decision
    types = decision.resource_types or wish.resource_types
    type_filter = wish.type_filter if "ExplanationOfBenefit" in types else None
    request = ExportRequest(wish.api_version, wish.scope, types, decision.since, type_filter)
    run_id = f"{now.astimezone(UTC):%Y%m%dT%H%M%SZ}-{wish.scope}-{wish.api_version}-{secrets.token_hex(3)}"
    run = ExportRun(
        run_id,
        request,
        now,
        source_id=places.source_id,
        server=server,
        reason=decision.reason,
        may_ask_for_all=decision.may_ask_for_all,
        accept_empty=wish.accept_empty,
        accept_smaller_list=wish.accept_smaller_list,
        follows_coverage=decision.follows_coverage,
    )
    write_run(private_folder(places.run_folder(run_id)), run)
    shared_runs.share_record(places, run_id, "run.json")
    reached(CommitPoint.RUN_WRITTEN)
    log.info("run %s asks for %s: %s", run_id, ", ".join(types), decision.reason)
    if held.gaps_given_up:
        log.warning(
            "Runs no longer request %d gaps automatically; ops.open_gap lists them. To request them, trigger a run with `gaps`.",
            held.gaps_given_up,
        )
    return run


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
        stale_job_ids: jobs of earlier attempts that a person gave up; cancelled, never adopted.

    Raises:
        InvalidRequestError: the run is loaded; nothing was asked of BCDA.
        RateLimitedError: an overlapping job is running, ours or somebody else's; wait and call again.
        ServerError: the kick-off failed. A job that it left behind has been cancelled, or is found by the next call.
        AttributionMissingError: BCDA has no list for the export; `.case` says which of the cases.
        ActionNeededError: see `BcdaClient.kick_off`.

    Source: wire contract §7, §22 rules 3 to 5.
    """
    client.keep_texts_in(places.run_folder(run_id))
    _check_not_merged(places, run_id)
    shared_runs.bring_run(places, run_id)
    run = read_run(places.run_folder(run_id))
    if run.replacement_job and run.replaced_job in stale_job_ids:
        stale_job_ids = (*stale_job_ids, run.replacement_job)
    for stale in stale_job_ids:
        if await cancelled_jobs.cancel(client, places, run_id, stale):
            log.info("cancelled job %s of an earlier attempt", stale)
    jobs = await client.usable_jobs()
    found = await cancelled_jobs.cancel_returned(client, places, jobs)
    await _cancel_stuck(client, places, run, found.others)
    mine = await _own_job(client, places, run, found.others, stale_job_ids)
    if mine is not None:
        log.info("adopted job %s, which is %s at BCDA for the same request", mine.job_id, mine.state)
        shared_runs.amend(places, run_id, asked_at=mine.created_at)
        return KickedOff(mine.job_id, is_adopted=True, returned_jobs=found.canceled_again)
    live = [job for job in found.others if job.state in protocol.LIVE_STATES and job.job_id not in stale_job_ids]
    live += found.in_the_way
    _check_free(client, live, run.request)
    if run.newest_job_before is None:
        newest = max((int(job.job_id) for job in jobs), default=0)
        run = shared_runs.amend(places, run_id, newest_job_before=newest)
    # Asked anew with each attempt: a run can have waited weeks for the list that its job is then made from.
    list_at = await _list_date(client, run.request.scope)
    run = shared_runs.amend(places, run_id, list_at=list_at)
    job_id = await _start(client, places, run, {job.job_id for job in live})
    shared_runs.amend(places, run_id, asked_at=client.server_time)
    log.info("BCDA accepted the export as job %s", job_id)
    # Another attempt of this run can have asked at the same instant. What is asked for can have changed for want of a list.
    run = read_run(places.run_folder(run_id))
    then = await cancelled_jobs.cancel_returned(client, places, await client.usable_jobs())
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


def _check_not_merged(places: Places, run_id: str) -> None:
    """Raise `InvalidRequestError` when a run is loaded: the ledger, the lake and the receipts tell of its job, and of no other."""
    if shared_runs.is_merged(places, run_id):
        raise InvalidRequestError(
            f"Run {run_id} is merged into the warehouse, so no other job can take the place of its own. To ask BCDA again, clear "
            "`plan` with everything after it, which plans a new run, or trigger one with `full` or `since`."
        )


async def _cancel_stuck(client: BcdaClient, places: Places, run: ExportRun, jobs: list[ListedJob]) -> None:
    """Cancel jobs with this request that have been live for more than a day: BCDA never ends them (contract §9).

    Only BCDA's clock tells: by ours, which can jump, a job that has just begun could look so old.
    """
    if client.server_date is None:
        return
    for job in jobs:
        is_stuck = job.state in protocol.LIVE_STATES and not protocol.is_in_force(job, client.server_date)
        if is_stuck and protocol.same_request(job.request_url, protocol.kick_off_path(run.request)):
            await cancelled_jobs.cancel(client, places, run.run_id, job.job_id)
            log.warning("job %s has been %s for more than a day; it was cancelled, not adopted", job.job_id, job.state)


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
        run = shared_runs.amend(
            places,
            run.run_id,
            request=replace(run.request, since=None),
            may_ask_for_all=False,
            reason=f"{run.reason} BCDA has no list from before that, so everything is asked for.",
        )
        return await _start(client, places, run, known)
    except RateLimitedError as error:
        # A job that comes back between the look at the list and the request is refused for like any other.
        found = await cancelled_jobs.cancel_returned(client, places, await client.live_jobs())
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
            f"{error}{f' Job {phantom}, which it left behind, has been cancelled.' if phantom else ''}",
            retry_after_seconds=error.retry_after_seconds,
            status=error.status,
        ) from error
    else:
        reached(CommitPoint.JOB_ACCEPTED)
        return job_id


async def _cancel_phantom(client: BcdaClient, places: Places, run: ExportRun, known: set[str]) -> str | None:
    """Cancel the Pending job that a kick-off answered with 500 may have left, and return its number (contract §6.3)."""
    path = protocol.kick_off_path(run.request)
    for job in await client.live_jobs():
        if job.job_id not in known and job.state is JobState.PENDING and protocol.same_request(job.request_url, path):
            await cancelled_jobs.cancel(client, places, run.run_id, job.job_id)
            return job.job_id
    return None


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
        ExportFailedError: the job was cancelled.
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
        # A complete job cannot fail any more: BCDA answers so too when its check of the token fails (wire contract §5).
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
        _show(manifest.transaction_time),
    )
    return manifest


def _keep_manifest(places: Places, run_id: str, manifest: Manifest, job_id: str, *, is_of_run: bool) -> Manifest:
    """Store a manifest in place of another job's, or return the one that is stored of the same job.

    Raises:
        ManifestError: it is not the one that the run asked for.
    """
    shared_runs.bring_run(places, run_id)
    check_manifest(manifest, read_run(places.run_folder(run_id)), job_id, is_of_run=is_of_run)
    path, content = private_folder(places.run_folder(run_id)) / shared_runs.MANIFEST, manifest.to_bytes()
    # Another attempt may be here with the same files in another order, which are numbered by it: the first one's counts.
    if not write_first(path, content):
        if is_of_same_job(read_bytes(path), content):
            manifest = Manifest.from_bytes(read_bytes(path))
        else:
            _check_not_merged(places, run_id)
            log.info("another job is stored for this run; what came from it is removed")
            forget_job(places, run_id)
            # The last step: until then the other job's manifest says that there is something to remove.
            write_durably(path, content)
    shared_runs.share_record(places, run_id, path.name)
    return manifest


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
            may_work_anew=True,
        )
    return JobNotCompleteError(f"Job {job_id} is {state}; it is not complete yet. It is waited for.")


@guarded("read the manifest")
def read_manifest(places: Places, run_id: str) -> Manifest:
    """Return the manifest of a run.

    Raises:
        ManifestError: it was never saved here, or cannot be read.
    """
    path = places.run_folder(run_id) / shared_runs.MANIFEST
    if not path.exists():
        raise ManifestError(
            f"{path} is missing. All tasks of a run need the same BCDA_HOME or BCDA_OBJECT_STORE; clear the wait task to save "
            "it again."
        )
    return Manifest.from_bytes(read_bytes(path))


def plan_batches(places: Places, run_id: str, count: int) -> list[int]:
    """Return the numbers of the run's batches; empty for an export without files."""
    return [batch.number for batch in split_into_batches(read_manifest(places, run_id), count)]


async def fetch_batch(
    client: BcdaClient,
    places: Places,
    run_id: str,
    batch: int,
    count: int,
    *,
    on_file: Callable[[Receipt], None] | None = None,
) -> list[Receipt]:
    """Fetch and prove the files of one batch; files with a receipt are not requested again.

    Args:
        client: of the server the files are on.
        places: where the run is written down.
        run_id: of the run.
        batch: number of the batch.
        count: how many batches the run has at most.
        on_file: called with the receipt of each file that is fetched now.

    Raises:
        IncompleteFileError, ExportExpiredError, CredentialsError, TransientError, StorageError: see `download.fetch_batch`.
    """
    there = await asyncio.to_thread(_shared_receipts, places, run_id, batch, count)
    manifest = read_manifest(places, run_id)
    files = files_of_batch(manifest, batch, count)
    folder = places.run_folder(run_id)
    client.keep_texts_in(folder)
    have = sum(file.name in there or receipt_path(folder, file.name).exists() for file in files)
    log.info("batch %d: %d files to fetch, %d are here already", batch, len(files) - have, have)
    progress, done = Progress(log, f"fetching batch {batch}", "files", len(files) - have), 0

    def report(receipt: Receipt) -> None:
        nonlocal done
        done += 1
        progress.add(Done(files=1, bytes=receipt.wire_bytes, lines=receipt.lines))
        if on_file is not None:
            on_file(receipt)

    def share(receipt: Receipt) -> None:
        shared_runs.share_file(places, run_id, receipt)

    fetched = await download.fetch_batch(
        client,
        [file for file in files if file.name not in there],
        folder,
        job_id=manifest.job_id,
        on_file=report,
        share=share if places.store else None,
    )
    known = there | {receipt.name: receipt for receipt in fetched}
    receipts = [known[file.name] for file in files]
    log.info(
        "batch %d: %d files, %d of them fetched now, %d bytes, %d lines",
        batch,
        len(files),
        done,
        sum(r.wire_bytes for r in receipts),
        sum(r.lines for r in receipts),
    )
    return receipts


def _shared_receipts(places: Places, run_id: str, batch: int, count: int) -> dict[str, Receipt]:
    """Bring what a fetch needs, and return the receipts of files that another worker or an earlier try has uploaded."""
    shared_runs.clear_loaded(places)
    shared_runs.bring_run(places, run_id)
    return shared_runs.fetched(places, run_id, files_of_batch(read_manifest(places, run_id), batch, count))


@guarded("land the batch")
def land_batch(places: Places, run_id: str, batch: int, count: int) -> LandedBatch:
    """Turn the fetched files of one batch into Parquet; a batch that has landed, from these very files, is not landed again.

    Raises:
        ManifestError: a file of the batch has no receipt.
        CountMismatchError, ManifestError, StorageError: see `landing.land_files`.
    """
    folder = places.run_folder(run_id)
    shared_runs.bring_run(places, run_id)
    manifest = read_manifest(places, run_id)
    files = files_of_batch(manifest, batch, count)
    names = [file.name for file in files]
    if not names:
        log.info("batch %d has no file", batch)
        return LandedBatch(run_id, batch, (), ())
    landed = _landed(places, run_id, batch, names)
    if landed is not None:
        log.info("batch %d has landed already", batch)
        return landed
    shared_runs.bring_files(places, run_id, names)
    shared_runs.bring_a_lake_file(places)
    receipts = []
    for file in files:
        receipt = read_receipt(folder, file.name)
        if receipt is None or receipt.url != file.url:
            raise ManifestError(
                f"{file.name} has no receipt for the address in the manifest. Clear the fetch task of batch {batch}."
            )
        receipts.append(receipt)
    landed = landing.land_files(read_run(folder), manifest, receipts, batch=batch, places=places)
    return shared_runs.share_batch(places, landed)


def _landed(places: Places, run_id: str, batch: int, names: list[str]) -> LandedBatch | None:
    """Return the account of a batch that has landed from the raw files that there are now, or None.

    When `kick_off` is cleared in the middle of a run, another job brings other files under the same names.
    """
    if places.store is not None:
        landed = shared_runs.bring_account(places, run_id, batch)
        if landed is None or not shared_runs.has_lake_files(places, landed):
            return None
        hashes = shared_runs.receipted(places, run_id, names)
    else:
        folder = places.run_folder(run_id)
        landed = read_landed(folder, batch)
        if landed is None or not all((places.lake / file.path).exists() for file in landed.lake_files):
            return None
        # Raw files may be purged by now; their receipts stay.
        paths = [path for name in names if (path := receipt_path(folder, name)).exists()]
        hashes = {receipt.name: receipt.wire_sha256 for receipt in map(parse_receipt, paths)}
    return landed if hashes == {file.name: file.wire_sha256 for file in landed.files} else None


@guarded("merge the run")
def merge(places: Places, run_id: str, count: int, *, now: datetime) -> MergeSummary:
    """Merge all batches of a run into the warehouse, rows and ledger in one transaction.

    Raises:
        ManifestError: a batch has not landed.
        UnlikelyExportError, CountMismatchError, WarehouseLockedError, StorageError: see `warehouse.merge_run`.
    """
    folder = places.run_folder(run_id)
    claim_place(places)
    shared_runs.bring_run(places, run_id)
    batches = []
    for number in plan_batches(places, run_id, count):
        landed = shared_runs.bring_account(places, run_id, number) if places.store else read_landed(folder, number)
        if landed is None:
            raise ManifestError(f"Batch {number} has not landed; run its tasks again.")
        batches.append(landed)
    shared_runs.bring_lake(places, batches)
    warehouse.correct_gap_types(places)
    summary = warehouse.merge_run(
        places,
        read_run(folder),
        read_manifest(places, run_id),
        batches,
        now=now,
        acceptance=places.acceptance,
        # Before the commit, so that no kill can leave a loaded run without the note.
        before_commit=lambda: shared_runs.note_merged(places, run_id, now),
    )
    remove_dead(folder)
    remove_dead(places.lake)
    log.info("the counts of run %s by resource type and outcome are in ops.export_count", run_id)
    return summary


@guarded("publish")
def publish(places: Places, *, shown_version: ApiVersion | None = None, run_ids: Sequence[str] = ()) -> Snapshot:
    """Check what was loaded and replace the database that analysts open by a snapshot of the warehouse.

    Args:
        places: where everything is.
        shown_version: version that the views show from now on; None leaves it.
        run_ids: runs to check, besides the one that was merged last.

    Raises:
        DataQualityError, WarehouseLockedError, StorageError: see `warehouse.publish`.
    """
    if places.store is not None:
        shared_runs.bring_shown(places, warehouse.merged_runs(places))
    return warehouse.publish(places, shown_version=shown_version, run_ids=run_ids)


def _show(instant: datetime | None) -> str:
    return format_instant(instant) if instant is not None else "the beginning"
