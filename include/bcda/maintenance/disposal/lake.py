"""Rewriting lake files without what is disposed of, run by run; killed half way, the next call finishes a run."""

import json
import logging
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path

import duckdb

from bcda.errors import ManifestError, StorageError
from bcda.maintenance.compaction import finish_begun
from bcda.maintenance.disposal.rules import ADDED, EMPTIED, LAKE
from bcda.runs import names
from bcda.runs.disposed_runs import DisposedRun, note_disposed
from bcda.runs.folders import folders_of, run_folder
from bcda.runs.landed import LakeFile, LandedBatch, read_accounts
from bcda.storage import parquet_files
from bcda.storage.encryption import lake_key_name
from bcda.storage.files import put_in_place, read_bytes, sync_folder, write_durably
from bcda.storage.places import Places

log = logging.getLogger(__name__)

_SUFFIX = ".disposal"
_VERSION = re.compile(r"/api_version=(v[0-9]+)/")


@dataclass(slots=True)
class LakeCounts:
    """What goes, or went.

    Attributes:
        files: lake files that are rewritten.
        rows: rows that go, by table of the lake.
        emptied: rows that stay without their text, by table.
    """

    files: int = 0
    rows: Counter[str] = field(default_factory=Counter)
    emptied: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class _Hit:
    """A file with rows that go or lose values."""

    file: LakeFile
    gone: int
    emptied: int


def look_through(connection: duckdb.DuckDBPyConnection, places: Places, run_ids: Iterable[str]) -> LakeCounts:
    """Return what of the lake would go; change nothing.

    Args:
        connection: with the tables of `selection` and the key of the lake.
        places: of the source.
        run_ids: loaded runs.

    Raises:
        StorageError: a table of the lake has no rule, or the object store refuses.
        EncryptionError, ManifestError: a file cannot be read.
    """
    counts = LakeCounts()
    for _, _, files in _runs(places, run_ids):
        _add(counts, _hits(connection, places, files))
    return counts


def filter_lake(
    connection: duckdb.DuckDBPyConnection, places: Places, run_ids: Iterable[str], note: DisposedRun
) -> LakeCounts:
    """Rewrite the lake files that have something of what goes, and return what went.

    Args:
        connection: with the tables of `selection` and the key of the lake.
        places: of the source.
        run_ids: loaded runs.
        note: what to note of runs that lose something.

    Raises:
        StorageError: no space, or a table of the lake has no rule.
        EncryptionError, ManifestError: a file cannot be read.
    """
    counts, name = LakeCounts(), lake_key_name(places.key)
    finish_lake(places)
    for run_id, accounts, files in _runs(places, run_ids):
        hits = _hits(connection, places, files)
        if not hits:
            continue
        steps = []
        for hit in hits:
            target = places.lake / hit.file.path
            hidden = _hidden(target)
            hidden.unlink(missing_ok=True)
            rows = parquet_files.write_rows(connection, _kept(connection, hit.file, target, name), hidden, name)
            if rows != hit.file.rows - hit.gone:
                hidden.unlink(missing_ok=True)
                raise StorageError(f"The copy of {target} holds other rows than it should; the file stays as it is.")
            hidden.chmod(0o600)
            steps.append(replace(hit.file, rows=rows))
        folder = places.run_folder(run_id)
        if accounts:
            write_durably(
                folder / names.DISPOSAL,
                json.dumps([{**asdict(step), "at": note.at.isoformat()} for step in steps]).encode(),
            )
        _finish(places, run_id, steps, note)
        _add(counts, hits)
        log.info("rewrote %d lake files of run %s", len(hits), run_id)
    return counts


def finish_lake(places: Places) -> None:
    """Finish the runs of a call that was killed, and remove the copies that it did not come to use.

    Raises:
        ManifestError, StorageError: a record cannot be read, or a file cannot be written.
    """
    for run_id in folders_of(places).noted(names.DISPOSAL):
        intent = places.run_folder(run_id) / names.DISPOSAL
        try:
            documents = json.loads(read_bytes(intent))
            at = max(document.pop("at") for document in documents)
            steps = [LakeFile(**document) for document in documents]
            note = DisposedRun(datetime.fromisoformat(at))
        except (ValueError, KeyError, TypeError) as error:
            raise ManifestError(
                f"{intent} cannot be read ({type(error).__name__}); delete it and dispose again."
            ) from error
        _finish(places, run_id, steps, note)
    for left in places.lake.glob(f"*/*/*/.*{_SUFFIX}"):
        left.unlink(missing_ok=True)


def _runs(places: Places, run_ids: Iterable[str]) -> Iterator[tuple[str, list[LandedBatch], list[LakeFile]]]:
    """Yield each loaded run with its accounts and lake files, then whatever else lies in the lake."""
    known = set()
    for run_id in run_ids:
        known.add(run_id)
        accounts = finish_begun(places, run_id)
        folders_of(places).bring_lake(accounts)
        yield run_id, accounts, [file for account in accounts for file in account.lake_files]
    others: dict[str, list[LakeFile]] = {}
    for path in sorted(places.lake.glob("*/*/*/*.parquet")):
        run_id = path.name.rpartition("-")[0]
        if run_id not in known:
            relative = path.relative_to(places.lake)
            others.setdefault(run_id, []).append(LakeFile(relative.parts[0], relative.as_posix(), -1))
    for run_id, files in others.items():
        yield run_id, [], files


def _hits(connection: duckdb.DuckDBPyConnection, places: Places, files: Iterable[LakeFile]) -> list[_Hit]:
    found = []
    name = lake_key_name(places.key)
    for file in files:
        if file.table not in LAKE:
            raise StorageError(
                f"The lake has the table {file.table}, and this release does not know what it says about people. Nothing of it was "
                "changed. Use the release that wrote it."
            )
        path = places.lake / file.path
        held = parquet_files.count_rows(connection, path, name)
        source = _source(connection, file, path, name)
        rule = LAKE[file.table]
        gone = 0 if rule is None else _count(connection, f"{source} WHERE {rule}")
        emptied = 0
        if file.table in EMPTIED and _has_columns(connection, source, EMPTIED[file.table][1]):
            stays = "" if rule is None else f" AND NOT coalesce({rule}, false)"
            emptied = _count(connection, f"{source} WHERE ({EMPTIED[file.table][0]}){stays}")
        if gone or emptied:
            found.append(_Hit(replace(file, rows=held), gone, emptied))
    return found


def _source(connection: duckdb.DuckDBPyConnection, file: LakeFile, path: Path, key_name: str | None) -> str:
    version = _VERSION.search(file.path)
    if version is None:
        raise StorageError(f"The path {path} names no API version; nothing of it was changed.")
    rows = parquet_files.relation([str(path)], key_name)
    added = ADDED.get(file.table, ())
    there = {row[0] for row in connection.execute(f"DESCRIBE FROM {rows}").fetchall()} if added else set()
    absent = "".join(f", NULL::VARCHAR AS {column}" for column in added if column not in there)
    return f"(SELECT *, '{version[1]}' AS api_version{absent} FROM {rows}) AS t"  # noqa: S608 - names of ours


def _has_columns(connection: duckdb.DuckDBPyConnection, source: str, columns: Iterable[str]) -> bool:
    """Tell whether a file has what is to be changed: one of an earlier release can lack it."""
    there = {row[0] for row in connection.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()}  # noqa: S608 - our own files
    return there.issuperset(columns)


def _kept(connection: duckdb.DuckDBPyConnection, file: LakeFile, path: Path, key_name: str | None) -> str:
    rule = LAKE[file.table]
    where = "" if rule is None else f" WHERE NOT coalesce({rule}, false)"
    replaced = ""
    source = _source(connection, file, path, key_name)
    if file.table in EMPTIED and _has_columns(connection, source, EMPTIED[file.table][1]):
        condition, values = EMPTIED[file.table]
        told = ", ".join(
            f"CASE WHEN coalesce({condition}, false) THEN {value} ELSE t.{column} END AS {column}"
            for column, value in values.items()
        )
        replaced = f" REPLACE ({told})"
    return f"(SELECT t.* EXCLUDE (api_version){replaced} FROM {source}{where})"  # noqa: S608


def _finish(places: Places, run_id: str, steps: list[LakeFile], note: DisposedRun) -> None:
    """Give the new files their names and account for them; every step may have been done already."""
    folder = run_folder(places, run_id)
    done = {}
    for step in steps:
        target = places.lake / step.path
        if _hidden(target).exists():
            put_in_place(_hidden(target), target)
        sync_folder(target.parent)
        done[step.path] = folders_of(places).put_lake_file(step)
    if not folder.path.exists():
        return
    for account in read_accounts(folder.path):
        if any(file.path in done for file in account.lake_files):
            folder.write_account(replace(account, lake_files=tuple(done.get(f.path, f) for f in account.lake_files)))
    note_disposed(places, run_id, note)
    (folder.path / names.DISPOSAL).unlink(missing_ok=True)


def _add(counts: LakeCounts, hits: list[_Hit]) -> None:
    counts.files += len(hits)
    for hit in hits:
        if hit.gone:
            counts.rows[hit.file.table] += hit.gone
        if hit.emptied:
            counts.emptied[hit.file.table] += hit.emptied


def _hidden(target: Path) -> Path:
    # Engines that read the lake in place skip names that begin with a dot.
    return target.with_name(f".{target.name}{_SUFFIX}")


def _count(connection: duckdb.DuckDBPyConnection, relation: str) -> int:
    return int(connection.execute(f"SELECT count(*) FROM {relation}").fetchall()[0][0])  # noqa: S608 - our own names
