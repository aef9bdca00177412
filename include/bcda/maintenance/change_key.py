"""Another key for everything that is kept: encryption is switched on, off, or its key is replaced."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb

from bcda import duckdb_files, parquet_files, warehouse
from bcda.encryption import EncryptionKey, lake_key_name
from bcda.errors import EncryptionError, InvalidRequestError, StorageError
from bcda.places import Places, sync_folder
from bcda.warehouse import LOCK_WAIT_SECONDS

log = logging.getLogger(__name__)

MEMORY_LIMIT = "1GB"
"""Of the copies of databases; what does not fit is spilled beside the working one."""

_PUBLISHED = "published"
_OLD = "old"


@dataclass(frozen=True, slots=True)
class ChangedKey:
    """What was written anew.

    Attributes:
        lake_files: files of the lake.
        databases: of the working and the published one.
    """

    lake_files: int
    databases: int


def change_key(places: Places, new: EncryptionKey | None, *, wait_seconds: float = LOCK_WAIT_SECONDS) -> ChangedKey:
    """Write lake, working and published database anew with another key, each file in its place.

    The working database is held meanwhile, so that no load comes between. Killed half way it goes on where it was when it
    is called again with the same two keys; until then what has the other key is refused, not lost.

    Args:
        places: of the source, with the present key.
        new: key from now on; None for none.
        wait_seconds: how long to wait for a publication, and for a load.

    Returns:
        How much was written; what had the new key already is not.

    Raises:
        InvalidRequestError: both keys are the same, nothing is loaded, or there is an object store.
        EncryptionError: something is encrypted with neither key, or this machine cannot encrypt.
        WarehouseLockedError: a load held the working database, or a publication the published one, for too long.
        StorageError: no space for a copy, or it holds other rows.
    """
    if new == places.key:
        raise InvalidRequestError("The new key is the present one; nothing was changed.")
    if places.store is not None:
        raise InvalidRequestError(
            "The key of files in the object store is not changed in place; nothing was changed. Let no DAG run, unset "
            "BCDA_OBJECT_STORE where the working database is, call this again, set it again, and run `python -m bcda upload`, "
            "which replaces what is in the store. The whole lake must be here for that: `python -m bcda rebuild-warehouse` "
            "brings it."
        )
    if not places.warehouse.exists():
        raise InvalidRequestError(f"{places.warehouse} is not there: nothing is loaded, so there is no key to change.")
    fresh = replace(places, key=new)
    spill = places.warehouse.with_suffix(".spill")
    with (
        # What a publication has on its way has the old key.
        warehouse.publication_held(places.published, wait_seconds=wait_seconds),
        duckdb_files.connected(spill=spill, memory=MEMORY_LIMIT, key=new or places.key) as connection,
    ):
        if places.key is not None:
            duckdb_files.add_lake_key(connection, _OLD, places.key)
        held = _attach(connection, places.warehouse, duckdb_files.WAREHOUSE, (new, places.key), wait_seconds)
        lake = sorted(places.lake.glob("*/*/*/*.parquet"))
        files = sum(_write_lake_file(connection, path, places.key, new) for path in lake)
        databases = 0
        if held != new:
            connection.execute(f"CHECKPOINT {duckdb_files.WAREHOUSE}").fetchall()
            databases += _write_database(connection, duckdb_files.WAREHOUSE, places.warehouse, fresh)
        if places.published.exists():
            shown = _attach(connection, places.published, _PUBLISHED, (new, places.key), wait_seconds, read_only=True)
            databases += _write_database(connection, _PUBLISHED, places.published, fresh) if shown != new else 0
    log.info("%d lake files and %d databases are written with the new key", files, databases)
    return ChangedKey(files, databases)


def _attach(
    connection: duckdb.DuckDBPyConnection,
    path: Path,
    name: str,
    keys: Sequence[EncryptionKey | None],
    wait_seconds: float,
    *,
    read_only: bool = False,
) -> EncryptionKey | None:
    """Attach a database with the key that opens it, and return that key.

    Raises:
        EncryptionError: none does.
    """
    for key in keys:
        try:
            warehouse.attach_waiting(connection, path, name, key=key, read_only=read_only, wait_seconds=wait_seconds)
        except EncryptionError:
            continue
        return key
    raise EncryptionError(f"The database {path} is encrypted with neither the present key nor the new one.")


def _write_database(connection: duckdb.DuckDBPyConnection, name: str, path: Path, fresh: Places) -> int:
    """Replace a database by a copy with the new key; its view of the lake names a key from then on, or no longer."""
    with warehouse.rewritten(connection, name, path, key=fresh.key) as copy:
        connection.execute(f"USE {copy}")
        warehouse.set_lake_view(connection, fresh)
        connection.execute(f"USE {name}")
    return 1


def _write_lake_file(
    connection: duckdb.DuckDBPyConnection, path: Path, old: EncryptionKey | None, new: EncryptionKey | None
) -> int:
    """Replace a lake file by a copy with the new key, unless it has it.

    Raises:
        EncryptionError: neither key opens it.
        StorageError: the copy cannot be written, or holds other rows.
    """
    name, was = lake_key_name(new), None if old is None else _OLD
    if parquet_files.opens(connection, path, name):
        return 0
    if not parquet_files.opens(connection, path, was):
        raise EncryptionError(f"The lake file {path} is encrypted with neither the present key nor the new one.")
    # Engines that read the lake in place skip names that begin with a dot.
    hidden = path.with_name(f".{path.name}.key")
    try:
        rows = parquet_files.count_rows(connection, path, was)
        made = parquet_files.put_together(connection, [path], hidden, read=was, write=name)
        if rows != made:
            raise StorageError(f"The copy of {path} holds other rows; the file stays as it is.")
        hidden.replace(path)
        sync_folder(path.parent)
    except (OSError, duckdb.IOException, duckdb.OutOfMemoryException) as error:
        raise StorageError(
            f"Cannot write a copy of {path} ({type(error).__name__}). Free some space and call it again."
        ) from error
    finally:
        hidden.unlink(missing_ok=True)
    return 1
