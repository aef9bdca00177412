"""What the stages of a run hand over to each other through the object store, when their workers have no disk in common.

Local folders stay what a stage reads and writes. Before it ends, a stage uploads what it has committed locally: the data
first, then the small record that makes it count (receipt, account, run.json), so that half an upload is never taken for a
commit. A stage begins by bringing the records, which the store knows best, and the data that they name and that is not
here, proved by size and SHA-256. Without an object store nothing here does anything.

    raw/{run_id}/run.json, manifest.json            what is asked, what BCDA answered
    raw/{run_id}/{name}.ndjson.gz, .receipt.json    a raw file, then its receipt
    lake/{table}/…, raw/{run_id}/landed-NNN.json    lake files of a batch, then its account
    raw/{run_id}/merged.json                        the run is in the working database
"""

import json
import logging
import shutil
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from hashlib import file_digest
from pathlib import Path
from typing import Any

from bcda.api.export_request import format_instant, parse_instant
from bcda.api.manifest import OutputFile, is_of_same_job
from bcda.errors import IncompleteFileError, ManifestError
from bcda.runs.earlier_job import forget_landed
from bcda.runs.landed import LakeFile, LandedBatch, landed_path, read_landed, write_landed
from bcda.runs.receipts import Receipt, parse_receipt, receipt_path
from bcda.runs.run import ExportRun, amend_run
from bcda.storage.commit_points import StorePoint, reached
from bcda.storage.documents import read_json, read_text
from bcda.storage.files import private_folder, read_bytes, remove_dead, told, write_durably
from bcda.storage.object_store import SMALL_AT_ONCE, ObjectStore, in_parallel, store_of
from bcda.storage.places import Places

log = logging.getLogger(__name__)

MANIFEST = "manifest.json"
"""Name of the manifest in the run's folder."""

_MERGED = "merged.json"


def share_record(places: Places, run_id: str, name: str) -> None:
    """Upload a record of a run.

    Args:
        places: of the source.
        run_id: of the run.
        name: of the file in the run's folder, such as `run.json`.

    Raises:
        StorageError, StoreUnavailableError: the store refuses it, or does not answer.
    """
    store = store_of(places)
    if store is not None:
        store.write(_raw(run_id, name), read_bytes(places.run_folder(run_id) / name))
        reached(StorePoint.RECORD_UPLOADED)


def amend(places: Places, run_id: str, **changes: Any) -> ExportRun:
    """Write down what has been learned about a run, for other workers too, and return it.

    Args:
        places: of the source.
        run_id: of the run.
        changes: fields of `ExportRun`.

    Raises:
        StorageError, StoreUnavailableError: the store refuses it, or does not answer.
    """
    run = amend_run(places.run_folder(run_id), **changes)
    share_record(places, run_id, "run.json")
    return run


def bring_run(places: Places, run_id: str) -> None:
    """Bring plan and manifest of a run; another worker may have amended them, so the store's are the ones that count.

    Raises:
        StorageError, StoreUnavailableError: the store refuses them, or does not answer.
    """
    store = store_of(places)
    if store is None:
        return
    _bring_record(store, places, run_id, "run.json")
    manifest, here = store.read(_raw(run_id, MANIFEST)), places.run_folder(run_id) / MANIFEST
    if manifest is None:
        return
    if here.exists() and not is_of_same_job(read_bytes(here), manifest):
        # Another worker has given up the job whose files this one has landed.
        forget_landed(places, run_id)
    _write_record(here, manifest)


def fetched(places: Places, run_id: str, files: Sequence[OutputFile]) -> dict[str, Receipt]:
    """Return, by name, the receipts of the files that some worker has fetched and uploaded, each proved by size and SHA-256.

    A first try finds none. A later one reads what is there, so that it makes good what is no longer what its receipt says.

    Args:
        places: of the source.
        run_id: of the run.
        files: of the manifest; a receipt for another address of the same name does not count.

    Raises:
        ManifestError: a receipt cannot be read.
        StorageError, StoreUnavailableError: the store refuses, or does not answer.
    """
    store = store_of(places)
    if store is None:
        return {}
    sizes = store.sizes(_raw(run_id))
    there = [file for file in files if _raw(run_id, receipt_path(Path(), file.name).name) in sizes]
    receipts = in_parallel(lambda file: _uploaded(store, run_id, file.name, file.url), there)
    return {receipt.name: receipt for receipt in receipts if receipt is not None}


def share_file(places: Places, run_id: str, receipt: Receipt) -> None:
    """Upload a raw file, then its receipt; what another attempt has uploaded of the same address stays.

    Raises:
        IncompleteFileError: the file is no longer what its receipt says; the next try fetches it again.
        StorageError, StoreUnavailableError: the store refuses them, or does not answer.
    """
    store = store_of(places)
    if store is None:
        return
    folder = places.run_folder(run_id)
    if _uploaded(store, run_id, receipt.name, receipt.url) is not None:
        return
    sent = store.put(folder / receipt.name, _raw(run_id, receipt.name))
    if sent.sha256 != receipt.wire_sha256:
        store.delete([_raw(run_id, receipt.name)])
        raise IncompleteFileError(
            f"The raw file {folder / receipt.name} is no longer what its receipt says. The next try fetches it again.",
            file_name=receipt.name,
            bytes_received=sent.bytes,
        )
    reached(StorePoint.DATA_UPLOADED)
    share_record(places, run_id, receipt_path(folder, receipt.name).name)


def bring_files(places: Places, run_id: str, names: Sequence[str]) -> None:
    """Bring raw files with their receipts, those that have one.

    Args:
        places: of the source.
        run_id: of the run.
        names: of the raw files.

    Raises:
        ManifestError: a receipt cannot be read.
        StorageError: a file is missing in the store or not what its receipt says, or the disk is full.
        StoreUnavailableError: the store does not answer.
    """
    store = store_of(places)
    if store is not None:
        in_parallel(lambda name: _bring_file(store, places, run_id, name), names)


def receipted(places: Places, run_id: str, names: Sequence[str]) -> dict[str, str]:
    """Return the SHA-256 of raw files by name, as the receipts in the store have it; nothing is brought.

    Raises:
        ManifestError: a receipt cannot be read.
        StorageError, StoreUnavailableError: the store refuses, or does not answer.
    """
    store = store_of(places)
    if store is None:
        return {}
    found = in_parallel(lambda name: _read_receipt(store, run_id, name), names, at_once=SMALL_AT_ONCE)
    return {receipt.name: receipt.wire_sha256 for receipt in found if receipt is not None}


def bring_account(places: Places, run_id: str, batch: int) -> LandedBatch | None:
    """Bring the account of a batch and return it; None when no worker has uploaded one.

    Raises:
        ManifestError: it cannot be read.
        StorageError, StoreUnavailableError: the store refuses it, or does not answer.
    """
    store, folder = store_of(places), places.run_folder(run_id)
    if store is None or not _bring_record(store, places, run_id, landed_path(folder, batch).name):
        return None
    return read_landed(folder, batch)


def has_lake_files(places: Places, landed: LandedBatch) -> bool:
    """Tell whether the store has the lake files of a batch with the sizes and SHA-256 that its account gives.

    Raises:
        StorageError, StoreUnavailableError: the store refuses, or does not answer.
    """
    store = store_of(places)
    if store is None:
        return False

    def holds(file: LakeFile) -> bool:
        return store.holds(_lake(file.path), size=file.bytes, sha256=file.sha256)

    return all(in_parallel(holds, landed.lake_files))


def share_batch(places: Places, landed: LandedBatch) -> LandedBatch:
    """Upload the lake files of a landed batch, then its account with their sizes and SHA-256, and return that account.

    Raises:
        StorageError, StoreUnavailableError: the store refuses them, or does not answer.
    """
    store, folder = store_of(places), places.run_folder(landed.run_id)
    if store is None:
        return landed
    shared = replace(landed, lake_files=tuple(in_parallel(lambda f: put_lake_file(places, f), landed.lake_files)))
    reached(StorePoint.DATA_UPLOADED)
    write_landed(folder, shared)
    share_record(places, landed.run_id, landed_path(folder, landed.batch).name)
    return shared


def put_lake_file(places: Places, file: LakeFile, *, source: Path | None = None, name: str = "") -> LakeFile:
    """Upload one lake file and return it with size and SHA-256.

    Args:
        places: of the source.
        file: the file.
        source: local file to take; the lake's own when None.
        name: path in the lake to give it; its own when empty.
    """
    store = store_of(places)
    if store is None:
        return file
    sent = store.put(source or places.lake / file.path, _lake(name or file.path))
    return replace(file, bytes=sent.bytes, sha256=sent.sha256)


def bring_accounts(places: Places, run_id: str) -> list[LandedBatch]:
    """Bring the accounts of all batches of a run that have one, and return them.

    Raises:
        ManifestError: one cannot be read.
        StorageError, StoreUnavailableError: the store refuses them, or does not answer.
    """
    store, folder = store_of(places), places.run_folder(run_id)
    if store is None:
        return []
    names = [Path(name).name for name in store.children(_raw(run_id))]
    numbers = [int(name[7:10]) for name in names if name.startswith("landed-") and name.endswith(".json")]
    for number in numbers:
        _bring_record(store, places, run_id, landed_path(folder, number).name)
    return [landed for number in numbers if (landed := read_landed(folder, number)) is not None]


def bring_lake(places: Places, accounts: Iterable[LandedBatch], *, tables: Collection[str] = ()) -> None:
    """Bring the lake files of batches that are not here as their accounts say.

    Args:
        places: of the source.
        accounts: of the batches.
        tables: which ones; all when empty.

    Raises:
        StorageError: a file is missing in the store or not what its account says, or the disk is full.
        StoreUnavailableError: the store does not answer.
    """
    store = store_of(places)
    if store is None:
        return
    wanted = [file for account in accounts for file in account.lake_files if not tables or file.table in tables]

    def bring(file: LakeFile) -> None:
        if not _is(places.lake / file.path, file.bytes, file.sha256):
            store.get(_lake(file.path), places.lake / file.path, size=file.bytes, sha256=file.sha256)

    in_parallel(bring, wanted)


def bring_shown(places: Places, run_ids: Iterable[str]) -> None:
    """Bring what the view `resource` reads in place: the resource texts of loaded runs that are not here.

    Args:
        places: of the source.
        run_ids: loaded runs.

    Raises:
        StorageError: a file is missing in the store or not what its account says, or the disk is full.
        StoreUnavailableError: the store does not answer.
    """
    if places.store is None:
        return
    for run_id in run_ids:
        folder = places.run_folder(run_id)
        numbers = sorted(int(path.stem.removeprefix("landed-")) for path in folder.glob("landed-*.json"))
        accounts = [account for number in numbers if (account := read_landed(folder, number)) is not None]
        texts = [f for account in accounts or bring_accounts(places, run_id) for f in account.lake_files if _is_text(f)]
        # A glance suffices here: whoever brought or made them has proved them.
        if not all(_has_size(places.lake / file.path, file.bytes) for file in texts):
            bring_lake(places, bring_accounts(places, run_id), tables={"resource"})


def bring_a_lake_file(places: Places) -> None:
    """Bring one file of the lake when there is none here, so that there is something to compare the key with.

    Raises:
        StorageError, StoreUnavailableError: the store refuses it, or does not answer.
    """
    store = store_of(places)
    if store is None or next(places.lake.glob("*/*/*/*.parquet"), None) is not None:
        return
    folder, depth = "lake", 0
    while depth < 3 and (inside := store.children(folder)):  # noqa: PLR2004 - table, version, day
        # Drift holds names of elements only and is small.
        folder, depth = next((name for name in inside if name.endswith("/drift")), inside[0]), depth + 1
    files = {name: size for name, size in store.sizes(folder).items() if name.endswith(".parquet")}
    if files:
        name = min(files, key=lambda name: files[name])
        store.get(name, places.lake / name.removeprefix("lake/"), size=files[name])


def note_merged(places: Places, run_id: str, finished_at: datetime) -> None:
    """Note that a run is in the working database, for those who cannot look into it.

    They are `kick_off`, which must not have a loaded run's files replaced, and whoever rebuilds the working database from
    the object store alone.

    Raises:
        StorageError, StoreUnavailableError: the store refuses it, or does not answer.
    """
    record = json.dumps({"run_id": run_id, "finished_at": format_instant(finished_at)}).encode()
    write_durably(private_folder(places.run_folder(run_id)) / _MERGED, record)
    share_record(places, run_id, _MERGED)


def is_merged(places: Places, run_id: str) -> bool:
    """Tell whether a run is noted as being in the working database.

    Raises:
        StorageError, StoreUnavailableError: the store refuses, or does not answer.
    """
    store = store_of(places)
    if store is None:
        return (places.run_folder(run_id) / _MERGED).exists()
    return store.size(_raw(run_id, _MERGED)) is not None


def loaded_runs(places: Places) -> dict[str, datetime]:
    """Return when each run was merged, in that order, as the store tells.

    Raises:
        ManifestError: a note cannot be read.
        StorageError, StoreUnavailableError: the store refuses, or does not answer.
    """
    store = store_of(places)
    if store is None:
        return {}
    run_ids = [name.removeprefix("raw/") for name in store.children("raw")]
    notes = in_parallel(lambda run_id: store.read(_raw(run_id, _MERGED)), run_ids, at_once=SMALL_AT_ONCE)
    try:
        merged = {
            run_id: parse_instant(read_text(read_json(note), "finished_at"))
            for run_id, note in zip(run_ids, notes, strict=True)
            if note is not None
        }
    except ValueError:
        raise ManifestError(
            f"A {_MERGED} in {places.store} cannot be read; delete it and merge its run again."
        ) from None
    return dict(sorted(merged.items(), key=lambda item: (item[1], item[0])))


def clear_loaded(places: Places) -> int:
    """Remove this worker's copies of runs that are loaded, and return of how many; where the working database is, none.

    Raises:
        StorageError, StoreUnavailableError: the store refuses, or does not answer.
    """
    store = store_of(places)
    if store is None or places.warehouse.exists() or not places.raw.exists():
        return 0
    loaded = [folder for folder in places.raw.iterdir() if store.size(_raw(folder.name, _MERGED)) is not None]
    for folder in loaded:
        for path in places.lake.glob(f"*/*/*/{folder.name}-*.parquet"):
            path.unlink(missing_ok=True)
        # Another task of this worker may be clearing too.
        shutil.rmtree(folder, ignore_errors=True)
    if loaded:
        for left in (places.lake, *places.lake.glob("*/*/*/")):
            remove_dead(left)
        log.info("removed this worker's copies of %d loaded runs; they are in the object store", len(loaded))
    return len(loaded)


def _bring_file(store: ObjectStore, places: Places, run_id: str, name: str) -> None:
    folder = places.run_folder(run_id)
    receipt = _read_receipt(store, run_id, name)
    if receipt is None:
        return
    target, proof = folder / name, receipt_path(folder, name)
    is_here = proof.exists() and parse_receipt(proof) == receipt
    if not (is_here and _is(target, receipt.wire_bytes, receipt.wire_sha256)):
        # Never a moment in which a receipt stands beside another file than its own.
        proof.unlink(missing_ok=True)
        store.get(_raw(run_id, name), target, size=receipt.wire_bytes, sha256=receipt.wire_sha256)
        reached(StorePoint.DATA_BROUGHT)
        _bring_record(store, places, run_id, proof.name)


def _uploaded(store: ObjectStore, run_id: str, name: str, url: str) -> Receipt | None:
    """Return the receipt of a raw file that came from an address and is in the store whole; None when there is none."""
    receipt = _read_receipt(store, run_id, name)
    if receipt is None or receipt.url != url:
        return None
    is_whole = store.holds(_raw(run_id, name), size=receipt.wire_bytes, sha256=receipt.wire_sha256)
    return receipt if is_whole else None


def _read_receipt(store: ObjectStore, run_id: str, name: str) -> Receipt | None:
    content = store.read(_raw(run_id, receipt_path(Path(), name).name))
    return None if content is None else parse_receipt(Path(name), content)


def _bring_record(store: ObjectStore, places: Places, run_id: str, name: str) -> bool:
    """Bring a record; say whether the store has it."""
    content = store.read(_raw(run_id, name))
    if content is None:
        return False
    _write_record(places.run_folder(run_id) / name, content)
    return True


def _write_record(target: Path, content: bytes) -> None:
    private_folder(target.parent)
    if not target.exists() or read_bytes(target) != content:
        write_durably(target, content)


def _is(path: Path, size: int, sha256: str) -> bool:
    if not _has_size(path, size):
        return False
    with told(f"read {path}"), path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest() == sha256


def _has_size(path: Path, size: int) -> bool:
    return path.exists() and path.stat().st_size == size


def _is_text(file: LakeFile) -> bool:
    return file.table == "resource"


def _raw(run_id: str, name: str = "") -> str:
    return f"raw/{run_id}/{name}".rstrip("/")


def _lake(path: str) -> str:
    return f"lake/{path}"
