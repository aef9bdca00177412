"""Fewer, larger lake files: the batches of a loaded run are put together, one file a table."""

import json
import logging
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq

from bcda.errors import CountMismatchError, ManifestError, StorageError
from bcda.landed import LakeFile, LandedBatch, read_landed, write_landed
from bcda.places import Places, sync_folder, write_durably

log = logging.getLogger(__name__)

_INTENT = "compaction.json"


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
    """
    saved = 0
    for run_id in run_ids:
        folder = places.run_folder(run_id)
        try:
            if (folder / _INTENT).exists():
                _finish(places, folder)
            saved += _compact_run(places, folder, run_id)
        except OSError as error:
            raise StorageError(
                f"Cannot compact the lake files of {run_id}: {error.strerror}. Check free space."
            ) from error
    log.info("compaction left %d files fewer", saved)
    return saved


def _compact_run(places: Places, folder: Path, run_id: str) -> int:
    batches = _accounts(folder)
    files = [file for batch in batches for file in batch.lake_files]
    tables = {table: [f for f in files if f.table == table] for table in {file.table for file in files}}
    many = {table: found for table, found in tables.items() if len(found) > 1}
    if not many:
        return 0
    steps = []
    for table, found in sorted(many.items()):
        target = Path(found[0].path).with_name(f"{run_id}-all.parquet").as_posix()
        rows = _write(places.lake / target, [places.lake / file.path for file in found])
        if rows != sum(file.rows for file in found):
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


def _write(target: Path, sources: Sequence[Path]) -> int:
    """Copy row group by row group into a hidden file and return the number of rows."""
    hidden, rows = _hidden(target), 0
    hidden.unlink(missing_ok=True)
    hidden.touch(mode=0o600)
    schema = pq.read_schema(sources[0])
    with pq.ParquetWriter(hidden, schema, compression="zstd", store_schema=False) as writer:
        for source in sources:
            with pq.ParquetFile(source) as file:
                for group in range(file.num_row_groups):
                    table = file.read_row_group(group).cast(schema)
                    writer.write_table(table, row_group_size=max(1, table.num_rows))
                    rows += table.num_rows
    with hidden.open("rb") as written:
        os.fsync(written.fileno())
    return rows


def _hidden(target: Path) -> Path:
    # Engines that read the lake in place skip names that begin with a dot.
    return target.with_name(f".{target.name}.compact")
