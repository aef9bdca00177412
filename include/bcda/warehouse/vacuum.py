"""Giving space back: DuckDB keeps the blocks of deleted rows for later rows, so a file never shrinks by itself."""

import logging
from pathlib import Path

from bcda.errors import StorageError
from bcda.places import Places, sync_folder
from bcda.warehouse.database import LOCK_WAIT_SECONDS, open_warehouse

log = logging.getLogger(__name__)

WORTH_IT = 0.25
"""Share of free blocks from which on the database is written anew."""


def vacuum(places: Places, *, worth_it: float = WORTH_IT, wait_seconds: float = LOCK_WAIT_SECONDS) -> int:
    """Write the working database anew when much of it is free, and return by how many bytes it shrank.

    The new file takes the place of the old one by rename while the lock on the old one is held, so that no load can
    come between.

    Args:
        places: of the source.
        worth_it: share of free blocks, 0 to 1.
        wait_seconds: how long to wait for a load.

    Raises:
        WarehouseLockedError: a load held the warehouse for too long.
        StorageError: no space for the copy, or it holds other rows.
    """
    fresh = places.warehouse.with_suffix(".vacuum")
    for leftover in places.warehouse.parent.glob(f"{fresh.name}*"):
        leftover.unlink()
    with open_warehouse(places.warehouse, wait_seconds=wait_seconds) as connection:
        connection.execute("CHECKPOINT").fetchall()
        name, total, free = connection.execute(
            "SELECT database_name, total_blocks, free_blocks FROM pragma_database_size() WHERE database_name = current_database()"
        ).fetchall()[0]
        if not total or free / total < worth_it:
            log.info("%d of %d blocks are free; the database stays as it is", free, total)
            return 0
        before = places.warehouse.stat().st_size
        try:
            connection.execute(f"ATTACH '{_quoted(fresh)}' AS fresh")
            connection.execute(f'COPY FROM DATABASE "{name}" TO fresh')
            connection.execute("CHECKPOINT fresh")
            if _counts(connection, name) != _counts(connection, "fresh"):
                raise StorageError(f"{fresh} holds other rows than {places.warehouse}; the database stays as it is.")
            connection.execute("DETACH fresh")
            fresh.chmod(0o600)
            fresh.replace(places.warehouse)
        finally:
            # A full disk must not be left fuller by a copy that nobody uses.
            fresh.unlink(missing_ok=True)
        sync_folder(places.warehouse.parent)
    saved = before - places.warehouse.stat().st_size
    log.info("the database was written anew and is %d bytes smaller", saved)
    return saved


def _counts(connection: object, database: str) -> list[tuple[object, ...]]:
    execute = connection.execute  # type: ignore[attr-defined]
    tables = execute(
        "SELECT schema_name, table_name FROM duckdb_tables() WHERE database_name = $name ORDER BY ALL",
        {"name": database},
    ).fetchall()
    return [
        (schema, table, execute(f'SELECT count(*) FROM "{database}"."{schema}"."{table}"').fetchall()[0][0])  # noqa: S608
        for schema, table in tables
    ]


def _quoted(path: Path) -> str:
    return str(path).replace("'", "''")
