"""Giving space back: DuckDB keeps the blocks of deleted rows for later rows, so a file never shrinks by itself."""

import logging

from bcda.storage import duckdb_files
from bcda.storage.guarded import guarded
from bcda.storage.places import Places
from bcda.storage.warehouse_place import check_place
from bcda.warehouse.database import LOCK_WAIT_SECONDS, open_warehouse
from bcda.warehouse.rewrite import rewritten

log = logging.getLogger(__name__)

WORTH_IT = 0.25
"""Share of free blocks from which on the database is rewritten."""


@guarded("rewrite the working database")
def vacuum(places: Places, *, worth_it: float = WORTH_IT, wait_seconds: float = LOCK_WAIT_SECONDS) -> int:
    """Rewrite the working database when much of it is free, and return by how many bytes it shrank.

    The new file takes the place of the old one by rename while the lock on the old one is held, so that no load can
    come between.

    Args:
        places: of the source.
        worth_it: share of free blocks, 0 to 1.
        wait_seconds: how long to wait for a load.

    Raises:
        WarehouseLockedError: a load held the warehouse for too long.
        StorageError: no space for the copy, it holds other rows, or the working database is at another place.
    """
    check_place(places)
    with open_warehouse(places.warehouse, key=places.key, wait_seconds=wait_seconds) as connection:
        connection.execute("CHECKPOINT").fetchall()
        total, free = connection.execute(
            "SELECT total_blocks, free_blocks FROM pragma_database_size() WHERE database_name = current_database()"
        ).fetchall()[0]
        if not total or free / total < worth_it:
            log.info("%d of %d blocks are free; the database stays as it is", free, total)
            return 0
        before = places.warehouse.stat().st_size
        with rewritten(connection, duckdb_files.WAREHOUSE, places.warehouse, key=places.key):
            pass
    saved = before - places.warehouse.stat().st_size
    log.info("the database was rewritten and is %d bytes smaller", saved)
    return saved
