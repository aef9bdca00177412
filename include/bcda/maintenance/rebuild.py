"""Raw can rebuild the lake, the lake can rebuild the warehouse; both prove that the result equals what is there."""

import logging
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import duckdb

from bcda import landing, model, warehouse
from bcda.api.manifest import Manifest
from bcda.errors import ManifestError
from bcda.maintenance.compaction import compact_lake, finish_begun, is_compacted
from bcda.runs.disposed_runs import read_disposed, set_disposed
from bcda.runs.folder import RunFolder
from bcda.runs.folders import folders_of, run_folder
from bcda.runs.landed import LandedBatch, read_accounts
from bcda.runs.names import MANIFEST
from bcda.runs.receipts import read_receipt
from bcda.storage import duckdb_files, parquet_files
from bcda.storage.encryption import lake_key_name
from bcda.storage.files import private_folder
from bcda.storage.guarded import guarded
from bcda.storage.places import Places
from bcda.storage.sql_text import identifier

log = logging.getLogger(__name__)

_WHEN = frozenset({"finished_at", "batch"})
"""Columns that say when and in which portion a run was merged; a rebuilt store may differ in them."""


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """A store that was rebuilt beside the old one.

    Attributes:
        path: where it is.
        runs: runs in it.
        rows: rows that were compared.
        differing: tables with a row that only one of them has; empty when they are equal.
        not_rebuilt: runs whose raw files are gone, so that only the old store has them.
    """

    path: Path
    runs: int
    rows: int
    differing: tuple[str, ...]
    not_rebuilt: tuple[str, ...] = ()


@guarded("rebuild the working database")
def rebuild_warehouse(places: Places, target: Path) -> Rebuilt:
    """Merge every loaded run again from the lake into a new database and compare it with the working one.

    What is in the object store only is brought from there. When the working database is gone too, the store tells which runs
    were loaded, and there is nothing to compare with.

    Args:
        places: of the source; nothing in them is changed.
        target: file of the new database; must not exist. Move it into the place of the working one to use it.

    Raises:
        ManifestError: the file exists, or the account of a run is missing.
        CountMismatchError, StorageError: see `warehouse.merge_run`.

    Source: docs/concepts.md#where-the-data-is.
    """
    if target.exists():
        raise ManifestError(f"{target} exists already; move it away or name another.")
    fresh = replace(places, warehouse=target, store=None)
    is_lost = places.store is not None and not places.warehouse.exists()
    merged_at = folders_of(places).loaded() if is_lost else warehouse.merged_runs(places)
    if not is_lost:
        with warehouse.open_warehouse(fresh.warehouse, key=places.key) as connection:
            duckdb_files.attach(connection, places.warehouse, "old", key=places.key, read_only=True)
            keep_person_keys(connection, of="old.")
    merge_anew(places, fresh, merged_at)
    if is_lost:
        log.warning("there is no working database to compare the new one with")
        return Rebuilt(target, len(merged_at), 0, ())
    with warehouse.open_warehouse(target, key=places.key) as connection:
        duckdb_files.attach(connection, places.warehouse, "old", key=places.key, read_only=True)
        was = connection.execute("SELECT max(schema_version) FROM old.ops.schema_info").fetchall()[0][0]
        if was != model.SCHEMA_VERSION:
            log.warning("the present database is of schema version %s, so only runs can be compared", was)
            return Rebuilt(target, len(merged_at), 0, ())
        names = [table.relation for table in model.core_tables()]
        names += ["coverage_period", "patient_identifier", "resource_version", "roster"]
        # A database of an earlier release lacks what has been added since, until it is opened.
        present = {row[0] for row in connection.execute(_OLD_TABLES).fetchall()}
        names = [name for name in names if _qualified(name) in present]
        names += [row[0] for row in connection.execute(_LEDGER_TABLES).fetchall()]
        if _has_earlier_runs(connection):
            log.warning("%s is not compared: an earlier release counted drug events in it", _CHANGES)
            names.remove(_CHANGES)
        if not connection.execute(_HAS_KEYS).fetchall()[0][0]:
            # The first merge of this release fills it there, and the rebuilt database has it already.
            names = [name for name in names if name != "ops.earlier_person_key"]
        if connection.execute("SELECT count(*) > 0 FROM old.ops.setting WHERE name LIKE 'disposed %'").fetchall()[0][0]:
            log.warning("%s are not compared: data was disposed of after they were made", ", ".join(_COUNTS))
            names = [name for name in names if name not in _COUNTS]
        compared = [(name, *_compare(connection, f"old.{_qualified(name)}", _qualified(name))) for name in names]
    return Rebuilt(
        target, len(merged_at), sum(row[1] for row in compared), tuple(name for name, _, same in compared if not same)
    )


def merge_anew(places: Places, fresh: Places, merged_at: Mapping[str, datetime]) -> None:
    """Merge loaded runs from the lake into a new database. Dates of theirs that lie in the future are not believed.

    Args:
        places: of the source.
        fresh: the same with another working database.
        merged_at: when each run was merged, in that order.

    Raises:
        ManifestError: the account of a run is missing.
        CountMismatchError, StorageError: see `warehouse.merge_run`.
    """
    for run_id, finished_at in merged_at.items():
        folder = run_folder(places, run_id)
        batches = finish_begun(places, run_id)
        run, manifest = folder.read_run(), _manifest(folder)
        folders_of(places).bring_lake(batches)
        disposed = read_disposed(places, run_id)
        if disposed is not None:
            with warehouse.open_warehouse(fresh.warehouse, key=fresh.key) as connection:
                set_disposed(connection, run_id, disposed)
        warehouse.merge_run(fresh, run, manifest, batches, now=finished_at, believes_no_future=True)
        log.info("merged run %s again", run_id)


_CHANGES = "ops.export_change"

_COUNTS = (_CHANGES, "coverage_period", "ops.export_count", "ops.full_pull", "ops.reconciliation")
"""Tables that count resources as they came, or say which years came."""

_LEDGER_TABLES = (
    "SELECT 'ops.' || table_name FROM duckdb_tables() WHERE schema_name = 'ops' "
    "AND table_name NOT IN ('dq_result', 'schema_info', 'setting', 'suspect_claim', 'person_change', 'mapping_change', "
    "'run_mapping') "
    "GROUP BY ALL HAVING count(DISTINCT database_name) > 1 ORDER BY ALL"
)
"""What both databases have. Checks fill two of the tables left out; a database of an earlier release has no changes of persons.

A remap fills two, of which the versions are as new as the lake is."""


_OLD_TABLES = "SELECT schema_name || '.' || table_name FROM duckdb_tables() WHERE database_name = 'old'"

_HAS_KEYS = "SELECT count(*) > 0 FROM old.ops.setting WHERE name = 'person_keys'"


def _has_earlier_runs(connection: duckdb.DuckDBPyConnection) -> bool:
    """Tell whether an earlier release merged runs into the database `old`: those before persons had keys of their own."""
    if not connection.execute(_HAS_KEYS).fetchall()[0][0]:
        return True
    return bool(connection.execute("SELECT count(*) > 0 FROM old.ops.earlier_person_key").fetchall()[0][0])


def keep_person_keys(connection: duckdb.DuckDBPyConnection, *, of: str = "", to: str = "") -> None:
    """Give a new database the keys that an earlier release gave to persons: they stay, and nothing in the lake tells them.

    Args:
        connection: to both databases.
        of: prefix of the old database's tables, such as `old.`; empty for the current one.
        to: prefix of the new database's tables.
    """
    is_earlier = not connection.execute(
        f"SELECT count(*) FROM {of}ops.setting WHERE name = 'person_keys'"  # noqa: S608 - our own names
    ).fetchall()[0][0]
    columns = f"SELECT api_version, patient_id, person_key FROM {of}main.patient"  # noqa: S608 - our own names
    keys = columns if is_earlier else f"FROM {of}ops.earlier_person_key"
    connection.execute(f"INSERT INTO {to}ops.earlier_person_key {keys}").fetchall()


@guarded("rebuild the lake")
def rebuild_lake(places: Places, target: Path) -> Rebuilt:
    """Land every loaded run again from its raw files into a new lake and compare it with the current one.

    Args:
        places: of the source; nothing in them is changed.
        target: folder of the new lake; must not exist. Move it into the place of the current one to use it.

    Raises:
        ManifestError: the folder exists, or a receipt is missing.
        CountMismatchError, ManifestError, StorageError: see `landing.land_files`.

    Source: docs/concepts.md#where-the-data-is.
    """
    if target.exists():
        raise ManifestError(f"{target} exists already; move it away or name another.")
    private_folder(target)
    gone, differing, rows = [], set[str](), 0
    run_ids = list(warehouse.merged_runs(places))
    with tempfile.TemporaryDirectory(prefix=".rebuild-", dir=target) as raw:
        fresh = replace(places, lake=target, raw=Path(raw), store=None)
        for run_id in run_ids:
            folder = run_folder(places, run_id)
            brought = _bring_raw(places, folder)
            accounts = read_accounts(folder.path)
            if not all((folder.path / file.name).exists() for account in accounts for file in account.files):
                gone.append(run_id)
                continue
            landed = _land_anew(fresh, folder, accounts)
            log.info("landed run %s again", run_id)
            counted, unequal = _compare_run(fresh, places.lake, accounts, landed)
            rows, differing = rows + counted, differing | unequal
            for path in brought:
                path.unlink(missing_ok=True)
    return Rebuilt(target, len(run_ids) - len(gone), rows, tuple(sorted(differing)), tuple(gone))


def _bring_raw(places: Places, folder: RunFolder) -> list[Path]:
    """Bring what a run needs to be landed again, and the lake files to compare with; return the raw files that came."""
    accounts = finish_begun(places, folder.run_id)
    files = [file.name for account in accounts for file in account.files]
    missing = [folder.path / name for name in files if not (folder.path / name).exists()]
    if folder.has_files(files):
        folder.bring_files(files)
        folders_of(places).bring_lake(accounts)
    return missing


def _land_anew(fresh: Places, folder: RunFolder, accounts: Sequence[LandedBatch]) -> list[LandedBatch]:
    """Land from links to the raw files, so that the accounts of the present lake stay as they are."""
    copy = private_folder(fresh.run_folder(folder.run_id))
    landed = []
    for account in accounts:
        receipts = []
        for file in account.files:
            receipt = read_receipt(folder.path, file.name)
            if receipt is None:
                raise ManifestError(f"{file.name} of run {folder.run_id} has no receipt; it cannot be landed again.")
            (copy / file.name).symlink_to((folder.path / file.name).absolute())
            receipts.append(receipt)
        landed.append(
            landing.land_files(folder.read_run(), _manifest(folder), receipts, batch=account.batch, places=fresh)
        )
    if is_compacted(accounts):
        # The accounts, which stay, name the files of a compacted run otherwise.
        compact_lake(fresh, [folder.run_id])
        landed = read_accounts(copy)
    shutil.rmtree(copy)
    return landed


def _compare_run(
    fresh: Places, lake: Path, old: Sequence[LandedBatch], new: Sequence[LandedBatch]
) -> tuple[int, set[str]]:
    rows, differing = 0, set()
    before, after, name = _files(lake, old), _files(fresh.lake, new), lake_key_name(fresh.key)
    with duckdb_files.connected(spill=fresh.raw, key=fresh.key) as connection:
        for table in before.keys() | after.keys():
            if before.keys() ^ after.keys() and (table not in before or table not in after):
                differing.add(table)
                continue
            parquet_files.show(connection, before[table], name, "was")
            parquet_files.show(connection, after[table], name, "made")
            counted, same = _compare(connection, "was", "made")
            rows += counted
            if not same:
                differing.add(table)
    return rows, differing


def _compare(connection: duckdb.DuckDBPyConnection, left: str, right: str) -> tuple[int, bool]:
    """Return the number of rows of the left relation, and whether both hold the same rows as often."""
    described = connection.execute(f"DESCRIBE SELECT * FROM {left}").fetchall()  # noqa: S608 - our own tables and files
    columns = ", ".join(identifier(row[0]) for row in described if row[0] not in _WHEN)
    count, different = connection.execute(
        f"SELECT (SELECT count(*) FROM {left}), "  # noqa: S608
        f"(SELECT count(*) FROM (SELECT {columns} FROM {left} EXCEPT ALL SELECT {columns} FROM {right})) + "
        f"(SELECT count(*) FROM (SELECT {columns} FROM {right} EXCEPT ALL SELECT {columns} FROM {left}))"
    ).fetchall()[0]
    return int(count), not different


def _files(lake: Path, batches: Sequence[LandedBatch]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for file in (file for batch in batches for file in batch.lake_files):
        found.setdefault(file.table, []).append(str(lake / file.path))
    return found


def _qualified(name: str) -> str:
    return name if "." in name else f"main.{name}"


def _manifest(folder: RunFolder) -> Manifest:
    if not folder.has_manifest():
        raise ManifestError(f"{folder.path / MANIFEST} is missing; the run cannot be rebuilt.")
    return folder.read_manifest()
