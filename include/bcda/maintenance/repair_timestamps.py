"""Repairing a home that believed a date in the future: its runs are merged anew, without such dates."""

import glob
import logging
from dataclasses import dataclass, replace
from datetime import UTC
from pathlib import Path

import duckdb

from bcda import duckdb_files, warehouse
from bcda.errors import StorageError
from bcda.files import sync_folder
from bcda.maintenance.rebuild import keep_person_keys, merge_anew
from bcda.places import Places
from bcda.warehouse_place import check_place

log = logging.getLogger(__name__)

_KEEP = (
    "DELETE FROM fresh.ops.setting",
    "INSERT INTO fresh.ops.setting BY NAME FROM ops.setting",
    "DELETE FROM fresh.ops.dq_result",
    "INSERT INTO fresh.ops.dq_result BY NAME FROM ops.dq_result",
    "CHECKPOINT fresh",
    "DETACH fresh",
)
"""Copies what no merge makes: settings, and the results of checks."""


@dataclass(frozen=True, slots=True)
class RepairedTimestamps:
    """What a repair found.

    Attributes:
        runs: loaded runs of which the ledger held a date in the future.
        resources: resources that said that they were updated in the future.
    """

    runs: int
    resources: int


def repair_timestamps(places: Places) -> RepairedTimestamps | None:
    """Merge every loaded run anew, from the lake, into a database that takes the place of the working one.

    A run whose `transactionTime` lay in the future then covers nothing, so that the next run asks again from where the run
    before it ended. A resource that was dated in the future gives way to the next one that comes. The lock on the working
    database is held meanwhile; killed, the repair leaves it as it was, and can be run again.

    Args:
        places: of the source.

    Returns:
        What was wrong; None when nothing was, and nothing was changed.

    Raises:
        ManifestError: the account of a run is missing; nothing was changed.
        WarehouseLockedError: a load held the working database for too long.
        StorageError: no space for the new database, or the working database is at another place.
    """
    check_place(places)
    if not places.warehouse.exists():
        return None
    fresh = replace(places, warehouse=places.warehouse.with_name(f".{places.warehouse.name}.repaired"), store=None)
    with warehouse.open_warehouse(places.warehouse, key=places.key) as connection:
        found = RepairedTimestamps(len(warehouse.future_runs(connection)), warehouse.future_resources(connection))
        if not found.runs and not found.resources:
            return None
        _remove(fresh.warehouse)
        try:
            runs = connection.execute(
                "SELECT run_id, finished_at FROM ops.export_run ORDER BY finished_at, run_id"
            ).fetchall()
            _keep_person_keys(connection, fresh)
            merge_anew(places, fresh, {run_id: finished_at.replace(tzinfo=UTC) for run_id, finished_at in runs})
            _keep(connection, fresh)
            connection.execute("CHECKPOINT").fetchall()
            if places.warehouse.with_name(f"{places.warehouse.name}.wal").exists():
                raise StorageError(f"{places.warehouse} has a log that is not written into it; run the command again.")
            fresh.warehouse.replace(places.warehouse)
            sync_folder(places.warehouse.parent)
        finally:
            _remove(fresh.warehouse)
    log.info("repaired the dates of %d runs and %d resources", found.runs, found.resources)
    return found


def _keep_person_keys(connection: duckdb.DuckDBPyConnection, fresh: Places) -> None:
    """Create the new database with the keys of persons, which merges then follow."""
    with warehouse.open_warehouse(fresh.warehouse, key=fresh.key):
        pass
    duckdb_files.attach(connection, fresh.warehouse, "fresh", key=fresh.key)
    keep_person_keys(connection, to="fresh.")
    connection.execute("CHECKPOINT fresh")
    connection.execute("DETACH fresh")


def _keep(connection: duckdb.DuckDBPyConnection, fresh: Places) -> None:
    """Copy what no merge makes into the new database."""
    duckdb_files.attach(connection, fresh.warehouse, "fresh", key=fresh.key)
    for statement in _KEEP:
        connection.execute(statement).fetchall()


def _remove(database: Path) -> None:
    for leftover in database.parent.glob(f"{glob.escape(database.name)}*"):
        leftover.unlink() if leftover.is_file() else None
