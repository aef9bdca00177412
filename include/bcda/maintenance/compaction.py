"""Fewer, larger lake files: the batches of a loaded run are put together, one file a table."""

import json
import logging
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path

import duckdb

from bcda.errors import CountMismatchError, ManifestError, StorageError
from bcda.maintenance.exchange import finish_exchange
from bcda.runs import names
from bcda.runs.folder import RunFolder
from bcda.runs.folders import folders_of, run_folder
from bcda.runs.landed import LakeFile, LandedBatch, read_accounts, write_landed
from bcda.storage import duckdb_files, parquet_files
from bcda.storage.commit_points import StorePoint, reached
from bcda.storage.encryption import lake_key_name
from bcda.storage.files import own_folder, put_in_place, read_bytes, remove_dead, sync_folder
from bcda.storage.guarded import guarded
from bcda.storage.places import Places

log = logging.getLogger(__name__)

_ALL = "-all.parquet"

_COPIED_BYTES = 5_000_000_000
"""What S3 copies as one object; files of that size are large enough as they are."""


@guarded("compact the lake")
def compact_lake(places: Places, run_ids: Iterable[str]) -> int:
    """Put the lake files of runs together and return how many files there are fewer.

    A note of what is about to happen is written first, so that a run killed half way is finished by the next call. Between
    removing the old files and showing the new one, engines that read the lake in place can miss its rows for a moment;
    they never see them twice.

    In an object store the new file is put under a hidden name before anything is removed, and copied inside the store to its
    own name after that: nothing is lost when this machine is, and the next call, here or elsewhere, finishes it.

    Args:
        places: of the source.
        run_ids: loaded runs; nobody else touches their files.

    Raises:
        CountMismatchError: the new file has other rows than the old ones; they stay.
        StorageError: the lake cannot be written.
        EncryptionError: the key is not that of the lake.
        StoreUnavailableError: the object store does not answer.
    """
    saved = 0
    for left in (places.lake, *places.lake.glob("*/*/*/")):
        remove_dead(left)
    with duckdb_files.connected(spill=places.lake, key=places.key) as connection:
        for run_id in run_ids:
            try:
                finish_begun(places, run_id)
                saved += _compact_run(connection, places, run_folder(places, run_id))
            except (OSError, duckdb.IOException, duckdb.OutOfMemoryException) as error:
                raise StorageError(
                    f"Cannot compact the lake files of {run_id} ({type(error).__name__}). Check free space and owner."
                ) from None
    log.info("compaction left %d files fewer", saved)
    return saved


def finish_begun(places: Places, run_id: str) -> list[LandedBatch]:
    """Finish what was begun on the lake files of a run and killed half way: a compaction, an exchange, or both.

    Args:
        places: of the source.
        run_id: a loaded run.

    Returns:
        Its accounts.

    Raises:
        ManifestError: a record cannot be read.
        OSError: lake or records cannot be written.
        StorageError, StoreUnavailableError: the store refuses, or does not answer.
    """
    folder = run_folder(places, run_id)
    folder.bring_run()
    folder.accounts()
    folder.bring_note(names.COMPACTION)
    if (folder.path / names.COMPACTION).exists():
        _finish(places, folder)
    finish_exchange(places, run_id)
    return folder.accounts()


def is_compacted(accounts: Iterable[LandedBatch]) -> bool:
    """Tell whether some lake files of a run have been put together."""
    return any(file.path.endswith(_ALL) for account in accounts for file in account.lake_files)


def _compact_run(connection: duckdb.DuckDBPyConnection, places: Places, folder: RunFolder) -> int:
    name, run_id = lake_key_name(places.key), folder.run_id
    batches = read_accounts(folder.path)
    files = [file for batch in batches for file in batch.lake_files]
    tables = {table: [f for f in files if f.table == table] for table in {file.table for file in files}}
    many = {table: found for table, found in tables.items() if len(found) > 1 and _is_small(places, found)}
    if not many:
        return 0
    folders_of(places).bring_lake(batches, tables=many)
    steps = []
    for table, found in sorted(many.items()):
        target = Path(found[0].path).with_name(f"{run_id}{_ALL}").as_posix()
        sources = [places.lake / file.path for file in found]
        held = sum(parquet_files.count_rows(connection, source, name) for source in sources)
        with own_folder((places.lake / target).parent, "compact") as own:
            rows = parquet_files.put_together(connection, sources, own / "all.parquet", read=name, write=name)
            is_same = rows == held == sum(file.rows for file in found)
            if is_same:
                put_in_place(own / "all.parquet", _hidden(places.lake / target))
        if not is_same:
            raise CountMismatchError(
                f"Lake files of {table} of run {run_id} have other rows than their accounts say. Rebuild the lake from raw.",
                lines_read=sum(file.rows for file in found),
                rows_landed=rows,
                lines_quarantined=0,
            )
        made = _put_hidden(places, LakeFile(table, target, rows))
        steps.append({**asdict(made), "target": target, "sources": [file.path for file in found]})
    folder.write_note(names.COMPACTION, json.dumps(steps).encode())
    _finish(places, folder)
    return sum(len(found) - 1 for found in many.values())


def _finish(places: Places, folder: RunFolder) -> None:
    """Do what the note says; every step may have been done already."""
    note = folder.path / names.COMPACTION
    try:
        steps = json.loads(read_bytes(note))
    except ValueError as error:
        raise ManifestError(f"{note} cannot be read; delete it and compact again.") from error
    for step in steps:
        target = places.lake / step["target"]
        for source in step["sources"]:
            (places.lake / source).unlink(missing_ok=True)
        if _hidden(target).exists():
            _hidden(target).replace(target)
        if target.parent.exists():
            sync_folder(target.parent)
    folders = folders_of(places)
    folders.remove_lake_files(source for step in steps for source in step["sources"])
    reached(StorePoint.DATA_UPLOADED)
    for step in steps:
        folders.name_lake_file(_hidden(Path(step["target"])).as_posix(), step["target"])
    first, *others = read_accounts(folder.path)
    compacted = {
        step["table"]: LakeFile(
            step["table"], step["target"], step["rows"], step.get("bytes", 0), step.get("sha256", "")
        )
        for step in steps
    }
    for batch in others:
        write_landed(
            folder.path, replace(batch, lake_files=tuple(f for f in batch.lake_files if f.table not in compacted))
        )
    kept = [file for file in first.lake_files if file.table not in compacted]
    files = tuple(sorted([*kept, *compacted.values()], key=lambda f: f.table))
    write_landed(folder.path, replace(first, lake_files=files))
    for batch in (first, *others):
        folder.share(names.account(batch.batch))
    folders.remove_lake_files(_hidden(Path(step["target"])).as_posix() for step in steps)
    folder.remove_note(names.COMPACTION)


def _put_hidden(places: Places, file: LakeFile) -> LakeFile:
    """Upload a new file under its hidden name; return it with size and SHA-256."""
    return folders_of(places).put_lake_file(
        file, source=_hidden(places.lake / file.path), name=_hidden(Path(file.path)).as_posix()
    )


def _is_small(places: Places, files: list[LakeFile]) -> bool:
    return not folders_of(places).is_shared or sum(file.bytes for file in files) <= _COPIED_BYTES


def _hidden(target: Path) -> Path:
    # Engines that read the lake in place skip names that begin with a dot.
    return target.with_name(f".{target.name}.compact")
