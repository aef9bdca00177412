"""Rewriting a database: a copy takes its place by rename while the lock on the old file is held."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from bcda.errors import StorageError
from bcda.storage import duckdb_files
from bcda.storage.encryption import EncryptionKey
from bcda.storage.files import own_folder, reason_of, sync_file, sync_folder
from bcda.storage.publication import DEFAULT_STORAGE
from bcda.storage.sql_text import identifier

_COPY = "fresh"


@contextmanager
def rewritten(
    connection: duckdb.DuckDBPyConnection,
    name: str,
    path: Path,
    *,
    key: EncryptionKey | None,
    storage: str = DEFAULT_STORAGE,
    place: Callable[[Path], object] | None = None,
    fill: Callable[[str], object] | None = None,
) -> Iterator[str]:
    """Copy a database and put the copy into its place at the end; on an error the old file stays and the copy goes.

    Args:
        connection: with the database attached and its log written into it (`CHECKPOINT`), or that log would be replayed
            into the copy. Whoever has the old file open keeps it.
        name: of the database in statements; ours, never from outside.
        path: its file.
        key: encrypts the copy, whatever the old file is encrypted with.
        storage: storage version of the copy.
        place: puts the finished copy into the place of the old file; a rename when None.
        fill: puts into the empty copy, of the name it is given, what is to be in it, and proves that; everything when None.

    Yields:
        Name of the copy in statements: it can still be changed.

    Raises:
        StorageError: the copy holds other rows, or cannot be written.
    """
    # A full disk is not left fuller by a copy that nobody uses: the folder goes, whatever happens.
    with own_folder(path.parent, f"{path.name}.copy") as own:
        fresh = own / "copy.duckdb"
        duckdb_files.attach(connection, fresh, _COPY, key=key, storage=storage)
        if fill is not None:
            fill(_COPY)
        else:
            connection.execute(f"COPY FROM DATABASE {name} TO {_COPY}")
            if _counts(connection, name) != _counts(connection, _COPY):
                raise StorageError(f"A copy of {path} holds other rows than it; the database stays as it is.")
        yield _COPY
        connection.execute(f"CHECKPOINT {_COPY}").fetchall()
        connection.execute(f"DETACH {_COPY}")
        try:
            sync_file(fresh)
            (place or _rename_over(path))(fresh)
            sync_folder(path.parent)
        except OSError as error:
            raise StorageError(
                f"Cannot replace {path} by its copy: {reason_of(error)}. Check owner and free space."
            ) from error


def _rename_over(path: Path) -> Callable[[Path], object]:
    def place(fresh: Path) -> None:
        if path.with_name(f"{path.name}.wal").exists():
            raise StorageError(
                f"{path} has a log that is not written into it, which would be replayed into its copy; the database stays as it is. "
                "Run the task again."
            )
        fresh.replace(path)

    return place


def _counts(connection: duckdb.DuckDBPyConnection, name: str) -> list[tuple[object, ...]]:
    tables = connection.execute(
        "SELECT schema_name, table_name FROM duckdb_tables() WHERE database_name = $name ORDER BY ALL", {"name": name}
    ).fetchall()
    counted: list[tuple[object, ...]] = []
    for schema, table in tables:
        relation = f"{name}.{identifier(schema)}.{identifier(table)}"
        counted.append((schema, table, connection.execute(f"SELECT count(*) FROM {relation}").fetchall()[0][0]))  # noqa: S608
    return counted
