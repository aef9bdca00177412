"""Fewer, larger lake files: the batches of a loaded run are put together, one file a table."""

import json
import logging
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import duckdb

from bcda.errors import CountMismatchError, ManifestError, StorageError
from bcda.maintenance.exchange import finish_exchange
from bcda.runs import shared_runs
from bcda.runs.landed import LakeFile, LandedBatch, landed_path, read_accounts, write_landed
from bcda.storage import duckdb_files, parquet_files
from bcda.storage.commit_points import StorePoint, reached
from bcda.storage.encryption import lake_key_name
from bcda.storage.files import own_folder, put_in_place, read_bytes, remove_dead, sync_folder, write_durably
from bcda.storage.guarded import guarded
from bcda.storage.object_store import store_of
from bcda.storage.places import Places

log = logging.getLogger(__name__)

_INTENT = "compaction.json"
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
            folder = places.run_folder(run_id)
            try:
                finish_begun(places, run_id)
                saved += _compact_run(connection, places, folder, run_id)
            except (OSError, duckdb.IOException, duckdb.OutOfMemoryException) as error:
                raise StorageError(
                    f"Cannot compact the lake files of {run_id} ({type(error).__name__}). Check free space and owner."
                ) from None
    log.info("compaction left %d files fewer", saved)
    return saved


def bring_compacted(places: Places, run_id: str) -> list[LandedBatch]:
    """Bring the records of a run from the object store, with a compaction or an exchange finished that was killed half way.

    Args:
        places: of the source.
        run_id: a loaded run.

    Returns:
        Its accounts; none without an object store.

    Raises:
        ManifestError: a record cannot be read.
        StorageError, StoreUnavailableError: the store refuses, or does not answer.
    """
    store = store_of(places)
    if store is None:
        return []
    shared_runs.bring_run(places, run_id)
    shared_runs.bring_accounts(places, run_id)
    noted = store.read(_note(run_id))
    if noted is not None:
        write_durably(places.run_folder(run_id) / _INTENT, noted)
        _finish(places, places.run_folder(run_id))
    finish_exchange(places, run_id)
    return shared_runs.bring_accounts(places, run_id)


def finish_begun(places: Places, run_id: str) -> None:
    """Finish what was begun on the lake files of a run and killed half way: a compaction, an exchange, or both.

    Args:
        places: of the source.
        run_id: a loaded run.

    Raises:
        ManifestError: a record cannot be read.
        OSError: lake or records cannot be written.
        StorageError, StoreUnavailableError: the store refuses, or does not answer.
    """
    bring_compacted(places, run_id)
    if (places.run_folder(run_id) / _INTENT).exists():
        _finish(places, places.run_folder(run_id))
    finish_exchange(places, run_id)


def is_compacted(accounts: Iterable[LandedBatch]) -> bool:
    """Tell whether some lake files of a run have been put together."""
    return any(file.path.endswith(_ALL) for account in accounts for file in account.lake_files)


def _compact_run(connection: duckdb.DuckDBPyConnection, places: Places, folder: Path, run_id: str) -> int:
    name = lake_key_name(places.key)
    batches = read_accounts(folder)
    files = [file for batch in batches for file in batch.lake_files]
    tables = {table: [f for f in files if f.table == table] for table in {file.table for file in files}}
    many = {table: found for table, found in tables.items() if len(found) > 1 and _is_small(places, found)}
    if not many:
        return 0
    shared_runs.bring_lake(places, batches, tables=many)
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
    write_durably(folder / _INTENT, json.dumps(steps).encode())
    store = store_of(places)
    if store is not None:
        store.write(_note(run_id), read_bytes(folder / _INTENT))
        reached(StorePoint.RECORD_UPLOADED)
    _finish(places, folder)
    return sum(len(found) - 1 for found in many.values())


def _finish(places: Places, folder: Path) -> None:
    """Do what the note says; every step may have been done already."""
    try:
        steps = json.loads(read_bytes(folder / _INTENT))
    except ValueError as error:
        raise ManifestError(f"{folder / _INTENT} cannot be read; delete it and compact again.") from error
    for step in steps:
        target = places.lake / step["target"]
        for source in step["sources"]:
            (places.lake / source).unlink(missing_ok=True)
        if _hidden(target).exists():
            _hidden(target).replace(target)
        if target.parent.exists():
            sync_folder(target.parent)
    _replace_in_store(places, steps)
    first, *others = read_accounts(folder)
    compacted = {
        step["table"]: LakeFile(
            step["table"], step["target"], step["rows"], step.get("bytes", 0), step.get("sha256", "")
        )
        for step in steps
    }
    for batch in others:
        write_landed(folder, replace(batch, lake_files=tuple(f for f in batch.lake_files if f.table not in compacted)))
    kept = [file for file in first.lake_files if file.table not in compacted]
    write_landed(folder, replace(first, lake_files=tuple(sorted([*kept, *compacted.values()], key=lambda f: f.table))))
    _share_accounts(places, folder, steps)
    (folder / _INTENT).unlink(missing_ok=True)


def _put_hidden(places: Places, file: LakeFile) -> LakeFile:
    """Upload a new file under its hidden name; return it with size and SHA-256."""
    return shared_runs.put_lake_file(
        places, file, source=_hidden(places.lake / file.path), name=_hidden(Path(file.path)).as_posix()
    )


def _replace_in_store(places: Places, steps: list[dict[str, Any]]) -> None:
    store = store_of(places)
    if store is None:
        return
    for step in steps:
        target = Path("lake") / step["target"]
        store.delete(f"lake/{source}" for source in step["sources"])
        reached(StorePoint.DATA_UPLOADED)
        if store.size(_hidden(target).as_posix()) is not None:
            store.copy(_hidden(target).as_posix(), target.as_posix())


def _share_accounts(places: Places, folder: Path, steps: list[dict[str, Any]]) -> None:
    store = store_of(places)
    if store is None:
        return
    for account in read_accounts(folder):
        shared_runs.share_record(places, folder.name, landed_path(folder, account.batch).name)
    store.delete(_hidden(Path("lake") / step["target"]).as_posix() for step in steps)
    store.delete([_note(folder.name)])


def _is_small(places: Places, files: list[LakeFile]) -> bool:
    return places.store is None or sum(file.bytes for file in files) <= _COPIED_BYTES


def _note(run_id: str) -> str:
    return f"raw/{run_id}/{_INTENT}"


def _hidden(target: Path) -> Path:
    # Engines that read the lake in place skip names that begin with a dot.
    return target.with_name(f".{target.name}.compact")
