"""Fewer, larger lake files: the batches of a loaded run are put together, one file a table."""

import json
import logging
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import duckdb

from bcda import duckdb_files, parquet_files
from bcda.encryption import lake_key_name
from bcda.errors import CountMismatchError, ManifestError, StorageError
from bcda.landed import LakeFile, LandedBatch, read_landed, write_landed
from bcda.places import Places, sync_folder, write_durably

log = logging.getLogger(__name__)

MEMORY = "1GB"
"""Of one compaction; what does not fit is spilled below the lake."""

_INTENT = "compaction.json"
_ALL = "-all.parquet"


def compact_lake(places: Places, run_ids: Iterable[str]) -> int:
    """Put the lake files of runs together and return how many files there are fewer.

    A note of what is about to happen is written first, so that a run killed half way is finished by the next call. Between
    removing the old files and showing the new one, engines that read the lake in place can miss its rows for a moment;
    they never see them twice.

    Args:
        places: of the source.
        run_ids: loaded runs; nobody else touches their files.

    Raises:
        CountMismatchError: the new file has other rows than the old ones; they stay.
        StorageError: the lake cannot be written.
        EncryptionError: the key is not that of the lake.
    """
    saved = 0
    with duckdb_files.connected(spill=places.lake / ".spill-compaction", memory=MEMORY, key=places.key) as connection:
        for run_id in run_ids:
            folder = places.run_folder(run_id)
            try:
                if (folder / _INTENT).exists():
                    _finish(places, folder)
                saved += _compact_run(connection, places, folder, run_id)
            except (OSError, duckdb.IOException, duckdb.OutOfMemoryException) as error:
                raise StorageError(
                    f"Cannot compact the lake files of {run_id} ({type(error).__name__}). Check free space and owner."
                ) from error
    log.info("compaction left %d files fewer", saved)
    return saved


def is_compacted(accounts: Iterable[LandedBatch]) -> bool:
    """Tell whether some lake files of a run have been put together."""
    return any(file.path.endswith(_ALL) for account in accounts for file in account.lake_files)


def _compact_run(connection: duckdb.DuckDBPyConnection, places: Places, folder: Path, run_id: str) -> int:
    name = lake_key_name(places.key)
    batches = _accounts(folder)
    files = [file for batch in batches for file in batch.lake_files]
    tables = {table: [f for f in files if f.table == table] for table in {file.table for file in files}}
    many = {table: found for table, found in tables.items() if len(found) > 1}
    if not many:
        return 0
    steps = []
    for table, found in sorted(many.items()):
        target = Path(found[0].path).with_name(f"{run_id}{_ALL}").as_posix()
        sources = [places.lake / file.path for file in found]
        held = sum(parquet_files.count_rows(connection, source, name) for source in sources)
        rows = parquet_files.put_together(connection, sources, _hidden(places.lake / target), read=name, write=name)
        if not rows == held == sum(file.rows for file in found):
            _hidden(places.lake / target).unlink()
            raise CountMismatchError(
                f"Lake files of {table} of run {run_id} have other rows than their accounts say. Rebuild the lake from raw.",
                lines_read=sum(file.rows for file in found),
                rows_landed=rows,
                lines_quarantined=0,
            )
        steps.append({"table": table, "target": target, "rows": rows, "sources": [file.path for file in found]})
    write_durably(folder / _INTENT, json.dumps(steps).encode())
    _finish(places, folder)
    return sum(len(found) - 1 for found in many.values())


def _finish(places: Places, folder: Path) -> None:
    """Do what the note says; every step may have been done already."""
    try:
        steps = json.loads((folder / _INTENT).read_bytes())
    except ValueError as error:
        raise ManifestError(f"{folder / _INTENT} cannot be read; delete it and compact again.") from error
    for step in steps:
        target = places.lake / step["target"]
        for source in step["sources"]:
            (places.lake / source).unlink(missing_ok=True)
        if _hidden(target).exists():
            _hidden(target).replace(target)
        sync_folder(target.parent)
    first, *others = _accounts(folder)
    compacted = {step["table"]: LakeFile(step["table"], step["target"], step["rows"]) for step in steps}
    for batch in others:
        write_landed(folder, replace(batch, lake_files=tuple(f for f in batch.lake_files if f.table not in compacted)))
    kept = [file for file in first.lake_files if file.table not in compacted]
    write_landed(folder, replace(first, lake_files=tuple(sorted([*kept, *compacted.values()], key=lambda f: f.table))))
    (folder / _INTENT).unlink()


def _accounts(folder: Path) -> list[LandedBatch]:
    numbers = sorted(int(path.stem.removeprefix("landed-")) for path in folder.glob("landed-*.json"))
    return [landed for number in numbers if (landed := read_landed(folder, number)) is not None]


def _hidden(target: Path) -> Path:
    # Engines that read the lake in place skip names that begin with a dot.
    return target.with_name(f".{target.name}.compact")
