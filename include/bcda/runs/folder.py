"""The folder `raw/{run_id}/` of a run and the lake files of its batches, on this machine's disk.

`bcda.runs.shared_folder` has the same for workers without a common disk. `bcda.runs.folders` chooses between them, once: whoever
works on a run asks it for the folder and does not ask again whether there is an object store.
"""

import json
import shutil
from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bcda.api.export_request import format_instant, parse_instant
from bcda.api.manifest import Manifest, OutputFile, is_of_same_job
from bcda.errors import ManifestError, StorageError
from bcda.runs import names
from bcda.runs.landed import LakeFile, LandedBatch, read_accounts, read_landed, write_landed
from bcda.runs.receipts import Receipt, parse_receipt, receipt_path
from bcda.runs.run import ExportRun, amend_run, read_run, write_run
from bcda.storage.documents import read_json, read_text
from bcda.storage.files import (
    private_folder,
    read_bytes,
    reason_of,
    remove_dead,
    sync_folder,
    told,
    write_durably,
    write_first,
)
from bcda.storage.places import Places


class RunFolder:
    """What is known of one run, and what it has brought.

    Args:
        places: of the source.
        run_id: of the run.

    Every method raises `StorageError` when the disk refuses, and `StoreUnavailableError` when an object store does not answer;
    those that read raise `ManifestError` for a record that cannot be read.
    """

    is_shared = False
    """Whether other workers see what is shared here."""

    def __init__(self, places: Places, run_id: str) -> None:
        self.places = places
        self.run_id = run_id
        self.path = places.run_folder(run_id)

    def bring_run(self) -> None:
        """Make plan and manifest those that count, whoever amended them."""

    def has_run(self) -> bool:
        """Tell whether the plan of the run is here."""
        return (self.path / names.RUN).exists()

    def plan(self, run: ExportRun) -> None:
        """Write down what a new run asks for."""
        write_run(private_folder(self.path), run)
        self.share(names.RUN)

    def read_run(self) -> ExportRun:
        """Return what the run asks for."""
        return read_run(self.path)

    def amend(self, **changes: Any) -> ExportRun:
        """Write down what has been learned about the run, for other workers too, and return it.

        Args:
            changes: fields of `ExportRun`.
        """
        run = amend_run(self.path, **changes)
        self.share(names.RUN)
        return run

    def has_manifest(self) -> bool:
        """Tell whether the manifest of the run's job is here."""
        return (self.path / names.MANIFEST).exists()

    def read_manifest(self) -> Manifest:
        """Return the manifest of the run's job.

        Raises:
            ManifestError: it is not here, or cannot be read.
        """
        path = self.path / names.MANIFEST
        if not path.exists():
            raise ManifestError(
                f"{path} is missing. All tasks of a run need the same BCDA_HOME or BCDA_OBJECT_STORE; clear the wait task to save "
                "it again."
            )
        return Manifest.from_bytes(read_bytes(path))

    def keep_manifest(self, manifest: Manifest) -> Manifest | None:
        """Store the manifest of a job unless one is stored; return the one of this job that is, or None when it is another job's."""
        path, content = private_folder(self.path) / names.MANIFEST, manifest.to_bytes()
        # Another attempt may be here with the same files in another order, which are numbered by it: the first one's counts.
        if write_first(path, content):
            return manifest
        return Manifest.from_bytes(read_bytes(path)) if is_of_same_job(read_bytes(path), content) else None

    def replace_manifest(self, manifest: Manifest) -> None:
        """Store the manifest of a job in place of another job's."""
        write_durably(self.path / names.MANIFEST, manifest.to_bytes())

    def share(self, name: str) -> None:
        """Hand a record over to other workers."""

    def fetched(self, files: Sequence[OutputFile]) -> dict[str, Receipt]:
        """Return, by name, the receipts of files that other workers have fetched, each proved by size and SHA-256."""
        del files
        return {}

    def share_file(self, receipt: Receipt) -> None:
        """Hand a raw file and its receipt over to other workers."""

    def has_files(self, files: Sequence[str]) -> bool:
        """Tell whether raw files are there, none of them purged, where other workers find them."""
        return all((self.path / name).exists() for name in files)

    def bring_files(self, files: Sequence[str]) -> None:
        """Bring raw files that other workers have fetched, with their receipts."""

    def hashes(self, files: Sequence[str]) -> dict[str, str]:
        """Return the SHA-256 of raw files by name, as their receipts have it; raw files may be purged by now."""
        paths = [path for name in files if (path := receipt_path(self.path, name)).exists()]
        return {receipt.name: receipt.wire_sha256 for receipt in map(parse_receipt, paths)}

    def newest(self, pattern: str) -> datetime | None:
        """Return when the newest of some files here was written, UTC; None when there is none.

        Args:
            pattern: one of `bcda.runs.names`.
        """
        times = [path.stat().st_mtime for path in self.path.glob(pattern)]
        return datetime.fromtimestamp(max(times), UTC) if times else None

    def receipts(self) -> list[Receipt]:
        """Return the receipts of all raw files that have one here, without a look at the files."""
        return [parse_receipt(path) for path in sorted(self.path.glob(names.RECEIPTS))]

    def account(self, batch: int) -> LandedBatch | None:
        """Return the account of a batch; None when it has not landed."""
        return read_landed(self.path, batch)

    def accounts(self) -> list[LandedBatch]:
        """Return the accounts of all batches that have landed, by number."""
        return read_accounts(self.path)

    def write_account(self, landed: LandedBatch) -> None:
        """Write the account of a batch whose lake files are in place, for other workers too."""
        write_landed(self.path, landed)
        self.share(names.account(landed.batch))

    def share_batch(self, landed: LandedBatch) -> LandedBatch:
        """Hand the lake files of a landed batch and its account over to other workers; return the account."""
        return landed

    def note(self, name: str) -> bytes | None:
        """Return a note about the run; None when there is none.

        Args:
            name: one of `bcda.runs.names`.
        """
        path = self.path / name
        return read_bytes(path) if path.exists() else None

    def bring_note(self, name: str) -> None:
        """Bring a note about the run, if other workers have one."""

    def write_note(self, name: str, content: bytes) -> None:
        """Write a note about the run, for other workers too."""
        write_durably(private_folder(self.path) / name, content)

    def remove_note(self, name: str) -> None:
        """Remove a note, if there is one."""
        path = self.path / name
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(f"Cannot remove {path}: {reason_of(error)}. Check the owner.") from error

    def note_merged(self, finished_at: datetime) -> None:
        """Note that the run is in the working database, for those who cannot look into it.

        They are `kick_off`, which must not have a loaded run's files replaced, and whoever rebuilds the working database from
        the object store alone.
        """
        record = {"run_id": self.run_id, "finished_at": format_instant(finished_at)}
        self.write_note(names.MERGED, json.dumps(record).encode())

    def is_merged(self) -> bool:
        """Tell whether the run is noted as being in the working database."""
        return (self.path / names.MERGED).exists()

    def record_job(self, name: str, content: bytes) -> None:
        """Write a record of the run's job, once the run has a folder."""
        if self.path.exists():
            write_durably(self.path / name, content)

    def job_record(self, name: str) -> bytes | None:
        """Return a record of the run's job; None when there is none."""
        return self.note(name)

    def forget_job_record(self, name: str) -> None:
        """Remove a record of the run's job, if there is one."""
        self.remove_note(name)

    def forget_landed(self) -> None:
        """Remove this place's accounts of the run's batches, then its lake files; may be called again after it was killed.

        Raw files are numbered and lake files are named for run and batch, so those of an earlier job of the run have the same
        names: what the next job does not replace would be read as its own, and people counted twice. What is still on its way
        goes too, also under the hands of an attempt that is alive: it could name its files later.
        """
        # The accounts first: whoever reads one relies on its lake files.
        _remove(self.path, names.ACCOUNTS)
        own = self.run_id
        for pattern in (f"*/*/*/{own}-*.parquet", f"*/*/*/.{own}-*", f".spill-{own}-*", f".landing-{own}-*"):
            _remove(self.places.lake, pattern)

    def forget_job(self) -> None:
        """Remove all that was fetched and landed of the run, wherever it is; plan and manifest stay.

        Only for a run that is not merged. Killed half way it leaves less of it, and may be called again: nothing that stays
        counts without what is gone.
        """
        self.forget_landed()
        for pattern in names.FETCHED:
            _remove(self.path, pattern)

    def remove_raw(self) -> tuple[int, int]:
        """Remove raw files, texts of the server and what killed tasks left; return how many files, and their bytes."""
        data = [path for pattern in names.RAW_DATA for path in self.path.glob(pattern)]
        size = 0
        with told(f"remove raw files from {self.path}"):
            for path in data:
                size += path.stat().st_size
                path.unlink()
            for note in self.path.glob(names.PART_NOTES):
                note.unlink(missing_ok=True)
            remove_dead(self.path)
        return len(data), size


class RunFolders:
    """The folders of all runs of a source, and the lake files that other workers have or need.

    Args:
        places: of the source.

    Errors are those of `RunFolder`.
    """

    is_shared = False
    """Whether other workers have files that are not here."""

    folder_type: type[RunFolder] = RunFolder

    def __init__(self, places: Places) -> None:
        self.places = places

    def of(self, run_id: str) -> RunFolder:
        """Return the folder of one run."""
        return self.folder_type(self.places, run_id)

    def ids(self) -> list[str]:
        """Return the ids of all runs that have a folder, in the order in which they were planned."""
        return sorted(path.name for path in self.places.raw.glob("*/"))

    def noted(self, name: str) -> list[str]:
        """Return the ids of the runs that have a note in their folder here, in order."""
        return sorted(path.parent.name for path in self.places.raw.glob(f"*/{name}"))

    def holding(self) -> set[str]:
        """Return the ids of the runs that have begun to bring data: raw files, receipts, accounts, or leftovers of attempts."""
        return {
            folder.name
            for folder in self.places.raw.glob("*/")
            if any(names.is_data(path.name) for path in folder.iterdir())
        }

    def count_data(self) -> tuple[int, int]:
        """Return how many raw files, texts of the server and leftovers of attempts are here, and in the object store."""
        return len(self._data()), 0

    def remove_data(self) -> None:
        """Remove raw files, texts of the server and leftovers of attempts of all runs."""
        here = self._data()
        with told(f"remove raw files from {self.places.raw}"):
            for path in here:
                path.unlink(missing_ok=True)
            for folder in {path.parent for path in here}:
                sync_folder(folder)

    def _data(self) -> list[Path]:
        return [
            path for path in sorted(self.places.raw.glob("*/*")) if path.is_file() and not names.is_record(path.name)
        ]

    def loaded(self) -> dict[str, datetime]:
        """Return when each run was merged, in that order, as other places know it."""
        return {}

    def clear_loaded(self) -> int:
        """Remove this worker's copies of runs that are loaded; return of how many."""
        return 0

    def job_records(self, fact: str) -> list[tuple[str, str]]:
        """Return run and job of each record of a fact about a job."""
        found = [
            (path.parent.name, names.job_of_fact(path.name, fact))
            for path in self.places.raw.glob(f"*/{names.JOB_FACTS}")
        ]
        return [(run_id, job_id) for run_id, job_id in found if job_id is not None]

    def has_lake_files(self, landed: LandedBatch) -> bool:
        """Tell whether the lake files of a batch are where other workers find them."""
        return all((self.places.lake / file.path).exists() for file in landed.lake_files)

    def put_lake_file(self, file: LakeFile, *, source: Path | None = None, name: str = "") -> LakeFile:
        """Hand one lake file over to other workers; return it with what is known of its content.

        Args:
            file: the file.
            source: local file to take; the lake's own when None.
            name: path in the lake to give it; its own when empty.
        """
        del source, name
        return file

    def name_lake_file(self, waiting: str, path: str) -> None:
        """Give a file that was handed over under a waiting name its own, if it is still waiting.

        Args:
            waiting: path in the lake under which it waits.
            path: its path in the lake from then on.
        """

    def remove_lake_files(self, paths: Iterable[str]) -> None:
        """Remove what other workers see of lake files.

        Args:
            paths: in the lake.
        """

    def bring_lake(self, accounts: Iterable[LandedBatch], *, tables: Collection[str] = ()) -> None:
        """Bring the lake files of batches that are not here as their accounts say.

        Args:
            accounts: of the batches.
            tables: which ones; all when empty.
        """

    def bring_texts(self, run_ids: Iterable[str]) -> None:
        """Bring what the view `resource` reads in place: the resource texts of loaded runs that are not here."""

    def bring_a_lake_file(self) -> None:
        """Bring one file of the lake when there is none here, so that there is something to compare the key with."""


def merged_at(note: bytes) -> datetime:
    """Return when a run was merged, from its note.

    Raises:
        ValueError: it is no such note.
    """
    return parse_instant(read_text(read_json(note), "finished_at"))


def _remove(folder: Path, pattern: str) -> None:
    """Remove files and folders, so that they do not come back when the machine stops.

    Raises:
        StorageError: one cannot be removed.
    """
    found = list(folder.glob(pattern))
    try:
        for path in found:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        for parent in {path.parent for path in found}:
            sync_folder(parent)
    except OSError as error:
        raise StorageError(
            f"Cannot remove from {folder} what an earlier job of the run left: {reason_of(error)}. Check the owner, then run the "
            "task again."
        ) from error
