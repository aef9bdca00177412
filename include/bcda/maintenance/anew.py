"""The working database rebuilt from the lake, and put into the place of the old one."""

import glob
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from bcda import warehouse
from bcda.errors import StorageError
from bcda.maintenance.rebuild import keep_person_keys, merge_anew
from bcda.storage import duckdb_files
from bcda.storage.files import sync_folder
from bcda.storage.places import Places

log = logging.getLogger(__name__)

FRESH = "fresh"
"""Name of the new database in statements, beside the old one."""

_OF_THIS_RELEASE = ("views", "mapping_version", "gap_types", "person_keys")
"""Settings that the new database has of its own; the others, such as the version that views show, are those of the old one."""

_KEPT_TABLES = ("dq_result", "mapping_change")
"""What no merge makes: results of checks, and what was remapped before."""


def loaded_at(connection: duckdb.DuckDBPyConnection) -> dict[str, datetime]:
    """Return when each run in the current database was merged, in that order."""
    rows = connection.execute("SELECT run_id, finished_at FROM ops.export_run ORDER BY finished_at, run_id").fetchall()
    return {run_id: finished_at.replace(tzinfo=UTC) for run_id, finished_at in rows}


def exchange_warehouse(
    connection: duckdb.DuckDBPyConnection, places: Places, *, before: Callable[[], None] = lambda: None
) -> None:
    """Merge every loaded run again from the lake into a new database, and put it into the place of the old one.

    Keys that an earlier release gave to persons, settings and results of checks stay. Killed, it leaves the old database as it
    was, and a hidden file that the next call removes.

    Args:
        connection: holds the old database and its lock, as the current one; it can be of an earlier schema version.
        places: of the source.
        before: called with both databases attached, the new one as `fresh`, when that is whole; may write to it.

    Raises:
        ManifestError: the account of a run is missing; no changes were made.
        CountMismatchError, StorageError: see `warehouse.merge_run`.
    """
    fresh = replace(places, warehouse=places.warehouse.with_name(f".{places.warehouse.name}.anew"), store=None)
    _remove(fresh.warehouse)
    try:
        with warehouse.open_warehouse(fresh.warehouse, key=fresh.key):
            pass
        with _attached(connection, fresh):
            keep_person_keys(connection, to=f"{FRESH}.")
        merge_anew(places, fresh, loaded_at(connection))
        with _attached(connection, fresh):
            _keep(connection)
            before()
        connection.execute("CHECKPOINT").fetchall()
        if places.warehouse.with_name(f"{places.warehouse.name}.wal").exists():
            raise StorageError(f"{places.warehouse} has a log that is not written into it; run the command again.")
        fresh.warehouse.replace(places.warehouse)
        sync_folder(places.warehouse.parent)
    finally:
        _remove(fresh.warehouse)


@contextmanager
def _attached(connection: duckdb.DuckDBPyConnection, fresh: Places) -> Iterator[None]:
    duckdb_files.attach(connection, fresh.warehouse, FRESH, key=fresh.key)
    try:
        yield
        connection.execute(f"CHECKPOINT {FRESH}").fetchall()
    finally:
        connection.execute(f"DETACH {FRESH}")


def _keep(connection: duckdb.DuckDBPyConnection) -> None:
    """Copy what no merge makes into the new database."""
    kept = f"FROM ops.setting WHERE name NOT IN {_OF_THIS_RELEASE}"
    connection.execute(f"DELETE FROM {FRESH}.ops.setting WHERE name IN (SELECT name {kept})")  # noqa: S608 - our own names
    connection.execute(f"INSERT INTO {FRESH}.ops.setting BY NAME {kept}")
    columns = columns_of(connection)
    for table in (f"ops.{name}" for name in _KEPT_TABLES):
        both = [name for name in columns[FRESH].get(table, ()) if name in columns["old"].get(table, ())]
        connection.execute(f"DELETE FROM {FRESH}.{table}")  # noqa: S608
        if both:
            connection.execute(f"INSERT INTO {FRESH}.{table} BY NAME SELECT {', '.join(both)} FROM {table}")  # noqa: S608


def columns_of(connection: duckdb.DuckDBPyConnection) -> Mapping[str, Mapping[str, list[str]]]:
    """Return the columns of each table by its name, such as `main.claim`, of the `old` database and of the `fresh` one."""
    found: dict[str, dict[str, list[str]]] = {"old": {}, FRESH: {}}
    rows = connection.execute(
        "SELECT database_name = $fresh, schema_name || '.' || table_name, column_name FROM duckdb_columns() "
        "WHERE database_name IN (current_database(), $fresh) ORDER BY ALL",
        {"fresh": FRESH},
    ).fetchall()
    for is_fresh, table, column in rows:
        found[FRESH if is_fresh else "old"].setdefault(table, []).append(column)
    return found


def _remove(database: Path) -> None:
    for leftover in database.parent.glob(f"{glob.escape(database.name)}*"):
        leftover.unlink() if leftover.is_file() else None
