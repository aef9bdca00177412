"""What the stages of a run hand over to each other through the object store, when their workers have no disk in common.

Local folders stay what a stage reads and writes. Before it ends, a stage uploads what it has committed locally: the data
first, then the small record that makes it count (receipt, account, run.json), so that half an upload is never taken for a
commit. A stage begins by bringing the records, which the store knows best, and the data that they name and that is not
here, proved by size and SHA-256. Lake files are at `lake/{table}/…`, a run's folder is at `raw/{run_id}/`.
"""

import logging
import shutil
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from functools import cached_property
from hashlib import file_digest
from pathlib import Path, PurePath

from bcda.api.manifest import OutputFile, is_of_same_job
from bcda.errors import IncompleteFileError, ManifestError
from bcda.runs import names
from bcda.runs.folder import RunFolder, RunFolders, merged_at
from bcda.runs.landed import LakeFile, LandedBatch, read_accounts, read_landed, write_landed
from bcda.runs.receipts import Receipt, parse_receipt, receipt_path
from bcda.storage.commit_points import StorePoint, reached
from bcda.storage.files import private_folder, read_bytes, remove_dead, told, write_durably
from bcda.storage.object_store import SMALL_AT_ONCE, ObjectStore, in_parallel, store_of
from bcda.storage.places import Places

log = logging.getLogger(__name__)

LOOK_BACK_RUNS = 100
"""How many of the newest runs of an object store are asked for jobs that they canceled: each costs a request."""

_RAW = "raw"
_LAKE = "lake"


class SharedRunFolder(RunFolder):
    """The folder of a run here and in the object store; the store's records are the ones that count."""

    is_shared = True

    @cached_property
    def _store(self) -> ObjectStore:
        return _connected(self.places)

    def bring_run(self) -> None:
        """Bring plan and manifest of the run; another worker may have amended them."""
        self._bring_record(names.RUN)
        manifest, here = self._store.read(self._object(names.MANIFEST)), self.path / names.MANIFEST
        if manifest is None:
            return
        if here.exists() and not is_of_same_job(read_bytes(here), manifest):
            # Another worker has given up the job whose files this one has landed.
            self.forget_landed()
        _write_record(here, manifest)

    def share(self, name: str) -> None:
        """Upload a record."""
        self._store.write(self._object(name), read_bytes(self.path / name))
        reached(StorePoint.RECORD_UPLOADED)

    def fetched(self, files: Sequence[OutputFile]) -> dict[str, Receipt]:
        """Return, by name, the receipts of the files that some worker has fetched and uploaded, each proved by size and SHA-256.

        A first try finds none. A later one reads what is there, and replaces any file that no longer matches its receipt.

        Args:
            files: of the manifest; a receipt for another address of the same name does not count.
        """
        sizes = self._store.sizes(self._object())
        there = [file for file in files if self._object(names.receipt(file.name)) in sizes]
        receipts = in_parallel(lambda file: self._uploaded(file.name, file.url), there)
        return {receipt.name: receipt for receipt in receipts if receipt is not None}

    def share_file(self, receipt: Receipt) -> None:
        """Upload a raw file, then its receipt; what another attempt has uploaded of the same address stays.

        Raises:
            IncompleteFileError: the file is no longer what its receipt says; the next try fetches it again.
        """
        if self._uploaded(receipt.name, receipt.url) is not None:
            return
        sent = self._store.put(self.path / receipt.name, self._object(receipt.name))
        if sent.sha256 != receipt.wire_sha256:
            self._store.delete([self._object(receipt.name)])
            raise IncompleteFileError(
                f"The raw file {self.path / receipt.name} is no longer what its receipt says. The next try fetches it again.",
                file_name=receipt.name,
                bytes_received=sent.bytes,
            )
        reached(StorePoint.DATA_UPLOADED)
        self.share(names.receipt(receipt.name))

    def has_files(self, files: Sequence[str]) -> bool:
        """Tell whether the store has raw files, none of them purged."""
        return self.there().keys() >= set(files)

    def bring_files(self, files: Sequence[str]) -> None:
        """Bring raw files with their receipts, those that have one.

        Raises:
            StorageError: a file is missing in the store or not what its receipt says, or the disk is full.
        """
        in_parallel(self._bring_file, files)

    def hashes(self, files: Sequence[str]) -> dict[str, str]:
        """Return the SHA-256 of raw files by name, as the receipts in the store have it; nothing is brought."""
        found = in_parallel(self._read_receipt, files, at_once=SMALL_AT_ONCE)
        return {receipt.name: receipt.wire_sha256 for receipt in found if receipt is not None}

    def account(self, batch: int) -> LandedBatch | None:
        """Bring the account of a batch and return it; None when no worker has uploaded one."""
        return read_landed(self.path, batch) if self._bring_record(names.account(batch)) else None

    def accounts(self) -> list[LandedBatch]:
        """Bring the accounts of all batches that have one, and return them."""
        there = [names.batch_of(PurePath(name).name) for name in self._store.children(self._object())]
        numbers = [number for number in there if number is not None]
        for number in numbers:
            self._bring_record(names.account(number))
        return [landed for number in numbers if (landed := read_landed(self.path, number)) is not None]

    def share_batch(self, landed: LandedBatch) -> LandedBatch:
        """Upload the lake files of a landed batch, then its account with their sizes and SHA-256, and return that account."""
        lake = SharedRunFolders(self.places)
        shared = replace(landed, lake_files=tuple(in_parallel(lake.put_lake_file, landed.lake_files)))
        reached(StorePoint.DATA_UPLOADED)
        write_landed(self.path, shared)
        self.share(names.account(shared.batch))
        return shared

    def note(self, name: str) -> bytes | None:
        """Return a note about the run, the one that is here or the store's; None when there is none."""
        return super().note(name) or self._store.read(self._object(name))

    def bring_note(self, name: str) -> None:
        """Bring a note about the run, if the store has one."""
        self._bring_record(name)

    def write_note(self, name: str, content: bytes) -> None:
        """Write a note about the run to the store, then here."""
        self._store.write(self._object(name), content)
        reached(StorePoint.RECORD_UPLOADED)
        super().write_note(name, content)

    def remove_note(self, name: str) -> None:
        """Remove a note from the store, then here."""
        self._store.delete([self._object(name)])
        super().remove_note(name)

    def is_merged(self) -> bool:
        """Tell whether the store has the note that the run is in the working database."""
        return self._store.size(self._object(names.MERGED)) is not None

    def record_job(self, name: str, content: bytes) -> None:
        """Write a record of the run's job to the store; it is there only."""
        self._store.write(self._object(name), content)

    def job_record(self, name: str) -> bytes | None:
        """Return a record of the run's job from the store; None when there is none."""
        return self._store.read(self._object(name))

    def forget_job_record(self, name: str) -> None:
        """Remove a record of the run's job from the store, if there is one."""
        self._store.delete([self._object(name)])

    def forget_job(self) -> None:
        """Remove all that was fetched and landed of the run, from the store and then here; plan and manifest stay."""
        there = self._store.sizes(self._object())
        self._store.delete(name for name in there if PurePath(name).match(names.ACCOUNTS))
        # Half a batch is in no account, so the lake is looked through.
        lake = self._store.sizes(_LAKE)
        self._store.delete(name for name in lake if PurePath(name).name.startswith(f"{self.run_id}-"))
        for pattern in names.FETCHED:
            self._store.delete(name for name in there if PurePath(name).match(pattern))
        super().forget_job()

    def remove_raw(self) -> tuple[int, int]:
        """Remove raw files from the store, and what is here of them; return how many files the store had, and their bytes."""
        data = {
            name: size
            for name, size in self._store.sizes(self._object()).items()
            if PurePath(name).match(names.RAW_FILES)
        }
        self._store.delete(data)
        super().remove_raw()
        return len(data), sum(data.values())

    def there(self) -> dict[str, int]:
        """Return the size of each file of the run that the store has, in bytes, by name."""
        return {PurePath(name).name: size for name, size in self._store.sizes(self._object()).items()}

    def _bring_file(self, name: str) -> None:
        receipt = self._read_receipt(name)
        if receipt is None:
            return
        target, proof = self.path / name, receipt_path(self.path, name)
        is_here = proof.exists() and parse_receipt(proof) == receipt
        if not (is_here and _is(target, receipt.wire_bytes, receipt.wire_sha256)):
            # Never a moment in which a receipt stands beside another file than its own.
            proof.unlink(missing_ok=True)
            self._store.get(self._object(name), target, size=receipt.wire_bytes, sha256=receipt.wire_sha256)
            reached(StorePoint.DATA_BROUGHT)
            self._bring_record(proof.name)

    def _uploaded(self, name: str, url: str) -> Receipt | None:
        """Return the receipt of a raw file that came from an address and is in the store whole; None when there is none."""
        receipt = self._read_receipt(name)
        if receipt is None or receipt.url != url:
            return None
        is_whole = self._store.holds(self._object(name), size=receipt.wire_bytes, sha256=receipt.wire_sha256)
        return receipt if is_whole else None

    def _read_receipt(self, name: str) -> Receipt | None:
        content = self._store.read(self._object(names.receipt(name)))
        return None if content is None else parse_receipt(Path(name), content)

    def _bring_record(self, name: str) -> bool:
        """Bring a record; say whether the store has it."""
        content = self._store.read(self._object(name))
        if content is None:
            return False
        _write_record(self.path / name, content)
        return True

    def _object(self, name: str = "") -> str:
        return f"{_RAW}/{self.run_id}/{name}".rstrip("/")


class SharedRunFolders(RunFolders):
    """The folders of all runs here and in the object store."""

    is_shared = True
    folder_type = SharedRunFolder

    @cached_property
    def _store(self) -> ObjectStore:
        return _connected(self.places)

    def ids(self) -> list[str]:
        """Return the ids of all runs that have a folder here or in the store."""
        return sorted({*super().ids(), *(PurePath(name).name for name in self._store.children(_RAW))})

    def holding(self) -> set[str]:
        """Return the ids of the runs that have begun to bring data, here or in the store."""
        objects = (PurePath(name).parts for name in self._store.sizes(_RAW))
        return super().holding() | {parts[1] for parts in objects if len(parts) == 3 and names.is_data(parts[2])}  # noqa: PLR2004 - raw, run, name

    def count_data(self) -> tuple[int, int]:
        """Return how many raw files and leftovers are here, and in the store."""
        return super().count_data()[0], len(self._objects_with_data())

    def remove_data(self) -> None:
        """Remove raw files and leftovers of all runs, from the store and then here."""
        self._store.delete(self._objects_with_data())
        super().remove_data()

    def _objects_with_data(self) -> list[str]:
        return [name for name in self._store.sizes(_RAW) if not names.is_record(PurePath(name).name)]

    def loaded(self) -> dict[str, datetime]:
        """Return when each run was merged, in that order, as the store tells.

        Raises:
            ManifestError: a note cannot be read.
        """
        run_ids = [PurePath(name).name for name in self._store.children(_RAW)]
        notes = in_parallel(
            lambda run_id: self._store.read(f"{_RAW}/{run_id}/{names.MERGED}"), run_ids, at_once=SMALL_AT_ONCE
        )
        try:
            merged = {run_id: merged_at(note) for run_id, note in zip(run_ids, notes, strict=True) if note is not None}
        except ValueError:
            raise ManifestError(
                f"A {names.MERGED} in {self.places.store} cannot be read; delete it and merge its run again."
            ) from None
        return dict(sorted(merged.items(), key=lambda item: (item[1], item[0])))

    def clear_loaded(self) -> int:
        """Remove this worker's copies of runs that are loaded, and return of how many; where the working database is, none."""
        places = self.places
        if places.warehouse.exists() or not places.raw.exists():
            return 0
        loaded = [folder for folder in places.raw.iterdir() if self.of(folder.name).is_merged()]
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

    def job_records(self, fact: str) -> list[tuple[str, str]]:
        """Return run and job of each record of a fact, of the newest `LOOK_BACK_RUNS` runs: their ids begin with a time."""
        runs = sorted((PurePath(name).name for name in self._store.children(_RAW)), reverse=True)[:LOOK_BACK_RUNS]
        listed = in_parallel(lambda run: self._store.sizes(f"{_RAW}/{run}"), runs, at_once=SMALL_AT_ONCE)
        found = [
            (run, names.job_of_fact(PurePath(name).name, fact))
            for run, there in zip(runs, listed, strict=True)
            for name in there
        ]
        return [(run_id, job_id) for run_id, job_id in found if job_id is not None]

    def has_lake_files(self, landed: LandedBatch) -> bool:
        """Tell whether the store has the lake files of a batch with the sizes and SHA-256 that its account gives."""

        def holds(file: LakeFile) -> bool:
            return self._store.holds(_lake(file.path), size=file.bytes, sha256=file.sha256)

        return all(in_parallel(holds, landed.lake_files))

    def put_lake_file(self, file: LakeFile, *, source: Path | None = None, name: str = "") -> LakeFile:
        """Upload one lake file and return it with size and SHA-256.

        Args:
            file: the file.
            source: local file to take; the lake's own when None.
            name: path in the lake to give it; its own when empty.
        """
        sent = self._store.put(source or self.places.lake / file.path, _lake(name or file.path))
        return replace(file, bytes=sent.bytes, sha256=sent.sha256)

    def name_lake_file(self, waiting: str, path: str) -> None:
        """Copy an object that waits under another name to its own, if it is there; `remove_lake_files` takes the other."""
        if self._store.size(_lake(waiting)) is not None:
            self._store.copy(_lake(waiting), _lake(path))

    def remove_lake_files(self, paths: Iterable[str]) -> None:
        """Remove lake files from the store."""
        self._store.delete(map(_lake, paths))

    def bring_lake(self, accounts: Iterable[LandedBatch], *, tables: Collection[str] = ()) -> None:
        """Bring the lake files of batches that are not here as their accounts say.

        Args:
            accounts: of the batches.
            tables: which ones; all when empty.

        Raises:
            StorageError: a file is missing in the store or not what its account says, or the disk is full.
        """
        wanted = [file for account in accounts for file in account.lake_files if not tables or file.table in tables]

        def bring(file: LakeFile) -> None:
            target = self.places.lake / file.path
            if not _is(target, file.bytes, file.sha256):
                self._store.get(_lake(file.path), target, size=file.bytes, sha256=file.sha256)

        in_parallel(bring, wanted)

    def bring_texts(self, run_ids: Iterable[str]) -> None:
        """Bring what the view `resource` reads in place: the resource texts of loaded runs that are not here."""
        for run_id in run_ids:
            folder = self.of(run_id)
            accounts = read_accounts(folder.path) or folder.accounts()
            texts = [file for account in accounts for file in account.lake_files if file.table == "resource"]
            # A glance suffices here: whoever brought or made them has proved them.
            if not all(_has_size(self.places.lake / file.path, file.bytes) for file in texts):
                self.bring_lake(folder.accounts(), tables={"resource"})

    def bring_a_lake_file(self) -> None:
        """Bring one file of the lake when there is none here, so that there is something to compare the key with."""
        if next(self.places.lake.glob("*/*/*/*.parquet"), None) is not None:
            return
        folder, depth = _LAKE, 0
        while depth < 3 and (inside := self._store.children(folder)):  # noqa: PLR2004 - table, version, day
            # Drift holds names of elements only and is small.
            folder, depth = next((name for name in inside if name.endswith("/drift")), inside[0]), depth + 1
        files = {name: size for name, size in self._store.sizes(folder).items() if name.endswith(".parquet")}
        if files:
            name = min(files, key=lambda name: files[name])
            self._store.get(name, self.places.lake / name.removeprefix(f"{_LAKE}/"), size=files[name])


def _connected(places: Places) -> ObjectStore:
    store = store_of(places)
    if store is None:
        raise ValueError("a shared folder needs an object store")
    return store


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


def _lake(path: str) -> str:
    return f"{_LAKE}/{path}"
