"""Connections of DuckDB: what they write beside a database, their log and what they spill, is private and encrypted too."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from bcda.encryption import LAKE_KEY, EncryptionKey
from bcda.errors import EncryptionError
from bcda.places import private_files
from bcda.sql_text import literal

WAREHOUSE = "warehouse"
"""Name of the attached database in the statements of every connection, whatever its file is called."""

LOAD_CRYPTOGRAPHY = "LOAD httpfs"
"""DuckDB reads what is encrypted by itself. It writes it with OpenSSL, which comes with this extension: the random numbers
that DuckDB has of its own are too weak for it."""


@contextmanager
def connected(
    *,
    spill: Path,
    memory: str,
    key: EncryptionKey | None = None,
    threads: int | None = None,
    keeps_order: bool = False,
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Give a connection without a database; it is closed at the end.

    Args:
        spill: folder for what does not fit into memory; DuckDB makes it and removes it.
        memory: limit, such as `1GB`.
        key: of the lake; what is spilled is encrypted then.
        threads: how many at most; None for one a core.
        keeps_order: whether rows come out in the order in which they went in, which costs memory.

    Yields:
        The connection; with a key it can make encrypted databases, and knows the key of the lake as `bcda`.

    Raises:
        EncryptionError: there is a key, and DuckDB cannot encrypt on this machine.
    """
    config: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": memory,
        "temp_directory": str(spill),
        "preserve_insertion_order": keeps_order,
    }
    if threads is not None:
        config["threads"] = threads
    with private_files:
        connection = duckdb.connect(config=config)
        try:
            # DuckDB draws a bar into whatever a long statement's output is, a task's log included.
            connection.execute("SET enable_progress_bar = false")
            if key is not None:
                _encrypt(connection, key)
            yield connection
        finally:
            connection.close()


def attach(
    connection: duckdb.DuckDBPyConnection,
    path: Path,
    name: str = WAREHOUSE,
    *,
    key: EncryptionKey | None = None,
    read_only: bool = False,
) -> None:
    """Attach a database file.

    Args:
        connection: of `connected`.
        path: the file; made when it is new.
        name: name of the database in statements; ours, never from outside.
        key: of the database; a new one is encrypted with it.
        read_only: several readers may hold it together, none beside a writer.

    Raises:
        EncryptionError: the file needs a key, another key or none.
        duckdb.Error: it cannot be opened; see `warehouse.open_warehouse`.
    """
    options = [text for text, wanted in (("READ_ONLY", read_only), ("ENCRYPTION_KEY $key", key is not None)) if wanted]
    listed = f" ({', '.join(options)})" if options else ""
    values = {"path": str(path)} | ({"key": key.text} if key is not None else {})
    try:
        connection.execute(f"ATTACH $path AS {name}{listed}", values)
    except (duckdb.CatalogException, duckdb.InvalidInputException) as error:
        reason = next((said for theirs, said in _REFUSALS if theirs in str(error)), None)
        if reason is None:
            raise
        raise EncryptionError(f"The database {path} {reason}") from None


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
