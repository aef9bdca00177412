"""Another key for everything that is kept: encryption is switched on, off, or its key is replaced."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import duckdb

from bcda import warehouse
from bcda.errors import EncryptionError, InvalidRequestError, StorageError
from bcda.storage import duckdb_files, parquet_files
from bcda.storage.encryption import EncryptionKey, lake_key_name
from bcda.storage.files import own_folder, put_in_place
from bcda.storage.guarded import guarded
from bcda.storage.places import Places
from bcda.warehouse import LOCK_WAIT_SECONDS

log = logging.getLogger(__name__)

_PUBLISHED = "published"
_OLD = "old"


@dataclass(frozen=True, slots=True)
class ChangedKey:
    """What was rewritten.

    Attributes:
        lake_files: files of the lake.
        databases: the working one, the published one and its dated copies.
    """

    lake_files: int
    databases: int


@guarded("change the key")
def change_key(places: Places, new: EncryptionKey | None, *, wait_seconds: float = LOCK_WAIT_SECONDS) -> ChangedKey:
    """Write lake, working and published database again with another key, each file in its place.

    The working database is held meanwhile, so that no load comes between. Killed half way it goes on where it was when it
    is called again with the same two keys; until then what has the other key is refused, not lost.

    Args:
        places: of the source, with the current key.
        new: key from now on; None for none.
        wait_seconds: how long to wait for a publication, and for a load.

    Returns:
        How much was written; what had the new key already is not.

    Raises:
        InvalidRequestError: both keys are the same, nothing is loaded, there is an object store, the storage version of the
            published database cannot be encrypted, or there is no such readers' group.
        EncryptionError: something is encrypted with neither key, or this machine cannot encrypt.
        WarehouseLockedError: a load held the working database, or a publication the published one, for too long.
        StorageError: no space for a copy, or it holds other rows.
    """
    if new == places.key:
        raise InvalidRequestError("The new key is the same as the current key. No changes were made.")
    if places.store is not None:
        raise InvalidRequestError(
            "The key of files in an object store cannot be changed in place. No changes were made. Pause all DAGs and unset "
            "BCDA_OBJECT_STORE on the host that has the working database. Run this command again, set BCDA_OBJECT_STORE, and "
            "run `python -m bcda upload`, which replaces the files in the store. The whole lake must be on this host first: "
            "`python -m bcda rebuild-warehouse` downloads it."
        )
    if not places.warehouse.exists():
        raise InvalidRequestError(f"{places.warehouse} is not there: nothing is loaded, so there is no key to change.")
    fresh = replace(places, key=new)
    warehouse.check_readers(fresh)
    with (
        # What a publication has on its way has the old key.
        warehouse.publication_held(places.published, wait_seconds=wait_seconds),
        duckdb_files.connected(spill=places.warehouse.parent, key=new or places.key) as connection,
    ):
        if places.key is not None:
            duckdb_files.add_lake_key(connection, _OLD, places.key)
        held = _attach(connection, places.warehouse, duckdb_files.WAREHOUSE, (new, places.key), wait_seconds)
        lake = sorted(places.lake.glob("*/*/*/*.parquet"))
        files = sum(_write_lake_file(connection, path, places.key, new) for path in lake)
        databases = 0
        if held != new:
            connection.execute(f"CHECKPOINT {duckdb_files.WAREHOUSE}").fetchall()
            with warehouse.rewritten(connection, duckdb_files.WAREHOUSE, places.warehouse, key=new) as copy:
                _point_to_lake(connection, copy, fresh)
            databases += 1
        shown = [path for path in (places.published, *warehouse.dated_copies(places.published)) if path.exists()]
        databases += sum(_write_shown(connection, path, places, fresh, wait_seconds) for path in shown)
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
    raise EncryptionError(f"The database {path} is encrypted with neither the current key nor the new one.")


def _write_shown(
    connection: duckdb.DuckDBPyConnection, path: Path, places: Places, fresh: Places, wait_seconds: float
) -> int:
    """Replace a database that analysts open, unless it has the new key; return how many were written."""
    # The log of an analyst's tool would be read with it, and so be published.
    warehouse.remove_foreign_log(path)
    held = _attach(connection, path, _PUBLISHED, (fresh.key, places.key), wait_seconds, read_only=True)
    if held != fresh.key:
        place = partial(warehouse.put_in_place, places=replace(fresh, published=path))
        storage = places.publication.storage
        with warehouse.rewritten(connection, _PUBLISHED, path, key=fresh.key, storage=storage, place=place) as copy:
            _point_to_lake(connection, copy, fresh)
    connection.execute(f"DETACH {_PUBLISHED}")
    return int(held != fresh.key)


def _point_to_lake(connection: duckdb.DuckDBPyConnection, copy: str, fresh: Places) -> None:
    """Renew a copy's view of the lake, which names a key from now on, or no longer."""
    connection.execute(f"USE {copy}")
    warehouse.set_lake_view(connection, fresh)
    connection.execute("USE memory")


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
        raise EncryptionError(f"The lake file {path} is encrypted with neither the current key nor the new one.")
    try:
        with own_folder(path.parent, path.name) as own:
            copy = own / path.name
            rows = parquet_files.count_rows(connection, path, was)
            made = parquet_files.put_together(connection, [path], copy, read=was, write=name)
            if rows != made:
                raise StorageError(f"The copy of {path} holds other rows; the file stays as it is.")
            put_in_place(copy, path)
    except (OSError, duckdb.IOException, duckdb.OutOfMemoryException) as error:
        raise StorageError(
            f"Cannot write a copy of {path} ({type(error).__name__}). Free some space and call it again."
        ) from None
    return 1
