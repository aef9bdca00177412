"""Writing a database anew: a copy takes its place by rename while the lock on the old file is held."""

import glob
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from bcda import duckdb_files
from bcda.encryption import EncryptionKey
from bcda.errors import StorageError
from bcda.places import sync_folder
from bcda.sql_text import identifier

_COPY = "fresh"


@contextmanager
def rewritten(
    connection: duckdb.DuckDBPyConnection, name: str, path: Path, *, key: EncryptionKey | None
) -> Iterator[str]:
    """Copy a database and put the copy into its place at the end; on an error the old file stays and the copy goes.

    Args:
        connection: with the database attached and its log written into it (`CHECKPOINT`), or that log would be replayed
            into the copy. Whoever has the old file open keeps it.
        name: of the database in statements; ours, never from outside.
        path: its file.
        key: encrypts the copy, whatever the old file is encrypted with.

    Yields:
        Name of the copy in statements: it can still be changed.

    Raises:
        StorageError: the copy holds other rows.
    """
    fresh = path.with_name(f".{path.name}.copy")
    _remove(fresh)
    try:
        duckdb_files.attach(connection, fresh, _COPY, key=key)
        connection.execute(f"COPY FROM DATABASE {name} TO {_COPY}")
        if _counts(connection, name) != _counts(connection, _COPY):
            raise StorageError(f"A copy of {path} holds other rows than it; the database stays as it is.")
        yield _COPY
        connection.execute(f"CHECKPOINT {_COPY}").fetchall()
        connection.execute(f"DETACH {_COPY}")
        fresh.replace(path)
    finally:
        # A full disk must not be left fuller by a copy that nobody uses.
        _remove(fresh)
    sync_folder(path.parent)


def _remove(copy: Path) -> None:
    """Remove a copy that was not finished, with its log."""
    for leftover in copy.parent.glob(f"{glob.escape(copy.name)}*"):
        leftover.unlink()


def _counts(connection: duckdb.DuckDBPyConnection, name: str) -> list[tuple[object, ...]]:
    tables = connection.execute(
        "SELECT schema_name, table_name FROM duckdb_tables() WHERE database_name = $name ORDER BY ALL", {"name": name}
    ).fetchall()
    counted: list[tuple[object, ...]] = []
    for schema, table in tables:
        relation = f"{name}.{identifier(schema)}.{identifier(table)}"
        counted.append((schema, table, connection.execute(f"SELECT count(*) FROM {relation}").fetchall()[0][0]))  # noqa: S608
    return counted
