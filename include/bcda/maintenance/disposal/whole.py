"""Everything of a source: raw files, lake, databases, reports, figures and objects. Only certificates stay."""

import logging
import shutil
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

import duckdb

from bcda import warehouse
from bcda.errors import EncryptionError, StorageError, WarehouseError
from bcda.maintenance.disposal import at_work
from bcda.maintenance.disposal.leftovers import remove_files, shown_files
from bcda.storage import duckdb_files
from bcda.storage.files import private_folder, reason_of, sync_folder
from bcda.storage.object_store import store_of
from bcda.storage.places import Places
from bcda.storage.sql_text import identifier

log = logging.getLogger(__name__)

_LOGS = ("", ".wal", ".wal.checkpoint", ".wal.recovery")


def counts_of(places: Places) -> tuple[dict[str, int], dict[str, int]]:
    """Return how many files and objects a source has, by kind, and the rows of its working database, by table.

    Rows are not counted where the database cannot be opened: a key that is lost is no reason to keep what it locks.

    Raises:
        WarehouseLockedError: a load holds the working database.
        StorageError, StoreUnavailableError: the store refuses, or does not answer.
    """
    store = store_of(places)
    counts = {
        "raw files and records": _files(places.raw),
        "lake files": _files(places.lake),
        "files of the working database": len(_working(places)),
        "published databases": len([path for path in _published(places) if path.suffix == places.published.suffix]),
        "reports and files of figures": len(shown_files(places)),
        "objects of the object store": 0 if store is None else len(store.sizes("")),
    }
    return {name: number for name, number in counts.items() if number}, _rows(places)


def remove(places: Places) -> None:
    """Remove everything; killed half way it goes on when it is called again.

    Raises:
        StorageError, StoreUnavailableError: something cannot be removed.
    """
    store = store_of(places)
    remove_files(_published(places))
    remove_files(shown_files(places))
    _empty(places.reports)
    if store is not None:
        store.delete(list(store.sizes("")))
    _empty(places.raw)
    _empty(places.lake)
    # Last: what is left of a source shows while its ledger does.
    remove_files(_working(places))
    for folder in (places.published.parent, places.warehouse.parent):
        _remove_hidden(folder, (places.published.name, places.warehouse.name))


def unloaded(places: Places, *, now: datetime) -> at_work.Unloaded:
    """Return the runs that are not loaded; those of a database that cannot be opened count by their age alone."""
    try:
        loaded = frozenset(warehouse.merged_runs(places))
    except (EncryptionError, WarehouseError, StorageError):
        loaded = frozenset()
    return at_work.unloaded_runs(places, loaded, now=now)


def _rows(places: Places) -> dict[str, int]:
    if not places.warehouse.exists():
        return {}
    try:
        with warehouse.open_warehouse(places.warehouse, key=places.key, read_only=True, any_version=True) as connection:
            return _rows_in(connection)
    except (EncryptionError, WarehouseError, StorageError) as error:
        log.warning("The rows of the working database are not counted. %s", error)
        return {}


def _rows_in(connection: duckdb.DuckDBPyConnection) -> dict[str, int]:
    tables = connection.execute(
        "SELECT schema_name, table_name FROM duckdb_tables() WHERE database_name = $name ORDER BY ALL",
        {"name": duckdb_files.WAREHOUSE},
    ).fetchall()
    counted = {}
    for schema, table in tables:
        relation = f"{identifier(schema)}.{identifier(table)}"
        counted[f"{schema}.{table}"] = int(connection.execute(f"SELECT count(*) FROM {relation}").fetchall()[0][0])  # noqa: S608
    return {table: rows for table, rows in counted.items() if rows}


def _working(places: Places) -> list[Path]:
    folder, name = places.warehouse.parent, places.warehouse.name
    found = [folder / f"{name}{suffix}" for suffix in _LOGS] + [folder / "warehouse.mark"]
    return [path for path in found if path.exists() or path.is_symlink()]


def _published(places: Places) -> list[Path]:
    if not places.published.parent.exists():
        return []
    shown = [places.published, *warehouse.dated_copies(places.published)]
    found = [path.with_name(f"{path.name}{suffix}") for path in shown for suffix in _LOGS]
    return [path for path in found if path.exists() or path.is_symlink()]


def _files(folder: Path) -> int:
    return sum(1 for path in folder.rglob("*") if not path.is_dir()) if folder.exists() else 0


def _empty(folder: Path) -> None:
    if not folder.exists():
        return
    _remove_all(folder.iterdir())
    sync_folder(private_folder(folder))


def _remove_hidden(folder: Path, names: Iterable[str]) -> None:
    """Remove temporary copies of databases; the lock file beside the published one stays, since it is held."""
    if folder.exists():
        begins = tuple(f".{name}." for name in names)
        _remove_all(
            path for path in folder.iterdir() if path.name.startswith(begins) and not path.name.endswith(".lock")
        )


def _remove_all(paths: Iterable[Path]) -> None:
    try:
        for path in list(paths):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(f"Cannot remove {error.filename}: {reason_of(error)}. Check the owner.") from error
