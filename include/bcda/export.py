"""The steps of an export, one function each, in the order they run.

What Airflow runs as tasks, a script or a test runs as plain calls:
plan, kick_off, (wait,) save_manifest, plan_batches, fetch_batch and land_batch for each batch, merge, publish.
Each reads what the step before it left on disk, and can be killed and run again. With an object store the steps may run on
workers without a common disk: each hands over through the store what the next one needs (`runs.shared_folder`).
"""

import asyncio
import logging
import secrets
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from bcda import landing, warehouse
from bcda.api.client import BcdaClient
from bcda.api.export_request import ExportRequest
from bcda.errors import (
    ManifestError,
)
from bcda.progress import Done, Progress
from bcda.runs import fetch
from bcda.runs.batches import files_of_batch, split_into_batches
from bcda.runs.folder import RunFolder, RunFolders
from bcda.runs.folders import folders_of, run_folder
from bcda.runs.kick_off import KickedOff, kick_off
from bcda.runs.landed import LandedBatch
from bcda.runs.manifest_store import job_error, read_manifest, save_manifest
from bcda.runs.plan import Decision, ListDates, NotNeeded, Wish, decide
from bcda.runs.receipts import Receipt, read_receipt, receipt_path
from bcda.runs.run import ExportRun
from bcda.settings import ApiVersion
from bcda.storage import parquet_files
from bcda.storage.commit_points import CommitPoint, reached
from bcda.storage.files import remove_dead
from bcda.storage.guarded import guarded
from bcda.storage.places import Places
from bcda.storage.warehouse_place import claim_place
from bcda.warehouse import MergeSummary, Snapshot

__all__ = [
    "KickedOff",
    "fetch_batch",
    "foresee",
    "job_error",
    "kick_off",
    "land_batch",
    "merge",
    "plan",
    "plan_batches",
    "publish",
    "read_manifest",
    "save_manifest",
]

log = logging.getLogger(__name__)


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

    Source: docs/architecture.md#coverage-by-interval-instead-of-one-watermark, docs/concepts.md#population-and-scope.
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
    run_folder(places, run_id).plan(run)
    reached(CommitPoint.RUN_WRITTEN)
    log.info("run %s asks for %s: %s", run_id, ", ".join(types), decision.reason)
    if held.gaps_given_up:
        log.warning(
            "Runs no longer request %d gaps automatically; ops.open_gap lists them. To request them, trigger a run with `gaps`.",
            held.gaps_given_up,
        )
    return run


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
        IncompleteFileError, ExportExpiredError, CredentialsError, TransientError, StorageError: see `fetch.fetch_batch`.
    """
    there = await asyncio.to_thread(_shared_receipts, places, run_id, batch, count)
    manifest = read_manifest(places, run_id)
    files = files_of_batch(manifest, batch, count)
    folder = run_folder(places, run_id)
    client.keep_texts_in(folder.path)
    have = sum(file.name in there or receipt_path(folder.path, file.name).exists() for file in files)
    log.info("batch %d: %d files to fetch, %d are here already", batch, len(files) - have, have)
    progress, done = Progress(log, f"fetching batch {batch}", "files", len(files) - have), 0

    def report(receipt: Receipt) -> None:
        nonlocal done
        done += 1
        progress.add(Done(files=1, bytes=receipt.wire_bytes, lines=receipt.lines))
        if on_file is not None:
            on_file(receipt)

    fetched = await fetch.fetch_batch(
        client,
        [file for file in files if file.name not in there],
        folder.path,
        job_id=manifest.job_id,
        on_file=report,
        share=folder.share_file if folder.is_shared else None,
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
    folders = folders_of(places)
    folders.clear_loaded()
    folder = folders.of(run_id)
    folder.bring_run()
    return folder.fetched(files_of_batch(read_manifest(places, run_id), batch, count))


@guarded("land the batch")
def land_batch(places: Places, run_id: str, batch: int, count: int) -> LandedBatch:
    """Turn the fetched files of one batch into Parquet; a batch that has landed, from these very files, is not landed again.

    Raises:
        ManifestError: a file of the batch has no receipt.
        CountMismatchError, ManifestError, StorageError: see `landing.land_files`.
    """
    folders = folders_of(places)
    folder = folders.of(run_id)
    folder.bring_run()
    manifest = folder.read_manifest()
    files = files_of_batch(manifest, batch, count)
    names = [file.name for file in files]
    if not names:
        log.info("batch %d has no file", batch)
        return LandedBatch(run_id, batch, (), ())
    landed = _landed(folders, folder, batch, names)
    if landed is not None:
        log.info("batch %d has landed already", batch)
        return landed
    folder.bring_files(names)
    folders.bring_a_lake_file()
    receipts = []
    for file in files:
        receipt = read_receipt(folder.path, file.name)
        if receipt is None or receipt.url != file.url:
            raise ManifestError(
                f"{file.name} has no receipt for the address in the manifest. Clear the fetch task of batch {batch}."
            )
        receipts.append(receipt)
    landed = landing.land_files(folder.read_run(), manifest, receipts, batch=batch, places=places)
    return folder.share_batch(landed)


def _landed(folders: RunFolders, folder: RunFolder, batch: int, names: list[str]) -> LandedBatch | None:
    """Return the account of a batch that has landed from the raw files that there are now, or None.

    When `kick_off` is cleared in the middle of a run, another job brings other files under the same names.
    """
    landed = folder.account(batch)
    if landed is None or not folders.has_lake_files(landed):
        return None
    return landed if folder.hashes(names) == {file.name: file.wire_sha256 for file in landed.files} else None


@guarded("merge the run")
def merge(places: Places, run_id: str, count: int, *, now: datetime) -> MergeSummary:
    """Merge all batches of a run into the warehouse, rows and ledger in one transaction.

    Raises:
        ManifestError: a batch has not landed.
        UnlikelyExportError, CountMismatchError, WarehouseLockedError, StorageError: see `warehouse.merge_run`.
    """
    folders = folders_of(places)
    folder = folders.of(run_id)
    claim_place(places)
    folder.bring_run()
    batches = []
    for number in plan_batches(places, run_id, count):
        landed = folder.account(number)
        if landed is None:
            raise ManifestError(f"Batch {number} has not landed; run its tasks again.")
        batches.append(landed)
    folders.bring_lake(batches)
    warehouse.correct_gap_types(places)
    summary = warehouse.merge_run(
        places,
        folder.read_run(),
        folder.read_manifest(),
        batches,
        now=now,
        acceptance=places.acceptance,
        # Before the commit, so that no kill can leave a loaded run without the note.
        before_commit=lambda: folder.note_merged(now),
    )
    remove_dead(folder.path)
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
    folders = folders_of(places)
    if folders.is_shared:
        folders.bring_texts(warehouse.merged_runs(places))
    return warehouse.publish(places, shown_version=shown_version, run_ids=run_ids)
