"""Connections of DuckDB: what they write beside a database, their log and what they spill, is private and encrypted too."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from bcda.budgets import ENGINE_MEMORY, ENGINE_THREADS, SPILL_BYTES, SPILL_SHARE
from bcda.errors import EncryptionError
from bcda.storage.encryption import LAKE_KEY, EncryptionKey
from bcda.storage.files import private_files, spill_folder
from bcda.storage.publication import DEFAULT_STORAGE
from bcda.storage.sql_text import literal

WAREHOUSE = "warehouse"
"""Name of the attached database in the statements of every connection, whatever its file is called."""

LOAD_CRYPTOGRAPHY = "LOAD httpfs"
"""DuckDB reads what is encrypted by itself. It writes it with OpenSSL, which comes with this extension: the random numbers
that DuckDB has of its own are too weak for it."""


@contextmanager
def connected(
    *,
    spill: Path,
    memory: str = ENGINE_MEMORY,
    key: EncryptionKey | None = None,
    threads: int | None = None,
    keeps_order: bool = False,
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Give a connection without a database; it is closed at the end.

    Args:
        spill: folder in which what does not fit into memory gets a folder of this connection's own, removed at the end.
        memory: limit, such as `1GB`; what is spilled has the limits of `budgets`.
        key: of the lake; what is spilled is encrypted then.
        threads: how many; None for one a core, `ENGINE_THREADS` at most.
        keeps_order: whether rows come out in the order in which they went in, which costs memory.

    Yields:
        The connection; with a key it can make encrypted databases, and knows the key of the lake as `bcda`.

    Raises:
        EncryptionError: there is a key, and DuckDB cannot encrypt on this machine.
    """
    config: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": memory,
        "preserve_insertion_order": keeps_order,
        # The working database has the version that is published by default, so that a publication is a copy of its bytes.
        "storage_compatibility_version": DEFAULT_STORAGE,
    }
    config["threads"] = threads or min(ENGINE_THREADS, len(os.sched_getaffinity(0)))
    # Two processes that spill into one folder write each other's files.
    with spill_folder(spill) as own, private_files:
        # Nothing is spilled where there is no folder, as before the first load.
        free = shutil.disk_usage(spill).free if spill.is_dir() else 0
        most = min(SPILL_BYTES, int(free * SPILL_SHARE))
        config["max_temp_directory_size"] = f"{most >> 20}MiB"
        connection = duckdb.connect(config={**config, "temp_directory": str(own)})
        try:
            _draw_no_bar(connection)
            if key is not None:
                _encrypt(connection, key)
            yield connection
        finally:
            connection.close()


def _draw_no_bar(connection: duckdb.DuckDBPyConnection) -> None:
    """Turn the bar off that DuckDB draws into whatever a long statement's output is, a task's log included."""
    # In Jupyter without ipywidgets it is off, and DuckDB refuses to set it to anything.
    if connection.execute("SELECT current_setting('enable_progress_bar')").fetchall() == [(True,)]:
        connection.execute("SET enable_progress_bar = false")


def attach(
    connection: duckdb.DuckDBPyConnection,
    path: Path,
    name: str = WAREHOUSE,
    *,
    key: EncryptionKey | None = None,
    read_only: bool = False,
    storage: str | None = None,
) -> None:
    """Attach a database file.

    Args:
        connection: of `connected`.
        path: the file; made when it is new.
        name: name of the database in statements; ours, never from outside.
        key: of the database; a new one is encrypted with it.
        read_only: several readers may hold it together, none beside a writer.
        storage: storage version of a new file, one of `publication.STORAGES`; `publication.DEFAULT_STORAGE` when None.

    Raises:
        EncryptionError: the file needs a key, another key or none.
        duckdb.Error: it cannot be opened; see `warehouse.open_warehouse`.
    """
    offered = {
        "READ_ONLY": read_only,
        "ENCRYPTION_KEY $key": key is not None,
        "STORAGE_VERSION $storage": storage is not None,
    }
    options = [text for text, wanted in offered.items() if wanted]
    listed = f" ({', '.join(options)})" if options else ""
    values = {"path": str(path)}
    if key is not None:
        values["key"] = key.text
    if storage is not None:
        values["storage"] = storage
    try:
        connection.execute(f"ATTACH $path AS {name}{listed}", values)
    except (duckdb.CatalogException, duckdb.InvalidInputException) as error:
        reason = next((said for theirs, said in _REFUSALS if theirs in str(error)), None)
        if reason is None:
            raise
        raise EncryptionError(f"The database {path} {reason}") from None


def storage_of(connection: duckdb.DuckDBPyConnection, name: str) -> str:
    """Return the storage version of an attached database, such as `v1.4.0`; `v1.0.0` for every version before 1.2.

    Args:
        connection: with the database attached.
        name: of the database in statements.
    """
    found = connection.execute(
        "SELECT tags['storage_version'] FROM duckdb_databases() WHERE database_name = $name", {"name": name}
    )
    return str(found.fetchall()[0][0]).removesuffix("+")


_REFUSALS = (
    (
        "without a key",
        "is encrypted and no key is set. Set BCDA_ENCRYPTION_KEY, or BCDA_ENCRYPTION_VARIABLE for Airflow, to its key.",
    ),
    (
        "Wrong encryption key",
        "is encrypted with another key. Set BCDA_ENCRYPTION_KEY, or the Airflow Variable, to the key it was written with.",
    ),
    (
        "is not encrypted",
        "is not encrypted, but a key is set. Unset it, or encrypt what is there with `python -m bcda change-key`.",
    ),
)
"""What DuckDB says of a key that does not fit, and what we say."""


def add_lake_key(connection: duckdb.DuckDBPyConnection, name: str, key: EncryptionKey) -> None:
    """Let a connection know a key of the lake by a name.

    Args:
        connection: of `connected`.
        name: name of the key; ours, never from outside.
        key: the key.
    """
    # A PRAGMA takes no parameters; the key is Base64 and nothing else.
    connection.execute(f"PRAGMA add_parquet_key({literal(name)}, {literal(key.text)})")


def _encrypt(connection: duckdb.DuckDBPyConnection, key: EncryptionKey) -> None:
    """Make a connection able to write what is encrypted, encrypt what it spills, and give it the key of the lake.

    Raises:
        EncryptionError: DuckDB's extension is not installed.
    """
    try:
        connection.execute(LOAD_CRYPTOGRAPHY)
    except duckdb.Error as error:
        raise EncryptionError(
            "There is an encryption key, but DuckDB's extension httpfs, with which it encrypts, is not installed for this user. "
            "Install it once: python -c \"import duckdb; duckdb.sql('INSTALL httpfs')\". Nothing was written."
        ) from error
    connection.execute("SET temp_file_encryption = true")
    add_lake_key(connection, LAKE_KEY, key)
